"""Dynamic sampling and minibatches: which groups are drawn and trained on, for any number of processes."""

import pytest
import torch

from llm_assets.model.sampling import Completion
from llm_assets.training.policy import Reward
from llm_assets.training.policy_loss import Batch, SampledTokens, minibatches
from llm_assets.training.processes import Devices
from llm_assets.training.rollouts import Rollout, draw_groups
from llm_assets.training.sequences import TrainingError
from tests.support.policy_training import policy_plan, policy_trainer, read_curve, reward_low_tokens

SAMPLES, PROMPTS = 2, 4


class Shared(Devices):
    """One of several processes whose sums are those of all: `flags` has the sums of the rounds so far, in order."""

    def __init__(self, rank, world, sums):
        super().__init__(torch.device("cpu"), rank, world)
        object.__setattr__(self, "sums", sums)
        object.__setattr__(self, "calls", [])

    def total(self, *values):
        self.calls.append(values)
        return list(self.sums[len(self.calls) - 1]) if len(self.calls) <= len(self.sums) else list(values)


def rollout_of(numbers):
    repeated = [number for number in numbers for _ in range(SAMPLES)]
    return Rollout(repeated, [[number] for number in repeated], [Completion([number]) for number in repeated])


def reward_some(numbers, completions):
    """Groups of prompts whose number is divisible by three differ in their rewards, the others do not."""
    return [Reward(float(place % SAMPLES) if number % 3 == 0 else 1.0) for place, number in enumerate(numbers)]


def drawn(devices, redraws, first=0):
    plan = policy_plan(prompts=PROMPTS, samples=SAMPLES, redraws=redraws)
    rollout = rollout_of([first + place for place in devices.share(PROMPTS)])
    return draw_groups(rollout, first, rollout_of, reward_some, plan, devices)


def test_groups_without_variance_are_replaced_by_the_next_prompts_up_to_the_bound():
    alone = Devices(torch.device("cpu"))
    assert drawn(alone, 0).rollout.numbers[::SAMPLES] == [0, 1, 2, 3] and drawn(alone, 0).redrawn == 0
    # Of 0 to 3, 1 and 2 have no variance; 4 and 5 neither; then 6 has, and 7 is left.
    once, twice = drawn(alone, 1), drawn(alone, 2)
    assert once.rollout.numbers[::SAMPLES] == [0, 4, 5, 3] and once.redrawn == 2
    assert twice.rollout.numbers[::SAMPLES] == [0, 6, 7, 3] and twice.redrawn == 4
    assert drawn(alone, 99).rollout.numbers[::SAMPLES] == [0, 6, 9, 3] and drawn(alone, 99).redrawn == 6
    assert [reward.value for reward in once.rewards] == [0, 1, 1, 1, 1, 1, 0, 1]
    assert once.mean == pytest.approx((2 * 1 + 4 * 2) / 12)  # two groups of (0, 1), four of (1, 1), drawn over all


@pytest.mark.parametrize("redraws", [1, 2])
def test_two_processes_draw_what_one_draws(redraws):
    alone = drawn(Devices(torch.device("cpu")), redraws)
    rounds = [(0.0, 1.0, 1.0, 0.0), (0.0, 1.0, 1.0, 0.0)][:redraws]
    parts = [drawn(Shared(rank, 2, rounds), redraws) for rank in (0, 1)]
    assert parts[0].rollout.numbers + parts[1].rollout.numbers == alone.rollout.numbers
    assert [part.redrawn for part in parts] == [alone.redrawn] * 2


