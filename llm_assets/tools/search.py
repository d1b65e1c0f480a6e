"""Full-text search over passages with an SQLite FTS5 index, ranked by BM25.

The index is one file, and is queried without loading it into memory.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

INDEX = "index.sqlite"  # the file's name in an artifact
# Names of the assets: an index of every crawl, and one of the crawls that the model was trained on.
SEARCH, TRAINING_SEARCH = "search_index", "training_search_index"
QUERY_CHARACTERS = 500  # a longer query is cut
NOTHING_FOUND = "Nothing found."
_SENTENCE_END = re.compile(r"[.!?]['\")]?\s")


@dataclass(frozen=True)
class Passage:
    """A passage of a page."""

    url: str
    text: str


class SearchError(ValueError):
    """The index is missing or damaged; the message names the file."""


def split_passages(text: str, characters: int) -> Iterator[str]:
    """The paragraphs of a text; one of more than `characters` is cut between sentences, or else between words."""
    for paragraph in text.split("\n"):
        rest = paragraph.strip()
        while len(rest) > characters:
            cut = _cut_position(rest, characters)
            yield rest[:cut].strip()
            rest = rest[cut:].strip()
        if rest:
            yield rest


def _cut_position(text: str, characters: int) -> int:
    """Where to cut a text: after its last sentence within `characters`, else after its last word, else there."""
    sentence_ends = [match.end() for match in _SENTENCE_END.finditer(text[:characters])]
    return max(sentence_ends, default=0) or text.rfind(" ", 1, characters) + 1 or characters


def write_index(path: Path, rows: Iterable[tuple[str, str]]) -> int:
    """Write (URL, passage) rows, in order; returns their number.

    The file's bytes depend only on the rows and on SQLite's version.
    """
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
    """An index that can be searched from any thread. Raises SearchError if the file is missing."""

    def __init__(self, path: Path):
        if not path.is_file():
            raise SearchError(f"search index {path}: no such file")
        self._path = path
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self._lock = threading.Lock()

    def search(self, query: str, count: int = 3, match: str = "all") -> list[Passage]:
        """The best passages by BM25.

        match: passages must contain ``all`` words of the query, or ``any``. Raises SearchError for a damaged index.
        """
        words = re.findall(r"\w+", query)
        if not words:
            return []
        expression = (" " if match == "all" else " OR ").join(f'"{word}"' for word in words)
        try:
            with self._lock:
                rows = self._database.execute(
                    "SELECT url, text FROM passages WHERE passages MATCH ? ORDER BY rank, rowid LIMIT ?",
                    (expression, count),
                ).fetchall()
        except sqlite3.DatabaseError as error:
            raise SearchError(f"search index {self._path}: {error}") from error
        return [Passage(*row) for row in rows]


class SearchTool:
    """Maps a query to the best passages and their URLs, as text for the model."""

    def __init__(self, index: SearchIndex, results: int = 3, match: str = "all"):
        self.index, self.results, self.match = index, results, match

    def __call__(self, query: str) -> str:
        passages = self.index.search(query[:QUERY_CHARACTERS], self.results, self.match)
        return "\n".join(format_passage(passage.url, passage.text) for passage in passages) or NOTHING_FOUND


def format_passage(url: str, text: str) -> str:
    """A passage as it appears in a tool's result."""
    return f"{text} ({url})"
