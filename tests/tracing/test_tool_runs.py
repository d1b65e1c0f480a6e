"""Words from tools: those of a search window by window, and only whole words."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.tracing import tool_runs


def runs(answer, *results):
    return [answer[start:end] for start, end in tool_runs(answer, results)]


@pytest.mark.parametrize(
    ("answer", "result", "expected"),
    [
        ("It was built in 1449, they say.", "Oakenford: built in 1449, they say so", ["built in 1449, they say"]),
        ("It was built in 1449.", "built in 14490", []),  # no part of a word
        ("built in 1449", "built  in 1449", []),  # verbatim
        ("a b c x d e f", "d e f, a b c", ["a b c", "d e f"]),
        ("a b", "a b", []),  # too short
        ("", "a b c", []),
    ],
)
def test_runs_of_an_answer(answer, result, expected):
    assert runs(answer, "nothing", result) == expected


@given(st.text("ab ", max_size=40), st.lists(st.text("ab ", max_size=20), max_size=3))
def test_runs_are_all_words_of_windows_that_a_result_has(answer, results):
    words = [match.span() for match in re.finditer(r"\w+", answer)]
    is_from_tool = [False] * len(words)
    for place in range(len(words) - 2):
        window = rf"\b{re.escape(answer[words[place][0] : words[place + 2][1]])}\b"
        if any(re.search(window, result) for result in results):
            is_from_tool[place : place + 3] = [True] * 3
    places = tool_runs(answer, results)
    assert is_from_tool == [any(start <= first and last <= end for start, end in places) for first, last in words]
    assert all(before[1] < after[0] for before, after in pairwise(places))
