"""From a vote on the page to a new version of `human_rankings`, which Dagster records; what is stale downstream."""

import functools
import json
import os
import signal
import subprocess
import sys
import threading
from unittest import mock

import dagster as dg
import polars as pl
import pytest
import requests
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from llm_assets.artifacts.tables import read_table
from llm_assets.definitions import make_definitions
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.preference.ranking_files import add_ranking, ranking_files, rankings_file
from llm_assets.recipes import load_recipe
from llm_assets.serving.explorer.ranking_versions import RankingsBuilds
from llm_assets.settings import load_settings
from resources.assets import dagster_code_version
from resources.recipe import ChosenRecipe
from resources.store import ArtifactStore
from tests.support.browser import button, chromium, open_page, serious_faults
from tests.support.commands import command_here, environment_for
from tests.support.model_server import ModelServer, write_checkpoint
from tests.support.ports import free_port
from tests.support.warcs import page as warc_page
from tests.support.warcs import story, write

RECIPE = """from llm_assets.recipes import HumanRankings, Recipe, WarcFiles


def mine():
    return Recipe(
        name="mine",
        crawls={{"c": WarcFiles(path={warc!r})}},
        human_rankings=HumanRankings(votes=True),
        leave_out=("response_pairs",),
    )
"""
LABELLERS = ("ann", "bob")
TRAINED = "reward_checkpoint"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose rankings are the votes alone, with a chat model."""
    folder = tmp_path_factory.mktemp("project")
    write(folder / "warc" / "a.warc.gz", [warc_page("http://host.example/", story(1))])
    (folder / "recipe.py").write_text(RECIPE.format(warc=str(folder / "warc")))
    write_checkpoint(folder / "tiny")
    for question in ("Who came first?", "Who came second?"):  # several, so that texts have their plural
        vote(folder, question)
    return folder


@pytest.fixture(scope="module")
def settings_of_project(project):
    extra = {"LLM_ASSETS_RECIPE": f"{project}/recipe.py:mine", "DAGSTER_HOME": str(project / "data" / "dagster")}
    return environment_for(project / "data", **extra)


@pytest.fixture(autouse=True)
def in_project(environment, settings_of_project):
    with mock.patch.dict(os.environ, settings_of_project):
        yield


@pytest.fixture(scope="module")
def server(project, settings_of_project):
    with mock.patch.dict(os.environ, settings_of_project):
        folders = {"tiny": project / "tiny"}
        with ModelServer(folders, workspace=open_workspace(), settings=load_settings()) as running:
            yield running


def fresh(url):
    """Two different answers of the model, which with random weights are empty or the same now and then."""
    while True:
        body = {"question": "Who lives here?", "max_tokens": 12, "temperature": 1.5}
        response = requests.post(f"{url}/api/rank/fresh", json=body, timeout=60)
        if response.status_code == 201:
            return response.json()
        assert response.status_code == 409, response.text


def test_no_acknowledged_vote_is_lost_when_the_server_is_killed(project, settings_of_project):
    port, acknowledged = free_port(), []
    url = f"http://127.0.0.1:{port}"
    program = [sys.executable, "-m", "llm_assets", "serve", str(project / "tiny"), "--port", str(port)]
    process = subprocess.Popen(program, env=settings_of_project, stderr=subprocess.PIPE, text=True)
    enough = threading.Semaphore(0)

    def keep_voting(labeller):
        try:
            while True:
                vote = {"labeller": labeller, "vote": "first", "comparison": fresh(url)["comparison"]}
                stored = requests.post(f"{url}/api/rank/votes", json=vote, timeout=60).json()
                acknowledged.append(stored["ranking"])
                enough.release()
        except requests.ConnectionError:
            return  # killed

    try:
        assert f"page at {url}" in process.stderr.readline()
        voters = [threading.Thread(target=keep_voting, args=(labeller,)) for labeller in LABELLERS]
        for voter in voters:
            voter.start()
        for _ in range(6):
            assert enough.acquire(timeout=120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for voter in voters:
        voter.join(60)
    stored = [
        json.loads(line)
        for labeller in LABELLERS
        for line in rankings_file(project / "data", labeller).read_text().splitlines()
    ]
    assert len(acknowledged) >= 6 and all(row in stored for row in acknowledged)
    assert {row["models"]["first"]["name"] for row in stored} == {"tiny"}


def latest(asset):
    with dg.DagsterInstance.get() as instance:
        return instance.get_latest_materialization_event(dg.AssetKey(asset))


def test_a_vote_on_the_page_is_in_the_version_that_its_button_builds(server, project):
    before = sum(len(path.read_text().splitlines()) for path in ranking_files(project / "data"))
    with chromium() as browser, open_page(browser, f"{server.url}/#rank") as page:
        version = page.get_by_role("region", name="Version of human_rankings")
        version.get_by_text("No version is built.").wait_for()
        version.get_by_text(f"{before} votes are not in it yet.").wait_for()
        page.get_by_label("Your name").fill("carl")
        page.locator("select[name=source]").select_option("fresh")
        page.get_by_label("Question").fill("Who are you?")
        with mock.patch("llm_assets.serving.explorer.rank_routes.texts_of", lambda body: ["Ann.", "Bob."]):
            button(page, "Answer twice").click()
            page.locator(".votes").wait_for()
        page.keyboard.press("2")
        version.get_by_text(f"{before + 1} votes are not in it yet.").wait_for()
        button(page, "Build new version").focus()
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")  # one build
        version.get_by_text("The next version is being built").wait_for()
        version.get_by_text(f"{before + 1} rankings, {before + 1} of them by people.").wait_for(timeout=120_000)
        version.get_by_text("0 votes are not in it yet.").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "Build new version"
        assert not serious_faults(page)
        shown = version.inner_text()
    artifact = open_workspace().resolver().artifact("human_rankings", None)
    assert artifact.record.short_id in shown
    votes = read_table(artifact.table("votes"))
    assert len(votes) == before + 1
    (carl,) = votes.filter(pl.col("labeller") == "carl").iter_rows(named=True)
    assert carl["vote"] == "second" and carl["first_model"] == "tiny" and carl["first_identity"] and carl["at"]
    event = latest("human_rankings")
    assert event.asset_materialization.tags["dagster/data_version"] == artifact.data_version
    assert artifact.record.dagster_run_id == event.run_id


def vote(project, question):
    pair = {"question": question, "first": "Ann.", "second": "Bob."}
    add_ranking(rankings_file(project / "data", "dora"), pair, "first", "dora")


def build(project):
    ran = command_here(project, "run", "--plain", "--select", "human_rankings")
    assert ran.returncode == 0, ran.stderr


@functools.cache
def definitions():
    return make_definitions(load_recipe())


def train_reward_model():
    """A run of a stand-in of `reward_checkpoint`, in which Dagster records the versions of its inputs."""

    @dg.asset(name=TRAINED, deps=["human_rankings"], code_version=dagster_code_version(GRAPH[TRAINED], load_recipe()))
    def trained():
        return dg.MaterializeResult(data_version=dg.DataVersion("trained"))

    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([trained], instance=instance).success


def causes_of_staleness(asset):
    """Why Dagster calls an asset stale, as its page shows it, as far as it concerns the rankings."""
    with dg.DagsterInstance.get() as instance:
        graph = definitions().resolve_asset_graph()
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        causes = resolver.get_stale_causes(dg.AssetKey(asset))
        return [cause.reason for cause in causes if cause.dependency_asset_key == dg.AssetKey("human_rankings")]


def state_in_dagster():
    """What the sensor reports of the check `up_to_date` of `human_rankings`."""
    repository = definitions().get_repository_def()
    with dg.DagsterInstance.get() as instance:
        resources = {"recipe": ChosenRecipe(), "store": ArtifactStore()}
        context = dg.build_sensor_context(instance=instance, resources=resources)
        result = repository.get_sensor_def("recipe_state")(context)
        (evaluation,) = [item for item in result.asset_events if item.asset_key == dg.AssetKey("human_rankings")]
        return evaluation


def test_dagster_shows_that_a_vote_is_waiting_and_what_a_new_version_makes_stale(project):
    build(project)
    train_reward_model()
    assert state_in_dagster().passed and not causes_of_staleness(TRAINED)
    vote(project, "Who came last?")
    waiting = state_in_dagster()
    assert not waiting.passed and "human_rankings: would build: inputs.votes/dora" in waiting.description
    build(project)
    assert state_in_dagster().passed
    assert causes_of_staleness(TRAINED) == ["has a new dependency data version"]


def test_a_build_that_fails_says_why_and_leaves_the_last_version(server, project, monkeypatch):
    build(project)
    last = open_workspace().resolver().artifact("human_rankings", None)
    vote(project, "Who came late?")
    program = (
        "import sys; print('noise', file=sys.stderr); print('failed: human_rankings: no space', file=sys.stderr); "
    )
    monkeypatch.setattr(RankingsBuilds, "command", lambda self: [sys.executable, "-c", program + "sys.exit(1)"])
    url = f"{server.url}/api/rank/version"
    assert requests.post(url, json={}, timeout=60).status_code == 202
    while (version := requests.get(url, timeout=60).json())["build"]["state"] == "running":
        pass
    assert version["build"] == {"state": "failed", "problem": "failed: human_rankings: no space"}
    assert version["identity"] == last.record.short_id and version["unread"] == 1
