"""`token_shards`: the clean corpus as token files, split by hash, with an index that leads back to the pages."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches, read_table, scan_table, write_table
from llm_assets.model.encoding import Encoding
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import TokenShards
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.training.shards import SPLITS, ShardWriter, TokenStream

from .schemas import TokenDocuments

PAGE_COLUMNS = ["doc_id", "url", "host", "crawl", "warc_file", "warc_offset"]
MAX_FAILURES = 20
SHARDS_TASK = "~shards"  # the task that joins those of the WARC files


def split_of(key: str, validation_share: float) -> str:
    """The split of a document, `train` or `validation`. It depends only on its URL (or host), so it never changes."""
    draw = int.from_bytes(blake2b(key.encode(), digest_size=8, person=b"split").digest(), "big")
    return "validation" if draw < validation_share * 2**64 else "train"


class TokenShardsConfig(Frozen):
    """How tokens are stored and split, and which pages are training data."""

    token_shards: TokenShards
    pages: TrainingPages


def tokenise_task(staging: Path, name: str, texts: Path, tokenizer: Path, config: TokenShardsConfig) -> None:
    """Worker: tokenise the documents of one WARC file, into one scratch file per split and an index of them."""
    settings = config.token_shards
    encoding = Encoding.load(tokenizer)
    key = "url" if settings.split_by == "document" else "host"
    withheld = 0
    with Task(staging, name) as task:
        index = []
        files = {split: task.add_scratch(f".tokens/{name}.{split}").open("wb") for split in SPLITS}
        for batch in batches(texts, [*PAGE_COLUMNS, "text"]):
            frame = batch.filter(config.pages.is_kept())
            withheld += len(batch) - len(frame)
            splits, lengths, sizes = [], [], []
            for split_key, text in frame.select(key, "text").iter_rows():
                tokens = np.asarray(encoding.document(text), encoding.dtype)
                splits.append(split_of(split_key, settings.validation_share))
                lengths.append(len(tokens))
                sizes.append(len(text.encode()))
                files[splits[-1]].write(tokens.data)
            columns = {
                "split": pl.Series(splits, dtype=pl.String),
                "length": pl.Series(lengths, dtype=pl.Int64),
                "bytes": pl.Series(sizes, dtype=pl.Int64),
            }
            index.append(frame.select(PAGE_COLUMNS).with_columns(**columns))
        for file in files.values():
            file.close()
        documents = pl.concat(index) if index else _no_documents(texts)
        write_table(documents, task.add_scratch(f".tokens/{name}.parquet"))
        task.stats.update(pages=len(documents), withheld_documents=withheld)


def _no_documents(texts: Path) -> pl.DataFrame:
    """The index of a WARC file without documents."""
    columns = (pl.lit("").alias("split"), pl.lit(0).alias("length"), pl.lit(0).alias("bytes"))
    return scan_table(texts).select(PAGE_COLUMNS).head(0).collect().with_columns(*columns)


def build_token_shards(step: Step, config: TokenShardsConfig) -> None:
    """Tokenise by WARC file over the engine's workers, then join the tokens in the order of the files."""
    tokenizer = step.input("tokenizer").path
    texts = step.task_files("clean_corpus", "text")
    step.run_tasks(tokenise_task, {name: (path, tokenizer, config) for name, path in texts.items()}, "WARC files")
    step.fetch(".tokens/")
    dtype = Encoding.load(tokenizer).dtype
    shard_tokens = config.token_shards.shard_tokens
    with step.task(SHARDS_TASK) as task:
        writers = {split: ShardWriter(step.staging, split, dtype, shard_tokens) for split in SPLITS}
        index = task.table("documents", TokenDocuments)
        for name in sorted(texts):
            documents = read_table(step.staging / ".tokens" / f"{name}.parquet")
            positions = {split: writer.position for split, writer in writers.items()}
            _append_tokens(step.staging / ".tokens" / name, documents, writers)
            if len(documents):
                index.frame(_with_positions(documents, positions, shard_tokens))
        for split, writer in writers.items():
            for name in writer.close():
                task.add_file(name)
            task.stats[f"{split}_tokens"] = writer.position
            task.stats[f"{split}_documents"] = writer.documents


def _append_tokens(scratch: Path, documents: pl.DataFrame, writers: dict[str, ShardWriter]) -> None:
    """Append the tokens of one WARC file, from its scratch files `scratch` + "." + split, to the shards."""
    for split, writer in writers.items():
        path = scratch.with_name(f"{scratch.name}.{split}")
        lengths = documents.filter(pl.col("split") == split)["length"].to_numpy()
        size = path.stat().st_size
        assert size == np.dtype(writer.dtype).itemsize * lengths.sum()
        tokens = np.memmap(path, writer.dtype, "r") if size else np.zeros(0, writer.dtype)
        writer.append(tokens, lengths)


