"""Policy optimisation: a model learns to give the completions that were rewarded. Serves RL (GRPO) and RLHF.

A step draws prompts, samples a group of completions of each (with tool calls), has them rewarded, and changes the
weights by the clipped objective (`policy_loss`) with a penalty on the divergence from a reference model.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llm_assets.model.checkpoint import TrainingState, save_model, whole_folder
from llm_assets.model.sampling import Completion, Engine, Tools
from llm_assets.model.transformer import Transformer

from .curve import CURVE, Curve
from .learner import Execution, Learner, Loss, sequence_loss
from .losses import token_losses
from .plan import PolicyPlan
from .policy_loss import (
    Batch,
    SampledTokens,
    advantages,
    log_probabilities,
    minibatches,
    policy_loss,
    to_batch,
)
from .processes import TrainingProcess
from .rollout_server import ServerSampler, differences
from .rollouts import EngineSampler, Reward, Rollout, draw_groups
from .sequences import SequenceSource, TrainingError

BEST = "best"  # folder of the weights with the best score so far


@dataclass(frozen=True)
class PolicyTask:
    """What a policy is rewarded for.

    prompt(number): tokens of the number-th prompt, for any number. reward(numbers, completions): rewards of completions
    of these prompts, in their order. tools: tools that completions may call. replay: fine-tuning sequences that are
    trained on along with the completions.
    """

    prompt: Callable[[int], Sequence[int]]
    reward: Callable[[Sequence[int], Sequence[Completion]], Sequence[Reward]]
    tools: Tools | None = None
    replay: SequenceSource | None = None


@dataclass(frozen=True)
class EvaluationStep:
    """An evaluation of the policy: its score (higher is better; None does not count), numbers and rows to keep."""

    score: float | None
    numbers: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class PolicyEvaluation:
    """How a policy is evaluated while it is trained.

    evaluate(engine, step): the evaluation before `step`; step 0 is the policy as it was. why_stop(evaluations): the
    reason to stop after these evaluations, as they are reported; empty to continue.
    """

    evaluate: Callable[[Engine, int], EvaluationStep]
    why_stop: Callable[[list[dict[str, Any]]], str] = lambda evaluations: ""


class PolicyTrainer:
    """One training run of the engine's model in a folder, resumable from every checkpoint.

    drawn: prompts that were drawn before the next step. tokens: of all rollouts so far, prompts and replaced groups
    included; NaN if the run began with a version that did not count them. forward_tokens: how many tokens were read,
    replayed ones as well, where a backward pass counts as two, or as one if weights are frozen. Raises TrainingError if
    the prompts of a step cannot be divided among the processes, or if a group has one sample.
    """

    def __init__(
        self,
        engine: Engine,
        plan: PolicyPlan,
        process: TrainingProcess,
        task: PolicyTask,
        evaluation: PolicyEvaluation | None = None,
    ):
        self.engine, self.plan, self.process, self.task, self.evaluation = engine, plan, process, task, evaluation
        self.model, self.devices, self.report = engine.model, process.devices, process.report
        self.stop = engine.encoding.special["<|assistant_end|>"]
        self.stops: tuple[int, ...] = (self.stop, engine.encoding.bos)  # end a completion
        if plan.prompts % self.devices.world:
            raise TrainingError(
                f"{plan.prompts} prompts per step cannot be divided among {self.devices.world} processes; choose a "
                "number of processes that divides the prompts"
            )
        if plan.prompts // self.devices.world % plan.minibatches:
            raise TrainingError(
                f"minibatches {plan.minibatches}: the {plan.prompts // self.devices.world} prompts of each process "
                "cannot be divided into as many parts"
            )
        if plan.samples < 2:
            raise TrainingError(
                f"samples {plan.samples}: a group needs at least 2, because rewards are compared within a group"
            )
        self.learner = Learner(self.model, plan.optimisation, plan.steps, self.devices, Execution(savings=plan.savings))
        self.sampler: EngineSampler | ServerSampler = (
            EngineSampler(engine, plan, self.stops, task.tools)
            if plan.server is None
            else ServerSampler(engine, plan, self.stops, task.tools, self.devices)
        )
        self.drawn = 0
        self.tokens = self.forward_tokens = 0.0
        self._sampled = 0.0  # tokens of this process's rollouts in this step, prompts included
        # The weights before a checkpoint is loaded: where the training started. Frozen ones are shared, not copied.
        frozen = {id(weight): weight for weight in self.model.parameters() if not weight.requires_grad}
        self.reference = copy.deepcopy(self.model, frozen).eval().requires_grad_(False)

    # -- one step ---------------------------------------------------------------------------------------------------

    def rollout(self, step: int) -> Rollout:
        """Sample this process's share of a step."""
        self.sampler.prepare()
        self._sampled = 0.0
        first = self.drawn if self.plan.redraws else step * self.plan.prompts
        return self._sample([first + place for place in self.devices.share(self.plan.prompts)])

    def _sample(self, numbers: Sequence[int]) -> Rollout:
        """Sample groups of completions of the prompts with these numbers, one after the other."""
        samples, prompts = self.plan.samples, [self.task.prompt(number) for number in numbers]
        rollout = Rollout(
            [number for number in numbers for _ in range(samples)],
            [prompt for prompt in prompts for _ in range(samples)],
            self.sampler.sample(numbers, prompts),
        )
        self._sampled += rollout.token_count
        return rollout

    def update(self, step: int) -> dict[str, float]:
        """Take one step; returns its numbers. Raises TrainingError if the loss is not finite."""
        plan, total = self.plan, self.devices.total
        rollout = self.rollout(step)
        first = rollout.numbers[0] - self.devices.share(plan.prompts).start
        draw = draw_groups(rollout, first, self._sample, self.task.reward, plan, self.devices)
        self.drawn = first + plan.prompts + draw.redrawn
        rollout, rewards = draw.rollout, draw.rewards
        values = torch.tensor([reward.value for reward in rewards], dtype=torch.float32).view(-1, plan.samples)
        batch = to_batch(rollout.prompts, rollout.completions, self.stop)
        [tokens] = total(float(batch.mask.sum()))
        numbers = self._rollout_numbers(rollout.completions, values, tokens)
        for name in sorted({name for reward in rewards for name in reward.parts}):
            [part] = total(sum(reward.parts.get(name, 0.0) for reward in rewards))
            numbers[name] = part / (plan.prompts * plan.samples)
        if plan.redraws:
            numbers |= {"redrawn": float(draw.redrawn), "drawn_reward": draw.mean}
        self.model.train()
        if isinstance(self.sampler, ServerSampler):
            scores = self._scores(self.model, batch, 1.0)
            sums = total(*differences(rollout.prompts, rollout.completions, scores))
            numbers["mismatch"] = self.sampler.examine(*sums, step)
        sampled = SampledTokens(
            sampler=self._scores(self.model, batch, plan.temperature) if plan.updates * plan.minibatches > 1 else None,
            reference=self._scores(self.reference, batch, plan.temperature),
            advantages=advantages(values, plan.normalise).view(-1),
            weights=torch.zeros(0),
        )
        parts = minibatches(batch, sampled, tokens, plan, self.devices)
        for _ in range(plan.updates):
            numbers |= self._update_once(step, parts)
        self._count(rollout, sampled)
        return numbers

    def _count(self, rollout: Rollout, sampled: SampledTokens) -> None:
        """Count what a step read: sampling, scores by the reference and by the policy as it was, and the updates."""
        drawn, tokens = self.devices.total(self._sampled, float(rollout.token_count))
        plan, replayed = self.plan, 0
        if self.task.replay is not None:
            replayed = plan.updates * plan.minibatches * plan.replay_sequences * self.model.shape.context
        has_frozen = any(not weight.requires_grad for weight in self.model.parameters())
        scored = 1 + (sampled.sampler is not None) + isinstance(self.sampler, ServerSampler)
        self.tokens += drawn
        self.forward_tokens += drawn + scored * tokens + (2 if has_frozen else 3) * (plan.updates * tokens + replayed)

    def _update_once(self, step: int, parts: Sequence[tuple[Batch, SampledTokens]]) -> dict[str, float]:
        """An update for each part; returns the means of their numbers. Raises TrainingError if a loss is not finite."""
        plan = self.plan
        sums, results = {"clipped": 0.0, "kl": 0.0}, []
        for number, (batch, sampled) in enumerate(parts):
            losses = [self._policy_loss(batch, sampled, sums)]
            if self.task.replay is not None:
                losses.append(self._replay_loss(self.task.replay, step * plan.minibatches + number))
            [loss, *replayed], norm = self.learner.step(step, losses)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise TrainingError(
                    f"step {step}: the loss is {loss} and the gradient norm {norm}; lower learning_rate_scale (the "
                    f"learning rate is now {plan.optimisation.learning_rate:g})"
                )
            results.append([loss, norm, *replayed])
        loss, norm, *replayed = (
            column[0] if len(parts) == 1 else fmean(column) for column in zip(*results, strict=True)
        )
        clipped, divergence = (value / len(parts) for value in self.devices.total(sums["clipped"], sums["kl"]))
        numbers = {"loss": loss, "gradient_norm": norm, "clipped": clipped, "kl": divergence}
        return {**numbers, "replayed": replayed[0]} if replayed else numbers

    def _rollout_numbers(self, completions: Sequence[Completion], rewards: Tensor, tokens: float) -> dict[str, float]:
        """Numbers of a step's completions over all processes. tokens: the policy's own tokens in the batches."""
        plan = self.plan
        sequences = plan.prompts * plan.samples
        sampled, reward, flat, truncated, surprise = self.devices.total(
            float(sum(completion.own_length for completion in completions)),
            float(rewards.sum()),
            float((rewards.std(-1) == 0).sum()),
            float(sum(completion.finish != "stop" for completion in completions)),
            -float(sum(sum(completion.log_probabilities) for completion in completions)),
        )
        return {
            "reward": reward / sequences,
            "flat": flat / plan.prompts,
            "truncated": truncated / sequences,
            "length": tokens / sequences,
            "entropy": surprise / max(sampled, 1.0),
        }

    def _policy_loss(self, batch: Batch, sampled: SampledTokens, sums: dict[str, float]) -> Loss:
        """The clipped objective in micro-batches, which add their statistics to `sums`."""
        plan, device = self.plan, self.devices.device

        def summed(indices: Tensor, model: nn.Module) -> Tensor:
            tokens, targets, width = batch.select(indices, device)
            policy = log_probabilities(model, tokens, targets, plan.temperature)
            loss, statistics = policy_loss(policy, sampled.select(indices, width, device), plan)
            for name, value in statistics.items():
                sums[name] += value
            return loss

        return Loss([partial(summed, indices) for indices in batch.micro_batches(plan.micro_batch_size)])

    def _replay_loss(self, replay: SequenceSource, step: int) -> Loss:
        """The mean loss, in nats per token, of the fine-tuning sequences that this step replays."""
        plan, losses = self.plan, token_losses(self.engine.encoding.bos)
        loss = sequence_loss(replay, step, plan.replay_sequences, plan.micro_batch_size, self.devices, losses)
        return replace(loss, weight=plan.replay_weight)

    def _scores(self, model: Transformer, batch: Batch, temperature: float) -> Tensor:
        """(B, T) log-probabilities by a model at a temperature, without a gradient."""
        out = torch.zeros(batch.targets.shape)
        with torch.no_grad(), self.devices.autocast():
            for indices in batch.micro_batches(self.plan.micro_batch_size):
                tokens, targets, width = batch.select(indices, self.devices.device)
                scores = log_probabilities(model, tokens, targets, temperature)
                out[indices, :width] = scores.float().cpu()
        return out

    # -- all steps --------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Train to the end, from the newest checkpoint or from the start.

        Returns what the checkpoints hold besides the weights: events, the best evaluation, why the training stopped.
        """
        plan, devices, report = self.plan, self.devices, self.report
        torch.manual_seed(plan.seed)
        saved = self.learner.restore(self.process.folder)
        new = TrainingState(0, {"events": [], "best": None, "waiting": 0, "seconds": 0.0, "stopped": ""})
        state = saved or new
        values = self._values = state.values
        self.drawn = values.get("drawn", state.step * plan.prompts)
        uncounted = 0.0 if saved is None else math.nan
        self.tokens, self.forward_tokens = values.get("tokens", uncounted), values.get("forward_tokens", uncounted)
        self._curve = Curve(self.process.folder / CURVE, state.step) if devices.rank == 0 else None
        report("started", step=state.step, steps=plan.steps, device=str(devices.device), processes=devices.world)
        self._start = time.perf_counter() - values["seconds"]
        for step in range(state.step, plan.steps + 1):
            # What a checkpoint holds was evaluated before it was written.
            if saved is None or step != saved.step:
                self._evaluate_and_save(step)
            if step == plan.steps or values["stopped"]:
                break
            numbers = self.update(step)
            if self._curve is not None:
                self._curve.add(step=step, **{name: round(value, 6) for name, value in numbers.items()})
            rounded = {name: round(value, 5) for name, value in numbers.items()}
            report("policy_step", step=step + 1, steps=plan.steps, **rounded)
        report(
            "finished",
            step=step,
            seconds=round(time.perf_counter() - self._start, 3),
            cpu_seconds=round(time.process_time(), 1),
            memory=0,
        )
        return values

    def _evaluate_and_save(self, step: int) -> None:
        """Evaluate and write a checkpoint, each if the plan has it at this step."""
        plan, values = self.plan, self._values

        def due(every: int) -> bool:
            return bool(every) and (step % every == 0 or step == plan.steps)

        if self.evaluation is not None and due(plan.evaluate_every) and not values["stopped"]:
            if self.devices.rank == 0:
                values["stopped"] = self._evaluate(self.evaluation, step)
            values["stopped"] = self.devices.broadcast(values["stopped"])
        last = step == plan.steps or values["stopped"]
        if last or due(plan.checkpoint_every) or due(plan.evaluate_every):
            if self._curve is not None:
                self._curve.sync()
            values["seconds"] = round(time.perf_counter() - self._start, 3)
            values["tokens"], values["forward_tokens"] = self.tokens, self.forward_tokens
            if plan.redraws:
                values["drawn"] = self.drawn
            saved = partial(self.report, "checkpoint", step=step)
            self.learner.save(self.process.folder, TrainingState(step, dict(values)), plan.checkpoints_kept, saved)
            if last:
                self.learner.finish_saving()
            self.devices.wait_for_all()

    def _evaluate(self, evaluation: PolicyEvaluation, step: int) -> str:
        """Evaluate the policy and keep its weights if they are the best so far; returns why to stop, or nothing."""
        plan, values = self.plan, self._values
        self.model.eval()
        with torch.no_grad():
            result = evaluation.evaluate(self.engine, step)
        event = {"kind": "evaluation", "step": step, "score": result.score, **result.numbers}
        values["events"] += [event, *({"kind": "row", "step": step, **row} for row in result.rows)]
        self.report(**event)
        if result.score is not None and (values["best"] is None or result.score > values["best"]["score"]):
            values["best"], values["waiting"] = {"step": step, "score": result.score}, 0
            with whole_folder(self.process.folder / BEST) as temporary:
                save_model(self.model, temporary)
                (temporary / "best.json").write_text(json.dumps(values["best"]))
        elif result.score is not None and result.score < values["best"]["score"] - plan.margin:
            values["waiting"] += 1
        else:
            values["waiting"] = 0
        if reason := evaluation.why_stop([event for event in values["events"] if event["kind"] == "evaluation"]):
            return reason
        if plan.patience and values["waiting"] >= plan.patience:
            best = values["best"]
            return (
                f"the held-out score was more than {plan.margin:g} below its best ({best['score']:.3f} at step "
                f"{best['step']}) {values['waiting']} times in a row"
            )
        return ""


def prompt_place(number: int, count: int, seed: int) -> int:
    """Which of `count` prompts the number-th one is: each once per epoch, every epoch in another order."""
    epoch, place = divmod(number, count)
    return int(np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(count)[place])


def best_weights(folder: Path) -> Path:
    """The folder of the weights that training results in: those of its best evaluation, or else of its last step."""
    best = folder / BEST
    return best if best.exists() else max(folder.glob("step-*"))
