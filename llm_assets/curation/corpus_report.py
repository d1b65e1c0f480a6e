"""`corpus_report`: a preview of the dataset, as tables and one HTML page: what each stage kept, and how it looks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.checks import Check, CheckOutcome
from llm_assets.artifacts.inputs import Inputs
from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, sum_stats
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import batches, read_table
from llm_assets.artifacts.views import View
from llm_assets.corpus_pages import PAGE_VERSIONS, CorpusPages
from llm_assets.recipes import Recipe
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.language_tags import language_of
from llm_assets.report import bars, render
from llm_assets.sample_web.score import (
    score_crawl,
    score_duplicates,
    score_language,
    score_personal_data,
    score_quality,
    score_text,
    score_urls,
)
from llm_assets.sql import query, statement

from .ledger import STAGES
from .personal_data import scrub_for_display
from .schemas import Funnel, RejectsByRule, TruthScores

# The text that each rejecting stage reads, if it reads any.
READS = {
    "language_filtered_text": "extracted_text",
    "quality_filtered_text": "language_filtered_text",
    "deduplicated_text": "quality_filtered_text",
    "clean_corpus": "deduplicated_text",
}
TOP_HOSTS, TOP_CLUSTERS, TOP_LANGUAGES, PREVIEW_RULES = 20, 10, 25, 40
REPORT = "report.html"
VALUES = "report.json"
KEPT_SAMPLE = ("url", "crawl", "title", "characters", "text")
REJECTED_SAMPLE = ("url", "crawl", "value", "threshold", "characters", "text")


class ReportConfig(Frozen):
    """What the report shows.

    samples: rejected pages per rule, and a quarter of the corpus's pages. sample_characters: where texts are cut.
    phone_region: ISO 3166 region for reading the phone numbers in samples, which are replaced.
    targets: target languages. rule_sources: where each quality rule that applies was published.
    """

    samples: int
    sample_characters: int
    phone_region: str
    targets: tuple[str, ...]
    rule_sources: dict[str, str]


def report_config(recipe: Recipe, crawl: str | None) -> ReportConfig:
    """What the report reads of a recipe."""
    return ReportConfig(
        samples=recipe.report.samples,
        sample_characters=recipe.report.sample_characters,
        phone_region=recipe.personal_data.phone_region,
        targets=recipe.language.targets,
        rule_sources={rule.name: rule.source for rule in recipe.quality.effective()},
    )


def _paths(artifacts: Sequence[Artifact], table: str) -> list[Path]:
    return [path for artifact in artifacts for path in artifact.table(table)]


def funnel(crawl: str, inputs: dict[str, Artifact]) -> pl.DataFrame:
    """Pages that each stage of one crawl kept and rejected, and their bytes (schema Funnel).

    Bytes of captures and filtered URLs are those of bodies; later ones are those of text.
    """
    raw = inputs["raw_warc"]
    rows: list[dict[str, Any]] = [
        {
            "stage": "raw_warc",
            "pages": raw.record.rows["captures"],
            "rejected": 0,
            "bytes": int(raw.record.stats.get("payload_bytes", 0)),
        }
    ]
    for stage in STAGES:
        artifact = inputs[stage]
        if stage == "filtered_urls":
            size = {
                "pages": artifact.record.rows["urls"],
                "bytes": query(statement("payload_size"), files=_paths([artifact], "urls"))["bytes"][0],
            }
        else:
            size = query(statement("text_size"), files=_paths([artifact], "text")).row(0, named=True)
        rows.append({"stage": stage, "rejected": artifact.record.rows.get("rejects", 0), **size})
    return pl.DataFrame([{"crawl": crawl, **row} for row in rows])


def scores(crawl: str, inputs: dict[str, Artifact], targets: Sequence[str]) -> pl.DataFrame:
    """Scores of every stage compared with the ground truth (schema TruthScores); no rows unless the crawl has one."""
    raw = inputs["raw_warc"]
    if not raw.table("truth_pages"):
        return pl.DataFrame(schema={"crawl": pl.String, "measure": pl.String, "value": pl.Float64})
    urls, extracted, in_language, of_quality, unique, corpus = (inputs[stage] for stage in STAGES)
    by_subject = {
        "crawl": score_crawl(raw),
        "URLs": score_urls(raw, urls),
        "text": score_text(raw, extracted),
        "language": score_language(raw, extracted, in_language, {language_of(target) for target in targets}),
        "quality": score_quality(raw, in_language, of_quality),
        "duplicates": score_duplicates(raw, of_quality, unique),
        "personal data": score_personal_data(raw, corpus),
    }
    rows = [
        {"crawl": crawl, "measure": f"{subject}: {measure}", "value": float(value)}
        for subject, values in by_subject.items()
        for measure, value in values.items()
    ]
    return pl.DataFrame(rows)


def _scrubbed(frame: pl.DataFrame, columns: Sequence[str], config: ReportConfig) -> list[dict[str, Any]]:
    """Rows with their texts scrubbed, since rejected texts are not yet, and shortened."""
    frame = scrub_for_display(frame.with_columns(pl.col("text").fill_null("")), config.phone_region)
    length = pl.col("text").str.len_chars()
    beginning = pl.format("{} …", pl.col("text").str.slice(0, config.sample_characters))
    shortened = pl.when(length > config.sample_characters).then(beginning).otherwise("text")
    return frame.with_columns(characters=length, text=shortened).select(columns).to_dicts()


def rejected_samples(artifacts: Mapping[str, Sequence[Artifact]], config: ReportConfig) -> list[dict[str, Any]]:
    """Sample pages (`pages`) of each stage and rule that rejected pages whose text is known."""
    samples: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for stage in STAGES:
        texts = _paths(artifacts[READS[stage]], "text") if stage in READS else []
        if texts and config.samples and any(artifact.record.rows.get("rejects") for artifact in artifacts[stage]):
            rejects = _paths(artifacts[stage], "rejects")
            rows = query(statement("sample_rejects"), rejects=rejects, texts=texts, number=config.samples)
            for row in _scrubbed(rows, ("rule", *REJECTED_SAMPLE), config):
                samples.setdefault((stage, row.pop("rule")), []).append(row)
    return [{"stage": stage, "rule": rule, "pages": pages} for (stage, rule), pages in samples.items()]


@dataclass
class TextSizes:
    """Pages, bytes of text, and pages by length: the key n stands for 2^n characters or more, up to 2^(n + 1)."""

    pages: int = 0
    text_bytes: int = 0
    lengths: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, frames: Iterable[pl.DataFrame]) -> TextSizes:
        """Of the column `text` of frames."""
        sizes = cls()
        for frame in frames:
            characters = frame["text"].str.len_chars().cast(pl.Int64).clip(1)
            powers = 63 - characters.bitwise_leading_zeros().cast(pl.Int64)
            sizes.pages += len(frame)
            sizes.text_bytes += int(frame["text"].str.len_bytes().cast(pl.Int64).sum())
            sizes.lengths.update(dict(powers.value_counts().iter_rows()))
        return sizes


def gather(
    artifacts: Mapping[str, Sequence[Artifact]], current_sizes: TextSizes, versions: Artifact, config: ReportConfig
) -> dict[str, Any]:
    """What the HTML page shows besides the tables, as JSON values.

    artifacts: those of each stage, over all crawls. current_sizes: of the corpus's current pages, by `versions`.
    """
    corpus, current = _paths(artifacts["clean_corpus"], "text"), _paths([versions], "versions")
    clusters = _paths(artifacts["deduplicated_text"], "clusters")
    samples = query(statement("sample_pages"), files=corpus, versions=current, number=config.samples * 4)
    extracted_texts = _paths(artifacts["extracted_text"], "text")
    extracted = TextSizes.of(batch for path in extracted_texts for batch in batches(path, ["text"]))
    lengths = {"extracted": extracted.lengths, "corpus": current_sizes.lengths}
    return {
        "languages": sum_stats(a.record.stats.get("languages", {}) for a in artifacts["language_filtered_text"]),
        "hosts": query(statement("top_hosts"), files=corpus, versions=current, number=TOP_HOSTS).to_dicts(),
        "lengths": {name: dict(sorted(counts.items())) for name, counts in lengths.items()},
        "cluster_sizes": query(statement("cluster_sizes"), files=clusters).to_dicts(),
        "largest_clusters": query(statement("largest_clusters"), files=clusters, number=TOP_CLUSTERS).to_dicts(),
        "personal_data": sum_stats(a.record.stats.get("personal_data", {}) for a in artifacts["clean_corpus"]),
        "kept_samples": _scrubbed(samples, KEPT_SAMPLE, config),
        "rejected_samples": rejected_samples(artifacts, config),
    }


def build_corpus_report(step: Step, config: ReportConfig) -> None:
    """One task: three tables, and a JSON file with what else the HTML page shows."""
    versions, pages = step.input(PAGE_VERSIONS), CorpusPages(step.inputs, PAGE_VERSIONS)
    current_sizes = TextSizes.of(pages.batches(["text"]))
    by_stage = {stage: step.inputs.by_crawl(stage) for stage in ("raw_warc", *STAGES)}
    crawls = {crawl: {stage: of_stage[crawl] for stage, of_stage in by_stage.items()} for crawl in by_stage["raw_warc"]}
    artifacts = {stage: list(of_stage.values()) for stage, of_stage in by_stage.items()}
    funnels = pl.concat([funnel(crawl, inputs) for crawl, inputs in crawls.items()])
    measures = pl.concat([scores(crawl, inputs, config.targets) for crawl, inputs in crawls.items()])
    rejects = [path for stage in STAGES for path in _paths(artifacts[stage], "rejects")]
    with step.task("report") as task:
        task.table("funnel", Funnel).frame(funnels)
        task.table("rejects_by_rule", RejectsByRule).frame(query(statement("rejects_by_rule"), files=rejects))
        if len(measures):
            task.table("scores", TruthScores).frame(measures)
        values = gather(artifacts, current_sizes, versions, config)
        write_atomic(step.staging / VALUES, json.dumps(values, sort_keys=True, indent=1).encode())
        task.add_file(VALUES)
        task.stats.update(
            pages=current_sizes.pages,
            text_bytes=current_sizes.text_bytes,
            crawls=len(crawls),
            versions=versions.record.stats["states"],
        )


def _table(report: Artifact, table: str) -> pl.DataFrame:
    return read_table(report.table(table))


def _totals(report: Artifact) -> pl.DataFrame:
    """The funnel, summed over all crawls."""
    funnels = _table(report, "funnel")
    return funnels.group_by("stage", maintain_order=True).agg(pl.col("pages", "rejected", "bytes").sum())


def _rule_totals(report: Artifact) -> pl.DataFrame:
    """Rejected pages by stage and rule over all crawls, the most frequent rules first."""
    by_rule = _table(report, "rejects_by_rule").group_by("stage", "rule").agg(pl.col("pages").sum())
    return by_rule.sort("pages", "stage", "rule", descending=[True, False, False])


def draw_report(report: Artifact, inputs: Inputs, config: ReportConfig) -> str:
    """The HTML page."""
    values = json.loads(report.file(VALUES).read_text())
    funnels, total = _table(report, "funnel"), _totals(report)
    order = {stage: place for place, stage in enumerate(STAGES)}
    rules = sorted(_rule_totals(report).iter_rows(), key=lambda row: (order[row[0]], -row[2], row[1]))
    languages = sorted(values["languages"].items(), key=lambda item: (-item[1], item[0]))
    return render(
        __package__,
        "report.html.j2",
        config=config,
        crawls=sorted(set(funnels["crawl"])),
        total=total.to_dicts(),
        stats=report.record.stats,
        versions=bars(report.record.stats["versions"]),
        first_pages=max(total["pages"][0], 1),
        funnels={crawl: rows.to_dicts() for (crawl,), rows in funnels.group_by("crawl", maintain_order=True)},
        rules=bars({(stage, rule): pages for stage, rule, pages in rules}),
        languages=bars(dict(languages[:TOP_LANGUAGES])),
        hosts=values["hosts"],
        host_bytes=max((host["bytes"] for host in values["hosts"]), default=1) or 1,
        lengths=_length_rows(values["lengths"]),
        clusters=bars({row["size"]: row["clusters"] for row in values["cluster_sizes"]}),
        largest=values["largest_clusters"],
        personal=bars(values["personal_data"]),
        scores=_table(report, "scores").to_dicts() if report.table("scores") else [],
        kept=values["kept_samples"],
        rejected=values["rejected_samples"],
    )


def _length_rows(lengths: dict[str, dict[str, int]]) -> list[dict[str, int]]:
    """Rows by length, in powers of two: the least length, pages extracted and in the corpus, and the greatest count."""
    extracted, corpus = (
        {int(power): pages for power, pages in lengths[key].items()} for key in ("extracted", "corpus")
    )
    most = max([*extracted.values(), *corpus.values()], default=0) or 1
    return [
        {"from": 2**power, "extracted": extracted.get(power, 0), "corpus": corpus.get(power, 0), "most": most}
        for power in sorted({*extracted, *corpus})
    ]


def preview(report: Artifact) -> str:
    """The report in Markdown, for the asset's page in Dagster."""
    lines = ["| stage | pages | rejected | bytes |", "|---|--:|--:|--:|"]
    lines += [
        f"| {row['stage']} | {row['pages']:,} | {row['rejected']:,} | {human_size(row['bytes'])} |"
        for row in _totals(report).to_dicts()
    ]
    lines += ["", "| stage | rule | pages |", "|---|---|--:|"]
    rules = _rule_totals(report).head(PREVIEW_RULES).to_dicts()
    lines += [f"| {row['stage']} | {row['rule']} | {row['pages']:,} |" for row in rules]
    for path in report.table("scores"):
        lines += ["", "| crawl | measure (ground truth) | value |", "|---|---|--:|"]
        lines += [f"| {row['crawl']} | {row['measure']} | {row['value']:,.4g} |" for row in read_table(path).to_dicts()]
    return "\n".join(lines)


