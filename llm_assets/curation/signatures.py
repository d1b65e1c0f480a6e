"""`text_signatures`: the duplicate index, one row per page: a digest of its text, and its MinHash bands.

Texts with one digest are equal but for case and white space.

For the bands, texts are normalised as FineWeb does (arXiv:2406.17557, section 3.5; datatrove's `simplify_text`): lower
case, numbers to 0, punctuation to spaces, white space collapsed, diacritics dropped (NFD without Mn). MinHash (Broder,
"On the resemblance and containment of documents", 1997) is taken over the set of n-grams of words; bands as in
Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", section 3.4: two pages of similarity s share a band with
probability 1 - (1 - s^rows)^bands.

In scripts that are written without spaces (`llm_assets.writing_systems`), each character counts as a word, as UAX #29
has it for ideographs, and as Data-Juicer signs Chinese (document_minhash_deduplicator, tokenization "character").
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
from llm_assets.compiled import compiled, inlined
from llm_assets.recipes import Deduplication
from llm_assets.recipes.frozen import Frozen
from llm_assets.writing_systems import unspaced_letters

from .characters import CONTROLS, IDEOGRAPHS_END, PUNCTUATION, TABLE_SIZE, decode
from .schemas import Signature
from .text_buffers import utf8_buffers

_DIGIT = 48
_DROPPED, _SPACE = 0, 32
_LANES = 4  # of a digest, each of which takes two characters at once
# Added to a character that is a word by itself.
_ALONE = 1 << 31
# Separate words in Ethiopic, as spaces do.
_WORDSPACES = "\u1361"
# One of these between two digits makes them one number.
_SEPARATORS = np.array([ord(c) for c in ".,،٫⎖⎗⎘"], np.uint32)
_HASH_BASE = np.uint64(0x100000001B3)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@lru_cache(maxsize=1)
def folding_table() -> np.ndarray:
    """uint32 (0x20000,): what each character becomes. 0 is nothing, 32 a break between words, 48 a digit.

    The highest bit is set if the character is a word by itself.
    A character that decomposes into several (Hangul, some Indic vowels) stays as it is. Its composed and decomposed
    spellings then differ, but NFC text has only the first.
    """
    table = np.arange(TABLE_SIZE, dtype=np.uint32)
    breaks = set(PUNCTUATION + CONTROLS + _WORDSPACES)
    for code in range(TABLE_SIZE):
        character = chr(code)
        if unicodedata.category(character) == "Nd":
            table[code] = _DIGIT
        elif character in breaks or character.isspace():
            table[code] = _SPACE
        else:
            lowered = character.lower()
            base = [c for c in unicodedata.normalize("NFD", lowered) if unicodedata.category(c) != "Mn"]
            if not base:
                table[code] = _DROPPED
            else:
                table[code] = ord(base[0]) if len(base) == 1 else ord(lowered[0])
    for character in unspaced_letters():
        if table[ord(character)] not in (_DROPPED, _SPACE):
            table[ord(character)] |= _ALONE
    return table


@lru_cache(maxsize=1)
def caseless_table() -> np.ndarray:
    """uint32 (0x20000,): each character in lower case, if that is one character; white space as 32."""
    table = np.arange(TABLE_SIZE, dtype=np.uint32)
    for code in range(TABLE_SIZE):
        character = chr(code)
        lowered = character.lower()
        if character.isspace():
            table[code] = _SPACE
        elif len(lowered) == 1:
            table[code] = ord(lowered)
    return table


class Signatures(Frozen):
    """How signatures are made: the fields of Deduplication that `sign` reads, described there."""

    near_duplicates: bool
    ngram: int
    bands: int
    rows_per_band: int
    seed: int

    @classmethod
    def of(cls, rules: Deduplication) -> Signatures:
        """The fields that decide signatures."""
        return cls(**{name: getattr(rules, name) for name in cls.model_fields})


def hash_functions(rules: Signatures) -> np.ndarray:
    """uint32 (3, bands × rows): seed, first and second multiplier (odd) of each hash function."""
    generator = np.random.Generator(np.random.PCG64(rules.seed))
    drawn = generator.integers(0, 1 << 32, size=(3, rules.bands * rules.rows_per_band), dtype=np.uint32)
    drawn[1:] |= np.uint32(1)
    return drawn


def sign(texts: pl.Series, rules: Signatures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Digest (uint64, (n,)) and bands (uint64, (n, bands)) of each text, and whether it has bands (bool, (n,)).

    A text with fewer words than an n-gram has no bands.
    """
    data, offsets = utf8_buffers(texts)
    digests = np.zeros(len(texts), np.uint64)
    bands = np.zeros((len(texts), rules.bands), np.uint64)
    has_bands = np.zeros(len(texts), np.bool_)
    _sign_pages(
        data,
        offsets,
        caseless_table(),
        folding_table(),
        hash_functions(rules),
        rules.ngram,
        rules.rows_per_band if rules.near_duplicates else 0,
        int(np.diff(offsets).max(initial=0)) + 1,
        digests,
        bands,
        has_bands,
    )
    return digests, bands, has_bands


