"""Quality rules with published constants, as named and pinned sets.

| rule | drops a page if | fineweb-2024 | source |
|---|---|---|---|
| gopher_repetition | see the table below | | Gopher, arXiv:2112.11446, table A1 |
| gopher_quality | words, their length, symbols, bullets, letters, stop words | | Gopher, section A1.1 |
| c4 | fewer than 5 sentences, "lorem ipsum", a curly bracket | | C4, arXiv:1910.10683, section 2.2 |
| fineweb | unpunctuated, short and repeated lines, lists | | FineWeb, arXiv:2406.17557, section 3.4 |

Of C4, its rule on lines without terminal punctuation is left out (FineWeb, section 3.4).

The FineWeb paper prints 0.1 for characters in duplicate lines; the pipeline that made the data (datatrove,
examples/fineweb.py with the filter's default) used 0.01. The rules follow the data. FineWeb's newline rule is in its
code only, not in the paper.
"""

from __future__ import annotations

from .fineweb2 import PRESETS, rules_of, statistics_of
from .quality_rule import Drops, Rule

ENGLISH_STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")  # Gopher, section A1.1


def _rule(name: str, column: str, drops: Drops, threshold: float, source: str, ratio: bool = True) -> Rule:
    return Rule(name=name, column=column, drops=drops, threshold=threshold, source=source, ratio=ratio)


def _rules(drops: dict[str, Drops]) -> tuple[Rule, ...]:
    gopher_repetition, gopher_quality = "Gopher, table A1", "Gopher, section A1.1"
    c4, fineweb = "C4, section 2.2", "FineWeb, section 3.4"
    return (
        _rule("duplicate_paragraphs", "duplicate_paragraph_ratio", "above", 0.30, gopher_repetition),
        _rule(
            "duplicate_paragraph_characters", "duplicate_paragraph_character_ratio", "above", 0.20, gopher_repetition
        ),
        _rule("duplicate_lines", "duplicate_line_ratio", "above", 0.30, gopher_repetition),
        _rule("duplicate_line_characters", "duplicate_line_character_ratio", "above", 0.20, gopher_repetition),
        _rule("top_2_gram", "top_2_gram_character_ratio", "above", 0.20, gopher_repetition),
        _rule("top_3_gram", "top_3_gram_character_ratio", "above", 0.18, gopher_repetition),
        _rule("top_4_gram", "top_4_gram_character_ratio", "above", 0.16, gopher_repetition),
        _rule("duplicate_5_grams", "duplicate_5_gram_character_ratio", "above", 0.15, gopher_repetition),
        _rule("duplicate_6_grams", "duplicate_6_gram_character_ratio", "above", 0.14, gopher_repetition),
        _rule("duplicate_7_grams", "duplicate_7_gram_character_ratio", "above", 0.13, gopher_repetition),
        _rule("duplicate_8_grams", "duplicate_8_gram_character_ratio", "above", 0.12, gopher_repetition),
        _rule("duplicate_9_grams", "duplicate_9_gram_character_ratio", "above", 0.11, gopher_repetition),
        _rule("duplicate_10_grams", "duplicate_10_gram_character_ratio", "above", 0.10, gopher_repetition),
        _rule("min_words", "non_symbol_words", "below", 50, gopher_quality, ratio=False),
        _rule("max_words", "non_symbol_words", "above", 100_000, gopher_quality, ratio=False),
        _rule("min_word_length", "mean_word_length", "below", 3, gopher_quality, ratio=False),
        _rule("max_word_length", "mean_word_length", "above", 10, gopher_quality, ratio=False),
        _rule("hash_ratio", "hash_ratio", "above", 0.1, gopher_quality),
        _rule("ellipsis_ratio", "ellipsis_ratio", "above", 0.1, gopher_quality),
        _rule("bullet_lines", "bullet_line_ratio", "above", 0.9, gopher_quality),
        _rule("ellipsis_lines", "ellipsis_line_ratio", "above", 0.3, gopher_quality),
        _rule("alpha_words", "alpha_word_ratio", "below", 0.8, gopher_quality),
        _rule("stop_words", "stop_words", "below", 2, gopher_quality, ratio=False),
        _rule("lorem_ipsum", "lorem_ipsum", "at_or_above", 1, c4),
        _rule("curly_bracket", "curly_bracket", "at_or_above", 1, c4),
        _rule("sentences", "sentences", "below", 5, c4, ratio=False),
        _rule("terminal_lines", "terminal_line_ratio", drops["terminal_lines"], 0.12, fineweb),
        _rule("short_lines", "short_line_ratio", drops["short_lines"], 0.67, fineweb),
        _rule(
            "edited_duplicate_line_characters",
            "edited_duplicate_line_character_ratio",
            drops["edited_duplicate_line_characters"],
            0.01,
            fineweb,
        ),
        _rule("newline_ratio", "newline_ratio", "above", 0.3, fineweb),
    )


def _counted(word_splitting: str, terminal_punctuation: str, count_blank_lines: bool) -> dict[str, object]:
    """How an English set counts. Stop words and the edit of lines are set too, as another set may have changed them."""
    return {
        "word_splitting": word_splitting,
        "terminal_punctuation": terminal_punctuation,
        "count_blank_lines": count_blank_lines,
        "stop_words": ENGLISH_STOP_WORDS,
        "edit_lines": True,
    }


# fineweb-2024 is the pipeline that made FineWeb (datatrove of May 2024), fineweb-head is datatrove since. They differ
# in whether a page exactly at a threshold is dropped.
QUALITY_RULES: dict[str, tuple[Rule, ...]] = {
    "fineweb-2024": _rules(
        {
            "terminal_lines": "at_or_below",
            "short_lines": "at_or_above",
            "edited_duplicate_line_characters": "at_or_above",
        }
    ),
    "fineweb-head": _rules(
        {"terminal_lines": "below", "short_lines": "above", "edited_duplicate_line_characters": "above"}
    ),
    **{preset.rules: rules_of(preset.label) for preset in PRESETS},
}
# How each set counts the numbers that it compares with the thresholds.
STATISTICS_OF: dict[str, dict[str, object]] = {
    "fineweb-2024": _counted("treebank", "ascii", True),
    "fineweb-head": _counted("spacy", "unicode", False),
    **{preset.rules: statistics_of(preset.label) for preset in PRESETS},
}
LEARNED_RULE = _rule("quality_score", "quality_score", "below", 0.0, "learned from the user's examples")
