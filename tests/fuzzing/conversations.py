"""Fuzz targets of conversations: the exported chat template, files of training data, and answers of an endpoint."""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

import jinja2

from llm_assets.dialogue.conversation_files import read_conversations, to_messages
from llm_assets.dialogue.guidelines import GuidelinesError, parse
from llm_assets.dialogue.messages import from_json, to_json
from llm_assets.evaluation.endpoint import parse_questions, parse_verdict
from llm_assets.model.chat import CHAT_TEMPLATE, JOINER, ConversationError, prompt
from llm_assets.model.encoding import SPECIAL_TOKENS
from llm_assets.preference.preference_files import read_rankings
from llm_assets.reinforcement.practice_problems import read_word_problems
from tests.support.tiny_models import ENCODING

from .archives import stored
from .choices import Choices, text_bytes
from .targets import Target

_NEXT_ROLES = {"": ("user", "system"), "system": ("user",), "user": ("assistant",), "tool": ("assistant",)}
_OTHER_ROLES = ("system", "user", "assistant", "tool", "developer", "function", "")


class Refused(Exception):
    """The template refuses a conversation."""


def _refuse(reason: str) -> None:
    raise Refused(reason)


@cache
def _template() -> jinja2.Template:
    return jinja2.Environment().from_string(CHAT_TEMPLATE)


def conversation_of(choices: Choices) -> list[dict[str, Any]]:
    """A conversation in OpenAI's layout, mostly in the protocol's order."""
    messages: list[dict[str, Any]] = []
    role, is_calling = "", False
    for _ in range(1 + choices.number(6)):
        expected = ("tool" if is_calling else "user",) if role == "assistant" else _NEXT_ROLES.get(role, ("user",))
        role = choices.among(_OTHER_ROLES) if choices.number(16) == 15 else choices.among(expected)
        message: dict[str, Any] = {"role": role, "content": _content_of(choices)}
        is_calling = role == "assistant" and choices.number(2) == 1
        if is_calling or choices.number(32) == 31:
            call = {"name": choices.among(("python", "search", "weather")), "arguments": _arguments_of(choices)}
            count = 2 if choices.number(32) == 31 else 1
            message["tool_calls"] = [{"type": "function", "function": call} if choices.number(2) else call] * count
        messages.append(message)
    return messages


def _content_of(choices: Choices) -> Any:
    kind = choices.number(16)
    if kind < 12:
        return choices.text()
    if kind == 12:
        return [{"type": "text", "text": choices.text()} for _ in range(choices.number(3))]
    return (None, choices.value(), [choices.value()])[kind - 13]


def _arguments_of(choices: Choices) -> Any:
    kind = choices.number(4)
    if kind == 0:
        return choices.text().replace("\0", " ")  # which no template can name
    value = {"code": choices.text()} if kind == 1 else choices.value()
    return json.dumps(value, ensure_ascii=bool(choices.number(2))) if kind < 3 else value


def render_conversation(data: bytes) -> None:
    """The exported template and our own rendering give the same text, or both refuse the conversation."""
    conversation = conversation_of(Choices(data))
    try:
        ours = ENCODING.decode(prompt(ENCODING, to_messages({"messages": conversation})))
    except ConversationError as error:
        ours = None
        problem: Exception = error
    try:
        rendered = _template().render(messages=conversation, add_generation_prompt=True, raise_exception=_refuse)
    except Refused as error:
        rendered, problem = None, error
    if ours is None or rendered is None:
        assert ours is None and rendered is None, f"only one side refuses: {problem}: {ours!r} {rendered!r}"
        return
    # The tokenizer takes the joiner out again, also where a text has it of its own.
    assert rendered.replace(f"<{JOINER}|", "<|") == ours.replace(f"<{JOINER}|", "<|")
    count = sum(rendered.count(token) for token in SPECIAL_TOKENS)
    assert count <= 8 * len(conversation) + 2


