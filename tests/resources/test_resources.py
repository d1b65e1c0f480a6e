"""Resources apply their fields, refuse invalid values, and are no part of any identity."""

import os
from dataclasses import replace

import dagster as dg
import pytest

from llm_assets.artifacts import Check, CheckOutcome, materialize
from llm_assets.compute.devices import TrainingDevices
from llm_assets.sql import DuckDbSettings, connect, query
from resources import ArtifactStore, ChosenRecipe, Compute, DuckDb, Tracking, make_assets
from resources.metadata import materialisation_metadata
from tests.support.toy import GRAPH, ToyRecipe, make_folder, workspace

SETTINGS = ("LLM_ASSETS_GPUS", "LLM_ASSETS_PROCESSES", "LLM_ASSETS_PRECISION", "CUDA_VISIBLE_DEVICES")
DUCKDB = ("LLM_ASSETS_DUCKDB_MEMORY", "LLM_ASSETS_DUCKDB_THREADS", "LLM_ASSETS_DUCKDB_TEMPORARY")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Start and end each test without the variables that resources set for worker and training processes."""
    for name in (*SETTINGS, *DUCKDB):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def setting(name):
    return connect().execute("SELECT current_setting(?)", [name]).fetchall()[0][0]


def test_all_duckdb_connections_have_the_same_settings(tmp_path):
    DuckDb(memory="300MB", threads=1, temporary_folder=str(tmp_path / "spill")).apply()
    assert (setting("threads"), setting("temp_directory")) == (1, str(tmp_path / "spill"))
    assert setting("memory_limit") in ("286.1 MiB", "300.0 MB")
    assert query("SELECT current_setting('threads') AS threads")["threads"].to_list() == [1]
    DuckDb(threads=2).apply()  # empty fields take the settings of the environment
    assert query("SELECT current_setting('threads') AS threads")["threads"].to_list() == [2]
    assert DuckDbSettings.from_environment().memory == "300MB"


def test_an_error_names_a_setting_that_duckdb_refuses():
    DuckDb(memory="a lot").apply()
    with pytest.raises(ValueError, match=r"DuckDB rejects .*a lot"):
        connect()


def test_compute_sets_workers_and_devices(monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_WORKERS", "3")
    assert Compute().open_engine().workers == 3
    assert Compute(workers=2).open_engine().workers == 2
    Compute(gpus="0,1", processes=2, precision="fp32").apply_devices()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert TrainingDevices.from_environment() == TrainingDevices("0,1", 2, "fp32")
    Compute(gpus="none").apply_devices()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"gpus": "first"}, "gpus 'first': must be numbers such as '0,1'"),
        ({"precision": "int8"}, "precision 'int8': must be auto, bf16 or fp32"),
        ({"processes": -1}, "processes -1"),
    ],
)
def test_an_error_names_invalid_devices(fields, problem):
    with pytest.raises(ValueError, match=problem):
        Compute(**fields).apply_devices()


def test_an_error_names_an_unknown_engine():
    with pytest.raises(ValueError, match=r"compute\.engine 'abacus'"):
        Compute(engine="abacus").open_engine()


class ToyChoice(ChosenRecipe):
    folder: str

    def load(self):
        return ToyRecipe(folder=self.folder, name=self.name or "toy", crawls={"a": "a", "b": "b"})


def materialise(tmp_path, instance, partition="a", assets=None, **resources):
    """A run of the toy graph, with resources as a launchpad may set them."""
    definitions = dg.Definitions(
        assets=make_assets(GRAPH),
        resources={
            "recipe": ToyChoice(folder=str(tmp_path / "in")),
            "store": ArtifactStore(url=str(tmp_path / "store")),
            "compute": Compute(workers=1),
            "duckdb": DuckDb(),
            "tracking": Tracking(enabled=False),
            **resources,
        },
        executor=dg.in_process_executor,
    )
    return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, partition_key=partition, asset_selection=assets, raise_on_error=False
    )


@pytest.fixture
def instance(tmp_path):
    make_folder(tmp_path / "in", "a")
    make_folder(tmp_path / "in", "b", files=2)
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as instance:
        instance.add_dynamic_partitions("crawl", ["a", "b"])
        yield instance


def materialisations(result):
    """The materialisation events of a run, by asset."""
    return {
        event.asset_key.to_user_string(): event.materialization for event in result.get_asset_materialization_events()
    }


def test_workers_memory_and_the_recipes_name_are_no_part_of_an_identity(tmp_path, instance):
    assert materialise(tmp_path, instance).success
    again = materialise(
        tmp_path,
        instance,
        compute=Compute(workers=2, processes=1, precision="fp32"),
        duckdb=DuckDb(memory="1GB", threads=1),
        recipe=ToyChoice(folder=str(tmp_path / "in"), name="other"),
    )
    assert {name: event.metadata["cached"].value for name, event in materialisations(again).items()} == dict.fromkeys(
        GRAPH.stages, True
    )


def test_the_standard_metadata_is_correct(tmp_path, instance):
    by_asset = materialisations(materialise(tmp_path, instance))
    letters, total = by_asset["letters"].metadata, by_asset["total"].metadata
    assert letters["dagster/partition_row_count"].value == 20 and "dagster/row_count" not in letters
    assert "dagster/row_count" not in total  # it has no main table
    assert isinstance(letters["seconds"], dg.FloatMetadataValue) and isinstance(letters["bytes"], dg.IntMetadataValue)
    assert isinstance(total["total"], dg.PathMetadataValue) and total["total"].value.endswith("total.txt")
    assert (total["crawls"].value, total["unbuilt_crawls"].value) == (["a"], ["b"])


def test_a_steps_numbers_do_not_replace_the_standard_metadata(tmp_path):
    ws = workspace(tmp_path / "store", ToyRecipe(folder=str(make_folder(tmp_path / "in"))))
    outcome = materialize(GRAPH["letters"], "a", ws)
    standard = materialisation_metadata(GRAPH["letters"], outcome, lambda run: None)
    stats = {"bytes": -1, "seconds": -1, "files": -1, "rows_letters": -1, "longest": 7}
    outcome.artifact.record.stats.update(stats)
    metadata = materialisation_metadata(GRAPH["letters"], outcome, lambda run: None)
    same = [name for name in stats if name != "longest"]
    assert [metadata[name] for name in same] == [standard[name] for name in same]
    assert metadata["longest"] == 7 and metadata["stats"].value["bytes"] == -1


def test_checks_run_with_the_partition_of_their_asset(tmp_path, instance):
    result = materialise(tmp_path, instance, "b")
    evaluations = {
        f"{evaluation.asset_key.to_user_string()}: {evaluation.check_name}": evaluation
        for evaluation in result.get_asset_check_evaluations()
    }
    assert evaluations.keys() == {
        "letters: schema",
        "words: schema",
        "total: schema",
        "total: is_positive",
        "total: every_crawl_is_built",
        *(f"{name}: up_to_date" for name in GRAPH.stages),
    }
    assert evaluations["letters: schema"].metadata["rows"].value == 10
    assert evaluations["total: is_positive"].metadata["letters"].value > 0
    assert not evaluations["total: every_crawl_is_built"].passed
    assert evaluations["total: every_crawl_is_built"].description == "made from b; not built: a"


def test_a_crawl_that_is_built_during_a_run_is_left_to_the_next_run(tmp_path, instance):
    for crawl in ("a", "b"):
        assert materialise(tmp_path, instance, crawl, [dg.AssetKey("letters"), dg.AssetKey("words")]).success
    total, folder = [dg.AssetKey("total")], str(tmp_path / "in")
    requested_before = materialise(tmp_path, instance, "a", total, recipe=ToyChoice(folder=folder, crawls=["a"]))
    metadata = materialisations(requested_before)["total"].metadata
    assert (metadata["crawls"].value, metadata["unbuilt_crawls"].value) == (["a"], ["b"])
    assert materialisations(materialise(tmp_path, instance, "a", total))["total"].metadata["crawls"].value == ["a", "b"]


def test_a_failing_blocking_check_stops_downstream_assets(tmp_path, instance, monkeypatch):
    check = Check("never", "Never true.", lambda artifact, inputs, config: CheckOutcome(False, "no"), blocking=True)
    monkeypatch.setitem(GRAPH.stages, "letters", replace(GRAPH["letters"], checks=(check,)))
    result = materialise(tmp_path, instance)
    assert not result.success
    assert set(materialisations(result)) == {"letters"}  # the built asset is reported, and nothing is built from it


def test_a_run_for_an_unknown_partition_fails(tmp_path, instance):
    instance.add_dynamic_partitions("crawl", ["never"])
    result = materialise(tmp_path, instance, "never", [dg.AssetKey("words")])
    assert not result.success
