"""The trace index: time, memory and bytes to build, and time to trace an answer, by the number of tokens.

    python benchmarks/trace.py --shards data/artifacts/token_shards --tokens 1000000 10000000 100000000 --json out.json

The tokens are those of shards, as often as needed; every time the documents are repeated, one token in REPLACED is
replaced by a random one, so that the text is neither exactly repetitive nor random. Segments have as many tokens as
those of `trace_index`. An answer is a run of tokens of the data, with each fifth stretch of 20 replaced by random
tokens. Each size is measured in a process of its own; a gigabyte of tokens is extrapolated from the largest size by
n log n, with the same number of bytes per token.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from llm_assets.tracing.suffix_array import Segment, write_segment
from llm_assets.tracing.trace_index import SEGMENT_TOKENS

REPLACED = 50  # one token in so many is replaced in repetitions
ANSWER_TOKENS = 200
GIGABYTE = 10**9


def read_tokens(folder: Path) -> np.ndarray:
    """The training tokens of all shards below a folder."""
    paths = sorted(folder.rglob("train-[0-9]*.npy"))
    if not paths:
        raise SystemExit(f"{folder}: no token shards")
    return np.concatenate([np.load(path) for path in paths])


def blocks(tokens: np.ndarray, start: int, count: int, vocabulary: int) -> Iterator[np.ndarray]:
    """`count` tokens from `start` of the repeated data, one repetition at a time."""
    end = start + count
    for repetition in range(start // len(tokens), -(-end // len(tokens))):
        first = repetition * len(tokens)
        generator = np.random.default_rng(repetition)
        block = tokens.copy()
        if repetition:
            replaced = generator.integers(0, len(tokens), len(tokens) // REPLACED)
            block[replaced] = generator.integers(0, vocabulary, len(replaced))
        yield block[max(start - first, 0) : end - first]


def longest_matches(segments: list[Segment], answer: np.ndarray) -> int:
    """Searches the matches of an answer as `maximal_spans` does; returns the longest."""
    return max(
        segment.longest_match(segment.encoded(answer[start:])) for start in range(len(answer)) for segment in segments
    )


def measure(tokens: np.ndarray, count: int, segment_tokens: int, answers: int) -> dict[str, Any]:
    """Build the index of `count` tokens in a temporary folder, and trace answers by it."""
    width, vocabulary = tokens.dtype.itemsize, int(tokens.max()) + 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began, cpu = time.perf_counter(), time.process_time()
        for number, start in enumerate(range(0, count, segment_tokens)):
            size = min(segment_tokens, count - start)
            write_segment(folder, f"pages-{number:05d}", blocks(tokens, start, size, vocabulary), size, width)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        stored = sum(path.stat().st_size for path in folder.iterdir())
        segments = [Segment(folder, path.name.removesuffix("-tokens.npy")) for path in folder.glob("*-tokens.npy")]
        generator = np.random.default_rng(0)
        times, cpu_times = [], []
        for _ in range(answers):
            start = int(generator.integers(0, max(1, len(segments[0]) - ANSWER_TOKENS)))
            answer = np.array(segments[0].tokens[start : start + ANSWER_TOKENS])
            for stretch in range(80, len(answer), 100):
                answer[stretch : stretch + 20] = generator.integers(0, vocabulary, len(answer[stretch : stretch + 20]))
            begun, begun_cpu = time.perf_counter(), time.process_time()
            longest_matches(segments, answer)
            times.append(time.perf_counter() - begun)
            cpu_times.append(time.process_time() - begun_cpu)
    return {
        "tokens": count,
        "segments": len(segments),
        "build_seconds": round(seconds, 2),
        "build_cpu_seconds": round(cpu_seconds, 2),
        "cpu_microseconds_per_token": round(1e6 * cpu_seconds / count, 3),
        "bytes_per_token": round(stored / count, 3),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "first_answer_ms": round(1e3 * times[0], 2),
        "answer_ms": round(1e3 * float(np.median(times)), 2),
        "answer_cpu_ms": round(1e3 * float(np.median(cpu_times)), 2),
    }


def extrapolated(largest: dict[str, Any], width: int, segment_tokens: int) -> dict[str, Any]:
    """What an index of GIGABYTE bytes of tokens costs: n log n within a segment, then in proportion."""
    count = GIGABYTE // width
    size, full = min(largest["tokens"], segment_tokens), min(count, segment_tokens)
    growth = math.log(full) / math.log(size)
    per_token = largest["cpu_microseconds_per_token"] * growth
    return {
        "tokens": count,
        "cpu_seconds": round(count * per_token / 1e6),
        "bytes": round(count * largest["bytes_per_token"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True, help="folder with token shards")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--segment-tokens", type=int, default=SEGMENT_TOKENS)
    parser.add_argument("--answers", type=int, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    tokens = read_tokens(arguments.shards)
    if arguments.alone:
        print(json.dumps(measure(tokens, arguments.tokens[0], arguments.segment_tokens, arguments.answers)))
        return
    sizes = []
    for count in arguments.tokens:
        command = [sys.executable, __file__, "--alone", "--shards", str(arguments.shards), "--tokens", str(count)]
        command += ["--segment-tokens", str(arguments.segment_tokens), "--answers", str(arguments.answers)]
        sizes.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    result = {
        "answer_tokens": ANSWER_TOKENS,
        "sizes": sizes,
        "gigabyte": extrapolated(sizes[-1], tokens.dtype.itemsize, arguments.segment_tokens),
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
