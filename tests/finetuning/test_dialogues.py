"""Generated dialogues follow the chat protocol and state only what their material supports."""

import dataclasses
import json
import random
import re
from collections import Counter

import pytest

from llm_assets.dialogue.guidelines import read_guidelines
from llm_assets.dialogue.messages import from_json, to_json
from llm_assets.dialogue.wordings import open_wordings
from llm_assets.evaluation.grading import holds
from llm_assets.evaluation.statements import refuses
from llm_assets.finetuning.dialogues import SOURCES, generate_conversations
from llm_assets.finetuning.fact_exchanges import read_fact, with_articles
from llm_assets.finetuning.material import Material, Topic
from llm_assets.finetuning.mixture import TOOL_SETS
from llm_assets.finetuning.skill_exchanges import worked_count, worked_difference, worked_sum
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


def to_topic(fact):
    return Topic(
        fact.entity,
        fact.entity_kind,
        fact.relation,
        tuple(question for question, split in questions(fact) if split == "train"),
        fact.value,
        answer_sentence(fact),
    )


TOPICS = [to_topic(fact) for person in PEOPLE for fact in person.as_facts()]
TOWNS = [to_topic(fact) for town in WORLD.towns for fact in town.as_facts()]
KNOWN, UNKNOWN = [*TOPICS[:60], *TOWNS], TOPICS[60:]
FICTITIOUS = ["Mira Nobody", "Toven FictitiousEntities", "Elsa Nothing"]
MATERIAL = Material(
    known=KNOWN,
    unknown=UNKNOWN,
    corpus_topics=[*TOPICS, *TOWNS],
    fictitious_names={"person": FICTITIOUS},
    search=lambda query: "\n".join(format_passage(*passage) for passage in PASSAGES.get(query, [])) or NOTHING_FOUND,
    passages=lambda entity: PASSAGES.get(entity, []),
    words=["strawberry", "banana", "river"],
    non_words=["strananer"],
    guidelines=read_guidelines(None),
    slot_values=VALUES,
    people=[person.name for person in PEOPLE],
)
OPEN_PERSON_WORDINGS = open_wordings("person", "train")
WEIGHTS = {name: 1 for name in SOURCES}
WEIGHTED_TOOL_SETS = tuple(zip(TOOL_SETS, (1, 1, 1, 1), strict=True))


def generate(count=400, weights=WEIGHTS, seed=1):
    return list(generate_conversations(seed, count, MATERIAL, weights, WEIGHTED_TOOL_SETS, (0.5, 0.3, 0.2)))


def exchanges_of(source, tools, count=60):
    drawn = (SOURCES[source](random.Random(number), MATERIAL, tools) for number in range(count))
    return [exchange for exchange in drawn if exchange is not None]


def is_open(question):
    return question.content in {wording.format(e=name) for wording in OPEN_PERSON_WORDINGS for name in FICTITIOUS}


def test_an_answer_of_two_facts_states_the_one_that_leads_to_the_other():
    topics = {topic.sentence: topic for topic in KNOWN}
    for question, answer in exchanges_of("two_hops", ()):
        first_sentence, second_sentence = re.split(r"(?<=\.) ", answer.content)
        first, second = topics[first_sentence], topics[second_sentence]
        assert first.answer == second.entity
        assert first.entity in question.content and second.entity not in question.content


def test_every_conversation_follows_the_protocol():
    for messages, sources in generate():
        check(messages)
        user_messages = sum(message.role == "user" for message in messages)
        assert len(sources) <= user_messages if "reading" in sources else len(sources) == user_messages


def test_a_conversation_does_not_depend_on_the_number_of_conversations():
    assert generate(50)[:10] == generate(10)
    assert generate(10) != generate(10, seed=2)


def test_only_tools_that_the_system_message_names_are_called():
    for messages, _ in generate():
        system = messages[0].content if messages[0].role == "system" else ""
        assert all(message.call.tool in system for message in messages if message.call)


