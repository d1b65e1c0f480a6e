"""The corpus report: what it stores, and the page that is drawn from that alone."""

import json

import polars as pl
import pytest

from llm_assets.artifacts.checks import examine
from llm_assets.artifacts.views import draw_views
from llm_assets.curation.corpus_report import CORPUS_REPORT, REPORT, VALUES, draw_report, report_config
from llm_assets.curation.ledger import BALANCE
from llm_assets.recipes import Language, Quality, Recipe, SampleWeb, laptop
from tests.support.corpus import build_corpus, corpus_workspace


@pytest.fixture
def built():
    """The report on a small sample web, and the workspace it was built in."""
    recipe = Recipe(name="t", crawls={"c": SampleWeb(scale=0.05)})
    return build_corpus(recipe), corpus_workspace(recipe)


def test_the_page_is_drawn_from_the_store_alone(built):
    artifacts, workspace = built
    report = artifacts["corpus_report"]
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
    for heading in ("Funnel", "Rejects by rule", "Against the ground truth", "Pages of the corpus", "Rejected pages"):
        assert heading in first


def test_what_it_shows_is_in_its_config_and_nothing_else():
    recipe = laptop()
    config = report_config(recipe, None)
    assert config.targets == ("en",) and config.rule_sources["min_words"]
    assert report_config(recipe.but(language=Language(targets=("en", "de"))), None) != config
    assert report_config(recipe.but(quality=Quality(thresholds={"min_words": None})), None) != config
    assert report_config(recipe.but(name="other", report=recipe.report.but(max_duplicate_share=0.1)), None) == config


def test_its_preview_is_markdown(built):
    artifacts, _ = built
    assert CORPUS_REPORT.show is not None
    shown = CORPUS_REPORT.show(artifacts["corpus_report"])
    assert list(shown) == ["preview"] and "| raw_warc |" in shown["preview"]


def test_the_ledger_balances_with_numbers_that_can_be_plotted(built):
    artifacts, workspace = built
    resolution = workspace.resolver().resolve("reject_ledger", "c")
    outcome = examine(BALANCE, resolution, workspace.recipe, workspace.store).outcome
    assert outcome.passed and outcome.numbers["kept"] + outcome.numbers["rejected"] == outcome.numbers["captures"]
    kept = sum(pl.read_parquet(path).height for path in artifacts["clean_corpus/c"].table("text"))
    assert outcome.numbers["kept"] == kept
