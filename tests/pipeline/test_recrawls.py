"""Schedules over weeks that fail, crawls and partitions that part ways, and what a run brings after it."""

import os
import shutil
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest

from llm_assets.artifacts import materialize
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Recipe, Recrawl, SampleWeb, Tokenizer, WarcFiles, WebCrawl, load_recipe
from llm_assets.settings import PROJECT, load_settings
from llm_assets.web.crawls import open_registry
from llm_assets.web.errors import SourceError
from resources import ArtifactStore, ChosenRecipe
from resources.assets import CRAWLS_BUILT
from resources.jobs import crawl_assets, make_jobs
from resources.recrawls import (
    REFRESHES,
    builds_a_crawl,
    crawls_of_run,
    next_source,
    refresh_sensor,
    registered_crawls,
    requests_after,
    why_to_leave_a_backfill,
    with_corpus,
)
from tests.support.building import build
from tests.support.commands import environment_for
from tests.support.recrawl_schedules import definitions, tick
from tests.support.small_recipe import CORPUS, recipe_file
from tests.support.warcs import page, story, write

SOURCE = SampleWeb(scale=0.05, day=2)
UP_TO_CORPUS = [GRAPH[name] for name in crawl_assets(GRAPH)]
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
    build(load_recipe(), UP_TO_CORPUS, ("site",))
    return tmp_path


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        yield instance


def test_a_killed_week_is_followed_by_a_good_one(project, instance):
    defs = definitions()
    (request,) = tick(defs, instance, 2).run_requests
    assert request.partition_key == "site-2026-11-02"
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
    outcome = materialize(GRAPH["page_versions"], None, open_workspace())
    assert outcome.crawls == ["site", "site-2026-11-09"]
    assert outcome.unbuilt_crawls == ["site-2026-11-02", "site-2026-11-16"]


def test_a_failed_day_is_asked_for_again_and_a_built_one_is_not(project, instance):
    defs = definitions()
    (first,) = tick(defs, instance, 2).run_requests
    run = dg.DagsterRun(
        job_name="crawl", tags={"dagster/partition": first.partition_key}, status=dg.DagsterRunStatus.FAILURE
    )
    instance.add_run(run)
    (second,) = tick(defs, instance, 2, hour=1).run_requests
    assert second.partition_key == first.partition_key and second.run_key != first.run_key
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


def test_partitions_and_the_store_part_ways_and_meet_again(project, instance):
    defs = definitions()

    def build(partition):
        done = defs.resolve_job_def("crawl").execute_in_process(
            instance=instance, partition_key=partition, asset_selection=[dg.AssetKey("raw_warc")]
        )
        (event,) = done.get_asset_materialization_events()
        return event.materialization.metadata["cached"].value

    # Lost in Dagster: the sensor adds it again, and what is in the store is found.
    instance.add_dynamic_partitions("crawl", ["site"])
    instance.delete_dynamic_partition("crawl", "site")
    context = dg.build_sensor_context(instance=instance, resources={"recipe": ChosenRecipe()})
    (request,) = registered_crawls.evaluate_tick(context).dynamic_partitions_requests
    assert list(request.partition_keys) == ["site"]
    instance.add_dynamic_partitions("crawl", ["site"])
    assert build("site") is True
    # Lost in the store: no crawl continues it, and a run of its partition builds it again.
    shutil.rmtree(load_settings().data / "artifacts" / "raw_warc" / "site")
    assert tick(defs, instance, 2).run_requests
    assert open_registry(load_settings()).sources()["site-2026-11-02"].since is None
    assert build("site") is False
    # Never a crawl.
    instance.add_dynamic_partitions("crawl", ["nobody"])
    with pytest.raises(
        SourceError, match=r"no crawl 'nobody'; there are site.*register one with: llm-assets crawls add"
    ):
        build("nobody")


