"""Checks that a clean corpus must pass before a model is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.sampling import Sample, largest_unseen_share, sampled_clause
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import row_count, scan_table
from llm_assets.recipes import Language, PersonalData
from llm_assets.recipes.frozen import Frozen

from .language import identify, open_model
from .personal_data import KINDS, scrub

MAX_FAILURES = 20


def _pages(corpus: Artifact) -> int:
    return sum(row_count(path) for path in corpus.table("text"))


def pages_with_personal_data(corpus: Artifact, rules: PersonalData, sample: Sample) -> tuple[dict[str, list[str]], int]:
    """URLs of pages in which personal data is still found, up to 20 of each kind, and how many pages were examined.

    The matches are not returned.
    """
    urls: dict[str, list[str]] = {}
    examined = 0
    for path in corpus.table("text"):
        for frame in sample.frames(path, ["url", "title", "text"]):
            examined += len(frame)
            texts = frame.select(text=pl.concat_str("title", "text", separator="\n"))["text"]
            _, matches = scrub(texts, rules.types, rules.placeholders, rules.phone_region)
            for kind in KINDS:
                for url in frame["url"].filter(matches[kind] > 0):
                    if len(urls.setdefault(kind, [])) < MAX_FAILURES:
                        urls[kind].append(url)
    return urls, examined


def personal_data_left(corpus: Artifact, inputs: Inputs, config: PersonalData) -> CheckOutcome:
    """Check that scrubbing again finds nothing. Reports pages and kinds, never the matches."""
    pages = _pages(corpus)
    urls_by_kind, examined = pages_with_personal_data(corpus, config, Sample.of(pages))
    rows = [{"kind": kind, "url": url} for kind, urls in urls_by_kind.items() for url in urls]
    summary = f"personal data left: {', '.join(urls_by_kind)}" if rows else "no personal data found"
    summary += "" if rows else sampled_clause(examined, pages)
    return CheckOutcome(not rows, summary, rows[:MAX_FAILURES], {"kinds_left": len(urls_by_kind)})


class LanguageBounds(Frozen):
    """Target languages, and the least share of pages whose most probable language is one of them."""

    language: Language
    min_share: float


def target_language(corpus: Artifact, inputs: Inputs, config: LanguageBounds) -> CheckOutcome:
    """Check the share of pages whose most probable language is a target. The text is the one that models will see."""
    model = open_model(config.language)
    all_pages = _pages(corpus)
    sample = Sample.of(all_pages)
    pages, pages_in_target, failures = 0, 0, []
    for path in corpus.table("text"):
        for frame in sample.frames(path, ["url", "text"]):
            languages = identify(model, frame["text"], config.language)
            in_target = languages["language_1"].is_in(config.language.targets)
            pages += len(frame)
            pages_in_target += int(in_target.sum())
            if len(failures) < MAX_FAILURES:
                described = pl.concat(
                    [frame.select("url"), languages.select("language_1", "score_1")], how="horizontal"
                )
                failures += described.filter(~in_target).head(MAX_FAILURES - len(failures)).to_dicts()
    share = pages_in_target / pages if pages else 1.0
    passed = share >= config.min_share
    targets = ", ".join(config.language.targets)
    summary = f"{share:.2%} of {pages:,} pages in {targets} (at least {config.min_share:.0%})"
    if pages < all_pages:
        error = max(1.96 * (share * (1 - share) / pages) ** 0.5, largest_unseen_share(pages))
        summary += f", a sample of {all_pages:,}: ± {error:.2%} (95 %)"
    return CheckOutcome(passed, summary, [] if passed else failures, {"share": share, "pages": pages})


def length_counts(texts: Sequence[Path]) -> dict[int, int]:
    """How many pages have a text of each length, in characters; there are far fewer lengths than pages."""
    counts: Counter[int] = Counter()
    for path in texts:
        of_file = scan_table(path).group_by(length=pl.col("text").str.len_chars()).len()
        counts.update(dict(of_file.collect(engine="streaming").iter_rows()))
    return counts


def median_of(counts: Mapping[int, int]) -> float | None:
    """The median of values, given how often each occurs: of an even number, the mean of the middle two."""
    total, before = sum(counts.values()), 0
    middle: list[int] = []
    for value, count in sorted(counts.items()):
        before += count
        while len(middle) < 2 and before > (total - 1 + len(middle)) // 2:
            middle.append(value)
    return sum(middle) / 2 if total else None


class LengthBounds(Frozen):
    """Bounds of the median number of characters per page."""

    median_characters: tuple[int, int]


def length_within(corpus: Artifact, inputs: Inputs, config: LengthBounds) -> CheckOutcome:
    """Check the median number of characters per page. A crawl without pages has none, and passes."""
    median = median_of(length_counts(corpus.table("text")))
    low, high = config.median_characters
    if median is None:
        return CheckOutcome(True, "no pages")
    summary = f"median {median:,.0f} characters (between {low:,} and {high:,})"
    return CheckOutcome(low <= median <= high, summary, numbers={"median": float(median)})


NO_PERSONAL_DATA = Check(
    "no_personal_data", "Scrubbing the corpus again finds no personal data.", personal_data_left, blocking=True
)
TARGET_LANGUAGE_SHARE = Check(
    "target_language_share",
    "The texts, as scrubbed and edited, are still in a target language.",
    target_language,
    blocking=True,
    config=lambda recipe, _: LanguageBounds(language=recipe.language, min_share=recipe.report.min_target_share),
)
MEDIAN_LENGTH = Check(
    "median_length",
    "The median length of a page is within the recipe's bounds.",
    length_within,
    config=lambda recipe, _: LengthBounds(median_characters=recipe.report.median_characters),
)
