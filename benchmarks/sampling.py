"""Tokens per second of the sampling engine by batch size, compared with the memory limit and transformers'
generate.

    python benchmarks/sampling.py --depth 4 --width 128 --context 256 --vocabulary 2048 --tied --json FILE
    python benchmarks/sampling.py --depth 12 --device cuda --batches 1 64 256 1024 --json FILE

The memory limit: a decoding step reads every weight once, and the keys and values of each sequence; the limit is
bandwidth divided by these bytes. On a CPU the bandwidth is measured by copying a large array. Small models stay in the
caches; their limit is the overhead of the calls, of which a model that is served has fewer (`model/cpu_decoding.py`).
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable
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
    """Bytes per second of copying 256 MB, counted as read and as written; the best of five."""
    source, target = torch.ones(1 << 26), torch.empty(1 << 26)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        target.copy_(source)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - began))
    return best


def speed(work: Callable[[], object], tokens: int, cuda: bool, rounds: int) -> float:
    """Tokens per second of `work`, which makes so many tokens: the median of the rounds after the first."""
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


def measure(
    engine: Engine, served: Engine, reference: Any, options: argparse.Namespace, batch: int, bytes_per_second: float
) -> dict[str, float]:
    """Speed of a batch with our engine and with transformers' `reference`, and our share of the memory limit.

    served: the engine as a server has it.
    """
    shape, parameter = engine.model.shape, next(engine.model.parameters())
    cuda, bytes_per_value = parameter.is_cuda, parameter.element_size()
    prompts = torch.randint(0, shape.vocabulary, (batch, options.prompt), generator=torch.Generator().manual_seed(1))
    sampling = Sampling(max_tokens=options.tokens, temperature=options.temperature)
    tokens, inputs = batch * options.tokens, prompts.to(options.device)
    our_speed, served_speed = (
        speed(partial(each.complete, prompts.tolist(), sampling, batch=batch), tokens, cuda, options.rounds)
        for each in (engine, served)
    )
    generate = partial(
        reference.generate,
        inputs,
        attention_mask=torch.ones_like(inputs),
        max_new_tokens=options.tokens,
        min_new_tokens=options.tokens,
        do_sample=options.temperature > 0,
        **({"temperature": options.temperature} if options.temperature else {}),
        pad_token_id=0,
    )
    with torch.inference_mode():
        reference_speed = speed(generate, tokens, cuda, options.rounds)
    weight_bytes = bytes_per_value * (shape.parameters - shape.embedding_parameters)
    step_bytes = weight_bytes + batch * shape.cache_bytes(options.prompt + options.tokens // 2, bytes_per_value)
    return {
        "tokens_per_second": round(our_speed, 1),
        "served": round(served_speed, 1),
        "served_ratio": round(served_speed / our_speed, 2),
        "transformers": round(reference_speed, 1),
        "ratio": round(our_speed / reference_speed, 2),
        "memory_limit": round(batch * bytes_per_second / step_bytes, 1),
        "of_limit": round(our_speed * step_bytes / (batch * bytes_per_second), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", type=int, default=32, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=128, help="tokens sampled after each prompt")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64], help="sequences sampled together")
    parser.add_argument("--temperature", type=float, default=0.0, help="of ours and of the reference; 0 is greedy")
    add_shape(parser)
    parser.add_argument("--json", type=Path, help="write the result to this file")
    options = parser.parse_args()
    from transformers import AutoConfig, AutoModelForCausalLM

    cuda = options.device == "cuda"
    shape = read_shape(options)
    dtype = torch.bfloat16 if cuda else torch.float32
    model = Transformer(shape)
    model.initialise(1)
    model.to(options.device, dtype)
    values = config(shape)
    reference_config = AutoConfig.for_model(values.pop("model_type"), **values)
    reference = AutoModelForCausalLM.from_config(reference_config).to(options.device, dtype).eval()
    name = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    known = find_device(name)
    bytes_per_second = known.bandwidth if known else bandwidth()
    encoding = Encoding("none", ".", {})
    engines = Engine(model, encoding), Engine(copy.deepcopy(model), encoding, is_final=True)
    results = {
        f"batch {batch}": measure(*engines, reference, options, batch, bytes_per_second) for batch in options.batches
    }
    result = {
        "device": name,
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
        "shape": shape.__dict__,
        "parameters": shape.parameters,
        "bandwidth": bytes_per_second,
        "prompt": options.prompt,
        "tokens": options.tokens,
        "temperature": options.temperature,
        "rounds": options.rounds,
        **results,
    }
    finish(result, options.json)


if __name__ == "__main__":
    main()
