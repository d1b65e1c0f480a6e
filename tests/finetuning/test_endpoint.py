"""The endpoint: a local server that speaks the protocol, as it should and as it should not."""

import json

import pytest

from llm_assets.finetuning.endpoint import (
    ChatEndpoint,
    EndpointError,
    EndpointUnavailable,
    parse_questions,
    parse_verdict,
)
from llm_assets.recipes import Endpoint
from tests.support.chat_server import Server, chat

ARTICLE = "Mira Ashwick was born in Fenford in 1950."
GOOD = {
    "entity": "Mira Ashwick",
    "kind": "person",
    "relation": "birthplace",
    "questions": ["Where was Mira Ashwick born?", "Mira Ashwick was born where?"],
    "answer": "Fenford",
    "sentence": "Mira Ashwick was born in Fenford.",
}


@pytest.fixture
def serve():
    servers = []

    def start(say):
        servers.append(Server(say))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_protocol(serve, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "abc")
    server = serve(lambda number, text: (200, chat(f"heard {text}")))
    assert server.endpoint(key_variable="SOME_KEY").ask("hello") == "heard hello"
    path, headers, body = server.seen[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer abc"
    assert body == {"model": "judge", "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "seed": 0}


def test_without_a_key_none_is_sent(serve, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    server = serve(lambda number, text: (200, chat("x")))
    server.endpoint(key_variable="SOME_KEY").ask("hello")
    assert server.seen[0][1]["Authorization"] is None


def test_what_passes_is_tried_again(serve):
    server = serve(lambda number, text: (429, {}) if number < 3 else (200, chat("at last")))
    assert server.endpoint(retries=2).ask("hello") == "at last"
    assert len(server.seen) == 3


def test_what_does_not_pass_is_told(serve):
    server = serve(lambda number, text: (503, {"error": "busy"}))
    with pytest.raises(EndpointUnavailable, match=r"3 tries failed, the last with status 503.*busy"):
        server.endpoint(retries=2).ask("hello")


def test_a_refusal_is_not_tried_again(serve):
    server = serve(lambda number, text: (401, {"error": "no such key"}))
    with pytest.raises(EndpointError, match=r"status 401.*no such key") as refusal:
        server.endpoint().ask("hello")
    assert len(server.seen) == 1
    assert not isinstance(refusal.value, EndpointUnavailable)  # nor by the run


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{"text": "x"}]}, b"not JSON", []])
def test_another_protocol_is_told(serve, answer):
    with pytest.raises(EndpointError, match="no choices"):
        serve(lambda number, text: (200, answer)).endpoint().ask("hello")


def test_nobody_there_is_told():
    endpoint = ChatEndpoint(Endpoint(model="judge", url="http://127.0.0.1:9/v1", retries=1), wait=lambda seconds: None)
    with pytest.raises(EndpointError, match=r"127.0.0.1:9.*2 tries failed"):
        endpoint.ask("hello")


def test_answers_come_in_order(serve):
    server = serve(lambda number, text: (200, chat(text.upper())))
    assert server.endpoint(concurrency=4).ask_all([f"q{i}" for i in range(20)]) == [f"Q{i}" for i in range(20)]


def test_questions_are_read():
    found, problems = parse_questions(f"Here they are:\n```json\n{json.dumps([GOOD])}\n```", ARTICLE)
    assert found == [GOOD]
    assert problems == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"answer": "Oakenton"}, "the answer 'Oakenton' does not stand in the article"),
        ({"sentence": "Mira was born."}, "the sentence does not hold the answer 'Fenford'"),
        ({"questions": []}, "a field is missing or empty"),
        ({"entity": 5}, "a field is missing or empty"),
        ({"questions": [""]}, "a field is missing or empty"),
    ],
)
def test_questions_that_are_left_out(change, told):
    found, problems = parse_questions(json.dumps([{**GOOD, **change}, GOOD]), ARTICLE)
    assert found == [GOOD]
    assert problems == [f"question 1: {told}"]


@pytest.mark.parametrize("text", ["", "I cannot do that.", "[1, 2", "{}", "[" * 100_000 + "]" * 100_000])
def test_answers_without_questions(text):
    assert parse_questions(text, ARTICLE) == ([], ["the answer holds no JSON list"])


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("right", "right"),
        ("Right.", "right"),
        ("**Refused**", "refused"),
        ("wrong, because", "wrong"),
        ("", "wrong"),
        ("maybe", "wrong"),
    ],
)
def test_verdicts(text, verdict):
    assert parse_verdict(text) == verdict
