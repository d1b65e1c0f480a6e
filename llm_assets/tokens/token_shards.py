"""`token_shards`: the clean corpus as token files, split by hash, with an index that leads back to the pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.checks import Check
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.tables import batches, read_table, scan_table, write_table
from llm_assets.model.encoding import Encoding
from llm_assets.training.shards import SPLITS, ShardWriter

from .schemas import TokenDocuments
from .shard_check import shards_agree
from .splitting import TokenShardsConfig, split_of

PAGE_COLUMNS = ["doc_id", "url", "host", "crawl", "warc_file", "warc_offset"]
SHARDS_TASK = "~shards"  # the task that joins those of the WARC files


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
