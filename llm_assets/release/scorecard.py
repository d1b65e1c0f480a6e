"""`scorecard`: from crawl to assistant on one page: what each stage left, what it brought, what it cost.

It tells times, so it is the one artifact whose bytes are not the same in every run.
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
from llm_assets.artifacts.views import View
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.dialogue.transcript import from_rows, transcript
from llm_assets.evaluation.abilities import GROUPS, INSTRUCTION
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

from .jobs import AskJob, Prompt
from .schemas import Costs, Transcripts

MODULE = "llm_assets.release.scorecard_process"
REPORT = "scorecard.html"
TEMPLATE = "scorecard.html.j2"
# Stages from captures to text, with the table that holds what is left.
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
OTHERS = (
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
SHOWN = ("known", "known_elsewhere", "fictitious", "search", "sums", "letters")  # groups of which prompts are shown
CORE_WATTS = 15.0  # of a core under load: 65 to 125 W of a desktop's or server's four to eight


class ScorecardConfig(Frozen):
    """What every model is asked and with which tools; what the page says of the assistant and of its rankings.

    prompts: of each kind. max_tokens: of an answer. watts: power of one device while it trains; 0 takes what is known.
    """

    prompts: int
    max_tokens: int
    tools: Tools
    watts: float
    assistant: str
    simulated: bool
    device: Annotated[str, EXECUTION_ONLY] = "auto"


def build_scorecard(step: Step, config: ScorecardConfig) -> None:
    """One part; the models are asked in a process of its own."""
    prompts = chosen_prompts(step.input("conversations"), step.input("response_pairs"), config.prompts)
    job = AskJob(
        models={name: str(step.input(asset).path) for name, asset in MODELS.items()},
        prompts=tuple(prompts),
        max_tokens=config.max_tokens,
        device=config.device,
        base=BasePrompting(config.max_tokens, INSTRUCTION, base_examples(step.input("knowledge_boundary"))),
        toolbox=toolbox_job(step.input(TRAINING_SEARCH), config.tools),
    )
    results = measure(step, MODULE, job, step.staging / "asking")
    spent = costs(step.inputs, config.watts)
    with step.task("scorecard") as task:
        task.table("transcripts", Transcripts).frame(transcripts(prompts, results))
        task.table("costs", Costs).frame(spent)
        task.stats.update(total(spent))


def base_examples(knowledge: Artifact) -> tuple[tuple[str, str], ...]:
    """Questions with their answers that a base model is shown: things that it knows, and a sum."""
    topics = pl.concat([pl.read_parquet(path) for path in knowledge.table("topics")])
    known = topics.filter((pl.col("verdict") == "known") & ~pl.col("kept_apart"))
    rows = known.unique("relation", maintain_order=True).head(3).to_dicts()
    return (*((json.loads(row["questions"])[0], row["sentence"]) for row in rows), ("What is 3 + 4?", "3 + 4 = 7."))


def draw_scorecard(scorecard: Artifact, inputs: Inputs, config: ScorecardConfig) -> str:
    """The HTML page."""
    spent = pl.concat([pl.read_parquet(path) for path in scorecard.table("costs")])
    said = pl.concat([pl.read_parquet(path) for path in scorecard.table("transcripts")])
    named = (*CHECKPOINTS, *EVALUATIONS, "tokenizer", "human_rankings")
    return render(
        __package__,
        TEMPLATE,
        funnel=funnel(inputs),
        of={name: inputs.artifact(name).record.stats for name in named},
        groups=GROUPS,
        said=said.to_dicts(),
        costs=by_stage(spent),
        total=total(spent),
        plots=figures(inputs),
        tokens={crawl: shards.record.stats for crawl, shards in inputs.by_crawl("token_shards").items()},
        assistant=config.assistant,
        simulated=config.simulated,
        identities=[
            {
                "key": key,
                "identity": artifact.record.short,
                "data_version": artifact.data_version[:16],
                "code_version": artifact.record.fields.get("code_version", ""),
            }
            for key, artifact in sorted(inputs.items())
        ],
    )


def figures(inputs: Inputs) -> dict[str, str]:
    """The curves of the trainings, as SVG."""
    curves = {name: pl.read_parquet(inputs.artifact(asset).table("curve")) for name, asset in MODELS.items()}
    practice = curves["rl"]
    steps = practice["step"].to_list()
    monitor = inputs.artifact("rlhf_checkpoint").record.stats["monitor"]
    evaluations = [{"step": int(at), **values} for at, values in monitor.items()]
    loss = "loss, nats a token"
    return {
        "base": plots.svg(loss_series(curves["base"]), "step", loss),
        "sft": plots.svg(loss_series(curves["sft"]), "step", loss),
        "rl": plots.svg({"reward": (steps, practice["reward"].to_list())}, "step", "mean reward"),
        "length": plots.svg({"length": (steps, practice["length"].to_list())}, "step", "tokens of a solution"),
        "monitor": plots.svg(
            monitor_series(evaluations), "divergence, nats a token", "deviations at the start", marks=True
        ),
    }


def funnel(inputs: Inputs) -> list[dict[str, Any]]:
    """Pages left after each stage, by crawl; width: per cent of the first stage's of all crawls."""
    rows = []
    for stage, table in FUNNEL.items():
        counts = {crawl: artifact.record.rows.get(table, 0) for crawl, artifact in inputs.by_crawl(stage).items()}
        rows.append({"stage": stage, "counts": counts, "pages": sum(counts.values())})
    parts = inputs.artifact(TRAINING_PAGES).record.tasks  # one a crawl: the pages that are current, and read
    counts = {crawl: parts.get(crawl, {}).get("rows", {}).get("pages", 0) for crawl in rows[-1]["counts"]}
    rows.append({"stage": TRAINING_PAGES, "counts": counts, "pages": sum(counts.values())})
    return [{**row, "width": round(100 * row["pages"] / max(rows[0]["pages"], 1), 1)} for row in rows]


