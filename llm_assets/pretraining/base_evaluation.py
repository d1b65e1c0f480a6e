"""`base_evaluation`: what the base model has memorised, invents and learns in context, as tables, plots and an HTML
page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import polars_schema, read_table
from llm_assets.artifacts.views import View
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import BaseEvaluation
from llm_assets.report import plots, render
from llm_assets.sample_web import newest
from llm_assets.training.documents import shard_documents, write_kept
from llm_assets.training.training_run import loss_series

from .in_context import CHOICES
from .jobs import BaseEvaluationJob
from .schemas import Baselines, BitsPerByte, Facts, FreeSamples, InContext, NextTokens, Prompted, Recitations

MODULE = "llm_assets.pretraining.base_evaluation_process"
REPORT = "report.html"
SHOWN = 12  # rows per section of the report
REACHES = ("many", "once", "held_out")  # on how many pages a fact occurs


class BaseEvaluationConfig(Frozen):
    """The evaluation's settings.

    training_seed: seeds the order of documents, which determines how often a page was seen.
    """

    evaluation: BaseEvaluation
    training_seed: int


def _truth(crawls: Iterable[Artifact]) -> pl.DataFrame:
    """Prompts with known answers, from the crawls that come with them (the sample web)."""
    files = [path for raw in crawls for path in raw.table("truth_prompts")]
    if not files:
        columns = ("kind", "entity", "relation", "reach", "prompt", "answer")
        return pl.DataFrame(schema={name: pl.String for name in columns})
    return newest([read_table(path) for path in files])


def _select_sentences(truth: pl.DataFrame, count: int, seed: int) -> pl.DataFrame:
    """At most `count` sentences to complete, selected by seed, in proportion to the sizes of the groups of `reach`."""
    completions = truth.filter(pl.col("kind") == "completion").with_row_index("place")
    share = count / max(len(completions), 1)
    drawn = completions.filter(
        pl.int_range(pl.len()).shuffle(seed).over("reach") < (pl.len() * share).ceil().over("reach")
    )
    return drawn.sort("place").drop("place")


def chance(truth: pl.DataFrame) -> float:
    """The share of right answers of a baseline that always gives the relation's most common answer."""
    completions = truth.filter((pl.col("kind") == "completion") & (pl.col("reach") == "many"))
    most_common = completions.group_by("relation", "answer").len().group_by("relation").agg(pl.col("len").max())
    return float(most_common["len"].sum()) / max(len(completions), 1)


def make_job(
    config: BaseEvaluationConfig,
    checkpoint: Artifact,
    shards: Iterable[Artifact],
    truth: pl.DataFrame,
    facts: pl.DataFrame,
    kept_documents: str | None = None,
) -> BaseEvaluationJob:
    """The job of the evaluation process.

    truth: all prompts with known answers. facts: the sentences to complete. kept_documents: see PretrainingJob.
    """
    settings, stats = config.evaluation, checkpoint.record.stats
    questions = truth.filter((pl.col("kind") == "question") & (pl.col("reach") == "many"))
    shown = questions.unique("relation", maintain_order=True).select("prompt", "answer").head(3)
    by_relation = questions.group_by("relation", maintain_order=True).agg(pl.col("prompt").last())["prompt"].head(5)
    return BaseEvaluationJob(
        checkpoint=str(checkpoint.path),
        shards=tuple(str(artifact.path) for artifact in shards),
        device=settings.device,
        training_seed=config.training_seed,
        training_sequences=int(stats["batch_size"]) * int(stats["steps"]),
        validation_tokens=settings.validation_tokens,
        baseline_tokens=settings.baseline_tokens,
        prefixes=settings.prefixes,
        prefix_tokens=settings.prefix_tokens,
        recited_tokens=settings.recited_tokens,
        free_samples=settings.free_samples,
        sample_tokens=settings.sample_tokens,
        problems=settings.problems,
        seed=settings.seed,
        prompts=settings.prompts,
        instruction=settings.instruction,
        kept_documents=kept_documents,
        facts=tuple(facts.select("prompt", "answer").iter_rows()),
        questions=tuple(questions.select("relation", "prompt", "answer").iter_rows()),
        examples=tuple(shown.iter_rows()) if len(questions) else settings.examples,
        assistant_questions=(*by_relation, *settings.questions),
    )


