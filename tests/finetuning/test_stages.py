"""The room's stages on a small corpus: what is kept out of training, what bears identity, checks and views."""

import sqlite3
from types import SimpleNamespace

import polars as pl
import pytest

from llm_assets import recipes
from llm_assets.artifacts import Store, Workspace
from llm_assets.artifacts.checks import check_schemas
from llm_assets.artifacts.identity import canonical
from llm_assets.compute import LocalEngine
from llm_assets.corpus_pages import TRAINING_PAGES, CorpusPages
from llm_assets.dialogue.messages import from_json, to_json
from llm_assets.finetuning.conversations import conversations_config, knowledge_cutoff, no_overlap, read_sources
from llm_assets.finetuning.endpoint import EndpointUnavailable
from llm_assets.finetuning.knowledge_boundary import KNOWLEDGE_BOUNDARY
from llm_assets.finetuning.search_index import finds_itself, search_index_config
from llm_assets.finetuning.sft_evaluation import REPORT, hallucinates_less
from llm_assets.finetuning.stages import STAGES
from llm_assets.model.chat import Message
from llm_assets.recipes.training_pages import TrainingPages
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import INDEX, write_index
from tests.support.finetuning_graph import ARCHIVE, ARCHIVE_WORD, GRAPH, PAGES, build, checked, recipe


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    return folder, build(folder, recipe())


def rows(outcome, table):
    return pl.concat([pl.read_parquet(path) for path in outcome.artifact.table(table)])


def test_every_table_fits_its_schema(built):
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
    found = checked(index, recipe(), folder)["search_finds_pages"]
    assert found.passed and found.numbers["pages_found"] == found.numbers["pages_searched"] > 0


def test_pages_that_an_index_lacks_are_told(built, tmp_path):
    _, outcomes = built
    index, inputs = outcomes["search_index"].artifact, outcomes["search_index"].resolution.inputs
    write_index(tmp_path / INDEX, [("http://a.example/", "nothing of the corpus")])
    empty = SimpleNamespace(file=lambda name: tmp_path / name, record=index.record)
    outcome = finds_itself(empty, inputs, search_index_config(recipe(), None))
    assert not outcome.passed and outcome.numbers["pages_found"] == 0
    assert outcome.failures[0].keys() == {"url", "query"} and len(outcome.failures) <= 20


def test_another_sqlite_is_another_index(built, monkeypatch):
    folder, _ = built
    assert search_index_config(recipe(), None).sqlite == sqlite3.sqlite_version
    monkeypatch.setattr(sqlite3, "sqlite_version", "9.9.9")
    workspace = Workspace(recipe(), Store(folder), GRAPH, LocalEngine(1))
    assert workspace.resolver().resolve("search_index", None).artifact is None


# -- what may be trained on ------------------------------------------------------------------------------------------


def test_search_only_pages_give_conversations_neither_words_nor_the_cutoff(built):
    _, outcomes = built
    inputs = outcomes["conversations"].resolution.inputs
    without = read_sources(inputs, conversations_config(recipe(), None))
    everything = read_sources(inputs, conversations_config(recipe(search_only_hosts=()), None))
    assert ARCHIVE_WORD in everything.words and everything.values["cutoff"] == "24 December 2026"
    assert ARCHIVE_WORD not in without.words and without.values["cutoff"] == "5 October 2026"
    assert len(without.words) > 50


def test_texts_are_those_of_the_pages_that_may_be_trained_on(built):
    _, outcomes = built
    inputs = outcomes["conversations"].resolution.inputs
    kept = list(CorpusPages(inputs, TRAINING_PAGES, TrainingPages(search_only_hosts=(ARCHIVE,))).texts())
    assert len(kept) == PAGES - PAGES // 6 and not any(ARCHIVE_WORD in text for text in kept)


def test_what_is_kept_apart_is_mentioned_in_no_conversation(built):
    _, outcomes = built
    topics = rows(outcomes["knowledge_boundary"], "topics")
    conversations = rows(outcomes["conversations"], "conversations")
    kept = set(topics.filter("kept_apart")["entity"])
    assert set(topics.filter(pl.col("reach") == "held_out")["entity"]) <= kept
    said = [message.content for row in conversations["messages"] for message in from_json(row)]
    assert not [text for text in said if any(name in text for name in kept)]


def test_the_questions_of_what_only_search_knows_are_asked(built):
    """Boundary and evaluation read all pages: the archive's people are asked for, with the search tool."""
    _, outcomes = built
    topics = rows(outcomes["knowledge_boundary"], "topics")
    held_out = topics.filter(pl.col("reach") == "held_out")
    hosts = {url.split("/")[2] for url in held_out["url"] if url}  # a page need not tell every fact
    assert hosts == {ARCHIVE}
    questions = rows(outcomes["conversations"], "evaluation").filter(pl.col("group") == "search")
    assert set(questions["entity"]) <= set(held_out["entity"])


# -- identity --------------------------------------------------------------------------------------------------------


SMALL = recipe()


