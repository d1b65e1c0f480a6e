"""Takedown: the text of some pages leaves the store and Dagster's history, whatever happens on the way."""

import fcntl
import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from llm_assets.artifacts import ArtifactError, materialize
from llm_assets.cli import cli
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import load_recipe
from llm_assets.settings import load_settings
from tests.support.building import build
from tests.support.byte_search import places, tokenizers
from tests.support.commands import command
from tests.support.small_recipe import CORPUS, recipe_file
from tests.support.warcs import page, story, write

RULE = "gone.example/art"
COUNT = 5


def gone_story(number):
    """A page that every rule keeps, with people that no other page knows."""
    rng = random.Random(number)
    names = ["".join(rng.choice("bdfgklmnprstv") + rng.choice("aeiou") for _ in range(4)).title() for _ in range(4)]
    own = f"<p>In the year when {names[0]} left for {names[1]}, the people of {names[2]} asked {names[3]} to stay.</p>"
    return story(100 + number).replace(b"</article>", own.encode() + b"</article>")


def warc_files(folder, kept=8):
    """A crawl of two sites, one of which has pages under the rule and one that only begins like it."""
    write(
        folder / "a.warc.gz",
        [page(f"http://{RULE}/{number}", gone_story(number)) for number in range(COUNT)]
        + [page("http://gone.example/article", story(90)), page("http://gone.example/artful/1", story(91))]
        + [page(f"http://kept.example/{number}", story(number)) for number in range(kept)],
    )
    write(folder / "b.warc.gz", [page(f"http://kept.example/b{number}", story(50 + number)) for number in range(3)])


def unique_texts(store):
    """Runs of 60 characters of the pages' extracted texts that stand in no record of another page."""
    from llm_assets.warc import read_captures

    rows = pl.concat([pl.read_parquet(path) for path in store.rglob("extracted_text/*/*/text/*.parquet")])
    covered = pl.col("url").str.starts_with(f"http://{RULE}/")
    others = "\n".join(rows.filter(~covered)["text"])
    for path in store.rglob("*.warc.gz"):
        offsets = {one.offset for one in read_captures(path) if not one.url.startswith(f"http://{RULE}/")}
        payloads = [one.payload for one in read_captures(path, offsets) if one.payload]
        others += "\n".join(payload.decode("utf-8", "replace") for payload in payloads)
    lines = [line for text in rows.filter(covered)["text"] for line in text.splitlines()]
    runs = {line[start : start + 60] for line in lines for start in range(0, len(line) - 60, 20)}
    found = sorted(run for run in runs if run not in others)
    assert len(found) > 4 * COUNT
    return found


def tree(folder):
    """Digest of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def takedown(*words):
    """Exit code and output of the command, in this process (which cannot start a run)."""
    done = CliRunner().invoke(cli, ["takedown", *words])
    assert done.exception is None or isinstance(done.exception, (SystemExit, ArtifactError)), done.exception
    return done.exit_code, done.output + (str(done.exception) if done.exit_code else "")


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A store with the crawl `files` up to its clean corpus, and the texts to look for."""
    warc_files(tmp_path / "warc")
    sources = f"{{'files': WarcFiles(path={str(tmp_path / 'warc')!r}, copy_files=True)}}"
    recipe_file(tmp_path / "recipe.py", sources)
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    build(load_recipe(), CORPUS, ["files"])
    data = load_settings().data
    texts = unique_texts(data / "artifacts")
    assert len([url for url in urls(data, "clean_corpus") if url.startswith(f"http://{RULE}/")]) == COUNT
    assert {"bytes", "parquet", "gzip"} <= places(data, texts).keys()
    return data, texts


