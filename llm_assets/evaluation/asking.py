"""What every checkpoint is asked, and how: the problems, the questions and the settings of the evaluation suite."""

from __future__ import annotations

from typing import Annotated, Any

from llm_assets.artifacts.identity import OMITTED_IF_NONE
from llm_assets.artifacts.store import Artifact
from llm_assets.dialogue.splits import HeldOutSplit
from llm_assets.recipes.finetuning import Endpoint, Tools
from llm_assets.recipes.frozen import Frozen

from .jobs import ProblemsJob
from .problem_sets import family_names, ranked, read_problems


class Asking(Frozen):
    """The recipe's fields by which checkpoints are asked questions and problems.

    answer_tokens: maximum tokens of an answer to a question. judge: the endpoint that grades answers to the user's own
    questions. problems: of each family and level. samples, temperature,
    max_tokens, seed: of the solutions.
    """

    split: HeldOutSplit
    answer_tokens: int
    tools: Tools
    families: tuple[str, ...]
    problems: int
    samples: int
    temperature: float
    max_tokens: int
    seed: int
    judge: Annotated[Endpoint | None, OMITTED_IF_NONE] = None


def asking(recipe: Any) -> Asking:
    settings = recipe.rl_evaluation
    return Asking(
        split=recipe.evaluation_split,
        answer_tokens=recipe.sft_evaluation.max_tokens,
        tools=recipe.tools,
        families=family_names(recipe.practice_problems),
        problems=settings.problems,
        samples=settings.samples,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        seed=settings.seed,
        judge=recipe.sft_evaluation.judge,
    )


def problems_job(practice_problems: Artifact | None, config: Asking) -> ProblemsJob:
    """The practice problems that every checkpoint attempts; none for a recipe that leaves them out."""
    held_out = [] if practice_problems is None else ranked(read_problems(practice_problems, config.split))
    return ProblemsJob(
        families=config.families,
        problems=tuple(problem for place, problem in held_out if place < config.problems),
        samples=config.samples,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        seed=config.seed,
    )
