"""Text columns as arrays for compiled code: one UTF-8 buffer, and where each text starts in it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa


def utf8_buffers(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of n texts end to end (uint8), and the n + 1 offsets that separate them (int64). Nulls become empty."""
    array = texts.fill_null("").to_arrow()
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    array = array.cast(pa.large_string())
    _, offsets, data = array.buffers()
    starts = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return (np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)), starts


def texts_from(data: np.ndarray, offsets: np.ndarray) -> pl.Series:
    """The inverse of `utf8_buffers`. The bytes must be UTF-8."""
    array = pa.LargeStringArray.from_buffers(
        len(offsets) - 1, pa.py_buffer(offsets.astype(np.int64).tobytes()), pa.py_buffer(data.tobytes())
    )
    return pl.Series(pl.from_arrow(array))
