"""Compare, Rank, Trace and Tour in a browser, and a chat that is traced, on what the pipeline's stages built."""

import json
import math
import re
from dataclasses import replace
from itertools import cycle

import pytest

from llm_assets.artifacts import materialize
from llm_assets.artifacts.tables import read_table
from llm_assets.dialogue.splits import stable_share
from llm_assets.model.chat import encode_text
from llm_assets.model.encoding import Encoding
from llm_assets.preference.journals import journals
from llm_assets.preference.ranking_files import AGAIN
from llm_assets.preference.response_pairs import pair_digest
from llm_assets.release.checkpoint_lineage import lineage
from llm_assets.serving.explorer import arena_routes, rank_queues, rank_routes, trace_routes
from llm_assets.tracing import trace_answer
from tests.support.api_requests import get, post
from tests.support.browser import (
    button,
    check_wide_screen,
    expect_in_sight,
    overflow,
    serious_faults,
)
from tests.support.model_server import script_tokens
from tests.support.pipeline_server import artifact, pipeline_server
from tests.support.scripted_engine import call_tokens

HOSTILE = '<img src=x onerror="window.hacked=1"><b>bold</b>'
REFUSED = ["Content Security Policy", "sandboxed"]  # what the browser says about pages of others
INVENTED = "Zyxo kwab vuqel jix pondro flimzu."  # words of no page and no conversation

pytestmark = pytest.mark.usefixtures("data_folder")


def tune_again(workspace):
    """Build the RL model of another recipe, which has another seed."""
    tuned = workspace.recipe.reinforcement
    other = workspace.recipe.replace(name="other", reinforcement=tuned.replace(seed=tuned.seed + 1))
    materialize(workspace.graph["rl_checkpoint"], None, replace(workspace, recipe=other))


@pytest.fixture(scope="module")
def server(shared_pipeline, tmp_path_factory):
    with pipeline_server(shared_pipeline[0], tmp_path_factory.mktemp("explored"), tune_again) as running:
        yield running


@pytest.fixture(scope="module")
def pairs(server):
    """The pairs to rank, by question and answers."""
    rows = read_table(artifact(server, "response_pairs").table("pairs"))
    return {(row["question"], row["first"], row["second"]): row["pair"] for row in rows.iter_rows(named=True)}


@pytest.fixture(scope="module")
def fact(server):
    """A sentence of a training page, the page's URL, and what the assistant says in a conversation."""
    index = artifact(server, "trace_index")
    traced = read_table(index.table("documents")).select("url")
    pages = read_table(artifact(server, "clean_corpus", "sample").table("text"))
    page = pages.join(traced, on="url").row(0, named=True)
    sentence = max((part for line in page["text"].splitlines() for part in line.split(". ")), key=len)
    known = read_table(index.table("conversations")).select("conversation")
    rows = read_table(artifact(server, "conversations").table("conversations")).join(known, on="conversation")
    answers = (json.loads(row)[-1]["content"] for row in rows["messages"])
    return sentence, page["url"], max(answers, key=len)


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


# Compare


def test_models_answer_side_by_side(view):
    with view("compare") as page:
        ticked = page.locator(".choice:has(:checked)")
        ticked.first.wait_for()
        assert [label.inner_text().split()[0] for label in ticked.all()] == ["dpo_checkpoint", "rlhf_checkpoint"]
        assert page.locator(".choice").count() > 6
        for label in ticked.all():
            expect_in_sight(label)
        choose(page, "sft_checkpoint", "rlhf_checkpoint", "base_checkpoint")
        page.get_by_label("Maximum tokens").fill("6")
        page.get_by_label("Prompt").fill(HOSTILE)
        button(page, "Ask all").click()
        answers = page.locator(".columns .answer")
        assert answers.count() == 3
        button(page, "Ask all").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "Ask all"
        for answer in answers.all():
            assert answer.inner_text().strip() not in ("", "…") and not answer.locator(".failed").count()
        assert answers.first.inner_text().startswith(HOSTILE)  # a base model continues the prompt
        assert page.evaluate("window.hacked") is None and page.locator("main img").count() == 0
        assert not serious_faults(page)


