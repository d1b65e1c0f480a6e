"""Packing: every conversation stands whole in one row an epoch, its targets one further on, and what bears no loss is marked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.dialogue.packing import Conversations, MixedSequences, PackedConversations, pack
from llm_assets.model import IGNORE

PAD = 999


def held(lengths, seed=0):
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Conversations(random.integers(0, 900, starts[-1]).astype(np.uint32), random.random(starts[-1]) < 0.5, starts)


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 100))
def test_nothing_is_lost_or_cut(lengths, room):
    rows = pack(np.array(lengths, np.int64), room, np.arange(len(lengths)))
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in row) <= room for row in rows)


@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_hold_every_conversation_once_an_epoch(shuffle):
    conversations = held([5, 9, 17, 3, 12, 8, 20, 2])
    packed = PackedConversations(conversations, 24, 1, PAD, shuffle)
    inputs, targets = packed.batch(0, packed.sequences_per_epoch)
    wanted = sorted(
        tuple(conversations.tokens[a : b - 1])
        for a, b in zip(conversations.starts[:-1], conversations.starts[1:], strict=True)
    )
    found = sorted(int(token) for row in inputs for token in row if token != PAD)
    assert found == sorted(int(token) for one in wanted for token in one)
    for a, b in zip(conversations.starts[:-1], conversations.starts[1:], strict=True):
        piece = conversations.tokens[a : b - 1].astype(np.int64)
        places = [
            (r, c)
            for r in range(len(inputs))
            for c in range(24 - len(piece) + 1)
            if (inputs[r, c : c + len(piece)] == piece).all()
        ]
        assert places
        r, c = places[0]
        assert (
            targets[r, c : c + len(piece)]
            == np.where(conversations.trained[a + 1 : b], conversations.tokens[a + 1 : b].astype(np.int64), -1)
        ).all()
    assert (targets[inputs == PAD] == IGNORE).all()


def test_rows_are_a_function_of_their_number():
    conversations = held(np.random.default_rng(3).integers(2, 30, 200))
    whole = PackedConversations(conversations, 64, 5, PAD)
    inputs, targets = whole.batch(0, 200)
    again = PackedConversations(conversations, 64, 5, PAD)
    for first in (150, 0, 77, 199, 3):
        one, aim = again.batch(first, 1)
        assert (one[0] == inputs[first]).all()
        assert (aim[0] == targets[first]).all()
    assert not (PackedConversations(conversations, 64, 6, PAD).batch(0, 1)[0] == inputs[:1]).all()


def test_epochs_differ_in_order_and_hold_the_same():
    conversations = held([10] * 40)
    packed = PackedConversations(conversations, 9, 1, PAD)
    first, second = (packed.batch(epoch * 40, 40)[0] for epoch in (0, 1))
    assert not (first == second).all()
    assert sorted(map(tuple, first)) == sorted(map(tuple, second))


def test_too_long_and_none_are_errors():
    with pytest.raises(ValueError, match="does not fit"):
        PackedConversations(held([30]), 20, 0, PAD)
    with pytest.raises(ValueError, match="no conversation"):
        PackedConversations(held([]), 20, 0, PAD)


class Numbers:
    def __init__(self, sign):
        self.sign = sign

    def batch(self, first, count):
        values = self.sign * (np.arange(first, first + count)[:, None] + 1)
        return values, values


@given(st.floats(0, 0.9), st.integers(0, 300), st.integers(1, 20))
def test_mixed_rows_take_each_row_of_both_in_turn(share, first, count):
    mixed = MixedSequences(Numbers(1), Numbers(-1), share)
    everything = mixed.batch(0, first + count)[0][:, 0]
    assert (mixed.batch(first, count)[0][:, 0] == everything[first:]).all()
    plain, others = everything[everything > 0], -everything[everything < 0]
    assert (plain == np.arange(len(plain)) + 1).all()
    assert (others == np.arange(len(others)) + 1).all()
    assert abs(len(others) - share * len(everything)) <= 1


def test_saved_and_loaded(tmp_path):
    conversations = held([4, 6])
    conversations.save(tmp_path / "held.npz")
    found = Conversations.load(tmp_path / "held.npz")
    assert all((getattr(found, name) == getattr(conversations, name)).all() for name in ("tokens", "trained", "starts"))
