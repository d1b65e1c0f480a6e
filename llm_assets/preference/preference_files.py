"""Reads rankings from JSONL (also compressed) and Parquet files: people's own, and the layouts of preference data.

| layout | fields of a row | source |
|---|---|---|
| ranking | ``question``, ``first``, ``second``, ``preferred`` (first, second, tie), ``labeller`` | `llm-assets rank` |
| pair | ``chosen`` and ``rejected``, and ``prompt``, ``messages`` or ``conversations`` before them | DPO, ShareGPT |
| transcripts | ``chosen`` and ``rejected``: whole conversations, as text or messages | HH (arXiv:2204.05862) |
| label | ``prompt`` and ``completion``, or ``messages``, and ``label`` (whether it is good) | KTO (arXiv:2402.01306) |

A question of several turns is the text of all of them. Answers of the layout `label` are paired: the first good one of
a prompt with its first bad one, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_assets.dialogue.conversation_files import to_messages
from llm_assets.dialogue.transcript import transcript
from llm_assets.model.chat import ConversationError, Message
from llm_assets.row_files import RowFileError, read_rows, shown_fields

from .open_prompts import PreferenceError

PREFERRED = ("first", "second", "tie")
Ranking = dict[str, Any]

_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_LABELS: dict[Any, bool] = {True: True, False: False}  # and 1, 0, which are equal to them
_BEFORE = ("prompt", "messages", "conversations")  # fields with the conversation before the answers


def read_rankings(
    path: Path, labeller: str = "", size: int | None = None, any_columns: bool = False
) -> Iterator[tuple[int, Ranking | str]]:
    """Each row of a file as (number, ranking), or as (number, problem) if it is not a valid ranking.

    labeller: of rows that name none, which only the layout `ranking` requires. size: see `read_rows`. Raises
    PreferenceError if the file cannot be read, or if no row has the columns of a layout; the message names the file and
    its columns. any_columns: such a file has invalid rows only, and is no error.
    """
    unpaired = UnpairedAnswers(labeller)
    columns: set[str] = set()
    is_known = False
    try:
        for row in read_rows(path, size=size):
            if row.problem:
                yield row.number, row.problem
                continue
            if isinstance(row.value, Mapping):
                columns.update(map(str, row.value))
                is_known = is_known or layout_of(row.value) is not None
            yield from _read_row(row.number, row.value, labeller, unpaired)
    except RowFileError as error:
        raise PreferenceError(f"rankings {error}") from error
    if columns and not is_known and not any_columns:
        raise PreferenceError(
            f"rankings {path}: its columns are {shown_fields(columns)}; a row needs question, first, second, preferred "
            "and labeller; or chosen and rejected; or prompt, completion and label"
        )
    yield from unpaired.problems()


def layout_of(row: Mapping[str, Any]) -> str | None:
    """The layout of a row by its fields; None if it has those of none."""
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return "pair"
    if "label" in row:
        return "label"
    return "ranking" if {"question", "first", "second", "preferred"} & row.keys() else None


def _read_row(number: int, row: Any, labeller: str, unpaired: UnpairedAnswers) -> Iterator[tuple[int, Ranking | str]]:
    if not isinstance(row, Mapping):
        yield number, f"a {type(row).__name__}, not an object"
        return
    layout = layout_of(row)
    try:
        if layout == "pair":
            yield number, _pair(row, labeller)
        elif layout == "label":
            yield from unpaired.add(number, row)
        else:
            yield number, _problem(row) or dict(row)
    except ConversationError as error:
        yield number, str(error)


def _problem(row: Mapping[str, Any]) -> str:
    for name in ("question", "first", "second", "labeller"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            return f"{name} is missing or empty"
    if row.get("preferred") not in PREFERRED:
        return f"preferred is {row.get('preferred')!r}; it must be {', '.join(PREFERRED)}"
    if row["first"] == row["second"]:
        return "both answers are the same"
    return ""


def _pair(row: Mapping[str, Any], labeller: str) -> Ranking:
    """The ranking of a row with a chosen and a rejected side. Raises ConversationError."""
    before = next((_messages(row[name], name) for name in _BEFORE if row.get(name) is not None), None)
    chosen, rejected = (_side(row.get(name), name) for name in ("chosen", "rejected"))
    if before is None or len(chosen) > 1:  # the sides are whole conversations
        before = chosen[:-1]
        if rejected[:-1] != before:
            raise ConversationError("chosen and rejected differ before their last answers")
    elif len(rejected) > 1:
        raise ConversationError("rejected is a whole conversation, and chosen is one answer")
    return _ranking(before, chosen[-1].content, rejected[-1].content, labeller)


def _ranking(before: Sequence[Message], chosen: str, rejected: str, labeller: str) -> Ranking:
    """A ranking whose sides are in the order of their texts, so that neither place is the better one."""
    question = _question(before)
    if chosen.strip() == rejected.strip():
        raise ConversationError("both answers are the same")
    first, second = sorted((chosen, rejected))
    preferred = "first" if first == chosen else "second"
    return {"question": question, "first": first, "second": second, "preferred": preferred, "labeller": labeller}


def _question(before: Sequence[Message]) -> str:
    """The question that the answers are to: a user's only message, or the text of several turns."""
    if not before or before[-1].role not in ("user", "tool") or not before[-1].content.strip():
        raise ConversationError("there is no question: prompt is missing or empty, or does not end with the user")
    return before[-1].content if len(before) == 1 else transcript(before, "verbatim")


