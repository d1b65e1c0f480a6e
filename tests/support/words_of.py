"""The words of one text, as the compiled splitters give them."""

import numpy as np
import polars as pl

from llm_assets.curation.characters import kinds_of, kinds_table
from llm_assets.curation.jieba_words import chinese_words
from llm_assets.curation.word_splitting import JIEBA, WORD_RULES, split_words


def words_of(text: str, rules: str) -> list[str]:
    """The words of a text by one of `text_statistics.word_splitting`."""
    if WORD_RULES[rules] == JIEBA:
        given = chinese_words(pl.Series([text]))
        return [text[start:end] for start, end in zip(given.starts, given.ends, strict=True)]
    codes = np.array([ord(character) for character in text], np.uint32)
    kinds, scratch = np.zeros(len(codes), np.uint32), np.zeros((3, len(codes)), np.int32)
    kinds_of(codes, len(codes), kinds_table(), kinds)
    count = split_words(codes, kinds, len(codes), WORD_RULES[rules], *scratch)
    return [text[start:end] for start, end in zip(*scratch[:2, :count], strict=True)]
