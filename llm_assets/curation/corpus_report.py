"""`corpus_report`: the dataset preview. What went where, and what it looks like, as tables and one HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from llm_assets.artifacts.progress import human_size
from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step, sum_stats
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import PersonalData, Recipe
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

# What each rejecting stage reads, where that is text.
READS = {"language_filtered_text": "extracted_text", "quality_filtered_text": "language_filtered_text", "deduplicated_text": "quality_filtered_text", "clean_corpus": "deduplicated_text"}
TOP_HOSTS, TOP_CLUSTERS = 20, 10
REPORT = "report.html"


def _paths(artifacts: Sequence[Artifact], table: str) -> list[str]:
    return [str(path) for artifact in artifacts for path in artifact.table(table)]


def funnel(crawl: str, inputs: dict[str, Artifact]) -> pl.DataFrame:
    """Pages and bytes that each stage of one crawl was given and kept (schema Funnel). The captures' bytes are those of
    their bodies; later ones those of text.
    """
    raw = inputs["raw_warc"]
    rows: list[dict[str, Any]] = [{"stage": "raw_warc", "pages": raw.record.rows["captures"], "rejected": 0, "bytes": int(raw.record.stats.get("payload_bytes", 0))}]
    for stage in STAGES:
        artifact = inputs[stage]
        if stage == "filtered_urls":
            size = {"pages": artifact.record.rows["urls"], "bytes": query(statement("payload_size"), files=_paths([artifact], "urls"))["bytes"][0]}
        else:
            size = query(statement("text_size"), files=_paths([artifact], "text")).row(0, named=True)
        rows.append({"stage": stage, "rejected": artifact.record.rows.get("rejects", 0), **size})
    return pl.DataFrame([{"crawl": crawl, **row} for row in rows])


def scores(crawl: str, inputs: dict[str, Artifact]) -> pl.DataFrame:
    """Scores of every stage against the ground truth, where the crawl is of the sample web (schema TruthScores)."""
    raw = inputs["raw_warc"]
    if not raw.table("truth_pages"):
        return pl.DataFrame(schema={"crawl": pl.String, "measure": pl.String, "value": pl.Float64})
    found = {
        **{f"crawl: {k}": v for k, v in score_crawl(raw).items()},
        **{f"URLs: {k}": v for k, v in score_urls(raw, inputs["filtered_urls"]).items()},
        **{f"text: {k}": v for k, v in score_text(raw, inputs["extracted_text"]).items()},
        **{f"language: {k}": v for k, v in score_language(raw, inputs["extracted_text"], inputs["language_filtered_text"]).items()},
        **{f"quality: {k}": v for k, v in score_quality(raw, inputs["language_filtered_text"], inputs["quality_filtered_text"]).items()},
        **{f"duplicates: {k}": v for k, v in score_duplicates(raw, inputs["quality_filtered_text"], inputs["deduplicated_text"]).items()},
        **{f"personal data: {k}": v for k, v in score_personal_data(raw, inputs["clean_corpus"]).items()},
    }
    return pl.DataFrame({"crawl": [crawl] * len(found), "measure": list(found), "value": [float(v) for v in found.values()]})


def _scrubbed(frame: pl.DataFrame, rules: PersonalData, characters: int) -> list[dict[str, Any]]:
    """Rows with their texts scrubbed (rejected text was never scrubbed) and cut."""
    frame = scrub_for_display(frame.with_columns(pl.col("text").fill_null("")), rules.phone_region)
    length = pl.col("text").str.len_chars()
    cut = pl.when(length > characters).then(pl.format("{} …", pl.col("text").str.slice(0, characters))).otherwise("text")
    return frame.with_columns(characters=length, text=cut).to_dicts()


def gather(crawls: dict[str, dict[str, Artifact]], recipe: Recipe) -> dict[str, Any]:
    """Everything that the page shows, as plain values; `funnel`, `rejects` and `scores` as frames."""
    bounds = recipe.report
    of = {stage: [inputs[stage] for inputs in crawls.values()] for stage in ("raw_warc", *STAGES)}
    funnels = pl.concat([funnel(crawl, inputs) for crawl, inputs in crawls.items()])
    rejects = query(statement("rejects_by_rule"), files=[path for stage in STAGES for path in _paths(of[stage], "rejects")])
    corpus = _paths(of["clean_corpus"], "text")
    clusters = _paths(of["deduplicated_text"], "clusters")
    rejected = {}
    for stage in STAGES:
        texts = _paths(of[READS[stage]], "text") if stage in READS else []
        if texts and any(artifact.record.rows.get("rejects") for artifact in of[stage]) and bounds.samples:
            rows = query(statement("sample_rejects"), rejects=_paths(of[stage], "rejects"), texts=texts, number=bounds.samples)
            for row in _scrubbed(rows, recipe.personal_data, bounds.sample_characters):
                rejected.setdefault((stage, row["rule"]), []).append(row)
    kept = query(statement("sample_pages"), files=corpus, number=bounds.samples * 4)
    return {
        "funnel": funnels,
        "rejects": rejects,
        "scores": pl.concat([scores(crawl, inputs) for crawl, inputs in crawls.items()]),
        "languages": sum_stats(a.record.stats.get("languages", {}) for a in of["language_filtered_text"]),
        "hosts": query(statement("top_hosts"), files=corpus, number=TOP_HOSTS).to_dicts(),
        "lengths": {
            "extracted": dict(query(statement("length_histogram"), files=_paths(of["extracted_text"], "text")).iter_rows()),
            "corpus": dict(query(statement("length_histogram"), files=corpus).iter_rows()),
        },
        "cluster_sizes": query(statement("cluster_sizes"), files=clusters).to_dicts(),
        "largest_clusters": query(statement("largest_clusters"), files=clusters, number=TOP_CLUSTERS).to_dicts(),
        "personal_data": sum_stats(a.record.stats.get("personal_data", {}) for a in of["clean_corpus"]),
        "kept_samples": _scrubbed(kept, recipe.personal_data, bounds.sample_characters),
        "rejected_samples": rejected,
    }


def page(shown: dict[str, Any], recipe: Recipe) -> str:
    """The HTML page."""
    total = shown["funnel"].group_by("stage", maintain_order=True).agg(pl.col("pages", "rejected", "bytes").sum())
    by_rule = shown["rejects"].group_by("stage", "rule").agg(pl.col("pages").sum())
    order = {stage: place for place, stage in enumerate(STAGES)}
    rules = sorted(by_rule.iter_rows(), key=lambda row: (order[row[0]], -row[2], row[1]))
    lengths = shown["lengths"]
    powers = sorted({*lengths["extracted"], *lengths["corpus"]})
    most = max([*lengths["extracted"].values(), *lengths["corpus"].values()], default=0) or 1
    return render(
        __package__, "report.html.j2",
        recipe=recipe,
        crawls=sorted(set(shown["funnel"]["crawl"])),
        total=total.to_dicts(),
        first_pages=max(total["pages"][0], 1),
        funnels={crawl: group.to_dicts() for (crawl,), group in shown["funnel"].group_by("crawl", maintain_order=True)},
        rules=bars({(stage, rule): pages for stage, rule, pages in rules}),
        languages=bars(dict(sorted(shown["languages"].items(), key=lambda item: (-item[1], item[0]))[:25])),
        hosts=shown["hosts"],
        host_bytes=max((host["bytes"] for host in shown["hosts"]), default=1) or 1,
        lengths=[{"from": 2**p, "extracted": lengths["extracted"].get(p, 0), "corpus": lengths["corpus"].get(p, 0), "most": most} for p in powers],
        clusters=bars({row["size"]: row["clusters"] for row in shown["cluster_sizes"]}),
        largest=shown["largest_clusters"],
        personal=bars(shown["personal_data"]),
        scores=shown["scores"].to_dicts(),
        kept=shown["kept_samples"],
        rejected=shown["rejected_samples"],
        thresholds={rule.name: rule for rule in recipe.quality.effective()},
    )


def build_corpus_report(step: Step, recipe: Recipe) -> None:
    """One part: three tables, the page, and the values behind the page as JSON."""
    crawls = {crawl: {stage: step.inputs[f"{stage}/{crawl}"] for stage in ("raw_warc", *STAGES)} for crawl in recipe.corpus()}
    shown = gather(crawls, recipe)
    with step.part("report") as part:
        part.table("funnel", Funnel).frame(shown["funnel"])
        part.table("rejects_by_rule", RejectsByRule).frame(shown["rejects"])
        if len(shown["scores"]):
            part.table("scores", TruthScores).frame(shown["scores"])
        write_atomic(step.staging / REPORT, page(shown, recipe).encode("utf-8", "replace"))
        part.add_file(REPORT)
        values = {name: value for name, value in shown.items() if name in ("languages", "hosts", "lengths", "cluster_sizes", "largest_clusters", "personal_data")}
        write_atomic(step.staging / "report.json", json.dumps(values, sort_keys=True, indent=1).encode())
        part.add_file("report.json")
        last = shown["funnel"].filter(pl.col("stage") == "clean_corpus")
        part.stats.update(pages=int(last["pages"].sum()), text_bytes=int(last["bytes"].sum()), crawls=len(crawls))


def preview(report: Artifact) -> str:
    """The report in Markdown, for Dagster's page of the asset."""
    tables = {table: pl.concat([pl.read_parquet(path) for path in report.table(table)]) for table in ("funnel", "rejects_by_rule")}
    total = tables["funnel"].group_by("stage", maintain_order=True).agg(pl.col("pages", "rejected", "bytes").sum())
    lines = ["| stage | pages | rejected | bytes |", "|---|--:|--:|--:|"]
    lines += [f"| {row['stage']} | {row['pages']:,} | {row['rejected']:,} | {human_size(row['bytes'])} |" for row in total.to_dicts()]
    lines += ["", "| stage | rule | pages |", "|---|---|--:|"]
    rules = tables["rejects_by_rule"].group_by("stage", "rule").agg(pl.col("pages").sum()).sort("pages", "stage", "rule", descending=[True, False, False])
    lines += [f"| {row['stage']} | {row['rule']} | {row['pages']:,} |" for row in rules.head(40).to_dicts()]
    for path in report.table("scores"):
        lines += ["", "| crawl | against the ground truth | |", "|---|---|--:|"]
        lines += [f"| {row['crawl']} | {row['measure']} | {row['value']:,.4g} |" for row in pl.read_parquet(path).to_dicts()]
    return "\n".join(lines)


def report_file(report: Artifact) -> Path:
    return report.file(REPORT)


CORPUS_REPORT = Stage(
    name="corpus_report",
    build=build_corpus_report,
    code_version="1",
    rooms=("llm_assets.curation.corpus_report", "llm_assets.sample_web.score"),
    inputs=("raw_warc", *STAGES, "reject_ledger"),
    literals=lambda recipe, _: {"report": recipe.report, "personal_data": recipe.personal_data, "quality": recipe.quality, "crawls": recipe.corpus()},
    tables={"funnel": Funnel, "rejects_by_rule": RejectsByRule},
    optional_tables={"scores": TruthScores},
    libraries=("duckdb", "jinja2", "polars"),
)
