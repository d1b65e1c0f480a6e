"""Full-text search over passages with an SQLite FTS5 index, ranked by BM25.

The index is one file, or several of a large corpus, and is queried without loading it into memory.
"""

from __future__ import annotations

import heapq
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

INDEX = "index.sqlite"  # the file's name in an artifact
SEGMENT = "index-"  # what the names of an index's files begin with if there are several
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


def index_path(artifact: Any) -> Path:
    """The path of an artifact's index for `SearchIndex`: its file, or the folder of its segments."""
    return artifact.file(INDEX) if INDEX in artifact.record.files else artifact.path


class SearchIndex:
    """An index that can be searched from any thread: one file, or a folder of segments.

    Of segments, each has its own counts of words for BM25, as shards of a search engine have; their best passages are
    merged by score. Raises SearchError if the file or the folder is missing.
    """

    def __init__(self, path: Path):
        self._paths = sorted(path.glob(f"{SEGMENT}*.sqlite")) if path.is_dir() else [path]
        if not self._paths or not path.exists():
            raise SearchError(f"search index {path}: no such file")
        uris = [f"{file.absolute().as_uri()}?mode=ro&immutable=1" for file in self._paths]
        self._databases = [sqlite3.connect(uri, uri=True, check_same_thread=False) for uri in uris]
        self._lock = threading.Lock()

    def search(self, query: str, count: int = 3, match: str = "all") -> list[Passage]:
        """The best passages by BM25.

        match: passages must contain ``all`` words of the query, or ``any``. Raises SearchError for a damaged index.
        """
        words = re.findall(r"\w+", query)
        if not words:
            return []
        expression = (" " if match == "all" else " OR ").join(f'"{word}"' for word in words)
        with self._lock:
            rows = [self._rows(number, expression, count) for number in range(len(self._databases))]
        # Sorted by score; of equal scores, those of the first segment come first.
        best = heapq.merge(*rows, key=lambda row: row[0])
        return [Passage(url, text) for _, url, text in islice(best, count)]

    def _rows(self, number: int, expression: str, count: int) -> list[tuple[float, str, str]]:
        """The best rows of a segment: score (the lower the better), URL and text."""
        statement = "SELECT rank, url, text FROM passages WHERE passages MATCH ? ORDER BY rank, rowid LIMIT ?"
        try:
            return self._databases[number].execute(statement, (expression, count)).fetchall()
        except sqlite3.DatabaseError as error:
            raise SearchError(f"search index {self._paths[number].name}: {error}") from error


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
