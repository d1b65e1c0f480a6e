"""The devices of this machine that training may use. None of these settings is part of an identity."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True)
class TrainingDevices:
    """The devices of training and evaluation processes. They override the recipe.

    gpus: numbers of the GPUs, such as ``0,1``; empty for all GPUs, ``none`` for the CPU.
    processes: number of training processes on each machine, one per GPU; 0 takes the recipe's number.
    precision: of matrix products; ``auto`` is bf16 on a GPU that supports it, else fp32.
    """

    gpus: str = ""
    processes: int = 0
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.gpus not in ("", "none") and not re.fullmatch(r"\d+(,\d+)*", self.gpus):
            raise ValueError(f"gpus {self.gpus!r}: must be numbers such as '0,1', 'none' for the CPU, or empty for all")
        if self.processes < 0:
            raise ValueError(f"processes {self.processes}: must be 0 (for the recipe's number) or more")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise ValueError(f"precision {self.precision!r}: must be auto, bf16 or fp32")

    @classmethod
    def from_environment(cls) -> TrainingDevices:
        """Read LLM_ASSETS_GPUS, LLM_ASSETS_PROCESSES and LLM_ASSETS_PRECISION. Raises ValueError if one is invalid."""
        processes = os.environ.get("LLM_ASSETS_PROCESSES", "0")
        if not processes.isdigit():
            raise ValueError(f"LLM_ASSETS_PROCESSES is {processes!r}; it must be a number; 0 takes the recipe's")
        precision = os.environ.get("LLM_ASSETS_PRECISION", "auto")
        return cls(os.environ.get("LLM_ASSETS_GPUS", ""), int(processes), precision)  # type: ignore[arg-type]

    def to_environment(self) -> None:
        """Use these devices for training in this process and in the processes that it starts."""
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = "" if self.gpus == "none" else self.gpus
        os.environ.update(
            LLM_ASSETS_GPUS=self.gpus, LLM_ASSETS_PROCESSES=str(self.processes), LLM_ASSETS_PRECISION=self.precision
        )