def test_checkpoints_of_two_recipes_show_lineage_cost_and_what_differs(view, server):
    with view("compare") as page:
        page.locator(".choices input").first.wait_for()
        labels = page.locator(".choice", has_text="rl_checkpoint").all()
        assert len(labels) == 2  # the recipe's, and that of another recipe
        choose(page)
        for label in labels:
            label.locator("input").check()
        page.get_by_role("region", name="Configs that differ").wait_for()
        rows = page.get_by_role("region", name="Configs that differ").locator("tbody tr").all_inner_texts()
        assert len(rows) == 1 and rows[0].split()[:2] == ["rl_checkpoint", "config.reinforcement.seed"]
        seeds = {int(value) for value in rows[0].split()[2:]}
        assert max(seeds) - min(seeds) == 1
        known = lineage(server.service.checkpoints.workspace, artifact(server, "rl_checkpoint"))
        details = page.locator(".columns article").first.locator("details")
        assert f"{known.parameters / 1000:.1f} k parameters" in details.locator("summary").inner_text()
        flops = re.search(r"([\d.]+) ([MGT])FLOP of training", details.locator("summary").inner_text())
        assert float(flops[1]) * {"M": 1e6, "G": 1e9, "T": 1e12}[flops[2]] == pytest.approx(known.cost.flops, rel=0.05)
        details.locator("summary").click()
        keys = details.locator("tbody tr td:first-child").all_inner_texts()
        assert keys == [build.key for build in known.builds]
        assert {"raw_warc/sample", "base_checkpoint", "conversations", "rl_checkpoint"} <= set(keys)
        page.locator(".columns article").last.locator("summary").click()
        assert not serious_faults(page)


def vote_until_each_is_first(server, names):
    """Vote for the second answer until each of two models has given a first one; the number of votes."""
    firsts = set()
    for count in range(1, 41):
        comparison = post(server, "arena/comparisons", question=f"Who is {count}?", models=names).json()
        body = post(server, "arena/votes", comparison=comparison["comparison"], vote="second", labeller="ann").json()
        firsts.add(body["first"]["name"])
        if firsts == {*names}:
            return count
    raise AssertionError(f"{firsts} always comes first, so the order is not random")


def test_the_arena_is_blind_until_the_vote(view, server, monkeypatch):
    texts = cycle((["Ann."], ["Bob."]))  # models that were trained for seconds may say the same
    monkeypatch.setattr(arena_routes, "texts_of", lambda body: next(texts))
    names = ["sft_checkpoint", "rlhf_checkpoint"]
    with view("compare") as page:
        choose(page, *names)
        page.get_by_label("Your name").fill("ann")
        page.get_by_label("Question", exact=True).fill("Who lives here?")
        page.get_by_label("Models").select_option("ticked")
        button(page, "Ask two models").click()
        panel = page.get_by_role("region", name="Answers to compare")
        panel.wait_for()
        assert page.locator(".revealed").count() == 0
        page.keyboard.press("1")  # the focus is on the answers
        page.locator(".revealed").wait_for()
        assert {*names} < set(page.locator(".revealed").inner_text().split())
        page.get_by_text(": 1 vote.").wait_for()
        table = page.get_by_role("region", name="Ratings of models").locator("tbody tr")
        assert table.count() == 2 and table.first.locator("td").nth(3).inner_text() == "1"
        (row,) = rankings(server, "rankings/arena/ann.jsonl")
        models = {model["name"]: model["identity"] for model in row["models"].values()}
        assert models == {name: artifact(server, name).record.short_id for name in names}
        assert row["preferred"] == "first"
        count = vote_until_each_is_first(server, names)
        page.get_by_label("Question", exact=True).fill("And who works here?")
        button(page, "Ask two models").click()
        page.locator(".revealed").wait_for(state="detached")
        page.keyboard.press("t")
        page.get_by_text(f": {count + 2} votes.").wait_for()
        check_ratings(table, get(server, "arena/ratings").json()["ratings"])
        assert not serious_faults(page)