def not_empty(report: Artifact, inputs: Inputs, config: ReportConfig) -> CheckOutcome:
    """Check that the corpus has pages. If it has none, the failures are the rules that rejected the most."""
    pages = report.record.stats["pages"]
    if pages:
        return CheckOutcome(True, f"{pages:,} pages", numbers={"pages": pages})
    return CheckOutcome(False, "the corpus is empty", _rule_totals(report).head(20).to_dicts(), {"pages": 0})


CORPUS_NOT_EMPTY = Check("corpus_not_empty", "The corpus has at least one page.", not_empty, blocking=True)

CORPUS_REPORT = Stage(
    name="corpus_report",
    group="curation",
    description="A preview of the dataset: funnel, rejects, languages, hosts, lengths, duplicates, personal data, "
    "samples.",
    kinds=("duckdb", "html"),
    build=build_corpus_report,
    code_version="4",
    config=report_config,
    inputs=("raw_warc", *STAGES, "reject_ledger", PAGE_VERSIONS),
    tables={"funnel": Funnel, "rejects_by_rule": RejectsByRule},
    optional_tables={"scores": TruthScores},
    checks=(CORPUS_NOT_EMPTY,),
    views=(View(REPORT, draw_report, ("report.html.j2",)),),
    show=lambda report: {"preview": preview(report)},
    libraries=("duckdb", "jinja2", "polars"),
)
