"""The whole graph built on a small sample web: every artifact from the first crawl to the exported model."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from llm_assets.artifacts import Artifact
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Conversations, Recipe, SampleWeb, Tokenizer
from tests.support.building import build
from tests.support.small_recipe import CORPUS, SMALL, STAGES

ARCHIVE = "quietarchive.example"  # the host whose pages only the search tool knows
REFERENCE = f"{__name__}:sample_recipe"  # the recipe as commands name it


def stages_up_to_corpus_and(names: str):
    """The stages up to the clean corpus, and the stages with these names."""
    return [*CORPUS, *(GRAPH[name] for name in names.split())]


_BEFORE_SFT = "tokenizer token_shards base_checkpoint training_search_index knowledge_boundary conversations"
TO_CONVERSATIONS = stages_up_to_corpus_and(_BEFORE_SFT)
TO_SFT_EVALUATION = stages_up_to_corpus_and(f"{_BEFORE_SFT} sft_checkpoint ablation_checkpoint sft_evaluation")
TO_RANKINGS = stages_up_to_corpus_and(
    f"{_BEFORE_SFT} sft_checkpoint ablation_checkpoint sft_evaluation practice_problems rl_checkpoint "
    "response_pairs human_rankings"
)
FROM_RL = {
    "rl_checkpoint",
    "rl_evaluation",
    "response_pairs",
    "human_rankings",
    "reward_checkpoint",
    "rlhf_checkpoint",
    "rlhf_evaluation",
    "scorecard",
    "model_export",
    "dpo_checkpoint",
    "dpo_evaluation",
    "over_optimisation",
}


def sample_recipe(**changes) -> Recipe:
    """A recipe whose base model, after 16 steps, knows nothing.

    A topic that the model never answered correctly is "unknown"; every other topic is "known".
    """
    fields = {
        **SMALL,
        "search_only_hosts": (ARCHIVE,),
        "tokenizer": Tokenizer(vocabulary=600),
        "knowledge_boundary": SMALL["knowledge_boundary"].replace(topics=400, known=0.01, unknown=0.0),
        "conversations": Conversations(count=300),
    }
    return Recipe(**{"name": "t", "crawls": {"sample": SampleWeb(scale=0.08)}, **fields, **changes})


def table_of(artifact: Artifact, table: str) -> pl.DataFrame:
    """All rows of a table of an artifact."""
    return pl.concat([pl.read_parquet(path) for path in artifact.table(table)])


@dataclass(frozen=True)
class SamplePipeline:
    """A recipe and all its artifacts, by key (`clean_corpus/sample`, `sft_checkpoint`)."""

    recipe: Recipe
    artifacts: Mapping[str, Artifact]

    def table(self, key: str, table: str) -> pl.DataFrame:
        return table_of(self.artifacts[key], table)

    def stats(self, key: str) -> dict:
        return self.artifacts[key].record.stats


def build_sample_pipeline() -> SamplePipeline:
    """Build every stage of the recipe in the store of the environment, or find it built there."""
    recipe = sample_recipe()
    return SamplePipeline(recipe, build(recipe, STAGES, crawls=("sample",)))


def missing_assets(recipe: Recipe) -> set[str]:
    """Assets of the recipe that the store of the environment does not have."""
    resolver = open_workspace(recipe).resolver()
    return {name for name, crawl in GRAPH.keys(recipe) if resolver.resolve(name, crawl).artifact is None}


def with_changed_columns(artifact: Artifact, folder: Path, table: str, columns: Mapping[str, pl.Expr]) -> Artifact:
    """A copy of an artifact in `folder` with other columns in one of its tables."""
    shutil.copytree(artifact.path, folder)
    copy = replace(artifact, folder=folder)
    (path,) = copy.table(table)
    pl.read_parquet(path).with_columns(**columns).write_parquet(path)
    return copy
