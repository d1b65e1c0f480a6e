"""Policy optimisation: losses computed by hand, gradients against finite differences, and a policy that learns."""

import json
import math

import numpy as np
import pytest
import torch

from llm_assets.model import IGNORE
from llm_assets.model.assistant import ended_turn
from llm_assets.model.checkpoint import load_model
from llm_assets.model.decoding import Decoder
from llm_assets.model.sampling import Completion, Sampling
from llm_assets.preference.response_pairs_process import answer_row
from llm_assets.training import policy as policy_module
from llm_assets.training.policy import BEST, EvaluationStep, Reward, best_weights, prompt_place
from llm_assets.training.policy_loss import (
    SampledTokens,
    advantages,
    log_probabilities,
    policy_loss,
    to_batch,
    token_weights,
)
from llm_assets.training.sequences import TrainingError
from tests.support.policy_training import SHAPE, STOP, policy_plan, policy_trainer, read_curve
from tests.support.scripted_engine import scripted_engine
from tests.support.tiny_models import ENCODING, random_model


def equal_rewards(numbers, completions):
    return [Reward(1.0)] * len(completions)


def test_advantages_by_hand():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]])
    standard_deviation = math.sqrt(1 / 3)  # of four values, two 0 and two 1, by n - 1
    expected = [0.5 / (standard_deviation + 1e-4) * sign for sign in (1, -1, -1, 1)]
    assert advantages(rewards, True)[0].tolist() == pytest.approx(expected)
    assert advantages(rewards, False)[0].tolist() == [0.5, -0.5, -0.5, 0.5]
    assert advantages(rewards, True)[1].tolist() == [0, 0, 0, 0]  # no completion is better than another


@pytest.mark.parametrize(
    ("length", "first", "second"),
    [("sequence", 1 / 4, 1 / 8), ("tokens", 1 / 6, 1 / 6), ("constant", 1 / 16, 1 / 16)],
)
def test_token_weights_by_hand(length, first, second):
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    weights = token_weights(mask, policy_plan(length=length, max_tokens=8, prompts=1, samples=2), tokens=6)
    assert weights[:, 0].tolist() == pytest.approx([first, second])
    assert weights[0, 2:].tolist() == [0, 0]


def test_the_loss_by_hand():
    sampler = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    policy = torch.log(torch.tensor([[0.7, 0.5], [0.7, 0.3]]))  # ratios 1.4, 1 and 1.4, 0.6
    gains, weights = torch.tensor([1.0, -1.0]), torch.full((2, 2), 0.25)
    loss, statistics = policy_loss(policy, SampledTokens(sampler, None, gains, weights), policy_plan(kl=0.0))
    # Positive gains: min(1.4, 1.2), min(1, 1); negative gains: min(-1.4, -1.2), min(-0.6, -0.8).
    assert float(loss) == pytest.approx(-0.25 * (1.2 + 1.0 - 1.4 - 0.8), abs=1e-6)
    assert statistics["clipped"] == pytest.approx(0.5)
    reference = torch.log(torch.tensor([[0.35, 0.5], [0.7, 0.3]]))
    penalised, statistics = policy_loss(policy, SampledTokens(sampler, reference, gains, weights), policy_plan(kl=0.1))
    divergence = 0.5 - math.log(0.5) - 1  # of a token half as probable to the reference
    assert statistics["kl"] == pytest.approx(0.25 * divergence)
    assert float(penalised) == pytest.approx(float(loss) + 0.1 * 0.25 * divergence, abs=1e-6)
    # DAPO's higher bound leaves the first token unclipped.
    higher, _ = policy_loss(policy, SampledTokens(sampler, None, gains, weights), policy_plan(clip_high=0.4))
    assert float(higher) == pytest.approx(-0.25 * (1.4 + 1.0 - 1.4 - 0.8))


def test_the_divergence_estimate_is_unbiased():
    generator = torch.Generator().manual_seed(1)
    policy, reference = (torch.randn(6, generator=generator).log_softmax(0) for _ in range(2))
    exact = float((policy.exp() * (policy - reference)).sum())
    estimates = []
    for token in range(6):
        by_policy, by_reference = policy[None, None, token], reference[None, None, token]
        sampled = SampledTokens(by_policy, by_reference, torch.zeros(1), torch.ones(1, 1))
        estimates.append(policy_loss(by_policy, sampled, policy_plan(kl=1.0))[1]["kl"])
    assert float((policy.exp() * torch.tensor(estimates)).sum()) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("sampler_is_given", [True, False])
