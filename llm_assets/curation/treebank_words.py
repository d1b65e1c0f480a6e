"""The Penn Treebank word rules of NLTK's `word_tokenize`, and Punkt's rule for the end of a sentence.

The input of each function is a run of characters without white space. Words are spans of the text; nothing is
rewritten. Compiled functions take arrays one by one, so that the innermost loops look nothing up in a tuple. Those that
run for every mark or piece are inlined, since calls would cost a tenth of the time.
"""

from __future__ import annotations

import numpy as np

from llm_assets.compiled import compiled, inlined

from .characters import ALPHA, BREAKS, CLOSER, DIGIT, LOWER, SINGLE, SPACE
from .word_tables import (
    ABBREVIATION_HASHES,
    JOINED_FIRST_LETTERS,
    add_word,
    contains,
    hash_lower,
    is_joined,
    lower,
)


@compiled
def ends_sentence(text, kinds, start, end, n):  # type: ignore[no-untyped-def]
    """Whether a sentence ends with the run text[start:end], by Punkt's rules. `n` is the length of the text.

    A run that ends in `?` or `!` ends one. A run that ends in a full stop does too, unless it is an abbreviation, an
    initial before a letter, a number before a lower-case letter, or an ellipsis. Closing quotes and brackets are
    ignored.
    """
    last = end
    while last > start and kinds[last - 1] & CLOSER:
        last -= 1
    if last == start:
        return False
    mark = text[last - 1]
    if mark == 33 or mark == 63:
        return True
    if mark != 46 or (last - 2 >= start and text[last - 2] == 46):
        return False
    following = end
    while following < n and kinds[following] & SPACE:
        following += 1
    if following >= n:
        return True
    first = start
    while first < last - 1 and not kinds[first] & (ALPHA | DIGIT):
        first += 1
    next_kind = kinds[following]
    length = last - 1 - first
    if length == 1 and kinds[first] & ALPHA and next_kind & ALPHA:
        return False
    if next_kind & LOWER and length > 0:
        number = True
        for i in range(first, last - 1):
            number = number and (kinds[i] & DIGIT != 0 or text[i] == 44 or text[i] == 46)
        if number:
            return False
    return not (0 < length <= 8 and contains(ABBREVIATION_HASHES, hash_lower(text, first, last - 1)))


@compiled
def split_treebank_run(text, kinds, start, end, n, starts, ends, count):  # type: ignore[no-untyped-def]
    """Add the words of the run text[start:end]; returns the new number of words."""
    piece = at = start
    while at < end:
        # Most characters can be no mark; they are not worth a call.
        width = _mark_width(text, kinds, start, at, end, n) if kinds[at] & BREAKS else 0
        if width:
            count = _split_piece(text, piece, at, starts, ends, count)
            count = add_word(at, at + width, starts, ends, count)
            at += width
            piece = at
        else:
            at += 1
    return _split_piece(text, piece, end, starts, ends, count)


@inlined
def _mark_width(text, kinds, start, at, end, n):  # type: ignore[no-untyped-def]
    """Characters of the punctuation mark at `at` that is a word of its own, or 0. Its flags must include BREAKS."""
    code = text[at]
    following = text[at + 1] if at + 1 < end else np.uint32(32)
    if kinds[at] & SINGLE:
        return 1
    if code == 46:
        if following == 46:
            width = 2
            while at + width < end and text[at + width] == 46:
                width += 1
            return width
        closed = at + 1
        while closed < end and kinds[closed] & CLOSER:
            closed += 1
        return 1 if closed == end and ends_sentence(text, kinds, start, end, n) else 0
    if code == 96:
        width = 1
        while at + width < end and text[at + width] == 96:
            width += 1
        return width
    if (code == 39 and following == 39) or (code == 45 and following == 45):
        return 2
    if code == 39 and _opens_quotation(text, kinds, start, at, end):
        return 1
    if (code == 58 or code == 44) and not (at + 1 < end and kinds[at + 1] & DIGIT):
        return 1
    return 0


@compiled
def _split_piece(text, start, end, starts, ends, count):  # type: ignore[no-untyped-def]
    """Add the words of a piece between marks: a final apostrophe and contractions are words of their own."""
    if end - start > 1 and text[end - 1] == 39 and text[end - 2] != 39:
        count = _split_piece(text, start, end - 1, starts, ends, count)
        return add_word(end - 1, end, starts, ends, count)
    contraction = _contraction_length(text, start, end)
    if contraction:
        count = add_word(start, end - contraction, starts, ends, count)
        return add_word(end - contraction, end, starts, ends, count)
    if 5 <= end - start <= 6 and is_joined(text, start, end):
        count = add_word(start, start + JOINED_FIRST_LETTERS, starts, ends, count)
        return add_word(start + JOINED_FIRST_LETTERS, end, starts, ends, count)
    return add_word(start, end, starts, ends, count)


@inlined
def _contraction_length(text, start, end):  # type: ignore[no-untyped-def]
    """Length of the contraction that text[start:end] ends with ('s, 'm, 'd, 'll, 're, 've, n't), or 0."""
    size = end - start
    if size > 2 and text[end - 2] == 39 and text[end - 3] != 39:
        last = lower(text[end - 1])
        if last == 115 or last == 109 or last == 100:
            return 2
    if size > 3 and text[end - 3] == 39 and text[end - 4] != 39:
        a, b = lower(text[end - 2]), lower(text[end - 1])
        if (a == 108 and b == 108) or (a == 114 and b == 101) or (a == 118 and b == 101):
            return 3
    if size > 3 and text[end - 2] == 39 and lower(text[end - 1]) == 116 and lower(text[end - 3]) == 110:
        return 3
    return 0


@compiled
def _opens_quotation(text, kinds, start, at, end):  # type: ignore[no-untyped-def]
    """Whether the apostrophe at `at` opens a quotation: a word follows, none precedes, and it begins no contraction."""
    if at > start and (kinds[at - 1] & (ALPHA | DIGIT) or text[at - 1] == 95):
        return False
    last = at + 1
    while last < end and last - at <= 3 and (kinds[last] & (ALPHA | DIGIT) or text[last] == 95):
        last += 1
    length = last - at - 1
    if length == 1:
        a = lower(text[at + 1])
        return not (a == 109 or a == 116 or a == 115 or a == 100 or a == 110)
    if length == 2:
        a, b = lower(text[at + 1]), lower(text[at + 2])
        return not (((a == 114 or a == 118) and b == 101) or (a == 108 and b == 108))
    return length > 0
