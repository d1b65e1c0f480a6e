"""`scorecard`: the whole pipeline on one page: pages left by each stage, evaluations, answers side by side, costs.

It holds measured times, so it is the only artifact whose bytes differ between runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.artifacts.views import View
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.dialogue.splits import HeldOutSplit
from llm_assets.evaluation.abilities import GROUPS, GUIDELINES, is_of_file, title_of, wanted
from llm_assets.evaluation.figures import ABLATION, EVALUATION, MODELS, find, read_figures, released_model
from llm_assets.evaluation.matrix import OPEN_ANSWERS, Matrix, matrix, metric_matrix
from llm_assets.evaluation.schemas import EvaluationRows
from llm_assets.model.devices import find_device, find_gpus
from llm_assets.recipes.frozen import Frozen
from llm_assets.report import plots, render
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.training.policy_run import monitor_series
from llm_assets.training.training_run import loss_series

from .benchmark_figures import SUITE, main_metrics
from .schemas import Costs, Transcripts

REPORT = "scorecard.html"
TEMPLATE = "scorecard.html.j2"
# Stages from captures to text, each with the table whose rows are the pages left.
FUNNEL = {
    "raw_warc": "captures",
    "filtered_urls": "urls",
    "extracted_text": "text",
    "language_filtered_text": "text",
    "quality_filtered_text": "text",
    "deduplicated_text": "text",
    "clean_corpus": "text",
}
SHOWN_MODELS = tuple(model for model in MODELS if model != ABLATION)  # whose answers stand side by side
CHECKPOINTS = (
    "base_checkpoint",
    "sft_checkpoint",
    "ablation_checkpoint",
    "rl_checkpoint",
    "reward_checkpoint",
    "rlhf_checkpoint",
    "dpo_checkpoint",
)
EVALUATIONS = ("base_evaluation", "sft_evaluation", "rl_evaluation", "rlhf_evaluation", "dpo_evaluation")
OTHER_INPUTS = (
    "url_blocklists",
    "quality_classifier",
    "text_statistics",
    "text_signatures",
    "reject_ledger",
    TRAINING_PAGES,
    "tokenizer",
    "token_shards",
    "base_evaluation",
    TRAINING_SEARCH,
    "knowledge_boundary",
    "conversations",
    "sft_evaluation",
    "practice_problems",
    "rl_evaluation",
    "response_pairs",
    "human_rankings",
    "rlhf_evaluation",
    "dpo_evaluation",
)
BENCHMARKS = "benchmark_evaluation"  # which a recipe that names no benchmarks leaves out
# What recipes may leave out, or build on demand only: what reads crawls, what compares, and all training after SFT.
# The last model that a recipe trains is the released one.
OF_CRAWLS = (*FUNNEL, "text_statistics", "text_signatures", "reject_ledger", TRAINING_PAGES, "token_shards")
OF_RANKINGS = (
    "response_pairs",
    "human_rankings",
    "reward_checkpoint",
    "rlhf_checkpoint",
    "rlhf_evaluation",
    "dpo_checkpoint",
    "dpo_evaluation",
)
OPTIONAL = (
    *OF_CRAWLS,
    "base_evaluation",
    "ablation_checkpoint",
    "practice_problems",
    "rl_checkpoint",
    "rl_evaluation",
    *OF_RANKINGS,
    BENCHMARKS,
)
# Groups of the evaluation from which prompts are shown, with the tools of these prompts.
SHOWN_GROUPS = {
    "known": "",
    "known_elsewhere": "",
    "fictitious": "",
    "search": "search",
    "sums": "python",
    "letters": "python",
}
# Power of one CPU core under load: desktop and server CPUs take 65 to 125 W for four to eight cores.
CORE_WATTS = 15.0
COSTS = ("seconds", "cpu_seconds", "gpu_seconds", "flops", "watt_hours", "bytes")  # columns that can be added up


class ScorecardConfig(Frozen):
    """What the page shows and says.

    prompts: of each kind, whose answers stand side by side. watts: power of one device while it trains; 0 takes the
    rated power of known GPUs. assistant: its name. simulated: whether no person ranked anything. split: that the
    evaluations ask.
    """

    prompts: int
    watts: float
    assistant: str
    simulated: bool
    split: HeldOutSplit


def build_scorecard(step: Step, config: ScorecardConfig) -> None:
    """Build the artifact as one task, from the tables of the evaluations."""
    cost_rows = costs(step.inputs, config.watts)
    with step.task("scorecard") as task:
        task.table(EVALUATION, EvaluationRows).frame(read_figures(*evaluations(step.inputs)))
        task.table("transcripts", Transcripts).frame(transcripts(step.inputs, config.prompts))
        task.table("costs", Costs).frame(cost_rows)
        task.stats.update(total(cost_rows))


def draw_scorecard(scorecard: Artifact, inputs: Inputs, config: ScorecardConfig) -> str:
    """Draw the HTML page."""
    cost_rows, evaluation = read_table(scorecard.table("costs")), read_figures(scorecard)
    assets = [name for name in (*CHECKPOINTS, "tokenizer", "human_rankings") if name in inputs]
    released = released_model(inputs)
    return render(
        __package__,
        TEMPLATE,
        funnel=funnel(inputs),
        stats={name: inputs.artifact(name).record.stats for name in assets},
        title=title_of,
        predictors=find(evaluation, suite="text", metric="bits_per_byte").sort("value").to_dicts(),
        orders=find(evaluation, suite="preference").to_dicts(),
        settled=settled(inputs),
        changes_since=changes_since(inputs),
        matrices=matrices(evaluation, released),
        released=released,
        transcripts=read_table(scorecard.table("transcripts")).to_dicts(),
        costs=by_stage(cost_rows),
        total=total(cost_rows),
        plots=draw_plots(inputs),
        tokens={crawl: shards.record.stats for crawl, shards in inputs.by_crawl("token_shards").items()},
        assistant=config.assistant,
        simulated=config.simulated,
        split=config.split,
        identities=[
            {
                "key": key,
                "identity": artifact.record.short_id,
                "data_version": artifact.data_version[:16],
                "code_version": artifact.record.fields.get("code_version", ""),
            }
            for key, artifact in sorted(inputs.items())
        ],
    )


def settled(inputs: Inputs) -> str:
    """What the last training was, in words: how the released model came about."""
    phrases = {
        "rlhf": "tuned to rankings by RLHF",
        "dpo": "tuned to rankings by DPO",
        "rl": "trained by reinforcement learning; the recipe names no rankings, so there is no preference tuning",
        "sft": "fine-tuned; the recipe has neither reinforcement learning nor rankings",
    }
    return phrases[released_model(inputs)]


def changes_since(inputs: Inputs) -> str:
    """Since which training stages the page shows what preference tuning changed; empty without preference tuning."""
    if released_model(inputs) not in ("rlhf", "dpo"):
        return ""
    return "since SFT, and since reinforcement learning" if "rl_evaluation" in inputs else "since SFT"


def evaluations(inputs: Inputs) -> list[Artifact]:
    """The evaluations that the recipe builds, in the order of the models' training."""
    return [inputs.artifact(name) for name in (*EVALUATIONS, BENCHMARKS) if name in inputs]


