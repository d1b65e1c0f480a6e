"""Shards: one stream whatever the size of a file, documents found again, splits that never move."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.tokens.token_shards import split_of
from llm_assets.training.shards import ShardError, TokenStream, kept_file
from tests.support.token_shards import write_shards


@given(st.lists(st.lists(st.integers(0, 65_535), min_size=1, max_size=40), max_size=12), st.integers(1, 30), st.data())
def test_what_is_written_is_read(tmp_path_factory, documents, shard_tokens, data):
    folder = tmp_path_factory.mktemp("shards")
    names = write_shards(folder, documents, shard_tokens)
    flat = [token for document in documents for token in document]
    files = [np.load(folder / name) for name in names[:-1]]
    assert all(len(file) == shard_tokens for file in files[:-1])
    stream = TokenStream([folder], "train")
    assert len(stream) == len(flat) and stream.documents == len(documents)
    assert [stream.document(i).tolist() for i in range(len(documents))] == documents
    start = data.draw(st.integers(0, len(flat)))
    count = data.draw(st.integers(0, len(flat) - start))
    assert stream.tokens(start, count).tolist() == flat[start : start + count]


def test_several_folders_are_one_stream(tmp_path):
    write_shards(tmp_path / "a", [[1, 2], [3]], 2)
    write_shards(tmp_path / "b", [], 2)
    write_shards(tmp_path / "c", [[4, 5, 6]], 2)
    stream = TokenStream([tmp_path / "a", tmp_path / "b", tmp_path / "c"], "train")
    assert stream.tokens(0, 6).tolist() == [1, 2, 3, 4, 5, 6]
    assert stream.document(2).tolist() == [4, 5, 6]


@given(
    st.lists(st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=9), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 7),
    st.integers(0, 12),
)
def test_documents_that_are_left_out_are_as_if_never_written(tmp_path_factory, documents, shard_tokens, split):
    folder = tmp_path_factory.mktemp("shards")
    written = [tokens for tokens, _ in documents]
    write_shards(folder / "a", written[:split], shard_tokens)
    write_shards(folder / "b", written[split:], shard_tokens)
    np.save(kept_file(folder, "train"), np.array([kept for _, kept in documents]))
    stream = TokenStream([folder / "a", folder / "b"], "train", folder)
    expected = [tokens for tokens, kept in documents if kept]
    assert [stream.document(i).tolist() for i in range(stream.documents)] == expected
    assert stream.tokens(0, len(stream)).tolist() == [token for tokens in expected for token in tokens]


def test_a_list_of_documents_that_does_not_fit_the_shards_is_refused(tmp_path):
    write_shards(tmp_path, [[1], [2]], 2)
    np.save(kept_file(tmp_path, "train"), np.array([True]))
    with pytest.raises(ShardError, match="for 1 documents, where the shards hold 2"):
        TokenStream([tmp_path], "train", tmp_path)


def test_broken_shards_are_named(tmp_path):
    write_shards(tmp_path, [[1, 2, 3], [4, 5]], 2)
    with pytest.raises(ShardError, match="4 to 9 asked for, 5 there"):
        TokenStream([tmp_path], "train").tokens(4, 5)
    with pytest.raises(ShardError, match="split validation"):
        TokenStream([tmp_path], "validation")
    (tmp_path / "train-00001.npy").unlink()
    with pytest.raises(ShardError, match="train has 3 tokens; its lengths say 5"):
        TokenStream([tmp_path], "train")


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_shards(tmp_path, [[1, 2, 3]], 2)
    assert list(tmp_path.iterdir()) == []


def test_the_split_is_a_function_of_the_key_alone():
    keys = [f"http://site{n}.example/page/{n}" for n in range(20_000)]
    small, large = ({key for key in keys if split_of(key, share) == "validation"} for share in (0.05, 0.1))
    assert 0.045 < len(small) / len(keys) < 0.055
    assert small < large  # a larger share takes the same pages and more
