"""The check of `token_shards`: they hold exactly the training pages of the corpus, each as its text.

The index lists documents in the order of the corpus, so both are read side by side, and memory holds some thousand rows
of either. Every row of the index is compared with the corpus and with the lengths in the shards. Texts are decoded and
compared for a sample (`llm_assets.artifacts.sampling`), which is all of them in a small corpus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.sampling import Sample, largest_unseen_share
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import INDEX_ROWS, batches, polars_schema, row_groups
from llm_assets.model.encoding import Encoding
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.sql import query, statement
from llm_assets.training.shards import SPLITS, ShardError, ShardTokens, open_shards

from .schemas import TokenDocuments
from .splitting import TokenShardsConfig, split_of

MAX_FAILURES = 20
KEY = ["warc_file", "warc_offset", "doc_id"]


class IndexCursor:
    """The rows of the index that are not yet compared, in order; at most a window of them is in memory.

    misplaced: documents whose position or length is not the next in the shards. stray: whether the split of a row is
    not the one that its URL (or host) belongs to.
    """

    def __init__(self, shards: Artifact, config: TokenShardsConfig):
        columns = [*KEY, "url", "host", "split", "position", "length"]
        self._batches = (batch for path in shards.table("documents") for batch in batches(path, columns, INDEX_ROWS))
        self._window = pl.DataFrame(schema={name: polars_schema(TokenDocuments)[name] for name in columns})
        self._settings = config.token_shards
        self._lengths = {split: np.load(shards.path / f"{split}-lengths.npy", mmap_mode="r") for split in SPLITS}
        self._read = dict.fromkeys(SPLITS, 0)  # documents
        self._position = dict.fromkeys(SPLITS, 0)
        self.misplaced: list[str] = []
        self.stray = False
        self.rows = 0

    def window(self, rows: int) -> pl.DataFrame:
        """The next rows, at least `rows` unless the index ends."""
        while len(self._window) < rows and (batch := next(self._batches, None)) is not None:
            self._verify_places(batch)
            self.rows += len(batch)
            self._window = pl.concat([self._window, batch.select(self._window.columns)])
        return self._window

    def advance(self, rows: int) -> None:
        """Drop the next rows."""
        self._window = self._window[rows:]

    def unlisted(self) -> dict[str, int]:
        """How many lengths a split has beyond those of the documents in the index, which has been read."""
        return {split: len(lengths) - self._read[split] for split, lengths in self._lengths.items()}

    def _verify_places(self, batch: pl.DataFrame) -> None:
        for split in SPLITS:
            rows = batch.filter(pl.col("split") == split)
            lengths, positions = rows["length"].to_numpy(), rows["position"].to_numpy()
            first = self._read[split]
            stored = self._lengths[split][first : first + len(rows)]
            expected = self._position[split] + np.cumsum(lengths) - lengths
            is_right = positions == expected
            is_right[: len(stored)] &= stored == lengths[: len(stored)]
            is_right[len(stored) :] = False
            self.misplaced += rows["url"].filter(pl.Series(~is_right)).head(MAX_FAILURES).to_list()
            self._read[split] += len(rows)
            self._position[split] += int(lengths.sum())
        keys = batch["url" if self._settings.split_by == "document" else "host"]
        share = self._settings.validation_share
        self.stray |= any(split_of(key, share) != split for key, split in zip(keys, batch["split"], strict=True))


class Comparison:
    """Pages of the corpus compared with the index and the tokens of the shards."""

    def __init__(self, shards: Artifact, encoding: Encoding, config: TokenShardsConfig, sample: Sample):
        self.encoding, self.sample = encoding, sample
        self.pages: TrainingPages = config.pages
        self.cursor = IndexCursor(shards, config)
        self.streams = {split: ShardTokens(split, open_shards(shards.path, split)) for split in SPLITS}
        self.documents = self.decoded = self.tokens = self.withheld = 0
        self.failures: list[dict[str, str]] = []

    def compare_file(self, texts: Path) -> None:
        """Compare the pages of one text table."""
        with open(texts, "rb") as stream:
            for read in row_groups(stream):
                keys = read([*KEY, "url", "host"]).with_columns(
                    is_training=self.pages.is_kept(), is_chosen=self.sample.is_chosen()
                )
                matched = self._match(keys)
                is_decoded = matched["is_chosen"] & matched["position"].is_not_null()
                if is_decoded.any():
                    self._decode(matched.with_columns(read(["text"])["text"]).filter(is_decoded))

    def _match(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The pages with their rows of the index; failures and counts are recorded.

        Of a page that is listed more than once, it is the first row: the others are missed in the count of rows.
        """
        window = self.cursor.window(len(keys) + INDEX_ROWS).select(*KEY, "split", "position", "length")
        rows = window.with_row_index("place").unique(KEY, keep="first")
        matched = keys.join(rows, on=KEY, how="left", maintain_order="left")
        is_indexed = pl.col("place").is_not_null()
        last = matched["place"].cast(pl.Int64).max()
        self.cursor.advance(0 if last is None else last + 1)
        self.withheld += int((~matched["is_training"]).sum())
        self.documents += matched["place"].count()
        self.tokens += int(matched["length"].sum() or 0)
        missing = matched.filter(pl.col("is_training") & ~is_indexed)
        wrongly_indexed = matched.filter(~pl.col("is_training") & is_indexed)
        self.fail(missing, "not in the index")
        self.fail(wrongly_indexed, "in the index, though its host is for search only")
        return matched

    def _decode(self, pages: pl.DataFrame) -> None:
        """Compare texts of pages with their tokens."""
        for page in pages.iter_rows(named=True):
            self.decoded += 1
            try:
                tokens = self.streams[page["split"]].tokens(page["position"], page["length"])
                problem = _difference(self.encoding, tokens, page["text"])
            except ShardError:
                problem = "beyond the end of the shards"
            if problem:
                self.fail(pl.DataFrame({"url": [page["url"]], "doc_id": [page["doc_id"]]}), problem)

    def fail(self, pages: pl.DataFrame, problem: str) -> None:
        """Record a problem of pages, up to MAX_FAILURES."""
        rows = pages.head(MAX_FAILURES - len(self.failures)).select("url", "doc_id")
        self.failures += [{**row, "problem": problem} for row in rows.iter_rows(named=True)]

    def finish(self, shards: Artifact, pages: int) -> None:
        """Read what is left of the index, and record problems of the whole. pages: of the corpus."""
        while len(rest := self.cursor.window(INDEX_ROWS)):
            self.cursor.advance(len(rest))
        problems = [{"url": url, "doc_id": "", "problem": "not at its place"} for url in self.cursor.misplaced]
        if self.cursor.stray:
            in_both = query(statement("urls_in_both_splits"), documents=shards.table("documents"), number=MAX_FAILURES)
            problems += [{"url": url, "doc_id": "", "problem": "in both splits"} for url in in_both["url"]]
        for split, documents in self.cursor.unlisted().items():
            if documents > 0:
                problem = f"{split}-lengths.npy has {documents:,} more entries than the index has documents"
                problems.append({"url": "", "doc_id": "", "problem": problem})
        self.failures += problems[:MAX_FAILURES]
        stored = sum(len(stream) for stream in self.streams.values())
        is_complete = self.documents + self.withheld == pages and self.cursor.rows == self.documents
        if self.tokens != stored or not is_complete:
            problem = (
                f"{self.documents:,} documents and {self.withheld:,} withheld of {pages:,}, "
                f"{self.cursor.rows:,} rows of the index, {self.tokens:,} tokens of {stored:,} found again"
            )
            self.failures.append({"url": "", "doc_id": "", "problem": problem})


