"""Guidelines: the project's own can be read, and what is wrong in a file is told with its line."""

import pytest

from llm_assets.dialogue.guidelines import GuidelinesError, parse, read_guidelines
from llm_assets.dialogue.wordings import SUMS
from llm_assets.finetuning.overlap import question_phrases

BASIS = "## unknown: a\nAnswered: I don't know.\n## nothing_found: b\nAnswered: Nothing about {thing}.\n"


def test_the_projects_own():
    parts = read_guidelines(None)
    assert {"identity", "private", "harm", "unknown", "nothing_found"} <= parts.keys()
    assert all(part.held_out_questions for part in parts.values() if part.questions)


def test_no_kept_wording_is_trained_on():
    parts = read_guidelines(None)
    kept = question_phrases(
        [(wording, name) for name, part in parts.items() for wording in part.held_out_questions], 13
    )
    assert [wording for part in parts.values() for wording in part.questions if kept.find(wording)] == []
    assert not set(SUMS[0]) & set(SUMS[1])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Asked: Who?\n", "line 1: an example before the first part"),
        ("## Bad Name: x\n", "line 1: a part begins with"),
        (f"{BASIS}## unknown: again\n", "line 5: the part 'unknown' for the second time"),
        (f"{BASIS}## a: b\nAsked: Who is {{somebody}}?\n", "line 6: {somebody}; there are"),
        (f"{BASIS}## a: b\nAsked:\nAnswered: x\n", "line 6: an empty example"),
        (f"{BASIS}## a: b\nAsked: Who?\n", "the part 'a' has no answer"),
        (f"{BASIS}## a: b\nAnswered: x\n", "the part 'a' has no question"),
        ("## a: b\nAsked: c\nAnswered: d\n", "no part 'unknown'"),
    ],
)
def test_what_is_wrong_is_told(text, told):
    with pytest.raises(GuidelinesError, match=r"guidelines\.md") as error:
        parse(text)
    assert told in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(GuidelinesError, match=r"none\.md"):
        read_guidelines(tmp_path / "none.md")
