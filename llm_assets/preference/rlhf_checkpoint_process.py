"""The training process of `rlhf_checkpoint`: ``python -m llm_assets.preference.rlhf_checkpoint_process job.json``.

Needs torch, numpy, safetensors and tiktoken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job
from llm_assets.dialogue.packing import replay_conversations
from llm_assets.evaluation.ground_truth import GroundTruth, StatementJudge
from llm_assets.model import REWARD_SCALE
from llm_assets.model.checkpoint import load_checkpoint, load_model
from llm_assets.model.encoding import Encoding
from llm_assets.model.reward import RewardModel, score_all
from llm_assets.model.sampling import Completion, Engine
from llm_assets.training.policy import EvaluationStep, PolicyEvaluation, PolicyTask, PolicyTrainer, Reward, drawn
from llm_assets.training.processes import TrainingProcess, join_processes

from .jobs import PromptRow, RlhfJob
from .labelling_rule import rule_score, truth_score
from .over_optimisation import adversarial, over_optimised
from .response_pairs_process import answer_row, prompt_tokens, sample_answers
from .reward_checkpoint_process import conversation

# From prompts and answers (as `answer_row` returns them) to scores.
Scorer = Callable[[Sequence[PromptRow], Sequence[dict[str, Any]]], list[float]]


def by_model(folder: Path, encoding: Encoding, device: Any) -> Scorer:
    """Scores by a reward model, in standard deviations from its mean."""
    model, scale = load_model(folder, device, kind=RewardModel), json.loads((folder / REWARD_SCALE).read_text())
    context = model.shape.context

    def score(prompts: Sequence[PromptRow], answers: Sequence[dict[str, Any]]) -> list[float]:
        # An answer that fills the context leaves no room for the end of its turn; what does not fit is cut off.
        tokens = [
            conversation(encoding, prompt.question, answer["text"])[:context]
            for prompt, answer in zip(prompts, answers, strict=True)
        ]
        return [(value - scale["mean"]) / max(scale["standard_deviation"], 1e-6) for value in score_all(model, tokens)]

    return score


def by_rule(prompts: Sequence[PromptRow], answers: Sequence[dict[str, Any]]) -> list[float]:
    """Scores by the simulated labeller's rule."""
    return [
        rule_score(prompt.question, prompt.subject, answer["text"], prompt.subject_exists)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def by_truth(truth: GroundTruth) -> Scorer:
    """Scores by the rule of a labeller who knows every fact of the corpus."""
    judge = StatementJudge(truth)

    def score(prompts: Sequence[PromptRow], answers: Sequence[dict[str, Any]]) -> list[float]:
        return [
            truth_score(judge, prompt.subject, answer["text"], prompt.subject_exists)
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    return score


def gold_scorer(gold: str, truth: GroundTruth | None, encoding: Encoding, device: Any) -> Scorer:
    """The gold signal of a job. gold: ``rule``, ``truth``, or the folder of a reward model."""
    if gold == "truth" and truth is not None:
        return by_truth(truth)
    return by_rule if gold == "rule" else by_model(Path(gold), encoding, device)


def main(job: RlhfJob, folder: Path, report: Reporter) -> None:
    """Tune the policy in `folder`."""
    devices, plan = join_processes(job.device), job.plan
    model, encoding = load_checkpoint(Path(job.checkpoint))
    engine = Engine(model, encoding)
    proxy = by_model(Path(job.reward), encoding, devices.device)
    gold = gold_scorer(job.gold, job.truth, encoding, devices.device)
    prompts = [prompt_tokens(engine, prompt.question) for prompt in job.train]

    def place(number: int) -> int:
        return drawn(number, len(job.train), plan.seed)

    def reward(numbers: Sequence[int], completions: Sequence[Completion]) -> list[Reward]:
        answers = [answer_row(engine, completion) for completion in completions]
        scores = proxy([job.train[place(number)] for number in numbers], answers)
        return [
            Reward(
                score if answer["finished"] else min(score, job.unfinished_reward),
                {"proxy": score, "finished": float(answer["finished"])},
            )
            for score, answer in zip(scores, answers, strict=True)
        ]

    first: dict[str, Any] = {}

    def evaluation(engine: Engine, step: int) -> EvaluationStep:
        """New answers to the monitor's prompts, one each, scored by the reward model and by the gold signal.

        Answers that only the reward model likes are looked for among those to prompts of the training, so that rankings
        of them can be trained on in the next round.
        """

        def scored(prompts: Sequence[PromptRow]) -> tuple[list[dict[str, Any]], list[float], list[float]]:
            questions = [prompt.question for prompt in prompts]
            completions = sample_answers(engine, questions, 1, plan.temperature, plan.max_tokens, plan.seed + step)
            answers = [answer_row(engine, completion) for [completion] in completions]
            return answers, proxy(prompts, answers), gold(prompts, answers)

        answers, proxy_scores, gold_scores = scored(job.monitor)
        trained = job.train[: len(job.monitor)] if job.adversarial else ()
        trained_answers, trained_proxy, trained_gold = scored(trained) if trained else ([], [], [])
        if not first:
            first.update(_start(folder) or _keep_start(folder, gold_scores, trained_answers, trained_gold))
        scaled = [(value - first["mean"]) / first["standard_deviation"] for value in gold_scores]
        numbers = {
            "proxy": _mean(proxy_scores),
            "gold": _mean(scaled),
            "gold_raw": _mean(gold_scores),
            "answer_length": _mean([answer["tokens"] for answer in answers]),
        }
        rows = []
        trained_scaled = [(value - first["mean"]) / first["standard_deviation"] for value in trained_gold]
        for number in adversarial(trained_proxy, trained_scaled, job.adversarial):
            prompt, answer, other = trained[number], trained_answers[number]["text"], first["answers"][number]
            if first["gold"][number] > trained_gold[number] and other != answer:
                scores = {"proxy": round(trained_proxy[number], 6), "gold": round(trained_scaled[number], 6)}
                rows.append(
                    {"question": prompt.question, "subject": prompt.subject, "first": answer, "second": other, **scores}
                )
        return EvaluationStep(numbers["gold"], {name: round(value, 6) for name, value in numbers.items()}, rows)

    def judge(evaluations: list[dict[str, Any]]) -> str:
        return over_optimised(evaluations, job.monitor_patience, job.monitor_margin)

    replay = replay_conversations(job.conversations, model.shape.context, plan.seed, encoding.special["<|pad|>"])
    task = PolicyTask(lambda number: prompts[place(number)], reward, replay=replay)
    process = TrainingProcess(folder, devices, report)
    PolicyTrainer(engine, plan, process, task, PolicyEvaluation(evaluation, judge)).run()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _start(folder: Path) -> dict[str, Any] | None:
    """What the first evaluation of a resumed training found; None in a new training."""
    path = folder / "start.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def _keep_start(
    folder: Path,
    gold_scores: Sequence[float],
    trained_answers: Sequence[dict[str, Any]],
    trained_gold: Sequence[float],
) -> dict[str, Any]:
    """Keep mean and standard deviation of the first evaluation's gold signal, the scale of later evaluations.

    Its answers to prompts of the training are kept too, with their gold scores.
    """
    mean = _mean(gold_scores)
    standard_deviation = math.sqrt(_mean([(value - mean) ** 2 for value in gold_scores]))
    start = {
        "answers": [answer["text"] for answer in trained_answers],
        "gold": list(trained_gold),
        "mean": mean,
        "standard_deviation": max(standard_deviation, 1e-6),
    }
    temporary = folder / ".start.json.tmp"
    temporary.write_text(json.dumps(start))
    temporary.rename(folder / "start.json")
    return start


if __name__ == "__main__":
    run_job(main, RlhfJob)
