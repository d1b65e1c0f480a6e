"""Runs a crawler process, and seals what it stored into WARC files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import WebCrawl

from ..errors import CrawlError
from .exchange import warc_date
from .plan import CrawlPlan, write_earlier
from .spool import WarcOutput, seal

SEALED = "sealed.json"
LOG_TAIL_BYTES = 2_000
Progress = Callable[[int, int], None]  # pages stored, URLs queued


@dataclass(frozen=True)
class CrawlJob:
    """One crawl.

    folder: gets the subfolders ``spool`` and ``warc``. earlier: the crawls that this one continues, oldest first.
    warc_bytes: size at which a WARC file is full. opt_out: domains and URL prefixes that are not requested.
    """

    name: str
    source: WebCrawl
    folder: Path
    earlier: tuple[Artifact, ...] = ()
    warc_bytes: int = 256 << 20
    opt_out: tuple[str, ...] = ()


def crawl(job: CrawlJob, on_progress: Progress) -> list[Path]:
    """Run a crawl, or continue an interrupted one, and return its WARC files.

    Raises CrawlError with the end of the crawler's log if its process fails.
    """
    spool, warc = job.folder / "spool", job.folder / "warc"
    sealed = spool / SEALED
    if sealed.exists():
        return [warc / file for file in json.loads(sealed.read_text())]
    spool.mkdir(parents=True, exist_ok=True)
    earlier_path = None
    if job.earlier:
        earlier_path = str(spool / "earlier.parquet")
        write_earlier(job.earlier, earlier_path)
    plan = CrawlPlan(crawl=job.name, source=job.source, spool=str(spool), earlier=earlier_path, opt_out=job.opt_out)
    plan_path, log = spool / "plan.json", spool / "crawl.log"
    write_atomic(plan_path, plan.model_dump_json(indent=2).encode())
    status = _run_process(plan_path, log, on_progress)
    if status != 0:
        raise CrawlError(f"the crawler of {job.name} ended with status {status}: {_tail(log)}")
    date, software = warc_date(job.source.clock), f"llm-assets (Scrapy {version('scrapy')})"
    files = seal(spool, WarcOutput(warc, job.name, date, software, job.warc_bytes))
    write_atomic(sealed, json.dumps([file.name for file in files]).encode())
    return files


def _run_process(plan_path: Path, log: Path, on_progress: Progress) -> int:
    """Run the crawler process to its end and pass on the progress that it prints; returns its exit status."""
    command = [sys.executable, "-m", "llm_assets.web.crawler", str(plan_path)]
    pipe = subprocess.PIPE
    with (
        open(log, "ab") as errors,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    report = json.loads(line)
                    on_progress(report["pages"], report["queued"])
            return process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise


def _tail(log: Path) -> str:
    text = log.read_bytes()[-LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return text or "it left no log"
