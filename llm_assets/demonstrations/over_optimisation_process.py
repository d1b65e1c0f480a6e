"""The process of `over_optimisation`: ``python -m llm_assets.demonstrations.over_optimisation_process job.json``."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.model import REWARD_SCALE
from llm_assets.model.checkpoint import load_checkpoint, steps_saved
from llm_assets.model.reward import RewardModel, score_all
from llm_assets.model.sampling import Completion, Engine
from llm_assets.preference.jobs import PromptRow
from llm_assets.preference.over_optimisation import over_optimised
from llm_assets.preference.response_pairs_process import answer_row, prompt_tokens, sample_answers
from llm_assets.preference.reward_checkpoint_process import SCALE_PAIRS, to_pairs
from llm_assets.preference.rlhf_checkpoint_process import Scorer, by_model, gold_scorer
from llm_assets.training.loop import train
from llm_assets.training.pairs import Pairs, pair_target_losses
from llm_assets.training.policy import EvaluationStep, PolicyEvaluation, PolicyTask, PolicyTrainer, Reward, prompt_place
from llm_assets.training.processes import TrainingProcess, join_processes

from .experiment import Findings, Run, example, observation, quiet, run_all
from .jobs import (
    BEST_GOLD,
    BEST_PROXY,
    RL_GOLD,
    RL_PROXY,
    ROOT_KL,
    STOP,
    OverOptimisationJob,
    by_rankings,
    divergence_of_best,
)


def main(job: OverOptimisationJob, folder: Path, report: Reporter) -> None:
    """Fit a reward model per size and seed, and optimise answers by it in two ways."""
    sizes = {by_rankings(size): size for size in job.sizes}

    def measure(run: Run) -> Findings:
        return Experiment(job, run, sizes[run.condition]).findings()

    write_results(folder, run_all(folder, report, join_processes(job.device), list(sizes), job.seeds, measure))


@dataclass(frozen=True)
class Scale:
    """A score in standard deviations from its mean over the first policy's answers."""

    score: Scorer
    mean: float
    standard_deviation: float

    @classmethod
    def of(cls, score: Scorer, prompts: Sequence[PromptRow], answers: Sequence[dict[str, Any]]) -> Scale:
        values = np.array(score(prompts, answers))
        return cls(score, float(values.mean()), max(float(values.std()), 1e-6))

    def __call__(self, prompts: Sequence[PromptRow], answers: Sequence[dict[str, Any]]) -> list[float]:
        return [(value - self.mean) / self.standard_deviation for value in self.score(prompts, answers)]


