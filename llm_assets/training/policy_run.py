"""A policy's training as a step's work: its result kept and shown. What practice and RLHF have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import View
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.preference import Rlhf
from llm_assets.recipes.pretraining import Rates
from llm_assets.recipes.reinforcement import Reinforcement
from llm_assets.report import plots

from .plan import PolicyPlan
from .schemas import PolicyCurve, PolicyEvaluations
from .training_run import MODEL_FILES, add_files, optimisation, share_out

NUMBERS = ("reward", "length", "entropy", "kl", "truncated", "flat", "loss", "gradient_norm", "clipped")
POLICY_TABLES = {"curve": PolicyCurve}
POLICY_OPTIONAL_TABLES = {"evaluations": PolicyEvaluations}
PLOT = "curves.svg"


def policy_plan(settings: Reinforcement | Rlhf, inherited: Rates, shape: ModelShape) -> tuple[PolicyPlan, int]:
    """How a policy is trained, and by how many processes. Fields that the settings do not have keep their defaults."""
    names = {field.name for field in fields(PolicyPlan)} & set(type(settings).model_fields)
    compute = settings.compute
    processes, micro_batch_size, _ = share_out(shape, settings.prompts * settings.samples, compute)
    plan = PolicyPlan(
        **settings.model_dump(include=names),
        micro_batch_size=micro_batch_size,
        optimisation=optimisation(settings, inherited, shape, settings.learning_rate_scale),
        checkpoint_every=compute.checkpoint_every or max(10, settings.steps // 20),
        checkpoints_kept=compute.checkpoints_kept,
    )
    return plan, processes


def keep_policy(
    step: Step, task: Task, folder: Path, origin: Artifact, ends: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """The best weights of `folder` as this part's files, with its curve and evaluations as tables.

    Returns what the training noted, in order: ``evaluation``, measurements; ``row``, what these kept.
    """
    from .policy import best_weights

    values = json.loads((max(folder.glob("step-*")) / "state.json").read_text())["values"]
    noted: dict[str, list[dict[str, Any]]] = {"evaluation": [], "row": []}
    for event in values["events"]:
        if event["kind"] in noted:
            noted[event["kind"]].append({name: value for name, value in event.items() if name != "kind"})
    add_files(step, task, (*MODEL_FILES, ASSISTANT), best_weights(folder), origin)
    curve = pl.read_ndjson(folder / "curve.jsonl", infer_schema_length=None)
    curve = curve.with_columns(pl.exclude("step").cast(pl.Float64))
    others = [name for name in curve.columns if name not in (*NUMBERS, "step")]
    parts = pl.struct(others).struct.json_encode() if others else pl.lit("{}")
    task.table("curve", PolicyCurve).frame(curve.select("step", *NUMBERS, parts=parts))
    evaluations = noted["evaluation"]
    if evaluations:
        rows = [
            {
                "step": one["step"],
                "score": one["score"],
                "numbers": json.dumps({name: value for name, value in one.items() if name not in ("step", "score")}),
            }
            for one in evaluations
        ]
        task.table("evaluations", PolicyEvaluations).frame(pl.DataFrame(rows, schema_overrides={"score": pl.Float64}))

    def ends_of(name: str) -> dict[str, float]:
        first, last = curve[name].head(5).mean(), curve[name].tail(5).mean()
        return {"first": round(float(first), 4), "last": round(float(last), 4)}  # type: ignore[arg-type]

    task.stats.update(
        steps=len(curve),
        **({"best": values["best"]} if values["best"] else {}),
        stopped=values["stopped"],
        reward=ends_of("reward"),
        length=ends_of("length"),
        evaluations={str(one["step"]): one["score"] for one in evaluations if one["score"] is not None},
    )
    if not ends.get("resumed"):  # a resumed run's clock has no part in what the first one spent
        task.stats["actual"] = {"seconds": ends["seconds"], "cpu_seconds": ends["cpu_seconds"]}
    return noted


def draw_length(checkpoint: Artifact, inputs: Inputs, config: Any) -> str:
    """The length of answers over the steps, as SVG."""
    curve = pl.read_parquet(checkpoint.table("curve"))
    return plots.svg({"length": (curve["step"].to_list(), curve["length"].to_list())}, "step", "tokens of a solution")


CURVES_VIEW = View(PLOT, draw_length)


def scores_by_step(checkpoint: Artifact) -> tuple[list[int], list[float]]:
    """Steps and scores of the measurements on what is held out; empty without any."""
    files = checkpoint.table("evaluations")
    evaluations = pl.read_parquet(files).sort("step") if files else pl.DataFrame({"step": [], "score": []})
    return evaluations["step"].to_list(), evaluations["score"].to_list()


def policy_plots(curve: pl.DataFrame) -> dict[str, str]:
    """Curves of a policy's training as SVG."""
    steps = curve["step"].to_list()

    def of(names: Mapping[str, str], unit: str) -> str:
        return plots.svg({shown: (steps, curve[name].to_list()) for shown, name in names.items()}, "step", unit)

    return {
        "reward": of({"reward": "reward"}, "mean reward"),
        "length": of({"length": "length"}, "tokens of an answer"),
        "entropy": of({"entropy": "entropy", "KL": "kl"}, "nats a token"),
        "shares": of({"groups all alike": "flat", "cut off": "truncated"}, "share"),
    }


def monitor_series(evaluations: list[dict[str, Any]]) -> dict[str, plots.Series]:
    """Reward model's and gold signal by divergence."""
    ordered = sorted(evaluations, key=lambda evaluation: evaluation["kl"])
    divergence = [one["kl"] for one in ordered]
    return {
        "reward model (proxy)": (divergence, [one["proxy"] for one in ordered]),
        "gold signal": (divergence, [one["gold"] for one in ordered]),
    }


def show_policy(artifact: Artifact) -> dict[str, str]:
    """A policy's training in Markdown: reward and length over the steps, and the looks at what is held out."""
    curve, stopped = pl.read_parquet(artifact.table("curve")), artifact.record.stats["stopped"]
    steps = curve["step"].to_list()
    scores = zip(*scores_by_step(artifact), strict=True)
    lines = ["| step | held out |", "|--:|--:|", *(f"| {step} | {score:.3f} |" for step, score in scores)]
    if stopped:
        lines.append(f"\nStopped: {stopped}.")
    reward, length = ({name: (steps, curve[name].to_list())} for name in ("reward", "length"))
    return {
        "reward": plots.markdown(plots.png(reward, "step", "mean reward")),
        "length": plots.markdown(plots.png(length, "step", "tokens of a solution")),
        "held_out": "\n".join(lines),
    }
