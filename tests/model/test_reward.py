"""The reward model: losses by hand, scores independent of padding, and the layout that transformers reads."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import CheckpointError, load_model, save_model
from llm_assets.model.reward import RewardModel, pad_conversations, pair_losses, score_all
from llm_assets.model.shape import ModelShape
from llm_assets.training.loop import train
from llm_assets.training.pairs import Pairs, pair_target_losses
from llm_assets.training.plan import TrainingPlan
from llm_assets.training.processes import Devices, TrainingProcess
from llm_assets.training.sequences import TrainingError
from tests.support.tiny_models import initialised_model

SHAPE = ModelShape.of_depth(2, 60, 24, width=32)


def reward_model(shape=SHAPE, seed=1):
    model = RewardModel.of(initialised_model(shape, seed))
    with torch.no_grad():
        model.score.weight.normal_(0.0, 0.5, generator=torch.Generator().manual_seed(seed))
    return model.eval()


def test_pair_losses_by_hand():
    losses = pair_losses(torch.tensor([1.0, 0.0, -2.0, 1.0, 0.5, 0.5]))
    assert losses.tolist() == pytest.approx([math.log(1 + math.exp(-1)), math.log(1 + math.exp(3)), math.log(2)])


def test_a_new_head_gives_equal_scores():
    assert score_all(RewardModel.of(initialised_model(SHAPE)), [[1, 2, 3], [4, 5]]) == [0.0, 0.0]


def test_the_loss_of_a_pair_is_at_the_last_token_of_both_conversations():
    model, conversations = reward_model(), [[1, 2, 3], [4, 5], [6], [7, 8, 9, 10]]
    tokens, targets = (torch.from_numpy(array) for array in pad_conversations(conversations))
    losses = pair_target_losses(model, tokens, targets)
    scores = score_all(model, conversations)
    for row, (preferred, other) in enumerate(((0, 1), (0, 1), (2, 3), (2, 3))):
        is_last = targets[row] != IGNORE
        assert is_last.nonzero().tolist() == [[len(conversations[row]) - 1]]
        expected = math.log(1 + math.exp(scores[other] - scores[preferred]))
        assert losses[row][is_last].item() == pytest.approx(expected, abs=1e-5)
        assert losses[row][~is_last].abs().sum() == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 59), min_size=1, max_size=12), min_size=1, max_size=9))
def test_a_score_does_not_depend_on_the_other_conversations(conversations):
    model = reward_model()
    together = score_all(model, conversations)
    alone = [score_all(model, [conversation])[0] for conversation in conversations]
    assert together == pytest.approx(alone, abs=1e-5)


def test_transformers_reads_it_as_a_classifier_with_one_label(tmp_path):
    transformers = pytest.importorskip("transformers")
    from llm_assets.model.huggingface import config

    model = reward_model()
    save_model(model, tmp_path)
    classifier = {"architectures": ["Qwen3ForSequenceClassification"], "num_labels": 1, "pad_token_id": 0}
    (tmp_path / "config.json").write_text(json.dumps({**config(SHAPE), **classifier}))
    other = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokens = torch.tensor([[5, 9, 3, 7], [1, 2, 3, 4]])
    with torch.no_grad():
        logits = other(tokens).logits.squeeze(-1).tolist()
    assert logits == pytest.approx(score_all(model, tokens.tolist()), abs=1e-5)


def test_a_checkpoint_holds_the_head_and_is_no_language_model(tmp_path):
    model = reward_model()
    save_model(model, tmp_path)
    assert score_all(load_model(tmp_path, kind=RewardModel), [[1, 2, 3]]) == score_all(model, [[1, 2, 3]])
    with pytest.raises(CheckpointError, match="does not fit"):
        load_model(tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_weights_have_the_names_of_the_language_model_and_score(tied):
    shape = ModelShape.of_depth(2, 60, 24, width=32, tied=tied)
    language_model = initialised_model(shape)
    model = RewardModel.of(language_model)
    assert set(model.state_dict()) == {*language_model.state_dict(), "score.weight"}
    model.load_state_dict(reward_model(shape, 2).state_dict())
    assert score_all(model, [[1, 2]]) == score_all(reward_model(shape, 2), [[1, 2]])


def test_muon_trains_the_hidden_matrices_only():
    names = {name for name, _ in reward_model().matrices()}
    assert not any("score" in name or "embed" in name or "lm_head" in name for name in names)
    assert any("q_proj" in name for name in names)


def test_batches_hold_whole_pairs_each_once_per_epoch():
    pairs = [([number, number], [number]) for number in range(1, 8)]
    data = Pairs(pairs, 24, seed=3)
    tokens, targets = data.batch(0, 28)
    preferred = tokens[0::2, 0].tolist()
    assert sorted(preferred[:7]) == sorted(preferred[7:]) == list(range(1, 8)) and preferred[:7] != preferred[7:]
    assert (tokens[0::2, 0] == tokens[1::2, 0]).all()
    assert (targets[0::2].argmax(1) == 1).all() and (targets[1::2].argmax(1) == 0).all()
    assert np.array_equal(data.batch(6, 4)[0], tokens[6:10])
    assert Pairs([([1, 2, 3], [4])], 24, 0).batch(0, 2)[0].tolist() == [[1, 2, 3], [4, 0, 0]]


def test_pairs_are_sorted_by_length_within_their_step():
    pairs = [([number] * number, [number]) for number in range(1, 21)]
    plain, ordered = Pairs(pairs, 24, seed=3), Pairs(pairs, 24, seed=3, pairs_per_step=5)
    for step in range(8):
        preferred = ordered.batch(10 * step, 10)[0][0::2, 0].tolist()
        assert preferred == sorted(plain.batch(10 * step, 10)[0][0::2, 0].tolist())
        assert ordered.batch(10 * step + 4, 2)[0][0, 0] == preferred[2]


def test_tokens_after_the_last_one_do_not_change_the_loss():
    model = reward_model()
    tokens, targets = pad_conversations([[1, 2, 3, 4], [5, 6]])
    wide_tokens, wide_targets = np.full((2, 9), 7), np.full((2, 9), IGNORE)
    wide_tokens[:, :4], wide_targets[:, :4] = tokens, targets
    losses, wide = (
        pair_target_losses(model, torch.from_numpy(inputs), torch.from_numpy(aims))
        for inputs, aims in ((tokens, targets), (wide_tokens, wide_targets))
    )
    assert torch.allclose(wide[:, :4], losses, atol=1e-6) and not wide[:, 4:].any() and losses.any()


def test_pairs_that_cannot_be_trained_on_are_errors():
    with pytest.raises(TrainingError, match="no pair"):
        Pairs([], 24, 0)
    with pytest.raises(TrainingError, match="30 tokens does not fit into a context of 24"):
        Pairs([([1] * 30, [2])], 24, 0)
    with pytest.raises(TrainingError, match="split a pair"):
        Pairs([([1], [2])], 24, 0).batch(1, 2)


def test_it_learns_which_conversation_is_preferred(tmp_path):
    generator = np.random.default_rng(1)
    # The conversation with token 7 is preferred.
    pairs = []
    for _ in range(200):
        plain = generator.integers(10, 60, 8).tolist()
        marked = plain.copy()
        marked[generator.integers(0, 8)] = 7
        pairs.append((marked, plain))
    model = RewardModel.of(initialised_model(SHAPE))
    process = TrainingProcess(tmp_path, Devices(torch.device("cpu")), lambda *_, **__: None)
    train(model, Pairs(pairs[:160], 24, 1), TrainingPlan(60, 16, 16), process, losses=pair_target_losses)
    scores = score_all(model.eval(), [conversation for pair in pairs[160:] for conversation in pair])
    assert sum(preferred > other for preferred, other in zip(scores[0::2], scores[1::2], strict=True)) >= 38


def test_speed_counts_the_tokens_of_conversations_without_their_padding():
    assert Pairs([([1, 2], [1, 2, 3]), ([1], [1, 2])], context=24, seed=1).mean_tokens == 2
