"""Questions put to a model, by the chat protocol or as a base model is asked, and its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llm_assets.model.assistant import as_text, system_message, to_messages
from llm_assets.model.chat import Message, prompt
from llm_assets.model.sampling import Completion, Engine, Sampling, Tools

from .jobs import BasePrompting, Question

BATCH = 128


def told(engine: Engine, completion: Completion) -> dict[str, Any]:
    """An answer with its calls."""
    messages = to_messages(engine, completion)
    return {
        "answer": messages[-1].content,
        "messages": [
            {
                "role": message.role,
                "content": message.content,
                **({"tool": message.call.tool, "call": message.call.text} if message.call else {}),
            }
            for message in messages
        ],
        "calls": len(completion.calls),
        "tokens": completion.own_length,
    }


def ask_chat(
    engine: Engine, questions: Sequence[Question], tools: Tools | None, max_tokens: int, search_first: bool = False
) -> list[dict[str, Any]]:
    """Greedy answers by the chat protocol. search_first: every answer begins with a search, whatever the model knows."""
    encoding = engine.encoding
    system = system_message(sorted(tools.tools)) if tools else None
    prompts = [prompt(encoding, [*([system] if system else []), Message("user", one.question)]) for one in questions]
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=0.0,
        stop=(encoding.bos, encoding.special["<|assistant_end|>"]),
        opening=encoding.special["<|search_start|>"] if search_first else None,
    )
    return [told(engine, one) for one in engine.complete(prompts, sampling, batch=BATCH, tools=tools)]


def ask_all(
    engine: Engine, questions: Sequence[Question], choose: Callable[[str], Tools | None], max_tokens: int
) -> list[dict[str, Any]]:
    """Greedy answers with the tools that each question names, by the questions' numbers."""
    found = []
    for names in sorted({one.tools for one in questions}):
        asked = [one for one in questions if one.tools == names]
        found += [
            {"number": one.number, **answer}
            for one, answer in zip(asked, ask_chat(engine, asked, choose(names), max_tokens), strict=True)
        ]
    return found


def base_prompts(engine: Engine, questions: Sequence[str], settings: BasePrompting) -> list[list[int]]:
    """Prompts for a base model: questions after an instruction and examples, the first dropped if there is no room."""
    encoding, room = engine.encoding, engine.shape.context - settings.max_tokens
    examples = list(settings.examples)
    prompts = []
    for question in questions:
        texts = (
            as_text([Message("user", question)], settings.instruction if first == 0 else "", examples[first:])
            for first in range(len(examples) + 1)
        )
        prompts.append(
            next(
                (ids for text in texts if len(ids := encoding.document(text)) <= room),
                encoding.document(question)[:room],
            )
        )
    return prompts


def ask_base(engine: Engine, questions: Sequence[Question], settings: BasePrompting) -> list[dict[str, Any]]:
    """Greedy answers of a base model, made to answer by examples of questions and answers."""
    prompts = base_prompts(engine, [one.question for one in questions], settings)
    lines = engine.lines(prompts, settings.max_tokens, batch=BATCH)
    return [
        {
            "answer": text,
            "messages": [{"role": "assistant", "content": text}],
            "calls": 0,
            "tokens": len(engine.encoding.encode(text)),
        }
        for text in lines
    ]