def _with_positions(documents: pl.DataFrame, positions: dict[str, int], shard_tokens: int) -> pl.DataFrame:
    """The index of one WARC file's documents. positions: the first free position of each split."""
    tokens_before = pl.col("length").cum_sum().over("split") - pl.col("length")
    position = tokens_before + pl.col("split").replace_strict(positions, return_dtype=pl.Int64)
    return documents.with_columns(position=position).with_columns(
        shard=pl.col("position") // shard_tokens, offset=pl.col("position") % shard_tokens
    )


def token_stream(shards: list[Artifact], split: str) -> TokenStream:
    """One split of the shards of several crawls, in the given order."""
    return TokenStream([artifact.path for artifact in shards], split)


def shards_agree(shards: Artifact, inputs: Inputs, config: TokenShardsConfig) -> CheckOutcome:
    """Check that the shards hold exactly the corpus' training pages, each as its text, and no page in two splits."""
    corpus = inputs.artifact("clean_corpus")
    streams = {split: token_stream([shards], split) for split in SPLITS}
    index = read_table(shards.table("documents"))
    comparison = _Comparison(Encoding.load(inputs.artifact("tokenizer").path), streams, index)
    for path in corpus.table("text"):
        for batch in batches(path, ["warc_file", "warc_offset", "doc_id", "url", "host", "text"]):
            for page in batch.with_columns(is_training=config.pages.is_kept()).iter_rows(named=True):
                comparison.add(page)
    failures = comparison.failures
    by_url = index.group_by("url").agg(pl.col("split").n_unique().alias("splits"))
    in_both = by_url.filter(pl.col("splits") > 1)["url"]
    failures += [{"url": url, "doc_id": "", "problem": "in both splits"} for url in in_both[:MAX_FAILURES]]
    stored_tokens = sum(len(stream) for stream in streams.values())
    documents, withheld, pages = comparison.documents, comparison.withheld, corpus.record.rows["text"]
    if comparison.tokens != stored_tokens or documents + withheld != pages or len(index) != documents:
        problem = (
            f"{documents:,} documents and {withheld:,} withheld of {pages:,}, "
            f"{comparison.tokens:,} tokens of {stored_tokens:,} found again"
        )
        failures.append({"url": "", "doc_id": "", "problem": problem})
    numbers = {
        "documents": documents,
        "withheld_documents": withheld,
        "tokens": stored_tokens,
        "validation_share": round(len(streams["validation"]) / max(stored_tokens, 1), 6),
    }
    if failures:
        summary = f"{len(failures)} problems; the first: {failures[0]['problem']}"
    else:
        summary = f"{documents:,} documents decode to their texts, {stored_tokens:,} tokens, no URL in two splits"
        summary += f"; {withheld:,} documents are for search only" if withheld else ""
    return CheckOutcome(not failures, summary, failures, numbers)


class _Comparison:
    """Pages of the corpus compared with the index and the tokens of the shards."""

    def __init__(self, encoding: Encoding, streams: dict[str, TokenStream], index: pl.DataFrame):
        self.encoding, self.streams = encoding, streams
        columns = ("warc_file", "warc_offset", "doc_id", "split", "position", "length")
        self.places = {(row[0], row[1], row[2]): row[3:] for row in index.select(columns).iter_rows()}
        self.documents = self.tokens = self.withheld = 0
        self.failures: list[dict[str, str]] = []

    def add(self, page: dict[str, Any]) -> None:
        """Count a page, and what is wrong with it; `is_training` says whether it should be in the index."""
        indexed = self.places.get((page["warc_file"], page["warc_offset"], page["doc_id"]))
        problem = ""
        self.withheld += not page["is_training"]
        if indexed is not None:
            split, position, length = indexed
            self.documents += 1
            self.tokens += length
            problem = _difference(self.encoding, self.streams[split].tokens(position, length), page["text"])
        if (indexed is not None) != page["is_training"]:
            wrongly_indexed = "in the index, though its host is for search only"
            problem = "not in the index" if page["is_training"] else wrongly_indexed
        if problem and len(self.failures) < MAX_FAILURES:
            self.failures.append({"url": page["url"], "doc_id": page["doc_id"], "problem": problem})


def _difference(encoding: Encoding, tokens: np.ndarray, text: str) -> str:
    """What is wrong with a document's tokens, or an empty string."""
    if tokens[0] != encoding.bos:
        return "does not begin with BOS"
    is_same = encoding.decode_bytes(tokens[1:]) == encoding.normalise(text).encode()
    return "" if is_same else "decodes to another text"


TOKEN_SHARDS = Stage(
    name="token_shards",
    group="tokens",
    description="The corpus as token files, for training and validation, with an index that leads each document back "
    "to its page.",
    kinds=("tiktoken", "numpy", "parquet"),
    build=build_token_shards,
    config=lambda recipe, crawl: TokenShardsConfig(token_shards=recipe.token_shards, pages=recipe.training_pages()),
    code_version="1",
    per_crawl=True,
    inputs=("clean_corpus", "tokenizer"),
    tables={"documents": TokenDocuments},
    main_table="documents",
    checks=(
        Check(
            "shards_match_corpus",
            "Every document decodes to its text, the splits share no page, and all training pages are there.",
            shards_agree,
            blocking=True,
        ),
    ),
    libraries=("tiktoken", "numpy", "polars"),
)
