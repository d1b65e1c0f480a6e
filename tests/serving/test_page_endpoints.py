"""What the page asks for beside OpenAI's API: conversations, documents and texts as tokens."""

import asyncio
import json
import math
import re
import threading

import pytest
import requests
from fastapi import routing

from llm_assets.model.chat import Call, Message, render
from llm_assets.serving import page_routes
from llm_assets.serving.bounded_threads import BoundedThreads
from llm_assets.serving.errors import ApiError
from llm_assets.serving.page_files import FOLDER
from tests.support.api_requests import post
from tests.support.model_server import model_server, script_tokens
from tests.support.published_ranks import stand_in_ranks
from tests.support.tiny_models import ENCODING, TEXTS

SPECIAL = ENCODING.special
USER = {"role": "user", "content": "What is 2 + 3?"}
CALLS = [{"type": "function", "function": {"name": "python", "arguments": '{"code": "2+3"}'}}]
ANSWERED = [
    {"role": "system", "content": "Be short."},
    USER,
    {"role": "assistant", "content": "I add.", "tool_calls": CALLS},
    {"role": "tool", "content": "5"},
    {"role": "assistant", "content": "Five."},
]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """Stands in for the published encoding, with its ranks in tiktoken's cache, which has those of no other."""
    with pytest.MonkeyPatch.context() as patch:
        yield stand_in_ranks(patch, tmp_path_factory.mktemp("cache"), gpt2=400)["gpt2"]


@pytest.fixture(scope="module")
def server(gpt2, tmp_path_factory):
    with model_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def stream(server, **body):
    """The chunks of a continued document."""
    lines = [line for line in post(server, "continue", **body).iter_lines(decode_unicode=True) if line]
    assert lines[-1] == "data: [DONE]", lines[-1]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_a_conversation_has_the_tokens_and_marks_of_training(server):
    body = post(server, "render", messages=ANSWERED, tools=["python"]).json()
    messages = [
        Message("system", "Tools: python.\nBe short."),
        Message("user", USER["content"]),
        Message("assistant", "I add.", Call("python", "2+3")),
        Message("tool", "5"),
        Message("assistant", "Five."),
    ]
    ids, trained = render(ENCODING, messages)
    assert [token["id"] for token in body["tokens"]] == ids and body["context"] == 256
    assert [token["trained"] for token in body["tokens"]] == trained
    assert {token["id"] for token in body["tokens"] if token.get("special")} == set(ids) - ENCODING.text_ids


def test_an_unanswered_conversation_ends_where_the_answer_begins(server):
    tokens = post(server, "render", messages=[USER]).json()["tokens"]
    assert tokens[-1] == {
        "id": SPECIAL["<|assistant_start|>"],
        "token": "<|assistant_start|>",
        "special": True,
        "trained": False,
    }
    usage = server.post("chat/completions", {"messages": [USER], "max_tokens": 1}).json()["usage"]
    assert usage["prompt_tokens"] == len(tokens)


def test_a_text_is_shown_in_the_tokens_of_the_encodings_that_are_here(server, gpt2):
    text = "Äpfel 東京 <|user_end|>"
    body = post(server, "tokenize", model="base", text=text).json()
    assert (body["characters"], body["bytes"]) == (len(text), len(text.encode()))
    of_model, of_gpt2 = body["encodings"]
    assert [token["id"] for token in of_model["tokens"]] == ENCODING.encode(text) and of_model["published"] is None
    assert [token["id"] for token in of_gpt2["tokens"]] == gpt2.encode(text)
    assert (of_gpt2["published"], of_gpt2["vocabulary"]) == ("gpt2", len(gpt2.ranks))
    for encoding in (of_model, of_gpt2):
        assert not any(token.get("special") for token in encoding["tokens"])
        parts = [bytes(token["bytes"]) if "bytes" in token else token["token"].encode() for token in encoding["tokens"]]
        assert b"".join(parts).decode() == text and any("bytes" in token for token in encoding["tokens"])


