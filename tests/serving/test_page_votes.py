"""Compare, Rank and Tour in a browser, against a server of a small store with several checkpoints."""

import json
import re

import pytest
import requests

from llm_assets.preference.journals import journals
from llm_assets.serving.explorer import rank_routes
from tests.support.browser import button, chromium, serious_faults, view_opener
from tests.support.explored_store import PAIRS, explored_server
from tests.support.model_server import SHAPE
from tests.support.stored_checkpoints import build_checkpoints

HOSTILE = '<img src=x onerror="window.hacked=1"><b>bold</b>'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with explored_server(tmp_path_factory.mktemp("explored"), build_checkpoints) as running:
        yield running


@pytest.fixture(autouse=True)
def data_folder(environment, server, monkeypatch):
    """The folder of the server's votes, which are an input of its artifacts."""
    monkeypatch.setenv("LLM_ASSETS_DATA", str(server.service.settings.data))


@pytest.fixture(scope="module")
def view(server):
    with chromium() as browser:
        yield view_opener(browser, server)


def rankings(server, name):
    return [json.loads(line) for line in (server.service.settings.data / name).read_text().splitlines()]


def choose(page, *names):
    """Tick exactly these models of the comparison."""
    boxes = page.locator(".choices input")
    boxes.first.wait_for()
    for box in boxes.all():
        if box.is_checked():
            box.uncheck()
    for name in names:
        page.get_by_role("checkbox", name=name).check()


def ask_for_less(route):
    """Let a request to two models through, with fewer tokens and without chance: an empty answer would be refused."""
    route.continue_(post_data=json.dumps({**route.request.post_data_json, "max_tokens": 8, "temperature": 0}))


# Compare


def test_models_answer_side_by_side(view):
    with view("compare") as page:
        choose(page, "one", "two", "base_checkpoint")
        page.get_by_label("Maximum tokens").fill("6")
        page.get_by_label("Prompt").fill(HOSTILE)
        button(page, "Ask all").click()
        answers = page.locator(".columns .answer")
        assert answers.count() == 3
        button(page, "Ask all").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "Ask all"
        for answer in answers.all():
            assert answer.inner_text().strip() not in ("", "…")
        assert answers.nth(2).inner_text().startswith(HOSTILE)  # a base model continues the prompt
        assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0
        assert not serious_faults(page)


def test_checkpoints_of_two_recipes_show_lineage_cost_and_what_differs(view):
    with view("compare") as page:
        page.locator(".choices input").first.wait_for()
        other = page.locator(".choice", has_text="sft_checkpoint").filter(has_not_text="base").all()
        assert len(other) == 2  # the recipe's, and one of another recipe
        choose(page)
        for label in other:
            label.locator("input").check()
        page.get_by_role("region", name="Configs that differ").wait_for()
        rows = page.get_by_role("region", name="Configs that differ").locator("tbody tr").all_inner_texts()
        assert len(rows) == 1 and rows[0].split()[:2] == ["sft_checkpoint", "config.seed"]
        seeds = {int(value) for value in rows[0].split()[2:]}
        assert max(seeds) - min(seeds) == 1
        details = page.locator(".columns article").first.locator("details")
        assert f"{SHAPE.parameters / 1000:.1f} k parameters, 3.0 TFLOP" in details.locator("summary").inner_text()
        details.locator("summary").click()
        keys = details.locator("tbody tr td:first-child").all_inner_texts()
        assert keys == ["base_checkpoint", "sft_checkpoint"]
        assert not serious_faults(page)


def test_the_arena_is_blind_until_the_vote(view, server):
    with view("compare") as page:
        choose(page, "one", "two")
        page.get_by_label("Your name").fill("ann")
        page.get_by_label("Question", exact=True).fill("Who lives here?")
        page.get_by_label("Models").select_option("ticked")
        page.route("**/api/arena/comparisons", ask_for_less)
        button(page, "Ask two models").click()
        panel = page.get_by_role("region", name="Answers to compare")
        panel.wait_for()
        assert page.locator(".revealed").count() == 0
        page.keyboard.press("1")  # the focus is on the answers
        page.locator(".revealed").wait_for()
        assert {"one", "two"} < set(page.locator(".revealed").inner_text().split())
        page.get_by_text("1 vote").wait_for()
        table = page.get_by_role("region", name="Ratings of models").locator("tbody tr")
        assert table.count() == 2 and table.first.locator("td").nth(3).inner_text() == "1"
        (row,) = rankings(server, "rankings/arena/ann.jsonl")
        assert row["preferred"] == "first" and row["models"]["first"]["name"] in ("one", "two")
        assert not serious_faults(page)


# Rank


