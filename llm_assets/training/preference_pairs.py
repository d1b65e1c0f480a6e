"""Direct preference optimisation: pairs of answers with the reference model's log-probabilities, and the losses.

Shapes: B sequences of T tokens; rows 2i and 2i + 1 are a pair, the chosen answer first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm_assets.model import IGNORE
from llm_assets.model.reward import pad_conversations

from .pairs import Pairs
from .processes import Devices

PreferenceLoss = Literal["dpo", "dpo_norm", "ipo"]


@dataclass(frozen=True)
class AnswerPair:
    """Two answers to one prompt, each as the tokens of prompt and answer. prompt: tokens of the prompt in both."""

    chosen: Sequence[int]
    rejected: Sequence[int]
    prompt: int


def pad_answers(conversations: Sequence[Sequence[int]], prompts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (B, T), padded on the right, and the answers' tokens as targets (B, T), IGNORE elsewhere.

    prompts: tokens of each conversation that come before its answer.
    """
    tokens, _ = pad_conversations(conversations)
    answers = np.full(tokens.shape, IGNORE, np.int64)
    for row, (conversation, prompt) in enumerate(zip(conversations, prompts, strict=True)):
        answers[row, prompt - 1 : len(conversation) - 1] = conversation[prompt:]
    return tokens, answers


def answer_log_probabilities(model: nn.Module, tokens: Tensor, answers: Tensor) -> Tensor:
    """The log-probability of each answer, summed over its tokens, (B,) fp32. tokens, answers: as `pad_answers`."""
    width = int((answers != IGNORE).any(0).nonzero().max()) + 1  # no token attends to the padding that follows it
    return -model(tokens[:, :width], answers[:, :width]).sum(-1)


def log_ratio_margins(policy: Tensor, reference: Tensor, lengths: Tensor, loss: PreferenceLoss) -> Tensor:
    """By how much the log-ratio of policy to reference is larger for the chosen answer, (B / 2,).

    policy, reference: (B,) log-probabilities of answers. lengths: (B,), their tokens. Except in ``dpo``, the log-ratio
    is the mean over the answer's tokens instead of the sum.
    """
    ratios = policy - reference
    if loss != "dpo":
        ratios = ratios / lengths
    return ratios[0::2] - ratios[1::2]


def preference_losses(margins: Tensor, loss: PreferenceLoss, beta: float) -> Tensor:
    """The loss of each pair, of `log_ratio_margins`.

    ``dpo``: -log sigmoid(beta x margin) (Rafailov et al., arXiv:2305.18290, equation 7). ``dpo_norm``: the same on mean
    log-ratios (Tülu 3, arXiv:2411.15124, section 5.1.2), so that a longer answer has no larger margin for its length
    alone. ``ipo``: (margin - 1 / (2 beta))² (Azar et al., arXiv:2310.12036, equation 17, whose tau is beta) on mean
    log-ratios, as its authors computed it by the account of TRL's documentation; the margin has a target, so that pairs
    that everyone ranks alike do not drive it to infinity.
    """
    if loss == "ipo":
        return (margins - 1 / (2 * beta)) ** 2
    return -F.logsigmoid(beta * margins)


def shares_right(margins: Tensor) -> Tensor:
    """1 for a pair whose chosen answer has the larger log-ratio, 0.5 where both are equal, as at the start."""
    return (margins.sign() + 1) / 2


