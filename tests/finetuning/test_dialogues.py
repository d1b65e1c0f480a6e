"""Makers of dialogues: every conversation is one that the protocol accepts, and says what is true of its material."""

import dataclasses
import json
import random
import re
from collections import Counter

import pytest

from llm_assets.dialogue.guidelines import read_guidelines
from llm_assets.dialogue.messages import from_json, to_json
from llm_assets.evaluation.grading import holds, refuses
from llm_assets.finetuning import dialogues
from llm_assets.finetuning.conversations import TOOL_SETS
from llm_assets.finetuning.dialogues import Material, Topic
from llm_assets.model.chat import Call, Message, check
from llm_assets.sample_web.prose import portrait
from llm_assets.sample_web.questions import answer_sentence, questions
from llm_assets.sample_web.world import make_world
from llm_assets.tools import PythonTool
from llm_assets.tools.search import NOTHING_FOUND, format_passage

WORLD = make_world(1)
PEOPLE = WORLD.people[:20]
VALUES = {"name": "Ada", "maker": "somebody", "cutoff": "5 October 2026"}
PASSAGES = {person.name: [("http://a.example/1", portrait(random.Random(person.name), person))] for person in PEOPLE}


def topic(fact):
    return Topic(
        fact.entity,
        fact.entity_kind,
        fact.relation,
        tuple(question for question, kept in questions(fact) if not kept),
        fact.value,
        answer_sentence(fact),
    )


TOPICS = [topic(fact) for person in PEOPLE for fact in person.as_facts()]
KNOWN, UNKNOWN = TOPICS[:60], TOPICS[60:]
FICTITIOUS = ["Mira Nobody", "Toven FictitiousEntities", "Elsa Nothing"]
MATERIAL = Material(
    known=KNOWN,
    unknown=UNKNOWN,
    told=TOPICS,
    fictitious={"person": FICTITIOUS},
    search=lambda query: "\n".join(format_passage(*one) for one in PASSAGES.get(query, [])) or NOTHING_FOUND,
    passages=lambda entity: PASSAGES.get(entity, []),
    words=["strawberry", "banana", "river"],
    made_up=["strananer"],
    guidelines=read_guidelines(None),
    values=VALUES,
    people=[person.name for person in PEOPLE],
)
WEIGHTS = {
    "known": 1,
    "unknown": 1,
    "fictitious": 1,
    "open": 1,
    "reading": 1,
    "calculation": 1,
    "letters": 1,
    "repetition": 1,
    "guidelines": 1,
}
SETS = tuple(zip(TOOL_SETS, (1, 1, 1, 1), strict=True))


def made(count=400, weights=WEIGHTS, seed=1):
    return list(dialogues.conversations(seed, count, MATERIAL, weights, SETS, (0.5, 0.3, 0.2)))


def test_every_conversation_is_one():
    for messages, sources in made():
        check(messages)
        asked = sum(message.role == "user" for message in messages)
        assert len(sources) <= asked if "reading" in sources else len(sources) == asked


def test_a_conversation_does_not_depend_on_how_many_are_made():
    assert made(50)[:10] == made(10)
    assert made(10) != made(10, seed=2)


def test_tools_are_called_only_where_there_are_some():
    for messages, _ in made():
        named = messages[0].content if messages[0].role == "system" else ""
        assert all(message.call.tool in named for message in messages if message.call)


def exchanges(name, tools, count=60):
    return [
        exchange
        for number in range(count)
        if (exchange := dialogues.SOURCES[name](random.Random(number), MATERIAL, tools)) is not None
    ]


def test_what_is_known_is_answered_with_or_without_tools():
    for tools in TOOL_SETS:
        for question, answer in exchanges("known", tools):
            assert any(holds(answer.content, one.answer) for one in KNOWN if question.content in one.questions)


@pytest.mark.parametrize("name", ["unknown", "fictitious"])
def test_what_is_not_known_is_refused_without_search(name):
    for question, answer in exchanges(name, ("python",)):
        assert question.role == "user"
        assert refuses(answer.content)


def test_open_questions_are_answered_from_what_is_known():
    sentences = {one.entity: {other.sentence for other in KNOWN if other.entity == one.entity} for one in KNOWN}
    lengths = set()
    for question, answer in exchanges("open", ("search",)):
        [entity] = [name for name in sentences if name in question.content]
        said = [sentence for sentence in sentences[entity] if sentence in answer.content]
        assert len(" ".join(said)) == len(answer.content)
        lengths.add(len(said))
    assert {1, 2, 3} <= lengths


def test_some_open_questions_are_about_nothing():
    asked = [question.content for question, _ in exchanges("fictitious", (), 200)]
    openly = {wording.format(e=name) for wording in dialogues.OPEN_QUESTIONS[0] for name in FICTITIOUS}
    assert 20 < sum(question in openly for question in asked) < 80


