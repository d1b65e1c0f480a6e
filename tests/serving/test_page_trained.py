"""Chat, Base model and Tokens in a browser on models that the pipeline trained, and a server that wants a key."""

import json

import pytest

from llm_assets.artifacts.tables import read_table
from llm_assets.model.encoding import Encoding
from tests.support.api_requests import post
from tests.support.browser import button, open_page
from tests.support.model_server import ModelServer
from tests.support.pipeline_server import SHORT_RESULTS, artifact, pipeline_server
from tests.support.published_ranks import stand_in_ranks

KEY = "a-secret-key"
WRONG_KEY = "The server refuses this key: it is wrong. Enter another one."
REFUSED = ["Content Security Policy", "sandboxed"]  # what the browser says about pages of others

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("data_folder")]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """What stands in for the published encodings, by name."""
    with pytest.MonkeyPatch.context() as patch:
        yield stand_in_ranks(patch, tmp_path_factory.mktemp("cache"), gpt2=300, cl100k_base=350, o200k_base=400)


@pytest.fixture(scope="module")
def server(shared_pipeline, published, tmp_path_factory):
    with pipeline_server(shared_pipeline[0], tmp_path_factory.mktemp("trained")) as running:
        yield running


def encoding_of(server, asset):
    return Encoding.load(artifact(server, asset).path)


# Chat


def plain_answer(server, body):
    """A seed with which the answer is plain text, and that answer: after seconds of training, many are not."""
    for seed in range(50):
        answer = server.post("chat/completions", {**body, "seed": seed}).json()
        text = answer["choices"][0]["message"]["content"]
        if text and text == text.strip() and text.isascii() and text.isprintable():
            return seed, text
    raise AssertionError("no plain answer")


def test_a_trained_model_answers_as_it_is_asked_to(view, server):
    body = {
        "model": "rlhf_checkpoint",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who are you?"}],
        **{"temperature": 0.9, "top_p": 0.95, "top_k": 40, "max_tokens": 12},
    }
    seed, reply = plain_answer(server, body)
    settings = {"Temperature": "0.9", "Top p": "0.95", "Top k": "40", "Maximum tokens": "12", "Seed": str(seed)}
    with view("chat") as page:
        assert page.get_by_label("Model").input_value() == "rlhf_checkpoint"
        for box in page.get_by_role("checkbox").all():  # of tools, which are in test_page_models.py
            box.uncheck()
        page.get_by_label("System prompt").fill("Be short.")
        for label, value in settings.items():
            page.get_by_label(label).fill(value)
        page.get_by_label("Message").fill("Who are you?")
        with page.expect_request("**/v1/chat/completions") as sent:
            page.keyboard.press("Enter")
        button(page, "Regenerate").wait_for()
        sent_body = sent.value.post_data_json
        assert {name: sent_body.get(name) for name in (*body, "seed", "tools")} == {**body, "seed": seed, "tools": None}
        assert page.locator(".message.assistant .content").inner_text() == reply
        button(page, "Show tokens").click()
        strip = page.locator(".panel .strip")
        strip.wait_for()
        parts = ["bos", "system_start", "system_end", "user_start", "user_end", "assistant_start", "assistant_end"]
        assert strip.locator(".special").all_inner_texts() == [f"<|{part}|>" for part in parts]
        assert strip.locator("mark").all_inner_texts() == [f" {reply}<|assistant_end|>"]


# Base model


def continued(server, body):
    """The tokens of a continued document, and the number of those that were given."""
    lines = [line for line in post(server, "continue", **body).text.split("\n\n") if line]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    return [token for chunk in chunks for token in chunk.get("tokens", [])], len(chunks[0]["tokens"])


def test_a_document_is_continued_from_an_alternative(view, server):
    with view("base") as page:

        def pressed(pressed_button):
            """The body of the request that a button sends, once it is answered."""
            with page.expect_request("**/api/continue") as sent:
                pressed_button.click()
            page.locator("button:enabled", has_text="Continue").first.wait_for()
            return sent.value.post_data_json

        page.get_by_label("Model").select_option("base_checkpoint")
        page.get_by_label("Maximum tokens").fill("6")
        page.get_by_label("Seed").fill("1")
        body = pressed(button(page, "Write"))
        assert (body["model"], body["prompt"]) == ("base_checkpoint", "In the evening")
        tokens, given = continued(server, body)
        chips = page.locator(".strip button")
        assert chips.count() == len(tokens) and page.locator(".strip .written").count() == len(tokens) - given
        place = given - 1
        chips.nth(place).click()
        rows = page.get_by_role("region", name="The ten most probable tokens").locator("tbody tr")
        alternatives = tokens[place]["alternatives"]
        shares = [float(row.locator("td").nth(1).inner_text().strip("< %")) for row in rows.all()]
        assert len(shares) == 10 and shares == pytest.approx(
            [100 * each["probability"] for each in alternatives], abs=0.1
        )
        number, other = next(
            (number, each)
            for number, each in enumerate(alternatives)
            if each["id"] != tokens[place]["id"] and "special" not in each
        )
        chosen = rows.nth(number).get_by_role("button")
        text = chosen.inner_text()
        body = pressed(chosen)
        assert body["prompt"] == [*(token["id"] for token in tokens[:place]), other["id"]]
        tokens, given = continued(server, body)
        assert given == place + 1 and chips.count() == len(tokens) and chips.nth(place).inner_text() == text
        assert chips.nth(place).get_attribute("aria-label").startswith(f"“{other['token']}”")
        body = pressed(button(page, "Continue"))
        assert body["prompt"] == [token["id"] for token in tokens]
        assert chips.count() == len(continued(server, body)[0])


