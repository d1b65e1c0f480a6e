"""The process of `longer_solutions`: ``python -m llm_assets.demonstrations.longer_solutions_process job.json``."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from llm_assets.compute.process import Reporter, run_job, write_results
from llm_assets.dialogue.splits import TEST, TRAIN, Split
from llm_assets.model.encoding import Encoding
from llm_assets.model.sampling import Completion, Engine
from llm_assets.reinforcement.rl_checkpoint_process import shuffled
from llm_assets.training.plan import Optimisation, PolicyPlan, every
from llm_assets.training.policy import EvaluationStep, PolicyEvaluation, PolicyTask, PolicyTrainer, Reward
from llm_assets.training.processes import TrainingProcess, join_processes

from .chains import POINTERS, Chain, draw_chain
from .experiment import (
    Exercises,
    Findings,
    Run,
    byte_encoding,
    example,
    new_model,
    observation,
    quiet,
    run_all,
    sampled_completions,
    small_plan,
    small_shape,
    train_small,
)
from .jobs import CUT_OFF, EARNED, LENGTH, ONE_HOP, RIGHT, SHUFFLED, STEPWISE, LongerSolutionsJob, by_hops

WRITES_STEPS = "?"  # begins a solution that writes the steps
POLICY = "policy"  # folder of the reinforcement learning


def main(job: LongerSolutionsJob, folder: Path, report: Reporter) -> None:
    """Train a policy per condition and seed, first on solutions of both kinds, then by its rewards."""
    conditions = (EARNED, SHUFFLED, ONE_HOP)

    def measure(run: Run) -> Findings:
        return Experiment(job, run).findings()

    write_results(folder, run_all(folder, report, join_processes(job.device), conditions, job.seeds, measure))


def solution(chain: Chain, writes_steps: bool) -> str:
    """A right solution: the answer alone, or the start and every step up to the answer."""
    return WRITES_STEPS + chain.start + "".join(chain.steps) if writes_steps else chain.answer


def prompt_of(chain: Chain) -> str:
    """The problem; it does not say how it is to be solved."""
    return chain.given + chain.start


class Experiment:
    """One condition and seed. EARNED and SHUFFLED of a seed begin with the same policy."""

    def __init__(self, job: LongerSolutionsJob, run: Run):
        self.job, self.run = job, run
        self.hops = (1,) if run.condition == ONE_HOP else tuple(range(1, job.hops + 1))
        self.encoding: Encoding = byte_encoding()
        self.task = f"{len(self.hops)} hops"

    def chain(self, name: str, number: int, split: Split, hops: int | None = None) -> Chain:
        """The number-th problem of a purpose."""
        rng = random.Random(f"{name}-{self.task}-{self.run.seed}-{hops}-{number}")
        return draw_chain(rng, POINTERS, hops or rng.choice(self.hops), self.job.letters, split)

    def findings(self) -> Findings:
        """Length, accuracy and share of written steps of held-out problems, by step of the reinforcement learning."""
        job, run = self.job, self.run
        values = self.reinforce(self.imitate())
        observations = []
        for row in (event for event in values["events"] if event["kind"] == "row"):
            for figure in (LENGTH, CUT_OFF, RIGHT, STEPWISE):
                series = by_hops(run.condition, row["hops"])
                observations.append(observation(figure, series, row["step"], run.seed, row[figure]))
        examples = []
        if run.seed == 1:
            series = by_hops(run.condition, self.hops[-1])
            chain = self.chain("test", 0, TEST, self.hops[-1])
            examples = [
                example(f"{series}, step {row['step']}", 1, prompt_of(chain), row["first"], chain.answer)
                for row in values["events"]
                if row["kind"] == "row" and row["hops"] == self.hops[-1] and row["step"] in (0, job.rl_steps)
            ]
        return {"observations": observations, "examples": examples}

    def imitate(self) -> Engine:
        """A policy trained on right solutions, of which `steps_share` write the steps."""
        job, run = self.job, self.run

        def exercise(number: int) -> tuple[str, str]:
            chain = self.chain("imitate", number, TRAIN)
            writes_steps = random.Random(f"style-{run.seed}-{number}").random() < job.steps_share
            return prompt_of(chain), solution(chain, writes_steps)

        longest = self.chain("test", 0, TEST, job.hops)
        shape = small_shape(job.training, self.encoding.size, len(prompt_of(longest) + solution(longest, True)) + 2)
        model = new_model(shape, run.seed, job.training.induction)
        data = Exercises(exercise, self.encoding, shape.context)
        return Engine(train_small(model, data, small_plan(job.training, run.seed), run), self.encoding)

    def reinforce(self, engine: Engine) -> dict[str, list[dict]]:
        """Train the policy by accuracy alone, or by shuffled rewards. Returns what the training kept."""
        job, run = self.job, self.run
        rates = Optimisation(
            learning_rate=job.rl_learning_rate, matrix_learning_rate=2 * job.rl_learning_rate, weight_decay=0.0
        )
        plan = PolicyPlan(
            steps=job.rl_steps,
            prompts=job.prompts,
            samples=job.samples,
            max_tokens=job.hops + 4,
            # Neither the length of a solution nor the spread of a group changes its weight (Dr. GRPO), and nothing
            # holds the policy back: whatever lengthens solutions is the reward.
            length="constant",
            normalise=False,
            kl=0.0,
            micro_batch_size=job.prompts * job.samples,
            optimisation=rates,
            seed=run.seed,
            evaluate_every=every(job.rl_steps, job.evaluations),
        )

        def reward(numbers: Sequence[int], completions: Sequence[Completion]) -> list[Reward]:
            rewards = [
                Reward(float(self.is_right(self.chain("reinforce", number, TRAIN), completion)))
                for number, completion in zip(numbers, completions, strict=True)
            ]
            return shuffled(numbers, rewards, run.seed) if run.condition == SHUFFLED else rewards

        def prompt(number: int) -> list[int]:
            return self.encoding.document(prompt_of(self.chain("reinforce", number, TRAIN)))

        process = TrainingProcess(run.folder / POLICY, run.devices, quiet)
        process.folder.mkdir(exist_ok=True)
        evaluation = PolicyEvaluation(self.evaluate)
        return PolicyTrainer(engine, plan, process, PolicyTask(prompt, reward), evaluation).run()

    def is_right(self, chain: Chain, completion: Completion) -> bool:
        """Whether a solution ended by itself with the answer."""
        text = self.encoding.decode(completion.tokens)
        return completion.finish == "stop" and text[-1:] == chain.answer

    def evaluate(self, engine: Engine, step: int) -> EvaluationStep:
        """Solutions of held-out problems, sampled at temperature 1; one row per number of hops."""
        rows = []
        for hops in self.hops:
            chains = [self.chain("test", number, TEST, hops) for number in range(self.job.questions)]
            prompts = [prompt_of(chain) for chain in chains]
            completions = sampled_completions(engine, prompts, self.job.hops + 4, temperature=1.0, seed=step)
            texts = [self.encoding.decode(completion.tokens) for completion in completions]
            rows.append(
                {
                    "hops": hops,
                    LENGTH: [len(text) for text in texts],
                    RIGHT: [text[-1:] == chain.answer for text, chain in zip(texts, chains, strict=True)],
                    STEPWISE: [text.startswith(WRITES_STEPS) for text in texts],
                    CUT_OFF: [completion.finish != "stop" for completion in completions],
                    "first": texts[0],
                }
            )
        return EvaluationStep(None, rows=rows)


if __name__ == "__main__":
    run_job(main, LongerSolutionsJob)