def chosen_prompts(conversations: Artifact, pairs: Artifact, most: int) -> list[Prompt]:
    """Prompts of each kind, the first of the evaluation's, and open ones that no model was tuned on."""
    asked = pl.concat([pl.read_parquet(path) for path in conversations.table("evaluation")])
    found: list[dict[str, str]] = []
    for group in SHOWN:
        tools = {"search": "search", "sums": "python", "letters": "python"}.get(group, "")
        of_group = asked.filter((pl.col("group") == group) & (pl.col("tools") == tools)).head(most)
        found += [
            {
                "kind": group,
                "question": row["question"],
                "tools": tools,
                "expected": "; ".join(json.loads(row["answers"])),
            }
            for row in of_group.iter_rows(named=True)
        ]
    manners = asked.filter(~pl.col("group").is_in(list(GROUPS))).unique("group", maintain_order=True).head(most)
    found += [{"kind": "guidelines", "question": row["question"]} for row in manners.iter_rows(named=True)]
    prompts = pl.concat([pl.read_parquet(path) for path in pairs.table("prompts")])
    unseen = prompts.filter(pl.col("split") == "unseen").head(most)
    found += [{"kind": "open", "question": question} for question in unseen["question"]]
    return [Prompt(number=number, **prompt) for number, prompt in enumerate(found)]


def transcripts(prompts: Sequence[Prompt], results: Mapping[str, Sequence[Mapping[str, Any]]]) -> pl.DataFrame:
    """One row a prompt and model (schema Transcripts)."""
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
    """What each artifact took when it was built (schema Costs). Energy is an estimate: seconds of a training on GPUs by
    their rated power, CPU seconds by 15 W; or by `watts` a device where they are given.
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


def by_stage(spent: pl.DataFrame) -> list[dict[str, Any]]:
    """Costs of each stage over its crawls, the longest first; width: per cent of the longest."""
    rows = (
        spent.group_by("stage", maintain_order=True)
        .agg(pl.col("seconds", "cpu_seconds", "gpu_seconds", "flops", "watt_hours", "bytes").sum())
        .sort("seconds", descending=True)
    )
    most = max(rows["seconds"].max() or 1.0, 1e-9)  # type: ignore[type-var]
    return [
        {**row, "width": round(100 * row["seconds"] / most, 1)}  # type: ignore[operator]
        for row in rows.iter_rows(named=True)
    ]


def total(spent: pl.DataFrame) -> dict[str, float]:
    """Sums of all costs."""
    return {
        name: round(float(spent[name].sum()), 3)
        for name in ("seconds", "cpu_seconds", "gpu_seconds", "flops", "watt_hours", "bytes")
    }


def show(scorecard: Artifact, most: int = 8) -> dict[str, str]:
    """What it cost, in Markdown, for Dagster's page of the asset."""
    spent = pl.concat([pl.read_parquet(path) for path in scorecard.table("costs")])
    sums = total(spent)
    lines = [
        f"{sums['seconds']:,.0f} s, {sums['cpu_seconds']:,.0f} CPU seconds, {sums['flops']:.2e} FLOPs, "
        f"about {sums['watt_hours']:,.1f} Wh",
        "",
        "| stage | seconds |",
        "|---|--:|",
        *(f"| {row['stage']} | {row['seconds']:,.1f} |" for row in by_stage(spent)[:most]),
    ]
    return {"summary": "\n".join(lines)}


SCORECARD = Stage(
    name="scorecard",
    group="release",
    description="From crawl to assistant on one page: funnel, curves, evaluations before and after each stage, the "
    "same prompts by every model, costs.",
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
    code_version="1",
    inputs=(*FUNNEL, *CHECKPOINTS, *OTHERS),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"transcripts": Transcripts, "costs": Costs},
    main_table="transcripts",
    views=(View(REPORT, draw_scorecard, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "numpy", "polars", "pydantic-monty"),
    pool="gpu",
)
