"""Conversations from files: every layout is read, and every malformed row is reported with its line number."""

import gzip
import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.dialogue.conversation_files import ConversationFileError, read_conversations, to_messages
from llm_assets.json_values import parse_json
from llm_assets.model.chat import Call, ConversationError, Message

USER, ASSISTANT = Message("user", "Hello?"), Message("assistant", "Good day.")
WITH_SEARCH = [USER, Message("assistant", "", Call("search", "day")), Message("tool", "It is Monday."), ASSISTANT]


def write_lines(path, *rows):
    """Write rows as JSON lines; strings are written as they are."""
    data = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (
            {"messages": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good day."}]},
            [USER, ASSISTANT],
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo?"}]},
                    {"role": "assistant", "content": "Good day."},
                ]
            },
            [USER, ASSISTANT],
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
            WITH_SEARCH,
        ),
        (
            {
                "system": "Be kind.",
                "conversations": [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Good day."}],
            },
            [Message("system", "Be kind."), USER, ASSISTANT],
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
            WITH_SEARCH,
        ),
        ({"instruction": "Hello?", "input": "", "output": "Good day."}, [USER, ASSISTANT]),
        (
            {"instruction": "Add.", "input": "1 and 2", "output": "3", "history": [["Hello?", "Good day."]]},
            [USER, ASSISTANT, Message("user", "Add.\n1 and 2"), Message("assistant", "3")],
        ),
        ({"prompt": "Hello?", "completion": "Good day."}, [USER, ASSISTANT]),
        ({"question": "Hello?", "answer": "Good day."}, [USER, ASSISTANT]),
    ],
)
def test_every_layout_is_read(row, messages):
    assert to_messages(row) == messages


def test_malformed_rows_are_rejected_with_a_reason_and_the_others_are_read(tmp_path):
    good = {"prompt": "Hello?", "completion": "Good day."}
    path = write_lines(
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
    for line, expected in {
        2: "not JSON",
        4: "a row must be an object, not list",
        5: "fields text: not a known layout",
        6: "ends with user",
        7: "messages must be a list",
        8: "prompt must be text, not int",
        9: "from 'narrator'",
        10: "message 2: empty assistant message",
        11: "a tool call with 2 arguments",
    }.items():
        assert expected in problems[line], (line, problems[line])


def test_a_truncated_file_gives_the_rows_before_the_break(tmp_path):
    path = write_lines(
        tmp_path / "talk.jsonl.gz",
        *[{"prompt": f"What is {n} times {n * 7919}?", "completion": f"It is {n * n * 7919}."} for n in range(500)],
    )
    path.write_bytes(path.read_bytes()[:-2_000])
    rows = list(read_conversations(path))
    assert 100 < len(rows) < 500 and all(row.messages for row in rows[:-1])
    assert "the file breaks off" in rows[-1].problem or "not JSON" in rows[-1].problem


def test_parquet_is_read_and_unsupported_files_are_refused(tmp_path):
    pl.DataFrame(
        {
            "messages": [
                [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Good day."}],
                [{"role": "user", "content": "Hello?"}],
            ]
        }
    ).write_parquet(tmp_path / "talk.parquet")
    first, second = read_conversations(tmp_path / "talk.parquet")
    assert list(first.messages) == [USER, ASSISTANT] and second.line == 2 and "ends with user" in second.problem
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for name, problem in (
        ("broken.parquet", r"broken\.parquet"),
        ("none.jsonl", "no such file"),
        ("talk.csv", "neither"),
    ):
        (tmp_path / "talk.csv").write_text("a,b")
        with pytest.raises(ConversationFileError, match=problem):
            list(read_conversations(tmp_path / name))


VALUES = st.recursive(
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
        VALUES,
        max_size=5,
    )
)
def test_any_row_is_read_or_rejected(row):
    try:
        assert all(isinstance(message, Message) for message in to_messages(row))
    except ConversationError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("file", "fewest_conversations"),
    [("alpaca_en", 840), ("alpaca_zh", 990), ("kto_en", 290), ("p3_instructions", 7_300), ("gsm8k_train", 7_473)],
)
def test_data_sets_of_other_projects_are_read(shared_data, file, fewest_conversations):
    rows = list(read_conversations(shared_data / "posttraining" / f"{file}.jsonl.gz"))
    assert sum(bool(row.messages) for row in rows) >= fewest_conversations
    assert all(row.problem for row in rows if not row.messages)


HALF, REPLACED = "\\ud83d", "\ufffd"  # half of a surrogate pair, as a JSON escape; no UTF-8 text can hold it


@pytest.mark.parametrize(
    "row",
    [
        '{"question": "x HALF y", "answer": "b"}',
        '{"prompt": "x HALF y", "completion": "b"}',
        '{"instruction": "x HALF y", "output": "b"}',
        '{"conversations": [{"from": "human", "value": "x HALF y"}, {"from": "gpt", "value": "b"}]}',
        '{"messages": [{"role": "user", "content": [{"type": "text", "text": "x HALF y"}]},'
        ' {"role": "assistant", "content": "b"}]}',
    ],
)
def test_half_a_character_is_replaced_and_the_rows_around_it_are_used(tmp_path, row):
    """Python's json module keeps a lone surrogate, on which Polars, tiktoken and UTF-8 files fail later."""
    good = json.dumps({"question": "a", "answer": "b"})
    path = write_lines(tmp_path / "rows.jsonl", good, row.replace("HALF", HALF), good)
    rows = list(read_conversations(path))
    assert [row.problem for row in rows] == ["", "", ""]
    assert rows[1].messages[0].content == f"x {REPLACED} y"
    texts = pl.DataFrame({"text": [message.content for row in rows for message in row.messages]})
    assert texts.height == 6


def test_half_a_character_in_the_arguments_of_a_call_is_replaced():
    """Arguments are JSON within JSON, so the escape is decoded by a second reader; so is a function_call's value."""
    call = {"name": "search", "arguments": f'{{"query": "x {HALF}"}}'}
    conversation = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]},
    ]
    assert to_messages({"messages": conversation})[1].call == Call("search", f"x {REPLACED}")
    value = f'{{"name": "search", "arguments": {{"query": "x {HALF}"}}}}'
    [message] = to_messages({"conversations": [{"from": "function_call", "value": value}]})
    assert message.call == Call("search", f"x {REPLACED}")
    with pytest.raises(ConversationError, match="function_call is not JSON"):
        to_messages({"conversations": [{"from": "function_call", "value": "[" * 100_000}]})


@given(st.text(st.one_of(st.characters(), st.sampled_from("\ud83d\ude00")), max_size=20))
def test_json_values_are_those_of_the_json_module_but_for_halves_of_characters(text):
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # two halves are one character
    assert parse_json(json.dumps({text: [text, 1, None]})) == {joined: [joined, 1, None]}
