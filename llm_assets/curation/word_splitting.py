"""Where words and sentences end, compiled: the two ways in which the published rules were counted.

`treebank`: the Penn Treebank rules of NLTK's `word_tokenize` (FineWeb's pipeline of 2024), its sentence boundaries by
Punkt's rules with a short list of abbreviations. `spacy`: the rules of spaCy's blank English tokenizer and sentencizer
(datatrove since 0.3). Both give spans of the text; no word is rewritten.
"""

from __future__ import annotations

import numpy as np

from llm_assets.compute.compiled import compiled, inlined

from .characters import (
    AFFIX,
    ALPHA,
    BREAKS,
    CLOSER,
    CURRENCY,
    DIGIT,
    ICON,
    LOWER,
    MARK,
    QUOTE,
    SENTENCE_END,
    SINGLE,
    SPACE,
    UPPER,
)

TREEBANK, SPACY = 0, 1

# Abbreviations after which a full stop ends no sentence, lower case: those of Punkt's English model that are frequent.
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st vs etc e.g i.e cf inc ltd co corp jr sr rev gen gov sen rep hon capt col lt sgt maj u.s u.k u.n a.m p.m d.c ph.d m.d b.a m.a "
    "jan feb mar apr jun jul aug sept sep oct nov dec fig figs eq eqs ref refs no nos vol vols pp ed eds al approx dept est bros ave blvd".split()
)

_UNITS = "km m dm cm mm ha nm yd in ft kg g mg t lb oz mph Pa hPa mbar mb MB kb KB gb GB tb TB T G M K % km² km³ m² m³ cm² cm³ mm² mm³ µm µg m/s km/h".split()


def _word_hash(word: str) -> int:
    value = 0
    for character in word:
        value = (value * 1_000_003 + ord(character) + 1) & 0xFFFFFFFFFFFFFFFF
    return value


_ABBREVIATION_HASHES = np.array(sorted(_word_hash(word) for word in ABBREVIATIONS), np.uint64)
_UNIT_HASHES = np.array(sorted(_word_hash(unit) for unit in _UNITS), np.uint64)
# Written as one word in two: "can not", "gim me", …
_JOINED = np.array([_word_hash(word) for word in ("cannot", "gimme", "gonna", "gotta", "lemme", "wanna")], np.uint64)


@inlined
def _low(code):  # type: ignore[no-untyped-def]
    return code | np.uint32(32) if 65 <= code <= 90 else code


@compiled
def _hash_of(text, start, end):  # type: ignore[no-untyped-def]
    value = np.uint64(0)
    for i in range(start, end):
        value = value * np.uint64(1_000_003) + np.uint64(_low(text[i])) + np.uint64(1)
    return value


