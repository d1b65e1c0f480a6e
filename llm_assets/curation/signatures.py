"""`text_signatures`: what duplicates are found by. One row a page: digest of its normalised text, and MinHash bands.

FineWeb's normalisation (arXiv:2406.17557, section 3.5; datatrove's `simplify_text`): lower case, numbers to 0,
punctuation to spaces, white space collapsed, diacritics dropped (NFD without Mn). MinHash (Broder, "On the resemblance
and containment of documents", 1997) over the set of word n-grams; bands as in Leskovec, Rajaraman, Ullman, "Mining of
Massive Datasets", section 3.4: two pages of similarity s share a band with probability 1 - (1 - s^rows)^bands.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import batches
from llm_assets.compute.compiled import compiled, inlined
from llm_assets.recipes import Deduplication
from llm_assets.recipes.frozen import Frozen

from .characters import CONTROLS, PUNCTUATION, TABLE, decode
from .schemas import Signature
from .text_buffers import utf8_buffers

_DIGIT = 48
_DROPPED, _SPACE = 0, 32
# One of these between two digits joins them to one number.
_SEPARATORS = np.array([ord(c) for c in ".,،٫⎖⎗⎘"], np.uint32)


@lru_cache(maxsize=1)
def folding() -> np.ndarray:
    """uint32 (0x20000,): what each character becomes; 0 is nothing, 32 a break between words, 48 a digit.

    A character whose decomposition leaves several (Hangul, some Indic vowels) stays as it is: composed and decomposed
    spellings of it then differ, which NFC text does not show.
    """
    table = np.arange(TABLE, dtype=np.uint32)
    breaks = set(PUNCTUATION + CONTROLS)
    for code in range(TABLE):
        character = chr(code)
        if unicodedata.category(character) == "Nd":
            table[code] = _DIGIT
        elif character in breaks or character.isspace():
            table[code] = _SPACE
        else:
            lowered = character.lower()
            base = [c for c in unicodedata.normalize("NFD", lowered) if unicodedata.category(c) != "Mn"]
            table[code] = ord(base[0]) if len(base) == 1 else _DROPPED if not base else ord(lowered[0])
    return table


class Signatures(Frozen):
    """How signatures are made: what `sign` reads of Deduplication, where each field is described."""

    near_duplicates: bool
    ngram: int
    bands: int
    rows_per_band: int
    seed: int

    @classmethod
    def of(cls, rules: Deduplication) -> Signatures:
        """What of a recipe's rules decides signatures."""
        return cls(**{name: getattr(rules, name) for name in cls.model_fields})


def hash_functions(rules: Signatures) -> np.ndarray:
    """uint32 (3, bands × rows): seed, first and second multiplier (odd) of each hash function."""
    generator = np.random.Generator(np.random.PCG64(rules.seed))
    drawn = generator.integers(0, 1 << 32, size=(3, rules.bands * rules.rows_per_band), dtype=np.uint32)
    drawn[1:] |= np.uint32(1)
    return drawn


