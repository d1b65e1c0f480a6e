"""The ground truth of the sample web, as tables beside its WARC files."""

from __future__ import annotations

import json

import pandera.polars as pa
import polars as pl

from llm_assets.artifacts.step import Step
from llm_assets.recipes import SampleWeb

from .asking import PAGE_QUESTIONS, questions, sentence
from .pages import make_web
from .prose import WORDINGS, article
from .world import Fact


class TruthPages(pa.DataFrameModel):
    """One row a URL of the sample web (see pages.Page). `in_crawl`: the crawl should hold an answer for it."""

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
    pii: str = pa.Field(description="JSON object: type → number planted")
    entities: str = pa.Field(description="JSON list of names the page tells about")
    in_crawl: bool


class TruthFacts(pa.DataFrameModel):
    """One row a fact of the world. reach: many, once (one page), held_out (only on the site kept out of training)."""

    entity: str
    entity_kind: str
    relation: str
    value: str
    reach: str = pa.Field(isin=["many", "once", "held_out"])
    pages: pl.Int64 = pa.Field(ge=0)


class TruthPrompts(pa.DataFrameModel):
    """Ways to ask for a fact: the beginning of a sentence that tells it, or a question. `answer` is what must follow."""

    kind: str = pa.Field(isin=["completion", "question"])
    entity: str
    relation: str
    reach: str = pa.Field(isin=["many", "once", "held_out"])
    prompt: str
    answer: str


class TruthQuestions(pa.DataFrameModel):
    """A fact asked for in one wording, as an assistant would be. `kept`: no conversation that a model is trained on may have this
    wording. `answer` is what must stand in the assistant's answer, `sentence` a good one.
    """

    entity: str
    entity_kind: str
    relation: str
    reach: str = pa.Field(isin=["many", "once", "held_out"])
    question: str
    evaluation_only: bool
    answer: str
    sentence: str


COMPLETIONS = 2  # beginnings asked for each fact


def truth_pages(source: SampleWeb) -> pl.DataFrame:
    """The table of pages."""
    web = make_web(source.seed, source.scale, source.day)
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
    web = make_web(source.seed, source.scale, source.day)
    return pl.DataFrame(
        [
            {
                "entity": f.entity,
                "entity_kind": f.entity_kind,
                "relation": f.relation,
                "value": f.value,
                "reach": reach,
                "pages": pages,
            }
            for f, reach, pages in web.facts
        ]
    )


def _beginnings(kinds: dict[str, set[str]]) -> dict[str, list[tuple[str, str]]]:
    """For each relation, wordings cut before the value: (beginning, the value's placeholder). Only those that no other
    relation of the same kind of thing can go on from: "{n} was born in" fits a town and a year.
    """
    cut: dict[str, list[tuple[str, str]]] = {}
    for relation, wordings in WORDINGS.items():
        distractors = {other for relations in kinds.values() if relation in relations for other in relations} - {
            relation
        }
        for wording in wordings:
            placeholder = "{a}" if "{a}" in wording else "{v}"
            beginning = wording[: wording.index(placeholder)].rstrip()
            if "{n}" in beginning and not any(
                other.startswith(beginning) for rival in distractors for other in WORDINGS[rival]
            ):
                cut.setdefault(relation, []).append((beginning, placeholder))
    return cut


def truth_prompts(facts: pl.DataFrame) -> pl.DataFrame:
    """The table of prompts: for each fact up to two beginnings of sentences, and a question."""
    kinds: dict[str, set[str]] = {}
    for kind, relation in facts.select("entity_kind", "relation").unique().iter_rows():
        kinds.setdefault(kind, set()).add(relation)
    cut = _beginnings(kinds)
    rows = []
    for fact in facts.iter_rows(named=True):
        of_fact = {name: fact[name] for name in ("entity", "relation", "reach")}
        for beginning, placeholder in cut.get(fact["relation"], [])[:COMPLETIONS]:
            answer = article(fact["value"]) if placeholder == "{a}" else fact["value"]
            rows.append(
                {"kind": "completion", **of_fact, "prompt": beginning.format(n=fact["entity"]), "answer": answer}
            )
        rows.append(
            {
                "kind": "question",
                **of_fact,
                "prompt": PAGE_QUESTIONS[fact["relation"]][0].format(n=fact["entity"]),
                "answer": fact["value"],
            }
        )
    return pl.DataFrame(rows)


def truth_questions(facts: pl.DataFrame) -> pl.DataFrame:
    """The table of questions: each fact in every wording."""
    rows = []
    for row in facts.iter_rows(named=True):
        fact = Fact(row["entity"], row["entity_kind"], row["relation"], row["value"])
        of_fact = {
            **{name: row[name] for name in ("entity", "entity_kind", "relation", "reach")},
            "answer": fact.value,
            "sentence": sentence(fact),
        }
        rows += [
            {**of_fact, "question": question, "evaluation_only": evaluation_only}
            for question, evaluation_only in questions(fact)
        ]
    return pl.DataFrame(rows)


def newest(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Rows of several crawls' truth, oldest first, as columns `entity` and `relation` have them: a fact that changed
    between crawls is told as the last one has it.
    """
    numbered = pl.concat([frame.with_columns(crawl_number=pl.lit(number)) for number, frame in enumerate(frames)])
    last = pl.col("crawl_number") == pl.col("crawl_number").max().over("entity", "relation")
    return numbered.filter(last).drop("crawl_number").unique(maintain_order=True)


def write_ground_truth(step: Step, source: SampleWeb) -> None:
    """Write the tables of the truth into the crawl's artifact."""
    if step.finished("truth") is None:
        with step.task("truth") as task:
            task.table("truth_pages", TruthPages).frame(truth_pages(source))
            facts = truth_facts(source)
            task.table("truth_facts", TruthFacts).frame(facts)
            task.table("truth_prompts", TruthPrompts).frame(truth_prompts(facts))
            task.table("truth_questions", TruthQuestions).frame(truth_questions(facts))