@pytest.mark.parametrize(
    ("changes", "anew"),
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
        ({"finetuning": SMALL.finetuning.replace(batch_tokens=1280)}, set()),  # as it was taken over from pretraining
        ({"finetuning": SMALL.finetuning.replace(epochs=0.3)}, {"sft_checkpoint"}),
        ({"finetuning": SMALL.finetuning.replace(ablation_epochs=0.3)}, {"ablation_checkpoint"}),
        ({"pretraining": SMALL.pretraining.replace(clip=0.5)}, {"sft_checkpoint", "ablation_checkpoint"}),
        ({"tools": SMALL.tools.replace(calls=1)}, {"sft_evaluation"}),
        ({"tools": SMALL.tools.replace(results=2)}, {"conversations", "sft_evaluation"}),
        ({"sft_evaluation": SMALL.sft_evaluation.replace(questions=4)}, {"conversations"}),
        ({"sft_evaluation": SMALL.sft_evaluation.replace(max_tokens=9)}, {"sft_evaluation"}),
        (
            {"search_index": SMALL.search_index.replace(passage_characters=300)},
            {"search_index", "training_search_index"},
        ),
        ({"search_only_hosts": ()}, {"conversations"}),
    ],
)
def test_what_is_built_anew(built, changes, anew):
    """Of each stage by its own slice: with its inputs as they are, is it another artifact?"""
    _, outcomes = built
    before = {name: outcome.artifact.record.fields["config"] for name, outcome in outcomes.items()}
    made = recipe(**changes)
    assert {stage.name for stage in STAGES if canonical(stage.config(made, None)) != before[stage.name]} == anew


# -- checks and views ------------------------------------------------------------------------------------------------


def test_a_question_of_the_evaluation_in_a_conversation_is_told(built, tmp_path):
    folder, outcomes = built
    conversations, config = outcomes["conversations"].artifact, conversations_config(recipe(), None)
    found = checked(outcomes["conversations"], recipe(), folder)["no_evaluation_overlap"]
    assert found.passed and found.numbers["shared_messages"] == 0 and found.numbers["questions"] > 20
    question = next(text for text in rows(outcomes["conversations"], "evaluation")["question"] if len(text.split()) > 6)
    messages = to_json([Message("user", f"Please: {question}"), Message("assistant", "No.")])
    pl.DataFrame([{"conversation": 0, "messages": messages}]).write_parquet(tmp_path / "leaked.parquet")
    leaked = SimpleNamespace(
        table=lambda name: [tmp_path / "leaked.parquet"] if name == "conversations" else conversations.table(name),
        record=conversations.record,
    )
    outcome = no_overlap(leaked, outcomes["conversations"].resolution.inputs, config)
    assert not outcome.passed and outcome.numbers["shared_messages"] == 1 and outcome.failures[0]["conversation"] == 0


@pytest.mark.parametrize(("made_up", "passed"), [(0.2, True), (0.9, False)])
def test_fewer_hallucinations_than_without_the_mitigation(made_up, passed):
    stats = {"hallucinated": {"sft": made_up, "ablation": 0.9}, "falsely_refused": 0.1}
    outcome = hallucinates_less(SimpleNamespace(record=SimpleNamespace(stats=stats)), None, None)
    assert outcome.passed == passed
    assert outcome.numbers == {
        "hallucinated": made_up,
        "hallucinated_without_mitigation": 0.9,
        "falsely_refused": 0.1,
    }


def test_nothing_asked_nothing_made_up():
    assert hallucinates_less(SimpleNamespace(record=SimpleNamespace(stats={})), None, None).passed


def test_the_report_is_drawn_from_what_is_stored_alone(built):
    folder, outcomes = built
    evaluation = outcomes["sft_evaluation"].artifact
    page = evaluation.view(REPORT).read_text()
    assert "Right, refused, wrong" in page and "<svg" in page
    assert REPORT not in evaluation.record.files and evaluation.record.views == [REPORT]
    evaluation.view(REPORT).unlink()
    again = build(folder, recipe(name="renamed"))
    assert all(outcome.cached for outcome in again.values())
    assert evaluation.view(REPORT).read_text() == page


def test_checkpoints_draw_their_loss(built):
    _, outcomes = built
    for name in ("sft_checkpoint", "ablation_checkpoint"):
        artifact = outcomes[name].artifact
        assert [artifact.view(view.file).is_file() for view in outcomes[name].resolution.stage.views] == [True]
        assert not any(file.endswith(".svg") for file in artifact.record.files)
    mitigated, without = (outcomes[name].artifact.record.stats for name in ("sft_checkpoint", "ablation_checkpoint"))
    assert mitigated["left_out"] == 0 < without["left_out"]


def test_pages_of_assets_are_texts(built):
    _, outcomes = built
    for stage in STAGES:
        if stage.show:
            shown = stage.show(outcomes[stage.name].artifact)
            assert shown and all(isinstance(value, str | int | float) for value in shown.values())


# -- endpoints -------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_is_down_is_tried_again_by_the_run(built, tmp_path):
    endpoint = recipes.Endpoint(model="writer", url="http://127.0.0.1:9/v1", retries=0)
    made = recipe(knowledge_boundary=recipes.KnowledgeBoundary(endpoint=endpoint, articles=2, device="cpu"))
    with pytest.raises(EndpointUnavailable, match="1 tries failed"):
        build(built[0], made, "knowledge_boundary")
    assert issubclass(EndpointUnavailable, KNOWLEDGE_BOUNDARY.retry.on)


@pytest.mark.parametrize(
    ("dates", "told"),
    [
        (["2026-10-05T06:00:00Z", "", "99 October"], "5 October 2026"),
        (["2026-10-05T06:00:00.123Z"], "5 October 2026"),
        (["", "yesterday"], "an unknown day"),
        ([], "an unknown day"),
    ],
)
def test_the_knowledge_cutoff_is_the_newest_day_that_can_be_read(dates, told):
    frame = pl.LazyFrame({"fetched_at": dates}, schema={"fetched_at": pl.String})
    assert knowledge_cutoff(SimpleNamespace(scan=lambda columns: frame.select(columns))) == told
