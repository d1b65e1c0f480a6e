"""The loss curve: one JSON line per step, written as the training runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

CURVE = "curve.jsonl"
DIVERGED_STEPS = 20


class Curve:
    """The curve file of a training run. A resumed training run drops the lines of the steps that it repeats.

    The lines hold no times, so that the same training writes the same file.
    """

    def __init__(self, path: Path, from_step: int):
        lines: list[str] = []
        if path.exists() and from_step:
            lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] < from_step]
        path.write_text("".join(f"{line}\n" for line in lines))
        self.losses = [json.loads(line)["loss"] for line in lines]
        self._file = path.open("a")

    def add(self, **values: Any) -> None:
        """Append a step's values, among them `step` and `loss`."""
        self.losses.append(values["loss"])
        self._file.write(json.dumps(values) + "\n")

    def sync(self) -> None:
        """Make sure that all lines are on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def diverged(self, by: float) -> bool:
        """Whether the mean of the last DIVERGED_STEPS losses is more than `by` above the best such mean."""
        if len(self.losses) < 2 * DIVERGED_STEPS:
            return False
        means = np.convolve(self.losses, np.full(DIVERGED_STEPS, 1 / DIVERGED_STEPS), "valid")
        return bool(means[-1] > means.min() + by)