def check_ratings(table, ratings):
    """The rows of the arena's table have the ratings and their intervals, as numbers and drawn."""
    names = ["low", "rating", "high"]
    cells = [row.split("\t")[:3] for row in table.all_inner_texts()]
    rounded = [[f"{math.floor(each[name] + 0.5):,}" for name in names] for each in ratings]  # browsers round up
    assert cells == [
        [each["model"], rating, f"{low} – {high}"] for each, (low, rating, high) in zip(ratings, rounded, strict=True)
    ]
    places = (
        "(plots, names) => plots.map(({ style }) => names.map(name => Number(style.getPropertyValue(`--${name}`))))"
    )
    low, high = min(each["low"] for each in ratings), max(each["high"] for each in ratings)
    for place, each in zip(table.locator(".interval").evaluate_all(places, names), ratings, strict=True):
        assert place == pytest.approx([(each[name] - low) / (high - low) for name in names], abs=1e-3)
        assert each["low"] < each["rating"] < each["high"]


# Rank


def shown_pair(panel):
    """The question and the answers of the pair that is to be ranked."""
    return panel.locator("h2").inner_text(), *panel.locator(".text").all_inner_texts()


def test_pairs_are_ranked_by_keyboard(view, server, pairs):
    with view("rank") as page:
        button(page, "Start").click()
        page.get_by_role("alert").get_by_text("Your name").wait_for()
        page.get_by_label("Your name").fill("bea")
        button(page, "Start").click()
        panel = page.get_by_role("region", name="Answers to compare")
        shown = []
        for place, key in enumerate("12tb"):
            page.get_by_text(f"{place} ranked, {len(pairs) - place} left.").wait_for()
            shown.append(shown_pair(panel))
            page.keyboard.press(key)
        page.get_by_text(f"4 ranked, {len(pairs) - 4} left.").wait_for()
        assert not serious_faults(page)
        skipped = shown_pair(panel)
        page.keyboard.press("s")
        page.get_by_text(f"{len(pairs) - 5} left.").wait_for()
        assert shown_pair(panel) != skipped
        rows = rankings(server, "rankings/bea.jsonl")
        assert [(row["question"], row["first"], row["second"]) for row in rows] == shown and {*shown} < pairs.keys()
        policy = {"name": "rl_checkpoint", "identity": artifact(server, "rl_checkpoint").record.short_id}
        assert all(row["models"] == {"first": policy, "second": policy} for row in rows)
        assert [row["preferred"] for row in rows] == ["first", "second", "tie", "tie"] and rows[3]["both_bad"]
        table = page.get_by_role("region", name="Rankings so far")
        table.get_by_role("row", name="bea 4 yes").wait_for()
        count = sum(len(item.path.read_text().splitlines()) for item in journals(server.service.settings.data))
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


def next_pair(server, labeller):
    """The identifier of the pair that somebody is to rank next, which nobody else gets until they ask again."""
    return post(server, "rank/next", labeller=labeller).json()["pair"]["pair"]


def test_agreement_and_guidelines_are_at_hand(view, server, pairs):
    pair, given = "", next_pair(server, "cid")
    while not pair or stable_share("ranked again", "0", pair) >= AGAIN:  # until everybody is to rank it
        post(server, "rank/votes", labeller="cid", pair=given, vote="tie")
        pair, given = given, next_pair(server, "cid")
    with view("rank") as page:
        page.get_by_label("Your name").fill("ann")
        button(page, "Start").click()
        panel = page.get_by_role("region", name="Answers to compare")
        shown = ""
        for place in range(len(pairs)):
            page.get_by_text(f"{place} ranked, {len(pairs) - place} left.").wait_for()
            shown = pairs[shown_pair(panel)]
            button(page, "Tie t").click()
            if shown == pair:
                break
        assert shown == pair
        page.get_by_text(re.compile(r"of [1-9]\d* comparisons? \(by")).wait_for()
        page.get_by_text("not in it yet").wait_for()
        page.locator("summary", has_text="Guidelines").click()
        assert page.get_by_role("heading", name="identity: who it is").is_visible()
        assert not serious_faults(page)


