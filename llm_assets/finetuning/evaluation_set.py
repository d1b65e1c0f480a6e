"""What the assistant will be asked: fixed before it is trained, so that no conversation can hold it.

Wordings are those kept for evaluation, words and names those kept apart.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from llm_assets.dialogue.guidelines import Guideline
from llm_assets.dialogue.wordings import AT_ONCE, COUNTS, DIFFERENCES, SPELLINGS, SUMS, letters_of


def question(
    group: str,
    text: str,
    answers: Sequence[str],
    tools: str = "",
    entity: str = "",
    relation: str = "",
    distractors: Sequence[str] = (),
) -> dict[str, Any]:
    """A row of EvaluationQuestions."""
    return {
        "group": group,
        "entity": entity,
        "relation": relation,
        "question": text,
        "tools": tools,
        "answers": json.dumps(list(answers)),
        "distractors": json.dumps(list(distractors)),
    }


def fact_questions(
    topics: Sequence[dict[str, Any]],
    fictitious: Sequence[dict[str, Any]],
    finds: Callable[[str, str], bool],
    most: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Questions about what is known and not. `finds`: whether the search tool, asked for a thing, brings up an answer."""
    rng = random.Random(f"evaluation-{seed}")
    distractors: dict[str, list[str]] = {}
    for topic in topics:
        of_relation = distractors.setdefault(topic["relation"], [])
        if topic["answer"] not in of_relation:
            of_relation.append(topic["answer"])
    groups: dict[str, list[dict[str, Any]]] = {
        "known": [topic for topic in topics if topic["verdict"] == "known" and not topic["held_out"]],
        "known_elsewhere": [topic for topic in topics if topic["verdict"] == "known" and topic["held_out"]],
        "unknown": [topic for topic in topics if topic["verdict"] == "unknown" and topic["held_out"]],
    }
    groups["search"] = [
        topic
        for topic in groups["unknown"]
        if (topic["reach"] in ("held_out", "")) and finds(topic["entity"], topic["answer"])
    ]
    groups["search_known"] = groups["known_elsewhere"]
    rows = []
    for group, of_group in groups.items():
        asked: list[
            tuple[dict[str, Any], str]
        ] = []  # every topic in turn, each time in another wording, until there are enough
        for turn in range(max((len(json.loads(topic["held_out_questions"])) for topic in of_group), default=0)):
            batch = [
                (topic, wordings)
                for topic in of_group
                if turn < len(wordings := json.loads(topic["held_out_questions"]))
            ]
            rng.shuffle(batch)
            asked += [(topic, rng.choice(wordings)) for topic, wordings in batch]
            if len(asked) >= most:
                break
        tools = "search" if group.startswith("search") else ""
        rows += [
            question(
                group,
                wording,
                [topic["answer"]],
                tools,
                topic["entity"],
                topic["relation"],
                distractors[topic["relation"]],
            )
            for topic, wording in asked[:most]
        ]
    names = [name for name in fictitious if name["held_out"]]
    rng.shuffle(names)
    for group, tools in (("fictitious", ""), ("search_fictitious", "search")):
        for name in names[:most]:
            alike = [
                topic for topic in topics if topic["kind"] == name["kind"] and json.loads(topic["held_out_questions"])
            ]
            topic = rng.choice(alike) if alike else None
            if topic is not None:
                wording = rng.choice(json.loads(topic["held_out_questions"])).replace(topic["entity"], name["name"])
                rows.append(question(group, wording, [], tools, name["name"], topic["relation"]))
    return rows


def lesson_questions(words: Sequence[str], most: int, seed: int) -> list[dict[str, Any]]:
    """Sums, letters counted and words spelled: with Python, without, and at once. words: those kept for evaluation."""
    rng = random.Random(f"lessons-{seed}")
    rows = []
    for _ in range(most):
        a, b = rng.randrange(1, 100), rng.randrange(1, 100)
        plus = rng.random() < 0.5
        a, b = (a, b) if plus else (max(a, b), min(a, b))
        text = rng.choice((SUMS if plus else DIFFERENCES)[1]).format(a=a, b=b)
        answer = [str(a + b if plus else a - b)]
        rows += [
            question("sums", text, answer, "python"),
            question("sums", text, answer),
            question("sums_at_once", f"{text}{AT_ONCE}", answer),
        ]
    # As often a letter that occurs twice or more as one that occurs once: of a word's letters as they come three in four occur once, and "1." without a look is right of them.
    sides = [
        side
        for often in (False, True)
        if (side := [(word, found) for word in words if (found := letters_of(word, often))])
    ]
    turns = [cycle(rng.sample(side, len(side))) for side in sides]
    for _ in range(most if turns else 0):
        word, found = next(rng.choice(turns))
        letter = rng.choice(found)
        text, answer = rng.choice(COUNTS[1]).format(w=word, c=letter), [str(word.count(letter))]
        rows += [
            question("letters", text, answer, "python"),
            question("letters", text, answer),
            question("letters_at_once", f"{text}{AT_ONCE}", answer),
        ]
        text, answer = rng.choice(SPELLINGS[1]).format(w=word), ["-".join(word)]
        rows += [question("spelling", text, answer, "python"), question("spelling", text, answer)]
    return rows


def guideline_questions(
    guidelines: dict[str, Guideline], values: dict[str, str], people: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Every kept wording of the guidelines; of those about a person, with several persons."""
    rng = random.Random(f"guidelines-{seed}")
    rows = []
    for name, part in guidelines.items():
        for wording in part.kept:
            about = rng.sample(list(people), min(5, len(people))) if "{person}" in wording else [""]
            for person in about:
                text = wording.format(**values, person=person)
                rows.append(
                    question(
                        name,
                        text,
                        [answer.format(**values, person=person, thing=person) for answer in part.answered],
                        entity=person,
                    )
                )
    return rows