def matrices(evaluation: pl.DataFrame, released: str) -> dict[str, Matrix]:
    """The figures that the page shows as models by groups; the column of the `released` model is marked."""
    facts = find(evaluation, metric="right")
    changes = {f"changes_{before}": f"change from {before}" for before in ("sft", "rl")}
    first = main_metrics(evaluation)
    by_name = {
        "facts": matrix(facts, "text", "right"),
        "questions": matrix(evaluation, "questions", wanted, title_of),
        "problems": matrix(evaluation, "problems", "pass@1"),
        "open": metric_matrix(evaluation, "open_answers", "open prompts", OPEN_ANSWERS),
        "benchmarks": matrix(evaluation, SUITE, first.__getitem__, lambda task: f"{task} ({first[task]})"),
        **{name: matrix(evaluation, "questions", metric, title_of, "neither") for name, metric in changes.items()},
    }
    return {name: replace(figures, released=released) for name, figures in by_name.items()}


def draw_plots(inputs: Inputs) -> dict[str, str]:
    """The training curves as SVG, by name; empty for those of models that the recipe does not train."""
    curves = {
        name: read_table(inputs.artifact(MODELS[name]).table("curve"))
        for name in ("base", "sft", "rl", "dpo")
        if MODELS[name] in inputs
    }
    losses = {"base": "loss, nats per token", "sft": "loss, nats per token", "dpo": "loss of a pair"}
    curves_as_svg = dict.fromkeys(("base", "sft", "rl", "length", "dpo", "monitor"), "") | {
        name: plots.svg(loss_series(curves[name]), "step", loss)
        for name, loss in losses.items()
        if name in curves and len(curves[name])  # a published model that is used as it is has no curve
    }
    if "rl" in curves:
        steps, reward, length = (curves["rl"][name].to_list() for name in ("step", "reward", "length"))
        curves_as_svg["rl"] = plots.svg({"reward": (steps, reward)}, "step", "mean reward")
        curves_as_svg["length"] = plots.svg({"length": (steps, length)}, "step", "tokens per solution")
    if "rlhf_checkpoint" in inputs:
        monitor = inputs.artifact("rlhf_checkpoint").record.stats["monitor"]
        curves_as_svg["monitor"] = plots.svg(
            monitor_series([{"step": int(step), **values} for step, values in monitor.items()]),
            "divergence, nats per token",
            "score, standard deviations at the start",
            marks=True,
        )
    return curves_as_svg


