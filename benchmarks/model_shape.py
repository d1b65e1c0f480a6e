"""Command-line options and output that the benchmarks of the model share."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llm_assets.model.shape import ModelShape

# Shapes of published models, with as many ids as their embeddings have rows.
PUBLISHED = {
    "qwen3-0.6b": ModelShape("qwen3", 151_936, 2048, 28, 1024, 16, 8, 128, 3072, True, 1e6),
    "qwen3-1.7b": ModelShape("qwen3", 151_936, 2048, 28, 2048, 16, 8, 128, 6144, True, 1e6),
}


def add_shape(parser: argparse.ArgumentParser) -> None:
    """Add the options of the model's shape, of the rounds to measure, and of the device."""
    parser.add_argument("--published", choices=list(PUBLISHED), help="use this model's shape, with --context")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])


def read_shape(options: argparse.Namespace) -> ModelShape:
    """The shape that these options describe. Raises ModelError if it is impossible."""
    if options.published:
        return replace(PUBLISHED[options.published], context=options.context)
    return ModelShape.of_depth(
        options.depth, options.vocabulary, options.context, width=options.width, tied=options.tied or None
    )


def random_tokens(shape: ModelShape, first: int, count: int) -> np.ndarray:
    """Sequences `first` and those after it, (count, context + 1); on average every 600th token is 0, and begins a text.

    The same numbers give the same tokens.
    """
    draw = np.random.default_rng(first)
    tokens = draw.integers(1, shape.vocabulary, (count, shape.context + 1))
    tokens[draw.random(tokens.shape) < 1 / 600] = 0
    return tokens


def finish(result: dict[str, Any], path: Path | None) -> None:
    """Print the result as JSON, and write it to `path` if that is given."""
    text = json.dumps(result, indent=1)
    print(text)
    if path:
        path.write_text(text + "\n")
