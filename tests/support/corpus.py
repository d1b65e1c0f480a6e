"""The stages from the web to the corpus, in a graph of their own."""

from llm_assets.artifacts import Artifact, Graph, Store, Workspace, materialize
from llm_assets.compute import LocalEngine
from llm_assets.curation.stages import STAGES as CURATION
from llm_assets.recipes import Recipe
from llm_assets.settings import load_settings
from llm_assets.web.stages import STAGES as WEB

GRAPH = Graph([*WEB, *CURATION])


def corpus_workspace(recipe: Recipe, workers: int = 1) -> Workspace:
    """A workspace of these stages, in the store that the environment names."""
    return Workspace(recipe, Store(load_settings().store), GRAPH, LocalEngine(workers))


def build_corpus(recipe: Recipe, crawls: tuple[str, ...] | None = None, workers: int = 1) -> dict[str, Artifact]:
    """Materialise every stage for the crawls (all of the recipe's); artifacts by key."""
    workspace = corpus_workspace(recipe, workers)
    artifacts = {}
    for stage in GRAPH:
        for crawl in (crawls or recipe.corpus()) if stage.per_crawl else [None]:
            artifact = materialize(stage, crawl, workspace).artifact
            artifacts[artifact.record.key] = artifact
    return artifacts
