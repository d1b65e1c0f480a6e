"""`tokenizer`: byte-level BPE trained on the clean corpus, or a published encoding, or a published model's.

BPE: Sennrich, Haddow, Birch, arXiv:1508.07909; on bytes: Radford et al., "Language Models are Unsupervised Multitask
Learners", 2019. rustbpe trains it twice as fast as `tokenizers` (benchmarks/tokenizer.py). It sums the counts of pairs
over all documents, so neither their order nor the number of threads changes the ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import polars as pl

from llm_assets.artifacts.identity import OMITTED_IF_NONE
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Retry, Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import chosen_batches, read_table
from llm_assets.artifacts.views import View
from llm_assets.model.encoding import (
    SPECIAL_TOKENS,
    Encoding,
    EncodingUnavailable,
    TokenizerError,
    gpt4_pattern,
    published,
)
from llm_assets.model.published_tokenizer import read_tokenizer, tokenizer_files
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.pretraining import PublishedEncoding, PublishedModel, Tokenizer
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.report import render
from llm_assets.training.start import start_folder, start_version

from .schemas import Compression, Vocabulary

REPORT = "report.html"
COMPARED_BYTES = 8 << 20  # of text, for comparing encodings and counting tokens
SAMPLE_CHARACTERS = 1_200
LONGEST_TOKENS = 40  # in the HTML page
LONGEST_IN_SUMMARY = 20


def fetch(named: PublishedEncoding) -> Encoding:
    """The published encoding that a recipe names. Raises TokenizerError; EncodingUnavailable if a download fails."""
    return published(named.name, Path(named.ranks).expanduser() if named.ranks else None)


def corpus_texts(corpora: Sequence[Artifact], pages: TrainingPages, max_bytes: int | None = None) -> Iterator[str]:
    """Texts of the corpora's training pages, up to about `max_bytes` in all.

    Of a larger corpus, the documents with the lowest identifiers are taken; these are hashes.
    """
    total = sum(text_bytes(corpus, pages) for corpus in corpora)
    is_chosen = pl.lit(True)
    if max_bytes is not None and total > max_bytes:
        is_chosen = pl.col("doc_id").str.head(8) < f"{int(max_bytes / total * 16**8):08x}"
    for corpus in corpora:
        for path in corpus.table("text"):
            for frame in chosen_batches(path, ["text"], is_chosen & pages.is_kept(), ["doc_id", "host"]):
                yield from frame["text"]


def text_bytes(corpus: Artifact, pages: TrainingPages) -> int:
    """Bytes of text of a corpus' training pages."""
    if not pages.search_only_hosts or not corpus.table("text"):
        return int(corpus.record.stats.get("text_bytes", 0))
    sizes = pages.scan(corpus.table("text")).select(pl.col("text").str.len_bytes().cast(pl.Int64).sum())
    return int(sizes.collect(engine="streaming").item())


def train(documents: Iterable[str], vocabulary: int, digits: int = 3) -> Encoding:
    """An encoding of `vocabulary` ids, special tokens included.

    digits: the most digits in one token; longer numbers are split. Raises TokenizerError if the text has too few pairs
    of bytes for the vocabulary.
    """
    import rustbpe

    wanted, pattern = vocabulary - len(SPECIAL_TOKENS), gpt4_pattern(digits)
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(documents), wanted, pattern=pattern)
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    if len(ranks) < wanted:
        raise TokenizerError(
            f"tokenizer.vocabulary {vocabulary:,}: the corpus supports only {len(ranks) + len(SPECIAL_TOKENS):,}; "
            "lower it, or add crawls"
        )
    return Encoding("llm-assets", pattern, ranks)


def readable(token: bytes) -> str:
    """A token as text for people: its text, or its bytes if they are not UTF-8."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in token)


def vocabulary_table(encoding: Encoding, counts: np.ndarray) -> pl.DataFrame:
    """One row per id (schema Vocabulary)."""
    rows = [
        {
            "id": number,
            "token": readable(encoding.decode_bytes([number])),
            "bytes": int(encoding.token_bytes[number]),
            "special": number not in encoding.text_ids,
        }
        for number in range(encoding.size)
    ]
    return pl.DataFrame(rows).with_columns(count=pl.Series(counts, dtype=pl.Int64))


def coloured(encoding: Encoding, text: str) -> list[tuple[str, int]]:
    """The tokens of a text with their ids. Tokens that split a character are shown as bytes."""
    return [(readable(encoding.decode_bytes([rank])), rank) for rank in encoding.encode(text)]


class TokenizerConfig(Frozen):
    """Size and training of the tokenizer, or a published one; what it is compared with; which pages it may read.

    start: the published model whose tokenizer it is.
    """

    vocabulary: int
    digits: int
    training_bytes: int
    encoding: PublishedEncoding | None
    compare: tuple[PublishedEncoding, ...]
    samples: int
    pages: TrainingPages
    start: Annotated[PublishedModel | None, OMITTED_IF_NONE] = None

    @classmethod
    def of(cls, settings: Tokenizer, pages: TrainingPages, start: PublishedModel | None = None) -> TokenizerConfig:
        """What the build reads of a recipe. start: the published model that brings its tokenizer."""
        names = cls.model_fields.keys() - {"pages", "start"}
        return cls(pages=pages, start=start, **{name: getattr(settings, name) for name in names})


def build_tokenizer(step: Step, config: TokenizerConfig) -> None:
    """One task: the encoding's files, its vocabulary, and how well it compresses."""
    corpora = list(step.inputs.by_crawl("clean_corpus").values())
    if (corpora or config.start is None) and not any(corpus.record.rows.get("text") for corpus in corpora):
        raise TokenizerError(
            "the corpus is empty: every page of every crawl was rejected; llm-assets corpus report shows by which rules"
        )
    step.progress.start(2, "steps")
    if config.start:
        encoding = read_tokenizer(start_folder(config.start))
    elif config.encoding:
        encoding = fetch(config.encoding)
    else:
        texts = corpus_texts(corpora, config.pages, config.training_bytes)
        encoding = train(texts, config.vocabulary, config.digits)
    step.progress.advance(1)
    sample = list(corpus_texts(corpora, config.pages, COMPARED_BYTES))
    others = [fetch(named) for named in config.compare if named != config.encoding]
    compression, counts = compress(encoding, others, sample)
    with step.task("tokenizer") as task:
        for name in encoding.save(step.staging):
            task.add_file(name)
        task.table("vocabulary", Vocabulary).frame(vocabulary_table(encoding, counts))
        task.table("compression", Compression).frame(compression)
        trained = compression.row(1, named=True)
        task.stats.update(
            vocabulary=encoding.size,
            sampled_bytes=trained["bytes"],
            sampled_tokens=trained["tokens"],
            bytes_per_token=trained["bytes_per_token"],
        )
    step.progress.advance(2)


