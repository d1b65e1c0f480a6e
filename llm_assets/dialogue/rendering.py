"""Tables of conversations rendered to tokens, for a training on them and for one that replays some of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from llm_assets.artifacts.step import Step, Task
from llm_assets.artifacts.store import Artifact
from llm_assets.model import chat
from llm_assets.model.encoding import Encoding

from .messages import from_json
from .packing import Conversations
from .schemas import TooLong
from .splits import stable_share

TRAINING, HELD_OUT = "training.npz", "held-out.npz"
# Of a conversation, on average: so many are drawn to replay that none comes twice. The laptop's have 60.
FEWEST_TOKENS = 32
FEWEST_REPLAYED = 100  # conversations that are drawn at least: of fewer, chance may leave none


def render_all(
    task: Task,
    step: Step,
    conversations: Artifact,
    encoding: Encoding,
    context: int,
    held_out: float,
    wanted: Callable[[int, list[str]], bool],
) -> dict[str, Any]:
    """Write the tokens of the wanted conversations, and the table of those that do not fit; returns their counts.

    wanted: of a conversation's number and sources. held_out: share of the conversations that are held out.
    """
    kept: dict[str, tuple[list[np.ndarray], list[np.ndarray], list[int]]] = {
        TRAINING: ([], [], [0]),
        HELD_OUT: ([], [], [0]),
    }
    too_long = task.table("too_long", TooLong)
    counts = {"conversations": 0, "too_long": 0, "left_out": 0, "trained_tokens": 0, "conversation_tokens": 0}
    rows = sum(pq.ParquetFile(path).metadata.num_rows for path in conversations.table("conversations"))
    step.progress.start(rows, "conversations")
    seen = 0
    for path in sorted(conversations.table("conversations")):
        for batch in pq.ParquetFile(path).iter_batches(1024, columns=["conversation", "source", "sources", "messages"]):
            for number, source, sources, messages in zip(
                *(column.to_pylist() for column in batch.columns), strict=True
            ):
                if not wanted(number, json.loads(sources)):
                    counts["left_out"] += 1
                    continue
                ids, trained = chat.render(encoding, from_json(messages))
                if len(ids) - 1 > context:
                    counts["too_long"] += 1
                    too_long.append({"conversation": number, "source": source, "tokens": len(ids)})
                    continue
                # By its text, so that a conversation stays on its side when others are added.
                tokens, masks, starts = kept[HELD_OUT if stable_share("held out", messages) < held_out else TRAINING]
                tokens.append(np.asarray(ids, np.uint32))
                masks.append(np.asarray(trained, bool))
                starts.append(starts[-1] + len(ids))
                counts["conversations"] += 1
                counts["conversation_tokens"] += len(ids)
                counts["trained_tokens"] += sum(trained)
            seen += len(batch)
            step.progress.advance(seen)
    for name, (tokens, masks, starts) in kept.items():
        Conversations(
            np.concatenate(tokens) if tokens else np.zeros(0, np.uint32),
            np.concatenate(masks) if masks else np.zeros(0, bool),
            np.asarray(starts, np.int64),
        ).save(task.add_scratch(name))
    return counts


def write_replay(step: Step, conversations: Artifact, encoding: Encoding, context: int, rows: int, seed: int) -> str:
    """Write conversations, drawn by seed, as tokens for a training that replays `rows` rows of them; the file's path."""
    if step.finished_task("replay") is None:
        held = sum(pq.ParquetFile(path).metadata.num_rows for path in conversations.table("conversations"))
        share = max(rows * context / FEWEST_TOKENS, FEWEST_REPLAYED) / max(held, 1)
        with step.task("replay") as task:
            counts = render_all(
                task,
                step,
                conversations,
                encoding,
                context,
                0.0,
                lambda number, _: stable_share("rehearsed", str(seed), str(number)) < share,
            )
            task.stats["replay"] = {name: counts[name] for name in ("conversations", "too_long")}
    return str(step.staging / TRAINING)
