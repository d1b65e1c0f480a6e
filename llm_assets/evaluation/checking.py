"""Checkers: functions that decide whether an answer is right.

They are strict, since a policy learns to exploit whatever they let pass. An answer must state its result: a number or a
name that is negated, doubted, asked, or only a bound is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llm_assets.evaluation.grading import contradicting, grade, holds
from llm_assets.evaluation.quantities import is_bare_number, numbers, states_number
from llm_assets.evaluation.statements import conclusion


def is_number(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text concludes with the answer, and with no other number (see `states_number`)."""
    return states_number(text, answer)


def is_number_only(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text is the answer's number and nothing else, apart from a full stop."""
    stripped = text.strip().removesuffix(".")
    return is_bare_number(stripped) and numbers(stripped) == numbers(answer)


def is_spelled(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the text is the letters of the answer joined by hyphens and nothing else, apart from a full stop."""
    return text.strip().removesuffix(".").strip().lower() == "-".join(answer.lower())


def is_stated(text: str, answer: str, distractors: Sequence[str] = ()) -> bool:
    """Whether the last sentence with the answer or a distractor states the answer and no distractor.

    It must neither refuse nor deny the answer, and no later sentence may take it back.
    """
    candidates = [answer, *contradicting(answer, distractors)]
    statement = conclusion(text, lambda sentence: any(holds(sentence, candidate) for candidate in candidates))
    if statement is None:
        return False
    concluded = "\n".join(filter(None, (statement.before, statement.sentence, *statement.after)))
    return grade(concluded, answer, distractors) == "right"


CHECKERS: dict[str, Callable[[str, str, Sequence[str]], bool]] = {
    "number": is_number,
    "number_only": is_number_only,
    "spelled": is_spelled,
    "stated": is_stated,
}
