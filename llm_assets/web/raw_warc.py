"""`raw_warc`: the WARC files of one crawl, or the user's files of texts, and their capture index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import polars as pl

from llm_assets.artifacts.external import external_digests, external_version
from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.artifacts.stage import Key, Retry, Stage
from llm_assets.artifacts.step import Step, sum_stats
from llm_assets.artifacts.store import Artifact
from llm_assets.artifacts.tables import read_table
from llm_assets.recipes import (
    Blocklists,
    CommonCrawl,
    CommonCrawlIndex,
    Recipe,
    SampleWeb,
    Source,
    Texts,
    WarcFiles,
    WebCrawl,
)
from llm_assets.recipes.frozen import Frozen
from llm_assets.recipes.recrawls import chain_of
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

from .capture_index import index_task, record_site_signals, resolve_revisits
from .checks import HAS_CAPTURES, INTACT
from .common_crawl import fetch_task, list_paths
from .crawler import CrawlJob, crawl
from .crawler.spool import failures
from .download import RetryPolicy, download
from .errors import DownloadError, EmptyCrawl, SourceError, WebError
from .indexed_captures import build_from_index
from .last_try import remember_failure, why_empty
from .opt_out import read_opt_out
from .schemas import Captures, CrawlFailures, LocatedCaptures, OptOutSignals, Revisits, SitePolicies
from .text_files import index_texts_task
from .warc_files import is_url, list_files

# The sample web is small; files of 256 KiB give several processes something to do.
SAMPLE_WARC_BYTES = 256 << 10
WARC_BYTES = 256 << 20


class CrawlConfig(Frozen):
    """The source of a crawl.

    edition: version of the sample web's pages and ground truth, for a crawl of the sample web. opt_out: the file that
    the recipe names. It is no part of the identity: like the web itself, the list is known only while the crawl runs.
    """

    source: Source
    edition: int | None = None
    opt_out: Annotated[str | None, EXECUTION_ONLY] = None


class ContinuedCrawlConfig(CrawlConfig):
    """A crawl that continues earlier ones. unlinked_pages: what it does with their pages that are no longer linked."""

    unlinked_pages: str = "requested"


def source_of(recipe: Recipe, name: str | None) -> Any:
    """The source of a crawl. Raises SourceError for a name that is neither in the recipe nor registered."""
    sources = recipe.sources()
    source = sources.get(name or "")
    if source is None:
        known = ", ".join(sorted(sources)) or "none"
        raise SourceError(
            f"no crawl {name!r}; available: {known}; register one with: llm-assets crawls add. If it is a partition "
            f"that was left in Dagster: llm-assets crawls remove {name}. If it belongs to another recipe than "
            f"{recipe.name!r}, name that recipe (in the launchpad: resources.recipe.config.name)"
        )
    return source


def continued_crawls(recipe: Recipe, name: str | None) -> list[str]:
    """The crawls that `name` continues, oldest first. Raises SourceError for an unknown name."""
    source_of(recipe, name)
    return chain_of(name or "", recipe.sources())[::-1]


def _earlier(recipe: Recipe, name: str | None) -> list[Key]:
    return [("raw_warc", crawl_name) for crawl_name in continued_crawls(recipe, name)]


def _config(recipe: Recipe, name: str | None) -> CrawlConfig:
    source = source_of(recipe, name)
    config_type = CrawlConfig if getattr(source, "since", None) is None else ContinuedCrawlConfig
    edition = EDITION if isinstance(source, SampleWeb) else None
    return config_type(source=source, edition=edition, opt_out=recipe.blocklists.opt_out)


def _file_versions(config: CrawlConfig) -> Mapping[str, str]:
    source = config.source
    if not isinstance(source, (WarcFiles, Texts)):
        return {}
    if isinstance(source, WarcFiles) and is_url(source.path):
        # The content is unknown before the download, so the URL, or the digest given with it, stands for it.
        return {"warc_files": source.sha256 or f"url:{source.path}"}
    version = external_version(external_digests(list_files(source), load_settings().digest_cache))
    return {source.kind: version}


def _locations(config: CrawlConfig) -> Mapping[str, str]:
    source = config.source
    if not isinstance(source, (WarcFiles, Texts)):
        return {}
    if isinstance(source, WarcFiles) and (source.copy_files or is_url(source.path)):
        return {}
    return {f"warc/{file}": str(path) for file, path in list_files(source).items()}


def build_raw_warc(step: Step, config: CrawlConfig) -> None:
    """Obtain the crawl's WARC files, index them, and find the originals of the revisits.

    Raises EmptyCrawl if the crawl stored no page, so that the next run tries again.
    """
    earlier = list(step.inputs.by_crawl("raw_warc").values())  # oldest first, like `continued_crawls`
    try:
        _obtain(step, config, earlier)
    except WebError as error:
        remember_failure(step.staging, error, _failures(step))
        raise
    if isinstance(config.source, SampleWeb):
        write_ground_truth(step, config.source)
    resolve_revisits(step, earlier)
    record_site_signals(step, earlier)


def _failures(step: Step) -> pl.DataFrame:
    """The URLs that an unfinished build has found and not stored."""
    tables = step.table("crawl_failures")
    return read_table(tables) if tables else failures(step.staging / "spool")


def _obtain(step: Step, config: CrawlConfig, earlier: list[Artifact]) -> None:
    source = config.source
    opt_out = read_opt_out(Blocklists(opt_out=config.opt_out))
    if isinstance(source, WarcFiles):
        _build_warc_files(step, source)
    elif isinstance(source, Texts):
        _build_texts(step, source)
    elif isinstance(source, CommonCrawl):
        _build_common_crawl(step, source)
    elif isinstance(source, CommonCrawlIndex):
        build_from_index(step, source)
    elif isinstance(source, SampleWeb):
        with serve(source) as (seeds, proxy, clock):
            sample_source = WebCrawl(
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
                tdm_policies=False,  # it has none
            )
            _build_web_crawl(step, sample_source, earlier, opt_out, SAMPLE_WARC_BYTES)
    else:
        _build_web_crawl(step, source, earlier, opt_out, WARC_BYTES)


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
    tasks = {name: (path, name, step.partition, keep) for name, path in files.items()}
    step.run_tasks(index_task, tasks, "WARC files", engine=step.engine.on_this_machine)  # where the files are
    _refuse_empty_files(step)


def _build_texts(step: Step, source: Texts) -> None:
    files = list_files(source)
    tasks = {name: (path, step.partition, source) for name, path in files.items()}
    step.run_tasks(index_texts_task, tasks, "files", engine=step.engine.on_this_machine)  # where the files are
    _refuse_empty_files(step, "row", "files of texts")


def _build_common_crawl(step: Step, source: CommonCrawl) -> None:
    paths = list_paths(source, step.staging / ".download")
    base_url, policy = source.base_url.rstrip("/"), RetryPolicy(source.retries, source.backoff)
    tasks = {}
    for path in paths:
        name = path.rsplit("/", 1)[-1]
        tasks[name] = (f"{base_url}/{path}", name, step.partition, policy)
    if len(tasks) != len(paths):
        raise SourceError(f"{source.snapshot}: two of the selected WARC files have the same name")
    step.run_tasks(fetch_task, tasks, "WARC files")
    _refuse_empty_files(step)


def _refuse_empty_files(step: Step, capture: str = "capture", files: str = "WARC files") -> None:
    stats = sum_stats(marker["stats"] for marker in step.markers().values())
    if stats["captures"] == stats["corrupt"]:
        stretches = "rows" if capture == "row" else "stretches"
        corrupt = f", {stats['corrupt']} {stretches} that cannot be read" if stats["corrupt"] else ""
        raise EmptyCrawl(
            f"crawl {step.partition} holds no page: no {capture} in {len(step.markers())} {files}{corrupt}"
        )


def _build_web_crawl(
    step: Step, source: WebCrawl, earlier: list[Artifact], opt_out: tuple[str, ...], warc_bytes: int
) -> None:
    def report_progress(pages: int, queued: int) -> None:
        step.progress.report(
            "progress", done=pages, total=pages + queued, unit="URLs", pages=pages, message=f"{queued} waiting"
        )

    job = CrawlJob(step.partition, source, step.staging, tuple(earlier), warc_bytes, opt_out)
    files = crawl(job, report_progress)
    tasks = {file.name: (file, file.name, step.partition, "own") for file in files}
    step.run_tasks(index_task, tasks, "WARC files", engine=step.engine.on_this_machine)  # where the files are
    if step.finished_task("crawl_failures") is None:
        frame = failures(step.staging / "spool")
        reason = why_empty(step.partition, step.table("captures"), frame)
        if reason is not None:
            raise EmptyCrawl(f"{reason}; the next run tries again")
        with step.task("crawl_failures") as task:
            task.table("crawl_failures", CrawlFailures).frame(frame)
            task.stats["crawl_failures"] = dict(frame.group_by("reason").agg(pl.len()).sort("reason").iter_rows())


def without_crawls(recipe: Any) -> str | None:
    """Why a recipe is built without a corpus: it reads no crawl, and none that will be registered. None if it does."""
    return None if recipe.reads_crawls() else "the recipe reads no crawl"


RAW_WARC = Stage(
    name="raw_warc",
    group="web",
    description="The WARC files of one crawl (fetched by the crawler, downloaded from Common Crawl, supplied by the "
    "user, or taken from the sample web) or the user's files of texts, and an index of their captures or rows.",
    kinds=("warc", "parquet", "scrapy"),
    build=build_raw_warc,
    code_version="9",
    config=_config,
    config_per_crawl=True,
    per_crawl=True,
    left_out=without_crawls,
    external_inputs=_file_versions,
    earlier_artifacts=_earlier,
    locations=_locations,
    tables={
        "captures": Captures,
        "revisits": Revisits,
        "opt_out_signals": OptOutSignals,
        "site_policies": SitePolicies,
    },
    optional_tables={
        "crawl_failures": CrawlFailures,
        "located_captures": LocatedCaptures,
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
