"""Measurements of a base model, as functions of a sampling engine and token streams.

Imports only torch and numpy. Documents are given as their numbers in a stream; the caller knows their pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from llm_assets.model import IGNORE
from llm_assets.model.devices import autocast
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.training.shards import TokenStream


def document_losses(
    engine: Engine, stream: TokenStream, documents: Sequence[int], batch_size: int = 16
) -> list[dict[str, float]]:
    """The nats and bytes of each document.

    Documents are read in windows that overlap by half, so that every token, except at the start, has at least half a
    context before it. BOS is not counted, because it represents no text.
    """
    context, lengths = engine.shape.context, engine.encoding.token_bytes
    stride = max(1, context // 2)
    windows: list[tuple[int, np.ndarray, np.ndarray]] = []
    totals = [{"nats": 0.0, "bytes": 0.0} for _ in documents]

    def flush() -> None:
        longest = max(len(tokens) for _, tokens, _ in windows)
        tokens = torch.zeros(len(windows), longest, dtype=torch.long)
        targets = torch.full((len(windows), longest), IGNORE)
        for row, (_, inputs, aims) in enumerate(windows):
            tokens[row, : len(inputs)], targets[row, : len(aims)] = torch.from_numpy(inputs), torch.from_numpy(aims)
        with torch.no_grad(), autocast(engine.model.device.type):
            losses = (
                engine.model(tokens.to(engine.model.device), targets.to(engine.model.device)).double().sum(1).tolist()
            )
        for (place, _, aims), nats in zip(windows, losses, strict=True):
            totals[place]["nats"] += nats
            totals[place]["bytes"] += int(lengths[aims[aims != IGNORE]].sum())
        windows.clear()

    for place, number in enumerate(documents):
        ids = stream.document(number)
        done = 1  # targets before this index have been counted
        for start in range(0, max(len(ids) - 1, 0), stride):
            if done >= len(ids):
                break
            inputs, aims = ids[start : start + context], ids[start + 1 : start + context + 1].copy()
            inputs = inputs[: len(aims)]
            aims[: done - start - 1] = IGNORE
            done = start + 1 + len(aims)
            windows.append((place, inputs, aims))
            if len(windows) == batch_size:
                flush()
    if windows:
        flush()
    return totals


def recitations(
    engine: Engine, stream: TokenStream, documents: Sequence[int], prefix: int, continuation: int, seed: int
) -> list[dict[str, Any]]:
    """At one place in each document, the number of tokens after a prefix that the greedy continuation repeats.

    Documents shorter than prefix and continuation are left out. A page that is repeated is extractable with k tokens of
    context in the sense of Carlini et al. ("Quantifying memorization", arXiv:2202.07646).
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    places = []
    for number in documents:
        room = int(stream.lengths[number]) - 1 - prefix - continuation
        if room >= 0:
            places.append((int(number), 1 + int(rng.integers(room + 1))))
    prompts = [
        [engine.encoding.bos, *stream.tokens(int(stream.starts[number]) + start, prefix).tolist()]
        for number, start in places
    ]
    out = []
    for (number, start), prompt, completion in zip(
        places, prompts, engine.complete(prompts, Sampling(max_tokens=continuation, temperature=0)), strict=True
    ):
        truth = stream.tokens(int(stream.starts[number]) + start + prefix, continuation).tolist()
        matched = next(
            (place for place, (a, b) in enumerate(zip(completion.tokens, truth, strict=False)) if a != b),
            len(completion.tokens),
        )
        out.append(
            {
                "document": number,
                "start": start,
                "matched": matched,
                "prefix": engine.encoding.decode(prompt[1:]),
                "continuation": engine.encoding.decode(completion.tokens),
            }
        )
    return out


def answers(engine: Engine, prompts: Sequence[str], expected: Sequence[str], batch: int = 256) -> list[dict[str, Any]]:
    """Greedy answers of one line, and whether each begins with the expected words (`right`)."""
    limits = [len(engine.encoding.encode(f" {answer}")) + 2 for answer in expected]
    out = []
    for answer, text in zip(
        expected,
        engine.lines(
            [_fitting(engine, prompt, max(limits, default=0)) for prompt in prompts],
            max(limits, default=0),
            batch=batch,
        ),
        strict=True,
    ):
        rest = text[len(answer) :]
        out.append({"answer": text, "right": text.startswith(answer) and not (rest[:1].isalnum() or rest[:1] == "-")})
    return out


def choices(engine: Engine, prompts: Sequence[str], offered: Sequence[Sequence[str]]) -> list[str]:
    """For each prompt, the offered continuation with the greatest log-likelihood per byte (after a space)."""
    encoded = [[engine.encoding.encode(f" {choice}") for choice in prompt_choices] for prompt_choices in offered]
    beginnings = [
        _fitting(engine, prompt, max(map(len, prompt_choices)))
        for prompt, prompt_choices in zip(prompts, encoded, strict=True)
    ]
    scores = iter(
        engine.log_likelihoods(
            [prompt for prompt, prompt_choices in zip(beginnings, encoded, strict=True) for _ in prompt_choices],
            [choice for prompt_choices in encoded for choice in prompt_choices],
        )
    )
    return [
        max(prompt_choices, key={choice: next(scores) / len(choice.encode()) for choice in prompt_choices}.__getitem__)
        for prompt_choices in offered
    ]


def _fitting(engine: Engine, prompt: str, reserve: int) -> list[int]:
    """A prompt as tokens, cut at its start to leave room for `reserve` tokens."""
    ids = engine.encoding.document(prompt)
    room = max(1, engine.shape.context - reserve)
    return ids if len(ids) <= room else [ids[0], *ids[len(ids) - room + 1 :]]


def prompted_answers(
    engine: Engine,
    instruction: str,
    examples: Sequence[tuple[str, str]],
    questions: Sequence[str],
    max_tokens: int = 48,
) -> list[dict[str, str]]:
    """Answers of a prompted assistant: the model continues a text of questions and answers (Brown et al.,
    arXiv:2005.14165).
    """
    shown = "".join(f"Question: {question}\nAnswer: {answer}\n" for question, answer in examples)
    prompts = [
        _fitting(engine, f"{instruction}\n{shown}Question: {question}\nAnswer:", max_tokens) for question in questions
    ]
    return [
        {"question": question, "answer": answer}
        for question, answer in zip(questions, engine.lines(prompts, max_tokens), strict=True)
    ]