def test_pairs_are_ranked_by_keyboard(view, server):
    with view("rank") as page:
        button(page, "Start").click()
        page.get_by_role("alert").get_by_text("Your name").wait_for()
        page.get_by_label("Your name").fill("bea")
        button(page, "Start").click()
        panel = page.get_by_role("region", name="Answers to compare")
        shown = []
        for place, key in enumerate("12tb"):
            page.get_by_text(f"{place} ranked, {PAIRS - place} left.").wait_for()
            shown.append(panel.locator("h2").inner_text())
            page.keyboard.press(key)
        page.get_by_text(f"4 ranked, {PAIRS - 4} left.").wait_for()
        assert not serious_faults(page)
        skipped = panel.locator("h2").inner_text()
        page.keyboard.press("s")
        page.get_by_text(f"{PAIRS - 5} left.").wait_for()
        assert panel.locator("h2").inner_text() != skipped
        rows = rankings(server, "rankings/bea.jsonl")
        assert [row["question"] for row in rows] == shown
        assert [row["preferred"] for row in rows] == ["first", "second", "tie", "tie"] and rows[3]["both_bad"]
        table = page.get_by_role("region", name="Rankings so far")
        table.get_by_role("row", name="bea 4 yes").wait_for()
        stored = journals(server.service.settings.data, [server.service.settings.data / "rankings" / "ann.jsonl"])
        count = sum(len(journal.path.read_text().splitlines()) for journal in stored)  # ann's file is named instead
        page.get_by_text(f"{count} votes are not in it yet.").wait_for()


def test_keys_vote_only_where_the_answers_have_the_focus(view, server):
    with view("rank") as page:
        page.get_by_label("Your name").fill("carl")
        button(page, "Start").click()
        page.get_by_text("0 ranked").wait_for()
        page.get_by_label("Your name").press("1")
        page.get_by_label("Your name").fill("carl")
        page.locator(".votes").focus()
        page.keyboard.press("Control+1")
        page.keyboard.press("x")
        assert not (server.service.settings.data / "rankings/carl.jsonl").exists()
        assert page.get_by_text("0 ranked").is_visible()


def test_agreement_and_guidelines_are_at_hand(view, server):
    pair = requests.post(f"{server.url}/api/rank/next", json={"labeller": "cid"}).json()["pair"]["pair"]
    requests.post(f"{server.url}/api/rank/votes", json={"labeller": "cid", "pair": pair, "vote": "tie"})
    with view("rank") as page:
        page.get_by_label("Your name").fill("ann")
        button(page, "Start").click()
        panel = page.get_by_role("region", name="Answers to compare")
        ranked = {row["question"] for row in rankings(server, "rankings/cid.jsonl")}
        for place in range(PAIRS):
            page.get_by_text(f"{place} ranked, {PAIRS - place} left.").wait_for()
            question = panel.locator("h2").inner_text()
            button(page, "Tie t").click()
            if question in ranked:
                break
        page.get_by_text(re.compile(r"of [1-9]\d* comparisons? \(by")).wait_for()
        page.get_by_text("not in it yet").wait_for()
        page.locator("summary", has_text="Guidelines").click()
        assert page.get_by_role("heading", name="identity: who it is").is_visible()
        assert not serious_faults(page)


def test_fresh_answers_are_ranked(view, server, monkeypatch):
    with view("rank", expected_errors=["409"]) as page:
        page.get_by_label("Your name").fill("dora")
        page.locator("select[name=source]").select_option("fresh")
        page.get_by_label("Model that answers").select_option("two")
        page.get_by_label("Question").fill("Who are you?")
        monkeypatch.setattr(rank_routes, "texts_of", lambda body: [HOSTILE, "Ann."])
        button(page, "Answer twice").click()
        panel = page.get_by_role("region", name="Answers to compare")
        panel.wait_for()
        assert panel.locator(".text").all_inner_texts() == [HOSTILE, "Ann."]
        page.keyboard.press("2")
        page.get_by_text("The vote is stored.").first.wait_for()
        (row,) = rankings(server, "rankings/dora.jsonl")
        assert row["preferred"] == "second" and row["models"]["first"]["name"] == "two"
        monkeypatch.setattr(rank_routes, "texts_of", lambda body: ["The same.", "The same."])
        button(page, "Answer twice").click()
        page.get_by_role("alert").get_by_text("both answers are the same").wait_for()


# Tour


def test_the_tour_is_taken_step_by_step(view):
    with view("tour") as page:
        page.get_by_role("heading", name="1. A page as the crawler received it").wait_for()
        button(page, "Take this step").click()
        page.locator(".lines").wait_for()
        assert "<article>" in page.locator(".lines").inner_text()
        assert page.evaluate("document.activeElement.textContent") == "Next"
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="2. The text that is left").wait_for()
        button(page, "Take this step").click()
        page.get_by_text("The corpus of this crawl has 7 pages").wait_for()
        button(page, "Next").click()
        page.get_by_text("Left out: no asset 'tokenizer'").wait_for()
        assert button(page, "Take this step").count() == 0
        assert page.locator(".steps .taken").count() == 2
        page.locator(".steps button").first.click()
        assert "<article>" in page.locator(".lines").inner_text()
        assert not serious_faults(page)


# All of them


@pytest.mark.parametrize("name", ["compare", "rank", "tour"])
def test_views_fit_on_a_phone_and_are_dark(view, name):
    with view(name, viewport={"width": 320, "height": 640}, color_scheme="dark") as page:
        if name == "compare":
            choose(page, "one", "base_checkpoint")
            page.locator(".columns summary").first.wait_for()
        elif name == "rank":
            page.get_by_label("Your name").fill("eve")
            button(page, "Start").click()
            page.locator(".votes").wait_for()
        else:
            button(page, "Take this step").click()
            page.locator(".lines").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        assert not serious_faults(page)
