"""Dagster declarations of the curation room."""

import dagster as dg

from llm_assets.artifacts import Artifact, Workspace
from llm_assets.artifacts.checks import CheckOutcome
from resources.artifacts import Artifacts, declare, schema_check

from .clean_corpus import CLEAN_CORPUS
from .corpus_checks import duplicates_within, emptiness, length_within, personal_data_left, target_language
from .corpus_report import CORPUS_REPORT, preview, report_file
from .deduplication import DEDUPLICATED_TEXT
from .extracted_text import EXTRACTED_TEXT
from .language import LANGUAGE_FILTERED_TEXT
from .ledger import KEPT, REJECT_LEDGER, imbalance
from .quality import QUALITY_FILTERED_TEXT
from .quality_classifier import QUALITY_CLASSIFIER
from .signatures import TEXT_SIGNATURES
from .text_statistics import TEXT_STATISTICS
from .url_filter import FILTERED_URLS


@dg.asset(**declare(FILTERED_URLS), group_name="curation", kinds={"duckdb", "parquet"})
def filtered_urls(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The captures whose status, media type and URL pass the rules, the blocklists and the opt-out list."""
    return artifacts.materialize(context, FILTERED_URLS)


@dg.asset(**declare(EXTRACTED_TEXT), group_name="curation", kinds={"resiliparse", "parquet"})
def extracted_text(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Main text of each page, its title, and the encoding it was read in."""
    return artifacts.materialize(context, EXTRACTED_TEXT)


@dg.asset(**declare(LANGUAGE_FILTERED_TEXT), group_name="curation", kinds={"fasttext", "parquet"})
def language_filtered_text(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Pages whose whole text is in a target language with P ≥ 0.65 (fastText lid.176), with the top scores."""
    return artifacts.materialize(context, LANGUAGE_FILTERED_TEXT)


@dg.asset(**declare(QUALITY_CLASSIFIER), group_name="curation", kinds={"numba", "parquet"})
def quality_classifier(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """A learned quality score from the user's labelled examples; empty where the recipe names none."""
    return artifacts.materialize(context, QUALITY_CLASSIFIER)


@dg.asset(**declare(TEXT_STATISTICS), group_name="curation", kinds={"numba", "parquet"})
def text_statistics(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Every number that a quality rule looks at, computed once, and C4's edited text."""
    return artifacts.materialize(context, TEXT_STATISTICS)


@dg.asset(**declare(QUALITY_FILTERED_TEXT), group_name="curation", kinds={"polars", "parquet"})
def quality_filtered_text(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Pages that pass the recipe's Gopher, C4 and FineWeb rules."""
    return artifacts.materialize(context, QUALITY_FILTERED_TEXT)


@dg.asset(**declare(TEXT_SIGNATURES), group_name="curation", kinds={"numba", "parquet"})
def text_signatures(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The duplicate index: digest of the normalised text and MinHash bands of each page."""
    return artifacts.materialize(context, TEXT_SIGNATURES)


@dg.asset(**declare(DEDUPLICATED_TEXT), group_name="curation", kinds={"numba", "parquet"})
def deduplicated_text(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """One page of each cluster of exact or near duplicates, and the clusters."""
    return artifacts.materialize(context, DEDUPLICATED_TEXT)


@dg.asset(**declare(CLEAN_CORPUS), group_name="curation", kinds={"parquet"})
def clean_corpus(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """What the model may see: personal data replaced by typed placeholders."""
    return artifacts.materialize(context, CLEAN_CORPUS)


@dg.asset(**declare(REJECT_LEDGER), group_name="curation", kinds={"duckdb", "parquet"})
def reject_ledger(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """Every page that did not make it: stage, rule, measured value, threshold."""
    return artifacts.materialize(context, REJECT_LEDGER)


@dg.asset(**declare(CORPUS_REPORT), group_name="curation", kinds={"duckdb", "html"})
def corpus_report(context: dg.AssetExecutionContext, artifacts: Artifacts) -> dg.MaterializeResult:
    """The dataset preview: funnel, rejects, languages, hosts, lengths, duplicates, personal data, samples; one HTML file."""
    return artifacts.materialize(context, CORPUS_REPORT, lambda report: {"report": dg.MetadataValue.path(str(report_file(report))), "preview": dg.MetadataValue.md(preview(report))})


@dg.asset_check(asset="reject_ledger", blocking=True, description="Kept + rejected = captures, capture by capture.")
def balance(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Every capture is kept or rejected exactly once."""

    def examine(artifact: Artifact, workspace: Workspace, partition: str | None):  # type: ignore[no-untyped-def]
        resolver = workspace.resolver()
        raw, kept = resolver.artifact("raw_warc", partition), resolver.artifact(KEPT[0], partition)

        def work() -> CheckOutcome:
            lost = imbalance(raw, kept, artifact)
            stats = artifact.record.stats
            equation = f"{stats['kept']:,} kept + {stats['rejected']:,} rejected = {stats['captures']:,} captures"
            even = stats["kept"] + stats["rejected"] == stats["captures"] and lost.is_empty()
            return CheckOutcome(even, equation if even else f"not so: {equation}; {len(lost)} captures lost or counted twice", lost.to_dicts())

        return [raw, kept], work

    return artifacts.check(context, REJECT_LEDGER, "balance", "1", examine)


@dg.asset_check(asset="clean_corpus", blocking=True, description="Scrubbing the corpus again finds no personal data.")
def no_personal_data(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """No personal-data pattern is left."""
    return artifacts.check(context, CLEAN_CORPUS, "no_personal_data", "1", lambda corpus, workspace, _: ([], lambda: personal_data_left(corpus, workspace.recipe.personal_data)))


@dg.asset_check(asset="clean_corpus", blocking=True, description="The scrubbed and edited texts are still in a target language.")
def target_language_share(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Share of pages whose best language is a target, at least the recipe's."""
    return artifacts.check(context, CLEAN_CORPUS, "target_language_share", "1", lambda corpus, workspace, _: ([], lambda: target_language(corpus, workspace.recipe)), reads=("language", "report"))


@dg.asset_check(asset="clean_corpus", description="The median page is neither a line nor a book.")
def median_length(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Median length of a page within the recipe's bounds."""
    return artifacts.check(context, CLEAN_CORPUS, "median_length", "1", lambda corpus, workspace, _: ([], lambda: length_within(corpus, workspace.recipe.report)), dg.AssetCheckSeverity.WARN, reads=("report",))


@dg.asset_check(asset="deduplicated_text", blocking=True, description="No two pages with one text are left, and not more went than the recipe allows.")
def duplicate_share(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """Exact duplicates left: none. Share of pages removed: at most the recipe's."""
    return artifacts.check(context, DEDUPLICATED_TEXT, "duplicate_share", "1", lambda kept, workspace, _: ([], lambda: duplicates_within(kept, workspace.recipe)), reads=("deduplication", "report"))


@dg.asset_check(asset="corpus_report", blocking=True, description="The corpus is not empty.")
def corpus_not_empty(context: dg.AssetCheckExecutionContext, artifacts: Artifacts) -> dg.AssetCheckResult:
    """At least one page of one crawl came through; if none did, the rule that took most is named."""
    return artifacts.check(context, CORPUS_REPORT, "corpus_not_empty", "1", lambda report, *_: ([], lambda: emptiness(report)))


schemas = [
    schema_check(stage)
    for stage in (
        FILTERED_URLS,
        EXTRACTED_TEXT,
        LANGUAGE_FILTERED_TEXT,
        TEXT_STATISTICS,
        QUALITY_FILTERED_TEXT,
        TEXT_SIGNATURES,
        DEDUPLICATED_TEXT,
        CLEAN_CORPUS,
        REJECT_LEDGER,
        CORPUS_REPORT,
    )
]
