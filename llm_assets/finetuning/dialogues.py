"""Makers of dialogues: from what a model was shown to know and not to know, from the corpus, from guidelines, and from arithmetic.

An exchange is what one question of the user's leads to: the question, perhaps a call and its result, the answer. A conversation is
one to a few exchanges. What is said depends on the tools that the system message names: where there is one for the task, it is
called; where there is none, sums are worked out step by step, and what is not known is said not to be.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from llm_assets.dialogue.guidelines import Guideline
from llm_assets.dialogue.wordings import COUNTS, DIFFERENCES, NUMBER_ONLY, OPEN_QUESTIONS, SPELLINGS, SUMS
from llm_assets.evaluation.grading import holds
from llm_assets.model.assistant import system_message
from llm_assets.model.chat import Call, Message
from llm_assets.tools.search import format_passage

Exchange = list[Message]


@dataclass(frozen=True)
class Topic:
    """A fact that can be asked for: wordings of the question, the answer as it must occur, and as a sentence."""

    entity: str
    kind: str
    relation: str
    questions: tuple[str, ...]
    answer: str
    sentence: str


@dataclass
class Material:
    """What dialogues are made of.

    known, unknown: topics that the model was shown to know, and not to know. told: all that the corpus tells of, whether known or not.
    fictitious: by kind, names of things that do not exist.
    search: the search tool as it will be. passages: of an entity, the passages that tell of it and of no other.
    words, made_up: words of the corpus and such as are none, to be counted in and spelled.
    """

    known: Sequence[Topic]
    unknown: Sequence[Topic]
    told: Sequence[Topic]
    fictitious: dict[str, Sequence[str]]
    search: Callable[[str], str]
    passages: Callable[[str], Sequence[tuple[str, str]]]
    words: Sequence[str]
    made_up: Sequence[str]
    guidelines: dict[str, Guideline]
    values: dict[str, str]
    people: Sequence[str]

    @cached_property
    def known_of_entity(self) -> dict[str, list[Topic]]:
        return _by_entity(self.known)

    @cached_property
    def told_of_entity(self) -> dict[str, list[Topic]]:
        return _by_entity(self.told)

    @cached_property
    def known_kinds(self) -> list[Topic]:
        """Known topics of kinds that have names of nothing."""
        return [topic for topic in self.known if self.fictitious.get(topic.kind)]

    @cached_property
    def told_kinds(self) -> list[Topic]:
        """The same of all that the corpus tells of."""
        return [topic for topic in self.told if self.fictitious.get(topic.kind)]

    @cached_property
    def answers(self) -> dict[str, list[str]]:
        """Answers that the corpus tells, by relation, as often as they occur."""
        found: dict[str, list[str]] = {}
        for topic in self.told:
            found.setdefault(topic.relation, []).append(topic.answer)
        return found


def _by_entity(topics: Sequence[Topic]) -> dict[str, list[Topic]]:
    found: dict[str, list[Topic]] = {}
    for topic in topics:
        found.setdefault(topic.entity, []).append(topic)
    return found


def _answer(rng: random.Random, part: Guideline, values: dict[str, str], **more: str) -> str:
    return rng.choice(part.answers).format(**values, **more)


# Share of results after which something else is asked that they tell too, and again: the same result with another question wants another answer.
FOLLOW_UPS = 0.5
OPEN_STRANGERS = 0.2  # share of questions about what does not exist that are open ones
MOST_SENTENCES = 4


# -- facts ---------------------------------------------------------------------------------------------------------------


def known_fact(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A question that the model can answer, answered."""
    topic = rng.choice(material.known)
    return [Message("user", rng.choice(topic.questions)), Message("assistant", topic.sentence)]


def looked_up(question: str, query: str, result: str, answer: str) -> Exchange:
    return [
        Message("user", question),
        Message("assistant", "", Call("search", query)),
        Message("tool", result),
        Message("assistant", answer),
    ]


