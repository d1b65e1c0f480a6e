"""What a request does in the worker touches no other: calls at the limits, failures, and models that have diverged."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from llm_assets.model.cache import KeyValueCache
from llm_assets.model.chat import encode_text
from llm_assets.model.decoding import Decoder
from llm_assets.model.encoding import Encoding
from llm_assets.model.prefill import CachedModel
from llm_assets.model.sampling import Engine
from llm_assets.serving import worker
from llm_assets.serving.errors import ApiError
from llm_assets.serving.generation import Generation
from llm_assets.serving.jobs import Job
from llm_assets.serving.limits import Limits
from llm_assets.serving.pool import LoadedModel, ModelPool
from llm_assets.serving.worker import Worker
from tests.support.model_server import SHAPE, model_server, script_tokens, write_checkpoint
from tests.support.scripted_engine import call_tokens
from tests.support.tiny_models import ENCODING, random_model

SPECIAL = ENCODING.special
QUESTION = [{"role": "user", "content": "Who lives in the town?"}]
PYTHON = [{"type": "python"}]


class Panic(BaseException):
    """As pyo3_runtime.PanicException of a library in Rust."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with model_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def answer(server, **fields):
    """The only choice of a chat answer."""
    response = server.post("chat/completions", {"messages": QUESTION, **fields})
    assert response.status_code == 200, response.text
    [choice] = response.json()["choices"]
    return choice


def text_tokens(text):
    return encode_text(ENCODING, text)


def test_a_call_with_the_last_allowed_token_is_not_made(server, monkeypatch):
    script = [*text_tokens("I add."), *call_tokens("python", "2+3")]
    script_tokens(monkeypatch, [*script, *text_tokens("It is 5.")])
    choice = answer(server, tools=PYTHON, max_tokens=len(script))
    assert choice["finish_reason"] == "length" and "server_tool_calls" not in choice["message"]
    assert choice["message"]["content"] == "I add."  # a whole call is no text for the user
    assert "server_tool_calls" in answer(server, tools=PYTHON, max_tokens=len(script) + 5)["message"]
    function = [{"type": "function", "function": {"name": "python"}}]
    assert answer(server, tools=function, max_tokens=len(script))["finish_reason"] == "tool_calls"


def test_a_malformed_call_at_a_limit_ends_the_answer(server, monkeypatch):
    malformed = [*text_tokens("a b c"), SPECIAL["<|python_end|>"]]
    script_tokens(monkeypatch, [*malformed, *text_tokens("d")])
    assert answer(server, tools=PYTHON, max_tokens=len(malformed))["finish_reason"] == "length"
    assert answer(server, tools=PYTHON, max_tokens=50)["message"]["content"] == "a b c d"


def test_a_malformed_call_at_the_end_of_the_context_ends_the_answer(server, monkeypatch):
    body = {"messages": [{"role": "user", "content": "a b c d e " * 12}], "tools": PYTHON}
    used = server.post("chat/completions", {**body, "max_tokens": 1}).json()["usage"]["prompt_tokens"]
    script = [65] * (SHAPE.context - used) + [SPECIAL["<|python_end|>"]]  # one more than the context holds
    assert len(script) < 200
    script_tokens(monkeypatch, script)
    assert answer(server, **body, max_tokens=200)["finish_reason"] == "length"


def test_a_stop_text_at_the_last_allowed_token_is_a_stop(server, monkeypatch):
    script = text_tokens("one two")
    script_tokens(monkeypatch, script)
    choice = answer(server, max_tokens=len(script), stop="two")
    assert choice["finish_reason"] == "stop" and choice["message"]["content"] == "one "


@pytest.mark.parametrize("tools", [None, [{"type": "search"}]])
def test_a_call_that_was_not_offered_ends_the_turn(server, monkeypatch, tools):
    script_tokens(monkeypatch, [*text_tokens("I add."), *call_tokens("python", "2+3"), *text_tokens("invented")])
    choice = answer(server, tools=tools, max_tokens=50, logprobs=True)
    assert choice["message"]["content"] == "I add." and choice["finish_reason"] == "stop"
    assert "".join(token["token"] for token in choice["logprobs"]["content"]) == " I add."


def test_scores_are_those_of_the_tokens_that_are_shown(server, monkeypatch):
    script_tokens(monkeypatch, [*text_tokens("I add."), *call_tokens("python", "2+3"), *text_tokens("Five.")])
    choice = answer(server, tools=PYTHON, max_tokens=50, logprobs=True)
    shown = "".join(token["token"] for token in choice["logprobs"]["content"])
    assert shown == " I add. Five." == f" {choice['message']['content']}"


