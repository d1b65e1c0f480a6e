"""Full-text search over passages: an SQLite FTS5 index (BM25), one file, read without loading it."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

INDEX = "index.sqlite"  # the file's name in an artifact
SEARCH, TRAINING_SEARCH = "search_index", "training_search_index"  # assets: of every crawl, of those trained on
QUERY_CHARACTERS = 500  # a longer query is cut


@dataclass(frozen=True)
class Passage:
    """A stretch of a page."""

    url: str
    text: str


class SearchError(ValueError):
    """An index that is missing or broken."""


def split_passages(text: str, characters: int) -> Iterator[str]:
    """Paragraphs of a text, longer ones cut between sentences (else words), shorter ones as they are."""
    for paragraph in text.split("\n"):
        rest = paragraph.strip()
        while len(rest) > characters:
            cut = (
                max((match.end() for match in re.finditer(r"[.!?]['\")]?\s", rest[:characters])), default=0)
                or rest.rfind(" ", 1, characters) + 1
                or characters
            )
            yield rest[:cut].strip()
            rest = rest[cut:].strip()
        if rest:
            yield rest


def write_index(path: Path, rows: Iterable[tuple[str, str]]) -> int:
    """Write (url, passage) rows, in order; how many there were. The bytes depend on the rows and SQLite's version alone."""
    path.unlink(missing_ok=True)
    count = 0
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode=OFF")
        database.execute(
            "CREATE VIRTUAL TABLE passages USING fts5(url UNINDEXED, text, tokenize='unicode61 remove_diacritics 2')"
        )
        for row in rows:
            database.execute("INSERT INTO passages VALUES (?, ?)", row)
            count += 1
        database.execute("INSERT INTO passages(passages) VALUES ('optimize')")
    database.close()
    return count


class SearchIndex:
    """An index to search, from any thread."""

    def __init__(self, path: Path):
        if not path.is_file():
            raise SearchError(f"search index {path}: no such file")
        self._path = path
        self._database = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        self._lock = threading.Lock()

    def search(self, query: str, count: int = 3, match: str = "all") -> list[Passage]:
        """The best passages by BM25. `match`: passages must hold all words of the query, or any."""
        words = re.findall(r"\w+", query)
        if not words:
            return []
        joined = (" " if match == "all" else " OR ").join(f'"{word}"' for word in words)
        try:
            with self._lock:
                found = self._database.execute(
                    "SELECT url, text FROM passages WHERE passages MATCH ? ORDER BY rank, rowid LIMIT ?",
                    (joined, count),
                ).fetchall()
        except sqlite3.DatabaseError as error:
            raise SearchError(f"search index {self._path}: {error}") from error
        return [Passage(*row) for row in found]


NOTHING_FOUND = "Nothing found."


class SearchTool:
    """A function from queries to the best passages with their URLs, as the model is to read them."""

    def __init__(self, index: SearchIndex, results: int = 3, match: str = "all"):
        self.index, self.results, self.match = index, results, match

    def __call__(self, query: str) -> str:
        found = self.index.search(query[:QUERY_CHARACTERS], self.results, self.match)
        return "\n".join(format_passage(passage.url, passage.text) for passage in found) or NOTHING_FOUND


def format_passage(url: str, text: str) -> str:
    """A passage as a tool's result has it."""
    return f"{text} ({url})"
