"""Conversations from files: every layout, and every malformed row told with its line while the rest goes on."""

import gzip
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.dialogue.conversation_files import ConversationFileError, read_conversations, to_messages
from llm_assets.model.chat import Call, ConversationError, Message

USER, SAID = Message("user", "Hello?"), Message("assistant", "Good day.")
SEARCHED = [USER, Message("assistant", "", Call("search", "day")), Message("tool", "It is Monday."), SAID]


def lines(path, *rows):
    data = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (
            {"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good day."}]},
            [USER, SAID],
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo?"}]},
                    {"role": "assistant", "content": "Good day."},
                ]
            },
            [USER, SAID],
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "Hello?"},
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"type": "function", "function": {"name": "search", "arguments": '{"query": "day"}'}}
                        ],
                    },
                    {"role": "tool", "content": "It is Monday."},
                    {"role": "assistant", "content": "Good day."},
                ]
            },
            SEARCHED,
        ),
        (
            {
                "system": "Be kind.",
                "conversations": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Good day."}],
            },
            [Message("system", "Be kind."), USER, SAID],
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "Hello?"},
                    {"from": "function_call", "value": '{"name": "search", "arguments": {"query": "day"}}'},
                    {"from": "observation", "value": "It is Monday."},
                    {"from": "gpt", "value": "Good day."},
                ]
            },
            SEARCHED,
        ),
        ({"instruction": "Hello?", "input": "", "output": "Good day."}, [USER, SAID]),
        (
            {"instruction": "Add.", "input": "1 and 2", "output": "3", "history": [["Hello?", "Good day."]]},
            [USER, SAID, Message("user", "Add.\n1 and 2"), Message("assistant", "3")],
        ),
        ({"prompt": "Hello?", "completion": "Good day."}, [USER, SAID]),
        ({"question": "Hello?", "answer": "Good day."}, [USER, SAID]),
    ],
)
def test_every_layout(row, messages):
    assert to_messages(row) == messages


def test_rows_that_are_malformed_are_told_and_the_rest_goes_on(tmp_path):
    good = {"prompt": "Hello?", "completion": "Good day."}
    path = lines(
        tmp_path / "talk.jsonl",
        good,
        "{not json",
        "",
        "[1, 2]",
        {"text": "a document"},
        {"messages": [{"role": "user", "content": "Hello?"}]},
        {"messages": "Hello?"},
        {"prompt": 3, "completion": "x"},
        {"conversations": [{"from": "narrator", "value": "x"}]},
        {"prompt": "Hello?", "completion": " "},
        {
            "messages": [
                {"role": "user", "content": "x"},
                {"role": "assistant", "tool_calls": [{"function": {"name": "search", "arguments": {"a": 1, "b": 2}}}]},
            ]
        },
        good,
    )
    rows = list(read_conversations(path))
    assert [row.line for row in rows] == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert [row.line for row in rows if row.messages] == [1, 12]
    problems = {row.line: row.problem for row in rows if row.problem}
    for line, words in {
        2: "not JSON",
        4: "a row is an object, not list",
        5: "fields text: of no layout",
        6: "ends with user",
        7: "messages is no list",
        8: "prompt is no text but int",
        9: "from 'narrator'",
        10: "message 2: empty assistant message",
        11: "2 arguments of a call",
    }.items():
        assert words in problems[line], (line, problems[line])


def test_a_file_that_breaks_off_gives_what_it_holds(tmp_path):
    path = lines(
        tmp_path / "talk.jsonl.gz",
        *[{"prompt": f"What is {n} times {n * 7919}?", "completion": f"It is {n * n * 7919}."} for n in range(500)],
    )
    path.write_bytes(path.read_bytes()[:-2_000])
    rows = list(read_conversations(path))
    assert 100 < len(rows) < 500 and all(row.messages for row in rows[:-1])
    assert "the file breaks off" in rows[-1].problem or "not JSON" in rows[-1].problem


def test_parquet_and_files_that_are_none(tmp_path):
    pl.DataFrame(
        {
            "messages": [
                [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good day."}],
                [{"role": "user", "content": "Hello?"}],
            ]
        }
    ).write_parquet(tmp_path / "talk.parquet")
    first, second = read_conversations(tmp_path / "talk.parquet")
    assert list(first.messages) == [USER, SAID] and second.line == 2 and "ends with user" in second.problem
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for name, problem in (
        ("broken.parquet", r"broken\.parquet"),
        ("none.jsonl", "no such file"),
        ("talk.csv", "neither"),
    ):
        (tmp_path / "talk.csv").write_text("a,b")
        with pytest.raises(ConversationFileError, match=problem):
            list(read_conversations(tmp_path / name))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "from", "value", "tool_calls", "function", "name", "arguments", "type", "text"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "messages",
                "conversations",
                "instruction",
                "input",
                "output",
                "history",
                "prompt",
                "completion",
                "question",
                "answer",
                "system",
            ]
        ),
        values,
        max_size=5,
    )
)
def test_no_row_does_more_than_be_rejected(row):
    try:
        assert all(isinstance(message, Message) for message in to_messages(row))
    except ConversationError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("file", "least"),
    [("alpaca_en", 840), ("alpaca_zh", 990), ("kto_en", 290), ("p3_instructions", 7_300), ("gsm8k_train", 7_473)],
)
def test_files_of_other_projects(shared_data, file, least):
    rows = list(read_conversations(shared_data / "posttraining" / f"{file}.jsonl.gz"))
    assert sum(bool(row.messages) for row in rows) >= least
    assert all(row.problem for row in rows if not row.messages)
