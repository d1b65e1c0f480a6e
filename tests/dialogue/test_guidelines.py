"""Labelling guidelines: the default file is readable, and an error names the file and the line."""

import pytest

from llm_assets.dialogue.guidelines import GENERAL_GROUPS, GuidelinesError, parse, read_guidelines
from llm_assets.dialogue.wordings import SUMS
from llm_assets.evaluation.overlap import question_phrases

BASIS = "## unknown: a\nAnswered: I don't know.\n## nothing_found: b\nAnswered: Nothing about {thing}.\n"


def test_the_default_guidelines_are_complete():
    sections = read_guidelines(None)
    assert {"identity", "private", "harm", "unknown", "nothing_found"} <= sections.keys()
    assert all(section.held_out_questions for section in sections.values() if section.questions)


def test_general_conversations_cover_what_people_try_first():
    sections = read_guidelines(None)
    groups = {group: {name for name, section in sections.items() if section.group == group} for group in GENERAL_GROUPS}
    assert {"greeting", "thanks", "farewell", "abilities"} <= groups["small_talk"]
    assert {"poem", "translation", "programs", "jokes", "today", "opinion", "tasks"} <= groups["beyond_abilities"]
    held_out = {wording for section in sections.values() for wording in section.held_out_questions}
    assert {"Why is the sky blue?", "Write a poem.", "What is the capital of France?"} <= held_out
    for name in groups["small_talk"] | groups["beyond_abilities"]:
        assert len(sections[name].questions) >= 9 and len(sections[name].held_out_questions) >= 6


def test_no_held_out_question_is_trained_on():
    sections = read_guidelines(None)
    held_out = [(wording, name) for name, section in sections.items() for wording in section.held_out_questions]
    phrases = question_phrases(held_out, 13)
    trained_on = [wording for section in sections.values() for wording in section.questions]
    assert [wording for wording in trained_on if phrases.find(wording)] == []
    assert not set(SUMS[0]) & set(SUMS[1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Asked: Who?\n", "line 1: an example before the first section"),
        ("## Bad Name: x\n", "line 1: a section begins with"),
        (f"{BASIS}## unknown: again\n", "line 5: the section 'unknown' appears twice"),
        (f"{BASIS}## a: b\nAsked: Who is {{somebody}}?\n", "line 6: unknown slot {somebody}; use one of"),
        (f"{BASIS}## a: b\nAsked:\nAnswered: x\n", "line 6: an empty example"),
        (f"{BASIS}## a: b\nAsked: Who?\n", "the section 'a' has no answer"),
        (f"{BASIS}## a: b\nAnswered: x\n", "the section 'a' has no question"),
        ("## a: b\nAsked: c\nAnswered: d\n", "there is no section 'unknown'"),
        ("Group: small_talk\n", "line 1: a group before the first section"),
        (
            f"{BASIS}## a: b\nGroup: weather\n",
            "line 6: unknown group 'weather'; use one of small_talk",
        ),
    ],
)
def test_errors_name_the_file_the_line_and_the_problem(text, problem):
    with pytest.raises(GuidelinesError, match=r"guidelines\.md") as error:
        parse(text)
    assert problem in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GuidelinesError, match=r"none\.md"):
        read_guidelines(tmp_path / "none.md")
