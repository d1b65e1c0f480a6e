"""Policy optimisation: a model is made to say more often what was rewarded. Serves practice on problems (GRPO) and RLHF.

A step draws prompts, samples a group of completions of each with the sampling engine (tools and all), has them rewarded, and changes
the weights by the clipped objective with a penalty for going away from a reference model. Shapes: P prompts, G completions of each,
B = P x G sequences of at most T tokens.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import TrainingState, load_training, save_model, save_training, whole_folder
from llm_assets.model.sampling import Completion, Engine, Sampling, Tools
from llm_assets.model.transformer import Transformer

from .loop import CURVE, Curve, Devices, masked, shares
from .optimiser import apply_gradients, make_optimisers, parameter_names
from .plan import PolicyPlan
from .rows import Rows, TrainingError

BEST = "best"  # folder of the weights with the best score so far
ROLLOUT_BATCH = 256  # sequences that are sampled at once


@dataclass(frozen=True)
class Reward:
    """A completion's reward, and what it is made of by name (shown, not optimised)."""

    value: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationStep:
    """A look at the policy: its score (higher is better; None does not judge), numbers and rows to keep."""

    score: float | None
    numbers: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def advantages(rewards: Tensor, normalise: bool) -> Tensor:
    """(P, G) rewards less their group's mean, over its deviation (of G - 1) where wanted. A group without variance has 0."""
    centred = rewards - rewards.mean(-1, keepdim=True)
    if not normalise:
        return centred
    return centred / (rewards.std(-1, keepdim=True) + 1e-4)


def token_weights(mask: Tensor, length: str, max_tokens: int, sequences: int, tokens: float) -> Tensor:
    """What each token of (B, T) counts; `sequences` and `tokens` are of the whole step."""
    held = mask.float()
    if length == "tokens":
        return held / max(tokens, 1.0)
    if length == "constant":
        return held / (max_tokens * sequences)
    return held / held.sum(-1, keepdim=True).clamp(min=1) / sequences


def policy_loss(
    now: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantage: Tensor,
    weights: Tensor,
    clip_low: float,
    clip_high: float,
    kl: float,
) -> tuple[Tensor, dict[str, float]]:
    """The loss (a scalar, to be minimised), and sums over tokens by weight: the divergence, and the share that was clipped.

    now, old, reference: (B, T) log-probabilities of the tokens by policy, sampler and reference model. advantage: (B,).
    weights: (B, T), 0 where a token is not the policy's.
    """
    ratio = (now - old).exp()
    gain = advantage[:, None]
    plain, clipped = ratio * gain, ratio.clamp(1 - clip_low, 1 + clip_high) * gain
    objective = torch.minimum(plain, clipped)
    stats = {"clipped": float((weights * (clipped < plain)).sum())}
    if reference is not None:
        away = reference - now
        divergence = away.exp() - away - 1
        stats["kl"] = float((weights * divergence.detach()).sum())
        objective = objective - kl * divergence
    return -(weights * objective).sum(), stats


def log_probabilities(model: Transformer, tokens: Tensor, targets: Tensor) -> Tensor:
    """Of targets (B, T) after tokens (B, T); 0 where the target is IGNORE."""
    return -model(tokens, targets)


@dataclass(frozen=True)
class Batch:
    """Sequences to train on: inputs and targets (B, T), IGNORE where a token is not the policy's; places that each takes (B,)."""

    tokens: Tensor
    targets: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        return self.targets != IGNORE

    def passes(self, rows: int) -> list[Tensor]:
        """Sequences of each pass through the model, alike lengths together."""
        return list(torch.argsort(self.lengths, stable=True).split(rows))

    def part(self, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor, int]:
        """Inputs and targets of some sequences, and their width."""
        width = int(self.lengths[rows].max())
        return self.tokens[rows, :width].to(device), self.targets[rows, :width].to(device), width


def to_batch(prompts: Sequence[Sequence[int]], completions: Sequence[Completion], stop: int) -> Batch:
    """Prompts with their completions, padded on the right; one that ended by itself has its stop token, which is trained too."""
    rows = []
    for prompt, completion in zip(prompts, completions, strict=True):
        ended = completion.finish == "stop"
        rows.append(
            (
                [*prompt, *completion.tokens, *([stop] if ended else [])],
                [False] * len(prompt) + [not one for one in completion.forced] + [True] * ended,
            )
        )
    lengths = torch.tensor([len(ids) - 1 for ids, _ in rows])
    tokens = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    targets = torch.full(tokens.shape, IGNORE, dtype=torch.long)
    for row, (ids, own) in enumerate(rows):
        tokens[row, : len(ids) - 1] = torch.as_tensor(ids[:-1])
        targets[row, : len(ids) - 1] = torch.where(torch.as_tensor(own[1:]), torch.as_tensor(ids[1:]), IGNORE)
    return Batch(tokens, targets, lengths)