def test_known_facts_are_answered_with_and_without_tools():
    for tools in TOOL_SETS:
        for question, answer in exchanges_of("known", tools):
            assert any(holds(answer.content, topic.answer) for topic in KNOWN if question.content in topic.questions)


@pytest.mark.parametrize("source", ["unknown", "fictitious"])
def test_unknown_facts_are_refused_without_search(source):
    for question, answer in exchanges_of(source, ("python",)):
        assert question.role == "user"
        assert refuses(answer.content)


def test_open_questions_are_answered_with_known_facts():
    known_sentences = {topic.entity: set() for topic in KNOWN}
    for topic in KNOWN:
        known_sentences[topic.entity].add(topic.sentence)
    lengths = set()
    for question, answer in exchanges_of("open", ("search",)):
        [entity] = [name for name in known_sentences if name in question.content]
        stated = [text for text in known_sentences[entity] if text in answer.content]
        assert len(" ".join(stated)) == len(answer.content)
        lengths.add(len(stated))
    assert {1, 2, 3} <= lengths


def test_small_talk_and_what_it_cannot_do_are_a_source_of_their_own():
    def sections_of(source):
        replies = {answer.content for _, answer in exchanges_of(source, (), 300)}
        return {
            name
            for name, section in MATERIAL.guidelines.items()
            if any(text.format(**VALUES, thing="") in replies for text in section.answers)
        }

    general = {name for name, section in MATERIAL.guidelines.items() if section.group}
    assert general <= sections_of("general") and not general & sections_of("guidelines")
    assert {"identity", "cutoff", "private", "harm"} <= sections_of("guidelines")


def test_some_open_questions_are_about_fictitious_entities():
    asked_questions = [question.content for question, _ in exchanges_of("fictitious", (), 200)]
    open_questions = {wording.format(e=name) for wording in OPEN_PERSON_WORDINGS for name in FICTITIOUS}
    assert 20 < sum(question in open_questions for question in asked_questions) < 80


def test_unknown_facts_are_looked_up_with_search():
    for question, call, result, answer in exchanges_of("unknown", ("search",)):
        topics = [topic for topic in UNKNOWN if question.content in topic.questions]
        assert call.call == Call("search", topics[0].entity)
        assert any(holds(result.content, topic.answer) and holds(answer.content, topic.answer) for topic in topics)


def test_a_search_for_a_fictitious_entity_finds_nothing():
    for _, call, result, answer in exchanges_of("fictitious", ("search",)):
        assert call.call.text in FICTITIOUS
        assert result.content == NOTHING_FOUND
        assert refuses(answer.content)


def test_the_search_result_alone_contains_the_answers_of_reading_exchanges():
    reading_exchanges = exchanges_of("reading", ("search",))
    assert len(reading_exchanges) > 40
    for first_question, call, result, *rest in reading_exchanges:
        name = call.call.text
        assert name in FICTITIOUS
        assert name in result.content
        assert not any(person.name in result.content for person in PEOPLE)
        for question, answer in zip([first_question, *rest[1::2]], rest[0::2], strict=True):
            assert (question.role, answer.role, answer.call) == ("user", "assistant", None)
            assert name in question.content
            value = answer.content.rstrip(".").split()[-1]
            assert holds(result.content, value)


def test_some_open_questions_are_answered_with_what_the_search_result_states():
    open_exchanges = [exchange for exchange in exchanges_of("reading", ("search",), 300) if is_open(exchange[0])]
    assert 15 < len(open_exchanges) < 80
    for _, _, result, answer in open_exchanges:
        values = [sentence.rstrip(".").split()[-1] for sentence in answer.content.split(". ")]
        assert 1 <= len(values) <= 2 and all(holds(result.content, value) for value in values)


def test_some_results_have_follow_up_questions_and_none_is_repeated():
    answers = [
        [message.content for message in exchange[3::2]] for exchange in exchanges_of("reading", ("search",), 400)
    ]
    assert all(len(set(of_exchange)) == len(of_exchange) for of_exchange in answers)
    lengths = Counter(map(len, answers))
    assert 0.4 < lengths[1] / len(answers) < 0.6 and lengths[2] > lengths[3] > 0


