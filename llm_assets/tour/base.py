"""The base model: next tokens, samples, recitation, learning in context, and an assistant by a prompt."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from llm_assets.dialogue.splits import TRAIN
from llm_assets.model.assistant import EXAMPLES
from llm_assets.sample_web.pairs import KOREAN
from llm_assets.sample_web.song import LINES, SONG

from .layout import labelled, rows, shortened, visible, wrapped
from .visit import NothingToShow, Visit

SEED = 1
NEXT_TOKENS = 10  # next tokens shown
BAR = 40  # columns of a bar that stands for certainty
SAMPLES, SAMPLE_TOKENS = 5, 24
RECITED_PAGES, RECITED_TOKENS, PREFIX_TOKENS = 32, 40, 48
PAIRS = 6  # of a prompt


def opening(visit: Visit) -> str:
    """The words that are continued: those of the talk, or the first words of a page."""
    return "The sky is" if visit.is_sample_web else " ".join(visit.page["text"].split()[:3])


def next_tokens(visit: Visit) -> list[str]:
    engine, prompt = visit.engine("base"), opening(visit)
    table = [
        (repr(engine.encoding.decode([token])), f"{100 * share:.1f} %", "█" * round(BAR * share))
        for token, share in engine.next_tokens(engine.encoding.document(prompt), NEXT_TOKENS)
    ]
    size = f"{engine.shape.parameters:,} parameters, {engine.shape.vocabulary:,} tokens"
    return [*labelled("text so far", prompt), *labelled("the model", size), "", *rows(table)]


def samples(visit: Visit) -> list[str]:
    from llm_assets.model.sampling import Sampling

    engine, prompt = visit.engine("base"), opening(visit)
    sampling = Sampling(max_tokens=SAMPLE_TOKENS, temperature=1.0, seed=SEED, stop=(engine.encoding.bos,))
    completions = engine.complete([engine.encoding.document(prompt)], sampling, samples=SAMPLES)
    texts = [visible(f"{prompt}{engine.encoding.decode(completion.tokens)}") for completion in completions]
    return [line for number, text in enumerate(texts, 1) for line in labelled(f"sample {number}", f"{text} …")]


class Recited(NamedTuple):
    """A page's beginning, what follows there, what the model continues with, and the equal tokens at its start."""

    source: str
    prefix: str
    continuation: str
    answer: str
    matched: int


def recitation(visit: Visit) -> list[str]:
    beginnings = [*_song(visit), *_beginnings(visit)]
    recited = _continued(visit, beginnings)
    if not recited:
        raise NothingToShow("no page is long enough to be continued")
    best = max(recited, key=lambda page: page.matched)
    others = sorted(page.matched for page in recited if page is not best)
    median = f"; the median of {len(others)} other pages is {others[len(others) // 2]}" if others else ""
    return [
        *labelled("a page begins", best.prefix),
        *labelled("it continues", best.continuation),
        *labelled("the model", best.answer),
        "",
        *wrapped(f"{best.source}: {best.matched} of {RECITED_TOKENS} tokens are recited{median}.", "  "),
    ]


def _song(visit: Visit) -> list[tuple[str, str, str]]:
    """The song of the sample web, which several pages quote, if the corpus has it."""
    quoting = visit.pages.filter(pl.col("text").str.contains(SONG, literal=True)) if visit.is_sample_web else None
    if quoting is None or quoting.is_empty():
        return []
    return [(f"a song that {len(quoting)} pages quote", LINES[0], SONG.removeprefix(LINES[0]))]


