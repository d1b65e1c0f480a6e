"""Run a crawler process and seal what it stored."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from llm_assets.artifacts.record import write_atomic
from llm_assets.artifacts.store import Artifact
from llm_assets.recipes import WebCrawl

from ..errors import CrawlError
from .plan import CrawlPlan, write_earlier
from .spool import seal, warc_date

SEALED = "sealed.json"


def crawl(
    name: str,
    source: WebCrawl,
    folder: Path,
    earlier: list[Artifact],
    on_progress: Callable[[int, int], None],
    warc_bytes: int = 256 << 20,
    opt_out: tuple[str, ...] = (),
) -> list[Path]:
    """Crawl `source` into ``folder/warc``; `earlier` are the crawls it continues, oldest first.

    warc_bytes: size at which a WARC file is full. opt_out: domains and URL prefixes that are not asked for.
    Goes on where an interrupted call stopped. Raises CrawlError with the end of the crawler's log.
    """
    spool, warc = folder / "spool", folder / "warc"
    sealed = spool / SEALED
    if sealed.exists():
        return [warc / file for file in json.loads(sealed.read_text())]
    spool.mkdir(parents=True, exist_ok=True)
    known = None
    if earlier:
        known = str(spool / "earlier.parquet")
        write_earlier(earlier, known)
    plan = CrawlPlan(crawl=name, source=source, spool=str(spool), earlier=known, opt_out=opt_out)
    write_atomic(spool / "plan.json", plan.model_dump_json(indent=2).encode())
    log = spool / "crawl.log"
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "llm_assets.web.crawler", str(spool / "plan.json")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("{"):
                    report = json.loads(line)
                    on_progress(report["pages"], report["queued"])
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()
    if code != 0:
        raise CrawlError(f"the crawler of {name} ended with status {code}: {_tail(log)}")
    date = warc_date(source.clock)
    files = seal(spool, warc, name, date, f"llm-assets (Scrapy {version('scrapy')})", warc_bytes)
    write_atomic(sealed, json.dumps([file.name for file in files]).encode())
    return files


def _tail(log: Path, size: int = 2_000) -> str:
    data = log.read_bytes()[-size:].decode("utf-8", "replace").strip()
    return data or "it left no log"
