"""`token_shards`: the clean corpus as token files, split by hash, with an index that leads back to the pages."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches
from llm_assets.model.encoding import Encoding
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import TokenShards
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.training.shards import SPLITS, ShardWriter, TokenStream

from .schemas import TokenDocuments

PAGE = ["doc_id", "url", "host", "crawl", "warc_file", "warc_offset"]
CHECKED_FAILURES = 20


def split_of(key: str, validation_share: float) -> str:
    """The split of a document: a function of its URL (or host) and nothing else, so that it never moves."""
    draw = int.from_bytes(blake2b(key.encode(), digest_size=8, person=b"split").digest(), "big")
    return "validation" if draw < validation_share * 2**64 else "train"


class TokenShardsConfig(Frozen):
    """How tokens are stored and split, and which pages are no training data."""

    token_shards: TokenShards
    pages: TrainingPages


def tokenise_task(staging: Path, name: str, texts: Path, tokenizer: Path, config: TokenShardsConfig) -> None:
    """Worker: the documents of one WARC file as tokens, one scratch file a split."""
    settings = config.token_shards
    encoding = Encoding.load(tokenizer)
    key = "url" if settings.split_by == "document" else "host"
    withheld = 0
    with Task(staging, name) as task:
        index = []
        files = {split: task.add_scratch(f".tokens/{name}.{split}").open("wb") for split in SPLITS}
        for batch in batches(texts, [*PAGE, "text"]):
            frame = batch.filter(config.pages.kept())
            withheld += len(batch) - len(frame)
            splits, lengths, sizes = [], [], []
            for where, text in frame.select(key, "text").iter_rows():
                tokens = np.asarray(encoding.document(text), encoding.dtype)
                splits.append(split_of(where, settings.validation_share))
                lengths.append(len(tokens))
                sizes.append(len(text.encode()))
                files[splits[-1]].write(tokens.data)
            columns = {
                "split": pl.Series(splits, dtype=pl.String),
                "length": pl.Series(lengths, dtype=pl.Int64),
                "bytes": pl.Series(sizes, dtype=pl.Int64),
            }
            index.append(frame.select(PAGE).with_columns(**columns))
        for file in files.values():
            file.close()
        documents = pl.concat(index) if index else _no_documents(texts)
        documents.write_parquet(task.add_scratch(f".tokens/{name}.parquet"))
        task.stats.update(pages=len(documents), withheld_documents=withheld)


def _no_documents(texts: Path) -> pl.DataFrame:
    """The index of a WARC file without documents."""
    columns = (pl.lit("").alias("split"), pl.lit(0).alias("length"), pl.lit(0).alias("bytes"))
    return pl.read_parquet(texts, n_rows=0).select(PAGE).with_columns(*columns)


def build_token_shards(step: Step, config: TokenShardsConfig) -> None:
    """Tokenised by WARC file over the engine's workers; then laid end to end in the order of the files."""
    settings = config.token_shards
    tokenizer = step.input("tokenizer").path
    encoding = Encoding.load(tokenizer)
    texts = {path.stem: path for path in step.input("clean_corpus").table("text")}
    tasks = {name: (path, tokenizer, config) for name, path in texts.items()}
    step.run_tasks(tokenise_task, tasks, "WARC files", {name: path.stat().st_size for name, path in texts.items()})
    with step.task("~shards") as task:
        writers = {split: ShardWriter(step.staging, split, encoding.dtype, settings.shard_tokens) for split in SPLITS}
        index = task.table("documents", TokenDocuments)
        size = np.dtype(encoding.dtype).itemsize
        for name in sorted(texts):
            pages = pl.read_parquet(step.staging / ".tokens" / f"{name}.parquet")
            positions = {split: writers[split].position for split in SPLITS}
            for split, writer in writers.items():
                path = step.staging / ".tokens" / f"{name}.{split}"
                lengths = pages.filter(pl.col("split") == split)["length"].to_numpy()
                tokens = np.memmap(path, encoding.dtype, "r") if path.stat().st_size else np.zeros(0, encoding.dtype)
                assert path.stat().st_size == size * lengths.sum()
                writer.append(tokens, lengths)
            if len(pages):
                before = pl.col("length").cum_sum().over("split") - pl.col("length")
                position = before + pl.col("split").replace_strict(positions, return_dtype=pl.Int64)
                index.frame(
                    pages.with_columns(position=position).with_columns(
                        shard=pl.col("position") // settings.shard_tokens,
                        offset=pl.col("position") % settings.shard_tokens,
                    )
                )
        for split, writer in writers.items():
            for name in writer.close():
                task.add_file(name)
            task.stats[f"{split}_tokens"] = writer.position
            task.stats[f"{split}_documents"] = writer.documents