def build_base_evaluation(step: Step, config: BaseEvaluationConfig) -> None:
    """Evaluate in a separate process, and keep the tables as one task."""
    settings = config.evaluation
    shards = list(step.inputs.by_crawl("token_shards").values())
    truth = _truth(step.inputs.by_crawl("raw_warc").values())
    facts = _select_sentences(truth, settings.facts, settings.seed)
    documents = shard_documents(step.inputs)
    kept_documents = write_kept(documents, step.staging / "kept")
    job = make_job(config, step.input("base_checkpoint"), shards, truth, facts, kept_documents)
    results = measure(step, MODULE, job, step.staging / "evaluation")
    pages = {
        split: documents.filter((pl.col("split") == split) & pl.col("current")).select("doc_id", "url", "host", "crawl")
        for split in ("train", "validation")
    }
    tables = make_tables(results, pages, facts, settings.recited_tokens)
    with step.task("evaluation") as task:
        for name, schema in SCHEMAS.items():
            if name in ALWAYS or len(tables[name]):
                task.table(name, schema).frame(tables[name])
        task.stats.update(headline(tables, results["overlap"], chance(truth)))


SCHEMAS = {
    "bits_per_byte": BitsPerByte,
    "baselines": Baselines,
    "recitations": Recitations,
    "free_samples": FreeSamples,
    "in_context": InContext,
    "facts": Facts,
    "next_tokens": NextTokens,
    "prompted": Prompted,
}
ALWAYS = ("bits_per_byte", "in_context", "next_tokens", "prompted")


def make_tables(
    results: dict[str, Any], pages: dict[str, pl.DataFrame], facts: pl.DataFrame, recited_tokens: int
) -> dict[str, pl.DataFrame]:
    """The tables by name, with pages instead of document numbers."""
    losses = pl.DataFrame(results["documents"], schema={"document": pl.Int64, "nats": pl.Float64, "bytes": pl.Float64})
    of_page = (
        pages["validation"]
        .with_row_index("document")
        .with_columns(pl.col("document").cast(pl.Int64))
        .join(losses, on="document")
    )
    by_host = (
        of_page.group_by("crawl", "host")
        .agg(pl.len().alias("documents"), pl.col("bytes").sum(), pl.col("nats").sum())
        .sort("crawl", "bytes", "host", descending=[False, True, False])
    )
    overall = float(losses["nats"].sum()) / math.log(2) / max(float(losses["bytes"].sum()), 1)
    recitations = [
        {**row, "url": url, "doc_id": doc_id, "recited": row["matched"] >= recited_tokens}
        for row in results["recitations"]
        for doc_id, url in [pages[row["split"]].select("doc_id", "url").row(row["document"])]
    ]
    samples = [
        {**row, "url": pages["train"]["url"][row["document"]] if row["document"] is not None else ""}
        for row in results["free_samples"]
    ]
    answered = pl.DataFrame(results["facts"], schema={"answer": pl.String, "right": pl.Boolean})
    return {
        "bits_per_byte": by_host.with_columns(
            bits_per_byte=pl.when(pl.col("bytes") > 0).then(pl.col("nats") / math.log(2) / pl.col("bytes")),
            bytes=pl.col("bytes").cast(pl.Int64),
        ).drop("nats"),
        "baselines": pl.DataFrame(
            {
                "predictor": ["base model", *results.get("baselines", {})],
                "bits_per_byte": [overall, *results.get("baselines", {}).values()],
            }
        )
        if len(losses)
        else pl.DataFrame(schema={"predictor": pl.String, "bits_per_byte": pl.Float64}),
        "recitations": _frame(recitations, Recitations),
        "free_samples": _frame(samples, FreeSamples),
        "in_context": _frame(results["in_context"], InContext),
        "facts": facts.select("entity", "relation", "reach", "prompt", expected="answer").hstack(answered),
        "next_tokens": _frame(results["next_tokens"], NextTokens),
        "prompted": _frame(
            [{"kind": "continuation", **row} for row in results["prompted"]]
            + [
                {"kind": "transcript", "prompt": row["question"], "text": row["answer"]}
                for row in results["transcript"]
            ],
            Prompted,
        ),
    }


