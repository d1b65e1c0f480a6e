"""Evaluation questions about numbers and letters: right answers, words in turn, no answer right by default."""

import json
import re
from collections import Counter

import pytest

from llm_assets.dialogue.guidelines import read_guidelines
from llm_assets.dialogue.splits import HELD_OUT
from llm_assets.evaluation.abilities import GENERAL_GROUPS
from llm_assets.finetuning.evaluation_set import Draw, guideline_questions, skill_questions

WORDS = ["banana", "cab", "tea", "letter", "balloon", "storm", "mountain", "lighthouse", "river", "poet"]


def questions_of(group, words=WORDS, count=40):
    return [row for row in skill_questions(words, Draw("test", count, 1)) if row["group"] == group]


@pytest.mark.parametrize("group", ["letters", "letters_at_once"])
def test_letter_counts_are_right_and_come_equally_often(group):
    counts = []
    for row in questions_of(group):
        letter, word = sorted(re.findall(r'"(\w+)"', row["question"]), key=len)
        assert json.loads(row["answers"]) == [str(word.count(letter))]
        counts.append(word.count(letter))
    often = Counter(counts).values()
    assert set(counts) == {0, 1, 2, 3} and max(often) - min(often) <= 2


def test_no_word_comes_again_before_all_others_have_come():
    rows = [row for row in questions_of("spelling", count=200) if row["tools"]]
    uses = Counter(re.search(r'"(\w+)"', row["question"])[1] for row in rows)
    assert set(uses) == set(WORDS)
    # Words without a repeated letter are in the pools of 0 and 1 only.
    uses_of_two_pools = [uses[word] for word in WORDS if len(set(word)) == len(word)]
    assert max(uses_of_two_pools) - min(uses_of_two_pools) <= 2


def test_words_without_repeated_letters_are_used_too():
    assert {json.loads(row["answers"])[0] for row in questions_of("letters", ["cab", "tea"])} == {"0", "1"}
    assert questions_of("letters", []) == []


def test_sums_are_right():
    for row in questions_of("sums"):
        numbers = [int(digits) for digits in re.findall(r"\d+", row["question"])]
        assert int(json.loads(row["answers"])[0]) in (sum(numbers), abs(numbers[0] - numbers[1]))


def test_general_questions_are_asked_with_and_without_tools_and_share_no_wording_between_splits():
    guidelines, values = read_guidelines(None), {"name": "Ada", "maker": "us", "cutoff": "today"}
    by_split = {}
    for split in HELD_OUT:
        rows = guideline_questions(guidelines, values, ["Mira Wolf"], Draw(split, 10, 1))
        general = [row for row in rows if row["group"] in GENERAL_GROUPS]
        assert {row["group"] for row in general} == set(GENERAL_GROUPS)
        assert {row["tools"] for row in general} == {"", "python,search"}
        assert {row["relation"] for row in general} == {name for name, each in guidelines.items() if each.group}
        by_split[split] = {row["question"] for row in general}
    wordings = [wording for guideline in guidelines.values() for wording in guideline.questions]
    trained = {wording.format(**values, person="Mira Wolf") for wording in wordings}
    assert not by_split["development"] & by_split["test"]
    assert not trained & (by_split["development"] | by_split["test"])


def test_refusals_for_safety_are_distractors_of_general_questions():
    values = {"name": "Ada", "maker": "us", "cutoff": "today"}
    rows = guideline_questions(read_guidelines(None), values, [], Draw("test", 10, 1))
    poem = next(row for row in rows if row["relation"] == "poem")
    assert json.loads(poem["answers"]) == ["I can't do that: I only answer questions."]
    assert "I can't help with that: it is private." in json.loads(poem["distractors"])
    assert not any("don't know" in text for text in json.loads(poem["distractors"]))
