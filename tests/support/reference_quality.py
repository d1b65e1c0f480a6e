"""The published quality rules in slow, plain Python, by the papers' wording: the compiled rules are compared with it.

Gopher: arXiv:2112.11446, section A1.1 and table A1. C4: arXiv:1910.10683, section 2.2. FineWeb: arXiv:2406.17557,
section 3.4. Words are NLTK's, sentences Punkt's. The only thing shared with the code under test is the list of
abbreviations, which NLTK would download.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

from llm_assets.curation.word_tables import ABBREVIATIONS

PUNCTUATION = set("!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»") | {
    chr(c) for c in [*range(9), 11, 12, *range(13, 32), *range(127, 160)]
}


@cache
def tokenizers():
    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    return PunktSentenceTokenizer(parameters), NLTKWordTokenizer()


def sentences(text: str) -> list[str]:
    return tokenizers()[0].tokenize(text)


def words(text: str) -> list[str]:
    # The tokenizer writes quotation marks as `` and ''; they are one character of the text.
    return [
        {"``": '"', "''": '"'}.get(word, word)
        for sentence in sentences(text)
        for word in tokenizers()[1].tokenize(sentence)
    ]


def repeated(parts: list[str]) -> tuple[int, int]:
    """How many parts repeat an earlier one, and how many characters these have."""
    seen, count, characters = set(), 0, 0
    for part in parts:
        if part in seen:
            count, characters = count + 1, characters + len(part)
        seen.add(part)
    return count, characters


def gopher_repetition(text: str) -> str | None:
    paragraphs = re.split(r"\n{2,}", text.strip())
    count, characters = repeated(paragraphs)
    if count / len(paragraphs) > 0.30:
        return "duplicate_paragraphs"
    if characters / len(text) > 0.20:
        return "duplicate_paragraph_characters"
    lines = re.split(r"\n+", text)
    count, characters = repeated(lines)
    if count / len(lines) > 0.30:
        return "duplicate_lines"
    if characters / len(text) > 0.20:
        return "duplicate_line_characters"
    tokens = words(text)
    for n, most in ((2, 0.20), (3, 0.18), (4, 0.16)):
        grams = [" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
        if grams:
            gram, times = Counter(grams).most_common(1)[0]
            if len(gram) * times / len(text) > most:
                return f"top_{n}_gram"
    for n, most in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)):
        seen, characters, i = set(), 0, 0
        while i < len(tokens) - n + 1:
            gram = "".join(tokens[i : i + n])
            if gram in seen:
                characters += len(gram)
                i += n
            else:
                seen.add(gram)
                i += 1
        if characters / len(text) > most:
            return f"duplicate_{n}_grams"
    return None


def gopher_quality(text: str) -> str | None:
    tokens = words(text)
    real = [word for word in tokens if any(character not in PUNCTUATION for character in word)]
    if len(real) < 50:
        return "min_words"
    if len(real) > 100_000:
        return "max_words"
    length = sum(map(len, real)) / len(real)
    if length < 3:
        return "min_word_length"
    if length > 10:
        return "max_word_length"
    if text.count("#") / len(tokens) > 0.1:
        return "hash_ratio"
    if (text.count("...") + text.count("…")) / len(tokens) > 0.1:
        return "ellipsis_ratio"
    lines = text.splitlines()
    if sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines) > 0.9:
        return "bullet_lines"
    if sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines) > 0.3:
        return "ellipsis_lines"
    if sum(any(map(str.isalpha, word)) for word in tokens) / len(tokens) < 0.8:
        return "alpha_words"
    if len({"the", "be", "to", "of", "and", "that", "have", "with"} & set(tokens)) < 2:
        return "stop_words"
    return None


def c4(text: str) -> tuple[str | None, str]:
    kept_lines, count = [], 0
    for line in text.splitlines():
        line = line.strip()
        parts = line.split()
        if any(len(part) > 1000 for part in parts):
            continue
        line = re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", line, flags=re.ASCII)
        if len(parts) < 3:
            continue
        lower = line.lower()
        if "lorem ipsum" in lower:
            return "lorem_ipsum", text
        if "javascript" in lower:
            continue
        if "{" in line:
            return "curly_bracket", text
        if any(
            phrase in lower
            for phrase in (
                "terms of use",
                "privacy policy",
                "cookie policy",
                "uses cookies",
                "use of cookies",
                "use cookies",
            )
        ):
            continue
        count += len(sentences(line))
        kept_lines.append(line)
    if count < 5:
        return "sentences", text
    return None, "\n".join(kept_lines).strip()


def fineweb(text: str) -> str | None:
    lines = text.split("\n")
    if sum(line.endswith((".", "'", '"', "!", "?")) for line in lines) / len(lines) <= 0.12:
        return "terminal_lines"
    if sum(len(line) <= 30 for line in lines) / len(lines) >= 0.67:
        return "short_lines"
    written = [line for line in lines if line.strip()]
    if repeated(written)[1] / len(text.replace("\n", "")) >= 0.01:
        return "edited_duplicate_line_characters"
    if text.count("\n") / len(words(text)) > 0.3:
        return "newline_ratio"
    return None


def verdict(text: str) -> str | None:
    """The first rule of fineweb-2024 that a text breaks; None for a text that is kept."""
    rule = gopher_repetition(text) or gopher_quality(text)
    if rule:
        return rule
    rule, edited = c4(text)
    return rule or fineweb(edited)
