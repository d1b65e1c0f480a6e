"""The training process of `reward_checkpoint`: ``python -m llm_assets.preference.reward_checkpoint_process job.json``.

At the end it writes ``results.json`` next to the job. Needs torch, numpy, safetensors and tiktoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model.chat import Message, encode_text, prompt
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import Encoding
from llm_assets.model.reward import RewardModel, pair_losses, score_all
from llm_assets.training.loop import Hooks, train
from llm_assets.training.pairs import Pairs, pair_target_losses
from llm_assets.training.processes import TrainingProcess, join_processes

from .jobs import RewardJob

Tokens = list[int]
SCALE_PAIRS = 500  # pairs whose scores give the standard deviation of scores, to 3 %


def conversation(encoding: Encoding, question: str, answer: str) -> Tokens:
    """Tokens of one exchange up to the end of the assistant's turn, where the score is read.

    The answer may be empty.
    """
    return [
        *prompt(encoding, [Message("user", question)]),
        *encode_text(encoding, answer),
        encoding.special["<|assistant_end|>"],
    ]


def to_pairs(
    encoding: Encoding, rows: Sequence[Sequence[str]], context: int
) -> tuple[list[int], list[tuple[Tokens, Tokens]]]:
    """Rows of question, preferred and other answer, as tokens.

    Returns the numbers of the rows that fit into the context, and their pairs.
    """
    pairs = [
        (number, (conversation(encoding, question, preferred), conversation(encoding, question, other)))
        for number, (question, preferred, other) in enumerate(rows)
    ]
    fitting = [(number, pair) for number, pair in pairs if max(map(len, pair)) <= context]
    return [number for number, _ in fitting], [pair for _, pair in fitting]


def main(job: RewardJob, folder: Path, report: Reporter) -> None:
    """Fit the reward model in `folder`, and score the test pairs."""
    devices = join_processes(job.device)
    body, encoding = load_checkpoint(Path(job.checkpoint))
    plan = job.plan.on(devices.cuda, None)
    model = RewardModel.of(body)
    context = model.shape.context
    used, training = to_pairs(encoding, job.train, context)
    _, development = to_pairs(encoding, job.development, context)
    measured, test = to_pairs(encoding, job.test, context)

    def scores_of(model: RewardModel, pairs: Sequence[tuple[Tokens, Tokens]]) -> torch.Tensor:
        return torch.tensor(score_all(model, [tokens for pair in pairs for tokens in pair]))

    def validate(model: RewardModel) -> dict[str, float]:
        scores = scores_of(model, development)
        accuracy = (scores[0::2] > scores[1::2]).float().mean()
        return {"loss": round(float(pair_losses(scores).mean()), 6), "accuracy": round(float(accuracy), 6)}

    pairs = Pairs(training, context, plan.seed, pairs_per_step=plan.batch_size // 2)
    hooks = Hooks(validate if development else None)
    train(model, pairs, plan, TrainingProcess(folder, devices, report), hooks, pair_target_losses)
    if devices.rank == 0:
        model.eval()
        scores = scores_of(model, test)
        answers = torch.tensor(score_all(model, [tokens for pair in training[:SCALE_PAIRS] for tokens in pair]))
        results = {
            "measured": measured,
            "margins": [round(margin, 6) for margin in (scores[0::2] - scores[1::2]).tolist()],
            "mean": round(float(answers.mean()), 6),
            "standard_deviation": round(float(answers.std()), 6),
            "too_long": len(job.train) - len(used) + len(job.test) - len(measured),
        }
        write_results(folder, results)


if __name__ == "__main__":
    run_job(main, RewardJob)
