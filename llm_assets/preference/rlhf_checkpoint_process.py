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
from llm_assets.training.policy import EvaluationStep, PolicyEvaluation, PolicyTask, PolicyTrainer, Reward, prompt_place
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


class Monitor:
    """The over-optimisation monitor of a job: it scores new answers with the reward model and with the gold signal."""

    def __init__(self, job: RlhfJob, folder: Path, proxy: Scorer, gold: Scorer) -> None:
        self.job, self.folder, self.proxy, self.gold = job, folder, proxy, gold
        self.start: dict[str, Any] = {}  # of the first evaluation, see `_keep_start`

    def evaluate(self, engine: Engine, step: int) -> EvaluationStep:
        """New answers to the monitor's prompts, one each, scored by the reward model and by the gold signal.

        Answers that only the reward model likes are looked for among those to prompts that the policy is trained on, so
        that rankings of them can be trained on in the next round.
        """
        job = self.job
        answers, proxy_scores, gold_scores = self._scored(engine, step, job.monitor)
        prompts = job.train[: len(job.monitor)] if job.adversarial else ()
        trained, trained_proxy, trained_gold = self._scored(engine, step, prompts) if prompts else ([], [], [])
        if not self.start:
            self.start = _start(self.folder) or _keep_start(self.folder, gold_scores, trained, trained_gold)
        numbers = {
            "proxy": _mean(proxy_scores),
            "gold": _mean(self._scaled(gold_scores)),
            "gold_raw": _mean(gold_scores),
            "answer_length": _mean([answer["tokens"] for answer in answers]),
        }
        rows = self._adversarial_rows(prompts, trained, trained_proxy, trained_gold)
        return EvaluationStep(numbers["gold"], {name: round(value, 6) for name, value in numbers.items()}, rows)

    def why_stop(self, evaluations: list[dict[str, Any]]) -> str:
        """Why the tuning should stop; empty to continue."""
        return over_optimised(evaluations, self.job.monitor_patience, self.job.monitor_margin)

    def _scored(
        self, engine: Engine, step: int, prompts: Sequence[PromptRow]
    ) -> tuple[list[dict[str, Any]], list[float], list[float]]:
        """An answer to each prompt, with the scores of the reward model and of the gold signal."""
        plan, questions = self.job.plan, [prompt.question for prompt in prompts]
        completions = sample_answers(engine, questions, 1, plan.temperature, plan.max_tokens, plan.seed + step)
        answers = [answer_row(engine, completion) for [completion] in completions]
        return answers, self.proxy(prompts, answers), self.gold(prompts, answers)

    def _scaled(self, scores: Sequence[float]) -> list[float]:
        """Gold scores in standard deviations from the mean of the first evaluation."""
        return [(value - self.start["mean"]) / self.start["standard_deviation"] for value in scores]

    def _adversarial_rows(
        self,
        prompts: Sequence[PromptRow],
        answers: Sequence[dict[str, Any]],
        proxy_scores: Sequence[float],
        gold_scores: Sequence[float],
    ) -> list[dict[str, Any]]:
        """Answers that only the reward model likes, each with the better one of the first evaluation."""
        rows, scaled = [], self._scaled(gold_scores)
        for number in adversarial(proxy_scores, scaled, self.job.adversarial):
            prompt, answer, other = prompts[number], answers[number]["text"], self.start["answers"][number]
            if self.start["gold"][number] > gold_scores[number] and other != answer:
                scores = {"proxy": round(proxy_scores[number], 6), "gold": round(scaled[number], 6)}
                rows.append(
                    {"question": prompt.question, "subject": prompt.subject, "first": answer, "second": other, **scores}
                )
        return rows


def main(job: RlhfJob, folder: Path, report: Reporter) -> None:
    """Tune the policy in `folder`."""
    devices, plan = join_processes(job.device), job.plan
    model, encoding = load_checkpoint(Path(job.checkpoint))
    engine = Engine(model, encoding)
    proxy = by_model(Path(job.reward), encoding, devices.device)
    monitor = Monitor(job, folder, proxy, gold_scorer(job.gold, job.truth, encoding, devices.device))
    prompts = [prompt_tokens(engine, prompt.question) for prompt in job.train]

    def place(number: int) -> int:
        return prompt_place(number, len(job.train), plan.seed)

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

    replay = replay_conversations(job.conversations, model.shape.context, plan.seed, encoding.special["<|pad|>"])
    task = PolicyTask(lambda number: prompts[place(number)], reward, replay=replay)
    process = TrainingProcess(folder, devices, report)
    PolicyTrainer(engine, plan, process, task, PolicyEvaluation(monitor.evaluate, monitor.why_stop)).run()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _start(folder: Path) -> dict[str, Any] | None:
    """What the first evaluation of a resumed training run found; None in a new training run."""
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
