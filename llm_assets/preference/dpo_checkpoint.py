"""`dpo_checkpoint`: the policy trained on the rankings themselves, without a reward model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts import Artifact, Inputs, Stage, Step, View
from llm_assets.artifacts.step import Task
from llm_assets.artifacts.tables import read_json_lines, read_table
from llm_assets.compute import RESULTS
from llm_assets.dialogue.splits import DEVELOPMENT, SPLITS, TEST, TRAIN
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import Dpo
from llm_assets.recipes.pretraining import Rates
from llm_assets.report import plots
from llm_assets.training.plan import DIVERGED_NATS
from llm_assets.training.training_run import LOSS_VIEW, add_files, files_of, follow, loss_series

from .jobs import DpoJob
from .policy import POLICY, SUBSTITUTES, policy_of
from .response_pairs import PreferenceError
from .reward_checkpoint import orders, preference_rows, rounded, training_plan
from .schemas import DpoCurve, DpoEvaluations, DpoScores, ReferenceLogProbabilities

MODULE = "llm_assets.preference.dpo_checkpoint_process"
PLOT = "log_probabilities.svg"


class DpoCheckpointConfig(Frozen):
    """How the policy is trained on rankings."""

    training: Dpo
    rates: Rates


@dataclass(frozen=True)
class Trained:
    """A training run that has ended. rows: rankings by split. ends: what `follow` returned."""

    folder: Path
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    ends: Mapping[str, Any]

    @property
    def results(self) -> dict[str, Any]:
        """What the process wrote at its end: by split, the numbers of the rankings that fit and their numbers."""
        return dict(json.loads((self.folder / RESULTS).read_text()))

    def fitting(self, split: str) -> list[Mapping[str, Any]]:
        """The rankings of a split that fit into the model's context."""
        return [self.rows[split][number] for number in self.results["fitting"][split]]


def build_dpo_checkpoint(step: Step, config: DpoCheckpointConfig) -> None:
    """Train the policy in a separate process, and keep its last weights as one task.

    A step takes all pairs if they are fewer than its own. Raises PreferenceError if there is none.
    """
    settings, policy = config.training, policy_of(step.inputs)
    rankings = read_table(step.input("human_rankings").table("rankings"))
    rows = {split: preference_rows(rankings, [split]) for split in SPLITS}
    training = rows[TRAIN]
    if not training:
        raise PreferenceError("dpo_checkpoint: there is no ranking to train on; rank pairs, or add files of rankings")
    settings = settings.replace(pairs=min(settings.pairs, len(training)))
    shape = ModelShape.load(policy.file("shape.json").read_text(), policy.record.asset)
    steps = max(1, round(settings.epochs * len(training) / settings.pairs))
    plan, processes = training_plan(settings, config.rates, shape, steps)
    if settings.loss == "ipo":  # a squared distance: as far above the best as it begins is normal noise
        plan = replace(plan, diverged_by=max(DIVERGED_NATS, 1 / (2 * settings.beta) ** 2))
    answers = {split: tuple((row["question"], row["preferred"], row["other"]) for row in rows[split]) for split in rows}
    job = DpoJob(
        plan=plan,
        checkpoint=str(policy.path),
        train=answers[TRAIN],
        development=answers[DEVELOPMENT],
        test=answers[TEST],
        loss=settings.loss,
        beta=settings.beta,
        device=settings.compute.device,
    )
    folder = step.staging / "training"
    ends = follow(step, MODULE, job, folder, processes)
    with step.task("checkpoint") as task:
        keep(step, task, Trained(folder, rows, ends), rankings.filter(pl.col("split") == TEST).to_dicts())


