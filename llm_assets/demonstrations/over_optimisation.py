"""`over_optimisation`: what is optimised by a measure stops getting better, and the sooner the poorer the measure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.artifacts.views import View
from llm_assets.dialogue.splits import DEVELOPMENT, TRAIN
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.model.shape import ModelShape
from llm_assets.preference.reward_checkpoint import (
    RewardCheckpointConfig,
    gold_signal,
    preference_rows,
    training_plan,
)
from llm_assets.preference.rlhf_checkpoint import gold_job, read_prompts
from llm_assets.recipes.demonstrations import OverOptimisation
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.preference import Rlhf
from llm_assets.report import plots
from llm_assets.sample_web.ground_truth import read_truth
from llm_assets.training.policy_run import policy_plan

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
from .results import Claim, at_least, at_most

MODULE = "llm_assets.demonstrations.over_optimisation_process"
UNIT = "standard deviations"
ROOT, STEP = "root of the divergence in nats", "step of reinforcement learning"

DEMONSTRATION = Demonstration(
    title="A measure that is optimised stops measuring",
    phenomenon="A reward model stands in for what people want. Answers that are optimised by it get better at first, "
    "and then only better by its own measure (Gao, Schulman, Hilton, arXiv:2210.10760).",
    method="Reward models are fitted to few and to many of the rankings. By each of them, the best of n answers is "
    "chosen, and a policy is tuned by GRPO without a penalty on divergence. Proxy is the reward model's score, gold "
    "the labelling rule with the facts looked up, or a second reward model where rankings are by people; both in "
    "standard deviations of the first policy's answers. The prompts are about subjects of development.",
    controls=(
        "Three reward models of each size, fitted to other rankings, each with its own policy.",
        "The best of one answer is the first policy: its proxy and gold are 0 by definition of the scale.",
    ),
    figures={
        BEST_PROXY: Figure("best of n: proxy", ROOT, UNIT),
        BEST_GOLD: Figure("best of n: gold", ROOT, UNIT),
        RL_PROXY: Figure("RL: proxy", STEP, UNIT),
        RL_GOLD: Figure("RL: gold", STEP, UNIT),
        ROOT_KL: Figure("RL: root of the divergence", STEP, "root nats"),
        STOP: Figure("step at which the monitor would stop", "rankings", "steps", log_x=True),
    },
)


class OverOptimisationConfig(Frozen):
    """How reward models and policies are trained: as in the pipeline, but for the fields of `settings`."""

    settings: OverOptimisation
    reward: RewardCheckpointConfig
    rlhf: Rlhf


def prediction(config: OverOptimisationConfig, sizes: Sequence[int]) -> tuple[Claim, ...]:
    """What was expected before the experiment was first run."""
    settings = config.settings
    fewest, most = by_rankings(sizes[0]), by_rankings(sizes[-1])
    best, last = math.sqrt(divergence_of_best(max(settings.answers))), float(settings.steps)
    return (
        at_least(0.2, f"the best of {max(settings.answers)} is better in truth, by {most}", BEST_GOLD, most, best),
        at_least(1.0, f"RL raises the proxy far, with {fewest}", RL_PROXY, fewest, last),
        at_most(0.0, f"and ends no better in truth than it began, with {fewest}", RL_GOLD, fewest, last),
        at_least(0.3, f"but better with {most}", RL_GOLD, most, last),
    )


def build_over_optimisation(step: Step, config: OverOptimisationConfig) -> None:
    """Run the experiment in a separate process, and keep its findings."""
    settings, policy, sft = config.settings, step.input("rl_checkpoint"), step.input("sft_checkpoint")
    shape = ModelShape.load(policy.file("shape.json").read_text(), "rl_checkpoint")
    rows = preference_rows(read_table(step.input("human_rankings").table("rankings")), [TRAIN])
    sizes = sorted({min(size, len(rows)) for size in settings.rankings})
    tuned = config.rlhf.replace(
        steps=settings.steps,
        prompts=settings.prompts,
        samples=settings.samples,
        evaluate_every=settings.evaluate_every,
        kl=0.0,
        replay_weight=0.0,
    )
    plan, _ = policy_plan(tuned, config.reward.rates, shape)
    reward, _ = training_plan(config.reward.training, config.reward.rates, shape, 1)
    pairs, truth = step.input("response_pairs"), read_truth(step.inputs)
    job = OverOptimisationJob(
        seeds=settings.seeds,
        device=settings.device,
        sizes=tuple(sizes),
        epochs=settings.epochs,
        answers=settings.answers,
        sft=str(sft.path),
        policy=str(policy.path),
        reward=reward,
        plan=plan,
        rankings=tuple((row["question"], row["preferred"], row["other"]) for row in rows),
        train=tuple(read_prompts(pairs, TRAIN)),
        monitor=tuple(read_prompts(pairs, DEVELOPMENT)[: settings.monitored_prompts]),
        gold=gold_job(config.reward.gold, step.input("reward_checkpoint"), truth),
        truth=truth,
        unfinished_reward=config.rlhf.unfinished_reward,
        patience=config.rlhf.monitor_patience,
        margin=config.rlhf.monitor_margin,
    )
    keep_results(step, measure(step, MODULE, job, step.staging / "experiment"), prediction(config, sizes))


def against_divergence(results: pl.DataFrame) -> dict[str, plots.Series]:
    """Proxy and gold of reinforcement learning by the root of the divergence, in the order of the steps."""
    places = results.filter(pl.col("figure") == ROOT_KL).select("series", "x", root="value")
    series: dict[str, plots.Series] = {}
    for figure, name in ((RL_PROXY, "proxy"), (RL_GOLD, "gold")):
        rows = results.filter(pl.col("figure") == figure).join(places, on=["series", "x"]).sort("series", "x")
        for (model,), of_model in rows.group_by("series", maintain_order=True):
            series[f"{name}, {model}"] = (of_model["root"].to_list(), of_model["value"].to_list())
    return series


def draw_report(artifact: Artifact, inputs: Inputs, config: OverOptimisationConfig) -> str:
    """The HTML report."""
    results = read_table(artifact.table("results"))
    plot = plots.svg(against_divergence(results), ROOT, UNIT, marks=True)
    return render_report(DEMONSTRATION, artifact, {"RL: proxy and gold by divergence": plot})


OVER_OPTIMISATION = Stage(
    name="over_optimisation",
    group=GROUP,
    description="Reward models of few and many rankings: proxy and gold of the best of n answers and of RL without a "
    "penalty, and where the monitor would stop.",
    kinds=("pytorch", "html"),
    build=build_over_optimisation,
    config=lambda recipe, crawl: OverOptimisationConfig(
        settings=recipe.demonstrations.over_optimisation,
        reward=RewardCheckpointConfig(
            training=recipe.reward_training,
            rates=recipe.pretraining.inherited(),
            gold=gold_signal(recipe.human_rankings),
        ),
        rlhf=recipe.rlhf,
    ),
    code_version="1",
    on_demand=True,
    inputs=("sft_checkpoint", "rl_checkpoint", "reward_checkpoint", "response_pairs", "human_rankings", "raw_warc"),
    crawls=lambda recipe: recipe.trained_crawls(),
    tables=TABLES,
    optional_tables=OPTIONAL_TABLES,
    main_table="results",
    checks=CHECKS,
    views=(View(REPORT, draw_report, (TEMPLATE,)),),
    show=DEMONSTRATION.summary,
    libraries=LIBRARIES,
    pool="gpu",
)
