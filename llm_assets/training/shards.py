"""Token shards on disk: ``<split>-<number>.npy``, one-dimensional arrays of ids that numpy memory-maps.

A split is one stream of tokens: its shards concatenated. Documents follow each other, each with BOS at its start.
``<split>-lengths.npy`` holds the documents' lengths in the same order (int64), so that a reader knows where each
document starts without searching for BOS. Imports numpy only: training processes read shards where few packages are
installed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

SPLITS = ("train", "validation")


class ShardError(ValueError):
    """Shards that are missing or inconsistent; the message names the file or the folder."""


class ShardWriter:
    """Writes one split's stream as files of exactly `shard_tokens` tokens; the last may be shorter.

    A file gets its name once it is complete. It is written without a memory map, which would kill the process on a full
    disk.
    """

    def __init__(self, folder: Path, split: str, dtype: np.dtype | type, shard_tokens: int):
        self.folder, self.split, self.dtype, self.shard_tokens = folder, split, np.dtype(dtype), shard_tokens
        self.names: list[str] = []
        self.position = 0  # tokens so far
        self.documents = 0
        self._pending: list[np.ndarray] = []
        self._held = 0
        # On disk, so that memory does not grow with the documents; the file is gone when this object is.
        self._lengths = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()

    def append(self, tokens: np.ndarray, lengths: np.ndarray) -> None:
        """Add documents. tokens: of all of them, concatenated. lengths: tokens of each."""
        self._lengths.write(np.ascontiguousarray(lengths, np.int64).data)
        self.position += len(tokens)
        self.documents += len(lengths)
        while len(tokens):
            taken = tokens[: self.shard_tokens - self._held]
            self._pending.append(taken)
            self._held += len(taken)
            tokens = tokens[len(taken) :]
            if self._held == self.shard_tokens:
                self._flush()

    def _flush(self) -> None:
        name = f"{self.split}-{len(self.names):05d}.npy"
        self._write(name, self._pending, self._held, self.dtype)
        self.names.append(name)
        self._pending, self._held = [], 0

    def close(self) -> list[str]:
        """Write the remaining tokens and the lengths; returns the names of all files."""
        if self._held:
            self._flush()
        lengths = f"{self.split}-lengths.npy"
        self._lengths.flush()
        pieces = [np.memmap(self._lengths, np.int64, "r")] if self.documents else []
        self._write(lengths, pieces, self.documents, np.dtype(np.int64))
        self._lengths.close()
        return [*self.names, lengths]

    def _write(self, name: str, pieces: Iterable[np.ndarray], count: int, dtype: np.dtype) -> None:
        temporary = self.folder / f".{name}.{os.getpid()}.tmp"
        try:
            with temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
                )
                for piece in pieces:
                    file.write(np.ascontiguousarray(piece, dtype).data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def kept_file(folder: Path, split: str) -> Path:
    """The file that selects documents of a split: one boolean per document, over all shard folders."""
    return folder / f"{split}-kept.npy"


def open_shards(folder: Path, split: str) -> list[np.ndarray]:
    """The shards of a split, memory-mapped, in order."""
    return [np.load(path, mmap_mode="r") for path in sorted(folder.glob(f"{split}-[0-9]*.npy"))]


class ShardTokens:
    """Shards of a split as one sequence of tokens, without knowing where its documents are."""

    def __init__(self, split: str, shards: list[np.ndarray]):
        self.split, self._shards = split, shards
        self._edges = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])]).astype(np.int64)

    def __len__(self) -> int:
        """Number of tokens."""
        return int(self._edges[-1])

    def tokens(self, start: int, count: int) -> np.ndarray:
        """Tokens [start, start + count), (count,) int64. Raises ShardError if there are fewer."""
        if start < 0 or start + count > len(self):
            raise ShardError(
                f"token shards, split {self.split}: tokens {start:,} to {start + count:,} were requested, but the "
                f"split has {len(self):,}"
            )
        out = np.empty(count, np.int64)
        done = 0
        shard = int(np.searchsorted(self._edges, start, "right")) - 1
        while done < count:
            begin = start + done - self._edges[shard]
            piece = self._shards[shard][begin : begin + count - done]
            out[done : done + len(piece)] = piece
            done += len(piece)
            shard += 1
        return out


class TokenStream(ShardTokens):
    """One split of several shard folders as one sequence of tokens, memory-mapped.

    kept_documents: a folder with a `kept_file`; the sequence skips documents that the file leaves out. Raises
    ShardError if a folder lacks the split, or if files do not fit each other.
    """

    def __init__(self, folders: Iterable[Path], split: str, kept_documents: Path | str | None = None):
        self.folders = [Path(folder) for folder in folders]
        every_shard: list[np.ndarray] = []
        lengths = []
        for folder in self.folders:
            try:
                document_lengths = np.load(folder / f"{split}-lengths.npy")
                shards = open_shards(folder, split)
            except (OSError, ValueError) as error:
                raise ShardError(f"token shards in {folder}, split {split}: {error}") from error
            if int(document_lengths.sum()) != sum(map(len, shards)):
                raise ShardError(
                    f"token shards in {folder}: split {split} has {sum(map(len, shards)):,} tokens, but its lengths "
                    f"add up to {int(document_lengths.sum()):,}; rebuild token_shards"
                )
            lengths.append(document_lengths)
            every_shard += shards
        self.lengths = np.concatenate(lengths) if lengths else np.zeros(0, np.int64)
        if kept_documents is not None:
            every_shard = self._leave_out(every_shard, kept_file(Path(kept_documents), split))
        super().__init__(split, every_shard)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])

    def _leave_out(self, shards: list[np.ndarray], path: Path) -> list[np.ndarray]:
        """Keep the documents that a file selects; returns the pieces of shards between those that it leaves out."""
        selected = np.load(path)
        if len(selected) != len(self.lengths):
            raise ShardError(
                f"{path}: it selects among {len(selected):,} documents, but the shards hold {len(self.lengths):,}"
            )
        ends = np.cumsum(self.lengths)
        # Where a run of selected documents begins (+1) and ends (-1).
        steps = np.diff(np.concatenate([[False], selected, [False]]).astype(np.int8))
        edges = np.concatenate([[0], ends])
        pieces = []
        shard_edges = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])]).astype(np.int64)
        for begin, end in zip(edges[np.flatnonzero(steps == 1)], edges[np.flatnonzero(steps == -1)], strict=True):
            first = int(np.searchsorted(shard_edges, begin, "right")) - 1
            last = int(np.searchsorted(shard_edges, end, "left"))
            for number in range(first, last):
                low, high = max(begin, shard_edges[number]), min(end, shard_edges[number + 1])
                pieces.append(shards[number][low - shard_edges[number] : high - shard_edges[number]])
        self.lengths = self.lengths[selected]
        return pieces

    @property
    def documents(self) -> int:
        return len(self.lengths)

    def document(self, number: int) -> np.ndarray:
        """One document's tokens, BOS first."""
        return self.tokens(int(self.starts[number]), int(self.lengths[number]))
