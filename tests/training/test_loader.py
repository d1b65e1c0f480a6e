"""The order of training: each token once per epoch, and sequences that depend on their number alone."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.training.loader import LoaderError, PackedDocuments
from llm_assets.training.processes import Devices
from llm_assets.training.shards import TokenStream
from tests.support.token_shards import write_shards

BOS = 60_000


def stream(folder, lengths, shard_tokens=16):
    """Documents of these lengths, each a BOS and tokens that are all different."""
    edges = np.cumsum([0, *lengths])
    documents = [[BOS, *range(start, end)][: end - start] for start, end in itertools.pairwise(edges)]
    write_shards(folder, documents, shard_tokens)
    return TokenStream([folder], "train")


lengths = st.lists(st.integers(1, 40), min_size=1, max_size=15)


@given(lengths, st.integers(2, 20), st.integers(0, 5))
def test_each_token_is_trained_on_once_per_epoch(tmp_path_factory, lengths, context, seed):
    read = stream(tmp_path_factory.mktemp("s"), lengths)
    packed = PackedDocuments(read, context, seed)
    tokens, targets = packed.batch(0, 3 * -(-len(read) // context))
    flat = tokens.ravel()
    assert (targets.ravel()[:-1] == flat[1:]).all()  # also from one sequence to the next
    for epoch in range(2):
        epoch_tokens = flat[epoch * len(read) : (epoch + 1) * len(read)]
        assert sorted(epoch_tokens) == sorted(read.tokens(0, len(read)))
        assert (epoch_tokens == np.concatenate([read.document(number) for number in packed.order(epoch)])).all()


@given(lengths, st.integers(2, 20), st.data())
def test_sequences_do_not_depend_on_what_was_read_before(tmp_path_factory, lengths, context, data):
    read = stream(tmp_path_factory.mktemp("s"), lengths)
    tokens, targets = PackedDocuments(read, context, 1).batch(0, 40)
    other = PackedDocuments(read, context, 1)
    for _ in range(4):
        first = data.draw(st.integers(0, 39))
        count = data.draw(st.integers(0, 40 - first))
        some_tokens, some_targets = other.batch(first, count)
        assert (some_tokens == tokens[first : first + count]).all()
        assert (some_targets == targets[first : first + count]).all()


@pytest.mark.parametrize("world", [1, 2, 3, 4, 6, 12])
def test_processes_share_a_step_in_order(tmp_path, world):
    packed = PackedDocuments(stream(tmp_path, [30] * 20), 8, 1)
    whole = packed.batch(5 * 12, 12)[0]
    shares = [Devices(None, rank, world).share(12) for rank in range(world)]
    parts = [packed.batch(5 * 12 + share.start, len(share))[0] for share in shares]
    assert (np.concatenate(parts) == whole).all()


@given(lengths, st.integers(2, 20), st.integers(0, 60))
def test_times_seen_counts_what_sequences_hold(tmp_path_factory, lengths, context, sequences):
    read = stream(tmp_path_factory.mktemp("s"), lengths)
    packed = PackedDocuments(read, context, 2)
    trained = packed.batch(0, sequences)[0].ravel()
    epochs, place, seen = 0, 0, np.zeros(read.documents, int)
    while place < len(trained):
        for number in packed.order(epochs):
            if place < len(trained):
                seen[number] += 1
                place += int(read.lengths[number])
        epochs += 1
    assert (packed.times_seen(sequences) == seen).all()


def test_each_seed_and_epoch_has_its_own_order(tmp_path):
    packed = PackedDocuments(stream(tmp_path, [3] * 200), 8, 1)
    assert (packed.order(0) != packed.order(1)).any()
    assert (packed.order(0) != PackedDocuments(packed.stream, 8, 2).order(0)).any()
    assert (PackedDocuments(packed.stream, 8, 1, shuffle=False).order(3) == np.arange(200)).all()


def test_an_empty_split_is_an_error(tmp_path):
    write_shards(tmp_path, [], 8)
    with pytest.raises(LoaderError, match="the train split holds no tokens"):
        PackedDocuments(TokenStream([tmp_path], "train"), 8, 1)
