"""Main-content extraction compared with pages of known text: F1 of 4-word shingles, and pages per CPU-second.

    python benchmarks/extraction.py --pages FOLDER [--json FILE] [--worst 15]

The folder has a file of gzipped HTML per page, and `expected.jsonl.gz` with a row per page: `name`, `file` and the
expected `text`. The published figures are from the 130 saved pages of mozilla/readability (its folder test/test-pages).

The measure is that of scrapinghub/article-extraction-benchmark: shingles of four words, counted with multiplicity.
True and false positives are normalised per page, so that long pages do not outweigh short ones. If trafilatura is
installed, it is measured on the same pages in the same run.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

_WORD = re.compile(r"\w+")


def shingles(text: str, n: int = 4) -> Counter:
    """The runs of n words in a text, with their counts; a shorter text is one shingle."""
    words = _WORD.findall(text or "")
    return Counter(tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))) if words else Counter()


def score(truth: str, extracted: str) -> tuple[float, float, float]:
    """(true positives, false positives, false negatives) of a page, which sum to 1; all 0 if both texts are empty."""
    expected, actual = shingles(truth), shingles(extracted)
    right = sum((expected & actual).values())
    too_much = sum((actual - expected).values())
    missed = sum((expected - actual).values())
    total = right + too_much + missed
    return (right / total, too_much / total, missed / total) if total else (0.0, 0.0, 0.0)


def f1(scores: list[tuple[float, float, float]]) -> dict[str, float]:
    """F1, precision and recall over the scores of all pages."""
    tp, fp, fn = (sum(column) for column in zip(*scores, strict=True))
    precision, recall = tp / (tp + fp) if tp else 0.0, tp / (tp + fn) if tp else 0.0
    return {
        "f1": 2 * precision * recall / (precision + recall) if tp else 0.0,
        "precision": precision,
        "recall": recall,
    }


def load(folder: Path) -> list[tuple[str, bytes, str]]:
    """(name, HTML, expected text) of each page in a folder with expected.jsonl.gz."""
    with gzip.open(folder / "expected.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["name"], gzip.decompress((folder / row["file"]).read_bytes()), row["text"]) for row in rows]


def measure(
    pages: list[tuple[str, bytes, str]], extractor: Callable[[bytes], str]
) -> tuple[dict[str, float], list[tuple[str, tuple[float, float, float]]]]:
    """Quality and speed of an extractor, and the score of each page by its name."""
    for _, html, _ in pages[:3]:
        extractor(html)  # imports and compiles its patterns
    began = time.process_time()
    texts = [extractor(html) for _, html, _ in pages]
    seconds = time.process_time() - began
    scores = [(name, score(truth, text)) for (name, _, truth), text in zip(pages, texts, strict=True)]
    return {
        **f1([page_score for _, page_score in scores]),
        "pages": len(pages),
        "pages_per_cpu_second": len(pages) / seconds,
        "mb_per_second": sum(len(html) for _, html, _ in pages) / 1e6 / seconds,
    }, scores


def extractors() -> dict[str, Callable[[bytes], str]]:
    """The project's extractor, resiliparse's, and trafilatura's if it is installed."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    from llm_assets.curation.extraction import extract

    installed: dict[str, Callable[[bytes], str]] = {
        "llm_assets": lambda html: extract(html).text,
        "resiliparse": lambda html: extract_plain_text(
            bytes_to_str(html, detect_encoding(html)), main_content=True, alt_texts=False, list_bullets=False
        ),
    }
    if importlib.util.find_spec("trafilatura"):
        import trafilatura

        installed["trafilatura"] = lambda html: trafilatura.extract(html, include_comments=False) or ""
    return installed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, required=True, help="a folder with pages and expected.jsonl.gz")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worst", type=int, default=0, help="print this number of pages with the lowest scores")
    parser.add_argument("--only", help="measure only this extractor, such as llm_assets")
    arguments = parser.parse_args()
    pages = load(arguments.pages)
    results = {}
    for name, extractor in extractors().items():
        if arguments.only in (None, name):
            results[name], scores = measure(pages, extractor)
            print(name, {key: round(value, 4) for key, value in results[name].items()})
            if name == "llm_assets" and arguments.worst:
                for page, (tp, fp, fn) in sorted(scores, key=lambda item: item[1][0])[: arguments.worst]:
                    print(f"  {page:40} right {tp:.2f} too much {fp:.2f} missed {fn:.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
