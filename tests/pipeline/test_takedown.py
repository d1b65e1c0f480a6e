"""Takedown of pages from a corpus: their text leaves the store, and nothing else is changed."""

import fcntl
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from llm_assets.artifacts import materialize
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import load_recipe
from llm_assets.settings import load_settings
from tests.support.building import build
from tests.support.byte_search import places
from tests.support.commands import command_here
from tests.support.small_recipe import CORPUS, recipe_file
from tests.support.takedown_corpus import (
    COUNT,
    RULE,
    artifact_folders,
    digests,
    is_taken_down,
    page_urls,
    takedown,
    unique_texts,
    write_project,
)

NAMING_RANKINGS = """

def ranked():
    from llm_assets.recipes.preference import RankingFile

    base = mine()
    files = [RankingFile(path=path, name=name) for name, path in {paths}.items()]
    return base.replace(human_rankings=base.human_rankings.replace(files=files))
"""


def test_a_second_takedown_finds_nothing_to_do_and_the_corpus_is_complete(takedown_corpus, tmp_path):
    data, texts = takedown_corpus
    raw_folders = artifact_folders(data, "raw_warc")
    done = command_here(tmp_path, "takedown", RULE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert artifact_folders(data, "raw_warc") == raw_folders  # nothing is copied, or crawled, a second time
    code, output = takedown(RULE, "--no-rebuild")
    assert code == 0 and "0 captures with text" in output and "artifacts to delete: 0" in output
    workspace = open_workspace()
    for stage in CORPUS:
        for crawl in ["files"] if stage.per_crawl else [None]:
            assert materialize(stage, crawl, workspace).cached
    assert page_urls(data, "clean_corpus") == page_urls(data, "extracted_text")
    assert (data / "opt_out.txt").read_text() == f"{RULE}\n"
    assert places(data, texts) == {}


def test_a_file_that_still_holds_the_text_is_named_until_it_is_gone(takedown_corpus):
    data, texts = takedown_corpus
    notes = data / "notes.txt"
    notes.write_text(f"somebody copied this: {texts[0]}")
    named = {"elsewhere": f"{data.parent}/elsewhere.jsonl", "inside": f"{data}/../data/inside.jsonl"}
    for path in named.values():
        ranking = {"question": "Why?", "first": texts[0], "second": "So.", "preferred": "first"}
        Path(path).write_text(json.dumps(ranking))
    with (data.parent / "recipe.py").open("a") as recipe:
        recipe.write(NAMING_RANKINGS.format(paths=named))
    words = (RULE, "--no-rebuild", "--recipe", f"{data.parent}/recipe.py:ranked")
    for _ in range(2):
        code, output = takedown(*words)
        lines = [line for line in output.splitlines() if line.startswith("still holds text of these pages: ")]
        names = sorted(Path(line).name for line in lines)
        assert code == 1 and names == ["elsewhere.jsonl", "inside.jsonl", "notes.txt"]
    notes.unlink()
    for path in named.values():
        Path(path).write_text("{}\n")
    assert takedown(*words)[0] == 0
    assert not list((data / "artifacts" / ".takedowns").glob("*.pieces"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nobody.example",), "no page of nobody.example is in the store (crawls: files); nothing was changed"),
        (("gone.example/ar",), "no page of gone.example/ar is in the store"),
        (("kept.example/b",), "no page of kept.example/b is in the store"),
        (("example",), "example covers every page of the store (18 captures); nothing was changed"),
        (("gone.example?page=1",), "is neither a domain nor a URL prefix"),
        (("# a comment",), "name a domain or a URL prefix"),
        ((), "give a domain or a URL prefix, or --list, or --finish"),
        ((RULE, "--list"), "give a domain or a URL prefix, or --list, or --finish"),
    ],
)
def test_bad_input_changes_nothing(takedown_corpus, words, message):
    data, _ = takedown_corpus
    before = digests(data)
    code, output = takedown(*words)
    assert code != 0 and message in output
    assert digests(data) == before


def test_everything_can_be_taken_down_on_request(takedown_corpus):
    data, texts = takedown_corpus
    code, output = takedown("example", "--everything", "--no-rebuild")
    assert code == 0, output
    assert places(data, texts) == {} and not page_urls(data, "extracted_text")


def test_nothing_is_changed_during_a_build(takedown_corpus):
    data, _ = takedown_corpus
    lock = next((data / "artifacts" / ".locks").iterdir())
    before = digests(data / "artifacts")
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        code, output = takedown(RULE)
    assert code != 0 and "is building in the store; wait for it, then run again" in output
    assert digests(data / "artifacts") == before


def test_a_file_outside_the_store_is_named_and_not_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_RECIPE", write_project(tmp_path, copy_files=False))
    build(load_recipe(), CORPUS, ["files"])
    data = load_settings().data
    warc_digests = digests(tmp_path / "warc")
    done = command_here(tmp_path, "takedown", RULE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"outside the store; delete it yourself: {tmp_path}/warc/a.warc.gz" in done.stdout
    assert "b.warc.gz" not in done.stdout and digests(tmp_path / "warc") == warc_digests
    assert not any(is_taken_down(url) for url in page_urls(data, "clean_corpus"))


def test_a_crawl_that_continues_another_is_found_again(tmp_path, monkeypatch):
    recipe_file(
        tmp_path / "recipe.py",
        "{'one': SampleWeb(scale=0.05), 'two': SampleWeb(scale=0.05, day=2, since='one')}",
    )
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    crawls = [materialize(GRAPH["raw_warc"], name, open_workspace()).artifact for name in ("one", "two")]
    hosts = pl.read_parquet(crawls[0].table("captures")).filter(pl.col("status") == 200)["host"].value_counts(sort=True)
    host = hosts["host"][0]
    code, output = takedown(host, "--no-rebuild")
    assert code == 0, output
    for name, before in zip(("one", "two"), crawls, strict=True):
        outcome = materialize(GRAPH["raw_warc"], name, open_workspace())
        assert outcome.cached
        assert outcome.artifact.data_version != before.data_version
        captures = pl.read_parquet(outcome.artifact.table("captures"))
        assert set(captures.filter(pl.col("host") == host)["record_type"]) == {"taken_down"}
        pages = pl.read_parquet(outcome.artifact.table("truth_pages"))
        assert len(pages) and not [url for url in pages["url"] if f"//{host}/" in url]
    assert len(artifact_folders(load_settings().data, "raw_warc")) == 2


def test_a_store_at_a_url_is_purged_as_well(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_STORE", f"local://{tmp_path}/remote")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", write_project(tmp_path))
    build(load_recipe(), CORPUS, ["files"])
    data, remote = load_settings().data, tmp_path / "remote"
    texts = unique_texts(data / "cache")
    assert places(remote, texts) and places(data, texts)
    code, output = takedown(RULE, "--no-rebuild")
    assert code == 0, output
    assert places(remote, texts) == {} and places(data, texts) == {}
    shutil.rmtree(data / "cache")  # as on another machine, which finds the crawl without the pages
    outcome = materialize(GRAPH["raw_warc"], "files", open_workspace())
    assert outcome.cached and outcome.artifact.record.stats["taken_down"] == COUNT