class PolicyTrainer:
    """One training of a policy in a folder, resumable at every checkpoint.

    prompts(number): tokens of the number-th prompt, for as long as training wants. reward(numbers, completions): rewards of completions of
    these prompts, in their order. evaluation(engine, step): a held-out evaluation, where `evaluate_every` wants one; the step before the first is 0.
    """

    def __init__(
        self,
        model: Transformer,
        engine: Engine,
        plan: PolicyPlan,
        folder: Path,
        devices: Devices,
        report: Callable[..., None],
        prompts: Callable[[int], Sequence[int]],
        reward: Callable[[Sequence[int], Sequence[Completion]], Sequence[Reward]],
        evaluation: Callable[[Engine, int], EvaluationStep] | None = None,
        tools: Tools | None = None,
        stop: int | None = None,
        judge: Callable[[list[dict[str, Any]]], str] | None = None,
        replay: Rows | None = None,
    ):
        self.model, self.engine, self.plan, self.folder, self.devices, self.report = (
            model,
            engine,
            plan,
            folder,
            devices,
            report,
        )
        self.prompts, self.reward, self.evaluation, self.tools, self.judge, self.replay = (
            prompts,
            reward,
            evaluation,
            tools,
            judge,
            replay,
        )
        self.stop = engine.encoding.special["<|assistant_end|>"] if stop is None else stop
        if plan.prompts % devices.world:
            raise TrainingError(
                f"{plan.prompts} prompts a step cannot be shared by {devices.world} processes; let their number divide the prompts"
            )
        if plan.samples < 2:
            raise TrainingError(f"samples {plan.samples}: a group wants at least 2, for it is compared with itself")
        model.to(devices.device)
        self.reference = (
            copy.deepcopy(model).eval().requires_grad_(False)
        )  # before a checkpoint is loaded: what training set out from
        self.optimisers = make_optimisers(model, plan.optimisation)
        self.names = parameter_names(model)

    # -- one step ---------------------------------------------------------------------------------------------------

    def rollout(self, step: int) -> tuple[list[int], list[Sequence[int]], list[Completion]]:
        """This process's share of a step: prompts' numbers (each `samples` times), their tokens, the completions."""
        plan = self.plan
        mine = shares(plan.prompts, self.devices)
        numbers = [step * plan.prompts + place for place in mine]
        texts = [self.prompts(number) for number in numbers]
        sampling = Sampling(
            max_tokens=plan.max_tokens,
            temperature=plan.temperature,
            seed=plan.seed,
            stop=(self.stop, self.engine.encoding.bos),
        )
        self.model.eval()
        completions: list[Completion] = []
        at_once = max(1, ROLLOUT_BATCH // plan.samples)
        for first in range(0, len(texts), at_once):
            # Counted from the first sequence of all, so that no two prompts of a training share a stream of random numbers.
            *_, found = self.engine.stream(
                texts[first : first + at_once], sampling, plan.samples, (numbers[0] + first) * plan.samples, self.tools
            )
            completions += found  # type: ignore[arg-type]
        return (
            [number for number in numbers for _ in range(plan.samples)],
            [text for text in texts for _ in range(plan.samples)],
            completions,
        )

    def total(self, *values: float) -> list[float]:
        """Sums over all processes."""
        if self.devices.world == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.devices.device)
        dist.all_reduce(tensor)
        return tensor.tolist()  # type: ignore[no-any-return]

    def update(self, step: int) -> dict[str, float]:
        """One step; its numbers. Raises TrainingError on a loss that is no number."""
        plan, device = self.plan, self.devices.device
        numbers, texts, completions = self.rollout(step)
        rewards = self.reward(numbers, completions)
        values = torch.tensor([one.value for one in rewards], dtype=torch.float32).view(-1, plan.samples)
        gains = advantages(values, plan.normalise)
        batch = to_batch(texts, completions, self.stop)
        own = batch.mask.sum(-1)
        sequences = plan.prompts * plan.samples
        tokens, sampled, reward, flat, truncated, surprise = self.total(
            float(own.sum()),
            float(sum(len(one.forced) - sum(one.forced) for one in completions)),
            float(values.sum()),
            float((values.std(-1) == 0).sum()),
            float(sum(one.finish != "stop" for one in completions)),
            -float(sum(sum(one.log_probabilities) for one in completions)),
        )
        weights = token_weights(batch.mask, plan.length, plan.max_tokens, sequences, tokens)
        found = {
            "reward": reward / sequences,
            "flat": flat / plan.prompts,
            "truncated": truncated / sequences,
            "length": tokens / sequences,
            "entropy": surprise / max(sampled, 1.0),
        }
        names = sorted({name for one in rewards for name in one.parts})
        for name, value in zip(
            names, self.total(*(sum(one.parts.get(name, 0.0) for one in rewards) for name in names)), strict=True
        ):
            found[name] = value / sequences
        loss = norm = clipped = kl = replayed = 0.0
        self.model.train()
        reference = self._scores(self.reference, batch)
        # With one update the sampler is the policy itself: the ratio is 1, and its gradient that of the log-probability.
        old = self._scores(self.model, batch) if plan.updates > 1 else None
        for _ in range(plan.updates):
            loss = clipped = kl = 0.0
            for rows in batch.passes(plan.micro_batch_size):
                part, aims, width = batch.part(rows, device)
                with self.devices.autocast():
                    now = log_probabilities(self.model, part, aims)
                one, stats = policy_loss(
                    now,
                    now.detach() if old is None else old[rows, :width].to(device),
                    reference[rows, :width].to(device),
                    gains.view(-1)[rows].to(device),
                    weights[rows, :width].to(device),
                    plan.clip_low,
                    plan.clip_high,
                    plan.kl,
                )
                one.backward()
                loss, clipped, kl = loss + float(one.detach()), clipped + stats["clipped"], kl + stats.get("kl", 0.0)
            replayed = self._replay(step)
            norm = self._change(step)
        loss, clipped, kl = self.total(loss, clipped, kl)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"step {step}: the loss is {loss}, the gradient's norm {norm}; lower the rate (now {plan.optimisation.learning_rate:g})"
            )
        return {
            **found,
            "loss": loss,
            "gradient_norm": norm,
            "clipped": clipped,
            "kl": kl,
            **({"replayed": replayed} if self.replay is not None else {}),
        }

    def _replay(self, step: int) -> float:
        """Add the gradient of the step's rows to replay; their mean loss, nats a token, over all processes."""
        plan, device = self.plan, self.devices.device
        if self.replay is None:
            return 0.0
        mine = shares(plan.replay_sequences, self.devices)
        tokens, targets = (
            torch.from_numpy(array) for array in self.replay.rows(step * plan.replay_sequences + mine.start, len(mine))
        )
        [count] = self.total(float((targets != IGNORE).sum()))
        lost = 0.0
        for first in range(0, len(mine), plan.micro_batch_size):
            part, aims = (array[first : first + plan.micro_batch_size].to(device) for array in (tokens, targets))
            with self.devices.autocast():
                losses = self.model(part, aims, masked(part, self.engine.encoding.bos))
            one = losses.sum() / max(count, 1.0)
            (plan.replay_weight * one).backward()
            lost += float(one.detach())
        return self.total(lost)[0]

    def _scores(self, model: Transformer, batch: Batch) -> Tensor:
        """(B, T) log-probabilities by a model, without a gradient."""
        out = torch.zeros(batch.targets.shape)
        with torch.no_grad(), self.devices.autocast():
            for rows in batch.passes(self.plan.micro_batch_size):
                part, aims, width = batch.part(rows, self.devices.device)
                out[rows, :width] = log_probabilities(model, part, aims).float().cpu()
        return out

    def _change(self, step: int) -> float:
        """Clip the gradient, change the weights; the gradient's norm."""
        if self.devices.world > 1:
            for parameter in self.model.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                dist.all_reduce(parameter.grad)
        return apply_gradients(self.model, self.optimisers, self.plan.optimisation, step, self.plan.steps)

    # -- all steps --------------------------------------------------------------------------------------------------

    def _evaluate(self, step: int, values: dict[str, Any]) -> str:
        """Judge the policy as it stands; why to stop, or nothing. `values` is what is kept over a break: events, best."""
        assert self.evaluation is not None
        self.model.eval()
        with torch.no_grad():
            found = self.evaluation(self.engine, step)
        event = {"kind": "evaluation", "step": step, "score": found.score, **found.numbers}
        values["events"] += [event, *({"kind": "row", "step": step, **row} for row in found.rows)]
        self.report(**event)
        if found.score is not None and (values["best"] is None or found.score > values["best"]["score"]):
            values["best"], values["waiting"] = {"step": step, "score": found.score}, 0
            with whole_folder(self.folder / BEST) as temporary:
                save_model(self.model, temporary)
                (temporary / "best.json").write_text(json.dumps(values["best"]))
        elif found.score is not None and found.score < values["best"]["score"] - self.plan.margin:
            values["waiting"] += 1
        else:
            values["waiting"] = 0
        if self.judge is not None and (
            why := self.judge([one for one in values["events"] if one["kind"] == "evaluation"])
        ):
            return why
        if self.plan.patience and values["waiting"] >= self.plan.patience:
            return f"the held-out score was more than {self.plan.margin:g} below its best ({values['best']['score']:.3f} at step {values['best']['step']}) {values['waiting']} times in a row"
        return ""

    def run(self) -> dict[str, Any]:
        """Train from the newest checkpoint, or from the beginning, to the end; what is kept: events, the best evaluation, why it stopped."""
        plan, report = self.plan, self.report
        torch.manual_seed(plan.seed)
        saved = load_training(self.folder, self.model, self.optimisers, self.names)
        state = saved or TrainingState(0, {"events": [], "best": None, "waiting": 0, "seconds": 0.0, "stopped": ""})
        for which, optimiser in self.optimisers.items():
            for group in optimiser.param_groups:
                group["initial_lr"] = (
                    plan.optimisation.matrix_learning_rate if which == "muon" else plan.optimisation.learning_rate
                )
        values = state.values
        first = self.devices.rank == 0
        curve = Curve(self.folder / CURVE, state.step) if first else None
        report(
            "started", step=state.step, steps=plan.steps, device=str(self.devices.device), processes=self.devices.world
        )
        clock, begun = time.perf_counter(), values["seconds"]

        def save(step: int) -> None:
            if first:
                assert curve is not None
                curve.sync()
                values["seconds"] = round(begun + time.perf_counter() - clock, 3)
                save_training(
                    self.folder,
                    self.model,
                    self.optimisers,
                    self.names,
                    TrainingState(step, dict(values)),
                    plan.checkpoints_kept,
                )
                report("checkpoint", step=step)

        def due(step: int, every: int) -> bool:
            return bool(every) and (step % every == 0 or step == plan.steps)

        for step in range(state.step, plan.steps + 1):
            fresh = saved is None or step != saved.step  # what a checkpoint holds was looked at before it was written
            if fresh and self.evaluation is not None and due(step, plan.evaluate_every) and not values["stopped"]:
                if first:
                    values["stopped"] = self._evaluate(step, values)
                values["stopped"] = self._told(values["stopped"])
            if fresh and (
                step == plan.steps
                or values["stopped"]
                or due(step, plan.checkpoint_every)
                or due(step, plan.evaluate_every)
            ):
                save(step)
                if self.devices.world > 1:
                    dist.barrier()
            if step == plan.steps or values["stopped"]:
                break
            numbers = self.update(step)
            if curve is not None:
                curve.add(step=step, **{name: round(value, 6) for name, value in numbers.items()})
            report(
                "policy_step",
                step=step + 1,
                steps=plan.steps,
                **{name: round(value, 5) for name, value in numbers.items()},
            )
        report(
            "finished",
            step=step,
            seconds=round(begun + time.perf_counter() - clock, 3),
            cpu_seconds=round(time.process_time(), 1),
            memory=0,
        )
        return values

    def _told(self, text: str) -> str:
        """What the first process says, to all."""
        if self.devices.world == 1:
            return text
        box = [text]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def drawn(number: int, count: int, seed: int) -> int:
    """Which of `count` prompts the number-th is: every one once an epoch, each epoch in another order."""
    epoch, place = divmod(number, count)
    return int(np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)[place])


def best_weights(folder: Path) -> Path:
    """The folder whose weights a training leaves: of its best evaluation, or the last step's where nothing was judged."""
    best = folder / BEST
    return best if best.exists() else max(folder.glob("step-*"))
