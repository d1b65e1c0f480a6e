"""Dagster declarations of the release room."""

from collections.abc import Callable

import dagster as dg
from resources.artifacts import Artifacts, declare, schema_check

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.checks import CheckOutcome

from .model_export import MODEL_EXPORT, equals_gguf, equals_transformers, texts_for
from .model_export import show as show_export
from .scorecard import REPORT, SCORECARD
from .scorecard import preview as show_scorecard


@dg.asset(**declare(SCORECARD), group_name="release", kinds={"pytorch", "html"}, pool="gpu")
def scorecard(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The whole road on one page: funnel, curves, evaluations before and after each stage, the same prompts by every model, costs."""
    return artifacts.materialize(context, SCORECARD, lambda built: {"report": dg.MetadataValue.path(str(built.file(REPORT))), "summary": dg.MetadataValue.md(show_scorecard(built))})


@dg.asset(**declare(MODEL_EXPORT), group_name="release", kinds={"huggingface", "safetensors"})
def model_export(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The assistant as a Hugging Face folder and a GGUF file, with a card that tells its lineage."""
    return artifacts.materialize(context, MODEL_EXPORT, lambda built: {name: dg.MetadataValue.md(text) for name, text in show_export(built).items()})


@dg.asset_check(asset="model_export", blocking=True, description="transformers gives the same tokens and the same logits from the exported folder.")
def same_in_transformers(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Pages and questions, through both."""

    def examine(export: Artifact, workspace: Workspace, _: str | None) -> tuple[list[Artifact], Callable[[], CheckOutcome]]:
        resolver = workspace.resolver()
        checkpoint, conversations = resolver.artifact("rlhf_checkpoint", None), resolver.artifact("conversations", None)
        corpus = [resolver.artifact("clean_corpus", crawl) for crawl in workspace.recipe.trained()]
        return [checkpoint, conversations, *corpus], lambda: equals_transformers(export, checkpoint, *texts_for(conversations, corpus))

    return artifacts.check(context, MODEL_EXPORT, "same_in_transformers", "1", examine)


@dg.asset_check(asset="model_export", blocking=True, description="The GGUF file holds the checkpoint's weights and vocabulary.")
def same_in_gguf(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Read back by the gguf package."""

    def examine(export: Artifact, workspace: Workspace, _: str | None) -> tuple[list[Artifact], Callable[[], CheckOutcome]]:
        checkpoint = workspace.resolver().artifact("rlhf_checkpoint", None)
        return [checkpoint], lambda: equals_gguf(export, checkpoint)

    return artifacts.check(context, MODEL_EXPORT, "same_in_gguf", "1", examine)


schemas = [schema_check(SCORECARD)]
