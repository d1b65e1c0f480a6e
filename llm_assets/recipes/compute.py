"""Where and how a training runs. None of it changes what is learnt beyond rounding, so it never bears identity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .frozen import Frozen


class Compute(Frozen):
    """Devices, memory and checkpoints of one training process."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto` uses a GPU if there is one")
    processes: int = Field(
        0, ge=0, description="training processes, one per GPU (torchrun); 0 starts one per GPU, or one on a CPU"
    )
    micro_batch_size: int = Field(
        0, ge=0, description="sequences per forward and backward pass of one process; 0 takes as many as fit"
    )
    compile: bool = Field(True, description="use torch.compile on a GPU")
    checkpoint_every: int = Field(
        0, ge=0, description="steps between training checkpoints; 0 is a fixed share of the run, at least 10 steps"
    )
    checkpoints_kept: int = Field(2, ge=1, description="newest training checkpoints that are kept during the training")
