"""`raw_warc`: the WARC files of one crawl, however it comes in, and their capture index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import polars as pl

from llm_assets.artifacts.external import external_digests, external_version
from llm_assets.artifacts.identity import EXECUTION_ONLY
from llm_assets.artifacts.stage import Key, Retry, Stage
from llm_assets.artifacts.step import Step, sum_stats
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import Blocklists, CommonCrawl, Recipe, SampleWeb, Source, WarcFiles, WebCrawl
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

from .capture_index import index_task, resolve_revisits
from .checks import HAS_CAPTURES, INTACT
from .common_crawl import fetch_task, list_paths
from .crawler import crawl
from .crawler.spool import failures
from .download import download
from .errors import DownloadError, EmptyCrawl, SourceError, WebError
from .last_try import remember_failure, why_empty
from .opt_out import read_opt_out
from .schemas import Captures, CrawlFailures, Revisits
from .warc_files import is_url, list_files

# The sample web is small: files of 256 KiB give both cores something to do.
SAMPLE_WARC_BYTES = 256 << 10
WARC_BYTES = 256 << 20


class CrawlConfig(Frozen):
    """Where a crawl comes from.

    edition: of the sample web's pages and truth, where it is one of the sample web.
    opt_out: the file that the recipe names. What it holds while a crawl runs is as little known afterwards as what the
    web held: it bears no identity.
    """

    source: Source
    edition: int | None = None
    opt_out: Annotated[str | None, EXECUTION_ONLY] = None


class ContinuedCrawlConfig(CrawlConfig):
    """A crawl that continues earlier ones. unlinked: what becomes of their pages that no link leads to any more."""

    unlinked: str = "asked for"


def source_of(recipe: Recipe, name: str | None) -> Any:
    """The source of a crawl. Raises SourceError for a name that is neither in the recipe nor registered."""
    sources = recipe.sources()
    source = sources.get(name or "")
    if source is None:
        known = ", ".join(sorted(sources)) or "none"
        raise SourceError(
            f"no crawl {name!r}; there are {known}; register one with: llm-assets crawls add. If it is a partition that "
            f"was left in Dagster: llm-assets crawls remove {name}. If it is a crawl of another recipe than "
            f"{recipe.name!r}, name that one (in the launchpad: resources.recipe.config.name)"
        )
    return source


def chain(recipe: Recipe, name: str | None) -> list[str]:
    """The crawls that `name` continues, oldest first."""
    source_of(recipe, name)  # or says which there are
    return chain_of(name or "", recipe.sources())[::-1]


def _earlier(recipe: Recipe, name: str | None) -> list[Key]:
    return [("raw_warc", crawl_name) for crawl_name in chain(recipe, name)]


def _config(recipe: Recipe, name: str | None) -> CrawlConfig:
    source = source_of(recipe, name)
    kind = CrawlConfig if getattr(source, "since", None) is None else ContinuedCrawlConfig
    edition = EDITION if isinstance(source, SampleWeb) else None
    return kind(source=source, edition=edition, opt_out=recipe.blocklists.opt_out)


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
    """Bring the crawl in, index it, and find the originals of its revisits.

    Raises EmptyCrawl where it stored no page, so that the next run tries again.
    """
    earlier = list(step.inputs.by_crawl("raw_warc").values())  # oldest first, as `chain` gives them
    try:
        _bring_in(step, config, earlier)
    except WebError as error:
        remember_failure(step.staging, error, failures(step.staging / "spool"))
        raise
    if isinstance(config.source, SampleWeb):
        write_ground_truth(step, config.source)
    resolve_revisits(step, earlier)


def _bring_in(step: Step, config: CrawlConfig, earlier: list[Artifact]) -> None:
    source = config.source
    opt_out = read_opt_out(Blocklists(opt_out=config.opt_out))
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
            _build_web_crawl(step, plan, earlier, opt_out, SAMPLE_WARC_BYTES)
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
    sizes = {name: path.stat().st_size for name, path in files.items()}
    step.run_tasks(
        index_task, {name: (str(path), name, step.partition, keep) for name, path in files.items()}, "WARC files", sizes
    )
    _refuse_empty_files(step)


def _build_common_crawl(step: Step, source: CommonCrawl) -> None:
    paths = list_paths(source, step.staging / ".download")
    tasks = {}
    for path in paths:
        name = path.rsplit("/", 1)[-1]
        tasks[name] = (f"{source.base_url.rstrip('/')}/{path}", name, step.partition, source.retries, source.backoff)
    if len(tasks) != len(paths):
        raise SourceError(f"{source.snapshot}: two of the chosen WARC files have the same name")
    step.run_tasks(fetch_task, tasks, "WARC files")
    _refuse_empty_files(step)


def _refuse_empty_files(step: Step) -> None:
    stats = sum_stats(marker["stats"] for marker in step.markers().values())
    if stats["captures"] == stats["corrupt"]:
        raise EmptyCrawl(
            f"crawl {step.partition} holds no page: no capture in {len(step.markers())} WARC files"
            + (f", {stats['corrupt']} stretches that cannot be read" if stats["corrupt"] else "")
        )


def _build_web_crawl(
    step: Step, source: WebCrawl, earlier: list[Artifact], opt_out: tuple[str, ...], warc_bytes: int
) -> None:
    def told(pages: int, queued: int) -> None:
        step.progress.tell(
            "progress", done=pages, total=pages + queued, unit="URLs", pages=pages, message=f"{queued} waiting"
        )

    files = crawl(step.partition, source, step.staging, earlier, told, warc_bytes, opt_out)
    step.run_tasks(
        index_task, {file.name: (str(file), file.name, step.partition, "own") for file in files}, "WARC files"
    )
    if step.finished("crawl_failures") is None:
        frame = failures(step.staging / "spool")
        reason = why_empty(step.partition, sorted((step.staging / "captures").glob("*.parquet")), frame)
        if reason is not None:
            raise EmptyCrawl(f"{reason}; the next run asks again")
        with step.task("crawl_failures") as task:
            task.table("crawl_failures", CrawlFailures).frame(frame)
            task.stats["crawl_failures"] = {
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
