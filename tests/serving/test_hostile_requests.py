"""Requests that are wrong, too large, too many or too slow: each gets its status and a message, and the next request is
answered as if they had not been there.
"""

import asyncio
import json
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests
from pydantic import ValidationError

from llm_assets.serving.protocol import ChatRequest, CompletionRequest
from llm_assets.serving.request_checks import RequestChecks
from llm_assets.serving.server import Address
from tests.support.model_server import LIMITS, ModelServer, model_server, write_checkpoint
from tests.support.tiny_models import ENCODING

SPECIAL = ENCODING.special
CHAT, DOCUMENT = "chat/completions", "completions"
USER = {"role": "user", "content": "Hello there"}
CALL = {"type": "function", "function": {"name": "search", "arguments": '{"query": "a"}'}}
FUNCTION = {"type": "function", "function": {"name": "search"}}


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
    ("an unknown field", chat(voice="loud"), 400, "Unrecognized request argument supplied: voice"),
    ("1000 stops", document(stop=["a"] * 1000), 400, "stop"),
    ("no messages", chat(messages=[]), 400, "messages"),
    ("an unknown role", chat(messages=[{"role": "root", "content": "a"}]), 400, "role"),
    ("an empty message", chat(messages=[{"role": "user", "content": " "}]), 400, "empty user message"),
    ("nothing to answer", chat(messages=[USER, {"role": "assistant", "content": "a"}]), 400, "nothing left to answer"),
    ("a call by the user", chat(messages=[{**USER, "tool_calls": [CALL]}]), 400, "only the assistant calls tools"),
    ("two calls at once", chat(messages=[USER, {"role": "assistant", "tool_calls": [CALL] * 2}]), 400, "2 tool calls"),
    ("an image", chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, "must be text"),
    ("a tool that no model knows", chat(tools=[{"type": "function", "function": {"name": "rm"}}]), 400, "'rm'"),
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
# Bodies and headers that no client library sends.
RAW = [
    ("invalid UTF-8", b'{"prompt": "\xff\xfe"}', JSON, 400),
    ("no JSON", b"prompt=a", JSON, 400),
    ("a list", b"[1]", JSON, 400),
    ("nothing", b"", JSON, 400),
    ("JSON nested 100,000 deep", b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON, 400),
    ("a number of 10,000 digits", b'{"prompt": "a", "seed": ' + b"9" * 10_000 + b"}", JSON, 400),
    ("a form", b"prompt=a", {"Content-Type": "text/plain"}, 415),
    ("another host's name", b'{"prompt": "a"}', {**JSON, "Host": "evil.example"}, 403),
    ("another host's name after a user's", b'{"prompt": "a"}', {**JSON, "Host": "evil@localhost"}, 403),
    ("an address that is not closed", b'{"prompt": "a"}', {**JSON, "Host": "[::1x"}, 403),
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


@pytest.mark.parametrize(("body", "headers", "status"), [row[1:] for row in RAW], ids=[row[0] for row in RAW])
def test_bytes_that_are_no_request_are_refused(server, body, headers, status):
    assert_error(requests.post(f"{server.url}/v1/completions", data=body, headers=headers, timeout=120), status)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/completions", 405), ("GET", "/v1/../../etc/passwd", 404), ("GET", "/v1/models/..%2f..%2fetc", 404)],
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


def test_500_requests_at_once_are_answered_or_told_to_come_back(server):
    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(lambda _: server.post(*document()), range(500)))
    assert {answer.status_code for answer in answers} <= {200, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
    server.wait_until_idle()
    assert server.post(*document()).status_code == 200


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


def test_a_client_that_vanishes_before_its_answer_is_forgotten(server):
    body = json.dumps({"prompt": "a", "max_tokens": 200, "n": 16}).encode()
    connection(server, body, len(body)).close()
    server.wait_until_idle()


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
    assert_error(server.post(*document(model="broken")), 404, "not a language model")


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
