"""What must hold of a corpus before a model sees it."""

from __future__ import annotations

import numpy as np
import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches
from llm_assets.recipes import PersonalData, Recipe, Report

from .clean_corpus import remaining
from .language import identify, model_path
from .language_model import load_language_model
from .signatures import sign


def personal_data_left(corpus: Artifact, rules: PersonalData) -> CheckOutcome:
    """Scrubbing again must find nothing. Names pages and kinds, never the matches."""
    left = remaining(corpus, rules)
    rows = [{"kind": kind, "url": url} for kind, urls in left.items() for url in urls]
    return CheckOutcome(not rows, "no personal data found" if not rows else f"personal data left: {', '.join(left)}", rows[:20])


def target_language(corpus: Artifact, recipe: Recipe) -> CheckOutcome:
    """Share of pages whose most probable language, of the text as the model will see it, is a target."""
    model = load_language_model(model_path(recipe.language))
    pages, right, strays = 0, 0, []
    for path in corpus.table("text"):
        for frame in batches(path, ["url", "text"]):
            found = identify(model, frame["text"], recipe.language)
            good = found["language_1"].is_in(recipe.language.targets)
            pages += len(frame)
            right += int(good.sum())
            if len(strays) < 20:
                strays += pl.concat([frame.select("url"), found.select("language_1", "score_1")], how="horizontal").filter(~good).head(20 - len(strays)).to_dicts()
    share = right / pages if pages else 1.0
    passed = share >= recipe.report.min_target_share
    return CheckOutcome(passed, f"{share:.2%} of {pages:,} pages in {', '.join(recipe.language.targets)} (at least {recipe.report.min_target_share:.0%})", [] if passed else strays, {"share": share})


def length_within(corpus: Artifact, bounds: Report) -> CheckOutcome:
    """Median number of characters of a page. An empty crawl has none, and passes."""
    lengths = pl.concat([pl.scan_parquet(path).select(pl.col("text").str.len_chars()) for path in corpus.table("text")]).collect()["text"]
    median = lengths.median()
    low, high = bounds.median_characters
    if median is None:
        return CheckOutcome(True, "no pages")
    return CheckOutcome(low <= median <= high, f"median {median:,.0f} characters (between {low:,} and {high:,})", numbers={"median": float(median)})  # type: ignore[operator, arg-type]


def duplicates_within(kept: Artifact, recipe: Recipe) -> CheckOutcome:
    """Digests of the normalised texts of all kept pages must differ; the share that went must be within bounds."""
    rules = recipe.deduplication.but(near=False)
    # Digests alone first: 8 bytes a page. Addresses only of pages that share one.
    digests = [sign(frame["text"], rules)[0] for path in kept.table("text") for frame in batches(path, ["text"])]
    values, times = np.unique(np.concatenate(digests) if digests else np.zeros(0, np.uint64), return_counts=True)
    shared = values[times > 1]
    twice: list[str] = []
    if len(shared):
        for path in kept.table("text"):
            for frame in batches(path, ["url", "text"]):
                twice += frame["url"].filter(pl.Series(np.isin(sign(frame["text"], rules)[0], shared))).to_list()
    stats = kept.record.stats
    share = stats["rejected"] / stats["pages"] if stats["pages"] else 0.0
    bound = recipe.report.max_duplicate_share
    summary = f"{share:.2%} of {stats['pages']:,} pages were duplicates (at most {bound:.0%}); {len(twice)} of those kept share a text"
    return CheckOutcome(not twice and share <= bound, summary, [{"url": url} for url in twice[:20]], {"share": share})


def emptiness(report: Artifact) -> CheckOutcome:
    """The corpus has pages; if not, which rules took the most."""
    pages = report.record.stats["pages"]
    if pages:
        return CheckOutcome(True, f"{pages:,} pages", numbers={"pages": pages})
    rules = pl.concat([pl.read_parquet(path) for path in report.table("rejects_by_rule")]).group_by("stage", "rule").agg(pl.col("pages").sum()).sort("pages", "stage", "rule", descending=[True, False, False])
    return CheckOutcome(False, "the corpus is empty", rules.head(20).to_dicts())
