"""What must hold of a clean corpus before a model sees it."""

from __future__ import annotations

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches
from llm_assets.recipes import Language, PersonalData
from llm_assets.recipes.frozen import Frozen

from .language import identify, model_path
from .language_model import load_language_model
from .personal_data import KINDS, scrub

SHOWN = 20


def pages_with_personal_data(corpus: Artifact, rules: PersonalData) -> dict[str, list[str]]:
    """URLs of pages in which personal data is still found, up to 20 a kind. Their matches are not given."""
    left: dict[str, list[str]] = {}
    for path in corpus.table("text"):
        for frame in batches(path, ["url", "title", "text"]):
            texts = frame.select(text=pl.concat_str("title", "text", separator="\n"))["text"]
            _, matches = scrub(texts, rules.types, rules.placeholders, rules.phone_region)
            for kind in KINDS:
                for url in frame["url"].filter(matches[kind] > 0):
                    if len(left.setdefault(kind, [])) < SHOWN:
                        left[kind].append(url)
    return left


def personal_data_left(corpus: Artifact, inputs: Inputs, config: PersonalData) -> CheckOutcome:
    """Scrubbing again must find nothing. Names pages and kinds, never the matches."""
    left = pages_with_personal_data(corpus, config)
    rows = [{"kind": kind, "url": url} for kind, urls in left.items() for url in urls]
    summary = f"personal data left: {', '.join(left)}" if rows else "no personal data found"
    return CheckOutcome(not rows, summary, rows[:SHOWN], {"kinds_left": len(left)})


class LanguageBounds(Frozen):
    """Target languages, and the least share of pages whose best language is one of them."""

    language: Language
    min_share: float


def target_language(corpus: Artifact, inputs: Inputs, config: LanguageBounds) -> CheckOutcome:
    """Share of pages whose most probable language, of the text as the model will see it, is a target."""
    model = load_language_model(model_path(config.language))
    pages, right, strays = 0, 0, []
    for path in corpus.table("text"):
        for frame in batches(path, ["url", "text"]):
            languages = identify(model, frame["text"], config.language)
            in_target = languages["language_1"].is_in(config.language.targets)
            pages += len(frame)
            right += int(in_target.sum())
            if len(strays) < SHOWN:
                beside = pl.concat([frame.select("url"), languages.select("language_1", "score_1")], how="horizontal")
                strays += beside.filter(~in_target).head(SHOWN - len(strays)).to_dicts()
    share = right / pages if pages else 1.0
    passed = share >= config.min_share
    targets = ", ".join(config.language.targets)
    summary = f"{share:.2%} of {pages:,} pages in {targets} (at least {config.min_share:.0%})"
    return CheckOutcome(passed, summary, [] if passed else strays, {"share": share, "pages": pages})


class LengthBounds(Frozen):
    """Bounds of the median number of characters of a page."""

    median_characters: tuple[int, int]


def length_within(corpus: Artifact, inputs: Inputs, config: LengthBounds) -> CheckOutcome:
    """Median number of characters of a page. An empty crawl has none, and passes."""
    lengths = [pl.scan_parquet(path).select(pl.col("text").str.len_chars()) for path in corpus.table("text")]
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
    "The scrubbed and edited texts are still in a target language.",
    target_language,
    blocking=True,
    config=lambda recipe, _: LanguageBounds(language=recipe.language, min_share=recipe.report.min_target_share),
)
MEDIAN_LENGTH = Check(
    "median_length",
    "The median page is neither a line nor a book.",
    length_within,
    config=lambda recipe, _: LengthBounds(median_characters=recipe.report.median_characters),
)
