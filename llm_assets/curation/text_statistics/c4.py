"""C4's edit of a text, line by line, and what it counts while editing (arXiv:1910.10683, section 2.2).

Where the paper leaves something open, the code that made the data decides (tensorflow/datasets, c4_utils.py).
Compiled functions take arrays one by one, so that the innermost loops look nothing up in a tuple.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandera.polars as pa

from llm_assets.compiled import compiled
from llm_assets.recipes import TextStatistics

from ..characters import SPACE, kinds_table
from ..word_splitting import JIEBA, count_sentences
from .columns import column_positions
from .page_tokens import LINE_END, LINE_LONGEST_WORD, LINE_START, LINE_WORDS

_JAVASCRIPT, _LOREM_IPSUM = 0, 1  # places in _PHRASES; all others speak of policies
_PHRASES = (
    "javascript",
    "lorem ipsum",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_CITATIONS = ("[edit]", "[citation needed]")
# What a line may contain, as flags.
_HAS_JAVASCRIPT, _HAS_LOREM_IPSUM, _HAS_POLICY, _HAS_CURLY_BRACKET = 1, 2, 4, 8
_LINE_FEED, _SQUARE_OPEN, _SQUARE_CLOSE, _CURLY_OPEN, _LETTER_Z = 10, 91, 93, 123, 122


class C4(pa.DataFrameModel):
    """`lorem_ipsum` and `curly_bracket` are 1 where they drop the page; lines and sentences are counted."""

    lorem_ipsum: float = pa.Field(isin=[0.0, 1.0])
    curly_bracket: float = pa.Field(isin=[0.0, 1.0])
    sentences: float = pa.Field(ge=0)
    removed_lines: float = pa.Field(ge=0)


COLUMN = column_positions(C4)


class C4Rules(NamedTuple):
    """What the family reads of a recipe's definitions, and its phrases as code points."""

    word_rules: int
    edit_lines: bool
    min_words_per_line: int
    max_word_length: int  # 0: no limit
    phrases: np.ndarray  # uint32: code points end to end
    phrase_starts: np.ndarray  # int64 (phrases + 1,)
    second_letters: np.ndarray  # uint32 (128,): second letter of the phrases that begin with a letter, 0 for no phrase
    citations: np.ndarray
    citation_starts: np.ndarray
    line_feed_kind: int  # flags of a line feed

    @classmethod
    def of(cls, definition: TextStatistics, word_rules: int) -> C4Rules:
        phrases, phrase_starts = _code_points(_PHRASES)
        second_letters = np.zeros(128, np.uint32)
        for phrase in _PHRASES:
            second_letters[ord(phrase[0])] = ord(phrase[1])
        return cls(
            word_rules,
            definition.edit_lines,
            definition.min_words_per_line,
            definition.max_word_length,
            phrases,
            phrase_starts,
            second_letters,
            *_code_points(_CITATIONS),
            int(kinds_table()[_LINE_FEED]),
        )


class EditBuffers(NamedTuple):
    """The edited text, and scratch of the sentence counter; as long as the longest page."""

    text: np.ndarray  # uint32
    kinds: np.ndarray  # uint32
    sentence_starts: np.ndarray  # int32
    sentence_ends: np.ndarray  # int32
    pending: np.ndarray  # int32


class EditedPage(NamedTuple):
    """The edited text. `words` counts those of the kept lines, as split in the page; -1 if they must be split again."""

    text: np.ndarray
    kinds: np.ndarray
    characters: int
    words: int


