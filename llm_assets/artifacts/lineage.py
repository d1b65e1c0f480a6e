"""Where did this come from, and where did it go: artifacts through their inputs, documents through tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llm_assets.sql import query

from .store import Artifact, Store


@dataclass(frozen=True)
class Sighting:
    """One row of one table that holds a document."""

    key: str
    identity: str
    table: str
    row: dict[str, Any]


def upstream(store: Store, artifact: Artifact) -> list[Artifact]:
    """The artifacts whose content this one was built from, nearest first, transitively."""
    by_version = {(a.record.key, a.data_version): a for a in store.artifacts()}
    return _walk(artifact, lambda one: [by_version[pair] for pair in one.record.inputs if pair in by_version])


def downstream(store: Store, artifact: Artifact) -> list[Artifact]:
    """The artifacts built from this one's content, nearest first, transitively."""
    everything = list(store.artifacts())
    return _walk(artifact, lambda one: [a for a in everything if (one.record.key, one.data_version) in a.record.inputs])


def _walk(start: Artifact, neighbours: Any) -> list[Artifact]:
    seen: dict[str, Artifact] = {}
    front = neighbours(start)
    while front:
        following = []
        for one in front:
            if one.record.identity not in seen:
                seen[one.record.identity] = one
                following.extend(neighbours(one))
        front = following
    return list(seen.values())


def trace_document(artifacts: list[Artifact], document: str) -> list[Sighting]:
    """Every row, in the given artifacts' tables, of a document named by `doc_id` or URL; upstream first.

    Columns of text are cut to 200 characters.
    """
    sightings = []
    for artifact in artifacts:
        for table, schema in artifact.record.schemas.items():
            named = [column for column in ("doc_id", "url") if column in schema]
            files = [str(path) for path in artifact.table(table)]
            if not named or not files:
                continue
            shown = ", ".join(f'left("{c}", 200) AS "{c}"' if t == "String" else f'"{c}"' for c, t in schema.items())
            where = " OR ".join(f'"{column}" = $document' for column in named)
            rows = query(f"SELECT {shown} FROM read_parquet($files) WHERE {where}", files=files, document=document)
            sightings += [
                Sighting(artifact.record.key, artifact.record.short_id, table, row) for row in rows.to_dicts()
            ]
    return sightings
