"""A server of the API with a tiny random chat model and a base model, on a free port."""

import contextlib
import json
import threading
import time
from dataclasses import replace

import requests

from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.checkpoint import load_checkpoint, save_model
from llm_assets.model.decoding import Decoder
from llm_assets.model.sampling import Engine
from llm_assets.model.shape import ModelShape
from llm_assets.serving.checkpoints import Checkpoints
from llm_assets.serving.jobs import Job
from llm_assets.serving.limits import Limits
from llm_assets.serving.server import Address, open_service, uvicorn_server
from tests.support.ports import free_port
from tests.support.tiny_models import ENCODING, random_model

SHAPE = ModelShape.of_depth(2, 500, 256, width=64)
CHOOSE = Decoder._choose
LIMITS = Limits(body_seconds=3.0, max_tokens=200, seconds=300.0, sequences=16, queue=40)


def write_checkpoint(folder, shape=SHAPE, seed=1, is_chat=True):
    """A checkpoint with random weights."""
    folder.mkdir(parents=True)
    save_model(random_model(shape, seed), folder)
    ENCODING.save(folder)
    if is_chat:
        (folder / ASSISTANT).write_text(json.dumps({"name": "Tiny", "maker": "a test", "tools": ["python", "search"]}))
    return folder


def add(program):
    """A Python tool that adds two digits."""
    left, _, right = program.partition("+")
    return str(int(left) + int(right))


TOOLS = {"python": add, "search": lambda query: f"about {query}"}


class ModelServer:
    """A running server. folders: of its checkpoints, by name; the first is the default. service: that it offers."""

    def __init__(self, folders, limits=LIMITS, tools=TOOLS, workspace=None, settings=None, **address):
        self.folders = folders
        self.address = Address(port=free_port(), **address)
        checkpoints = Checkpoints(workspace, folders, next(iter(folders), None))
        self.service = open_service(checkpoints, tools, limits, self.address)
        if settings is not None:
            self.service = replace(self.service, settings=settings)
        self.server = uvicorn_server(self.service, self.address)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        deadline = time.monotonic() + 60
        while not self.server.started:
            assert self.thread.is_alive() and time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        return self

    def __exit__(self, *error):
        self.server.should_exit = True
        self.thread.join(30)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.address.port}"

    def post(self, path, body, **options):
        return requests.post(f"{self.url}/v1/{path}", json=body, timeout=300, **options)

    def get(self, path, **options):
        return requests.get(f"{self.url}{path}", timeout=300, **options)

    def engine(self, name="chat"):
        """An engine of its own with the weights of a checkpoint."""
        return Engine(*load_checkpoint(self.folders[name]))

    def wait_until_idle(self, seconds=120):
        """Return once no request is waiting or being answered."""
        deadline = time.monotonic() + seconds
        while any(self.get("/health").json()[name] for name in ("waiting", "answering")):
            assert time.monotonic() < deadline, "requests are still being answered"
            time.sleep(0.02)


@contextlib.contextmanager
def model_server(folder, **changes):
    """A server of a chat model and a base model in a folder. changes: of the limits."""
    folders = {
        "chat": write_checkpoint(folder / "chat"),
        "base": write_checkpoint(folder / "base", seed=2, is_chat=False),
    }
    with ModelServer(folders, replace(LIMITS, **changes)) as server:
        yield server


def script_tokens(monkeypatch, script, encoding=ENCODING):
    """Let every sequence sample these tokens, and then the end of the turn. encoding: of the models that are asked.

    None in a script is the token that the decoder itself chooses.
    """
    import torch

    end = encoding.special["<|assistant_end|>"]

    def choose(decoder):
        scripted = [script[row.step] if row.step < len(script) else end for row in decoder.rows]
        chosen = CHOOSE(decoder).tolist()
        return torch.tensor([new if token is None else token for token, new in zip(scripted, chosen, strict=True)])

    monkeypatch.setattr(Decoder, "_choose", choose)


class GatedSteps:
    """Lets sampling go on by so many steps as it is allowed. count: of the steps so far."""

    def __init__(self, monkeypatch):
        self.count, self._allowed, step = 0, threading.Semaphore(0), Decoder.step

        def gated(decoder):
            assert self._allowed.acquire(timeout=120), "no step was allowed for two minutes"
            self.count += 1
            return step(decoder)

        monkeypatch.setattr(Decoder, "step", gated)

    def allow(self, steps=1 << 20):
        self._allowed.release(steps)


def cancellations(monkeypatch):
    """An event that is set once a request is cancelled."""
    cancelled, cancel = threading.Event(), Job.cancel
    monkeypatch.setattr(Job, "cancel", lambda job: (cancel(job), cancelled.set()))
    return cancelled
