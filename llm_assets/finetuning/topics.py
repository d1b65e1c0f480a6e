"""The facts that the base model is asked for: questions that come with the crawls, or that an endpoint writes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.tables import read_table
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.splits import stable_share
from llm_assets.recipes import KnowledgeBoundary
from llm_assets.sample_web import newest

from .endpoint import QUESTIONS_PROMPT, ChatEndpoint, parse_questions
from .material import Topic

FACT_COLUMNS = ("entity", "kind", "relation", "answer", "sentence")
TOPIC_SCHEMA = {
    name: pl.String
    for name in ("entity", "kind", "relation", "reach", "answer", "sentence", "questions", "held_out_questions", "url")
}
REJECT_SCHEMA = {"url": pl.String, "reason": pl.String}
QUESTION_COLUMNS = ("entity", "entity_kind", "relation", "reach", "question", "evaluation_only", "answer", "sentence")


def read_questions(files: Iterable[Path]) -> pl.DataFrame:
    """The questions of crawls that come with ground truth; an empty frame if none does."""
    frames = [read_table(path) for path in files]
    if not frames:
        return pl.DataFrame(
            schema={name: pl.Boolean if name == "evaluation_only" else pl.String for name in QUESTION_COLUMNS}
        )
    return newest(frames).select(QUESTION_COLUMNS)


def to_topics(frame: pl.DataFrame) -> list[tuple[Topic, list[str]]]:
    """Topics in the order of the table, each with the wordings that are held out for evaluation."""
    groups: dict[tuple[str, str, str], tuple[dict[str, str], list[str], list[str]]] = {}
    for row in frame.iter_rows(named=True):
        key = (row["entity"], row["relation"], row["answer"])
        _, training_wordings, held_out_wordings = groups.setdefault(key, (row, [], []))
        (held_out_wordings if row["evaluation_only"] else training_wordings).append(row["question"])
    topics = []
    for row, training_wordings, held_out_wordings in groups.values():
        if training_wordings:
            fact = (row["entity"], row["entity_kind"], row["relation"])
            topic = Topic(*fact, tuple(training_wordings), row["answer"], row["sentence"])
            topics.append((topic, held_out_wordings))
    return topics


def crawl_topics(inputs: Inputs, settings: KnowledgeBoundary) -> pl.DataFrame:
    """Topics of the questions that come with the crawls, one row each; at most `topics` of them, drawn by seed."""
    crawls = inputs.by_crawl("raw_warc").values()
    frame = read_questions(path for crawl in crawls for path in crawl.table("truth_questions"))
    reach = {
        (row["entity"], row["relation"]): row["reach"]
        for row in frame.select("entity", "relation", "reach").unique().to_dicts()
    }
    rows = [
        {
            "entity": topic.entity,
            "kind": topic.kind,
            "relation": topic.relation,
            "reach": reach[topic.entity, topic.relation],
            "answer": topic.answer,
            "sentence": topic.sentence,
            "questions": json.dumps(topic.questions),
            "held_out_questions": json.dumps(held_out_wordings),
            "url": "",
        }
        for topic, held_out_wordings in to_topics(frame)
    ]
    count = min(settings.topics, len(rows))
    drawn = sorted(random.Random(f"topics-{settings.seed}").sample(range(len(rows)), count))
    return pl.DataFrame([rows[number] for number in drawn], schema=TOPIC_SCHEMA)


def drawn_articles(inputs: Inputs, settings: KnowledgeBoundary) -> pl.DataFrame:
    """Pages of the corpus (doc_id, url, text), drawn by hash and sorted by doc_id."""
    pages = CorpusPages(inputs, TRAINING_PAGES).scan(["doc_id", "url", "text"])
    ids = pages.select("doc_id").collect()["doc_id"].to_list()
    by_hash = sorted(ids, key=lambda doc_id: (stable_share(str(settings.seed), doc_id), doc_id))
    return pages.filter(pl.col("doc_id").is_in(by_hash[: settings.articles])).collect().sort("doc_id")


def endpoint_topics(
    step: Step, settings: KnowledgeBoundary, endpoint: ChatEndpoint
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Topics that an endpoint writes about articles of the corpus, and the questions that were rejected.

    If a topic has several wordings, the last one is held out for evaluation.
    """
    articles = drawn_articles(step.inputs, settings)
    excerpts = [text[: settings.article_characters] for text in articles["text"]]
    step.progress.start(len(excerpts), "articles")
    prompts = [QUESTIONS_PROMPT.format(count=settings.questions_per_article, article=text) for text in excerpts]
    replies = endpoint.complete_all(prompts, lambda done: step.progress.advance(done))
    rows, rejects = [], []
    for url, text, reply in zip(articles["url"], excerpts, replies, strict=True):
        questions, problems = parse_questions(reply, text)
        rejects += [{"url": url, "reason": problem} for problem in problems]
        rows += [_endpoint_row(question, url) for question in questions]
    topics = pl.DataFrame(rows, schema=TOPIC_SCHEMA).unique(
        ["entity", "relation", "answer"], keep="first", maintain_order=True
    )
    return topics.head(settings.topics), pl.DataFrame(rejects, schema=REJECT_SCHEMA)


def _endpoint_row(question: dict[str, Any], url: str) -> dict[str, str]:
    wordings = question["questions"]
    held_out_wordings = wordings[-1:] if len(wordings) > 1 else []
    return {
        **{name: question[name] for name in FACT_COLUMNS},
        "reach": "",
        "questions": json.dumps(wordings[: len(wordings) - len(held_out_wordings)]),
        "held_out_questions": json.dumps(held_out_wordings),
        "url": url,
    }
