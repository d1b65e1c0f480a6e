"""Pages whose lines follow a rule that only the page itself shows.

A line is a symbol and its label: ``qm``. The labels of a page follow one rule, and its symbols and labels are letters
drawn for the page, so that a label can only be inferred from the lines before it.
"""

from __future__ import annotations

import random
import string
from collections import Counter
from collections.abc import Callable, Sequence

from llm_assets.dialogue.splits import TRAIN, split_of

SYMBOLS = 4  # different symbols of a page, and labels
LETTERS = string.ascii_lowercase
TRAINED_LABELS, OTHER_LABELS = LETTERS[:20], LETTERS[20:]  # letters that label symbols in training, and never do

Line = tuple[str, str]  # symbol and label
Rule = Callable[[Sequence[str], Sequence[str], dict[str, str]], str]

# The label of the last symbol, from all symbols so far, the page's labels, and its mapping of symbols to labels.
TRAINED_RULES: dict[str, Rule] = {
    "lookup": lambda symbols, labels, mapping: mapping[symbols[-1]],
    "copy": lambda symbols, labels, mapping: symbols[-1],
    "symbol before": lambda symbols, labels, mapping: symbols[-2:][0],
    "constant": lambda symbols, labels, mapping: labels[0],
    "by turns": lambda symbols, labels, mapping: labels[(len(symbols) - 1) % 2],
}
HELD_OUT_RULE: Rule = lambda symbols, labels, mapping: symbols[-3:][0]  # noqa: E731

TRAINED, MAPPINGS, LABELS, RULE = "trained rules", "mappings held out", "labels held out", "a rule held out"
KINDS = (TRAINED, MAPPINGS, LABELS, RULE)


def is_held_out(symbol: str, label: str) -> bool:
    """Whether no page of the training maps this symbol to this label; the pair's text alone decides."""
    return split_of(f"mapping {symbol} {label}") != TRAIN


def make_page(rng: random.Random, kind: str, lines: int) -> list[Line]:
    """A page of one of KINDS.

    Pages of held-out mappings and labels follow the rule ``lookup``. Pages of the kind TRAINED, from which models
    learn, have neither a held-out mapping nor a held-out label.
    """
    letters = OTHER_LABELS if kind == LABELS else TRAINED_LABELS
    while True:
        labels = rng.sample(letters, SYMBOLS)
        symbols = rng.sample([letter for letter in LETTERS if letter not in labels], SYMBOLS)
        mapping = dict(zip(symbols, labels, strict=True))
        held_out = [is_held_out(symbol, label) for symbol, label in mapping.items()]
        if all(held_out) if kind == MAPPINGS else not any(held_out):
            break
    rule = TRAINED_RULES[rng.choice(list(TRAINED_RULES))] if kind == TRAINED else TRAINED_RULES["lookup"]
    if kind == RULE:
        rule = HELD_OUT_RULE
    drawn = [rng.choice(symbols) for _ in range(lines)]
    return [(symbol, rule(drawn[: number + 1], labels, mapping)) for number, symbol in enumerate(drawn)]


def page_text(lines: Sequence[Line]) -> str:
    """The page as a model reads it; every third character, from the second on, is a label."""
    return "".join(f"{symbol}{label}\n" for symbol, label in lines)


def most_frequent(lines: Sequence[Line]) -> str:
    """A guess at the last line's label: the most frequent one before it, of several the first."""
    counts = Counter(label for _, label in lines[:-1])
    return counts.most_common(1)[0][0] if counts else ""


def last_of_symbol(lines: Sequence[Line]) -> str:
    """A guess at the last line's label: the one that its symbol had last, as an induction head copies it."""
    symbol = lines[-1][0]
    return next((label for earlier, label in reversed(lines[:-1]) if earlier == symbol), "")


BASELINES: dict[str, Callable[[Sequence[Line]], str]] = {
    "most frequent label so far": most_frequent,
    "label that the symbol had last": last_of_symbol,
}
