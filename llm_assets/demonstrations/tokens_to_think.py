"""`tokens_to_think`: a model that may write the steps solves problems that it cannot solve at once."""

from __future__ import annotations

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import View
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.recipes.demonstrations import TokensToThink

from .chains import DIRECT, DOTS, POINTERS, STEPS, SUMS, series_name
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
from .jobs import RIGHT, SmallTraining, TokensToThinkJob
from .results import Claim, at_least, at_most

MODULE = "llm_assets.demonstrations.tokens_to_think_process"

DEMONSTRATION = Demonstration(
    title="Models need tokens to think",
    phenomenon="A model computes a fixed amount for each token. A problem of many steps can be solved if the steps are "
    "written down, one after the other, and not if the answer has to be the first token.",
    method="Small transformers are trained from scratch on pointer chasing and on running sums modulo 10, of 1 to as "
    "many steps as the figure shows. There is one model per task and style of answer. Those of a task have the same "
    "shape, number of examples and number of steps, and are asked the same held-out problems. A problem's text decides "
    "whether it is held out. Sums of one or two additions are so few that all are trained on.",
    controls=(
        "The best constant answer is chosen with the test's own answers in view.",
        "Dots for steps: the model writes as many characters before its answer as step by step, but they say nothing. "
        "If it is the steps that help, and not the time, dots do not.",
        "One hop is asked in all styles: whoever fails there has not learnt the operation itself.",
    ),
    figures={RIGHT: Figure("right answers", "hops or additions")},
)


def prediction(config: TokensToThink) -> tuple[Claim, ...]:
    """What was expected before the experiment was first run."""
    last = float(config.hops)
    claims = []
    for task, unit in ((POINTERS, "hops"), (SUMS, "additions")):
        steps, at_once, dots = (series_name(task, style) for style in (STEPS, DIRECT, DOTS))
        claims += [
            at_least(0.9, f"{task}: {config.hops} {unit} step by step", RIGHT, steps, last),
            at_most(0.3, f"{task}: {config.hops} {unit} at once", RIGHT, at_once, last),
            at_least(0.9, f"{task}: the first of the {unit} alone is learnt at once too", RIGHT, at_once, 1.0),
            at_most(0.3, f"{task}: {config.hops} {unit} with dots in place of the steps", RIGHT, dots, last),
        ]
    return tuple(claims)


def build_tokens_to_think(step: Step, config: TokensToThink) -> None:
    """Run the experiment in a separate process, and keep its findings."""
    job = TokensToThinkJob(
        **config.model_dump(exclude={"training", "sum_training"}),
        training=SmallTraining(**config.training.model_dump()),
        sum_training=SmallTraining(**config.sum_training.model_dump()),
    )
    keep_results(step, measure(step, MODULE, job, step.staging / "experiment"), prediction(config))


def draw_report(artifact: Artifact, inputs: Inputs, config: TokensToThink) -> str:
    """The HTML report."""
    return render_report(DEMONSTRATION, artifact)


TOKENS_TO_THINK = Stage(
    name="tokens_to_think",
    group=GROUP,
    description="Pointer chasing and running sums, asked at once and step by step, by number of steps.",
    kinds=("pytorch", "html"),
    build=build_tokens_to_think,
    config=lambda recipe, crawl: recipe.demonstrations.tokens_to_think,
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
