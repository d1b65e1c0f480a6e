"""`scorecard`: the whole pipeline on one page: pages left by each stage, evaluations, answers side by side, costs.

It holds measured times, so it is the only artifact whose bytes differ between runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import polars as pl

from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.artifacts.views import View
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.dialogue.transcript import from_rows, transcript
from llm_assets.evaluation.abilities import GROUPS, GUIDELINES, INSTRUCTION
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.jobs import BasePrompting
from llm_assets.model.devices import find_device, find_gpus
from llm_assets.recipes.finetuning import Tools
from llm_assets.recipes.frozen import Frozen
from llm_assets.report import plots, render
from llm_assets.tools.search import TRAINING_SEARCH
from llm_assets.tools.toolbox import toolbox_job
from llm_assets.training.policy_run import monitor_series
from llm_assets.training.training_run import loss_series

from .jobs import AnswerJob, Prompt
from .schemas import Costs, Transcripts

MODULE = "llm_assets.release.scorecard_process"
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
MODELS = {"base": "base_checkpoint", "sft": "sft_checkpoint", "rl": "rl_checkpoint", "rlhf": "rlhf_checkpoint"}
CHECKPOINTS = (
    "base_checkpoint",
    "sft_checkpoint",
    "ablation_checkpoint",
    "rl_checkpoint",
    "reward_checkpoint",
    "rlhf_checkpoint",
)
EVALUATIONS = ("base_evaluation", "sft_evaluation", "rl_evaluation", "rlhf_evaluation")
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
    """Prompts and tools of the answers side by side; what the page says about the assistant and its rankings.

    prompts: number of prompts of each kind. max_tokens: limit of each answer. watts: power of one device while it
    trains; 0 takes the rated power of known GPUs.
    """

    prompts: int
    max_tokens: int
    tools: Tools
    watts: float
    assistant: str
    simulated: bool
    device: Annotated[str, EXECUTION_ONLY] = "auto"


def build_scorecard(step: Step, config: ScorecardConfig) -> None:
    """Build the artifact as one task. The models answer in a separate process."""
    prompts = chosen_prompts(step.input("conversations"), step.input("response_pairs"), config.prompts)
    job = AnswerJob(
        models={name: str(step.input(asset).path) for name, asset in MODELS.items()},
        prompts=tuple(prompts),
        max_tokens=config.max_tokens,
        device=config.device,
        base=BasePrompting(config.max_tokens, INSTRUCTION, base_examples(step.input("knowledge_boundary"))),
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "answers")
    cost_rows = costs(step.inputs, config.watts)
    with step.task("scorecard") as task:
        task.table("transcripts", Transcripts).frame(transcripts(prompts, results))
        task.table("costs", Costs).frame(cost_rows)
        task.stats.update(total(cost_rows))


def base_examples(knowledge: Artifact) -> tuple[tuple[str, str], ...]:
    """Example questions and answers for the base model: three facts that it knows, and a sum."""
    topics = read_table(knowledge.table("topics"))
    known = topics.filter((pl.col("verdict") == "known") & ~pl.col("held_out"))
    rows = known.unique("relation", maintain_order=True).head(3).to_dicts()
    return (*((json.loads(row["questions"])[0], row["sentence"]) for row in rows), ("What is 3 + 4?", "3 + 4 = 7."))


def draw_scorecard(scorecard: Artifact, inputs: Inputs, config: ScorecardConfig) -> str:
    """Draw the HTML page."""
    cost_rows = read_table(scorecard.table("costs"))
    assets = (*CHECKPOINTS, *EVALUATIONS, "tokenizer", "human_rankings")
    return render(
        __package__,
        TEMPLATE,
        funnel=funnel(inputs),
        stats={name: inputs.artifact(name).record.stats for name in assets},
        groups=GROUPS,
        transcripts=read_table(scorecard.table("transcripts")).to_dicts(),
        costs=by_stage(cost_rows),
        total=total(cost_rows),
        plots=figures(inputs),
        tokens={crawl: shards.record.stats for crawl, shards in inputs.by_crawl("token_shards").items()},
        assistant=config.assistant,
        simulated=config.simulated,
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


def figures(inputs: Inputs) -> dict[str, str]:
    """The training curves, as SVG."""
    curves = {name: read_table(inputs.artifact(asset).table("curve")) for name, asset in MODELS.items()}
    rl_curve = curves["rl"]
    steps = rl_curve["step"].to_list()
    monitor = inputs.artifact("rlhf_checkpoint").record.stats["monitor"]
    evaluations = [{"step": int(step), **values} for step, values in monitor.items()]
    loss = "loss, nats per token"
    return {
        "base": plots.svg(loss_series(curves["base"]), "step", loss),
        "sft": plots.svg(loss_series(curves["sft"]), "step", loss),
        "rl": plots.svg({"reward": (steps, rl_curve["reward"].to_list())}, "step", "mean reward"),
        "length": plots.svg({"length": (steps, rl_curve["length"].to_list())}, "step", "tokens per solution"),
        "monitor": plots.svg(
            monitor_series(evaluations),
            "divergence, nats per token",
            "score, standard deviations at the start",
            marks=True,
        ),
    }


def funnel(inputs: Inputs) -> list[dict[str, Any]]:
    """Pages left after each stage, by crawl and in total. width: per cent of the captures of all crawls."""
    rows: list[dict[str, Any]] = []
    for stage, table in FUNNEL.items():
        counts = {crawl: artifact.record.rows.get(table, 0) for crawl, artifact in inputs.by_crawl(stage).items()}
        rows.append({"stage": stage, "counts": counts, "pages": sum(counts.values())})
    # One task per crawl, whose pages are those that are current and that the models read.
    tasks = inputs.artifact(TRAINING_PAGES).record.tasks
    counts = {crawl: tasks.get(crawl, {}).get("rows", {}).get("pages", 0) for crawl in rows[-1]["counts"]}
    rows.append({"stage": TRAINING_PAGES, "counts": counts, "pages": sum(counts.values())})
    captures = max(rows[0]["pages"], 1)
    return [{**row, "width": round(100 * row["pages"] / captures, 1)} for row in rows]


def chosen_prompts(conversations: Artifact, pairs: Artifact, count: int) -> list[Prompt]:
    """The first `count` prompts of each kind.

    Kinds are groups of the evaluation, questions on the guidelines (one per part of them), and open prompts that no
    model was tuned on.
    """
    evaluation = read_table(conversations.table("evaluation"))
    prompts: list[dict[str, str]] = []
    for group, tools in SHOWN_GROUPS.items():
        of_group = evaluation.filter((pl.col("group") == group) & (pl.col("tools") == tools)).head(count)
        prompts += [
            {
                "kind": group,
                "question": row["question"],
                "tools": tools,
                "expected": "; ".join(json.loads(row["answers"])),
            }
            for row in of_group.iter_rows(named=True)
        ]
    on_guidelines = evaluation.filter(~pl.col("group").is_in(list(GROUPS))).unique("group", maintain_order=True)
    prompts += [{"kind": GUIDELINES, "question": question} for question in on_guidelines.head(count)["question"]]
    unseen = read_table(pairs.table("prompts")).filter(pl.col("split") == "unseen").head(count)
    prompts += [{"kind": "open", "question": question} for question in unseen["question"]]
    return [Prompt(number=number, **prompt) for number, prompt in enumerate(prompts)]


def transcripts(prompts: Sequence[Prompt], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row per prompt and model (schema Transcripts)."""
    rows = []
    for prompt in prompts:
        for model in MODELS:
            answer = next(answer for answer in results[model] if answer["number"] == prompt.number)
            rows.append(
                {
                    "number": prompt.number,
                    "kind": prompt.kind,
                    "question": prompt.question,
                    "expected": prompt.expected,
                    "model": model,
                    "text": transcript(from_rows(answer["messages"]), "unnamed"),
                }
            )
    return pl.DataFrame(rows, schema_overrides={"number": pl.Int64})


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
    kinds=("pytorch", "html"),
    build=build_scorecard,
    config=lambda recipe, crawl: ScorecardConfig(
        prompts=recipe.scorecard.prompts,
        max_tokens=recipe.sft_evaluation.max_tokens,
        tools=recipe.tools,
        watts=recipe.scorecard.watts,
        assistant=recipe.conversations.name,
        simulated=recipe.human_rankings.simulated is not None,
        device=recipe.sft_evaluation.device,
    ),
    code_version="2",
    inputs=(*FUNNEL, *CHECKPOINTS, *OTHER_INPUTS),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"transcripts": Transcripts, "costs": Costs},
    main_table="transcripts",
    views=(View(REPORT, draw_scorecard, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "pydantic-monty"),
    pool="gpu",
)