def signature_columns(digests: np.ndarray, bands: np.ndarray, has_bands: np.ndarray, band_count: int) -> pl.DataFrame:
    """What `sign` gives, as the columns `digest` and `bands` of schema Signature."""
    ends = np.concatenate([[0], np.cumsum(has_bands) * band_count])
    hashes = pa.array(bands[has_bands].ravel(), pa.uint64())
    lists = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), hashes)
    return pl.DataFrame({"digest": pl.Series(digests), "bands": pl.Series(pl.from_arrow(lists))})


@inlined
def _mix(value):  # type: ignore[no-untyped-def]
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


# A kernel takes its arrays one by one: numba compiles it for their types.
@compiled
def _sign_pages(  # type: ignore[no-untyped-def]
    data, offsets, caseless, folding, functions, ngram, rows, longest, digests, bands, has_bands
):
    """Fill `digests`, `bands` and `has_bands`; without bands where `rows` is 0."""
    text, words = np.zeros(longest, np.uint32), np.zeros(longest, np.uint64)
    shingles = np.zeros(longest + longest % 2 + 2 * _LANES, np.uint32)
    minima = np.zeros(functions.shape[1], np.uint32)
    for page in range(len(offsets) - 1):
        n = decode(data, offsets[page], offsets[page + 1], text)
        digests[page] = _digest(text, n, caseless, shingles)
        if rows == 0:
            continue
        count = _hash_words(text, n, folding, words)
        if count < ngram:
            continue
        has_bands[page] = True
        for i in range(count - ngram + 1):
            value = np.uint64(0)
            for k in range(ngram):
                value = (value * _GOLDEN) + words[i + k]
            shingles[i] = np.uint32(_mix(value) >> np.uint64(32))
        _minimise(shingles, count - ngram + 1, functions, minima)
        for band in range(bands.shape[1]):
            value = np.uint64(band + 1)
            for row in range(rows):
                value = _mix(value ^ np.uint64(minima[band * rows + row]))
            bands[page, band] = value


