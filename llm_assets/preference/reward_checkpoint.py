"""`reward_checkpoint`: a model of what was preferred; and, where people ranked, a second one of rankings kept apart, for the guard."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.compute import RESULTS
from llm_assets.model import REWARD_SCALE
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Recipe
from llm_assets.report import plots
from llm_assets.training.schemas import TrainingCurve
from llm_assets.training.training_run import (
    MODEL_FILES,
    add_files,
    follow,
    inherited,
    loss_series,
    optimisation,
    share_out,
)

from .response_pairs import PreferenceError
from .schemas import RewardLooks, RewardScores

MODULE = "llm_assets.preference.fit"
GOLD = "gold"  # folder of the second model, in the artifact
RULE, MODEL = "rule", "model"  # what the gold signal is
PLOT = "calibration.svg"
BINS = 8


def orders(rankings: pl.DataFrame, splits: Sequence[str]) -> list[dict[str, Any]]:
    """Rankings of these splits that are no ties, as preferred and other."""
    rows = rankings.filter(pl.col("split").is_in(list(splits)) & (pl.col("preferred") != "tie")).sort("pair", "labeller")
    return [
        {"pair": row["pair"], "question": row["question"], "preferred": row[row["preferred"]], "other": row["second" if row["preferred"] == "first" else "first"], "labeller": row["labeller"]}
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip


def fit(step: Step, recipe: Recipe, name: str, training: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]) -> None:
    """One part: a reward model of some rankings, with its files in the folder `name` ("" is the artifact's own)."""
    settings, sft = recipe.reward_training, step.input("sft_checkpoint")
    shape = ModelShape.load(sft.file("shape.json").read_text(), "sft_checkpoint")
    if len(training) < settings.pairs:
        raise PreferenceError(f"reward_checkpoint: {len(training)} rankings to train on are fewer than the {settings.pairs} of one step; rank more pairs, or lower reward_training.pairs")
    steps = max(1, round(settings.epochs * len(training) / settings.pairs))
    processes, _, _ = share_out(shape, settings.pairs, settings.device, settings.processes, settings.pass_pairs)
    rows = [[[one["question"], one["preferred"], one["other"]] for one in side] for side in (training, held_out)]
    job = {
        "checkpoint": str(sft.path), "train": rows[0], "held_out": rows[1], "steps": steps, "rows": 2 * settings.pairs, "pass_rows": 2 * settings.pass_pairs, "seed": settings.seed, "device": settings.device, "compile": False,
        "keep": settings.keep, "optimisation": optimisation(settings, recipe.pretraining, shape, settings.rate), "validate_every": -(-steps // settings.validations) if settings.validations else 0,
        "checkpoint_every": settings.checkpoint_every or max(10, steps // 4),
    }  # fmt: skip
    folder = step.staging / f"training-{name or 'reward'}"
    ends = follow(step, MODULE, job, folder, processes)
    results = json.loads((folder / RESULTS).read_text())
    last = max(folder.glob("step-*"))
    with step.part(name or "reward") as part:
        add_files(step, part, MODEL_FILES, last, sft, under=name)
        place = f"{name}/{REWARD_SCALE}" if name else REWARD_SCALE
        write_atomic(step.staging / place, json.dumps({"mean": results["mean"], "deviation": results["deviation"]}, indent=1).encode())
        part.add_file(place)
        scored = [{**held_out[number], "margin": margin} for number, margin in zip(results["measured"], results["margins"], strict=True)]
        accuracy = round(sum(one["margin"] > 0 for one in scored) / len(scored), 4) if scored else None
        numbers = {"rankings": len(training), "steps": steps, "too_long": results["too_long"], **({"accuracy": accuracy} if accuracy is not None else {})}
        if name:
            part.stats[name] = numbers
            return
        curve = pl.read_ndjson(folder / "curve.jsonl")
        part.table("curve", TrainingCurve).frame(curve)
        looks = [event for event in json.loads((last / "state.json").read_text())["values"]["events"] if event["kind"] == "validation"]
        if looks:
            part.table("looks", RewardLooks).frame(pl.DataFrame(looks))
        if scored:
            part.table("scores", RewardScores).frame(pl.DataFrame(scored))
            write_atomic(step.staging / PLOT, plots.svg(reliability(scored), "predicted chance of the answer that is told first", "how often it was preferred", marks=True).encode())
            part.add_file(PLOT)
        part.stats.update(numbers, held_out=len(scored), final_loss=round(float(curve["loss"].tail(10).mean()), 4))  # type: ignore[arg-type]
        if not ends.get("resumed"):
            part.stats["actual"] = {"seconds": ends["seconds"], "cpu_seconds": ends["cpu_seconds"]}


def build_reward_checkpoint(step: Step, recipe: Recipe) -> None:
    """One part, or two where people ranked."""
    rankings = pl.concat([pl.read_parquet(path) for path in step.input("human_rankings").table("rankings")])
    held_out = orders(rankings, ["held_out"])
    if not held_out:
        raise PreferenceError("reward_checkpoint: no ranking is held out; rank more pairs, or raise human_rankings.held_out")
    if gold_signal(recipe) == MODEL and step.finished(GOLD) is None:
        fit(step, recipe, GOLD, orders(rankings, ["gold"]), held_out)
    fit(step, recipe, "", orders(rankings, ["train"]), held_out)


def gold_signal(recipe: Recipe) -> str:
    """What the guard trusts: the simulated labeller's own rule, or a second reward model, of rankings that people gave and that are kept apart."""
    return RULE if recipe.human_rankings.simulated is not None else MODEL


def reliability(scored: Sequence[Mapping[str, Any]]) -> dict[str, plots.Series]:
    """Predicted and observed chance that the first of two answers is preferred, over bins of the prediction; a pair is told in both orders,
    so that the curve is symmetric about a half.
    """
    import math

    predicted = [(1 / (1 + math.exp(-one["margin"])), 1.0) for one in scored]
    predicted += [(1 - chance, 0.0) for chance, _ in predicted]
    bins: dict[int, list[tuple[float, float]]] = {}
    for chance, said in predicted:
        bins.setdefault(min(int(chance * BINS), BINS - 1), []).append((chance, said))
    means = [tuple(sum(values) / len(values) for values in zip(*found, strict=True)) for _, found in sorted(bins.items())]
    return {"reward model": ([x for x, _ in means], [y for _, y in means]), "as it should be": ([0.0, 1.0], [0.0, 1.0])}


def show(artifact: Artifact) -> dict[str, str]:
    """Loss, accuracy and calibration in Markdown, for Dagster's page of the asset."""
    stats = artifact.record.stats
    found = {"loss_curve": plots.markdown(plots.png(loss_series(pl.read_parquet(artifact.table("curve"))), "step", "loss, nats a pair")), "accuracy": f"{100 * stats['accuracy']:.1f} % of {stats['held_out']:,} held-out pairs are ordered as labellers did."}
    scored = pl.concat([pl.read_parquet(path) for path in artifact.table("scores")]).to_dicts()
    found["calibration"] = plots.markdown(plots.png(reliability(scored), "predicted", "observed", marks=True))
    return found


REWARD_CHECKPOINT = Stage(
    name="reward_checkpoint",
    build=build_reward_checkpoint,
    code_version="3",
    rooms=(
        "llm_assets.preference.reward_checkpoint",
        "llm_assets.preference.fit",
        "llm_assets.training",
        "llm_assets.model",
    ),
    inputs=("sft_checkpoint", "human_rankings"),
    literals=lambda recipe, _: {"reward_training": recipe.reward_training, "gold": gold_signal(recipe), "pretraining": inherited(recipe.pretraining)},
    tables={"curve": TrainingCurve, "scores": RewardScores},
    optional_tables={"looks": RewardLooks},
    libraries=("torch", "safetensors", "numpy"),
)
