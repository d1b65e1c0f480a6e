"""After a vote and a new version of `human_rankings`, the page shows what the old one led to as stale."""

from dataclasses import replace

import pytest
import requests

from llm_assets.artifacts import materialize
from llm_assets.artifacts.store import NO_PARTITION
from llm_assets.preference.human_rankings import HUMAN_RANKINGS
from llm_assets.serving import checkpoints as checkpoints_module
from llm_assets.serving.explorer import reading, trace_routes
from tests.support.browser import button, chromium, open_page, serious_faults
from tests.support.pipeline_server import pipeline_server

STALE = ("reward_checkpoint", "rlhf_checkpoint", "dpo_checkpoint", "rlhf_evaluation", "scorecard")
AGAIN = "is stale, and shown as it was last built ("


@pytest.fixture(scope="module")
def states(shared_pipeline, tmp_path_factory):
    """A server, and what the page showed before and after the new version."""
    with (
        pytest.MonkeyPatch.context() as patch,
        pipeline_server(shared_pipeline[0], tmp_path_factory.mktemp("stale")) as server,
    ):
        patch.setattr(checkpoints_module, "REMEMBERED_SECONDS", 0.0)
        patch.setattr(reading.Reader, "remembered", lambda reader, key, make, seconds=0.0: make())
        patch.setenv("LLM_ASSETS_DATA", str(server.service.settings.data))
        before = shown(server)
        pair = post(server, "rank/next", labeller="ann")["pair"]
        post(server, "rank/votes", labeller="ann", pair=pair["pair"], vote="second")
        materialize(HUMAN_RANKINGS, None, server.service.checkpoints.workspace)
        yield server, before, shown(server)


@pytest.fixture(autouse=True)
def data_folder(environment, states, monkeypatch):
    """The folder of the server's votes, which are an input of its artifacts."""
    monkeypatch.setenv("LLM_ASSETS_DATA", str(states[0].service.settings.data))


def get(server, path, **query):
    response = server.get(f"/api/{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def post(server, path, **body):
    response = requests.post(f"{server.url}/api/{path}", json=body, timeout=300)
    assert response.ok, response.text
    return response.json()


def shown(server):
    """What the views that read the store show."""
    return {
        "assets": {asset["name"]: asset for asset in get(server, "pipeline")["assets"]},
        "tables": {table["name"]: table for table in get(server, "data/tables")["tables"]},
        "models": {model["name"]: model for model in get(server, "compare/models")["models"]},
        "steps": {step["name"]: step for step in get(server, "tour")["steps"]},
    }


def test_the_pipeline_links_the_last_reports_and_says_that_they_are_stale(states):
    server, before, after = states
    for name in STALE:
        (was,), (now,) = (state["assets"][name]["artifacts"] for state in (before, after))
        assert (was["state"], was["stale"]) == ("cached", "") and now["state"] in ("build", "depends")
        assert now["stale"].startswith(f"{name} {AGAIN}")
        assert now["identity"] == was["identity"] and now["views"] == was["views"]
    (card,) = after["assets"]["scorecard"]["artifacts"]
    report = server.get("/api/pipeline/view", params={"name": card["identity"], "file": card["views"][0]})
    by_name = server.get("/api/pipeline/view", params={"name": "scorecard", "file": card["views"][0]})
    assert report.status_code == 200 and report.text == by_name.text
    assert not any(artifact["stale"] for artifact in after["assets"]["sft_checkpoint"]["artifacts"])


def test_sql_keeps_the_tables_and_says_which_are_stale(states):
    server, before, after = states
    rankings = {"human_rankings_votes"}  # the first vote made this table
    assert set(after["tables"]) == set(before["tables"]) | rankings
    stale = {name for name, table in after["tables"].items() if table["stale"]}
    assert {after["tables"][name]["asset"] for name in stale} >= {"reward_checkpoint", "rlhf_checkpoint"}
    assert not any(table["stale"] for table in before["tables"].values())
    name = min(name for name in stale if after["tables"][name]["asset"] == "rlhf_checkpoint")
    assert after["tables"][name]["stale"][0].startswith(f"rlhf_checkpoint {AGAIN}")
    counted = post(server, "data/sql", sql=f"SELECT count(*) FROM {name}")
    assert counted["rows"] == [[before["tables"][name]["rows"]]]


def test_a_model_keeps_its_name_in_every_list(states):
    server, before, after = states
    models, stale = (state["models"]["rlhf_checkpoint"] for state in (before, after))
    assert (models["is_current"], models["is_stale"]) == (True, False)
    assert stale == {**models, "is_current": False, "is_stale": True}
    assert list(before["models"]) == list(after["models"])
    listed = {model["id"]: model["stale"] for model in server.get("/v1/models").json()["data"]}
    assert listed["rlhf_checkpoint"] and not listed["sft_checkpoint"]


@pytest.mark.parametrize("name", ["preference", "tuned"])
def test_the_tour_takes_the_steps_and_says_that_they_are_stale(states, name):
    server, before, after = states
    assert before["steps"][name]["left_out"] == after["steps"][name]["left_out"] == ""
    report = post(server, f"tour/{name}")
    assert report["lines"] and not report["left_out"]
    assert any(notice.startswith(f"reward_checkpoint {AGAIN}") for notice in report["notices"])


def test_the_rankings_themselves_are_the_new_version(states):
    server, before, after = states
    (was,), (now,) = (state["assets"]["human_rankings"]["artifacts"] for state in (before, after))
    assert now["state"] == "cached" and now["identity"] != was["identity"]
    version = get(server, "rank")["version"]
    assert version["identity"] == now["identity"] and version["unread"] == 0


def test_a_trace_leads_to_the_conversations_of_its_index(states, monkeypatch):
    server, *_ = states
    workspace = server.service.checkpoints.workspace
    index = workspace.resolver().artifact("trace_index", None)
    (conversations,) = workspace.store.artifacts("conversations", NO_PARTITION)
    stage = workspace.graph["conversations"]
    monkeypatch.setitem(workspace.graph.stages, "conversations", replace(stage, code_version="0"))
    body = post(server, "trace", answer="Who are you? I am a small model.", minimum=2)
    assert body["stale"].startswith(f"trace_index {AGAIN}")
    number = next(place["conversation"] for span in body["spans"] for place in span["conversations"])
    assert get(server, "trace/conversation", number=number)["messages"]
    assert trace_routes._traced_conversations(workspace).record == conversations.record
    assert dict(index.record.inputs)["conversations"] == conversations.data_version


def test_the_page_says_what_is_stale(states):
    server, *_ = states
    with chromium() as browser:
        with open_page(browser, f"{server.url}/#pipeline") as page:
            page.get_by_role("link", name="scorecard: ").filter(has_text="(stale)").first.click()
            page.get_by_text(f"scorecard {AGAIN}").wait_for()
            assert not serious_faults(page)
        with open_page(browser, f"{server.url}/#data?part=sql") as page:
            table = page.locator("aside details", has_text="rlhf_checkpoint").first
            assert ", stale" in table.locator("summary").inner_text()
            table.locator("summary").click()
            table.get_by_text(AGAIN).wait_for()
        with open_page(browser, f"{server.url}/#compare") as page:
            page.locator("label.choice", has_text="rlhf_checkpoint").get_by_text("chat, stale").wait_for()
        with open_page(browser, f"{server.url}/#tour") as page:
            page.locator(".steps button").nth(17).click()
            button(page, "Take this step").click()
            page.get_by_text(f"reward_checkpoint {AGAIN}").wait_for()
