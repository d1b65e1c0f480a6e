"""Files of texts: rows of English documents that every rule keeps, written as JSONL or Parquet."""

import gzip
import json
import random
from pathlib import Path

import polars as pl
from backports import zstd

from llm_assets.sample_web import prose
from llm_assets.sample_web.world import make_world


def document(number: int) -> str:
    """An English text that every rule keeps; no two numbers give near duplicates."""
    rng = random.Random(number)
    return "\n".join(prose.portrait(rng, entity, 2) for entity in rng.sample(make_world(1).entities, 7))


def rows(count: int, first: int = 0) -> list[dict]:
    """Rows with FineWeb's columns."""
    return [
        {
            "text": document(number),
            "id": f"<urn:uuid:{number}>",
            "url": f"http://host{number % 3}.example/{number}",
            "date": f"2026-10-05T06:00:{number % 60:02}Z",
            "language": "en",
        }
        for number in range(first, first + count)
    ]


def write_texts(path: Path, lines: list) -> Path:
    """Write rows into a file of the format that its name says; strings are written into JSONL as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pl.DataFrame(lines).write_parquet(path, row_group_size=8)
        return path
    data = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    if path.suffix == ".zst":
        data = zstd.compress(data)
    path.write_bytes(data)
    return path
