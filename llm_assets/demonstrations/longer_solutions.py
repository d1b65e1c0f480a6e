"""`longer_solutions`: reinforcement learning by accuracy alone lengthens solutions where that helps."""

from __future__ import annotations

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import View
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.recipes.demonstrations import LongerSolutions

from .demonstration import (
    CHECKS,
    GROUP,
    LIBRARIES,
    OPTIONAL_TABLES,
    REPORT,
    TABLES,
    TEMPLATE,
    Demonstration,
    Figure,
    keep_results,
    render_report,
)
from .jobs import (
    CUT_OFF,
    EARNED,
    LENGTH,
    ONE_HOP,
    RIGHT,
    SHUFFLED,
    STEPWISE,
    LongerSolutionsJob,
    SmallTraining,
    by_hops,
)
from .results import Claim, at_least, at_most

MODULE = "llm_assets.demonstrations.longer_solutions_process"
STEP = "step of reinforcement learning"

DEMONSTRATION = Demonstration(
    title="Reinforcement learning lengthens solutions where that helps",
    phenomenon="Nobody tells the policy to think longer. If longer solutions are right more often, rewards for right "
    "answers make them more frequent (DeepSeek-R1, arXiv:2501.12948).",
    method="A small transformer is trained on right solutions of pointer chasing. In a share of them the steps are "
    "written, in the others the answer alone; the problem does not say which. It is then trained by GRPO, and rewarded "
    "for right answers only. Neither length nor spread of rewards weights a solution (Dr. GRPO, arXiv:2503.20783), and "
    "nothing ties the policy to where it began. Held-out problems are solved at temperature 1.",
    controls=(
        "Shuffled rewards: the rewards of a problem's solutions are given to its solutions in random order. Whatever "
        "changes then is no effect of being right.",
        "One hop alone: a policy that only learns problems of one hop, where the answer alone is as good.",
    ),
    figures={
        LENGTH: Figure("length of solutions, those cut off included", STEP, "tokens"),
        CUT_OFF: Figure("solutions cut off at the limit of tokens", STEP),
        RIGHT: Figure("right answers", STEP),
        STEPWISE: Figure("solutions that write the steps", STEP),
    },
)


def prediction(config: LongerSolutions) -> tuple[Claim, ...]:
    """What was expected before the experiment was first run."""
    first, last, share = 0.0, float(config.rl_steps), config.steps_share
    longest, control = by_hops(EARNED, config.hops), by_hops(SHUFFLED, config.hops)
    return (
        at_most(2 * share, "before, a minor share of solutions writes the steps", STEPWISE, longest, first),
        at_least(0.9, f"afterwards nearly all of {config.hops} hops do", STEPWISE, longest, last),
        at_least(0.8, f"and {config.hops} hops are solved", RIGHT, longest, last),
        at_most(0.5, f"with shuffled rewards, {config.hops} hops are not", RIGHT, control, last),
        at_most(2 * share, "with shuffled rewards, the steps are written as rarely as before", STEPWISE, control, last),
        at_least(0.9, "one hop is solved", RIGHT, by_hops(ONE_HOP, 1), last),
        at_most(2 * share, "and its solutions stay short", STEPWISE, by_hops(ONE_HOP, 1), last),
    )


def build_longer_solutions(step: Step, config: LongerSolutions) -> None:
    """Run the experiment in a separate process, and keep its findings."""
    job = LongerSolutionsJob(
        **config.model_dump(exclude={"training"}), training=SmallTraining(**config.training.model_dump())
    )
    keep_results(step, measure(step, MODULE, job, step.staging / "experiment"), prediction(config))


def draw_report(artifact: Artifact, inputs: Inputs, config: LongerSolutions) -> str:
    """The HTML report."""
    return render_report(DEMONSTRATION, artifact)


LONGER_SOLUTIONS = Stage(
    name="longer_solutions",
    group=GROUP,
    description="Length and accuracy of solutions while RL rewards accuracy alone, from a policy that writes the "
    "steps of a quarter of its solutions.",
    kinds=("pytorch", "html"),
    build=build_longer_solutions,
    config=lambda recipe, crawl: recipe.demonstrations.longer_solutions,
    code_version="1",
    on_demand=True,
    tables=TABLES,
    optional_tables=OPTIONAL_TABLES,
    main_table="results",
    checks=CHECKS,
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=DEMONSTRATION.summary,
    libraries=LIBRARIES,
    pool="gpu",
)
