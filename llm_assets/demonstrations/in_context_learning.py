"""`in_context_learning`: what a model picks up from the page that it is reading, and what it cannot."""

from __future__ import annotations

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import View
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.recipes.demonstrations import InContextLearning
from llm_assets.training.documents import shard_documents, write_kept
from llm_assets.training.plan import every

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
from .jobs import LOSS, RIGHT, SCORE, WITH_START, WITHOUT_START, InContextJob, SmallTraining
from .results import Claim, at_least, at_most
from .rule_pages import LABELS, MAPPINGS, RULE, TRAINED

MODULE = "llm_assets.demonstrations.in_context_learning_process"

DEMONSTRATION = Demonstration(
    title="Learning in context",
    phenomenon="Without a change of its weights, a model infers from the lines of a page how the page continues. It "
    "does so with what it has not seen in training, as long as the kind of rule is known.",
    method="Small transformers are trained on pages whose lines follow one of five rules: a label for each symbol "
    "(lookup), the symbol itself, the symbol of the line before, always the same label, two labels by turns. Symbols "
    "and labels are letters drawn for each page. Held out are mappings of a symbol to a label, letters as labels (they "
    "occur as symbols), and a whole rule: the symbol of two lines before. The in-context score (Olsson et al., "
    "arXiv:2209.11895) is the loss late in an excerpt of a page less the loss early in it, on held-out pages, while "
    "small base models are trained with and without the induction head in their initial weights.",
    controls=(
        "The most frequent label so far, and the label that the symbol had last, as an induction head would copy it.",
        "With no example, only the rules that copy a symbol can be right.",
        "The two base models of a seed differ in their initial weights alone: same pages, same order.",
    ),
    figures={
        RIGHT: Figure("right labels", "examples on the page"),
        LOSS: Figure("loss of a label", "examples on the page", "nats"),
        SCORE: Figure("in-context score: late less early loss", "step of the training", "nats"),
    },
)


def prediction(config: InContextLearning) -> tuple[Claim, ...]:
    """What was expected before the experiment was first run."""
    last, steps = float(config.examples), config.corpus_training.steps
    early = float(min(every(steps, config.evaluations), steps))
    shown = f"after {config.examples} examples"
    return (
        at_most(0.6, "without an example, labels are guesses", RIGHT, TRAINED, 0.0),
        at_least(0.9, f"{shown}, trained rules are followed", RIGHT, TRAINED, last),
        at_least(0.8, f"{shown}, held-out mappings are followed", RIGHT, MAPPINGS, last),
        at_least(0.8, f"{shown}, held-out labels are given", RIGHT, LABELS, last),
        at_most(0.5, f"{shown}, the held-out rule is not followed", RIGHT, RULE, last),
        at_most(-0.3, "with the induction start, the score is low from early on", SCORE, WITH_START, early),
        at_least(-0.3, "without it, not yet", SCORE, WITHOUT_START, early),
        at_most(-0.3, "but at the end of the training", SCORE, WITHOUT_START, float(steps)),
    )


def build_in_context_learning(step: Step, config: InContextLearning) -> None:
    """Run the experiment in a separate process, and keep its findings."""
    kept_documents = write_kept(shard_documents(step.inputs), step.staging / "kept")
    job = InContextJob(
        **config.model_dump(exclude={"training", "corpus_training"}),
        training=SmallTraining(**config.training.model_dump()),
        corpus_training=SmallTraining(**config.corpus_training.model_dump()),
        tokenizer=str(step.input("tokenizer").path),
        shards=tuple(str(artifact.path) for artifact in step.inputs.by_crawl("token_shards").values()),
        kept_documents=kept_documents,
    )
    keep_results(step, measure(step, MODULE, job, step.staging / "experiment"), prediction(config))


def draw_report(artifact: Artifact, inputs: Inputs, config: InContextLearning) -> str:
    """The HTML report."""
    return render_report(DEMONSTRATION, artifact)


IN_CONTEXT_LEARNING = Stage(
    name="in_context_learning",
    group=GROUP,
    description="Pages under a rule, with labels, mappings and a rule held out, by number of examples; and the "
    "in-context score while a model is trained, with and without the induction start.",
    kinds=("pytorch", "html"),
    build=build_in_context_learning,
    config=lambda recipe, crawl: recipe.demonstrations.in_context_learning,
    code_version="1",
    on_demand=True,
    inputs=("tokenizer", "token_shards", TRAINING_PAGES),
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
