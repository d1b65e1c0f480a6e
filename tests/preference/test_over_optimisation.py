"""The over-optimisation monitor: when it stops a training run; and a real policy that is over-optimised and stopped."""

import pytest

from llm_assets.model.checkpoint import load_model
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.preference.over_optimisation import adversarial, over_optimised
from llm_assets.training.policy import BEST, EvaluationStep
from tests.support.policy_training import LOW, STOP, policy_trainer, read_curve
from tests.support.tiny_models import ENCODING


def evaluations(proxies, golds):
    """Evaluations every ten steps."""
    pairs = zip(proxies, golds, strict=True)
    return [{"step": 10 * number, "proxy": proxy, "gold": gold} for number, (proxy, gold) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("proxy", "gold", "stops"),
    [
        ([0, 1, 2, 3], [0, 1, 0.5, 0.4], True),
        ([0, 1, 2, 3], [0, 1, 0.5, 0.95], False),  # the last is within the margin
        # The reward model's score falls too: the policy collapses, or this evaluation was unlucky.
        ([0, 1, 2, 0.5], [0, 1, 0.5, 0.4], False),
        ([0, 1, 2], [0, 1, 0.5], False),  # one evaluation is no trend
        ([0, 1, 2, 3], [0, 1, 2, 3], False),
        ([0, 1, 2], [1, 0.5, 0.2], True),  # worse from the start
        ([0, 1, 2, 3, 4], [0, 1, 1, 0.5, 0.4], True),  # of two equal peaks the first counts
    ],
)
def test_a_gold_signal_that_falls_while_the_reward_rises_stops_the_training(proxy, gold, stops):
    reason = over_optimised(evaluations(proxy, gold), patience=2, margin=0.1)
    assert bool(reason) == stops
    if stops:
        assert f"peaked at step {10 * gold.index(max(gold))} " in reason and f"to {gold[-1]:.3f}" in reason


def test_adversarial_answers_have_a_high_reward_and_a_low_gold_signal():
    assert adversarial([3, 2, 1, 0, 2.5], [-3, 2, -2, 1, 0], 5) == [0]
    assert adversarial([3, 3, 3, -9], [0, -1, -2, 9], 2) == [2, 1]
    assert adversarial([], [], 3) == []


def low_share(model):
    """The share of tokens of the vocabulary's first fifth in the model's answers."""
    sampling = Sampling(max_tokens=6, seed=9, stop=(STOP, ENCODING.bos))
    completions = Engine(model, ENCODING).complete([ENCODING.document("one")], sampling, 200)
    tokens = [token for completion in completions for token in completion.tokens]
    return sum(token < LOW for token in tokens) / len(tokens)


def test_a_policy_driven_past_the_peak_is_stopped_and_the_peak_is_kept(tmp_path):
    """The reward is for each low token; the gold signal is best where half of the tokens are low."""

    def evaluate(engine, step):
        low = low_share(engine.model)
        gold = 1 - 2 * abs(low - 0.5)
        return EvaluationStep(gold, {"proxy": low, "gold": gold})

    values = policy_trainer(
        tmp_path / "t",
        evaluate=evaluate,
        why_stop=lambda history: over_optimised(history, 2, 0.1),
        evaluate_every=3,
        steps=60,
    ).run()
    assert values["stopped"].startswith("over-optimised: the gold signal peaked at step")
    history = [event for event in values["events"] if event["kind"] == "evaluation"]
    first, last, peak = history[0], history[-1], max(history, key=lambda evaluation: evaluation["gold"])
    assert last["proxy"] > peak["proxy"] > first["proxy"] and last["gold"] < peak["gold"] - 0.1
    assert 0 < peak["step"] == values["best"]["step"] < last["step"] < 60
    assert len(read_curve(tmp_path / "t")) == last["step"]
    assert low_share(load_model(tmp_path / "t" / BEST)) == pytest.approx(peak["proxy"])
