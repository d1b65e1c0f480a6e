"""The stage: figures of every model with intervals, items, and which of them are on a page of the corpus."""

import polars as pl
import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra benchmarks)")

from llm_assets.artifacts.checks import examine
from llm_assets.evaluation.figures import MODELS, read_figures
from llm_assets.model.checkpoint import save_model
from llm_assets.model.shape import ModelShape
from llm_assets.recipes import Benchmarks, Recipe, WarcFiles
from llm_assets.release.benchmark_evaluation import BENCHMARK_EVALUATION
from llm_assets.release.benchmark_evaluation_process import main
from llm_assets.release.benchmark_files import BenchmarkError
from llm_assets.release.benchmark_tasks import write_tasks
from llm_assets.release.jobs import BenchmarkJob, HarnessTask
from tests.support.benchmark_files import ARC, GSM8K, benchmark_files
from tests.support.stand_ins import ALL_CURRENT, build_all, clean_corpus, stand_in
from tests.support.tiny_models import ENCODING, random_model

SHAPE = ModelShape.of_depth(1, 500, 256, width=32)
STATED = f"In a textbook. {GSM8K[1]['question']} Nobody knows."
PAGES = [
    {"doc_id": "a", "url": "http://a.example/1", "host": "a.example", "text": "Nothing of interest. " * 9},
    {"doc_id": "b", "url": "http://a.example/2", "host": "a.example", "text": STATED},
    {"doc_id": "c", "url": "http://search.example/", "host": "search.example", "text": ARC[0]["question"]},
]
BUILT = ("base", "sft")  # of the checkpoints, only these are built


