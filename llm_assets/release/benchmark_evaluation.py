"""`benchmark_evaluation`: standard benchmarks of any checkpoint, through EleutherAI's lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.errors import ExternalInputError
from llm_assets.artifacts.external import files_version
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.artifacts.views import View
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.evaluation import figures as suite
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.evaluation.figures import ABLATION, EVALUATION, MODELS, nested, released_model
from llm_assets.evaluation.matrix import text
from llm_assets.evaluation.schemas import EvaluationRows
from llm_assets.recipes.benchmarks import Benchmarks
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.report import render
from llm_assets.settings import load_settings

from .benchmark_figures import KEYS, evaluation_rows, figures_table, items_table
from .benchmark_files import BenchmarkError
from .benchmark_overlap import OVERLAPS, find_overlaps
from .benchmark_tasks import check_benchmarks, write_tasks
from .core_benchmark import core_files
from .jobs import BenchmarkedCheckpoint, BenchmarkJob, HarnessTask
from .schemas import BenchmarkItems, BenchmarkOverlaps, BenchmarkRows

NAME = "benchmark_evaluation"
MODULE = "llm_assets.release.benchmark_evaluation_process"
REPORT, TEMPLATE = "report.html", "benchmark_evaluation.html.j2"
CORPUS = ("clean_corpus", TRAINING_PAGES)
SHOWN = 10  # items and overlaps on the page
CUT = 0.05  # share of requests that may lose their beginning


class BenchmarkEvaluationConfig(Frozen):
    """What is asked of which models. pages: those that models are trained on, where overlaps are looked for."""

    benchmarks: Benchmarks | None
    pages: TrainingPages


def without_benchmarks(recipe: Any) -> str | None:
    """Why a recipe is built without benchmarks; None if it names some."""
    return None if recipe.benchmarks is not None else "the recipe names no benchmarks (benchmarks)"


def checkpoints_read(recipe: Any) -> Collection[str]:
    """The optional inputs under a recipe: the corpus, and the checkpoints that are asked.

    Which one is released follows from those that there are, so a recipe that names none reads all but the ablation.
    """
    names = recipe.benchmarks.models if recipe.benchmarks is not None else ()
    return (*CORPUS, *(MODELS[name] for name in names or (model for model in MODELS if model != ABLATION)))


def build_benchmark_evaluation(step: Step, config: BenchmarkEvaluationConfig) -> None:
    """Ask the models in a separate process, then look for the items in the corpus, and keep all tables as one task.

    Raises BenchmarkError for a benchmark that cannot be asked, before a model is loaded.
    """
    settings, folder = config.benchmarks, step.staging / "benchmarks"
    assert settings is not None  # else the recipe leaves the stage out
    models = asked_models(step.inputs, settings)
    check_benchmarks(settings)
    write_tasks(settings.files, folder / "tasks")
    job = BenchmarkJob(
        models=tuple(
            BenchmarkedCheckpoint(name, str(step.input(MODELS[name]).path), has_chat=name != "base") for name in models
        ),
        tasks=tuple(HarnessTask(task.name, task.shots) for task in (*settings.files, *settings.tasks)),
        folder=str(folder / "tasks"),
        needs_index=bool(settings.tasks),
        core=None if settings.core is None else str(Path(settings.core).expanduser()),
        limit=settings.limit,
        chat_template=settings.chat_template,
        max_tokens=settings.max_tokens,
        device=settings.device,
        seed=settings.seed,
    )
    results = measure(step, MODULE, job, folder)
    texts = {name: task["texts"] for name, task in results["tasks"].items()}
    overlaps = find_overlaps(step, texts, settings.overlap_words, config.pages)
    items = items_table(results, overlaps)
    figures = figures_table(results, items, overlaps is not None)
    evaluation = suite.figures_table(evaluation_rows(figures))
    with step.task(NAME) as task:
        task.table("benchmarks", BenchmarkRows).frame(figures)
        task.table("items", BenchmarkItems).frame(items)
        task.table(EVALUATION, EvaluationRows).frame(evaluation)
        task.stats.update(
            evaluation=nested(evaluation),
            items=sum(map(len, texts.values())),
            contaminated=0 if overlaps is None else len(overlaps),
            searched=int(overlaps is not None),
            overlap_words=settings.overlap_words,
            requests={name: answers["requests"] for name, answers in results["models"].items()},
            cut={name: answers["cut"] for name, answers in results["models"].items()},
        )


def asked_models(inputs: Inputs, settings: Benchmarks) -> list[str]:
    """The models to ask, in the order of their training. Raises BenchmarkError if the recipe leaves one out."""
    if not settings.models:
        return [released_model(inputs)]
    absent = [name for name in settings.models if MODELS[name] not in inputs]
    if absent:
        raise BenchmarkError(f"benchmarks.models: the recipe builds no {MODELS[absent[0]]}")
    return [name for name in MODELS if name in settings.models]


def no_overlap(artifact: Artifact, inputs: Inputs, config: BenchmarkEvaluationConfig) -> CheckOutcome:
    """Which items are on pages that the models were trained on."""
    stats = artifact.record.stats
    if not stats["searched"]:
        return CheckOutcome(True, "there is no corpus to search", numbers={"items": stats["items"]})
    rows = read_table(artifact.table(OVERLAPS)).unique(["task", "item"], keep="first", maintain_order=True)
    summary = (
        f"{len(rows):,} of {stats['items']:,} items have {stats['overlap_words']} words in a row of a training page"
    )
    numbers = {"items": stats["items"], "contaminated": len(rows)}
    return CheckOutcome(not len(rows), summary, rows.head(20).to_dicts(), numbers)


def prompts_fit(artifact: Artifact, inputs: Inputs, config: BenchmarkEvaluationConfig) -> CheckOutcome:
    """How many prompts lost their beginning, such as examples, because the context is too small."""
    stats = artifact.record.stats
    shares = {name: stats["cut"][name] / max(count, 1) for name, count in stats["requests"].items()}
    lines = [f"{name}: {stats['cut'][name]:,} of {count:,}" for name, count in stats["requests"].items()]
    return CheckOutcome(
        max(shares.values(), default=0.0) <= CUT,
        f"requests cut at the beginning to fit into the context: {', '.join(lines)}",
        numbers={f"cut_{name}": cut for name, cut in shares.items()},
    )


def draw_report(artifact: Artifact, inputs: Inputs, config: BenchmarkEvaluationConfig) -> str:
    """Draw the HTML page."""
    items = read_table(artifact.table("items"))
    overlaps = read_table(artifact.table(OVERLAPS)) if artifact.table(OVERLAPS) else pl.DataFrame()
    first = items.unique(["model", "task"], keep="first", maintain_order=True).select(KEYS)
    shown = items.join(first, on=KEYS, maintain_order="left").group_by("model", "task", maintain_order=True)
    return render(
        __package__,
        TEMPLATE,
        figures=read_table(artifact.table("benchmarks")).to_dicts(),
        items=[row for _, of_task in shown for row in of_task.head(SHOWN).to_dicts()],
        overlaps=overlaps.head(SHOWN).to_dicts(),
        stats=artifact.record.stats,
        settings=config.benchmarks,
        text=text,
    )


def show(artifact: Artifact) -> dict[str, str]:
    """The figures in Markdown, for the asset's page in Dagster."""
    names = ("model", "task", "metric", "filter", "n", "value", "interval", "shots", "contaminated", "without")
    lines = [f"| {' | '.join(names)} |", "|---" * 4 + "|--:" * 6 + "|"]
    for row in read_table(artifact.table("benchmarks")).iter_rows(named=True):
        metric = row["metric"]
        interval = "" if row["low"] is None else f"{text(metric, row['low'])} to {text(metric, row['high'])}"
        share = "" if row["contaminated"] is None else f"{100 * row['contaminated']:.1f} %"
        clean = "" if row["clean_value"] is None else text(metric, row["clean_value"])
        place, n = [row["model"], row["task"], metric, row["filter"]], f"{row['n']:,}"
        cells = [*place, n, text(metric, row["value"]), interval, str(row["shots"]), share, clean]
        lines.append(f"| {' | '.join(cells)} |")
    return {"benchmarks": "\n".join(lines)}