def sign(texts: pl.Series, rules: Signatures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digest (uint64, (n,)) and bands (uint64, (n, bands)) of each text, and whether it has bands (bool, (n,))."""
    data, offsets = utf8_buffers(texts)
    exact, bands, has = (
        np.zeros(len(texts), np.uint64),
        np.zeros((len(texts), rules.bands), np.uint64),
        np.zeros(len(texts), np.bool_),
    )
    _sign(
        data,
        offsets,
        folding(),
        hash_functions(rules),
        _SEPARATORS,
        rules.ngram,
        rules.rows_per_band if rules.near_duplicates else 0,
        int(np.diff(offsets).max(initial=0)) + 1,
        exact,
        bands,
        has,
    )
    return exact, bands, has


@inlined
def _mix(value):  # type: ignore[no-untyped-def]
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def _minimise(shingles, count, functions, least):  # type: ignore[no-untyped-def]
    """Least value of every hash function over the shingles: 32 bits, xor, multiply, shift, multiply."""
    size = functions.shape[1]
    for j in range(size):
        least[j] = np.uint32(0xFFFFFFFF)
    for i in range(count):
        shingle = shingles[i]
        for j in range(size):
            value = np.uint32((shingle ^ functions[0, j]) * functions[1, j])
            value = np.uint32((value ^ np.uint32(value >> np.uint32(15))) * functions[2, j])
            least[j] = min(least[j], value)


@compiled
def _sign(data, offsets, table, functions, separators, ngram, rows, longest, exact, bands, has):  # type: ignore[no-untyped-def]
    text, words, shingles = np.zeros(longest, np.uint32), np.zeros(longest, np.uint64), np.zeros(longest, np.uint32)
    least = np.zeros(functions.shape[1], np.uint32)
    for page in range(len(offsets) - 1):
        n = decode(data, offsets[page], offsets[page + 1], text)
        count = 0
        digest = np.uint64(0x9E3779B97F4A7C15)
        word = np.uint64(0)
        inside = False
        at = 0
        while at <= n:
            folded = np.uint32(_SPACE) if at == n else table[text[at]] if text[at] < len(table) else text[at]
            if folded == _DIGIT and at < n:
                # Digits, with one separator between: all of it one 0.
                joined = False
                at += 1
                while at < n:
                    if text[at] < len(table) and table[text[at]] == _DIGIT:
                        at += 1
                        continue
                    separator = False
                    for i in range(len(separators)):
                        separator = separator or text[at] == separators[i]
                    if (
                        joined
                        or not separator
                        or at + 1 >= n
                        or text[at + 1] >= len(table)
                        or table[text[at + 1]] != _DIGIT
                    ):
                        break
                    joined = True
                    at += 2
                word = word * np.uint64(0x100000001B3) + np.uint64(_DIGIT) + np.uint64(1)
                inside = True
                continue
            if folded == _SPACE:
                if inside:
                    words[count] = _mix(word)
                    digest = _mix(digest ^ words[count])
                    count += 1
                    word = np.uint64(0)
                    inside = False
            elif folded != _DROPPED:
                word = word * np.uint64(0x100000001B3) + np.uint64(folded) + np.uint64(1)
                inside = True
            at += 1
        exact[page] = digest
        if rows == 0 or count < ngram:
            continue
        has[page] = True
        for i in range(count - ngram + 1):
            value = np.uint64(0)
            for k in range(ngram):
                value = (value * np.uint64(0x9E3779B97F4A7C15)) + words[i + k]
            shingles[i] = np.uint32(_mix(value) >> np.uint64(32))
        _minimise(shingles, count - ngram + 1, functions, least)
        for band in range(bands.shape[1]):
            value = np.uint64(band + 1)
            for row in range(rows):
                value = _mix(value ^ np.uint64(least[band * rows + row]))
            bands[page, band] = value


def signature_task(staging: Path, name: str, texts: Path, rules: Signatures) -> None:
    """Worker: the signatures of one WARC file's pages, in file order."""
    with Task(staging, name) as task:
        table = task.table("signatures", Signature)
        pages = 0
        for frame in batches(texts, ["doc_id", "url", "crawl", "warc_file", "warc_offset", "text"]):
            exact, bands, has = sign(frame["text"], rules)
            ends = np.concatenate([[0], np.cumsum(has) * rules.bands])
            lists = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pa.array(bands[has].ravel(), pa.uint64()))
            table.frame(frame.drop("text").with_columns(exact=pl.Series(exact), bands=pl.Series(pl.from_arrow(lists))))
            pages += len(frame)
        task.stats["pages"] = pages


def build_text_signatures(step: Step, config: Signatures) -> None:
    """One part a WARC file, over the engine's workers."""
    sign(pl.Series(["compiled once, here, and not by every worker"]), config)
    texts = {path.stem: path for path in step.input("quality_filtered_text").table("text")}
    tasks = {name: (path, config) for name, path in texts.items()}
    step.run_tasks(signature_task, tasks, "WARC files", {name: path.stat().st_size for name, path in texts.items()})


TEXT_SIGNATURES = Stage(
    name="text_signatures",
    group="curation",
    description="The duplicate index: digest of the normalised text and MinHash bands of each page.",
    kinds=("numba", "parquet"),
    build=build_text_signatures,
    code_version="1",
    config=lambda recipe, _: Signatures.of(recipe.deduplication),
    per_crawl=True,
    inputs=("quality_filtered_text",),
    tables={"signatures": Signature},
    main_table="signatures",
    libraries=("numba", "polars"),
)
