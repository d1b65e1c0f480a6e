"""The fine-tuning stages on a small corpus: what is kept out of training, identities, checks and views."""

import shutil
import sqlite3
from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets import recipes
from llm_assets.artifacts import Store, Workspace, materialize
from llm_assets.artifacts.checks import check_schemas
from llm_assets.artifacts.identity import canonical
from llm_assets.compute import LocalEngine
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.messages import from_json, to_json
from llm_assets.evaluation.question_baselines import CONSTANT, MAJORITY, REFUSES
from llm_assets.finetuning.conversation_sources import knowledge_cutoff, read_sources
from llm_assets.finetuning.conversations import conversations_config, no_overlap
from llm_assets.finetuning.knowledge_boundary import KNOWLEDGE_BOUNDARY
from llm_assets.finetuning.search_index import finds_itself, indexed_pages, search_index_config
from llm_assets.finetuning.sft_evaluation import REPORT, hallucinates_less
from llm_assets.finetuning.stages import STAGES
from llm_assets.json_requests import EndpointUnavailable
from llm_assets.model.chat import Message
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import INDEX, index_path, split_passages, write_index
from tests.support.finetuning_graph import ARCHIVE, ARCHIVE_WORD, GRAPH, PAGES, build, checked, recipe


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return folder, build(folder, recipe())


def rows(outcome, table):
    return pl.concat([pl.read_parquet(path) for path in outcome.artifact.table(table)])


def test_every_table_obeys_its_schema(built):
    _, outcomes = built
    for stage in STAGES:
        if stage.tables:
            assert check_schemas(stage, outcomes[stage.name].artifact).passed


# -- search ----------------------------------------------------------------------------------------------------------


def test_the_index_holds_every_page_and_its_check_counts_them(built):
    folder, outcomes = built
    index = outcomes["search_index"]
    assert index.artifact.record.stats["documents"] == PAGES
    assert {row.url.split("/")[2] for row in SearchIndex(index.artifact.file(INDEX)).search(ARCHIVE_WORD)} == {ARCHIVE}
    outcome = checked(index, recipe(), folder)["search_finds_pages"]
    assert outcome.passed and outcome.numbers["pages_found"] == outcome.numbers["pages_searched"] > 0


def test_the_check_lists_pages_that_the_index_lacks(built, tmp_path):
    _, outcomes = built
    index, inputs = outcomes["search_index"].artifact, outcomes["search_index"].resolution.inputs
    write_index(tmp_path / INDEX, [("http://a.example/", "nothing of the corpus")])
    empty = SimpleNamespace(file=lambda name: tmp_path / name, record=index.record)
    outcome = finds_itself(empty, inputs, search_index_config(recipe(), None))
    assert not outcome.passed and outcome.numbers["pages_found"] == 0
    assert outcome.failures[0].keys() == {"url", "query"} and len(outcome.failures) <= 20


def test_pages_are_found_although_many_passages_begin_alike(built, tmp_path):
    """Of 17,500 pages of the sample web, 7 in 1,600 shared the first twenty words of their longest passage with more
    pages than a search returns.
    """
    _, outcomes = built
    index, inputs = outcomes["search_index"].artifact, outcomes["search_index"].resolution.inputs
    config = search_index_config(recipe(), None)
    texts = indexed_pages(inputs).texts()
    passages = [passage for text in texts for passage in split_passages(text, config.passage_characters)]
    beginnings = [" ".join(passage.split()[:20]) for passage in passages if len(passage.split()) > 20]
    rows = [("http://a.example/", passage) for passage in [*passages, *(30 * beginnings)]]
    write_index(tmp_path / INDEX, rows)
    crowded = SimpleNamespace(file=lambda name: tmp_path / name, record=index.record)
    assert finds_itself(crowded, inputs, config).passed


