"""Labelling guidelines: a Markdown file for people, from which dialogues are made.

The defaults are beside this module: `guidelines.md`, and `published_guidelines.md` for published models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

SMALL_TALK, BEYOND_ABILITIES = "small_talk", "beyond_abilities"
GENERAL_GROUPS = (SMALL_TALK, BEYOND_ABILITIES)  # to which sections can belong
DEFAULT_GUIDELINES = Path(__file__).parent / "guidelines.md"
PUBLISHED_GUIDELINES = DEFAULT_GUIDELINES.with_name("published_guidelines.md")
FIELDS = {"Asked": "questions", "Kept": "held_out_questions", "Answered": "answers"}  # by the keyword of a line
SLOTS = {"name", "maker", "cutoff", "person", "thing"}
ANSWERS_ONLY = ("unknown", "nothing_found")  # sections whose questions come from elsewhere


class GuidelinesError(ValueError):
    """The guidelines cannot be read; the message names file and line."""


@dataclass
class Guideline:
    """One section: its questions, those held out for evaluation, and answers that fit every question.

    group: one of GENERAL_GROUPS; empty for a section that is a group of the evaluation by itself.
    """

    name: str
    title: str
    group: str = ""
    questions: list[str] = field(default_factory=list)
    held_out_questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def parse(text: str, file: str = "guidelines.md") -> dict[str, Guideline]:
    """Read the sections of a text, by name.

    Raises GuidelinesError for a section without a valid name, a repeated name, a section without answers or questions,
    an unknown slot or group, and a missing section of ANSWERS_ONLY.
    """
    sections: dict[str, Guideline] = {}
    current: Guideline | None = None
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{file}, line {number}"
        if line.startswith("## "):
            current = _parse_heading(line, place)
            if current.name in sections:
                raise GuidelinesError(f"{place}: the section {current.name!r} appears twice; rename or remove one")
            sections[current.name] = current
        elif group := re.fullmatch(r"Group: *(.*)", line.strip()):
            _set_group(current, group[1], place)
        elif example := re.fullmatch(rf"({'|'.join(FIELDS)}): *(.*)", line.strip()):
            if current is None:
                raise GuidelinesError(f"{place}: an example before the first section")
            _check_example(example[2], place)
            getattr(current, FIELDS[example[1]]).append(example[2])
    _check_complete(sections, file)
    return sections


def _parse_heading(line: str, place: str) -> Guideline:
    heading = re.fullmatch(r"## ([a-z_]+): (.+)", line.strip())
    if not heading:
        raise GuidelinesError(f"{place}: a section begins with '## name: title', its name in lower-case letters")
    return Guideline(heading[1], heading[2])


def _set_group(section: Guideline | None, group: str, place: str) -> None:
    if section is None:
        raise GuidelinesError(f"{place}: a group before the first section")
    if group not in GENERAL_GROUPS:
        raise GuidelinesError(f"{place}: unknown group {group!r}; use one of {', '.join(GENERAL_GROUPS)}")
    section.group = group


def _check_example(text: str, place: str) -> None:
    if not text:
        raise GuidelinesError(f"{place}: an empty example")
    for slot in re.findall(r"\{([^{}]*)\}", text):
        if slot not in SLOTS:
            raise GuidelinesError(f"{place}: unknown slot {{{slot}}}; use one of {', '.join(sorted(SLOTS))}")


def _check_complete(sections: dict[str, Guideline], file: str) -> None:
    for section in sections.values():
        if not section.answers:
            raise GuidelinesError(f"{file}: the section {section.name!r} has no answer")
        if not section.questions and section.name not in ANSWERS_ONLY:
            raise GuidelinesError(f"{file}: the section {section.name!r} has no question")
    for name in ANSWERS_ONLY:
        if name not in sections:
            raise GuidelinesError(f"{file}: there is no section {name!r}; add one with at least one answer")


def read_guidelines(path: Path | None) -> dict[str, Guideline]:
    """Read the sections of a file, or of the default guidelines. Raises GuidelinesError."""
    path = path or DEFAULT_GUIDELINES
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GuidelinesError(f"guidelines {path}: {error}") from error
    return parse(text, str(path))
