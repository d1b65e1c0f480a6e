"""The server's time to the first token, its throughput of concurrent chats against one chat at a time, and its page.

    python benchmarks/serving.py --depth 4 --width 128 --context 256 --vocabulary 2048 --tied --json FILE

Weights are random. Each server is a process of its own; the client is this process. llama.cpp's server answers the same
chats from a GGUF file of the same weights: the one in xllamacpp, if that is installed. The page is opened in headless
Chromium with an empty cache, if Playwright and Chromium are installed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import requests
import torch
from model_shape import add_shape, finish, read_shape

from llm_assets.model.assistant import ASSISTANT
from llm_assets.model.checkpoint import save_model
from llm_assets.model.encoding import SPECIAL_TOKENS, Encoding, gpt4_pattern
from llm_assets.model.gguf_file import GgufOptions, write_gguf
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer

QUESTION = "Where does the baker of the town live, and which instrument does she play?"
START_SECONDS = 120
PEER = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_parallel, params.n_ctx = int(sys.argv[2]), int(sys.argv[2]) * int(sys.argv[3])
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(sys.argv[4])
params.warmup, params.use_jinja = True, True
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
time.sleep(100_000)
"""


def encoding_of(vocabulary: int) -> Encoding:
    """A tokenizer of this size: all bytes, then pairs of letters and others."""
    pairs = [bytes([first, second]) for first in range(97, 123) for second in range(32, 127)]
    pairs += [bytes([first, second]) for first in range(128, 256) for second in range(256)]
    count = vocabulary - len(SPECIAL_TOKENS)
    tokens = [*(bytes([value]) for value in range(256)), *pairs][:count]
    if not 256 <= count == len(tokens):
        raise SystemExit(f"--vocabulary {vocabulary}: must be from {256 + len(SPECIAL_TOKENS)} to 35,000")
    return Encoding("pairs", gpt4_pattern(), {token: rank for rank, token in enumerate(tokens)})


def write_models(folder: Path, shape: ModelShape) -> Path:
    """A chat model with random weights as a checkpoint, and as GGUF beside it; returns the GGUF file."""
    model, encoding = Transformer(shape), encoding_of(shape.vocabulary)
    model.initialise(1)
    checkpoint = folder / "model"
    checkpoint.mkdir()
    save_model(model, checkpoint)
    encoding.save(checkpoint)
    (checkpoint / ASSISTANT).write_text(json.dumps({"name": "Random", "maker": "a benchmark", "tools": []}))
    write_gguf(model, encoding, folder / "model.gguf", GgufOptions("Random", "f32", chat=True))
    return folder / "model.gguf"


@contextlib.contextmanager
def started(command: list[str], folder: Path) -> Iterator[str]:
    """A server's process; its URL is what it first prints."""
    environment = {**os.environ, "LLM_ASSETS_DATA": str(folder / "data"), "PYTHONUNBUFFERED": "1"}
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=folder)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            url = re.search(r"http://[\w.]+:\d+", log.read_text())
            if url is not None and is_up(url[0]):
                yield url[0]
                return
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start: {log.read_text()[-1000:]}")
            time.sleep(0.1)
    finally:
        process.kill()  # llama.cpp's server does not always end when it is asked to
        process.wait()


def is_up(url: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/health", timeout=5).status_code == 200
    return False


def free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def body(number: int, tokens: int, **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": f"{number}. {QUESTION}"}
    return {"messages": [message], "max_tokens": tokens, "temperature": 1.0, "seed": number, **fields}


def chat(session: requests.Session, url: str, number: int, tokens: int) -> int:
    """Tokens of one answer."""
    answer = session.post(f"{url}/v1/chat/completions", json=body(number, tokens), timeout=600)
    answer.raise_for_status()
    return int(answer.json()["usage"]["completion_tokens"])


def first_token(session: requests.Session, url: str, number: int) -> float:
    """Seconds until the first text of a stream."""
    began = time.perf_counter()
    request = body(number, 8, stream=True)
    with session.post(f"{url}/v1/chat/completions", json=request, stream=True, timeout=600) as response:
        for line in response.iter_lines():
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                return time.perf_counter() - began
    return time.perf_counter() - began


def measure(url: str, chats: int, tokens: int, rounds: int) -> dict[str, float]:
    """Time to the first token, and tokens per second of one chat at a time and of many: medians of the rounds."""
    with ThreadPoolExecutor(chats) as threads, requests.Session() as session:
        sessions = [requests.Session() for _ in range(chats)]
        chat(session, url, 0, 4)
        first = [first_token(session, url, number) for number in range(5 * rounds)]
        speeds: dict[str, list[float]] = {"one": [], "many": []}
        for _ in range(rounds):
            began = time.perf_counter()
            count = sum(chat(session, url, number, tokens) for number in range(4))
            speeds["one"].append(count / (time.perf_counter() - began))
            began = time.perf_counter()
            work = [threads.submit(chat, sessions[number], url, number, tokens) for number in range(chats)]
            count = sum(future.result() for future in work)
            speeds["many"].append(count / (time.perf_counter() - began))
    alone, concurrent = (statistics.median(speeds[name]) for name in ("one", "many"))
    return {
        "first_token_milliseconds": round(1000 * statistics.median(first), 2),
        "one_at_a_time": round(alone, 1),
        "concurrent": round(concurrent, 1),
        "ratio": round(concurrent / alone, 2),
    }


def page_milliseconds(url: str, rounds: int) -> float | str:
    """From the request of the page until it can be used, its list of models included: median of new contexts."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if find_spec("playwright") is None or program is None:
        return "no Playwright or Chromium"
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(1 + 3 * rounds):
            context = browser.new_context()  # with an empty cache
            page = context.new_page()
            began = time.perf_counter()
            page.goto(url)
            page.locator("html[data-ready]").wait_for()
            times.append(1000 * (time.perf_counter() - began))
            context.close()
        browser.close()
    return round(statistics.median(times[1:]), 1)  # the first one starts processes of the browser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=int, default=32, help="chats at a time")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer, at most")
    parser.add_argument("--no-peer", action="store_true", help="leave out llama.cpp's server")
    add_shape(parser)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    options = parser.parse_args()
    shape, threads = read_shape(options), torch.get_num_threads()
    result: dict[str, Any] = {
        "device": options.device,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "shape": shape.__dict__,
        "chats": options.chats,
        "tokens": options.tokens,
        "rounds": options.rounds,
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        gguf = write_models(folder, shape)
        port = str(free_port())
        command = [sys.executable, "-m", "llm_assets", "serve", str(folder / "model"), "--port", port]
        with started([*command, "--sequences", str(options.chats)], folder) as url:
            result["llm_assets"] = measure(url, options.chats, options.tokens, options.rounds)
            result["page_milliseconds"] = page_milliseconds(url, options.rounds)
        if options.no_peer or find_spec("xllamacpp") is None:
            result["llama.cpp"] = "left out" if options.no_peer else "xllamacpp is not installed"
        else:
            words = [str(gguf), str(options.chats), str(shape.context), str(threads)]
            with started([sys.executable, "-c", PEER, *words], folder) as url:
                result["llama.cpp"] = measure(url, options.chats, options.tokens, options.rounds)
    finish(result, options.json)


if __name__ == "__main__":
    main()