def _code_points(phrases: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Code points end to end, and where each phrase starts."""
    return np.array([ord(c) for phrase in phrases for c in phrase], np.uint32), np.cumsum([0, *map(len, phrases)])


@compiled
def new_edit_buffers(longest, pending):  # type: ignore[no-untyped-def]
    """EditBuffers for pages of up to `longest` characters; `pending` is the word splitter's scratch."""
    return EditBuffers(
        np.zeros(longest, np.uint32),
        np.zeros(longest, np.uint32),
        np.zeros(longest, np.int32),
        np.zeros(longest, np.int32),
        pending,
    )


@compiled
def measure_c4(page, rules, buffers, row):  # type: ignore[no-untyped-def]
    """Edit one page and fill the family's columns; returns the EditedPage.

    Removed are lines with too few words, a word that is too long, "javascript" or a phrase of a policy; citation marks
    are taken out of the others. If the recipe edits no lines, the text stays as it is, and only the columns are filled.
    """
    if not rules.edit_lines:
        return _measure_unedited(page, rules, buffers, row)
    lines, word_starts, words = page.lines, page.word_starts, page.words
    out, out_kinds = buffers.text, buffers.kinds
    written = 0  # characters of the edited text
    sentences, removed, cited = 0, 0, False
    word, kept_words = 0, 0
    lorem_ipsum, curly_bracket = False, False
    for line in range(page.line_count):
        start, end = lines[line, LINE_START], lines[line, LINE_END]
        too_long = rules.max_word_length > 0 and lines[line, LINE_LONGEST_WORD] > rules.max_word_length
        if too_long or lines[line, LINE_WORDS] < rules.min_words_per_line:
            removed += 1
            continue
        first = written if written == 0 else written + 1  # after a line feed
        last, line_cited = _copy_line(page, start, end, rules, out, out_kinds, first)
        cited = cited or line_cited
        contents = _line_contents(out, first, last, rules)
        lorem_ipsum = lorem_ipsum or contents & _HAS_LOREM_IPSUM != 0
        # A curly bracket drops the page, unless C4 has already removed its line for JavaScript.
        curly_bracket = curly_bracket or (contents & _HAS_CURLY_BRACKET != 0 and not contents & _HAS_JAVASCRIPT)
        if contents & (_HAS_JAVASCRIPT | _HAS_POLICY):
            removed += 1
            continue
        sentences += count_sentences(
            out[first:last],
            out_kinds[first:last],
            last - first,
            rules.word_rules,
            buffers.sentence_starts,
            buffers.sentence_ends,
            buffers.pending,
        )
        while word < words and word_starts[word] < start:
            word += 1
        while word < words and word_starts[word] < end:
            word += 1
            kept_words += 1
        if first > 0:
            out[first - 1], out_kinds[first - 1] = np.uint32(_LINE_FEED), np.uint32(rules.line_feed_kind)
        written = last
    row[COLUMN.lorem_ipsum], row[COLUMN.curly_bracket] = lorem_ipsum, curly_bracket
    row[COLUMN.sentences], row[COLUMN.removed_lines] = sentences, removed
    start = 0
    while start < written and out_kinds[start] & SPACE:
        start += 1
    while written > start and out_kinds[written - 1] & SPACE:
        written -= 1
    # Without a citation mark, "a[1]b" is another word. Given words cannot be split again.
    words_left = -1 if cited and rules.word_rules != JIEBA else kept_words
    return EditedPage(out[start:written], out_kinds[start:written], written - start, words_left)


@compiled
def _measure_unedited(page, rules, buffers, row):  # type: ignore[no-untyped-def]
    """Fill the family's columns of one page whose lines all stay; returns the page itself as the EditedPage."""
    lorem_ipsum, curly_bracket, sentences = False, False, 0
    for line in range(page.line_count):
        start, end = page.lines[line, LINE_START], page.lines[line, LINE_END]
        contents = _line_contents(page.text, start, end, rules)
        lorem_ipsum = lorem_ipsum or contents & _HAS_LOREM_IPSUM != 0
        curly_bracket = curly_bracket or contents & _HAS_CURLY_BRACKET != 0
        sentences += count_sentences(
            page.text[start:end],
            page.kinds[start:end],
            end - start,
            rules.word_rules,
            buffers.sentence_starts,
            buffers.sentence_ends,
            buffers.pending,
        )
    row[COLUMN.lorem_ipsum], row[COLUMN.curly_bracket] = lorem_ipsum, curly_bracket
    row[COLUMN.sentences], row[COLUMN.removed_lines] = sentences, 0
    return EditedPage(page.text, page.kinds, page.characters, page.words)


@compiled
def _copy_line(page, start, end, rules, out, out_kinds, at):  # type: ignore[no-untyped-def]
    """Copy text[start:end] to out[at:] without citation marks; returns where it ends, and whether there were any."""
    text, kinds = page.text, page.kinds
    cited = False
    i = start
    while i < end:
        if text[i] == _SQUARE_OPEN:
            length = _citation_length(text, i, end, rules.citations, rules.citation_starts)
            if length:
                i += length
                cited = True
                continue
        out[at], out_kinds[at] = text[i], kinds[i]
        at += 1
        i += 1
    return at, cited


@compiled
def _citation_length(text, at, end, citations, citation_starts):  # type: ignore[no-untyped-def]
    """Characters of the citation mark that begins at `at` ("[12]", "[]", "[edit]", "[citation needed]"), or 0."""
    last = at + 1
    while last < end and 48 <= text[last] <= 57:
        last += 1
    if last < end and text[last] == _SQUARE_CLOSE:
        return last + 1 - at
    for citation in range(len(citation_starts) - 1):
        first = citation_starts[citation]
        length = citation_starts[citation + 1] - first
        same = at + length <= end
        i = 0
        while same and i < length:
            same = text[at + i] == citations[first + i]
            i += 1
        if same:
            return length
    return 0


@compiled
def _line_contents(text, start, end, rules):  # type: ignore[no-untyped-def]
    """Flags of the phrases and brackets in text[start:end], whatever the case of the phrases."""
    phrases, phrase_starts, second_letters = rules.phrases, rules.phrase_starts, rules.second_letters
    contents = 0
    for i in range(start, end):
        code = text[i]
        if 65 <= code <= 90:
            code |= np.uint32(32)
        if code == _CURLY_OPEN:
            contents |= _HAS_CURLY_BRACKET
        elif code <= _LETTER_Z and i + 1 < end and second_letters[code] == text[i + 1] | np.uint32(32):
            # Few places in a text come so far.
            for phrase in range(len(phrase_starts) - 1):
                first, last = phrase_starts[phrase], phrase_starts[phrase + 1]
                if phrases[first] == code and _matches(text, i, end, phrases, first, last):
                    if phrase == _JAVASCRIPT:
                        contents |= _HAS_JAVASCRIPT
                    elif phrase == _LOREM_IPSUM:
                        contents |= _HAS_LOREM_IPSUM
                    else:
                        contents |= _HAS_POLICY
    return contents


@compiled
def _matches(text, at, end, phrases, first, last):  # type: ignore[no-untyped-def]
    """Whether the phrase phrases[first:last] (lower-case ASCII) begins at `at`, whatever its case in the text."""
    if at + (last - first) > end:
        return False
    for i in range(last - first):
        code = text[at + i]
        if 65 <= code <= 90:
            code |= np.uint32(32)
        if code != phrases[first + i]:
            return False
    return True
