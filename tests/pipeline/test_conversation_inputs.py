"""What users give to the conversations: files, an endpoint and settings; and the errors that name them."""

import json

import polars as pl
import pytest

from llm_assets.finetuning.conversations import ConversationsError
from llm_assets.finetuning.sft_checkpoint import FinetuningError
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.recipes import (
    ConversationFile,
    Conversations,
    Endpoint,
    Finetuning,
    KnowledgeBoundary,
    QuestionFile,
)
from tests.support.building import build, check
from tests.support.chat_server import Server, chat
from tests.support.sample_pipeline import TO_CONVERSATIONS, TO_SFT_EVALUATION, table_of
from tests.support.small_recipe import SMALL


def conversation(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_malformed_lines_of_a_users_file_are_rejected_and_overlapping_ones_left_out(base_recipe, tmp_path):
    file = tmp_path / "mine.jsonl"
    tea = json.dumps(conversation("What is tea?", "A drink."))
    identity = json.dumps(conversation("Who is this?", "Me."))
    file.write_text("\n".join([tea, "not JSON", json.dumps({"messages": []}), identity, tea]))
    evaluation_file = tmp_path / "evaluation.jsonl"
    question = "Which of the many rivers of the northern country is the longest of all of them?"
    evaluation_file.write_text(json.dumps({"question": question, "answer": "x"}))
    mixture = Conversations(
        count=5,
        files=(ConversationFile(path=str(file), name="mine"),),
        evaluation_files=(ConversationFile(path=str(evaluation_file), name="held"),),
    )
    artifact = build(base_recipe.replace(conversations=mixture), TO_CONVERSATIONS)["conversations"]
    conversations = table_of(artifact, "conversations")
    assert conversations.filter(pl.col("source") == "mine")["line"].to_list() == [1, 5]
    assert table_of(artifact, "rejects").select("file", "line").rows() == [("mine", 2), ("mine", 3)]
    overlaps = table_of(artifact, "overlaps").select("source", "line", "evaluation")
    assert overlaps.rows() == [("mine", 4, "identity")]
    assert set(artifact.record.stats["left_out"]) == {
        "known",
        "fictitious",
        "open",
        "two_hops",
        "reading",
        "unknown",
    }


def test_a_users_file_is_identified_by_its_content_and_not_by_its_path(base_recipe, tmp_path):
    file, moved_file = tmp_path / "mine.jsonl", tmp_path / "elsewhere" / "mine.jsonl"
    file.write_text(json.dumps(conversation("What is tea?", "A drink.")) + "\n")
    moved_file.parent.mkdir()
    moved_file.write_bytes(file.read_bytes())
    recipe, moved_recipe = (
        base_recipe.replace(
            conversations=Conversations(count=5, files=(ConversationFile(path=str(path), name="mine"),))
        )
        for path in (file, moved_file)
    )
    artifact = build(recipe, TO_CONVERSATIONS)["conversations"]
    moved_artifact = open_workspace(moved_recipe).resolver().artifact("conversations", None)
    assert moved_artifact.data_version == artifact.data_version
    moved_file.write_text(json.dumps(conversation("What is coffee?", "A drink.")))
    assert open_workspace(moved_recipe).resolver().resolve("conversations", None).artifact is None


def test_a_missing_file_is_named(base_recipe, tmp_path):
    absent = ConversationFile(path=str(tmp_path / "none.jsonl"), name="mine")
    recipe = base_recipe.replace(conversations=Conversations(files=(absent,)))
    with pytest.raises(ConversationsError, match=r"no such file: mine \(.*none\.jsonl\)"):
        open_workspace(recipe).resolver().resolve("conversations", None)


def test_an_empty_mixture_is_an_error(base_recipe):
    with pytest.raises(ConversationsError, match="the mixture is empty"):
        build(base_recipe.replace(conversations=Conversations(count=0)), TO_CONVERSATIONS)


class QuestionWriter:
    """An endpoint that writes a good and a bad question about each article, and judges every second answer as right."""

    def __init__(self):
        self.articles = self.judgements = 0

    def reply(self, number, text):
        if "Write 2 factual questions" in text:
            self.articles += 1
            return 200, chat(json.dumps(self.questions(text.split("Article:\n")[1])))
        self.judgements += 1
        return 200, chat("Right." if self.judgements % 2 else "refused")

    def questions(self, article):
        word = max(article.split(), key=len).strip(".,;:!?\"'()")
        thing = f"Thing {self.articles}"
        good = {
            "entity": thing,
            "kind": "thing",
            "relation": "told",
            "questions": [f"What is known about {thing}?", f"Tell me about {thing}.", f"{thing}: what is it?"],
            "answer": word,
            "sentence": f"{thing} is about {word}.",
        }
        return [good, {**good, "answer": "no word of the article"}]


def test_an_endpoint_writes_questions_and_judges_answers(base_recipe):
    writer = QuestionWriter()
    server = Server(writer.reply)
    try:
        boundary = KnowledgeBoundary(
            endpoint=Endpoint(model="writer", url=f"http://127.0.0.1:{server.server_address[1]}/v1", concurrency=1),
            articles=6,
            questions_per_article=2,
            samples=2,
            wordings=2,
            max_tokens=8,
            device="cpu",
            known=0.9,
        )
        recipe = base_recipe.replace(knowledge_boundary=boundary)
        artifact = build(recipe, TO_CONVERSATIONS)["knowledge_boundary"]
    finally:
        server.shutdown()
        server.server_close()
    topics, answers = table_of(artifact, "topics"), table_of(artifact, "interrogations")
    assert len(topics) == 6 and writer.articles == 6
    held_out = [topics[f"{split}_questions"].str.json_decode(pl.List(pl.String)) for split in ("development", "test")]
    assert (held_out[0].list.len() + held_out[1].list.len() == 1).all()
    reason = "question 2: the article does not contain the answer 'no word of the article'"
    assert table_of(artifact, "question_rejects")["reason"].to_list() == [reason] * 6
    judged = answers.filter(pl.col("judge") == "endpoint")
    assert len(judged) == writer.judgements > 0
    assert set(judged["grade"]) == {"right", "refused"}
    assert (topics["url"].str.len_chars() > 0).all()


def test_a_context_too_short_for_any_conversation_is_an_error(base_recipe):
    recipe = base_recipe.replace(model=SMALL["model"].replace(context=8))
    with pytest.raises(FinetuningError, match="no conversation fits into the model's context of 8 tokens"):
        build(recipe, [*TO_CONVERSATIONS, GRAPH["sft_checkpoint"]])


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        (KnowledgeBoundary, {"known": 0.2, "unknown": 0.3}, "unknown 0.3 must be below known 0.2"),
        (Conversations, {"weights": {"known": -1}}, "weights"),
        (Conversations, {"tools": (0, 0, 0, 0)}, "not all of them 0"),
        (Conversations, {"weights": {"nonsense": 1}}, "nonsense"),
        (Finetuning, {"document_share": 1.0}, "document_share"),
    ],
)
def test_wrong_settings_are_errors_that_name_the_field(section, fields, message):
    with pytest.raises(ValueError, match="validation error") as error:
        section(**fields)
    assert message in str(error.value)


