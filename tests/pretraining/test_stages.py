"""The stages of pretraining: identities, plots, the report, and continued training after a re-crawl."""

from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.identity import canonical
from llm_assets.artifacts.inputs import Inputs
from llm_assets.pretraining.base_checkpoint import BASE_CHECKPOINT
from llm_assets.pretraining.base_evaluation import BASE_EVALUATION, EVALUATION, REPORT, draw_report, headline
from llm_assets.recipes import BaseEvaluation, Pretraining, Recrawl, SampleWeb
from llm_assets.tokens.stages import STAGES as TOKENS
from llm_assets.training.training_run import PLOT, draw_loss
from tests.support.raw_truth import RAW
from tests.support.written_corpus import PAGES, build, small_recipe, texts, workspace

BUILT = ("clean_corpus", "tokenizer", "token_shards", "training_pages", "base_checkpoint")


def schedule(model="continue", share=0.5, prefix="week"):
    return Recrawl(prefix=prefix, cron="0 3 * * 1", source=SampleWeb(), model=model, continue_share=share)


def with_crawls(recipe, *names):
    return recipe.replace(crawls={**recipe.crawls, **{name: SampleWeb() for name in names}})


@pytest.fixture(autouse=True)
def pages():
    PAGES.clear()
    PAGES["sample"] = [("news.example", text) for text in texts(60)]
    for number, crawl in enumerate(("week-2026-11-02", "week-2026-11-09"), 1):
        PAGES[crawl] = [("news.example", text) for text in texts(30, number)]


def base(store, recipe):
    return build(workspace(store, recipe, *TOKENS, BASE_CHECKPOINT), *BUILT)


def test_the_evaluation_runs_in_a_process_and_its_report_is_drawn_from_the_store(tmp_path):
    small = {
        "prefixes": 2,
        "prefix_tokens": 8,
        "recited_tokens": 8,
        "free_samples": 2,
        "sample_tokens": 8,
        "problems": 1,
    }
    evaluation = BaseEvaluation(**small, prompts=("The",), questions=("Who?",), device="cpu")
    recipe = small_recipe(name="a-recipe-with-a-name", base_evaluation=evaluation)
    space = workspace(tmp_path, recipe, RAW, *TOKENS, BASE_CHECKPOINT, BASE_EVALUATION)
    outcome = build(space, *BUILT, "raw_warc", "base_evaluation")
    artifact, path = outcome.artifact, outcome.artifact.view(REPORT)
    page = path.read_text()
    assert REPORT not in artifact.record.files and recipe.name not in page
    assert "Facts completed" in page and "A prompted assistant" in page and "When was Ann born?" in page
    path.unlink()
    assert build(space, "base_evaluation").cached and path.read_text() == page
    (check,) = BASE_EVALUATION.checks
    numbers = examine(check, outcome.resolution, recipe, space.store).outcome.numbers
    assert numbers["bits_per_byte"] > 0 and numbers.keys() == {"bits_per_byte", "best_baseline", "margin"}
    assert "| base |" in BASE_EVALUATION.show(artifact)["summary"]
    assert "lower bounds" not in page and "verbatim_search" not in artifact.record.stats
    tables = {name: pl.read_parquet(artifact.table(name)) for name in (EVALUATION, "recitations")}
    stats = headline(tables, {"8": 0.5}, {"tokens_searched": 1_000, "tokens": 3_000})
    partly_searched = SimpleNamespace(record=SimpleNamespace(stats=stats), table=artifact.table)
    page = draw_report(partly_searched, outcome.resolution.inputs, outcome.resolution.config)
    assert "1,000 of its 3,000\ntokens were searched" in page and "lower bounds" in page


def first_validation(artifact):
    return pl.read_parquet(artifact.table("validation")).sort("step").row(0, named=True)


def test_a_continuing_recrawl_continues_the_checkpoint_before_it(tmp_path):
    recipe = small_recipe(recrawls=(schedule(),))
    whole = base(tmp_path, recipe)
    assert "base_checkpoint@before" not in whole.resolution.inputs and whole.artifact.record.stats["steps"] == 16
    continued = base(tmp_path, with_crawls(recipe, "week-2026-11-02"))
    assert continued.resolution.inputs["base_checkpoint@before"].path == whole.artifact.path
    assert continued.crawls == ["sample", "week-2026-11-02"] and continued.artifact.record.stats["steps"] == 8
    assert continued.artifact.record.stats["continued_from"] == whole.artifact.record.short_id
    # It starts with the weights of the checkpoint before, not with those of a new model.
    new_loss, continued_loss = (first_validation(outcome.artifact)["loss"] for outcome in (whole, continued))
    assert continued_loss < new_loss - 0.5
    again = base(tmp_path, with_crawls(recipe, "week-2026-11-02", "week-2026-11-09"))
    assert again.resolution.inputs["base_checkpoint@before"].path == continued.artifact.path
    curves = [pl.read_parquet(outcome.artifact.table("curve"))["loss"] for outcome in (whole, again)]
    assert curves[1][0] < curves[0][0] - 0.5


