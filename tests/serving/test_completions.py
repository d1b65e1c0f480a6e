"""Answers of the API are those of the sampling engine, alone or among others, whole or streamed."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from llm_assets.model.chat import Message, encode_text, prompt
from llm_assets.model.sampling import Sampling
from tests.support.model_server import GatedSteps, cancellations, model_server, script_tokens
from tests.support.scripted_engine import call_tokens
from tests.support.tiny_models import ENCODING, TEXTS

END = (ENCODING.bos, ENCODING.special["<|assistant_end|>"])
QUESTIONS = [{"role": "user", "content": "Who lives in the town?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with model_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def engine_text(server, tokens, sampling, name="chat", number=0):
    """What the engine by itself samples after a prompt."""
    *_, [completion] = server.engine(name).stream([tokens], sampling, first=number)
    return ENCODING.decode([token for token in completion.tokens if token in ENCODING.text_ids])


def events(response):
    """The values of a stream's events; the last one is [DONE]."""
    lines = [line for line in response.iter_lines(decode_unicode=True) if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@pytest.mark.parametrize("cut", [{}, {"top_p": 0.3}, {"top_k": 5}])
def test_an_answer_is_what_the_engine_samples(server, cut):
    body = {"messages": QUESTIONS, "temperature": 0.9, "seed": 5, "max_tokens": 30, "n": 2, **cut}
    answer = server.post("chat/completions", body).json()
    tokens = prompt(ENCODING, [Message("user", QUESTIONS[0]["content"])])
    sampling = Sampling(max_tokens=30, temperature=0.9, seed=5, stop=END, **cut)
    texts = [engine_text(server, tokens, sampling, number=number).removeprefix(" ") for number in range(2)]
    assert [choice["message"]["content"] for choice in answer["choices"]] == texts and texts[0] != texts[1]
    assert {choice["finish_reason"] for choice in answer["choices"]} <= {"length", "stop"}
    assert answer["usage"]["prompt_tokens"] == len(tokens)
    assert answer["usage"]["total_tokens"] == len(tokens) + answer["usage"]["completion_tokens"]


def test_answers_do_not_depend_on_what_else_is_sampled(server):
    bodies = [
        {"prompt": text[: 10 + 7 * place], "max_tokens": 8 + place, "temperature": place % 3 / 2, "seed": place}
        for place, text in enumerate(TEXTS[:24])
    ]
    alone = [server.post("completions", body).json()["choices"][0]["text"] for body in bodies[::6]]
    with ThreadPoolExecutor(24) as threads:
        together = list(threads.map(lambda body: server.post("completions", body).json(), bodies))
    assert [answer["choices"][0]["text"] for answer in together][::6] == alone


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_a_stream_has_the_text_of_the_whole_answer(server, path):
    body = {"max_tokens": 25, "temperature": 1, "seed": 3, "n": 2}
    body |= {"messages": QUESTIONS} if path.startswith("chat") else {"prompt": TEXTS[0][:30]}
    whole = server.post(path, body).json()
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    chunks = events(server.post(path, streamed, stream=True))
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        pieces = [item for chunk in chunks for item in chunk["choices"] if item["index"] == choice["index"]]
        text = "".join(item.get("text") or item.get("delta", {}).get("content") or "" for item in pieces)
        assert text == (choice["text"] if "text" in choice else choice["message"]["content"])
        assert [item["finish_reason"] for item in pieces if item["finish_reason"]] == [choice["finish_reason"]]


def test_a_stop_text_ends_an_answer_and_is_no_part_of_it(server):
    body = {"prompt": TEXTS[1][:40], "max_tokens": 40, "temperature": 1, "seed": 4}
    text = server.post("completions", body).json()["choices"][0]["text"]
    for start in (0, 3, 11):
        stop = text[start : start + 4]
        [choice] = server.post("completions", {**body, "stop": ["no such text", stop]}).json()["choices"]
        assert choice["text"] == text.partition(stop)[0] and choice["finish_reason"] == "stop"
        chunks = events(server.post("completions", {**body, "stop": stop, "stream": True}, stream=True))
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == choice["text"]


def test_log_probabilities_of_both_formats_are_the_engines(server):
    body = {"prompt": TEXTS[2][:40], "max_tokens": 6, "temperature": 0, "logprobs": 3, "model": "base"}
    [choice] = server.post("completions", body).json()["choices"]
    [completion] = server.engine("base").complete(
        [ENCODING.document(TEXTS[2][:40])], Sampling(max_tokens=6, temperature=0, stop=(ENCODING.bos,))
    )
    scores = choice["logprobs"]
    assert scores["token_logprobs"] == pytest.approx(completion.log_probabilities, abs=1e-4)
    assert all(
        len(top) in (3, 4) and max(top.values()) == value
        for top, value in zip(scores["top_logprobs"], scores["token_logprobs"], strict=True)
    )
    body = {"messages": QUESTIONS, "max_tokens": 4, "temperature": 0, "logprobs": True, "top_logprobs": 2}
    [choice] = server.post("chat/completions", body).json()["choices"]
    for entry in choice["logprobs"]["content"]:
        assert bytes(entry["bytes"]).decode("utf-8", "replace") == entry["token"]
        assert [entry["top_logprobs"][0][name] for name in ("token", "logprob")] == [entry["token"], entry["logprob"]]
        assert len(entry["top_logprobs"]) == 2


def test_an_echoed_prompt_has_the_likelihoods_of_its_tokens(server):
    text = TEXTS[3][:50]
    body = {"prompt": text, "echo": True, "logprobs": 1, "max_tokens": 0, "model": "base"}
    [choice] = server.post("completions", body).json()["choices"]
    tokens = ENCODING.document(text)
    [expected] = server.engine("base").likelihoods([tokens[:1]], [tokens[1:]], padded=True)
    assert choice["text"] == text and choice["finish_reason"] == "length"
    assert sum(choice["logprobs"]["token_logprobs"]) == pytest.approx(expected.log_probability, abs=1e-3)
    [given] = server.post("completions", {**body, "prompt": tokens}).json()["choices"]
    assert given["logprobs"]["token_logprobs"] == [None, *choice["logprobs"]["token_logprobs"]]


def test_a_call_of_a_server_tool_is_answered_within_the_answer(server, monkeypatch):
    reply = [*encode_text(ENCODING, "I add."), *call_tokens("python", "2+3"), *encode_text(ENCODING, "It is 5.")]
    script_tokens(monkeypatch, reply)
    body = {"messages": QUESTIONS, "tools": [{"type": "python"}], "max_tokens": 60}
    answer = server.post("chat/completions", body).json()
    [choice] = answer["choices"]
    [call] = choice["message"]["server_tool_calls"]
    assert (call["type"], call["input"], call["output"]) == ("python", "2+3", "5")
    assert choice["message"]["content"] == "I add. It is 5." and choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len(reply)
    chunks = events(server.post("chat/completions", {**body, "stream": True}, stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas) == "I add. It is 5."
    assert [delta["server_tool_calls"][0]["output"] for delta in deltas if "server_tool_calls" in delta] == ["5"]


def test_a_call_of_the_clients_function_is_returned(server, monkeypatch):
    script_tokens(monkeypatch, [*encode_text(ENCODING, "I look."), *call_tokens("search", "the town")])
    tool = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
    body = {"messages": QUESTIONS, "tools": [tool], "max_tokens": 60}
    [choice] = server.post("chat/completions", body).json()["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] == "I look."
    assert call["function"]["name"] == "search" and json.loads(call["function"]["arguments"]) == {"query": "the town"}
    script_tokens(monkeypatch, encode_text(ENCODING, "It is big."))
    answered = [*QUESTIONS, choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "big"}]
    [choice] = server.post("chat/completions", {**body, "messages": answered}).json()["choices"]
    assert choice["message"]["content"] == "It is big." and choice["finish_reason"] == "stop"


SEARCH = {"type": "function", "function": {"name": "search"}}
PYTHON = {"type": "function", "function": {"name": "python"}}
REQUIRED = [("required", [SEARCH]), (SEARCH, [PYTHON, SEARCH])]
LOOKED_UP = encode_text(ENCODING, "the town")


@pytest.mark.parametrize(("tool_choice", "tools"), REQUIRED, ids=["required", "named"])
def test_an_answer_begins_with_the_call_that_is_required(server, monkeypatch, tool_choice, tools):
    script_tokens(monkeypatch, [None, *LOOKED_UP, ENCODING.special["<|search_end|>"]])
    body = {"messages": QUESTIONS, "tools": tools, "tool_choice": tool_choice, "max_tokens": 60}
    [choice] = server.post("chat/completions", body).json()["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert call["function"] == {"name": "search", "arguments": '{"query": "the town"}'}


@pytest.mark.parametrize(("max_tokens", "finish"), [(60, "stop"), (len(LOOKED_UP), "length")])
@pytest.mark.parametrize("tool_choice", ["required", "auto"])
def test_only_a_call_that_was_not_required_is_text_if_it_is_never_closed(
    server, monkeypatch, tool_choice, max_tokens, finish
):
    opening = None if tool_choice == "required" else ENCODING.special["<|search_start|>"]
    script_tokens(monkeypatch, [opening, *LOOKED_UP])
    settings = {"tool_choice": tool_choice, "max_tokens": max_tokens, "logprobs": True}
    body = {"messages": QUESTIONS, "tools": [SEARCH], **settings}
    [choice] = server.post("chat/completions", body).json()["choices"]
    shown = "" if tool_choice == "required" else ENCODING.decode(LOOKED_UP[: max_tokens - 1])
    assert choice["message"]["content"] == shown.removeprefix(" ") and choice["finish_reason"] == finish
    assert "".join(token["token"] for token in choice["logprobs"]["content"]) == shown
    chunks = events(server.post("chat/completions", {**body, "stream": True}, stream=True))
    streamed = [chunk["choices"][0] for chunk in chunks]
    assert "".join(item["delta"].get("content", "") for item in streamed) == choice["message"]["content"]
    assert streamed[-1]["finish_reason"] == finish


def test_a_call_after_a_required_one_is_text_if_it_is_never_closed(server, monkeypatch):
    script_tokens(monkeypatch, [*call_tokens("python", "2+3"), ENCODING.special["<|python_start|>"], *LOOKED_UP])
    body = {"messages": QUESTIONS, "tools": [{"type": "python"}], "tool_choice": "required", "max_tokens": 60}
    [choice] = server.post("chat/completions", body).json()["choices"]
    assert choice["message"]["content"] == "the town" and len(choice["message"]["server_tool_calls"]) == 1


def test_models_are_listed_and_embeddings_refused_with_a_reason(server):
    listed = server.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["chat", "base"] and listed["object"] == "list"
    assert server.get("/v1/models/base").json()["id"] == "base"
    refused = server.post("embeddings", {"input": "text"})
    assert refused.headers["x-should-retry"] == "false"
    assert refused.status_code == 501 and "not trained to embed" in refused.json()["error"]["message"]
    assert server.get("/health").json()["status"] == "ok"


def test_a_client_that_goes_away_ends_its_sampling(server, monkeypatch):
    steps, cancelled = GatedSteps(monkeypatch), cancellations(monkeypatch)
    script_tokens(monkeypatch, [65] * 200)
    body = {"prompt": TEXTS[0][:20], "max_tokens": 200, "n": 8, "stream": True}
    steps.allow(2)
    response = requests.post(f"{server.url}/v1/completions", json=body, stream=True, timeout=60)
    next(response.iter_content(10))
    response.close()
    assert cancelled.wait(60)
    steps.allow()
    server.wait_until_idle()
    assert steps.count <= 3  # one may have been about to begin
    assert server.post("completions", {"prompt": "a", "max_tokens": 1}).status_code == 200