def _difference(encoding: Encoding, tokens: np.ndarray, text: str) -> str:
    """What is wrong with a document's tokens, or an empty string."""
    if tokens[0] != encoding.bos:
        return "does not begin with BOS"
    is_same = encoding.decode_bytes(tokens[1:]) == encoding.normalise(text).encode()
    return "" if is_same else "decodes to another text"


def shards_agree(shards: Artifact, inputs: Inputs, config: TokenShardsConfig) -> CheckOutcome:
    """Check that the shards hold exactly the corpus' training pages, each as its text, and no page in two splits."""
    corpus = inputs.artifact("clean_corpus")
    pages = corpus.record.rows["text"]
    encoding = Encoding.load(inputs.artifact("tokenizer").path)
    comparison = Comparison(shards, encoding, config, Sample.of(pages))
    for path in corpus.table("text"):
        comparison.compare_file(path)
    comparison.finish(shards, pages)
    return _outcome(comparison)


def _outcome(comparison: Comparison) -> CheckOutcome:
    failures, documents, withheld = comparison.failures, comparison.documents, comparison.withheld
    stored = {split: len(stream) for split, stream in comparison.streams.items()}
    tokens = sum(stored.values())
    numbers: dict[str, Any] = {
        "documents": documents,
        "withheld_documents": withheld,
        "tokens": tokens,
        "validation_share": round(stored["validation"] / max(tokens, 1), 6),
    }
    if failures:
        summary = f"{len(failures)} problems; the first: {failures[0]['problem']}"
        return CheckOutcome(False, summary, failures, numbers)
    summary = f"{documents:,} documents decode to their texts, {tokens:,} tokens, no URL in two splits"
    if comparison.decoded < documents:
        share = largest_unseen_share(comparison.decoded)
        summary = (
            f"{documents:,} documents are those of the corpus, {tokens:,} tokens, no URL in two splits; a sample of "
            f"{comparison.decoded:,} decode to their texts: at most {share:.2g} of all do not (95 %)"
        )
    summary += f"; {withheld:,} documents are for search only" if withheld else ""
    return CheckOutcome(True, summary, failures, numbers)
