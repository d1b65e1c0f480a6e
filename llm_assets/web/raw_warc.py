"""`raw_warc`: the WARC files of one crawl, however it comes in, and their capture index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from llm_assets.artifacts.external import external_digests, external_version
from llm_assets.artifacts.stage import Key, Retry, Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import CommonCrawl, Recipe, SampleWeb, Source, WarcFiles, WebCrawl
from llm_assets.recipes.frozen import Frozen
from llm_assets.sample_web import (
    EDITION,
    TruthFacts,
    TruthPages,
    TruthPrompts,
    TruthQuestions,
    serve,
    write_ground_truth,
)
from llm_assets.settings import load_settings

from .capture_index import index_part, resolve_revisits
from .checks import HAS_CAPTURES, INTACT
from .common_crawl import fetch_part, list_paths
from .crawler import crawl
from .crawler.spool import failures
from .download import download
from .errors import DownloadError, SourceError
from .schemas import Captures, CrawlFailures, Revisits
from .warc_files import is_url, list_files

# The sample web is small: files of 256 KiB give both cores something to do.
SAMPLE_WARC_BYTES = 256 << 10
WARC_BYTES = 256 << 20


class CrawlConfig(Frozen):
    """Where a crawl comes from. `edition`: of the sample web's pages and truth, where it is one of the sample web."""

    source: Source
    edition: int | None = None


def source_of(recipe: Recipe, name: str | None) -> Any:
    """The source of a crawl. Raises SourceError for a name that is neither in the recipe nor registered."""
    sources = recipe.sources()
    source = sources.get(name or "")
    if source is None:
        known = ", ".join(sorted(sources)) or "none"
        raise SourceError(f"no crawl {name!r}; there are {known}; register one with: llm-assets crawls add")
    return source


def chain(recipe: Recipe, name: str | None) -> list[str]:
    """The crawls that `name` continues, oldest first."""
    names: list[str] = []
    since = getattr(source_of(recipe, name), "since", None)
    while since is not None:
        names.insert(0, since)
        since = getattr(source_of(recipe, since), "since", None)
    return names


def _earlier(recipe: Recipe, name: str | None) -> list[Key]:
    return [("raw_warc", crawl_name) for crawl_name in chain(recipe, name)]


def _config(recipe: Recipe, name: str | None) -> CrawlConfig:
    source = source_of(recipe, name)
    return CrawlConfig(source=source, edition=EDITION if isinstance(source, SampleWeb) else None)


def _file_versions(config: CrawlConfig) -> Mapping[str, str]:
    source = config.source
    if not isinstance(source, WarcFiles):
        return {}
    if is_url(source.path):
        # Nothing of the content is known before the download: the URL, or the digest given with it, stands for it.
        return {"warc_files": source.sha256 or f"url:{source.path}"}
    return {"warc_files": external_version(external_digests(list_files(source), load_settings().digest_cache))}


def _locations(config: CrawlConfig) -> Mapping[str, str]:
    source = config.source
    if not isinstance(source, WarcFiles) or source.copy_files or is_url(source.path):
        return {}
    return {f"warc/{file}": str(path) for file, path in list_files(source).items()}


def build_raw_warc(step: Step, config: CrawlConfig) -> None:
    """Bring the crawl in, index it, and find the originals of its revisits."""
    source = config.source
    earlier = list(step.inputs.by_crawl("raw_warc").values())  # oldest first, as `chain` gives them
    if isinstance(source, WarcFiles):
        _build_warc_files(step, source)
    elif isinstance(source, CommonCrawl):
        _build_common_crawl(step, source)
    elif isinstance(source, SampleWeb):
        with serve(source) as (seeds, proxy, clock):
            plan = WebCrawl(
                seeds=seeds,
                scope="any",
                proxy=proxy,
                delay=0.0,
                concurrency=16,
                concurrency_per_host=16,
                retries=2,
                clock=clock,
                max_bytes=1 << 20,
                timeout=20.0,
                since=source.since,
            )
            _build_web_crawl(step, plan, earlier, SAMPLE_WARC_BYTES)
        write_ground_truth(step, source)
    else:
        _build_web_crawl(step, source, earlier, WARC_BYTES)
    resolve_revisits(step, earlier)


def _build_warc_files(step: Step, source: WarcFiles) -> None:
    if is_url(source.path):
        name = source.path.rsplit("/", 1)[-1].split("?")[0] or "download.warc.gz"
        path = download(source.path, step.staging / "warc" / name)
        if source.sha256 is not None and external_digests({name: path})[name] != source.sha256:
            path.unlink()
            raise DownloadError(f"{source.path}: its SHA-256 is not {source.sha256}")
        files, keep = {name: path}, "own"
    else:
        files, keep = list_files(source), "copy" if source.copy_files else "reference"
    sizes = {name: path.stat().st_size for name, path in files.items()}
    step.run_parts(
        index_part, {name: (str(path), name, step.partition, keep) for name, path in files.items()}, "WARC files", sizes
    )


def _build_common_crawl(step: Step, source: CommonCrawl) -> None:
    paths = list_paths(source, step.staging / ".download")
    tasks = {}
    for path in paths:
        name = path.rsplit("/", 1)[-1]
        tasks[name] = (f"{source.base_url.rstrip('/')}/{path}", name, step.partition, source.retries, source.backoff)
    if len(tasks) != len(paths):
        raise SourceError(f"{source.snapshot}: two of the chosen WARC files have the same name")
    step.run_parts(fetch_part, tasks, "WARC files")


def _build_web_crawl(step: Step, source: WebCrawl, earlier: list[Artifact], warc_bytes: int) -> None:
    def told(pages: int, queued: int) -> None:
        step.progress.tell(
            "progress", done=pages, total=pages + queued, unit="URLs", pages=pages, message=f"{queued} waiting"
        )

    files = crawl(step.partition, source, step.staging, earlier, told, warc_bytes)
    step.run_parts(
        index_part, {file.name: (str(file), file.name, step.partition, "own") for file in files}, "WARC files"
    )
    if step.finished("crawl_failures") is None:
        with step.part("crawl_failures") as part:
            part.table("crawl_failures", CrawlFailures).frame(frame := failures(step.staging / "spool"))
            part.stats["crawl_failures"] = {
                row["reason"]: row["len"]
                for row in frame.group_by("reason").agg(pl.len()).sort("reason").iter_rows(named=True)
            }


RAW_WARC = Stage(
    name="raw_warc",
    group="web",
    description="WARC files of one crawl (own, Common Crawl's, a user's, or the sample web's), and their index.",
    kinds=("warc", "parquet", "scrapy"),
    build=build_raw_warc,
    code_version="5",
    config=_config,
    config_of_crawl=True,
    per_crawl=True,
    external_inputs=_file_versions,
    earlier=_earlier,
    locations=_locations,
    tables={"captures": Captures, "revisits": Revisits},
    optional_tables={
        "crawl_failures": CrawlFailures,
        "truth_pages": TruthPages,
        "truth_facts": TruthFacts,
        "truth_prompts": TruthPrompts,
        "truth_questions": TruthQuestions,
    },
    main_table="captures",
    checks=(HAS_CAPTURES, INTACT),
    libraries=("fastwarc", "scrapy", "warcio", "tldextract", "polars", "duckdb"),
    retry=Retry(on=(DownloadError,)),
)
