"""How well the stages did on the sample web, against its ground truth."""

from __future__ import annotations

import json
import re
from collections import Counter

import polars as pl

from llm_assets.artifacts.store import Artifact

_WORD = re.compile(r"\w+")


def _read(artifact: Artifact, table: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in artifact.table(table)])


def score_crawl(raw_warc: Artifact) -> dict[str, float]:
    """Share of the pages that the crawl should hold that it does hold, and how many it should not."""
    truth, captures = _read(raw_warc, "truth_pages"), _read(raw_warc, "captures")
    held = set(captures["url"])
    wanted, unwanted = set(truth.filter("in_crawl")["url"]), set(truth.filter(~pl.col("in_crawl"))["url"])
    return {
        "pages": len(wanted),
        "crawl_recall": len(wanted & held) / len(wanted),
        "unexpected_pages": len(unwanted & held),
    }


def score_urls(raw_warc: Artifact, filtered_urls: Artifact) -> dict[str, float]:
    """Share of captures whose verdict (keep, or the rule) is the true one; empty bodies are a later stage's matter."""
    truth = _read(raw_warc, "truth_pages").select("url", pl.col("verdict").replace("empty_body", "keep"))
    found = pl.concat(
        [
            _read(filtered_urls, "urls").select("url", rule=pl.lit("keep")),
            _read(filtered_urls, "rejects").select("url", "rule"),
        ]
    )
    both = found.join(truth, on="url")
    return {"urls": len(both), "url_verdict_accuracy": both.select((pl.col("rule") == pl.col("verdict")).mean()).item()}


def score_language(
    raw_warc: Artifact, extracted_text: Artifact, filtered: Artifact, target: str = "en"
) -> dict[str, float]:
    """Precision and recall of keeping the pages that are in the target language."""
    truth = dict(_read(raw_warc, "truth_pages").filter(pl.col("text") != "").select("url", "language").iter_rows())
    pages = [url for url in _read(extracted_text, "text")["url"] if url in truth]
    kept = {url for url in _read(filtered, "text")["url"] if url in truth}
    right = sum(truth[url] == target for url in kept)
    return {
        "pages": len(pages),
        "language_precision": right / len(kept),
        "language_recall": right / sum(truth[url] == target for url in pages),
    }


def score_text(raw_warc: Artifact, extracted_text: Artifact) -> dict[str, float]:
    """Share of pages whose characters were read right (whatever the encoding is called), and F1 of words."""
    truth = (
        _read(raw_warc, "truth_pages").filter(pl.col("text") != "").select("url", true_text="text", true_title="title")
    )
    both = _read(extracted_text, "text").join(truth, on="url")
    readable, tp, fp, fn = 0, 0.0, 0.0, 0.0
    for text, true_text, title in both.select("text", "true_text", "true_title").iter_rows():
        found, right = Counter(_WORD.findall(text)), Counter(_WORD.findall(true_text))
        # Wrongly decoded characters are characters that the page does not have.
        strange = set(text) - set(true_text) - set(title)
        readable += not any(not ch.isascii() for ch in strange)
        total = sum((found | right).values()) or 1
        tp += sum((found & right).values()) / total
        fp += sum((found - right).values()) / total
        fn += sum((right - found).values()) / total
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return {
        "texts": len(both),
        "decoding_accuracy": readable / len(both),
        "text_precision": precision,
        "text_recall": recall,
        "text_f1": 2 * precision * recall / (precision + recall),
    }


# Kinds of pages that say nothing: what the quality rules are for.
POOR = ("spam", "list", "code", "thin")
GOOD = ("article", "answers", "lesson", "mirror", "near_duplicate", "personal_data")


def score_quality(raw_warc: Artifact, given: Artifact, kept: Artifact) -> dict[str, float]:
    """Share of the poor pages (spam, lists, code, thin ones) that went, and of the written ones that stayed."""
    kinds = dict(_read(raw_warc, "truth_pages").select("url", "kind").iter_rows())
    before, after = set(_read(given, "text")["url"]), set(_read(kept, "text")["url"])
    poor, good = {url for url in before if kinds.get(url) in POOR}, {url for url in before if kinds.get(url) in GOOD}
    return {
        "poor_pages": len(poor),
        "poor_rejected": 1 - len(poor & after) / max(len(poor), 1),
        "written_pages": len(good),
        "written_kept": len(good & after) / max(len(good), 1),
    }


