"""The word rules of spaCy's blank English, German and Spanish tokenizers (3.8: exceptions, then affixes, then infixes).

What the languages have in common is spaCy's `lang/punctuation.py`; German and Spanish have a `punctuation.py` of their
own. German compounds keep their hyphens and its ordinals their full stop; Spanish splits neither at hyphens.

The input of each function is a run of characters without white space. Words are spans of the text; nothing is
rewritten. Compiled functions take arrays one by one, so that the innermost loops look nothing up in a tuple. Most
are inlined, since calls would cost a tenth of the time.
"""

from __future__ import annotations

import numpy as np

from llm_assets.compiled import compiled, inlined

from .characters import AFFIX, ALPHA, CURRENCY, DIGIT, ICON, LOWER, QUOTE, UPPER
from .word_tables import (
    ABBREVIATION_HASHES,
    GERMAN_HASHES,
    JOINED_FIRST_LETTERS,
    SPANISH_HASHES,
    UNIT_HASHES,
    add_word,
    contains,
    hash_exact,
    hash_lower,
    is_joined,
    lower,
)

ENGLISH, GERMAN, SPANISH = 1, 2, 3  # `word_splitting` numbers its rules alike


@compiled
def split_spacy_run(text, kinds, start, end, language, starts, ends, count, pending):  # type: ignore[no-untyped-def]
    """Add the words of the run text[start:end]; returns the new number of words. `pending` holds suffixes meanwhile."""
    suffixes = 0
    exception = False
    while start < end:
        with_exception = _add_exception(text, kinds, start, end, language, starts, ends, count)
        if with_exception:
            count = with_exception
            exception = True
            break
        width = _prefix_width(text, kinds, start, end, language)
        if width:
            count = add_word(start, start + width, starts, ends, count)
            start += width
            continue
        width = _suffix_width(text, kinds, start, end, language)
        if not width:
            break
        pending[suffixes] = width
        suffixes += 1
        end -= width
    if not exception and start < end:
        if _is_link(text, kinds, start, end):
            count = add_word(start, end, starts, ends, count)
        else:
            count = _split_infixes(text, kinds, start, end, language, starts, ends, count)
    while suffixes:
        suffixes -= 1
        count = add_word(end, end + pending[suffixes], starts, ends, count)
        end += pending[suffixes]
    return count


@inlined
def _add_exception(text, kinds, start, end, language, starts, ends, count):  # type: ignore[no-untyped-def]
    """Add spaCy's exceptions: a contraction as two words, an abbreviation with its full stop. 0 or the new count."""
    size = end - start
    if language != ENGLISH:
        if 2 <= size <= 10:
            value = hash_exact(text, start, end)
            if contains(GERMAN_HASHES, value) if language == GERMAN else contains(SPANISH_HASHES, value):
                return add_word(start, end, starts, ends, count)
        if size == 2 and text[end - 1] == 46 and kinds[start] & LOWER:
            return add_word(start, end, starts, ends, count)
        return 0
    if 3 <= size <= 32 and (_is_apostrophe(text[end - 2]) or _is_apostrophe(text[end - 3])):
        cut = _contraction_start(text, kinds, start, end)
        if cut > start:
            count = add_word(start, cut, starts, ends, count)
            return add_word(cut, end, starts, ends, count)
    if 5 <= size <= 6 and is_joined(text, start, end):
        count = add_word(start, start + JOINED_FIRST_LETTERS, starts, ends, count)
        return add_word(start + JOINED_FIRST_LETTERS, end, starts, ends, count)
    if 2 <= size <= 9 and text[end - 1] == 46:
        if contains(ABBREVIATION_HASHES, hash_lower(text, start, end - 1)):
            return add_word(start, end, starts, ends, count)
        if size == 2 and kinds[start] & LOWER:
            return add_word(start, end, starts, ends, count)
    return 0


@inlined
def _is_apostrophe(code):  # type: ignore[no-untyped-def]
    return code == 39 or code == 0x2019


