"""The process of `base_evaluation`: ``python -m llm_assets.pretraining.base_evaluation_process job.json``.

It writes ``results.json`` next to the job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.training.loader import PackedDocuments
from llm_assets.training.shards import TokenStream

from .baselines import TokenNgrams, primed_xz_bits_per_byte
from .evaluation import answers, choices, document_losses, prompted_answers, recitations
from .in_context import few_shot_questions, latest_choice, make_problems, prompt_words
from .jobs import BaseEvaluationJob
from .overlap import SIZES, find_overlap


def draw_sample(numbers: np.ndarray, count: int, seed: int) -> list[int]:
    """At most `count` of the numbers, selected by seed, in order."""
    if len(numbers) <= count:
        return numbers.tolist()
    return sorted(np.random.Generator(np.random.Philox(key=[seed, 1])).choice(numbers, count, replace=False).tolist())


@dataclass(frozen=True)
class Subject:
    """What is evaluated: the model, ready to sample, the two splits of the shards, and the job."""

    engine: Engine
    train: TokenStream
    held_out: TokenStream
    job: BaseEvaluationJob


def main(job: BaseEvaluationJob, folder: Path, report: Reporter) -> None:
    """Run all TASKS and write their results."""
    model, encoding = load_checkpoint(Path(job.checkpoint), pick_device(job.device))
    train, held_out = (
        TokenStream(map(Path, job.shards), split, job.kept_documents) for split in ("train", "validation")
    )
    subject = Subject(Engine(model, encoding), train, held_out, job)
    results: dict[str, Any] = {}
    for number, (name, measure) in enumerate(TASKS.items()):
        report("task", name=name, number=number, of=len(TASKS))
        results.update(measure(subject))
    write_results(folder, results)


def losses(subject: Subject) -> dict[str, Any]:
    """Nats and bytes of the validation documents."""
    documents = validation_documents(subject)
    losses_by_document = document_losses(subject.engine, subject.held_out, documents)
    return {
        "documents": [{"document": number, **loss} for number, loss in zip(documents, losses_by_document, strict=True)]
    }


def baselines(subject: Subject) -> dict[str, Any]:
    """What predictors that count and copy the training text make of the same documents; empty without documents.

    They have the tokens of the training split, `baseline_tokens` at most. ngram_bits: of each document. xz: bits per
    byte of all documents together.
    """
    train, held_out, job = subject.train, subject.held_out, subject.job
    encoding, predicted = subject.engine.encoding, validation_documents(subject)
    if not predicted:
        return {}
    counted = _within(train, job.baseline_tokens, job.seed)
    ngrams = TokenNgrams(map(train.document, counted), subject.engine.shape.vocabulary)
    training_text, text = (
        b"".join(encoding.decode_bytes(stream.document(number)[1:]) for number in numbers)
        for stream, numbers in ((train, counted), (held_out, predicted))
    )
    return {
        "ngram_bits": [ngrams.bits(held_out.document(number)) for number in predicted],
        "xz": primed_xz_bits_per_byte(training_text, text),
    }


def regurgitation(subject: Subject) -> dict[str, Any]:
    """How much of a page is recited, by how often the model was trained on it; 0 times is the validation split."""
    job = subject.job
    prefix, continuation = job.prefix_tokens, job.recited_tokens
    sequences = PackedDocuments(subject.train, subject.engine.shape.context, job.training_seed)
    seen = sequences.times_seen(job.training_sequences)
    rows: list[dict[str, Any]] = []
    for times in [0, *np.unique(seen[seen > 0]).tolist()]:
        stream = subject.train if times else subject.held_out
        long_enough = stream.lengths > prefix + continuation
        candidates = np.flatnonzero(long_enough & (seen == times)) if times else np.flatnonzero(long_enough)
        chosen = draw_sample(candidates, job.prefixes, job.seed)
        recited = recitations(subject.engine, stream, chosen, prefix, continuation, job.seed)
        rows += [{"split": stream.split, "times_seen": times, **row} for row in recited]
    return {"recitations": rows}


def free_samples(subject: Subject) -> dict[str, Any]:
    """Samples without a prompt, and what of them occurs in the training split."""
    engine, train, job = subject.engine, subject.train, subject.job
    encoding = engine.encoding
    length = min(job.sample_tokens, engine.shape.context - 1)
    sampling = Sampling(max_tokens=length, seed=job.seed, stop=(encoding.bos,))
    samples = engine.complete([[encoding.bos]] * job.free_samples, sampling)
    overlap = find_overlap([sample.tokens for sample in samples], train)
    rows = []
    for sample, match in zip(samples, overlap.matches, strict=True):
        row: dict[str, Any] = {"text": encoding.decode(sample.tokens), "tokens": len(sample.tokens)}
        row.update(longest=0, copied="", document=None)
        if match is not None:
            row.update(
                longest=match.length,
                copied=encoding.decode(sample.tokens[match.start : match.start + match.length]),
                document=int(np.searchsorted(train.starts, match.position, "right")) - 1,
            )
        rows.append(row)
    return {
        "overlap": {str(size): overlap.share[size] for size in SIZES},
        "overlap_search": {"tokens_searched": overlap.searched, "tokens": overlap.tokens},
        "free_samples": rows,
    }


def in_context(subject: Subject) -> dict[str, Any]:
    """Problems whose answer follows from the prompt: the preferred choice and the greedy answer."""
    engine, train, job = subject.engine, subject.train, subject.job
    sampled = draw_sample(np.arange(train.documents), 400, job.seed)
    words = prompt_words([engine.encoding.decode(train.document(number)[1:]) for number in sampled])
    problems = make_problems(words, job.problems, job.seed)
    problems += few_shot_questions(list(job.questions), job.problems, job.seed)
    prompts = [problem.prompt for problem in problems]
    greedy = answers(engine, prompts, [problem.answer for problem in problems])
    chosen = choices(engine, prompts, [problem.choices for problem in problems])
    rows = [
        {
            "task": problem.task,
            "shots": problem.shots,
            "prompt": problem.prompt,
            "expected": problem.answer,
            "chosen": choice,
            "right": choice == problem.answer,
            "answer": answer["answer"],
            "answer_right": answer["right"],
            "latest": latest_choice(problem),
        }
        for problem, choice, answer in zip(problems, chosen, greedy, strict=True)
    ]
    return {"in_context": rows}


def facts(subject: Subject) -> dict[str, Any]:
    """Greedy completions of sentences about facts."""
    pairs = subject.job.facts
    prompts, expected = [prompt for prompt, _ in pairs], [answer for _, answer in pairs]
    return {"facts": answers(subject.engine, prompts, expected) if pairs else []}


def prompted(subject: Subject) -> dict[str, Any]:
    """Next tokens and continuations of prompts, and the answers of the prompted assistant."""
    engine, job = subject.engine, subject.job
    encoding, context = engine.encoding, engine.shape.context
    next_tokens = [
        {"prompt": prompt, "rank": rank, "token": encoding.decode([token]), "id": token, "probability": share}
        for prompt in job.prompts
        for rank, (token, share) in enumerate(engine.next_tokens(encoding.document(prompt)[:context], 10), 1)
    ]
    sampling = Sampling(max_tokens=job.sample_tokens, temperature=0.8, top_k=50, seed=job.seed, stop=(encoding.bos,))
    completions = engine.complete([encoding.document(prompt) for prompt in job.prompts], sampling, samples=2)
    return {
        "next_tokens": next_tokens,
        "prompted": [
            {"prompt": job.prompts[place // 2], "text": encoding.decode(completion.tokens)}
            for place, completion in enumerate(completions)
        ],
        "transcript": prompted_answers(engine, job.instruction, job.examples, job.assistant_questions),
    }


TASKS: dict[str, Callable[[Subject], dict[str, Any]]] = {
    "bits per byte": losses,
    "baselines": baselines,
    "regurgitation": regurgitation,
    "samples": free_samples,
    "in context": in_context,
    "facts": facts,
    "prompts": prompted,
}


def validation_documents(subject: Subject) -> list[int]:
    """The documents of the validation split that are evaluated."""
    return _within(subject.held_out, subject.job.validation_tokens, subject.job.seed)


def _within(stream: TokenStream, tokens: int, seed: int) -> list[int]:
    """Documents with at most `tokens` tokens in total, selected by seed, in order."""
    order = np.random.Generator(np.random.Philox(key=[seed, 2])).permutation(stream.documents)
    return sorted(order[np.cumsum(stream.lengths[order]) <= tokens].tolist())


if __name__ == "__main__":
    run_job(main, BaseEvaluationJob)
