"""`tokenizer`: byte-level BPE trained on the clean corpus, or a published encoding.

Sennrich, Haddow, Birch, arXiv:1508.07909; on bytes: Radford et al., "Language Models are Unsupervised Multitask Learners",
2019. Trained by rustbpe, twice as fast as `tokenizers` (benchmarks/tokenizer.py). It sums the counts of pairs over all
documents, so neither their order nor the number of threads changes the ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches
from llm_assets.model.encoding import SPECIAL_TOKENS, Encoding, TokenizerError, gpt4_pattern, published
from llm_assets.recipes import PublishedEncoding, Recipe
from llm_assets.report import render

from .schemas import Compression, Vocabulary

REPORT = "report.html"
COMPARED_BYTES = 8 << 20  # of text, on which encodings are compared and tokens counted
SAMPLE_CHARACTERS = 1_200
LONGEST = 40


def fetch(named: PublishedEncoding) -> Encoding:
    """The published encoding that a recipe names. Raises TokenizerError."""
    return published(named.name, Path(named.ranks).expanduser() if named.ranks else None)


def corpus_texts(corpora: Sequence[Artifact], most_bytes: int | None = None) -> Iterator[str]:
    """Texts of the corpus; where they hold more than `most_bytes`, about so many, of the documents whose identifiers hash lowest."""
    total = sum(int(corpus.record.stats.get("text_bytes", 0)) for corpus in corpora)
    limit = None if most_bytes is None or total <= most_bytes else int(most_bytes / total * 16**8)
    for corpus in corpora:
        for path in corpus.table("text"):
            for frame in batches(path, ["doc_id", "text"]):
                for doc_id, text in frame.iter_rows():
                    if limit is None or int(doc_id[:8], 16) < limit:
                        yield text


def train(documents: Iterable[str], vocabulary: int, digits: int = 3) -> Encoding:
    """Ranks of `vocabulary` ids, the special tokens among them; numbers are split into pieces of at most so many digits. Raises TokenizerError where the text has too few pairs for it."""
    import rustbpe

    wanted, pattern = vocabulary - len(SPECIAL_TOKENS), gpt4_pattern(digits)
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(documents), wanted, pattern=pattern)
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    if len(ranks) < wanted:
        raise TokenizerError(f"tokenizer.vocabulary {vocabulary:,}: the corpus supports {len(ranks) + len(SPECIAL_TOKENS):,} only; lower it, or add crawls")
    return Encoding("llm-assets", pattern, ranks)


def shown(token: bytes) -> str:
    """A token for a table: its text, or its bytes where they are no UTF-8."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in token)


def vocabulary_table(encoding: Encoding, counts: np.ndarray) -> pl.DataFrame:
    """One row an id (schema Vocabulary)."""
    rows = [{"id": rank, "token": shown(token), "bytes": len(token), "special": False} for token, rank in sorted(encoding.ranks.items(), key=lambda item: item[1])]
    rows += [{"id": rank, "token": name, "bytes": 0, "special": True} for name, rank in encoding.special.items()]
    return pl.DataFrame(rows).with_columns(count=pl.Series(counts, dtype=pl.Int64))


def coloured(encoding: Encoding, text: str) -> list[tuple[str, int]]:
    """Pieces of text with the id of each token; tokens that part a character are shown as bytes."""
    return [(shown(encoding.bpe.decode_single_token_bytes(rank)), rank) for rank in encoding.encode(text)]


def _crawls(recipe: Recipe) -> list[str]:
    return recipe.trained(recipe.tokenizer.crawls)


def build_tokenizer(step: Step, recipe: Recipe) -> None:
    """One part: ranks and description, the vocabulary, compression, and the report."""
    settings = recipe.tokenizer
    corpora = [step.inputs[f"clean_corpus/{crawl}"] for crawl in _crawls(recipe)]
    if not any(corpus.record.rows.get("text") for corpus in corpora):
        raise TokenizerError("the corpus is empty: no page of any crawl came through; llm-assets corpus report says what took them")
    step.progress.start(2, "steps")
    encoding = fetch(settings.encoding) if settings.encoding else train(corpus_texts(corpora, settings.training_bytes), settings.vocabulary, settings.digits)
    step.progress.advance(1)
    sample = list(corpus_texts(corpora, COMPARED_BYTES))
    sampled_bytes = sum(len(text.encode()) for text in sample)
    counts = np.zeros(encoding.size, np.int64)
    lengths: list[dict[str, Any]] = [{"encoding": "raw bytes", "vocabulary": 256, "tokens": sampled_bytes}]
    for one in [encoding, *(fetch(named) for named in settings.compare if named != settings.encoding)]:
        found = [np.asarray(ids, np.int64) for ids in one.bpe.encode_ordinary_batch(sample)]
        lengths.append({"encoding": one.name, "vocabulary": one.size, "tokens": sum(map(len, found))})
        if one is encoding:
            for ids in found:
                counts += np.bincount(ids, minlength=encoding.size)
    compression = pl.DataFrame([{**row, "bytes": sampled_bytes, "bytes_per_token": round(sampled_bytes / max(row["tokens"], 1), 4)} for row in lengths])
    table = vocabulary_table(encoding, counts)
    with step.part("tokenizer") as part:
        for name in encoding.save(step.staging):
            part.add_file(name)
        part.table("vocabulary", Vocabulary).frame(table)
        part.table("compression", Compression).frame(compression)
        longest = table.filter(pl.col("count") > 0).sort("bytes", "id", descending=[True, False]).head(LONGEST)
        page = render(
            __package__, "tokenizer.html.j2", recipe=recipe, encoding=encoding, compression=compression.to_dicts(), longest=longest.to_dicts(),
            unused=int((counts[: len(encoding.ranks)] == 0).sum()), samples=[coloured(encoding, text[:SAMPLE_CHARACTERS]) for text in sample[:: max(1, len(sample) // max(settings.samples, 1))][: settings.samples]],
        )  # fmt: skip
        write_atomic(step.staging / REPORT, page.encode())
        part.add_file(REPORT)
        own = compression.row(1, named=True)
        part.stats.update(vocabulary=encoding.size, sampled_bytes=sampled_bytes, sampled_tokens=own["tokens"], bytes_per_token=own["bytes_per_token"])
    step.progress.advance(2)


def preview(tokenizer: Artifact) -> str:
    """Compression and the longest tokens in Markdown, for Dagster's page of the asset."""
    compression = pl.read_parquet(tokenizer.table("compression"))
    lines = ["| encoding | ids | tokens | bytes per token |", "|---|--:|--:|--:|"]
    lines += [f"| {row['encoding']} | {row['vocabulary']:,} | {row['tokens']:,} | {row['bytes_per_token']:.3f} |" for row in compression.to_dicts()]
    longest = pl.read_parquet(tokenizer.table("vocabulary")).filter(pl.col("count") > 0).sort("bytes", "id", descending=[True, False]).head(20)
    return "\n".join([*lines, "", "Longest tokens in use: " + ", ".join(f"`{token.replace('`', ' ').strip()}`" for token in longest["token"])])


TOKENIZER = Stage(
    name="tokenizer",
    build=build_tokenizer,
    code_version="1",
    rooms=("llm_assets.tokens.tokenizer", "llm_assets.model.encoding", "llm_assets.tokens.schemas"),
    inputs=("clean_corpus",),
    literals=lambda recipe, _: {"tokenizer": recipe.tokenizer.but(crawls=None), "crawls": _crawls(recipe)},
    crawls=_crawls,
    tables={"vocabulary": Vocabulary, "compression": Compression},
    libraries=("rustbpe", "tiktoken", "polars"),
)
