"""A policy's training as the build of a stage: plan it, keep its result, show it. Shared by RL and RLHF."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_json_lines, read_table
from llm_assets.artifacts.views import View
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.shape import ModelShape
from llm_assets.model.training_memory import TrainingKind
from llm_assets.recipes.preference import Rlhf
from llm_assets.recipes.pretraining import Rates
from llm_assets.recipes.reinforcement import Reinforcement
from llm_assets.recipes.rollout_server import RolloutServer
from llm_assets.report import plots

from .division import Demand, share_out, training_kind
from .plan import Optimisation, PolicyPlan, RolloutService, ServerRequest
from .schemas import PolicyCurve, PolicyEvaluations
from .training_run import add_files, files_of, optimisation

NUMBERS = ("reward", "length", "entropy", "kl", "truncated", "flat", "loss", "gradient_norm", "clipped")
POLICY_TABLES = {"curve": PolicyCurve}
POLICY_OPTIONAL_TABLES = {"evaluations": PolicyEvaluations}
PLOT = "curves.svg"
# Completions per forward and backward pass, and steps between checkpoints, if the recipe sets none.
MICRO_BATCH_SIZE = 64
CHECKPOINT_EVERY = 10


def policy_kind(settings: Reinforcement | Rlhf, rates: Optimisation) -> TrainingKind:
    """What the memory of a policy's training depends on.

    A reference model is beside it, in RLHF also two reward models: that which is optimised, and that of the monitor.
    """
    return training_kind(rates, False, copies=1, reward_models=2 if isinstance(settings, Rlhf) else 0)


def policy_plan(settings: Reinforcement | Rlhf, inherited: Rates, shape: ModelShape) -> tuple[PolicyPlan, int]:
    """How a policy is trained, and by how many processes. Fields that the settings do not have keep their defaults."""
    names = {field.name for field in fields(PolicyPlan)} & set(type(settings).model_fields)
    compute = settings.compute
    completions = settings.prompts * settings.samples
    rates = optimisation(settings, inherited, shape, settings.learning_rate_scale)
    division = share_out(Demand(shape, completions, compute, policy_kind(settings, rates), MICRO_BATCH_SIZE))
    values = settings.model_dump(include=names - {"server"}, exclude_none=True)
    plan = PolicyPlan(
        **values,
        server=None if settings.server is None else rollout_service(settings.server),
        micro_batch_size=division.micro_batch_size,
        savings=division.kind.savings,
        optimisation=rates,
        checkpoint_every=CHECKPOINT_EVERY if compute.checkpoint_every is None else compute.checkpoint_every,
        checkpoints_kept=compute.checkpoints_kept,
    )
    return plan, division.processes


def rollout_service(server: RolloutServer) -> RolloutService:
    """The server that samples completions, as a job names it."""
    values = server.model_dump()
    return RolloutService(**{**values, "reload": tuple(ServerRequest(**request) for request in values["reload"])})


def keep_policy(
    step: Step, task: Task, folder: Path, origin: Artifact, ends: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Keep the best weights of `folder` as the task's files, and its curve and evaluations as tables.

    origin: the artifact that the training started from, whose tokenizer is kept. ends: what `follow` returned. Returns
    the training's events in order: ``evaluation``, and ``row``, what evaluations kept.
    """
    from .policy import best_weights

    values = json.loads((max(folder.glob("step-*")) / "state.json").read_text())["values"]
    events_by_kind: dict[str, list[dict[str, Any]]] = {"evaluation": [], "row": []}
    for event in values["events"]:
        if event["kind"] in events_by_kind:
            events_by_kind[event["kind"]].append({name: value for name, value in event.items() if name != "kind"})
    best = best_weights(folder)
    add_files(step, task, files_of(best, ASSISTANT), best, origin)
    curve = read_json_lines(folder / "curve.jsonl", infer_schema_length=None)
    curve = curve.with_columns(pl.exclude("step").cast(pl.Float64))
    reward_parts = [name for name in curve.columns if name not in (*NUMBERS, "step")]
    parts = pl.struct(reward_parts).struct.json_encode() if reward_parts else pl.lit("{}")
    task.table("curve", PolicyCurve).frame(curve.select("step", *NUMBERS, parts=parts))
    evaluations = events_by_kind["evaluation"]
    if evaluations:
        rows = [
            {
                "step": evaluation["step"],
                "score": evaluation["score"],
                "numbers": json.dumps(
                    {name: value for name, value in evaluation.items() if name not in ("step", "score")}
                ),
            }
            for evaluation in evaluations
        ]
        task.table("evaluations", PolicyEvaluations).frame(pl.DataFrame(rows, schema_overrides={"score": pl.Float64}))

    def ends_of(name: str) -> dict[str, float]:
        first, last = curve[name].head(5).mean(), curve[name].tail(5).mean()
        return {"first": round(float(first), 4), "last": round(float(last), 4)}  # type: ignore[arg-type]

    shape = ModelShape.load(origin.file("shape.json").read_text(), origin.record.asset)
    counts = {}
    if math.isfinite(values.get("tokens", math.nan)):  # else they were not counted from the beginning
        counts = {"tokens": int(values["tokens"]), "flops": shape.flops_per_token / 3 * values["forward_tokens"]}
    task.stats.update(
        steps=len(curve),
        **counts,
        **({"best": values["best"]} if values["best"] else {}),
        stopped=values["stopped"],
        reward=ends_of("reward"),
        length=ends_of("length"),
        evaluations={
            str(evaluation["step"]): evaluation["score"]
            for evaluation in evaluations
            if evaluation["score"] is not None
        },
    )
    if not ends.get("resumed"):  # the clock of a resumed run does not include the first one
        task.stats["actual"] = {"seconds": ends["seconds"], "cpu_seconds": ends["cpu_seconds"]}
    return events_by_kind


