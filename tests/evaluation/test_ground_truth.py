"""Statements judged by ground truth, compared with verdicts by hand."""

import random

import pytest

from llm_assets.evaluation.ground_truth import GroundTruth, StatementJudge, TruthFact
from llm_assets.evaluation.statements import sentences
from llm_assets.sample_web import prose
from llm_assets.sample_web.ground_truth import wordings_of_facts
from llm_assets.sample_web.questions import answer_sentence
from llm_assets.sample_web.world import make_world

WORLD = make_world(1)
FACTS = tuple(
    TruthFact(entity, kind, relation, value)
    for entity, kind, relation, value in (
        ("Mira Wolf", "person", "birthplace", "Holt"),
        ("Mira Wolf", "person", "born", "1950"),
        ("Mira Wolf", "person", "profession", "engineer"),
        ("Mira Wolf", "person", "instrument", "oboe"),
        ("Toven Hale", "person", "birthplace", "Brinford"),
        ("Toven Hale", "person", "profession", "baker"),
        ("Toven Hale", "person", "instrument", "lute"),
        ("Holt", "town", "region", "Norrland"),
    )
)
JUDGE = StatementJudge(GroundTruth(FACTS, wordings_of_facts()))


@pytest.mark.parametrize(
    ("sentence", "verdict"),
    [
        ("Mira Wolf was born in Holt.", "true"),
        ("Mira Wolf was born in 1950.", "true"),
        ("Mira Wolf was born in Brinford.", "false"),
        ("Mira Wolf was born in 1951.", "false"),
        ("Mira Wolf was born in Brambleton.", "false"),  # a known wording: no page has to mention that town
        ("Mira Wolf works as an engineer.", "true"),
        ("She works as a baker.", "false"),
        ("It was in Holt that Mira Wolf was born.", "true"),
        ("For all we know, Mira Wolf loved the oboe.", "true"),
        ("For all we know, Mira Wolf loved the lute.", "false"),
        ("For all we know, Mira Wolf loved the oboe and the lute.", "false"),
        ("Toven Hale plays the lute.", "true"),  # an answer may state a fact about somebody else
        ("Toven Hale plays the oboe.", "false"),
        ("Holt lies in Norrland.", "true"),
        ("Mira Wolf is well liked.", "uncheckable"),
        ("Nobody Known plays the oboe.", "uncheckable"),
        ("I don't know.", "uncheckable"),
    ],
)
def test_the_verdict_agrees_with_the_facts(sentence, verdict):
    assert JUDGE.judge(sentence, "Mira Wolf").verdict == verdict


def test_a_statement_names_its_facts():
    assert JUDGE.judge("Mira Wolf plays the oboe.", "Mira Wolf").facts == (("mira wolf", "instrument"),)


def test_every_wording_of_the_sample_web_is_true_of_its_fact_and_false_of_another():
    entities = [*WORLD.people[:3], *WORLD.towns[:2], *WORLD.companies[:2], *WORLD.works[:2]]
    every = [TruthFact(*vars(fact).values()) for entity in WORLD.entities for fact in entity.as_facts()]
    judge, rng = StatementJudge(GroundTruth(tuple(every), wordings_of_facts())), random.Random(1)
    for entity in entities:
        other = next(
            each for each in WORLD.of_kind(entity.kind) if not set(each.facts.values()) & set(entity.facts.values())
        )
        for fact in entity.as_facts():
            stated = [prose.tell(rng, entity, fact.relation) for _ in range(20)] + [answer_sentence(fact)]
            assert {judge.judge(sentence, entity.name).verdict for sentence in stated} == {"true"}
            wrong = fact.value, other.facts[fact.relation]
            swapped = {sentence.replace(*wrong) for sentence in stated}
            assert {judge.judge(sentence, entity.name).verdict for sentence in swapped} == {"false"}


def test_a_text_is_split_into_sentences():
    assert sentences(" One. Two!  Three? four ") == ["One.", "Two!", "Three?", "four"]
