"""Schedules over weeks that fail, crawls and partitions that part ways, and what a run brings after it."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import dagster as dg
import pytest

from llm_assets.artifacts import materialize
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Recipe, Recrawl, SampleWeb, Tokenizer, WarcFiles, WebCrawl, load_recipe
from llm_assets.settings import PROJECT, load_settings
from llm_assets.web.crawls import open_registry
from resources import ArtifactStore, ChosenRecipe, Compute, DuckDb, Tracking, make_assets
from resources.jobs import make_jobs
from resources.recrawls import next_source, recrawl_schedule, registered_crawls, requests_after
from tests.conftest import environment_for
from tests.support.small import CORPUS, recipe_file

SOURCE = SampleWeb(scale=0.05, day=2)
RECRAWL = Recrawl(prefix="site", cron="0 0 * * 1", source=SOURCE)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A recipe that re-crawls the sample web, chosen in the environment; its first crawl is built."""
    recipe_file(
        tmp_path / "recipe.py",
        '{"site": SampleWeb(scale=0.05)}',
        'recrawls=(Recrawl(prefix="site", cron="0 0 * * 1", source=SampleWeb(scale=0.3, day=2)),),',
    )
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    materialize(GRAPH["raw_warc"], "site", open_workspace())
    return tmp_path


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        yield instance


def definitions():
    """The code location anew, with the schedules of the recipe of the environment."""
    return dg.Definitions(
        assets=make_assets(GRAPH),
        jobs=make_jobs(GRAPH),
        schedules=[recrawl_schedule(recrawl, GRAPH) for recrawl in load_recipe().recrawls],
        resources={
            "recipe": ChosenRecipe(),
            "store": ArtifactStore(),
            "compute": Compute(),
            "duckdb": DuckDb(),
            "tracking": Tracking(),
        },
        executor=dg.in_process_executor,
    )


def tick(defs, instance, day, name="recrawl_site"):
    """What the schedule says on a day of November 2026."""
    context = dg.build_schedule_context(
        instance=instance,
        repository_def=defs.get_repository_def(),
        scheduled_execution_time=datetime(2026, 11, day, tzinfo=UTC),
        resources={"recipe": ChosenRecipe(), "store": ArtifactStore()},
    )
    return defs.resolve_schedule_def(name).evaluate_tick(context)


def test_a_killed_week_is_followed_by_a_good_one(project, instance):
    defs = definitions()
    (request,) = tick(defs, instance, 2).run_requests
    assert (request.partition_key, request.run_key) == ("site-2026-11-02", "site-2026-11-02-1")
    # The first week's crawl is killed halfway.
    program = (
        "from llm_assets.artifacts import materialize; from llm_assets.graph import GRAPH, open_workspace;"
        f"materialize(GRAPH['raw_warc'], {request.partition_key!r}, open_workspace())"
    )
    environment = {**environment_for(load_settings().data), "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, cwd=project, start_new_session=True)
    spool = load_settings().data / "artifacts" / ".staging" / "raw_warc" / request.partition_key
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 20_000 for path in spool.rglob("exchanges.warc.gz")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    # The next week does not wait for it: it continues the last crawl that is built, and is built.
    (request,) = tick(defs, instance, 9).run_requests
    sources = open_registry(load_settings()).sources()
    assert {name: source.since for name, source in sources.items()} == {
        "site-2026-11-02": "site",
        "site-2026-11-09": "site",
    }
    done = defs.resolve_job_def("crawl").execute_in_process(instance=instance, partition_key=request.partition_key)
    assert done.success
    # The week after continues that one.
    tick(defs, instance, 16)
    assert open_registry(load_settings()).sources()["site-2026-11-16"].since == "site-2026-11-09"
    # What spans crawls is of those that are built, and says which are not.
    outcome = materialize(GRAPH["search_index"], None, open_workspace())
    assert outcome.crawls == ["site-2026-11-09"]
    assert outcome.unbuilt_crawls == ["site", "site-2026-11-02", "site-2026-11-16"]


def test_a_failed_day_is_asked_for_again_and_a_built_one_is_not(project, instance):
    defs = definitions()
    (first,) = tick(defs, instance, 2).run_requests
    run = dg.DagsterRun(
        job_name="crawl", tags={"dagster/partition": first.partition_key}, status=dg.DagsterRunStatus.FAILURE
    )
    instance.add_run(run)
    (second,) = tick(defs, instance, 2).run_requests
    assert (second.partition_key, second.run_key) == (first.partition_key, f"{first.partition_key}-2")
    assert (
        defs.resolve_job_def("crawl").execute_in_process(instance=instance, partition_key=second.partition_key).success
    )
    third = tick(defs, instance, 2)
    assert (
        not third.run_requests
        and third.skip_message == "site-2026-11-02 is built already; this schedule makes one crawl a day"
    )
    running = dg.DagsterRun(
        job_name="crawl", tags={"dagster/partition": "site-2026-11-09"}, status=dg.DagsterRunStatus.STARTED
    )
    instance.add_run(running)
    assert tick(defs, instance, 9).skip_message == f"site-2026-11-09 is being built by run {running.run_id}"


def test_a_partition_lost_in_dagster_is_found_again_in_the_store(project, instance):
    defs = definitions()
    instance.add_dynamic_partitions("crawl", ["site"])
    instance.delete_dynamic_partition("crawl", "site")
    context = dg.build_sensor_context(instance=instance, resources={"recipe": ChosenRecipe()})
    (request,) = registered_crawls.evaluate_tick(context).dynamic_partitions_requests
    assert list(request.partition_keys) == ["site"]
    instance.add_dynamic_partitions("crawl", ["site"])
    done = defs.resolve_job_def("crawl").execute_in_process(
        instance=instance, partition_key="site", asset_selection=[dg.AssetKey("raw_warc")]
    )
    (event,) = done.get_asset_materialization_events()
    assert event.materialization.metadata["cached"].value is True


def workspace_with(*built, **recipe):
    """A workspace whose store has the raw crawls that are named."""
    made = Recipe(name="t", crawls={"site": SampleWeb(scale=0.05)}, recrawls=(RECRAWL,), **recipe).with_registered(
        open_registry(load_settings()).sources()
    )
    workspace = open_workspace(made)
    for name in built:
        materialize(GRAPH["raw_warc"], name, workspace)
    return workspace


def test_a_crawl_continues_the_latest_built_one_of_its_prefix():
    registry = open_registry(load_settings())
    for name in ("site-2026-10-12", "site-2026-10-19", "sitemap"):
        registry.add(name, SampleWeb(scale=0.05))
    workspace = workspace_with("site", "site-2026-10-12")
    assert next_source(workspace, RECRAWL, "site-2026-11-21") == SOURCE.but(since="site-2026-10-12")
    assert next_source(workspace, RECRAWL.but(incremental=False), "site-2026-11-21").since is None
    assert next_source(workspace, RECRAWL.but(prefix="fresh"), "fresh-2026-11-21").since is None
    files = WarcFiles(path="x")
    assert next_source(workspace, RECRAWL.but(source=files), "site-2026-11-21") == files
    other = WebCrawl(seeds=("http://x.example/",))
    assert next_source(workspace, RECRAWL.but(source=other), "site-2026-11-21").since == "site-2026-10-12"


def run_of(job, partition="site-2026-11-21", assets=None, recipe="", **tags):
    config = {"resources": {"recipe": {"config": {"name": recipe}}}} if recipe else {}
    selection = frozenset(dg.AssetKey(name) for name in assets) if assets else None
    return dg.DagsterRun(
        job_name=job, run_config=config, asset_selection=selection, tags={"dagster/partition": partition, **tags}
    )


def test_after_a_crawl_search_and_report_are_refreshed_under_its_recipe():
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL,))
    (request,) = requests_after(run_of("crawl", recipe="mine.py:mine"), recipe)
    assert request.job_name == "model" and {key.to_user_string() for key in request.asset_selection} == {
        "search_index",
        "corpus_report",
    }
    assert request.run_config["resources"]["recipe"] == {"config": {"name": "mine.py:mine"}}
    (by_hand,) = requests_after(
        run_of("__ASSET_JOB", assets=[stage.name for stage in CORPUS if stage.per_crawl]), recipe
    )
    assert by_hand.asset_selection == request.asset_selection