def _external_inputs(config: BenchmarkEvaluationConfig) -> Mapping[str, str]:
    paths: dict[str, Path] = {}
    if config.benchmarks is None:
        return {}
    for file in config.benchmarks.files:
        paths[file.name] = Path(file.path).expanduser()
        if file.examples is not None:
            paths[f"{file.name} examples"] = Path(file.examples).expanduser()
    if config.benchmarks.core is not None:
        try:
            paths.update(core_files(Path(config.benchmarks.core).expanduser()))
        except BenchmarkError as error:
            raise ExternalInputError(str(error)) from error
    return files_version(paths, load_settings().digest_cache, ExternalInputError, "benchmarks")


BENCHMARK_EVALUATION = Stage(
    name=NAME,
    group="release",
    description="Standard benchmarks through EleutherAI's lm-evaluation-harness, by name or from local files, and "
    "which of their items the corpus contains.",
    kinds=("parquet", "html"),
    build=build_benchmark_evaluation,
    config=lambda recipe, crawl: BenchmarkEvaluationConfig(benchmarks=recipe.benchmarks, pages=recipe.training_pages()),
    code_version="1",
    inputs=(*CORPUS, *MODELS.values()),
    optional_inputs=(*CORPUS, *MODELS.values()),
    reads=checkpoints_read,
    left_out=without_benchmarks,
    external_inputs=_external_inputs,
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"benchmarks": BenchmarkRows, "items": BenchmarkItems, EVALUATION: EvaluationRows},
    optional_tables={OVERLAPS: BenchmarkOverlaps},
    main_table="benchmarks",
    checks=(
        Check("no_overlap_with_corpus", "No item of a benchmark is on a page that models are trained on.", no_overlap),
        Check("prompts_fit", "Prompts fit into the context of the model, with their examples.", prompts_fit),
    ),
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=show,
    libraries=("torch", "transformers", "lm_eval"),
    pool="gpu",
)