def test_an_index_in_segments_finds_the_same_pages(built):
    folder, outcomes = built
    workspace = Workspace(recipe(search_index={"segment_files": 1}), Store(folder), GRAPH, LocalEngine(1))
    outcome = materialize(GRAPH["search_index"], None, workspace)
    whole, segmented = outcomes["search_index"].artifact, outcome.artifact
    assert sorted(segmented.record.files) == ["index-00000.sqlite", "index-00001.sqlite"]
    for name in ("documents", "bytes", "passages"):
        assert segmented.record.stats[name] == whole.record.stats[name]
    result = finds_itself(segmented, outcome.resolution.inputs, outcome.resolution.config)
    assert (
        result.passed
        and result.numbers
        == finds_itself(whole, outcome.resolution.inputs, search_index_config(recipe(), None)).numbers
    )
    indexes = [SearchIndex(index_path(artifact)) for artifact in (whole, segmented)]
    urls = [{passage.url for passage in index.search(ARCHIVE_WORD, 100)} for index in indexes]
    assert urls[0] == urls[1] and len(urls[0]) == PAGES // 6


def test_another_version_of_sqlite_changes_the_identity_of_the_index(built, monkeypatch):
    folder, _ = built
    assert search_index_config(recipe(), None).sqlite == sqlite3.sqlite_version
    monkeypatch.setattr(sqlite3, "sqlite_version", "9.9.9")
    workspace = Workspace(recipe(), Store(folder), GRAPH, LocalEngine(1))
    assert workspace.resolver().resolve("search_index", None).artifact is None


# -- training data ------------------------------------------------------------------------------------------


def test_search_only_pages_contribute_neither_words_nor_the_cutoff(built):
    _, outcomes = built
    inputs = outcomes["conversations"].resolution.inputs
    without = read_sources(inputs, conversations_config(recipe(), None))
    everything = read_sources(inputs, conversations_config(recipe(search_only_hosts=()), None))
    assert ARCHIVE_WORD in everything.words and everything.values["cutoff"] == "24 December 2026"
    assert ARCHIVE_WORD not in without.words and without.values["cutoff"] == "5 October 2026"
    assert len(without.words) > 50


def test_texts_are_those_of_training_pages(built):
    _, outcomes = built
    inputs = outcomes["conversations"].resolution.inputs
    texts = list(CorpusPages(inputs, TRAINING_PAGES, TrainingPages(search_only_hosts=(ARCHIVE,))).texts())
    assert len(texts) == PAGES - PAGES // 6 and not any(ARCHIVE_WORD in text for text in texts)


def test_no_conversation_mentions_a_held_out_entity(built):
    _, outcomes = built
    topics = rows(outcomes["knowledge_boundary"], "topics")
    conversations = rows(outcomes["conversations"], "conversations")
    held_out_names = set(topics.filter(pl.col("split") != "train")["entity"])
    assert set(topics.filter(pl.col("reach") == "held_out")["entity"]) <= held_out_names
    texts = [message.content for row in conversations["messages"] for message in from_json(row)]
    assert not [text for text in texts if any(name in text for name in held_out_names)]


def test_search_questions_are_about_facts_of_search_only_pages(built):
    """The boundary and the evaluation read all pages, so they ask for the archive's people, with the search tool."""
    _, outcomes = built
    topics = rows(outcomes["knowledge_boundary"], "topics")
    held_out = topics.filter(pl.col("reach") == "held_out")
    hosts = {url.split("/")[2] for url in held_out["url"] if url}  # not every fact is on a page
    assert hosts == {ARCHIVE}
    questions = rows(outcomes["conversations"], "evaluation").filter(pl.col("group") == "search")
    assert set(questions["entity"]) <= set(held_out["entity"])


# -- identity --------------------------------------------------------------------------------------------------------


SMALL = recipe()


