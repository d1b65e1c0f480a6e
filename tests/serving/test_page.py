"""The page in a browser, against a running server: what each view does, hostile texts, and accessibility."""

import json
import subprocess
import sys
import time
import zipfile
from shutil import copy, copytree

import pytest

from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.model.chat import encode_text
from llm_assets.model.decoding import Decoder
from llm_assets.serving.page_files import FOLDER
from llm_assets.settings import PROJECT
from tests.support.browser import (
    button,
    check_wide_screen,
    open_page,
    overflow,
    serious_faults,
)
from tests.support.model_server import model_server, script_tokens
from tests.support.scripted_engine import call_tokens
from tests.support.tiny_models import ENCODING

SETTINGS = {"Temperature": "0.3", "Top p": "0.9", "Top k": "7", "Maximum tokens": "90", "Seed": "5"}
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>&lt;b&gt;'
CALL_ANSWER = [
    *encode_text(ENCODING, "I add."),
    *call_tokens("python", "2+3"),
    *encode_text(ENCODING, "It is 5."),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        with model_server(tmp_path_factory.mktemp("server")) as running:
            yield running


def say(page, text):
    """Send a message and wait for the end of the answer."""
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")
    button(page, "Regenerate").wait_for()


def focused(page):
    """The text of the button that has the keyboard's focus."""
    return page.evaluate("document.activeElement.textContent")


def texts(page):
    return page.locator(".message .content").all_inner_texts()


def write_document(page):
    page.get_by_label("Model").select_option("base")
    page.get_by_label("Maximum tokens").fill("6")
    page.get_by_label("Seed").fill("1")  # one with which the document does not end
    button(page, "Write").click()
    page.locator("button:enabled", has_text="Continue").first.wait_for()
    return page.locator(".strip button")


# Chat


def test_an_answer_shows_its_tool_calls_and_results(view, monkeypatch):
    script_tokens(monkeypatch, CALL_ANSWER)
    with view("chat") as page:
        say(page, "What is 2 + 3?")
        assert page.locator(".message h2").all_inner_texts() == ["You", "Assistant", "Result", "Assistant"]
        assert texts(page) == ["What is 2 + 3?", "I add.\n\nCalls python:\n\n2+3", "5", "It is 5."]


def copied(page, copy_button):
    """What a button has copied."""
    page.evaluate("document.querySelector('#status').textContent = ''")
    copy_button.click()
    page.locator("#status", has_text="Copied").wait_for(state="attached")
    return page.evaluate("(window.kept ?? navigator.clipboard).readText()")


def test_an_answer_and_a_conversation_are_copied(view, monkeypatch):
    script_tokens(monkeypatch, CALL_ANSWER)
    with view("chat", permissions=["clipboard-read", "clipboard-write"]) as page:
        say(page, "What is 2 + 3?")
        assert copied(page, button(page, "Copy").last) == "It is 5."
        assert '"content": "What is 2 + 3?"' in copied(page, button(page, "Copy JSON"))
        # On http:// a page of another machine has no clipboard.
        page.evaluate("window.kept = navigator.clipboard")
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        assert copied(page, button(page, "Copy").first) == "What is 2 + 3?" and focused(page) == "Copy"


def test_the_next_question_sends_the_whole_conversation(view, monkeypatch):
    script_tokens(monkeypatch, CALL_ANSWER)
    with view("chat") as page:
        page.get_by_label("System prompt").fill("Be short.")
        say(page, "What is 2 + 3?")
        for label, value in SETTINGS.items():
            page.get_by_label(label).fill(value)
        with page.expect_request("**/v1/chat/completions") as sent:
            say(page, "And then?")
        body = sent.value.post_data_json
        settings = {"temperature": 0.3, "top_p": 0.9, "top_k": 7, "max_tokens": 90, "seed": 5}
        assert {name: body.get(name) for name in settings} == settings
        roles = [message["role"] for message in body["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
        assert body["messages"][2]["tool_calls"][0]["function"]["arguments"] == '{"code":"2+3"}'
        assert body["tools"] == [{"type": "python"}, {"type": "search"}] and body["stream"] is True
        assert page.locator(".message").count() == 8


def test_the_conversation_is_shown_as_tokens_with_those_that_are_trained(view, monkeypatch):
    script_tokens(monkeypatch, encode_text(ENCODING, "Hello."))
    with view("chat") as page:
        for box in page.get_by_role("checkbox").all():
            box.uncheck()
        say(page, "Hi <|bos|>")
        button(page, "Show tokens").click()
        strip = page.locator(".panel .strip")
        names = ["<|bos|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>"]
        strip.wait_for()
        assert strip.locator(".special").all_inner_texts() == names
        assert strip.locator("mark").all_inner_texts() == [" Hello.<|assistant_end|>"]


def test_an_answer_is_regenerated_and_messages_are_edited(view, monkeypatch):
    script_tokens(monkeypatch, encode_text(ENCODING, "First."))
    with view("chat") as page:
        say(page, "Who?")
        script_tokens(monkeypatch, encode_text(ENCODING, "Second."))
        button(page, "Regenerate").click()
        page.get_by_text("Second.", exact=True).wait_for()
        button(page, "Regenerate").wait_for()
        assert focused(page) == "Regenerate" and texts(page) == ["Who?", "Second."]
        assert page.locator("#status").inner_text() == "The answer is complete: Second."
        button(page, "Edit").nth(1).click()
        page.get_by_label("New text").fill("Corrected.")
        button(page, "Save").click()
        assert focused(page) == "Edit"
        assert texts(page) == ["Who?", "Corrected."]
        script_tokens(monkeypatch, encode_text(ENCODING, "Third."))
        button(page, "Edit").first.click()
        page.get_by_label("New text").fill("When?")
        assert button(page, "Copy").count() == 1 and not button(page, "Delete").count()  # which would lose the edit
        page.get_by_label("Message").fill("And where?")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("A message is being edited").wait_for()
        button(page, "Save and answer").click()
        page.get_by_text("Third.", exact=True).wait_for()
        assert texts(page) == ["When?", "Third."]


def test_a_saved_conversation_is_opened_again_and_can_be_trained_on(view, monkeypatch, tmp_path):
    script_tokens(monkeypatch, CALL_ANSWER)
    with view("chat") as page:
        page.get_by_label("System prompt").fill("Be short.")
        page.get_by_label("Temperature").fill("0.3")
        say(page, "What is 2 + 3?")
        with page.expect_download() as saved:
            button(page, "Save JSON").click()
        path = tmp_path / "conversation.json"
        saved.value.save_as(path)
        shown = texts(page)
    value = json.loads(path.read_text())
    assert value["settings"]["temperature"] == 0.3 and value["model"] == "chat"
    (tmp_path / "rows.jsonl").write_text(json.dumps(value))
    [row] = read_conversations(tmp_path / "rows.jsonl")
    assert not row.problem and len(row.messages) == 5
    with view("chat") as page:
        page.get_by_label("Conversation to open").set_input_files(path)
        page.get_by_text("It is 5.").wait_for()
        assert texts(page) == shown
        assert page.get_by_label("System prompt").input_value() == "Be short."
        assert page.get_by_label("Temperature").input_value() == "0.3"
        value |= {"model": "base", "settings": {"tools": ["search"]}}
        value["messages"].append({"role": "system", "content": "Be long."})
        path.write_text(json.dumps(value))
        page.get_by_label("Conversation to open").set_input_files(path)
        page.get_by_text("Be long.").wait_for()
        assert page.get_by_label("Model").input_value() == "base"
        assert page.locator(".message h2").last.inner_text() == "System"
        value |= {"model": "gone"}
        value["messages"][2]["content"] = None  # OpenAI's API answers so with a call
        path.write_text(json.dumps(value))
        page.get_by_label("Conversation to open").set_input_files(path)
        page.get_by_role("alert").get_by_text("The file’s model gone is not here: continue it with base").wait_for()
        assert texts(page)[1] == "Calls python:\n\n2+3"
        path.write_text('{"messages": [{"role": "root", "content": "a"}]}')
        page.get_by_label("Conversation to open").set_input_files(path)
        page.get_by_role("alert").get_by_text("Message 1 of the file").wait_for()


def test_an_answer_can_be_stopped(view, server, monkeypatch):
    script_tokens(monkeypatch, encode_text(ENCODING, "word " * 190))
    choose, steps = Decoder._choose, []
    monkeypatch.setattr(Decoder, "_choose", lambda decoder: steps.append(time.sleep(0.05)) or choose(decoder))
    with view("chat") as page:
        page.get_by_label("Message").fill("Go on")
        page.keyboard.press("Enter")
        page.get_by_text("word word").wait_for()
        button(page, "Stop").click()
        button(page, "Regenerate").wait_for()
        assert focused(page) == "Regenerate"
        server.wait_until_idle()
        assert len(steps) < 150  # of 200, after which an answer ends by itself
        button(page, "Regenerate").click()
        button(page, "Stop").wait_for()
        assert focused(page) == "Stop"
        page.locator(".message.assistant", has_text="word word").wait_for()
        page.keyboard.press("Enter")
        button(page, "Regenerate").wait_for()
        assert "word word" in texts(page)[1]
        server.wait_until_idle()
        assert len(steps) < 300


def watch_answer(page, lines):
    """Wait until so many lines of the last answer are there."""
    page.wait_for_function(
        "lines => document.querySelector('.messages').lastElementChild.innerText.split('\\n').length > lines", arg=lines
    )


def test_an_answer_that_grows_is_followed_until_the_reader_scrolls_away(view, monkeypatch):
    script_tokens(monkeypatch, encode_text(ENCODING, "a\n" * 95)[:190])
    choose = Decoder._choose
    monkeypatch.setattr(Decoder, "_choose", lambda decoder: time.sleep(0.03) or choose(decoder))
    with view("chat", viewport={"width": 800, "height": 400}) as page:
        page.get_by_label("Message").fill("Go on")
        page.keyboard.press("Enter")
        watch_answer(page, 20)
        assert page.evaluate("scrollY") > 0
        page.evaluate("scrollTo(0, 0)")
        watch_answer(page, 35)
        assert page.evaluate("scrollY") == 0
        page.evaluate("document.querySelector('.messages').scrollIntoView({ block: 'end' })")
        before = page.evaluate("scrollY")
        watch_answer(page, 45)
        assert page.evaluate("scrollY") > before > 0
        button(page, "Stop").click()
        button(page, "Regenerate").wait_for()


def test_a_conversation_that_fills_the_context_goes_on_without_its_beginning(view, monkeypatch):
    script_tokens(monkeypatch, encode_text(ENCODING, "a\n" * 20))
    with view("chat", viewport={"width": 1280, "height": 720}, expected_errors=["400"]) as page:
        problem = page.get_by_role("alert")
        while not problem.inner_text():
            say(page, "Go on")
        assert "Delete earlier questions" in problem.inner_text() and "New" in problem.inner_text()
        assert page.evaluate("scrollY") > 200 and 0 <= problem.bounding_box()["y"] < 400
        assert not serious_faults(page)
        count = len(texts(page))
        button(page, "Delete").first.click()
        assert focused(page) == "Delete" and len(texts(page)) == count - 2 and not problem.inner_text()
        button(page, "Regenerate").click()
        page.locator(".message").nth(count - 2).wait_for()
        button(page, "Regenerate").wait_for()
        assert texts(page)[-1].startswith("a\n") and not problem.inner_text()


def test_errors_of_the_server_are_shown(view, server):
    with view("chat", expected_errors=["400", "ERR_FAILED"]) as page:
        page.get_by_label("Message").fill("word " * 2000)
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("Shorten your message").wait_for()
        button(page, "Dismiss").click()
        button(page, "New").click()
        page.get_by_label("Maximum tokens").fill("-3")
        page.get_by_label("Message").fill("Hello")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("Maximum tokens").wait_for()
        page.get_by_label("Maximum tokens").fill("3")
        page.route("**/v1/chat/completions", lambda route: route.abort())
        button(page, "Regenerate").click()
        page.get_by_role("alert").get_by_text("cannot be reached").wait_for()
        page.get_by_label("Model").select_option("base")
        assert button(page, "Send").is_disabled() and page.get_by_text("not been trained on conversations").is_visible()


# Base model and tokens


def test_tokens_are_reached_by_keyboard(view):
    with view("base") as page:
        chips = write_document(page)
        chips.first.focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
            page.keyboard.press(key)
        assert chips.nth(1).get_attribute("aria-pressed") == "true"
        assert chips.locator("xpath=self::*[@tabindex='0']").count() == 1
        page.locator(".alternatives button").first.focus()
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_entropy_is_the_colour_of_a_token(view):
    with view("base") as page:
        chips = write_document(page)
        label = chips.nth(2).get_attribute("aria-label")
        bits = float(label.rpartition("entropy ")[2].removesuffix(" bits"))
        heat = "node => Number(getComputedStyle(node).getPropertyValue('--heat'))"
        assert chips.nth(2).evaluate(heat) == pytest.approx(bits / 10, abs=0.01)
        page.get_by_label("Colour").select_option("none")
        assert chips.nth(2).evaluate(heat) == 0


# The shell


def test_the_view_is_in_the_address_and_the_theme_is_remembered(view):
    with view("tokens") as page:
        assert page.title() == "Tokens · llm-assets"
        page.get_by_role("link", name="Base model").click()
        page.get_by_role("heading", name="Base model").wait_for()
        assert page.url.endswith("#base") and page.title() == "Base model · llm-assets"
        assert page.get_by_role("link", name="Base model").get_attribute("aria-current") == "page"
        page.get_by_label("Theme").select_option("dark")
        page.reload()
        page.locator("html[data-ready]").wait_for()
        assert page.get_by_label("Theme").input_value() == "dark"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(20, 23, 27)"


def test_models_are_found_once_they_are_built(browser, server):
    chat, base = ({**model, "default": False} for model in server.get("/v1/models").json()["data"])
    built = []
    context = browser.new_context()
    page = context.new_page()
    page.route("**/v1/models", lambda route: route.fulfill(json={"data": built, "max_tokens": 7}))
    page.goto(f"{server.url}/#chat")
    page.get_by_text("No model is built yet").wait_for()
    assert page.get_by_label("Model").is_hidden()
    page.get_by_role("link", name="Tokens").click()
    page.get_by_role("heading", name="Tokens").wait_for()
    assert page.get_by_text("No model is built yet").is_visible() and page.title() == "Tokens · llm-assets"
    assert page.get_by_role("link", name="Tokens").get_attribute("aria-current") == "page"
    built.append(base)
    button(page, "Look again").click()
    page.get_by_label("Text", exact=True).wait_for()
    built.append(chat)  # the default is not built yet
    page.get_by_role("link", name="Chat").click()
    page.get_by_label("Model").get_by_role("option", name="chat (chat)").wait_for(state="attached")
    assert page.get_by_label("Model").input_value() == "base"  # as it was
    page.reload()
    page.get_by_label("Message").wait_for()
    assert page.get_by_label("Model").input_value() == "chat"
    tokens = page.get_by_label("Maximum tokens")
    assert tokens.input_value() == tokens.get_attribute("max") == "7"
    context.close()


def test_a_new_list_of_models_changes_the_chat_and_leaves_what_was_chosen(browser, server):
    given = server.get("/v1/models").json()
    with open_page(browser, f"{server.url}/#tokens") as page:

        def visit_chat(max_tokens, tools):
            models = [{**model, "tools": tools} for model in given["data"]]
            page.route("**/v1/models", lambda route: route.fulfill(json={"data": models, "max_tokens": max_tokens}))
            page.get_by_role("link", name="Tokens").click()
            with page.expect_response("**/v1/models"):
                page.get_by_role("link", name="Chat").click()

        visit_chat(100, [])
        page.get_by_text("The model calls no tools").wait_for()
        tokens = page.get_by_label("Maximum tokens")
        tokens.fill("")
        visit_chat(100, ["python"])
        page.get_by_role("checkbox", name="python").uncheck()
        assert tokens.input_value() == ""
        visit_chat(50, ["python"])
        page.locator("input[name=max_tokens][max='50']").wait_for()
        assert tokens.input_value() == "" and not page.get_by_role("checkbox", name="python").is_checked()
        tokens.fill("40")
        visit_chat(30, ["python"])
        page.locator("input[name=max_tokens][max='30']").wait_for()
        assert tokens.input_value() == "30"


@pytest.mark.parametrize("name", ["chat", "base", "tokens"])
def test_hostile_texts_are_shown_as_texts(view, monkeypatch, name):
    script_tokens(monkeypatch, encode_text(ENCODING, HOSTILE))
    with view(name) as page:
        if name == "chat":
            say(page, HOSTILE)
            button(page, "Show tokens").click()
            page.locator(".panel .strip").wait_for()
            assert texts(page) == [HOSTILE, HOSTILE]
        elif name == "base":
            page.get_by_label("Beginning of the document").fill(HOSTILE)
            chips = write_document(page)
            chips.nth(3).click()
            assert "".join(chips.all_inner_texts()).count("window.hacked=1") == 2
        else:
            page.get_by_label("Text", exact=True).fill(HOSTILE)
            page.locator(".strip").get_by_text("hack").first.wait_for()
        page.locator("body").press("Tab")
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_views_have_no_serious_accessibility_fault(view, monkeypatch, scheme):
    script_tokens(monkeypatch, CALL_ANSWER)
    with view("chat", color_scheme=scheme) as page:
        assert not serious_faults(page)  # an empty chat
        say(page, "What is 2 + 3?")
        button(page, "Show tokens").click()
        page.locator(".panel .strip").wait_for()
        assert not serious_faults(page)
        page.get_by_role("link", name="Base model").click()
        write_document(page).nth(2).click()
        assert not serious_faults(page)
        page.get_by_role("link", name="Tokens").click()
        page.get_by_text("Choose a token to see").wait_for()  # until then the strip is that of the view before
        page.get_by_text("o200k_base are shown if their ranks are in the cache").wait_for()
        page.locator(".strip button").nth(2).click()
        page.locator(".merges").wait_for()
        assert not serious_faults(page)


def test_a_fault_is_found(view):
    with view("chat", color_scheme="light") as page:
        page.evaluate("document.querySelector('main').style.color = '#ddd'")
        page.evaluate("document.querySelector('#model').parentElement.replaceWith(document.querySelector('#model'))")
        faults = " ".join(serious_faults(page))
        assert "color-contrast" in faults and "select-name" in faults


def test_views_fit_on_a_phone_and_on_a_wide_screen(view, monkeypatch):
    script_tokens(monkeypatch, encode_text(ENCODING, "x" * 150))
    with view("chat", viewport={"width": 320, "height": 640}, expected_errors=["400"]) as page:
        say(page, "word " * 2000)
        assert button(page, "Dismiss").bounding_box()["height"] < 50  # on one line
        button(page, "Delete").click()
        say(page, "y" * 100)
        for name in ("Chat", "Base model", "Tokens"):
            page.get_by_role("link", name=name).click()
            page.get_by_role("heading", name=name, exact=True, level=1).wait_for()
            if name == "Base model":
                write_document(page).nth(2).click()
                assert page.locator(".alternatives tbody").bounding_box()["y"] < 640
                assert page.locator("#status").inner_text().startswith("Alternatives to “")
            assert overflow(page) <= 0, name
            check_wide_screen(page)


# The package


def test_a_wheel_contains_the_page(tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="setuptools builds the wheel")
    for name in ("pyproject.toml", "README.md"):
        copy(PROJECT / name, tmp_path)
    package = tmp_path / "llm_assets"
    copytree(PROJECT / "llm_assets" / "serving", package / "serving")
    (package / "__init__.py").touch()
    program = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    files = {name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "/serving/page/" in name}
    assert files == {path.name for path in FOLDER.iterdir()}
