"""What the assistant is asked of numbers and letters: right answers, every word in turn, and no guess that is right of most."""

import json
import re
from collections import Counter

import pytest

from llm_assets.finetuning.evaluation_set import lesson_questions

WORDS = ["banana", "cab", "tea", "letter", "balloon", "storm", "mountain", "lighthouse", "river", "poet"]


def asked(group, words=WORDS, count=40):
    return [row for row in lesson_questions(words, count, 1) if row["group"] == group]


@pytest.mark.parametrize("group", ["letters", "letters_at_once"])
def test_letters_are_counted_right_and_once_is_no_better_a_guess_than_often(group):
    answers = []
    for row in asked(group):
        letter, word = re.search(r"letter (\w)\b", row["question"])[1], re.search(r'"(\w+)"', row["question"])[1]
        assert json.loads(row["answers"]) == [str(word.count(letter))]
        answers.append(word.count(letter))
    assert min(answers) >= 1 and 0.3 < answers.count(1) / len(answers) < 0.7


def test_no_word_comes_again_before_all_have_come():
    found = Counter(re.search(r'"(\w+)"', row["question"])[1] for row in asked("spelling", count=200) if row["tools"])
    assert set(found) == set(WORDS)
    repeating = [word for word in WORDS if len(set(word)) < len(word)]
    only_once = [found[word] for word in WORDS if word not in repeating]  # they stand on one side alone
    assert max(only_once) - min(only_once) <= 1


def test_words_of_which_no_letter_repeats_are_asked_for_too():
    assert {json.loads(row["answers"])[0] for row in asked("letters", ["cab", "tea"])} == {"1"}
    assert asked("letters", []) == []


def test_sums_are_right():
    for row in asked("sums"):
        numbers = [int(one) for one in re.findall(r"\d+", row["question"])]
        assert int(json.loads(row["answers"])[0]) in (sum(numbers), abs(numbers[0] - numbers[1]))