@pytest.mark.parametrize(
    ("changes", "rebuilt"),
    [
        ({"name": "other"}, set()),
        (
            {
                "pretraining": SMALL.pretraining.replace(
                    tokens=7, seed=9, compute=recipes.Compute(compile=False, device="cuda")
                )
            },
            set(),
        ),
        (
            {
                "finetuning": SMALL.finetuning.replace(
                    compute=recipes.Compute(device="auto", processes=3, checkpoints_kept=5)
                )
            },
            set(),
        ),
        ({"sft_evaluation": SMALL.sft_evaluation.replace(device="auto")}, set()),
        ({"knowledge_boundary": SMALL.knowledge_boundary.replace(device="auto")}, set()),
        ({"finetuning": SMALL.finetuning.replace(batch_tokens=1280)}, set()),  # the value inherited from pretraining
        ({"finetuning": SMALL.finetuning.replace(epochs=0.3)}, {"sft_checkpoint"}),
        ({"finetuning": SMALL.finetuning.replace(ablation_epochs=0.3)}, {"ablation_checkpoint"}),
        ({"pretraining": SMALL.pretraining.replace(clip=0.5)}, {"sft_checkpoint", "ablation_checkpoint"}),
        ({"tools": SMALL.tools.replace(calls=1)}, {"sft_evaluation"}),
        ({"tools": SMALL.tools.replace(results=2)}, {"conversations", "sft_evaluation"}),
        ({"sft_evaluation": SMALL.sft_evaluation.replace(questions=4)}, {"conversations"}),
        ({"sft_evaluation": SMALL.sft_evaluation.replace(max_tokens=9)}, {"sft_evaluation"}),
        ({"evaluation_split": "development"}, {"sft_evaluation"}),
        (
            {"search_index": SMALL.search_index.replace(passage_characters=300)},
            {"search_index", "training_search_index"},
        ),
        ({"search_only_hosts": ()}, {"conversations"}),
    ],
)
def test_a_change_of_the_recipe_rebuilds_the_stages_whose_config_it_changes(built, changes, rebuilt):
    """Compares each stage's own config, with its inputs unchanged."""
    _, outcomes = built
    before = {name: outcome.artifact.record.fields["config"] for name, outcome in outcomes.items()}
    changed = recipe(**changes)
    assert {stage.name for stage in STAGES if canonical(stage.config(changed, None)) != before[stage.name]} == rebuilt


# -- checks and views ------------------------------------------------------------------------------------------------


def test_the_check_finds_an_evaluation_question_in_a_conversation(built, tmp_path):
    folder, outcomes = built
    conversations, config = outcomes["conversations"].artifact, conversations_config(recipe(), None)
    passed = checked(outcomes["conversations"], recipe(), folder)["no_evaluation_overlap"]
    assert passed.passed and passed.numbers["shared_messages"] == 0 and passed.numbers["questions"] > 20
    question = next(text for text in rows(outcomes["conversations"], "evaluation")["question"] if len(text.split()) > 6)
    messages = to_json([Message("user", f"Please: {question}"), Message("assistant", "No.")])
    pl.DataFrame([{"conversation": 0, "messages": messages}]).write_parquet(tmp_path / "leaked.parquet")
    leaked = SimpleNamespace(
        table=lambda name: [tmp_path / "leaked.parquet"] if name == "conversations" else conversations.table(name),
        record=conversations.record,
    )
    outcome = no_overlap(leaked, outcomes["conversations"].resolution.inputs, config)
    assert not outcome.passed and outcome.numbers["shared_messages"] == 1 and outcome.failures[0]["conversation"] == 0


def test_every_model_is_asked_the_same_questions(built):
    _, outcomes = built
    figures = rows(outcomes["sft_evaluation"], "evaluation").filter(pl.col("metric") == "right")
    counts = {
        model: dict(of_model.select("group", "n").iter_rows())
        for (model,), of_model in figures.group_by("model", maintain_order=True)
    }
    questions = rows(outcomes["conversations"], "evaluation").filter(pl.col("split") == "test")
    assert counts["base"] == counts["ablation"] == counts["sft"] == counts[REFUSES]
    assert sum(counts["sft"].values()) == len(questions)
    assert counts[MAJORITY].keys() | counts[CONSTANT].keys() == counts["sft"].keys()
    assert {"unknown", "letters_python", "guidelines"} <= counts["sft"].keys()


