"""Encodings: round trips, special tokens, broken ranks files, parity with the `tokenizers` library."""

import base64
import hashlib
import random

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.model.encoding import (
    GPT4_PATTERN,
    PUBLISHED,
    SPECIAL_TOKENS,
    Encoding,
    EncodingUnavailable,
    Published,
    TokenizerError,
    parse_ranks,
    published,
    published_here,
    write_ranks,
)
from llm_assets.model.tokenizer_files import merge_steps, merges, parts, write_tokenizer
from llm_assets.sample_web import prose, world
from llm_assets.tokens.tokenizer import TOKENIZER, train

WORLD = world.make_world(1)
TEXTS = [prose.portrait(random.Random(n), WORLD.people[n]) for n in range(60)] + [
    "naïve café — 日本語 🙂🙂 12345 1+1=2\n\n\n  x\t\tTHE'S don't\r\n"
] * 3
ENCODING = train(TEXTS, 700)


@given(st.text(max_size=400))
def test_any_text_round_trips(text):
    ids = ENCODING.encode(text)
    assert ENCODING.decode_bytes(ids) == text.encode()
    assert all(0 <= rank < len(ENCODING.ranks) for rank in ids)


@given(st.binary(max_size=300))
def test_any_bytes_round_trip(data):
    ids = ENCODING.bpe._encode_bytes(data)  # tiktoken's own way for what is no text
    assert ENCODING.decode_bytes(ids) == data


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "hello", " "]), max_size=12))
def test_text_never_becomes_a_special_token(pieces):
    text = "".join(pieces)
    ids = ENCODING.document(text)
    assert ids[0] == ENCODING.bos
    assert not set(ids[1:]) & set(ENCODING.special.values())
    assert ENCODING.decode(ids[1:]) == text


def test_ids_are_ranks_then_special_tokens():
    assert ENCODING.size == 700 == len(ENCODING.ranks) + len(SPECIAL_TOKENS)
    assert list(ENCODING.special.values()) == list(range(684, 700))
    assert ENCODING.token_bytes[ENCODING.bos] == 0
    text = TEXTS[0]
    assert ENCODING.token_bytes[ENCODING.encode(text)].sum() == len(text.encode())


def test_training_does_not_depend_on_the_order_of_documents():
    assert train(reversed(TEXTS), 700).ranks == ENCODING.ranks


def test_a_vocabulary_beyond_the_data_is_an_error():
    with pytest.raises(TokenizerError, match=r"vocabulary 5,000: the corpus supports only 2\d\d"):
        train(["aab aab"], 5_000)


def test_saved_and_loaded(tmp_path):
    ENCODING.save(tmp_path)
    assert Encoding.load(tmp_path) == ENCODING
    lines = (tmp_path / "tokenizer.tiktoken").read_bytes().splitlines(keepends=True)
    (tmp_path / "tokenizer.tiktoken").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(TokenizerError, match="is not the file that"):
        Encoding.load(tmp_path)


def ranks_file(change):
    lines = write_ranks(ENCODING.ranks).splitlines()
    change(lines)
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.insert(3, b"not base64 at all"), "line 4: not a token"),
        (lambda lines: lines.insert(3, b"QUJD"), "line 4: not a token"),
        (lambda lines: lines.append(lines[5].split()[0] + b" 684"), "line 685: token .* occurs twice"),
        (lambda lines: lines.pop(300), "ranks are not 0 to 682; 300 is missing"),
        (lambda lines: lines.append(base64.b64encode(b"zzzz") + b" 5"), "ranks are not 0 to 684"),
        (lambda lines: lines.__setitem__(65, base64.b64encode(b"qqqq") + b" 65"), "no token for the byte"),
    ],
)
def test_broken_ranks_are_errors(change, message):
    with pytest.raises(TokenizerError, match=message):
        parse_ranks(ranks_file(change), "mine.tiktoken")


def test_a_missing_or_wrong_ranks_file_is_an_error(tmp_path):
    with pytest.raises(TokenizerError, match="No such file"):
        published("gpt2", tmp_path / "none.tiktoken")
    (tmp_path / "own.tiktoken").write_bytes(write_ranks(ENCODING.ranks))
    with pytest.raises(TokenizerError, match="well formed, 684 tokens, but not the published gpt2"):
        published("gpt2", tmp_path / "own.tiktoken")
    with pytest.raises(TokenizerError, match="unknown encoding 'gpt5'; available: gpt2, cl100k_base, o200k_base"):
        published("gpt5")


