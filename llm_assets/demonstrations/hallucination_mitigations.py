"""`hallucination_mitigations`: what helps against made-up answers, side by side on the same questions."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.artifacts.views import View
from llm_assets.dialogue.splits import HeldOutSplit
from llm_assets.evaluation.abilities import grade_row
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.jobs import Question
from llm_assets.recipes import Tools
from llm_assets.recipes.demonstrations import HallucinationMitigations
from llm_assets.recipes.frozen import Frozen
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job

from .demonstration import (
    CHECKS,
    GROUP,
    LIBRARIES,
    OPTIONAL_TABLES,
    REPORT,
    TABLES,
    TEMPLATE,
    Demonstration,
    Figure,
    keep_results,
    render_report,
)
from .jobs import MEMORY, REFUSALS, SEARCH, TEXT_AS_RESULT, TEXT_IN_QUESTION, WAYS, MitigationsJob
from .results import Claim, at_least, at_most

MODULE = "llm_assets.demonstrations.hallucination_mitigations_process"
# The groups of the assistant's evaluation that are asked, with their titles.
GROUPS = {
    "known_elsewhere": "facts that the base model knows",
    "search": "facts that only search finds",
    "fictitious": "fictitious entities",
}
GRADES = {"wrong": "made up or wrong", "right": "right", "refused": "refused"}
EXAMPLES = 2  # questions of each group in the report

DEMONSTRATION = Demonstration(
    title="What helps against made-up answers",
    phenomenon="A model that is asked for what it does not know makes something up, unless it was trained to say so, "
    "may look it up, or has the text before it.",
    method="The same test questions are put to the pipeline's own checkpoints in five ways. Memory alone is the "
    "ablation, which was never trained to refuse; all others are the assistant. The text is the first passage about "
    "the entity that holds the answer; it comes with the question in the user's message, or as the result of a search.",
    controls=(
        "Facts that the base model knows show what each way costs: a way that refuses everything makes nothing up.",
        "Fictitious entities have no answer. The text in the context is then the passage about somebody else that "
        "search ranks first; the right answer is a refusal.",
        "All ways are asked the same questions. No conversation of the training names their entities.",
    ),
    figures={grade: Figure(title, "way", places=WAYS) for grade, title in GRADES.items()},
)


class MitigationsConfig(Frozen):
    """How the questions of a split are asked."""

    settings: HallucinationMitigations
    split: HeldOutSplit
    tools: Tools


def way_number(way: str) -> float:
    """The place of a way to answer on the horizontal axis."""
    return float(WAYS.index(way) + 1)


def prediction(groups: Collection[str]) -> tuple[Claim, ...]:
    """What was expected before the experiment was first run, of those of GROUPS that have questions."""
    known, searchable, fictitious = GROUPS.values()
    claims = (
        at_least(0.8, f"memory alone makes up answers: {fictitious}", "wrong", fictitious, way_number(MEMORY)),
        at_most(0.3, f"trained refusals prevent most of them: {fictitious}", "wrong", fictitious, way_number(REFUSALS)),
        at_least(0.7, f"and leave most questions answered: {known}", "right", known, way_number(REFUSALS)),
        at_most(0.2, f"but they answer nothing: {searchable}", "right", searchable, way_number(REFUSALS)),
        at_least(0.8, f"search does: {searchable}", "right", searchable, way_number(SEARCH)),
        at_least(0.8, f"so does the text as a result: {searchable}", "right", searchable, way_number(TEXT_AS_RESULT)),
        at_least(0.5, f"the text in the question: {searchable}", "right", searchable, way_number(TEXT_IN_QUESTION)),
    )
    return tuple(claim for claim in claims if claim.series in {GROUPS[group] for group in groups})


def select_questions(conversations: Artifact, split: str) -> list[dict[str, Any]]:
    """The questions of GROUPS and of a split, as rows of the table `evaluation`.

    There are none if the corpus comes without questions.
    """
    table = read_table(conversations.table("evaluation")).filter(pl.col("split") == split)
    return table.filter(pl.col("group").is_in(list(GROUPS))).to_dicts()


def to_findings(rows: Sequence[Mapping[str, Any]], results: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The grades of all answers as observations, and some answers as examples (see `experiment.run_all`)."""
    observations, examples = [], []
    for way in WAYS:
        grades = [grade_row(row, answer) for row, answer in zip(rows, results["answers"][way], strict=True)]
        for group, title in GROUPS.items():
            numbers = [number for number, row in enumerate(rows) if row["group"] == group]
            if not numbers:
                continue
            for grade in GRADES:
                values = [grades[number] == grade for number in numbers]
                key = {"figure": grade, "series": title, "x": way_number(way), "seed": 1}
                observations.append({**key, "values": values})
            for number in numbers[:EXAMPLES]:
                shown = {"series": f"{title}: {way}", "seed": 1, "prompt": rows[number]["question"]}
                expected = "; ".join(json.loads(rows[number]["answers"]))
                examples.append({**shown, "text": results["answers"][way][number], "expected": expected})
    return {"observations": observations, "examples": examples}


def build_hallucination_mitigations(step: Step, config: MitigationsConfig) -> None:
    """Ask in a separate process, grade the answers, and keep the findings."""
    rows = select_questions(step.input("conversations"), config.split)
    if not rows:
        keep_results(step, {"observations": [], "examples": []}, ())
        return
    job = MitigationsJob(
        **config.settings.model_dump(),
        ablation=str(step.input("ablation_checkpoint").path),
        sft=str(step.input("sft_checkpoint").path),
        questions=tuple(Question(number, row["question"]) for number, row in enumerate(rows)),
        queries=tuple(row["entity"] for row in rows),
        expected=tuple(next(iter(json.loads(row["answers"])), "") for row in rows),
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "experiment")
    keep_results(step, to_findings(rows, results), prediction({row["group"] for row in rows}))


def draw_report(artifact: Artifact, inputs: Inputs, config: MitigationsConfig) -> str:
    """The HTML report."""
    return render_report(DEMONSTRATION, artifact)


HALLUCINATION_MITIGATIONS = Stage(
    name="hallucination_mitigations",
    group=GROUP,
    description="Questions about facts answered from memory, with trained refusals, by search, and from a text in the "
    "context.",
    kinds=("pytorch", "html"),
    build=build_hallucination_mitigations,
    config=lambda recipe, crawl: MitigationsConfig(
        settings=recipe.demonstrations.hallucination_mitigations, split=recipe.evaluation_split, tools=recipe.tools
    ),
    code_version="1",
    on_demand=True,
    inputs=("sft_checkpoint", "ablation_checkpoint", "conversations", TRAINING_SEARCH),
    tables=TABLES,
    optional_tables=OPTIONAL_TABLES,
    main_table="results",
    checks=CHECKS,
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=DEMONSTRATION.summary,
    libraries=(*LIBRARIES, "pydantic-monty"),
    pool="gpu",
)