def test_from_a_trained_model_to_a_retrained_one(tmp_path):
    """Real processes: all that a user does, with every kind of file that holds text."""
    warc_files(tmp_path / "warc")
    sources = (
        f'{{"sample": SampleWeb(scale=0.05), "files": WarcFiles(path={str(tmp_path / "warc")!r}, copy_files=True)}}'
    )
    further = 'search_only_hosts=("quietarchive.example",), report=recipes.Report(samples=100),'
    recipe_file(tmp_path / "recipe.py", sources, further)
    recipe_file(tmp_path / "other.py", sources, "personal_data=recipes.PersonalData(max_density=9.0),")
    data = tmp_path / "data"
    wanted = ("--select", "*sft_checkpoint,*base_evaluation,*corpus_report", "--plain")
    earlier = f"{tmp_path}/other.py:mine"
    for words in (wanted, ("--select", "*clean_corpus", "--crawl", "files", "--recipe", earlier, "--plain")):
        done = command(tmp_path, "llm-assets", "run", *words)
        assert done.returncode == 0, done.stderr[-3000:]
    texts, encodings = unique_texts(data / "artifacts"), tokenizers(data / "artifacts")
    leave_behind(data, texts)
    before = places(data, texts, encodings)
    holding = "\n".join(sorted({path for paths in before.values() for path in paths}))
    assert before.keys() == {"bytes", "gzip", "parquet", "sqlite", "tokens"}
    for part in (
        "raw_warc/files",
        "training_search_index/_",
        "corpus_report/_",
        "token_shards/files",
        ".staging/",
        "rankings/",
        "history/runs/index.db",
    ):
        assert part in holding
    assert len(list((data / "artifacts" / "clean_corpus" / "files").iterdir())) == 2

    contents = tree(data / "artifacts")
    dry = command(tmp_path, "llm-assets", "takedown", RULE, "--dry-run")
    assert dry.returncode == 0 and tree(data / "artifacts") == contents
    assert f"crawl files: {COUNT} URLs, {COUNT} captures with text, of 1 WARC files" in dry.stdout
    assert f"documents in token shards: {COUNT} " in dry.stdout
    assert "models that were trained on them: 2" in dry.stdout

    done = command(tmp_path, "llm-assets", "takedown", RULE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no files with text of it left" in done.stdout
    assert places(data, texts, encodings) == {}
    old = {name: folders(data, name) for name in ("base_checkpoint", "sft_checkpoint")}
    for name, (folder,) in old.items():
        assert f"{name} {folder.name} was trained on pages of {RULE}" in done.stdout
        assert (folder / "model.safetensors").exists() and not (folder / "samples").exists()
    assert "retrain: llm-assets run --select" in done.stdout and "takedown --finish" in done.stdout
    # What needs no training is there again, without the pages; trainings were not started.
    assert (
        folders(data, "training_search_index")
        and folders(data, "corpus_report")
        and not folders(data, "base_evaluation")
    )
    assert urls(data, "clean_corpus") & {"http://gone.example/article", "http://gone.example/artful/1"}
    why = command(tmp_path, "llm-assets", "corpus", "why", f"http://{RULE}/1")
    assert f"rejected by filtered_urls, rule taken_down: {RULE}" in why.stdout
    told = command(
        tmp_path, "llm-assets", "complete", "--checkpoint", old["base_checkpoint"][0].name, "--max-tokens", "4", "The"
    )
    assert told.returncode == 0 and f"Trained on pages that have been taken down ({RULE})" in told.stderr
    open_ = command(tmp_path, "llm-assets", "takedown", "--finish")
    assert open_.stdout.count("was trained on pages of") == 2 and len(folders(data, "base_checkpoint")) == 1

    retrained = command(tmp_path, "llm-assets", "run", *wanted)
    assert retrained.returncode == 0, retrained.stderr[-3000:]
    told = command(tmp_path, "llm-assets", "takedown", "--finish")
    assert "no model of the store holds these pages" in told.stdout, told.stdout
    for name, (folder,) in old.items():
        assert not folder.exists() and len(folders(data, name)) == 1
    assert places(data, texts, encodings) == {}


def leave_behind(data, texts):
    """What other commands leave: an interrupted build, and rankings of answers that quote a page."""
    staging = data / "artifacts" / ".staging" / "clean_corpus" / "files" / "0123456789abcdef"
    staging.mkdir(parents=True)
    pl.DataFrame({"text": texts}).write_parquet(staging / "a.parquet")
    (data / "rankings").mkdir()
    lines = [{"question": texts[0], "first": "a", "second": "b"}, {"question": "Who?", "first": "a", "second": "b"}]
    (data / "rankings" / "me.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def folders(data, asset):
    return sorted(path.parent for path in (data / "artifacts" / asset).glob("*/*/artifact.json"))


def urls(data, asset):
    return {
        url for path in (data / "artifacts" / asset).rglob("text/*.parquet") for url in pl.read_parquet(path)["url"]
    }


class Killed(BaseException):
    """A process that is gone does nothing more, not even cleaning up."""


def kill_at(monkeypatch, folder, place):
    """Let the `place`-th change of a file or folder below `folder`, and all after it, not happen; returns the count so far."""
    count = [0]

    def hook(function):
        def change(path, *args, **kwargs):
            if Path(path).is_relative_to(folder):
                count[0] += 1
                if count[0] > place:
                    raise Killed
            return function(path, *args, **kwargs)

        return change

    for owner, name in ((os, "replace"), (os, "rename"), (shutil, "rmtree"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, hook(getattr(owner, name)))
    return count


def test_a_killed_takedown_is_finished_by_the_next(corpus, tmp_path, monkeypatch):
    data, texts = corpus
    shutil.copytree(data, tmp_path / "before")
    with monkeypatch.context() as patch:
        count = kill_at(patch, data / "artifacts", 10**9)
        assert takedown(RULE, "--no-rebuild")[0] == 0
    expected = {name: digest for name, digest in tree(data / "artifacts").items() if comparable(name)}
    assert count[0] > 20
    for place in range(2, count[0], max(1, count[0] // 8)):
        shutil.rmtree(data)
        shutil.copytree(tmp_path / "before", data)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, data / "artifacts", place)
            CliRunner().invoke(cli, ["takedown", RULE, "--no-rebuild"], catch_exceptions=False)
        if (data / "artifacts" / ".takedowns").exists() and "clean" not in takedown("--list")[1]:
            with pytest.raises(ArtifactError, match=f"llm-assets takedown {RULE}"):  # nothing is built in between
                materialize(GRAPH["url_blocklists"], None, open_workspace())
        code, told = takedown(RULE, "--no-rebuild")
        assert code == 0, f"killed at {place}: {told}"
        assert places(data, texts) == {}, f"killed at {place}"
        assert {name: digest for name, digest in tree(data / "artifacts").items() if comparable(name)} == expected


def comparable(name):
    return not name.startswith((".takedowns", ".locks", ".latest"))


def test_repeated_it_finds_nothing_to_do_and_the_corpus_is_whole(corpus, tmp_path):
    data, texts = corpus
    raw = folders(data, "raw_warc")
    done = command(tmp_path, "llm-assets", "takedown", RULE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert folders(data, "raw_warc") == raw  # found again: nothing is copied, or crawled, a second time
    code, told = takedown(RULE, "--no-rebuild")
    assert code == 0 and "0 captures with text" in told and "artifacts to delete: 0" in told
    workspace = open_workspace()
    for stage in CORPUS:
        for crawl in ["files"] if stage.per_crawl else [None]:
            assert materialize(stage, crawl, workspace).cached
    assert urls(data, "clean_corpus") == urls(data, "extracted_text")
    assert (data / "opt_out.txt").read_text() == f"{RULE}\n"
    assert places(data, texts) == {}


def test_a_file_that_still_holds_the_text_is_named_until_it_is_gone(corpus):
    data, texts = corpus
    notes = data / "notes.txt"
    notes.write_text(f"somebody copied this: {texts[0]}")
    for _ in range(2):
        code, told = takedown(RULE, "--no-rebuild")
        assert code == 1 and "notes.txt" in told
    notes.unlink()
    assert takedown(RULE, "--no-rebuild")[0] == 0
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
def test_bad_input_changes_nothing(corpus, words, message):
    data, _ = corpus
    before = tree(data)
    code, told = takedown(*words)
    assert code != 0 and message in told
    assert tree(data) == before


def test_everything_can_be_taken_down_when_it_is_meant(corpus):
    data, texts = corpus
    code, told = takedown("example", "--everything", "--no-rebuild")
    assert code == 0, told
    assert places(data, texts) == {} and not urls(data, "extracted_text")


def test_nothing_is_changed_while_something_is_built(corpus):
    data, _ = corpus
    lock = next((data / "artifacts" / ".locks").iterdir())
    before = tree(data / "artifacts")
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        code, told = takedown(RULE)
    assert code != 0 and "is building in the store; wait for it, then run again" in told
    assert tree(data / "artifacts") == before


def test_a_file_outside_of_the_store_is_named_and_left(tmp_path, monkeypatch):
    warc_files(tmp_path / "warc")
    recipe_file(tmp_path / "recipe.py", f"{{'files': WarcFiles(path={str(tmp_path / 'warc')!r})}}")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    build(load_recipe(), CORPUS, ["files"])
    data = load_settings().data
    outside = tree(tmp_path / "warc")
    done = command(tmp_path, "llm-assets", "takedown", RULE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"outside of the store, for you to delete: {tmp_path}/warc/a.warc.gz" in done.stdout
    assert "b.warc.gz" not in done.stdout and tree(tmp_path / "warc") == outside
    assert urls(data, "clean_corpus") == {
        url for url in urls(data, "clean_corpus") if not url.startswith(f"http://{RULE}/")
    }


def test_a_crawl_that_continues_another_is_found_again(tmp_path, monkeypatch):
    recipe_file(
        tmp_path / "recipe.py",
        "{'one': SampleWeb(scale=0.05), 'two': SampleWeb(scale=0.05, day=2, since='one')}",
    )
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    crawls = [materialize(GRAPH["raw_warc"], name, open_workspace()).artifact for name in ("one", "two")]
    hosts = pl.read_parquet(crawls[0].table("captures")).filter(pl.col("status") == 200)["host"].value_counts(sort=True)
    host = hosts["host"][0]
    code, told = takedown(host, "--no-rebuild")
    assert code == 0, told
    for name, before in zip(("one", "two"), crawls, strict=True):
        outcome = materialize(GRAPH["raw_warc"], name, open_workspace())
        assert outcome.cached
        assert outcome.artifact.data_version != before.data_version
        captures = pl.read_parquet(outcome.artifact.table("captures"))
        assert set(captures.filter(pl.col("host") == host)["record_type"]) == {"taken_down"}
        pages = pl.read_parquet(outcome.artifact.table("truth_pages"))
        assert len(pages) and not [url for url in pages["url"] if f"//{host}/" in url]
    assert len(folders(load_settings().data, "raw_warc")) == 2


def test_a_page_that_never_reached_the_corpus_marks_no_model(tmp_path, monkeypatch):
    warc_files(tmp_path / "warc")
    thin = "http://thin.example/"
    write(
        tmp_path / "warc" / "c.warc.gz", [page(thin, b"<p>Only a few words that are too few for any model to see.</p>")]
    )
    recipe_file(tmp_path / "recipe.py", f"{{'files': WarcFiles(path={str(tmp_path / 'warc')!r}, copy_files=True)}}")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    models = [GRAPH[name] for name in ("tokenizer", "token_shards", "base_checkpoint")]
    base = build(load_recipe(), [*CORPUS, *models], ["files"])["base_checkpoint"]
    code, told = takedown("thin.example", "--no-rebuild")
    assert code == 0 and "models that were trained on them: 0" in told
    assert "no model of the store holds these pages" in told
    assert build(load_recipe(), [*CORPUS, *models], ["files"])["base_checkpoint"].record == base.record
    assert len(folders(load_settings().data, "base_checkpoint")) == 1


def test_a_store_at_a_url_is_purged_there_too(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_STORE", f"local://{tmp_path}/remote")
    warc_files(tmp_path / "warc")
    recipe_file(tmp_path / "recipe.py", f"{{'files': WarcFiles(path={str(tmp_path / 'warc')!r}, copy_files=True)}}")
    monkeypatch.setenv("LLM_ASSETS_RECIPE", f"{tmp_path}/recipe.py:mine")
    build(load_recipe(), CORPUS, ["files"])
    data, remote = load_settings().data, tmp_path / "remote"
    texts = unique_texts(data / "cache")
    assert places(remote, texts) and places(data, texts)
    code, told = takedown(RULE, "--no-rebuild")
    assert code == 0, told
    assert places(remote, texts) == {} and places(data, texts) == {}
    shutil.rmtree(data / "cache")  # another machine finds the crawl without the pages
    artifact = materialize(GRAPH["raw_warc"], "files", open_workspace())
    assert artifact.cached and artifact.artifact.record.stats["taken_down"] == COUNT


def test_error_messages_in_mlflow_are_forgotten(tmp_path):
    from mlflow import MlflowClient

    from llm_assets.cli.takedown_history import compact, forget_errors

    uri, text = f"sqlite:///{tmp_path}/mlflow.db", "the keeper of the northern lighthouse counted herring boats"
    assert forget_errors(uri, {"extracted_text"}) == 0  # nothing is tracked, and nothing is made
    assert not (tmp_path / "mlflow.db").exists()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment("llm-assets")
    for asset in ("extracted_text", "url_blocklists"):
        run = client.create_run(experiment, tags={"asset": asset}).info.run_id
        client.set_tag(run, "error", f"{asset}: {text if asset == 'extracted_text' else 'other'}")
        client.set_terminated(run, "FAILED")
    assert places(tmp_path, [text])
    assert forget_errors(uri, {"extracted_text"}) == 1
    compact([tmp_path / "mlflow.db"])
    assert places(tmp_path, [text]) == {}
    assert places(tmp_path, ["url_blocklists: other"])