def token_stream(shards: list[Artifact], split: str) -> TokenStream:
    """One split of several crawls' shards, in the order given."""
    return TokenStream([artifact.path for artifact in shards], split)


def shards_agree(shards: Artifact, inputs: Inputs, config: TokenShardsConfig) -> CheckOutcome:
    """Whether the shards hold the corpus' training pages, each as its text, no page in two splits, and nothing else."""
    corpus = inputs.artifact("clean_corpus")
    encoding = Encoding.load(inputs.artifact("tokenizer").path)
    streams = {split: token_stream([shards], split) for split in SPLITS}
    index = pl.concat([pl.read_parquet(path) for path in shards.table("documents")])
    columns = ("warc_file", "warc_offset", "doc_id", "split", "position", "length")
    place = {(row[0], row[1], row[2]): row[3:] for row in index.select(columns).iter_rows()}
    failures: list[dict[str, str]] = []
    found = tokens = withheld = 0
    for path in corpus.table("text"):
        for batch in batches(path, ["warc_file", "warc_offset", "doc_id", "url", "host", "text"]):
            for warc_file, offset, doc_id, url, _, text, kept in batch.with_columns(
                kept=config.pages.kept()
            ).iter_rows():
                row = place.get((warc_file, offset, doc_id))
                withheld += not kept
                problem = ""
                if row is not None:
                    found += 1
                    tokens += row[2]
                    problem = _difference(encoding, streams[row[0]].tokens(row[1], row[2]), text)
                if (row is not None) != kept:
                    problem = "not in the index" if kept else "in the index, though its host is for search only"
                if problem and len(failures) < CHECKED_FAILURES:
                    failures.append({"url": url, "doc_id": doc_id, "problem": problem})
    twice = index.group_by("url").agg(pl.col("split").n_unique().alias("splits")).filter(pl.col("splits") > 1)
    failures += [{"url": url, "doc_id": "", "problem": "in both splits"} for url in twice["url"][:CHECKED_FAILURES]]
    held = sum(len(stream) for stream in streams.values())
    pages = corpus.record.rows["text"]
    if tokens != held or found + withheld != pages or len(index) != found:
        problem = (
            f"{found:,} documents and {withheld:,} withheld of {pages:,}, {tokens:,} tokens of {held:,} found again"
        )
        failures.append({"url": "", "doc_id": "", "problem": problem})
    numbers = {
        "documents": found,
        "withheld_documents": withheld,
        "tokens": held,
        "validation_share": round(len(streams["validation"]) / max(held, 1), 6),
    }
    if failures:
        summary = f"{len(failures)} problems; the first: {failures[0]['problem']}"
    else:
        summary = f"{found:,} documents decode to their texts, {held:,} tokens, no URL in two splits"
        summary += f"; {withheld:,} documents are for search only" if withheld else ""
    return CheckOutcome(not failures, summary, failures, numbers)


def _difference(encoding: Encoding, tokens: np.ndarray, text: str) -> str:
    """What is wrong with a document's tokens; empty where nothing is."""
    if tokens[0] != encoding.bos:
        return "does not begin with BOS"
    return "" if encoding.decode_bytes(tokens[1:]) == text.encode() else "decodes to another text"


TOKEN_SHARDS = Stage(
    name="token_shards",
    group="tokens",
    description="The corpus as token files, train and validation, with an index that leads each document back to its "
    "page.",
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
            "Every document decodes to its text; the splits share no page; the counts are the corpus's.",
            shards_agree,
            blocking=True,
        ),
    ),
    libraries=("tiktoken", "numpy", "polars"),
)
