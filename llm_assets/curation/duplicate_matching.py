"""Which pages are duplicates: two pages match if their digests are equal, or one band of their signatures is.

Matching works out of core. Every (band, hash) of every page is a key. Keys are spread by value over as many files as it
takes for one file to fit the memory that the recipe allows, and each file is sorted; equal keys are in one file. Memory
also holds 64 bytes for each page that matches another.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from llm_assets.compiled import compiled

from .signature_index import SignatureIndex

_KEY = np.dtype([("key", np.uint64), ("page", np.uint64)])
# Bytes per key while one file is sorted: the keys, their order, the sorted copy.
_SORTING_BYTES = 4 * _KEY.itemsize
_MAX_FILES = 1_024


def match_pages(index: SignatureIndex, bands: int, memory_bytes: int, scratch: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pages in a cluster with another page and a page of this crawl (sorted numbers, int64), and their clusters.

    A cluster is named by its first page. Keys take about `memory_bytes`; what does not fit is written to `scratch`.
    """
    edges = np.zeros((0, 2), np.uint64)
    waiting: list[np.ndarray] = []
    for keys in _key_files(index, bands, memory_bytes, scratch):
        order = np.argsort(keys["key"], kind="stable")  # stable: equal keys stay in order of their pages
        left, right = np.zeros(len(keys), np.uint64), np.zeros(len(keys), np.uint64)
        count = _link_equal_keys(keys, order, np.uint64(index.first_new), left, right)
        waiting.append(np.unique(np.stack([left[:count], right[:count]], axis=1), axis=0))
        # Two pages may match by each of their bands, in as many files; the edge is kept once.
        if sum(map(len, waiting)) > len(edges):
            edges, waiting = np.unique(np.concatenate([edges, *waiting]), axis=0), []
    edges = np.unique(np.concatenate([edges, *waiting]), axis=0).astype(np.int64)
    left, right = edges[:, 0], edges[:, 1]
    pages = np.unique(np.concatenate([left, right]))
    parents = np.arange(len(pages), dtype=np.int64)
    _find_components(np.searchsorted(pages, left), np.searchsorted(pages, right), parents)
    return pages, pages[parents]


def _key_files(index: SignatureIndex, bands: int, memory_bytes: int, scratch: Path) -> Iterator[np.ndarray]:
    """The keys of all pages except old versions, in portions. All keys with the same value are in one portion."""
    wanted = min(_MAX_FILES, max(1, -(-index.pages * (bands + 1) * _SORTING_BYTES // memory_bytes)))
    bits = (wanted - 1).bit_length()
    if bits == 0:
        chunks = list(_key_chunks(index))
        yield np.concatenate(chunks) if chunks else np.zeros(0, _KEY)
        return
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    _spread_keys(index, bits, memory_bytes, scratch)
    for number in range(1 << bits):
        path = scratch / f"{number:04d}"
        keys = np.fromfile(path, _KEY) if path.exists() else np.zeros(0, _KEY)
        path.unlink(missing_ok=True)
        yield keys
    shutil.rmtree(scratch, ignore_errors=True)


def _key_chunks(index: SignatureIndex) -> Iterator[np.ndarray]:
    """The keys of all pages except old versions, in the order of the pages."""
    for first, frame in index.chunks(["digest", "bands"]):
        lists = frame["bands"].to_arrow()
        hashes = lists.values.to_numpy(zero_copy_only=False).astype(np.uint64)
        ends = lists.offsets.to_numpy().astype(np.int64)
        keys = np.zeros(len(frame) + len(hashes), _KEY)
        keys = keys[: _fill_keys(frame["digest"].to_numpy(), hashes, ends, first, keys)]
        yield keys[~index.superseded[keys["page"].astype(np.int64)]]


def _spread_keys(index: SignatureIndex, bits: int, memory_bytes: int, scratch: Path) -> None:
    """Write the keys to files in `scratch` that are numbered by the keys' first `bits` bits."""
    shift = np.uint64(64 - bits)
    waiting: list[list[np.ndarray]] = [[] for _ in range(1 << bits)]
    waiting_bytes = 0
    for keys in _key_chunks(index):
        file_of_key = (keys["key"] >> shift).astype(np.int64)
        order = np.argsort(file_of_key, kind="stable")
        bounds = np.searchsorted(file_of_key[order], np.arange(len(waiting) + 1))
        for number, pieces in enumerate(waiting):
            if bounds[number + 1] > bounds[number]:
                pieces.append(keys[order[bounds[number] : bounds[number + 1]]])
        waiting_bytes += keys.nbytes
        if waiting_bytes >= memory_bytes // 4:
            waiting_bytes = 0
            _append(waiting, scratch)
    _append(waiting, scratch)


def _append(waiting: list[list[np.ndarray]], scratch: Path) -> None:
    """Append the waiting pieces to their files, and clear the lists."""
    for number, pieces in enumerate(waiting):
        if pieces:
            with (scratch / f"{number:04d}").open("ab") as file:
                for piece in pieces:
                    piece.tofile(file)
            pieces.clear()


@compiled
def _fill_keys(digests, bands, ends, first_page, keys):  # type: ignore[no-untyped-def]
    """Keys of a chunk's pages: digest (as band 0) and band hashes, each mixed with the number of its band."""
    total = 0
    for page in range(len(digests)):
        for band in range(ends[page + 1] - ends[page] + 1):
            value = digests[page] if band == 0 else bands[ends[page] + band - 1]
            value = (value + np.uint64(band) * np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
            keys[total].key = value ^ (value >> np.uint64(32))
            keys[total].page = first_page + page
            total += 1
    return total


@compiled
def _link_equal_keys(keys, order, first_new, left, right):  # type: ignore[no-untyped-def]
    """Edges from the first page of each group of equal keys to its others. A group without a new page gives none."""
    count = 0
    at = 0
    while at < len(order):
        end = at + 1
        while end < len(order) and keys[order[end]].key == keys[order[at]].key:
            end += 1
        if end - at > 1 and keys[order[end - 1]].page >= first_new:
            for i in range(at + 1, end):
                left[count], right[count] = keys[order[at]].page, keys[order[i]].page
                count += 1
        at = end
    return count


@compiled
def _find_components(left, right, parents):  # type: ignore[no-untyped-def]
    """Union-find with path halving; parents[i] becomes the least member of i's component."""
    for i in range(len(left)):
        a, b = left[i], right[i]
        while parents[a] != a:
            parents[a] = parents[parents[a]]
            a = parents[a]
        while parents[b] != b:
            parents[b] = parents[parents[b]]
            b = parents[b]
        if a < b:
            parents[b] = a
        elif b < a:
            parents[a] = b
    for i in range(len(parents)):
        root = i
        while parents[root] != root:
            root = parents[root]
        parents[i] = root
