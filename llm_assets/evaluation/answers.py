"""Answers of models to questions: of an assistant by the chat protocol, of a base model after examples.

All answers are greedy. Each is a dictionary: `answer` (the final text), `messages` (every message of the assistant and
its tools, with calls), `calls` (how many), `tokens` (how many the model generated itself, without tool output).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llm_assets.model.assistant import as_text, system_message, to_messages
from llm_assets.model.chat import Message, prompt
from llm_assets.model.sampling import Completion, Engine, Sampling, Tools

from .jobs import BasePrompting, Question

BATCH = 128  # questions that are answered at once


def answer_record(engine: Engine, completion: Completion) -> dict[str, Any]:
    """A completion as the dictionary that the module's docstring describes."""
    messages = to_messages(engine, completion)
    return {
        "answer": messages[-1].content,
        "messages": [_message_row(message) for message in messages],
        "calls": len(completion.calls),
        "tokens": completion.own_length,
    }


def _message_row(message: Message) -> dict[str, str]:
    row = {"role": message.role, "content": message.content}
    if message.call is not None:
        row |= {"tool": message.call.tool, "call": message.call.text}
    return row


def chat_answers(
    engine: Engine, questions: Sequence[Question], tools: Tools | None, max_tokens: int, search_first: bool = False
) -> list[dict[str, Any]]:
    """Answers by the chat protocol, in the order of the questions.

    search_first: begin every answer with a search, even if the model would answer from memory.
    """
    encoding = engine.encoding
    system_messages = [system_message(tuple(tools.tools))] if tools else []
    prompts = [prompt(encoding, [*system_messages, Message("user", question.question)]) for question in questions]
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=0.0,
        stop=(encoding.bos, encoding.special["<|assistant_end|>"]),
        opening=encoding.special["<|search_start|>"] if search_first else None,
    )
    completions = engine.complete(prompts, sampling, batch=BATCH, tools=tools)
    return [answer_record(engine, completion) for completion in completions]


def answers_with_tools(
    engine: Engine, questions: Sequence[Question], choose: Callable[[str], Tools | None], max_tokens: int
) -> list[dict[str, Any]]:
    """Answers with the tools that each question names, grouped by these tools; `number` is the question's number.

    choose: opens tools by their names (`tools.toolbox.open_toolbox`).
    """
    answers: list[dict[str, Any]] = []
    for tool_names in sorted({question.tools for question in questions}):
        group = [question for question in questions if question.tools == tool_names]
        group_answers = chat_answers(engine, group, choose(tool_names), max_tokens)
        answers += [
            {"number": question.number, **answer} for question, answer in zip(group, group_answers, strict=True)
        ]
    return answers


def base_model_prompts(engine: Engine, questions: Sequence[str], settings: BasePrompting) -> list[list[int]]:
    """Prompts for a base model, as token ids: an instruction, examples, and the question."""
    return [_base_model_prompt(engine, question, settings) for question in questions]


def _base_model_prompt(engine: Engine, question: str, settings: BasePrompting) -> list[int]:
    """The longest prompt that leaves room for the answer.

    If the context is too short, the instruction and the first example are dropped, then the other examples one by one.
    A question that is too long by itself is cut off.
    """
    encoding, longest = engine.encoding, engine.shape.context - settings.max_tokens
    examples = list(settings.examples)
    for dropped in range(len(examples) + 1):
        instruction = settings.instruction if dropped == 0 else ""
        ids = encoding.document(as_text([Message("user", question)], instruction, examples[dropped:]))
        if len(ids) <= longest:
            return ids
    return encoding.document(question)[:longest]


def base_model_answers(engine: Engine, questions: Sequence[Question], settings: BasePrompting) -> list[dict[str, Any]]:
    """Answers of a base model prompted with example questions and answers, in the questions' order."""
    prompts = base_model_prompts(engine, [question.question for question in questions], settings)
    return [
        {
            "answer": text,
            "messages": [{"role": "assistant", "content": text}],
            "calls": 0,
            "tokens": len(engine.encoding.encode(text)),
        }
        for text in engine.lines(prompts, settings.max_tokens, batch=BATCH)
    ]
