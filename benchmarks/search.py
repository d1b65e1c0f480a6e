"""Search indexes over the same passages: SQLite FTS5 (the project's), tantivy and bm25s, one after another in one run.

    python benchmarks/search.py --corpus data/artifacts/clean_corpus --json out.json

Measures the time to build, to open and to query an index, its bytes on disk, and the share of queries whose words are
all in one of the first three results. A query is a name of two words that is in the corpus. tantivy and bm25s are
measured if they are installed.
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
from typing import Any, Protocol

from llm_assets.artifacts.tables import read_table
from llm_assets.tools.search import SearchIndex, split_passages, write_index

PASSAGE_CHARACTERS = 400
RESULTS = 3
NAME = re.compile(r"\b[A-Z][a-z]+ [A-Z][a-z]+\b")


class SearchEngine(Protocol):
    """An index of passages. name: as the result is reported."""

    name: str

    def build(self, rows: list[tuple[str, str]], folder: Path) -> None:
        """Write the index of passages, as (URL, text), into a folder."""

    def open(self, folder: Path) -> None: ...

    def query(self, text: str) -> list[str]:
        """The texts of the first results."""


class Fts5:
    """The project's index."""

    name = "sqlite fts5"

    def build(self, rows: list[tuple[str, str]], folder: Path) -> None:
        write_index(folder / "index.sqlite", rows)

    def open(self, folder: Path) -> None:
        self.index = SearchIndex(folder / "index.sqlite")

    def query(self, text: str) -> list[str]:
        return [passage.text for passage in self.index.search(text, RESULTS)]


class Tantivy:
    """A search library in Rust, by its Python binding; all words must match."""

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
        return [searcher.doc(address)["text"][0] for _, address in searcher.search(parsed, RESULTS).hits]


class Bm25s:
    """BM25 as sparse matrices in numpy; any word may match."""

    name = "bm25s"

    def build(self, rows: list[tuple[str, str]], folder: Path) -> None:
        import bm25s

        index = bm25s.BM25()
        tokens = bm25s.tokenize([text for _, text in rows], show_progress=False, stopwords=None)
        index.index(tokens, show_progress=False)
        index.save(str(folder), corpus=[{"text": text} for _, text in rows])

    def open(self, folder: Path) -> None:
        import bm25s

        self.index = bm25s.BM25.load(str(folder), load_corpus=True, mmap=True)

    def query(self, text: str) -> list[str]:
        import bm25s

        tokens = bm25s.tokenize(text, show_progress=False, stopwords=None)
        documents, _ = self.index.retrieve(tokens, k=RESULTS, show_progress=False)
        return [document["text"] for document in documents[0]]


def read_passages(corpus: Path) -> list[tuple[str, str]]:
    """The passages of all clean corpora below a folder, as (URL, text)."""
    files = sorted(corpus.rglob("text/*.parquet"))
    pages = read_table(files, columns=["url", "text"])
    return [(url, passage) for url, text in pages.iter_rows() for passage in split_passages(text, PASSAGE_CHARACTERS)]


def names_in(rows: list[tuple[str, str]], count: int) -> list[str]:
    """Up to `count` names of two words from passages drawn at random, the same in every run."""
    sample = random.Random(1).sample(rows, min(len(rows), 20 * count))
    matches = (NAME.search(text) for _, text in sample)
    return [match[0] for match in matches if match][:count]


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measure(engine: SearchEngine, rows: list[tuple[str, str]], names: list[str], folder: Path) -> dict[str, Any]:
    """Times, bytes and hits of an engine that builds its index in `folder`. Raises ImportError if it is missing."""
    began = time.perf_counter()
    engine.build(rows, folder)
    built = time.perf_counter()
    engine.open(folder)
    opened = time.perf_counter()
    answers = [engine.query(name) for name in names]
    ended = time.perf_counter()
    hits = 0
    for name, texts in zip(names, answers, strict=True):
        words = name.lower().split()
        hits += any(all(word in text.lower() for word in words) for text in texts)
    return {
        "build_seconds": round(built - began, 3),
        "open_ms": round(1e3 * (opened - built), 2),
        "query_ms": round(1e3 * (ended - opened) / max(len(names), 1), 3),
        "bytes": folder_bytes(folder),
        "found": round(hits / max(len(names), 1), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="folder with the artifacts of clean_corpus")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = read_passages(arguments.corpus)
    names = names_in(rows, arguments.queries)
    engines: dict[str, Any] = {}
    for engine in (Fts5(), Tantivy(), Bm25s()):
        folder = Path(tempfile.mkdtemp())
        try:
            engines[engine.name] = measure(engine, rows, names, folder)
        except ImportError as error:
            engines[engine.name] = {"missing": str(error)}
        finally:
            shutil.rmtree(folder)
    result = {
        "passages": len(rows),
        "bytes": sum(len(text.encode()) for _, text in rows),
        "queries": len(names),
        "engines": engines,
    }
    print(json.dumps(result, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
