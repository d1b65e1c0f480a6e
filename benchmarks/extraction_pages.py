"""Extraction of pages of all kinds: required and forbidden strings in many languages, against trafilatura.

    python benchmarks/extraction_pages.py --web FOLDER [--json FILE] [--half tuning] [--missed 20]

`extraction_pages.json` names the pages (WARC file, offset, URL) and the strings; the pages themselves belong to their
authors and stay where they are. The strings were taken by rule from what each site's own template marks as content
(required) or as its frame (forbidden), independently of any extractor, and looked through by hand. Half of the sites
are for tuning, the others are held out. The text holds a string if it does so after white space is collapsed.
Precision is the share of required strings among all strings in the text; recall, of those in it among all required.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

SPECIFICATION = Path(__file__).with_name("extraction_pages.json")
Page = dict[str, Any]


def half_of(site: str) -> str:
    """Whether a site's pages are for `tuning` or `held_out`."""
    return "tuning" if hashlib.sha1(site.encode()).digest()[0] % 2 else "held_out"


def load(web: Path, specification: Path = SPECIFICATION) -> list[Page]:
    """The specified pages with their bodies (`html`), charset and media type."""
    from llm_assets.curation.encoding import decode_body
    from llm_assets.warc import read_captures
    from llm_assets.web.capture_index import split_content_type

    pages = json.loads(specification.read_text(encoding="utf-8"))
    by_file: dict[str, dict[int, Page]] = defaultdict(dict)
    for page in pages:
        by_file[page["file"]][page["offset"]] = page
    for file, wanted in by_file.items():
        for capture in read_captures(next(web.rglob(file)), set(wanted), 1 << 24):
            page, headers = wanted[capture.offset], capture.http or {}
            page["media_type"], page["charset"] = split_content_type(headers.get("content-type"))
            page["html"] = decode_body(capture.payload or b"", headers, 1 << 24)
    return [page for page in pages if "html" in page]


def count(page: Page, text: str) -> Counter:
    """Found and missed required strings, and found forbidden ones."""
    text = " ".join(text.split())
    required = sum(" ".join(string.split()) in text for string in page["required"])
    forbidden = sum(" ".join(string.split()) in text for string in page["forbidden"])
    return Counter(right=required, missed=len(page["required"]) - required, wrong=forbidden)


def measures(counts: Counter) -> dict[str, float]:
    """F1, precision and recall."""
    precision = counts["right"] / max(counts["right"] + counts["wrong"], 1)
    recall = counts["right"] / max(counts["right"] + counts["missed"], 1)
    return {
        "f1": round(2 * precision * recall / max(precision + recall, 1e-9), 4),
        "precision": round(precision, 4),
        "recall": round(recall, 4),
    }


def extractors() -> dict[str, Callable[[Page], str]]:
    """The project's extractor, and trafilatura's if it is installed."""
    from llm_assets.curation.extraction import extract

    installed: dict[str, Callable[[Page], str]] = {
        "llm_assets": lambda page: extract(page["html"], page["charset"], media_type=page["media_type"]).text,
    }
    if importlib.util.find_spec("trafilatura"):
        import trafilatura

        installed["trafilatura"] = lambda page: trafilatura.extract(page["html"]) or ""
    return installed


def measure(pages: list[Page], extractor: Callable[[Page], str]) -> dict[str, Any]:
    """Quality over all pages, by half, by kind and by language, and pages per CPU-second."""
    for page in pages[:3]:
        extractor(page)
    began = time.process_time()
    texts = [extractor(page) for page in pages]
    seconds = time.process_time() - began
    groups: dict[str, Counter] = defaultdict(Counter)
    for page, text in zip(pages, texts, strict=True):
        page["found"] = count(page, text)
        for group in ("all", half_of(page["site"]), f"kind {page['kind']}", f"language {page['language']}"):
            groups[group] += page["found"]
    result: dict[str, Any] = {group: measures(counts) for group, counts in sorted(groups.items())}
    return {**result, "pages": len(pages), "pages_per_cpu_second": round(len(pages) / seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--web", type=Path, required=True, help="a folder with the WARC files, at any depth")
    parser.add_argument("--specification", type=Path, default=SPECIFICATION, help="pages and strings")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--half", choices=("tuning", "held_out"), help="only the pages of these sites")
    parser.add_argument("--missed", type=int, default=0, help="print this number of pages with the most errors of ours")
    arguments = parser.parse_args()
    pages = [
        page for page in load(arguments.web, arguments.specification) if arguments.half in (None, half_of(page["site"]))
    ]
    results = {}
    for name, extractor in extractors().items():
        results[name] = measure(pages, extractor)
        print(name, json.dumps(results[name], indent=1, ensure_ascii=False))
        if name == "llm_assets" and arguments.missed:
            worst = sorted(pages, key=lambda page: -page["found"]["missed"] - page["found"]["wrong"])
            for page in worst[: arguments.missed]:
                print(f"  {dict(page['found'])} {page['kind']} {page['url']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
