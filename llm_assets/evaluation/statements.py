"""Whether an answer states what it mentions: not what it denies, doubts, asks, offers as a choice, or takes back.

The rules are strict, as a policy learns to exploit whatever they let pass. They read English.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

# Ways of saying "I don't know": the wordings of the guidelines, and those that are common in models' answers.
_REFUSAL = re.compile(
    r"\b(?:do(?:es)? not|don['’]t|did not|didn['’]t|cannot|can['’]t|could not|couldn['’]t|not|never) "
    r"(?:really )?(?:know|find|help|answer|say|sure|heard?|aware)\b"
    r"|\bno (?:idea|information|knowledge)\b"
    r"|\b(?:know|found|find) nothing\b"
    r"|\bunable to\b"
    r"|\bunknown to me\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|cannot|never|neither|nor|none|nobody|hardly|scarcely|wrong|incorrect|false(?:ly)?|untrue|mistaken|myth"
    r"|unlikely|doubt\w*|den(?:y|ies|ied)|disproved?|unsure|uncertain)\b"
    r"|\bno\s+(?:longer|one|way|town|place)\b|\b(?:by|in)\s+no\s+(?:means|way|case)\b|\bfails?\s+to\b"
    r"|n['’]t\b|\b(?:is|was|are|were|do|does|did|has|had|could|would|should)nt\b|≠|!=|=/=|\\neq?\b",
    re.IGNORECASE,
)
# Words of negation that deny nothing.
_EMPHASIS = re.compile(
    r"\b(?:no|without(?:\s+a)?|beyond(?:\s+a)?)\s+doubt\b|\bundoubtedly\b|\bnot\s+only\b", re.IGNORECASE
)
_DOUBT = re.compile(
    r"\b(?:perhaps|maybe|possibly|probably|presumably|supposedly|allegedly|apparently|might|may\s+(?:be|have)"
    r"|could\s+(?:be|have)|used\s+to\s+(?:think|believe|say)"
    r"|(?:some|many|most|people|others|they)\s+(?:say|said|claim|claimed|think|thought|believe|believed))\b",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"\b(?:either|alternatively)\b|\bor\b(?!\s+(?:so|rather)\b)", re.IGNORECASE)
_ANSWER = "\ufffc"  # takes the place of the answer, whose own words deny nothing
# Something other than the answer is meant, or it is one of several, or a "no" follows it.
_NOT_THE_ANSWER = re.compile(
    r"\b(?:instead\s+of|(?:rather|other)\s+than|different\s+from|anything\s+but|except(?:\s+for)?|apart\s+from"
    rf"|far\s+from|nowhere\s+near|outside(?:\s+of)?|unlike|opposite\s+of)\W+(?:\w+\W+){{0,2}}{_ANSWER}"
    rf"|\bor\W+(?:\w+\W+){{0,3}}{_ANSWER}|{_ANSWER}\W*or\b(?!\W+(?:so|rather)\b)|{_ANSWER}\W+(?:no|nope)\b",
    re.IGNORECASE,
)
# In a sentence after an answer: what its negation refers to.
_REFERENCE = re.compile(
    r"\b(?:that|this|it|answer|result|number|above|true|right|correct|wrong|incorrect|false|untrue|mistaken|sure)\b",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"\W*(?:no|nope|wait|oops|scratch\s+that|(?:just\s+)?(?:kidding|joking)|correction)\b", re.IGNORECASE
)
_REMARK_WORDS = 3  # a negation in a sentence of so few words refers to what precedes it: "Not really."
_PARENTHESIS = re.compile(
    r",\s*(?:however|though|of\s+course|in\s+fact|indeed|actually|to\s+be\s+clear)\s*,", re.IGNORECASE
)
_SCOPE_END = re.compile(r"\bbut\b|;", re.IGNORECASE)  # of a negation before an answer
_CLAUSE_END = re.compile(r"[,;:()]|\s[-\u2013\u2014]\s|\b(?:and|but)\b", re.IGNORECASE)
_ABBREVIATION = r"(?<!\bapprox\.)(?<!\bca\.)(?<!\bi\.e\.)(?<!\be\.g\.)(?<!\bvs\.)"
_SENTENCE_END = re.compile(rf"(?<=[.!?]){_ABBREVIATION}\s+|\n", re.IGNORECASE)
_QUESTION_END = " \t\n\"'”’)*_"  # what may follow a question mark


class Statement(NamedTuple):
    """The sentence of a text that concludes it. before: the unfinished line before it. after: what follows it."""

    before: str
    sentence: str
    after: list[str]


def refuses(text: str) -> bool:
    """Whether the text says that the speaker does not know, or will not answer."""
    return _REFUSAL.search(text) is not None


def without(text: str, answer: str) -> str:
    """Replace an answer in the text by a placeholder, so that its words are not read as a denial or refusal."""
    return re.sub(re.escape(answer.strip()), _ANSWER, text, flags=re.IGNORECASE) if answer.strip() else text


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text that are not blank."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence.strip()]


def unfinished(text: str) -> str:
    """The sentence, of the text's last line, that has no end yet."""
    return _SENTENCE_END.split(text)[-1]