def compress(encoding: Encoding, others: Sequence[Encoding], sample: list[str]) -> tuple[pl.DataFrame, np.ndarray]:
    """Tokens of a sample in each encoding (schema Compression), and how often each id of `encoding` occurs (int64).

    The first two rows are raw bytes and `encoding`.
    """
    sampled_bytes = sum(len(text.encode()) for text in sample)
    counts = np.zeros(encoding.size, np.int64)
    rows: list[dict[str, Any]] = [{"encoding": "raw bytes", "vocabulary": 256, "tokens": sampled_bytes}]
    for measured in [encoding, *others]:
        documents = [np.asarray(ids, np.int64) for ids in measured.encode_batch(sample)]
        rows.append({"encoding": measured.name, "vocabulary": measured.size, "tokens": sum(map(len, documents))})
        if measured is encoding:
            for ids in documents:
                counts += np.bincount(ids, minlength=encoding.size)
    sizes = [
        {"bytes": sampled_bytes, "bytes_per_token": round(sampled_bytes / max(row["tokens"], 1), 4)} for row in rows
    ]
    return pl.DataFrame([{**row, **size} for row, size in zip(rows, sizes, strict=True)]), counts


def longest_tokens(tokenizer: Artifact, number: int) -> pl.DataFrame:
    """The longest tokens that occur in the sampled text, the longest first."""
    used = read_table(tokenizer.table("vocabulary")).filter(pl.col("count") > 0)
    return used.sort("bytes", "id", descending=[True, False]).head(number)


def draw_report(tokenizer: Artifact, inputs: Inputs, config: TokenizerConfig) -> str:
    """The HTML page: compression, the longest tokens, and sample documents with coloured tokens."""
    encoding = Encoding.load(tokenizer.path)
    vocabulary = read_table(tokenizer.table("vocabulary"))
    sample = list(corpus_texts(list(inputs.by_crawl("clean_corpus").values()), config.pages, COMPARED_BYTES))
    step = max(1, len(sample) // max(config.samples, 1))
    documents = sample[::step][: config.samples]
    return render(
        __package__,
        "tokenizer.html.j2",
        encoding=encoding,
        compression=read_table(tokenizer.table("compression")).to_dicts(),
        longest=longest_tokens(tokenizer, LONGEST_TOKENS).to_dicts(),
        unused=len(vocabulary.filter(~pl.col("special") & (pl.col("count") == 0))),
        samples=[coloured(encoding, text[:SAMPLE_CHARACTERS]) for text in documents],
    )


def show(tokenizer: Artifact) -> dict[str, str]:
    """Compression and the longest tokens in Markdown, for the asset's page in Dagster."""
    lines = ["| encoding | ids | tokens | bytes per token |", "|---|--:|--:|--:|"]
    lines += [
        f"| {row['encoding']} | {row['vocabulary']:,} | {row['tokens']:,} | {row['bytes_per_token']:.3f} |"
        for row in read_table(tokenizer.table("compression")).to_dicts()
    ]
    tokens = ", ".join(
        f"`{token.replace('`', ' ').strip()}`" for token in longest_tokens(tokenizer, LONGEST_IN_SUMMARY)["token"]
    )
    return {"compression": "\n".join([*lines, "", f"Longest tokens in use: {tokens}"])}


TOKENIZER = Stage(
    name="tokenizer",
    group="tokens",
    description="Byte-level BPE trained on the clean corpus, or a published encoding, or the tokenizer of a published "
    "model: tiktoken ranks, and the special tokens of chat and tools.",
    kinds=("rust", "tiktoken"),
    build=build_tokenizer,
    config=lambda recipe, crawl: TokenizerConfig.of(
        recipe.tokenizer, recipe.training_pages(), recipe.pretraining.start
    ),
    external_inputs=lambda config: start_version(config.start, tokenizer_files),
    code_version="1",
    inputs=("clean_corpus",),
    optional_inputs=("clean_corpus",),
    crawls=lambda recipe: recipe.tokenizer_crawls(),
    tables={"vocabulary": Vocabulary, "compression": Compression},
    main_table="vocabulary",
    views=(View(REPORT, draw_report, ("tokenizer.html.j2",)),),
    show=show,
    libraries=("rustbpe", "tiktoken", "polars"),
    retry=Retry(on=(EncodingUnavailable,)),
)
