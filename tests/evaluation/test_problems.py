"""Problems have right answers and the stated level, splits share nothing, and the user's own families are found."""

import json
import random
import re
from collections import Counter
from dataclasses import replace

import pytest

from llm_assets.dialogue.conversation_files import read_conversations
from llm_assets.dialogue.splits import SPLITS, calculation_split, split_of
from llm_assets.dialogue.wordings import CALCULATIONS, COUNTS, SPELLINGS
from llm_assets.evaluation.jobs import ProblemRow
from llm_assets.evaluation.problems import (
    FAMILIES,
    LENGTHS,
    Chain,
    Family,
    Material,
    Problem,
    ProblemError,
    WordProblem,
    find_family,
)
from llm_assets.evaluation.solving import grade_answer
from llm_assets.reinforcement.practice_problems import chains, draw, read_word_problems

CHAIN = Chain(
    entity="Mira Wolf",
    relation="birthplace",
    middle="Holt",
    second={"train": ("In which region is Holt?",), "development": (), "test": ("What region is Holt part of?",)},
    answer="Norrland",
    distractors=("Eastmarch", "Highmoor"),
    known=True,
    split="train",
)
MATERIAL = Material(
    ["banana", "cab", "tea", "letter", "balloon", "storm", "mountain", "lighthouse"],
    [CHAIN],
    [WordProblem("Tom has 3 apples and buys 4. How many?", "7", 1), WordProblem("Long.", "12", 9)],
)


def make_problems(family, level, count=60):
    rng = random.Random(f"{family}-{level}")
    problems = [FAMILIES[family].make(rng, level, MATERIAL) for _ in range(count)]
    return [problem for problem in problems if problem is not None]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_arithmetic_has_the_value_of_its_expression(level):
    for problem in make_problems("arithmetic", level, 200):
        terms = re.findall(r"[+-]? ?\d+", problem.key)
        assert problem.its_split == calculation_split(problem.key)
        assert len(terms) == level + 2
        assert sum(int(term.replace(" ", "")) for term in terms) == int(problem.answer) >= 0
        assert problem.key in problem.question


@pytest.mark.parametrize("level", [0, 1, 2])
def test_letter_counts_are_right_and_words_have_the_levels_length(level):
    for problem in make_problems("letters", level):
        [letter] = re.findall(r'"(\w)"', problem.question)
        assert problem.key.count(letter) == int(problem.answer)
        assert LENGTHS[level][0] <= len(problem.key) <= LENGTHS[level][1]


@pytest.mark.parametrize("split", SPLITS)
def test_every_count_is_equally_often_right(split):
    """In every split, however few words have a count: a policy that always gives one count gains nothing."""
    few, many = (
        [f"{a}{b}{b}" for a in "cdfghjkl" for b in "aeiou"],
        [f"{a}{b}{c}" for a in "klm" for b in "npr" for c in "st"],
    )
    material = Material([*few, *many * 15]).restricted(split)
    drawn = [draw(FAMILIES["letters"], 0, material, random.Random(n), set()) for n in range(600)]
    counts = Counter(problem.answer for problem in drawn)
    assert counts.keys() == {"0", "1", "2"} and max(counts.values()) < 1.3 * min(counts.values())


def test_letters_at_once_accepts_the_number_only():
    for problem in make_problems("letters_at_once", 1):
        assert problem.question.endswith("Only the number.")
        assert not FAMILIES["letters_at_once"].check(f"The letter occurs {problem.answer} times.", problem.answer)


def test_a_word_is_in_the_same_split_in_every_family_and_in_conversations():
    material = Material([f"{first}{second}lla" for first in "bdfgklmnp" for second in "aeiou"])

    def words(family, split):
        drawn = (
            draw(FAMILIES[family], 1, material.restricted(split), random.Random(number), set()) for number in range(99)
        )
        return {problem.key for problem in drawn if problem is not None}

    for family in ("letters", "letters_at_once", "spelling"):
        for split in SPLITS:
            assert words(family, split) and {split_of(word) for word in words(family, split)} == {split}


@pytest.mark.parametrize(
    ("family", "lists"), [("arithmetic", CALCULATIONS), ("letters", COUNTS), ("spelling", SPELLINGS)]
)
def test_problems_use_the_wordings_of_their_split(family, lists):
    """RL must not train on a wording that the evaluation holds out."""
    for split in SPLITS:
        material = Material(MATERIAL.words * 20, split=split)
        beginnings = {re.split(r"\{\w\}", text)[0] for text in lists.of(split)}
        for number in range(60):
            question = FAMILIES[family].make(random.Random(number), 1, material).question
            assert any(question.startswith(beginning) for beginning in beginnings)


def test_a_two_hops_problem_is_one_question_that_names_the_first_entity_only():
    problem = make_problems("two_hops", 0)[0]
    assert problem.question == "In which region is the town where Mira Wolf was born?" and problem.answer == "Norrland"
    assert make_problems("two_hops", 1) == []  # there is no chain with an unknown fact
    other = replace(CHAIN, relation="patron", split="test")
    material = Material(chains=[other], split="test")
    test_problem = FAMILIES["two_hops"].make(random.Random(1), 0, material)
    assert test_problem.question == "What region is the patron of Mira Wolf part of?"
    assert test_problem.its_split == "test"


