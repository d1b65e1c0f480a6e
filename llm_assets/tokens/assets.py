"""Dagster declarations of the tokens room."""

import dagster as dg

from llm_assets.artifacts import Artifact, Workspace
from resources.artifacts import Artifacts, declare, schema_check

from .token_shards import TOKEN_SHARDS, shards_agree
from .tokenizer import REPORT, TOKENIZER, preview


@dg.asset(**declare(TOKENIZER), group_name="tokens", kinds={"rust", "tiktoken"})
def tokenizer(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Byte-level BPE trained on the clean corpus, as tiktoken ranks, with the special tokens of chat and tools; or a published encoding."""
    return artifacts.materialize(context, TOKENIZER, lambda built: {"report": dg.MetadataValue.path(str(built.file(REPORT))), "compression": dg.MetadataValue.md(preview(built))})


@dg.asset(**declare(TOKEN_SHARDS), group_name="tokens", kinds={"tiktoken", "numpy", "parquet"})
def token_shards(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The corpus as token files, train and validation, with an index that leads each document back to its page."""
    return artifacts.materialize(context, TOKEN_SHARDS)


@dg.asset_check(asset="token_shards", blocking=True, description="Every document decodes to its text; the splits share no page; the counts are the corpus's.")
def shards_match_corpus(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """The shards hold the corpus and nothing else."""

    def examine(shards: Artifact, workspace: Workspace, partition: str | None):  # type: ignore[no-untyped-def]
        resolver = workspace.resolver()
        corpus, tokenizer = resolver.artifact("clean_corpus", partition), resolver.artifact("tokenizer", None)
        return [corpus, tokenizer], lambda: shards_agree(shards, corpus, tokenizer)

    return artifacts.check(context, TOKEN_SHARDS, "shards_match_corpus", "1", examine)


schemas = [schema_check(stage) for stage in (TOKENIZER, TOKEN_SHARDS)]
