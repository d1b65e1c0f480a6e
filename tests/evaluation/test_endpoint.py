"""The client of the endpoint, against a local server that follows the protocol or breaks it."""

import json

import pytest

from llm_assets.evaluation.endpoint import ChatEndpoint, parse_questions, parse_verdict
from llm_assets.json_requests import EndpointError, EndpointUnavailable
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

    def start(respond):
        servers.append(Server(respond))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_requests_follow_the_protocol(serve, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "abc")
    server = serve(lambda number, text: (200, chat(f"heard {text}")))
    assert server.endpoint(key_variable="SOME_KEY").ask("hello") == "heard hello"
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer abc"
    assert body == {"model": "judge", "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "seed": 0}


def test_no_authorization_is_sent_without_a_key(serve, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    server = serve(lambda number, text: (200, chat("x")))
    server.endpoint(key_variable="SOME_KEY").ask("hello")
    assert server.requests[0][1]["Authorization"] is None


def test_a_busy_endpoint_is_tried_again(serve):
    server = serve(lambda number, text: (429, {}) if number < 3 else (200, chat("at last")))
    assert server.endpoint(retries=2).ask("hello") == "at last"
    assert len(server.requests) == 3


def test_an_endpoint_that_stays_busy_raises_endpoint_unavailable(serve):
    server = serve(lambda number, text: (503, {"error": "busy"}))
    with pytest.raises(EndpointUnavailable, match=r"3 tries failed, the last one with status 503.*busy"):
        server.endpoint(retries=2).ask("hello")


def test_an_error_of_the_client_is_not_tried_again(serve):
    server = serve(lambda number, text: (401, {"error": "no such key"}))
    with pytest.raises(EndpointError, match=r"status 401.*no such key") as raised:
        server.endpoint().ask("hello")
    assert len(server.requests) == 1
    assert not isinstance(raised.value, EndpointUnavailable)  # so the run does not retry it either


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": [{"text": "x"}]}, b"not JSON", []])
def test_a_response_in_another_layout_raises_endpoint_error(serve, answer):
    with pytest.raises(EndpointError, match=r"no choices|is no JSON"):
        serve(lambda number, text: (200, answer)).endpoint().ask("hello")


def test_an_unreachable_endpoint_raises_endpoint_error():
    endpoint = ChatEndpoint(Endpoint(model="judge", url="http://127.0.0.1:9/v1", retries=1), wait=lambda seconds: None)
    with pytest.raises(EndpointError, match=r"127.0.0.1:9.*2 tries failed"):
        endpoint.ask("hello")


def test_answers_are_in_the_order_of_the_prompts(serve):
    server = serve(lambda number, text: (200, chat(text.upper())))
    assert server.endpoint(concurrency=4).complete_all([f"q{i}" for i in range(20)]) == [f"Q{i}" for i in range(20)]


def test_questions_are_parsed_from_the_text_around_them():
    questions, problems = parse_questions(f"Here they are:\n```json\n{json.dumps([GOOD])}\n```", ARTICLE)
    assert questions == [GOOD]
    assert problems == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"answer": "Oakenton"}, "the article does not contain the answer 'Oakenton'"),
        ({"sentence": "Mira was born."}, "the sentence does not contain the answer 'Fenford'"),
        ({"questions": []}, "a field is missing or empty"),
        ({"entity": 5}, "a field is missing or empty"),
        ({"questions": [""]}, "a field is missing or empty"),
    ],
)
def test_invalid_questions_are_rejected_with_the_reason(change, problem):
    questions, problems = parse_questions(json.dumps([{**GOOD, **change}, GOOD]), ARTICLE)
    assert questions == [GOOD]
    assert problems == [f"question 1: {problem}"]


@pytest.mark.parametrize("text", ["", "I cannot do that.", "[1, 2", "{}", "[" * 100_000 + "]" * 100_000])
def test_an_answer_without_a_json_list_has_no_questions(text):
    assert parse_questions(text, ARTICLE) == ([], ["the answer contains no JSON list"])


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
def test_the_first_word_of_the_judge_is_the_verdict(text, verdict):
    assert parse_verdict(text) == verdict


def test_half_a_character_of_an_endpoint_is_replaced():
    """A model that stops within a character leaves a lone surrogate, which no table can hold."""
    questions, problems = parse_questions(json.dumps([{**GOOD, "relation": "x \ud83d"}]), ARTICLE)
    assert questions == [{**GOOD, "relation": "x \ufffd"}] and problems == []


def test_half_a_character_in_a_response_is_replaced(serve):
    server = serve(lambda number, text: (200, chat("x \ud83d")))
    assert server.endpoint().ask("q") == "x \ufffd"
