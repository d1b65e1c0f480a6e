"""`scorecard`: the whole road from crawl to assistant on one page: what each stage left, what it brought, what it cost.

It tells times, so it is the one artifact whose bytes are not the same in every run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.dialogue.transcript import from_rows, transcript
from llm_assets.evaluation.abilities import GROUPS, INSTRUCTION
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.model.devices import find_device, find_gpus
from llm_assets.recipes import Recipe
from llm_assets.recipes.crawls import crawls_of
from llm_assets.report import plots, render
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import guard_series
from llm_assets.training.training_run import loss_series

from .schemas import Costs, Transcripts

MODULE = "llm_assets.release.ask"
REPORT = "scorecard.html"
FUNNEL = {"raw_warc": "captures", "filtered_urls": "urls", "extracted_text": "text", "language_filtered_text": "text", "quality_filtered_text": "text", "deduplicated_text": "text", "clean_corpus": "text"}  # tables
MODELS = {"base": "base_checkpoint", "sft": "sft_checkpoint", "rl": "rl_checkpoint", "rlhf": "rlhf_checkpoint"}
CHECKPOINTS = ("base_checkpoint", "sft_checkpoint", "unmitigated_checkpoint", "rl_checkpoint", "reward_checkpoint", "rlhf_checkpoint")
OTHERS = (
    "url_blocklists", "quality_classifier", "text_statistics", "text_signatures", "reject_ledger", "corpus_report", "tokenizer", "token_shards", "base_evaluation", "search_index", "knowledge_boundary", "conversations", "sft_evaluation",
    "practice_problems", "rl_evaluation", "response_pairs", "human_rankings", "rlhf_evaluation",
)  # fmt: skip
SHOWN = ("known", "known_elsewhere", "nowhere", "search", "sums", "letters")  # groups of which prompts are shown
CORE_WATTS = 15.0  # of a core under load: 65 to 125 W of a desktop's or server's four to eight


def build_scorecard(step: Step, recipe: Recipe) -> None:
    """One part; the models are asked in a process of its own."""
    settings = recipe.scorecard
    prompts = chosen_prompts(step.input("conversations"), step.input("response_pairs"), settings.prompts)
    topics = pl.concat([pl.read_parquet(path) for path in step.input("knowledge_boundary").table("topics")])
    known = topics.filter((pl.col("verdict") == "known") & ~pl.col("kept_apart")).unique("relation", maintain_order=True).head(3)
    examples = [[json.loads(row["questions"])[0], row["sentence"]] for row in known.to_dicts()] + [["What is 3 + 4?", "3 + 4 = 7."]]
    job = {
        "models": {name: str(step.input(asset).path) for name, asset in MODELS.items()}, "prompts": prompts, "max_tokens": recipe.sft_evaluation.max_tokens, "device": recipe.sft_evaluation.device,
        "base": {"max_tokens": recipe.sft_evaluation.max_tokens, "instruction": INSTRUCTION, "examples": examples}, "toolbox": toolbox_job(step.input("search_index"), recipe.tools),
    }  # fmt: skip
    results = measure(step, MODULE, job, step.staging / "asking")
    said = transcripts(prompts, results)
    spent = costs(step.inputs, settings.watts)
    of = {name: step.input(name).record.stats for name in (*CHECKPOINTS, "base_evaluation", "sft_evaluation", "rl_evaluation", "rlhf_evaluation", "tokenizer", "human_rankings")}
    looks = [{"step": int(one), **values} for one, values in of["rlhf_checkpoint"]["guard"].items()]
    curve = pl.read_parquet(step.input("rl_checkpoint").table("curve"))
    drawn = {
        "base": plots.svg(loss_series(pl.read_parquet(step.input("base_checkpoint").table("curve"))), "step", "loss, nats a token"),
        "sft": plots.svg(loss_series(pl.read_parquet(step.input("sft_checkpoint").table("curve"))), "step", "loss, nats a token"),
        "rl": plots.svg({"reward": (curve["step"].to_list(), curve["reward"].to_list())}, "step", "mean reward"),
        "length": plots.svg({"length": (curve["step"].to_list(), curve["length"].to_list())}, "step", "tokens of a solution"),
        "guard": plots.svg(guard_series(looks), "divergence, nats a token", "deviations at the start", marks=True),
    }  # fmt: skip
    with step.part("scorecard") as part:
        part.table("transcripts", Transcripts).frame(said)
        part.table("costs", Costs).frame(spent)
        page = render(
            __package__, "scorecard.html.j2", recipe=recipe, funnel=funnel(step.inputs, recipe), of=of, groups=GROUPS, models=list(MODELS), said=said.to_dicts(), costs=by_stage(spent), total=total(spent), plots=drawn,
            tokens={crawl: step.inputs[f"token_shards/{crawl}"].record.stats for crawl in crawls_of(recipe)}, simulated=recipe.human_rankings.simulated is not None,
            identities=[{"key": key, "identity": one.record.short, "data_version": one.data_version[:16], "code_version": one.record.fields.get("code_version", "")} for key, one in sorted(step.inputs.items())],
        )  # fmt: skip
        write_atomic(step.staging / REPORT, page.encode("utf-8", "replace"))
        part.add_file(REPORT)
        part.stats.update(total(spent))


def funnel(inputs: Mapping[str, Artifact], recipe: Recipe) -> list[dict[str, Any]]:
    """Pages left after each stage, by crawl; width: per cent of the first stage's of all crawls."""
    rows = []
    for stage, table in FUNNEL.items():
        counts = {crawl: inputs[f"{stage}/{crawl}"].record.rows.get(table, 0) for crawl in recipe.corpus()}
        rows.append({"stage": stage, "counts": counts, "pages": sum(counts.values())})
    return [{**row, "width": round(100 * row["pages"] / max(rows[0]["pages"], 1), 1)} for row in rows]


