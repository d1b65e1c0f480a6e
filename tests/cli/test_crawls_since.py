"""``crawls add --since``: a crawl continues another with its source and settings, unless others are given."""

import pytest
from click.testing import CliRunner

from llm_assets.cli import cli
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry
from tests.support.warcs import page, write

SEED = ("--seed", "http://site.example/", "--set", "max_pages=7", "--set", "delay=3")


@pytest.fixture
def add(tmp_path):
    def run(*words):
        return CliRunner().invoke(cli, ["crawls", "add", *words])

    assert run("site", *SEED).exit_code == 0
    return run


def test_a_later_crawl_takes_over_source_and_settings(add):
    assert add("later", "--since", "site").exit_code == 0
    assert add("latest", "--since", "later", "--set", "max_pages=9").exit_code == 0
    sources = open_registry(load_settings()).sources()
    assert sources["later"] == sources["site"].replace(since="site")
    assert sources["latest"] == sources["site"].replace(since="later", max_pages=9)


def test_crawls_that_cannot_be_continued_are_rejected(add, tmp_path):
    write(tmp_path / "warc" / "a.warc.gz", [page("http://host.example/")])
    assert add("files", "--warc", str(tmp_path / "warc")).exit_code == 0
    for name, problem in (
        ("never", "no such crawl; available:"),
        ("files", "only crawls from seeds and of the sample web"),
    ):
        assert f"--since {name}: {problem}" in str(add("x", "--since", name).exception)
    assert "give exactly one of --warc" in add("x").output
