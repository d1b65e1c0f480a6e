"""Compiled word and sentence splitting, by the sets of rules that published pipelines use.

`treebank`: the Penn Treebank rules of NLTK's `word_tokenize` (FineWeb's pipeline of 2024), with sentence boundaries by
Punkt's rules and a short list of abbreviations. `spacy`: the rules of spaCy's blank English tokenizer and sentencizer
(datatrove since 0.3); `spacy-de` and `spacy-es`: those of its German and Spanish. `jieba`: Chinese words, which
`jieba_words` gives for a whole batch. All give spans of the text; no word is rewritten.

Compiled functions take arrays one by one, so that the innermost loops look nothing up in a tuple.
"""

from __future__ import annotations

from llm_assets.compiled import compiled, inlined

from .characters import ALPHA, BREAKS, MARK, SENTENCE_END, SPACE
from .spacy_words import ENGLISH, GERMAN, SPANISH, split_spacy_run
from .treebank_words import ends_sentence, split_treebank_run
from .word_tables import lower

TREEBANK, SPACY, SPACY_GERMAN, SPACY_SPANISH, JIEBA = 0, ENGLISH, GERMAN, SPANISH, 4
WORD_RULES = {
    "treebank": TREEBANK,
    "spacy": SPACY,
    "spacy-de": SPACY_GERMAN,
    "spacy-es": SPACY_SPANISH,
    "jieba": JIEBA,
}


@compiled
def split_words(text, kinds, n, rules, starts, ends, pending):  # type: ignore[no-untyped-def]
    """Fill `starts` and `ends` (int32, at least n long) with the words of `n` code points; returns how many there are.

    rules: a value of WORD_RULES but JIEBA. pending: scratch (int32, at least n long).
    """
    count = 0
    at = 0
    while at < n:
        if kinds[at] & SPACE:
            at += 1
            continue
        start = at
        any_kind, all_kinds = kinds[at], kinds[at]
        while at < n and not kinds[at] & SPACE:
            any_kind |= kinds[at]
            all_kinds &= kinds[at]
            at += 1
        # Three runs in four are one word, as nothing in them can be split off ("cannot", "gonna" and the like aside).
        one_word = not any_kind & BREAKS if rules == TREEBANK else all_kinds & ALPHA
        if one_word and 5 <= at - start <= 6:
            first = lower(text[start])
            one_word = not (first == 99 or first == 103 or first == 108 or first == 119)
        if one_word:
            starts[count], ends[count] = start, at
            count += 1
        elif rules == TREEBANK:
            count = split_treebank_run(text, kinds, start, at, n, starts, ends, count)
        else:
            count = split_spacy_run(text, kinds, start, at, rules, starts, ends, count, pending)
    return count


@compiled
def count_sentences(text, kinds, n, rules, starts, ends, pending):  # type: ignore[no-untyped-def]
    """Number of sentences in `n` code points. The arguments are those of `split_words`; the last three are scratch."""
    if rules == TREEBANK:
        return _count_punkt_sentences(text, kinds, n)
    if rules == JIEBA:
        return _count_marked_sentences(kinds, n)
    words = split_words(text, kinds, n, rules, starts, ends, pending)
    return _count_spacy_sentences(kinds, starts, ends, words)


# Inlined, since the call would cost 5 % of the time.
@inlined
def _count_punkt_sentences(text, kinds, n):  # type: ignore[no-untyped-def]
    sentences = 0
    at = 0
    unfinished = False
    while at < n:
        if kinds[at] & SPACE:
            at += 1
            continue
        start = at
        any_kind = kinds[at]
        while at < n and not kinds[at] & SPACE:
            any_kind |= kinds[at]
            at += 1
        unfinished = True
        if any_kind & BREAKS and ends_sentence(text, kinds, start, at, n):
            sentences += 1
            unfinished = False
    return sentences + (1 if unfinished else 0)


@compiled
def _count_spacy_sentences(kinds, starts, ends, words):  # type: ignore[no-untyped-def]
    sentences = 0
    ended = False
    for word in range(words):
        kind = kinds[starts[word]]
        closing = ends[word] - starts[word] == 1 and kind & SENTENCE_END != 0
        if word == 0 or (ended and not closing and not kind & MARK):
            sentences += 1
            ended = False
        if closing:
            ended = True
    return sentences


@compiled
def _count_marked_sentences(kinds, n):  # type: ignore[no-untyped-def]
    """Sentences by the sentencizer's rule, with every character as a word: they end after their last mark."""
    sentences = 0
    ended = True
    for i in range(n):
        kind = kinds[i]
        if kind & SPACE:
            continue
        closing = kind & SENTENCE_END != 0
        if ended and not closing and not kind & MARK:
            sentences += 1
            ended = False
        if closing:
            ended = True
    return sentences
