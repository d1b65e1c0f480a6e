"""The questions that the assistant is evaluated with.

They are fixed before the assistant is trained, so that they can be kept out of its training conversations. Those of the
two splits, development and test, use the wordings, words, calculations and names of their split.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from llm_assets.dialogue.guidelines import Guideline
from llm_assets.dialogue.splits import TRAIN, HeldOutSplit, calculation_split, held_out_split_of
from llm_assets.dialogue.wordings import COUNTS, DIFFERENCES, NUMBER_ONLY, SPELLINGS, SUMS, counting_pools

from .schemas import WORDING_COLUMNS

TOOL_SETS = ("", "python,search")  # with which general questions are asked
PEOPLE_PER_WORDING = 5  # people that each wording about a person is asked about

Row = dict[str, Any]


@dataclass(frozen=True)
class EvaluationQuestion:
    """A question of the evaluation; the fields are those of the schema EvaluationQuestions."""

    group: str
    question: str
    answers: Sequence[str]
    tools: str = ""
    entity: str = ""
    relation: str = ""
    distractors: Sequence[str] = ()

    def row(self) -> Row:
        """A row of the table."""
        return {
            "group": self.group,
            "entity": self.entity,
            "relation": self.relation,
            "question": self.question,
            "tools": self.tools,
            "answers": json.dumps(list(self.answers)),
            "distractors": json.dumps(list(self.distractors)),
        }


@dataclass(frozen=True)
class Draw:
    """Which questions are drawn: those of a split, at most `limit` per group, by a seed."""

    split: HeldOutSplit
    limit: int
    seed: int

    def rng(self, name: str) -> random.Random:
        """The random generator for one type of questions."""
        return random.Random(f"{name}-{self.split}-{self.seed}")


def fact_questions(
    topics: Sequence[Row],
    fictitious: Sequence[Row],
    search_finds: Callable[[str, str], bool],
    draw: Draw,
) -> list[Row]:
    """Questions about facts, known and unknown, and about fictitious entities; at most `draw.limit` per group.

    topics, fictitious: rows of the tables of `knowledge_boundary`. search_finds: whether a search for an entity brings
    up an answer.
    """
    rng = draw.rng("evaluation")
    values = _values_by_relation(topics)
    rows = []
    for group, group_topics in _topic_groups(topics, search_finds, draw.split).items():
        tools = "search" if group.startswith("search") else ""
        for topic, wording in _drawn_wordings(group_topics, draw, rng):
            relation = topic["relation"]
            question = EvaluationQuestion(
                group, wording, [topic["answer"]], tools, topic["entity"], relation, values[relation]
            )
            rows.append(question.row())
    names = [name for name in fictitious if name["split"] == draw.split]
    rng.shuffle(names)
    return [*rows, *_fictitious_questions(names[: draw.limit], topics, draw.split, rng)]


def _values_by_relation(topics: Sequence[Row]) -> dict[str, list[str]]:
    """Different answers by relation, in order: the distractors of its questions."""
    values: dict[str, dict[str, None]] = {}
    for topic in topics:
        values.setdefault(topic["relation"], {})[topic["answer"]] = None
    return {relation: list(answers) for relation, answers in values.items()}


def _topic_groups(
    topics: Sequence[Row], search_finds: Callable[[str, str], bool], split: HeldOutSplit
) -> dict[str, list[Row]]:
    """The topics of each group of questions about facts.

    Conversations mention the entities of the group ``known``; only the wordings of its questions are held out.
    """
    known = [topic for topic in topics if topic["verdict"] == "known"]
    held_out_known = [topic for topic in known if topic["split"] == split]
    unknown = [topic for topic in topics if topic["verdict"] == "unknown" and topic["split"] == split]
    return {
        "known": [topic for topic in known if topic["split"] == TRAIN],
        "known_elsewhere": held_out_known,
        "unknown": unknown,
        "search": [
            topic
            for topic in unknown
            if topic["reach"] in ("held_out", "") and search_finds(topic["entity"], topic["answer"])
        ],
        "search_known": held_out_known,
    }


def _wordings(topic: Row, split: HeldOutSplit) -> list[str]:
    return list(json.loads(topic[WORDING_COLUMNS[split]]))


def _drawn_wordings(topics: Sequence[Row], draw: Draw, rng: random.Random) -> list[tuple[Row, str]]:
    """At most `draw.limit` topics, each with a wording of the split drawn at random.

    Every topic comes once before any comes again, and none more often than it has wordings.
    """
    wordings = [(topic, _wordings(topic, draw.split)) for topic in topics]
    most_wordings = max((len(of_topic) for _, of_topic in wordings), default=0)
    drawn: list[tuple[Row, str]] = []
    for turn in range(most_wordings):
        batch = [(topic, of_topic) for topic, of_topic in wordings if turn < len(of_topic)]
        rng.shuffle(batch)
        drawn += [(topic, rng.choice(of_topic)) for topic, of_topic in batch]
        if len(drawn) >= draw.limit:
            break
    return drawn[: draw.limit]


def _fictitious_questions(
    names: Sequence[Row], topics: Sequence[Row], split: HeldOutSplit, rng: random.Random
) -> Iterator[Row]:
    """Questions about fictitious entities, without and with search; each borrows a wording of a topic of its kind."""
    for group, tools in (("fictitious", ""), ("search_fictitious", "search")):
        for name in names:
            similar_topics = [topic for topic in topics if topic["kind"] == name["kind"] and _wordings(topic, split)]
            if not similar_topics:
                continue
            topic = rng.choice(similar_topics)
            wording = rng.choice(_wordings(topic, split))
            question = wording.replace(topic["entity"], name["name"])
            yield EvaluationQuestion(group, question, [], tools, name["name"], topic["relation"]).row()


def skill_questions(words: Sequence[str], draw: Draw) -> list[Row]:
    """Sums, letter counting and spelling; `draw.limit` of each, with Python, without it, and with the number only.

    words: words of the split.
    """
    rng = draw.rng("lessons")
    return [*_sum_questions(draw, rng), *_word_questions(words, draw, rng)]


def _sum_questions(draw: Draw, rng: random.Random) -> Iterator[Row]:
    count = 0
    while count < draw.limit:
        a, b = rng.randrange(1, 100), rng.randrange(1, 100)
        is_sum = rng.random() < 0.5
        if not is_sum:
            a, b = max(a, b), min(a, b)
        if calculation_split(f"{a} {'+' if is_sum else '-'} {b}") != draw.split:
            continue
        count += 1
        text = rng.choice((SUMS if is_sum else DIFFERENCES).of(draw.split)).format(a=a, b=b)
        answers = [str(a + b if is_sum else a - b)]
        yield EvaluationQuestion("sums", text, answers, "python").row()
        yield EvaluationQuestion("sums", text, answers).row()
        yield EvaluationQuestion("sums_at_once", f"{text}{NUMBER_ONLY}", answers).row()


def _word_questions(words: Sequence[str], draw: Draw, rng: random.Random) -> Iterator[Row]:
    pools = counting_pools(words)
    turns = [cycle(rng.sample(pool, len(pool))) for pool in pools.values()]
    for number in range(draw.limit if turns else 0):
        word, letters = next(turns[number % len(turns)])
        letter = rng.choice(letters)
        text, answers = rng.choice(COUNTS.of(draw.split)).format(w=word, c=letter), [str(word.count(letter))]
        yield EvaluationQuestion("letters", text, answers, "python").row()
        yield EvaluationQuestion("letters", text, answers).row()
        yield EvaluationQuestion("letters_at_once", f"{text}{NUMBER_ONLY}", answers).row()
        text, answers = rng.choice(SPELLINGS.of(draw.split)).format(w=word), ["-".join(word)]
        yield EvaluationQuestion("spelling", text, answers, "python").row()
        yield EvaluationQuestion("spelling", text, answers).row()


def guideline_questions(
    guidelines: Mapping[str, Guideline], values: Mapping[str, str], people: Sequence[str], draw: Draw
) -> list[Row]:
    """Every wording of the guidelines that belongs to the split; those about a person are asked about several people.

    people: those of the split. A section of a general group is asked with and without tools, and `relation` is its
    name; answers of sections without a group are distractors, since a refusal for safety does not suit it.
    """
    rng = draw.rng("guidelines")
    unsuitable = [
        answer.format(**values, person="", thing="")
        for guideline in guidelines.values()
        if guideline.questions and not guideline.group
        for answer in guideline.answers
    ]
    rows = []
    for name, guideline in guidelines.items():
        for wording in guideline.held_out_questions:
            if held_out_split_of(wording) != draw.split:
                continue
            persons = [""]
            if "{person}" in wording:
                persons = rng.sample(list(people), min(PEOPLE_PER_WORDING, len(people)))
            for person in persons:
                answers = [answer.format(**values, person=person, thing=person) for answer in guideline.answers]
                text = wording.format(**values, person=person)
                if not guideline.group:
                    rows.append(EvaluationQuestion(name, text, answers, entity=person).row())
                    continue
                rows += [
                    EvaluationQuestion(guideline.group, text, answers, tools, person, name, unsuitable).row()
                    for tools in TOOL_SETS
                ]
    return rows
