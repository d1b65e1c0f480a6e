"""Takedown of pages that models were trained on, up to the retrained model; and of what Dagster and MLflow recorded."""

import json

import polars as pl

from llm_assets.graph import GRAPH
from llm_assets.recipes import load_recipe
from llm_assets.settings import load_settings
from tests.support.building import build
from tests.support.byte_search import places, tokenizers
from tests.support.commands import command, command_here
from tests.support.small_recipe import CORPUS, recipe_file
from tests.support.takedown_corpus import (
    COUNT,
    RULE,
    artifact_folders,
    digests,
    page_urls,
    takedown,
    unique_texts,
    write_crawl,
    write_project,
)
from tests.support.warcs import page, story, write

WANTED = ("--select", "*sft_checkpoint,*base_evaluation,*corpus_report,trace_index", "--plain")
MODELS = ("base_checkpoint", "sft_checkpoint")


def build_project(project):
    """Two crawls of files, built up to the SFT model; one more clean corpus of the second by another recipe."""
    write(project / "others" / "0.warc.gz", [page(f"http://others.example/{n}", story(200 + n)) for n in range(8)])
    write_crawl(project / "warc")
    files = f"WarcFiles(path={str(project / 'warc')!r}, copy_files=True)"
    sources = f'{{"others": WarcFiles(path={str(project / "others")!r}), "files": {files}}}'
    recipe_file(project / "recipe.py", sources, "report=recipes.Report(samples=100),")
    recipe_file(project / "other.py", sources, "personal_data=recipes.PersonalData(max_density=9.0),")
    other = ("--select", "*clean_corpus", "--crawl", "files", "--recipe", f"{project}/other.py:mine", "--plain")
    for words in (WANTED, other):
        done = command_here(project, "run", *words)
        assert done.returncode == 0, done.stderr[-3000:]


def leave_traces(data, texts):
    """Write what other commands leave: an interrupted build, and rankings of answers that quote a page."""
    staging = data / "artifacts" / ".staging" / "clean_corpus" / "files" / "0123456789abcdef"
    staging.mkdir(parents=True)
    pl.DataFrame({"text": texts}).write_parquet(staging / "a.parquet")
    (data / "rankings").mkdir()
    # A single run may be unique only by its first characters, and the words after them on other pages too.
    quote = " ".join(texts[:5])
    rankings = [{"question": quote, "first": "a", "second": "b"}, {"question": "Who?", "first": "a", "second": "b"}]
    (data / "rankings" / "me.jsonl").write_text("".join(json.dumps(ranking) + "\n" for ranking in rankings))


def test_text_leaves_every_file_and_trained_models_are_replaced_by_retrained_ones(tmp_path):
    """Everything a user does, with every kind of file that holds text."""
    build_project(tmp_path)
    data = tmp_path / "data"
    texts, encodings = unique_texts(data / "artifacts"), tokenizers(data / "artifacts")
    leave_traces(data, texts)
    check_text_is_everywhere(data, texts, encodings)
    check_dry_run(tmp_path)

    done = command(tmp_path, "llm-assets", "takedown", RULE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no files with text of it left" in done.stdout
    assert places(data, texts, encodings) == {}
    old_models = {name: artifact_folders(data, name) for name in MODELS}
    check_models_are_marked(tmp_path, old_models, done.stdout)

    retrained = command_here(tmp_path, "run", *WANTED)
    assert retrained.returncode == 0, retrained.stderr[-3000:]
    finished = command_here(tmp_path, "takedown", "--finish")
    assert "no model of the store holds these pages" in finished.stdout, finished.stdout
    for name, (folder,) in old_models.items():
        assert not folder.exists() and len(artifact_folders(data, name)) == 1
    assert places(data, texts, encodings) == {}


def check_text_is_everywhere(data, texts, encodings):
    """Before the takedown, the text is in files of every kind."""
    files_by_kind = places(data, texts, encodings)
    assert files_by_kind.keys() == {"bytes", "gzip", "parquet", "sqlite", "tokens"}
    files = "\n".join(sorted({path for paths in files_by_kind.values() for path in paths}))
    for folder in (
        "raw_warc/files",
        "training_search_index/_",
        "corpus_report/_",
        "token_shards/files",
        "trace_index/_",
        ".staging/",
        "rankings/",
        "history/runs/index.db",
    ):
        assert folder in files
    assert len(list((data / "artifacts" / "clean_corpus" / "files").iterdir())) == 2


def check_dry_run(project):
    """A dry run reports what it would do, and changes nothing."""
    before = digests(project / "data" / "artifacts")
    dry_run = command_here(project, "takedown", RULE, "--dry-run")
    assert dry_run.returncode == 0 and digests(project / "data" / "artifacts") == before
    assert f"crawl files: {COUNT} URLs, {COUNT} captures with text, of 1 WARC files" in dry_run.stdout
    assert f"documents in token shards: {COUNT} " in dry_run.stdout
    assert "models that were trained on them: 2" in dry_run.stdout


def check_models_are_marked(project, old_models, output):
    """Trained models stay until they are retrained, and warn; everything else is rebuilt without the pages."""
    data = project / "data"
    for name, (folder,) in old_models.items():
        assert f"{name} {folder.name} was trained on pages of {RULE}" in output
        assert (folder / "model.safetensors").exists() and not (folder / "samples").exists()
    assert "retrain: llm-assets run --select" in output and "takedown --finish" in output
    assert artifact_folders(data, "training_search_index") and artifact_folders(data, "corpus_report")
    assert not artifact_folders(data, "base_evaluation")  # it needs a training run, which a takedown does not start
    assert page_urls(data, "clean_corpus") & {"http://gone.example/article", "http://gone.example/artful/1"}
    why = command_here(project, "corpus", "why", f"http://{RULE}/1")
    assert f"rejected by filtered_urls, rule taken_down: {RULE}" in why.stdout
    base = old_models["base_checkpoint"][0].name
    completed = command_here(project, "complete", "--checkpoint", base, "--max-tokens", "4", "The")
    assert completed.returncode == 0
    assert f"Trained on pages that have been taken down ({RULE})" in completed.stderr
    unfinished = command_here(project, "takedown", "--finish")
    assert unfinished.stdout.count("was trained on pages of") == 2
    assert len(artifact_folders(data, "base_checkpoint")) == 1


def test_a_page_that_never_reached_the_corpus_marks_no_model(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_RECIPE", write_project(tmp_path))
    thin = page("http://thin.example/", b"<p>Only a few words that are too few for any model to see.</p>")
    write(tmp_path / "warc" / "c.warc.gz", [thin])
    stages = [*CORPUS, *(GRAPH[name] for name in ("tokenizer", "token_shards", "base_checkpoint"))]
    base = build(load_recipe(), stages, ["files"])["base_checkpoint"]
    code, output = takedown("thin.example", "--no-rebuild")
    assert code == 0 and "models that were trained on them: 0" in output
    assert "no model of the store holds these pages" in output
    assert build(load_recipe(), stages, ["files"])["base_checkpoint"].record == base.record
    assert len(artifact_folders(load_settings().data, "base_checkpoint")) == 1


def test_error_messages_in_mlflow_are_forgotten(tmp_path):
    from mlflow import MlflowClient

    from llm_assets.cli.takedown_history import compact, forget_errors

    uri, text = f"sqlite:///{tmp_path}/mlflow.db", "the keeper of the northern lighthouse counted herring boats"
    assert forget_errors(uri, {"extracted_text"}) == 0  # nothing is tracked, and no database is created
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
