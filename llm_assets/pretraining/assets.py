"""Dagster declarations of the pretraining room."""

import dagster as dg

from llm_assets.training.training_run import show
from resources.artifacts import Artifacts, declare, schema_check

from .base_checkpoint import BASE_CHECKPOINT
from .base_evaluation import BASE_EVALUATION, REPORT, beats_baselines, preview


@dg.asset(**declare(BASE_CHECKPOINT), group_name="pretraining", kinds={"pytorch", "safetensors"}, pool="gpu")
def base_checkpoint(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The base model: it goes on with a document as pages of the crawl would. Trained in its own process, resumable at any step."""
    return artifacts.materialize(context, BASE_CHECKPOINT, lambda built: {name: dg.MetadataValue.md(text) for name, text in show(built).items()})


@dg.asset(**declare(BASE_EVALUATION), group_name="pretraining", kinds={"pytorch", "html"}, pool="gpu")
def base_evaluation(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """What the base model has memorised, makes up and learns in context: bits a byte, recited pages, facts, few-shot tasks, samples."""
    return artifacts.materialize(context, BASE_EVALUATION, lambda built: {"report": dg.MetadataValue.path(str(built.file(REPORT))), "summary": dg.MetadataValue.md(preview(built))})


@dg.asset_check(asset="base_evaluation", description="The model predicts the validation text better than a 5-gram model of bytes, gzip and xz.")
def better_than_baselines(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Bits a byte below those of what knows no language."""
    return artifacts.check(context, BASE_EVALUATION, "better_than_baselines", "1", lambda evaluation, *_: ([], lambda: beats_baselines(evaluation)), dg.AssetCheckSeverity.WARN)


schemas = [schema_check(stage) for stage in (BASE_CHECKPOINT, BASE_EVALUATION)]
