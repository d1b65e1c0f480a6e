"""What the benchmarks of the model share: the shape on the command line, and the result on the screen and in a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from llm_assets.model.shape import ModelShape


def add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--tied", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])


def read_shape(options: argparse.Namespace) -> ModelShape:
    return ModelShape.of_depth(
        options.depth, options.vocabulary, options.context, width=options.width, tied=options.tied or None
    )


def finish(result: dict[str, Any], path: Path | None) -> None:
    """Print the result, and write it where a path is given."""
    text = json.dumps(result, indent=1)
    print(text)
    if path:
        path.write_text(text + "\n")