def conclusion(text: str, mentions: Callable[[str], bool]) -> Statement | None:
    """The last sentence that mentions something; None if there is none."""
    pieces = sentences(text)
    place = next((place for place in reversed(range(len(pieces))) if mentions(pieces[place])), None)
    return None if place is None else _statement(pieces, place, mentions)


def _statement(pieces: list[str], place: int, mentions: Callable[[str], bool]) -> Statement:
    preceding = pieces[place - 1] if place else ""
    is_unfinished = preceding.rstrip()[-1:] not in (".", "!", "?", ":") and not mentions(preceding)
    return Statement(preceding if is_unfinished else "", pieces[place], pieces[place + 1 :])


def is_question(sentence: str) -> bool:
    return sentence.rstrip(_QUESTION_END).endswith("?")


def is_denied(sentence: str) -> bool:
    """Whether anything in a sentence is denied, doubted, asked, or one of several choices."""
    plain = _EMPHASIS.sub("", sentence)
    return (
        is_question(sentence)
        or refuses(sentence)
        or _NEGATION.search(plain) is not None
        or _DOUBT.search(plain) is not None
        or _CHOICE.search(plain) is not None
    )


def takes_back(after: list[str]) -> bool:
    """Whether one of the sentences after an answer takes it back: "That is wrong", "No", "Not really"."""
    for sentence in after:
        is_about_it = _REFERENCE.search(sentence) is not None or len(sentence.split()) <= _REMARK_WORDS
        plain = _EMPHASIS.sub("", sentence)
        is_negative = _NEGATION.search(plain) is not None and not is_question(sentence)
        if _CORRECTION.match(plain) or (is_negative and is_about_it) or refuses(sentence):
            return True
    return False


def states(text: str, holds: Callable[[str], bool], answer: str) -> bool:
    """Whether a text states an answer, and nowhere denies it, doubts it or takes it back.

    holds: whether a sentence contains the answer. answer: its words, in which nothing counts as a negation.
    """
    pieces = sentences(text)
    places = [place for place, sentence in enumerate(pieces) if holds(sentence)]
    statements = [_statement(pieces, place, holds) for place in places]
    if any(_denies(f"{statement.before} {statement.sentence}", answer) for statement in statements):
        return False
    is_stated = any(not is_question(statement.sentence) for statement in statements)
    return is_stated and not takes_back(pieces[places[-1] + 1 :])


def _denies(sentence: str, answer: str) -> bool:
    """Whether a sentence denies or doubts an answer, or offers it as one of several.

    A negation counts in the clauses before the answer, and in the answer's own: "Born in Holt, he never left."
    """
    text = without(_EMPHASIS.sub("", sentence), answer)
    text = _PARENTHESIS.sub(" ", text)
    if _NOT_THE_ANSWER.search(text):
        return True
    before, _, after = text.partition(_ANSWER)
    scope = _SCOPE_END.split(before)[-1] + _CLAUSE_END.split(after.replace(_ANSWER, ""))[0]
    return _NEGATION.search(scope) is not None or _DOUBT.search(scope) is not None
