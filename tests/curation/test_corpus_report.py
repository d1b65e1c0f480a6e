"""The corpus report: what it stores, and the HTML page that is drawn from that alone."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.views import draw_views
from llm_assets.curation.corpus_report import CORPUS_REPORT, REPORT, VALUES, draw_report, report_config
from llm_assets.curation.ledger import BALANCE, imbalance
from llm_assets.recipes import Blocklists, Language, Quality, Recipe, SampleWeb, laptop
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.sample_web.pages import HELD_OUT_SITE
from llm_assets.sql import query, statement
from tests.support.corpus import build_corpus, corpus_workspace


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The report on a small sample web, and the workspace it was built in."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "opt_out.txt").write_text("")
    lists = Blocklists(opt_out=str(folder / "opt_out.txt"))
    recipe = Recipe(name="t", crawls={"c": SampleWeb(scale=0.05)}, blocklists=lists)
    workspace = corpus_workspace(recipe, folder / "store")
    return build_corpus(workspace), workspace


def test_the_page_is_drawn_from_stored_files_alone(built, tmp_path):
    artifacts, workspace = built
    stored = artifacts["corpus_report"]
    report = replace(stored, folder=shutil.copytree(stored.path, tmp_path / "report"))
    page = report.view(REPORT)
    assert REPORT not in report.record.files and report.record.views == [REPORT]
    first = page.read_text()
    assert draw_report(report, {}, report_config(workspace.recipe, None)) == first
    page.unlink()
    version = report.data_version
    assert draw_views(workspace.resolver().resolve("corpus_report", None), report) == [REPORT]
    assert page.read_text() == first and report.data_version == version
    values = json.loads(report.file(VALUES).read_text())
    assert values["kept_samples"][0]["url"] in first and values["rejected_samples"][0]["rule"] in first
    for heading in (
        "Funnel",
        "Rejects by rule",
        "Compared with the ground truth",
        "Pages of the corpus",
        "Rejected pages",
    ):
        assert heading in first


def test_the_config_holds_what_the_report_shows_and_nothing_else():
    recipe = laptop()
    config = report_config(recipe, None)
    assert config.targets == ("en",) and config.rule_sources["min_words"]
    assert report_config(recipe.replace(language=Language(targets=("en", "de"))), None) != config
    assert report_config(recipe.replace(quality=Quality(thresholds={"min_words": None})), None) != config
    other_bounds = recipe.report.replace(max_duplicate_share=0.1)
    assert report_config(recipe.replace(name="other", report=other_bounds), None) == config


def test_the_preview_is_markdown(built):
    artifacts, _ = built
    assert CORPUS_REPORT.show is not None
    previews = CORPUS_REPORT.show(artifacts["corpus_report"])
    assert list(previews) == ["preview"] and "| raw_warc |" in previews["preview"]


def test_the_ledger_balances_and_reports_its_numbers(built):
    artifacts, workspace = built
    resolution = workspace.resolver().resolve("reject_ledger", "c")
    outcome = examine(BALANCE, resolution, workspace.recipe, workspace.store).outcome
    assert outcome.passed and outcome.numbers["kept"] + outcome.numbers["rejected"] == outcome.numbers["captures"]
    pages = sum(pl.read_parquet(path).height for path in artifacts["clean_corpus/c"].table("text"))
    assert outcome.numbers["kept"] == pages


def test_a_search_only_site_is_in_the_corpus_and_withheld_from_training_by_its_host_alone(built):
    """The training pages are those of a crawl without the site: no cluster joins its pages to pages elsewhere."""
    artifacts, _ = built
    files = artifacts["clean_corpus/c"].table("text")
    pages = pl.concat([pl.read_parquet(path) for path in files])
    archive = pages.filter(pl.col("host") == HELD_OUT_SITE)
    assert len(archive) > 20
    training_pages = TrainingPages(search_only_hosts=(HELD_OUT_SITE,)).scan(files, ["url", "text"]).collect()
    assert training_pages.equals(pages.filter(pl.col("host") != HELD_OUT_SITE).select("url", "text"))
    clusters = pl.concat([pl.read_parquet(path) for path in artifacts["deduplicated_text/c"].table("clusters")])
    hosts = clusters.with_columns(archive=pl.col("url").str.contains(HELD_OUT_SITE, literal=True))
    assert len(clusters) and not hosts["archive"].any()


def test_captures_are_balanced_file_by_file(tmp_path):
    """The result is that of all files at once: a lost capture, one that is there twice, and a row of none."""
    tables = {"captures": {}, "text": {}, "rejects": {}}
    for name in ("a", "b"):
        places = [{"warc_file": name, "warc_offset": offset, "url": f"http://{name}/{offset}"} for offset in range(6)]
        tables["captures"][name] = places
        tables["text"][name] = [*places[:3], *([places[0]] if name == "b" else [])]
        tables["rejects"][name] = places[3 : 5 if name == "a" else 6]
    tables["rejects"]["b"].append({"warc_file": "b", "warc_offset": 99, "url": "http://b/99"})
    artifacts = {}
    for table, files in tables.items():
        (tmp_path / table).mkdir()
        for name, rows in files.items():
            pl.DataFrame(rows).write_parquet(tmp_path / table / f"{name}.parquet")
        artifacts[table] = SimpleNamespace(table=lambda _, table=table: sorted((tmp_path / table).glob("*.parquet")))
    unaccounted = imbalance(artifacts["captures"], artifacts["text"], artifacts["rejects"])
    assert unaccounted.select("warc_file", "warc_offset", "times").rows() == [("a", 5, 0), ("b", 0, 2), (None, None, 1)]
    files = {"captures": "captures", "kept": "text", "rejects": "rejects"}
    at_once = query(statement("balance"), **{name: artifacts[table].table(table) for name, table in files.items()})
    assert unaccounted.equals(at_once)
