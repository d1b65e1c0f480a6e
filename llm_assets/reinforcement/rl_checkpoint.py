"""`rl_checkpoint`: the assistant after practice on problems with checkable answers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Part, Step
from llm_assets.artifacts.store import Artifact
from llm_assets.compute.launch import run_job
from llm_assets.finetuning.search_index import INDEX
from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.shape import ModelShape
from llm_assets.pretraining.training_run import MODEL_FILES, optimisation, share_out
from llm_assets.recipes import Recipe
from llm_assets.report import plots

from .practice_problems import families_of
from .schemas import PolicyCurve, PolicyLooks, Solutions

MODULE = "llm_assets.reinforcement.train"
PLOT = "curves.svg"
NUMBERS = ("reward", "length", "entropy", "kl", "truncated", "flat", "loss", "gradient_norm", "clipped")


class ReinforcementError(ValueError):
    """A policy that cannot be trained as the recipe asks; the message says what to change."""


def read_problems(artifact: Artifact, split: str) -> list[dict[str, Any]]:
    """Problems of one side, with their rivals read."""
    frame = pl.concat([pl.read_parquet(path) for path in sorted(artifact.table("problems"))]).filter(pl.col("split") == split).sort("problem")
    return [{**row, "rivals": json.loads(row["rivals"])} for row in frame.drop("key", "split").iter_rows(named=True)]


def spread(problems: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many problems, of every family and level in turn."""
    turns: dict[tuple[str, int], int] = {}
    ranked = []
    for problem in problems:
        group = (problem["family"], problem["level"])
        turns[group] = turns.get(group, 0) + 1
        ranked.append((turns[group], problem["problem"], problem))
    return [problem for _, _, problem in sorted(ranked, key=lambda one: one[:2])[:most]]


def tool_job(step: Step, recipe: Recipe) -> dict[str, Any]:
    """What a process needs to give a model its tools."""
    tools = recipe.tools
    return {
        "index": str(step.input("search_index").file(INDEX)), "results": tools.results, "match": tools.match, "calls": tools.calls, "result_tokens": tools.result_tokens,
        "python": {"seconds": tools.python_seconds, "memory": tools.python_memory, "characters": tools.python_characters},
    }  # fmt: skip


