"""The asset graph without Dagster: the stages of every package, upstream first."""

from __future__ import annotations

from llm_assets.artifacts import Graph, Workspace, open_store
from llm_assets.compute.engines import open_engine
from llm_assets.curation.stages import STAGES as CURATION
from llm_assets.demonstrations.stages import STAGES as DEMONSTRATIONS
from llm_assets.finetuning.stages import STAGES as FINETUNING
from llm_assets.preference.stages import STAGES as PREFERENCE
from llm_assets.pretraining.stages import STAGES as PRETRAINING
from llm_assets.recipes import Recipe, load_recipe
from llm_assets.reinforcement.stages import STAGES as REINFORCEMENT
from llm_assets.release.stages import STAGES as RELEASE
from llm_assets.settings import Settings, load_settings
from llm_assets.tokens.stages import STAGES as TOKENS
from llm_assets.tracing.stages import STAGES as TRACING
from llm_assets.web.crawls import open_registry
from llm_assets.web.stages import STAGES as WEB

GRAPH = Graph(
    [
        *WEB,
        *CURATION,
        *TOKENS,
        *PRETRAINING,
        *FINETUNING,
        *TRACING,
        *REINFORCEMENT,
        *PREFERENCE,
        *RELEASE,
        *DEMONSTRATIONS,
    ]
)


def open_workspace(recipe: Recipe | str | None = None, settings: Settings | None = None) -> Workspace:
    """The workspace of this installation: a recipe with the registered crawls, the store, and the engine.

    recipe: a recipe or its name; None takes that of the environment. settings: None reads the environment.
    """
    settings = settings or load_settings()
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    store = open_store(settings.store, settings.data / "cache")
    return Workspace(open_registry(settings).effective(chosen), store, GRAPH, open_engine(settings))
