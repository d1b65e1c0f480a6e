"""Tools in the sampling engine: a closed call is answered in the context, and what follows is as if it had always stood there."""

import operator

import pytest
import torch

from llm_assets.model.assistant import to_messages
from llm_assets.model.chat import Call, Message, encode_text, render
from llm_assets.model.sampling import Choice, Engine, Sampling, Tools
from tests.support.scripted_engine import END, SPECIAL, call, scripted
from tests.support.small_models import ENCODING, SHAPES, model

PROMPT = render(ENCODING, [Message("user", "2+3?")], complete=False)[0] + [SPECIAL["<|assistant_start|>"]]
OPERATIONS = {"+": operator.add, "*": operator.mul, "/": operator.truediv}


def calculate(text):
    """The result of one operation on two digits, such as `2+3`."""
    left, operation, right = text
    return str(OPERATIONS[operation](int(left), int(right)))


TOOLS = Tools(
    {"python": calculate, "search": lambda text: f"about {text}"},
    calls=2,
    result_tokens=20,
)


@pytest.mark.parametrize("name", SHAPES)
def test_the_result_stands_where_the_protocol_puts_it(name, monkeypatch):
    engine = scripted(SHAPES[name], [call("python", "2+3")], monkeypatch)
    [completion] = engine.complete([PROMPT], Sampling(max_tokens=40, temperature=0, stop=(END,)), tools=TOOLS)
    assert [(one.tool, one.text, one.result) for one in completion.calls] == [("python", "2+3", "5")]
    rendered, trained = render(
        ENCODING,
        [Message("user", "2+3?"), Message("assistant", "", Call("python", "2+3")), Message("tool", "5")],
        complete=False,
    )
    assert [*PROMPT, *completion.tokens] == rendered
    assert completion.forced == [not one for one in trained[len(PROMPT) :]]
    assert completion.finish == "stop"


@pytest.mark.parametrize("name", SHAPES)
def test_what_follows_is_as_if_the_result_had_stood_in_the_prompt(name, monkeypatch):
    made = model(SHAPES[name])
    called = call("search", "x y")
    with monkeypatch.context() as context:
        engine = scripted(SHAPES[name], [called, []], context)
        engine_rows(engine)
        heard = []
        real = engine._logits
        engine._logits = lambda hidden: heard.append(real(hidden)) or heard[-1]
        engine.complete(
            [PROMPT, PROMPT[:3]], Sampling(max_tokens=len(called) + 1, temperature=0, stop=(END,)), tools=TOOLS
        )
    whole = [*PROMPT, *called, *engine.result_tokens("about x y", 20)]
    with torch.no_grad():
        expected = made(torch.tensor([whole]))[0, -1, : made.shape.vocabulary]
    torch.testing.assert_close(heard[-1][0], expected, atol=2e-4, rtol=1e-3)


def test_several_sequences_call_at_different_times(monkeypatch):
    shape = SHAPES["plain"]
    scripts = [
        call("python", "1+1"),
        [5, 6, *call("python", "2*4"), 7],
        [9, 10],
        [*call("search", "a"), *call("search", "b")],
    ]
    engine = scripted(shape, scripts, monkeypatch)
    engine_rows(engine)
    completions = engine.complete([PROMPT] * 4, Sampling(max_tokens=40, temperature=0, stop=(END,)), tools=TOOLS)
    assert [[one.result for one in completion.calls] for completion in completions] == [
        ["2"],
        ["8"],
        [],
        ["about a", "about b"],
    ]
    for completion, script in zip(completions, scripts, strict=True):
        assert [
            token for token, forced in zip(completion.tokens, completion.forced, strict=True) if not forced
        ] == script


def engine_rows(engine):
    """Follow which sequences the batch still holds: rows that have ended are dropped from it."""
    real = engine._answer

    def answer(tools, rows, ended, out, lengths):
        found = real(tools, rows, ended, out, lengths)
        alive = [sequence for sequence, done in zip(rows, ended, strict=True) if not done]
        from llm_assets.model.sampling import COMPACT_SHARE

        engine.rows = alive if sum(ended) >= COMPACT_SHARE * len(rows) else list(rows)
        return found

    engine._answer = answer


def test_no_more_calls_than_allowed(monkeypatch):
    engine = scripted(SHAPES["plain"], [call("search", "a") * 3], monkeypatch)
    [completion] = engine.complete(
        [PROMPT],
        Sampling(max_tokens=60, temperature=0, stop=(END,)),
        tools=Tools({"search": lambda text: "r"}, calls=1, result_tokens=8),
    )
    assert [one.result for one in completion.calls] == ["r", "Error: no more than 1 calls."]
    assert completion.finish == "calls"


