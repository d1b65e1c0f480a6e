"""The user's own questions: read from files, and asked of every model beside the questions of the evaluation.

Each file is a group of its own. Its name begins with how its answers are graded: ``exact:faq`` or ``contains:faq``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_assets.dialogue.conversation_files import to_messages
from llm_assets.evaluation.abilities import group_of_file
from llm_assets.model.assistant import system_message
from llm_assets.model.chat import ConversationError, Message, prompt
from llm_assets.model.encoding import Encoding
from llm_assets.recipes import QuestionFile
from llm_assets.recipes.frozen import Frozen
from llm_assets.row_files import RowFileError, read_rows

from .evaluation_set import EvaluationQuestion


class QuestionFileError(ValueError):
    """A file of questions that cannot be asked; the message names it."""


class QuestionFiles(Frozen):
    """The files, and the room for their questions.

    context: tokens of the models' context; None is that of a published model, which its folder alone tells. max_tokens:
    of an answer.
    """

    files: tuple[QuestionFile, ...]
    context: int | None
    max_tokens: int


def read_questions(
    files: QuestionFiles | None, encoding: Encoding
) -> Iterator[tuple[str, int, EvaluationQuestion | str]]:
    """Each row of the files as (file, number, question), or with a reason in its place if it is none with an answer.

    Raises QuestionFileError if a file cannot be read, or if none of its rows is a question.
    """
    if files is None:
        return
    for file in files.files:
        for number, question in _read_file(file, files, encoding):
            yield file.name, number, question


def _read_file(
    file: QuestionFile, room: QuestionFiles, encoding: Encoding
) -> Iterator[tuple[int, EvaluationQuestion | str]]:
    path, first, is_used = Path(file.path).expanduser(), "", False
    try:
        for row in read_rows(path):
            question = row.problem or _question(row.value, file, room, encoding)
            if isinstance(question, str):
                first = first or f"row {row.number}: {question}"
            else:
                is_used = True
            yield row.number, question
    except RowFileError as error:
        raise QuestionFileError(f"questions {error}") from error
    if not is_used:
        raise QuestionFileError(f"questions {path}: no row is a question with an answer; {first or 'it has no row'}")


def _question(value: Any, file: QuestionFile, room: QuestionFiles, encoding: Encoding) -> EvaluationQuestion | str:
    """The question of a row, or why it is none."""
    try:
        question, answers = _texts(value)
        system = system_message(file.tools)
        ids = prompt(encoding, [*([system] if system else []), Message("user", question)])
    except ConversationError as error:
        return str(error)
    if room.context is not None and len(ids) + room.max_tokens > room.context:
        return (
            f"too long: {len(ids):,} tokens, and {room.max_tokens} for the answer, in a context of {room.context:,} "
            "tokens"
        )
    return EvaluationQuestion(group_of_file(file.grading, file.name), question, answers, ",".join(sorted(file.tools)))


def _texts(value: Any) -> tuple[str, list[str]]:
    """The question of a row, and the answers that count as right. Raises ConversationError."""
    if isinstance(value, Mapping) and value.get("answers") is not None:
        question, answers = value.get("question"), value["answers"]
        if not isinstance(question, str) or not question.strip():
            raise ConversationError("question is missing or empty")
        if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a.strip() for a in answers):
            raise ConversationError("answers must be a list of texts")
        return question, answers
    messages = to_messages(value)
    roles = [message.role for message in messages]
    if roles != ["user", "assistant"] or messages[-1].call is not None:
        raise ConversationError(f"a question and its answer are needed, not messages of {', '.join(roles) or 'nobody'}")
    question, answer = (message.content.strip() for message in messages)
    if not question or not answer:
        raise ConversationError("the question or the answer is empty")
    return question, [answer]
