"""The ground truth of the sample web, as tables beside its WARC files."""

from __future__ import annotations

import json

import pandera.polars as pa
import polars as pl

from llm_assets.artifacts.step import Step
from llm_assets.dialogue.splits import SPLITS
from llm_assets.recipes import SampleWeb

from .fact_wordings import WORDINGS
from .prose import article
from .questions import PAGE_QUESTIONS, answer_sentence, questions
from .web import make_web
from .world import Fact

COMPLETIONS = 2  # prompts to complete a sentence, for each fact at most


class TruthPages(pa.DataFrameModel):
    """Every URL of the sample web (see `pages.Page`). in_crawl: whether a crawl should store an answer."""

    url: str = pa.Field(unique=True)
    kind: str
    status: pl.Int16
    verdict: str
    language: str
    encoding: str
    title: str
    text: str
    defects: str = pa.Field(description="JSON list")
    duplicate_of: str
    pii: str = pa.Field(description="JSON object: type → number of planted items")
    entities: str = pa.Field(description="JSON list of the entities that the page is about")
    in_crawl: bool


class TruthFacts(pa.DataFrameModel):
    """Every fact of the world.

    reach: many (pages), once (one page), or held_out (only on the site that is held out of training). pages: number of
    pages about the entity.
    """

    entity: str
    entity_kind: str
    relation: str
    value: str
    reach: str = pa.Field(isin=["many", "once", "held_out"])
    pages: pl.Int64 = pa.Field(ge=0)


class TruthPrompts(pa.DataFrameModel):
    """Prompts for facts: the beginning of a sentence that states the fact, or a question; `answer` should follow."""

    kind: str = pa.Field(isin=["completion", "question"])
    entity: str
    relation: str
    reach: str = pa.Field(isin=["many", "once", "held_out"])
    prompt: str
    answer: str


class TruthQuestions(pa.DataFrameModel):
    """Questions about facts, as a user would ask an assistant.

    split: of the question's wording; only those of `train` may occur in a training conversation. answer: the text that
    a correct answer contains. sentence: a good answer.
    """

    entity: str
    entity_kind: str
    relation: str
    reach: str = pa.Field(isin=["many", "once", "held_out"])
    question: str
    split: str = pa.Field(isin=list(SPLITS))
    answer: str
    sentence: str


def truth_pages(source: SampleWeb) -> pl.DataFrame:
    """The table of pages, in order of URL."""
    web = make_web(source.world, source.scale, source.day)
    rows = [
        {
            "url": page.url,
            "kind": page.kind,
            "status": page.status,
            "verdict": page.verdict,
            "language": page.language,
            "encoding": page.encoding,
            "title": page.title,
            "text": page.text,
            "defects": json.dumps(page.defects),
            "duplicate_of": page.duplicate_of,
            "pii": json.dumps(page.pii, sort_keys=True),
            "entities": json.dumps(page.entities),
            "in_crawl": page.in_crawl,
        }
        for _, page in sorted(web.pages.items())
    ]
    return pl.DataFrame(rows, schema_overrides={"status": pl.Int16})


def truth_facts(source: SampleWeb) -> pl.DataFrame:
    """The table of facts."""
    web = make_web(source.world, source.scale, source.day)
    return pl.DataFrame(
        [
            {
                "entity": fact.entity,
                "entity_kind": fact.entity_kind,
                "relation": fact.relation,
                "value": fact.value,
                "reach": reach,
                "pages": pages,
            }
            for fact, reach, pages in web.facts
        ]
    )


def _beginnings(relations_by_kind: dict[str, set[str]]) -> dict[str, list[tuple[str, str]]]:
    """Wordings cut before the value, by relation: (beginning, placeholder of the value).

    A beginning is left out if a fact of another relation of the same kind of entity can continue it: "{n} was born in"
    fits a town and a year.
    """
    beginnings: dict[str, list[tuple[str, str]]] = {}
    for relation, wordings in WORDINGS.items():
        related = {other for relations in relations_by_kind.values() if relation in relations for other in relations}
        distractors = [wording for other in related - {relation} for wording in WORDINGS[other]]
        for wording in wordings:
            placeholder = "{a}" if "{a}" in wording else "{v}"
            beginning = wording[: wording.index(placeholder)].rstrip()
            is_ambiguous = any(distractor.startswith(beginning) for distractor in distractors)
            if "{n}" in beginning and not is_ambiguous:
                beginnings.setdefault(relation, []).append((beginning, placeholder))
    return beginnings


def truth_prompts(facts: pl.DataFrame) -> pl.DataFrame:
    """The table of prompts: for each fact at most two beginnings of sentences, and a question."""
    relations_by_kind: dict[str, set[str]] = {}
    for kind, relation in facts.select("entity_kind", "relation").unique().iter_rows():
        relations_by_kind.setdefault(kind, set()).add(relation)
    beginnings = _beginnings(relations_by_kind)
    rows = []
    for fact in facts.iter_rows(named=True):
        entity, relation, value = fact["entity"], fact["relation"], fact["value"]
        of_fact = {name: fact[name] for name in ("entity", "relation", "reach")}
        for beginning, placeholder in beginnings.get(relation, [])[:COMPLETIONS]:
            answer = article(value) if placeholder == "{a}" else value
            rows.append({"kind": "completion", **of_fact, "prompt": beginning.format(n=entity), "answer": answer})
        question = PAGE_QUESTIONS[relation][0].format(n=entity)
        rows.append({"kind": "question", **of_fact, "prompt": question, "answer": value})
    return pl.DataFrame(rows)


def truth_questions(facts: pl.DataFrame) -> pl.DataFrame:
    """The table of questions: every wording for each fact."""
    rows = []
    for row in facts.iter_rows(named=True):
        fact = Fact(row["entity"], row["entity_kind"], row["relation"], row["value"])
        of_fact = {
            **{name: row[name] for name in ("entity", "entity_kind", "relation", "reach")},
            "answer": fact.value,
            "sentence": answer_sentence(fact),
        }
        for question, split in questions(fact):
            rows.append({**of_fact, "question": question, "split": split})
    return pl.DataFrame(rows)


def newest(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows of several crawls' truth tables, oldest crawl first; of a fact that changed, the last crawl's rows remain.

    The columns `entity` and `relation` identify a fact.
    """
    numbered = pl.concat([frame.with_columns(crawl_number=pl.lit(number)) for number, frame in enumerate(frames)])
    is_newest = pl.col("crawl_number") == pl.col("crawl_number").max().over("entity", "relation")
    return numbered.filter(is_newest).drop("crawl_number").unique(maintain_order=True)


def write_ground_truth(step: Step, source: SampleWeb) -> None:
    """Write the tables of the ground truth into the crawl's artifact, unless they are there."""
    if step.finished_task("truth") is None:
        with step.task("truth") as task:
            task.table("truth_pages", TruthPages).frame(truth_pages(source))
            facts = truth_facts(source)
            task.table("truth_facts", TruthFacts).frame(facts)
            task.table("truth_prompts", TruthPrompts).frame(truth_prompts(facts))
            task.table("truth_questions", TruthQuestions).frame(truth_questions(facts))
