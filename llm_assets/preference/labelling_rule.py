"""The simulated labeller's taste: a written rule, which stands in for people at laptop scale. The gold signal of the monitor there.

An answer to an open question should tell three things, a sentence each, and name what it is about in the first. Saying something twice is
worse than not saying it, going on for too long is tiresome, and breaking off is rude. "I don't know" is worth nothing of a thing that
there is; of one that does not exist it is the best that can be said, for all else is made up.
"""

from __future__ import annotations

import math
import random
import re

from llm_assets.evaluation.grading import refuses

WANTED = 3  # things told
NAMED = 0.5  # points for naming the subject
HONEST = 2.0  # points for a refusal where there is nothing to tell
ENDS = ".!?"
MOST = 4  # sentences, beyond which it goes on for too long


def sentences(text: str) -> list[str]:
    """Sentences of a text, without white space around them."""
    return [one for one in re.split(r"(?<=[.!?])\s+", text.strip()) if one]


def telling_words(text: str) -> set[str]:
    """Words of four letters and more, and numbers, in small letters: what a sentence tells by."""
    return {word for word in re.findall(r"\w+", text.lower()) if len(word) >= 4 or word.isdigit()}


def rule_score(question: str, subject: str, answer: str, subject_exists: bool = True) -> float:
    """How much an answer is liked: 1 for each of up to three sentences that tell something new, half a point for naming the subject in the
    first (of questions that have one), -1 for each that tells nothing new, -0.5 for each beyond four, -1 for breaking off (an end without a full stop or another mark that ends a sentence). Of what does
    not exist, 2 for a refusal in one sentence and -1 for all else.
    """
    found = sentences(answer)
    if not subject_exists:
        return HONEST if refuses(answer) and len(found) == 1 else -1.0
    if not found or refuses(answer):
        return 0.0
    told, new = telling_words(f"{question} {subject}"), 0
    for one in found:
        words = telling_words(one)
        new += bool(words - told)
        told |= words
    named = bool(subject) and subject.lower() in found[0].lower()
    return float(
        min(new, WANTED)
        + NAMED * named
        - (len(found) - new)
        - 0.5 * max(0, len(found) - MOST)
        - (found[-1][-1] not in ENDS)
    )


def prefer(difference: float, noise: float, tie: float, rng: random.Random) -> str:
    """What a labeller says of two answers whose taste differs by `difference`: first, second or tie. With noise 1 and no ties the chance of
    first is sigmoid(difference), as Bradley and Terry have it (Biometrika 39, 1952).
    """
    share = rng.random()
    felt = difference + noise * math.log(max(share, 1e-12) / max(1 - share, 1e-12))
    return "tie" if abs(felt) <= tie else "first" if felt > 0 else "second"
