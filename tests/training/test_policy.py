"""Policy optimisation: losses against values worked out by hand, gradients against finite differences, and a policy that learns."""

import math

import numpy as np
import pytest
import torch

from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import load_model
from llm_assets.model.sampling import Completion
from llm_assets.training.policy import (
    BEST,
    EvaluationStep,
    Reward,
    advantages,
    best_weights,
    drawn,
    policy_loss,
    to_batch,
    token_weights,
)
from llm_assets.training.rows import TrainingError
from tests.support.policy_training import STOP, curve, trainer
from tests.support.small_models import ENCODING


def test_advantages_by_hand():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
    deviation = math.sqrt(1 / 3)  # of four values, two 0 and two 1, by n - 1
    assert advantages(rewards, True)[0].tolist() == pytest.approx(
        [0.5 / (deviation + 1e-4) * sign for sign in (1, -1, -1, 1)]
    )
    assert advantages(rewards, False)[0].tolist() == [0.5, -0.5, -0.5, 0.5]
    assert advantages(rewards, True)[1].tolist() == [0, 0, 0, 0]  # nothing to choose between


def test_what_a_token_counts():
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    assert token_weights(mask, "sequence", 8, 2, 6)[:, 0].tolist() == pytest.approx([1 / 4, 1 / 8])
    assert token_weights(mask, "tokens", 8, 2, 6)[:, 0].tolist() == pytest.approx([1 / 6, 1 / 6])
    assert token_weights(mask, "constant", 8, 2, 6)[:, 0].tolist() == pytest.approx([1 / 16, 1 / 16])
    assert token_weights(mask, "sequence", 8, 2, 6)[0, 2:].tolist() == [0, 0]


def test_the_loss_by_hand():
    old = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    now = torch.log(torch.tensor([[0.7, 0.5], [0.7, 0.3]]))  # ratios 1.4, 1 and 1.4, 0.6
    weights = torch.full((2, 2), 0.25)
    loss, stats = policy_loss(now, old, None, torch.tensor([1.0, -1.0]), weights, 0.2, 0.2, 0.0)
    # Gains: min(1.4, 1.2), min(1, 1); losses: min(-1.4, -1.2), min(-0.6, -0.8).
    assert float(loss) == pytest.approx(-0.25 * (1.2 + 1.0 - 1.4 - 0.8), abs=1e-6)
    assert stats["clipped"] == pytest.approx(0.5)
    reference = torch.log(torch.tensor([[0.35, 0.5], [0.7, 0.3]]))
    with_kl, stats = policy_loss(now, old, reference, torch.tensor([1.0, -1.0]), weights, 0.2, 0.2, 0.1)
    divergence = 0.5 - math.log(0.5) - 1  # of a token half as probable to the reference
    assert stats["kl"] == pytest.approx(0.25 * divergence)
    assert float(with_kl) == pytest.approx(float(loss) + 0.1 * 0.25 * divergence, abs=1e-6)
    higher, _ = policy_loss(now, old, None, torch.tensor([1.0, -1.0]), weights, 0.2, 0.4, 0.0)
    assert float(higher) == pytest.approx(
        -0.25 * (1.4 + 1.0 - 1.4 - 0.8)
    )  # DAPO's higher bound lets the first one through


def test_the_divergence_is_estimated_without_bias():
    generator = torch.Generator().manual_seed(1)
    policy, reference = (
        torch.randn(6, generator=generator).log_softmax(0),
        torch.randn(6, generator=generator).log_softmax(0),
    )
    exact = float((policy.exp() * (policy - reference)).sum())
    stats = [
        policy_loss(
            policy[None, None, token],
            policy[None, None, token],
            reference[None, None, token],
            torch.zeros(1),
            torch.ones(1, 1),
            0.2,
            0.2,
            1.0,
        )[1]["kl"]
        for token in range(6)
    ]
    assert float((policy.exp() * torch.tensor(stats)).sum()) == pytest.approx(exact, rel=1e-5)


def test_with_one_update_the_gradient_is_the_policy_gradients():
    now = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    gain, weights = torch.tensor([1.0, -0.5, 2.0]), torch.full((3, 4), 1 / 12)
    policy_loss(now, now.detach(), None, gain, weights, 0.2, 0.2, 0.0)[0].backward()
    assert torch.allclose(now.grad, -gain[:, None] * weights)


def test_tools_and_prompts_are_not_trained_and_the_end_is():
    said = Completion(
        tokens=[7, 8, 9, 10], log_probabilities=[0.0] * 4, finish="stop", forced=[False, False, True, False]
    )
    cut = Completion(tokens=[7], log_probabilities=[0.0], finish="length", forced=[False])
    batch = to_batch([[1, 2], [1, 2, 3]], [said, cut], STOP)
    assert batch.tokens[0].tolist() == [1, 2, 7, 8, 9, 10]
    assert batch.targets[0].tolist() == [IGNORE, 7, 8, IGNORE, 10, STOP]
    assert batch.targets[1].tolist() == [IGNORE, IGNORE, 7, IGNORE, IGNORE, IGNORE] and batch.lengths.tolist() == [6, 3]


def test_every_prompt_is_drawn_once_an_epoch():
    first, second = [drawn(number, 7, 1) for number in range(7)], [drawn(number, 7, 1) for number in range(7, 14)]
    assert sorted(first) == sorted(second) == list(range(7)) and first != second
    assert [drawn(number, 7, 2) for number in range(7)] != first


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"updates": 3},
        {"normalise": False, "length": "constant"},
        {"length": "tokens", "kl": 0.01, "clip_high": 0.28},
    ],
)
def test_what_is_rewarded_is_said_more_often(tmp_path, changes):
    trainer(tmp_path / "t", steps=24, **changes).run()
    told = curve(tmp_path / "t")
    assert [one["step"] for one in told] == list(range(24))
    assert sum(one["reward"] for one in told[-4:]) > 2 * sum(one["reward"] for one in told[:4])
    assert told[0]["entropy"] > told[-1]["entropy"] and all(
        0 <= one["flat"] <= 1 and 0 <= one["truncated"] <= 1 for one in told
    )


