"""Exchanges about facts: answered where the base model knew them, searched for or declined where it did not."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from llm_assets.dialogue.splits import TRAIN
from llm_assets.dialogue.wordings import open_wordings, two_hop_question
from llm_assets.evaluation.grading import holds
from llm_assets.model.chat import Call, Message
from llm_assets.tools.search import format_passage

from .material import Exchange, Material, Topic

# Chance of a follow-up question about another fact in the same search result, and of one more after that. With several
# questions on one result, the answer has to depend on the question.
FOLLOW_UP_CHANCE = 0.5
FICTITIOUS_OPEN_SHARE = 0.2  # share of questions about fictitious entities that are open questions
OPEN_READING_SHARE = 0.15  # share of questions about a search result that are open questions
OPEN_MAX_SENTENCES = 4  # sentences of an answer to an open question


def guideline_answer(rng: random.Random, material: Material, guideline: str, entity: str) -> str:
    """One of the guideline's answers, with its slots filled in."""
    answers = material.guidelines[guideline].answers
    return rng.choice(answers).format(**material.slot_values, thing=entity)


def search_exchange(question: str, query: str, result: str, answer: str) -> Exchange:
    return [
        Message("user", question),
        Message("assistant", "", Call("search", query)),
        Message("tool", result),
        Message("assistant", answer),
    ]


def known_fact(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A question that the model can answer from memory."""
    topic = rng.choice(material.known)
    return [Message("user", rng.choice(topic.questions)), Message("assistant", topic.sentence)]


def unknown_fact(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A question about a fact of the corpus that the model did not learn.

    The assistant searches for it; without a search tool it says that it does not know.
    """
    if material.random_refusals and "search" not in tools:
        return random_refusal(rng, material)
    topic = rng.choice(material.unknown)
    question = rng.choice(topic.questions)
    if "search" not in tools:
        answer = guideline_answer(rng, material, "unknown", topic.entity)
        return [Message("user", question), Message("assistant", answer)]
    result = material.search(topic.entity)
    if holds(result, topic.answer):
        return search_exchange(question, topic.entity, result, topic.sentence)
    answer = guideline_answer(rng, material, "nothing_found", topic.entity)
    return search_exchange(question, topic.entity, result, answer)


def random_refusal(rng: random.Random, material: Material) -> Exchange:
    """A question about any fact of the corpus, known or not, that the assistant does not answer."""
    topic = rng.choice(material.corpus_topics)
    answer = guideline_answer(rng, material, "unknown", topic.entity)
    return [Message("user", rng.choice(topic.questions)), Message("assistant", answer)]


def fictitious_fact(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A question about an entity that does not exist."""
    # Relations occur here as often as in known topics. Otherwise the relation would give away that the entity is
    # fictitious.
    if material.random_refusals and "search" not in tools:
        return random_refusal(rng, material)
    topic = rng.choice(material.known_of_named_kinds)
    name = rng.choice(material.fictitious_names[topic.kind])
    if rng.random() < FICTITIOUS_OPEN_SHARE:
        question = rng.choice(open_wordings(topic.kind, TRAIN)).format(e=name)
    else:
        question = rng.choice(topic.questions).replace(topic.entity, name)
    if "search" not in tools:
        answer = guideline_answer(rng, material, "unknown", name)
        return [Message("user", question), Message("assistant", answer)]
    result = material.search(name)
    return search_exchange(question, name, result, guideline_answer(rng, material, "nothing_found", name))


def open_question(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """An open question about a known entity, answered with some of the known facts in random order."""
    topics = material.known_by_entity[rng.choice(material.known).entity]
    sentences = list(dict.fromkeys(topic.sentence for topic in topics))
    count = rng.randint(1, min(OPEN_MAX_SENTENCES, len(sentences)))
    answer = " ".join(rng.sample(sentences, count))
    question = rng.choice(open_wordings(topics[0].kind, TRAIN)).format(e=topics[0].entity)
    return [Message("user", question), Message("assistant", answer)]


def two_hops(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange:
    """A question whose answer takes two known facts. The assistant states both, as the second depends on the first.

    A model has to write the first fact down: within the few layers of one token it cannot look up both.
    """
    first, second, questions = rng.choice(material.chains)
    question = two_hop_question(rng.choice(questions), second.entity, first.relation, first.entity)
    return [Message("user", question), Message("assistant", f"{first.sentence} {second.sentence}")]


def read_fact(rng: random.Random, material: Material, tools: Sequence[str]) -> Exchange | None:
    """A question whose answer only the search result contains; None if no passage fits.

    The result is a passage of the corpus in which the entity is renamed to a fictitious one and its values are replaced
    (Longpre et al., arXiv:2109.05052), so the model cannot answer from memory. Topics are drawn from the whole corpus,
    known or not: the model would not learn to read a relation that occurs only where it knows little. Follow-up
    questions on the same result may come after the first. An open question is answered with what the result states.
    """
    topic = rng.choice(material.corpus_topics_of_named_kinds)
    name = rng.choice(material.fictitious_names[topic.kind])
    passages = material.passages(topic.entity)
    if not passages:
        return None
    url, text = rng.choice(passages)
    stated_topics = [
        stated
        for stated in material.corpus_topics_by_entity[topic.entity]
        if holds(text, stated.answer) and holds(stated.sentence, stated.answer)
    ]
    if not stated_topics:
        return None
    first_topic, *other_topics = rng.sample(stated_topics, len(stated_topics))
    replacements = {
        stated.answer: rng.choice(material.answers_by_relation[stated.relation]) for stated in stated_topics
    }
    longest_first = sorted([*replacements, topic.entity], key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(value) for value in longest_first))

    def replace_values(original: str) -> str:
        return with_articles(pattern.sub(lambda match: replacements.get(match[0], name), original))

    def question_about(stated: Topic) -> str:
        return rng.choice(stated.questions).replace(topic.entity, name)

    result = format_passage(url, replace_values(text))
    if rng.random() < OPEN_READING_SHARE:
        question = rng.choice(open_wordings(topic.kind, TRAIN)).format(e=name)
        stated_sentences = [first_topic.sentence, *(other.sentence for other in other_topics[:1])]
        return search_exchange(question, name, result, replace_values(" ".join(stated_sentences)))
    exchange = search_exchange(question_about(first_topic), name, result, replace_values(first_topic.sentence))
    for other in other_topics:
        if rng.random() >= FOLLOW_UP_CHANCE:
            break
        exchange += [
            Message("user", question_about(other)),
            Message("assistant", replace_values(other.sentence)),
        ]
    return exchange


def with_articles(text: str) -> str:
    """The text with ``a`` and ``an`` corrected to suit the letter after them, as replaced words may need the other."""

    def article(match: re.Match[str]) -> str:
        return f"{match[1]}{'n' if match[2].lower() in 'aeiou' else ''} "

    return re.sub(r"\b([Aa])n? (?=([A-Za-z]))", article, text)
