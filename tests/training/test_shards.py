"""Token shards: one stream for any file size, documents that are read back, splits that never change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.tokens.token_shards import split_of
from llm_assets.training.shards import ShardError, TokenStream, kept_file
from tests.support.token_shards import write_shards


@given(st.lists(st.lists(st.integers(0, 65_535), min_size=1, max_size=40), max_size=12), st.integers(1, 30), st.data())
def test_tokens_are_read_back_as_written(tmp_path_factory, documents, shard_tokens, data):
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


def test_several_folders_form_one_stream(tmp_path):
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
def test_a_stream_has_no_trace_of_left_out_documents(tmp_path_factory, documents, shard_tokens, split):
    folder = tmp_path_factory.mktemp("shards")
    written = [tokens for tokens, _ in documents]
    write_shards(folder / "a", written[:split], shard_tokens)
    write_shards(folder / "b", written[split:], shard_tokens)
    np.save(kept_file(folder, "train"), np.array([is_kept for _, is_kept in documents]))
    stream = TokenStream([folder / "a", folder / "b"], "train", folder)
    expected = [tokens for tokens, is_kept in documents if is_kept]
    assert [stream.document(i).tolist() for i in range(stream.documents)] == expected
    assert stream.tokens(0, len(stream)).tolist() == [token for tokens in expected for token in tokens]


def test_a_selection_of_another_number_of_documents_is_an_error(tmp_path):
    write_shards(tmp_path, [[1], [2]], 2)
    np.save(kept_file(tmp_path, "train"), np.array([True]))
    with pytest.raises(ShardError, match="it selects among 1 documents, but the shards hold 2"):
        TokenStream([tmp_path], "train", tmp_path)


def test_errors_of_broken_shards_name_the_problem(tmp_path):
    write_shards(tmp_path, [[1, 2, 3], [4, 5]], 2)
    with pytest.raises(ShardError, match="tokens 4 to 9 were requested, but the split has 5"):
        TokenStream([tmp_path], "train").tokens(4, 5)
    with pytest.raises(ShardError, match="split validation"):
        TokenStream([tmp_path], "validation")
    (tmp_path / "train-00001.npy").unlink()
    with pytest.raises(ShardError, match="split train has 3 tokens, but its lengths add up to 5"):
        TokenStream([tmp_path], "train")


def test_a_failed_write_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_shards(tmp_path, [[1, 2, 3]], 2)
    assert list(tmp_path.iterdir()) == []


def test_the_split_depends_on_the_key_alone():
    keys = [f"http://site{n}.example/page/{n}" for n in range(20_000)]
    small, large = ({key for key in keys if split_of(key, share) == "validation"} for share in (0.05, 0.1))
    assert 0.045 < len(small) / len(keys) < 0.055
    assert small < large  # a larger share takes the same pages and more
