"""The order of training: every token once an epoch, rows that do not depend on who asks for them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.training.loader import LoaderError, PackedRows
from llm_assets.training.loop import Devices, shares
from llm_assets.training.shards import TokenStream
from tests.support.token_shards import write_shards

BOS = 60_000


def stream(folder, lengths, shard_tokens=16):
    """Documents whose tokens are all different, BOS in front."""
    edges = np.cumsum([0, *lengths])
    write_shards(
        folder, [[BOS, *range(start, end)][: end - start] for start, end in itertools.pairwise(edges)], shard_tokens
    )
    return TokenStream([folder], "train")


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=15)


@given(lengths, st.integers(2, 20), st.integers(0, 5))
def test_every_token_is_trained_on_once_an_epoch(tmp_path_factory, lengths, context, seed):
    read = stream(tmp_path_factory.mktemp("s"), lengths)
    packed = PackedRows(read, context, seed)
    tokens, targets = packed.rows(0, 3 * -(-len(read) // context))
    flat = tokens.ravel()
    assert (targets.ravel()[:-1] == flat[1:]).all()  # what comes next, across rows too
    for epoch in range(2):
        of_epoch = flat[epoch * len(read) : (epoch + 1) * len(read)]
        assert sorted(of_epoch) == sorted(read.tokens(0, len(read)))
        assert (of_epoch == np.concatenate([read.document(number) for number in packed.order(epoch)])).all()


@given(lengths, st.integers(2, 20), st.data())
def test_rows_do_not_depend_on_what_was_read_before(tmp_path_factory, lengths, context, data):
    read = stream(tmp_path_factory.mktemp("s"), lengths)
    tokens, targets = PackedRows(read, context, 1).rows(0, 40)
    other = PackedRows(read, context, 1)
    for _ in range(4):
        first = data.draw(st.integers(0, 39))
        count = data.draw(st.integers(0, 40 - first))
        some = other.rows(first, count)
        assert (some[0] == tokens[first : first + count]).all() and (some[1] == targets[first : first + count]).all()


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6, 12])
def test_processes_share_a_step_in_order(tmp_path, world):
    packed = PackedRows(stream(tmp_path, [30] * 20), 8, 1)
    whole = packed.rows(5 * 12, 12)[0]
    parts = [shares(12, Devices(None, rank, world)) for rank in range(world)]
    assert (np.concatenate([packed.rows(5 * 12 + part.start, len(part))[0] for part in parts]) == whole).all()


@given(lengths, st.integers(2, 20), st.integers(0, 60))
def test_times_seen_is_what_rows_hold(tmp_path_factory, lengths, context, rows):
    read = stream(tmp_path_factory.mktemp("s"), lengths)
    packed = PackedRows(read, context, 2)
    held = packed.rows(0, rows)[0].ravel()
    epochs, place, seen = 0, 0, np.zeros(read.documents, int)
    while place < len(held):
        for number in packed.order(epochs):
            if place < len(held):
                seen[number] += 1
                place += int(read.lengths[number])
        epochs += 1
    assert (packed.times_seen(rows) == seen).all()


def test_seeds_and_epochs_are_other_orders(tmp_path):
    packed = PackedRows(stream(tmp_path, [3] * 200), 8, 1)
    assert (packed.order(0) != packed.order(1)).any() and (
        packed.order(0) != PackedRows(packed.stream, 8, 2).order(0)
    ).any()
    assert (PackedRows(packed.stream, 8, 1, shuffle=False).order(3) == np.arange(200)).all()


def test_an_empty_split_is_an_error(tmp_path):
    write_shards(tmp_path, [], 8)
    with pytest.raises(LoaderError, match="the train split holds no tokens"):
        PackedRows(TokenStream([tmp_path], "train"), 8, 1)