@compiled
def _contraction_start(text, kinds, start, end):  # type: ignore[no-untyped-def]
    """Where the contraction that ends text[start:end] begins (n't, 'm, 'd, 'll, 're, 've), or -1."""
    apostrophe = -1
    only_letters = True
    for i in range(start, end):
        if _is_apostrophe(text[i]):
            apostrophe = i
        elif not kinds[i] & ALPHA:
            only_letters = False
    if not only_letters or apostrophe <= start:
        return -1
    length = end - apostrophe
    a = lower(text[apostrophe + 1]) if length > 1 else np.uint32(0)
    b = lower(text[apostrophe + 2]) if length > 2 else np.uint32(0)
    if length == 2 and a == 116 and lower(text[apostrophe - 1]) == 110 and apostrophe - 1 > start:
        return apostrophe - 1
    if length == 2 and (a == 109 or a == 100):
        return apostrophe
    if length == 3 and ((a == 108 and b == 108) or (a == 114 and b == 101) or (a == 118 and b == 101)):
        return apostrophe
    return -1


@inlined
def _prefix_width(text, kinds, start, end, language):  # type: ignore[no-untyped-def]
    """Characters of the prefix that is a word of its own, or 0."""
    code = text[start]
    if (
        kinds[start] & (AFFIX | QUOTE | CURRENCY | ICON)
        or code == 0xA7
        or code == 37
        or code == 61
        or code == 0x2014
        or code == 0x2013
    ):
        return 1
    if code == 96 and language == GERMAN and start + 1 < end and text[start + 1] == 96:
        return 2
    if code == 43 and not (start + 1 < end and 48 <= text[start + 1] <= 57):
        return 1
    if code == 46 and start + 1 < end and text[start + 1] == 46:
        width = 2
        while start + width < end and text[start + width] == 46:
            width += 1
        return width
    return 0


@compiled
def _suffix_width(text, kinds, start, end, language):  # type: ignore[no-untyped-def]
    """Characters of the suffix that is a word of its own, or 0."""
    code = text[end - 1]
    before = text[end - 2] if end - 2 >= start else np.uint32(0)
    if language == ENGLISH and (code == 115 or code == 83) and (before == 39 or before == 0x2019):
        return 2
    if code == 46:
        return _full_stop_width(text, kinds, start, end, language)
    if language == GERMAN:
        if code == 39 and before == 39:
            return 2
        if code == 47 or kinds[end - 1] & (AFFIX | QUOTE | ICON):
            return 1
    elif kinds[end - 1] & (AFFIX | QUOTE | ICON) or code == 0x2014 or code == 0x2013:
        return 1
    if before and kinds[end - 2] & DIGIT and (code == 43 or kinds[end - 1] & CURRENCY):
        return 1
    if code == 37 and language == SPANISH:
        return 0
    for width in range(1, 5):
        at = end - width
        if at - 1 >= start and kinds[at - 1] & DIGIT and contains(UNIT_HASHES, hash_exact(text, at, end)):
            return width
    return 0


@inlined
def _full_stop_width(text, kinds, start, end, language):  # type: ignore[no-untyped-def]
    """Characters of the full stop or ellipsis at the end of a run that is a word of its own, or 0."""
    if end - 2 < start:
        return 0
    before = text[end - 2]
    if before == 46:
        width = 2
        while end - width - 1 >= start and text[end - width - 1] == 46:
            width += 1
        return width
    if before == 0:
        return 0
    kind = kinds[end - 2]
    if kind & DIGIT:
        return 0 if language == GERMAN else 1  # a German ordinal
    if (
        kind & LOWER
        or kind & (AFFIX | QUOTE)
        or before == 37
        or before == 0xB2
        or before == 45
        or before == 43
        or (language == SPANISH and (before == 0x2013 or before == 0x2014))
    ):
        return 1
    if kind & UPPER and end - 3 >= start and kinds[end - 3] & UPPER:
        return 1
    return 0