def score_duplicates(raw_warc: Artifact, given: Artifact, kept: Artifact) -> dict[str, float]:
    """Of the planted pairs (a copy and its original) that deduplication saw: how many were resolved to one page
    (recall); and of the pages it removed, how many are in such a pair (precision).
    """
    pairs = [
        (url, original)
        for url, original in _read(raw_warc, "truth_pages")
        .filter(pl.col("duplicate_of") != "")
        .select("url", "duplicate_of")
        .iter_rows()
    ]
    before, after = set(_read(given, "text")["url"]), set(_read(kept, "text")["url"])
    seen = [(a, b) for a, b in pairs if a in before and b in before]
    removed = before - after
    right = sum((a in after) + (b in after) == 1 for a, b in seen)
    planted = {url for pair in seen for url in pair}
    return {
        "pairs": len(seen),
        "removed": len(removed),
        "duplicate_recall": right / max(len(seen), 1),
        "duplicate_precision": len(removed & planted) / max(len(removed), 1),
    }


def score_personal_data(raw_warc: Artifact, corpus: Artifact) -> dict[str, float]:
    """Of the planted items on the pages of the corpus: how many were replaced by their own type's placeholder (recall);
    of all placeholders, how many stand for a planted item (precision).
    """
    planted = {url: json.loads(items) for url, items in _read(raw_warc, "truth_pages").select("url", "pii").iter_rows()}
    pages = _read(corpus, "text")
    kinds = [kind for kind in ("email", "ip_address", "ssn", "credit_card", "phone", "iban") if kind in pages.columns]
    items = found = right = 0
    for row in pages.select("url", *kinds).iter_rows(named=True):
        true = planted.get(row["url"], {})
        items += sum(true.values())
        found += sum(row[kind] for kind in kinds)
        right += sum(min(row[kind], true.get(kind, 0)) for kind in kinds)
    return {
        "planted_items": items,
        "replaced": found,
        "personal_data_recall": right / max(items, 1),
        "personal_data_precision": right / max(found, 1),
    }


CHANGES = ("new", "changed", "unchanged", "vanished")


def true_changes(before: Artifact, after: Artifact) -> dict[str, str]:
    """What became of each page with a text from one crawl of the sample web to a later one, by URL."""

    def texts(raw_warc: Artifact) -> dict[str, str]:
        pages = _read(raw_warc, "truth_pages").filter(pl.col("in_crawl") & (pl.col("status") == 200))
        return dict(pages.filter(pl.col("text") != "").select("url", "text").iter_rows())

    earlier, later = texts(before), texts(after)
    found = {url: "vanished" for url in earlier.keys() - later.keys()}
    for url, text in later.items():
        found[url] = "new" if url not in earlier else "unchanged" if earlier[url] == text else "changed"
    return found


def found_changes(versions: Artifact, before: str, after: str) -> dict[str, str]:
    """The same by `page_versions`; `before` and `after` are the crawls' names."""
    table = _read(versions, "versions").filter(pl.col("crawl").is_in([before, after]))
    current = table.filter(pl.col("state") == "current")
    found = {url: "vanished" for url in table["url"]}
    for url, crawl, version, captures in current.select("url", "crawl", "version", "captures").iter_rows():
        found[url] = "changed" if version > 1 else "new" if crawl == after and captures == 1 else "unchanged"
    return found


def score_versions(before: Artifact, after: Artifact, versions: Artifact) -> dict[str, float]:
    """Precision and recall of what became of each page, by kind of change.

    Of the pages that a clean corpus has held: the text of others may never have been read (a blocked address), and a
    version of such a page is its payload, which changes with every link around the text.
    """
    names = [artifact.record.partition or "" for artifact in (before, after)]
    read = set(_read(versions, "versions").filter("in_corpus")["url"])
    truth = {url: change for url, change in true_changes(before, after).items() if url in read}
    found = {url: change for url, change in found_changes(versions, *names).items() if url in truth}
    scores: dict[str, float] = {"pages": len(truth)}
    for change in CHANGES:
        wanted = {url for url, true in truth.items() if true == change}
        given = {url for url, seen in found.items() if seen == change}
        scores[change] = len(wanted)
        scores[f"{change}_precision"] = len(wanted & given) / len(given) if given else float(not wanted)
        scores[f"{change}_recall"] = len(wanted & given) / len(wanted) if wanted else 1.0
    return scores
