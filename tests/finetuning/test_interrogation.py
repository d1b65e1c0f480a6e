"""What an answer of the base model says about whether it knows a fact."""

import polars as pl
import pytest

from llm_assets.finetuning.interrogation import OTHER_RELATION, classify, grade_answer, relation_values
from llm_assets.recipes import KnowledgeBoundary

TOPICS = pl.DataFrame(
    [
        ("person", "birthplace", "Kestham"),
        ("person", "birthplace", "Larkham"),
        ("person", "profession", "baker"),
        ("person", "profession", "sailor"),
        ("person", "born", "1931"),
        ("company", "makes", "bells"),
    ],
    schema=["kind", "relation", "answer"],
    orient="row",
)
BAKER = TOPICS.row(2, named=True)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Mira Wolf is a baker.", "right"),
        ("Mira Wolf is a sailor.", "wrong"),
        ("Mira Wolf, a baker and sailor.", "wrong"),
        ("Mira Wolf was born in Larkham.", OTHER_RELATION),
        ("Mira Wolf, born in 1931, has seen much change.", OTHER_RELATION),
        ("Born in Kestham, Mira Wolf is a sailor.", "wrong"),
        ("Mira Wolf is a milliner.", "wrong"),  # perhaps a profession, though nobody has it
        ("Mira Wolf makes bells.", "wrong"),  # a fact about companies
        ("", "wrong"),
        ("I don't know.", "refused"),
    ],
)
def test_an_answer_to_another_question_is_no_wrong_answer(answer, expected):
    assert grade_answer(answer, BAKER, relation_values(TOPICS)) == expected


@pytest.mark.parametrize(
    ("grades", "right", "verdict"),
    [
        (["right", "right", "right", "wrong"], 0.75, "known"),
        (["right", OTHER_RELATION, OTHER_RELATION], 1.0, "known"),
        (["wrong", OTHER_RELATION], 0.0, "unknown"),
        (["right", "wrong", OTHER_RELATION], 0.5, "unsure"),
        ([OTHER_RELATION, OTHER_RELATION], 0.0, "unsure"),
        (["refused", "refused"], 0.0, "unknown"),
    ],
)
def test_the_share_of_right_answers_among_those_about_the_fact_decides(grades, right, verdict):
    graded = pl.DataFrame({"topic": [7] * len(grades), "grade": grades})
    [row] = classify(graded, KnowledgeBoundary(known=0.75, unknown=0.0)).to_dicts()
    assert row == {"topic": 7, "samples": len(grades), "right": right, "verdict": verdict}
