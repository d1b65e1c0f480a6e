"""Requests that are wrong, too large, too many or too slow: each gets its status and a message, and the next request is
answered as if they had not been there.
"""

import asyncio
import contextlib
import http.client
import json
import resource
import shutil
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

import pytest
import requests
from click.testing import CliRunner
from pydantic import ValidationError

from llm_assets.cli import cli
from llm_assets.model.decoding import Decoder
from llm_assets.model.prefill import CachedModel
from llm_assets.model.sampling import Engine
from llm_assets.serving import app, worker
from llm_assets.serving.protocol import ChatRequest, CompletionRequest
from llm_assets.serving.request_checks import RequestChecks
from llm_assets.serving.server import Address
from llm_assets.serving.worker import Worker
from tests.support.model_server import (
    LIMITS,
    GatedSteps,
    ModelServer,
    cancellations,
    model_server,
    script_tokens,
    write_checkpoint,
)
from tests.support.tiny_models import ENCODING

SPECIAL = ENCODING.special
CHAT, DOCUMENT = "chat/completions", "completions"
USER = {"role": "user", "content": "Hello there"}
CALL = {"type": "function", "function": {"name": "search", "arguments": '{"query": "a"}'}}
FUNCTION = {"type": "function", "function": {"name": "search"}}
RM = {"type": "function", "function": {"name": "rm"}}
CALLED = [USER, {"role": "assistant", "tool_calls": [CALL]}]
NAMELESS = [USER, {"role": "assistant", "tool_calls": [{"type": "function"}]}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with model_server(tmp_path_factory.mktemp("server"), memory=3 << 20) as running:
        yield running


def chat(**fields):
    return CHAT, {"messages": [USER], "max_tokens": 2, **fields}


def document(**fields):
    return DOCUMENT, {"prompt": "a", "max_tokens": 2, **fields}


# What is wrong, the request, the status, and a part of the message.
REFUSED = [
    ("a prompt of a megabyte", document(prompt="word " * 200_000), 400, "too long"),
    ("a message of a megabyte", chat(messages=[{"role": "user", "content": "x" * 1_000_000}]), 400, "too long"),
    ("a body above the limit", document(prompt="x" * (LIMITS.body_bytes + 1)), 413, "larger than"),
    ("a prompt one token too long", document(prompt=[65] * 257), 400, "too long"),
    ("many prompts", document(prompt=["a"] * 17), 400, "17 choices"),
    ("more choices than the server makes", chat(n=17), 400, "17 choices"),
    ("huge n", chat(n=10**9), 400, "n: "),
    ("n of 0", chat(n=0), 400, "n: "),
    ("negative n", document(n=-1), 400, "n: "),
    ("negative max_tokens", document(max_tokens=-1), 400, "max_tokens"),
    ("max_tokens above the limit", document(max_tokens=201), 400, "at most 200"),
    ("a number that is text", document(max_tokens="5"), 400, "max_tokens"),
    ("a number that is true", document(max_tokens=True), 400, "max_tokens"),
    ("negative temperature", document(temperature=-0.1), 400, "temperature"),
    ("temperature of 3", chat(temperature=3), 400, "temperature"),
    ("NaN", document(temperature=float("nan")), 400, "temperature"),
    ("infinity", document(temperature=float("inf")), 400, "temperature"),
    ("top_p above 1", chat(top_p=1.1), 400, "top_p"),
    ("a seed of 80 bits", chat(seed=1 << 80), 400, "seed"),
    ("top_logprobs without logprobs", chat(top_logprobs=2), 400, "logprobs"),
    ("logprobs of 1000", document(logprobs=1000), 400, "logprobs"),
    ("penalties", chat(presence_penalty=1.0), 400, "presence_penalty"),
    ("a logit bias", document(logit_bias={"5": 100}), 400, "logit_bias"),
    ("options of what may be a stream", chat(stream="maybe", stream_options={}), 400, "stream: must be true or false"),
    ("options of a stream without one", chat(stream_options={"include_usage": True}), 400, "if stream is true"),
    ("a web search", chat(web_search_options={}), 400, "web_search_options: not supported"),
    ("an unknown field", chat(voice="loud"), 400, "Unrecognized request argument supplied: voice"),
    ("1000 stops", document(stop=["a"] * 1000), 400, "stop"),
    ("no messages", chat(messages=[]), 400, "messages"),
    ("an unknown role", chat(messages=[{"role": "root", "content": "a"}]), 400, "role"),
    ("an empty message", chat(messages=[{"role": "user", "content": " "}]), 400, "empty user message"),
    ("nothing to answer", chat(messages=[USER, {"role": "assistant", "content": "a"}]), 400, "nothing left to answer"),
    ("a call by the user", chat(messages=[{**USER, "tool_calls": [CALL]}]), 400, "only the assistant calls tools"),
    ("two calls at once", chat(messages=[USER, {"role": "assistant", "tool_calls": [CALL] * 2}]), 400, "2 tool calls"),
    ("an image", chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, "must be text"),
    ("a call of a tool that no model knows", chat(tools=[RM], tool_choice="required"), 400, "search and python only"),
    ("a choice of a tool that no model knows", chat(tools=[RM], tool_choice=RM), 400, "search and python only"),
    ("more tools than OpenAI allows", chat(tools=[RM] * 129), 400, "tools"),
    ("a call without a result", chat(messages=[*CALLED, USER]), 400, "the result of a call was expected"),
    ("a result without a call", chat(messages=[USER, {"role": "tool", "content": "a"}]), 400, "tool where assistant"),
    ("a result of nothing", chat(messages=[*NAMELESS, {"role": "tool", "content": "a"}]), 400, "function's name"),
    ("a tool twice", chat(tools=[FUNCTION, {"type": "search"}]), 400, "twice"),
    ("a choice of no tool", chat(tool_choice={"type": "function", "function": {"name": "x"}}), 400, "not in tools"),
    ("JSON wanted", chat(response_format={"type": "json_object"}), 400, "response_format"),
    ("chat with a base model", chat(model="base"), 400, "not been trained on conversations"),
    ("an unknown model", chat(model="gpt-4"), 404, "no model 'gpt-4'"),
    ("a path as the model", document(model="../../etc"), 404, "no model"),
    ("an absolute path as the model", document(model="/etc/passwd"), 404, "no model"),
    ("a null byte in the model", document(model="chat\0"), 404, "no model"),
    ("a model's name of a megabyte", document(model="a" * 1_000_000), 400, "model"),
    ("the id of a special token", document(prompt=[65, SPECIAL["<|user_start|>"]]), 400, "not text"),
    ("BOS within a prompt", document(prompt=[65, SPECIAL["<|bos|>"]]), 400, "not text"),
    ("an id outside the vocabulary", document(prompt=[10**6]), 400, "not text"),
    ("a negative id", document(prompt=[-1]), 400, "not text"),
    ("ids and texts in one list", document(prompt=[1, "a"]), 400, "prompt"),
    ("an empty list of ids", document(prompt=[[]]), 400, "prompt"),
    ("echo in a stream", document(echo=True, stream=True), 400, "echo"),
    ("250,000 empty prompts", document(prompt=[[]] * 250_000), 400, "prompt"),
    ("100,000 ids and texts", document(prompt=[1, "a"] * 50_000), 400, "prompt"),
    ("a message of 300,000 numbers", chat(messages=[{"role": "user", "content": [1] * 300_000}]), 400, "content"),
    ("70,000 unknown fields", chat(**{f"x{number}": 1 for number in range(70_000)}), 400, "70,002 fields"),
    ("70,000 fields within", chat(stream_options={f"x{number}": 1 for number in range(70_000)}), 400, "fields"),
    ("half a surrogate pair", document(prompt="\ud800"), 400, "surrogate"),
]
JSON = {"Content-Type": "application/json"}
# Bodies and headers that no client library sends, with the status and a part of the message.
RAW = [
    ("invalid UTF-8", b'{"prompt": "\xff\xfe"}', JSON, 400, "not UTF-8"),
    ("no JSON", b"prompt=a", JSON, 400, "not JSON, from character 0 on"),
    ("a list", b"[1]", JSON, 400, "the body: must be an object"),
    ("nothing", b"", JSON, 400, "the body: missing"),
    (
        "JSON nested 100,000 deep",
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        JSON,
        400,
        "nested too deeply",
    ),
    ("a number of 10,000 digits", b'{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}", JSON, 400, "too many digits"),
    ("a form", b"prompt=a", {"Content-Type": "text/plain"}, 415, "must be JSON"),
    ("another host's name", b'{"prompt": "a"}', {**JSON, "Host": "evil.example"}, 403, "is not served"),
    (
        "another host's name after a user's",
        b'{"prompt": "a"}',
        {**JSON, "Host": "evil@localhost"},
        403,
        "is not served",
    ),
    ("an address that is not closed", b'{"prompt": "a"}', {**JSON, "Host": "[::1x"}, 403, "is not served"),
]


def assert_error(response, status, part=""):
    assert response.status_code == status, response.text[:300]
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"} and part in error["message"]
    assert len(error["message"]) < 1000


def test_the_table_has_40_rows():
    assert len(REFUSED) + len(RAW) >= 40


@pytest.mark.parametrize(("request_", "status", "part"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_wrong_request_is_refused(server, request_, status, part):
    path, body = request_
    data = json.dumps(body).encode()  # NaN and surrogates, which requests refuses to send
    assert_error(requests.post(f"{server.url}/v1/{path}", data=data, headers=JSON, timeout=120), status, part)


@pytest.mark.parametrize(("body", "headers", "status", "part"), [row[1:] for row in RAW], ids=[row[0] for row in RAW])
def test_bytes_that_are_no_request_are_refused(server, body, headers, status, part):
    assert_error(requests.post(f"{server.url}/v1/completions", data=body, headers=headers, timeout=120), status, part)


# Fields of a request, and the whole message, which names the field that is wrong.
MESSAGES = [
    (document(prompt=[]), "prompt: must not have fewer items than 1"),
    (document(prompt=[[]]), "prompt[0]: must not have fewer items than 1"),
    (document(prompt=5), "prompt: must be text, or must be a list"),
    (document(stop=["a"] * 17), "stop: must not have more items than 16"),
    (document(max_tokens="5"), "max_tokens: must be a whole number"),
    (document(temperature=3), "temperature: must be at most 2.0"),
    (document(temperature=float("nan")), "temperature: must be a finite number"),
    (document(logit_bias={"5": 1}), "logit_bias: not supported; leave it out"),
    (document(presence_penalty=-1), "presence_penalty: not supported; leave it out"),
    (document(suffix="a"), "suffix: not supported; leave it out"),
    (document(best_of=2), "best_of: must be 1"),
    (chat(messages=None), "messages: must be a list"),
    (chat(messages=[1]), "messages[0]: must be an object"),
    (chat(messages=[{"content": "a"}]), "messages[0].role: missing"),
    (chat(messages=[{"role": "user", "content": [1]}]), "messages[0].content[0]: must be an object"),
    (chat(tools=[{"type": "web_search"}]), "tools[0].type: must be 'function', or must be 'search' or 'python'"),
    (chat(tools=[{"type": "function", "function": {}}]), "tools[0].function.name: missing"),
    (
        chat(tools=[{"type": "function", "function": {"name": "a", "x": 1}}]),
        "Unrecognized request argument supplied: tools[0].function.x",
    ),
    (chat(tool_choice="all"), "tool_choice: must be 'none', 'auto' or 'required'"),
    (chat(stream=1), "stream: must be true or false"),
]


@pytest.mark.parametrize(("request_", "message"), MESSAGES, ids=[message for _, message in MESSAGES])
def test_errors_of_fields_are_in_the_words_of_the_api(server, request_, message):
    path, body = request_
    response = requests.post(f"{server.url}/v1/{path}", data=json.dumps(body), headers=JSON, timeout=120)
    assert_error(response, 400)
    error = response.json()["error"]
    assert error["message"] == message and error["param"] in message


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models"])
def test_head_has_the_headers_of_get(server, path):
    head, got = requests.head(f"{server.url}{path}", timeout=60), server.get(path)
    assert head.status_code == got.status_code == 200 and not head.content
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


def test_a_wrong_method_is_told_the_right_ones(server):
    response = requests.put(f"{server.url}/v1/completions", json={}, timeout=60)
    assert_error(response, 405, "PUT /v1/completions")
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/completions", 405),
        ("GET", "/v1/../../etc/passwd", 404),
        ("GET", "/v1/models/..%2f..%2fetc", 404),
        ("GET", "/v1/models/", 404),
    ],
)
def test_other_paths_and_methods_have_bodies_of_the_api(server, method, path, status):
    assert_error(requests.request(method, f"{server.url}{path}", timeout=120), status)


@pytest.mark.parametrize("host", ["LOCALHOST", "127.0.0.1:80", "[::1]", "[::1]:80"])
def test_every_way_to_write_this_machine_is_served(server, host):
    assert server.post(*document(), headers={"Host": host}).status_code == 200


def test_the_address_that_a_server_listens_on_is_served():
    checks = RequestChecks(None, LIMITS, host="127.0.0.2")
    headers = {"host": "127.0.0.2:8000", "content-type": "application/json"}
    checks._check({"path": "/v1/models", "method": "GET", "query_string": b""}, headers)


LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("path", "changes", "is_served"),
    [
        ("/", {}, True),
        ("/", {"sec-fetch-dest": "iframe"}, False),
        ("/", {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, False),
        ("/api/data/documents", {}, False),
        ("/api/rank", {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, False),
        ("/api/data/documents", {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, True),
        ("/v1/models", {"sec-fetch-site": "none"}, True),
    ],
)
def test_pages_of_other_websites_make_no_requests(server, path, changes, is_served):
    response = server.get(path, headers={**LINK, **changes})
    assert (response.status_code != 403) == is_served
    if not is_served:
        assert_error(response, 403, "another website")


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (CompletionRequest, {"prompt": [[]] * 1000}),
        (CompletionRequest, {"prompt": [1, "a"] * 1000}),
        (CompletionRequest, {"stop": [1] * 1000}),
        (CompletionRequest, {f"x{number}": 1 for number in range(1000)}),
        (ChatRequest, {"messages": [1] * 1000}),
        (ChatRequest, {"messages": [{"role": "user", "content": [1] * 1000}]}),
        (ChatRequest, {"messages": [USER], "logit_bias": {f"x{number}": "a" for number in range(1000)}}),
    ],
)
def test_a_wrong_body_has_few_errors(model, body):
    """Pydantic keeps each error in memory: a megabyte of them took a gigabyte and stopped the server for seconds."""
    with pytest.raises(ValidationError) as error:
        model.model_validate(body)
    assert error.value.error_count() < 10


def test_names_of_special_tokens_are_text(server):
    text = "<|user_end|><|assistant_start|><|bos|>"
    for path, body in (document(prompt=text), chat(messages=[{"role": "user", "content": text}])):
        plain = len(ENCODING.encode(text if path == DOCUMENT else f" {text}"))
        answer = server.post(path, body).json()
        assert answer["usage"]["prompt_tokens"] == plain + (1 if path == DOCUMENT else 4)


@pytest.fixture
def open_files():
    """Room for 2,000 open files: each connection has one at both of its ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2_000:
        if hard != resource.RLIM_INFINITY and hard < 2_000:
            pytest.skip(f"a process may open {hard} files here, and 500 connections need 1,000")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("open_files")
def test_500_requests_at_once_are_answered_or_told_to_come_back(server, monkeypatch):
    """No step is sampled before all have come, so that it is known how many fit."""
    server.post(*document())  # loads the model
    server.wait_until_idle()
    steps, come, submit = GatedSteps(monkeypatch), threading.Semaphore(0), Worker.submit

    def counted(worker, job):
        try:
            submit(worker, job)
        finally:
            come.release()

    monkeypatch.setattr(Worker, "submit", counted)
    with contextlib.ExitStack() as stack:
        opened = [http.client.HTTPConnection("127.0.0.1", server.address.port, timeout=300) for _ in range(500)]
        for client in opened:
            stack.callback(client.close)
            client.request("POST", "/v1/completions", json.dumps(document()[1]), JSON)
        assert all(come.acquire(timeout=60) for _ in opened)
        steps.allow()
        answers = [client.getresponse() for client in opened]
        fitting = LIMITS.sequences + LIMITS.queue
        assert Counter(answer.status for answer in answers) == {200: fitting, 429: 500 - fitting}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers if answer.status == 429)
    server.wait_until_idle()
    assert server.post(*document()).status_code == 200


def test_lists_of_models_for_which_too_many_wait_are_refused(server, monkeypatch):
    may_end = threading.Event()
    monkeypatch.setattr(app, "_listed_models", lambda _: may_end.wait(60) and [])
    with ThreadPoolExecutor(60) as threads:
        answers = [threads.submit(server.get, "/v1/models") for _ in range(60)]
        assert next(as_completed(answers)).result().status_code == 429
        assert server.post(*document()).status_code == 200
        may_end.set()
        assert {answer.result().status_code for answer in answers} == {200, 429}


def connection(server, body, announced):
    """A socket on which a request has been begun."""
    opened = socket.create_connection(("127.0.0.1", server.address.port), timeout=120)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {announced}\r\n"
    opened.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
    return opened


def test_a_body_that_does_not_arrive_ends_the_request(server):
    with connection(server, b'{"prompt"', 500) as slow:
        assert server.post(*document()).status_code == 200
        assert b" 408 " in slow.recv(4096).split(b"\r\n")[0]


def test_a_reader_of_one_byte_at_a_time_holds_up_nobody(server):
    body = json.dumps({"prompt": "a", "max_tokens": 200, "n": 4, "stream": True, "logprobs": 20}).encode()
    with connection(server, body, len(body)) as slow:
        assert slow.recv(1) == b"H"
        server.wait_until_idle()  # its answer is sampled, whether it is read or not
        assert server.post(*document()).status_code == 200


def test_an_answer_that_nobody_reads_is_dropped():
    sent = []

    async def app(scope, receive, send):
        while True:
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
            sent.append(1)

    async def send(_):
        await asyncio.sleep(0 if len(sent) < 3 else 60)

    async def receive():
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/health", "headers": [(b"host", b"localhost")]}
    checks = RequestChecks(app, replace(LIMITS, send_seconds=0.05))
    asyncio.run(asyncio.wait_for(checks(scope, receive, send), 30))
    assert len(sent) == 3


def test_a_client_that_vanishes_before_its_answer_is_forgotten(server, monkeypatch):
    steps, cancelled = GatedSteps(monkeypatch), cancellations(monkeypatch)
    script_tokens(monkeypatch, [65] * 200)
    body = json.dumps({"prompt": "a", "max_tokens": 200, "n": 16}).encode()
    with connection(server, body, len(body)):
        while not server.get("/health").json()["answering"]:
            time.sleep(0.01)
    assert cancelled.wait(60)
    steps.allow()
    server.wait_until_idle()
    assert steps.count <= 1  # which may have been about to begin


def test_a_checkpoint_that_is_deleted_while_in_use_ends_only_new_requests(server, tmp_path):
    folder = write_checkpoint(tmp_path / "doomed", is_chat=False)
    server.folders["doomed"] = folder
    body = document(model="doomed", max_tokens=150, n=8, stream=True)
    with server.post(*body, stream=True) as response:
        lines = response.iter_lines()
        next(lines)
        shutil.rmtree(folder)
        assert_error(server.post(*document(model="doomed")), 404, "deleted")
        assert [line for line in lines if line][-1] == b"data: [DONE]"
    assert server.post(*document()).status_code == 200


def test_models_that_do_not_fit_into_memory_together_take_turns(server, tmp_path):
    """Each has 0.9 MB of weights, and 3 MB are allowed."""
    for number in range(4):
        name = f"model{number}"
        server.folders[name] = write_checkpoint(tmp_path / name, seed=number, is_chat=False)
        assert server.post(*document(model=name)).status_code == 200
    size = next(iter(server.service.worker.pool.models.values())).size
    assert server.get("/health").json()["models"] == (3 << 20) // size
    (tmp_path / "broken").mkdir()
    shutil.copytree(tmp_path / "model0", tmp_path / "broken", dirs_exist_ok=True)
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    server.folders["broken"] = tmp_path / "broken"
    refused = server.post(*document(model="broken"))
    assert_error(refused, 404, "not a language model")
    assert str(tmp_path) not in refused.text


@pytest.mark.parametrize("fields", [{"echo": True, "logprobs": 0, "max_tokens": 0}, {"max_tokens": 1}])
def test_many_long_prompts_are_read_between_the_steps_of_other_users(server, monkeypatch, fields):
    server.post(*document(model="base"))  # loads it
    done, step = [], Decoder.step
    for owner, name in ((Engine, "token_likelihoods"), (CachedModel, "prefill")):
        read = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given, read=read: done.append("read") or read(*given))
    # The other user's answer takes some seconds, so that the prompts are read meanwhile.
    monkeypatch.setattr(Decoder, "step", lambda decoder: done.append("step") or time.sleep(0.02) or step(decoder))
    monkeypatch.setattr(worker, "READ_TOKENS", 256)
    script_tokens(monkeypatch, [65] * 200)
    with server.post(*chat(max_tokens=200, stream=True), stream=True) as response:
        lines = response.iter_lines()
        next(lines)
        done.clear()
        answer = server.post(*document(model="base", prompt=[[65] * 200] * 12, **fields))
        assert answer.status_code == 200 and len(answer.json()["choices"]) == 12
        assert done.count("read") == 12 and "read read" not in " ".join(done)
    server.wait_until_idle()


def test_copies_of_a_prompt_are_read_once(server, monkeypatch):
    sizes, prefill = [], CachedModel.prefill
    monkeypatch.setattr(CachedModel, "prefill", lambda model, given: sizes.append(len(given)) or prefill(model, given))
    assert len(server.post(*document(prompt=["a b", "c d"], n=8)).json()["choices"]) == 16
    assert sizes == [2]


def test_scoring_prompts_ends_at_the_time_limit(tmp_path, monkeypatch):
    folders, scored = {"base": write_checkpoint(tmp_path / "base", is_chat=False)}, []
    score = Engine.token_likelihoods
    monkeypatch.setattr(
        Engine, "token_likelihoods", lambda *given: scored.append(1) or time.sleep(0.3) or score(*given)
    )
    monkeypatch.setattr(worker, "READ_TOKENS", 1)
    with ModelServer(folders, replace(LIMITS, seconds=0.6)) as server:
        body = document(prompt=[[65, 65]] * 16, echo=True, logprobs=0, max_tokens=0)
        server.post(*document())  # loads the model
        assert_error(server.post(*body), 503, "longer than 0.6 seconds")
        assert len(scored) < 16


def test_a_request_that_takes_too_long_ends(tmp_path):
    folders = {"base": write_checkpoint(tmp_path / "base", is_chat=False)}
    with ModelServer(folders, replace(LIMITS, seconds=0.001)) as server:
        answer = server.post(*document())
        assert_error(answer, 503, "longer than 0.001 seconds")
        assert answer.headers["x-should-retry"] == "false" and "Retry-After" not in answer.headers


def test_a_model_above_the_memory_is_the_requests_fault(tmp_path):
    folders = {"base": write_checkpoint(tmp_path / "base", is_chat=False)}
    with ModelServer(folders, replace(LIMITS, memory=1000)) as server:
        assert_error(server.post(*document()), 400, "at most 1,000 (--memory)")


def test_a_key_is_required_where_one_is_set(tmp_path):
    folders = {"base": write_checkpoint(tmp_path / "base", is_chat=False)}
    with ModelServer(folders, key="secret") as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            assert_error(server.post(*document(), headers=headers), 401, "key")
        behind_proxy = {"Authorization": "Bearer secret", "Host": "models.example.org"}
        assert server.post(*document(), headers=behind_proxy).status_code == 200
        for path in ("/health", "/", "/page/app.js"):  # nothing of the users' or the models'
            assert server.get(path).status_code == 200
        for path in ("/v1/models", "/openapi.json", "/page/%2e%2e/v1/models", "/page"):
            assert server.get(path, allow_redirects=False).status_code != 200
        assert_error(requests.post(f"{server.url}/api/tokenize", json={"text": "a"}, timeout=60), 401, "key")
        answer = server.get("/v1/models", headers={"Authorization": "Bearer secret", "Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        body, path = {"path": "api/data/raw", "query": "crawl=c"}, "/api/data/raw?crawl=c"
        assert_error(requests.post(f"{server.url}/api/frame", json=body, timeout=60), 401, "key")
        signed = requests.post(f"{server.url}/api/frame", json=body, headers=behind_proxy, timeout=60).json()["address"]
        assert server.get(path).status_code == 401 and server.get(f"/{signed}").status_code == 404  # without a store


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_another_address_needs_a_key(host):
    with pytest.raises(ValueError, match="give them a key"):
        Address(host).check()
    Address(host, key="secret").check()
    for local in ("127.0.0.1", "localhost", "::1"):
        Address(local).check()


def test_the_command_listens_on_another_address_only_with_a_key(tmp_path, monkeypatch):
    class Listens(Exception):
        pass

    def listen(address):
        raise Listens

    monkeypatch.setattr(Address, "listen", listen)
    words = ["serve", str(write_checkpoint(tmp_path / "base", is_chat=False)), "--host", "0.0.0.0"]
    with pytest.raises(ValueError, match="give them a key with --key or the variable LLM_ASSETS_KEY"):
        CliRunner().invoke(cli, words, catch_exceptions=False)
    for options in ({"args": [*words, "--key", "secret"]}, {"args": words, "env": {"LLM_ASSETS_KEY": "secret"}}):
        with pytest.raises(Listens):
            CliRunner().invoke(cli, **options, catch_exceptions=False)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),  # what stands for all addresses cannot be opened
        ("::", "http://[::1]:80"),
        ("example.org", "http://example.org:80"),
    ],
)
def test_the_address_that_is_printed_can_be_opened(host, url):
    assert Address(host, key="secret").url(80) == url


def test_a_key_that_no_header_can_hold_is_refused():
    for key in ("zwölf", "two words", "line\nbreak"):
        with pytest.raises(ValueError, match="printable ASCII"):
            Address(key=key).check()


def test_a_port_that_is_taken_is_an_error():
    with Address(port=0).listen() as taken, pytest.raises(ValueError, match="cannot listen on"):
        Address(port=taken.getsockname()[1]).listen()