def checkpoint(name):
    def write(folder):
        save_model(random_model(SHAPE, seed=list(MODELS).index(name)), folder)
        ENCODING.save(folder)

    return stand_in(MODELS[name], write=write)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A workspace in which the benchmarks of two models are built, and their artifact."""
    folder = tmp_path_factory.mktemp("benchmarks")
    recipe = Recipe(
        name="r",
        crawls={"c": WarcFiles(path=str(folder))},
        search_only_hosts=("search.example",),
        benchmarks=Benchmarks(
            files=benchmark_files(folder), models=("sft", "base"), max_tokens=8, chat_template=True, device="cpu"
        ),
    )
    stages = [clean_corpus(PAGES), ALL_CURRENT, *map(checkpoint, BUILT)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LLM_ASSETS_DATA", str(folder / "data"))
        others = [stand_in(asset) for name, asset in MODELS.items() if name not in BUILT]
        workspace, _ = build_all(stages, recipe, folder / "store")
        workspace.graph = type(workspace.graph)([*stages, *others, BENCHMARK_EVALUATION])
        from llm_assets.artifacts import materialize

        outcome = materialize(BENCHMARK_EVALUATION, None, workspace)
    return workspace, outcome


def rows_of(outcome, table):
    return pl.concat([pl.read_parquet(path) for path in outcome.artifact.table(table)])


def test_every_figure_has_an_interval_and_its_number_of_items(built):
    figures = rows_of(built[1], "benchmarks")
    assert set(figures["model"]) == {"base", "sft", "random choice"}
    of_base = figures.filter(pl.col("model") == "base")
    assert of_base.select("task", "metric", "filter", "n", "shots").rows() == [
        ("own_arc", "acc", "none", 5, 0),
        ("own_arc", "acc_norm", "none", 5, 0),
        ("own_mmlu_anatomy", "acc", "none", 3, 1),
        ("own_mmlu_high_school_physics", "acc", "none", 3, 1),
        ("own_mmlu", "acc", "none", 6, 1),
        ("own_hellaswag", "acc", "none", 4, 0),
        ("own_hellaswag", "acc_norm", "none", 4, 0),
        ("own_gsm8k", "exact_match", "strict-match", 4, 1),
        ("own_gsm8k", "exact_match", "flexible-extract", 4, 1),
    ]
    assert (of_base["low"] <= of_base["value"]).all() and (of_base["value"] <= of_base["high"]).all()
    chance = figures.filter(pl.col("model") == "random choice", pl.col("metric") == "acc")
    assert dict(chance.select("task", "value").iter_rows())["own_arc"] == pytest.approx((3 / 2 + 2 / 3) / 5, abs=1e-6)
    evaluation = read_figures(built[1].artifact)
    assert len(evaluation) == len(figures) and set(evaluation["suite"]) == {"benchmarks"}
    assert "exact_match strict-match" in set(evaluation["metric"])


def test_items_say_what_was_answered(built):
    items, figures = rows_of(built[1], "items"), rows_of(built[1], "benchmarks")
    assert set(items.filter(pl.col("task") == "own_arc")["id"]) == {row["id"] for row in ARC}
    assert set(items.filter(pl.col("task") == "own_arc")["response"]) <= {"ice", "iron", "a long winter"}
    shares = items.group_by("model", "task", "filter", "metric").agg(share=pl.col("value").mean())
    joined = figures.join(shares, on=["model", "task", "filter", "metric"])
    assert len(joined) == 16 and (joined["value"] - joined["share"]).abs().max() < 1e-6
    assert items.filter(pl.col("task") == "own_gsm8k")["target"].str.contains("####").all()
    # The base model has no chat template; the others are asked through it.
    prompts = items.filter(pl.col("task") == "own_arc").select("model", "item", "prompt").unique()
    assert prompts.group_by("item").agg(pl.col("prompt").n_unique())["prompt"].to_list() == [2] * 5


def test_items_on_pages_that_models_are_trained_on_are_contaminated(built):
    workspace, outcome = built
    [row] = rows_of(outcome, "overlaps").to_dicts()
    assert (row["task"], row["item"], row["url"]) == ("own_gsm8k", 1, "http://a.example/2")
    items = rows_of(outcome, "items")
    assert set(items.filter(pl.col("overlap").is_not_null()).select("task", "item").rows()) == {("own_gsm8k", 1)}
    figures = rows_of(outcome, "benchmarks").filter(pl.col("model") == "sft", pl.col("task") == "own_gsm8k")
    assert figures["contaminated"].to_list() == [0.25, 0.25] and figures["clean_n"].to_list() == [3, 3]
    outcomes = {
        check.name: examine(check, outcome.resolution, workspace.recipe, workspace.store).outcome
        for check in BENCHMARK_EVALUATION.checks
    }
    assert not outcomes["no_overlap_with_corpus"].passed
    assert outcomes["no_overlap_with_corpus"].failures[0]["shared"].startswith("ann has 1 apples")
    assert outcomes["prompts_fit"].passed and outcomes["prompts_fit"].numbers["cut_sft"] == 0


def test_the_page_shows_figures_items_and_overlaps(built):
    page = built[1].artifact.view("report.html").read_text()
    assert all(text in page for text in ("own_mmlu_anatomy", "strict-match", "random choice", "http://a.example/2"))
    assert (
        BENCHMARK_EVALUATION.show(built[1].artifact)["benchmarks"].count("\n")
        == len(rows_of(built[1], "benchmarks")) + 1
    )


def test_only_the_models_that_are_asked_are_read(built):
    workspace, outcome = built
    inputs = {key.split("/")[0] for key in outcome.resolution.inputs}
    assert inputs == {"clean_corpus", "training_pages", "base_checkpoint", "sft_checkpoint"}
    released = workspace.recipe.replace(benchmarks=workspace.recipe.benchmarks.replace(models=()))
    assert set(BENCHMARK_EVALUATION.inputs_under(released)) == {*BENCHMARK_EVALUATION.inputs} - {"ablation_checkpoint"}


def test_a_task_that_cannot_be_loaded_is_an_error_before_any_model_is(tmp_path):
    write_tasks(benchmark_files(tmp_path), tmp_path / "tasks")
    job = BenchmarkJob(
        models=(),
        tasks=(HarnessTask("own_arc", None), HarnessTask("of_nobody", None)),
        folder=str(tmp_path / "tasks"),
        needs_index=False,
        core=None,
        limit=None,
        chat_template=False,
        max_tokens=None,
        device="cpu",
        seed=1,
    )
    with pytest.raises(BenchmarkError, match="the harness has no task, group or tag 'of_nobody'"):
        main(job, tmp_path, None)
    (tmp_path / "tasks" / "own_arc.questions.parquet").unlink()
    with pytest.raises(BenchmarkError, match="benchmark own_arc: cannot be loaded: FileNotFoundError"):
        main(job, tmp_path, None)
