"""Generated conversations, drawn from the facts, skills and guidelines that the assistant is taught.

An exchange starts with a question of the user and ends with the answer; a tool call and its result may come in between.
A conversation has one or more exchanges. The tools that the system message names decide how the assistant answers: it
calls the tool that fits the task. Without one it works sums out step by step, and says so if it does not know a fact.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from llm_assets.dialogue.guidelines import GENERAL_GROUPS
from llm_assets.model.assistant import system_message
from llm_assets.model.chat import Message

from .fact_exchanges import fictitious_fact, known_fact, open_question, read_fact, two_hops, unknown_fact
from .material import Exchange, Material
from .skill_exchanges import calculation, letters, repetition


def guideline_exchange(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A question of the guidelines on the assistant itself and on what it refuses."""
    return _guideline_exchange(rng, material, [""])


def general_exchange(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """Small talk, or a request that is beyond the assistant's abilities."""
    return _guideline_exchange(rng, material, GENERAL_GROUPS)


def _guideline_exchange(rng: random.Random, material: Material, groups: Sequence[str]) -> Exchange:
    """A question of the sections in some groups. Half of those about a person are about a fictitious one."""
    fictitious_people = material.fictitious_names.get("person", ())
    people = material.people
    if fictitious_people and (not material.people or rng.random() < 0.5):
        people = fictitious_people
    candidates = []
    for guideline in material.guidelines_of(groups):
        wordings = [wording for wording in guideline.questions if people or "{person}" not in wording]
        if wordings:
            candidates.append((guideline, wordings))
    guideline, wordings = rng.choice(candidates)
    person = rng.choice(people) if people else ""
    question = rng.choice(wordings).format(**material.slot_values, person=person)
    answer = rng.choice(guideline.answers).format(**material.slot_values, thing=person)
    return [Message("user", question), Message("assistant", answer)]


SOURCES: dict[str, Callable[[random.Random, Material, Sequence[str]], Exchange | None]] = {
    "known": known_fact,
    "unknown": unknown_fact,
    "fictitious": fictitious_fact,
    "open": open_question,
    "two_hops": two_hops,
    "reading": read_fact,
    "calculation": calculation,
    "letters": letters,
    "repetition": repetition,
    "guidelines": guideline_exchange,
    "general": general_exchange,
}
REQUIRED_TOOLS = {"reading": "search"}  # sources that need a tool


def generate_conversation(
    rng: random.Random,
    material: Material,
    weights: dict[str, float],
    tool_sets: Sequence[tuple[tuple[str, ...], float]],
    turns: Sequence[float],
) -> tuple[list[Message], list[str]]:
    """One conversation and the sources of its exchanges.

    weights: of the sources. tool_sets: sets of tools, each with its weight. turns: weights of one, two, three …
    exchanges.
    """
    tools = rng.choices([tools for tools, _ in tool_sets], [weight for _, weight in tool_sets])[0]
    names = [name for name in weights if name not in REQUIRED_TOOLS or REQUIRED_TOOLS[name] in tools]
    system = system_message(tools)
    messages = [system] if system else []
    sources: list[str] = []
    exchange_count = rng.choices(range(1, len(turns) + 1), turns)[0]
    for _ in range(exchange_count):
        exchange = None
        while exchange is None:
            name = rng.choices(names, [weights[name] for name in names])[0]
            exchange = SOURCES[name](rng, material, tools)
        messages += exchange
        sources.append(name)
    return messages, sources


def generate_conversations(
    seed: int,
    count: int,
    material: Material,
    weights: dict[str, float],
    tool_sets: Sequence[tuple[tuple[str, ...], float]],
    turns: Sequence[float],
) -> Iterator[tuple[list[Message], list[str]]]:
    """`count` conversations with the sources of their exchanges. The i-th does not depend on `count`."""
    for number in range(count):
        yield generate_conversation(random.Random(f"{seed}-{number}"), material, weights, tool_sets, turns)
