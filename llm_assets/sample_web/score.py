"""How well the curation stages did on the sample web, measured against its ground truth."""

from __future__ import annotations

import json
import re
from collections import Counter

import polars as pl

from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table

_WORD = re.compile(r"\w+")
POOR_KINDS = ("spam", "list", "code", "thin")  # kinds of pages that the quality rules should reject
WRITTEN_KINDS = ("article", "answers", "lesson", "mirror", "near_duplicate", "personal_data")
PERSONAL_DATA = ("email", "ip_address", "ssn", "credit_card", "phone", "iban")
CHANGES = ("new", "changed", "unchanged", "vanished")


def _urls(artifact: Artifact) -> set[str]:
    return set(read_table(artifact.table("text"))["url"])


def score_crawl(raw_warc: Artifact) -> dict[str, float]:
    """Share of the expected pages that the crawl stored, and the number of stored pages that it should not have."""
    truth = read_table(raw_warc.table("truth_pages"))
    stored = set(read_table(raw_warc.table("captures"))["url"])
    expected = set(truth.filter("in_crawl")["url"])
    unexpected = set(truth.filter(~pl.col("in_crawl"))["url"])
    return {
        "pages": len(expected),
        "crawl_recall": len(expected & stored) / len(expected),
        "unexpected_pages": len(unexpected & stored),
    }


def score_urls(raw_warc: Artifact, filtered_urls: Artifact) -> dict[str, float]:
    """Share of captures with the right verdict (keep, or the rule); empty bodies are left to a later stage."""
    truth = read_table(raw_warc.table("truth_pages")).select("url", pl.col("verdict").replace("empty_body", "keep"))
    accepted = read_table(filtered_urls.table("urls")).select("url", rule=pl.lit("keep"))
    rejected = read_table(filtered_urls.table("rejects")).select("url", "rule")
    verdicts = pl.concat([accepted, rejected]).join(truth, on="url")
    accuracy = verdicts.select((pl.col("rule") == pl.col("verdict")).mean()).item()
    return {"urls": len(verdicts), "url_verdict_accuracy": accuracy}


def score_language(
    raw_warc: Artifact, extracted_text: Artifact, filtered: Artifact, languages: set[str]
) -> dict[str, float]:
    """Precision and recall of keeping the pages that are in a target language (ISO 639 codes); 1.0 of no pages."""
    truth = dict(
        read_table(raw_warc.table("truth_pages")).filter(pl.col("text") != "").select("url", "language").iter_rows()
    )
    pages = [url for url in read_table(extracted_text.table("text"))["url"] if url in truth]
    kept_urls = {url for url in _urls(filtered) if url in truth}
    kept_in_target = sum(truth[url] in languages for url in kept_urls)
    in_target = sum(truth[url] in languages for url in pages)
    return {
        "pages": len(pages),
        "language_precision": kept_in_target / len(kept_urls) if kept_urls else 1.0,
        "language_recall": kept_in_target / in_target if in_target else 1.0,
    }


def score_text(raw_warc: Artifact, extracted_text: Artifact) -> dict[str, float]:
    """Share of pages whose characters were decoded correctly (under whatever name of the encoding), and F1 of words."""
    with_text = read_table(raw_warc.table("truth_pages")).filter(pl.col("text") != "")
    truth = with_text.select("url", true_text="text", true_title="title")
    pages = read_table(extracted_text.table("text")).join(truth, on="url")
    decoded, tp, fp, fn = 0, 0.0, 0.0, 0.0
    for text, true_text, title in pages.select("text", "true_text", "true_title").iter_rows():
        words, true_words = Counter(_WORD.findall(text)), Counter(_WORD.findall(true_text))
        # Wrong decoding gives characters that the page does not have.
        unknown_characters = set(text) - set(true_text) - set(title)
        decoded += all(character.isascii() for character in unknown_characters)
        total = sum((words | true_words).values()) or 1
        tp += sum((words & true_words).values()) / total
        fp += sum((words - true_words).values()) / total
        fn += sum((true_words - words).values()) / total
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return {
        "texts": len(pages),
        "decoding_accuracy": decoded / len(pages),
        "text_precision": precision,
        "text_recall": recall,
        "text_f1": 2 * precision * recall / (precision + recall),
    }


def score_quality(raw_warc: Artifact, before: Artifact, after: Artifact) -> dict[str, float]:
    """Share of the poor pages (spam, lists, code, thin ones) that were rejected, and of the written pages kept.

    before, after: the artifacts before and after the quality rules.
    """
    kinds = dict(read_table(raw_warc.table("truth_pages")).select("url", "kind").iter_rows())
    urls, kept_urls = _urls(before), _urls(after)
    poor = {url for url in urls if kinds.get(url) in POOR_KINDS}
    written = {url for url in urls if kinds.get(url) in WRITTEN_KINDS}
    return {
        "poor_pages": len(poor),
        "poor_rejected": 1 - len(poor & kept_urls) / max(len(poor), 1),
        "written_pages": len(written),
        "written_kept": len(written & kept_urls) / max(len(written), 1),
    }


