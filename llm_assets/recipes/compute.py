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
        0,
        ge=0,
        description="training processes on each machine, one per GPU (torchrun); 0 starts one per GPU, or one on a CPU",
    )
    micro_batch_size: int = Field(
        0,
        ge=0,
        description="sequences per forward and backward pass of one process; 0 is as many as should fit in pretraining "
        "and fine-tuning; for the reward model and DPO 32 answers, and in RL and RLHF 64 completions, or fewer where "
        "a GPU's memory needs it",
    )
    activation_checkpointing: bool | None = Field(
        None,
        description="keep of each layer only what enters it, and compute the rest again in the backward pass: a "
        "fraction of the memory, and a third more work. None is True where a GPU's memory would not hold one sequence "
        "otherwise",
    )
    chunked_logits: bool | None = Field(
        None,
        description="compute the logits in chunks of 512 MB, and again in the backward pass, in place of keeping those "
        "of a whole micro-batch. None is True for vocabularies of more than 65,536 ids, and on a GPU wherever the "
        "model is not compiled",
    )
    sharded: bool | None = Field(
        None,
        description="divide weights, gradients and optimiser state among the processes (FSDP2), in pretraining and "
        "fine-tuning. None is True where one GPU's memory would not hold one sequence otherwise. The model is then not "
        "compiled, and no texts are sampled",
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