def test_a_chain_belongs_to_the_stricter_split_of_its_entities_and_only_natural_wordings_are_used():
    def topic(entity, relation, answer, split, *questions):
        wordings = {"questions": list(questions), "development_questions": [], "test_questions": []}
        row = {"entity": entity, "relation": relation, "answer": answer, "verdict": "known", "split": split}
        return {**row, **{column: json.dumps(texts) for column, texts in wordings.items()}}

    questions = (
        "In which region is Holt?",
        "What does the town of Holt make?",
        "Complete the sentence: Holt lies in …",
        "Complete the sentence: The region of Holt is …",
    )
    for splits, expected in ((("train", "train"), "train"), (("train", "test"), "test"), (("test", "train"), "test")):
        [chain] = chains(
            [
                topic("Mira", "birthplace", "Holt", splits[0], "Where?"),
                topic("Holt", "region", "N", splits[1], *questions),
            ]
        )
        assert chain.split == expected and chain.second["train"] == questions[:1]


def test_an_honest_refusal_of_a_problem_is_neither_right_nor_wrong():
    problem = ProblemRow(0, "two_hops", 0, "", "Norrland", ("Highmoor",), "")
    for answer, grade in (("It is Norrland.", "right"), ("I don't know.", "refused"), ("It is Highmoor.", "wrong")):
        assert grade_answer(FAMILIES, problem, answer) == grade


def test_the_checker_of_every_family_accepts_its_answer_and_rejects_a_refusal():
    for name, wording in (
        ("arithmetic", "It is {}."),
        ("letters", "{}"),
        ("letters_at_once", "{}."),
        ("word_problems", "#### {}"),
        ("two_hops", "It lies in {}."),
    ):
        for problem in make_problems(name, 0):
            assert FAMILIES[name].check(wording.format(problem.answer), problem.answer, problem.distractors)
            assert not FAMILIES[name].check("I don't know.", problem.answer, problem.distractors)
    for problem in make_problems("spelling", 1):
        assert FAMILIES["spelling"].check("-".join(problem.answer) + ".", problem.answer)


def test_no_problem_is_drawn_twice_or_for_the_wrong_split():
    seen = set()
    drawn = [
        problem
        for _ in range(40)
        if (problem := draw(FAMILIES["letters"], 1, MATERIAL, random.Random(len(seen)), seen)) is not None
    ]
    assert len({problem.question for problem in drawn}) == len(drawn) > 0
    assert all(split_of(problem.key) == "train" for problem in drawn)


def test_chains_link_an_answer_to_facts_about_it():
    def topic(entity, relation, answer, verdict="known"):
        return {
            "entity": entity,
            "relation": relation,
            "answer": answer,
            "verdict": verdict,
            "split": "train",
            "questions": json.dumps([f"What is the {relation} of {entity}?"]),
            "development_questions": "[]",
            "test_questions": "[]",
        }

    linked = chains(
        [
            topic("Mira Wolf", "birthplace", "Holt"),
            topic("Holt", "region", "Norrland"),
            topic("Brin", "region", "Highmoor"),
            topic("Holt", "river", "Anner", "unknown"),
        ]
    )
    assert [(chain.entity, chain.middle, chain.answer, chain.distractors, chain.known) for chain in linked] == [
        ("Mira Wolf", "Holt", "Norrland", ("Highmoor",), True),
        ("Mira Wolf", "Holt", "Anner", (), False),
    ]


def test_a_file_of_word_problems_is_read_and_invalid_rows_are_rejected(tmp_path):
    path = tmp_path / "gsm8k.jsonl"
    rows = [
        {"question": "How many?", "answer": "3 + 4 = 7\n#### 7"},
        {"question": "And?", "answer": "no mark"},
        {"question": "More?", "answer": "so\n#### 1,250"},
        {"question": "Two?", "answer": "#### 3 or 4"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    problems, rejects = read_word_problems(path)
    assert problems == [("How many?", "7", 1), ("More?", "1250", 1)]
    assert rejects[:2] == [{"line": line, "reason": "no number after ####"} for line in (2, 4)]
    assert rejects[2]["line"] == 5


def test_a_word_problem_without_steps_is_an_easy_one():
    material = Material(word_problems=[WordProblem("Two?", "2", 0), WordProblem("Three?", "3", 3)])
    assert [[problem.answer for problem in level] for level in material.word_problems_by_level] == [["2"], ["3"], []]


@pytest.mark.slow
def test_the_checker_agrees_with_every_solution_of_gsm8k(shared_data):
    """Published solutions are right, those with another number wrong; so are the forms in which models answer."""
    path, family = shared_data / "posttraining" / "gsm8k_train.jsonl.gz", FAMILIES["word_problems"]
    problems, rejects = read_word_problems(path)
    assert len(problems) == 7473 and not rejects
    wrong = []
    for row, problem in list(zip(read_conversations(path), problems, strict=True))[::7]:
        solution, other = row.messages[-1].content, str(int(problem.answer) + 1)
        for text in (solution, f"The answer is {problem.answer}.", f"So it is \\boxed{{{problem.answer}}}."):
            if not family.check(text, problem.answer) or family.check(text, other):
                wrong.append((problem.question, text))
    assert wrong == []
    splits = [Material(word_problems=problems).restricted(split) for split in SPLITS]
    assert [len(material.word_problems) for material in splits] == [5286, 1098, 1089]
    assert len({problem.question for material in splits for problem in material.word_problems}) == 7473
    assert all(draw(family, level, splits[0], random.Random(1), set()) for level in range(3))


OWN_FAMILY = Family(
    "doubling",
    ("small",),
    lambda rng, level, material: Problem("What is twice 4?", "8", "4"),
    lambda text, answer, distractors: text == answer,
)


def test_the_users_own_family_is_found_by_module_and_object():
    assert find_family("tests.evaluation.test_problems:OWN_FAMILY").check("8", "8")
    with pytest.raises(ProblemError, match="no family 'geometry'; available: arithmetic, letters"):
        find_family("geometry")
    with pytest.raises(ProblemError, match="No module named"):
        find_family("missing.at_all:OWN")
    with pytest.raises(ProblemError, match="is a list, not"):
        find_family("llm_assets.recipes:__all__")
