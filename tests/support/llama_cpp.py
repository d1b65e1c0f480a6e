"""llama.cpp, in a process of its own, where xllamacpp is installed."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys, urllib.request
import xllamacpp
request = json.loads(sys.stdin.read())
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx, parameters.warmup, parameters.port = request["path"], 64, False, 0
server = xllamacpp.Server(parameters)
local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for text in request["texts"]:
    body = json.dumps({"content": text, "add_special": False}).encode()
    call = urllib.request.Request(server.listening_address + "/tokenize", body, {"Content-Type": "application/json"})
    print("ANSWER", json.dumps(json.load(local.open(call))["tokens"]), flush=True)
"""


def llama_cpp_tokens(path, texts):
    """The tokens of each text in llama.cpp, by a GGUF file."""
    pytest.importorskip("xllamacpp", reason="llama.cpp (xllamacpp) is not installed")
    request = json.dumps({"path": str(path), "texts": texts})
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=request, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert len(lines) == len(texts), done.stderr[-2000:]
    return [json.loads(line.removeprefix("ANSWER ")) for line in lines]
