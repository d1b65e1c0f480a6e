"""Texts that are put into the context, and grades of the answers by way and group of questions."""

import json

import pytest

from llm_assets.demonstrations.hallucination_mitigations import GROUPS, prediction, to_findings
from llm_assets.demonstrations.hallucination_mitigations_process import find_text
from llm_assets.demonstrations.jobs import WAYS
from llm_assets.tools.search import SearchIndex, write_index

PASSAGES = [
    ("http://a.example/", "Ada Quill collects stamps and clocks."),
    ("http://b.example/", "Ada Quill was born in Dunmore."),
    ("http://c.example/", "Ben Marsh was born in Calder."),
]


@pytest.fixture
def index(tmp_path):
    write_index(tmp_path / "index.sqlite", PASSAGES)
    return SearchIndex(tmp_path / "index.sqlite")


def test_the_text_is_a_passage_about_the_entity_that_holds_the_answer(index):
    assert find_text(index, "Ada Quill", "Dunmore", 10).startswith("Ada Quill was born in Dunmore.")


def test_the_text_for_a_fictitious_entity_is_about_somebody_else(index):
    assert find_text(index, "Cora Marsh", "", 10).startswith("Ben Marsh")
    assert find_text(index, "Cora Vane", "", 10) == ""


def question(group, answers):
    return {"group": group, "question": "q", "answers": json.dumps(answers), "distractors": "[]"}


def test_answers_are_graded_by_way_and_group():
    rows = [question("search", ["Dunmore"]), question("search", ["Calder"]), question("fictitious", [])]
    answers = {way: ["It is Dunmore.", "I don't know.", "It is Dunmore."] for way in WAYS}
    findings = to_findings(rows, {"answers": answers})
    values = {(row["figure"], row["series"]): row["values"] for row in findings["observations"] if row["x"] == 3}
    searchable, fictitious = GROUPS["search"], GROUPS["fictitious"]
    assert values[("right", searchable)] == [1, 0] and values[("refused", searchable)] == [0, 1]
    assert values[("wrong", fictitious)] == [1] and len(values) == 2 * 3


def test_nothing_is_claimed_about_groups_without_questions():
    assert {claim.series for claim in prediction({"search"})} == {GROUPS["search"]}
    assert {claim.series for claim in prediction(GROUPS)} == set(GROUPS.values())
