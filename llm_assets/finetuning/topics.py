"""The facts that the base model is asked for: questions that come with the crawls, or that an endpoint writes."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.tables import read_table
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.splits import SPLITS, TRAIN, held_out_split_of, split_of, stable_share
from llm_assets.evaluation.endpoint import QUESTIONS_PROMPT, ChatEndpoint, parse_questions
from llm_assets.recipes import KnowledgeBoundary
from llm_assets.sample_web import newest

from .material import Topic
from .schemas import WORDING_COLUMNS

FACT_COLUMNS = ("entity", "kind", "relation", "answer", "sentence")
TOPIC_SCHEMA = {
    name: pl.String
    for name in ("entity", "kind", "relation", "reach", "answer", "sentence", *WORDING_COLUMNS.values(), "url")
}
REJECT_SCHEMA = {"url": pl.String, "reason": pl.String}
QUESTION_COLUMNS = ("entity", "entity_kind", "relation", "reach", "question", "split", "answer", "sentence")


def read_questions(files: Iterable[Path]) -> pl.DataFrame:
    """The questions of crawls that come with ground truth; an empty frame if none does."""
    frames = [read_table(path) for path in files]
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(QUESTION_COLUMNS, pl.String))
    return newest(frames).select(QUESTION_COLUMNS)


def to_topics(frame: pl.DataFrame) -> list[tuple[Topic, dict[str, list[str]]]]:
    """Topics in the order of the table, each with its wordings by split."""
    groups: dict[tuple[str, str, str], tuple[dict[str, str], dict[str, list[str]]]] = {}
    for row in frame.iter_rows(named=True):
        key = (row["entity"], row["relation"], row["answer"])
        _, wordings = groups.setdefault(key, (row, {split: [] for split in SPLITS}))
        wordings[row["split"]].append(row["question"])
    topics = []
    for row, wordings in groups.values():
        if wordings[TRAIN]:
            fact = (row["entity"], row["entity_kind"], row["relation"])
            topics.append((Topic(*fact, tuple(wordings[TRAIN]), row["answer"], row["sentence"]), wordings))
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
            **_wording_columns(wordings),
            "url": "",
        }
        for topic, wordings in to_topics(frame)
    ]
    count = min(settings.topics, len(rows))
    drawn = sorted(random.Random(f"topics-{settings.seed}").sample(range(len(rows)), count))
    return pl.DataFrame([rows[number] for number in drawn], schema=TOPIC_SCHEMA)


def _wording_columns(wordings: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The columns of a topic's wordings, as JSON lists. wordings: by split."""
    return {column: json.dumps(list(wordings.get(split, ()))) for split, column in WORDING_COLUMNS.items()}


def drawn_articles(inputs: Inputs, settings: KnowledgeBoundary) -> pl.DataFrame:
    """Pages of the corpus (doc_id, url, text), drawn by hash and sorted by doc_id."""
    pages = CorpusPages(inputs, TRAINING_PAGES)
    ids = (doc_id for batch in pages.batches(["doc_id"]) for doc_id in batch["doc_id"])
    drawn = heapq.nsmallest(settings.articles, ids, lambda doc_id: (stable_share(str(settings.seed), doc_id), doc_id))
    columns = ["doc_id", "url", "text"]
    articles = [batch.filter(pl.col("doc_id").is_in(drawn)) for batch in pages.batches(columns)]
    return pl.concat([pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), *articles]).sort("doc_id")


def endpoint_topics(
    step: Step, settings: KnowledgeBoundary, endpoint: ChatEndpoint
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Topics that an endpoint writes about articles of the corpus, and the questions that were rejected.

    If a topic has several wordings, the last one is held out of training: for the split of the topic's entity, or, if
    conversations may mention the entity, for that of the wording.
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
    first, *others = question["questions"]
    wordings = {TRAIN: [first, *others[:-1]]}
    if others:
        split = split_of(question["entity"])
        wordings[held_out_split_of(others[-1]) if split == TRAIN else split] = others[-1:]
    return {
        **{name: question[name] for name in FACT_COLUMNS},
        "reach": "",
        **_wording_columns(wordings),
        "url": url,
    }
