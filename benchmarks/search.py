"""Search indexes over the same passages: SQLite FTS5 (the project's), tantivy and bm25s, in turn in one run.

    python benchmarks/search.py --corpus data/artifacts/clean_corpus --json out.json

Times of building, of opening, of a query (names of two words that stand in the corpus, and words at random), bytes on disk.
tantivy and bm25s are measured where they are installed.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.tools.search import SearchIndex, split_passages, write_index


def size(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


class Fts5:
    """The project's own."""

    name = "sqlite fts5"

    def build(self, rows: list[tuple[str, str]], folder: Path) -> None:
        write_index(folder / "index.sqlite", rows)

    def open(self, folder: Path) -> None:
        self.index = SearchIndex(folder / "index.sqlite")

    def query(self, text: str) -> list[str]:
        return [passage.text for passage in self.index.search(text, 3)]


class Tantivy:
    """Rust's Lucene, by its Python binding; all words must match."""

    name = "tantivy"

    def schema(self) -> Any:
        import tantivy

        builder = tantivy.SchemaBuilder()
        builder.add_text_field("url", stored=True, tokenizer_name="raw")
        builder.add_text_field("text", stored=True)
        return builder.build()

    def build(self, rows: list[tuple[str, str]], folder: Path) -> None:
        import tantivy

        writer = tantivy.Index(self.schema(), path=str(folder)).writer()
        for url, text in rows:
            writer.add_document(tantivy.Document(url=url, text=text))
        writer.commit()
        writer.wait_merging_threads()

    def open(self, folder: Path) -> None:
        import tantivy

        self.index = tantivy.Index.open(str(folder))
        self.index.reload()

    def query(self, text: str) -> list[str]:
        searcher = self.index.searcher()
        parsed = self.index.parse_query(" AND ".join(f'"{word}"' for word in re.findall(r"\w+", text)), ["text"])
        return [searcher.doc(address)["text"][0] for _, address in searcher.search(parsed, 3).hits]


class Bm25s:
    """BM25 as sparse matrices in numpy; any word may match."""

    name = "bm25s"

    def build(self, rows: list[tuple[str, str]], folder: Path) -> None:
        import bm25s

        index = bm25s.BM25()
        index.index(
            bm25s.tokenize([text for _, text in rows], show_progress=False, stopwords=None), show_progress=False
        )
        index.save(str(folder), corpus=[{"text": text} for _, text in rows])

    def open(self, folder: Path) -> None:
        import bm25s

        self.index = bm25s.BM25.load(str(folder), load_corpus=True, mmap=True)

    def query(self, text: str) -> list[str]:
        import bm25s

        found, _ = self.index.retrieve(
            bm25s.tokenize(text, show_progress=False, stopwords=None), k=3, show_progress=False
        )
        return [one["text"] for one in found[0]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = sorted(arguments.corpus.rglob("text/*.parquet"))
    texts = pl.concat([pl.read_parquet(path, columns=["url", "text"]) for path in files])
    rows = [(url, passage) for url, text in texts.iter_rows() for passage in split_passages(text, 400)]
    rng = random.Random(1)
    names = [
        match[0]
        for _, text in rng.sample(rows, min(len(rows), 20 * arguments.queries))
        if (match := re.search(r"\b[A-Z][a-z]+ [A-Z][a-z]+\b", text))
    ][: arguments.queries]
    results: dict[str, Any] = {
        "passages": len(rows),
        "bytes": sum(len(text.encode()) for _, text in rows),
        "queries": len(names),
        "engines": {},
    }
    for engine in (Fts5(), Tantivy(), Bm25s()):
        folder = Path(tempfile.mkdtemp())
        try:
            began = time.perf_counter()
            engine.build(rows, folder)
            built = time.perf_counter()
            engine.open(folder)
            opened = time.perf_counter()
            found = [engine.query(name) for name in names]
            ended = time.perf_counter()
        except ImportError as error:
            results["engines"][engine.name] = {"missing": str(error)}
            continue
        finally:
            total = size(folder)
            shutil.rmtree(folder)
        right = sum(
            any(all(word.lower() in text.lower() for word in name.split()) for text in texts)
            for name, texts in zip(names, found, strict=True)
        )
        results["engines"][engine.name] = {
            "build_seconds": round(built - began, 3),
            "open_ms": round(1e3 * (opened - built), 2),
            "query_ms": round(1e3 * (ended - opened) / max(len(names), 1), 3),
            "bytes": total,
            "found": round(right / max(len(names), 1), 4),
        }
    print(json.dumps(results, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
