"""FineWeb-2's quality rules: thresholds and stop words of each language, as published.

`fineweb2.json` has the files `configs/<language>_<script>.yml` of huggingface/fineweb-2 at commit
d0defb24f193bb9a5a11b8b14524a03c4858e1b6, unchanged; paper: Penedo et al., arXiv:2506.20920. Its fineweb-2-pipeline.py
says how they are used: no paragraph rules, no C4, no rule on short lines, and 0.1 of the characters in repeated lines.
`language_score` is a threshold on GlotLID's probability.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from .frozen import Frozen
from .quality_rule import Drops, Rule

# How datatrove splits words of a language (its tokenizer_assignment.csv at a649de79c14a550dc90f48a15c025f2dd3fd3b57).
WORD_SPLITTING = {"deu_Latn": "spacy-de", "spa_Latn": "spacy-es", "cmn_Hani": "jieba"}
MIN_STOP_WORDS, REPEATED_LINE_CHARACTERS = 2, 0.1  # fineweb-2-pipeline.py


@cache
def published() -> dict[str, dict[str, Any]]:
    """The published configurations by label, such as `deu_Latn`."""
    config: dict[str, dict[str, Any]] = json.loads(files(__package__).joinpath("fineweb2.json").read_text("utf-8"))
    return config


def rules_of(label: str) -> tuple[Rule, ...]:
    """The rules of a language, in the order in which FineWeb-2 applies them. A published 0 switches a rule off."""
    config = published()[label]
    source = "FineWeb-2, configs/<label>.yml"

    def rule(name: str, column: str, drops: Drops, threshold: float, ratio: bool = True, source: str = source) -> Rule:
        return Rule(name=name, column=column, drops=drops, threshold=threshold, source=source, ratio=ratio)

    gopher, pipeline = "Gopher, section A1.1", "FineWeb-2, fineweb-2-pipeline.py"
    rules = [rule("duplicate_lines", "duplicate_line_ratio", "above", config["dup_line_frac"])]
    for n, threshold in config["top_n_grams"]:
        rules.append(rule(f"top_{n}_gram", f"top_{n}_gram_character_ratio", "above", threshold))
    for n, threshold in config["dup_n_grams"]:
        rules.append(rule(f"duplicate_{n}_grams", f"duplicate_{n}_gram_character_ratio", "above", threshold))
    repeated = "edited_duplicate_line_character"
    rules += [
        rule("terminal_lines", "terminal_line_ratio", "below", config["line_punct_thr"]),
        rule(f"{repeated}s", f"{repeated}_ratio", "above", REPEATED_LINE_CHARACTERS, source=pipeline),
        rule("newline_ratio", "newline_ratio", "above", config["new_line_ratio"]),
        rule("min_words", "non_symbol_words", "below", 50, False, gopher),
        rule("max_words", "non_symbol_words", "above", 100_000, False, gopher),
        rule("min_word_length", "mean_word_length", "below", config["min_avg_word_length"], False),
        rule("max_word_length", "mean_word_length", "above", config["max_avg_word_length"], False),
        rule("hash_ratio", "hash_ratio", "above", 0.1, source=gopher),
        rule("ellipsis_ratio", "ellipsis_ratio", "above", 0.1, source=gopher),
        rule("bullet_lines", "bullet_line_ratio", "above", 0.9, source=gopher),
        rule("ellipsis_lines", "ellipsis_line_ratio", "above", 0.3, source=gopher),
        rule("alpha_words", "alpha_word_ratio", "below", config["max_non_alpha_words_ratio"]),
        rule("stop_words", "stop_words", "below", MIN_STOP_WORDS, False, pipeline),
    ]
    return tuple(rule for rule in rules if rule.threshold)


def statistics_of(label: str) -> dict[str, object]:
    """How the numbers of a language are counted: fields of `TextStatistics`."""
    return {
        "word_splitting": WORD_SPLITTING[label],
        "terminal_punctuation": "unicode",
        "count_blank_lines": False,
        "stop_words": tuple(published()[label]["stopwords"]),
        "edit_lines": False,
    }


class LanguagePreset(Frozen):
    """What `Recipe.in_language` sets for a language."""

    name: str
    code: str  # lid.176's label
    label: str  # GlotLID's label, and that of FineWeb-2's configuration
    phone_region: str  # ISO 3166 region of numbers without a country code

    @property
    def rules(self) -> str:
        """The name of its set of quality rules."""
        return f"fineweb-2-{self.label}"


PRESETS = (
    LanguagePreset(name="German", code="de", label="deu_Latn", phone_region="DE"),
    LanguagePreset(name="Spanish", code="es", label="spa_Latn", phone_region="ES"),
    LanguagePreset(name="Chinese", code="zh", label="cmn_Hani", phone_region="CN"),
)


def preset_of(language: str) -> LanguagePreset:
    """The preset of a language by either label. Raises ValueError, which names those that exist."""
    for preset in PRESETS:
        if language in (preset.code, preset.label):
            return preset
    known = ", ".join(f"{preset.code} or {preset.label} ({preset.name})" for preset in PRESETS)
    raise ValueError(
        f"no published rules for language {language!r}; available: {known}. For another language set language.targets, "
        "text_statistics and quality.thresholds yourself"
    )