def test_a_prompt_is_scored_once_for_all_its_choices(server, monkeypatch):
    read = []
    scores = Engine.token_likelihoods
    monkeypatch.setattr(Engine, "token_likelihoods", lambda *given: read.append(1) or scores(*given))
    body = {"prompt": ["a b", "c d"], "n": 3, "echo": True, "logprobs": 1, "max_tokens": 1, "model": "base"}
    choices = server.post("completions", body).json()["choices"]
    assert len(read) == 2 and [choice["text"][:3] for choice in choices] == ["a b"] * 3 + ["c d"] * 3
    assert choices[0]["logprobs"]["token_logprobs"][:2] == choices[2]["logprobs"]["token_logprobs"][:2]


def test_a_panic_of_a_library_fails_only_its_request(server, monkeypatch):
    def panic(*_):
        raise Panic

    with monkeypatch.context() as patch:
        patch.setattr(Encoding, "document", panic)
        assert server.post("completions", {"prompt": "a", "max_tokens": 1}).status_code == 500
        patch.undo()
        failed = []
        patch.setattr(Worker, "_fail_all", lambda *_: failed.append(1))
        for name in ("take", "closed_call"):
            with monkeypatch.context() as another:
                another.setattr(Generation, name, panic)
                assert server.post("completions", {"prompt": "a", "max_tokens": 1}).status_code == 500
        assert not failed
        patch.undo()
        patch.setattr(Worker, "_admit", panic)
        assert server.post("completions", {"prompt": "a", "max_tokens": 1}).status_code == 500
    assert server.post("completions", {"prompt": "a", "max_tokens": 1}).status_code == 200
    assert server.get("/health").status_code == 200


def test_a_tools_result_that_cannot_be_taken_fails_only_its_request(server, monkeypatch):
    def panic(*_):
        raise Panic

    failed = []
    script_tokens(monkeypatch, [*text_tokens("I add."), *call_tokens("python", "2+3"), *text_tokens("It is 5.")])
    monkeypatch.setattr(Worker, "_fail_all", lambda *_: failed.append(1))
    monkeypatch.setattr(Generation, "answer", panic)
    response = server.post("chat/completions", {"messages": QUESTION, "tools": PYTHON})
    assert response.status_code == 500 and "a tool's result could not be taken" in response.text
    assert not failed and answer(server)["message"]["content"].startswith("I add.")


def test_an_answer_may_be_empty(server, monkeypatch):
    script_tokens(monkeypatch, [])
    choice = answer(server, tools=PYTHON)
    assert choice["message"]["content"] == "" and choice["finish_reason"] == "stop"


def test_the_memory_of_answers_is_freed_while_nothing_else_is_asked(server):
    answer(server, max_tokens=3)
    server.wait_until_idle()
    assert not any(model.decoder.rows for model in server.service.worker.pool.models.values())


def test_a_worker_that_ends_fails_its_requests_and_accepts_no_more(monkeypatch, tmp_path):
    def end(_):
        raise Panic

    worker, events = Worker(ModelPool(1, "cpu"), Limits()), []
    monkeypatch.setattr(Worker, "_receive", end)
    monkeypatch.setattr(Worker, "_fail_all", lambda self, error, fail=Worker._fail_all: _fail_once(self, error, fail))
    job = Job(lambda model: [], tmp_path, 1, events.extend, time.monotonic() + 60, False)
    worker._inbox.put(lambda: worker._waiting.append(job))
    worker.start()
    worker._thread.join(30)
    assert [event.status for event in events] == [503]
    with pytest.raises(ApiError, match="must be started again"):
        worker.submit(job)


def _fail_once(worker, error, fail):
    """Fails where the failure of a turn is handled, so that the thread ends."""
    if error.status == 500:
        raise Panic
    fail(worker, error)


@pytest.mark.parametrize("name", ["next_logits", "prefill"])
def test_a_step_that_fails_fails_its_requests_instead_of_losing_a_token(server, monkeypatch, name):
    """Reading the last step's tokens (next_logits) fails the batch; reading a new prompt fails only the newcomer."""
    body = {"prompt": "a b", "max_tokens": 30, "temperature": 0, "model": "base"}
    expected = server.post("completions", body).json()["choices"][0]["text"]
    engine = server.engine("base")
    decoder = Decoder(engine.cached, engine.encoding)
    model = LoadedModel(None, engine, False, 1, (0, 0), decoder, None)
    worker = Worker(ModelPool(1, "cpu"), Limits())
    jobs = [started_job(worker, model, body) for _ in range(2)]
    worker._join(jobs[0].generations)
    for _ in range(3):
        worker._step(model)

    def out_of_memory(*_):
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(CachedModel, name, out_of_memory)
        worker._join(jobs[1].generations)
    while not all(row.ended for row in model.decoder.rows):
        worker._step(model)
    assert jobs[1].events[-1].status == 500
    if name == "next_logits":
        assert jobs[0].events[-1].status == 500 and not model.decoder.rows
    else:
        assert "".join(event.text for event in jobs[0].events[1:-1]) == expected


