"""Dagster declarations of the finetuning room."""

from collections.abc import Callable

import dagster as dg

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.checks import CheckOutcome
from llm_assets.training.training_run import show
from resources.artifacts import Artifacts, declare, schema_check

from .conversations import CONVERSATIONS, no_overlap
from .conversations import preview as show_conversations
from .knowledge_boundary import KNOWLEDGE_BOUNDARY
from .knowledge_boundary import preview as show_boundary
from .search_index import SEARCH_INDEX, finds_itself
from .sft_checkpoint import SFT_CHECKPOINT, UNMITIGATED_CHECKPOINT
from .sft_evaluation import REPORT, SFT_EVALUATION, hallucinates_less
from .sft_evaluation import preview as show_evaluation


@dg.asset(**declare(SEARCH_INDEX), group_name="finetuning", kinds={"sqlite"})
def search_index(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Full-text index over the clean corpus of every crawl, behind the assistant's search tool."""
    return artifacts.materialize(context, SEARCH_INDEX)


@dg.asset(**declare(KNOWLEDGE_BOUNDARY), group_name="finetuning", kinds={"pytorch", "parquet"}, pool="gpu")
def knowledge_boundary(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """What the base model knows and does not: questions on the corpus, its sampled answers, and names of things that exist nowhere."""
    return artifacts.materialize(context, KNOWLEDGE_BOUNDARY, lambda built: {"summary": dg.MetadataValue.md(show_boundary(built))})


@dg.asset(**declare(CONVERSATIONS), group_name="finetuning", kinds={"parquet"})
def conversations(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The mixture that the assistant is trained on, and the questions that it will be asked, none of them in the mixture."""
    return artifacts.materialize(context, CONVERSATIONS, lambda built: {"summary": dg.MetadataValue.md(show_conversations(built))})


@dg.asset(**declare(SFT_CHECKPOINT), group_name="finetuning", kinds={"pytorch", "safetensors"}, pool="gpu")
def sft_checkpoint(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The assistant: the base model trained on conversations, by the same loop. Resumable at any step."""
    return artifacts.materialize(context, SFT_CHECKPOINT, lambda built: {name: dg.MetadataValue.md(text) for name, text in show(built).items()})


@dg.asset(**declare(UNMITIGATED_CHECKPOINT), group_name="finetuning", kinds={"pytorch", "safetensors"}, pool="gpu")
def unmitigated_checkpoint(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The same without the conversations that teach what is not known: what sft_evaluation holds the assistant against."""
    return artifacts.materialize(context, UNMITIGATED_CHECKPOINT, lambda built: {name: dg.MetadataValue.md(text) for name, text in show(built).items()})


@dg.asset(**declare(SFT_EVALUATION), group_name="finetuning", kinds={"pytorch", "html"}, pool="gpu")
def sft_evaluation(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """What the assistant answers, refuses and makes up, with and without tools, against the base model and the unmitigated one."""
    return artifacts.materialize(context, SFT_EVALUATION, lambda built: {"report": dg.MetadataValue.path(str(built.file(REPORT))), "summary": dg.MetadataValue.md(show_evaluation(built))})


@dg.asset_check(asset="search_index", blocking=True, description="Pages of the corpus are found by words of their own.")
def search_finds_pages(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """A passage's first words bring up its page."""

    def examine(index: Artifact, workspace: Workspace, _: str | None) -> tuple[list[Artifact], Callable[[], CheckOutcome]]:
        resolver = workspace.resolver()
        corpus = [resolver.artifact("clean_corpus", crawl) for crawl in workspace.recipe.corpus()]
        return corpus, lambda: finds_itself(index, corpus, workspace.recipe.search_index.passage_characters)

    return artifacts.check(context, SEARCH_INDEX, "search_finds_pages", "2", examine)


@dg.asset_check(asset="conversations", blocking=True, description="No conversation holds a question that the evaluation asks.")
def no_evaluation_overlap(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Decontamination, looked at anew in what was written."""
    return artifacts.check(context, CONVERSATIONS, "no_evaluation_overlap", "1", lambda built, workspace, _: ([], lambda: no_overlap(built, workspace.recipe)))


@dg.asset_check(asset="sft_evaluation", description="Fewer answers are made up about what exists nowhere than without the mitigation.")
def fewer_hallucinations(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """The mitigation did its work."""
    return artifacts.check(context, SFT_EVALUATION, "fewer_hallucinations", "1", lambda evaluation, *_: ([], lambda: hallucinates_less(evaluation)), dg.AssetCheckSeverity.WARN)


schemas = [schema_check(stage) for stage in (KNOWLEDGE_BOUNDARY, CONVERSATIONS, SFT_CHECKPOINT, UNMITIGATED_CHECKPOINT, SFT_EVALUATION)]
