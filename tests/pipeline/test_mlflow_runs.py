"""What MLflow records of a build: one run for each artifact, with its config, metrics, inputs and training curve."""

import json
import sqlite3

import pytest

from resources.tracking import metric_name
from tests.support.commands import command_here
from tests.support.sample_pipeline import stages_up_to_corpus_and


def record_of(project, asset):
    """The record of an asset's only artifact."""
    (path,) = (project / "data" / "artifacts").glob(f"{asset}/*/*/artifact.json")
    return json.loads(path.read_text())


class TrackingDatabase:
    """MLflow's database of a project, read with SQL."""

    def __init__(self, connection):
        self.connection = connection

    def rows(self, query, *arguments):
        return self.connection.execute(query, arguments).fetchall()

    def run(self, name):
        ((run,),) = self.rows("SELECT run_uuid FROM runs WHERE name = ?", name)
        return run

    def values(self, table, run):
        """The keys and values that a run has in `params`, `metrics` or `tags`."""
        return dict(self.rows(f"SELECT key, value FROM {table} WHERE run_uuid = ?", run))

    def inputs(self, run):
        """The digests of a run's input datasets, by name."""
        query = (
            "SELECT d.name, d.digest FROM datasets d JOIN inputs i ON i.source_id = d.dataset_uuid "
            "WHERE i.destination_id = ?"
        )
        return dict(self.rows(query, run))


def test_mlflow_has_one_run_for_each_build(project):
    stages = stages_up_to_corpus_and("tokenizer token_shards base_checkpoint")
    for _ in range(2):  # the second run builds nothing, and adds nothing
        select = "*base_checkpoint,*corpus_report"
        command_here(project, "run", "--select", select, llm_assets_tracking="on")
    with sqlite3.connect(project / "data" / "mlflow" / "mlflow.db") as connection:
        tracking = TrackingDatabase(connection)
        expected = sorted(f"{stage.name}/c" if stage.per_crawl else stage.name for stage in stages)
        assert tracking.rows("SELECT name, status FROM runs ORDER BY name") == [(name, "FINISHED") for name in expected]
        check_run_of_an_artifact(tracking, project)
        check_training_curve(tracking, project)


def check_run_of_an_artifact(tracking, project):
    """Config, metrics, tags and inputs of the run of `extracted_text/c`, and the artifact's record of it."""
    run, record = tracking.run("extracted_text/c"), record_of(project, "extracted_text")
    assert tracking.values("params", run)["min_characters"] == "1"
    metrics = tracking.values("metrics", run)
    assert metrics["rows.text"] == 10 and metrics["kept"] == 10 and metrics["seconds"] > 0
    tags = tracking.values("tags", run)
    assert len(tags["dagster/run_id"]) == 36 and tags["data_version"]
    assert tracking.inputs(run) == record["fields"]["inputs"]
    assert record["mlflow_run_id"] == run and record["dagster_run_id"] == tags["dagster/run_id"]


def check_training_curve(tracking, project):
    """The loss of every step once, up to the last."""
    query = "SELECT step FROM metrics WHERE run_uuid = ? AND key = 'loss' ORDER BY step"
    steps = [step for (step,) in tracking.rows(query, tracking.run("base_checkpoint"))]
    assert steps and len(steps) == len(set(steps))
    assert steps[-1] == record_of(project, "base_checkpoint")["stats"]["steps"]


@pytest.mark.parametrize(
    "name",
    [
        "passed.rl.arithmetic, level 0.pass@1",
        "wins.rlhf against sft",
        "rows.text",
        "it's 5% (of all)",
        "x" * 400,
    ],
)
def test_metric_names_are_valid_in_mlflow(name):
    from mlflow.utils.validation import _validate_metric_name  # imports for seconds

    _validate_metric_name(metric_name(name))


def test_a_metric_name_keeps_what_mlflow_accepts():
    assert metric_name("passed.rl.arithmetic, level 0.pass@1") == "passed.rl.arithmetic level 0.pass1"
