"""The training process of `rlhf_checkpoint`: ``python -m llm_assets.preference.train job.json``.

Needs torch, numpy, safetensors and tiktoken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llm_assets.compute.process import Reporter, run_job
from llm_assets.dialogue.packing import rehearsal
from llm_assets.model import REWARD_SCALE
from llm_assets.model.checkpoint import load_checkpoint, load_model
from llm_assets.model.encoding import Encoding
from llm_assets.model.reward import RewardModel, score_all
from llm_assets.model.sampling import Completion, Engine
from llm_assets.training.loop import join_processes
from llm_assets.training.policy import Look, PolicyPlan, PolicyTrainer, Reward, drawn

from .fit import conversation
from .guard import adversarial, over_optimised
from .sample import answer_all, asked, told
from .taste import taste

Scorer = Callable[[Sequence[dict[str, Any]], Sequence[dict[str, Any]]], list[float]]  # prompts, and answers as `told` has them


def by_model(folder: Path, encoding: Encoding, device: Any) -> Scorer:
    """Scores by a reward model, in deviations from its mean."""
    model, scale = load_model(folder, device, kind=RewardModel), json.loads((folder / REWARD_SCALE).read_text())
    context = model.shape.context

    def score(prompts: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]) -> list[float]:
        # An answer that fills the context has no room for the end of its turn; it is read without what does not fit.
        tokens = [conversation(encoding, one["question"], answer["text"])[:context] for one, answer in zip(prompts, answers, strict=True)]
        return [(value - scale["mean"]) / max(scale["deviation"], 1e-6) for value in score_all(model, tokens)]

    return score


def by_rule(prompts: Sequence[dict[str, Any]], answers: Sequence[dict[str, Any]]) -> list[float]:
    """Scores by the simulated labeller's rule of taste."""
    return [taste(one["question"], one["subject"], answer["text"], one["exists"]) for one, answer in zip(prompts, answers, strict=True)]


def gold_scorer(job: dict[str, Any], encoding: Encoding, device: Any) -> Scorer:
    """The gold signal that the job names: a rule, or a reward model in a folder."""
    return by_rule if job["gold"] == "rule" else by_model(Path(job["gold"]), encoding, device)


def main(job: dict[str, Any], folder: Path, report: Reporter) -> None:
    devices = join_processes(job["device"])
    model, encoding = load_checkpoint(Path(job["checkpoint"]))
    engine = Engine(model, encoding)
    practice, guard = job["train"], job["guard"]
    plan = PolicyPlan.of_job(job)
    proxy, gold = by_model(Path(job["reward"]), encoding, devices.device), gold_scorer(job, encoding, devices.device)
    prompts = [asked(engine, one["question"]) for one in practice]

    def place(number: int) -> int:
        return drawn(number, len(practice), job["seed"])

    def reward(numbers: Sequence[int], completions: Sequence[Completion]) -> list[Reward]:
        asked_of, answers = [practice[place(number)] for number in numbers], [told(engine, one) for one in completions]
        scores = proxy(asked_of, answers)
        return [Reward(score if answer["finished"] else min(score, job["unfinished_reward"]), {"proxy": score, "finished": float(answer["finished"])}) for score, answer in zip(scores, answers, strict=True)]

    first: dict[str, Any] = {}

    def look(engine: Engine, step: int) -> Look:
        """Fresh answers, one to each of the guard's prompts, by both signals."""
        answers = [told(engine, one) for [one] in answer_all(engine, [one["question"] for one in guard], 1, job["temperature"], job["max_tokens"], job["seed"] + step)]
        loved, liked = proxy(guard, answers), gold(guard, answers)
        if not first:
            first.update(_start(folder) or _keep_start(folder, answers, liked))
        scaled = [(value - first["mean"]) / first["deviation"] for value in liked]
        numbers = {"proxy": _mean(loved), "gold": _mean(scaled), "gold_raw": _mean(liked), "answer_length": _mean([one["tokens"] for one in answers])}
        rows = []
        for number in adversarial(loved, scaled, job["adversarial"]):
            other = first["answers"][number]
            if first["gold"][number] > liked[number] and other != answers[number]["text"]:
                rows.append({"question": guard[number]["question"], "subject": guard[number]["subject"], "first": answers[number]["text"], "second": other, "proxy": round(loved[number], 6), "gold": round(scaled[number], 6)})
        return Look(numbers["gold"], {name: round(value, 6) for name, value in numbers.items()}, rows)

    def judge(looks: list[dict[str, Any]]) -> str:
        return over_optimised(looks, job["guard_patience"], job["guard_margin"])

    PolicyTrainer(model, engine, plan, folder, devices, report, lambda number: prompts[place(number)], reward, look, judge=judge, rehearse=rehearsal(job["conversations"], model.shape.context, job["seed"], encoding.special["<|pad|>"])).run()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def _start(folder: Path) -> dict[str, Any] | None:
    """What the first look found, of a training that is gone on with."""
    path = folder / "start.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def _keep_start(folder: Path, answers: Sequence[dict[str, Any]], liked: Sequence[float]) -> dict[str, Any]:
    """Keep the first look's answers, and mean and deviation of the gold signal, by which later looks are told."""
    mean = _mean(liked)
    deviation = math.sqrt(_mean([(value - mean) ** 2 for value in liked]))
    found = {"answers": [one["text"] for one in answers], "gold": list(liked), "mean": mean, "deviation": max(deviation, 1e-6)}
    temporary = folder / ".start.json.tmp"
    temporary.write_text(json.dumps(found))
    temporary.rename(folder / "start.json")
    return found


if __name__ == "__main__":
    run_job(main)