def test_the_identity_includes_the_checkpoint_that_is_continued(tmp_path):
    recipe = with_crawls(small_recipe(recrawls=(schedule(),)), "week-2026-11-02")
    space = workspace(tmp_path, recipe, *TOKENS, BASE_CHECKPOINT)
    build(space, *BUILT[:-1])
    alone = space.resolver().resolve("base_checkpoint", None).identity
    base(tmp_path, small_recipe(recrawls=(schedule(),)))
    after = space.resolver().resolve("base_checkpoint", None).identity
    assert alone.digest != after.digest and set(after.inputs) - set(alone.inputs) == {"base_checkpoint@before"}
    shares = [
        canonical(BASE_CHECKPOINT.config(recipe_read, None))["continue_share"]
        for recipe_read in (recipe, small_recipe())
    ]
    assert shares == [0.5, None]


@pytest.mark.parametrize(("model", "crawls"), [("leave", ["sample"]), ("retrain", ["sample", "week-2026-11-02"])])
def test_other_recrawls_leave_the_model_or_train_it_again(tmp_path, model, crawls):
    recipe = small_recipe(recrawls=(schedule(model),))
    before = base(tmp_path, recipe)
    after = base(tmp_path, with_crawls(recipe, "week-2026-11-02"))
    assert after.crawls == crawls and after.cached == (model == "leave")
    assert after.artifact.record.stats["steps"] == before.artifact.record.stats["steps"]
    assert "continued_from" not in after.artifact.record.stats


def test_the_recipe_before_a_continuing_crawl():
    recipe = with_crawls(
        small_recipe(recrawls=(schedule(), schedule("retrain", prefix="month"))),
        "week-2026-11-09",
        "week-2026-11-02",
        "month-2026-11-01",
    )
    assert list(recipe.continuing_crawls()) == ["week-2026-11-02", "week-2026-11-09"]
    before = recipe.before_continuing(["month-2026-11-01", "sample", "week-2026-11-02", "week-2026-11-09"])
    assert (
        before.corpus() == ["month-2026-11-01", "sample", "week-2026-11-02"] and "week-2026-11-09" in before.sources()
    )
    # The newest crawl is not built yet. The model before the newest one that is built was trained on neither of them.
    assert recipe.before_continuing(["sample", "week-2026-11-02"]).corpus() == ["month-2026-11-01", "sample"]
    assert (
        before.before_continuing(["sample", "month-2026-11-01", "week-2026-11-02"]).before_continuing(["sample"])
        is None
    )
    assert recipe.before_continuing(["sample"]) is None
    named = recipe.replace(pretraining=Pretraining(crawls=("sample", "week-2026-11-02")))
    assert named.before_continuing(["sample", "week-2026-11-02"]).trained_crawls() == ["sample"]


def test_later_crawls_may_continue_one_that_is_left_out():
    crawls = {
        "sample": SampleWeb(),
        "week-2026-11-02": SampleWeb(since="sample"),
        "week-2026-11-09": SampleWeb(since="week-2026-11-02"),
    }
    recipe = small_recipe(crawls=crawls, recrawls=(schedule(),))
    before = recipe.before_continuing(["sample", "week-2026-11-02", "week-2026-11-09"]).before_continuing(
        ["sample", "week-2026-11-02"]
    )
    assert before.corpus() == ["sample"] and set(before.sources()) == set(crawls)


def test_the_config_holds_neither_crawls_nor_compute_settings():
    recipe = small_recipe()
    pinned = recipe.replace(pretraining=recipe.pretraining.replace(crawls=("sample",)))
    slices = [canonical(BASE_CHECKPOINT.config(recipe_read, None)) for recipe_read in (recipe, pinned)]
    assert slices[0] == slices[1] and not {"compute", "continue_from"} & slices[0]["training"].keys()
    assert canonical(BASE_EVALUATION.config(recipe, None))["training_seed"] == recipe.pretraining.seed


def test_the_plot_is_drawn_from_the_curve(tmp_path):
    outcome = base(tmp_path, small_recipe())
    artifact = outcome.artifact
    assert PLOT in artifact.record.views and PLOT not in artifact.record.files
    drawn = artifact.view(PLOT).read_text()
    assert drawn.startswith("<svg") and drawn == draw_loss(artifact, Inputs({}), None)
    assert {"loss_curve", "validation"} <= BASE_CHECKPOINT.show(artifact).keys()