def test_fresh_answers_are_ranked(view, server, monkeypatch):
    with view("rank", expected_errors=["409"]) as page:
        page.get_by_label("Your name").fill("dora")
        page.locator("select[name=source]").select_option("fresh")
        page.get_by_label("Model that answers").select_option("sft_checkpoint")
        page.get_by_label("Question").fill("Who are you?")
        monkeypatch.setattr(rank_routes, "texts_of", lambda body: [HOSTILE, "Ann."])
        button(page, "Answer twice").click()
        panel = page.get_by_role("region", name="Answers to compare")
        panel.wait_for()
        assert panel.locator(".text").all_inner_texts() == [HOSTILE, "Ann."]
        page.keyboard.press("2")
        page.get_by_text("The vote is stored.").first.wait_for()
        (row,) = rankings(server, "rankings/dora.jsonl")
        assert row["preferred"] == "second" and row["models"]["first"]["name"] == "sft_checkpoint"
        monkeypatch.setattr(rank_routes, "texts_of", lambda body: ["The same.", "The same."])
        button(page, "Answer twice").click()
        page.get_by_role("alert").get_by_text("both answers are the same").wait_for()


def test_the_answers_that_misled_the_reward_model_are_ranked(view, server, monkeypatch):
    """Whether there are any depends on what the models have learnt, which is not the same on all machines."""
    texts = {"question": "Who is Ann?", "first": "Great question!", "second": "Ann is a baker."}
    misled = {**texts, "pair": pair_digest(*texts.values()), "subject": "ann", "step": 1, "proxy": 2.0, "gold": -1.0}
    monkeypatch.setattr(rank_queues, "pairs_of", lambda artifact: [misled])
    with view("rank") as page:
        page.get_by_label("Your name").fill("gus")
        page.locator("select[name=source]").select_option("adversarial")
        button(page, "Start").click()
        page.locator(".votes").wait_for()
        page.keyboard.press("2")
        page.get_by_text("You have ranked all pairs.").first.wait_for()
        (row,) = rankings(server, "rankings/gus.jsonl")
        names = [row["models"][place]["name"] for place in ("first", "second")]
        assert names == ["rlhf_checkpoint", "rl_checkpoint"] and row["preferred"] == "second"


# Trace


def trace(page, answer, results=""):
    """The items of the matches of an answer."""
    page.get_by_label("Answer").fill(answer)
    page.get_by_label("Results of tools").fill(results)
    button(page, "Trace").click()
    page.locator(".traced").get_by_text(answer[:10]).first.wait_for()
    return page.locator(".matches > li")


def test_an_answer_leads_to_the_pages_and_conversations_that_have_its_words(view, fact):
    sentence, url, reply = fact
    answer = f"🎻 {sentence} {reply}"
    with view("trace", expected_errors=REFUSED) as page:
        items = trace(page, answer)
        assert page.locator(".traced").inner_text() == answer
        marked = page.locator(".traced [role=button]")
        marked.first.focus()
        page.keyboard.press("Enter")
        place = int(marked.first.get_attribute("title").split()[1]) - 1
        assert page.evaluate("document.activeElement.id") == f"match-{place}"
        opened = items.filter(has=page.locator("details")).filter(has_text=reply[-20:]).first
        opened.locator("summary").first.click()
        conversation = opened.locator(".messages").first
        conversation.locator("mark").first.wait_for()
        assert conversation.locator("mark").first.inner_text() in answer
        assert conversation.locator(".message.user").count()
        assert not serious_faults(page)
        items.get_by_role("link", name=url, exact=True).first.click()
        page.locator(".facts").get_by_text(url).wait_for()
        assert "sample-0000" in page.locator(".facts").inner_text()


def test_words_from_a_tool_are_told_apart(view, fact):
    sentence, *_ = fact
    with view("trace", expected_errors=["400"]) as page:
        items = trace(page, f"{sentence}. {INVENTED}", f"{sentence[:20]} - {INVENTED}")
        assert items.count() and "also in a tool" not in items.first.inner_text()
        from_tool = "".join(page.locator(".traced .from-tool").all_inner_texts())
        assert INVENTED[:-1] in from_tool and sentence[-20:] not in from_tool
        assert "pondro" in "".join(page.locator(".traced .from-tool:not(.learned)").all_inner_texts())
        shares = page.locator(".legend li")
        assert shares.count() == 4 and not shares.nth(2).inner_text().startswith("0 %")
        page.get_by_label("Answer").fill("  ")
        button(page, "Trace").click()
        page.get_by_role("alert").get_by_text("the answer is empty").wait_for()


