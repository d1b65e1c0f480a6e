"""The chat protocol: tokens and loss mask as written down, equal to transformers' apply_chat_template, closed to
impostors.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.model.chat import (
    CHAT_TEMPLATE,
    Call,
    ConversationError,
    Message,
    decode_text,
    encode_text,
    prompt,
    render,
)
from llm_assets.model.encoding import SPECIAL_TOKENS
from llm_assets.model.tokenizer_files import write_tokenizer
from tests.support.tiny_models import ENCODING

TALK = [
    Message("system", "Answer briefly."),
    Message("user", "Where is the river?"),
    Message("assistant", "I will look.", Call("search", "river")),
    Message("tool", "The river flows through the town."),
    Message("assistant", "In the town."),
    Message("user", "What is 7 times 6?"),
    Message("assistant", "", Call("python", "7 * 6")),
    Message("tool", "42"),
    Message("assistant", "It is 42."),
]


def openai(messages):
    out = []
    for message in messages:
        row = {"role": message.role, "content": message.content}
        if message.call:
            row["tool_calls"] = [
                {"type": "function", "function": {"name": message.call.tool, "arguments": {"input": message.call.text}}}
            ]
        out.append(row)
    return out


def test_a_conversation_is_rendered_as_documented():
    ids, trained = render(ENCODING, TALK)
    assert ENCODING.decode(ids) == (
        "<|bos|><|system_start|> Answer briefly.<|system_end|><|user_start|> Where is the river?<|user_end|>"
        "<|assistant_start|> I will look.<|search_start|> river<|search_end|>"
        "<|tool_start|><|result_start|> The river flows through the town.<|result_end|><|tool_end|>"
        " In the town.<|assistant_end|>"
        "<|user_start|> What is 7 times 6?<|user_end|><|assistant_start|><|python_start|> 7 * 6<|python_end|>"
        "<|tool_start|><|result_start|> 42<|result_end|><|tool_end|> It is 42.<|assistant_end|>"
    )
    trained_text = ENCODING.decode([token for token, is_trained in zip(ids, trained, strict=True) if is_trained])
    assert trained_text == (
        " I will look.<|search_start|> river<|search_end|> In the town.<|assistant_end|>"
        "<|python_start|> 7 * 6<|python_end|> It is 42.<|assistant_end|>"
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(ENCODING, folder, 1024, CHAT_TEMPLATE)
    return AutoTokenizer.from_pretrained(folder)


texts = st.text(min_size=1, max_size=40).filter(
    lambda text: text.strip() and not any(name in text for name in SPECIAL_TOKENS)
)


def test_transformers_renders_the_same_tokens_and_the_same_mask(tokenizer):
    @given(
        st.lists(
            st.tuples(texts, texts, st.sampled_from([None, "search", "python"]), texts, texts), min_size=1, max_size=3
        ),
        st.booleans(),
    )
    def same(turns, with_system):
        messages = [Message("system", "Be kind.")] if with_system else []
        for question, answer, tool, query, result in turns:
            messages.append(Message("user", question))
            if tool:
                messages += [Message("assistant", answer, Call(tool, query)), Message("tool", result)]
            messages.append(Message("assistant", answer))
        ids, trained = render(ENCODING, messages)
        rendered = tokenizer.apply_chat_template(
            openai(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        assert rendered["input_ids"] == ids
        assert [bool(mask) for mask in rendered["assistant_masks"]] == trained
        unanswered = messages[:-1]
        assert tokenizer.apply_chat_template(
            openai(unanswered), tokenize=True, return_dict=True, add_generation_prompt=True
        )["input_ids"] == prompt(ENCODING, unanswered)

    same()


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "hello ", "<|", "|>"]), min_size=1, max_size=8))
def test_a_users_text_cannot_open_a_turn(pieces):
    text = "x" + "".join(pieces)
    ids, trained = render(ENCODING, [Message("user", text), Message("assistant", "No.")])
    inner = ids[2 : ids.index(ENCODING.special["<|user_end|>"])]
    assert decode_text(ENCODING, inner) == text and not set(inner) & set(ENCODING.special.values())
    assert (
        ids.count(ENCODING.special["<|assistant_start|>"]) == 1
        and sum(trained) == len(encode_text(ENCODING, "No.")) + 1
    )


@given(st.text(max_size=40))
def test_texts_are_decoded_unchanged(text):
    assert decode_text(ENCODING, encode_text(ENCODING, text)) == text


def test_a_text_begins_with_the_tokens_of_a_word_within_a_sentence():
    assert encode_text(ENCODING, "river") == ENCODING.encode("the river")[len(ENCODING.encode("the")) :]


USER, ANSWER = Message("user", "Hello."), Message("assistant", "Good day.")


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "no messages"),
        ([ANSWER], "message 1: assistant where system or user was expected"),
        ([USER, USER], "message 2: user where assistant was expected"),
        ([USER, ANSWER, Message("system", "x")], "message 3: system where user was expected"),
        ([USER], "message 1: the conversation ends with user"),
        ([Message("critic", "x")], "message 1: unknown role 'critic'"),
        ([USER, Message("assistant", " ")], "message 2: empty assistant message"),
        (
            [USER, Message("assistant", "x", Call("shell", "ls"))],
            "message 2: unknown tool 'shell'; available: search, python",
        ),
        ([USER, Message("assistant", "x", Call("python", " "))], "message 2: an empty call of python"),
        ([Message("user", "x", Call("python", "1"))], "message 1: a call by user"),
        (
            [USER, Message("assistant", "x", Call("python", "1"))],
            "message 2: the conversation ends with assistant calling a tool",
        ),
        (
            [USER, Message("assistant", "x", Call("python", "1")), ANSWER],
            "message 3: assistant where tool was expected",
        ),
        ([USER, ANSWER, Message("tool", "1")], "message 3: tool where user was expected"),
    ],
)
def test_conversations_out_of_order_are_errors(messages, problem):
    with pytest.raises(ConversationError, match=problem):
        render(ENCODING, messages)


def test_there_is_nothing_to_answer_after_an_answer():
    assert ENCODING.decode(prompt(ENCODING, [USER])).endswith("<|user_end|><|assistant_start|>")
    with pytest.raises(ConversationError, match="so there is nothing left to answer"):
        prompt(ENCODING, [USER, ANSWER])