def started_job(worker, model, body):
    """A job whose prompts have been prepared by a worker that is not running, and its events."""
    from llm_assets.serving.prompts import completion_prompts
    from llm_assets.serving.protocol import CompletionRequest

    events = []
    prepare = completion_prompts(CompletionRequest.model_validate(body), Limits())
    job = Job(prepare, None, 1, events.extend, time.monotonic() + 600, False)
    worker._prepare(job, model)
    return SimpleNamespace(generations=worker._jobs[job], events=events)


def test_an_error_while_sequences_join_leaves_the_batch_as_it_was(monkeypatch):
    engine = Engine(random_model(SHAPE), ENCODING)
    decoder = Decoder(engine.cached, ENCODING)
    from llm_assets.model.decoding import Row
    from llm_assets.model.sampling import Sampling

    def row(number):
        return Row(number, Sampling(max_tokens=5, temperature=0), np.zeros(5))

    def out_of_memory(*_):
        raise torch.OutOfMemoryError("no memory")

    with engine.inference():
        decoder.add([[1, 2, 3]], [row(0)])
        monkeypatch.setattr(KeyValueCache, "append", out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            decoder.add([[4, 5]], [row(1)])
        assert [row.sequence for row in decoder.rows] == [0] and len(decoder.logits) == len(decoder.lengths) == 1
        assert len(decoder.step()) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": "a b", "max_tokens": 5},
        {"prompt": "a b", "max_tokens": 0, "echo": True, "logprobs": 1},
        {"prompt": "a b", "max_tokens": 5, "temperature": 0},
    ],
)
def test_a_model_that_has_diverged_is_said_to_have(server, monkeypatch, body):
    logits = CachedModel.logits
    with monkeypatch.context() as patch:
        patch.setattr(CachedModel, "logits", lambda *given, **options: logits(*given, **options) * torch.nan)
        refused = server.post("completions", {**body, "model": "base"})
        assert refused.status_code == 500 and "training has diverged" in refused.json()["error"]["message"]
        assert refused.headers["x-should-retry"] == "false"
    assert server.post("completions", {**body, "model": "base"}).status_code == 200


def test_other_models_answer_while_one_is_loaded(server, monkeypatch, tmp_path):
    server.folders["slow"] = write_checkpoint(tmp_path / "slow", seed=7, is_chat=False)
    body, load, may_load = {"prompt": "a b", "max_tokens": 3}, ModelPool._load, threading.Event()

    def load_slowly(pool, folder, version):
        assert folder.name != "slow" or may_load.wait(60)
        return load(pool, folder, version)

    monkeypatch.setattr(ModelPool, "_load", load_slowly)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(server.post, "completions", {**body, "model": "slow"})
        while not server.get("/health").json()["waiting"]:
            time.sleep(0.01)
        assert server.post("completions", {**body, "model": "base"}).status_code == 200
        assert not slow.done()
        may_load.set()
        assert slow.result().status_code == 200


def test_sequences_are_admitted_by_count():
    """Those that have just joined have not allocated their keys and values, so free memory does not show them."""
    engine = SimpleNamespace(on_gpu=True, fitting_batch=lambda prompts, _: 10, shape=SHAPE, encoding=ENCODING)
    model = LoadedModel(None, engine, False, 1, (0, 0), None, None)
    assert model.has_room(64)  # an empty batch takes any
    model.generations = dict.fromkeys(range(8))
    assert model.has_room(2) and not model.has_room(3)
    engine.on_gpu, model.generations = False, {}
    assert model.has_room(1) and 1 <= model.capacity <= 256


def test_a_stream_has_no_line_ends_of_unicode(server, monkeypatch):
    script_tokens(monkeypatch, text_tokens("a\u2028b\u2029c\u0085d"))
    body = {"messages": QUESTION, "max_tokens": 50, "stream": True}
    response = server.post("chat/completions", body)
    assert response.content.isascii() and rb"\u2028" in response.content


def test_what_takes_long_is_computed_with_all_cores(monkeypatch):
    monkeypatch.setattr(worker, "cores", lambda: 3)
    sizes = [(1 << 30, 1), (1 << 22, 1), (1 << 22, 32), (1 << 22, 80)]
    assert [worker.worthwhile_threads(size, tokens) for size, tokens in sizes] == [3, 1, 1, 3]
