"""Tools in the sampling engine: a call is answered in place, and sampling continues as if the output had been in the
prompt.
"""

import operator

import pytest
import torch

from llm_assets.model.assistant import to_messages
from llm_assets.model.chat import Call, Message, encode_text, render
from llm_assets.model.decoding import tool_turn
from llm_assets.model.sampling import Choice, Engine, Sampling, Tools
from tests.support.scripted_engine import END, SPECIAL, call_tokens, scripted_engine
from tests.support.tiny_models import ENCODING, SHAPES, random_model

PROMPT = render(ENCODING, [Message("user", "2+3?")], complete=False)[0] + [SPECIAL["<|assistant_start|>"]]
OPERATIONS = {"+": operator.add, "*": operator.mul, "/": operator.truediv}


def calculate(text):
    """A Python tool: the result of one operation on two digits, such as `2+3`."""
    left, operation, right = text
    return str(OPERATIONS[operation](int(left), int(right)))


TOOLS = Tools(
    {"python": calculate, "search": lambda text: f"about {text}"},
    calls=2,
    result_tokens=20,
)


@pytest.mark.parametrize("name", SHAPES)
def test_tool_output_follows_the_chat_protocol(name, monkeypatch):
    engine = scripted_engine(SHAPES[name], [call_tokens("python", "2+3")], monkeypatch)
    [completion] = engine.complete([PROMPT], Sampling(max_tokens=40, temperature=0, stop=(END,)), tools=TOOLS)
    assert [(call.tool, call.text, call.result) for call in completion.calls] == [("python", "2+3", "5")]
    rendered, trained = render(
        ENCODING,
        [Message("user", "2+3?"), Message("assistant", "", Call("python", "2+3")), Message("tool", "5")],
        complete=False,
    )
    assert [*PROMPT, *completion.tokens] == rendered
    assert completion.from_tool == [not is_trained for is_trained in trained[len(PROMPT) :]]
    assert completion.finish == "stop"


@pytest.mark.parametrize("name", SHAPES)
def test_sampling_continues_as_if_the_output_had_been_in_the_prompt(name, monkeypatch):
    model = random_model(SHAPES[name])
    call = call_tokens("search", "x y")
    with monkeypatch.context() as context:
        engine = scripted_engine(SHAPES[name], [call, []], context)
        computed = []
        logits = engine.cached.logits

        def recorded(hidden):
            computed.append(logits(hidden))
            return computed[-1]

        monkeypatch.setattr(engine.cached, "logits", recorded)
        engine.complete(
            [PROMPT, PROMPT[:3]], Sampling(max_tokens=len(call) + 1, temperature=0, stop=(END,)), tools=TOOLS
        )
    whole = [*PROMPT, *call, *tool_turn(ENCODING, "about x y", 20)]
    with torch.no_grad():
        expected = model(torch.tensor([whole]))[0, -1, : model.shape.vocabulary]
    torch.testing.assert_close(computed[-1][0], expected, atol=2e-4, rtol=1e-3)


def test_several_sequences_call_at_different_times(monkeypatch):
    shape = SHAPES["plain"]
    scripts = [
        call_tokens("python", "1+1"),
        [5, 6, *call_tokens("python", "2*4"), 7],
        [9, 10],
        [*call_tokens("search", "a"), *call_tokens("search", "b")],
    ]
    engine = scripted_engine(shape, scripts, monkeypatch)
    completions = engine.complete([PROMPT] * 4, Sampling(max_tokens=40, temperature=0, stop=(END,)), tools=TOOLS)
    assert [[call.result for call in completion.calls] for completion in completions] == [
        ["2"],
        ["8"],
        [],
        ["about a", "about b"],
    ]
    for completion, script in zip(completions, scripts, strict=True):
        assert [
            token for token, from_tool in zip(completion.tokens, completion.from_tool, strict=True) if not from_tool
        ] == script


def test_a_sequence_that_keeps_calling_is_refused_and_ended(monkeypatch):
    engine = scripted_engine(SHAPES["plain"], [call_tokens("search", "a") * 3], monkeypatch)
    [completion] = engine.complete(
        [PROMPT],
        Sampling(max_tokens=60, temperature=0, stop=(END,)),
        tools=Tools({"search": lambda text: "r"}, calls=1, result_tokens=8),
    )
    assert [call.result for call in completion.calls] == ["r", "Error: no more than 1 calls."]
    assert completion.finish == "calls"


def test_a_missing_or_failing_tool_answers_with_an_error(monkeypatch):
    engine = scripted_engine(SHAPES["plain"], [call_tokens("search", "a"), call_tokens("python", "1/0")], monkeypatch)
    completions = engine.complete(
        [PROMPT] * 2,
        Sampling(max_tokens=60, temperature=0, stop=(END,)),
        tools=Tools({"python": TOOLS.tools["python"]}),
    )
    assert [[call.result for call in completion.calls] for completion in completions] == [
        ["Error: there is no tool search."],
        ["Error: ZeroDivisionError: division by zero"],
    ]