@compiled
def _within(value, table):  # type: ignore[no-untyped-def]
    low, high = 0, len(table)
    while low < high:
        middle = (low + high) // 2
        if table[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < len(table) and table[low] == value


@compiled
def ends_sentence(text, kinds, start, end, n):  # type: ignore[no-untyped-def]
    """Whether a sentence ends with the run of non-space text[start:end], by Punkt's rules.

    A run that ends in `?` or `!` does; one that ends in a full stop does unless it is an abbreviation, an initial
    before a letter, a number before a small letter, or an ellipsis. Closing quotes and brackets are looked through.
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
    next_flag = kinds[following]
    length = last - 1 - first
    if length == 1 and kinds[first] & ALPHA and next_flag & ALPHA:
        return False
    if next_flag & LOWER and length > 0:
        number = True
        for i in range(first, last - 1):
            number = number and (kinds[i] & DIGIT != 0 or text[i] == 44 or text[i] == 46)
        if number:
            return False
    return not (0 < length <= 8 and _within(_hash_of(text, first, last - 1), _ABBREVIATION_HASHES))


@compiled
def _emit(start, end, starts, ends, count):  # type: ignore[no-untyped-def]
    if end > start:
        starts[count] = start
        ends[count] = end
        return count + 1
    return count


@compiled
def _contraction(text, start, end):  # type: ignore[no-untyped-def]
    """Length of the contraction that text[start:end] ends with ('s, 'm, 'd, 'll, 're, 've, n't), or 0."""
    size = end - start
    if size > 2 and text[end - 2] == 39 and text[end - 3] != 39:
        last = _low(text[end - 1])
        if last == 115 or last == 109 or last == 100:
            return 2
    if size > 3 and text[end - 3] == 39 and text[end - 4] != 39:
        a, b = _low(text[end - 2]), _low(text[end - 1])
        if (a == 108 and b == 108) or (a == 114 and b == 101) or (a == 118 and b == 101):
            return 3
    if size > 3 and text[end - 2] == 39 and _low(text[end - 1]) == 116 and _low(text[end - 3]) == 110:
        return 3
    return 0


@compiled
def _treebank_piece(text, start, end, starts, ends, count):  # type: ignore[no-untyped-def]
    """A run without marks: split off what the Treebank rules write apart at its end."""
    if end - start > 1 and text[end - 1] == 39 and text[end - 2] != 39:
        count = _treebank_piece(text, start, end - 1, starts, ends, count)
        return _emit(end - 1, end, starts, ends, count)
    cut = _contraction(text, start, end)
    if cut:
        count = _emit(start, end - cut, starts, ends, count)
        return _emit(end - cut, end, starts, ends, count)
    if 5 <= end - start <= 6:
        value = _hash_of(text, start, end)
        for i in range(len(_JOINED)):
            if value == _JOINED[i]:
                count = _emit(start, start + 3, starts, ends, count)
                return _emit(start + 3, end, starts, ends, count)
    return _emit(start, end, starts, ends, count)


@compiled
def _opening_quote(text, kinds, start, at, end):  # type: ignore[no-untyped-def]
    """Whether the apostrophe at `at` opens a quotation: before a word, after none, and no contraction ('s, 're, …)."""
    if at > start and (kinds[at - 1] & (ALPHA | DIGIT) or text[at - 1] == 95):
        return False
    last = at + 1
    while last < end and last - at <= 3 and (kinds[last] & (ALPHA | DIGIT) or text[last] == 95):
        last += 1
    length = last - at - 1
    if length == 1:
        a = _low(text[at + 1])
        return not (a == 109 or a == 116 or a == 115 or a == 100 or a == 110)
    if length == 2:
        a, b = _low(text[at + 1]), _low(text[at + 2])
        return not (((a == 114 or a == 118) and b == 101) or (a == 108 and b == 108))
    return length > 0


@compiled
def _treebank(text, kinds, start, end, n, starts, ends, count):  # type: ignore[no-untyped-def]
    final = ends_sentence(text, kinds, start, end, n)
    piece = at = start
    while at < end:
        code = text[at]
        following = text[at + 1] if at + 1 < end else np.uint32(32)
        width = 0
        if kinds[at] & SINGLE:
            width = 1
        elif code == 46:
            if following == 46:
                width = 2
                while at + width < end and text[at + width] == 46:
                    width += 1
            elif final:
                closed = at + 1
                while closed < end and kinds[closed] & CLOSER:
                    closed += 1
                if closed == end:
                    width = 1
        elif code == 96:
            width = 1
            while at + width < end and text[at + width] == 96:
                width += 1
        elif (code == 39 and following == 39) or (code == 45 and following == 45):
            width = 2
        elif (code == 39 and _opening_quote(text, kinds, start, at, end)) or (
            (code == 58 or code == 44) and not (at + 1 < end and kinds[at + 1] & DIGIT)
        ):
            width = 1
        if width:
            count = _treebank_piece(text, piece, at, starts, ends, count)
            count = _emit(at, at + width, starts, ends, count)
            at += width
            piece = at
        else:
            at += 1
    return _treebank_piece(text, piece, end, starts, ends, count)


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


@compiled
def _prefix(text, kinds, start, end):  # type: ignore[no-untyped-def]
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
    if code == 43 and not (start + 1 < end and 48 <= text[start + 1] <= 57):
        return 1
    if code == 46 and start + 1 < end and text[start + 1] == 46:
        width = 2
        while start + width < end and text[start + width] == 46:
            width += 1
        return width
    return 0


@compiled
def _suffix(text, kinds, start, end):  # type: ignore[no-untyped-def]
    code = text[end - 1]
    before = text[end - 2] if end - 2 >= start else np.uint32(0)
    if (code == 115 or code == 83) and (before == 39 or before == 0x2019):
        return 2
    if code == 46:
        if before == 46:
            width = 2
            while end - width - 1 >= start and text[end - width - 1] == 46:
                width += 1
            return width
        if before == 0:
            return 0
        kind = kinds[end - 2]
        if (
            kind & (DIGIT | LOWER)
            or kind & (AFFIX | QUOTE)
            or before == 37
            or before == 0xB2
            or before == 45
            or before == 43
        ):
            return 1
        if kind & UPPER and end - 3 >= start and kinds[end - 3] & UPPER:
            return 1
        return 0
    if kinds[end - 1] & (AFFIX | QUOTE | ICON) or code == 0x2014 or code == 0x2013:
        return 1
    if before and kinds[end - 2] & DIGIT and (code == 43 or kinds[end - 1] & CURRENCY):
        return 1
    for width in range(1, 5):
        at = end - width
        if at - 1 >= start and kinds[at - 1] & DIGIT:
            value = np.uint64(0)
            for i in range(at, end):
                value = value * np.uint64(1_000_003) + np.uint64(text[i]) + np.uint64(1)
            if _within(value, _UNIT_HASHES):
                return width
    return 0


@compiled
def _special(text, kinds, start, end, starts, ends, count):  # type: ignore[no-untyped-def]
    """spaCy's exceptions: contractions in two, abbreviations with their full stop whole. 0 or the new count."""
    size = end - start
    if 3 <= size <= 32:
        apostrophe = -1
        letters = True
        for i in range(start, end):
            if text[i] == 39 or text[i] == 0x2019:
                apostrophe = i
            elif not kinds[i] & ALPHA:
                letters = False
        if letters and apostrophe > start:
            left = end - apostrophe
            a = _low(text[apostrophe + 1]) if left > 1 else np.uint32(0)
            b = _low(text[apostrophe + 2]) if left > 2 else np.uint32(0)
            cut = -1
            if left == 2 and a == 116 and _low(text[apostrophe - 1]) == 110 and apostrophe - 1 > start:
                cut = apostrophe - 1
            elif (left == 2 and (a == 109 or a == 100)) or (
                left == 3 and ((a == 108 and b == 108) or (a == 114 and b == 101) or (a == 118 and b == 101))
            ):
                cut = apostrophe
            if cut > start:
                count = _emit(start, cut, starts, ends, count)
                return _emit(cut, end, starts, ends, count)
    if 5 <= size <= 6:
        value = _hash_of(text, start, end)
        for i in range(len(_JOINED)):
            if value == _JOINED[i]:
                count = _emit(start, start + 3, starts, ends, count)
                return _emit(start + 3, end, starts, ends, count)
    if 2 <= size <= 9 and text[end - 1] == 46:
        if _within(_hash_of(text, start, end - 1), _ABBREVIATION_HASHES):
            return _emit(start, end, starts, ends, count)
        if size == 2 and kinds[start] & LOWER:
            return _emit(start, end, starts, ends, count)
    return 0


@compiled
def _spacy(text, kinds, start, end, starts, ends, count, pending):  # type: ignore[no-untyped-def]
    held = 0
    done = False
    while start < end:
        special = _special(text, kinds, start, end, starts, ends, count)
        if special:
            count = special
            done = True
            break
        width = _prefix(text, kinds, start, end)
        if width:
            count = _emit(start, start + width, starts, ends, count)
            start += width
            continue
        width = _suffix(text, kinds, start, end)
        if width:
            pending[held] = width
            held += 1
            end -= width
            continue
        break
    if not done and start < end:
        if _is_link(text, kinds, start, end):
            count = _emit(start, end, starts, ends, count)
        else:
            piece = at = start
            while at < end:
                code = text[at]
                width = 0
                if at > start and at + 1 < end:
                    before, after = kinds[at - 1], kinds[at + 1]
                    if code == 46 and text[at + 1] == 46:
                        width = 2
                        while at + width < end and text[at + width] == 46:
                            width += 1
                    elif code == 46:
                        if (before & LOWER or kinds[at - 1] & QUOTE) and (after & UPPER or kinds[at + 1] & QUOTE):
                            width = 1
                    elif code == 44:
                        if before & ALPHA and after & ALPHA:
                            width = 1
                    elif code == 58 or code == 60 or code == 61 or code == 62 or code == 47:
                        if before & (ALPHA | DIGIT) and after & ALPHA:
                            width = 1
                    elif code == 45 or code == 0x2013 or code == 0x2014 or code == 126:
                        if before & (ALPHA | DIGIT) and after & ALPHA:
                            width = 1
                        elif code == 45 and before & (ALPHA | DIGIT) and text[at + 1] == 45:
                            run = 2
                            while at + run < end and text[at + run] == 45:
                                run += 1
                            if run <= 3 and at + run < end and kinds[at + run] & ALPHA:
                                width = run
                    if (
                        not width
                        and (code == 43 or code == 45 or code == 42 or code == 94)
                        and before & DIGIT
                        and (after & DIGIT or text[at + 1] == 45)
                    ):
                        width = 1
                if not width and (code == 0x2026 or kinds[at] & ICON):
                    width = 1
                if width:
                    count = _emit(piece, at, starts, ends, count)
                    count = _emit(at, at + width, starts, ends, count)
                    at += width
                    piece = at
                else:
                    at += 1
            count = _emit(piece, end, starts, ends, count)
    while held:
        held -= 1
        count = _emit(end, end + pending[held], starts, ends, count)
        end += pending[held]
    return count


@compiled
def split_words(text, kinds, n, way, starts, ends, pending):  # type: ignore[no-untyped-def]
    """Spans of the words of `n` code points into starts and ends (int32, at least n long); returns their number.

    `pending` is scratch (int32, at least n long).
    """
    count = 0
    at = 0
    while at < n:
        if kinds[at] & SPACE:
            at += 1
            continue
        start = at
        seen, shared = kinds[at], kinds[at]
        while at < n and not kinds[at] & SPACE:
            seen |= kinds[at]
            shared &= kinds[at]
            at += 1
        # Three words in four are plain: nothing in them can be split off ("cannot", "gonna" and their like apart).
        plain = not seen & BREAKS if way == TREEBANK else shared & ALPHA
        if plain and 5 <= at - start <= 6:
            first = _low(text[start])
            plain = not (first == 99 or first == 103 or first == 108 or first == 119)
        if plain:
            starts[count], ends[count] = start, at
            count += 1
        elif way == TREEBANK:
            count = _treebank(text, kinds, start, at, n, starts, ends, count)
        else:
            count = _spacy(text, kinds, start, at, starts, ends, count, pending)
    return count


@compiled
def count_sentences(text, kinds, n, way, starts, ends, pending):  # type: ignore[no-untyped-def]
    """Sentences of a text: runs of words up to one that ends a sentence (Punkt's rules, or spaCy's sentencizer's)."""
    sentences = 0
    if way == TREEBANK:
        at = 0
        open_ = False
        while at < n:
            if kinds[at] & SPACE:
                at += 1
                continue
            start = at
            seen = kinds[at]
            while at < n and not kinds[at] & SPACE:
                seen |= kinds[at]
                at += 1
            open_ = True
            if seen & BREAKS and ends_sentence(text, kinds, start, at, n):
                sentences += 1
                open_ = False
        return sentences + (1 if open_ else 0)
    words = split_words(text, kinds, n, way, starts, ends, pending)
    ended = False
    for word in range(words):
        single = ends[word] - starts[word] == 1
        closing = single and kinds[starts[word]] & SENTENCE_END != 0
        mark = kinds[starts[word]] & MARK != 0
        if word == 0 or (ended and not closing and not mark):
            sentences += 1
            ended = False
        if closing:
            ended = True
    return sentences