def _frame(rows: list[dict[str, Any]], schema: type) -> pl.DataFrame:
    types = polars_schema(schema)
    return pl.DataFrame([{name: row[name] for name in types} for row in rows], schema=types)


def shares(frame: pl.DataFrame, *by: str) -> pl.DataFrame:
    """The share of right answers and the number of questions, by group."""
    return frame.group_by(*by, maintain_order=True).agg(pl.col("right").mean().alias("share"), pl.len().alias("asked"))


def headline(tables: dict[str, pl.DataFrame], overlap: dict[str, float], by_chance: float) -> dict[str, Any]:
    """The numbers that are tracked, nested by kind.

    overlap: by number of tokens, the share of the samples' stretches that occur in the training split. by_chance: see
    `chance`.
    """
    numbers: dict[str, Any] = {
        "bits_per_byte": {name: round(value, 4) for name, value in tables["baselines"].iter_rows()}
    }
    recited = (
        tables["recitations"]
        .group_by("times_seen")
        .agg(pl.col("recited").mean(), pl.col("matched").mean())
        .sort("times_seen")
    )
    numbers["recited"] = {f"seen {times}": round(share, 4) for times, share, _ in recited.iter_rows()}
    numbers["matched_tokens"] = {f"seen {times}": round(mean, 2) for times, _, mean in recited.iter_rows()}
    numbers["verbatim_share"] = {f"{size} tokens": round(share, 4) for size, share in overlap.items()}
    numbers["in_context"] = {}
    for task, shots, share, _ in shares(tables["in_context"], "task", "shots").iter_rows():
        numbers["in_context"].setdefault(task, {})[f"{shots} examples"] = round(share, 4)
    answered = tables["in_context"].group_by("task", maintain_order=True).agg(pl.col("answer_right").mean())
    numbers["answered_in_context"] = {task: round(share, 4) for task, share in answered.iter_rows()}
    facts = tables["facts"]
    if len(facts):
        right = {reach: round(share, 4) for reach, share, _ in shares(facts, "reach").iter_rows()}
        numbers["facts_right"] = {reach: right[reach] for reach in REACHES if reach in right}
        numbers["facts_chance"] = round(by_chance, 4)
    return numbers


def figures(tables: dict[str, pl.DataFrame], curve: pl.DataFrame) -> dict[str, str]:
    """The plots of the report, as SVG by name."""
    shown = {"loss": plots.svg(loss_series(curve), "step", "loss, nats per token")}
    by_task = shares(tables["in_context"], "task", "shots")
    if len(by_task):
        series = {
            task: (group["shots"].to_list(), (100 * group["share"]).to_list())
            for (task,), group in by_task.group_by("task", maintain_order=True)
        }
        shown["in_context"] = plots.svg(
            series, "examples in the prompt", "right choices of four, %", marks=True, lines={"chance": 100 / CHOICES}
        )
    recited = (
        tables["recitations"]
        .group_by("times_seen")
        .agg(pl.col("recited").mean() * 100, pl.col("matched").mean())
        .sort("times_seen")
    )
    if len(recited):
        shown["recitations"] = plots.svg(
            {
                "recited, %": (recited["times_seen"].to_list(), recited["recited"].to_list()),
                "tokens matched, mean": (recited["times_seen"].to_list(), recited["matched"].to_list()),
            },
            "times that the model was trained on the page",
            "",
            marks=True,
        )
    return shown


