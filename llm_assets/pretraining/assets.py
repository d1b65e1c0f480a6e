"""Dagster declarations of the pretraining room."""

import dagster as dg

from resources.artifacts import Artifacts, declare, schema_check

from .base_checkpoint import BASE_CHECKPOINT, show


@dg.asset(**declare(BASE_CHECKPOINT), group_name="pretraining", kinds={"pytorch", "safetensors"}, pool="gpu")
def base_checkpoint(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The base model: it goes on with a document as pages of the crawl would. Trained in its own process, resumable at any step."""
    return artifacts.materialize(context, BASE_CHECKPOINT, lambda built: {name: dg.MetadataValue.md(text) for name, text in show(built).items()})


schemas = [schema_check(BASE_CHECKPOINT)]
