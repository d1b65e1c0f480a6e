"""The monitor: what is over-optimisation and what is not; and a real policy that is driven into it, and stopped."""

import pytest

from llm_assets.model.checkpoint import load_model
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.preference.over_optimisation import adversarial, over_optimised
from llm_assets.training.policy import BEST, EvaluationStep, Reward
from tests.support.policy_training import LOW, STOP, curve, trainer
from tests.support.training_jobs import ENCODING


def looks(proxy, gold):
    return [
        {"step": 10 * number, "proxy": loved, "gold": liked}
        for number, (loved, liked) in enumerate(zip(proxy, gold, strict=True))
    ]


@pytest.mark.parametrize(
    ("proxy", "gold", "stops"),
    [
        ([0, 1, 2, 3], [0, 1, 0.5, 0.4], True),
        ([0, 1, 2, 3], [0, 1, 0.5, 0.95], False),  # the last is within the margin
        (
            [0, 1, 2, 0.5],
            [0, 1, 0.5, 0.4],
            False,
        ),  # the reward model no longer likes it: the policy falls apart, or was only unlucky
        ([0, 1, 2], [0, 1, 0.5], False),  # one look is no trend
        ([0, 1, 2, 3], [0, 1, 2, 3], False),
        ([0, 1, 2], [1, 0.5, 0.2], True),  # worse from the start
        ([0, 1, 2, 3, 4], [0, 1, 1, 0.5, 0.4], True),  # of two equal peaks the first counts
    ],
)
def test_what_is_over_optimisation(proxy, gold, stops):
    told = over_optimised(looks(proxy, gold), patience=2, margin=0.1)
    assert bool(told) == stops
    if stops:
        assert f"peaked at step {10 * gold.index(max(gold))} " in told and f"to {gold[-1]:.3f}" in told


def test_adversarial_answers_are_loved_and_not_liked():
    assert adversarial([3, 2, 1, 0, 2.5], [-3, 2, -2, 1, 0], 5) == [0]
    assert adversarial([3, 3, 3, -9], [0, -1, -2, 9], 2) == [2, 1]
    assert adversarial([], [], 3) == []


def test_a_policy_driven_past_the_peak_is_stopped_and_the_peak_is_kept(tmp_path):
    """The reward is for every token of the vocabulary's first fifth; gold likes answers half of which are such, and no more."""

    def share(model):
        found = Engine(model, ENCODING).complete(
            [ENCODING.document("one")], Sampling(max_tokens=6, seed=9, stop=(STOP, ENCODING.bos)), 200
        )
        return sum(token < LOW for one in found for token in one.tokens) / sum(len(one.tokens) for one in found)

    def reward(numbers, completions):
        return [Reward(sum(token < LOW for token in one.tokens) / 6) for one in completions]

    def evaluation(engine, step):
        low = share(engine.model)
        gold = 1 - 2 * abs(low - 0.5)
        return EvaluationStep(gold, {"proxy": low, "gold": gold})

    values = trainer(
        tmp_path / "t",
        reward=reward,
        evaluation=evaluation,
        evaluate_every=3,
        steps=60,
        judge=lambda seen: over_optimised(seen, 2, 0.1),
    ).run()
    assert values["stopped"].startswith("over-optimised: the gold signal peaked at step")
    seen = [event for event in values["events"] if event["kind"] == "evaluation"]
    peak = max(seen, key=lambda one: one["gold"])
    assert seen[-1]["proxy"] > peak["proxy"] > seen[0]["proxy"] and seen[-1]["gold"] < peak["gold"] - 0.1
    assert (
        0 < peak["step"] == values["best"]["step"] < seen[-1]["step"] < 60
        and len(curve(tmp_path / "t")) == seen[-1]["step"]
    )
    assert share(load_model(tmp_path / "t" / BEST)) == pytest.approx(peak["proxy"])