def draw_report(evaluation: Artifact, inputs: Inputs, config: BaseEvaluationConfig) -> str:
    """The HTML report."""
    stored, checkpoint = evaluation.record.stats, inputs.artifact("base_checkpoint")
    tables = {name: _stored(evaluation, name, schema) for name, schema in SCHEMAS.items()}
    shares_copied = {name.partition(" ")[0]: share for name, share in stored["verbatim_share"].items()}
    overlap = dict(sorted(shares_copied.items(), key=lambda item: int(item[0])))
    return render(
        __package__,
        "base_evaluation.html.j2",
        numbers=headline(tables, overlap, stored.get("facts_chance", 0.0)),
        stats=checkpoint.record.stats,
        tables=tables,
        plots=figures(tables, read_table(checkpoint.table("curve"))),
        shown=SHOWN,
        recited_tokens=config.evaluation.recited_tokens,
        prefix_tokens=config.evaluation.prefix_tokens,
    )


def _stored(evaluation: Artifact, name: str, schema: type) -> pl.DataFrame:
    """A table of the evaluation; empty if it was not written."""
    files = evaluation.table(name)
    return read_table(files) if files else pl.DataFrame(schema=polars_schema(schema))


def show(evaluation: Artifact) -> dict[str, str]:
    """The headline numbers in Markdown, for the asset's page in Dagster."""
    stats = evaluation.record.stats
    lines = [
        "| bits per byte of the validation text | |",
        "|---|--:|",
        *(
            f"| {name} | {value:.3f} |"
            for name, value in sorted(stats["bits_per_byte"].items(), key=lambda item: item[1])
        ),
    ]
    if "facts_right" in stats:
        lines += [
            "",
            f"| facts completed correctly (chance {100 * stats['facts_chance']:.1f} %) | |",
            "|---|--:|",
            *(f"| {reach} | {100 * share:.1f} % |" for reach, share in stats["facts_right"].items()),
        ]
    lines += [
        "",
        "| recited word for word | |",
        "|---|--:|",
        *(f"| {times} | {100 * share:.1f} % |" for times, share in stats["recited"].items()),
    ]
    lines += [
        "",
        "| in context | right of four |",
        "|---|--:|",
        *(
            f"| {task}, {shots} | {100 * share:.0f} % |"
            for task, by_shots in stats["in_context"].items()
            for shots, share in by_shots.items()
        ),
    ]
    return {"summary": "\n".join(lines)}


def beats_baselines(evaluation: Artifact, inputs: Inputs, config: BaseEvaluationConfig) -> CheckOutcome:
    """Whether the base model predicts the validation text better than a 5-gram model of bytes, gzip and xz."""
    bits = dict(evaluation.record.stats["bits_per_byte"])
    model_bits = bits.pop("base model", None)
    if model_bits is None:
        problem = (
            "the validation split has no document that fits into base_evaluation.validation_tokens; raise that number"
        )
        return CheckOutcome(False, problem)
    others = ", ".join(f"{name} {value:.3f}" for name, value in sorted(bits.items(), key=lambda item: item[1]))
    best = min(bits.values())
    better = [{"predictor": name, "bits_per_byte": value} for name, value in bits.items() if value <= model_bits]
    numbers = {"bits_per_byte": model_bits, "best_baseline": best, "margin": round(best - model_bits, 4)}
    return CheckOutcome(model_bits < best, f"{model_bits:.3f} bits per byte; {others}", better, numbers)


BASE_EVALUATION = Stage(
    name="base_evaluation",
    group="pretraining",
    description="What the base model has memorised, invents and learns in context: bits per byte, recited pages, "
    "facts, few-shot tasks, samples.",
    kinds=("pytorch", "html"),
    build=build_base_evaluation,
    config=lambda recipe, crawl: BaseEvaluationConfig(
        evaluation=recipe.base_evaluation, training_seed=recipe.pretraining.seed
    ),
    code_version="3",
    inputs=("base_checkpoint", "token_shards", TRAINING_PAGES, "raw_warc"),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={name: schema for name, schema in SCHEMAS.items() if name in ALWAYS},
    optional_tables={name: schema for name, schema in SCHEMAS.items() if name not in ALWAYS},
    main_table="prompted",
    checks=(
        Check(
            "better_than_baselines",
            "The model predicts the validation text better than a 5-gram model of bytes, gzip and xz.",
            beats_baselines,
        ),
    ),
    views=(View(REPORT, draw_report, ("base_evaluation.html.j2",)),),
    show=show,
    libraries=("torch", "numpy", "polars"),
    pool="gpu",
)