def read_files(data: bytes) -> None:
    """Every line of a file is a row or a reject with its number. The first byte chooses the kind of file."""
    kind, content = data[0] % 4 if data else 0, data[1:]
    with stored(content, "rows.jsonl.gz" if content[:2] == b"\x1f\x8b" else "rows.jsonl") as path:
        if kind == 0:
            rows = list(read_conversations(path))
            lines = [row.line for row in rows]
            for row in rows:
                assert bool(row.messages) != bool(row.problem)
                row.problem.encode()
                if row.messages:
                    assert from_json(to_json(row.messages)) == list(row.messages)
                    to_json(row.messages).encode()
        elif kind == 1:
            rankings = list(read_rankings(path))
            lines = [number for number, _ in rankings]
            for _, ranking in rankings:
                json.dumps(ranking, ensure_ascii=False).encode()
        elif kind == 2:
            problems, rejects = read_word_problems(path)
            lines = [reject["line"] for reject in rejects]
            assert all(problem.steps >= 0 and problem.answer.encode() for problem in problems)
        else:
            return _read_texts(content.decode("utf-8", "replace"))
    assert lines == sorted(set(lines))
    if kind < 2 and content[:2] != b"\x1f\x8b":
        assert len(lines) == sum(bool(line.strip()) for line in content.split(b"\n")) or b"\r" in content


def _read_texts(text: str) -> None:
    questions, problems = parse_questions(text, text)
    assert all(isinstance(problem, str) for problem in problems)
    assert all(question["answer"].strip() for question in questions)
    assert parse_verdict(text) in ("right", "refused", "wrong")
    try:
        parse(text)
    except GuidelinesError as error:
        str(error).encode()


def _conversations() -> list[bytes]:
    def talk(arguments: bytes) -> bytes:
        user = b"\x03\x00\x00\x00" + text_bytes("hi <|user_end|>") + b"\x00\x00"
        return user + b"\x00\x00\x00" + text_bytes("a") + b"\x01\x00" + b"\x00" + arguments

    return [
        talk(b"\x00" + text_bytes("{x for x in 'ab'}")),
        talk(b"\x00" + text_bytes('{"query": "a\\u0041\\n", "n": null}')),
        talk(b"\x00" + text_bytes('{"a": [1, {"b": "c"}], "d": 1e5}')),
        talk(b"\x01" + text_bytes("print('{')") + b"\x01"),
        talk(b"\x02\x06\x02\x00" + text_bytes("a") + b"\x00\x01"),
        b"\x01\x00\x01\x00" + text_bytes("Be kind.") + b"\x00\x00\x00\x00\x0c\x02" + text_bytes("a") + text_bytes("b"),
        *(talk(b"\x00" + text_bytes(program)) for program in PROGRAMS),
    ]


def _files() -> list[bytes]:
    rows = [
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Good day."}]},
        {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": '{"name": "search"}'}]},
        {"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]], "system": "s"},
        {"question": "x \ud83d y", "answer": "2 + 3 = 5\n#### 5"},
    ]
    ranking = {"question": "q", "first": "a", "second": "b", "preferred": "tie", "labeller": "x", "subject": 5}
    content = "\n".join(map(json.dumps, rows)).encode()
    question = {"entity": "e", "answer": "a", "sentence": "a.", "questions": ["q?"], "kind": "k"}
    return [
        b"\0" + content,
        b"\0" + gzip.compress(content, mtime=0),
        b"\1" + json.dumps(ranking).encode() + b"\n[]\n\xff\n",
        b"\2" + content,
        b"\3Here: " + json.dumps([question, 5]).encode(),
        b"\3right.\n## a: b\nquestion: {name}?\nanswer: x\n",
    ]


# Past findings: programs that look like JSON, and JSON that looks odd.
PROGRAMS = (
    '{"a": x for x in "b"}',
    '{"a": "b", "\\u0061": null}',
    '{"a": "b\tc"}',
    '{"a\\x": "b"}',
    '{"a": [1.5e-3, -0, {"b": true}], "c": null}',
    '{"a": 01}',
    ' {"a" : "\\ud83d\\ude00 \\ud83d \\/\\"" , "b":null } ',
)

TARGETS = {
    "chat": Target(
        render_conversation, _conversations, ("llm_assets.model.chat", "llm_assets.dialogue", "jinja2"), 300
    ),
    "files": Target(
        read_files,
        _files,
        ("llm_assets.dialogue", "llm_assets.evaluation.endpoint", "llm_assets.preference.human_rankings"),
        250,
    ),
}