def test_a_crawl_without_a_folder_stops_no_schedule(tmp_path, instance, monkeypatch):
    schedule = 'recrawls=(Recrawl(prefix="site", cron="0 0 * * 1", source=SampleWeb()),),'
    recipe_file(tmp_path / "recipe.py", '{"site": WarcFiles(path="/missing")}', schedule)
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    # It is a crawl that is not built: the schedule's own crawl continues none, and says no more of it.
    assert tick(definitions(), instance, 2).run_requests
    assert open_registry(load_settings()).sources()["site-2026-11-02"].since is None
    workspace = open_workspace()
    assert with_corpus(workspace, workspace.recipe.corpus()) == []
    with pytest.raises(SourceError, match="/missing: no such file or folder"):
        materialize(GRAPH["raw_warc"], "site", open_workspace())


KILLED = """
import os, signal, sys
import dagster as dg
from tests.support.recrawl_schedules import definitions, tick

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    dg.DagsterInstance.add_dynamic_partitions = kill
    tick(definitions(), instance, 2)
"""


def test_weeks_that_were_registered_and_never_run_are_told_and_gone_past(project, instance):
    recipe = project / "recipe.py"
    recipe.write_text(recipe.read_text().replace("scale=0.3", "scale=0.05"))
    defs = definitions()
    crawl = defs.resolve_job_def("crawl")
    instance.add_dynamic_partitions("crawl", ["site"])
    assert crawl.execute_in_process(instance=instance, partition_key="site").success
    # One week the daemon is killed as soon as the crawl is registered; the next, before its run is launched.
    environment = {**environment_for(load_settings().data), "PYTHONPATH": str(PROJECT)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(project / "instance")], env=environment, cwd=project)
    assert killed.returncode == -signal.SIGKILL
    assert list(open_registry(load_settings()).sources()) == ["site-2026-11-02"]
    assert instance.get_dynamic_partitions("crawl") == ["site"]
    assert tick(defs, instance, 9).run_requests
    # Both become partitions, which can be built by hand; the week after continues the last crawl that is built.
    context = dg.build_sensor_context(instance=instance, resources={"recipe": ChosenRecipe()})
    (added,) = registered_crawls.evaluate_tick(context).dynamic_partitions_requests
    assert list(added.partition_keys) == ["site-2026-11-02"]
    (request,) = tick(defs, instance, 16).run_requests
    assert {source.since for source in open_registry(load_settings()).sources().values()} == {"site"}
    done = crawl.execute_in_process(instance=instance, partition_key=request.partition_key)
    assert done.success
    # What follows is of the crawls that are built; its check warns of the others.
    sensor = refresh_sensor(make_jobs(GRAPH), GRAPH)
    ended = dg.build_run_status_sensor_context(
        sensor.name,
        next(event for event in done.all_events if event.event_type == dg.DagsterEventType.RUN_SUCCESS),
        instance,
        instance.get_run_by_id(done.run_id),
        resources={"store": ArtifactStore()},
    )
    (refresh,) = sensor(ended)
    assert refresh.run_config["resources"]["recipe"]["config"]["crawls"] == ["site", "site-2026-11-16"]
    refreshed = defs.resolve_job_def("model").execute_in_process(
        instance=instance, run_config=refresh.run_config, asset_selection=refresh.asset_selection
    )
    assert refreshed.success
    (check,) = (
        found
        for found in refreshed.get_asset_check_evaluations()
        if (found.asset_key.to_user_string(), found.check_name) == ("page_versions", CRAWLS_BUILT)
    )
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == ("made from site, site-2026-11-16; not built: site-2026-11-02, site-2026-11-09")


def workspace_with(*built, **recipe):
    """A workspace whose store has the crawls that are named, up to their corpus."""
    made = Recipe(name="t", crawls={"site": SampleWeb(scale=0.05)}, recrawls=(RECRAWL,), **recipe).with_registered(
        open_registry(load_settings()).sources()
    )
    build(made, UP_TO_CORPUS, built)
    return open_workspace(made)