def funnel(inputs: Inputs) -> list[dict[str, Any]]:
    """Pages left after each stage, by crawl and in total. width: per cent of the captures of all crawls."""
    rows: list[dict[str, Any]] = []
    for stage, table in FUNNEL.items():
        counts = {crawl: artifact.record.rows.get(table, 0) for crawl, artifact in inputs.by_crawl(stage).items()}
        rows.append({"stage": stage, "counts": counts, "pages": sum(counts.values())})
    if TRAINING_PAGES not in inputs:  # a recipe without crawls
        return []
    # One task per crawl, whose pages are those that are current and that the models read.
    tasks = inputs.artifact(TRAINING_PAGES).record.tasks
    counts = {crawl: tasks.get(crawl, {}).get("rows", {}).get("pages", 0) for crawl in rows[-1]["counts"]}
    rows.append({"stage": TRAINING_PAGES, "counts": counts, "pages": sum(counts.values())})
    captures = max(rows[0]["pages"], 1)
    return [{**row, "width": round(100 * row["pages"] / captures, 1)} for row in rows]


def transcripts(inputs: Inputs, count: int) -> pl.DataFrame:
    """The models' answers to the first `count` prompts of each kind, side by side (schema Transcripts).

    Kinds are groups of the evaluation, questions on the guidelines (one per part of them), and open prompts, which
    are evaluated after RLHF.
    """
    answers = pl.concat(
        [read_table(inputs.artifact(name).table("answers")) for name in EVALUATIONS[1:] if name in inputs]
    )
    questions = answers.filter(pl.col("model") == "sft").sort("number")
    of_groups = [
        questions.filter((pl.col("group") == group) & (pl.col("tools") == tools))
        .head(count)
        .with_columns(kind=pl.lit(group))
        for group, tools in SHOWN_GROUPS.items()
    ]
    own_groups = [group for group in questions["group"].unique(maintain_order=True) if is_of_file(group)]
    of_groups += [
        questions.filter(pl.col("group") == group).head(count).with_columns(kind=pl.lit(group)) for group in own_groups
    ]
    on_guidelines = questions.filter(~pl.col("group").is_in([*GROUPS, *own_groups])).unique(
        "group", maintain_order=True
    )
    chosen = pl.concat([*of_groups, on_guidelines.head(count).with_columns(kind=pl.lit(GUIDELINES))])
    closed = chosen.select("number", "kind").join(answers, on="number", maintain_order="left")
    columns = ("number", "kind", "question", "expected", "model", "text")
    texts = closed.with_columns(text=pl.col("transcript").str.strip_prefix("assistant: "))
    side_by_side = texts.select(columns)
    if "rlhf_evaluation" in inputs:
        opened = _open_transcripts(inputs.artifact("rlhf_evaluation"), count, len(questions))
        side_by_side = pl.concat([side_by_side, opened.select(columns)])
    # The models in the order of their training, the prompts as chosen.
    order = pl.col("model").replace_strict({model: place for place, model in enumerate(MODELS)}, return_dtype=pl.Int64)
    shown = side_by_side.filter(pl.col("model").is_in(SHOWN_MODELS))
    return shown.with_columns(place=order).sort("number", "place").drop("place")


