"""What a training may use of this machine. None of it bears identity."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal

Precision = Literal["auto", "bf16", "fp32"]


@dataclass(frozen=True)
class TrainingDevices:
    """The devices of trainings and evaluations, over what a recipe says.

    gpus: their numbers, such as ``0,1``; empty for all there are, ``none`` for the CPU.
    processes: training processes, one a GPU; 0 is as the recipe says.
    precision: of matrix products; auto is bf16 on a GPU that has it and fp32 on a CPU.
    """

    gpus: str = ""
    processes: int = 0
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        if self.gpus not in ("", "none") and not re.fullmatch(r"\d+(,\d+)*", self.gpus):
            raise ValueError(f"gpus {self.gpus!r}: numbers such as '0,1', 'none' for the CPU, or nothing for all")
        if self.processes < 0:
            raise ValueError(f"processes {self.processes}: must be 0 (as the recipe says) or more")
        if self.precision not in ("auto", "bf16", "fp32"):
            raise ValueError(f"precision {self.precision!r}: auto, bf16 or fp32")

    @classmethod
    def from_environment(cls) -> TrainingDevices:
        """LLM_ASSETS_GPUS, LLM_ASSETS_PROCESSES and LLM_ASSETS_PRECISION. Raises ValueError naming what is wrong."""
        processes = os.environ.get("LLM_ASSETS_PROCESSES", "0")
        if not processes.isdigit():
            raise ValueError(f"LLM_ASSETS_PROCESSES is {processes!r}; it must be a number, 0 for as the recipe says")
        precision = os.environ.get("LLM_ASSETS_PRECISION", "auto")
        return cls(os.environ.get("LLM_ASSETS_GPUS", ""), int(processes), precision)  # type: ignore[arg-type]

    def to_environment(self) -> None:
        """Make these the devices of this process's trainings and of the processes that it starts."""
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = "" if self.gpus == "none" else self.gpus
        os.environ.update(
            LLM_ASSETS_GPUS=self.gpus, LLM_ASSETS_PROCESSES=str(self.processes), LLM_ASSETS_PRECISION=self.precision
        )
