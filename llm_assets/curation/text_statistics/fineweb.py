"""FineWeb's filters on the text as C4 edits it (arXiv:2406.17557, section 3.4)."""

from __future__ import annotations

from typing import NamedTuple

import pandera.polars as pa

from llm_assets.compiled import compiled
from llm_assets.recipes import TextStatistics

from ..characters import SPACE, TERMINAL
from ..word_splitting import split_words
from .columns import column_positions
from .repeats import MAX_COUNTED, count_repeats, hash_prefixes, split_spans

_LINE_FEED, _EXCLAMATION, _DOUBLE_QUOTE, _SINGLE_QUOTE, _FULL_STOP, _QUESTION = 10, 33, 34, 39, 46, 63


class FineWeb(pa.DataFrameModel):
    """Ratios of the edited text's lines, characters without line feeds, and line feeds per word."""

    terminal_line_ratio: float = pa.Field(ge=0, le=1)
    short_line_ratio: float = pa.Field(ge=0, le=1)
    edited_duplicate_line_character_ratio: float = pa.Field(ge=0, le=1)
    newline_ratio: float = pa.Field(ge=0)
    edited_characters: float = pa.Field(ge=0)


COLUMN = column_positions(FineWeb)


class FineWebRules(NamedTuple):
    """What the family reads of a recipe's definitions."""

    word_rules: int
    ascii_terminal: bool
    count_blank_lines: bool
    short_line_length: int

    @classmethod
    def of(cls, definition: TextStatistics, word_rules: int) -> FineWebRules:
        return cls(
            word_rules,
            definition.terminal_punctuation == "ascii",
            definition.count_blank_lines,
            definition.short_line_length,
        )


@compiled
def measure_fineweb(edited, rules, buffers, table, row):  # type: ignore[no-untyped-def]
    """Fill the family's columns of one page, with zeros where nothing is left of it.

    Overwrites the page's hashes and words in `buffers` (`page_tokens.Buffers`) with those of the edited text.
    """
    row[COLUMN.edited_characters] = edited.characters
    if not edited.characters:
        return
    text, kinds, n, spans = edited.text, edited.kinds, edited.characters, buffers.spans
    hash_prefixes(text, n, buffers.prefixes, buffers.powers)
    count = split_spans(text, 0, n, 1, spans)
    newlines = 0
    for i in range(n):
        newlines += text[i] == _LINE_FEED
    lines, terminal, short, written = _measure_lines(text, kinds, spans, count, rules)
    if rules.count_blank_lines:
        # `split_spans` takes a run of line feeds as one break; between them are empty lines.
        empty = newlines - (count - 1)
        lines += empty
        short += empty
    _, characters = count_repeats(buffers.prefixes, buffers.powers, spans, min(written, MAX_COUNTED), table)
    row[COLUMN.terminal_line_ratio] = terminal / max(lines, 1)
    row[COLUMN.short_line_ratio] = short / max(lines, 1)
    row[COLUMN.edited_duplicate_line_character_ratio] = characters / max(n - newlines, 1)
    words = edited.words
    if words < 0:
        words = split_words(text, kinds, n, rules.word_rules, buffers.word_starts, buffers.word_ends, buffers.pending)
    row[COLUMN.newline_ratio] = newlines / max(words, 1)


@compiled
def _measure_lines(text, kinds, spans, count, rules):  # type: ignore[no-untyped-def]
    """Lines that count, those with terminal punctuation, short ones, and those that are not blank.

    The spans of the last move to the front of `spans`.
    """
    lines, terminal, short, written = 0, 0, 0, 0
    for i in range(count):
        start, end = spans[i, 0], spans[i, 1]
        blank = True
        for j in range(start, end):
            if not kinds[j] & SPACE:
                blank = False
                break
        if not blank:
            spans[written, 0], spans[written, 1] = start, end
            written += 1
        elif not rules.count_blank_lines:
            continue
        lines += 1
        if end - start <= rules.short_line_length:
            short += 1
        if end > start:
            terminal += _is_terminal(text[end - 1], kinds[end - 1], rules.ascii_terminal)
    return lines, terminal, short, written


@compiled
def _is_terminal(code, kind, ascii_terminal):  # type: ignore[no-untyped-def]
    """Whether a line that ends with this character ends with terminal punctuation."""
    if ascii_terminal:
        return code in (_FULL_STOP, _SINGLE_QUOTE, _DOUBLE_QUOTE, _EXCLAMATION, _QUESTION)
    return kind & TERMINAL != 0
