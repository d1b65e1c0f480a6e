"""Re-crawl schedules over weeks in which crawls fail, are killed, or are lost from the store or from Dagster."""

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
from llm_assets.settings import PROJECT, load_settings
from llm_assets.web.crawls import open_registry
from llm_assets.web.errors import SourceError
from resources import ArtifactStore, ChosenRecipe
from resources.assets import CRAWLS_BUILT
from resources.jobs import make_jobs
from resources.live_runs import announce_run
from resources.recrawls import crawls_with_corpus, refresh_sensor, registered_crawls
from tests.support.commands import environment_for
from tests.support.recrawl_schedules import definitions, tick
from tests.support.small_recipe import recipe_file

BUILD_RAW_WARC = """
import sys
from llm_assets.artifacts import materialize
from llm_assets.graph import GRAPH, open_workspace

materialize(GRAPH["raw_warc"], sys.argv[1], open_workspace())
"""


def project_environment():
    """The environment of a subprocess that imports the project and its tests."""
    return {**environment_for(load_settings().data), "PYTHONPATH": str(PROJECT)}


def registered():
    """The registered crawls, and which crawl each continues."""
    return {name: source.since for name, source in open_registry(load_settings()).sources().items()}


def sensed_partitions(instance):
    """The partitions that the sensor of registered crawls adds."""
    context = dg.build_sensor_context(instance=instance, resources={"recipe": ChosenRecipe()})
    (request,) = registered_crawls.evaluate_tick(context).dynamic_partitions_requests
    return list(request.partition_keys)


def kill_crawl(crawl, project):
    """Start to build the crawl's raw_warc in a process, and kill that once it has stored some pages."""
    words = [sys.executable, "-c", BUILD_RAW_WARC, crawl]
    process = subprocess.Popen(words, env=project_environment(), cwd=project, start_new_session=True)
    spool = load_settings().data / "artifacts" / ".staging" / "raw_warc" / crawl
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 20_000 for path in spool.rglob("exchanges.warc.gz")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_the_week_after_a_killed_crawl_continues_the_last_built_one(recrawl_project, instance):
    recipe = recrawl_project / "recipe.py"
    small = recipe.read_text()
    recipe.write_text(small.replace("scale=0.05, day=2", "scale=0.3, day=2"))  # takes long enough to be killed
    (request,) = tick(definitions(), instance, 2).run_requests
    assert request.partition_key == "site-2026-11-02"
    kill_crawl(request.partition_key, recrawl_project)
    recipe.write_text(small)
    defs = definitions()
    (request,) = tick(defs, instance, 9).run_requests
    assert registered() == {"site-2026-11-02": "site", "site-2026-11-09": "site"}
    crawl = defs.resolve_job_def("crawl")
    assert crawl.execute_in_process(instance=instance, partition_key=request.partition_key).success
    tick(defs, instance, 16)
    assert registered()["site-2026-11-16"] == "site-2026-11-09"
    # A cross-crawl artifact reads the crawls that are built, and reports the others.
    outcome = materialize(GRAPH["page_versions"], None, open_workspace())
    assert outcome.crawls == ["site", "site-2026-11-09"]
    assert outcome.unbuilt_crawls == ["site-2026-11-02", "site-2026-11-16"]


def test_a_failed_days_crawl_is_requested_again_and_a_built_one_is_not(recrawl_project, instance):
    defs = definitions()
    (first,) = tick(defs, instance, 2).run_requests
    failed_tags = {"dagster/partition": first.partition_key}
    instance.add_run(dg.DagsterRun(job_name="crawl", tags=failed_tags, status=dg.DagsterRunStatus.FAILURE))
    (second,) = tick(defs, instance, 2, hour=1).run_requests
    assert second.partition_key == first.partition_key and second.run_key != first.run_key
    crawl = defs.resolve_job_def("crawl")
    assert crawl.execute_in_process(instance=instance, partition_key=second.partition_key).success
    third = tick(defs, instance, 2)
    assert not third.run_requests
    assert third.skip_message == "site-2026-11-02 is built already; this schedule makes one crawl a day"
    running_tags = {"dagster/partition": "site-2026-11-09"}
    running = dg.DagsterRun(job_name="crawl", tags=running_tags, status=dg.DagsterRunStatus.STARTED)
    instance.add_run(running)
    assert tick(defs, instance, 9).skip_message == f"site-2026-11-09 is being built by run {running.run_id}"


def test_a_run_whose_process_was_killed_blocks_no_tick(recrawl_project, instance):
    running = dg.DagsterRun(
        job_name="crawl", tags={"dagster/partition": "site-2026-11-02"}, status=dg.DagsterRunStatus.STARTED
    )
    instance.add_run(running)
    with announce_run(running.run_id):
        assert "is being built" in tick(definitions(), instance, 2).skip_message
    path = load_settings().data / "processes" / running.run_id
    path.touch()  # as a killed process leaves it: there, and not locked
    assert tick(definitions(), instance, 2).run_requests
    assert instance.get_run_by_id(running.run_id).status == dg.DagsterRunStatus.FAILURE and not path.exists()


