"""Transcripts of conversations in three layouts."""

from llm_assets.dialogue.transcript import from_rows, transcript
from llm_assets.model.chat import Call, Message

ANSWER = [
    Message("assistant", "I look.", Call("search", "Paris")),
    Message("tool", "a city\nof France"),
    Message("assistant", "", Call("python", "1+1")),
    Message("tool", "2"),
    Message("assistant", "A city.\nTwo."),
]


def test_the_three_layouts():
    assert transcript([Message("user", "What?"), *ANSWER]).split("\n") == [
        "user: What?",
        "assistant: I look. [search: Paris]",
        "tool: a city of France",
        "assistant: [python: 1+1]",
        "tool: 2",
        "assistant: A city. Two.",
    ]
    assert transcript(ANSWER, "verbatim").split("\n") == [
        "assistant: I look. [search: Paris]",
        "tool: a city",
        "of France",
        "assistant:  [python: 1+1]",
        "tool: 2",
        "assistant: A city.",
        "Two.",
    ]
    assert transcript(ANSWER, "unnamed") == "[search: Paris]\n→ a city\nof France\n[python: 1+1]\n→ 2\nA city.\nTwo."


def test_an_answers_rows_become_messages():
    rows = [{"role": "assistant", "content": "", "tool": "python", "call": "1+1"}, {"role": "tool", "content": "2"}]
    assert from_rows(rows) == [Message("assistant", "", Call("python", "1+1")), Message("tool", "2")]