class PreferencePairs(Pairs):
    """Pairs of answers, epoch after epoch in another order; a SequenceSource that depends on seed and number alone.

    reference: (pairs, 2), log-probabilities of chosen and rejected answers by the reference model. pairs_per_step and
    errors: as `Pairs`.
    """

    def __init__(
        self, pairs: Sequence[AnswerPair], reference: np.ndarray, context: int, seed: int, pairs_per_step: int = 1
    ):
        super().__init__([(pair.chosen, pair.rejected) for pair in pairs], context, seed, pairs_per_step=pairs_per_step)
        self._prompts = [pair.prompt for pair in pairs]
        self._reference = reference.astype(np.float32)

    def batch(self, first: int, count: int) -> tuple[np.ndarray, ...]:
        """As `Pairs.batch`, and the answers (count, T) with their reference log-probabilities (count,)."""
        tokens, marks = super().batch(first, count)
        numbers = [(self._pair(number // 2), number % 2) for number in range(first, first + count)]
        conversations = [self.pairs[pair][side] for pair, side in numbers]
        _, answers = pad_answers(conversations, [self._prompts[pair] for pair, _ in numbers])
        return tokens, marks, answers, np.array([self._reference[place] for place in numbers])


class PreferenceLosses:
    """The loss of pairs as a `losses.TargetLosses`, and the numbers of the pairs since they were last read."""

    NAMES = ("margin", "accuracy", "chosen", "rejected")

    def __init__(self, loss: PreferenceLoss, beta: float):
        self.loss, self.beta = loss, beta
        self._sums = dict.fromkeys(("pairs", *self.NAMES), 0.0)

    def __call__(self, model: nn.Module, tokens: Tensor, marks: Tensor, answers: Tensor, reference: Tensor) -> Tensor:
        """The loss of each pair, at the mark of both its sequences, (B, T), 0 elsewhere."""
        policy = answer_log_probabilities(model, tokens, answers)
        margins = log_ratio_margins(policy, reference, (answers != IGNORE).sum(-1), self.loss)
        with torch.no_grad():
            numbers = (
                torch.stack([self.beta * margins, shares_right(margins), policy[0::2], policy[1::2]]).double().sum(-1)
            )
        for name, value in zip(self.NAMES, numbers.tolist(), strict=True):
            self._sums[name] += value
        self._sums["pairs"] += len(margins)
        losses = preference_losses(margins, self.loss, self.beta)
        return (marks != IGNORE) * losses.repeat_interleave(2)[:, None]

    def numbers(self, devices: Devices) -> dict[str, float]:
        """Means over the pairs of all processes: the margin times beta, the share of pairs with a positive one, and the
        log-probabilities of chosen and rejected answers.
        """
        pairs, *sums = devices.total(*self._sums.values())
        self._sums = dict.fromkeys(self._sums, 0.0)
        return {name: round(value / pairs, 6) for name, value in zip(self.NAMES, sums, strict=True)}


def measure(model: nn.Module, pairs: Sequence[AnswerPair], batch: int, devices: Devices) -> np.ndarray:
    """Log-probabilities of the answers of all pairs, (pairs, 2) float32, without a gradient.

    Each process computes its share; all of them call this and get all. batch: answers of a forward pass.
    """
    by_length = sorted(range(len(pairs)), key=lambda number: (len(pairs[number].chosen), number))
    mine = by_length[devices.rank :: devices.world]
    values = np.zeros((len(pairs), 2))
    at_once = max(1, batch // 2)
    with torch.no_grad(), devices.autocast():
        for first in range(0, len(mine), at_once):
            numbers = mine[first : first + at_once]
            conversations = [side for number in numbers for side in (pairs[number].chosen, pairs[number].rejected)]
            padded = pad_answers(conversations, [pairs[number].prompt for number in numbers for _ in range(2)])
            tokens, answers = (torch.from_numpy(array).to(devices.device) for array in padded)
            values[numbers] = answer_log_probabilities(model, tokens, answers).float().cpu().numpy().reshape(-1, 2)
    return np.array(devices.total(*values.flat)).reshape(-1, 2).astype(np.float32)


def measured_numbers(
    pairs: Sequence[AnswerPair], policy: np.ndarray, reference: np.ndarray, loss: PreferenceLoss, beta: float
) -> dict[str, float]:
    """Loss, margin, accuracy and log-probabilities over these pairs. policy, reference: (pairs, 2)."""
    margins = pair_margins(pairs, policy, reference, loss)
    return {
        "loss": round(float(preference_losses(margins, loss, beta).mean()), 6),
        "margin": round(float(beta * margins.mean()), 6),
        "accuracy": round(float(shares_right(margins).mean()), 6),
        "chosen": round(float(policy[:, 0].mean()), 6),
        "rejected": round(float(policy[:, 1].mean()), 6),
    }


def pair_margins(
    pairs: Sequence[AnswerPair], policy: np.ndarray, reference: np.ndarray, loss: PreferenceLoss
) -> Tensor:
    """`log_ratio_margins` of pairs whose log-probabilities were measured, (pairs,)."""
    lengths = [len(side) - pair.prompt for pair in pairs for side in (pair.chosen, pair.rejected)]
    flat = (torch.from_numpy(values.reshape(-1).astype(np.float32)) for values in (policy, reference))
    return log_ratio_margins(*flat, torch.tensor(lengths), loss)
