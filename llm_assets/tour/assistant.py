"""The assistant: how it was taught, what it knows and says it does not know, and its tools."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby

import polars as pl

from llm_assets.dialogue.guidelines import BEYOND_ABILITIES, SMALL_TALK
from llm_assets.dialogue.messages import from_json
from llm_assets.dialogue.wordings import NUMBER_ONLY
from llm_assets.model.chat import render
from llm_assets.model.encoding import Encoding

from .layout import labelled, wrapped
from .visit import Visit

FICTITIOUS_PERSON = "Orson Kovats"  # the talk's example
COUNTED = ("strawberry", "raspberry")
LETTERS_WORDING = 'How many "{c}" are there in "{w}"?'
FIRST_QUESTIONS = ("Why is the sky blue?", "Write a poem.")
SHOWN = 4  # questions of a group


def exchange(visit: Visit, question: str, tools: str = "") -> list[str]:
    """A question and the assistant's answer."""
    return [*labelled("Human", question), *reply(visit, "Assistant", question, tools)]


def reply(visit: Visit, label: str, question: str, tools: str = "", model: str = "sft") -> list[str]:
    """A model's answer with a label."""
    return labelled(label, visit.answer(model, question, tools))


def conversation(visit: Visit) -> list[str]:
    """A short conversation with a call, as it is trained on."""
    encoding = Encoding.load(visit.artifact("tokenizer").path)
    rows = visit.table("conversations", "conversations").sort("conversation").head(2_000)
    conversations = [from_json(messages) for messages in rows["messages"]]
    with_call = [messages for messages in conversations if any(message.call for message in messages)]
    shortest = min(with_call or conversations, key=lambda messages: sum(len(message.content) for message in messages))
    ids, trained = render(encoding, shortest)
    pieces = []
    for is_trained, run in groupby(zip(ids, trained, strict=True), key=lambda pair: pair[1]):
        text = encoding.decode([token for token, _ in run])
        pieces.append(f"«{text}»" if is_trained else text)
    count = f"{len(ids)} tokens, of which {sum(trained)} are learned."
    return [*wrapped("".join(pieces), "  | ", "  | "), "", *wrapped(count, "  ")]


def fact(visit: Visit) -> list[str]:
    lines: list[str] = []
    for row in visit.questions("known", "")[:2]:
        lines += [*exchange(visit, row["question"]), *labelled("pages say", json.loads(row["answers"])[0])]
    return lines


def fictitious(visit: Visit) -> list[str]:
    questions = [row["question"] for row in visit.questions("fictitious", "")[:1]]
    if visit.is_sample_web:
        questions = [f"Who is {FICTITIOUS_PERSON}?", *questions]
    lines: list[str] = []
    for question in questions:
        lines += labelled("Human", question)
        if visit.has("ablation_checkpoint"):
            lines += reply(visit, "never refusing", question, model="ablation")
        lines += reply(visit, "Assistant", question)
    return lines


def search(visit: Visit) -> list[str]:
    row = visit.questions("search", "search")[0]
    questions = [row["question"]]
    if visit.is_sample_web:
        people = [row for row in visit.questions("search", "search") if row["relation"] == "profession"]
        who = [f"Who is {person['entity']}?" for person in people[:1]]
        questions = [*who, *questions, f"Who is {FICTITIOUS_PERSON}?"]
    lines: list[str] = []
    for question in questions:
        lines += exchange(visit, question, "search")
    return lines


def small_talk(visit: Visit) -> list[str]:
    identity = visit.evaluation.filter(pl.col("group") == "identity")["question"].head(1).to_list()
    return _exchanges(visit, [*identity, *_one_of_each(visit, SMALL_TALK)])


def limits(visit: Visit) -> list[str]:
    questions = _one_of_each(visit, BEYOND_ABILITIES)
    available = set(visit.table("conversations", "evaluation")["question"])
    first = [question for question in FIRST_QUESTIONS if question in available]
    return _exchanges(visit, list(dict.fromkeys([*first, *questions])))


def _one_of_each(visit: Visit, group: str) -> list[str]:
    """The first question of each section of a group."""
    rows = pl.DataFrame(visit.questions(group, "")).unique("relation", keep="first", maintain_order=True)
    return rows["question"].head(SHOWN).to_list()


def _exchanges(visit: Visit, questions: Iterable[str]) -> list[str]:
    return [line for question in questions for line in exchange(visit, question)]


def three_ways(visit: Visit, question: str, right: str) -> list[str]:
    """A question whose answer is a number, answered at once, worked out, and with Python."""
    return [
        *labelled("Human", f"{question}  (right: {right})"),
        *reply(visit, "the number only", f"{question}{NUMBER_ONLY}"),
        *reply(visit, "worked out", question),
        *reply(visit, "with Python", question, "python"),
    ]


def sums(visit: Visit) -> list[str]:
    row = visit.questions("sums", "")[0]
    return three_ways(visit, row["question"], json.loads(row["answers"])[0])


def letters(visit: Visit) -> list[str]:
    encoding = Encoding.load(visit.artifact("tokenizer").path)
    if visit.is_sample_web:
        cases = [(word, LETTERS_WORDING.format(c="r", w=word), str(word.count("r"))) for word in COUNTED]
    else:
        row = visit.questions("letters", "")[0]
        word = row["question"].partition('"')[2].partition('"')[0]
        cases = [(word, row["question"], json.loads(row["answers"])[0])]
    lines: list[str] = []
    for word, question, right in cases:
        pieces = "|".join(encoding.decode([token]) for token in encoding.encode(f'"{word}"'))
        lines += [*labelled("tokens", pieces), *three_ways(visit, question, right)]
    return lines
