"""Problems are what they say: right answers, levels, a split that shares nothing, families of one's own."""

import json
import random
import re

import pytest

from llm_assets.reinforcement.practice_problems import chains, draw, is_held_out, read_word_problems
from llm_assets.reinforcement.problems import (
    FAMILIES,
    LENGTHS,
    Chain,
    Family,
    Material,
    Problem,
    ProblemError,
    find_family,
)

CHAIN = Chain(
    "Mira Wolf",
    ("Where was Mira Wolf born?",),
    "Holt",
    ("In which region is Holt?",),
    "Norrland",
    ("Eastmarch", "Highmoor"),
    True,
)
MATERIAL = Material(
    ["banana", "cab", "tea", "letter", "balloon", "storm", "mountain", "lighthouse"],
    [CHAIN],
    [("Tom has 3 apples and buys 4. How many?", "7", 1), ("Long.", "12", 9)],
)


def some(family, level, count=60):
    rng = random.Random(f"{family}-{level}")
    return [problem for _ in range(count) if (problem := FAMILIES[family].make(rng, level, MATERIAL)) is not None]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_arithmetic_has_the_value_of_its_expression(level):
    for problem in some("arithmetic", level, 200):
        terms = re.findall(r"[+-]? ?\d+", problem.key)
        assert len(terms) == level + 2
        assert sum(int(term.replace(" ", "")) for term in terms) == int(problem.answer) >= 0
        assert problem.key in problem.question


@pytest.mark.parametrize("level", [0, 1, 2])
def test_letters_are_counted_in_words_of_the_levels_length(level):
    for problem in some("letters", level):
        letter = re.search(r"letter (\w)\b", problem.question)[1]
        assert problem.key.count(letter) == int(problem.answer) > 0
        assert LENGTHS[level][0] <= len(problem.key) <= LENGTHS[level][1]


def test_no_count_is_right_in_most_cases():
    answers = [problem.answer for problem in some("letters", 1, 200)]
    assert 0.3 < answers.count("1") / len(answers) < 0.7


def test_a_number_is_asked_for_alone_and_no_working_passes():
    for problem in some("letters_at_once", 1):
        assert problem.question.endswith("Only the number.")
        assert not FAMILIES["letters_at_once"].check(f"The letter occurs {problem.answer} times.", problem.answer)


def test_a_word_is_held_out_of_every_family_or_of_none():
    material = Material([f"{first}{second}lla" for first in "bdfgklmnp" for second in "aeiou"])

    def words(family, held_out):
        return {
            problem.key
            for number in range(200)
            if (problem := draw(FAMILIES[family], 1, material, random.Random(number), held_out, set())) is not None
        }

    assert words("letters", False) and words("letters", True)
    assert not words("letters", False) & (words("letters_at_once", True) | words("spelling", True))


def test_a_problem_of_two_hops_names_the_first_thing_only():
    problem = some("two_hops", 0)[0]
    assert "Mira Wolf" in problem.question and "Holt" not in problem.question and problem.answer == "Norrland"
    assert some("two_hops", 1) == []  # no chain of which a fact is not known


def test_every_familys_own_answer_passes_its_check():
    for name, say in (
        ("arithmetic", "It is {}."),
        ("letters", "{}"),
        ("letters_at_once", "{}."),
        ("word_problems", "#### {}"),
        ("two_hops", "It lies in {}."),
    ):
        for problem in some(name, 0):
            assert FAMILIES[name].check(say.format(problem.answer), problem.answer, problem.distractors)
            assert not FAMILIES[name].check("I don't know.", problem.answer, problem.distractors)
    for problem in some("spelling", 1):
        assert FAMILIES["spelling"].check("-".join(problem.answer) + ".", problem.answer)


def test_a_problem_is_drawn_once_and_on_its_side():
    seen = set()
    drawn = [
        problem
        for _ in range(40)
        if (problem := draw(FAMILIES["letters"], 1, MATERIAL, random.Random(len(seen)), False, seen)) is not None
    ]
    assert len({problem.question for problem in drawn}) == len(drawn) > 0
    assert not any(is_held_out(problem.key) for problem in drawn)


def test_chains_follow_answers_to_what_they_are_about():
    def topic(entity, relation, answer, verdict="known"):
        return {
            "entity": entity,
            "relation": relation,
            "answer": answer,
            "verdict": verdict,
            "questions": json.dumps([f"What is the {relation} of {entity}?"]),
        }

    found = chains(
        [
            topic("Mira Wolf", "birthplace", "Holt"),
            topic("Holt", "region", "Norrland"),
            topic("Brin", "region", "Highmoor"),
            topic("Holt", "river", "Anner", "unknown"),
        ]
    )
    assert [(one.entity, one.middle, one.answer, one.distractors, one.known) for one in found] == [
        ("Mira Wolf", "Holt", "Norrland", ("Highmoor",), True),
        ("Mira Wolf", "Holt", "Anner", (), False),
    ]


def test_word_problems_of_a_file_and_what_is_none(tmp_path):
    path = tmp_path / "gsm8k.jsonl"
    rows = [
        {"question": "How many?", "answer": "3 + 4 = 7\n#### 7"},
        {"question": "And?", "answer": "no mark"},
        {"question": "More?", "answer": "so\n#### 1,250"},
        {"question": "Two?", "answer": "#### 3 or 4"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    found, rejects = read_word_problems(path)
    assert found == [("How many?", "7", 1), ("More?", "1250", 1)]
    assert [(one["line"], one["reason"]) for one in rejects][:2] == [
        (2, "no number behind ####"),
        (4, "no number behind ####"),
    ] and rejects[2]["line"] == 5


OWN = Family(
    "doubling",
    ("small",),
    lambda rng, level, material: Problem("What is twice 4?", "8", "4"),
    lambda text, answer, distractors: text == answer,
)


def test_a_family_of_ones_own_is_found_by_its_place():
    assert find_family("tests.reinforcement.test_problems:OWN").check("8", "8")
    with pytest.raises(ProblemError, match="no family 'geometry'; there are arithmetic, letters"):
        find_family("geometry")
    with pytest.raises(ProblemError, match="No module named"):
        find_family("missing.at_all:OWN")
    with pytest.raises(ProblemError, match="is a list, not"):
        find_family("llm_assets.recipes:__all__")
