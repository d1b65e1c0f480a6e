"""`token_shards`: the clean corpus as token files, split by hash, with an index that leads back to the pages."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import numpy as np
import polars as pl

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Part, Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import Recipe, TokenShards
from llm_assets.training.shards import SPLITS, ShardWriter, TokenStream

from .schemas import TokenDocuments

PAGE = ["doc_id", "url", "host", "crawl", "warc_file", "warc_offset"]
CHECKED_FAILURES = 20


def split_of(key: str, validation_share: float) -> str:
    """The split of a document: a function of its URL (or host) and nothing else, so that it never moves."""
    draw = int.from_bytes(blake2b(key.encode(), digest_size=8, person=b"split").digest(), "big")
    return "validation" if draw < validation_share * 2**64 else "train"


def tokenise_part(staging: Path, name: str, texts: Path, tokenizer: Path, settings: TokenShards) -> None:
    """Worker: the documents of one WARC file as tokens, one scratch file a split."""
    encoding = Encoding.load(tokenizer)
    key = "url" if settings.split_by == "document" else "host"
    with Part(staging, name) as part:
        index = []
        files = {split: part.add_scratch(f".tokens/{name}.{split}").open("wb") for split in SPLITS}
        for frame in batches(texts, [*PAGE, "text"]):
            splits, lengths, sizes = [], [], []
            for where, text in frame.select(key, "text").iter_rows():
                tokens = np.asarray(encoding.document(text), encoding.dtype)
                splits.append(split_of(where, settings.validation_share))
                lengths.append(len(tokens))
                sizes.append(len(text.encode()))
                files[splits[-1]].write(tokens.data)
            index.append(frame.select(PAGE).with_columns(split=pl.Series(splits, dtype=pl.String), length=pl.Series(lengths, dtype=pl.Int64), bytes=pl.Series(sizes, dtype=pl.Int64)))
        for file in files.values():
            file.close()
        found = pl.concat(index) if index else pl.read_parquet(texts, n_rows=0).select(PAGE).with_columns(pl.lit("").alias("split"), pl.lit(0).alias("length"), pl.lit(0).alias("bytes"))
        found.write_parquet(part.add_scratch(f".tokens/{name}.parquet"))
        part.stats.update(pages=len(found))


def build_token_shards(step: Step, recipe: Recipe) -> None:
    """Tokenised by WARC file over the engine's workers; then laid end to end in the order of the files."""
    settings = recipe.token_shards
    tokenizer = step.input("tokenizer").path
    encoding = Encoding.load(tokenizer)
    texts = {path.stem: path for path in step.input("clean_corpus").table("text")}
    step.run_parts(tokenise_part, {name: (path, tokenizer, settings) for name, path in texts.items()}, "WARC files", {name: path.stat().st_size for name, path in texts.items()})
    with step.part("~shards") as part:
        writers = {split: ShardWriter(step.staging, split, encoding.dtype, settings.shard_tokens) for split in SPLITS}
        index = part.table("documents", TokenDocuments)
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
                index.frame(pages.with_columns(position=position).with_columns(shard=pl.col("position") // settings.shard_tokens, offset=pl.col("position") % settings.shard_tokens))
        for split, writer in writers.items():
            for name in writer.close():
                part.add_file(name)
            part.stats[f"{split}_tokens"] = writer.position
            part.stats[f"{split}_documents"] = writer.documents


def token_stream(shards: list[Artifact], split: str) -> TokenStream:
    """One split of several crawls' shards, in the order given."""
    return TokenStream([artifact.path for artifact in shards], split)


def shards_agree(shards: Artifact, corpus: Artifact, tokenizer: Artifact) -> CheckOutcome:
    """Every document's tokens decode to its text, no document is in two splits, and the counts are the corpus's."""
    encoding = Encoding.load(tokenizer.path)
    streams = {split: token_stream([shards], split) for split in SPLITS}
    index = pl.concat([pl.read_parquet(path) for path in shards.table("documents")]).sort("warc_file", "warc_offset")
    failures: list[dict[str, str]] = []
    seen = tokens = 0
    place = {(row["warc_file"], row["warc_offset"], row["doc_id"]): row for row in index.select("warc_file", "warc_offset", "doc_id", "split", "position", "length").iter_rows(named=True)}
    for path in corpus.table("text"):
        for frame in batches(path, ["warc_file", "warc_offset", "doc_id", "url", "text"]):
            for warc_file, offset, doc_id, url, text in frame.iter_rows():
                row = place.get((warc_file, offset, doc_id))
                problem = ""
                if row is None:
                    problem = "not in the index"
                else:
                    seen += 1
                    tokens += row["length"]
                    ids = streams[row["split"]].tokens(row["position"], row["length"])
                    if ids[0] != encoding.bos:
                        problem = "does not begin with BOS"
                    elif encoding.decode_bytes(ids[1:]) != text.encode():
                        problem = "decodes to another text"
                if problem and len(failures) < CHECKED_FAILURES:
                    failures.append({"url": url, "doc_id": doc_id, "problem": problem})
    twice = index.group_by("url").agg(pl.col("split").n_unique().alias("splits")).filter(pl.col("splits") > 1)
    failures += [{"url": url, "doc_id": "", "problem": "in both splits"} for url in twice["url"][:CHECKED_FAILURES]]
    held = sum(len(stream) for stream in streams.values())
    if tokens != held or seen != corpus.record.rows["text"] or len(index) != seen:
        failures.append({"url": "", "doc_id": "", "problem": f"{seen:,} documents of {corpus.record.rows['text']:,}, {tokens:,} tokens of {held:,} found again"})
    return CheckOutcome(not failures, f"{seen:,} documents decode to their texts, {held:,} tokens, no URL in two splits" if not failures else f"{len(failures)} problems; the first: {failures[0]['problem']}", failures)


TOKEN_SHARDS = Stage(
    name="token_shards",
    build=build_token_shards,
    code_version="1",
    rooms=("llm_assets.tokens.token_shards", "llm_assets.model.encoding", "llm_assets.training.shards", "llm_assets.tokens.schemas"),
    per_crawl=True,
    inputs=("clean_corpus", "tokenizer"),
    literals=lambda recipe, _: {"token_shards": recipe.token_shards},
    tables={"documents": TokenDocuments},
    libraries=("tiktoken", "numpy", "polars"),
)
