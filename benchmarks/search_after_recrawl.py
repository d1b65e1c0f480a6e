"""What a fresh search index is worth: an assistant is asked for facts of a crawl that is later than its training.

    python benchmarks/search_after_recrawl.py --recipe recipe.py:mine --checkpoint rlhf --json out.json

Reads a store with two crawls of the sample web, of day 1 and day 2; the model was trained on the first only
(`Recrawl(model="leave")`). The questions are about facts that are only on pages of day 2 (new) and facts that differ
from those of day 1 (changed). They are asked with the current search index, with the index of the training, and without
search; with an index once as the assistant likes and once with a search before every answer, as `chat --search-first`
does. `findable` counts the facts whose answer is in the search results for the entity's name: no assistant that only
reads them can do better.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.resolver import Resolver
from llm_assets.artifacts.tables import read_table
from llm_assets.cli.model import checkpoint_folder
from llm_assets.evaluation.answers import chat_answers
from llm_assets.evaluation.grading import grade, holds
from llm_assets.evaluation.jobs import Question
from llm_assets.graph import open_workspace
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine, Tools
from llm_assets.recipes.finetuning import Tools as ToolSettings
from llm_assets.tools.search import INDEX, SEARCH, TRAINING_SEARCH, SearchIndex, SearchTool


def later_facts(before: pl.DataFrame, after: pl.DataFrame) -> list[dict[str, Any]]:
    """Facts of the later crawl's questions that are new or have another answer; one question for each.

    before, after: tables `truth_questions` of the earlier and the later crawl.
    """
    key = ["entity", "relation"]
    known = before.select(*key, old="answer").unique(key)
    questions = after.filter(pl.col("split") == "train").unique(key, keep="first", maintain_order=True)
    facts = questions.join(known, on=key, how="left", maintain_order="left")
    facts = facts.with_columns(kind=pl.when(pl.col("old").is_null()).then(pl.lit("new")).otherwise(pl.lit("changed")))
    return facts.filter(pl.col("old").is_null() | (pl.col("old") != pl.col("answer"))).to_dicts()


def count_by_kind(facts: list[dict[str, Any]], kinds: list[str]) -> dict[str, int]:
    facts_kinds = [fact["kind"] for fact in facts]
    return {kind: facts_kinds.count(kind) for kind in kinds}


def kinds_of(facts: list[dict[str, Any]]) -> list[str]:
    return sorted({fact["kind"] for fact in facts})


def found_by(search: SearchTool, facts: list[dict[str, Any]]) -> dict[str, int]:
    """How many facts, by kind, are in the search results for the name of their entity."""
    findable = [fact for fact in facts if holds(search(fact["entity"]), fact["answer"])]
    return count_by_kind(findable, kinds_of(facts))


@dataclass(frozen=True)
class Examination:
    """The facts to ask for, and the settings of the tools.

    distractors: by relation, the values that a right answer does not name besides its own.
    """

    facts: list[dict[str, Any]]
    distractors: Mapping[str, set[str]]
    tools: ToolSettings

    def right_answers(self, engine: Engine, search: SearchTool | None, search_first: bool) -> dict[str, int]:
        """How many facts the assistant answers correctly, by kind. search: None for no tool."""
        questions = [Question(number, fact["question"]) for number, fact in enumerate(self.facts)]
        tools = Tools({"search": search}, self.tools.calls, self.tools.result_tokens) if search else None
        answers = chat_answers(engine, questions, tools, max_tokens=80, search_first=search_first)
        right = []
        for fact, reply in zip(self.facts, answers, strict=True):
            others = self.distractors[fact["relation"]] - {fact["answer"]}
            if grade(reply["answer"], fact["answer"], others) == "right":
                right.append(fact)
        return count_by_kind(right, kinds_of(self.facts))


def measure(engine: Engine, examination: Examination, indexes: Mapping[str, Path]) -> dict[str, Any]:
    """Facts, findable facts and right answers by kind of fact, with each index and without search."""
    settings, facts = examination.tools, examination.facts
    searches = {name: SearchTool(SearchIndex(path), settings.results, settings.match) for name, path in indexes.items()}
    right = {name: examination.right_answers(engine, search, False) for name, search in searches.items()}
    for name, search in searches.items():
        right[f"{name}, search first"] = examination.right_answers(engine, search, True)
    right["none"] = examination.right_answers(engine, None, False)
    return {
        "facts": count_by_kind(facts, kinds_of(facts)),
        "findable": {name: found_by(search, facts) for name, search in searches.items()},
        "right": right,
    }


def truth_questions(resolver: Resolver, crawl: str) -> pl.DataFrame:
    tables = resolver.artifact("raw_warc", crawl).table("truth_questions")
    return read_table(tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe")
    parser.add_argument("--checkpoint", default="rlhf")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    workspace = open_workspace(options.recipe)
    resolver = workspace.resolver()
    trained, crawls = workspace.recipe.trained_crawls(), workspace.recipe.corpus()
    later = [crawl for crawl in crawls if crawl not in trained][-1]
    after = truth_questions(resolver, later)
    facts = later_facts(pl.concat([truth_questions(resolver, crawl) for crawl in trained]), after)
    values = after.group_by("relation").agg(pl.col("answer").unique())
    distractors = {relation: set(answers) for relation, answers in values.iter_rows()}
    model, encoding = load_checkpoint(checkpoint_folder(options.checkpoint, workspace), pick_device("auto"))
    indexes = {name: resolver.artifact(name, None).file(INDEX) for name in (SEARCH, TRAINING_SEARCH)}
    result = measure(Engine(model, encoding), Examination(facts, distractors, workspace.recipe.tools), indexes)
    text = json.dumps({"checkpoint": options.checkpoint, "crawl": later, **result}, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