def follow_policy(step: Step, module: str, job: Mapping[str, Any], folder: Path, processes: int) -> dict[str, Any]:
    """Run a policy's training in `folder` to its end, with its progress and its numbers told; where it began, and what it spent."""
    ends: dict[str, Any] = {}

    def hear(event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "started":
            ends.update(resumed=event["step"])
            step.progress.start(event["steps"], "steps", event["step"])
        elif kind == "policy_step":
            step.progress.advance(event["step"], message=f"reward {event['reward']:.3f}, length {event['length']:.1f}, KL {event['kl']:.4f}")
            step.track({name: value for name, value in event.items() if name not in ("kind", "step", "steps")}, event["step"])
        elif kind == "look":
            step.track({f"held_out.{name}": value for name, value in event.items() if name not in ("kind", "step") and value is not None}, event["step"])
        elif kind == "finished":
            ends.update({name: event[name] for name in ("seconds", "cpu_seconds")})

    run_job(module, job, folder, hear, processes, step.launcher)
    return ends


def keep_policy(step: Step, part: Part, folder: Path, origin: Artifact, ends: Mapping[str, Any]) -> None:
    """The best weights of `folder` as this part's files, with its curve, looks and rows as tables, and a plot of the curves."""
    last = max(folder.glob("step-*"))
    values = json.loads((last / "state.json").read_text())["values"]
    best = folder / "best"
    source = best if best.exists() else last
    for name in (*MODEL_FILES, ASSISTANT):
        path = source / name if (source / name).exists() else origin.file(name)
        temporary = step.staging / f".{name}.{os.getpid()}.tmp"
        shutil.copyfile(path, temporary)
        os.replace(temporary, step.staging / name)
        part.add_file(name)
    curve = pl.read_ndjson(folder / "curve.jsonl", infer_schema_length=None).with_columns(pl.exclude("step").cast(pl.Float64))
    others = [name for name in curve.columns if name not in (*NUMBERS, "step")]
    part.table("curve", PolicyCurve).frame(curve.select("step", *NUMBERS, parts=pl.struct(others).struct.json_encode() if others else pl.lit("{}")))
    looks = [event for event in values["events"] if event["kind"] == "look"]
    if looks:
        part.table("looks", PolicyLooks).frame(pl.DataFrame([{"step": one["step"], "score": one["score"], "numbers": json.dumps({name: value for name, value in one.items() if name not in ("kind", "step", "score")})} for one in looks]))
    rows = [{name: value for name, value in event.items() if name != "kind"} for event in values["events"] if event["kind"] == "row"]
    if rows:
        part.table("solutions", Solutions).frame(pl.DataFrame(rows))
    series: dict[str, plots.Series] = {"length": (curve["step"].to_list(), curve["length"].to_list())}
    write_atomic(step.staging / PLOT, plots.svg(series, "step", "tokens of a solution").encode())
    part.add_file(PLOT)
    part.stats.update(
        steps=len(curve), best=values["best"], stopped=values["stopped"], reward={"first": round(float(curve["reward"].head(5).mean()), 4), "last": round(float(curve["reward"].tail(5).mean()), 4)},  # type: ignore[arg-type]
        length={"first": round(float(curve["length"].head(5).mean()), 2), "last": round(float(curve["length"].tail(5).mean()), 2)}, looks={str(one["step"]): one["score"] for one in looks},  # type: ignore[arg-type]
    )  # fmt: skip
    if not ends.get("resumed"):
        part.stats["actual"] = {"seconds": ends["seconds"], "cpu_seconds": ends["cpu_seconds"]}


def build_rl_checkpoint(step: Step, recipe: Recipe) -> None:
    """One part."""
    settings = recipe.reinforcement
    sft, problems = step.input("sft_checkpoint"), step.input("practice_problems")
    shape = ModelShape.load(sft.file("shape.json").read_text(), "sft_checkpoint")
    train, held_out = read_problems(problems, "train"), spread(read_problems(problems, "held_out"), settings.evaluation_problems)
    if not held_out and settings.evaluate_every:
        raise ReinforcementError("practice_problems has no problem held out; raise practice_problems.held_out, or set reinforcement.evaluate_every to 0")
    processes, _, _ = share_out(shape, settings.prompts, settings.device, settings.processes, settings.pass_rows)
    fields = ("steps", "prompts", "samples", "max_tokens", "temperature", "updates", "normalise", "length", "clip_low", "clip_high", "kl", "pass_rows", "seed", "evaluate_every", "patience", "margin", "checkpoint_every", "keep", "accuracy_reward", "format_reward", "transcripts", "device")
    job = {
        "checkpoint": str(sft.path), "families": list(families_of(recipe)), "train": train, "held_out": held_out, "optimisation": {**optimisation(settings, recipe.pretraining, shape, settings.rate)},
        **{name: getattr(settings, name) for name in fields}, **tool_job(step, recipe),
    }  # fmt: skip
    folder = step.staging / "training"
    ends = follow_policy(step, MODULE, job, folder, processes)
    with step.part("checkpoint") as part:
        keep_policy(step, part, folder, sft, ends)


def show_policy(artifact: Artifact) -> dict[str, str]:
    """A policy's training in Markdown: reward and length over the steps, and the looks at what is held out."""
    curve, stats = pl.read_parquet(artifact.table("curve")), artifact.record.stats
    steps = curve["step"].to_list()
    lines = ["| step | held out |", "|--:|--:|", *(f"| {step} | {100 * score:.1f} % |" for step, score in stats["looks"].items())]
    if stats["stopped"]:
        lines.append(f"\nStopped: {stats['stopped']}.")
    return {
        "reward": plots.markdown(plots.png({"reward": (steps, curve["reward"].to_list())}, "step", "mean reward")),
        "length": plots.markdown(plots.png({"length": (steps, curve["length"].to_list())}, "step", "tokens of a solution")),
        "held_out": "\n".join(lines),
    }


RL_CHECKPOINT = Stage(
    name="rl_checkpoint",
    build=build_rl_checkpoint,
    code_version="1",
    rooms=("llm_assets.reinforcement.rl_checkpoint", "llm_assets.reinforcement.train", "llm_assets.reinforcement.checking", "llm_assets.reinforcement.problems", "llm_assets.model", "llm_assets.tools"),
    inputs=("sft_checkpoint", "practice_problems", "search_index"),
    literals=lambda recipe, _: {
        "reinforcement": recipe.reinforcement, "tools": recipe.tools,
        "pretraining": {"learning_rate": recipe.pretraining.learning_rate, "matrix_learning_rate": recipe.pretraining.matrix_learning_rate, "clip": recipe.pretraining.clip, "muon": recipe.pretraining.muon},
    },
    tables={"curve": PolicyCurve},
    optional_tables={"looks": PolicyLooks, "solutions": Solutions},
    libraries=("torch", "safetensors", "numpy", "pydantic-monty"),
)  # fmt: skip