@compiled
def _is_link(text, kinds, start, end):  # type: ignore[no-untyped-def]
    """Whether a run is a URL or an e-mail address to spaCy's url_match, roughly: `scheme://…` or `name.name/…`."""
    if end - start < 4:
        return False
    dots, letters_after = 0, 0
    for i in range(start, end):
        if text[i] == 58 and i + 2 < end and text[i + 1] == 47 and text[i + 2] == 47 and i > start:
            return True
        if text[i] == 64 and i > start:
            return True
        if text[i] == 47 or text[i] == 63 or text[i] == 35:
            break
        if text[i] == 46 and i > start:
            dots += 1
            letters_after = 0
        elif dots:
            if kinds[i] & ALPHA:
                letters_after += 1
            else:
                letters_after = -1000
    # A host: at least one dot, a top-level domain of two or more letters, no capital after the dot (that is an infix).
    if not dots or letters_after < 2:
        return False
    capital = False
    for i in range(start, end - 1):
        capital = capital or (text[i] == 46 and kinds[i + 1] & UPPER != 0)
    return not capital


@inlined
def _split_infixes(text, kinds, start, end, language, starts, ends, count):  # type: ignore[no-untyped-def]
    """Add the words of a run that has lost its affixes: marks inside it are words of their own."""
    piece = at = start
    while at < end:
        # Letters and digits are no infixes, and not worth a call.
        width = 0
        if not kinds[at] & (ALPHA | DIGIT):
            width = _infix_width(text, kinds, start, at, end, language)
        if width:
            count = add_word(piece, at, starts, ends, count)
            count = add_word(at, at + width, starts, ends, count)
            at += width
            piece = at
        else:
            at += 1
    return add_word(piece, end, starts, ends, count)


@inlined
def _infix_width(text, kinds, start, at, end, language):  # type: ignore[no-untyped-def]
    """Characters of the infix at `at`, or 0."""
    code = text[at]
    if code == 0x2026 or kinds[at] & ICON:
        return 1
    if at == start or at + 1 >= end:
        return 0
    before, after, following = kinds[at - 1], kinds[at + 1], text[at + 1]
    if code == 46:
        if following == 46:
            width = 2
            while at + width < end and text[at + width] == 46:
                width += 1
            return width
        if language == GERMAN:
            return 1 if before & LOWER and after & UPPER else 0
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if code == 44:
        return 1 if before & ALPHA and after & ALPHA else 0
    if language == GERMAN:
        return _german_infix_width(code, kinds[at], before, after, following, kinds, at, end)
    if language == SPANISH:
        if code == 58 or 60 <= code <= 62 or code == 47:
            return 1 if before & (ALPHA | DIGIT) and after & ALPHA else 0
        if code == 43 or code == 42 or code == 94:
            return 1 if before & DIGIT and (after & DIGIT or following == 45) else 0
        return 0
    # : < > = / and the dashes between words
    if code == 58 or 60 <= code <= 62 or code == 47 or code == 0x2013 or code == 0x2014 or code == 126 or code == 45:
        if before & (ALPHA | DIGIT) and after & ALPHA:
            return 1
        if code == 45 and before & (ALPHA | DIGIT) and following == 45:
            width = 2
            while at + width < end and text[at + width] == 45:
                width += 1
            if width <= 3 and at + width < end and kinds[at + width] & ALPHA:
                return width
    # + - * ^ between numbers
    if (code == 43 or code == 45 or code == 42 or code == 94) and before & DIGIT and (after & DIGIT or following == 45):
        return 1
    return 0


@inlined
def _german_infix_width(code, kind, before, after, following, kinds, at, end):  # type: ignore[no-untyped-def]
    """Characters of a German infix that is neither full stop nor comma, or 0. `before`, `after`: flags beside it."""
    if before & ALPHA and after & ALPHA:
        # ! ? : < = > and quotation marks and brackets, but no apostrophe
        if code == 33 or code == 63 or code == 58 or 60 <= code <= 62:
            return 1
        if (kind & QUOTE and code != 39) or 40 <= code <= 41 or code == 91 or code == 93:
            return 1
    if code == 47:
        return 1 if before & (ALPHA | DIGIT) and after & (ALPHA | DIGIT) else 0
    if code == 45 and following == 45:
        return 2 if before & ALPHA and at + 2 < end and kinds[at + 2] & ALPHA else 0
    return 1 if code == 45 and before & DIGIT and after & DIGIT else 0
