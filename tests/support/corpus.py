"""The stages from the web to the corpus, in a graph of their own."""

from pathlib import Path

from llm_assets.artifacts import Artifact, Graph, Store, Workspace, materialize
from llm_assets.compute import LocalEngine
from llm_assets.curation.stages import STAGES as CURATION
from llm_assets.recipes import Recipe
from llm_assets.settings import load_settings
from llm_assets.web.stages import STAGES as WEB

GRAPH = Graph([*WEB, *CURATION])


def corpus_workspace(recipe: Recipe, store: Path | str | None = None) -> Workspace:
    """A workspace of these stages, in the store that the environment names unless one is given."""
    return Workspace(recipe, Store(store or load_settings().store), GRAPH, LocalEngine(1))


def build_corpus(workspace: Workspace) -> dict[str, Artifact]:
    """Every stage for every crawl of the recipe; artifacts by key."""
    outcomes = [materialize(GRAPH[name], crawl, workspace) for name, crawl in GRAPH.keys(workspace.recipe)]
    return {outcome.artifact.record.key: outcome.artifact for outcome in outcomes}