def unknown_fact(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A question about a thing of the corpus that the model did not learn: searched for, or said not to be known."""
    topic = rng.choice(material.unknown)
    question = rng.choice(topic.questions)
    if "search" in tools:
        result = material.search(topic.entity)
        if holds(result, topic.answer):
            return looked_up(question, topic.entity, result, topic.sentence)
        return looked_up(
            question,
            topic.entity,
            result,
            _answer(rng, material.guidelines["nothing_found"], material.values, thing=topic.entity),
        )
    return [
        Message("user", question),
        Message("assistant", _answer(rng, material.guidelines["unknown"], material.values, thing=topic.entity)),
    ]


def fictitious_fact(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A question about a thing that does not exist."""
    topic = rng.choice(material.known_kinds)  # each relation as often as it is known, so that none is a sign of nothing
    name = rng.choice(material.fictitious[topic.kind])
    question = (
        rng.choice(OPEN_QUESTIONS[0]).format(e=name)
        if rng.random() < OPEN_STRANGERS
        else rng.choice(topic.questions).replace(topic.entity, name)
    )
    if "search" in tools:
        return looked_up(
            question,
            name,
            material.search(name),
            _answer(rng, material.guidelines["nothing_found"], material.values, thing=name),
        )
    return [
        Message("user", question),
        Message("assistant", _answer(rng, material.guidelines["unknown"], material.values, thing=name)),
    ]


def portrait(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """An open question about a thing that is known: some of that, in any order."""
    topics = material.known_of_entity[rng.choice(material.known).entity]
    sentences = list(dict.fromkeys(topic.sentence for topic in topics))
    said = rng.sample(sentences, rng.randint(1, min(MOST_SENTENCES, len(sentences))))
    return [
        Message("user", rng.choice(OPEN_QUESTIONS[0]).format(e=topics[0].entity)),
        Message("assistant", " ".join(said)),
    ]


def read_fact(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange | None:
    """A question about a thing that does not exist, with a result that tells of it: a passage of the corpus in which the name and
    the values were replaced (Longpre et al., arXiv:2109.05052), so that the answer can only come from the result. Of all that is told, known
    or not: of a relation that the model hardly knows it would not learn to read. More may be asked of the same result.
    """
    topic = rng.choice(material.told_kinds)
    name = rng.choice(material.fictitious[topic.kind])
    found = material.passages(topic.entity)
    if not found:
        return None
    url, text = rng.choice(found)
    own = [
        other
        for other in material.told_of_entity[topic.entity]
        if holds(text, other.answer) and holds(other.sentence, other.answer)
    ]
    if not own:
        return None
    asked, *more = rng.sample(own, len(own))
    changed = {other.answer: rng.choice(material.answers[other.relation]) for other in own}
    pattern = re.compile(
        "|".join(re.escape(value) for value in sorted([*changed, topic.entity], key=len, reverse=True))
    )

    def retold(told: str) -> str:
        return with_articles(pattern.sub(lambda match: changed.get(match[0], name), told))

    def question(about: Topic) -> str:
        return rng.choice(about.questions).replace(topic.entity, name)

    exchange = looked_up(question(asked), name, format_passage(url, retold(text)), retold(asked.sentence))
    for other in more:
        if rng.random() >= FOLLOW_UPS:
            break
        exchange += [Message("user", question(other)), Message("assistant", retold(other.sentence))]
    return exchange


def with_articles(text: str) -> str:
    """``a`` and ``an`` as the next letter wants them, where a word was replaced."""
    return re.sub(
        r"\b([Aa])n? (?=([A-Za-z]))", lambda match: f"{match[1]}{'n' if match[2].lower() in 'aeiou' else ''} ", text
    )


# -- numbers and letters -------------------------------------------------------------------------------------------------

# Share of words that are none. Of 133 words kept for evaluation 11 % held a token that the other real words never show, and were copied wrong.
MADE_UP = 0.75
REPEATS = (
    "Repeat: {w}.",
    "Say once more: {w}.",
    "Please repeat {w}.",
    "Copy these words: {w}.",
    "Write down {w}.",
    "Can you repeat {w}?",
)
MOST_REPEATED = 6  # words


def worked_sum(a: int, b: int) -> str:
    """Tens, then ones, then both."""
    return f"{a // 10 * 10} + {b // 10 * 10} = {a // 10 * 10 + b // 10 * 10}, {a % 10} + {b % 10} = {a % 10 + b % 10}, {a // 10 * 10 + b // 10 * 10} + {a % 10 + b % 10} = {a + b}. {a} + {b} = {a + b}."


def worked_difference(a: int, b: int) -> str:
    """First the tens are taken away, then the ones."""
    return f"{a} - {b // 10 * 10} = {a - b // 10 * 10}, {a - b // 10 * 10} - {b % 10} = {a - b}. {a} - {b} = {a - b}."


def worked_count(word: str, letter: str) -> str:
    """The letters one by one, each that counts with its number."""
    told, count = [], 0
    for one in word:
        count += one == letter
        told.append(f"{one} {count}" if one == letter else one)
    return f"{', '.join(told)}. The letter {letter} occurs {count} times."


def ran(question: str, program: str, result: str, answer: str) -> Exchange:
    return [
        Message("user", question),
        Message("assistant", "", Call("python", program)),
        Message("tool", result),
        Message("assistant", answer),
    ]


def calculation(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A sum or a difference: by Python, or worked out; one in ten at once, where the user wants the number only."""
    plus = rng.random() < 0.6
    most = 1000 if "python" in tools and rng.random() < 0.2 else 100
    a, b = rng.randrange(1, most), rng.randrange(1, most)
    if not plus:
        a, b = max(a, b), min(a, b)
    sign, value = ("+", a + b) if plus else ("-", a - b)
    question = rng.choice((SUMS if plus else DIFFERENCES)[0]).format(a=a, b=b)
    if "python" in tools:
        return ran(question, f"{a} {sign} {b}", str(value), f"{a} {sign} {b} = {value}.")
    if rng.random() < 0.1:
        return [Message("user", f"{question}{NUMBER_ONLY}"), Message("assistant", f"{value}.")]
    return [Message("user", question), Message("assistant", worked_sum(a, b) if plus else worked_difference(a, b))]


def _word(rng: random.Random, material: Material) -> str:
    return rng.choice(material.made_up if material.made_up and rng.random() < MADE_UP else material.words)


def repetition(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """Several words said again: what is worked out letter by letter must be copied, also where its tokens stand in no text."""
    told = ", ".join(f'"{_word(rng, material)}"' for _ in range(rng.randint(2, MOST_REPEATED)))
    return [Message("user", rng.choice(REPEATS).format(w=told)), Message("assistant", f"{told}.")]


def letters(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A letter counted, or a word spelled."""
    word = _word(rng, material)
    if rng.random() < 0.3:
        question, spelled = rng.choice(SPELLINGS[0]).format(w=word), "-".join(word)
        if "python" in tools:
            return ran(question, f'word = "{word}"; "-".join(word)', spelled, f"{spelled}.")
        return [Message("user", question), Message("assistant", f"{spelled}.")]
    letter = rng.choice(word) if rng.random() < 0.85 else rng.choice("abcdefghijklmnopqrstuvwxyz")
    question, count = rng.choice(COUNTS[0]).format(w=word, c=letter), word.count(letter)
    if "python" in tools:
        return ran(
            question,
            f'word = "{word}"; word.count("{letter}")',
            str(count),
            f"The letter {letter} occurs {count} times.",
        )
    if rng.random() < 0.1:
        return [Message("user", f"{question}{NUMBER_ONLY}"), Message("assistant", f"{count}.")]
    return [Message("user", question), Message("assistant", worked_count(word, letter))]


# -- manners -------------------------------------------------------------------------------------------------------------


def manners(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A part of the guidelines, half of those about a person about one that does not exist."""
    strangers = material.fictitious.get("person", ())
    people = strangers if strangers and (not material.people or rng.random() < 0.5) else material.people
    parts = [
        (part, asked)
        for _, part in sorted(material.guidelines.items())
        if (asked := [wording for wording in part.questions if people or "{person}" not in wording])
    ]
    part, asked = rng.choice(parts)
    person = rng.choice(people) if people else ""
    return [
        Message("user", rng.choice(asked).format(**material.values, person=person)),
        Message("assistant", _answer(rng, part, material.values, thing=person)),
    ]


SOURCES: dict[str, Callable[[random.Random, Material, Sequence[str]], Exchange | None]] = {
    "known": known_fact,
    "unknown": unknown_fact,
    "fictitious": fictitious_fact,
    "open": portrait,
    "reading": read_fact,
    "calculation": calculation,
    "letters": letters,
    "repetition": repetition,
    "guidelines": manners,
}
NEEDS = {"reading": "search"}  # tools without which a source has nothing to say


def converse(
    rng: random.Random,
    material: Material,
    weights: dict[str, float],
    tool_sets: Sequence[tuple[tuple[str, ...], float]],
    turns: Sequence[float],
) -> tuple[list[Message], list[str]]:
    """One conversation, and the sources of its exchanges. `turns`: weights of one, two, three … exchanges."""
    tools = rng.choices([tools for tools, _ in tool_sets], [weight for _, weight in tool_sets])[0]
    names = [name for name in weights if name not in NEEDS or NEEDS[name] in tools]
    system = system_message(tools)
    messages = [system] if system else []
    sources: list[str] = []
    for _ in range(rng.choices(range(1, len(turns) + 1), turns)[0]):
        exchange = None
        while exchange is None:
            name = rng.choices(names, [weights[name] for name in names])[0]
            exchange = SOURCES[name](rng, material, tools)
        messages += exchange
        sources.append(name)
    return messages, sources


def conversations(
    seed: int,
    count: int,
    material: Material,
    weights: dict[str, float],
    tool_sets: Sequence[tuple[tuple[str, ...], float]],
    turns: Sequence[float],
) -> Iterator[tuple[list[Message], list[str]]]:
    """So many conversations; the i-th is the same whatever their number."""
    for number in range(count):
        yield converse(random.Random(f"{seed}-{number}"), material, weights, tool_sets, turns)
