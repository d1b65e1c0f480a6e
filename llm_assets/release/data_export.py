"""The corpus, the conversations and the rankings as a folder that Hugging Face's `datasets` loads, with its card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches, read_table, scan_table, write_table
from llm_assets.corpus_pages import current_pages_file, scan_current
from llm_assets.dialogue.messages import from_json, to_openai
from llm_assets.report import render

TEMPLATE = "dataset_card.md.j2"
CARD = "README.md"
FILE_BYTES = 256 << 20  # of a file's rows in memory; the Parquet file is about a third of it
# The names that `datasets` gives to splits.
_SPLITS = {"development": "validation"}
# Messages as `datasets` and TRL expect them; a call's arguments are a JSON object, as in OpenAI's API.
_FUNCTION = pl.Struct({"name": pl.String, "arguments": pl.String})
_CALLS = pl.List(pl.Struct({"type": pl.String, "function": _FUNCTION}))
MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String, "tool_calls": _CALLS}))
_TEXT_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
# FineWeb's columns (https://huggingface.co/datasets/HuggingFaceFW/fineweb, "Data fields").
CORPUS_COLUMNS = (
    "text",
    "id",
    "dump",
    "url",
    "date",
    "file_path",
    "language",
    "language_score",
    "token_count",
)


class DataExportError(ValueError):
    """A folder that the data cannot be exported to."""


@dataclass(frozen=True)
class Subset:
    """A config of the dataset. rows: their number, by split. left_out: what is not in it, in a sentence, or empty."""

    name: str
    description: str
    rows: Mapping[str, int]
    left_out: str = ""


class SplitWriter:
    """Writes the splits of a subset as Parquet files of limited size, ``<subset>/<split>-00000.parquet``."""

    def __init__(self, folder: Path, subset: str, splits: Iterable[str]):
        self.folder, self.rows = folder / subset, dict.fromkeys(splits, 0)
        self._frames: dict[str, list[pl.DataFrame]] = {split: [] for split in self.rows}
        self._files = dict.fromkeys(self.rows, 0)
        self.folder.mkdir(parents=True)

    def add(self, split: str, frame: pl.DataFrame) -> None:
        """Append rows to a split."""
        if len(frame):
            self._frames[split].append(frame)
            self.rows[split] += len(frame)
            if sum(waiting.estimated_size() for waiting in self._frames[split]) >= FILE_BYTES:
                self._write(split)

    def close(self) -> dict[str, int]:
        """Write what is left; returns the number of rows of every split that has some."""
        for split in self.rows:
            self._write(split)
        return {split: rows for split, rows in self.rows.items() if rows}

    def _write(self, split: str) -> None:
        if self._frames[split]:
            frame = pl.concat(self._frames[split])
            write_table(frame, self.folder / f"{split}-{self._files[split]:05}.parquet")
            self._files[split] += 1
            self._frames[split] = []


def new_folder(folder: Path) -> Path:
    """The folder, which must not exist or be empty: files of an earlier export would be loaded with those of this one.

    Raises DataExportError otherwise.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataExportError(f"{folder} is not an empty folder; name one that does not exist")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def export_corpus(
    folder: Path, corpora: Mapping[str, Artifact], shards: Mapping[str, Artifact], training_pages: Artifact
) -> Subset:
    """Export the pages that models are trained on, with FineWeb's columns and the splits of the token shards.

    corpora, shards: artifacts of `clean_corpus` and `token_shards`, by crawl. token_count: tokens of the text with the
    recipe's tokenizer, without BOS.
    """
    writer = SplitWriter(folder, "corpus", ("train", "validation"))
    pages = 0
    for crawl, corpus in corpora.items():
        pages += sum(corpus.record.rows.values())
        current = scan_current(current_pages_file(training_pages, crawl))
        documents = scan_table(shards[crawl].table("documents"))
        for path in corpus.table("text"):
            of_file = documents.filter(pl.col("warc_file") == path.stem).select(
                "warc_file", "warc_offset", "doc_id", "split", token_count=pl.col("length") - 1
            )
            places = current.filter(pl.col("warc_file") == path.stem).collect()
            known = of_file.collect().join(places, on=["warc_file", "warc_offset"], how="semi")
            for frame in _corpus_frames(path, known):
                for split in writer.rows:
                    writer.add(split, frame.filter(pl.col("split") == split).select(CORPUS_COLUMNS))
    rows = writer.close()
    others = pages - sum(rows.values())
    left_out = f"{others:,} pages are left out, because a later capture replaced them or only the search tool uses them"
    return Subset("corpus", "pages that the models are trained on", rows, left_out if others else "")


