"""The labelling rule of the simulated labeller, which stands in for people at laptop scale.

A good answer to an open question states three facts in a sentence each, and its first sentence names the subject.
Repetition, too many sentences and an unfinished last sentence cost points. A refusal earns nothing if the subject
exists. If the subject is fictitious, a refusal is the best answer, since anything else is made up.

The labeller cannot look facts up: to it, a sentence with new words states a new fact. The gold signal of a corpus whose
facts are known can (`truth_score`). It is what a labeller would prefer who knew everything.
"""

from __future__ import annotations

import math
import random
import re

from llm_assets.evaluation.ground_truth import StatementJudge
from llm_assets.evaluation.statements import refuses, sentences

REWARDED_FACTS = 3  # sentences with new facts that earn a point
SUBJECT_POINTS = 0.5  # for naming the subject
REFUSAL_POINTS = 2.0  # for a refusal if the subject is fictitious
SENTENCE_ENDS = ".!?"
MAX_SENTENCES = 4  # sentences beyond these cost half a point each


def content_words(text: str) -> set[str]:
    """Numbers and words of at least four letters, in lower case. A sentence with a new one states a new fact."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) >= 4 or word.isdigit()}


def rule_score(question: str, subject: str, answer: str, subject_exists: bool = True) -> float:
    """The score of an answer.

    It is the sum of 1 for each of up to three sentences with a new fact, 0.5 if the first sentence names the subject,
    -1 for each sentence without a new fact, -0.5 for each sentence beyond four, and -1 if the last sentence has no end
    mark. A refusal scores 0. If the subject does not exist, a refusal of one sentence scores 2 and anything else -1.
    """
    answer_sentences = sentences(answer)
    if not subject_exists:
        return REFUSAL_POINTS if refuses(answer) and len(answer_sentences) == 1 else -1.0
    if not answer_sentences or refuses(answer):
        return 0.0
    new_facts = count_new_facts(question, subject, answer)
    repetitions = len(answer_sentences) - new_facts
    return min(new_facts, REWARDED_FACTS) - repetitions + _form_points(answer_sentences, subject)


def count_new_facts(question: str, subject: str, answer: str) -> int:
    """Sentences of the answer with a word that neither the question nor an earlier sentence has."""
    known_words, new_facts = content_words(f"{question} {subject}"), 0
    for sentence in sentences(answer):
        words = content_words(sentence)
        new_facts += bool(words - known_words)
        known_words |= words
    return new_facts


def _form_points(answer_sentences: list[str], subject: str) -> float:
    """Points for naming the subject, minus those for too many sentences and for an unfinished one."""
    names_subject = bool(subject) and subject.lower() in answer_sentences[0].lower()
    return float(
        SUBJECT_POINTS * names_subject
        - 0.5 * max(0, len(answer_sentences) - MAX_SENTENCES)
        - (answer_sentences[-1][-1] not in SENTENCE_ENDS)
    )


def truth_score(judge: StatementJudge, subject: str, answer: str, subject_exists: bool = True) -> float:
    """The score of an answer whose statements are looked up in the ground truth.

    It is `rule_score` but for the sentences: 1 for each of up to three true statements about the subject that are new,
    -1 for each false one and for each one that is repeated, and nothing for what cannot be checked.
    """
    answer_sentences = sentences(answer)
    if not subject_exists or not answer_sentences or refuses(answer):
        return rule_score("", subject, answer, subject_exists)
    stated: set[tuple[str, str]] = set()
    penalties = 0
    for statement in judge.statements(answer, subject):
        facts = {fact for fact in statement.facts if fact[0] == subject.lower()}
        if statement.verdict == "false" or (facts and facts <= stated):
            penalties += 1
        elif statement.verdict == "true":
            stated |= facts
    return min(len(stated), REWARDED_FACTS) - penalties + _form_points(answer_sentences, subject)


def prefer(difference: float, noise: float, tie: float, rng: random.Random) -> str:
    """A labeller's preference, ``first``, ``second`` or ``tie``, between two answers whose scores differ.

    difference: first score minus second. noise: scale of the logistic noise on it. tie: absolute difference up to which
    the result is a tie. With noise 1 and no ties the chance of ``first`` is sigmoid(difference), as in the model of
    Bradley and Terry (Biometrika 39, 1952).
    """
    share = rng.random()
    perceived = difference + noise * math.log(max(share, 1e-12) / max(1 - share, 1e-12))
    if abs(perceived) <= tie:
        return "tie"
    return "first" if perceived > 0 else "second"