def test_a_partition_lost_in_dagster_or_in_the_store_is_restored(recrawl_project, instance):
    defs = definitions()

    def is_cached(partition):
        """Run the crawl job's raw_warc for a partition; whether it was found in the store."""
        run = defs.resolve_job_def("crawl").execute_in_process(
            instance=instance, partition_key=partition, asset_selection=[dg.AssetKey("raw_warc")]
        )
        (event,) = run.get_asset_materialization_events()
        return event.materialization.metadata["cached"].value

    # Lost in Dagster: the sensor adds it again, and the artifact in the store is found.
    instance.add_dynamic_partitions("crawl", ["site"])
    instance.delete_dynamic_partition("crawl", "site")
    assert sensed_partitions(instance) == ["site"]
    instance.add_dynamic_partitions("crawl", ["site"])
    assert is_cached("site") is True
    # Lost in the store: no crawl continues it, and a run of its partition builds it again.
    shutil.rmtree(load_settings().data / "artifacts" / "raw_warc" / "site")
    assert tick(defs, instance, 2).run_requests
    assert registered()["site-2026-11-02"] is None
    assert is_cached("site") is False
    # A partition without a crawl.
    instance.add_dynamic_partitions("crawl", ["nobody"])
    message = r"no crawl 'nobody'; available: site.*register one with: llm-assets crawls add"
    with pytest.raises(SourceError, match=message):
        is_cached("nobody")


def test_a_crawl_whose_folder_is_missing_stops_no_schedule(tmp_path, instance, monkeypatch):
    schedule = 'recrawls=(Recrawl(prefix="site", cron="0 0 * * 1", source=SampleWeb()),),'
    recipe_file(tmp_path / "recipe.py", '{"site": WarcFiles(path="/missing")}', schedule)
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    # The crawl counts as not built, so the crawl of the schedule continues none.
    assert tick(definitions(), instance, 2).run_requests
    assert registered()["site-2026-11-02"] is None
    workspace = open_workspace()
    assert crawls_with_corpus(workspace, workspace.recipe.corpus()) == []
    with pytest.raises(SourceError, match="/missing: no such file or folder"):
        materialize(GRAPH["raw_warc"], "site", open_workspace())


# A daemon that is killed after it has registered the crawl and before it adds the partition.
KILLED_TICK = """
import os, signal, sys
import dagster as dg
from tests.support.recrawl_schedules import definitions, tick

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    dg.DagsterInstance.add_dynamic_partitions = kill
    tick(definitions(), instance, 2)
"""


def refresh_request(run, instance):
    """The run that the sensor requests after a successful run of the crawl job."""
    sensor = refresh_sensor(make_jobs(GRAPH), GRAPH)
    context = dg.build_run_status_sensor_context(
        sensor.name,
        next(event for event in run.all_events if event.event_type == dg.DagsterEventType.RUN_SUCCESS),
        instance,
        instance.get_run_by_id(run.run_id),
        resources={"store": ArtifactStore()},
    )
    (request,) = sensor(context)
    return request


def test_registered_crawls_that_never_ran_are_skipped_and_reported(recrawl_project, instance):
    defs = definitions()
    crawl = defs.resolve_job_def("crawl")
    instance.add_dynamic_partitions("crawl", ["site"])
    assert crawl.execute_in_process(instance=instance, partition_key="site").success
    # In the first week the daemon is killed as soon as the crawl is registered; in the second, before its run starts.
    words = [sys.executable, "-c", KILLED_TICK, str(recrawl_project / "instance")]
    killed = subprocess.run(words, env=project_environment(), cwd=recrawl_project)
    assert killed.returncode == -signal.SIGKILL
    assert list(registered()) == ["site-2026-11-02"]
    assert instance.get_dynamic_partitions("crawl") == ["site"]
    assert tick(defs, instance, 9).run_requests
    # The sensor adds the partition, so that it can be built by hand; the third week continues the last built crawl.
    assert sensed_partitions(instance) == ["site-2026-11-02"]
    (request,) = tick(defs, instance, 16).run_requests
    assert set(registered().values()) == {"site"}
    run = crawl.execute_in_process(instance=instance, partition_key=request.partition_key)
    assert run.success
    # The refresh reads the crawls that are built; its check warns of the others.
    refresh = refresh_request(run, instance)
    assert refresh.run_config["resources"]["recipe"]["config"]["crawls"] == ["site", "site-2026-11-16"]
    refreshed = defs.resolve_job_def("model").execute_in_process(
        instance=instance, run_config=refresh.run_config, asset_selection=refresh.asset_selection
    )
    assert refreshed.success
    evaluations = {
        (evaluation.asset_key.to_user_string(), evaluation.check_name): evaluation
        for evaluation in refreshed.get_asset_check_evaluations()
    }
    check = evaluations["page_versions", CRAWLS_BUILT]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "made from site, site-2026-11-16; not built: site-2026-11-02, site-2026-11-09"
