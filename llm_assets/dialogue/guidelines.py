"""Labelling guidelines: a Markdown file for people, from which dialogues are made (`guidelines.md` beside this module)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_GUIDELINES = Path(__file__).parent / "guidelines.md"
FIELDS = {"Asked": "questions", "Kept": "held_out_questions", "Answered": "answers"}  # by the keyword of a line
SLOTS = {"name", "maker", "cutoff", "person", "thing"}
ANSWERS_ONLY = ("unknown", "nothing_found")  # what is asked there comes from elsewhere


class GuidelinesError(ValueError):
    """Guidelines that cannot be read; the message names file and line."""


@dataclass
class Guideline:
    """One part: its questions, those kept for evaluation, and answers that fit all of them."""

    name: str
    title: str
    questions: list[str] = field(default_factory=list)
    held_out_questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def parse(text: str, file: str = "guidelines.md") -> dict[str, Guideline]:
    """Parts by name. Raises GuidelinesError for a part that is unnamed, twice there, without answers or questions, or with an unknown slot."""
    parts: dict[str, Guideline] = {}
    current: Guideline | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            match = re.fullmatch(r"## ([a-z_]+): (.+)", line.strip())
            if not match:
                raise GuidelinesError(
                    f"{file}, line {number}: a part begins with '## name: title', its name in small letters"
                )
            if match[1] in parts:
                raise GuidelinesError(f"{file}, line {number}: the part {match[1]!r} for the second time")
            current = parts[match[1]] = Guideline(match[1], match[2])
        elif match := re.fullmatch(r"(Asked|Kept|Answered): *(.*)", line.strip()):
            if current is None:
                raise GuidelinesError(f"{file}, line {number}: an example before the first part")
            if not match[2]:
                raise GuidelinesError(f"{file}, line {number}: an empty example")
            for slot in re.findall(r"\{([^{}]*)\}", match[2]):
                if slot not in SLOTS:
                    raise GuidelinesError(f"{file}, line {number}: {{{slot}}}; there are {', '.join(sorted(SLOTS))}")
            getattr(current, FIELDS[match[1]]).append(match[2])
    for part in parts.values():
        if not part.answers:
            raise GuidelinesError(f"{file}: the part {part.name!r} has no answer")
        if not part.questions and part.name not in ANSWERS_ONLY:
            raise GuidelinesError(f"{file}: the part {part.name!r} has no question")
    for name in ANSWERS_ONLY:
        if name not in parts:
            raise GuidelinesError(f"{file}: no part {name!r}")
    return parts


def read_guidelines(path: Path | None) -> dict[str, Guideline]:
    """The parts of a file, or of the project's own. Raises GuidelinesError."""
    path = path or DEFAULT_GUIDELINES
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GuidelinesError(f"guidelines {path}: {error}") from error
    return parse(text, str(path))