def test_a_crawl_continues_the_latest_built_one_of_its_prefix():
    registry = open_registry(load_settings())
    for name in ("site-2026-10-12", "site-2026-10-19", "sitemap"):
        registry.add(name, SampleWeb(scale=0.05))
    workspace = workspace_with("site", "site-2026-10-12")
    # One that was fetched and not built to its corpus is read by nothing: nothing continues it.
    materialize(GRAPH["raw_warc"], "site-2026-10-19", workspace)
    assert next_source(workspace, RECRAWL, "site-2026-11-21") == SOURCE.replace(since="site-2026-10-12")
    assert next_source(workspace, RECRAWL.replace(incremental=False), "site-2026-11-21").since is None
    assert next_source(workspace, RECRAWL.replace(prefix="fresh"), "fresh-2026-11-21").since is None
    files = WarcFiles(path="x")
    assert next_source(workspace, RECRAWL.replace(source=files), "site-2026-11-21") == files
    other = WebCrawl(seeds=("http://x.example/",))
    assert next_source(workspace, RECRAWL.replace(source=other), "site-2026-11-21").since == "site-2026-10-12"


def run_of(job, partition="site-2026-11-21", assets=None, recipe="", **tags):
    config = {"resources": {"recipe": {"config": {"name": recipe}}}} if recipe else {}
    selection = frozenset(dg.AssetKey(name) for name in assets) if assets else None
    return dg.DagsterRun(
        job_name=job, run_config=config, asset_selection=selection, tags={"dagster/partition": partition, **tags}
    )


def test_after_a_crawl_search_and_report_are_refreshed_under_its_recipe():
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL,))
    (request,) = requests_after(run_of("crawl", recipe="mine.py:mine"), recipe, ["site-2026-11-21"])
    assert request.job_name == "model" and {key.to_user_string() for key in request.asset_selection} == {
        "page_versions",
        "search_index",
        "corpus_report",
    }
    assert request.run_config["resources"]["recipe"] == {"config": {"name": "mine.py:mine"}}


def test_what_follows_a_crawl_reads_the_crawls_that_are_built_then():
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL.replace(model="retrain"),))
    run, built = run_of("crawl", recipe="mine.py:mine"), ["site-2026-11-21", "site"]
    requests = requests_after(run, recipe, ["site-2026-11-21"], lambda: ["site", "site-2026-11-21"], built)
    chosen = {"name": "mine.py:mine", "crawls": ["site", "site-2026-11-21"]}
    assert [request.run_config["resources"] for request in requests] == [{"recipe": {"config": chosen}}] * 2
    (request,) = requests_after(run_of("crawl"), recipe, ["mine"], built=["mine"])
    assert request.run_config == {"resources": {"recipe": {"config": {"crawls": ["mine"]}}}}


@pytest.mark.parametrize("wanted", [None, [stage.name for stage in CORPUS if stage.per_crawl]])
def test_a_crawl_built_by_a_schedule_or_by_hand_has_followers(wanted):
    assert builds_a_crawl(run_of("__ASSET_JOB" if wanted else "crawl", assets=wanted))


@pytest.mark.parametrize("policy", ["continue", "retrain"])
def test_the_model_follows_where_the_recipe_says_so(policy):
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL.replace(model=policy),))
    (request,) = requests_after(run_of("crawl"), recipe, ["site-2026-11-21"])
    assert (request.job_name, request.partition_key, request.asset_selection) == ("model", "site-2026-11-21", None)
    (other,) = requests_after(run_of("crawl", "mine"), recipe, ["mine"])
    assert other.asset_selection is not None


def test_shards_that_a_lost_run_left_out_are_asked_for_with_the_model():
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL.replace(model="retrain"),))
    run = run_of("crawl", "site-2026-11-21")
    shards, model = requests_after(run, recipe, ["site-2026-11-21"], lambda: ["site-2026-11-14", "site-2026-11-21"])
    assert (shards.partition_key, list(shards.asset_selection)) == ("site-2026-11-14", [dg.AssetKey("token_shards")])
    assert (model.partition_key, model.asset_selection) == ("site-2026-11-21", None)
    assert shards.run_key != model.run_key and model.tags["dagster/max_retries"] == "2"


@pytest.mark.parametrize(
    ("job", "assets"),
    [
        ("model", None),
        ("__ASSET_JOB", ["raw_warc"]),
        ("__ASSET_JOB", ["clean_corpus", "page_versions", "search_index", "corpus_report"]),
    ],
)
def test_nothing_follows_what_built_no_crawl_or_brought_the_rest_itself(job, assets):
    assert not builds_a_crawl(run_of(job, assets=assets))


