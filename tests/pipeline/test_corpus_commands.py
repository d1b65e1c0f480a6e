"""`llm-assets corpus`: answers that a person can act on, and clear errors."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from llm_assets.cli import cli
from llm_assets.recipes import WarcFiles, load_recipe
from llm_assets.settings import load_settings
from llm_assets.web.crawls import open_registry
from tests.support.building import build
from tests.support.isolation import isolate
from tests.support.small_recipe import CORPUS, recipe_file, warc_sources
from tests.support.warcs import page, story, write

THIN = (
    b"<p>Soon there will be more to read on this page about the town and the river. "
    b"Come back later. Thank you. Bye. Bye.</p>"
)


@pytest.fixture(scope="module")
def shared_corpus(tmp_path_factory):
    """A folder with a recipe of one crawl that is built up to its report."""
    folder = tmp_path_factory.mktemp("corpus")
    contact = story(2).replace(
        b"<article>", b"<article><p>Please write to the harbour office at harbour@mail.example for more.</p>"
    )
    write(
        folder / "warc" / "a.warc.gz",
        [
            page("http://www.host.example/", story(0)),
            page("http://host.example/copy/of/it", story(0)),
            page("http://host.example/2", contact),
            page("http://host.example/thin", THIN),
            page("http://host.example/lost", b"x", "404 Not Found"),
        ],
    )
    recipe_file(folder / "recipe.py", warc_sources(folder / "warc"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        isolate(monkeypatch, folder / "data")
        monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{folder}/recipe.py:mine")
        build(load_recipe(), CORPUS)
    return folder


@pytest.fixture
def corpus(shared_corpus, tmp_path, monkeypatch):
    """A function that runs `llm-assets corpus` on a copy of it and returns its output, or with `fails` its error."""
    shutil.copytree(shared_corpus, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")

    def run(*words, fails=False):
        done = CliRunner().invoke(cli, ["corpus", *words])
        assert (done.exception is not None) == fails, done.output
        return str(done.exception) if fails else done.output

    return run


def test_why_names_the_rule_that_rejected_a_page(corpus):
    assert "in the corpus" in corpus("why", "http://www.host.example/")
    assert "in the corpus" in corpus("why", "host.example")  # scheme, www. and slash may be left out
    thin = corpus("why", "http://host.example/thin")
    assert re.search(r"rejected by quality_filtered_text, rule \w+: [\d.]+ against [\d.]+", thin)
    assert re.search(r"breaks min_words: \d+ is below 50 \(Gopher, section A1.1\)", thin)
    copy = corpus("why", "http://host.example/copy/of/it")
    assert "rule exact_duplicate: same text as http://www.host.example/ against equal" in copy
    assert "duplicate cluster of 2: kept  http://www.host.example/" in copy
    assert "rejected by filtered_urls, rule status: 404" in corpus("why", "http://host.example/lost")
    assert "replaced: 1 email" in corpus("why", "http://host.example/2")
    assert "harbour@" not in corpus("why", "http://host.example/2")


def test_unknown_urls_and_crawls_are_errors(corpus):
    assert "the most similar URLs: http://host.example/2" in corpus("why", "http://host.example/3", fails=True)
    assert "no crawl 'd'; available: c" in corpus("why", "http://host.example/2", "--crawl", "d", fails=True)


def test_what_if_counts_the_pages_that_another_threshold_flips(corpus):
    output = corpus("what-if", "--set", "min_words=5000")
    assert re.search(r"today +3 kept +1 dropped", output) and re.search(r"min_words=5000 +0 kept +4 dropped", output)
    assert "3 pages change (75.00%)" in output and "kept before, dropped now: 3" in output
    assert re.search(r"min_words: \d+ \(below 5000\)", output)
    assert "0 pages change" in corpus("what-if", "--set", "max_words=off")
    assert "no rule 'nope'" in corpus("what-if", "--set", "nope=1", fails=True)
    assert "give rule=number or rule=off" in corpus("what-if", "--set", "min_words", fails=True)
    assert "must be in [0, 1]" in corpus("what-if", "--set", "alpha_words=8", fails=True)


def test_two_sets_of_rules_are_compared(corpus):
    output = corpus("diff-recipes", "fineweb-2024", "fineweb-head")
    assert re.search(r"fineweb-2024 +3 kept +1 dropped", output) and re.search(r"fineweb-head +\d kept", output)
    assert "pages change" in output


def test_rules_are_compared_on_the_crawls_that_are_built(corpus, tmp_path, monkeypatch):
    path = str(tmp_path / "warc")
    recipe_file(tmp_path / "recipe.py", f"{{'c': WarcFiles(path={path!r}), 'later': WarcFiles(path={path!r})}}")
    for words in (("diff-recipes", "fineweb-2024", "fineweb-head"), ("what-if", "--set", "min_words=5000")):
        assert "4 pages\n" in corpus(*words)
    # The default recipe's only crawl, `sample`, is not built; the registered one is.
    open_registry(load_settings()).add("c", WarcFiles(path=path))
    monkeypatch.delenv("LLM_ASSETS_RECIPE")
    output = corpus("diff-recipes", "fineweb-2024", "fineweb-head")
    assert "no crawl of recipe 'laptop' is built; using c" in output and "4 pages\n" in output
    monkeypatch.setenv("LLM_ASSETS_STORE", str(tmp_path / "empty"))
    output = corpus("diff-recipes", "fineweb-2024", "fineweb-head", fails=True)
    assert "run: llm-assets run --select '*language_filtered_text'" in output


def test_browse_shows_documents_tables_and_queries(corpus):
    assert "1 documents from 0" in corpus("browse", "--where", "url LIKE '%/2'")
    shown = corpus("browse", "--limit", "1", "--offset", "1", "--full")
    assert "1 documents from 1" in shown and len(shown) > 1_000
    assert "status" in corpus("browse", "--table", "reject_ledger", "--where", "rule = 'status'")
    assert "2 rows" in corpus("browse", "--sql", "SELECT host, count(*) AS pages FROM raw_warc GROUP BY host")
    assert "no table 'nope'" in corpus("browse", "--table", "nope", fails=True)
    assert "nope" in corpus("browse", "--where", "nope = 1", fails=True)


def test_the_report_is_one_file_that_needs_no_network(corpus):
    html = Path(corpus("report").strip()).read_text()
    assert html.startswith("<!DOCTYPE html>") and "prefers-color-scheme: dark" in html
    assert not re.search(r"<(script|link|img|iframe|object)|url\(|@import|src=", html)
    assert "http://www.host.example/" in html
    assert "harbour@" not in html
    assert "&lt;EMAIL&gt;" in html
    for title in (
        "Funnel",
        "Rejects by rule",
        "Languages",
        "Hosts",
        "Length",
        "Duplicate clusters",
        "Personal data",
        "top_4_gram",
    ):
        assert title in html


def test_why_lists_the_versions_of_a_page_over_crawls(tmp_path, monkeypatch):
    changed, gone, unchanged = (f"http://host.example/{name}" for name in ("changed", "gone", "unchanged"))
    crawls = {
        "first": [page(changed, story(1)), page(gone, story(2)), page(unchanged, story(3))],
        "second": [page(changed, story(4)), page(gone, b"x", "410 Gone"), page(unchanged, story(3))],
    }
    for day, (crawl, pages) in enumerate(crawls.items(), 1):
        write(tmp_path / crawl / "a.warc.gz", pages, date=f"2026-10-0{day}T06:00:00Z")
    sources = ", ".join(f"{crawl!r}: WarcFiles(path={str(tmp_path / crawl)!r})" for crawl in crawls)
    recipe_file(tmp_path / "recipe.py", f"{{{sources}}}")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    build(load_recipe(), CORPUS, tuple(crawls))

    def why(url):
        done = CliRunner().invoke(cli, ["corpus", "why", url])
        assert done.exit_code == 0, done.output
        return done.output

    output = why(changed)
    assert "kept by every rule, but no longer used: superseded since crawl second" in output
    assert output.count("  in the corpus: ") == 1
    assert "text 1: superseded since crawl second; seen once, 2026-10-01T06:00:00Z; first in crawl first" in output
    assert "text 2: current; seen once, 2026-10-02T06:00:00Z" in output
    assert "text 1: vanished since crawl second" in why(gone)
    output = why(unchanged)
    assert "another capture with the same text is used" in output and "text 1: current; seen 2 times" in output
