"""How a training runs: plain values, written into a job by the stage and read by the training process.

Needs only Python's own modules, so that a stage can write a job where torch is not loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from llm_assets.model.shape import Adapters
from llm_assets.model.training_memory import MemorySavings

DIVERGED_NATS = 1.0  # above the best mean loss, sustained: no run has been seen to recover from this


@dataclass(frozen=True)
class Optimisation:
    """How weights are changed.

    learning_rate: AdamW's plateau rate. matrix_learning_rate: Muon's, scaled so that an update has the size of AdamW's
    (0.2 x sqrt(larger side); Liu et al., "Muon is scalable", arXiv:2502.16982). weight_decay: of matrices only.
    warmup, cooldown: shares of the steps in which the rate rises from 0 and falls to `final_share` of the plateau
    (trapezoid; Hägele et al., arXiv:2405.18392). clip: greatest norm of the whole gradient. muon: train the hidden
    matrices by Muon; otherwise AdamW trains all weights. adapters: train low-rank adapters of the model in place of its
    weights.
    """

    learning_rate: float = 2e-3
    matrix_learning_rate: float = 4e-3
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    momentum: float = 0.95
    warmup: float = 0.02
    cooldown: float = 0.5
    final_share: float = 0.05
    clip: float = 1.0
    muon: bool = True
    adapters: Adapters | None = None


@dataclass(frozen=True)
class TrainingPlan:
    """The steps of a training run, and what is done between them.

    batch_size: sequences of a step, over all processes. micro_batch_size: sequences per forward and backward pass of
    one process (affects only memory and rounding). validate_every, sample_every, checkpoint_every: in steps; 0 is
    never. checkpoints_kept: newest checkpoints that are not deleted. compile: use torch.compile; None is on a
    GPU alone. boundary: id of the token that begins a document or conversation; attention does not cross it. None lets
    attention reach over the whole sequence. diverged_by: how far the mean loss of some steps may be above the best such
    mean before the training is stopped. savings: of memory. sharded: divide the model among the processes, because it
    does not fit on one device.
    """

    steps: int
    batch_size: int
    micro_batch_size: int
    seed: int = 0
    optimisation: Optimisation = field(default_factory=Optimisation)
    validate_every: int = 0
    sample_every: int = 0
    checkpoint_every: int = 0
    checkpoints_kept: int = 2
    compile: bool | None = False
    boundary: int | None = None
    diverged_by: float = DIVERGED_NATS
    savings: MemorySavings = field(default_factory=MemorySavings)
    sharded: bool = False

    def on(self, cuda: bool, boundary: int | None) -> TrainingPlan:
        """The plan as its process carries it out: on a GPU or a CPU, and with the tokenizer's boundary token."""
        return replace(self, compile=cuda if self.compile is None else self.compile, boundary=boundary)


def every(steps: int, times: int) -> int:
    """The interval, in steps, at which something happens `times` times in a training run; 0 is never."""
    return -(-steps // times) if times else 0


@dataclass(frozen=True)
class ServerRequest:
    """A POST request to a rollout server. path: from the server's root."""

    path: str
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RolloutService:
    """The server that samples a policy's completions; the fields are those of `recipes.rollout_server`."""

    url: str
    model: str
    folder: str
    reload: tuple[ServerRequest, ...] = ()
    command: tuple[str, ...] = ()
    dtype: str = "bf16"
    tolerance: float = 0.05
    key_variable: str = ""
    timeout: float = 600.0
    concurrency: int = 64
    retries: int = 4


@dataclass(frozen=True)
class PolicyPlan:
    """How a policy is trained.

    prompts, samples: prompts of a step, over all processes, and completions of each; the completions of one prompt are
    a group. temperature: of sampling, and of the policy and the reference in the loss. updates: times that a step's
    completions are trained on. minibatches: parts of a step's prompts, each of which is an update (above 1 of either,
    clipping begins to matter). redraws: how many times per step the groups whose rewards are all equal are replaced by
    groups of the next prompts (dynamic sampling; DAPO, arXiv:2503.14476). server: that samples the completions; None
    samples them in this process.

    normalise: divide advantages by the group's standard deviation (DeepSeekMath, arXiv:2402.03300, section 4.1.2).
    Without it as in Dr. GRPO (arXiv:2503.20783), which finds that the division favours problems that are too easy or
    too hard. length: how a token is weighted: ``sequence`` by 1 / (length of its sequence x B), as GRPO; ``tokens`` by
    1 / (all tokens), as DAPO (arXiv:2503.14476); ``constant`` by 1 / (max_tokens x B), as Dr. GRPO. clip_low,
    clip_high: bounds 1 - low and 1 + high of the probability ratio (PPO, arXiv:1707.06347; DAPO raises the upper one).
    kl: weight of the divergence from the reference model, estimated without bias by exp(d) - d - 1 with d the log-ratio
    of reference to policy (Schulman, joschu.net/blog/kl-approx.html), as in GRPO; 0 leaves it out of the loss.

    evaluate_every: steps between evaluations on held-out prompts; 0 never evaluates. patience: evaluations in a row
    that are more than `margin` below the best score, after which the training stops; 0 never stops. The weights of the
    best evaluation are always the result. replay_weight: weight of the mean loss of `replay_sequences` sequences of the
    fine-tuning data, added to each step so that the policy does not forget what is not rewarded (PPO-ptx; Ouyang et
    al., arXiv:2203.02155, section 3.5); 0 leaves it out. micro_batch_size, checkpoint_every, checkpoints_kept,
    savings: as in TrainingPlan.
    """

    steps: int
    prompts: int
    samples: int
    max_tokens: int
    temperature: float = 1.0
    updates: int = 1
    minibatches: int = 1
    redraws: int = 0
    server: RolloutService | None = None
    normalise: bool = True
    length: Literal["sequence", "tokens", "constant"] = "sequence"
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: float = 0.02
    replay_weight: float = 0.0
    replay_sequences: int = 8
    micro_batch_size: int = 64
    optimisation: Optimisation = field(default_factory=Optimisation)
    seed: int = 0
    evaluate_every: int = 0
    patience: int = 0
    margin: float = 0.0
    checkpoint_every: int = 0
    checkpoints_kept: int = 2
    savings: MemorySavings = field(default_factory=MemorySavings)