@compiled
def _digest(text, n, caseless, folded):  # type: ignore[no-untyped-def]
    """Digest of a text but for its case and white space: runs of white space are one space, at the ends none.

    folded: overwritten; uint32, of an even size, longer than n by 2 × _LANES. There are no branches, but several lanes,
    since every character of a crawl passes here.
    """
    length = 0
    after_space = True
    for at in range(n):
        code = caseless[text[at]] if text[at] < len(caseless) else text[at]
        folded[length] = code
        length += (code != _SPACE) | (not after_space)
        after_space = code == _SPACE
    if length > 0 and folded[length - 1] == _SPACE:
        length -= 1
    for i in range(2 * _LANES):
        folded[length + i] = 0
    pairs = folded.view(np.uint64)
    first = second = third = fourth = _GOLDEN
    for i in range(0, (length + 1) // 2, _LANES):
        first = _absorb(first, pairs[i])
        second = _absorb(second, pairs[i + 1])
        third = _absorb(third, pairs[i + 2])
        fourth = _absorb(fourth, pairs[i + 3])
    digest = _mix(np.uint64(length) ^ _mix(first))
    return _mix(_mix(_mix(digest ^ second) ^ third) ^ fourth)


@inlined
def _absorb(lane, pair):  # type: ignore[no-untyped-def]
    """A lane of a digest with two more characters."""
    lane = (lane ^ pair) * _GOLDEN
    return lane ^ (lane >> np.uint64(32))


@compiled
def _hash_words(text, n, folding, words):  # type: ignore[no-untyped-def]
    """Hashes of the words of the normalised text into `words`; returns how many."""
    count = 0
    word = np.uint64(0)
    inside = False
    at = 0
    while at < n:
        folded = folding[text[at]] if text[at] < len(folding) else _beyond_table(text[at])
        is_space = folded == _SPACE
        if is_space | ((folded > _DIGIT) & (folded < _ALONE)):
            # Letters and spaces need no branch, which the processor would guess wrong at every end of a word.
            words[count] = word
            count += is_space & inside
            word = word * _HASH_BASE + (np.uint64(folded) + np.uint64(1))
            word = np.uint64(0) if is_space else word
            inside = not is_space
        elif folded == _DIGIT:
            at = _number_end(text, at, n, folding) - 1
            word = word * _HASH_BASE + (np.uint64(_DIGIT) + np.uint64(1))
            inside = True
        elif folded >= _ALONE:
            words[count] = word
            count += inside
            words[count] = np.uint64(folded)
            count += 1
            word = np.uint64(0)
            inside = False
        at += 1
    words[count] = word
    count += inside
    for i in range(count):
        words[i] = _mix(words[i])
    return count


@inlined
def _beyond_table(code):  # type: ignore[no-untyped-def]
    """What a character beyond the end of the folding table becomes. Ideographs are words by themselves."""
    return code | np.uint32(_ALONE) if code < IDEOGRAPHS_END else code


@compiled
def _number_end(text, at, n, folding):  # type: ignore[no-untyped-def]
    """End of the number that begins at `at`: a run of digits with at most one separator between two digits.

    It is normalised to a single 0.
    """
    joined = False
    at += 1
    while at < n:
        if text[at] < len(folding) and folding[text[at]] == _DIGIT:
            at += 1
            continue
        separator = False
        for i in range(len(_SEPARATORS)):
            separator = separator or text[at] == _SEPARATORS[i]
        if joined or not separator or at + 1 >= n or text[at + 1] >= len(folding) or folding[text[at + 1]] != _DIGIT:
            break
        joined = True
        at += 2
    return at


@compiled
def _minimise(shingles, count, functions, minima):  # type: ignore[no-untyped-def]
    """Least value of every hash function over the shingles: 32 bits, xor, multiply, shift, multiply."""
    size = functions.shape[1]
    for j in range(size):
        minima[j] = np.uint32(0xFFFFFFFF)
    for i in range(count):
        shingle = shingles[i]
        for j in range(size):
            value = np.uint32((shingle ^ functions[0, j]) * functions[1, j])
            value = np.uint32((value ^ np.uint32(value >> np.uint32(15))) * functions[2, j])
            minima[j] = min(minima[j], value)


def signature_task(staging: Path, name: str, texts: Path, rules: Signatures) -> None:
    """Worker: the signatures of one WARC file's pages, in file order."""
    with Task(staging, name) as task:
        table = task.table("signatures", Signature)
        pages = 0
        for frame in batches(texts, ["doc_id", "url", "crawl", "warc_file", "warc_offset", "text"]):
            signatures = signature_columns(*sign(frame["text"], rules), rules.bands)
            table.frame(pl.concat([frame.drop("text"), signatures], how="horizontal"))
            pages += len(frame)
        task.stats["pages"] = pages


def build_text_signatures(step: Step, config: Signatures) -> None:
    """One task per WARC file, over the engine's workers."""
    sign(pl.Series(["compiled once, here, and not by every worker"]), config)
    texts = step.task_files("quality_filtered_text", "text")
    step.run_tasks(signature_task, {name: (path, config) for name, path in texts.items()}, "WARC files")


TEXT_SIGNATURES = Stage(
    name="text_signatures",
    group="curation",
    description="The duplicate index: each page's MinHash bands and the digest of its text.",
    kinds=("numba", "parquet"),
    build=build_text_signatures,
    code_version="3",
    config=lambda recipe, _: Signatures.of(recipe.deduplication),
    per_crawl=True,
    inputs=("quality_filtered_text",),
    tables={"signatures": Signature},
    main_table="signatures",
    libraries=("numba", "polars", "regex"),
)