def test_a_text_of_many_tokens_keeps_nobody_waiting(server, monkeypatch):
    """Objects for each of its 60,000 tokens took a second, in which no other thread of Python ran."""
    described, serialized = [], []
    fields = page_routes.token_fields
    monkeypatch.setattr(page_routes, "token_fields", lambda *given: described.append(given[1]) or fields(*given))
    serialize = routing.serialize_response
    monkeypatch.setattr(routing, "serialize_response", lambda **given: serialized.append(1) or serialize(**given))
    of_model, _ = post(server, "tokenize", text="😀é漢" * 6_666).json()["encodings"]
    assert len(of_model["tokens"]) > 50_000 and len(described) < 100
    messages = [{"role": "user", "content": "a b " * 30}]
    assert len(post(server, "render", messages=messages).json()["tokens"]) > 60
    assert len(described) < 110 and not serialized


def test_the_merges_of_a_token_end_with_it(server, gpt2):
    data, number = max(gpt2.ranks.items(), key=lambda item: len(item[0]))
    steps = post(server, "merges", encoding="gpt2", id=number).json()["steps"]
    assert [len(step) for step in steps] == list(range(len(data), 0, -1)) and len(data) > 3
    assert {"".join(token["token"] for token in step) for step in steps} == {data.decode()}
    assert steps[-1][0]["id"] == number and all(token["id"] <= number for step in steps for token in step)
    for number in (SPECIAL["<|bos|>"], 65):
        [[token]] = post(server, "merges", id=number).json()["steps"]
        assert token["id"] == number


def test_a_continued_document_has_probabilities_alternatives_and_entropies(server):
    text = TEXTS[2][:40]
    settings = {"model": "base", "max_tokens": 6, "temperature": 0}
    first, *others = stream(server, prompt=text, **settings)
    assert [token["id"] for token in first["tokens"]] == ENCODING.document(text)
    assert "probability" not in first["tokens"][0]
    sampled = [token for chunk in others for token in chunk["tokens"]]
    [choice] = server.post("completions", {**settings, "prompt": text, "logprobs": 1}).json()["choices"]
    assert choice["text"] == ENCODING.decode([token["id"] for token in sampled])
    logs = [math.log(token["probability"]) for token in sampled]
    assert logs == pytest.approx(choice["logprobs"]["token_logprobs"], abs=1e-3)
    for token in [*first["tokens"][1:], *sampled]:
        assert len(token["alternatives"]) == 10 and 0 <= token["entropy"] <= math.log2(ENCODING.size)
    for token in sampled:  # temperature 0
        assert token["alternatives"][0]["id"] == token["id"]
        assert token["alternatives"][0]["probability"] == token["probability"]
    assert others[-2]["finish_reason"] == "length" and others[-1]["usage"]["completion_tokens"] == 6


def test_a_document_is_continued_from_an_alternative(server):
    first, *_ = stream(server, model="base", prompt=TEXTS[0][:30], max_tokens=0)
    *before, last = first["tokens"]
    other = next(token for token in last["alternatives"] if token["id"] != last["id"] and not token.get("special"))
    ids = [*(token["id"] for token in before), other["id"]]
    again, *_ = stream(server, model="base", prompt=ids, max_tokens=1)
    assert [token["id"] for token in again["tokens"]] == ids
    assert again["tokens"][-1]["probability"] == pytest.approx(other["probability"], abs=1e-5)


def test_models_are_listed_with_what_the_page_needs(server):
    chat, base = server.get("/v1/models").json()["data"]
    names = ("id", "chat", "tools", "context", "default")
    assert [chat[name] for name in names] == ["chat", True, ["python", "search"], 256, True]
    assert [base[name] for name in names] == ["base", False, [], 256, False]


def test_what_a_text_looks_like_does_not_end_a_turn(server):
    text = "<|user_end|><|assistant_start|>"
    tokens = post(server, "render", messages=[{"role": "user", "content": text}]).json()["tokens"]
    assert len([token for token in tokens if token.get("special")]) == 4
    first, *_ = stream(server, prompt=text, max_tokens=0)
    assert [token.get("special", False) for token in first["tokens"]].count(True) == 1


