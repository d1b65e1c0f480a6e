"""The process of `response_pairs`: ``python -m llm_assets.preference.response_pairs_process job.json``.

Writes ``results.json`` beside the job. Needs torch, numpy, safetensors and tiktoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model.assistant import ended_turn, to_messages
from llm_assets.model.chat import Message, prompt
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.devices import pick_device
from llm_assets.model.sampling import Completion, Engine, Sampling

from .jobs import SamplingJob

BATCH = 256


def prompt_tokens(engine: Engine, question: str) -> list[int]:
    """Tokens of an open question, up to the answer. The model answers without tools."""
    return prompt(engine.encoding, [Message("user", question)])


def sample_answers(
    engine: Engine, questions: Sequence[str], samples: int, temperature: float, max_tokens: int, seed: int
) -> list[list[Completion]]:
    """Answers to all questions, `samples` of each."""
    encoding = engine.encoding
    sampling = Sampling(
        max_tokens=max_tokens,
        temperature=temperature,
        seed=seed,
        stop=(encoding.bos, encoding.special["<|assistant_end|>"]),
    )
    prompts = [prompt_tokens(engine, question) for question in questions]
    completions = engine.complete(prompts, sampling, samples, BATCH)
    return [completions[first : first + samples] for first in range(0, len(completions), samples)]


def answer_row(engine: Engine, completion: Completion) -> dict[str, Any]:
    """An answer as text, its length in tokens, and whether the model ended its turn."""
    return {
        "text": to_messages(engine, completion)[-1].content,
        "tokens": len(completion.tokens),
        "finished": ended_turn(engine.encoding, completion),
    }


def main(job: SamplingJob, folder: Path, report: Reporter) -> None:
    report("task", name="answers", number=0, of=1)
    engine = Engine(*load_checkpoint(Path(job.checkpoint), pick_device(job.device)))
    answers = sample_answers(engine, job.questions, job.samples, job.temperature, job.max_tokens, job.seed)
    rows = [[answer_row(engine, completion) for completion in completions] for completions in answers]
    write_results(folder, {"answers": rows})
    report("task", name="done", number=1, of=1)


if __name__ == "__main__":
    run_job(main, SamplingJob)