def test_a_strong_penalty_keeps_it_near_the_reference(tmp_path):
    trainer(tmp_path / "free", kl=1e-9).run()
    trainer(tmp_path / "held", kl=20.0).run()
    assert curve(tmp_path / "held")[-1]["kl"] < 0.5 * curve(tmp_path / "free")[-1]["kl"]


def test_nothing_is_learnt_where_all_are_alike(tmp_path):
    made = trainer(tmp_path / "t", reward=lambda numbers, completions: [Reward(1.0)] * len(completions), steps=2)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    made.run()
    assert [one["flat"] for one in curve(tmp_path / "t")] == [1.0, 1.0]
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())


class Broken(Exception):
    pass


def breaking(at):
    def report(kind, **values):
        if kind == "policy_step" and values["step"] == at:
            raise Broken

    return report


def test_broken_off_anywhere_it_ends_as_unbroken(tmp_path):
    def evaluation(engine, step):
        return EvaluationStep(float(step), {"step_seen": step}, [{"text": str(step)}])

    settings = {"evaluation": evaluation, "evaluate_every": 4, "checkpoint_every": 3, "kl": 0.01, "steps": 10}
    whole = trainer(tmp_path / "whole", **settings).run()
    for at in (2, 5, 9):
        with pytest.raises(Broken):
            trainer(tmp_path / "broken", report=breaking(at), **settings).run()
    values = trainer(tmp_path / "broken", **settings).run()
    assert curve(tmp_path / "broken") == curve(tmp_path / "whole")
    assert {**values, "seconds": 0} == {**whole, "seconds": 0}
    last = max((tmp_path / "whole").glob("step-*")).name
    assert (tmp_path / "broken" / last / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / last / "model.safetensors"
    ).read_bytes()


def test_it_stops_where_the_score_falls_and_keeps_the_best(tmp_path):
    scores = {0: 0.1, 2: 0.6, 4: 0.4, 6: 0.3, 8: 0.9, 10: 1.0}
    kept = {}

    def evaluation(engine, step):
        kept[step] = {name: value.clone() for name, value in engine.model.state_dict().items()}
        return EvaluationStep(scores[step])

    values = trainer(tmp_path / "t", evaluation=evaluation, evaluate_every=2, patience=2, margin=0.05, steps=10).run()
    assert values["best"] == {"step": 2, "score": 0.6} and "0.600 at step 2" in values["stopped"]
    assert max(kept) == 6  # it never came to the later, higher ones
    assert best_weights(tmp_path / "t") == tmp_path / "t" / BEST
    found = load_model(tmp_path / "t" / BEST).state_dict()
    assert all(torch.equal(found[name], value) for name, value in kept[2].items())


def test_a_judge_of_all_looks_can_stop_it(tmp_path):
    values = trainer(
        tmp_path / "t",
        evaluation=lambda engine, step: EvaluationStep(float(step)),
        evaluate_every=2,
        judge=lambda evaluations: "enough" if len(evaluations) == 3 else "",
        steps=10,
    ).run()
    assert values["stopped"] == "enough" and values["best"]["step"] == 4


class Repeating:
    """Rows that all hold the same sentence."""

    def rows(self, first, count):
        ids = ENCODING.document("three birds sat on the old wall")[:12]
        return np.tile(ids[:-1], (count, 1)).astype(np.int64), np.tile(ids[1:], (count, 1)).astype(np.int64)


def loss_of(folder):
    tokens, targets = (torch.from_numpy(array) for array in Repeating().rows(0, 1))
    with torch.no_grad():
        return float(load_model(max(folder.glob("step-*")))(tokens, targets).mean())


def test_what_is_rehearsed_is_kept_while_something_else_is_practised(tmp_path):
    for name, weight in (("with", 0.1), ("without", 0.0)):
        trainer(
            tmp_path / name, replay=Repeating() if weight else None, replay_weight=weight, replay_sequences=2, steps=20
        ).run()
    told = curve(tmp_path / "with")
    assert told[-1]["replayed"] < told[0]["replayed"] - 1 and "replayed" not in curve(tmp_path / "without")[0]
    assert loss_of(tmp_path / "with") < loss_of(tmp_path / "without") - 1
    assert sum(one["reward"] for one in told[-4:]) > 1.2 * sum(one["reward"] for one in told[:4])


def test_a_step_of_rehearsal_alone_is_a_step_of_training(tmp_path):
    """With rewards all alike the gradient is that of the replayed rows' mean loss, times its weight."""
    made = trainer(
        tmp_path / "t",
        reward=lambda numbers, completions: [Reward(1.0)] * len(completions),
        replay=Repeating(),
        replay_weight=0.5,
        replay_sequences=4,
        micro_batch_size=3,
        steps=1,
    )
    tokens, targets = (torch.from_numpy(array) for array in Repeating().rows(0, 4))
    expected = torch.autograd.grad(0.5 * made.model(tokens, targets).mean(), list(made.model.parameters()))
    norm = float(torch.stack([one.norm() for one in expected]).norm())
    made.run()
    assert curve(tmp_path / "t")[0]["gradient_norm"] == pytest.approx(norm, rel=1e-4)


def test_a_group_of_one_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="samples 1: a group wants at least 2"):
        trainer(tmp_path / "t", samples=1)
