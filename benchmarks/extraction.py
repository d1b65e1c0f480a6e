"""Main-content extraction against pages with known text: F1 of 4-word shingles, pages per CPU-second.

The measure is that of scrapinghub/article-extraction-benchmark: shingles of four words, counted with multiplicity,
true and false positives normalised per page so that long pages do not outweigh short ones.

    python benchmarks/extraction.py --pages ../shared/data/extraction/readability [--json FILE] [--worst 15]

Where trafilatura is installed it is measured on the same pages in the same run.
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
    words = _WORD.findall(text or "")
    return Counter(tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))) if words else Counter()


def score(truth: str, found: str) -> tuple[float, float, float]:
    """(true positives, false positives, false negatives), summing to 1."""
    a, b = shingles(truth), shingles(found)
    counts = [sum((a & b).values()), sum((b - a).values()), sum((a - b).values())]
    total = sum(counts)
    return tuple(count / total for count in counts) if total else (0.0, 0.0, 0.0)  # type: ignore[return-value]


def f1(scores: list[tuple[float, float, float]]) -> dict[str, float]:
    tp, fp, fn = (sum(column) for column in zip(*scores, strict=True))
    precision, recall = tp / (tp + fp) if tp else 0.0, tp / (tp + fn) if tp else 0.0
    return {
        "f1": 2 * precision * recall / (precision + recall) if tp else 0.0,
        "precision": precision,
        "recall": recall,
    }


def load(folder: Path) -> list[tuple[str, bytes, str]]:
    """(name, page, expected text) of a folder with expected.jsonl.gz."""
    with gzip.open(folder / "expected.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["name"], gzip.decompress((folder / row["file"]).read_bytes()), row["text"]) for row in rows]


def measure(
    pages: list[tuple[str, bytes, str]], extractor: Callable[[bytes], str]
) -> tuple[dict[str, float], list[tuple[str, tuple[float, float, float]]]]:
    for _, html, _ in pages[:3]:
        extractor(html)  # imports and compiled patterns are not the extractor's daily cost
    began = time.process_time()
    texts = [extractor(html) for _, html, _ in pages]
    seconds = time.process_time() - began
    scores = [(name, score(truth, text)) for (name, _, truth), text in zip(pages, texts, strict=True)]
    return {
        **f1([s for _, s in scores]),
        "pages": len(pages),
        "pages_per_cpu_second": len(pages) / seconds,
        "mb_per_second": sum(len(p[1]) for p in pages) / 1e6 / seconds,
    }, scores


def extractors() -> dict[str, Callable[[bytes], str]]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    from llm_assets.curation.extraction import extract

    found: dict[str, Callable[[bytes], str]] = {
        "llm_assets": lambda html: extract(html).text,
        "resiliparse": lambda html: extract_plain_text(
            bytes_to_str(html, detect_encoding(html)), main_content=True, alt_texts=False, list_bullets=False
        ),
    }
    if importlib.util.find_spec("trafilatura"):
        import trafilatura

        found["trafilatura"] = lambda html: trafilatura.extract(html, include_comments=False) or ""
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worst", type=int, default=0, help="print the pages that we do worst on")
    parser.add_argument("--only", help="measure only this extractor")
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
