"""Questions that people ask an assistant about facts of the sample web; some wordings are held out of training."""

from __future__ import annotations

import re

from llm_assets.dialogue.splits import TRAIN, Split, held_out_split_of

from .fact_wordings import WORDINGS
from .prose import article
from .question_wordings import ANSWER_SENTENCES, CARRIERS, FURTHER_QUESTIONS, QUESTIONS
from .world import Fact

# Questions that pages ask. A wording that begins like a statement is left out: elsewhere the value follows those words.
PAGE_QUESTIONS = {
    relation: [wording for wording in direct[:-1] if not wording.startswith("{n}")]
    for relation, (direct, _) in QUESTIONS.items()
}


def questions(fact: Fact) -> list[tuple[str, Split]]:
    """Every question about a fact, and the split of its wording."""
    return [
        (wording.format(n=fact.entity), held_out_split_of(wording) if held_out else TRAIN)
        for wording, held_out in _wordings(fact.relation)
    ]


def _wordings(relation: str) -> list[tuple[str, bool]]:
    """Every wording of a question for a relation, and whether it is held out of training."""
    direct, indirect = QUESTIONS[relation]
    wordings = [(wording, wording == direct[-1]) for wording in direct]
    for carrier in CARRIERS:
        for wording in indirect:
            carrier_held_out, wording_held_out = carrier == CARRIERS[-1], wording == indirect[-1]
            if not (carrier_held_out and wording_held_out):
                wordings.append((carrier.format(q=wording), carrier_held_out or wording_held_out))
    further_direct, further_indirect = FURTHER_QUESTIONS[relation]
    wordings += [(wording, False) for wording in further_direct]
    wordings += [(carrier.format(q=wording), False) for carrier in CARRIERS[:-1] for wording in further_indirect]
    return [*wordings, *((wording, False) for wording in _completions(relation))]


def _completions(relation: str) -> list[str]:
    """Requests to complete a sentence that names the entity before the value."""
    beginnings = [re.split(r"\{[va]\}", wording)[0].rstrip() for wording in WORDINGS[relation]]
    return [f"Complete the sentence: {beginning} …" for beginning in beginnings if "{n}" in beginning]


def answer_sentence(fact: Fact) -> str:
    """The answer to every question about a fact, as a sentence."""
    return ANSWER_SENTENCES[fact.relation].format(n=fact.entity, v=fact.value, a=article(fact.value))
