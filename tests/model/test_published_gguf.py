"""GGUF files of published architectures: llama.cpp gives the same tokens and the same probabilities."""

import json
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch

from llm_assets.model.gguf_file import GgufOptions, refusal_reason, write_gguf
from llm_assets.model.llama_cpp_splitting import NOT_NFC, splitting
from llm_assets.model.published_tokenizer import read_tokenizer
from llm_assets.model.published_weights import load_published
from llm_assets.model.shape import ModelError, ModelShape, RopeScaling
from llm_assets.model.transformer import Transformer
from tests.support.published_models import FAMILIES, TEXTS, write_published
from tests.support.training_jobs import ENCODING

SERVER = """
import json, sys
import requests, xllamacpp
request = json.loads(sys.stdin.read())
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx, parameters.warmup = request["path"], 128, False
server = xllamacpp.Server(parameters)

def ask(path, body):
    return requests.post(f"{server.listening_address}/{path}", json=body).json()

tokens = [ask("tokenize", {"content": text, "add_special": True})["tokens"] for text in request["texts"]]
next_token = {"prompt": request["prompt"], "n_predict": 1, "n_probs": 20, "temperature": 0, "cache_prompt": False}
answer = ask("completion", next_token)
print("ANSWER", json.dumps({"tokens": tokens, "answer": answer}), flush=True)
"""


def llama_cpp(**request):
    command = [sys.executable, "-c", SERVER]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, timeout=120)
    lines = [line[7:] for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[0])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_llama_cpp_runs_the_model_with_the_same_tokens_and_probabilities(tmp_path, family):
    pytest.importorskip("xllamacpp", reason="llama.cpp (xllamacpp) is not installed")
    write_published(tmp_path, family)
    encoding = read_tokenizer(tmp_path)
    model = load_published(tmp_path, encoding)
    write_gguf(model, encoding, tmp_path / "m.gguf", GgufOptions("Ada", "f32", chat=False))
    texts = [encoding.normalise(text) for text in TEXTS[:4]]
    prompt = encoding.document("".join(TEXTS[:2]))[:90]
    with torch.no_grad():
        logits = model(torch.tensor([prompt]))[0]
    # llama.cpp reports no probabilities of a token that ends a text or that is a part of a character.
    best = [int(token) for token in logits.argmax(-1)]
    is_text = [token in encoding.text_ids and "\ufffd" not in encoding.decode([token]) for token in best]
    length = len(prompt) - is_text[::-1].index(True)
    assert length > 40
    given = llama_cpp(path=str(tmp_path / "m.gguf"), texts=texts, prompt=prompt[:length])
    assert given["tokens"] == [encoding.document(text) for text in texts]
    expected = logits[length - 1].log_softmax(-1)
    [first] = given["answer"]["completion_probabilities"]
    assert len(first["top_logprobs"]) == 20
    for entry in first["top_logprobs"]:
        assert entry["logprob"] == pytest.approx(float(expected[entry["id"]]), abs=2e-3)


def test_every_row_of_the_embedding_has_a_token_with_its_kind(tmp_path):
    write_published(tmp_path, "qwen3", spare_rows=30)
    encoding = read_tokenizer(tmp_path)
    model = load_published(tmp_path, encoding)
    written = write_gguf(model, encoding, tmp_path / "m.gguf", GgufOptions("Ada"))
    assert not written["exact_splitting"] and splitting(encoding.pattern, "NFC") == ("qwen2", (NOT_NFC,))
    fields = gguf.GGUFReader(tmp_path / "m.gguf").fields
    tokens, kinds = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
    assert len(tokens) == len(kinds) == model.shape.rows == len(set(tokens))
    types = gguf.TokenType
    expected = {"<|im_end|>": types.CONTROL, "<|user_end|>": types.CONTROL, "<think>": types.USER_DEFINED}
    assert {name: kinds[tokens.index(name)] for name in expected} == expected
    assert tokens[fields["tokenizer.ggml.bos_token_id"].contents()] == "<|endoftext|>"
    assert "<|endoftext|>" in fields["tokenizer.chat_template"].contents()


def test_llama_3_scaling_is_written_as_divisors_of_the_rotary_frequencies(tmp_path):
    write_published(tmp_path, "llama")
    encoding = read_tokenizer(tmp_path)
    write_gguf(load_published(tmp_path, encoding), encoding, tmp_path / "m.gguf", GgufOptions("Ada"))
    [factors] = [t.data for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors if t.name == "rope_freqs.weight"]
    assert factors[0] == 1 and factors[-1] == 8 and (np.diff(factors) >= 0).all()


def test_what_llama_cpp_cannot_run_is_refused(tmp_path):
    shape = ModelShape.of_depth(1, ENCODING.size, 64, "qwen3", width=32)
    scaled = ModelShape(**{**vars(shape), "rope_scaling": RopeScaling(8.0, 1.0, 4.0, 32)})
    assert refusal_reason(shape) is None
    with pytest.raises(ModelError, match="Llama 3's rope_scaling in llama models only, not in qwen3"):
        write_gguf(Transformer(scaled), ENCODING, tmp_path / "m.gguf", GgufOptions("Ada"))
