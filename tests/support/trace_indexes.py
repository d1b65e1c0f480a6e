"""Trace indexes written by hand, of documents that a test chooses as tokens."""

import json

import numpy as np
import polars as pl

from llm_assets.tracing import TraceIndex
from llm_assets.tracing.suffix_array import write_segment
from llm_assets.tracing.trace_index import divide
from tests.support.training_jobs import ENCODING


def write_trace_index(folder, pages=(), conversations=(), segment_tokens=1000):
    """An index of pages, with URLs http://host.example/0 onwards, and of conversations; both are lists of tokens."""
    folder.mkdir()
    ENCODING.save(folder)
    for kind, table, documents in (("pages", "documents", pages), ("conversations", "conversations", conversations)):
        lengths = np.array([len(document) for document in documents], np.int64)
        rows = []
        for number, (first, end) in enumerate(divide(lengths, segment_tokens)):
            name = f"{kind}-{number:05d}"
            write_segment(folder, name, [np.concatenate(documents[first:end])], int(lengths[first:end].sum()), 2)
            starts = np.cumsum(lengths[first:end]) - lengths[first:end]
            rows += [
                {"segment": name, "start": start, "length": length, "number": document}
                for document, start, length in zip(range(first, end), starts, lengths[first:end], strict=True)
            ]
        frame = pl.DataFrame(
            rows, schema={"segment": pl.String, "start": pl.Int64, "length": pl.Int64, "number": pl.Int64}
        )
        number = pl.col("number")
        columns = {
            "pages": {
                "doc_id": number.cast(pl.String).str.zfill(24),
                "url": "http://host.example/" + number.cast(pl.String),
                "crawl": pl.lit("c"),
                "warc_file": pl.lit("0"),
                "warc_offset": number * 100,
            },
            "conversations": {
                "conversation": number,
                "source": pl.lit("generated"),
                "sources": pl.lit(json.dumps(["known"])),
            },
        }[kind]
        (folder / table).mkdir()
        frame.with_columns(**columns).drop("number").write_parquet(folder / table / "documents.parquet")
    return TraceIndex(folder)
