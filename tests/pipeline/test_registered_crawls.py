"""Crawls that are registered next to the recipe's own: in runs, in cross-crawl artifacts, and in the UI."""

import json
from collections import Counter

import pytest

from llm_assets.graph import GRAPH
from resources.jobs import crawl_assets
from tests.support.commands import command, command_here, dagster_dev, dagster_materialize
from tests.support.small_recipe import recipe_file, warc_sources

TO_BASE_MODEL = "*base_checkpoint,*corpus_report"


@pytest.fixture
def register_more(shared_run_project, run_project):
    """A function that registers eight more pages as the crawl `more`."""
    return lambda: command_here(run_project, "crawls", "add", "more", "--warc", str(shared_run_project / "warc" / "d"))


@pytest.fixture
def read_all_registered(shared_run_project, run_project):
    """The recipe reads every registered crawl."""
    sources = warc_sources(shared_run_project / "warc" / "c")
    recipe_file(run_project / "recipe.py", sources, 'registered_crawls="all",')


BAD_CRAWLS = [
    (("more", "--seed", "http://x.example/"), "is registered with another source"),
    (("bad/name", "--sample-web"), "crawl name 'bad/name'"),
    (("x", "--seed", "ftp://x.example/"), "is not an http(s) URL"),
    (
        ("x", "--seed", "http://x.example/", "--set", "max_pagse=3"),
        "crawl.max_pagse: extra input is not permitted; did you mean max_pages?",
    ),
    (
        ("x", "--seed", "http://x.example/", "--set", "max_depth=-1"),
        "crawl.max_depth: Input should be greater than or equal to 0",
    ),
    (("x", "--sample-web", "--since", "never"), "--since never: no such crawl"),
    (("x",), "give exactly one of"),
    (("x", "--common-crawl", "CC/../x"), "common_crawl.snapshot"),
    (("x", "--common-crawl", "CC-MAIN-2026-43", "--limit", "9"), "give domains, hosts or prefixes, or the number of"),
    (("x", "--common-crawl", "CC-MAIN-2026-43", "--domain", "http://x"), "is not the name of a host or domain"),
    (("x", "--common-crawl", "CC-MAIN-2026-43", "--domain", "x.org", "--files", "2"), "--files and --path take whole"),
]


def test_crawls_are_registered_once_and_wrong_ones_are_clear_errors(run_project, register_more):
    added = register_more()
    assert added.returncode == 0 and "registered more" in added.stdout, added.stderr
    assert "already registered" in register_more().stdout
    ran = command_here(run_project, "run", "--crawl", "more", "--select", "*extracted_text")
    assert ran.returncode == 0 and "extracted_text/more" in ran.stdout
    listed = command_here(run_project, "crawls", "list").stdout
    assert "more" in listed and "warc_files" in listed
    for words, message in BAD_CRAWLS:
        refused = command_here(run_project, "crawls", "add", *words)
        assert refused.returncode != 0 and message in refused.stderr, (words, refused.stderr)
        assert "Traceback" not in refused.stderr, (words, refused.stderr)
    unknown = command_here(run_project, "run", "--crawl", "never")
    assert unknown.returncode == 1 and "no crawl 'never'" in unknown.stderr


@pytest.mark.usefixtures("read_all_registered")
def test_cross_crawl_artifacts_are_built_once_from_all_crawls(run_project, register_more):
    """The recipe reads registered crawls; one that is not built is a warning and stops nothing."""
    register_more()
    select = ("--select", TO_BASE_MODEL)
    single = command_here(run_project, "run", "--crawl", "c", "--select", "*corpus_report")
    assert single.returncode == 0, single.stdout + single.stderr
    assert "page_versions: warning: without more: in the recipe, but not built" in single.stdout
    assert "✗ page_versions: every_crawl_is_built: made from c; not built: more" in single.stdout
    assert "corpus_report: corpus_not_empty: 8 pages" in single.stdout
    both = command_here(run_project, "run", *select)
    assert both.returncode == 0, both.stdout + both.stderr
    assert both.stdout.count("corpus_report: started") == 1
    assert "corpus_report: corpus_not_empty: 16 pages" in both.stdout
    assert both.stdout.count("base_checkpoint: started") == 1 and "warning" not in both.stdout
    assert "✓ page_versions: every_crawl_is_built: made from c, more" in both.stdout
    again = command_here(run_project, "run", *select)
    assert "0 built" in again.stdout


def test_a_registered_crawl_that_the_recipe_does_not_read_can_be_built(run_project, register_more):
    register_more()
    ran = command_here(run_project, "run", "--crawl", "more", "--select", "*clean_corpus")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "clean_corpus/more" in ran.stdout
    report = command_here(run_project, "run", "--select", "*corpus_report")
    assert "corpus_report: corpus_not_empty: 8 pages" in report.stdout


def stored_keys(project):
    """Asset and partition of every artifact in a project's store."""
    store = project / "data" / "artifacts"
    return ["/".join(path.relative_to(store).parts[:2]) for path in store.glob("*/*/*/artifact.json")]


@pytest.mark.usefixtures("read_all_registered")
def test_one_dagster_command_builds_several_crawls(run_project, register_more):
    register_more()
    recipe = run_project / "recipe.py"
    recipe.write_text(recipe.read_text().replace("'vocabulary': 360", "'vocabulary': 380"))  # no shards are built yet
    command_here(run_project, "setup")
    before = Counter(stored_keys(run_project))
    done = dagster_materialize(run_project, TO_BASE_MODEL, "--partition-range", "c...more")
    assert done.returncode == 0, done.stderr[-3000:]
    built = Counter(stored_keys(run_project)) - before
    assert built["token_shards/c"] == built["token_shards/more"] == built["base_checkpoint/_"] == 1


def test_real_crawls_are_registered_and_built_while_the_ui_runs(project, shared_data):
    """That captures = kept + rejected is a blocking check, so a successful run means that it holds."""
    command(project, "llm-assets", "setup")
    with dagster_dev(project) as server:
        for crawl, path, captures in [("2026-11", "2026-11", 2_045), ("samples", "samples/*", 668)]:
            added = command(project, "llm-assets", "crawls", "add", crawl, "--warc", f"{shared_data}/web/{path}")
            assert added.returncode == 0, added.stderr
            run = server.launch(crawl_assets(GRAPH), crawl)
            assert server.end(run) == "SUCCESS", server.log.read_text()[-3000:]
            records = (project / "data" / "artifacts").glob(f"reject_ledger/{crawl}/*/artifact.json")
            stats = json.loads(next(records).read_text())["stats"]
            assert stats["captures"] == stats["kept"] + stats["rejected"] == captures
        (event, *_) = server.materialisations("extracted_text")
        assert event["metadata"]["cached"]["boolValue"] is False
        assert event["metadata"]["dagster/partition_row_count"]["intValue"] > 0
        assert "http" in event["metadata"]["preview"]["mdStr"]