def score_duplicates(raw_warc: Artifact, before: Artifact, after: Artifact) -> dict[str, float]:
    """Recall and precision of deduplication.

    Recall: of the planted pairs (a copy and its original) in the input, the share reduced to one page. Precision: of
    the removed pages, the share that is in such a pair.
    """
    copies = read_table(raw_warc.table("truth_pages")).filter(pl.col("duplicate_of") != "")
    urls, kept_urls = _urls(before), _urls(after)
    pairs = [pair for pair in copies.select("url", "duplicate_of").iter_rows() if urls.issuperset(pair)]
    removed = urls - kept_urls
    resolved = sum((copy in kept_urls) + (original in kept_urls) == 1 for copy, original in pairs)
    planted = {url for pair in pairs for url in pair}
    return {
        "pairs": len(pairs),
        "removed": len(removed),
        "duplicate_recall": resolved / max(len(pairs), 1),
        "duplicate_precision": len(removed & planted) / max(len(removed), 1),
    }


def score_personal_data(raw_warc: Artifact, corpus: Artifact) -> dict[str, float]:
    """Recall and precision of replacing personal data on the pages of the corpus.

    Recall: of the planted items, the share that was replaced by the placeholder of its type. Precision: of all
    placeholders, the share that stands for a planted item.
    """
    planted = {
        url: json.loads(items)
        for url, items in read_table(raw_warc.table("truth_pages")).select("url", "pii").iter_rows()
    }
    pages = read_table(corpus.table("text"))
    kinds = [kind for kind in PERSONAL_DATA if kind in pages.columns]
    items = replaced = correct = 0
    for row in pages.select("url", *kinds).iter_rows(named=True):
        true_counts = planted.get(row["url"], {})
        items += sum(true_counts.values())
        replaced += sum(row[kind] for kind in kinds)
        correct += sum(min(row[kind], true_counts.get(kind, 0)) for kind in kinds)
    return {
        "planted_items": items,
        "replaced": replaced,
        "personal_data_recall": correct / max(items, 1),
        "personal_data_precision": correct / max(replaced, 1),
    }


def true_changes(before: Artifact, after: Artifact) -> dict[str, str]:
    """How each page with a text changed between two crawls of the sample web, by URL, as the truth has it."""
    earlier, later = _true_texts(before), _true_texts(after)
    changes = {url: "vanished" for url in earlier.keys() - later.keys()}
    for url, text in later.items():
        if url not in earlier:
            changes[url] = "new"
        else:
            changes[url] = "unchanged" if earlier[url] == text else "changed"
    return changes


def _true_texts(raw_warc: Artifact) -> dict[str, str]:
    pages = read_table(raw_warc.table("truth_pages")).filter(pl.col("in_crawl") & (pl.col("status") == 200))
    return dict(pages.filter(pl.col("text") != "").select("url", "text").iter_rows())


def found_changes(versions: Artifact, before: str, after: str) -> dict[str, str]:
    """How each page changed between two crawls, by URL, according to `page_versions`; takes the crawls' names."""
    table = read_table(versions.table("versions")).filter(pl.col("crawl").is_in([before, after]))
    current = table.filter(pl.col("state") == "current")
    changes = {url: "vanished" for url in table["url"]}
    for url, crawl, version, captures in current.select("url", "crawl", "version", "captures").iter_rows():
        if version > 1:
            changes[url] = "changed"
        else:
            changes[url] = "new" if crawl == after and captures == 1 else "unchanged"
    return changes


def score_versions(before: Artifact, after: Artifact, versions: Artifact) -> dict[str, float]:
    """Precision and recall of the detected changes of pages, by kind of change.

    Only pages that the clean corpus has contained count. The text of others may never have been read (on a blocked
    host); a version of such a page is its payload, which changes with every link around the text.
    """
    crawls = [artifact.record.partition or "" for artifact in (before, after)]
    in_corpus = set(read_table(versions.table("versions")).filter("in_corpus")["url"])
    truth = {url: change for url, change in true_changes(before, after).items() if url in in_corpus}
    detected = {url: change for url, change in found_changes(versions, *crawls).items() if url in truth}
    scores: dict[str, float] = {"pages": len(truth)}
    for change in CHANGES:
        expected = {url for url, true_change in truth.items() if true_change == change}
        reported = {url for url, detected_change in detected.items() if detected_change == change}
        correct = len(expected & reported)
        scores[change] = len(expected)
        scores[f"{change}_precision"] = correct / len(reported) if reported else float(not expected)
        scores[f"{change}_recall"] = correct / len(expected) if expected else 1.0
    return scores