@pytest.mark.parametrize("policy", ["continue", "retrain"])
def test_the_model_follows_where_the_recipe_says_so(policy):
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL.but(model=policy),))
    (request,) = requests_after(run_of("crawl"), recipe)
    assert (request.job_name, request.partition_key, request.asset_selection) == ("model", "site-2026-11-21", None)
    (other,) = requests_after(run_of("crawl", "mine"), recipe)
    assert other.asset_selection is not None


def test_shards_that_a_lost_run_left_out_are_asked_for_with_the_model():
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL.but(model="retrain"),))
    run = run_of("crawl", "site-2026-11-21")
    shards, model = requests_after(run, recipe, lambda: ["site-2026-11-14", "site-2026-11-21"])
    assert (shards.partition_key, list(shards.asset_selection)) == ("site-2026-11-14", [dg.AssetKey("token_shards")])
    assert (model.partition_key, model.asset_selection) == ("site-2026-11-21", None)
    assert shards.run_key != model.run_key and model.tags["dagster/max_retries"] == "2"


@pytest.mark.parametrize(
    ("job", "assets"),
    [
        ("model", None),
        ("__ASSET_JOB", ["raw_warc"]),
        ("__ASSET_JOB", ["clean_corpus", "search_index", "corpus_report"]),
    ],
)
def test_nothing_follows_what_built_no_crawl_or_brought_the_rest_itself(job, assets):
    assert requests_after(run_of(job, assets=assets), Recipe(name="t", crawls={}, recrawls=(RECRAWL,))) == []


def test_a_new_crawl_keeps_the_tokenizer_and_leaves_the_model(project):
    recipe = Recipe(name="t", crawls={"site": SampleWeb()}, recrawls=(RECRAWL,))
    later = recipe.with_registered({"site-2026-11-21": SOURCE, "mine": SOURCE})
    assert later.corpus() == ["site", "site-2026-11-21"] and list(later.other_crawls) == ["mine"]
    assert later.tokenizer_crawls() == later.trained_crawls() == ["site"]
    trained = recipe.but(recrawls=(RECRAWL.but(model="retrain"),)).with_registered({"site-2026-11-21": SOURCE})
    assert (trained.tokenizer_crawls(), trained.trained_crawls()) == (["site"], ["site", "site-2026-11-21"])
    named = recipe.but(tokenizer=Tokenizer(crawls=("site",)), registered="all").with_registered({"mine": SOURCE})
    assert (named.tokenizer_crawls(), named.corpus()) == (["site"], ["mine", "site"])