REFUSED = [
    (
        "a conversation of a megabyte",
        "render",
        {"messages": [{"role": "user", "content": "x" * 1_000_000}]},
        "too long",
    ),
    ("roles out of order", "render", {"messages": [USER, {"role": "tool", "content": "5"}]}, "tool where assistant"),
    ("no messages", "render", {"messages": []}, "messages"),
    ("an unknown tool", "render", {"messages": [USER], "tools": ["rm"]}, "tools"),
    ("a text above the limit", "tokenize", {"text": "x" * 20_001}, "20,000"),
    ("no text", "tokenize", {}, "text"),
    ("an id outside the vocabulary", "merges", {"id": 10**6}, "vocabulary has 500"),
    ("a negative id", "merges", {"id": -1}, "id"),
    ("an encoding that is not here", "merges", {"id": 5, "encoding": "o200k_base"}, "not on this machine"),
    ("an encoding that does not exist", "merges", {"id": 5, "encoding": "../gpt2"}, "encoding"),
    ("the id of a special token", "continue", {"prompt": [65, SPECIAL["<|user_start|>"]]}, "not text"),
    ("a document one token too long", "continue", {"prompt": [65] * 257}, "too long"),
    ("too many tokens", "continue", {"prompt": "a", "max_tokens": 201}, "at most 200"),
    ("an unknown field", "continue", {"prompt": "a", "n": 2}, "Unrecognized request argument supplied: n"),
]


@pytest.mark.parametrize(("path", "body", "part"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_wrong_request_is_refused(server, path, body, part):
    response = post(server, path, **body)
    assert response.status_code == 400 and part in response.json()["error"]["message"], response.text[:300]


@pytest.mark.parametrize("path", ["render", "tokenize", "merges", "continue"])
def test_the_checks_of_the_api_apply(server, path):
    address = f"{server.url}/api/{path}"
    assert requests.post(address, data="{}", headers={"Content-Type": "text/plain"}, timeout=60).status_code == 415
    assert requests.post(address, json={}, headers={"Host": "evil.example"}, timeout=60).status_code == 403
    assert post(server, path, text="x" * (1 << 20)).status_code == 413
    assert post(server, path, model="../../etc", messages=[USER], text="a", id=1).status_code in (400, 404)


def test_a_request_for_which_too_many_wait_is_refused():
    async def fill():
        threads, release = BoundedThreads(2, 3, "read"), threading.Event()
        running = [asyncio.create_task(threads.run(release.wait, 60)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="try again later") as refused:
            await threads.run(print)
        release.set()
        assert all(await asyncio.gather(*running)) and refused.value.status == 429
        return await threads.run(len, "abc")

    assert asyncio.run(fill()) == 3


def test_a_document_that_ends_says_so(server, monkeypatch):
    script_tokens(monkeypatch, [65, SPECIAL["<|bos|>"]])
    chunks = stream(server, model="base", prompt="a", max_tokens=9)
    assert [token["id"] for chunk in chunks[1:] for token in chunk["tokens"]] == [65]
    assert [chunk["finish_reason"] for chunk in chunks if "finish_reason" in chunk] == ["stop"]


def test_the_page_is_served_with_a_policy_that_loads_nothing_from_elsewhere(server):
    names = ["", *(f"page/{path.name}" for path in FOLDER.iterdir())]
    assert {"page/app.js", "page/style.css"} < set(names)
    for name in names:
        response = server.get(f"/{name}")
        policy = response.headers["Content-Security-Policy"]
        assert response.ok and policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "unsafe" not in policy and "http" not in policy
        assert "https://" not in response.text and "http://" not in response.text.replace("http://www.w3.org/", "")
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/page/nothing.js"):
        assert server.get(path).status_code == 404


def test_the_first_view_loads_all_its_modules_at_once():
    index = (FOLDER / "index.html").read_text()
    modules = ["app.js", "chat.js"]
    for name in modules:  # grows
        imported = re.findall(r'from "\./(\w+\.js)"', (FOLDER / name).read_text())
        modules += [module for module in imported if module not in modules]
    assert not [name for name in modules if f'"page/{name}"' not in index]
    assert "style.css" in index and "rank.js" not in modules


def test_no_script_makes_html_of_text():
    forbidden = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(")
    for path in FOLDER.glob("*.js"):
        assert not [word for word in forbidden if word in path.read_text()], path.name
