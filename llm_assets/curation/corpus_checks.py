"""Checks that a clean corpus must pass before a model is trained on it."""

from __future__ import annotations

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches, scan_table
from llm_assets.recipes import Language, PersonalData
from llm_assets.recipes.frozen import Frozen

from .language import identify, open_model
from .personal_data import KINDS, scrub

MAX_FAILURES = 20


def pages_with_personal_data(corpus: Artifact, rules: PersonalData) -> dict[str, list[str]]:
    """URLs of pages in which personal data is still found, up to 20 of each kind. The matches are not returned."""
    urls: dict[str, list[str]] = {}
    for path in corpus.table("text"):
        for frame in batches(path, ["url", "title", "text"]):
            texts = frame.select(text=pl.concat_str("title", "text", separator="\n"))["text"]
            _, matches = scrub(texts, rules.types, rules.placeholders, rules.phone_region)
            for kind in KINDS:
                for url in frame["url"].filter(matches[kind] > 0):
                    if len(urls.setdefault(kind, [])) < MAX_FAILURES:
                        urls[kind].append(url)
    return urls


def personal_data_left(corpus: Artifact, inputs: Inputs, config: PersonalData) -> CheckOutcome:
    """Check that scrubbing again finds nothing. Reports pages and kinds, never the matches."""
    urls_by_kind = pages_with_personal_data(corpus, config)
    rows = [{"kind": kind, "url": url} for kind, urls in urls_by_kind.items() for url in urls]
    summary = f"personal data left: {', '.join(urls_by_kind)}" if rows else "no personal data found"
    return CheckOutcome(not rows, summary, rows[:MAX_FAILURES], {"kinds_left": len(urls_by_kind)})


class LanguageBounds(Frozen):
    """Target languages, and the least share of pages whose most probable language is one of them."""

    language: Language
    min_share: float


def target_language(corpus: Artifact, inputs: Inputs, config: LanguageBounds) -> CheckOutcome:
    """Check the share of pages whose most probable language is a target. The text is the one that models will see."""
    model = open_model(config.language)
    pages, pages_in_target, failures = 0, 0, []
    for path in corpus.table("text"):
        for frame in batches(path, ["url", "text"]):
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
    return CheckOutcome(passed, summary, [] if passed else failures, {"share": share, "pages": pages})


class LengthBounds(Frozen):
    """Bounds of the median number of characters per page."""

    median_characters: tuple[int, int]


def length_within(corpus: Artifact, inputs: Inputs, config: LengthBounds) -> CheckOutcome:
    """Check the median number of characters per page. A crawl without pages has none, and passes."""
    lengths = [scan_table(path).select(pl.col("text").str.len_chars()) for path in corpus.table("text")]
    median = pl.concat(lengths).select(pl.col("text").median()).collect().item()
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