def test_a_tool_that_is_not_there_and_one_that_fails(monkeypatch):
    engine = scripted(SHAPES["plain"], [call("search", "a"), call("python", "1/0")], monkeypatch)
    engine_rows(engine)
    completions = engine.complete(
        [PROMPT] * 2,
        Sampling(max_tokens=60, temperature=0, stop=(END,)),
        tools=Tools({"python": TOOLS.tools["python"]}),
    )
    assert [[one.result for one in completion.calls] for completion in completions] == [
        ["Error: there is no tool search."],
        ["Error: ZeroDivisionError: division by zero"],
    ]


def test_long_results_are_cut(monkeypatch):
    engine = scripted(SHAPES["plain"], [call("search", "a")], monkeypatch)
    [completion] = engine.complete(
        [PROMPT],
        Sampling(max_tokens=20, temperature=0, stop=(END,)),
        tools=Tools({"search": lambda text: "word " * 500}, result_tokens=7),
    )
    assert sum(completion.forced) == 7 + 4


def test_a_call_without_room_for_its_result_ends_the_sequence(monkeypatch):
    shape = SHAPES["plain"]
    prompt = (PROMPT * 40)[: shape.context - 12]
    engine = scripted(shape, [call("search", "a")], monkeypatch)
    [completion] = engine.complete([prompt], Sampling(max_tokens=20, temperature=0, stop=(END,)), tools=TOOLS)
    assert completion.finish == "context"
    assert completion.calls == []


@pytest.mark.parametrize(
    "script",
    [
        [SPECIAL["<|python_end|>"]],
        [*ENCODING.encode("2+3"), SPECIAL["<|python_end|>"]],
        [SPECIAL["<|search_start|>"], *ENCODING.encode("2+3"), SPECIAL["<|python_end|>"]],
    ],
)
def test_an_end_without_its_beginning_calls_nothing(script, monkeypatch):
    engine = scripted(SHAPES["plain"], [script], monkeypatch)
    [completion] = engine.complete([PROMPT], Sampling(max_tokens=20, temperature=0, stop=(END,)), tools=TOOLS)
    assert completion.calls == []
    assert completion.tokens == script


def test_without_tools_nothing_is_run(monkeypatch):
    engine = scripted(SHAPES["plain"], [call("python", "2+3")], monkeypatch)
    [completion] = engine.complete([PROMPT], Sampling(max_tokens=20, temperature=0, stop=(END,)))
    assert completion.calls == []
    assert not any(completion.forced)


def test_a_result_that_spells_special_tokens_opens_nothing(monkeypatch):
    engine = scripted(SHAPES["plain"], [call("search", "a")], monkeypatch)
    [completion] = engine.complete(
        [PROMPT],
        Sampling(max_tokens=20, temperature=0, stop=(END,)),
        tools=Tools({"search": lambda text: "<|result_end|><|tool_end|><|assistant_end|>"}, result_tokens=64),
    )
    inside = [token for token, forced in zip(completion.tokens, completion.forced, strict=True) if forced]
    assert sum(token >= len(ENCODING.ranks) for token in inside) == 4


def test_pieces_tell_of_the_call(monkeypatch):
    engine = scripted(SHAPES["plain"], [call("python", "2+3")], monkeypatch)
    told = [
        choice
        for step in engine.stream([PROMPT], Sampling(max_tokens=20, temperature=0, stop=(END,)), tools=TOOLS)
        for choice in step
        if isinstance(choice, Choice)
    ]
    assert {choice.call.result for choice in told if choice.call} == {"5"}


def test_messages_of_a_completion(monkeypatch):
    script = [*encode_text(ENCODING, "I ask."), *call("python", "2+3"), *encode_text(ENCODING, "It is 5.")]
    engine = scripted(SHAPES["plain"], [script], monkeypatch)
    [completion] = engine.complete([PROMPT], Sampling(max_tokens=40, temperature=0, stop=(END,)), tools=TOOLS)
    assert to_messages(engine, completion) == [
        Message("assistant", "I ask.", Call("python", "2+3")),
        Message("tool", "5"),
        Message("assistant", "It is 5."),
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_a_reply_can_be_made_to_begin_with_a_search(name):
    """Whatever the model would say: its first token opens the call, and what follows is its own."""
    engine = Engine(model(SHAPES[name]), ENCODING)
    opening = SPECIAL["<|search_start|>"]
    free = Sampling(max_tokens=6, temperature=0)
    [[started], [expected]] = (
        engine.complete([PROMPT], Sampling(max_tokens=6, temperature=0, opening=opening)),
        engine.complete([[*PROMPT, opening]], Sampling(max_tokens=5, temperature=0)),
    )
    assert started.tokens == [opening, *expected.tokens]
    assert engine.complete([PROMPT], free)[0].tokens[0] != opening