def test_nothing_follows_a_command_that_brings_the_rest_in_another_run():
    assert not builds_a_crawl(run_of("crawl", **{REFRESHES: "yes"}))


def test_a_run_of_several_crawls_has_the_policy_of_its_latest():
    partitions = ["site", "site-2026-11-14", "site-2026-11-21", "mine"]
    ends = {"dagster/asset_partition_range_start": "site", "dagster/asset_partition_range_end": "site-2026-11-21"}
    run = dg.DagsterRun(job_name="crawl", tags=ends)
    crawls = crawls_of_run(run, partitions)
    assert crawls == partitions[:3]
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL.replace(model="continue"),))
    (request,) = requests_after(run, recipe, crawls)
    assert (request.job_name, request.partition_key) == ("model", "site-2026-11-21")


def test_the_runs_of_a_backfill_ask_once_when_all_have_ended(instance):
    run, other = (
        run_of("crawl", name, **{"dagster/backfill": "abc"}) for name in ("site-2026-11-14", "site-2026-11-21")
    )
    instance.add_run(run.with_status(dg.DagsterRunStatus.SUCCESS))
    instance.add_run(other.with_status(dg.DagsterRunStatus.STARTED))
    assert "1 runs of backfill abc are not finished" in why_to_leave_a_backfill(instance, "abc")
    instance.report_run_failed(instance.get_run_by_id(other.run_id), "lost")
    assert why_to_leave_a_backfill(instance, "abc") == ""
    recipe = Recipe(name="t", crawls={}, recrawls=(RECRAWL,))
    keys = {requests_after(one, recipe, [one.tags["dagster/partition"]])[0].run_key for one in (run, other)}
    assert keys == {"abc"}


def test_a_new_crawl_keeps_the_tokenizer_and_leaves_the_model(project):
    recipe = Recipe(name="t", crawls={"site": SampleWeb()}, recrawls=(RECRAWL,))
    later = recipe.with_registered({"site-2026-11-21": SOURCE, "mine": SOURCE})
    assert later.corpus() == ["site", "site-2026-11-21"] and list(later.other_crawls) == ["mine"]
    assert later.tokenizer_crawls() == later.trained_crawls() == ["site"]
    trained = recipe.replace(recrawls=(RECRAWL.replace(model="retrain"),)).with_registered({"site-2026-11-21": SOURCE})
    assert (trained.tokenizer_crawls(), trained.trained_crawls()) == (["site"], ["site", "site-2026-11-21"])
    named = recipe.replace(tokenizer=Tokenizer(crawls=("site",)), registered="all").with_registered({"mine": SOURCE})
    assert (named.tokenizer_crawls(), named.corpus()) == (["site"], ["mine", "site"])


def test_a_crawl_that_leaves_the_model_alone_is_read_by_what_is_searched_and_reported_alone(tmp_path):
    """What a model learns from, searches while it learns, and is examined by stays as it was: nothing of it is stale."""
    for number, name in enumerate(("site", "site-2026-11-09")):
        write(tmp_path / name / "a.warc.gz", [page(f"http://host.example/{number}", story(number))])
    crawls = {name: WarcFiles(path=str(tmp_path / name)) for name in ("site", "site-2026-11-09")}
    recipe = Recipe(name="t", crawls=crawls, recrawls=(RECRAWL,))
    build(recipe, CORPUS, tuple(crawls))
    alone = recipe.without_crawl("site-2026-11-09")
    after, before = open_workspace(recipe).resolver(), open_workspace(alone).resolver()
    read_by = {
        stage.name
        for stage in GRAPH
        if not stage.per_crawl and after.dependencies(stage, None) != before.dependencies(stage, None)
    }
    assert read_by == {"page_versions", "search_index", "corpus_report"}
    upstream = {name: set(stage.inputs) for name, stage in GRAPH.stages.items()}
    assert not any(inputs & read_by for name, inputs in upstream.items() if name not in read_by)
    for stage in GRAPH:
        if stage.name not in read_by and not stage.per_crawl:
            assert stage.config(recipe, None) == stage.config(alone, None)
