"""After fine-tuning: reinforcement learning on problems that can be checked, and tuning by preferences."""

from __future__ import annotations

import polars as pl

from llm_assets.dialogue.splits import TEST

from .layout import labelled, rows
from .visit import NothingToShow, Visit

BEFORE, AFTER = "sft", "rl"
QUESTIONS = 2  # open questions that the stages answer
MODELS = {"sft": "fine-tuned", "rl": "after RL", "rlhf": "after RLHF"}


def reinforcement(visit: Visit) -> list[str]:
    """Solved problems before and after, by family, and a problem that only the later model solves."""
    attempts = visit.table("rl_evaluation", "attempts").filter(pl.col("model").is_in([BEFORE, AFTER]))
    shares = attempts.group_by("family", "model", maintain_order=True).agg(
        share=pl.col("right").sum() / pl.col("samples").sum(), problems=pl.len()
    )
    by_family: dict[str, dict[str, float]] = {}
    for family, model, share, problems in shares.iter_rows():
        by_family.setdefault(family, {"problems": problems})[model] = share
    table = [("problems", "number", "right before", "right after")]
    for family, numbers in by_family.items():
        before, after = numbers.get(BEFORE, 0.0), numbers.get(AFTER, 0.0)
        table.append((family, f"{numbers['problems']:.0f}", f"{100 * before:.1f} %", f"{100 * after:.1f} %"))
    return [*rows(table), "", *_solved_later(attempts)]


def _solved_later(attempts: pl.DataFrame) -> list[str]:
    """A problem of which more sampled solutions are right after the training than before; the largest gain first."""
    before, after = (attempts.filter(pl.col("model") == model) for model in (BEFORE, AFTER))
    pairs = before.join(after, on="problem", suffix="_after").sort(
        pl.col("right_after") - pl.col("right"), pl.col("greedy_after") > pl.col("greedy"), "problem", descending=True
    )
    if pairs.is_empty():
        raise NothingToShow("the evaluation has no problem that both models attempted")
    row = pairs.row(0, named=True)
    lines = labelled("problem", f"{row['question']}  (right: {row['answer']})")
    for label, suffix in (("before", ""), ("after", "_after")):
        count = f"{row['right' + suffix]} of {row['samples' + suffix]} samples right"
        lines += labelled(label, f"{_solution(row['transcript' + suffix])}  ({count})")
    return lines


def _solution(transcript: str) -> str:
    """A transcript without the question and without the names of the roles."""
    lines = transcript.split("\n")
    first = next((place for place, line in enumerate(lines) if line.startswith("assistant: ")), 0)
    return "\n".join(line.removeprefix("assistant: ").removeprefix("tool: ") for line in lines[first:])


def preference(visit: Visit) -> list[str]:
    """Two answers of the assistant to one question, with their rewards."""
    pairs = visit.table("response_pairs", "pairs")
    prompts = visit.table("response_pairs", "prompts").filter(pl.col("split") == TEST)
    of_test = pairs.filter(pl.col("prompt").is_in(prompts["prompt"].implode()))
    if of_test.is_empty():
        raise NothingToShow("no question of the test split has two different answers")
    row = of_test.row(0, named=True)
    answers = [row["first"], row["second"]]
    scored = sorted(zip(visit.rewards(row["question"], answers), answers, strict=True), reverse=True)
    lines = labelled("Human", row["question"])
    for reward, answer in scored:
        lines += labelled(f"reward {reward:+.2f}", answer)
    return lines


def tuned(visit: Visit) -> list[str]:
    """Open questions, answered by every stage that is built, with rewards."""
    prompts = visit.table("response_pairs", "prompts").filter(pl.col("split") == TEST)
    questions = prompts.filter(pl.col("subject_exists"))["question"].head(QUESTIONS).to_list()
    if not questions:
        raise NothingToShow("the test split has no open question")
    lines: list[str] = []
    for question in questions:
        models = [model for model in MODELS if visit.has(f"{model}_checkpoint")]
        answers = [visit.answer(model, question) for model in models]
        lines += labelled("Human", question)
        for model, answer, reward in zip(models, answers, visit.rewards(question, answers), strict=True):
            lines += labelled(MODELS[model], f"{answer}  (reward {reward:+.2f})")
    return lines