def _open_transcripts(evaluation: Artifact, count: int, numbered_from: int) -> pl.DataFrame:
    """The models' answers to the first `count` open prompts; of several answers to a prompt, the first."""
    open_answers = read_table(evaluation.table("open_answers"))
    first = open_answers.unique(["model", "prompt"], keep="first", maintain_order=True)
    prompts = first["prompt"].unique(maintain_order=True).head(count).to_list()
    return first.filter(pl.col("prompt").is_in(prompts)).with_columns(
        kind=pl.lit("open"), expected=pl.lit(""), number=pl.col("prompt") + numbered_from
    )


def costs(inputs: Mapping[str, Artifact], watts: float) -> pl.DataFrame:
    """What building each artifact cost (schema Costs).

    The energy is an estimate: the rated power of the GPUs for the seconds that they trained, and 15 W for every CPU
    second. watts: power of one device instead, unless 0.
    """
    gpus, _, name = find_gpus("auto")
    known_gpu = find_device(name) if gpus else None
    gpu_watts = watts or (known_gpu.watts if known_gpu else 0.0)
    core_watts = watts if watts and not gpus else CORE_WATTS
    rows = []
    for key, artifact in sorted(inputs.items()):
        timings, stats = artifact.record.timings, artifact.record.stats
        training = stats.get("actual", {})
        gpu_seconds = float(training.get("seconds", 0.0)) * gpus
        cpu_seconds = float(timings.get("cpu_seconds", 0.0)) + float(training.get("cpu_seconds", 0.0))
        joules = gpu_seconds * gpu_watts + cpu_seconds * core_watts
        rows.append(
            {
                "key": key,
                "stage": key.split("/")[0],
                "seconds": float(timings.get("seconds", 0.0)),
                "cpu_seconds": cpu_seconds,
                "gpu_seconds": gpu_seconds,
                "flops": float(stats.get("flops", 0.0)),
                "watt_hours": joules / 3600,
                "bytes": artifact.record.total_bytes,
            }
        )
    return pl.DataFrame(rows)


def by_stage(cost_rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Costs of each stage over all its crawls, longest first. width: per cent of the longest."""
    stages = cost_rows.group_by("stage", maintain_order=True).agg(pl.col(COSTS).sum()).sort("seconds", descending=True)
    longest = max(stages["seconds"].max() or 1.0, 1e-9)  # type: ignore[type-var]
    return [
        {**row, "width": round(100 * row["seconds"] / longest, 1)}  # type: ignore[operator]
        for row in stages.iter_rows(named=True)
    ]


def total(cost_rows: pl.DataFrame) -> dict[str, float]:
    """The sum of every cost over all artifacts."""
    return {name: round(float(cost_rows[name].sum()), 3) for name in COSTS}


def show(scorecard: Artifact, stages: int = 8) -> dict[str, str]:
    """Total costs and the slowest stages, in Markdown for Dagster."""
    cost_rows = read_table(scorecard.table("costs"))
    sums = total(cost_rows)
    lines = [
        f"{sums['seconds']:,.0f} s, {sums['cpu_seconds']:,.0f} CPU seconds, {sums['flops']:.2e} FLOPs, "
        f"about {sums['watt_hours']:,.1f} Wh",
        "",
        "| stage | seconds |",
        "|---|--:|",
        *(f"| {row['stage']} | {row['seconds']:,.1f} |" for row in by_stage(cost_rows)[:stages]),
    ]
    return {"summary": "\n".join(lines)}


SCORECARD = Stage(
    name="scorecard",
    group="release",
    description="The whole pipeline on one page: pages left by each stage, training curves, evaluations before and "
    "after each stage, answers of all models side by side, costs.",
    kinds=("html",),
    build=build_scorecard,
    config=lambda recipe, crawl: ScorecardConfig(
        prompts=recipe.scorecard.prompts,
        watts=recipe.scorecard.watts,
        assistant=recipe.conversations.name,
        simulated=recipe.human_rankings.simulated is not None,
        split=recipe.evaluation_split,
    ),
    code_version="3",
    inputs=(*FUNNEL, *CHECKPOINTS, *OTHER_INPUTS, BENCHMARKS),
    optional_inputs=OPTIONAL,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={EVALUATION: EvaluationRows, "transcripts": Transcripts, "costs": Costs},
    main_table=EVALUATION,
    views=(View(REPORT, draw_scorecard, (TEMPLATE,)),),
    show=show,
    libraries=("polars", "jinja2", "matplotlib"),
)