def chosen_prompts(conversations: Artifact, pairs: Artifact, most: int) -> list[dict[str, Any]]:
    """Prompts of each kind, the first of the evaluation's, and open ones that no model was tuned on."""
    asked = pl.concat([pl.read_parquet(path) for path in conversations.table("evaluation")])
    found = []
    for group in SHOWN:
        tools = {"search": "search", "sums": "python", "letters": "python"}.get(group, "")
        found += [{"kind": group, "question": row["question"], "tools": tools, "expected": "; ".join(json.loads(row["answers"]))} for row in asked.filter((pl.col("group") == group) & (pl.col("tools") == tools)).head(most).iter_rows(named=True)]
    manners = asked.filter(~pl.col("group").is_in(list(GROUPS))).unique("group", maintain_order=True).head(most)
    found += [{"kind": "guidelines", "question": row["question"], "tools": "", "expected": ""} for row in manners.iter_rows(named=True)]
    prompts = pl.concat([pl.read_parquet(path) for path in pairs.table("prompts")]).filter(pl.col("split") == "unseen").head(most)
    found += [{"kind": "open", "question": question, "tools": "", "expected": ""} for question in prompts["question"]]
    return [{"number": number, **one} for number, one in enumerate(found)]


def transcripts(prompts: Sequence[Mapping[str, Any]], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row a prompt and model (schema Transcripts)."""
    rows = []
    for prompt in prompts:
        for model in MODELS:
            answer = next(one for one in results[model] if one["number"] == prompt["number"])
            shown = transcript(from_rows(answer["messages"]), "unnamed")
            rows.append({"number": prompt["number"], "kind": prompt["kind"], "question": prompt["question"], "expected": prompt["expected"], "model": model, "text": shown})
    return pl.DataFrame(rows, schema_overrides={"number": pl.Int64})


def costs(inputs: Mapping[str, Artifact], watts: float) -> pl.DataFrame:
    """What each artifact took when it was built (schema Costs). Energy is an estimate: seconds of a training on GPUs by their rated power, CPU
    seconds by 15 W; or by `watts` a device where they are given.
    """
    gpus, _, name = find_gpus("auto")
    known = find_device(name) if gpus else None
    rows = []
    for key, artifact in sorted(inputs.items()):
        timings, stats = artifact.record.timings, artifact.record.stats
        actual = stats.get("actual", {})
        gpu_seconds = float(actual.get("seconds", 0.0)) * gpus
        cpu_seconds = float(timings.get("cpu_seconds", 0.0)) + float(actual.get("cpu_seconds", 0.0))
        power = watts or (known.watts if known else 0.0)
        joules = gpu_seconds * power + cpu_seconds * (watts if watts and not gpus else CORE_WATTS)
        rows.append({"key": key, "stage": key.split("/")[0], "seconds": float(timings.get("seconds", 0.0)), "cpu_seconds": cpu_seconds, "gpu_seconds": gpu_seconds, "flops": float(stats.get("flops", 0.0)), "watt_hours": joules / 3600, "bytes": artifact.record.total_bytes})
    return pl.DataFrame(rows)


def by_stage(spent: pl.DataFrame) -> list[dict[str, Any]]:
    """Costs of each stage over its crawls, the longest first; width: per cent of the longest."""
    rows = spent.group_by("stage", maintain_order=True).agg(pl.col("seconds", "cpu_seconds", "gpu_seconds", "flops", "watt_hours", "bytes").sum()).sort("seconds", descending=True)
    most = max(rows["seconds"].max() or 1.0, 1e-9)  # type: ignore[type-var]
    return [{**row, "width": round(100 * row["seconds"] / most, 1)} for row in rows.iter_rows(named=True)]  # type: ignore[operator]


def total(spent: pl.DataFrame) -> dict[str, float]:
    """Sums of all costs."""
    return {name: round(float(spent[name].sum()), 3) for name in ("seconds", "cpu_seconds", "gpu_seconds", "flops", "watt_hours", "bytes")}


def preview(scorecard: Artifact, shown: int = 8) -> str:
    """What it cost, in Markdown, for Dagster's page of the asset."""
    spent = pl.concat([pl.read_parquet(path) for path in scorecard.table("costs")])
    sums = total(spent)
    lines = [f"{sums['seconds']:,.0f} s, {sums['cpu_seconds']:,.0f} CPU seconds, {sums['flops']:.2e} FLOPs, about {sums['watt_hours']:,.1f} Wh", "", "| stage | seconds |", "|---|--:|"]
    return "\n".join([*lines, *(f"| {row['stage']} | {row['seconds']:,.1f} |" for row in by_stage(spent)[:shown])])


def _literals(recipe: Recipe) -> dict[str, Any]:
    return {"scorecard": recipe.scorecard, "tools": recipe.tools, "max_tokens": recipe.sft_evaluation.max_tokens, "crawls": crawls_of(recipe), "corpus": recipe.corpus(), "simulated": recipe.human_rankings.simulated is not None, "name": recipe.name}



SCORECARD = Stage(
    name="scorecard",
    build=build_scorecard,
    code_version="1",
    rooms=(
        "llm_assets.release.scorecard",
        "llm_assets.release.ask",
        "llm_assets.dialogue.transcript",
        "llm_assets.evaluation",
        "llm_assets.model",
        "llm_assets.tools",
    ),
    inputs=(*FUNNEL, *CHECKPOINTS, *OTHERS),
    literals=lambda recipe, _: _literals(recipe),
    tables={"transcripts": Transcripts, "costs": Costs},
    libraries=("torch", "numpy", "polars", "jinja2", "matplotlib", "pydantic-monty"),
)
