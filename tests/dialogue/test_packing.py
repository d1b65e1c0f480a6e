"""Packing: each epoch holds every conversation whole, in one sequence; targets are shifted by one position."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.dialogue.packing import Conversations, MixedSequences, PackedConversations, pack
from llm_assets.model import IGNORE
from llm_assets.model.attention import document_mask
from llm_assets.model.chat import Call, Message, render
from llm_assets.model.tool_calls import Completion
from llm_assets.training.policy_loss import to_batch
from tests.support.tiny_models import ENCODING, SHAPES, random_model

PADDING = 999
CONTEXT = 24


def random_conversations(lengths, seed=0):
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Conversations(random.integers(0, 900, starts[-1]).astype(np.uint32), random.random(starts[-1]) < 0.5, starts)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 100))
def test_no_conversation_is_lost_or_cut(lengths, capacity):
    sequences = pack(np.array(lengths, np.int64), capacity, np.arange(len(lengths)))
    assert sorted(number for sequence in sequences for number in sequence) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in sequence) <= capacity for sequence in sequences)


def occurrences(inputs, piece):
    """(sequence, position) of every occurrence of some tokens."""
    return [
        (sequence, position)
        for sequence in range(len(inputs))
        for position in range(CONTEXT - len(piece) + 1)
        if (inputs[sequence, position : position + len(piece)] == piece).all()
    ]


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_holds_every_conversation_once(shuffle):
    conversations = random_conversations([5, 9, 17, 3, 12, 8, 20, 2])
    packed = PackedConversations(conversations, CONTEXT, 1, PADDING, shuffle)
    inputs, targets = packed.batch(0, packed.sequences_per_epoch)
    bounds = list(zip(conversations.starts[:-1], conversations.starts[1:], strict=True))
    expected = sorted(int(token) for start, end in bounds for token in conversations.tokens[start : end - 1])
    assert sorted(int(token) for sequence in inputs for token in sequence if token != PADDING) == expected
    for start, end in bounds:
        piece = conversations.tokens[start : end - 1].astype(np.int64)
        places = occurrences(inputs, piece)
        assert places
        sequence, position = places[0]
        following = conversations.tokens[start + 1 : end].astype(np.int64)
        expected_targets = np.where(conversations.trained[start + 1 : end], following, -1)
        assert (targets[sequence, position : position + len(piece)] == expected_targets).all()
    assert (targets[inputs == PADDING] == IGNORE).all()


def test_a_sequence_is_a_function_of_its_number():
    conversations = random_conversations(np.random.default_rng(3).integers(2, 30, 200))
    inputs, targets = PackedConversations(conversations, 64, 5, PADDING).batch(0, 200)
    again = PackedConversations(conversations, 64, 5, PADDING)
    for number in (150, 0, 77, 199, 3):
        one_input, one_target = again.batch(number, 1)
        assert (one_input[0] == inputs[number]).all()
        assert (one_target[0] == targets[number]).all()
    assert not (PackedConversations(conversations, 64, 6, PADDING).batch(0, 1)[0] == inputs[:1]).all()


def test_epochs_differ_in_order_and_hold_the_same_sequences():
    packed = PackedConversations(random_conversations([10] * 40), 9, 1, PADDING)
    first, second = (packed.batch(epoch * 40, 40)[0] for epoch in (0, 1))
    assert not (first == second).all()
    assert sorted(map(tuple, first)) == sorted(map(tuple, second))


def test_a_conversation_that_is_too_long_and_an_empty_set_are_errors():
    with pytest.raises(ValueError, match="does not fit"):
        PackedConversations(random_conversations([30]), 20, 0, PADDING)
    with pytest.raises(ValueError, match="no conversation"):
        PackedConversations(random_conversations([]), 20, 0, PADDING)


class CountedSequences:
    """Sequences of one token: their number, from 1, times a sign."""

    def __init__(self, sign):
        self.sign = sign

    def batch(self, first, count):
        values = self.sign * (np.arange(first, first + count)[:, None] + 1)
        return values, values


@given(st.floats(0, 0.9), st.integers(0, 300), st.integers(1, 20))
def test_mixed_sequences_take_both_sources_in_order(share, first, count):
    mixed = MixedSequences(CountedSequences(1), CountedSequences(-1), share)
    values = mixed.batch(0, first + count)[0][:, 0]
    assert (mixed.batch(first, count)[0][:, 0] == values[first:]).all()
    from_first, from_second = values[values > 0], -values[values < 0]
    assert (from_first == np.arange(len(from_first)) + 1).all()
    assert (from_second == np.arange(len(from_second)) + 1).all()
    assert abs(len(from_second) - share * len(values)) <= 1


def test_conversations_are_saved_and_loaded(tmp_path):
    conversations = random_conversations([4, 6])
    conversations.save(tmp_path / "conversations.npz")
    loaded = Conversations.load(tmp_path / "conversations.npz")
    for name in ("tokens", "trained", "starts"):
        assert (getattr(loaded, name) == getattr(conversations, name)).all()


TALKS = [
    [Message("user", "Where is the river?"), Message("assistant", "In the town.")],
    [Message("user", "2 + 2?"), Message("assistant", "", Call("python", "2 + 2")), Message("tool", "4")],
    [Message("user", "Who is Mira?"), Message("assistant", "I do not know her, and I have not read about her.")],
]
TALKS[1].append(Message("assistant", "4."))
END = ENCODING.special["<|assistant_end|>"]


def rendered_conversations():
    rendered = [render(ENCODING, talk) for talk in TALKS]
    starts = np.cumsum([0, *(len(ids) for ids, _ in rendered)])
    tokens, trained = (np.concatenate([pair[place] for pair in rendered]) for place in (0, 1))
    return Conversations(tokens.astype(np.uint32), trained, starts)


@pytest.mark.parametrize("padding", ["<|pad|>", "<|bos|>", "<|assistant_end|>"])
def test_the_end_of_every_answer_bears_loss_whatever_the_padding_is(padding):
    """Targets are left out by their place and not by their id. A model that is never trained on the end of its turn
    does not learn to stop (trl#6357).
    """
    packed = PackedConversations(rendered_conversations(), 200, 1, ENCODING.special[padding])
    inputs, targets = packed.batch(0, 1)
    assert packed.sequences_per_epoch == 1 and (inputs[0, :-1] == ENCODING.bos).sum() >= 3
    trained = targets[targets != IGNORE].tolist()
    assert trained.count(END) == 3
    expected = [[token for token, is_own in zip(*render(ENCODING, talk), strict=True) if is_own] for talk in TALKS]
    assert sorted(trained) == sorted(token for tokens in expected for token in tokens)


def test_a_completion_that_was_cut_off_is_trained_without_an_end():
    """One end for a completion that ended by itself, none for the other, and no padding among the targets."""
    prompt_ids = [render(ENCODING, talk[:1], complete=False)[0] for talk in TALKS[:2]]
    finished = Completion([40, 41, 42], [0.0] * 3, "stop", [False] * 3, stop=END)
    cut_off = Completion([40, 41], [0.0] * 2, "length", [False] * 2)
    batch = to_batch(prompt_ids, [finished, cut_off], END)
    trained = [row[row != IGNORE].tolist() for row in batch.targets]
    assert trained == [[40, 41, 42, END], [40, 41]]


@torch.no_grad()
@pytest.mark.parametrize("name", SHAPES)
def test_a_conversation_has_the_same_log_probabilities_in_a_row_and_alone(name):
    """Where in a row it is packed must not matter. Learned positions count from its own beginning (trl#3526)."""
    shape = replace(SHAPES[name], context=200)
    model = random_model(shape)
    conversations = rendered_conversations()
    inputs, targets = PackedConversations(conversations, 200, 1, 0, shuffle=False).batch(0, 1)
    tokens, aims = torch.from_numpy(inputs), torch.from_numpy(targets)
    together = model(tokens, aims, document_mask(tokens, ENCODING.bos))[0]
    [place] = (tokens[0] == ENCODING.bos).nonzero()[1].tolist()
    start, end = conversations.starts[1:3]
    alone = torch.from_numpy(conversations.tokens[start:end].astype(np.int64))[None]
    losses = model(alone[:, :-1], aims[None, 0, place : place + alone.shape[1] - 1])[0]
    assert losses.count_nonzero() > 5
    torch.testing.assert_close(together[place : place + len(losses)], losses, atol=1e-5, rtol=1e-5)
