"""`llm-assets plan --crawl`: rates from the store's records, and what follows from them for a snapshot."""

from dataclasses import replace

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.artifacts import NotBuilt, materialize
from llm_assets.cli import cli, crawl_rates
from llm_assets.cli.crawl_forecast import (
    FILE_PAGES,
    KEPT_OF_A_SNAPSHOT,
    SNAPSHOT_PAGES,
    Fleet,
    Snapshot,
    forecast,
    kept_of_duplicates,
)
from llm_assets.cli.crawl_rates import (
    DEDUPLICATION,
    IN_DUCKDB,
    ONE_PROCESS,
    READS,
    Cost,
    DuplicateGrowth,
    largest_crawl,
    measured_rates,
    usual_rates,
)
from llm_assets.compute import LocalEngine
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import Recipe, WarcFiles
from tests.support.warcs import page, story, write

SNAPSHOT = "CC-MAIN-2026-43"
NEEDS_A_TOKENIZER = "token_shards"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A crawl of two files, of five and three pages, one of them twice, built up to its clean corpus."""
    folder = tmp_path_factory.mktemp("plan")
    for name, numbers in {"a": (0, 1, 2, 3, 3), "b": (4, 5, 6)}.items():
        pages = [page(f"http://host.example/{name}{place}", story(n)) for place, n in enumerate(numbers)]
        write(folder / "warc" / f"{name}.warc.gz", pages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_ASSETS_DATA", str(folder / "data"))
        built = open_workspace(Recipe(name="plan", crawls={"mine": WarcFiles(path=str(folder / "warc"))}))
    built.engine = LocalEngine(1)
    for stage in GRAPH:
        if stage.group in ("web", "curation"):
            materialize(stage, "mine" if stage.per_crawl else None, built)
    return built


def test_the_forecast_of_the_measured_crawl_is_its_record(workspace):
    rates = measured_rates(workspace, "mine")
    planned = forecast(rates, Snapshot("mine", rates.files, rates.warc_bytes / 2, rates.captures / 2), Fleet(1))
    assert {stage.stage for stage in planned.stages} == READS.keys() - {NEEDS_A_TOKENIZER}
    for stage in planned.stages:
        record = workspace.store.latest(stage.stage, "mine" if GRAPH[stage.stage].per_crawl else None).record
        assert stage.cpu_seconds == pytest.approx(record.timings["cpu_seconds"], rel=0.01, abs=2e-3)
        own_bytes = sum(entry.bytes for name, entry in record.files.items() if not name.startswith("warc/"))
        assert stage.written - (rates.warc_bytes if stage.stage == "raw_warc" else 0) == pytest.approx(own_bytes)
        if "kept" in record.stats and stage.kept_pages is not None:
            assert stage.kept_pages == pytest.approx(record.stats["kept"])
            assert stage.pages == pytest.approx(record.stats["pages"])
    assert [stage.schedule.seconds for stage in planned.stages if stage.stage in ONE_PROCESS] == [0.0, 0.0]
    assert planned.cpu_seconds < planned.seconds * 2 and planned.seconds < planned.cpu_seconds * 2


def test_a_crawl_of_the_snapshot_is_preferred_and_an_unbuilt_one_is_an_error(workspace):
    assert largest_crawl(workspace, SNAPSHOT) == "mine"
    with pytest.raises(NotBuilt, match="crawl other: raw_warc is not built"):
        measured_rates(replace(workspace, recipe=Recipe(name="plan", crawls={"other": WarcFiles(path="/x")})), "other")


def test_captures_that_an_index_chose_are_no_sample_of_their_snapshot(workspace, monkeypatch):
    rates = {}
    for kind in ("common_crawl", "common_crawl_index"):
        source = {"kind": kind, "snapshot": SNAPSHOT}
        raw = workspace.store.latest("raw_warc", "mine").record
        monkeypatch.setitem(raw.fields["config"], "source", source)
        monkeypatch.setattr(workspace.store, "latest", with_record(workspace.store.latest, raw))
        rates[kind] = measured_rates(workspace, "mine")
        monkeypatch.undo()
    assert (rates["common_crawl"].snapshot, rates["common_crawl_index"].snapshot) == (SNAPSHOT, "")
    # As many files of four pages as have the pages of a snapshot; otherwise files as published.
    measured = Snapshot.like(SNAPSHOT, None, rates["common_crawl"])
    assert measured.file_pages == 4 and measured.pages == pytest.approx(SNAPSHOT_PAGES, rel=1e-6)
    assert Snapshot.like(SNAPSHOT, None, rates["common_crawl_index"]) == Snapshot(SNAPSHOT, 64_000)


def with_record(latest, record):
    """`Store.latest`, with this record for its artifact."""

    def find(asset, partition=None):
        artifact = latest(asset, partition)
        return replace(artifact, record=record) if asset == record.asset else artifact

    return find


def test_pages_of_earlier_crawls_are_no_duplicates_of_this_one(workspace, monkeypatch):
    alone = measured_rates(workspace, "mine").duplicates
    scan = crawl_rates.scan_table

    def with_earlier_pages(paths):
        frame = scan(paths)
        if "cluster" not in frame.collect_schema():
            return frame
        return pl.concat([frame, *[frame.with_columns(crawl=pl.lit("earlier"))] * 3])

    monkeypatch.setattr(crawl_rates, "scan_table", with_earlier_pages)
    assert measured_rates(workspace, "mine").duplicates == alone


def test_duplicates_grow_to_what_whole_snapshots_have(workspace):
    growth = measured_rates(workspace, "mine").duplicates
    # One page of eight is a duplicate. Half of the pages hold the pair with probability 1/4.
    assert growth.odds == pytest.approx(1 / 7) and growth.kept_share(1.0) == pytest.approx(7 / 8)
    assert growth.kept_share(0.5) == pytest.approx((4 - 1 / 4) / 4)
    rates = replace(usual_rates(), captures=1000, duplicates=growth)
    assert kept_of_duplicates(rates, 1000) == pytest.approx(1.0)
    shares = [kept_of_duplicates(rates, pages) for pages in (1000, 2000, 4000, 1e6, 1e9)]
    assert shares == sorted(shares, reverse=True) and shares[-1] == pytest.approx(KEPT_OF_A_SNAPSHOT * 8 / 7)
    assert DuplicateGrowth(0.0, 0.0).kept_share(1e6) == 1.0


def test_more_files_take_more_and_more_cores_take_less_time():
    rates = usual_rates()
    few, many = (forecast(rates, Snapshot(SNAPSHOT, files), Fleet(8)) for files in (20, 40))
    assert many.cpu_seconds == pytest.approx(2 * few.cpu_seconds, rel=0.02)
    assert many.snapshot.pages == 40 * FILE_PAGES
    for small, large in zip(few.stages, many.stages, strict=True):
        times = 1 if small.stage == "corpus_report" else 2
        assert large.written == pytest.approx(times * small.written, rel=0.1)
    faster = forecast(rates, Snapshot(SNAPSHOT, 40), Fleet(32))
    assert faster.cpu_seconds == many.cpu_seconds and many.single_seconds < faster.seconds < many.seconds
    assert faster.core_cost == pytest.approx(faster.seconds / 3600 * 32 * 0.04)
    slow = forecast(rates, Snapshot(SNAPSHOT, 40), Fleet(32, bytes_per_second=1e8))
    assert slow.seconds > 3 * 40 * slow.snapshot.file_bytes / 1e8  # downloaded, stored, and read again
    assert slow.moved == sum(stage.read + stage.written for stage in slow.stages)


def test_tables_grow_with_pages_and_extraction_with_the_bytes_of_its_files():
    rates = usual_rates()
    small, large = (
        {stage.stage: stage for stage in forecast(rates, Snapshot(SNAPSHOT, 10, size, 1000.0), Fleet(8)).stages}
        for size in (1e8, 1e9)
    )
    for name in ("extracted_text", "language_filtered_text", "page_versions"):
        assert (large[name].written, large[name].tokens) == (small[name].written, small[name].tokens)
    assert large["extracted_text"].cpu_seconds > 5 * small["extracted_text"].cpu_seconds
    assert large["extracted_text"].read - small["extracted_text"].read == pytest.approx(10 * 9e8)
    # Compressed, with the place of every page, texts take less than their bytes.
    text_bytes = small["extracted_text"].tokens * rates.bytes_per_token
    assert small["extracted_text"].written < text_bytes


def test_duckdb_uses_the_cores_of_one_machine_which_reads_over_the_network():
    rates, snapshot = usual_rates(), Snapshot(SNAPSHOT, 1000)
    one_core, machine = (
        {stage.stage: stage for stage in forecast(rates, snapshot, Fleet(64, None, cores)).stages} for cores in (1, 16)
    )
    assert {name for name in machine if machine[name].single_seconds < one_core[name].single_seconds} == set(IN_DUCKDB)
    for name in IN_DUCKDB:
        assert "duckdb" in GRAPH[name].kinds
        assert machine[name].single_seconds == pytest.approx(machine[name].cpu_seconds / 16)
    slow = forecast(rates, snapshot, Fleet(64, 1e9, 16))
    for stage in slow.stages:
        if stage.stage in IN_DUCKDB:
            moved = stage.read + stage.written
            assert stage.read > 0
            assert stage.single_seconds == pytest.approx(moved / 1e9 + machine[stage.stage].single_seconds)
    # While one process works, its machine alone has to be paid.
    alone, together = slow.single_seconds, slow.seconds - slow.single_seconds
    assert slow.released_core_cost == pytest.approx((64 * together + 16 * alone) / 3600 * 0.04)


def test_pages_that_duplicates_cost_are_missing_in_the_stages_after_them():
    planned = {stage.stage: stage for stage in forecast(usual_rates(), Snapshot(SNAPSHOT, 1000), Fleet(8)).stages}
    assert planned["clean_corpus"].pages == pytest.approx(planned[DEDUPLICATION].kept_pages)
    assert planned[NEEDS_A_TOKENIZER].pages == pytest.approx(planned["clean_corpus"].kept_pages)
    stages = ("extracted_text", "quality_filtered_text", DEDUPLICATION, "clean_corpus")
    pages = [planned[name].kept_pages for name in stages]
    assert pages == sorted(pages, reverse=True)


@given(st.floats(0.0, 5.0), st.floats(1e-6, 1.0), st.lists(st.integers(1, 10**6), min_size=2, max_size=8, unique=True))
def test_pieces_of_different_sizes_show_what_does_not_grow(fixed, rate, sizes):
    fitted = Cost.fitted([(size, fixed + rate * size) for size in sizes])
    assert fitted.of(sum(sizes), len(sizes)) == pytest.approx(len(sizes) * fixed + rate * sum(sizes), rel=1e-6)
    assert fitted.fixed == pytest.approx(fixed, rel=1e-3, abs=1e-6 * rate * max(sizes))


@given(st.lists(st.tuples(st.integers(1, 10**6), st.floats(0.0, 1e3)), min_size=1, max_size=8))
def test_no_cost_is_negative(points):
    fitted = Cost.fitted(points)
    assert fitted.fixed >= 0 and fitted.rate >= 0


@given(st.floats(1e-3, 1e4), st.integers(1, 10**9), st.integers(1, 50), st.floats(0.0, 1e3))
def test_a_measured_cost_adds_up_to_what_was_measured(seconds, units, count, fixed):
    cost = Cost.measured(seconds, units, count, fixed)
    assert cost.of(units, count) == pytest.approx(seconds) and 0 <= cost.fixed <= seconds / count / 2 * (1 + 1e-9)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_DATA", str(tmp_path / "data"))
    return lambda *words: CliRunner().invoke(cli, ["plan", *words])


def test_the_command_says_where_its_rates_are_from(run):
    outcome = run("--crawl", SNAPSHOT, "--files", "10", "--cores", "1000", "--bandwidth", "10")
    assert outcome.exit_code == 0, outcome.output
    assert f"{SNAPSHOT}: 10 WARC files of 1.0 GB and 45,527 pages, as published of CC-MAIN-2019-09" in outcome.output
    assert "rates: measured with benchmarks/snapshot_plan.py" in outcome.output
    assert "1,000 cores" in outcome.output and "over a network of 10 Gbit/s" in outcome.output
    assert "0.04 an hour" in outcome.output and "if one machine alone is kept" in outcome.output
    assert "375.00 B tokens per snapshot after language and Gopher's rules" in outcome.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--crawl", "latest"), "not the id of a snapshot, such as CC-MAIN-2026-43"),
        (("--cores", "8", "--files", "2"), "--files, --cores: only with --crawl"),
        (("--core-price", "0.04", "--storage-price", "1"), "--core-price, --storage-price: only with --crawl"),
        (("--cores-per-machine", "8"), "--cores-per-machine: only with --crawl"),
        (("--crawl", SNAPSHOT, "--depth", "12"), "--depth: of a training run, not with --crawl"),
        (("--crawl", SNAPSHOT, "--device", "cpu", "--processes", "1"), "--device, --processes: of a training run"),
        (("--crawl", SNAPSHOT, "--core-price", "-1"), "-1.0 is not in the range x>=0"),
        (("--crawl", SNAPSHOT, "--storage-price", "-1"), "-1.0 is not in the range x>=0"),
        (("--crawl", SNAPSHOT, "--core-price", "nan"), "nan is not a finite number"),
        (("--crawl", SNAPSHOT, "--bandwidth", "inf"), "inf is not a finite number"),
        (("--crawl", SNAPSHOT, "--files", "0"), "0 is not in the range x>=1"),
    ],
)
def test_options_that_do_not_go_together_are_an_error(run, words, message):
    outcome = run(*words)
    assert outcome.exit_code == 2 and message in outcome.output


def test_rates_of_a_crawl_that_is_not_registered_are_an_error(run):
    assert "no crawl 'absent' is registered; available:" in str(run("--crawl", SNAPSHOT, "--rates", "absent").exception)