def _corpus_frames(path: Path, documents: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The pages of one text table that are among `documents`, with FineWeb's columns and `split`."""
    columns = ["text", "doc_id", "crawl", "url", "fetched_at", "warc_file", "warc_offset", "language", "language_score"]
    names = {"doc_id": "id", "crawl": "dump", "fetched_at": "date", "warc_file": "file_path"}
    for batch in batches(path, columns):
        yield batch.join(
            documents, on=["warc_file", "warc_offset", "doc_id"], how="inner", maintain_order="left"
        ).rename(names)


def export_conversations(folder: Path, conversations: Artifact) -> Subset:
    """Export the conversations of SFT: `messages` as a list of objects, and the file or generator of each."""
    writer = SplitWriter(folder, "conversations", ("train",))
    for path in conversations.table("conversations"):
        for batch in batches(path, ["messages", "source"]):
            messages = [_structs(to_openai(from_json(text), json_arguments=True)) for text in batch["messages"]]
            writer.add(
                "train", pl.DataFrame({"messages": pl.Series(messages, dtype=MESSAGES)}).with_columns(batch["source"])
            )
    return Subset("conversations", "conversations for supervised fine-tuning", writer.close())


def _structs(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"tool_calls": None, **message} for message in messages]


def export_questions(folder: Path, conversations: Artifact) -> Subset:
    """Export the questions that the models are evaluated with; no conversation asks them."""
    writer = SplitWriter(folder, "questions", ("development", "test"))
    columns = ["split", "group", "question", "tools", "answers", "distractors"]
    for table in conversations.table("evaluation"):
        frame = read_table(table, columns=columns).with_columns(
            *(pl.col(name).str.json_decode(pl.List(pl.String)) for name in ("answers", "distractors"))
        )
        for split in writer.rows:
            writer.add(split, frame.filter(pl.col("split") == split).drop("split"))
    return Subset("questions", "questions that no conversation asks, with right and wrong answers", writer.close())


def export_preferences(folder: Path, rankings: Artifact) -> Subset:
    """Export the rankings as prompt, chosen and rejected messages (TRL's explicit, conversational format).

    Ties have no chosen answer and are left out. Rankings of split `gold` are not used to train the reward model.
    """
    writer = SplitWriter(folder, "preferences", ("train", "validation", "test", "gold"))
    ties = 0
    for path in rankings.table("rankings"):
        table = read_table(path)
        ranked = table.filter(pl.col("preferred") != "tie")
        ties += len(table) - len(ranked)
        is_first = pl.col("preferred") == "first"
        frame = ranked.select(
            _message_list("user", pl.col("question")).alias("prompt"),
            _message_list("assistant", pl.when(is_first).then("first").otherwise("second")).alias("chosen"),
            _message_list("assistant", pl.when(is_first).then("second").otherwise("first")).alias("rejected"),
            "labeller",
            "simulated",
            split=pl.col("split").replace(_SPLITS),
        )
        for split in writer.rows:
            writer.add(split, frame.filter(pl.col("split") == split).drop("split"))
    left_out = f"{ties:,} ties are left out, because neither answer was preferred" if ties else ""
    return Subset("preferences", "pairs of answers, one of which was preferred", writer.close(), left_out)


def _message_list(role: str, content: pl.Expr) -> pl.Expr:
    """A list of one message with this content."""
    message = pl.struct(pl.lit(role).alias("role"), content.alias("content"))
    return pl.concat_list(message).cast(_TEXT_MESSAGES)


def write_card(
    folder: Path, name: str, subsets: list[Subset], languages: Sequence[str], license: str, artifacts: list[Artifact]
) -> None:
    """Write the dataset's card, whose header tells `datasets` the subsets and their files.

    languages: ISO 639 codes. license: as Hugging Face names it. artifacts: what the data was exported from.
    """
    lineage = [(artifact.record.key, artifact.record.short_id, artifact.data_version) for artifact in artifacts]
    text = render(
        __package__,
        TEMPLATE,
        name=name,
        subsets=subsets,
        languages=languages,
        license=json.dumps(license),
        lineage=lineage,
    )
    (folder / CARD).write_text(text, encoding="utf-8")
