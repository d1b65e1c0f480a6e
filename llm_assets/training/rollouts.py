"""Rollouts: the completions that a policy is trained on, sampled in the training process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llm_assets.model.sampling import Completion, Engine, Sampling, Tools

from .plan import PolicyPlan
from .processes import Devices


@dataclass(frozen=True)
class Reward:
    """A completion's reward, and its components by name, which are reported but not optimised."""

    value: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rollout:
    """Sampled completions of this process's prompts: the prompt's number and tokens, each `samples` times in a row."""

    numbers: list[int]
    prompts: list[Sequence[int]]
    completions: list[Completion]

    @property
    def token_count(self) -> int:
        """Tokens of all sequences, each with its prompt."""
        return sum(map(len, self.prompts)) + sum(len(completion.tokens) for completion in self.completions)

    def with_groups(self, groups: Sequence[int], other: Rollout, samples: int) -> Rollout:
        """This rollout with the groups of `other` in the place of those at `groups`."""
        new = Rollout(list(self.numbers), list(self.prompts), list(self.completions))
        for place, group in enumerate(groups):
            here, there = slice(group * samples, (group + 1) * samples), slice(place * samples, (place + 1) * samples)
            new.numbers[here], new.prompts[here] = other.numbers[there], other.prompts[there]
            new.completions[here] = other.completions[there]
        return new


@dataclass(frozen=True)
class Draw:
    """What a step is trained on: this process's completions with their rewards.

    redrawn: groups of all processes that were replaced. mean: reward of all completions that were drawn, with those of
    replaced groups.
    """

    rollout: Rollout
    rewards: list[Reward]
    redrawn: int
    mean: float


class EngineSampler:
    """Samples with the project's own engine, as many sequences at a time as fit."""

    def __init__(self, engine: Engine, plan: PolicyPlan, stops: Sequence[int], tools: Tools | None):
        self.engine, self.plan, self.tools = engine, plan, tools
        self.sampling = Sampling(max_tokens=plan.max_tokens, temperature=plan.temperature, seed=plan.seed, stop=stops)

    def prepare(self) -> None:
        """Turn off what only training does."""
        self.engine.model.eval()

    def sample(self, numbers: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[Completion]:
        """`samples` completions of each prompt, in order."""
        samples = self.plan.samples
        completions: list[Completion] = []
        together = self.engine.fitting_batch(prompts, self.plan.max_tokens, self.tools is not None)
        at_once = max(1, together // samples)
        for first in range(0, len(prompts), at_once):
            # Counted over the whole training, so that no two of its prompts share a stream of random numbers.
            first_sequence = (numbers[0] + first) * samples
            *_, sampled = self.engine.stream(
                prompts[first : first + at_once], self.sampling, samples, first_sequence, self.tools
            )
            completions += sampled  # type: ignore[arg-type]
        return completions


def draw_groups(
    rollout: Rollout,
    first: int,
    sample: Callable[[Sequence[int]], Rollout],
    reward: Callable[[Sequence[int], Sequence[Completion]], Sequence[Reward]],
    plan: PolicyPlan,
    devices: Devices,
) -> Draw:
    """Have a step's rollout rewarded. With `plan.redraws`, replace groups whose rewards are all equal, round by round.

    first: number of the step's first prompt, over all processes. sample: groups of the prompts with these numbers, one
    after the other. Each process replaces its own groups by those of the next prompts, and counts what the others
    replace: prompts and random numbers of a step do not depend on the number of processes.
    """
    samples, share = plan.samples, devices.share(plan.prompts)
    rewards = list(reward(rollout.numbers, rollout.completions))
    redrawn, of_all = 0, sum(item.value for item in rewards)
    for _ in range(plan.redraws):
        flat = flat_places(rewards, plan, devices)
        if not flat:
            break
        groups = {place - share.start: index for index, place in enumerate(flat) if place in share}
        if groups:
            other = sample([first + plan.prompts + redrawn + index for index in groups.values()])
            new = list(reward(other.numbers, other.completions))
            rollout = rollout.with_groups(list(groups), other, samples)
            for place, group in enumerate(groups):
                rewards[group * samples : (group + 1) * samples] = new[place * samples : (place + 1) * samples]
            of_all += sum(item.value for item in new)
        redrawn += len(flat)
    [of_all] = devices.total(of_all)
    return Draw(rollout, rewards, redrawn, of_all / ((plan.prompts + redrawn) * samples))


def flat_places(rewards: Sequence[Reward], plan: PolicyPlan, devices: Devices) -> list[int]:
    """The places, among all prompts of the step, of groups whose rewards are all equal. rewards: this process's."""
    flags = [0.0] * plan.prompts
    for group, place in enumerate(devices.share(plan.prompts)):
        values = {reward.value for reward in rewards[group * plan.samples : (group + 1) * plan.samples]}
        flags[place] = float(len(values) == 1)
    return [place for place, flag in enumerate(devices.total(*flags)) if flag]