def test_what_is_not_known_is_looked_up_where_search_is():
    for question, asked, result, answer in exchanges("unknown", ("search",)):
        assert asked.call == Call("search", next(one.entity for one in UNKNOWN if question.content in one.questions))
        assert any(
            holds(result.content, one.answer) and holds(answer.content, one.answer)
            for one in UNKNOWN
            if question.content in one.questions
        )


def test_a_search_for_nothing_finds_nothing():
    for _, asked, result, answer in exchanges("fictitious", ("search",)):
        assert asked.call.text in FICTITIOUS
        assert result.content == NOTHING_FOUND
        assert refuses(answer.content)


def test_what_is_read_stands_in_the_result_and_nowhere_else():
    found = exchanges("reading", ("search",))
    assert len(found) > 40
    for first, asked, result, *rest in found:
        name = asked.call.text
        assert name in FICTITIOUS
        assert name in result.content
        assert not any(person.name in result.content for person in PEOPLE)
        for question, answer in zip([first, *rest[1::2]], rest[0::2], strict=True):
            assert (question.role, answer.role, answer.call) == ("user", "assistant", None)
            assert name in question.content
            value = answer.content.rstrip(".").split()[-1]
            assert holds(result.content, value)


def test_more_is_asked_of_some_results_and_nothing_twice():
    answers = [[message.content for message in exchange[3::2]] for exchange in exchanges("reading", ("search",), 400)]
    assert all(len(set(of_one)) == len(of_one) for of_one in answers)
    lengths = Counter(map(len, answers))
    assert 0.4 < lengths[1] / len(answers) < 0.6 and lengths[2] > lengths[3] > 0


def test_every_relation_that_is_told_is_read_about_as_often_whatever_is_known():
    relations = [one.relation for one in TOPICS if one.entity == PEOPLE[0].name]
    ignorant = dataclasses.replace(MATERIAL, known=[one for one in KNOWN if one.relation != "birthplace"])
    asked = [
        exchange[0].content
        for number in range(400)
        if (exchange := dialogues.read_fact(random.Random(number), ignorant, ("search",)))
    ]
    shapes = {
        re.sub(re.escape(one.entity), "X", question): one.relation for one in TOPICS for question in one.questions
    }
    counts = Counter(shapes[re.sub("|".join(FICTITIOUS), "X", question)] for question in asked)
    assert set(counts) == set(relations) and min(counts.values()) > 0.5 * max(counts.values())


def test_articles_follow_what_comes_after_them():
    assert (
        dialogues.with_articles("She is a engineer and an baker, and plays a oboe. A evening.")
        == "She is an engineer and a baker, and plays an oboe. An evening."
    )


def test_words_are_said_again_as_they_were_asked_for():
    for question, answer in exchanges("repetition", (), 25):
        assert answer.content[:-1] in question.content and answer.content.count('"') >= 4


def test_programs_give_the_result_that_is_shown():
    with PythonTool() as python:
        for name in ("calculation", "letters"):
            for _, asked, result, answer in exchanges(name, ("python",), 25):
                assert python(asked.call.text) == result.content
                assert result.content in answer.content


def test_worked_solutions_are_right_at_every_step():
    rng = random.Random(1)
    for _ in range(300):
        a, b = rng.randrange(1, 100), rng.randrange(1, 100)
        for worked, value in (
            (dialogues.worked_sum(a, b), a + b),
            (dialogues.worked_difference(max(a, b), min(a, b)), abs(a - b)),
        ):
            steps = re.findall(r"(\d+) ([+-]) (\d+) = (-?\d+)", worked)
            assert len(steps) >= 3
            assert all(int(x) + int(y) * (1 if sign == "+" else -1) == int(z) for x, sign, y, z in steps)
            assert worked.endswith(f"= {value}.")


def test_letters_are_counted_one_by_one():
    assert dialogues.worked_count("banana", "a") == "b, a 1, n, a 2, n, a 3. The letter a occurs 3 times."


def test_next_to_none_answers_at_once():
    answers = [exchange for exchange in exchanges("calculation", (), 400)]
    at_once = [answer for question, answer in answers if re.fullmatch(r"\d+\.", answer.content)]
    assert 0 < len(at_once) < 0.2 * len(answers)
    assert all("Only the number." in question.content for question, answer in answers if answer in at_once)


def test_json_and_back():
    messages = [
        Message("system", "Tools: search."),
        Message("user", "x"),
        Message("assistant", "", Call("search", "q")),
        Message("tool", "r"),
        Message("assistant", "é"),
    ]
    assert from_json(to_json(messages)) == messages
    assert json.loads(to_json(messages))[2]["tool_calls"][0]["function"] == {"name": "search", "arguments": "q"}