def test_a_chat_that_searches_is_shown_as_tokens_and_traced(view, server, fact, monkeypatch):
    """With the last model of the recipe, its tokenizer, and the search index; what it says is scripted."""
    query = " ".join(fact[0].split()[:3])
    result = server.service.tools["search"](query)
    reply = " ".join(result.split()[:8])
    encoding = Encoding.load(artifact(server, "rlhf_checkpoint").path)
    script_tokens(monkeypatch, [*call_tokens("search", query, encoding), *encode_text(encoding, reply)], encoding)
    with view("chat") as page:
        assert page.get_by_label("Model").input_value() == "rlhf_checkpoint"
        page.get_by_label("Message").fill("Tell me")
        page.keyboard.press("Enter")
        button(page, "Regenerate").wait_for()
        assert page.locator(".message.tool .content").inner_text() == result and "http://" in result
        button(page, "Show tokens").click()
        trained = page.locator(".panel .strip mark")
        trained.first.wait_for()
        assert "<|search_start|>" in trained.first.inner_text()
        assert trained.last.inner_text() == f" {reply}<|assistant_end|>"
        button(page, "Trace").last.click()
        page.locator(".matches > li", has_text="also in a tool").first.wait_for()
        assert page.url.endswith("#trace") and page.get_by_label("Answer").input_value() == reply
        assert page.get_by_label("Results of tools").input_value() == result


def test_an_answer_of_200_tokens_is_one_request_to_the_index(view, server, monkeypatch):
    encoding = Encoding.load(artifact(server, "trace_index").path)
    texts = read_table(artifact(server, "clean_corpus", "sample").table("text"))["text"]
    answer = encoding.decode(encoding.encode(max(texts, key=len).replace("\n", " "))[:200]).strip()
    calls, requested = [], []

    def counted(index, text, *others):
        calls.append(text)
        return trace_answer(index, text, *others)

    monkeypatch.setattr(trace_routes, "trace_answer", counted)
    with view("trace") as page:
        page.on("request", lambda request: requested.append(request.url))
        items = trace(page, answer)
        counts = page.get_by_text(re.compile(r"^\d+ tokens, \d+ matches")).last.inner_text()
        tokens, matches = (int(part.split()[0]) for part in counts.split(", ")[:2])
        assert 190 <= tokens <= 210 and items.count() == matches > 0
        assert page.locator(".traced").inner_text() == answer
    assert calls == [answer] and requested == [f"{server.url}/api/trace"]


# Pipeline


def test_what_a_vote_makes_stale_and_the_scorecard_are_shown(view, server):
    pair = next_pair(server, "hal")
    post(server, "rank/votes", labeller="hal", pair=pair, vote="tie")
    with view("pipeline", expected_errors=REFUSED) as page:
        rankings_asset, model = page.locator("#asset-human_rankings"), page.locator("#asset-rlhf_checkpoint")
        rankings_asset.locator("summary").click()
        assert "↻ stale" in rankings_asset.inner_text() and "inputs.votes/hal added" in rankings_asset.inner_text()
        assert "✓ built" in model.inner_text()
        page.get_by_role("link", name=re.compile("^scorecard: ")).first.click()
        page.frame_locator("iframe").get_by_text("bits per byte").first.wait_for()


# Tour


def test_a_step_of_the_tour_asks_a_model(view):
    with view("tour") as page:
        page.locator(".steps button").nth(3).click()
        page.get_by_role("heading", name="4. What comes next").wait_for()
        button(page, "Take this step").click()
        page.locator(".lines").wait_for()
        assert "The sky is" in page.locator(".lines").inner_text()
        assert not serious_faults(page)


# All of them


@pytest.mark.parametrize("name", ["compare", "rank", "trace", "tour"])
def test_views_fit_on_a_phone_and_on_a_wide_screen_and_are_dark(view, name, fact):
    with view(name, viewport={"width": 320, "height": 640}, color_scheme="dark") as page:
        if name == "compare":
            choose(page, "sft_checkpoint", "base_checkpoint")
            page.locator(".columns summary").first.wait_for()
        elif name == "rank":
            page.get_by_label("Your name").fill("eve")
            button(page, "Start").click()
            page.locator(".votes").wait_for()
        elif name == "trace":
            trace(page, fact[0], fact[0][:50]).first.wait_for()
        else:
            button(page, "Take this step").click()
            page.locator(".lines").wait_for()
        assert overflow(page) <= 0
        assert not serious_faults(page)
        check_wide_screen(page)
