"""Facts that a re-crawl brought, asked of an assistant that was trained before it: what fresh search is worth.

    python benchmarks/search_after_recrawl.py --recipe recipe.py:mine --checkpoint rlhf --json out.json

Reads a store with two crawls of the sample web, of day 1 and day 2, of which the model was trained on the first alone
(`Recrawl(model="leave")`). Asked are the facts that are on pages of day 2 alone (new) and those that are others than on
day 1 (changed): with the search index of today, with that of the training (as the assistant likes, and with a search before every answer,
as `chat --search-first` does), and without search. `findable` is the share of
facts whose answer stands in what search gives for the name of the thing: no assistant that reads can do better.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import polars as pl

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
    """Facts of the later crawl's questions that the earlier has not, or with another answer; one question each."""
    key = ["entity", "relation"]
    known = before.select(*key, old="answer").unique(key)
    asked = after.filter(~pl.col("evaluation_only")).unique(key, keep="first", maintain_order=True)
    facts = asked.join(known, on=key, how="left", maintain_order="left")
    facts = facts.with_columns(kind=pl.when(pl.col("old").is_null()).then(pl.lit("new")).otherwise(pl.lit("changed")))
    return facts.filter(pl.col("old").is_null() | (pl.col("old") != pl.col("answer"))).to_dicts()


def found_by(search: SearchTool, facts: list[dict[str, Any]]) -> dict[str, int]:
    """How many facts, by kind, stand in what search gives for the name of their thing."""
    found = [fact["kind"] for fact in facts if holds(search(fact["entity"]), fact["answer"])]
    return {kind: found.count(kind) for kind in sorted({fact["kind"] for fact in facts})}


def measure(
    engine: Engine,
    facts: list[dict[str, Any]],
    distractors: dict[str, set[str]],
    indexes: dict[str, Path],
    tools: ToolSettings,
) -> dict[str, Any]:
    """Right answers by kind of fact, with each index and with none; and how many answers each index has.

    distractors: other values of each relation, which a right answer does not name.
    """
    questions = [Question(number, fact["question"]) for number, fact in enumerate(facts)]
    kinds = sorted({fact["kind"] for fact in facts})
    right: dict[str, dict[str, int]] = {}
    findable: dict[str, dict[str, int]] = {}
    for name in (*indexes, *(f"{name}, search first" for name in indexes), "none"):
        given, (index, _, first) = None, name.partition(", ")
        if index in indexes:
            search = SearchTool(SearchIndex(indexes[index]), tools.results, tools.match)
            given = Tools({"search": search}, tools.calls, tools.result_tokens)
            findable[index] = found_by(search, facts)
        answers = chat_answers(engine, questions, given, max_tokens=80, search_first=bool(first))
        grades = [
            grade(said["answer"], fact["answer"], distractors[fact["relation"]] - {fact["answer"]})
            for said, fact in zip(answers, facts, strict=True)
        ]
        scored = [fact["kind"] for fact, verdict in zip(facts, grades, strict=True) if verdict == "right"]
        right[name] = {kind: scored.count(kind) for kind in kinds}
    asked = [fact["kind"] for fact in facts]
    return {"facts": {kind: asked.count(kind) for kind in kinds}, "findable": findable, "right": right}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe")
    parser.add_argument("--checkpoint", default="rlhf")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    workspace = open_workspace(options.recipe)
    resolver = workspace.resolver()
    trained, crawls = workspace.recipe.trained_crawls(), workspace.recipe.corpus()
    frames = {
        crawl: pl.concat(
            [pl.read_parquet(path) for path in resolver.artifact("raw_warc", crawl).table("truth_questions")]
        )
        for crawl in crawls
    }
    later = [crawl for crawl in crawls if crawl not in trained][-1]
    facts = later_facts(pl.concat([frames[crawl] for crawl in trained]), frames[later])
    values = frames[later].group_by("relation").agg(pl.col("answer").unique())
    model, encoding = load_checkpoint(checkpoint_folder(options.checkpoint, workspace), pick_device("auto"))
    indexes = {name: resolver.artifact(name, None).file(INDEX) for name in (SEARCH, TRAINING_SEARCH)}
    distractors = {relation: set(answers) for relation, answers in values.iter_rows()}
    result = measure(Engine(model, encoding), facts, distractors, indexes, workspace.recipe.tools)
    text = json.dumps({"checkpoint": options.checkpoint, "crawl": later, **result}, indent=1)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