def test_with_one_update_the_gradient_is_the_policy_gradient(sampler_is_given):
    policy = torch.randn(3, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    gains, weights = torch.tensor([1.0, -0.5, 2.0]), torch.full((3, 4), 1 / 12)
    sampler = policy.detach() if sampler_is_given else None
    policy_loss(policy, SampledTokens(sampler, None, gains, weights), policy_plan())[0].backward()
    assert torch.allclose(policy.grad, -gains[:, None] * weights)


def test_prompts_and_tool_output_are_not_trained_and_the_end_is():
    finished = Completion(
        tokens=[7, 8, 9, 10], log_probabilities=[0.0] * 4, finish="stop", from_tool=[False, False, True, False]
    )
    cut = Completion(tokens=[7], log_probabilities=[0.0], finish="length", from_tool=[False])
    batch = to_batch([[1, 2], [1, 2, 3]], [finished, cut], STOP)
    assert batch.tokens[0].tolist() == [1, 2, 7, 8, 9, 10]
    assert batch.targets[0].tolist() == [IGNORE, 7, 8, IGNORE, 10, STOP]
    assert batch.targets[1].tolist() == [IGNORE, IGNORE, 7, IGNORE, IGNORE, IGNORE] and batch.lengths.tolist() == [6, 3]


def test_the_token_that_is_trained_as_the_end_is_the_one_that_was_drawn(monkeypatch):
    """Rollouts stop at two tokens. Training the other one would be off-policy (OpenRLHF#238)."""
    bos = ENCODING.bos
    engine = scripted_engine(SHAPE, [[30, 31, bos], [30, 31], [30, 31, 32, 33]], monkeypatch)
    prompts = [ENCODING.document("one")] * 3
    sampled = engine.complete(prompts, Sampling(max_tokens=4, stop=(STOP, bos)))
    assert [(completion.finish, completion.stop) for completion in sampled] == [
        ("stop", bos),
        ("stop", STOP),
        ("length", None),
    ]
    targets = to_batch(prompts, sampled, STOP).targets
    assert [row[row != IGNORE].tolist() for row in targets] == [[30, 31, bos], [30, 31, STOP], [30, 31, 32, 33]]
    # An answer ends with the assistant's turn; where a document would begin, it has not ended.
    assert [ended_turn(ENCODING, completion) for completion in sampled] == [False, True, False]
    assert [answer_row(engine, completion)["finished"] for completion in sampled] == [False, True, False]


def test_a_policy_is_trained_on_the_end_that_it_drew(tmp_path, monkeypatch):
    """A policy whose every completion is cut by a document's beginning learns from that token, not from another."""
    trainer = policy_trainer(tmp_path / "t", steps=1, prompts=1, samples=2)
    batches = []
    monkeypatch.setattr(
        Decoder, "_choose", lambda decoder: torch.tensor([DRAWN[min(row.step, 2)] for row in decoder.rows])
    )
    monkeypatch.setattr(policy_module, "to_batch", lambda *values: batches.append(to_batch(*values)) or batches[-1])
    trainer.update(0)
    [batch] = batches
    assert [row[row != IGNORE].tolist() for row in batch.targets] == [DRAWN, DRAWN]


DRAWN = [30, 31, ENCODING.bos]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_gradient_is_that_of_the_expected_reward_at_the_temperature_of_sampling(temperature):
    """Completions are drawn from softmax(logits / temperature): the mean of the policy gradient over all draws is the
    gradient of the expected reward under that distribution, and of no other (trl#3029).
    """
    model = random_model(SHAPE)
    tokens = torch.tensor([ENCODING.document("three birds")])
    rewards = torch.randn(SHAPE.rows, generator=torch.Generator().manual_seed(3))
    distribution = (model(tokens)[0, -1] / temperature).softmax(-1)
    expected = torch.autograd.grad(distribution @ rewards, list(model.parameters()))
    # Every token once, weighted by its probability instead of drawn.
    count = SHAPE.rows
    targets = torch.full((count, tokens.shape[1]), IGNORE)
    targets[:, -1] = torch.arange(count)
    log_probability = log_probabilities(model, tokens.expand(count, -1), targets, temperature)
    weights = (targets != IGNORE) * distribution.detach()[:, None]
    loss, _ = policy_loss(log_probability, SampledTokens(None, None, rewards, weights), policy_plan())
    gradients = torch.autograd.grad(-loss, list(model.parameters()))
    for gradient, exact in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient, exact, atol=2e-5, rtol=1e-3)


