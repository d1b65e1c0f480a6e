"""Where and how a training runs.

None of it changes what is learnt beyond rounding, so it is never part of an artifact's identity.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .frozen import Frozen


class Compute(Frozen):
    """Devices, memory and checkpoints of a training run."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto` uses a GPU if there is one")
    processes: int = Field(
        0, ge=0, description="training processes, one per GPU (torchrun); 0 starts one per GPU, or one on a CPU"
    )
    micro_batch_size: int = Field(
        0,
        ge=0,
        description="sequences per forward and backward pass of one process; 0 is as many as should fit in pretraining "
        "and fine-tuning, 32 answers for the reward model and DPO, and 64 completions in RL and RLHF",
    )
    compile: bool | None = Field(
        None,
        description="use torch.compile; None does so on a GPU alone, and in fine-tuning as in pretraining. On a CPU "
        "without a C++ compiler, True does nothing. The reward model, DPO, RL and RLHF are never compiled",
    )
    checkpoint_every: int | None = Field(
        None,
        ge=0,
        description="steps between training checkpoints. None or 0 is a share of the run, at least 10 steps: a "
        "twentieth in pretraining, a tenth in fine-tuning, a quarter for the reward model and DPO. In RL and RLHF, "
        "None is 10 steps, and 0 saves only at evaluations and at the end",
    )
    checkpoints_kept: int = Field(
        2, ge=1, description="newest training checkpoints that are kept while the model is trained"
    )