def test_every_model_is_asked_a_users_own_questions(base_recipe, tmp_path):
    faq, tea = tmp_path / "faq.jsonl", conversation("What is tea made of?", "Leaves.")
    rows = [{"question": "What is tea made of?", "answers": ["leaves", "tea leaves"]}, {"question": "No answer?"}]
    faq.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trained = tmp_path / "mine.jsonl"
    trained.write_text("".join(json.dumps(row) + "\n" for row in (tea, conversation("What is mud?", "Wet earth."))))
    evaluation = base_recipe.sft_evaluation.replace(files=(QuestionFile(path=str(faq), name="faq"),))
    mixture = Conversations(count=5, files=(ConversationFile(path=str(trained), name="mine"),))
    recipe = base_recipe.replace(conversations=mixture, sft_evaluation=evaluation)
    artifacts = build(recipe, TO_SFT_EVALUATION)
    conversations = artifacts["conversations"]
    questions = table_of(conversations, "evaluation").filter(pl.col("group") == "contains:faq")
    assert questions["split"].to_list() == ["development", "test"]
    # The question is asked, so the conversation that contains it is not trained on.
    assert table_of(conversations, "conversations").filter(pl.col("source") == "mine")["line"].to_list() == [2]
    outcome = check(recipe, "conversations", "rows_of_files")
    assert not outcome.passed and "mine: 1 conversations" in outcome.summary
    assert "questions faq: 1 questions; questions faq: 1 rows rejected, the first in row 2: fields" in outcome.summary
    figures = table_of(artifacts["sft_evaluation"], "evaluation")
    right = figures.filter((pl.col("group") == "contains:faq") & (pl.col("metric") == "right"))
    assert {"base", "ablation", "sft", "best constant answer"} <= set(right["model"]) and set(right["n"]) == {1}