def _beginnings(visit: Visit) -> list[tuple[str, str, str]]:
    """The URL, first sentence and further text of pages, evenly spread over the corpus."""
    pages = visit.pages.gather_every(max(1, len(visit.pages) // RECITED_PAGES)).head(RECITED_PAGES)
    parts = []
    for url, text in pages.select("url", "text").iter_rows():
        sentence = re.match(r".{20,300}?[.!?。]", text, re.DOTALL)
        if sentence:
            parts.append((url, sentence[0], text[sentence.end() :]))
    return parts


def _continued(visit: Visit, beginnings: Sequence[tuple[str, str, str]]) -> list[Recited]:
    """The model's greedy continuations, for pages of which enough tokens follow."""
    from llm_assets.model.sampling import Sampling

    engine = visit.engine("base")
    encoding = engine.encoding
    cases = []
    for source, prefix, continuation in beginnings:
        ids = encoding.document(f"{prefix}{continuation}")
        start = len(encoding.document(prefix))
        fits = start + RECITED_TOKENS <= min(len(ids), engine.shape.context)
        if fits and start <= PREFIX_TOKENS:
            cases.append((source, prefix, ids[:start], ids[start : start + RECITED_TOKENS]))
    if not cases:
        return []
    sampling = Sampling(max_tokens=RECITED_TOKENS, temperature=0.0, stop=(encoding.bos,))
    completions = engine.complete([prompt for _, _, prompt, _ in cases], sampling)
    recited = []
    for (source, prefix, _, expected), completion in zip(cases, completions, strict=True):
        pairs = zip(expected, completion.tokens, strict=False)
        matched = next((place for place, (a, b) in enumerate(pairs) if a != b), len(completion.tokens))
        texts = (visible(encoding.decode(tokens).strip()) for tokens in (expected, completion.tokens))
        recited.append(Recited(source, visible(prefix), *texts, matched))
    return recited


def pairs(visit: Visit) -> list[str]:
    engine, lines = visit.engine("base"), []
    prompts = _pair_prompts(visit)
    answers = engine.lines([engine.encoding.document(prompt) for prompt, _ in prompts], 12)
    for (prompt, expected), answer in zip(prompts, answers, strict=True):
        completed = re.split(r"[,.;]", answer)[0].strip()
        lines += [*labelled("prompt", prompt), *labelled("the model", f"{completed}  ({_mark(completed, expected)})")]
    return lines


def _mark(answer: str, expected: str) -> str:
    return "right" if answer == expected else f"expected: {expected}"


def _pair_prompts(visit: Visit) -> list[tuple[str, str]]:
    """Prompts of word pairs and what completes them."""
    if not visit.is_sample_web:
        words = sorted(set(re.findall(r"\b[a-z]{4,8}\b", " ".join(visit.pages["text"].head(20)))))
        if len(words) < PAIRS:
            raise NothingToShow("the pages have too few words in Latin letters for a list of pairs")
        chosen = random.Random(SEED).sample(words, PAIRS)
        return [_pair_prompt([(word, word.capitalize()) for word in chosen])]
    translated = ["butterfly", "ocean", "flower", "river", "school", "teacher"]
    return [
        ("I: my, you: your, he:", "his"),
        ("I: me, you: you, he:", "him"),
        ("I: sing, you: sing, he:", "sings"),
        _pair_prompt([(word, KOREAN[word]) for word in translated]),
    ]


def _pair_prompt(listed: Sequence[tuple[str, str]]) -> tuple[str, str]:
    *shown, (last, expected) = listed
    return ", ".join([*(f"{left}: {right}" for left, right in shown), f"{last}:"]), expected


def prompted(visit: Visit) -> list[str]:
    examples, questions = _questions_for_base(visit)
    engine = visit.engine("base")
    head = [line for question, answer in examples for line in (f"Human: {question}", f"Assistant: {answer}")]
    prompts = ["\n".join([*head, f"Human: {question}", "Assistant:"]) for question in questions]
    ids = [engine.encoding.document(prompt) for prompt in prompts]
    if max(map(len, ids)) + SAMPLE_TOKENS > engine.shape.context:
        raise NothingToShow("the model's context is too short for a conversation")
    answers = engine.lines(ids, SAMPLE_TOKENS)
    lines = [*wrapped("\n".join(head), "  | ", "  | "), ""]
    for question, answer in zip(questions, answers, strict=True):
        lines += [*labelled("Human:", question), *labelled("Assistant:", shortened(answer, 200))]
    return lines


def _questions_for_base(visit: Visit) -> tuple[Sequence[tuple[str, str]], list[str]]:
    """Examples of questions with answers, and questions: about facts that the model knows if it was asked for any."""
    if not visit.has("knowledge_boundary"):
        return EXAMPLES, ["What is the colour of the sky?"]
    topics = visit.table("knowledge_boundary", "topics")
    known = topics.filter((pl.col("verdict") == "known") & (pl.col("split") == TRAIN))
    facts = known.unique("relation", keep="first", maintain_order=True).head(5).to_dicts()
    if len(facts) < 3:
        return EXAMPLES, ["What is the colour of the sky?"]
    examples = [(json.loads(fact["questions"])[0], fact["sentence"]) for fact in facts[:2]]
    return examples, [json.loads(fact["questions"])[0] for fact in facts[2:4]]
