"""The training loop of pretraining, fine-tuning, the reward model and DPO. What is trained on, and on which loss, is
the caller's.

A step's sequences are a function of its number, and every process takes its share of them. The loss of a step is the
sum over all its targets divided by their number, so that neither micro-batches nor processes change it, except for
rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from llm_assets.model.checkpoint import TrainingState

from .curve import CURVE, DIVERGED_STEPS, Curve
from .learner import Execution, Learner, sequence_loss
from .losses import TargetLosses, token_losses
from .optimiser import schedule
from .plan import TrainingPlan
from .processes import TrainingProcess
from .sequences import SequenceSource, TrainingError

REPORT_SECONDS = 1.0


@dataclass(frozen=True)
class Hooks:
    """What runs while a model is trained.

    validate(model): numbers of the validation split, which all processes compute together. sample(model): texts, which
    the first process samples. step_numbers(): further columns of the curve, which all processes compute together after
    each step.
    """

    validate: Callable[[Any], dict[str, float]] | None = None
    sample: Callable[[Any], list[dict[str, Any]]] | None = None
    step_numbers: Callable[[], dict[str, float]] | None = None


def train(
    model: Any,
    data: SequenceSource | None,
    plan: TrainingPlan,
    process: TrainingProcess,
    hooks: Hooks | None = None,
    losses: TargetLosses | None = None,
) -> None:
    """Train until `plan.steps` steps are done, from the newest checkpoint in the folder or from the model as it is.

    data: None if there are no steps. losses: the loss of each target; by default cross-entropy within the documents
    that `plan.boundary` begins. The checkpoint of the last step is the result. Raises TrainingError if the loss is not
    finite or diverges; the last good checkpoint is kept, and the steps since then are lost.
    """
    losses = losses or token_losses(plan.boundary)
    Training(model, data, plan, process, hooks or Hooks(), losses).run()


class _Clock:
    """Seconds spent on training, over interruptions and without the pauses for evaluation."""

    def __init__(self, earlier: float):
        self._start = time.perf_counter() - earlier

    def pause(self, seconds: float) -> None:
        """Do not count these seconds."""
        self._start += seconds

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start


class Training:
    """One training run in its folder: steps, evaluation, checkpoints, and reports of progress."""

    def __init__(
        self,
        model: Any,
        data: SequenceSource | None,
        plan: TrainingPlan,
        process: TrainingProcess,
        hooks: Hooks,
        losses: TargetLosses,
    ):
        self.data, self.plan, self.process, self.hooks, self.losses = data, plan, process, hooks, losses
        devices = process.devices
        if plan.batch_size % devices.world:
            raise TrainingError(
                f"a batch of {plan.batch_size} sequences cannot be divided among {devices.world} processes; choose a "
                "number of processes that divides the batch"
            )
        torch.manual_seed(plan.seed)
        model.train()
        self.model, self.first = model, devices.rank == 0
        execution = Execution(plan.compile, plan.savings, plan.sharded)
        self.learner = Learner(model, plan.optimisation, plan.steps, devices, execution)
        saved = self.learner.restore(process.folder)
        self.start, self.is_new = saved or TrainingState(0, {}), saved is None
        self.curve = Curve(process.folder / CURVE, self.start.step) if self.first else None
        self.events: list[dict[str, Any]] = self.start.values.get("events", [])
        self.peak_flops = devices.peak_flops()

    def run(self) -> None:
        """Take all steps that remain."""
        plan, process, begin = self.plan, self.process, self.start.step
        process.report(
            "started",
            step=begin,
            steps=plan.steps,
            parameters=self.model.shape.parameters,
            device=process.devices.description,
            processes=process.devices.world,
            batch_size=plan.batch_size,
            context=self.model.shape.context,
        )
        self.clock = _Clock(float(self.start.values.get("seconds", 0.0)))
        self._reported = begin, self.clock.seconds
        # An evaluation belongs to the step before which it is made: step 0 is the untrained model. What a checkpoint
        # holds was evaluated before the checkpoint was written.
        for step in range(begin, plan.steps + 1):
            if step != begin or self.is_new:
                self._evaluate(step)
            last = step == plan.steps
            due = last or (plan.checkpoint_every and step % plan.checkpoint_every == 0)
            # A training run without steps keeps the model as it is.
            if due and (step != begin or (last and self.is_new)):
                self._save(step)
            if not last:
                self._step(step)
        process.report(
            "finished",
            step=plan.steps,
            seconds=round(self.clock.seconds, 3),
            cpu_seconds=round(time.process_time(), 1),
            memory=process.devices.peak_memory(),
        )

    def _step(self, step: int) -> None:
        plan = self.plan
        micro_batch_size, devices = plan.micro_batch_size, self.process.devices
        loss = sequence_loss(self.data, step, plan.batch_size, micro_batch_size, devices, self.losses)
        [value], norm = self.learner.step(step, [loss])
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise TrainingError(
                f"step {step}: the loss is {value} and the gradient norm {norm}; lower the learning rate "
                f"({self._rates}) or raise warmup"
            )
        numbers = self.hooks.step_numbers() if self.hooks.step_numbers is not None else {}
        if self.curve is None:
            return
        learning_rate = plan.optimisation.learning_rate * schedule(step, plan.steps, plan.optimisation)
        self.curve.add(
            step=step,
            tokens=(step + 1) * plan.batch_size * self.model.shape.context,
            loss=round(value, 6),
            learning_rate=learning_rate,
            gradient_norm=round(norm, 6),
            **numbers,
        )
        if self.curve.diverged(plan.diverged_by):
            raise TrainingError(
                f"step {step}: the loss diverges ({value:.2f}; the mean of {DIVERGED_STEPS} steps is more than "
                f"{plan.diverged_by:g} above the best); lower the learning rate ({self._rates}) or raise warmup"
            )
        self._report_step(step + 1, value, learning_rate, norm, numbers)

    @property
    def _rates(self) -> str:
        optimisation = self.plan.optimisation
        return f"now {optimisation.learning_rate:g} and {optimisation.matrix_learning_rate:g} for matrices"

    def _report_step(
        self, done: int, loss: float, learning_rate: float, norm: float, numbers: dict[str, float]
    ) -> None:
        """Report progress, at most once in REPORT_SECONDS. done: steps so far. numbers: further ones of the step."""
        plan, seconds, (reported_step, reported_seconds) = self.plan, self.clock.seconds, self._reported
        if seconds - reported_seconds < REPORT_SECONDS and done != plan.steps:
            return
        step_tokens = plan.batch_size * getattr(self.data, "mean_tokens", self.model.shape.context)
        speed = (done - reported_step) * step_tokens / (seconds - reported_seconds)
        used = speed * self.model.shape.flops_per_token / self.peak_flops if self.peak_flops else None
        self.process.report(
            "step",
            step=done,
            steps=plan.steps,
            loss=round(loss, 4),
            learning_rate=learning_rate,
            gradient_norm=round(norm, 4),
            tokens_per_second=round(speed, 1),
            mfu=None if used is None else round(used, 4),
            seconds_left=round((plan.steps - done) * step_tokens / speed, 1),
            memory=self.process.devices.peak_memory(),
            **numbers,
        )
        self._reported = done, seconds

    def _evaluate(self, step: int) -> None:
        """Validate and sample if the plan has it at this step; the time for it is not counted as training."""
        began = time.perf_counter()
        plan, hooks = self.plan, self.hooks
        events: list[dict[str, Any]] = []

        def due(every: int) -> bool:
            return bool(every) and (step % every == 0 or step == plan.steps)

        self.model.eval()
        with torch.no_grad():
            if hooks.validate is not None and due(plan.validate_every):
                with self.process.devices.autocast():
                    numbers = hooks.validate(self.model)
                events.append({"kind": "validation", "step": step, **numbers})
            # One process cannot run a model that is divided among several.
            if hooks.sample is not None and self.first and not plan.sharded and due(plan.sample_every):
                events += [{"kind": "sample", "step": step, **sample} for sample in hooks.sample(self.model)]
        self.model.train()
        for event in events:
            self.process.report(**event)
        self.events += events
        self.clock.pause(time.perf_counter() - began)

    def _save(self, step: int) -> None:
        """Write a checkpoint. No process goes on before it is whole, or, on a GPU, before it is copied; none ends
        before the last is whole.
        """
        if self.curve is not None:
            self.curve.sync()
        values = {"events": self.events, "seconds": round(self.clock.seconds, 3)}
        report = partial(self.process.report, "checkpoint", step=step)
        self.learner.save(self.process.folder, TrainingState(step, values), self.plan.checkpoints_kept, report)
        if step == self.plan.steps:
            self.learner.finish_saving()
        self.process.devices.wait_for_all()
