"""The user's own questions: how a row becomes one, how its answers are graded, and what a run says of the rest."""

import json

import polars as pl
import pytest
from pydantic import ValidationError

from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.dialogue.rejected_rows import joined
from llm_assets.evaluation.abilities import GUIDELINES, answers_table, grade_row, suite_groups, title_of
from llm_assets.evaluation.question_baselines import constant_answers
from llm_assets.finetuning.conversations import question_files
from llm_assets.finetuning.question_files import QuestionFileError, QuestionFiles, read_questions
from llm_assets.recipes import PublishedModel, QuestionFile, SftEvaluation, laptop
from tests.support.chat_server import Server, chat
from tests.support.tiny_models import ENCODING


def read(tmp_path, *rows, context=200, **fields):
    path = tmp_path / "faq.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = QuestionFile(**{"name": "faq", "path": str(path), **fields})
    files = QuestionFiles(files=(file,), context=context, max_tokens=20)
    return [(number, question) for _, number, question in read_questions(files, ENCODING)]


@pytest.mark.parametrize(
    ("row", "answers"),
    [
        ({"question": "Who?", "answer": "Ann"}, ["Ann"]),
        ({"question": "Who?", "answers": ["Ann", "Anna"]}, ["Ann", "Anna"]),
        ({"prompt": "Who?", "completion": "Ann"}, ["Ann"]),
        ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ann"}]}, ["Ann"]),
    ],
)
def test_a_row_of_every_layout_is_a_question(tmp_path, row, answers):
    [(number, question)] = read(tmp_path, row, tools=("search",))
    assert (number, question.question, question.answers) == (1, "Who?", answers)
    assert (question.group, question.tools) == ("contains:faq", "search")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ([1], "must be an object"),
        ({"question": "Who?"}, "not a known layout"),
        ({"question": "", "answers": ["Ann"]}, "question is missing or empty"),
        ({"question": "Who?", "answers": []}, "answers must be a list of texts"),
        ({"question": "Who?", "answers": ["Ann", 3]}, "answers must be a list of texts"),
        ({"question": "Who?", "answer": " "}, "empty"),
        (
            {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Who?"}]},
            "a question and its answer are needed",
        ),
        ({"question": "Who? " * 100, "answer": "Ann"}, "too long: "),
    ],
)
def test_a_row_that_cannot_be_asked_is_rejected_with_its_reason(tmp_path, row, reason):
    rows = read(tmp_path, {"question": "Who?", "answer": "Ann"}, row)
    assert [number for number, _ in rows] == [1, 2] and reason in rows[1][1]


def test_the_room_for_a_question_is_that_of_the_model_that_is_asked(tmp_path):
    file = QuestionFile(name="faq", path="/missing/faq.jsonl")
    recipe = laptop().replace(sft_evaluation=SftEvaluation(files=(file,)))
    assert question_files(recipe).context == 256
    for context in (64, None):
        start = PublishedModel(path="/missing", context=context)
        published = recipe.replace(pretraining=recipe.pretraining.replace(start=start))
        assert question_files(published).context == context
    [(_, question)] = read(tmp_path, {"question": "Who? " * 100, "answer": "Ann"}, context=None)
    assert question.answers == ["Ann"]


def test_a_file_without_a_question_is_one_error_that_names_it(tmp_path):
    with pytest.raises(QuestionFileError, match=r"faq\.jsonl: no row is a question with an answer; row 1: fields body"):
        read(tmp_path, {"body": "x"})
    missing = QuestionFile(name="faq", path=str(tmp_path / "none.jsonl"))
    with pytest.raises(QuestionFileError, match=r"none\.jsonl: no such file"):
        list(read_questions(QuestionFiles(files=(missing,), context=200, max_tokens=20), ENCODING))


def question(group, answers, tools=""):
    return {"group": group, "tools": tools, "answers": json.dumps(answers), "distractors": "[]"}


@pytest.mark.parametrize(
    ("group", "answer", "expected"),
    [
        ("contains:faq", "It was Ann, I think.", "right"),
        ("contains:faq", "Annabel did.", "wrong"),
        ("contains:faq", "I don't know.", "refused"),
        ("exact:faq", "ann.", "right"),
        ("exact:faq", "It was Ann.", "wrong"),
        ("exact:faq", "I don't know.", "refused"),
    ],
)
def test_answers_are_graded_as_the_file_says(group, answer, expected):
    assert grade_row(question(group, ["Bob", "Ann"]), answer) == expected


def test_each_file_is_a_group_of_its_own_with_a_constant_baseline():
    questions = pl.DataFrame(
        [
            question("exact:faq", ["Ann"], "python"),
            question("exact:faq", ["Ann", "Bob"], "python"),
            question("contains:more", ["Eve"]),
            question("identity", ["I am Pip."]),
        ]
    )
    groups = suite_groups(questions)["group"].to_list()
    assert groups == ["exact:faq", "exact:faq", "contains:more", GUIDELINES]
    assert constant_answers(questions) == {"exact:faq": "Ann", "contains:more": "Eve", GUIDELINES: "I am Pip."}
    assert title_of("exact:faq") == "own questions: faq (exact)" and title_of("sums_python").endswith("with Python")


def test_an_endpoint_judges_what_is_not_word_for_word_an_expected_answer():
    server = Server(lambda number, text: (200, chat("right" if "It was Ann" in text else "refused")))
    questions = pl.DataFrame([question(group, ["Ann"]) for group in ("judged:faq", "exact:faq")]).with_columns(
        number=pl.Series([0, 1]), entity=pl.lit(""), relation=pl.lit(""), question=pl.lit("Who?")
    )
    texts = {"sft": ["It was Ann.", "It was Ann."], "dpo": ["Ann", "Ann"], "rl": ["No idea.", "No idea."]}
    results = {
        model: [
            {"number": number, "answer": text, "messages": [], "calls": 0, "tokens": 3}
            for number, text in enumerate(answers)
        ]
        for model, answers in texts.items()
    }
    try:
        graded = answers_table(questions, results, server.endpoint().settings)
    finally:
        server.shutdown()
        server.server_close()
    by_group = {group: rows["grade"].to_list() for (group,), rows in graded.group_by("group", maintain_order=True)}
    assert by_group["judged:faq"] == ["right", "right", "refused"]
    assert by_group["exact:faq"] == ["wrong", "right", "refused"]
    assert len(server.requests) == 2


def test_a_judged_file_needs_a_judge():
    with pytest.raises(ValidationError, match="judge: the file a is graded by an endpoint; name one"):
        SftEvaluation(files=(QuestionFile(name="a", path="x", grading="judged"),))


def test_two_files_have_different_names():
    with pytest.raises(ValidationError, match="files: two files have the same name"):
        SftEvaluation(files=(QuestionFile(name="a", path="x"), QuestionFile(name="a", path="y")))


def test_outcomes_of_two_kinds_of_files_are_joined():
    first = CheckOutcome(True, "mine: 2 conversations", [], {"used": 2, "rejected": 0})
    second = CheckOutcome(False, "questions faq: 1 questions", [{"line": 3}], {"used": 1, "rejected": 1})
    outcome = joined(first, second)
    assert not outcome.passed and outcome.numbers == {"used": 3, "rejected": 1} and outcome.failures == [{"line": 3}]
    assert outcome.summary == "mine: 2 conversations; questions faq: 1 questions"
