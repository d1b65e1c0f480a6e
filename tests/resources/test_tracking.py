"""What MLflow keeps of an artifact beside its numbers: plots and the card, a registered model, links to Dagster."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from llm_assets.artifacts import Graph, View, materialize
from llm_assets.settings import load_settings
from resources.tracking import MlflowTracker, Tracking
from tests.support.ports import free_port
from tests.support.toy import LETTERS, TOTAL, WORDS, ToyRecipe, make_folder, workspace

VIEWS = ("plot.png", "page.html", "model/README.md")


def draw(artifact, inputs, config):
    return f"{artifact.record.short_id}: a view"


MODEL = replace(
    TOTAL, views=tuple(View(file, draw) for file in VIEWS), checks=(), registered_folder="model", code_version="2"
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A function that builds everything, tracked at a URI, and returns the artifact that holds the model."""
    monkeypatch.setenv("LLM_ASSETS_TRACKING", "on")
    folder = str(make_folder(tmp_path / "in"))

    def build(**fields):
        uri = fields.pop("uri", load_settings().mlflow_uri)
        ws = workspace(tmp_path / "store", ToyRecipe(folder=folder, **fields))
        ws.graph = Graph([LETTERS, WORDS, MODEL])
        ws.dagster_run_id = "a-dagster-run"
        ws.tracker = MlflowTracker(uri, tmp_path / "attached", ws.dagster_run_id)
        return [materialize(ws.graph[name], crawl, ws) for name, crawl in KEYS][-1].artifact

    return build


KEYS = (("letters", "a"), ("words", "a"), ("total", None))


def client(uri=None):
    return MlflowClient(tracking_uri=uri or load_settings().mlflow_uri)


def test_a_run_has_the_plots_and_the_card_but_no_page_that_may_quote_text(toy):
    run_id = toy().record.mlflow_run_id
    assert sorted(item.path for item in client().list_artifacts(run_id)) == ["README.md", "plot.png"]
    assert "a view" in Path(client().download_artifacts(run_id, "plot.png")).read_text()


def test_an_export_is_one_version_of_its_recipes_model_however_often_it_is_drawn(toy):
    first = toy(name="mine")
    (first.path / "plot.png").unlink()
    toy(name="mine")  # cached; its plot is drawn again
    second = toy(name="mine", offset=3)
    versions = client().search_model_versions("name = 'mine'", order_by=["version_number ASC"])
    expected = [(artifact.record.short_id, (artifact.path / "model").as_uri()) for artifact in (first, second)]
    assert [(version.tags["identity"], version.source) for version in versions] == expected
    assert [version.run_id for version in versions] == [a.record.mlflow_run_id for a in (first, second)]
    assert versions[0].description == f"{first.record.short_id}: a view"
    assert versions[0].tags["dagster/run_id"] == "a-dagster-run"


def test_a_model_that_was_tracked_elsewhere_is_registered_without_its_run(toy, tmp_path):
    artifact = toy()
    (artifact.path / "plot.png").unlink()
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    toy(uri=elsewhere)
    (version,) = client(elsewhere).search_model_versions("name = 'toy'")
    assert version.run_id in (None, "") and version.tags["identity"] == artifact.record.short_id


def test_runs_and_assets_link_to_each_other(toy, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DAGSTER_URL", "https://dagster.example/")
    monkeypatch.setenv("LLM_ASSETS_MLFLOW_URL", "https://mlflow.example/")
    run = client().get_run(toy().record.mlflow_run_id)
    note = run.data.tags["mlflow.note.content"]
    assert "(https://dagster.example/assets/total)" in note and "(https://dagster.example/runs/a-dagster-run)" in note
    for uri in ("", "http://mlflow:5000"):  # the name of a server that browsers do not know
        link = Tracking(uri=uri).tracker(None).link(run.info.run_id)
        assert link == f"https://mlflow.example/#/runs/{run.info.run_id}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The URL of an MLflow server that keeps what it is sent."""
    folder = tmp_path_factory.mktemp("server")
    port = free_port()
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "artifacts")]
    log = (folder / "log").open("w")
    process = subprocess.Popen([sys.executable, "-m", "mlflow", *words], stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/health"), 240)
        yield url, process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def answers(url):
    try:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5).status == 200
    except OSError:
        return False


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_a_server_gets_the_model_itself_and_its_end_does_not_fail_a_build(toy, server, monkeypatch, caplog):
    url, process = server
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    artifact = toy(uri=url)
    (version,) = client(url).search_model_versions("name = 'toy'")
    assert version.tags["identity"] == artifact.record.short_id
    run_id = artifact.record.mlflow_run_id
    assert [item.path for item in client(url).list_artifacts(run_id, "model")] == ["model/README.md"]

    os.killpg(process.pid, signal.SIGKILL)
    (artifact.path / "plot.png").unlink()
    again = toy(uri=url)  # cached, and drawn again
    assert again.record == artifact.record and (again.path / "plot.png").exists()
    assert f"MLflow at {url} did not record plots and model of total" in caplog.text
