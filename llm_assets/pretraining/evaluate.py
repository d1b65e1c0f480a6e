"""The process of `base_evaluation`: ``python -m llm_assets.pretraining.evaluate job.json``; writes ``results.json`` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.training.loader import PackedRows
from llm_assets.training.shards import TokenStream

from .baselines import ByteNgrams, compressed_bits_per_byte
from .evaluation import answers, choices, document_losses, recitations, transcript
from .in_context import few_shot_questions, make_problems, prompt_words
from .jobs import BaseEvaluationJob
from .overlap import SIZES, find_overlap


def drawn(numbers: np.ndarray, most: int, seed: int) -> list[int]:
    """At most `most` of the numbers, drawn by seed, in order."""
    if len(numbers) <= most:
        return numbers.tolist()
    return sorted(np.random.Generator(np.random.Philox(key=[seed, 1])).choice(numbers, most, replace=False).tolist())


def main(job: BaseEvaluationJob, folder: Path, report: Reporter) -> None:
    model, encoding = load_checkpoint(Path(job.checkpoint), pick_device(job.device))
    engine = Engine(model, encoding)
    seed = job.seed
    train, held_out = (TokenStream(map(Path, job.shards), split) for split in ("train", "validation"))
    parts = ["bits per byte", "baselines", "regurgitation", "samples", "in context", "facts", "prompts"]
    results: dict[str, Any] = {}

    def begin(part: str) -> None:
        report("part", name=part, number=parts.index(part), of=len(parts))

    begin("bits per byte")
    documents = _within(held_out, job.validation_tokens, seed)
    losses = document_losses(engine, held_out, documents)
    results["documents"] = [{"document": number, **loss} for number, loss in zip(documents, losses, strict=True)]

    begin("baselines")
    texts = [encoding.decode_bytes(held_out.document(number)[1:]) for number in documents]
    if texts:
        counted = _within(train, job.baseline_tokens, seed)
        ngrams = ByteNgrams(encoding.decode_bytes(train.document(number)[1:]) for number in counted)
        results["baselines"] = {"5-gram of bytes": ngrams.bits_per_byte(texts), **compressed_bits_per_byte(texts)}

    begin("regurgitation")
    prefix, continuation = job.prefix_tokens, job.recited_tokens
    seen = PackedRows(train, model.shape.context, job.training_seed).times_seen(job.training_rows)
    results["recitations"] = []
    for times in [0, *np.unique(seen[seen > 0]).tolist()]:
        stream = train if times else held_out
        long_enough = stream.lengths > prefix + continuation
        candidates = np.flatnonzero(long_enough & (seen == times)) if times else np.flatnonzero(long_enough)
        found = recitations(engine, stream, drawn(candidates, job.prefixes, seed), prefix, continuation, seed)
        results["recitations"] += [{"split": stream.split, "times_seen": times, **one} for one in found]

    begin("samples")
    free = engine.complete([[encoding.bos]] * job.free_samples, Sampling(max_tokens=min(job.sample_tokens, model.shape.context - 1), seed=seed, stop=(encoding.bos,)))
    overlap = find_overlap([one.tokens for one in free], train)
    results["overlap"] = {str(size): overlap.share[size] for size in SIZES}
    results["free_samples"] = []
    for one, match in zip(free, overlap.matches, strict=True):
        row: dict[str, Any] = {"text": encoding.decode(one.tokens), "tokens": len(one.tokens), "longest": 0, "copied": "", "document": None}
        if match is not None:
            row.update(longest=match.length, copied=encoding.decode(one.tokens[match.start : match.start + match.length]), document=int(np.searchsorted(train.starts, match.position, "right")) - 1)
        results["free_samples"].append(row)

    begin("in context")
    words = prompt_words([encoding.decode(train.document(number)[1:]) for number in drawn(np.arange(train.documents), 400, seed)])
    problems = make_problems(words, job.problems, seed) + few_shot_questions(list(job.questions), job.problems, seed)
    prompts = [problem.prompt for problem in problems]
    said = answers(engine, prompts, [problem.answer for problem in problems])
    chosen = choices(engine, prompts, [problem.choices for problem in problems])
    results["in_context"] = [
        {"task": problem.task, "shots": problem.shots, "prompt": problem.prompt, "expected": problem.answer, "chosen": choice, "right": choice == problem.answer, "answer": one["answer"], "said": one["right"]}
        for problem, choice, one in zip(problems, chosen, said, strict=True)
    ]

    begin("facts")
    results["facts"] = answers(engine, [prompt for prompt, _ in job.facts], [answer for _, answer in job.facts]) if job.facts else []

    begin("prompts")
    results["next_tokens"] = [
        {"prompt": prompt, "rank": rank, "token": encoding.decode([token]), "id": token, "probability": share}
        for prompt in job.prompts
        for rank, (token, share) in enumerate(engine.next_tokens(encoding.document(prompt)[: model.shape.context], 10), 1)
    ]
    prompted = engine.complete([encoding.document(prompt) for prompt in job.prompts], Sampling(max_tokens=job.sample_tokens, temperature=0.8, top_k=50, seed=seed, stop=(encoding.bos,)), samples=2)
    results["prompted"] = [{"prompt": job.prompts[place // 2], "text": encoding.decode(one.tokens)} for place, one in enumerate(prompted)]
    results["transcript"] = transcript(engine, job.instruction, job.examples, job.asked)

    write_results(folder, results)


def _within(stream: TokenStream, tokens: int, seed: int) -> list[int]:
    """Documents of at most so many tokens in all, drawn by seed, in order."""
    order = np.random.Generator(np.random.Philox(key=[seed, 2])).permutation(stream.documents)
    return sorted(order[np.cumsum(stream.lengths[order]) <= tokens].tolist())


if __name__ == "__main__":
    run_job(main, BaseEvaluationJob)
