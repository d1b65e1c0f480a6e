"""Conversations with a model: history, what is left out when the context is full, and the prompt of a base model."""

import pytest

from llm_assets.dialogue.transcript import transcript
from llm_assets.model.assistant import Conversation, ConversationSettings, ConversationTooLong, as_text, system_message
from llm_assets.model.chat import Call, Message, encode_text, prompt
from llm_assets.model.sampling import Sampling, Tools
from tests.support.scripted_engine import END, call_tokens, scripted_engine
from tests.support.tiny_models import ENCODING, SHAPES

GREEDY = Sampling(max_tokens=30, temperature=0)


def test_the_tools_of_a_system_message_have_one_order():
    """Conversations that are trained on and those on the terminal name them alike."""
    assert system_message(("search", "python")) == system_message(("python", "search"))
    assert system_message(("search", "python")).content == "Tools: python, search."


def reply_to(conversation, question):
    """The text and the calls of the reply."""
    pieces = list(conversation.ask(question))
    return "".join(piece.text for piece in pieces), [piece.call for piece in pieces if piece.call]


def test_each_call_is_yielded_once_and_kept_in_the_history(monkeypatch):
    script = [*call_tokens("python", "2+3"), *encode_text(ENCODING, "5!")]
    tools = Tools({"python": lambda text: "5"})
    conversation = Conversation(
        scripted_engine(SHAPES["plain"], [script], monkeypatch), GREEDY, tools, ConversationSettings(room=8)
    )
    text, calls = reply_to(conversation, "2+3?")
    assert text == "5!"
    assert [(call.tool, call.text, call.result) for call in calls] == [("python", "2+3", "5")]
    assert conversation.history == [
        [
            Message("user", "2+3?"),
            Message("assistant", "", Call("python", "2+3")),
            Message("tool", "5"),
            Message("assistant", "5!"),
        ]
    ]
    assert transcript(conversation.history[0]) == "user: 2+3?\nassistant: [python: 2+3]\ntool: 5\nassistant: 5!"
    conversation.reset()
    assert conversation.history == []


def test_the_prompt_follows_the_chat_protocol(monkeypatch):
    conversation = Conversation(
        scripted_engine(SHAPES["plain"], [encode_text(ENCODING, "a")], monkeypatch),
        GREEDY,
        Tools({"search": str, "python": str}),
        ConversationSettings("Be brief.", room=4),
    )
    assert conversation._prompt("x") == prompt(
        ENCODING, [Message("system", "Tools: python, search.\nBe brief."), Message("user", "x")]
    )


def test_the_oldest_exchanges_are_left_out_when_the_context_is_full(monkeypatch):
    conversation = Conversation(
        scripted_engine(SHAPES["plain"], [ENCODING.encode("ab")], monkeypatch),
        GREEDY,
        settings=ConversationSettings(room=4),
    )
    conversation.history = [[Message("user", f"question {i}"), Message("assistant", "answer")] for i in range(8)]
    ids = conversation._prompt("and now?")
    assert len(ids) <= SHAPES["plain"].context - 4
    assert 0 < conversation.left_out < 8
    assert ids == prompt(
        ENCODING,
        [message for exchange in conversation.history[conversation.left_out :] for message in exchange]
        + [Message("user", "and now?")],
    )


def test_a_message_longer_than_the_context_is_an_error(monkeypatch):
    conversation = Conversation(scripted_engine(SHAPES["plain"], [[]], monkeypatch), GREEDY)
    with pytest.raises(ConversationTooLong, match="the context holds only 64"):
        reply_to(conversation, "long " * 100)
    assert conversation.history == []


def test_an_empty_reply_is_not_kept(monkeypatch):
    conversation = Conversation(scripted_engine(SHAPES["plain"], [[END]], monkeypatch), GREEDY)
    assert reply_to(conversation, "x")[0] == ""
    assert conversation.history == []


def test_a_base_model_answers_one_line(monkeypatch):
    script = ENCODING.encode(" Seven.\nQuestion: more?")
    conversation = Conversation(
        scripted_engine(SHAPES["plain"], [script], monkeypatch),
        GREEDY,
        settings=ConversationSettings(chat=False, room=4),
    )
    monkeypatch.setattr("llm_assets.model.assistant.EXAMPLES", ())
    conversation._prompt = lambda question: ENCODING.document("Answer:")
    assert reply_to(conversation, "x")[0] == "Seven."
    assert conversation.history == [[Message("user", "x"), Message("assistant", "Seven.")]]


def test_the_prompt_of_a_base_model():
    text = as_text(
        [Message("user", "a\nb"), Message("assistant", "c"), Message("user", "d")], "Told first.", [("q", "r")]
    )
    assert text == "Told first.\nQuestion: q\nAnswer: r\nQuestion: a b\nAnswer: c\nQuestion: d\nAnswer:"


def test_system_messages():
    assert system_message((), "") is None
    assert system_message(("search",)) == Message("system", "Tools: search.")
    assert system_message((), "Be kind.") == Message("system", "Be kind.")
