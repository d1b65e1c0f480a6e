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
from llm_assets.evaluation.figures import EVALUATION, figures_table, nested, read_figures
from llm_assets.evaluation.matrix import cell
from llm_assets.evaluation.schemas import EvaluationRows
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import BaseEvaluation
from llm_assets.report import plots, render
from llm_assets.sample_web import newest
from llm_assets.training.documents import shard_documents, write_kept
from llm_assets.training.training_run import loss_series

from .base_figures import (
    BASE,
    BITS,
    fact_figures,
    in_context_figures,
    majority_right,
    matrices,
    predictors,
    recitation_figures,
    text_figures,
)
from .in_context import CHOICES
from .jobs import BaseEvaluationJob
from .schemas import BitsPerByte, Facts, FreeSamples, InContext, NextTokens, Prompted, Recitations

MODULE = "llm_assets.pretraining.base_evaluation_process"
REPORT = "report.html"
SHOWN = 12  # rows per section of the report
PAGE_COLUMNS = ("doc_id", "url", "host", "crawl")  # of the documents in the tables


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
    documents = shard_documents(step.inputs, PAGE_COLUMNS)
    kept_documents = write_kept(documents, step.staging / "kept")
    job = make_job(config, step.input("base_checkpoint"), shards, truth, facts, kept_documents)
    results = measure(step, MODULE, job, step.staging / "evaluation")
    pages = {
        split: documents.filter((pl.col("split") == split) & pl.col("current")).select(PAGE_COLUMNS)
        for split in ("train", "validation")
    }
    tables = make_tables(results, pages, facts, settings.recited_tokens)
    tables[EVALUATION] = figures_table(
        [
            *text_figures(results),
            *fact_figures(tables["facts"], majority_right(truth, facts)),
            *recitation_figures(tables["recitations"]),
            *in_context_figures(tables["in_context"]),
        ]
    )
    with step.task("evaluation") as task:
        for name, schema in SCHEMAS.items():
            if name in ALWAYS or len(tables[name]):
                task.table(name, schema).frame(tables[name])
        task.stats.update(headline(tables, results["overlap"], results["overlap_search"]))


SCHEMAS = {
    EVALUATION: EvaluationRows,
    "bits_per_byte": BitsPerByte,
    "recitations": Recitations,
    "free_samples": FreeSamples,
    "in_context": InContext,
    "facts": Facts,
    "next_tokens": NextTokens,
    "prompted": Prompted,
}
ALWAYS = (EVALUATION, "bits_per_byte", "in_context", "next_tokens", "prompted")


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


def headline(tables: dict[str, pl.DataFrame], overlap: dict[str, float], search: dict[str, int]) -> dict[str, Any]:
    """The numbers that are tracked.

    figures: the table `evaluation`, nested. matched_tokens: tokens of a page that the model continues, by how often it
    was seen. verbatim_share: by number of tokens, the share of the samples' stretches that occur in the training split.
    verbatim_search, only where part of that split was searched: the numbers of `search`, tokens_searched and tokens.
    """
    matched = tables["recitations"].group_by("times_seen").agg(pl.col("matched").mean()).sort("times_seen")
    numbers = {
        "figures": nested(tables[EVALUATION]),
        "matched_tokens": {f"seen {times}": round(mean, 2) for times, mean in matched.iter_rows()},
        "verbatim_share": {f"{size} tokens": round(share, 4) for size, share in overlap.items()},
    }
    is_partial = search["tokens_searched"] < search["tokens"]
    return {**numbers, "verbatim_search": search} if is_partial else numbers


def draw_plots(tables: dict[str, pl.DataFrame], curve: pl.DataFrame) -> dict[str, str]:
    """The plots of the report, as SVG by name."""
    shown = {"loss": plots.svg(loss_series(curve), "step", "loss, nats per token")}
    by_task = tables["in_context"].group_by("task", "shots", maintain_order=True).agg(pl.col("right").mean() * 100)
    if len(by_task):
        series = {
            task: (group["shots"].to_list(), group["right"].to_list())
            for (task,), group in by_task.group_by("task", maintain_order=True)
        }
        shown["in_context"] = plots.svg(
            series, "examples in the prompt", "right choices of four, %", marks=True, lines={"guess": 100 / CHOICES}
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
    checkpoint = inputs.artifact("base_checkpoint")
    tables = {name: _stored(evaluation, name, schema) for name, schema in SCHEMAS.items()}
    return render(
        __package__,
        "base_evaluation.html.j2",
        numbers=evaluation.record.stats,
        stats=checkpoint.record.stats,
        tables=tables,
        matrices=matrices(tables[EVALUATION]),
        predictors=predictors(tables[EVALUATION]),
        plots=draw_plots(tables, read_table(checkpoint.table("curve"))),
        shown=SHOWN,
        recited_tokens=config.evaluation.recited_tokens,
        prefix_tokens=config.evaluation.prefix_tokens,
    )


def _stored(evaluation: Artifact, name: str, schema: type) -> pl.DataFrame:
    """A table of the evaluation; empty if it was not written."""
    files = evaluation.table(name)
    return read_table(files) if files else pl.DataFrame(schema=polars_schema(schema))


def show(evaluation: Artifact) -> dict[str, str]:
    """The figures in Markdown, for the asset's page in Dagster."""
    figures = read_figures(evaluation)
    lines = ["| bits per byte of the validation pages | | 95 % interval | pages |", "|---|--:|--:|--:|"]
    for figure in predictors(figures):
        shown = cell(figure)
        lines.append(f"| {figure['model']} | {shown.value} | {shown.interval} | {figure['n']:,} |")
    tables = (of_suite.markdown() for of_suite in matrices(figures).values() if of_suite.rows)
    return {"summary": "\n\n".join(["\n".join(lines), *tables])}


def beats_baselines(evaluation: Artifact, inputs: Inputs, config: BaseEvaluationConfig) -> CheckOutcome:
    """Whether the base model predicts the validation text better than a 5-gram model, and than xz with a primer."""
    bits = {figure["model"]: figure["value"] for figure in predictors(read_figures(evaluation))}
    model_bits = bits.pop(BASE, None)
    if model_bits is None:
        problem = (
            "the validation split has no document that fits into base_evaluation.validation_tokens; raise that number"
        )
        return CheckOutcome(False, problem)
    others = ", ".join(f"{name} {value:.3f}" for name, value in bits.items())
    best = min(bits.values())
    better = [{"predictor": name, BITS: value} for name, value in bits.items() if value <= model_bits]
    numbers = {BITS: model_bits, "best_baseline": best, "margin": round(best - model_bits, 4)}
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
    code_version="4",
    inputs=("base_checkpoint", "token_shards", TRAINING_PAGES, "raw_warc"),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={name: schema for name, schema in SCHEMAS.items() if name in ALWAYS},
    optional_tables={name: schema for name, schema in SCHEMAS.items() if name not in ALWAYS},
    main_table=EVALUATION,
    checks=(
        Check(
            "better_than_baselines",
            "The model predicts the validation text better than a 5-gram model of the same tokens, and than xz that "
            "has read the training text.",
            beats_baselines,
        ),
    ),
    views=(View(REPORT, draw_report, ("base_evaluation.html.j2",)),),
    show=show,
    libraries=("torch", "numpy", "polars"),
    pool="gpu",
)