def _messages(value: Any, name: str) -> list[Message]:
    """The messages of a conversation, as text or in the layouts of conversation files. Raises ConversationError."""
    if isinstance(value, str):
        return _turns(value) or [Message("user", value)]
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list) or not value or not isinstance(value[0], Mapping):
        raise ConversationError(f"{name} must be text or messages, not {type(value).__name__}")
    return to_messages({"conversations" if "from" in value[0] else "messages": value})


def _turns(text: str) -> list[Message]:
    """The turns of a transcript in the form of HH; none if the text is none."""
    beginning, *parts = _TURN.split(text)
    if beginning.strip() or not parts:
        return []
    return [
        Message(_SPEAKERS[speaker], content.strip()) for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]


def _side(value: Any, name: str) -> list[Message]:
    """The messages of a chosen or rejected side, the last of which is the answer. Raises ConversationError."""
    if value is None:
        raise ConversationError(f"{name} is missing")
    if isinstance(value, str):
        messages = _turns(value) or [Message("assistant", value)]
    else:
        messages = _messages(value, name)
    answer = messages[-1]
    if answer.role != "assistant" or answer.call is not None or not answer.content.strip():
        raise ConversationError(f"{name} does not end with an answer of the assistant")
    return messages


class UnpairedAnswers:
    """Answers with a label that wait for an answer of the same prompt with the other label."""

    def __init__(self, labeller: str):
        self.labeller = labeller
        self._waiting: dict[tuple[str, bool], list[tuple[int, list[Message], str]]] = {}

    def add(self, number: int, row: Mapping[str, Any]) -> Iterator[tuple[int, Ranking]]:
        """Add a row; yields a ranking if it completes a pair. Raises ConversationError."""
        label = row["label"]
        if not isinstance(label, (bool, int)) or label not in _LABELS:
            raise ConversationError(f"label is {label!r}; it must be true or false")
        before, answer = _labelled(row)
        key, is_good = _question(before), _LABELS[label]
        others = self._waiting.get((key, not is_good))
        if not others:
            self._waiting.setdefault((key, is_good), []).append((number, before, answer))
            return
        _, _, other = others.pop(0)
        chosen, rejected = (answer, other) if is_good else (other, answer)
        yield number, _ranking(before, chosen, rejected, self.labeller)

    def problems(self) -> Iterator[tuple[int, str]]:
        """The answers that are left without a pair, in the order of the file."""
        waiting = [
            (number, f"no answer of this prompt is labelled {str(not is_good).lower()}")
            for (_, is_good), answers in self._waiting.items()
            for number, _, _ in answers
        ]
        return iter(sorted(waiting))


def _labelled(row: Mapping[str, Any]) -> tuple[list[Message], str]:
    """The conversation before a labelled answer, and the answer. Raises ConversationError."""
    if row.get("completion") is not None:
        before = _messages(row.get("prompt"), "prompt")
        return before, _side(row["completion"], "completion")[-1].content
    for name in ("messages", "conversations"):
        if row.get(name) is not None:
            messages = _side(row[name], name)
            return messages[:-1], messages[-1].content
    raise ConversationError("completion is missing")