def draw_length(checkpoint: Artifact, inputs: Inputs, config: Any) -> str:
    """The length of completions by step, as SVG."""
    curve = read_table(checkpoint.table("curve"))
    return plots.svg({"length": (curve["step"].to_list(), curve["length"].to_list())}, "step", "tokens per completion")


CURVES_VIEW = View(PLOT, draw_length)


def scores_by_step(checkpoint: Artifact) -> tuple[list[int], list[float]]:
    """Steps and scores of the evaluations on held-out prompts; empty without any."""
    files = checkpoint.table("evaluations")
    evaluations = read_table(files).sort("step") if files else pl.DataFrame({"step": [], "score": []})
    return evaluations["step"].to_list(), evaluations["score"].to_list()


def policy_plots(curve: pl.DataFrame) -> dict[str, str]:
    """Curves of a policy's training, as SVG by name."""
    steps = curve["step"].to_list()

    def of(names: Mapping[str, str], unit: str) -> str:
        return plots.svg({shown: (steps, curve[name].to_list()) for shown, name in names.items()}, "step", unit)

    return {
        "reward": of({"reward": "reward"}, "mean reward"),
        "length": of({"length": "length"}, "tokens per completion"),
        "entropy": of({"entropy": "entropy", "KL": "kl"}, "nats per token"),
        "shares": of({"groups with equal rewards": "flat", "truncated completions": "truncated"}, "share"),
    }


def monitor_series(evaluations: list[dict[str, Any]]) -> dict[str, plots.Series]:
    """The reward model's score and the gold signal by divergence."""
    ordered = sorted(evaluations, key=lambda evaluation: evaluation["kl"])
    divergence = [evaluation["kl"] for evaluation in ordered]
    return {
        "reward model (proxy)": (divergence, [evaluation["proxy"] for evaluation in ordered]),
        "gold signal": (divergence, [evaluation["gold"] for evaluation in ordered]),
    }


def show_policy(artifact: Artifact) -> dict[str, str]:
    """A policy's training in Markdown: reward and length by step, and the evaluations on held-out prompts."""
    curve, stopped = read_table(artifact.table("curve")), artifact.record.stats["stopped"]
    steps = curve["step"].to_list()
    scores = zip(*scores_by_step(artifact), strict=True)
    lines = ["| step | held out |", "|--:|--:|", *(f"| {step} | {score:.3f} |" for step, score in scores)]
    if stopped:
        lines.append(f"\nStopped: {stopped}.")
    reward, length = ({name: (steps, curve[name].to_list())} for name in ("reward", "length"))
    return {
        "reward": plots.markdown(plots.png(reward, "step", "mean reward")),
        "length": plots.markdown(plots.png(length, "step", "tokens per completion")),
        "held_out": "\n".join(lines),
    }