def test_policy_sampler_and_reference_have_the_temperature_of_sampling(tmp_path, monkeypatch):
    trainer = policy_trainer(tmp_path / "t", steps=1, temperature=0.7, updates=2, kl=0.1)
    seen = []

    def recorded(model, tokens, targets, temperature=1.0):
        seen.append((model is trainer.reference, temperature))
        return log_probabilities(model, tokens, targets, temperature)

    monkeypatch.setattr(policy_module, "log_probabilities", recorded)
    numbers = trainer.update(0)
    assert {temperature for _, temperature in seen} == {0.7}
    assert {is_reference for is_reference, _ in seen} == {False, True}
    assert math.isfinite(numbers["loss"])


def test_each_prompt_is_drawn_once_per_epoch():
    first, second = ([prompt_place(number, 7, 1) for number in range(start, start + 7)] for start in (0, 7))
    assert sorted(first) == sorted(second) == list(range(7)) and first != second
    assert [prompt_place(number, 7, 2) for number in range(7)] != first


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"updates": 3},
        {"normalise": False, "length": "constant"},
        {"length": "tokens", "kl": 0.01, "clip_high": 0.28},
    ],
)
def test_rewarded_completions_become_more_frequent(tmp_path, changes):
    policy_trainer(tmp_path / "t", steps=36, **changes).run()
    curve = read_curve(tmp_path / "t")
    assert [row["step"] for row in curve] == list(range(36))
    assert sum(row["reward"] for row in curve[-4:]) > 2 * sum(row["reward"] for row in curve[:4])
    assert curve[0]["entropy"] > curve[-1]["entropy"]
    assert all(0 <= row["flat"] <= 1 and 0 <= row["truncated"] <= 1 for row in curve)


def test_a_strong_penalty_keeps_the_policy_near_the_reference(tmp_path):
    policy_trainer(tmp_path / "free", kl=1e-9).run()
    policy_trainer(tmp_path / "penalised", kl=50.0).run()
    # Updates have a fixed size, so twelve of them move the policy whatever the penalty: 0.5 to 0.6 of the free one.
    assert read_curve(tmp_path / "penalised")[-1]["kl"] < 0.75 * read_curve(tmp_path / "free")[-1]["kl"]


def test_equal_rewards_change_no_weight(tmp_path):
    trainer = policy_trainer(tmp_path / "t", reward=equal_rewards, steps=2)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    assert [row["flat"] for row in read_curve(tmp_path / "t")] == [1.0, 1.0]
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


class Interrupted(Exception):
    pass


def interrupting(at):
    """A report function that raises once step `at` is reported."""

    def report(kind, **values):
        if kind == "policy_step" and values["step"] == at:
            raise Interrupted

    return report


def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path):
    def evaluate(engine, step):
        return EvaluationStep(float(step), {"step_seen": step}, [{"text": str(step)}])

    settings = {"evaluate": evaluate, "evaluate_every": 4, "checkpoint_every": 3, "kl": 0.01, "steps": 10}
    expected = policy_trainer(tmp_path / "whole", **settings).run()
    for at in (2, 5, 9):
        with pytest.raises(Interrupted):
            policy_trainer(tmp_path / "broken", report=interrupting(at), **settings).run()
    values = policy_trainer(tmp_path / "broken", **settings).run()
    assert read_curve(tmp_path / "broken") == read_curve(tmp_path / "whole")
    assert {**values, "seconds": 0} == {**expected, "seconds": 0}
    last = max((tmp_path / "whole").glob("step-*")).name
    weights = [(tmp_path / name / last / "model.safetensors").read_bytes() for name in ("broken", "whole")]
    assert weights[0] == weights[1]


def test_a_falling_score_stops_the_training_and_the_best_weights_are_kept(tmp_path):
    scores = {0: 0.1, 2: 0.6, 4: 0.4, 6: 0.3, 8: 0.9, 10: 1.0}
    weights = {}

    def evaluate(engine, step):
        weights[step] = {name: value.clone() for name, value in engine.model.state_dict().items()}
        return EvaluationStep(scores[step])

    settings = {"evaluate_every": 2, "patience": 2, "margin": 0.05, "steps": 10}
    values = policy_trainer(tmp_path / "t", evaluate=evaluate, **settings).run()
    assert values["best"] == {"step": 2, "score": 0.6} and "0.600 at step 2" in values["stopped"]
    assert max(weights) == 6  # the later, higher scores were never reached
    assert best_weights(tmp_path / "t") == tmp_path / "t" / BEST
    loaded = load_model(tmp_path / "t" / BEST).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights[2].items())