@pytest.mark.parametrize(("share", "passed"), [(0.2, True), (0.9, False)])
def test_the_check_passes_if_the_assistant_hallucinates_less_than_the_ablation(share, passed):
    stats = {"hallucinated": {"sft": share, "ablation": 0.9}, "falsely_refused": 0.1}
    outcome = hallucinates_less(SimpleNamespace(record=SimpleNamespace(stats=stats)), None, None)
    assert outcome.passed == passed
    assert outcome.numbers == {
        "hallucinated": share,
        "hallucinated_by_ablation": 0.9,
        "falsely_refused": 0.1,
    }


def test_the_hallucination_check_passes_if_nothing_was_asked():
    nothing = SimpleNamespace(record=SimpleNamespace(stats={}))
    for inputs, reason in (({"ablation_checkpoint"}, "no questions"), ((), "compare_with_ablation")):
        outcome = hallucinates_less(nothing, inputs, None)
        assert outcome.passed and reason in outcome.summary


def test_a_lost_report_is_drawn_again_from_stored_data_only(built, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(built[0], store)
    evaluation = build(store, recipe())["sft_evaluation"].artifact
    page = evaluation.view(REPORT).read_text()
    assert "Right, refused, wrong" in page and "<svg" in page
    assert REPORT not in evaluation.record.files and evaluation.record.views == [REPORT]
    evaluation.view(REPORT).unlink()
    again = build(store, recipe(name="renamed"))
    assert all(outcome.cached for outcome in again.values())
    assert evaluation.view(REPORT).read_text() == page


def test_checkpoints_have_a_plot_of_their_loss(built):
    _, outcomes = built
    for name in ("sft_checkpoint", "ablation_checkpoint"):
        artifact = outcomes[name].artifact
        assert [artifact.view(view.file).is_file() for view in outcomes[name].resolution.stage.views] == [True]
        assert not any(file.endswith(".svg") for file in artifact.record.files)
    sft, ablation = (outcomes[name].artifact.record.stats for name in ("sft_checkpoint", "ablation_checkpoint"))
    assert sft["left_out"] == 0 < ablation["left_out"]


def test_shown_metadata_are_texts_and_numbers(built):
    _, outcomes = built
    for stage in STAGES:
        if stage.show:
            shown = stage.show(outcomes[stage.name].artifact)
            assert shown and all(isinstance(value, str | int | float) for value in shown.values())


# -- endpoints -------------------------------------------------------------------------------------------------------


def test_the_run_retries_if_the_endpoint_is_down(built, tmp_path):
    endpoint = recipes.Endpoint(model="writer", url="http://127.0.0.1:9/v1", retries=0)
    with_endpoint = recipe(knowledge_boundary=recipes.KnowledgeBoundary(endpoint=endpoint, articles=2, device="cpu"))
    with pytest.raises(EndpointUnavailable, match="1 tries failed"):
        build(built[0], with_endpoint, "knowledge_boundary")
    assert issubclass(EndpointUnavailable, KNOWLEDGE_BOUNDARY.retry.on)


@pytest.mark.parametrize(
    ("dates", "cutoff"),
    [
        (["2026-10-05T06:00:00Z", "", "99 October"], "5 October 2026"),
        (["2026-10-05T06:00:00.123Z"], "5 October 2026"),
        (["", "yesterday"], "an unknown day"),
        ([], "an unknown day"),
    ],
)
def test_the_knowledge_cutoff_is_the_newest_valid_day(dates, cutoff):
    frames = [pl.DataFrame({"fetched_at": [date]}) for date in dates]
    assert knowledge_cutoff(SimpleNamespace(batches=lambda columns: frames)) == cutoff
