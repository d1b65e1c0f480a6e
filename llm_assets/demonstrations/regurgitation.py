"""`regurgitation`: the more often a page is repeated in the training data, the more of it is recited."""

from __future__ import annotations

from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.views import View
from llm_assets.corpus_pages import TRAINING_PAGES
from llm_assets.evaluation.evaluation_run import measure
from llm_assets.recipes.demonstrations import Regurgitation
from llm_assets.training.documents import shard_documents, write_kept

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
from .jobs import MATCHED, RECITED, SEEN, UNSEEN, RegurgitationJob, SmallTraining, how_often
from .results import Claim, at_least, at_most

MODULE = "llm_assets.demonstrations.regurgitation_process"

DEMONSTRATION = Demonstration(
    title="What is repeated is recited",
    phenomenon="A page that occurs often in the training data can be recited word for word by its beginning. A page "
    "that occurred once is remembered in outline (Carlini et al., arXiv:2202.07646).",
    method="Small base models are trained on one pass over the beginnings of the corpus's pages. Groups of pages, "
    "drawn by chance for each seed, are repeated on purpose; all others occur once. The model is given some tokens of "
    "a page, and its greedy continuation is compared with what follows on the page.",
    controls=(
        "Each group has a control group of as many pages, drawn by chance from the same corpus, that the model never "
        "sees. What it recites of these is what the corpus says in the same words elsewhere.",
        "Chance decides which pages are repeated, so nothing else about them differs.",
    ),
    figures={
        RECITED: Figure("recited word for word", "times that the page was trained on", log_x=True),
        MATCHED: Figure("tokens matched, mean", "times that the page was trained on", "tokens", log_x=True),
    },
)


def prediction(config: Regurgitation) -> tuple[Claim, ...]:
    """What was expected before the experiment was first run."""
    first, last = float(config.repetitions[0]), float(config.repetitions[-1])
    return (
        at_least(0.5, f"pages trained on {how_often(config.repetitions[-1])} are recited", RECITED, SEEN, last),
        at_most(0.1, f"pages trained on {how_often(config.repetitions[0])} are not", RECITED, SEEN, first),
        at_most(0.1, "neither are pages that were never seen", RECITED, UNSEEN, last),
    )


def build_regurgitation(step: Step, config: Regurgitation) -> None:
    """Run the experiment in a separate process, and keep its findings."""
    kept_documents = write_kept(shard_documents(step.inputs), step.staging / "kept")
    job = RegurgitationJob(
        **config.model_dump(exclude={"model"}),
        training=SmallTraining(**config.model.model_dump(), steps=0),
        tokenizer=str(step.input("tokenizer").path),
        shards=tuple(str(artifact.path) for artifact in step.inputs.by_crawl("token_shards").values()),
        kept_documents=kept_documents,
    )
    keep_results(step, measure(step, MODULE, job, step.staging / "experiment"), prediction(config))


def draw_report(artifact: Artifact, inputs: Inputs, config: Regurgitation) -> str:
    """The HTML report."""
    return render_report(DEMONSTRATION, artifact)


REGURGITATION = Stage(
    name="regurgitation",
    group=GROUP,
    description="How much of a page is recited by how often it was trained on, with pages repeated on purpose.",
    kinds=("pytorch", "html"),
    build=build_regurgitation,
    config=lambda recipe, crawl: recipe.demonstrations.regurgitation,
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