def test_all_evaluations_together_can_stop_the_training(tmp_path):
    values = policy_trainer(
        tmp_path / "t",
        evaluate=lambda engine, step: EvaluationStep(float(step)),
        why_stop=lambda evaluations: "enough" if len(evaluations) == 3 else "",
        evaluate_every=2,
        steps=10,
    ).run()
    assert values["stopped"] == "enough" and values["best"]["step"] == 4


class OneSentence:
    """Sequences that all hold the same sentence."""

    def batch(self, first, count):
        ids = ENCODING.document("three birds sat on the old wall")[:12]
        return np.tile(ids[:-1], (count, 1)).astype(np.int64), np.tile(ids[1:], (count, 1)).astype(np.int64)


def loss_of(folder):
    tokens, targets = (torch.from_numpy(array) for array in OneSentence().batch(0, 1))
    with torch.no_grad():
        return float(load_model(max(folder.glob("step-*")))(tokens, targets).mean())


def test_replayed_sequences_are_not_forgotten_while_something_else_is_rewarded(tmp_path):
    policy_trainer(tmp_path / "with", replay=OneSentence(), replay_weight=0.1, replay_sequences=2, steps=20).run()
    policy_trainer(tmp_path / "without", replay_sequences=2, steps=20).run()
    curve = read_curve(tmp_path / "with")
    assert curve[-1]["replayed"] < curve[0]["replayed"] - 1
    assert "replayed" not in read_curve(tmp_path / "without")[0]
    assert loss_of(tmp_path / "with") < loss_of(tmp_path / "without") - 1
    assert sum(row["reward"] for row in curve[-4:]) > 1.2 * sum(row["reward"] for row in curve[:4])


def test_with_equal_rewards_the_gradient_is_that_of_the_replayed_loss(tmp_path):
    trainer = policy_trainer(
        tmp_path / "t",
        reward=equal_rewards,
        replay=OneSentence(),
        replay_weight=0.5,
        replay_sequences=4,
        micro_batch_size=3,
        steps=1,
    )
    tokens, targets = (torch.from_numpy(array) for array in OneSentence().batch(0, 4))
    loss = 0.5 * trainer.model(tokens, targets).mean()
    gradients = torch.autograd.grad(loss, list(trainer.model.parameters()))
    norm = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
    trainer.run()
    assert read_curve(tmp_path / "t")[0]["gradient_norm"] == pytest.approx(norm, rel=1e-4)


def test_a_group_of_one_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="samples 1: a group needs at least 2"):
        policy_trainer(tmp_path / "t", samples=1)


@pytest.mark.parametrize(("updates", "passes"), [(1, 2 + 3), (2, 2 + 1 + 2 * 3)])
def test_tokens_are_counted_and_so_is_how_often_they_are_read(updates, passes, tmp_path):
    """A completion's tokens are in the curve as its length; with its end, which is no token of it."""
    values = policy_trainer(tmp_path, steps=2, updates=updates).run()
    prompts = [ENCODING.document(text) for text in ("one", "two", "three", "four", "five")]
    read = 8 * sum(len(prompts[prompt_place(number, 5, 1)]) for number in range(8))
    sampled = sum(32 * row["length"] * 1.0 for row in read_curve(tmp_path))
    assert 0 <= sampled - (values["tokens"] - read) <= 64
    assert values["forward_tokens"] == passes * values["tokens"]


def test_tokens_of_replaced_groups_are_counted(tmp_path):
    trainer, drawn = policy_trainer(tmp_path, steps=1, redraws=2, reward=equal_rewards), []
    sample = trainer.sampler.sample

    def noted(numbers, prompts):
        completions = sample(numbers, prompts)
        samples = len(completions) // len(prompts)
        drawn.append(samples * sum(map(len, prompts)) + sum(len(completion.tokens) for completion in completions))
        return completions

    trainer.sampler.sample = noted
    values = trainer.run()
    assert len(drawn) == 3 and values["tokens"] == sum(drawn)
    assert values["forward_tokens"] == sum(drawn) + (1 + 3) * drawn[-1]  # only the last groups are trained on


def test_a_run_that_began_without_counting_does_not_count(tmp_path):
    with pytest.raises(Interrupted):
        policy_trainer(tmp_path, report=interrupting(2), steps=2, checkpoint_every=1, checkpoints_kept=1).run()
    (state,) = tmp_path.glob("step-*/state.json")
    content = json.loads(state.read_text())
    del content["values"]["tokens"], content["values"]["forward_tokens"]
    state.write_text(json.dumps(content))
    assert math.isnan(policy_trainer(tmp_path, steps=2, checkpoint_every=1).run()["tokens"])
