"""The stage: which pages and conversations it indexes, its bytes, its check, and the command that reads it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from llm_assets import recipes
from llm_assets.artifacts import Graph, Store, Workspace, materialize
from llm_assets.artifacts.checks import check_schemas, examine
from llm_assets.artifacts.errors import NotBuilt
from llm_assets.cli import cli
from llm_assets.compute import LocalEngine
from llm_assets.dialogue.messages import to_json
from llm_assets.dialogue.rendering import is_held_out
from llm_assets.model.chat import Message
from llm_assets.model.shape import ModelShape
from llm_assets.tracing import TraceIndex
from llm_assets.tracing import trace_answer as trace
from llm_assets.tracing import trace_index as stage_module
from llm_assets.tracing.trace_index import TRACE_INDEX
from tests.support.stand_ins import ALL_CURRENT, stand_in
from tests.support.training_jobs import ENCODING, TEXTS, shard_index, write_corpus

TEXTS_OF_PAGES = TEXTS[:30]
GONE, VALIDATION = 7, 10  # numbers of a page that is no longer in the corpus, and of one that only validates
LONG = "This story is longer than the context. " * 60
ANSWERS = [*(f"Tell me of number {number} please." for number in range(60)), LONG]
SHAPE = ModelShape.of_depth(1, ENCODING.size, 256, width=32)
RECIPE = recipes.Recipe(
    name="t",
    crawls={"c": recipes.SampleWeb()},
    finetuning=recipes.Finetuning(held_out=0.2, validation_runs=1),
)


def messages_of(answer):
    return to_json([Message("user", "What is it?"), Message("assistant", answer)])


def write_shards(folder):
    write_corpus(folder / "work", TEXTS_OF_PAGES)
    for path in sorted((folder / "work" / "shards").iterdir()):
        path.rename(folder / path.name)
    shutil.rmtree(folder / "work")


def stages():
    """The index, and stand-ins for what it reads."""
    documents = pl.DataFrame(shard_index(TEXTS_OF_PAGES)).with_columns(
        doc_id=pl.col("warc_offset").cast(pl.String).str.zfill(24),
        url="http://host.example/" + pl.col("warc_offset").cast(pl.String),
        crawl=pl.lit("c"),
        warc_file=pl.lit("0"),
    )
    corpus = [{"warc_file": "0", "warc_offset": number} for number in range(len(TEXTS_OF_PAGES)) if number != GONE]
    rows = [
        {"conversation": number, "source": "generated", "sources": json.dumps(["known"]), "messages": messages_of(text)}
        for number, text in enumerate(ANSWERS)
    ]
    return [
        stand_in("clean_corpus", {"text": corpus}, per_crawl=True),
        ALL_CURRENT,
        stand_in("tokenizer", write=ENCODING.save),
        stand_in("base_checkpoint", write=lambda folder: (folder / "shape.json").write_text(SHAPE.dump())),
        stand_in("token_shards", {"documents": documents}, write=write_shards, per_crawl=True),
        stand_in("conversations", {"conversations": rows}),
        TRACE_INDEX,
    ]


def build(root, workers=1):
    """The workspace, and the outcome of the index."""
    workspace = Workspace(RECIPE, Store(root), Graph(stages()), LocalEngine(workers))
    outcomes = [materialize(stage, "c" if stage.per_crawl else None, workspace) for stage in workspace.graph]
    return workspace, outcomes[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    return root, *build(root)


def texts_of(artifact):
    """Everything that the index can be read to hold, decoded."""
    index = TraceIndex(artifact.path)
    return "".join(ENCODING.decode(segment.tokens) for segments in index.segments.values() for segment in segments)


def test_it_holds_current_training_pages_and_the_conversations_that_are_trained_on(built):
    _, _, outcome = built
    text, record = texts_of(outcome.artifact), outcome.artifact.record
    indexed = {number for number, page in enumerate(TEXTS_OF_PAGES) if page in text}
    assert indexed == {number for number in range(30) if number % VALIDATION and number != GONE}
    answers = {answer for answer in ANSWERS if answer in text}
    assert answers == {answer for answer in ANSWERS[:-1] if not is_held_out(messages_of(answer), 0.2)} < {*ANSWERS}
    assert record.stats["documents"] == len(indexed) and record.stats["conversations"] == len(answers)
    assert check_schemas(TRACE_INDEX, outcome.artifact).passed


def test_its_bytes_do_not_depend_on_workers_nor_its_spans_on_segments(built, tmp_path, monkeypatch):
    _, _, outcome = built
    monkeypatch.setattr(stage_module, "SEGMENT_TOKENS", 1000)
    _, alone = build(tmp_path / "one")
    _, parallel = build(tmp_path / "two", workers=2)
    assert alone.artifact.record.files == parallel.artifact.record.files
    assert len(TraceIndex(alone.artifact.path).segments["pages"]) > 2
    answer = " ".join(TEXTS_OF_PAGES[3].split()[2:30])
    spans = [trace(TraceIndex(which.artifact.path), answer).spans for which in (outcome, alone)]
    assert spans[0] == spans[1] and spans[0][0].pages[0].url == "http://host.example/3"


def test_a_segment_is_given_only_the_shards_that_hold_its_tokens():
    shards = stage_module.Shards([Path("a"), Path("b"), Path("c")], np.array([0, 10, 20, 25]))
    for runs, files, of_files in (
        ([[12, 15], [18, 20]], ["b"], [[2, 5], [8, 10]]),
        ([[9, 11], [20, 25]], ["a", "b", "c"], [[9, 11], [20, 25]]),
    ):
        task_files, task_runs = shards.below(np.array(runs))
        assert [file.name for file in task_files] == files and task_runs.tolist() == of_files


def test_the_check_finds_pages_and_lists_those_that_the_index_lacks(built, tmp_path):
    root, _, outcome = built
    (check,) = TRACE_INDEX.checks
    passed = examine(check, outcome.resolution, RECIPE, Store(root)).outcome
    assert passed.passed and passed.numbers["documents_found"] == passed.numbers["documents_searched"] == 26
    copy = tmp_path / "copy"
    shutil.copytree(outcome.artifact.path, copy)
    table = copy / "documents" / "documents.parquet"
    frame = pl.read_parquet(table)
    frame.with_columns(doc_id=pl.col("doc_id").reverse()).write_parquet(table)
    artifact = type(outcome.artifact)(copy, outcome.artifact.record)
    failed = stage_module.finds_documents(artifact, outcome.resolution.inputs, outcome.resolution.config)
    assert not failed.passed and failed.failures[0].keys() == {"url", "position"}


@pytest.fixture
def command(built, monkeypatch):
    """Runs the command in the store of the index; returns exit code and output."""
    _, workspace, _ = built
    monkeypatch.setattr(sys.modules["llm_assets.cli.trace_answer"], "open_workspace", lambda recipe: workspace)

    def run(*words, **options):
        return CliRunner().invoke(cli, ["trace-answer", *words], **options)

    return run


def test_the_command_names_document_file_and_offset(command):
    answer = " ".join(TEXTS_OF_PAGES[3].split()[2:30])
    shown = command(answer).output
    assert "training pages: 1\n    http://host.example/3  (c, 0, offset 3)" in shown
    from_stdin = json.loads(command("--json", input=answer + "\n").output)
    assert from_stdin["answer"] == answer and from_stdin["spans"][0]["pages"][0]["warc_offset"] == 3
    assert "(known), assistant" in command("Tell me of number", "--minimum", "3").output


@pytest.mark.parametrize(
    ("words", "message"),
    [(("",), "the answer is empty"), (("a", "--chat", "b"), "not both"), (("a", "--minimum", "0"), "0 is not in")],
)
def test_bad_arguments_give_one_error(command, words, message):
    done = command(*words)
    assert done.exit_code and message in done.output


def test_without_the_index_or_its_inputs_the_command_names_what_to_run(tmp_path, monkeypatch):
    workspace, outcome = build(tmp_path)
    monkeypatch.setattr(sys.modules["llm_assets.cli.trace_answer"], "open_workspace", lambda recipe: workspace)
    shutil.rmtree(outcome.artifact.path)
    with pytest.raises(NotBuilt, match=r"trace_index is not built .* run: llm-assets run --select '\*trace_index'"):
        CliRunner().invoke(cli, ["trace-answer", "text"], catch_exceptions=False)
