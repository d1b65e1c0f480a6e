"""Quality rules with published constants, as named and pinned recipes.

| rule | drops a page if | fineweb-2024 | source |
|---|---|---|---|
| gopher_repetition | see the table below | | Gopher, arXiv:2112.11446, table A1 |
| gopher_quality | words, their length, symbols, bullets, letters, stop words | | Gopher, section A1.1 |
| c4 | fewer than 5 sentences, "lorem ipsum", a curly bracket | | C4, arXiv:1910.10683, section 2.2, without its terminal-punctuation line rule (FineWeb, section 3.4) |
| fineweb | lines without end punctuation, short lines, repeated lines, lists | | FineWeb, arXiv:2406.17557, section 3.4 |

The FineWeb paper prints 0.1 for characters in duplicate lines; the pipeline that made the data (datatrove,
examples/fineweb.py with the filter's default) used 0.01. The recipe follows the data. Its newline rule stands in the
code only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Rule:
    """Drop a page whose `column` is `drops` (below, above, …) `threshold`. `ratio`: the threshold lies in [0, 1]."""

    name: str
    column: str
    drops: Literal["below", "above", "at_or_below", "at_or_above"]
    threshold: float
    source: str
    ratio: bool = True


def _rules(drops: dict[str, Literal["below", "above", "at_or_below", "at_or_above"]]) -> tuple[Rule, ...]:
    gopher_repetition, gopher_quality, c4, fineweb = "Gopher, table A1", "Gopher, section A1.1", "C4, section 2.2", "FineWeb, section 3.4"
    return (
        Rule("duplicate_paragraphs", "duplicate_paragraph_ratio", "above", 0.30, gopher_repetition),
        Rule("duplicate_paragraph_characters", "duplicate_paragraph_character_ratio", "above", 0.20, gopher_repetition),
        Rule("duplicate_lines", "duplicate_line_ratio", "above", 0.30, gopher_repetition),
        Rule("duplicate_line_characters", "duplicate_line_character_ratio", "above", 0.20, gopher_repetition),
        Rule("top_2_gram", "top_2_gram_character_ratio", "above", 0.20, gopher_repetition),
        Rule("top_3_gram", "top_3_gram_character_ratio", "above", 0.18, gopher_repetition),
        Rule("top_4_gram", "top_4_gram_character_ratio", "above", 0.16, gopher_repetition),
        Rule("duplicate_5_grams", "duplicate_5_gram_character_ratio", "above", 0.15, gopher_repetition),
        Rule("duplicate_6_grams", "duplicate_6_gram_character_ratio", "above", 0.14, gopher_repetition),
        Rule("duplicate_7_grams", "duplicate_7_gram_character_ratio", "above", 0.13, gopher_repetition),
        Rule("duplicate_8_grams", "duplicate_8_gram_character_ratio", "above", 0.12, gopher_repetition),
        Rule("duplicate_9_grams", "duplicate_9_gram_character_ratio", "above", 0.11, gopher_repetition),
        Rule("duplicate_10_grams", "duplicate_10_gram_character_ratio", "above", 0.10, gopher_repetition),
        Rule("min_words", "non_symbol_words", "below", 50, gopher_quality, ratio=False),
        Rule("max_words", "non_symbol_words", "above", 100_000, gopher_quality, ratio=False),
        Rule("min_word_length", "mean_word_length", "below", 3, gopher_quality, ratio=False),
        Rule("max_word_length", "mean_word_length", "above", 10, gopher_quality, ratio=False),
        Rule("hash_ratio", "hash_ratio", "above", 0.1, gopher_quality),
        Rule("ellipsis_ratio", "ellipsis_ratio", "above", 0.1, gopher_quality),
        Rule("bullet_lines", "bullet_line_ratio", "above", 0.9, gopher_quality),
        Rule("ellipsis_lines", "ellipsis_line_ratio", "above", 0.3, gopher_quality),
        Rule("alpha_words", "alpha_word_ratio", "below", 0.8, gopher_quality),
        Rule("stop_words", "stop_words", "below", 2, gopher_quality, ratio=False),
        Rule("lorem_ipsum", "lorem_ipsum", "at_or_above", 1, c4),
        Rule("curly_bracket", "curly_bracket", "at_or_above", 1, c4),
        Rule("sentences", "sentences", "below", 5, c4, ratio=False),
        Rule("terminal_lines", "terminal_line_ratio", drops["terminal_lines"], 0.12, fineweb),
        Rule("short_lines", "short_line_ratio", drops["short_lines"], 0.67, fineweb),
        Rule("edited_duplicate_line_characters", "edited_duplicate_line_character_ratio", drops["edited_duplicate_line_characters"], 0.01, fineweb),
        Rule("newline_ratio", "newline_ratio", "above", 0.3, fineweb),
    )


# What the pipeline of FineWeb (datatrove of May 2024) counted, and what datatrove counts since: bounds that drop or
# keep the page that lies on them.
QUALITY_RULES: dict[str, tuple[Rule, ...]] = {
    "fineweb-2024": _rules({"terminal_lines": "at_or_below", "short_lines": "at_or_above", "edited_duplicate_line_characters": "at_or_above"}),
    "fineweb-head": _rules({"terminal_lines": "below", "short_lines": "above", "edited_duplicate_line_characters": "above"}),
}
# How each of them defines the numbers that it holds against the thresholds.
STATISTICS_OF: dict[str, dict[str, object]] = {
    "fineweb-2024": {"words": "treebank", "terminal_punctuation": "ascii", "blank_lines": True},
    "fineweb-head": {"words": "spacy", "terminal_punctuation": "unicode", "blank_lines": False},
}
LEARNED_RULE = Rule("quality_score", "quality_score", "below", 0.0, "learned from the user's examples")