def keep(step: Step, task: Task, trained: Trained, test: Sequence[Mapping[str, Any]]) -> None:
    """Keep the last weights as the task's files, and curve, evaluations and log-probabilities as its tables.

    test: all rankings of the test, with ties.
    """
    folder, results = trained.folder, trained.results
    last = max(folder.glob("step-*"))
    add_files(step, task, files_of(last, ASSISTANT), last, policy_of(step.inputs))
    curve = read_json_lines(folder / "curve.jsonl")
    task.table("curve", DpoCurve).frame(curve)
    reference = [
        {"pair": row["pair"], "labeller": row["labeller"], "split": split, "chosen": chosen, "rejected": rejected}
        for split in SPLITS
        for row, (chosen, rejected) in zip(trained.fitting(split), results["reference"][split], strict=True)
    ]
    task.table("reference", ReferenceLogProbabilities).frame(pl.DataFrame(reference))
    events = json.loads((last / "state.json").read_text())["values"]["events"]
    if evaluations := [event for event in events if event["kind"] == "validation"]:
        task.table("evaluations", DpoEvaluations).frame(pl.DataFrame(evaluations))
    scored = [{**row, "margin": margin} for row, margin in zip(trained.fitting(TEST), results["margins"], strict=True)]
    if scored:
        task.table("scores", DpoScores).frame(pl.DataFrame(scored))
    final = curve.tail(10).select("loss", "margin", "accuracy", "chosen", "rejected").mean().to_dicts()[0]
    task.stats.update(
        rankings=len(trained.fitting(TRAIN)),
        steps=len(curve),
        too_long=sum(len(rows) - len(trained.fitting(split)) for split, rows in trained.rows.items()),
        final={name: round(value, 4) for name, value in final.items()},
        orders={name: rounded(share) for name, share in orders(scored, test, "policy").items()},
    )
    if not trained.ends.get("resumed"):  # the clock of a resumed run does not include the first one
        task.stats["actual"] = {name: trained.ends[name] for name in ("seconds", "cpu_seconds")}


def probability_series(curve: pl.DataFrame) -> dict[str, plots.Series]:
    """The log-probabilities of both answers by step."""
    return {name: (curve["step"].to_list(), curve[name].to_list()) for name in ("chosen", "rejected")}


def draw_probabilities(checkpoint: Artifact, inputs: Inputs, config: DpoCheckpointConfig) -> str:
    """The log-probabilities of chosen and rejected answers by step, as SVG."""
    curve = read_table(checkpoint.table("curve"))
    return plots.svg(probability_series(curve), "step", "log-probability of an answer, nats")


def show(checkpoint: Artifact) -> dict[str, str]:
    """Loss, log-probabilities and accuracy in Markdown, for the asset's page in Dagster."""
    curve = read_table(checkpoint.table("curve"))
    shown = {
        "loss_curve": plots.markdown(plots.png(loss_series(curve), "step", "loss of a pair")),
        "log_probability_curve": plots.markdown(plots.png(probability_series(curve), "step", "nats per answer")),
    }
    if files := checkpoint.table("evaluations"):
        names = ("loss", "margin", "accuracy", "chosen", "rejected")
        lines = [f"| step | {' | '.join(names)} |", "|--:" * (len(names) + 1) + "|"]
        for row in read_table(files).sort("step").to_dicts():
            lines.append(f"| {row['step']:,} | " + " | ".join(f"{row[name]:.4f}" for name in names) + " |")
        shown["development_pairs"] = "\n".join(lines)
    return shown


DPO_CHECKPOINT = Stage(
    name="dpo_checkpoint",
    group="preference",
    description="The policy trained on the rankings themselves (DPO), without a reward model. Resumes from its last "
    "checkpoint.",
    kinds=("pytorch", "safetensors"),
    build=build_dpo_checkpoint,
    config=lambda recipe, crawl: DpoCheckpointConfig(
        training=recipe.dpo or Dpo(), rates=recipe.pretraining.inherited()
    ),
    code_version="1",
    inputs=(POLICY, "human_rankings"),
    substitutes=SUBSTITUTES,
    tables={"curve": DpoCurve, "reference": ReferenceLogProbabilities},
    optional_tables={"evaluations": DpoEvaluations, "scores": DpoScores},
    views=(LOSS_VIEW, View(PLOT, draw_probabilities)),
    show=show,
    libraries=("torch", "safetensors", "numpy"),
    pool="gpu",
    on_demand=lambda recipe: recipe.preference_tuning != "dpo",
)
