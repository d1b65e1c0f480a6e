"""``llm-assets plan --crawl``: what curating a snapshot of Common Crawl will take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llm_assets.artifacts import Workspace
from llm_assets.artifacts.progress import human_size

from .crawl_forecast import PUBLISHED, CrawlForecast, Fleet, Snapshot, StageForecast, forecast
from .crawl_rates import CrawlRates, largest_crawl, measured_rates, usual_rates
from .plan_stages import BYTES_PER_TOKEN, duration

if TYPE_CHECKING:
    from rich.console import Console

COLUMNS = ("stage", "pages", "left", "tokens", "CPU-hours", "one process", "time", "reads", "writes")
GIGABIT = 1e9 / 8  # in bytes
# Penedo et al. (arXiv:2406.17557): 36 trillion tokens of 96 snapshots after extraction, language and the rules of
# Gopher. These have 260.57 billion pages, of which 44 % are English (github.com/commoncrawl/cc-crawl-statistics,
# plots/crawlsize/monthly.csv and plots/languages.csv).
FINEWEB_TOKENS = 36e12 / 96
FINEWEB_PAGE_TOKENS = round(36e12 / (0.44 * 260.57e9))


def print_crawl_plan(
    console: Console, workspace: Workspace, snapshot: str, files: int | None, fleet: Fleet, measured: str | None
) -> None:
    """Print the forecast of a snapshot. measured: the crawl whose rates are used; None takes the largest built one.

    Raises NotBuilt if `measured` is not built up to its clean corpus.
    """
    crawl = measured or largest_crawl(workspace, snapshot)
    rates = usual_rates() if crawl is None else measured_rates(workspace, crawl)
    planned = forecast(rates, Snapshot.like(snapshot, files, rates), fleet)
    console.print(crawl_table(planned))
    for line in crawl_lines(planned, rates):
        console.print(line, soft_wrap=True)


def crawl_table(planned: CrawlForecast) -> Any:
    """The stages and their sum, for rich."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage in planned.stages:
        table.add_row(*_cells(stage))
    hours = f"{planned.cpu_seconds / 3600:,.1f}"
    written = human_size(planned.stored)
    table.add_row("all", "", "", "", hours, duration(planned.single_seconds), duration(planned.seconds), "", written)
    return table


def _cells(stage: StageForecast) -> Iterator[str]:
    yield stage.stage
    yield large_number(stage.pages)
    yield "" if stage.kept_pages is None else large_number(stage.kept_pages)
    yield "" if stage.tokens is None else large_number(stage.tokens)
    yield f"{stage.cpu_seconds / 3600:,.1f}"
    yield duration(stage.single_seconds)
    yield duration(stage.seconds)
    yield human_size(stage.read)
    yield human_size(stage.written)


def crawl_lines(planned: CrawlForecast, rates: CrawlRates) -> Iterator[str]:
    """What the table does not show: where its numbers are from, transfer, waiting cores and costs."""
    snapshot, fleet = planned.snapshot, planned.fleet
    published = "as measured" if rates.snapshot == snapshot.name else f"as published of {PUBLISHED}"
    yield (
        f"{snapshot.name}: {snapshot.files:,} WARC files of {human_size(snapshot.file_bytes)} and "
        f"{snapshot.file_pages:,.0f} pages, {published}"
    )
    tokens = f"{rates.bytes_per_token:.2f} bytes per token" if rates.bytes_per_token else f"{BYTES_PER_TOKEN} assumed"
    yield (
        f"rates: {rates.source} ({rates.files:,} WARC files, {rates.captures:,} pages, "
        f"{human_size(rates.warc_bytes)}; {tokens}), on cores like its own"
    )
    network = "nothing is moved over a network"
    if fleet.bytes_per_second is not None:
        speed = fleet.bytes_per_second / GIGABIT
        network = f"{human_size(planned.moved)} over a network of {speed:,g} Gbit/s"
    yield from _text_lines(planned, rates)
    straggling = sum(stage.schedule.straggling for stage in planned.stages)
    yield (
        f"{fleet.cores:,} cores, {network}; of the {duration(planned.seconds)}, one process works alone for "
        f"{duration(planned.single_seconds)}, on one machine (its {fleet.machine_cores} cores in DuckDB), and cores "
        f"wait for the last tasks for {duration(straggling)}"
    )
    ideal = planned.cpu_seconds / 3600 * fleet.core_hour_price
    yield (
        f"cost: ${planned.core_cost:,.2f} for {fleet.cores:,} cores from start to end at ${fleet.core_hour_price:g} an "
        f"hour (${planned.released_core_cost:,.2f} if one machine alone is kept while one process works, "
        f"${ideal:,.2f} for the CPU-hours alone), and ${planned.storage_cost:,.2f} a month for "
        f"{human_size(planned.stored)} at ${fleet.storage_price:g} per GB"
    )


def _text_lines(planned: CrawlForecast, rates: CrawlRates) -> Iterator[str]:
    """How much text the plan takes a page to have, if the rates are of other pages than the snapshot's."""
    language = next(stage for stage in planned.stages if stage.stage == "language_filtered_text")
    if rates.snapshot == planned.snapshot.name or not language.kept_pages or language.tokens is None:
        return
    share = language.kept_pages / planned.snapshot.pages
    yield (
        f"pages are taken to be like those measured, of which {share:.0%} are left by language, with "
        f"{language.tokens / language.kept_pages:,.0f} tokens each before the quality rules. FineWeb's authors report "
        f"{large_number(FINEWEB_TOKENS)} tokens per snapshot after language and Gopher's rules: {FINEWEB_PAGE_TOKENS} "
        f"per English page. To plan with pages of the snapshot itself: llm-assets crawls add NAME --common-crawl "
        f"{planned.snapshot.name} --files 4"
    )


def large_number(value: float) -> str:
    """A number for people: ``2.64 B``, ``26.4 M``, ``840``."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if value >= size:
            return f"{value / size:,.2f} {unit}"
    return f"{value:,.0f}"
