"""From the base model to the assistant: search-only pages, known and unknown topics, conversations, and SFT."""

import json

import polars as pl

from llm_assets.dialogue.messages import from_json
from llm_assets.evaluation.overlap import Phrases
from llm_assets.finetuning.sft_checkpoint import is_ablated
from llm_assets.model.chat import check as check_messages
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import INDEX
from tests.support.building import check
from tests.support.sample_pipeline import ARCHIVE, with_changed_columns


def training_index(pipeline):
    return SearchIndex(pipeline.artifacts["training_search_index"].file(INDEX))


def test_the_training_search_index_holds_pages_of_every_host(pipeline):
    outcome = check(pipeline.recipe, "training_search_index", "search_finds_pages")
    assert outcome.passed and outcome.numbers["pages_found"] > 0
    hosts = {passage.url.split("/")[2] for passage in training_index(pipeline).search("plays", 10_000)}
    assert ARCHIVE in hosts and len(hosts) > 3
    pages = pipeline.table("clean_corpus/sample", "text")
    assert pipeline.stats("training_search_index")["documents"] == len(pages)


def test_the_base_model_trains_on_no_search_only_page(pipeline):
    pages = pipeline.table("clean_corpus/sample", "text")
    documents = pipeline.table("token_shards/sample", "documents")
    withheld = pages.filter(pl.col("host") == ARCHIVE)
    assert len(withheld) > 0 and ARCHIVE not in set(documents["host"])
    assert set(documents["url"]) == set(pages["url"]) - set(withheld["url"])
    outcome = check(pipeline.recipe, "token_shards", "shards_match_corpus", "sample")
    assert outcome.passed and outcome.numbers["withheld_documents"] == len(withheld)
    inputs = pipeline.artifacts["base_checkpoint"].record.fields["inputs"]
    assert {key for key in inputs if "/" in key} == {"token_shards/sample"}


def test_every_topic_gets_the_verdict_of_its_answers(pipeline):
    topics = pipeline.table("knowledge_boundary", "topics")
    answers = pipeline.table("knowledge_boundary", "interrogations")
    settings = pipeline.recipe.knowledge_boundary
    assert set(answers["topic"]) == set(topics["topic"])
    assert (topics["samples"] == settings.wordings * settings.samples).all()
    right_share = dict(answers.group_by("topic").agg((pl.col("grade") == "right").mean()).iter_rows())
    for topic in topics.iter_rows(named=True):
        assert topic["right"] == right_share[topic["topic"]]
        assert topic["verdict"] == ("known" if topic["right"] >= settings.known else "unknown")
        assert topic["split"] != "train" or topic["reach"] != "held_out"
        columns = ("questions", "development_questions", "test_questions")
        wordings = [wording for column in columns for wording in json.loads(topic[column])]
        assert len(set(wordings)) == len(wordings)


def test_fictitious_names_are_on_no_page(pipeline):
    fictitious = pipeline.table("knowledge_boundary", "fictitious_entities")
    assert len(fictitious) > 60 and set(fictitious["split"]) == {"train", "development", "test"}
    index = training_index(pipeline)
    assert [name for name in fictitious["name"] if index.search(name)] == []


def test_conversations_are_well_formed_and_mention_no_held_out_entity(pipeline):
    topics = pipeline.table("knowledge_boundary", "topics")
    fictitious = pipeline.table("knowledge_boundary", "fictitious_entities")
    held_out_names = Phrases()
    for name in topics.filter(pl.col("split") != "train")["entity"].unique():
        held_out_names.add(name)
    for name in fictitious.filter(pl.col("split") != "train")["name"]:
        held_out_names.add(name)
    for row in pipeline.table("conversations", "conversations").iter_rows(named=True):
        messages = from_json(row["messages"])
        check_messages(messages)
        assert not any(held_out_names.find(message.content) for message in messages)


def test_no_conversation_contains_an_evaluation_question(pipeline):
    outcome = check(pipeline.recipe, "conversations", "no_evaluation_overlap")
    assert outcome.passed, outcome.failures
    groups = set(pipeline.table("conversations", "evaluation")["group"])
    assert {"unknown", "fictitious", "search", "sums", "letters", "spelling", "identity", "private"} <= groups
    assert "search_fictitious" in groups


def test_the_overlap_check_finds_an_evaluation_question_in_a_conversation(pipeline, tmp_path):
    evaluation = pipeline.table("conversations", "evaluation")
    question = evaluation.filter(pl.col("group") == "fictitious")["question"][0]
    leaked = [{"role": "user", "content": f"Hello! {question}"}, {"role": "assistant", "content": "No."}]
    messages = pl.when(pl.col("conversation") == 3).then(pl.lit(json.dumps(leaked))).otherwise("messages")
    changed = with_changed_columns(
        pipeline.artifacts["conversations"], tmp_path / "changed", "conversations", {"messages": messages}
    )
    outcome = check(pipeline.recipe, "conversations", "no_evaluation_overlap", changed=changed)
    assert not outcome.passed
    assert [(failure["conversation"], failure["evaluation"]) for failure in outcome.failures] == [(3, "fictitious")]


def check_training_counts(pipeline, checkpoint, is_wanted):
    """The checkpoint was trained on every wanted conversation that fits the context, and reports the others."""
    conversations = pipeline.table("conversations", "conversations")
    stats, too_long = pipeline.stats(checkpoint), pipeline.table(checkpoint, "too_long")
    wanted = [
        row["conversation"] for row in conversations.iter_rows(named=True) if is_wanted(json.loads(row["sources"]))
    ]
    assert stats["conversations"] + stats["too_long"] == len(wanted)
    assert stats["too_long"] == len(too_long) and set(too_long["conversation"]) <= set(wanted)
    assert stats["left_out"] == len(conversations) - len(wanted)
    assert (too_long["tokens"] > 161 - 1).all()


def test_sft_trains_on_every_conversation_and_the_ablation_on_the_remaining_ones(pipeline):
    check_training_counts(pipeline, "sft_checkpoint", lambda sources: True)
    check_training_counts(pipeline, "ablation_checkpoint", lambda sources: not is_ablated(sources))
    assert pipeline.stats("ablation_checkpoint")["left_out"] > 0


def test_the_answers_of_all_three_models_are_graded(pipeline):
    answers = pipeline.table("sft_evaluation", "answers")
    questions = pipeline.table("conversations", "evaluation").filter(pl.col("split") == "test")
    counts = dict(answers.group_by("model").len().iter_rows())
    assert counts == dict.fromkeys(("base", "ablation", "sft"), len(questions))
    report = pipeline.artifacts["sft_evaluation"].view("report.html").read_text()
    assert "Transcripts" in report and "ablation" in report
