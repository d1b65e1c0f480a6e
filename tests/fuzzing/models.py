"""Fuzz targets of files that belong to models: fastText classifiers, rank files of tokenizers, labelled examples."""

from __future__ import annotations

import base64
import gzip
import struct

import numpy as np

from llm_assets.curation.fasttext_file import LanguageModelError, parse_fasttext
from llm_assets.curation.quality_classifier import ExamplesError, read_examples
from llm_assets.model.encoding import TokenizerError, parse_ranks, write_ranks

from .archives import stored
from .targets import Target


def read_fasttext(data: bytes) -> None:
    """A model file is read into arrays that fit one another, or refused."""
    try:
        model = parse_fasttext(data)
    except LanguageModelError:
        return
    assert len(model.labels) == len(model.label_counts) == len(model.nodes)
    assert len(model.rows) >= len(model.words) and model.rows.shape[1] == model.nodes.shape[1]
    assert model.rows.nbytes <= 1 << 28 and model.bucket_rows.nbytes <= 1 << 30
    if model.longest_ngram:
        assert model.bucket_rows.max(initial=-1) < len(model.rows) and model.bucket_rows.min(initial=-1) >= -1


def read_ranks(data: bytes) -> None:
    """A rank file is read, and written as it was read, or refused."""
    try:
        ranks = parse_ranks(data, "ranks")
    except TokenizerError:
        return
    assert parse_ranks(write_ranks(ranks), "ranks") == ranks


def read_labels(data: bytes) -> None:
    """Labelled examples are read into two columns, or refused with the line. The first byte chooses compression."""
    content = gzip.compress(data[1:]) if data[:1] == b"z" else data[1:]
    with stored(content, "examples.jsonl") as path:
        try:
            frame = read_examples(path)
        except ExamplesError:
            return
    assert set(frame["label"].to_list()) == {0, 1}


def fasttext_model(quantised: bool = False, pruned: int = -1) -> bytes:
    """A softmax model of two words and two labels, of dimension 2 and four buckets."""
    arguments = struct.pack("<12id", 2, 5, 5, 1, 5, 0, 3, 3, 4, 2, 3, 100, 1e-4)
    entries = b"".join(
        word + b"\0" + struct.pack("<qb", 5, kind)
        for word, kind in ((b"the", 0), (b"</s>", 0), (b"__label__en", 1), (b"__label__de", 1))
    )
    dictionary = struct.pack("<iiiqq", 4, 2, 2, 100, pruned) + entries
    dictionary += np.array([[0, 0], [2, 1]], np.int32).tobytes() if pruned > 0 else b""
    rows = 2 + (2 if pruned > 0 else 4)
    if quantised:
        codes = struct.pack("<?qqi", False, rows, 2, rows * 2) + bytes(rows * 2)
        matrix = b"\1" + codes + struct.pack("<iiii", 2, 2, 1, 1) + np.zeros(512, np.float32).tobytes()
    else:
        matrix = b"\0" + struct.pack("<qq", rows, 2) + np.ones((rows, 2), np.float32).tobytes()
    output = b"\0" + struct.pack("<qq", 2, 2) + np.ones((2, 2), np.float32).tobytes()
    return struct.pack("<ii", 793712314, 12) + arguments + dictionary + matrix + output


def _examples() -> list[bytes]:
    rows = b'{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n{"text": "c", "label": 1}\n{"text": "d", "label": 0}'
    return [b" " + rows, b"z" + rows, b"x\x1f\x8b\x08" + rows, *EXAMPLE_FINDINGS]


# A matrix of no rows and more columns than an array may have; gzip that breaks off; lines nested too deep.
FASTTEXT_FINDINGS = [fasttext_model()[:-104] + b"\0" + struct.pack("<qq", 0, 1 << 62)]
EXAMPLE_FINDINGS = [b'x\x1f\x8b\x08c", "label": 1}', b" " + b"[" * 100_000]

TARGETS = {
    "fasttext": Target(
        read_fasttext,
        lambda: [fasttext_model(), fasttext_model(True), fasttext_model(True, 2), *FASTTEXT_FINDINGS],
        ("llm_assets.curation.fasttext_file",),
        300,
    ),
    "ranks": Target(
        read_ranks,
        lambda: [b"".join(base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))],
        ("llm_assets.model.encoding",),
        60,
    ),
    "examples": Target(read_labels, _examples, ("llm_assets.curation.quality_classifier",), 100),
}
