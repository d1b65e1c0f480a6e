"""`llm-assets export-data`: the folder as `datasets` loads it, with FineWeb's columns and TRL's messages."""

import json

import datasets
import polars as pl
import pytest
from click.testing import CliRunner
from huggingface_hub import DatasetCard

from llm_assets.cli import cli
from llm_assets.dialogue.messages import from_json
from llm_assets.model.chat import prompt
from llm_assets.model.encoding import Encoding
from llm_assets.release import data_export
from tests.support.sample_pipeline import REFERENCE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(shared_pipeline, tmp_path_factory):
    """The folder that the command wrote, and what it printed."""
    data, _ = shared_pipeline
    folder = tmp_path_factory.mktemp("data") / "exported"
    words = ["export-data", str(folder), "--recipe", REFERENCE, "--license", "odc-by"]
    result = CliRunner().invoke(cli, words, env={"LLM_ASSETS_DATA": str(data / "data")}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder, result.output


@pytest.fixture
def loaded(exported, tmp_path):
    folder, _ = exported
    return lambda subset: datasets.load_dataset(str(folder), subset, cache_dir=str(tmp_path))


def test_the_corpus_has_finewebs_columns_and_every_training_page(loaded, pipeline):
    corpus = loaded("corpus")
    rows = [dict(row, split=split) for split, table in corpus.items() for row in table]
    documents = pipeline.table("token_shards/sample", "documents")
    pages = pipeline.table("clean_corpus/sample", "text").join(
        documents, on=["warc_file", "warc_offset", "doc_id"], how="inner"
    )
    assert tuple(corpus["train"].column_names) == data_export.CORPUS_COLUMNS
    assert {(row["id"], row["text"], row["split"]) for row in rows} == set(
        pages.select("doc_id", "text", "split").iter_rows()
    )
    encoding = Encoding.load(pipeline.artifacts["tokenizer"].path)
    assert [row["token_count"] for row in rows] == [len(encoding.encode(row["text"])) for row in rows]


def test_pages_that_only_the_search_tool_uses_are_left_out_and_counted(exported, pipeline):
    folder, output = exported
    pages = pipeline.artifacts["clean_corpus/sample"].record.rows["text"]
    left_out = pages - len(pipeline.table("token_shards/sample", "documents"))
    assert left_out > 0 and f"{left_out} pages are left out" in output
    assert f"{left_out} pages are left out" in (folder / "README.md").read_text()


def test_messages_are_structs_that_the_chat_template_renders_as_in_training(loaded, pipeline):
    from transformers import AutoTokenizer

    stored = pipeline.table("conversations", "conversations")["messages"]
    conversations = loaded("conversations")["train"]["messages"]
    assert len(conversations) == len(stored)
    tokenizer = AutoTokenizer.from_pretrained(pipeline.artifacts["model_export"].path / "huggingface")
    encoding = Encoding.load(pipeline.artifacts["tokenizer"].path)
    calls = 0
    for messages, text in zip(conversations, stored, strict=True):
        conversation = from_json(text)
        calls += sum(message.call is not None for message in conversation)
        # prompt() encodes what the assistant is to answer, so without its last message.
        rendered = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
        assert rendered == prompt(encoding, conversation[:-1])
    assert calls > 0


def test_questions_have_their_answers_as_lists(loaded, pipeline):
    stored = pipeline.table("conversations", "evaluation")
    questions = loaded("questions")
    assert {split: len(table) for split, table in questions.items()} == dict(stored.group_by("split").len().iter_rows())
    test = stored.filter(pl.col("split") == "test")
    assert questions["test"]["question"][:] == test["question"].to_list()
    assert questions["test"]["answers"][:] == [json.loads(answers) for answers in test["answers"]]


def test_preferences_are_the_rankings_without_ties(loaded, pipeline):
    rankings = pipeline.table("human_rankings", "rankings").filter(pl.col("preferred") != "tie")
    expected = {
        (row["question"], row[row["preferred"]], row["second" if row["preferred"] == "first" else "first"])
        for row in rankings.iter_rows(named=True)
    }
    pairs = [row for table in loaded("preferences").values() for row in table]
    assert len(pairs) == len(rankings) > 0
    roles = ("prompt", "user"), ("chosen", "assistant"), ("rejected", "assistant")
    assert all([message["role"] for message in row[name]] == [role] for row in pairs for name, role in roles)
    assert {tuple(row[name][0]["content"] for name, _ in roles) for row in pairs} == expected


def test_the_card_is_valid_and_names_license_language_and_lineage(exported, pipeline):
    folder, _ = exported
    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == "odc-by" and card.data.language == ["en"]
    assert [config["config_name"] for config in card.data.to_dict()["configs"]] == [
        "corpus",
        "conversations",
        "questions",
        "preferences",
    ]
    for key in ("clean_corpus/sample", "conversations", "human_rankings"):
        assert f"| {key} | `{pipeline.artifacts[key].record.short_id}` |" in card.text


def test_a_folder_with_files_is_refused(exported, shared_pipeline):
    folder, _ = exported
    data, _ = shared_pipeline
    result = CliRunner().invoke(
        cli, ["export-data", str(folder), "--recipe", REFERENCE], env={"LLM_ASSETS_DATA": str(data / "data")}
    )
    assert isinstance(result.exception, data_export.DataExportError) and "not an empty folder" in str(result.exception)


def test_a_split_is_cut_into_files_of_limited_size_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(data_export, "FILE_BYTES", 100)
    writer = data_export.SplitWriter(tmp_path, "corpus", ("train", "validation"))
    for number in range(10):
        writer.add("train", pl.DataFrame({"text": [f"{number}" * 40]}))
    assert writer.close() == {"train": 10}
    files = sorted((tmp_path / "corpus").iterdir())
    assert len(files) > 1 and files[0].name == "train-00000.parquet"
    assert [text[0] for file in files for text in pl.read_parquet(file)["text"]] == list("0123456789")
