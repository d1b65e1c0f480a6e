"""Versions and states that Dagster gets: under the recipe of the run, and under the current recipe."""

import dagster as dg
import pytest

from llm_assets.artifacts import materialize
from llm_assets.graph import GRAPH as PROJECT_GRAPH
from llm_assets.recipes import Recrawl, SampleWeb, laptop
from resources import ArtifactStore, ChosenRecipe, Compute, DuckDb, Tracking, make_assets
from resources.assets import dagster_code_version
from resources.state import state_sensor
from tests.support.toy import GRAPH, ToyRecipe, make_folder, workspace


class ToyChoice(ChosenRecipe):
    folder: str
    factor: int = 1

    def load(self):
        return ToyRecipe(folder=self.folder, factor=self.factor, crawls={"a": "a", "b": "b"})


@pytest.fixture
def instance(tmp_path):
    make_folder(tmp_path / "in", "a")
    make_folder(tmp_path / "in", "b")
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        instance.add_dynamic_partitions("crawl", ["a", "b"])
        yield instance


def toy_resources(tmp_path, **fields):
    return {
        "recipe": ToyChoice(folder=str(tmp_path / "in"), **fields),
        "store": ArtifactStore(url=str(tmp_path / "store")),
    }


def versions(tmp_path, instance, run, at_load=None, **fields):
    """Code versions of a run's materialisations, by asset, in a code location with the recipe `at_load`."""
    definitions = dg.Definitions(
        assets=make_assets(GRAPH, at_load),
        resources={
            **toy_resources(tmp_path, **fields),
            "compute": Compute(workers=1),
            "duckdb": DuckDb(),
            "tracking": Tracking(enabled=False),
        },
        executor=dg.in_process_executor,
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, **run)
    return {
        event.asset_key.to_user_string(): event.materialization.tags["dagster/code_version"]
        for event in result.get_asset_materialization_events()
    }


def test_a_code_version_covers_the_stage_and_its_slice_of_the_recipe():
    recipe = laptop()
    by_stage = {stage.name: dagster_code_version(stage, recipe) for stage in PROJECT_GRAPH}
    assert all(by_stage[stage.name].partition("+")[0] == stage.code_version for stage in PROJECT_GRAPH)
    assert (
        by_stage["raw_warc"] == PROJECT_GRAPH["raw_warc"].code_version
    )  # its slice, the source, differs between crawls
    other = recipe.replace(extraction=recipe.extraction.replace(min_characters=7))
    assert [stage.name for stage in PROJECT_GRAPH if dagster_code_version(stage, other) != by_stage[stage.name]] == [
        "extracted_text"
    ]
    # A device, and a crawl that a schedule registered, make no asset stale.
    compute = recipe.pretraining.compute.replace(device="cpu")
    moved = recipe.replace(pretraining=recipe.pretraining.replace(compute=compute))
    continued = recipe.replace(recrawls=(Recrawl(prefix="s", cron="0 0 * * *", source=SampleWeb(), model="continue"),))
    for unchanged in (moved, continued, continued.with_registered({"s-2026-11-21": SampleWeb()})):
        assert {stage.name: dagster_code_version(stage, unchanged) for stage in PROJECT_GRAPH} == by_stage


@pytest.mark.parametrize(
    "run",
    [
        {"partition_key": "a"},
        {"tags": {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}},
    ],
)
def test_a_run_reports_the_versions_of_its_own_recipe(tmp_path, instance, run):
    at_load = ToyRecipe(folder="fictitious")
    same = versions(tmp_path, instance, run, at_load)
    assert same == {stage.name: dagster_code_version(stage, at_load) for stage in GRAPH}
    other = versions(tmp_path, instance, run, at_load, factor=5)
    assert {name for name in same if other[name] != same[name]} == {"words"}
    assert other["words"] == dagster_code_version(GRAPH["words"], ToyRecipe(folder="", factor=5))


def tick(tmp_path, instance, cursor=None, **fields):
    """The check evaluations that a tick reports, by asset, and the cursor after it."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=toy_resources(tmp_path, **fields))
    result = state_sensor(GRAPH)(context)
    if isinstance(result, dg.SkipReason):
        return {}, cursor
    return {event.asset_key.to_user_string(): event for event in result.asset_events}, result.cursor


def test_the_sensor_reports_a_change_once(tmp_path, instance):
    assert tick(tmp_path, instance) == ({}, None)  # nothing was materialised, which Dagster itself shows
    versions(tmp_path, instance, {"partition_key": "a"})
    evaluations, cursor = tick(tmp_path, instance)
    assert {name: event.passed for name, event in evaluations.items()} == {
        "letters": False,
        "words": False,
        "total": True,
    }
    assert "letters/b: would build: never built" in evaluations["letters"].description
    assert "without b (not built)" in evaluations["total"].description
    assert tick(tmp_path, instance, cursor) == ({}, cursor)
    # Another recipe: only the assets whose explanation differs are reported again.
    changed, later = tick(tmp_path, instance, cursor, factor=5)
    assert changed.keys() == {"words", "total"}
    assert "words/a: would build: config.factor: 1 → 5" in changed["words"].description
    assert changed["total"].severity == dg.AssetCheckSeverity.WARN and changed["total"].metadata["may_build"].value == 1
    # A run under the first recipe reports its own state; the next tick corrects it.
    versions(tmp_path, instance, {"partition_key": "a"})
    assert tick(tmp_path, instance, later, factor=5)[0].keys() == {"letters", "words", "total"}


def test_a_missing_source_hides_no_other_explanation(tmp_path, instance):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(tmp_path / "in"), crawls={"a": "a", "b": "b"}))
    materialize(GRAPH["letters"], "a", ws)
    versions(tmp_path, instance, {"partition_key": "a"})
    for path in (tmp_path / "in" / "b").iterdir():
        path.chmod(0)
        path.unlink()
        path.symlink_to(tmp_path / "gone")
    evaluations, _ = tick(tmp_path, instance)
    assert (
        "letters/b: unknown: " in evaluations["letters"].description
        and "letters/a" not in evaluations["letters"].description
    )
