"""The reward model: losses by hand, scores that padding does not touch, and the model that transformers reads."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import CheckpointError, load_model, save_model
from llm_assets.model.reward import RewardModel, pair_losses, score_all, to_rows
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.training.loop import Devices, TrainingPlan, train
from llm_assets.training.pairs import Pairs
from llm_assets.training.rows import TrainingError

SHAPE = ModelShape.of_depth(2, 60, 24, width=32)


def reward_model(shape=SHAPE, seed=1):
    model = Transformer(shape)
    model.initialise(seed)
    made = RewardModel.of(model)
    with torch.no_grad():
        made.score.weight.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(seed))
    return made.eval()


def test_losses_are_bradley_and_terrys():
    losses = pair_losses(torch.tensor([1.0, 0.0, -2.0, 1.0, 0.5, 0.5]))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1)), math.log(1 + math.exp(3)), math.log(2)])


def test_a_new_head_scores_all_alike():
    model = Transformer(SHAPE)
    model.initialise(1)
    assert score_all(RewardModel.of(model), [[1, 2, 3], [4, 5]]) == [0.0, 0.0]


def test_the_loss_of_a_pair_stands_at_both_last_tokens():
    model = reward_model()
    tokens, targets = to_rows([[1, 2, 3], [4, 5], [6], [7, 8, 9, 10]])
    losses = model(torch.from_numpy(tokens), torch.from_numpy(targets))
    scores = score_all(model, [[1, 2, 3], [4, 5], [6], [7, 8, 9, 10]])
    for row, (preferred, other) in enumerate(((0, 1), (0, 1), (2, 3), (2, 3))):
        held = targets[row] != IGNORE
        assert held.sum() == 1
        assert losses[row][torch.from_numpy(held)].item() == pytest.approx(
            math.log(1 + math.exp(scores[other] - scores[preferred])), abs=1e-5
        )
        assert losses[row][torch.from_numpy(~held)].abs().sum() == 0
    with pytest.raises(ModelError, match="no logits"):
        model(torch.from_numpy(tokens))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=12), min_size=1, max_size=9))
def test_a_score_is_that_of_the_conversation_alone(conversations):
    model = reward_model()
    together = score_all(model, conversations)
    alone = [score_all(model, [one])[0] for one in conversations]
    assert together == pytest.approx(alone, abs=1e-5)


def test_transformers_reads_it_as_a_classifier_of_one_label(tmp_path):
    transformers = pytest.importorskip("transformers")
    from llm_assets.model.huggingface import config

    model = reward_model()
    save_model(model, tmp_path)
    (tmp_path / "config.json").write_text(
        __import__("json").dumps(
            {**config(SHAPE), "architectures": ["Qwen3ForSequenceClassification"], "num_labels": 1, "pad_token_id": 0}
        )
    )
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokens = torch.tensor([[5, 9, 3, 7], [1, 2, 3, 4]])
    with torch.no_grad():
        logits = theirs(tokens).logits.squeeze(-1).tolist()
    assert logits == pytest.approx(score_all(model, tokens.tolist()), abs=1e-5)


def test_a_checkpoint_keeps_the_head_and_is_no_language_model(tmp_path):
    model = reward_model()
    save_model(model, tmp_path)
    assert score_all(load_model(tmp_path, kind=RewardModel), [[1, 2, 3]]) == score_all(model, [[1, 2, 3]])
    with pytest.raises(CheckpointError, match="does not fit"):
        load_model(tmp_path)


def test_only_hidden_matrices_go_to_muon():
    names = {name for name, _ in reward_model().matrices()}
    assert "score.weight" not in names and any("q_proj" in name for name in names)


def test_rows_are_pairs_each_once_an_epoch():
    pairs = [([n, n], [n]) for n in range(1, 8)]
    data = Pairs(pairs, 24, seed=3)
    tokens, targets = data.rows(0, 28)
    preferred = tokens[0::2, 0].tolist()
    assert sorted(preferred[:7]) == sorted(preferred[7:]) == list(range(1, 8)) and preferred[:7] != preferred[7:]
    assert (tokens[0::2, 0] == tokens[1::2, 0]).all()
    assert (targets[0::2].argmax(1) == 1).all() and (targets[1::2].argmax(1) == 0).all()
    assert np.array_equal(data.rows(6, 4)[0], tokens[6:10])
    assert Pairs([([1, 2, 3], [4])], 24, 0).rows(0, 2)[0].tolist() == [[1, 2, 3], [4, 0, 0]]


def test_pairs_of_a_step_come_in_order_of_length_and_are_those_of_the_step():
    pairs = [([n] * n, [n]) for n in range(1, 21)]
    plain, ordered = Pairs(pairs, 24, seed=3), Pairs(pairs, 24, seed=3, together=5)
    for step in range(8):
        of_step = ordered.rows(10 * step, 10)[0][0::2, 0].tolist()
        assert of_step == sorted(plain.rows(10 * step, 10)[0][0::2, 0].tolist())
        assert ordered.rows(10 * step + 4, 2)[0][0, 0] == of_step[2]


def test_what_stands_behind_the_last_token_changes_no_loss():
    model = reward_model()
    tokens, targets = to_rows([[1, 2, 3, 4], [5, 6]])
    wider = np.full((2, 9), 7), np.full((2, 9), IGNORE)
    wider[0][:, :4], wider[1][:, :4] = tokens, targets
    near, far = (model(*(torch.from_numpy(array) for array in one)) for one in ((tokens, targets), wider))
    assert torch.allclose(far[:, :4], near, atol=1e-6) and not far[:, 4:].any() and near.any()


def test_pairs_that_cannot_be_trained_on_are_errors():
    with pytest.raises(TrainingError, match="no pair"):
        Pairs([], 24, 0)
    with pytest.raises(TrainingError, match="30 tokens does not fit into 24"):
        Pairs([([1] * 30, [2])], 24, 0)
    with pytest.raises(TrainingError, match="cut a pair"):
        Pairs([([1], [2])], 24, 0).rows(1, 2)


def test_it_learns_which_of_two_is_preferred(tmp_path):
    generator = np.random.default_rng(1)
    # Preferred is the conversation that holds token 7.
    pairs = []
    for _ in range(200):
        plain = generator.integers(10, 60, 8).tolist()
        marked = plain.copy()
        marked[generator.integers(0, 8)] = 7
        pairs.append((marked, plain))
    model = Transformer(SHAPE)
    model.initialise(1)
    reward = RewardModel.of(model)
    train(
        reward,
        Pairs(pairs[:160], 24, 1),
        TrainingPlan(60, 16, 16),
        tmp_path,
        Devices(torch.device("cpu")),
        lambda *_, **__: None,
    )
    scores = score_all(reward.eval(), [one for pair in pairs[160:] for one in pair])
    assert sum(a > b for a, b in zip(scores[0::2], scores[1::2], strict=True)) >= 38
