"""`trace_index`: suffix arrays over the tokens that models are trained on, to trace answers to pages and conversations.

Segments have at most SEGMENT_TOKENS tokens, or one longer document, so that memory is bounded whatever the size of the
corpus. Only the training split of current pages is in it, and only the conversations that the assistant is tuned on.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches, scan_table
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.dialogue.rendering import RenderSettings, is_held_out, render_row
from llm_assets.model.encoding import Encoding
from llm_assets.model.shape import ModelShape
from llm_assets.recipes.frozen import Frozen
from llm_assets.training.documents import shard_documents
from llm_assets.training.shards import ShardTokens, ShardWriter, TokenStream, open_shards

from .index import CONVERSATIONS, PAGES, TraceIndex
from .matches import find_places
from .schemas import TracedConversations, TracedDocuments
from .suffix_array import write_segment

SEGMENT_TOKENS = 1 << 26  # sorting a segment takes 0.9 GB of memory with 2 bytes per token
BLOCK_TOKENS = 1 << 20  # read at once
RENDERED = ".conversations"  # the scratch folder of the conversations' tokens
DOCUMENTS_CHECKED = 100
CHECKED_TOKENS = 32  # of each


class TraceIndexConfig(Frozen):
    """Which conversations the assistant is tuned on, as `sft_checkpoint` selects them, and the size of a segment.

    held_out: share of the conversations that only validate. cut: whether longer
    conversations are cut instead of left out. segment_tokens: see SEGMENT_TOKENS.
    """

    held_out: float
    cut: bool
    segment_tokens: int


def trace_index_config(recipe: Any, crawl: str | None) -> TraceIndexConfig:
    return TraceIndexConfig(
        held_out=recipe.finetuning.held_out,
        cut=bool(recipe.finetuning.cut_long_conversations),
        segment_tokens=SEGMENT_TOKENS,
    )


def divide(lengths: np.ndarray, limit: int) -> list[tuple[int, int]]:
    """Runs of documents, as (first, end), with at most `limit` tokens each, or one longer document."""
    ends = np.cumsum(lengths)
    runs: list[tuple[int, int]] = []
    first = 0
    while first < len(lengths):
        before = int(ends[first - 1]) if first else 0
        end = max(first + 1, int(np.searchsorted(ends, before + limit, "right")))
        runs.append((first, end))
        first = end
    return runs


class Shards(NamedTuple):
    """Shards as one stream of tokens. edges: the positions at which they begin, and the end of the last."""

    files: list[Path]
    edges: np.ndarray

    def below(self, runs: np.ndarray) -> tuple[list[Path], np.ndarray]:
        """The files that hold runs of tokens, (n, 2) begins and ends, and the runs by position in these files."""
        first = int(np.searchsorted(self.edges, runs[0, 0], "right")) - 1
        last = int(np.searchsorted(self.edges, runs[-1, 1], "left"))
        return self.files[first:last], runs - self.edges[first]


def index_task(staging: Path, name: str, files: list[Path], runs: np.ndarray, width: int) -> None:
    """Worker: one segment. runs: its tokens, (n, 2) begins and ends in the files. width: bytes of a token."""
    tokens = ShardTokens("train", [np.load(file, mmap_mode="r") for file in files])
    count = int((runs[:, 1] - runs[:, 0]).sum())
    blocks = (
        tokens.tokens(start, min(BLOCK_TOKENS, end - start))
        for begin, end in runs.tolist()
        for start in range(begin, end, BLOCK_TOKENS)
    )
    with Task(staging, name) as task:
        for file in write_segment(staging, name, blocks, count, width):
            task.add_file(file)
            task.stats["index_bytes"] = task.stats.get("index_bytes", 0) + (staging / file).stat().st_size
        task.stats["tokens"] = count


def render_conversations(step: Step, config: TraceIndexConfig, encoding: Encoding) -> pl.DataFrame:
    """Write the tokens of the conversations that are trained on as scratch shards; returns a row for each."""
    shape = ModelShape.load(step.input("base_checkpoint").file("shape.json").read_text(), "base_checkpoint")
    settings = RenderSettings(encoding, shape.context, config.held_out, lambda *_: True, config.cut)
    folder = step.staging / RENDERED
    folder.mkdir(exist_ok=True)
    writer = ShardWriter(folder, "train", encoding.dtype, config.segment_tokens)
    rows = []
    for number, source, sources, messages in _conversation_rows(step.inputs):
        ids, _, _ = render_row(settings, messages)
        if ids and not is_held_out(messages, config.held_out):
            writer.append(np.asarray(ids, encoding.dtype), np.array([len(ids)]))
            rows.append({"conversation": number, "source": source, "sources": sources, "length": len(ids)})
    writer.close()
    return pl.DataFrame(
        rows, schema={"conversation": pl.Int64, "source": pl.String, "sources": pl.String, "length": pl.Int64}
    )


def _conversation_rows(inputs: Inputs) -> Iterator[tuple[int, str, str, str]]:
    """(number, source, JSON list of sources, JSON messages) of every conversation; none where a recipe has none."""
    if "conversations" in inputs:
        columns = ["conversation", "source", "sources", "messages"]
        for path in sorted(inputs.artifact("conversations").table("conversations")):
            for frame in batches(path, columns):
                yield from frame.iter_rows()


def training_documents(inputs: Inputs) -> pl.DataFrame:
    """The current pages of the training split, in the order of their stream. place: where they begin in it."""
    documents = shard_documents(inputs, _PAGE_COLUMNS)
    training = documents.filter(pl.col("split") == "train").with_columns(place=_places(pl.col("length")))
    return training.filter("current").select("length", *_PAGE_COLUMNS, "place")


def _places(lengths: pl.Expr) -> pl.Expr:
    """Where documents begin in a stream."""
    return lengths.cum_sum() - lengths


def _training_shards(step: Step) -> Shards:
    """The shards of all crawls; files that only workers read need not be on this machine."""
    files, lengths = [], []
    for artifact in step.inputs.by_crawl("token_shards").values():
        for name in sorted(name for name in artifact.record.files if fnmatch(name, "train-[0-9]*.npy")):
            files.append(artifact.file(name) if step.engine.shares_disk else artifact.folder / name)
            with artifact.open(name) as stream:
                lengths.append(_length(stream))
    return Shards(files, _edges(lengths))


def _length(stream: BinaryIO) -> int:
    """The number of tokens of a shard, of which only the header is read."""
    np.lib.format.read_magic(stream)
    return int(np.lib.format.read_array_header_1_0(stream)[0][0])


def _edges(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _runs(documents: pl.DataFrame) -> np.ndarray:
    """The tokens of documents, as (n, 2) begins and ends in their stream: one run for documents without a gap."""
    begins = documents["place"].to_numpy()
    ends = begins + documents["length"].to_numpy()
    is_gap = begins[1:] != ends[:-1]
    return np.stack([begins[np.append(True, is_gap)], ends[np.append(is_gap, True)]], axis=1).astype(np.int64)


_PAGE_COLUMNS = ("doc_id", "url", "crawl", "warc_file", "warc_offset")


def build_trace_index(step: Step, config: TraceIndexConfig) -> None:
    """One task per segment, and one for the tokenizer and the tables of documents."""
    encoding = Encoding.load(step.input("tokenizer").path)
    files, width = encoding.save(step.staging), np.dtype(encoding.dtype).itemsize
    rendered = render_conversations(step, config, encoding).with_columns(place=_places(pl.col("length")))
    rendered_files = sorted((step.staging / RENDERED).glob("train-[0-9]*.npy"))
    rendered_edges = _edges([len(shard) for shard in open_shards(step.staging / RENDERED, "train")])
    sources = {
        PAGES: (training_documents(step.inputs), _training_shards(step)),
        CONVERSATIONS: (rendered, Shards(rendered_files, rendered_edges)),
    }
    tasks: dict[str, tuple] = {}
    segment_bytes: dict[str, int] = {}
    tables: dict[str, pl.DataFrame] = {}
    for kind, (documents, shards) in sources.items():
        lengths = documents["length"].to_numpy()
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        frames = [documents.head(0).with_columns(segment=pl.lit(""), start=pl.lit(0, pl.Int64))]
        for number, (first, end) in enumerate(divide(lengths, config.segment_tokens)):
            name = f"{kind}-{number:05d}"
            tasks[name] = (*shards.below(_runs(documents[first:end])), width)
            # An engine sets aside twice what a task reads; sorting takes 7 bytes of memory for each byte of tokens.
            segment_bytes[name] = 4 * width * int(starts[end] - starts[first])
            places = pl.Series("start", starts[first:end] - starts[first])
            frames.append(documents[first:end].with_columns(places, segment=pl.lit(name)).select(frames[0].columns))
        tables[kind] = pl.concat(frames)
    step.run_tasks(index_task, tasks, "segments", segment_bytes)
    with step.task("documents") as task:
        for file in files:
            task.add_file(file)
        for path in (step.staging / RENDERED).iterdir():
            task.add_scratch(f"{RENDERED}/{path.name}")
        task.table("documents", TracedDocuments).frame(tables[PAGES])
        task.table("conversations", TracedConversations).frame(tables[CONVERSATIONS])
        task.stats.update(documents=len(tables[PAGES]), conversations=len(tables[CONVERSATIONS]))


def finds_documents(artifact: Artifact, inputs: Inputs, config: TraceIndexConfig) -> CheckOutcome:
    """Whether the words of training pages are found in the index, at the place of the page.

    Pages are taken from all over the shards, and the tokens from the middle of each.
    """
    index, documents = TraceIndex(artifact.path), training_documents(inputs)
    checked = documents.gather_every(max(1, len(documents) // DOCUMENTS_CHECKED))
    missed: list[dict[str, Any]] = []
    searched = 0
    streams = {
        crawl: (TokenStream([shards.path], "train"), _positions(shards, checked.filter(pl.col("crawl") == crawl)))
        for crawl, shards in inputs.by_crawl("token_shards").items()
    }
    for row in checked.iter_rows(named=True):
        stream, positions = streams[row["crawl"]]
        middle = 1 + (row["length"] - 1) // 2
        tokens = stream.tokens(positions[row["warc_file"], row["warc_offset"]] + middle, row["length"] - middle)
        tokens = tokens[:CHECKED_TOKENS]
        if len(tokens):
            searched += 1
            _, places = find_places(index, PAGES, tokens.tolist(), len(documents))
            pages = (index.page_place(*place) for place in places)
            if not any((page.doc_id, page.position) == (row["doc_id"], middle) for page in pages):
                missed.append({"url": row["url"], "position": middle})
    numbers = {"documents_searched": searched, "documents_found": searched - len(missed)}
    summary = f"{searched - len(missed)} of {searched} pages are found by their own words"
    return CheckOutcome(not missed, summary, missed[:20], numbers)


def _positions(shards: Artifact, documents: pl.DataFrame) -> dict[tuple[str, int], int]:
    """Where training documents begin in the shards of their crawl, by WARC file and offset."""
    training = scan_table(shards.table("documents")).filter(pl.col("split") == "train")
    rows = training.join(documents.lazy(), on=["warc_file", "warc_offset"], how="semi").collect(engine="streaming")
    return {(file, offset): place for file, offset, place in rows.select("warc_file", "warc_offset", "position").rows()}


TRACE_INDEX = Stage(
    name="trace_index",
    group="finetuning",
    description="Suffix arrays over the pages and conversations that the assistant is trained on, by which "
    "`llm-assets trace-answer` finds where an answer's words come from.",
    kinds=("numpy", "parquet"),
    build=build_trace_index,
    config=trace_index_config,
    code_version="1",
    inputs=("tokenizer", "base_checkpoint", "token_shards", TRAINING_PAGES, "conversations"),
    optional_inputs=("token_shards", TRAINING_PAGES, "conversations"),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables={"documents": TracedDocuments, "conversations": TracedConversations},
    main_table="documents",
    checks=(
        Check(
            "trace_finds_pages",
            "Pages of the training shards are found by their own words.",
            finds_documents,
            blocking=True,
        ),
    ),
    libraries=("pydivsufsort", "numpy"),
    on_demand=True,
)