def test_redraws_change_nothing_where_every_group_has_variance(tmp_path):
    """Off by default, and to the last digit what the training is without them."""

    def distinct(numbers, completions):
        rewards = reward_low_tokens(numbers, completions)
        return [Reward(reward.value + place % 8 / 100, reward.parts) for place, reward in enumerate(rewards)]

    for name, redraws in (("without", 0), ("with", 3)):
        policy_trainer(tmp_path / name, reward=distinct, steps=2, redraws=redraws).run()
    with_redraws = read_curve(tmp_path / "with")
    assert [row.pop("redrawn") for row in with_redraws] == [0, 0]
    assert [row.pop("drawn_reward") for row in with_redraws] == [row["reward"] for row in with_redraws]
    assert with_redraws == read_curve(tmp_path / "without")
    weights = [(tmp_path / name / "step-00000002" / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]


def test_an_interrupted_training_goes_on_with_the_prompts_after_those_that_were_drawn(tmp_path):
    seen = {"whole": [], "broken": []}

    def rewarding(name):
        def reward(numbers, completions):
            seen[name] += numbers[::8]
            return [Reward(float(number % 2 * (place % 2))) for place, number in enumerate(numbers)]

        return reward

    def report(kind, **values):
        if kind == "policy_step" and values["step"] == 2:
            raise InterruptedError

    settings = {"steps": 4, "redraws": 1, "checkpoint_every": 1}
    policy_trainer(tmp_path / "whole", reward=rewarding("whole"), **settings).run()
    with pytest.raises(InterruptedError):
        policy_trainer(tmp_path / "broken", reward=rewarding("broken"), report=report, **settings).run()
    seen["broken"] = seen["broken"][: len(seen["broken"]) // 2]  # the second step was not saved
    policy_trainer(tmp_path / "broken", reward=rewarding("broken"), **settings).run()
    assert seen["whole"] == seen["broken"] == list(range(24))  # four of each step, and two that replace others
    curve = read_curve(tmp_path / "whole")
    assert curve == read_curve(tmp_path / "broken") and [row["redrawn"] for row in curve] == [2.0] * 4
    assert all(row["flat"] == 0.25 for row in curve)  # one of the two that were drawn is even again


def batch_of(count):
    lengths = torch.arange(1, count + 1)
    targets = torch.where(torch.arange(count)[None] < lengths[:, None], 7, -100)
    sampled = SampledTokens(torch.rand(count, count), None, torch.arange(count).float(), torch.zeros(0))
    return Batch(torch.full((count, count), 5), targets, lengths), sampled


@pytest.mark.parametrize("length", ["sequence", "tokens", "constant"])
def test_a_minibatch_is_weighted_like_a_step_of_its_prompts(length):
    plan = policy_plan(prompts=PROMPTS, samples=SAMPLES, minibatches=2, length=length, max_tokens=8)
    batch, sampled = batch_of(PROMPTS * SAMPLES)
    alone = Devices(torch.device("cpu"))
    first, second = minibatches(batch, sampled, 36.0, plan, alone)
    assert first[1].advantages.tolist() == [0, 1, 4, 5] and second[1].advantages.tolist() == [2, 3, 6, 7]
    assert torch.equal(first[0].lengths, batch.lengths[[0, 1, 4, 5]])
    for part, weighted in (first, second):
        [(_, whole)] = minibatches(
            part, sampled, float(part.mask.sum()), policy_plan(prompts=2, samples=2, length=length, max_tokens=8), alone
        )
        assert torch.equal(weighted.weights, whole.weights)


def test_the_parts_of_two_processes_are_those_of_one():
    plan = policy_plan(prompts=PROMPTS, samples=SAMPLES, minibatches=2)
    batch, sampled = batch_of(PROMPTS * SAMPLES)
    ours = []
    for rank in (0, 1):
        rows = torch.arange(rank * 4, rank * 4 + 4)
        share = Batch(batch.tokens[rows], batch.targets[rows], batch.lengths[rows])
        of_share = SampledTokens(None, None, sampled.advantages[rows], torch.zeros(0))
        ours.append(minibatches(share, of_share, 36.0, plan, Shared(rank, 2, [])))
    for number, (_, whole) in enumerate(minibatches(batch, sampled, 36.0, plan, Devices(torch.device("cpu")))):
        together = torch.cat([process[number][1].advantages for process in ours])
        assert torch.equal(together, whole.advantages)


def test_each_minibatch_is_an_update_against_the_policy_that_sampled(tmp_path):
    """The second part is clipped against the rollout policy, from which the first has moved; a whole step is not."""
    learner_steps = []
    trainer = policy_trainer(tmp_path / "t", steps=1, minibatches=2, clip_low=0.01, clip_high=0.01)
    take = trainer.learner.step
    trainer.learner.step = lambda step, losses: learner_steps.append(step) or take(step, losses)
    numbers = trainer.update(0)
    assert learner_steps == [0, 0] and numbers["clipped"] > 0
    whole = policy_trainer(tmp_path / "whole", steps=1, clip_low=0.01, clip_high=0.01).update(0)
    assert whole["clipped"] == 0 and whole["reward"] == numbers["reward"]


def test_minibatches_that_do_not_divide_the_prompts_of_a_process_are_an_error(tmp_path):
    with pytest.raises(TrainingError, match="minibatches 3: the 4 prompts of each process cannot be divided"):
        policy_trainer(tmp_path / "t", minibatches=3)