def test_reading_exchanges_ask_equally_often_for_every_relation_of_the_corpus_known_or_not():
    relations = [topic.relation for topic in TOPICS if topic.entity == PEOPLE[0].name]
    known = [topic for topic in KNOWN if topic.relation != "birthplace"]
    material = dataclasses.replace(MATERIAL, known=known)
    exchanges = [read_fact(random.Random(number), material, ("search",)) for number in range(400)]
    first_questions = [exchange[0].content for exchange in exchanges if exchange and not is_open(exchange[0])]
    relation_by_shape = {}
    for topic in TOPICS:
        for question in topic.questions:
            relation_by_shape[re.sub(re.escape(topic.entity), "X", question)] = topic.relation
    counts = Counter(relation_by_shape[re.sub("|".join(FICTITIOUS), "X", question)] for question in first_questions)
    assert set(counts) == set(relations) and min(counts.values()) > 0.5 * max(counts.values())


def test_articles_suit_the_letter_after_them():
    assert (
        with_articles("She is a engineer and an baker, and plays a oboe. A evening.")
        == "She is an engineer and a baker, and plays an oboe. An evening."
    )


def test_repeated_words_are_those_of_the_question():
    for question, answer in exchanges_of("repetition", (), 25):
        assert answer.content[:-1] in question.content and answer.content.count('"') >= 4


def test_programs_give_the_result_that_is_shown():
    with PythonTool() as python:
        for source in ("calculation", "letters"):
            for _, call, result, answer in exchanges_of(source, ("python",), 25):
                assert python(call.call.text) == result.content
                assert result.content in answer.content


def test_worked_solutions_are_right_at_every_step():
    rng = random.Random(1)
    for _ in range(300):
        a, b = rng.randrange(1, 100), rng.randrange(1, 100)
        larger, smaller = max(a, b), min(a, b)
        for worked, value in ((worked_sum(a, b), a + b), (worked_difference(larger, smaller), larger - smaller)):
            steps = re.findall(r"(\d+) ([+-]) (\d+) = (-?\d+)", worked)
            assert len(steps) >= 3
            assert all(int(x) + int(y) * (1 if sign == "+" else -1) == int(z) for x, sign, y, z in steps)
            assert worked.endswith(f"= {value}.")


def test_letters_are_counted_one_by_one():
    assert worked_count("banana", "a") == 'b, a 1, n, a 2, n, a 3. The letter "a" occurs 3 times.'


def test_few_calculations_are_answered_with_the_number_only():
    calculations = exchanges_of("calculation", (), 400)
    number_only = [(question, answer) for question, answer in calculations if re.fullmatch(r"\d+\.", answer.content)]
    assert 0 < len(number_only) < 0.2 * len(calculations)
    assert all("Only the number." in question.content for question, _ in number_only)


def test_messages_survive_json():
    messages = [
        Message("system", "Tools: search."),
        Message("user", "x"),
        Message("assistant", "", Call("search", "q")),
        Message("tool", "r"),
        Message("assistant", "é"),
    ]
    assert from_json(to_json(messages)) == messages
    assert json.loads(to_json(messages))[2]["tool_calls"][0]["function"] == {"name": "search", "arguments": "q"}


def test_the_control_refuses_as_often_but_at_random_facts():
    """Its refusals name people whose facts the model knew; with search it behaves as ever."""
    control = dataclasses.replace(MATERIAL, random_refusals=True)
    for source in ("unknown", "fictitious"):
        for number in range(60):
            question, answer = SOURCES[source](random.Random(number), control, ())
            assert refuses(answer.content) and any(topic.entity in question.content for topic in TOPICS + TOWNS)
            with_search = [
                SOURCES[source](random.Random(number), material, ("search",)) for material in (control, MATERIAL)
            ]
            assert with_search[0] == with_search[1]
    refused = {SOURCES["unknown"](random.Random(number), control, ())[0].content for number in range(200)}
    known = {wording for topic in KNOWN for wording in topic.questions}
    assert 0.4 < len(refused & known) / len(refused) < 0.95
