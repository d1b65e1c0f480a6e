"""The losses of direct preference optimisation: by hand, and as TRL computes them."""

import json
import math

import numpy as np
import pytest
import torch

from llm_assets.model import IGNORE
from llm_assets.training.learner import sequence_loss
from llm_assets.training.preference_pairs import (
    AnswerPair,
    PreferenceLosses,
    PreferencePairs,
    answer_log_probabilities,
    log_ratio_margins,
    measure,
    measured_numbers,
    pad_answers,
    preference_losses,
    shares_right,
)
from tests.support.peer_losses import BETA, FIXTURE, TRL_NAMES, answer_pairs, padded_answers
from tests.support.policy_training import CPU
from tests.support.tiny_models import SHAPES, random_model

PEERS = json.loads(FIXTURE.read_text())


def test_only_the_tokens_of_the_answer_count():
    tokens, answers = pad_answers([[5, 6, 7, 8], [5, 6, 9]], [2, 2])
    assert tokens.tolist() == [[5, 6, 7, 8], [5, 6, 9, 0]]
    assert answers.tolist() == [[IGNORE, 7, 8, IGNORE], [IGNORE, 9, IGNORE, IGNORE]]


# By hand: log-ratios -1 - -2 = 1 of two tokens, and -5 - -4 = -1 of four tokens.
POLICY, REFERENCE, LENGTHS = torch.tensor([-1.0, -5.0]), torch.tensor([-2.0, -4.0]), torch.tensor([2, 4])


@pytest.mark.parametrize(
    ("loss", "margin", "expected"),
    [
        ("dpo", 2.0, math.log(1 + math.exp(-0.2))),
        ("dpo_norm", 0.75, math.log(1 + math.exp(-0.075))),
        ("ipo", 0.75, (0.75 - 5) ** 2),
    ],
)
def test_losses_are_those_worked_out_by_hand(loss, margin, expected):
    margins = log_ratio_margins(POLICY, REFERENCE, LENGTHS, loss)
    assert margins.tolist() == [pytest.approx(margin)]
    assert preference_losses(margins, loss, 0.1).tolist() == [pytest.approx(expected)]


def test_a_pair_without_a_margin_counts_half():
    assert shares_right(torch.tensor([0.3, 0.0, -0.2])).tolist() == [1.0, 0.5, 0.0]


def test_an_answers_log_probability_is_the_sum_over_its_tokens():
    model = random_model(SHAPES["plain"])
    tokens, answers = (torch.from_numpy(array) for array in pad_answers([[5, 6, 7, 8], [5, 6, 9]], [2, 2]))
    logs = model(torch.tensor([[5, 6, 7]])).detach().log_softmax(-1)[0]
    sums = answer_log_probabilities(model, tokens, answers).tolist()
    assert sums == pytest.approx([float(logs[1, 7] + logs[2, 8]), float(logs[1, 9])], abs=1e-4)


@pytest.mark.parametrize("loss", TRL_NAMES)
@pytest.mark.parametrize("name", SHAPES)
def test_loss_and_gradient_are_trls(name, loss):
    policy, reference = random_model(SHAPES[name]), random_model(SHAPES[name], seed=2)
    tokens, answers = padded_answers()
    with torch.no_grad():
        expected = answer_log_probabilities(reference, tokens, answers)
    marks = torch.where(torch.arange(tokens.shape[1]) == 0, 1, IGNORE).expand(tokens.shape)
    losses = PreferenceLosses(loss, BETA)(policy, tokens, marks, answers, expected)
    value = losses.sum() / len(tokens)
    value.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), 1e9))
    assert value.item() == pytest.approx(PEERS["trl"][name][loss], rel=1e-5)
    assert norm == pytest.approx(PEERS["trl"][name][f"{loss} gradient"], rel=1e-4)


def test_micro_batches_do_not_change_the_loss():
    model, pairs = random_model(SHAPES["plain"]), answer_pairs()
    reference = measure(random_model(SHAPES["plain"], seed=2), pairs, 8, CPU)
    data = PreferencePairs(pairs, reference, 64, seed=1, pairs_per_step=4)
    values = []
    for micro_batch_size in (2, 4, 8):
        loss = sequence_loss(data, 0, 8, micro_batch_size, CPU, PreferenceLosses("dpo", BETA))
        values.append(float(sum(micro_batch(model) for micro_batch in loss.micro_batches)) / loss.divisor)
    assert values == pytest.approx([values[0]] * 3, rel=1e-5)
    assert values[0] == pytest.approx(PEERS["trl"]["plain"]["dpo"], rel=1e-5)


def test_measured_numbers_are_those_of_a_step_over_the_same_pairs():
    model, pairs = random_model(SHAPES["gpt2"]), answer_pairs()
    reference = measure(random_model(SHAPES["gpt2"], seed=2), pairs, 2, CPU)
    measured = measured_numbers(pairs, measure(model, pairs, 4, CPU), reference, "dpo_norm", BETA)
    losses = PreferenceLosses("dpo_norm", BETA)
    data = PreferencePairs(pairs, reference, 64, seed=1, pairs_per_step=4)
    loss = sequence_loss(data, 0, 8, 4, CPU, losses)
    value = float(sum(micro_batch(model) for micro_batch in loss.micro_batches)) / loss.divisor
    assert {"loss": value, **losses.numbers(CPU)} == pytest.approx(measured, rel=1e-3, abs=1e-5)


def test_a_pairs_reference_follows_it_into_every_epoch():
    pairs = [AnswerPair([1, 2, *[3] * length], [1, 2, 4], 2) for length in range(1, 8)]
    reference = np.array([[-length, -0.5] for length in range(1, 8)])
    data = PreferencePairs(pairs, reference, 64, seed=1, pairs_per_step=3)
    for first in range(0, 42, 6):
        _, marks, answers, expected = data.batch(first, 6)
        lengths = (answers != IGNORE).sum(-1)
        assert expected[0::2].tolist() == (-lengths[0::2]).tolist() and set(expected[1::2]) == {-0.5}
        assert ((marks != IGNORE).sum(-1) == 1).all()
