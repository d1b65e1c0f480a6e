"""How a training goes, as its job says it: plain values, read by the stage that writes the job and by its process.

Imports nothing but Python, so that a stage's job can be made where torch is not loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True)
class Optimisation:
    """How weights are changed.

    learning_rate: of AdamW at the plateau. matrix_learning_rate: of Muon, scaled so that an update has the size of
    AdamW's (0.2 x sqrt(larger side); Liu et al., "Muon is scalable", arXiv:2502.16982). weight_decay: of matrices only.
    warmup, cooldown: shares of the steps in which the rate rises from 0, and falls to `final_share` of the plateau
    (trapezoid; Hägele et al., arXiv:2405.18392). clip: greatest norm of the whole gradient.
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


@dataclass(frozen=True)
class TrainingPlan:
    """How many steps a training has, of what, and what is done on the way.

    rows: sequences of a step, over all processes. micro_batch_size: sequences that one process takes through the model at
    once (no effect but on memory and rounding). Intervals are in steps; 0 is never. checkpoints_kept: newest checkpoints that stay.
    compile: with torch.compile. boundary: the id that begins a document (or conversation), into which attention does
    not reach from another; None does not part them.
    """

    steps: int
    rows: int
    micro_batch_size: int
    seed: int = 0
    optimisation: Optimisation = field(default_factory=Optimisation)
    validate_every: int = 0
    sample_every: int = 0
    checkpoint_every: int = 0
    checkpoints_kept: int = 2
    compile: bool = False
    boundary: int | None = None

    def on(self, cuda: bool, boundary: int | None) -> TrainingPlan:
        """The plan as its process carries it out: compiled on GPUs only, documents parted by `boundary`."""
        return replace(self, compile=self.compile and cuda, boundary=boundary)


def every(steps: int, times: int) -> int:
    """Steps between what is done so many times in a training; 0 is never."""
    return -(-steps // times) if times else 0


@dataclass(frozen=True)
class PolicyPlan:
    """How a policy is trained.

    prompts, samples: of one step, over all processes; a group is the samples of one prompt.
    updates: times that a step's completions are trained on (above 1, the clip begins to matter).

    normalise: divide advantages by the group's standard deviation (DeepSeekMath, arXiv:2402.03300, section 4.1.2);
    without it as Dr. GRPO (arXiv:2503.20783), which finds that it favours problems that are too easy or too hard.
    length: what a sequence's token counts: ``sequence`` 1 / (its length x B), as GRPO; ``tokens`` 1 / (all tokens), as
    DAPO (arXiv:2503.14476); ``constant`` 1 / (max_tokens x B), as Dr. GRPO.
    clip_low, clip_high: the ratio's bounds 1 - low, 1 + high (PPO, arXiv:1707.06347; DAPO raises the higher one).
    kl: weight of the divergence from the reference model, estimated without bias by exp(d) - d - 1 with d the log-ratio
    of reference to policy (Schulman, joschu.net/blog/kl-approx.html), as GRPO; 0 leaves it out of the loss.
    evaluate_every: steps between looks at a held-out score. patience: looks in a row below the best by more than
    `margin` after which the training stops; 0 never stops. The weights of the best look are always what is kept.
    replay_weight: weight of the mean loss of `replay_sequences` rows of what the policy was fine-tuned on, added to each
    step's, so that what is not practised is not forgotten (PPO-ptx; Ouyang et al., arXiv:2203.02155, section 3.5); 0
    leaves it out.
    """

    steps: int
    prompts: int
    samples: int
    max_tokens: int
    temperature: float = 1.0
    updates: int = 1
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
