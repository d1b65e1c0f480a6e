"""The clipped policy objective: advantages, token weights, the loss, and sampled completions as batches.

Shapes: P prompts, G completions of each, B = P x G sequences of at most T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from llm_assets.model import IGNORE
from llm_assets.model.sampling import Completion

from .plan import PolicyPlan
from .processes import Devices


def advantages(rewards: Tensor, normalise: bool) -> Tensor:
    """Rewards (P, G) minus the mean of their group, (P, G).

    normalise: divide by the group's standard deviation (of G - 1). A group of equal rewards has advantages of 0.
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    if not normalise:
        return centred
    return centred / (rewards.std(-1, keepdim=True) + 1e-4)


def token_weights(mask: Tensor, plan: PolicyPlan, tokens: float) -> Tensor:
    """The weight of each token, (B, T), as `plan.length` says. mask: (B, T), the policy's own tokens.

    tokens: the policy's own tokens in the whole step, over all processes.
    """
    is_own = mask.float()
    sequences = plan.prompts * plan.samples
    if plan.length == "tokens":
        return is_own / max(tokens, 1.0)
    if plan.length == "constant":
        return is_own / (plan.max_tokens * sequences)
    return is_own / is_own.sum(-1, keepdim=True).clamp(min=1) / sequences


@dataclass(frozen=True)
class SampledTokens:
    """What the loss needs to know about sampled tokens, apart from their probability under the present policy.

    sampler: (B, T) log-probabilities by the policy that sampled them; None if that is the present policy. reference:
    (B, T) log-probabilities by the reference model; without them, no divergence is computed. advantages: (B,). weights:
    (B, T), 0 where a token is not the policy's own.
    """

    sampler: Tensor | None
    reference: Tensor | None
    advantages: Tensor
    weights: Tensor

    def select(self, indices: Tensor, width: int, device: torch.device) -> SampledTokens:
        """The first `width` tokens of some sequences."""
        sampler, reference, weights = (
            None if tensor is None else tensor[indices, :width].to(device)
            for tensor in (self.sampler, self.reference, self.weights)
        )
        assert weights is not None
        return SampledTokens(sampler, reference, self.advantages[indices].to(device), weights)


def policy_loss(policy: Tensor, sampled: SampledTokens, plan: PolicyPlan) -> tuple[Tensor, dict[str, float]]:
    """The loss to minimise, a scalar, from the policy's log-probabilities (B, T) of the sampled tokens.

    Also returns weighted sums over tokens: ``clipped``, the share of tokens whose ratio was clipped, and, with a
    reference, ``kl``, the divergence.
    """
    # Where the sampler is the policy itself, the ratio is 1 and its gradient is that of the log-probability.
    ratio = (policy - (policy.detach() if sampled.sampler is None else sampled.sampler)).exp()
    gain = sampled.advantages[:, None]
    plain, clipped = ratio * gain, ratio.clamp(1 - plan.clip_low, 1 + plan.clip_high) * gain
    objective = torch.minimum(plain, clipped)
    statistics = {"clipped": float((sampled.weights * (clipped < plain)).sum())}
    if sampled.reference is not None:
        log_ratio = sampled.reference - policy
        divergence = log_ratio.exp() - log_ratio - 1
        statistics["kl"] = float((sampled.weights * divergence.detach()).sum())
        objective = objective - plan.kl * divergence
    return -(sampled.weights * objective).sum(), statistics


def log_probabilities(model: nn.Module, tokens: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of targets (B, T) after tokens (B, T); 0 where the target is IGNORE.

    temperature: that of sampling, because the gradient of the expected reward is that of the distribution which the
    completions are drawn from, softmax(logits / temperature).
    """
    return -model(tokens, targets, temperature=temperature)


@dataclass(frozen=True)
class Batch:
    """Sampled sequences. tokens, targets: (B, T), IGNORE where a token is not the policy's own. lengths: (B,)."""

    tokens: Tensor
    targets: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        return self.targets != IGNORE

    def micro_batches(self, size: int) -> list[Tensor]:
        """The indices of the sequences of each micro-batch, sequences of similar length together."""
        return list(torch.argsort(self.lengths, stable=True).split(size))

    def select(self, indices: Tensor, device: torch.device) -> tuple[Tensor, Tensor, int]:
        """Tokens and targets of some sequences, cut to the longest of them, and that length."""
        width = int(self.lengths[indices].max())
        return self.tokens[indices, :width].to(device), self.targets[indices, :width].to(device), width


def to_batch(prompts: Sequence[Sequence[int]], completions: Sequence[Completion], stop: int) -> Batch:
    """Prompts with their completions, padded on the right.

    The token with which a completion ended by itself follows it and is trained too: the one that was drawn. stop: that
    token where a completion does not name it. Prompts and tool output are not trained.
    """
    sequences: list[tuple[list[int], list[bool]]] = []
    for prompt, completion in zip(prompts, completions, strict=True):
        drawn = stop if completion.stop is None else completion.stop
        end = [drawn] if completion.finish == "stop" else []
        is_own = [False] * len(prompt) + [not from_tool for from_tool in completion.from_tool] + [True] * len(end)
        sequences.append(([*prompt, *completion.tokens, *end], is_own))
    lengths = torch.tensor([len(ids) - 1 for ids, _ in sequences])
    tokens = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long)
    targets = torch.full(tokens.shape, IGNORE, dtype=torch.long)
    for row, (ids, is_own) in enumerate(sequences):
        tokens[row, : len(ids) - 1] = torch.as_tensor(ids[:-1])
        targets[row, : len(ids) - 1] = torch.where(torch.as_tensor(is_own[1:]), torch.as_tensor(ids[1:]), IGNORE)
    return Batch(tokens, targets, lengths)


def minibatches(
    batch: Batch, sampled: SampledTokens, tokens: float, plan: PolicyPlan, devices: Devices
) -> list[tuple[Batch, SampledTokens]]:
    """The parts of a step that are an update each, with the weights of their tokens.

    A part has every `plan.minibatches`-th prompt of the step, whatever the number of processes; this process holds its
    share of each. tokens: the policy's own tokens in the whole step. The weights in `sampled` are not read.
    """
    if plan.minibatches == 1:
        return [(batch, replace(sampled, weights=token_weights(batch.mask, plan, tokens)))]
    of_part, parts = replace(plan, prompts=plan.prompts // plan.minibatches), []
    places = torch.tensor(devices.share(plan.prompts)).repeat_interleave(plan.samples)
    for number in range(plan.minibatches):
        rows = (places % plan.minibatches == number).nonzero()[:, 0]
        part = Batch(batch.tokens[rows], batch.targets[rows], batch.lengths[rows])
        [own_tokens] = devices.total(float(part.mask.sum()))
        sampler, reference = (
            None if scores is None else scores[rows] for scores in (sampled.sampler, sampled.reference)
        )
        weights = token_weights(part.mask, of_part, own_tokens)
        parts.append((part, SampledTokens(sampler, reference, sampled.advantages[rows], weights)))
    return parts
