"""Fuzz targets of checkers, by relations between texts: harmless words change no verdict, a denial is never right."""

from __future__ import annotations

from llm_assets.evaluation.abilities import grade_row
from llm_assets.evaluation.checking import CHECKERS, is_number, is_stated
from llm_assets.evaluation.grading import grade
from llm_assets.evaluation.quantities import numbers
from llm_assets.preference.labelling_rule import rule_score

from .choices import Choices, text_bytes
from .targets import Target

_BEFORE = (
    "",
    "Sure! ",
    "Let me think. ",
    "First, 3 + 4 = 7. ",
    "It is not 5. ",
    "I counted twice.\n",
    "No, wait. ",
    "Well, ",
)
_AFTER = (
    "",
    " I hope this helps.",
    " Is there anything else?",
    " Thank you!",
    "\nThat is all.",
    " Let me know. ",
    " :-)",
)
_NUMBER_STATEMENTS = (
    "{}",
    "{}.",
    "The answer is {}.",
    "It is {} apples",
    "x = {}",
    "**{}**",
    "Therefore, {}!",
    "#### {}",
)
_NUMBER_DENIALS = (
    "The answer is not {}.",
    "It isn't {}.",
    "It is anything but {}.",
    "Is it {}?",
    "It is more than {}.",
    "Either {} or not.",
    "It is {}. That is wrong.",
    "It is wrong that it is {}.",
    "Perhaps {}.",
    "not {}",
)
_ENDS = ".!?"
_DISTRACTORS = ("Oakenton", "Highmoor")
_FACT_STATEMENTS = ("{}", "{}.", "She was born in {}.", "Born in {}, she never left.", "In {}, of course.", "It is {}!")
_FACT_DENIALS = (
    "She was not born in {}.",
    "She wasn't born in {}.",
    "{} is not where she was born.",
    "It is false that she was born in {}.",
    "Was she born in {}?",
    "She was born in Oakenton, not in {}.",
    "She was born in {}. That is wrong.",
    "She may have been born in {}.",
)


def check_number(data: bytes) -> None:
    """A stated number is right with any harmless words around it; a denied one, or another number, is not."""
    choices = Choices(data)
    value = choices.number(256) * (-1 if choices.number(4) == 3 else 1)
    answer, other = str(value), str(value + 1 + choices.number(9))
    before, after = choices.among(_BEFORE), choices.among(_AFTER)
    statement, denial = choices.among(_NUMBER_STATEMENTS), choices.among(_NUMBER_DENIALS)
    end = "." if after and statement[-1] not in _ENDS else ""
    row = {"group": "sums", "answers": f'["{answer}"]', "distractors": "[]"}
    text = before + statement.format(answer) + end + after
    assert is_number(text, answer) and grade_row(row, text) == "right", text
    for wrong in (before + denial.format(answer) + after, before + statement.format(other) + end + after):
        assert not is_number(wrong, answer) and grade_row(row, wrong) != "right", wrong


def check_fact(data: bytes) -> None:
    """A stated name is right with any harmless words around it; a denied one, or one beside another, is not."""
    choices = Choices(data)
    answer = choices.among(("Fenford", "New Holt", "1950", "Never Again", "bread or cakes"))
    before, after = choices.among(_BEFORE), choices.among(_AFTER)
    statement, denial = choices.among(_FACT_STATEMENTS), choices.among(_FACT_DENIALS)
    end = "." if after and statement[-1] not in _ENDS else ""
    text = before + statement.format(answer) + end + after
    assert grade(text, answer, _DISTRACTORS) == "right" and is_stated(text, answer, _DISTRACTORS), text
    both = f"{statement.format(answer)} {statement.format(choices.among(_DISTRACTORS))}"
    for wrong in (before + denial.format(answer) + after, both):
        assert grade(wrong, answer, _DISTRACTORS) != "right" and not is_stated(wrong, answer, _DISTRACTORS), wrong


def check_any(data: bytes) -> None:
    """Any text has a verdict of every checker and a score, and a denial before it never makes it right."""
    choices = Choices(data)
    text, name = choices.text(), choices.text().strip() or "Holt"
    verdicts = {checker: check(text, "7", ("8",)) for checker, check in CHECKERS.items()}
    assert set(verdicts.values()) <= {True, False}
    assert all(number.is_finite() for number in numbers(text))
    assert grade(text, name, ("Fenford",)) in ("right", "refused", "wrong")
    assert -1e9 < rule_score("Who?", name, text) < 1e9
    if "\n" not in text and not any(mark in text for mark in ".!?#=;") and "but" not in text.lower():
        assert not is_number(f"It is not true that {text}", "7")


def _choices() -> list[bytes]:
    return [
        bytes([number % 256, number % 7, number % 5, number % 8, number % 3, number % 6, number])
        for number in range(60)
    ]


TARGETS = {
    "checkers": Target(check_number, _choices, ("llm_assets.evaluation", "llm_assets.evaluation.checking"), 600),
    "facts": Target(check_fact, _choices, ("llm_assets.evaluation", "llm_assets.evaluation.checking"), 600),
    "verdicts": Target(
        check_any,
        lambda: [
            text_bytes("The answer is 7. It is not 8.") + text_bytes("Holt"),
            text_bytes("#### -7") + text_bytes("7"),
            text_bytes("I don't know, 1,007 or 7\u202f000") + text_bytes("Never Again"),
        ],
        ("llm_assets.evaluation", "llm_assets.evaluation.checking", "llm_assets.preference.labelling_rule"),
        300,
    ),
}
