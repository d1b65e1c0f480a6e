"""Baselines of the language model, against values worked by hand."""

import lzma
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.pretraining.baselines import TokenNgrams, primed_xz_bits_per_byte
from tests.support.training_jobs import ENCODING, TEXTS

BOS, A, B = 0, 1, 2
VOCABULARY = 8
DOCUMENTS = st.lists(st.lists(st.integers(1, VOCABULARY - 1), max_size=40), min_size=1, max_size=5)


def documents(*texts):
    return [np.array([BOS, *text], np.int64) for text in texts]


def encoded(texts):
    return [np.array(ENCODING.document(text), np.int64) for text in texts]


@given(DOCUMENTS, st.lists(st.integers(1, VOCABULARY - 1), max_size=8))
def test_the_probabilities_of_all_next_tokens_sum_to_one(texts, history):
    model = TokenNgrams(documents(*texts), VOCABULARY)
    # BOS is never counted as a next token, but order 0 gives every id of the vocabulary its share.
    total = sum(model.probabilities(documents([*history, token])[0])[-1] for token in range(VOCABULARY))
    assert total == pytest.approx(1)


def test_probabilities_by_hand():
    model = TokenNgrams(documents([A, B, A, B]), VOCABULARY)
    first, second = model.probabilities(documents([A, B])[0])
    # Order 1: A and B twice each, so 4 tokens of 2 types. Order 2, after BOS: A once, 1 type.
    single = (2 + 2 / VOCABULARY) / 6
    assert first == pytest.approx((1 + single) / 2)
    # Order 2, after A: B twice, 1 type. Order 3, after BOS A: B once, 1 type.
    after_a = (2 + single) / 3
    assert second == pytest.approx((1 + after_a) / 2)
    lengths = np.array([0, 1, 3, *[1] * 5])
    assert model.bits_per_byte(documents([A, B]), lengths) == pytest.approx(-(math.log2(first) + math.log2(second)) / 4)


def test_no_ngram_crosses_the_end_of_a_document():
    model = TokenNgrams(documents([A], [B]), VOCABULARY)
    assert model.probabilities(documents([A, B])[0])[1] == pytest.approx((1 + 2 / VOCABULARY) / 4)  # order 1 alone


def test_the_order_of_documents_and_the_size_of_chunks_do_not_matter(monkeypatch):
    texts, question = encoded(TEXTS[:30]), encoded(TEXTS[30:33])
    lengths = ENCODING.token_bytes
    whole = TokenNgrams(texts, 500).bits_per_byte(question, lengths)
    monkeypatch.setattr("llm_assets.pretraining.baselines.CHUNK_TOKENS", 64)
    assert TokenNgrams(reversed(texts), 500).bits_per_byte(question, lengths) == pytest.approx(whole, abs=1e-12)


def test_more_text_predicts_better():
    texts, lengths = encoded(TEXTS), ENCODING.token_bytes
    few, many = (TokenNgrams(texts[:count], 500).bits_per_byte(texts[150:], lengths) for count in (10, 150))
    assert many < few < 8


def test_xz_copies_from_the_training_text():
    text, other = TEXTS[0].encode(), TEXTS[1].encode()
    expected = len(lzma.compress(other + text, preset=9 | lzma.PRESET_EXTREME))
    expected -= len(lzma.compress(other, preset=9 | lzma.PRESET_EXTREME))
    assert primed_xz_bits_per_byte(other, text) == 8 * expected / len(text)
    assert (
        primed_xz_bits_per_byte(text, text) < primed_xz_bits_per_byte(other, text) < primed_xz_bits_per_byte(b"", text)
    )