# Tokens


def test_a_text_is_shown_as_bits_bytes_and_the_tokens_of_four_tokenizers(view, server, published):
    text = "the 1024 letters of the town ä"
    encodings = {"rlhf_checkpoint": encoding_of(server, "rlhf_checkpoint"), **published}
    ids = {name: encoding.encode(text) for name, encoding in encodings.items()}
    with view("tokens") as page:
        page.get_by_label("Text", exact=True).fill(text)
        page.get_by_text("30 characters, 31 bytes, 248 bits.").wait_for()
        assert page.locator(".bytes li").last.inner_text().split() == ["ä", "c3", "a4", "11000011", "10100100"]
        rows = page.get_by_role("region", name="Tokenizers").locator("tbody tr")
        assert [row.split() for row in rows.all_inner_texts()] == [
            [name, str(len(encoding.ranks)), f"{31 / len(ids[name]):.2f}", str(len(ids[name]))]
            for name, encoding in encodings.items()
        ]
        for name, encoding in encodings.items():
            chips = page.get_by_role("group", name=f"Tokens of {name}").locator("button")
            titles = chips.evaluate_all("chips => chips.map(chip => chip.title)")
            assert titles == [f"id {number}" for number in ids[name]]
            place = max(range(len(titles)), key=lambda place: len(encoding.decode_bytes(ids[name][place : place + 1])))
            token = encoding.decode(ids[name][place : place + 1])
            chips.nth(place).click()
            merges = page.get_by_role("region", name="Merges", exact=True)
            merges.get_by_text(f"{name}, id {ids[name][place]}: {len(token) - 1} merges.").wait_for()
            steps = [step.locator(".token").all_inner_texts() for step in merges.locator("li").all()]
            assert [len(step) for step in steps] == list(range(len(token), 0, -1)) and len(token) > 2
            assert {"".join(step) for step in steps} == {token}
        assert page.get_by_text("if their ranks are in the cache").count() == 0


# A server with a key


def test_a_server_with_a_key_is_asked_with_it_and_shows_what_it_frames(browser, server):
    service = server.service
    options = {"tools": service.tools, "workspace": service.checkpoints.workspace, "settings": service.settings}
    row = read_table(artifact(server, "clean_corpus", "sample").table("text")).row(0, named=True)
    expected = {"expected_errors": ["401", *REFUSED], "ready": "#key[open]"}
    with (
        ModelServer({}, SHORT_RESULTS, key=KEY, **options) as locked,
        open_page(browser, f"{locked.url}/#chat", **expected) as page,
    ):
        page.keyboard.press("Escape")
        page.get_by_text("The models cannot be listed: no key, or a wrong one").wait_for()
        assert page.get_by_role("link", name="Chat").get_attribute("aria-current") == "page"
        button(page, "Look again").click()
        for key in ("wrong", KEY):
            assert page.locator("#key [role=alert]").inner_text() == ("" if key == "wrong" else WRONG_KEY)
            page.get_by_label("Key", exact=True).fill(key)
            button(page, "Use this key").click()
            page.wait_for_function("isOpen => document.querySelector('#key').open === isOpen", arg=key == "wrong")
        requested = []
        page.on("request", lambda request: requested.append(request))
        page.get_by_label("Maximum tokens").fill("4")
        page.get_by_label("Message").fill("Who are you?")
        page.keyboard.press("Enter")
        button(page, "Regenerate").wait_for()
        page.evaluate("url => location.hash = `#data?part=documents&url=${encodeURIComponent(url)}`", row["url"])
        page.locator(".cards a").first.click()
        first_words = " ".join(row["text"].split("\n")[0].split()[:5])
        page.frame_locator("iframe").get_by_text(first_words).first.wait_for()
        page.get_by_role("link", name="Pipeline").click()
        page.get_by_role("link", name="scorecard: ").first.click()
        page.frame_locator("iframe").get_by_text("bits per byte").first.wait_for()
        framed = [request for request in requested if "signed=" in request.url]
        assert [request.url.split("?")[0] for request in framed] == [
            f"{locked.url}/api/{path}" for path in ("data/raw", "pipeline/view")
        ]
        for request in requested:
            assert KEY not in request.url
            if "/page/" not in request.url:
                given = request.headers.get("authorization")
                assert given == (None if request in framed else f"Bearer {KEY}"), request.url
