"""Tokens per second of the sampling engine at batch 1 and 64, against memory's limit and transformers' generate.

    python benchmarks/sampling.py --depth 4 --width 128 --context 256 --vocabulary 2048 --tied --json FILE
    python benchmarks/sampling.py --depth 12 --device cuda --json FILE

The limit: a decoding step reads every weight once, and each sequence's keys and values; bytes over bandwidth. On a CPU the
bandwidth is that of copying a large array here; small models lie in caches, and their limit is the calls themselves.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from model_shape import add_shape, finish, read_shape

from llm_assets.model.devices import find_device
from llm_assets.model.encoding import Encoding
from llm_assets.model.huggingface import config
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.model.transformer import Transformer


def bandwidth() -> float:
    """Bytes a second of copying 256 MB, read and written, the best of five."""
    source, target = torch.ones(1 << 26), torch.empty(1 << 26)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        target.copy_(source)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - began))
    return best


def speed(work: Any, tokens: int, cuda: bool, rounds: int) -> float:
    times = []
    for _ in range(rounds + 1):
        if cuda:
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return tokens / statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    add_shape(parser)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from transformers import AutoConfig, AutoModelForCausalLM

    cuda = options.device == "cuda"
    shape = read_shape(options)
    dtype = torch.bfloat16 if cuda else torch.float32
    model = Transformer(shape)
    model.initialise(1)
    model.to(options.device, dtype)
    engine = Engine(model, Encoding("none", ".", {}))
    values = config(shape)
    other = (
        AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values))
        .to(options.device, dtype)
        .eval()
    )
    name = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    known = find_device(name)
    rate = known.bandwidth if known else bandwidth()
    size = torch.finfo(dtype).bits // 8
    weights = size * (shape.parameters - shape.embedding_parameters)
    rows = {}
    for batch in (1, 64):
        prompts = torch.randint(
            0, shape.vocabulary, (batch, options.prompt), generator=torch.Generator().manual_seed(1)
        )
        sampling = Sampling(max_tokens=options.tokens, temperature=0)
        tokens, inputs = batch * options.tokens, prompts.to(options.device)
        complete = partial(engine.complete, prompts.tolist(), sampling, batch=batch)
        ours = speed(complete, tokens, cuda, options.rounds)
        generate = partial(
            other.generate,
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=options.tokens,
            min_new_tokens=options.tokens,
            do_sample=False,
            pad_token_id=0,
        )
        with torch.inference_mode():
            theirs = speed(generate, tokens, cuda, options.rounds)
        step_bytes = weights + batch * shape.cache_bytes(options.prompt + options.tokens // 2, size)
        rows[f"batch {batch}"] = {
            "tokens_per_second": round(ours, 1),
            "transformers": round(theirs, 1),
            "ratio": round(ours / theirs, 2),
            "memory_limit": round(batch * rate / step_bytes, 1),
            "of_limit": round(ours * step_bytes / (batch * rate), 4),
        }
    result = {
        "device": name,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shape": shape.__dict__,
        "parameters": shape.parameters,
        "bandwidth": rate,
        "prompt": options.prompt,
        "tokens": options.tokens,
        **rows,
    }
    finish(result, options.json)


if __name__ == "__main__":
    main()