@pytest.mark.parametrize("error", [requests.ConnectionError("no network"), ValueError("Hash mismatch for data")])
def test_only_a_failed_download_is_retried(tmp_path, monkeypatch, error):
    def read(url, sha256):
        raise error

    monkeypatch.setattr("tiktoken.load.read_file_cached", read)
    with pytest.raises(EncodingUnavailable, match="encoding gpt2: not in tiktoken's cache"):
        published("gpt2")
    assert TOKENIZER.retry is not None and TOKENIZER.retry.on == (EncodingUnavailable,)
    with pytest.raises(TokenizerError) as raised:
        published("gpt2", tmp_path / "none.tiktoken")
    assert not isinstance(raised.value, EncodingUnavailable)


def test_published_encodings_from_files(shared_data):
    for name, file, size in [
        ("gpt2", "r50k_base", 50_272),
        ("cl100k_base", "cl100k_base", 100_272),
        ("o200k_base", "o200k_base", 200_014),
    ]:
        encoding = published(name, shared_data / "tokenizers" / f"{file}.tiktoken")
        assert encoding.size == size and encoding.dtype.__name__ == ("uint16" if size <= 65_536 else "uint32")
        assert encoding.decode(encoding.encode(TEXTS[-1])) == TEXTS[-1]
    assert published("gpt2", shared_data / "tokenizers" / "r50k_base.tiktoken").encode("Hello world") == [15496, 995]


def test_a_token_is_merged_step_by_step():
    ranks = {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"abc": 4, b"abcabc": 5}
    steps = list(merge_steps(b"abcabc", ranks))
    assert [len(step) for step in steps] == [6, 5, 4, 3, 2] and steps[-1] == [b"abc", b"abc"]
    assert all(b"".join(step) == b"abcabc" for step in steps)
    assert list(merge_steps(b"a", ranks)) == [[b"a"]]


def test_published_ranks_are_taken_from_the_cache_and_never_downloaded(tmp_path, monkeypatch):
    data = write_ranks(ENCODING.ranks)
    known = Published("https://example.org/gpt2", hashlib.sha256(data).hexdigest(), ENCODING.pattern, 684)
    monkeypatch.setitem(PUBLISHED, "gpt2", known)
    monkeypatch.setattr("tiktoken.load.read_file", lambda url: pytest.fail(f"{url} was downloaded"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    assert published_here("gpt2") is None
    cached = tmp_path / hashlib.sha1(known.url.encode()).hexdigest()
    cached.write_bytes(data)
    assert published_here("gpt2") == published("gpt2")  # which reads tiktoken's cache
    cached.write_bytes(b"broken")
    with pytest.raises(TokenizerError):
        published_here("gpt2")


def test_merges_lead_back_to_the_ranks():
    assert parts(b"abc", {b"a": 0, b"b": 1, b"c": 2, b"bc": 3, b"abc": 4}) == [b"a", b"bc"]
    assert len(merges(ENCODING.ranks)) == len(ENCODING.ranks) - 256


def huggingface(encoding, folder):
    from tokenizers import Tokenizer

    write_tokenizer(encoding, folder, 1024)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_parity_with_the_tokenizers_library(tmp_path):
    other = huggingface(ENCODING, tmp_path)

    @given(st.text(max_size=300))
    def same(text):
        if any(name in text for name in SPECIAL_TOKENS):
            return
        assert other.encode(text, add_special_tokens=False).ids == ENCODING.encode(text)

    same()
    for text in TEXTS:
        assert other.encode(text, add_special_tokens=False).ids == ENCODING.encode(text)
        assert other.decode(ENCODING.encode(text)) == text
    assert other.encode("<|bos|>hello", add_special_tokens=False).ids == ENCODING.document("hello")
    # As a document of the training data begins, and as llama.cpp begins every text.
    assert other.encode("hello").ids == ENCODING.document("hello")


def test_parity_of_a_published_encoding(shared_data, tmp_path):
    encoding = published("cl100k_base", shared_data / "tokenizers" / "cl100k_base.tiktoken")
    other = huggingface(encoding, tmp_path)
    for text in TEXTS:
        assert other.encode(text, add_special_tokens=False).ids == encoding.encode(text)
    assert encoding.pattern == GPT4_PATTERN


def test_line_ends_are_the_tokens_with_a_line_break():
    assert ENCODING.line_ends and all("\n" in ENCODING.decode([token]) for token in ENCODING.line_ends)
    for text in [TEXTS[-1], "One.\nTwo.\n\nThree"]:
        assert [token in ENCODING.line_ends for token in ENCODING.encode(text)] == [
            "\n" in ENCODING.decode([token]) for token in ENCODING.encode(text)
        ]
