"""In-context learning: tasks that can only be solved from the prompt, with an increasing number of examples.

The words come from the corpus, so that a small model is tested on patterns and not on words that it never saw. Each
problem has four choices, of which a guess finds the right one in a quarter of the cases: a small model prefers the
right choice long before it gives that one word of thousands as its answer. Either the prompt mentions the right choice
and, if it has enough words, the wrong ones, or it mentions none of them. Otherwise copying any word of the prompt would
be right or wrong more often than a guess, whatever the task.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_assets.evaluation.grading import holds
from llm_assets.evaluation.words import common_words

SHOTS = (0, 1, 2, 4, 8)
CHOICES = 4


@dataclass(frozen=True)
class Problem:
    """A prompt, the answer that follows it (after a space), and the choices. shots: examples in the prompt."""

    task: str
    shots: int
    prompt: str
    answer: str
    choices: tuple[str, ...]


def prompt_words(texts: Sequence[str], count: int = 200) -> list[str]:
    """Words of four to nine lower-case letters, those that occur in the most texts first."""
    return common_words(texts, r"(?<![\w'])[a-z]{4,9}(?![\w'])", count, count_texts=True)


Draft = tuple[str, str, list[str]]  # prompt, answer, wrong choices in order of preference


def _copy(rng: random.Random, words: Sequence[str], shots: int) -> Draft:
    """Each line repeats its word."""
    chosen = rng.sample(words, shots + 1)
    return "".join(f"{word}, {word}\n" for word in chosen[:-1]) + f"{chosen[-1]},", chosen[-1], chosen[-2::-1]


def _recall(rng: random.Random, words: Sequence[str], shots: int) -> Draft:
    """Pairs of words, then the first word of one pair, whose second word is the answer."""
    chosen = rng.sample(words, 2 * max(shots, 1))
    pairs = list(zip(chosen[::2], chosen[1::2], strict=True))
    first, second = rng.choice(pairs)
    return "".join(f"{a}: {b}\n" for a, b in pairs[:shots]) + f"{first}:", second, [b for _, b in pairs if b != second]


def _alternate(rng: random.Random, words: Sequence[str], shots: int) -> Draft:
    """Three words, repeated."""
    chosen = rng.sample(words, 3)
    return " ".join(chosen * shots + chosen[:2]), chosen[2], chosen[:2]


def _count(rng: random.Random, words: Sequence[str], shots: int) -> Draft:
    """Numbers that increase by one."""
    start = rng.randrange(4, 80)
    following = start + shots + 1
    return (
        ", ".join(str(start + place) for place in range(shots + 1)) + ",",
        str(following),
        [str(following + other) for other in (1, 2, 10)],
    )


def _choices(
    rng: random.Random, prompt: str, answer: str, wrong: Sequence[str], others: Sequence[str]
) -> tuple[str, ...]:
    """The answer and three wrong choices in random order; `others` supplies what `wrong` lacks.

    If the prompt mentions the answer, it mentions those of `wrong`, and none of `others` is one of its words. If it
    does not, it mentions no choice.
    """
    mentioned = _mentions(prompt, answer)
    chosen = [choice for choice in dict.fromkeys(wrong) if choice != answer and _mentions(prompt, choice) == mentioned]
    chosen = chosen[: CHOICES - 1]
    rest = sorted(choice for choice in {*others} - {answer, *chosen} if not _mentions(prompt, choice))
    chosen += rng.sample(rest, min(CHOICES - 1 - len(chosen), len(rest)))
    return tuple(rng.sample([answer, *chosen], len(chosen) + 1))


def _mentions(prompt: str, choice: str) -> bool:
    return choice.lower() in prompt.lower() and holds(prompt, choice)


def latest_choice(problem: Problem) -> float:
    """How often it is right to choose what the prompt mentions last; a guess's share if it mentions no choice."""
    mentioned = [choice for choice in problem.choices if _mentions(problem.prompt, choice)]
    if not mentioned:
        return 1 / len(problem.choices)
    return float(max(mentioned, key=lambda choice: problem.prompt.lower().rfind(choice.lower())) == problem.answer)


TASKS: dict[str, Callable[[random.Random, Sequence[str], int], Draft]] = {
    "copy": _copy,
    "recall": _recall,
    "alternate": _alternate,
    "count": _count,
}


def make_problems(words: Sequence[str], problems: int, seed: int, shots: Sequence[int] = SHOTS) -> list[Problem]:
    """`problems` problems per task and number of examples; none if there are too few words."""
    out = []
    for task, make in TASKS.items():
        if len(words) < 2 * max(shots) + 1:
            continue
        for count in shots:
            rng = random.Random(f"{seed}-{task}-{count}")
            for _ in range(problems):
                prompt, answer, wrong = make(rng, words, count)
                out.append(Problem(task, count, prompt, answer, _choices(rng, prompt, answer, wrong, words)))
    return out


def few_shot_questions(
    pairs: Sequence[tuple[str, str, str]], problems: int, seed: int, shots: Sequence[int] = SHOTS
) -> list[Problem]:
    """Few-shot problems from (kind, question, answer); the examples are other questions of the same kind."""
    out = []
    kinds: dict[str, list[tuple[str, str]]] = {}
    for kind, question, answer in pairs:
        kinds.setdefault(kind, []).append((question, answer))
    usable = [kind for kind, rows in sorted(kinds.items()) if len(rows) > max(shots)]
    for count in shots if usable else ():
        rng = random.Random(f"{seed}-questions-{count}")
        for _ in range(problems):
            kind = rng.choice(usable)
            chosen = rng.sample(kinds[kind], count + 1)
            *examples, (question, answer) = chosen
            lines = "".join(f"Question: {example}\nAnswer: {its_answer}\n" for example, its_answer in examples)
            prompt, values = f"{lines}Question: {question}\nAnswer:", sorted({value for _, value in kinds[kind]})
            choices = _choices(rng, prompt, answer, rng.sample(values, len(values)), ())
            out.append(Problem("questions about facts", count, prompt, answer, choices))
    return out