def test_long_results_are_cut(monkeypatch):
    engine = scripted_engine(SHAPES["plain"], [call_tokens("search", "a")], monkeypatch)
    [completion] = engine.complete(
        [PROMPT],
        Sampling(max_tokens=20, temperature=0, stop=(END,)),
        tools=Tools({"search": lambda text: "word " * 500}, result_tokens=7),
    )
    assert sum(completion.from_tool) == 7 + 4


def test_a_call_without_room_for_its_result_ends_the_sequence(monkeypatch):
    shape = SHAPES["plain"]
    prompt = (PROMPT * 40)[: shape.context - 12]
    engine = scripted_engine(shape, [call_tokens("search", "a")], monkeypatch)
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
def test_an_end_token_without_its_start_is_no_call(script, monkeypatch):
    engine = scripted_engine(SHAPES["plain"], [script], monkeypatch)
    [completion] = engine.complete([PROMPT], Sampling(max_tokens=20, temperature=0, stop=(END,)), tools=TOOLS)
    assert completion.calls == []
    assert completion.tokens == script


def test_without_tools_no_call_is_made(monkeypatch):
    engine = scripted_engine(SHAPES["plain"], [call_tokens("python", "2+3")], monkeypatch)
    [completion] = engine.complete([PROMPT], Sampling(max_tokens=20, temperature=0, stop=(END,)))
    assert completion.calls == []
    assert not any(completion.from_tool)


def test_special_tokens_in_a_result_are_plain_text(monkeypatch):
    engine = scripted_engine(SHAPES["plain"], [call_tokens("search", "a")], monkeypatch)
    [completion] = engine.complete(
        [PROMPT],
        Sampling(max_tokens=20, temperature=0, stop=(END,)),
        tools=Tools({"search": lambda text: "<|result_end|><|tool_end|><|assistant_end|>"}, result_tokens=64),
    )
    output = [token for token, from_tool in zip(completion.tokens, completion.from_tool, strict=True) if from_tool]
    assert sum(token >= len(ENCODING.ranks) for token in output) == 4


def test_streamed_tool_output_names_its_call(monkeypatch):
    engine = scripted_engine(SHAPES["plain"], [call_tokens("python", "2+3")], monkeypatch)
    choices = [
        choice
        for step in engine.stream([PROMPT], Sampling(max_tokens=20, temperature=0, stop=(END,)), tools=TOOLS)
        for choice in step
        if isinstance(choice, Choice)
    ]
    assert {choice.call.result for choice in choices if choice.call} == {"5"}


def test_a_completion_becomes_messages(monkeypatch):
    script = [*encode_text(ENCODING, "I ask."), *call_tokens("python", "2+3"), *encode_text(ENCODING, "It is 5.")]
    engine = scripted_engine(SHAPES["plain"], [script], monkeypatch)
    [completion] = engine.complete([PROMPT], Sampling(max_tokens=40, temperature=0, stop=(END,)), tools=TOOLS)
    assert to_messages(engine, completion) == [
        Message("assistant", "I ask.", Call("python", "2+3")),
        Message("tool", "5"),
        Message("assistant", "It is 5."),
    ]


SEARCHES = call_tokens("search", "a") * 3


@pytest.mark.parametrize(
    ("script", "max_tokens", "answer"),
    [
        ([*encode_text(ENCODING, "I add."), *SEARCHES], 60, "I add."),  # refused after the first calls
        ([*encode_text(ENCODING, "I add."), *call_tokens("search", "a b")], None, "I add."),  # at the limit
        ([*encode_text(ENCODING, "I add."), *call_tokens("search", "a b")[:-1]], None, "I add. a b"),  # never closed
    ],
)
def test_a_call_that_ends_an_answer_unmade_is_no_text(script, max_tokens, answer, monkeypatch):
    engine = scripted_engine(SHAPES["plain"], [script], monkeypatch)
    sampling = Sampling(max_tokens=max_tokens or len(script), temperature=0, stop=(END,))
    tools = Tools({"search": lambda text: "r"}, calls=1, result_tokens=8)
    [completion] = engine.complete([PROMPT], sampling, tools=tools)
    messages = to_messages(engine, completion)
    assert completion.finish == ("calls" if completion.calls else "length")
    assert messages[0].content == answer and messages[-1].content == ("" if completion.calls else answer)


@pytest.mark.parametrize("name", SHAPES)
def test_a_reply_can_be_made_to_begin_with_a_search(name):
    """The first token starts the call; the model samples the rest."""
    engine = Engine(random_model(SHAPES[name]), ENCODING)
    opening = SPECIAL["<|search_start|>"]
    free = Sampling(max_tokens=6, temperature=0)
    [[started], [expected]] = (
        engine.complete([PROMPT], Sampling(max_tokens=6, temperature=0, opening=opening)),
        engine.complete([[*PROMPT, opening]], Sampling(max_tokens=5, temperature=0)),
    )
    assert started.tokens == [opening, *expected.tokens]
    assert engine.complete([PROMPT], free)[0].tokens[0] != opening
