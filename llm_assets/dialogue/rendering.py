"""Renders tables of conversations to tokens, for supervised finetuning and for later stages that replay some."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from llm_assets.artifacts.step import Step, TableWriter, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.model import chat
from llm_assets.model.encoding import Encoding

from .messages import from_json
from .packing import Conversations
from .schemas import Cut, TooLong
from .splits import stable_share

TRAINING_FILE, HELD_OUT_FILE = "training.npz", "held-out.npz"
# A lower bound on the average length of a conversation (the laptop preset's have 60 tokens). It overestimates how many
# conversations a replay needs, so that none has to be replayed twice.
FEWEST_TOKENS = 32
FEWEST_REPLAYED = 100  # conversations to draw at least; with a smaller sample, chance could draw none at all
BATCH_ROWS = 1024


@dataclass(frozen=True)
class RenderSettings:
    """Which conversations are rendered, and how.

    context: length of the model's context, in tokens; longer conversations are left out and recorded, or, if `cut` is
    set, end with the last answer that fits. held_out_share: share of the conversations that is held out for validation.
    wanted(number, sources): whether a conversation is rendered at all.
    """

    encoding: Encoding
    context: int
    held_out_share: float
    wanted: Callable[[int, list[str]], bool]
    cut: bool = False


@dataclass
class _TokenLists:
    """Tokens and loss mask of each conversation so far, and the offset at which each begins."""

    tokens: list[np.ndarray] = field(default_factory=list)
    loss_masks: list[np.ndarray] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])

    def append(self, ids: list[int], loss_mask: list[bool]) -> None:
        self.tokens.append(np.asarray(ids, np.uint32))
        self.loss_masks.append(np.asarray(loss_mask, bool))
        self.starts.append(self.starts[-1] + len(ids))

    def save(self, path: Path) -> None:
        Conversations(
            np.concatenate(self.tokens) if self.tokens else np.zeros(0, np.uint32),
            np.concatenate(self.loss_masks) if self.loss_masks else np.zeros(0, bool),
            np.asarray(self.starts, np.int64),
        ).save(path)


def _rows_of(conversations: Artifact) -> int:
    return sum(pq.ParquetFile(path).metadata.num_rows for path in conversations.table("conversations"))


def _read_rows(step: Step, conversations: Artifact) -> Iterator[tuple[int, str, str, str]]:
    """(number, source, JSON list of sources, JSON messages) of every conversation; reports progress per batch."""
    step.progress.start(_rows_of(conversations), "conversations")
    rows_read = 0
    for path in sorted(conversations.table("conversations")):
        columns = ["conversation", "source", "sources", "messages"]
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
            rows_read += len(batch)
            step.progress.advance(rows_read)


def length_to_last_answer(ids: Sequence[int], end: int, limit: int) -> int:
    """The tokens up to the last end of an assistant's turn among the first `limit`; 0 if there is none.

    A conversation is rendered from its beginning, so these are the tokens of its first messages. end: id of that token.
    """
    return next((place + 1 for place in reversed(range(min(limit, len(ids)))) if ids[place] == end), 0)


def render_row(settings: RenderSettings, messages: str) -> tuple[list[int], list[bool], int]:
    """Tokens and loss mask of a conversation, given as JSON, and its length before it was cut.

    Without tokens if it is too long for the context.
    """
    ids, loss_mask = chat.render(settings.encoding, from_json(messages))
    length = len(ids)
    if length - 1 > settings.context:
        end = settings.encoding.special["<|assistant_end|>"]
        rendered = length_to_last_answer(ids, end, settings.context + 1) if settings.cut else 0
        ids, loss_mask = ids[:rendered], loss_mask[:rendered]
    return ids, loss_mask, length


def is_held_out(messages: str, share: float) -> bool:
    """Whether a conversation is held out. Its text decides, so that it stays in its split when others are added."""
    return stable_share("held out", messages) < share


def render_all(step: Step, task: Task, conversations: Artifact, settings: RenderSettings) -> dict[str, Any]:
    """Render the wanted conversations: training tokens, held-out tokens, and tables of those that do not fit.

    Returns how many conversations and tokens there are, by name.
    """
    splits = {TRAINING_FILE: _TokenLists(), HELD_OUT_FILE: _TokenLists()}
    too_long = task.table("too_long", TooLong)
    cut_table: TableWriter | None = None
    counts = {"conversations": 0, "too_long": 0, "left_out": 0, "trained_tokens": 0, "conversation_tokens": 0}
    for number, source, sources, messages in _read_rows(step, conversations):
        if not settings.wanted(number, json.loads(sources)):
            counts["left_out"] += 1
            continue
        ids, loss_mask, tokens = render_row(settings, messages)
        if len(ids) < tokens:
            row = {"conversation": number, "source": source, "tokens": tokens}
            if not ids:
                counts["too_long"] += 1
                too_long.append(row)
                continue
            # As most builds cut none, they have neither this table nor its count.
            cut_table = cut_table or task.table("cut", Cut)
            cut_table.append({**row, "rendered": len(ids)})
            counts["cut"] = counts.get("cut", 0) + 1
        split = HELD_OUT_FILE if is_held_out(messages, settings.held_out_share) else TRAINING_FILE
        splits[split].append(ids, loss_mask)
        counts["conversations"] += 1
        counts["conversation_tokens"] += len(ids)
        counts["trained_tokens"] += sum(loss_mask)
    for name, token_lists in splits.items():
        token_lists.save(task.add_scratch(name))
    return counts


def write_replay(
    step: Step, conversations: Artifact, encoding: Encoding, context: int, sequences: int, seed: int
) -> str:
    """Write conversations, drawn by seed, as tokens for training that replays some of them; returns the file's path.

    sequences: how many sequences of `context` tokens are replayed.
    """
    if step.finished_task("replay") is None:
        available = _rows_of(conversations)
        share = max(sequences * context / FEWEST_TOKENS, FEWEST_REPLAYED) / max(available, 1)

        def is_drawn(number: int, sources: list[str]) -> bool:
            return stable_share("rehearsed", str(seed), str(number)) < share

        with step.task("replay") as task:
            settings = RenderSettings(encoding, context, held_out_share=0.0, wanted=is_drawn)
            counts = render_all(step, task, conversations, settings)
            task.stats["replay"] = {name: counts[name] for name in ("conversations", "too_long")}
    return str(step.staging / TRAINING_FILE)