def scores_of_best(proxies: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """The score of the best by the proxy among each `count` answers to a prompt, as a mean for each prompt.

    proxies, scores: (prompts, answers), both of the same answers. Answers that are left over form no group.
    """
    groups = proxies.shape[1] // count
    of_proxies, of_scores = (of[:, : groups * count].reshape(-1, groups, count) for of in (proxies, scores))
    return np.take_along_axis(of_scores, of_proxies.argmax(-1)[..., None], -1).mean((1, 2))


def stopping_step(rows: Sequence[dict[str, Any]], patience: int, margin: float) -> int:
    """The step at which the over-optimisation monitor would have stopped; the last one if it would not."""
    evaluations = [
        {"step": row["step"], "proxy": float(np.mean(row[RL_PROXY])), "gold": float(np.mean(row[RL_GOLD]))}
        for row in rows
    ]
    for end in range(1, len(evaluations) + 1):
        if over_optimised(evaluations[:end], patience, margin):
            return int(evaluations[end - 1]["step"])
    return int(evaluations[-1]["step"])


class Experiment:
    """One reward model: fitted to `size` rankings, then the proxy of what is wanted."""

    def __init__(self, job: OverOptimisationJob, run: Run, size: int):
        self.job, self.run, self.size, self.series = job, run, size, by_rankings(size)
        model, self.encoding = load_checkpoint(Path(job.policy), run.devices.device)
        self.engine = Engine(model, self.encoding)
        self.first_engine = Engine(copy.deepcopy(model), self.encoding)

    def findings(self) -> Findings:
        """Proxy and gold of the best of n answers and over reinforcement learning."""
        job, run = self.job, self.run
        proxy = by_model(self.fit_reward(), self.encoding, run.devices.device)
        gold = gold_scorer(job.gold, job.truth, self.encoding, run.devices.device)
        questions = [prompt.question for prompt in job.monitor]
        plan = job.plan
        completions = sample_answers(
            self.engine, questions, max(job.answers), plan.temperature, plan.max_tokens, run.seed
        )
        answers = [answer_row(self.engine, completion) for of_prompt in completions for completion in of_prompt]
        prompts = [prompt for prompt, of_prompt in zip(job.monitor, completions, strict=True) for _ in of_prompt]
        scaled_proxy, scaled_gold = Scale.of(proxy, prompts, answers), Scale.of(gold, prompts, answers)
        best = self.best_of(scaled_proxy(prompts, answers), scaled_gold(prompts, answers))
        tuned, examples = self.tune(proxy, scaled_proxy, scaled_gold)
        return {"observations": best + tuned, "examples": examples if run.seed == 1 else []}

    def fit_reward(self) -> Path:
        """Fit the reward model to rankings drawn by seed; the folder of its checkpoint."""
        job, run = self.job, self.run
        order = np.random.Generator(np.random.Philox(key=[run.seed, 0])).permutation(len(job.rankings))[: self.size]
        rows = [job.rankings[number] for number in order]
        plan = replace(
            job.reward, seed=run.seed, steps=max(1, round(job.epochs * 2 * len(rows) / job.reward.batch_size))
        )
        body, encoding = load_checkpoint(Path(job.sft), run.devices.device)
        model = RewardModel.of(body)
        _, training = to_pairs(encoding, rows, model.shape.context)
        pairs = Pairs(training, model.shape.context, run.seed, pairs_per_step=plan.batch_size // 2)
        folder = run.folder / "reward"
        folder.mkdir(exist_ok=True)
        train(model, pairs, plan, TrainingProcess(folder, run.devices, quiet), losses=pair_target_losses)
        _, last = steps_saved(folder)[-1]
        values = np.array(score_all(model.eval(), [tokens for pair in training[:SCALE_PAIRS] for tokens in pair]))
        scale = {"mean": float(values.mean()), "standard_deviation": float(values.std())}
        (last / REWARD_SCALE).write_text(json.dumps(scale))
        return last

    def best_of(self, proxy: Sequence[float], gold: Sequence[float]) -> list[dict[str, Any]]:
        """Observations of the best of n answers, for each n; proxy, gold: of every answer, prompt by prompt."""
        proxies, golds = (np.array(scores).reshape(-1, max(self.job.answers)) for scores in (proxy, gold))
        observations = []
        for count in self.job.answers:
            place = math.sqrt(divergence_of_best(count))
            for figure, scores in ((BEST_PROXY, proxies), (BEST_GOLD, golds)):
                values = scores_of_best(proxies, scores, count)
                observations.append(observation(figure, self.series, place, self.run.seed, values))
        return observations

    def tune(
        self, proxy: Scorer, scaled_proxy: Scorer, scaled_gold: Scorer
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Tune the policy to the proxy without a penalty on divergence; observations and examples by step."""
        job, run = self.job, self.run
        plan = replace(job.plan, seed=run.seed)
        prompts = [prompt_tokens(self.engine, prompt.question) for prompt in job.train]

        def place(number: int) -> int:
            return prompt_place(number, len(job.train), plan.seed)

        def reward(numbers: Sequence[int], completions: Sequence[Completion]) -> list[Reward]:
            answers = [answer_row(self.engine, completion) for completion in completions]
            scores = proxy([job.train[place(number)] for number in numbers], answers)
            return [
                Reward(score if answer["finished"] else min(score, job.unfinished_reward))
                for score, answer in zip(scores, answers, strict=True)
            ]

        evaluation = PolicyEvaluation(self.evaluation(plan.max_tokens, plan.temperature, scaled_proxy, scaled_gold))
        process = TrainingProcess(run.folder / "policy", run.devices, quiet)
        process.folder.mkdir(exist_ok=True)
        task = PolicyTask(lambda number: prompts[place(number)], reward)
        values = PolicyTrainer(self.engine, plan, process, task, evaluation).run()
        rows = [event for event in values["events"] if event["kind"] == "row"]
        observations = [
            observation(figure, self.series, row["step"], run.seed, row[figure])
            for row in rows
            for figure in (RL_PROXY, RL_GOLD, ROOT_KL)
        ]
        stopped = stopping_step(rows, job.patience, job.margin)
        observations.append(observation(STOP, "monitor", self.size, run.seed, [stopped]))
        question = job.monitor[0].question
        shown = [rows[0], rows[-1]]
        return observations, [
            example(f"{self.series}, step {row['step']}", run.seed, question, row["first"]) for row in shown
        ]

    def evaluation(
        self, max_tokens: int, temperature: float, proxy: Scorer, gold: Scorer
    ) -> Callable[[Engine, int], EvaluationStep]:
        """An evaluation: scores of new answers to the monitor's prompts, and the divergence from the first policy."""
        job, run = self.job, self.run
        questions = [prompt.question for prompt in job.monitor]

        def evaluate(engine: Engine, step: int) -> EvaluationStep:
            sampled = sample_answers(engine, questions, 1, temperature, max_tokens, run.seed + step)
            completions = [completion for [completion] in sampled]
            answers = [answer_row(engine, completion) for completion in completions]
            row = {
                RL_PROXY: proxy(job.monitor, answers),
                RL_GOLD: gold(job.monitor, answers),
                ROOT_KL: [math.sqrt(max(self.divergence(completions), 0.0))],
                "first": answers[0]["text"],
            }
            return EvaluationStep(None, rows=[row])

        return evaluate

    def divergence(self, completions: Sequence[Completion]) -> float:
        """The policy's divergence from the first one, in nats per answer, estimated from answers that it sampled."""
        prompts = [prompt_tokens(self.engine, prompt.question) for prompt in self.job.monitor]
        first = self.first_engine.log_likelihoods(prompts, [completion.tokens for completion in completions])
        now = [sum(completion.log_probabilities) for completion in completions]
        return sum(a - b for a, b in zip(now, first, strict=True)) / len(now)


if __name__ == "__main__":
    run_job(main, OverOptimisationJob)
