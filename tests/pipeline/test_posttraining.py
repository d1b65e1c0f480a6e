"""From base model to assistant, and what follows, on a small sample web.

What the tables hold, what is cached, what is drawn again; what goes wrong, and how it says so.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
from click.testing import CliRunner

from llm_assets.artifacts.lineage import downstream
from llm_assets.artifacts.record import data_version
from llm_assets.cli import cli
from llm_assets.dialogue.messages import from_json
from llm_assets.finetuning.conversations import ConversationsError
from llm_assets.finetuning.overlap import Phrases
from llm_assets.finetuning.sft_checkpoint import FinetuningError, mitigates
from llm_assets.graph import GRAPH, open_workspace
from llm_assets.model.chat import Message, prompt
from llm_assets.model.chat import check as check_messages
from llm_assets.model.checkpoint import load_checkpoint
from llm_assets.model.encoding import Encoding
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.preference.response_pairs import PreferenceError
from llm_assets.recipes import (
    ConversationFile,
    Conversations,
    Endpoint,
    Finetuning,
    KnowledgeBoundary,
    RankingFile,
    Recipe,
    SampleWeb,
    Tokenizer,
)
from llm_assets.reinforcement.problems import ProblemError
from llm_assets.release.model_export import equals_gguf, equals_transformers, texts_for
from llm_assets.tools import SearchIndex
from llm_assets.tools.search import INDEX
from tests.finetuning.test_endpoint import Server, chat
from tests.pipeline.test_tokens_and_model import recipe
from tests.support.building import build, check
from tests.support.small import CORPUS, SMALL

ARCHIVE = "quietarchive.example"  # the host that only the search tool knows
RECIPE = f"{__name__}:sample"  # as commands take it


def stages(names):
    """The corpus and these stages."""
    return [*CORPUS, *(GRAPH[name] for name in names.split())]


BEFORE_MODELS = "tokenizer token_shards base_checkpoint training_search_index knowledge_boundary conversations"
STAGES = stages(BEFORE_MODELS)
TO_RANKINGS = stages(
    f"{BEFORE_MODELS} sft_checkpoint ablation_checkpoint sft_evaluation practice_problems rl_checkpoint "
    "response_pairs human_rankings"
)
AFTER_RL = {
    *("rl_checkpoint", "rl_evaluation", "response_pairs", "human_rankings", "reward_checkpoint", "rlhf_checkpoint"),
    *("rlhf_evaluation", "scorecard", "model_export"),
}


def sample(**changes):
    """A recipe whose model of 16 steps knows nothing: what it was never right about is "unknown", all else "known"."""
    fields = {
        **SMALL,
        "search_only_hosts": (ARCHIVE,),
        "tokenizer": Tokenizer(vocabulary=600),
        "knowledge_boundary": SMALL["knowledge_boundary"].replace(topics=400, known=0.01, unknown=0.0),
        "conversations": Conversations(count=300),
    }
    return Recipe(**{"name": "t", "crawls": {"sample": SampleWeb(scale=0.08)}, **fields, **changes})


def rows(artifact, table):
    return pl.concat([pl.read_parquet(path) for path in artifact.table(table)])


@pytest.fixture
def built(whole, monkeypatch):
    """The recipe and its artifacts, in the data folder that they were built in."""
    folder, made, artifacts = whole
    monkeypatch.setenv("LLM_ASSETS_DATA", str(folder))
    return made, artifacts


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Everything, built once for this module."""
    folder = tmp_path_factory.mktemp("finetuning")
    before = os.environ.get("LLM_ASSETS_DATA")
    os.environ["LLM_ASSETS_DATA"] = str(folder)
    made = sample()
    yield folder, made, build(made, list(GRAPH), crawls=("sample",), workers=2)
    if before is None:
        del os.environ["LLM_ASSETS_DATA"]
    else:
        os.environ["LLM_ASSETS_DATA"] = before


def missing(recipe):
    """Assets of the recipe that are not in the store."""
    resolver = open_workspace(recipe).resolver()
    return {name for name, crawl in GRAPH.keys(recipe) if resolver.resolve(name, crawl).artifact is None}


def test_the_index_holds_pages_of_every_host(built):
    made, artifacts = built
    index = artifacts["training_search_index"]
    outcome = check(made, "training_search_index", "search_finds_pages")
    assert outcome.passed and outcome.numbers["pages_found"] > 0
    hosts = {row.url.split("/")[2] for row in SearchIndex(index.file(INDEX)).search("plays", 10_000)}
    assert ARCHIVE in hosts and len(hosts) > 3
    assert index.record.stats["documents"] == len(rows(artifacts["clean_corpus/sample"], "text"))


def test_the_base_model_saw_no_page_that_is_for_search_only(built):
    made, artifacts = built
    corpus, documents = (
        rows(artifacts["clean_corpus/sample"], "text"),
        rows(artifacts["token_shards/sample"], "documents"),
    )
    withheld = corpus.filter(pl.col("host") == ARCHIVE)
    assert len(withheld) > 0 and ARCHIVE not in set(documents["host"])
    assert set(documents["url"]) == set(corpus["url"]) - set(withheld["url"])
    outcome = check(made, "token_shards", "shards_match_corpus", "sample")
    assert outcome.passed and outcome.numbers["withheld_documents"] == len(withheld)
    read = artifacts["base_checkpoint"].record.fields["inputs"]
    assert {key for key in read if "/" in key} == {"token_shards/sample"}


def test_a_recipe_of_another_name_finds_every_artifact(built):
    made, artifacts = built
    renamed = made.replace(name="other")
    resolver = open_workspace(renamed).resolver()
    found = {(resolution := resolver.resolve(*key)).key: resolution.artifact for key in GRAPH.keys(renamed)}
    assert found.keys() == artifacts.keys() and {key.partition("/")[0] for key in found} == set(GRAPH.stages)
    for key, artifact in found.items():
        assert artifact is not None and artifact.path == artifacts[key].path, key


def test_lost_views_are_drawn_again_and_nothing_is_built(built):
    made, artifacts = built
    drawn = {artifact.view(name): artifact for artifact in artifacts.values() for name in artifact.record.views}
    before = {path: path.read_bytes() for path in drawn}
    assert {artifact.record.asset for artifact in drawn.values()} >= {
        *("corpus_report", "tokenizer", "base_checkpoint", "base_evaluation", "sft_checkpoint", "sft_evaluation"),
        *("rl_checkpoint", "rl_evaluation", "reward_checkpoint", "rlhf_checkpoint", "rlhf_evaluation"),
        *("scorecard", "model_export"),
    }

    def written():
        """When each file of data was written."""
        files = [artifact.path / name for artifact in artifacts.values() for name in artifact.record.files]
        return {path: path.stat().st_mtime_ns for path in files if path.exists()}

    data = written()
    for path in drawn:
        path.unlink()
    run = CliRunner().invoke(cli, ["artifacts", "render", "--recipe", RECIPE])
    assert run.exit_code == 0, run.output
    assert {line.removeprefix("drew ") for line in run.output.splitlines()} == set(map(str, drawn))
    assert {path: path.read_bytes() for path in drawn} == before
    assert written() == data and missing(made) == set()
    again = CliRunner().invoke(cli, ["artifacts", "render", "--recipe", RECIPE])
    assert "every view is as its template draws it" in again.output
    resolver = open_workspace(made).resolver()
    for artifact in artifacts.values():
        found = resolver.artifact(artifact.record.asset, artifact.record.partition)
        assert found.data_version == artifact.data_version == data_version(found.record.files)


def test_every_topic_was_asked_and_its_verdict_follows(built):
    made, artifacts = built
    topics, asked = (rows(artifacts["knowledge_boundary"], table) for table in ("topics", "interrogations"))
    settings = made.knowledge_boundary
    assert set(asked["topic"]) == set(topics["topic"])
    assert (topics["asked"] == settings.wordings * settings.samples).all()
    right = dict(asked.group_by("topic").agg((pl.col("grade") == "right").mean()).iter_rows())
    for row in topics.iter_rows(named=True):
        assert row["right"] == right[row["topic"]]
        assert row["verdict"] == ("known" if row["right"] >= settings.known else "unknown")
        assert row["kept_apart"] or row["reach"] != "held_out"
        assert not set(json.loads(row["questions"])) & set(json.loads(row["kept_questions"]))


def test_names_of_nothing_stand_on_no_page(built):
    _, artifacts = built
    names, index = (
        rows(artifacts["knowledge_boundary"], "fictitious"),
        SearchIndex(artifacts["training_search_index"].file(INDEX)),
    )
    assert len(names) > 60 and names["kept_apart"].any() and not names["kept_apart"].all()
    assert [name for name in names["name"] if index.search(name)] == []


def test_conversations_are_sound_and_mention_nothing_that_is_kept_apart(built):
    _, artifacts = built
    conversations = rows(artifacts["conversations"], "conversations")
    topics = rows(artifacts["knowledge_boundary"], "topics")
    kept = Phrases()
    for name in topics.filter(pl.col("kept_apart"))["entity"].unique():
        kept.add(name)
    for name in rows(artifacts["knowledge_boundary"], "fictitious").filter(pl.col("kept_apart"))["name"]:
        kept.add(name)
    for row in conversations.iter_rows(named=True):
        messages = from_json(row["messages"])
        check_messages(messages)
        assert not any(kept.find(message.content) for message in messages)


def test_the_evaluation_is_in_no_conversation(built):
    made, artifacts = built
    outcome = check(made, "conversations", "no_evaluation_overlap")
    assert outcome.passed, outcome.failures
    groups = set(rows(artifacts["conversations"], "evaluation")["group"])
    assert {"unknown", "fictitious", "search", "sums", "letters", "spelling", "identity", "private"} <= groups
    assert "search_fictitious" in groups


def spoilt(artifact, folder, table, change):
    """A copy of an artifact in `folder`, one of whose tables is changed."""
    shutil.copytree(artifact.path, folder)
    copy = replace(artifact, path=folder)
    (path,) = copy.table(table)
    pl.read_parquet(path).with_columns(**change).write_parquet(path)
    return copy


def test_an_overlap_that_slipped_in_is_found(built, tmp_path):
    made, artifacts = built
    artifact = artifacts["conversations"]
    question = rows(artifact, "evaluation").filter(pl.col("group") == "fictitious")["question"][0]
    said = json.dumps([{"role": "user", "content": f"Hello! {question}"}, {"role": "assistant", "content": "No."}])
    messages = pl.when(pl.col("conversation") == 3).then(pl.lit(said)).otherwise("messages")
    changed = spoilt(artifact, tmp_path / "spoilt", "conversations", {"messages": messages})
    outcome = check(made, "conversations", "no_evaluation_overlap", changed=changed)
    assert not outcome.passed
    assert [(one["conversation"], one["evaluation"]) for one in outcome.failures] == [(3, "fictitious")]


def test_training_leaves_out_what_it_says_and_no_more(built):
    _, artifacts = built
    conversations = rows(artifacts["conversations"], "conversations")
    for name, wanted in (
        ("sft_checkpoint", lambda sources: True),
        ("ablation_checkpoint", lambda sources: not mitigates(sources)),
    ):
        stats, too_long = artifacts[name].record.stats, rows(artifacts[name], "too_long")
        taken = [
            row["conversation"] for row in conversations.iter_rows(named=True) if wanted(json.loads(row["sources"]))
        ]
        assert stats["conversations"] + stats["too_long"] == len(taken)
        assert stats["too_long"] == len(too_long) and set(too_long["conversation"]) <= set(taken)
        assert stats["left_out"] == len(conversations) - len(taken)
        assert (too_long["tokens"] > 161 - 1).all()
    assert artifacts["ablation_checkpoint"].record.stats["left_out"] > 0


def test_answers_are_graded_for_all_three_models(built):
    _, artifacts = built
    answers, asked = rows(artifacts["sft_evaluation"], "answers"), rows(artifacts["conversations"], "evaluation")
    without_tools = asked.filter(pl.col("tools") == "")
    assert dict(answers.group_by("model").len().iter_rows()) == {
        "base": len(without_tools),
        "ablation": len(without_tools),
        "sft": len(asked),
    }
    page = artifacts["sft_evaluation"].view("report.html").read_text()
    assert "Transcripts" in page and "ablation" in page


def test_again_nothing_is_built_and_one_field_rebuilds_what_follows(built):
    made, _ = built
    assert missing(made) == set()
    changed = made.replace(finetuning=made.finetuning.replace(seed=2))
    assert missing(changed) == {"sft_checkpoint", "ablation_checkpoint", "sft_evaluation", *AFTER_RL}


def test_problems_are_apart_and_of_every_family(built, tmp_path):
    made, artifacts = built
    problems = rows(artifacts["practice_problems"], "problems")
    assert check(made, "practice_problems", "no_shared_problems").passed
    assert {"arithmetic", "letters", "letters_at_once", "spelling", "two_hops"} == set(problems["family"])
    held_out = problems.filter(pl.col("split") == "held_out")
    assert (held_out.group_by("family", "level").len()["len"] <= made.practice_problems.held_out).all()
    moved = pl.when(pl.col("problem") == held_out["problem"][0])
    sides = {"split": moved.then(pl.lit("train")).otherwise("split")}
    sides["key"] = moved.then(pl.lit(held_out["key"][1])).otherwise("key")
    changed = spoilt(artifacts["practice_problems"], tmp_path / "spoilt", "problems", sides)
    outcome = check(made, "practice_problems", "no_shared_problems", changed=changed)
    assert not outcome.passed and outcome.failures[0]["key"] == held_out["key"][1]


def test_levels_that_a_family_has_not_are_named(built):
    made, _ = built
    wrong = made.practice_problems.replace(levels={"arithmetic": (1, 7)})
    with pytest.raises(ProblemError, match="family arithmetic has levels 0 to 2, not 1, 7"):
        build(made.replace(practice_problems=wrong), [*STAGES, GRAPH["practice_problems"]], crawls=("sample",))


def test_practice_leaves_a_model_its_curve_and_its_looks(built):
    made, artifacts = built
    checkpoint, settings = artifacts["rl_checkpoint"], made.reinforcement
    assert len(rows(checkpoint, "curve")) == settings.steps and rows(checkpoint, "evaluations")["step"].to_list() == [
        0,
        1,
        2,
    ]
    solutions = rows(checkpoint, "solutions")
    assert set(solutions["step"]) == {0, 1, 2} and solutions["transcript"].str.starts_with("user: ").all()
    best = checkpoint.record.stats["best"]
    assert best["score"] == max(checkpoint.record.stats["evaluations"].values())
    assert {"model.safetensors", "shape.json", "tokenizer.tiktoken", "assistant.json"} <= set(checkpoint.record.files)
    if best["step"] == 0:  # nothing was better than what it set out from
        weights = [one.file("model.safetensors").read_bytes() for one in (checkpoint, artifacts["sft_checkpoint"])]
        assert weights[0] == weights[1]


def test_attempts_of_all_models_and_abilities_before_and_after(built):
    made, artifacts = built
    evaluation = artifacts["rl_evaluation"]
    attempts = rows(evaluation, "attempts")
    problems = rows(artifacts["practice_problems"], "problems").filter(pl.col("split") == "held_out")
    groups = problems.select("family", "level").unique()
    assert dict(attempts.group_by("model").len().iter_rows()) == dict.fromkeys(("base", "sft", "rl"), len(groups))
    assert (attempts["samples"] == made.rl_evaluation.samples).all()
    assert set(attempts["problem"]) <= set(problems["problem"])
    abilities, grades = rows(evaluation, "abilities"), artifacts["sft_evaluation"].record.stats["grades"]["sft"]
    assert {row["group"]: row["right_before"] for row in abilities.iter_rows(named=True)} == {
        group: one["right"] for group, one in grades.items()
    }
    page = evaluation.view("report.html").read_text()
    assert all(title in page for title in ("pass@1", "Length", "<svg"))


def test_one_field_of_reinforcement_learning_rebuilds_what_follows_alone(built):
    made, _ = built
    assert missing(made.replace(reinforcement=made.reinforcement.replace(kl=0.5))) == AFTER_RL


def test_prompts_of_one_side_are_on_no_other(built):
    made, artifacts = built
    prompts, pairs, responses = (
        rows(artifacts["response_pairs"], table) for table in ("prompts", "pairs", "responses")
    )
    settings = made.response_pairs
    assert set(prompts["split"]) == {"train", "monitor", "unseen"} and prompts["question"].is_unique().all()
    compared = prompts.filter(pl.col("split") == "train")
    assert set(responses["prompt"]) == set(compared["prompt"])
    assert (responses.group_by("prompt").len()["len"] == settings.samples).all()
    assert set(pairs["prompt"]) <= set(compared["prompt"])
    said = dict(responses.group_by("prompt").agg(pl.col("text")).iter_rows())
    assert all(
        row["first"] in said[row["prompt"]] and row["second"] in said[row["prompt"]] and row["first"] != row["second"]
        for row in pairs.iter_rows(named=True)
    )
    kept = set(rows(artifacts["knowledge_boundary"], "topics").filter(pl.col("kept_apart"))["entity"])
    assert set(prompts.filter(pl.col("split") == "unseen")["subject"]) <= kept and not set(compared["subject"]) & kept


def test_what_no_person_ranked_says_so(built):
    made, artifacts = built
    rankings, stats = rows(artifacts["human_rankings"], "rankings"), artifacts["human_rankings"].record.stats
    assert rankings["simulated"].all() and stats["by_people"] == 0 and stats["simulated"] == len(rankings)
    assert set(rankings["split"]) == {"train", "held_out", "gold"}
    assert rankings.group_by("question").agg(pl.col("split").n_unique())["split"].max() == 1
    assert "simulated" in check(made, "human_rankings", "agreement_of_labellers").summary
    assert "No person ranked anything here" in artifacts["rlhf_evaluation"].view("report.html").read_text()


def test_the_reward_model_is_measured_on_questions_that_it_never_saw(built):
    _, artifacts = built
    scores, rankings = rows(artifacts["reward_checkpoint"], "scores"), rows(artifacts["human_rankings"], "rankings")
    held_out = rankings.filter((pl.col("split") == "held_out") & (pl.col("preferred") != "tie"))
    assert len(scores) == len(held_out) and set(scores["question"]) == set(held_out["question"])
    stats = artifacts["reward_checkpoint"].record.stats
    assert stats["accuracy"] == pytest.approx((scores["margin"] > 0).mean(), abs=1e-4)
    assert json.loads(artifacts["reward_checkpoint"].file("reward.json").read_text())["standard_deviation"] > 0


def test_the_guard_looked_and_its_best_is_kept(built):
    _, artifacts = built
    checkpoint = artifacts["rlhf_checkpoint"]
    monitor = checkpoint.record.stats["monitor"]
    assert set(monitor) == {"0", "1", "2"} and monitor["0"]["kl"] == 0
    assert monitor[str(checkpoint.record.stats["best"]["step"])]["gold"] == max(one["gold"] for one in monitor.values())
    if checkpoint.table("adversarial"):
        assert (rows(checkpoint, "adversarial")["first"] != rows(checkpoint, "adversarial")["second"]).all()


def test_answers_of_three_models_to_the_same_unseen_prompts(built):
    _, artifacts = built
    answers, prompts = rows(artifacts["rlhf_evaluation"], "answers"), rows(artifacts["response_pairs"], "prompts")
    unseen = prompts.filter(pl.col("split") == "unseen")["prompt"].to_list()
    for model in ("sft", "rl", "rlhf"):
        assert answers.filter(pl.col("model") == model)["prompt"].to_list() == unseen
    stats = artifacts["rlhf_evaluation"].record.stats
    assert set(stats["wins"]) == {"rlhf against sft", "rlhf against rl"} and stats["asked"] == len(unseen)


def test_pairs_are_ranked_on_the_terminal_and_learnt_from(built, tmp_path):
    made, artifacts = built
    target = tmp_path / "ann.jsonl"

    def rank(count, answers):
        words = ["rank", "--labeller", "ann", "--file", str(target), "--count", count, "--recipe", RECIPE]
        return CliRunner().invoke(cli, words, input=answers)

    run = rank("6", "1\n2\nt\ns\nnonsense\n1\nq\n")
    assert run.exit_code == 0, run.output
    assert "4 rankings by ann added" in run.output
    by_ann = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["preferred"] for row in by_ann] == ["first", "second", "tie", "first"]
    again = rank("1", "q\n")
    assert all(row["question"] not in again.output or row["first"] not in again.output for row in by_ann)
    settings = made.human_rankings.replace(files=(RankingFile(path=str(target), name="ann"),))
    artifact = build(made.replace(human_rankings=settings), TO_RANKINGS, crawls=("sample",))["human_rankings"]
    of_people = rows(artifact, "rankings").filter(~pl.col("simulated"))
    assert len(of_people) == artifact.record.stats["by_people"] == 4 and set(of_people["labeller"]) == {"ann"}
    assert set(of_people["pair"]) <= set(rows(artifacts["response_pairs"], "pairs")["pair"])


def test_rankings_of_people_bring_a_second_reward_model_for_the_guard(built, tmp_path):
    made, artifacts = built
    pairs = rows(artifacts["response_pairs"], "pairs").select("question", "first", "second")
    longer = pl.when(pl.col("first").str.len_chars() > pl.col("second").str.len_chars())
    preferred = longer.then(pl.lit("first")).otherwise(pl.lit("second"))
    target = tmp_path / "people.jsonl"
    pairs.with_columns(preferred=preferred, labeller=pl.lit("ann")).write_ndjson(target)
    settings = made.human_rankings.replace(simulated=None, files=(RankingFile(path=str(target), name="people"),))
    learnt = [*TO_RANKINGS, *(GRAPH[name] for name in ("reward_checkpoint", "rlhf_checkpoint", "rlhf_evaluation"))]
    built_so = build(made.replace(human_rankings=settings), learnt, crawls=("sample",))
    reward = built_so["reward_checkpoint"]
    assert {"gold/model.safetensors", "gold/reward.json", "model.safetensors"} <= set(reward.record.files)
    assert reward.record.stats["gold"]["rankings"] >= 4
    assert reward.file("gold/model.safetensors").read_bytes() != reward.file("model.safetensors").read_bytes()
    assert set(built_so["rlhf_checkpoint"].record.stats["monitor"]) == {"0", "1", "2"}
    assert "No person ranked anything here" not in built_so["rlhf_evaluation"].view("report.html").read_text()


def test_without_any_ranking_it_says_what_to_do(built):
    made, _ = built
    unranked = made.replace(human_rankings=made.human_rankings.replace(simulated=None))
    with pytest.raises(PreferenceError, match="nobody has ranked anything; rank pairs with: llm-assets rank"):
        build(unranked, TO_RANKINGS, crawls=("sample",))


def test_the_scorecard_tells_every_stage(built):
    _, artifacts = built
    scorecard = artifacts["scorecard"]
    said, spent = rows(scorecard, "transcripts"), rows(scorecard, "costs")
    assert set(said["model"]) == {"base", "sft", "rl", "rlhf"} and (said.group_by("number").len()["len"] == 4).all()
    assert {"search", "fictitious", "open", "guidelines", "sums", "letters"} <= set(said["kind"])
    built_stages = {key.split("/")[0] for key in artifacts} - {"scorecard", "model_export"}
    built_stages -= {"page_versions", "search_index", "corpus_report"}  # they are of every crawl, and no model's
    assert set(spent["stage"]) == built_stages
    assert spent.filter(pl.col("key") == "base_checkpoint")["flops"][0] > 0 and (spent["watt_hours"] >= 0).all()
    page = scorecard.view("scorecard.html").read_text()
    assert "http" not in page.split("<style>")[1].split("</style>")[0]
    assert "<script" not in page and page.count("<svg") >= 5
    titles = ("From captures to text", "Base model", "Practice", "Taste", "Side by side", "What it cost", "Identities")
    assert [title for title in titles if title not in page] == []
    for key in ("base_checkpoint", "rlhf_checkpoint", "clean_corpus/sample"):
        assert artifacts[key].record.short in page


def test_the_export_is_the_model_in_transformers_and_in_gguf(built):
    _, artifacts = built
    export, checkpoint = artifacts["model_export"], artifacts["rlhf_checkpoint"]
    questions, pages = texts_for(artifacts["conversations"], [artifacts["clean_corpus/sample"]])
    outcome = equals_transformers(export, checkpoint, questions[:8], pages[:8])
    assert outcome.passed, outcome.failures
    assert equals_gguf(export, checkpoint).passed
    assert not equals_transformers(export, artifacts["base_checkpoint"], questions[:2], pages[:2]).passed
    assert not equals_gguf(export, artifacts["base_checkpoint"]).passed
    card = export.view("huggingface/README.md").read_text()
    for words in (checkpoint.record.short, "simulated", artifacts["clean_corpus/sample"].record.short):
        assert words in card
    ends = json.loads(export.file("huggingface/generation_config.json").read_text())["eos_token_id"]
    assert ends[0] == Encoding.load(checkpoint.path).special["<|assistant_end|>"]


def test_any_checkpoint_is_exported_by_a_command(built, tmp_path):
    _, artifacts = built
    for stage, talks in (("base_checkpoint", False), ("sft_checkpoint", True)):
        target, gguf = tmp_path / stage, "f32" if talks else "none"
        words = ["export", str(target), "--checkpoint", str(artifacts[stage].path), "--gguf", gguf]
        run = CliRunner().invoke(cli, words)
        assert run.exit_code == 0, run.output
        assert (target / "model.gguf").exists() == talks
        exported, own = target / "model.safetensors", artifacts[stage].file("model.safetensors")
        assert exported.read_bytes() == own.read_bytes()
        ends = json.loads((target / "generation_config.json").read_text())["eos_token_id"]
        assert isinstance(ends, list) == talks


def test_transformers_generates_from_the_export_what_the_assistant_says(built):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, artifacts = built
    folder = artifacts["model_export"].path / "huggingface"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    other = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model, encoding = load_checkpoint(artifacts["rlhf_checkpoint"].path)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who are you?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    theirs = other.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :].tolist()
    [ours] = Engine(model, encoding).complete(
        [prompt(encoding, [Message("user", "Who are you?")])],
        Sampling(max_tokens=12, temperature=0.0, stop=(encoding.special["<|assistant_end|>"], encoding.bos)),
    )
    assert theirs[: len(ours.tokens)] == ours.tokens


LLAMA = """
import json, sys
import xllamacpp
job = json.loads(sys.stdin.read())
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.n_ctx, parameters.warmup = job["path"], job["context"], False
server = xllamacpp.Server(parameters)
for ids in job["prompts"]:
    asked = {"prompt": ids, "n_predict": job["tokens"], "temperature": 0.0, "cache_prompt": False}
    answer = server.handle_completions(asked)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    print("ANSWER", json.dumps(answer["choices"][0]["text"]), flush=True)
"""


def test_llama_cpp_says_the_same_from_the_gguf_file(built, tmp_path):
    pytest.importorskip("xllamacpp", reason="llama.cpp (xllamacpp) is not installed")
    _, artifacts = built
    folder = artifacts["rlhf_checkpoint"].path
    run = CliRunner().invoke(cli, ["export", str(tmp_path), "--checkpoint", str(folder), "--gguf", "f32"])
    assert run.exit_code == 0, run.output
    model, encoding = load_checkpoint(folder)
    questions = ("Who are you?", "Tell me about the river.", "Spell tea.")
    prompts = [prompt(encoding, [Message("user", question)]) for question in questions]
    job = {"path": str(tmp_path / "model.gguf"), "context": model.shape.context, "prompts": prompts, "tokens": 12}
    done = subprocess.run(
        [sys.executable, "-c", LLAMA], input=json.dumps(job), capture_output=True, text=True, timeout=120
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    theirs = [json.loads(line.removeprefix("ANSWER ")) for line in lines]
    engine, special = Engine(model, encoding), set(encoding.special.values())
    stop = (encoding.special["<|assistant_end|>"], encoding.bos)
    ours = engine.complete(prompts, Sampling(max_tokens=12, temperature=0.0, stop=stop))
    assert len(theirs) == len(ours), done.stderr[-2000:]
    for asked, one, text in zip(prompts, ours, theirs, strict=True):
        said = [
            encoding.decode([token for token in one.tokens[:end] if token not in special])
            for end in range(len(one.tokens) + 1)
        ]
        # A model this young hesitates: they may part where two tokens are as probable but for rounding.
        if said[-1] != text:
            place = next((end for end in range(1, len(said)) if not text.startswith(said[end])), len(said)) - 1
            (_, first), (_, second) = engine.next_tokens([*asked, *one.tokens[:place]], 2)
            assert second > 0.999 * first, (said[-1], text, place, first, second)


def test_a_page_leads_to_the_assistant(built):
    made, artifacts = built
    read_by = {one.record.key for one in downstream(open_workspace(made).store, artifacts["clean_corpus/sample"])}
    assert {"training_search_index", "knowledge_boundary", "conversations", "practice_problems", *AFTER_RL} <= read_by
    assert {"sft_checkpoint", "sft_evaluation"} <= read_by


def test_talking_from_the_terminal(built):
    _, artifacts = built
    folder = str(artifacts["sft_checkpoint"].path)
    commands = ["/history", "/system Be kind.", "/tools", "/tools none", "/tools nonsense", "/reset", "/history"]
    typed = ["Hello!", *commands, "/nonsense", "/help", "long " * 400, "/exit", "never read"]
    words = ["chat", "--checkpoint", folder, "--max-tokens", "6"]
    run = CliRunner().invoke(cli, words, input="".join(f"{line}\n" for line in typed))
    assert run.exit_code == 0, run.output
    for told in ("Be kind.", "(none)", "(forgotten)", "(nothing was said)", "no command /nonsense", "/reset "):
        assert told in run.output, told
    assert "the model's context is 160" in run.output
    assert "never read" not in run.output
    base = CliRunner().invoke(
        cli, ["chat", "--checkpoint", str(artifacts["base_checkpoint"].path), "--max-tokens", "6", "Who are you?"]
    )
    assert base.exit_code == 0, base.output
    nobody = CliRunner().invoke(cli, ["chat", "--checkpoint", "nobody", "Hello!"])
    assert "no checkpoint 'nobody'" in str(nobody.exception)


def test_files_of_users_with_malformed_rows(tmp_path):
    file = tmp_path / "mine.jsonl"
    good = {"messages": [{"role": "user", "content": "What is tea?"}, {"role": "assistant", "content": "A drink."}]}
    kept = {"messages": [{"role": "user", "content": "Who is this?"}, {"role": "assistant", "content": "Me."}]}
    file.write_text(
        "\n".join([json.dumps(good), "not JSON", json.dumps({"messages": []}), json.dumps(kept), json.dumps(good)])
    )
    held = tmp_path / "evaluation.jsonl"
    question = "Which of the many rivers of the northern country is the longest of all of them?"
    held.write_text(json.dumps({"question": question, "answer": "x"}))
    mixture = Conversations(
        count=5,
        files=(ConversationFile(path=str(file), name="mine"),),
        evaluation_files=(ConversationFile(path=str(held), name="held"),),
    )
    made = recipe(tmp_path, conversations=mixture)
    artifact = build(made, STAGES)["conversations"]
    table = rows(artifact, "conversations")
    assert table.filter(pl.col("source") == "mine")["line"].to_list() == [1, 5]
    assert rows(artifact, "rejects").select("file", "line").rows() == [("mine", 2), ("mine", 3)]
    assert rows(artifact, "overlaps").select("source", "line", "evaluation").rows() == [("mine", 4, "identity")]
    assert set(artifact.record.stats["left_out"]) == {"known", "fictitious", "open", "reading", "unknown"}
    # The file's content bears the identity, its place does not.
    version = artifact.data_version
    moved = tmp_path / "elsewhere" / "mine.jsonl"
    moved.parent.mkdir()
    moved.write_bytes(file.read_bytes())
    again = made.replace(
        conversations=made.conversations.replace(files=(ConversationFile(path=str(moved), name="mine"),))
    )
    assert open_workspace(again).resolver().artifact("conversations", None).data_version == version
    moved.write_text(json.dumps(good))
    assert open_workspace(again).resolver().resolve("conversations", None).artifact is None


def test_a_missing_file_is_named(tmp_path):
    absent = ConversationFile(path=str(tmp_path / "none.jsonl"), name="mine")
    made = recipe(tmp_path, conversations=Conversations(files=(absent,)))
    with pytest.raises(ConversationsError, match=r"no such file: mine \(.*none\.jsonl\)"):
        open_workspace(made).resolver().resolve("conversations", None)


def test_an_empty_mixture_says_so(tmp_path):
    with pytest.raises(ConversationsError, match="the mixture is empty"):
        build(recipe(tmp_path, conversations=Conversations(count=0)), STAGES)


def test_questions_by_an_endpoint(tmp_path):
    """A server that writes a question on each article, and judges what the model said."""
    asked = {"questions": 0, "judged": 0}

    def say(number, text):
        if "Write 2 factual questions" in text:
            asked["questions"] += 1
            article = text.split("Article:\n")[1]
            word = max(article.split(), key=len).strip(".,;:!?\"'()")
            thing = f"Thing {asked['questions']}"
            questions = [f"What is told of {thing}?", f"Tell me of {thing}.", f"{thing}: what is told?"]
            good = {"entity": thing, "kind": "thing", "relation": "told", "questions": questions, "answer": word}
            good["sentence"] = f"Of {thing}, {word} is told."
            return 200, chat(json.dumps([good, {**good, "answer": "no word of the article"}]))
        asked["judged"] += 1
        return 200, chat("Right." if asked["judged"] % 2 else "refused")

    server = Server(say)
    try:
        endpoint = Endpoint(model="writer", url=f"http://127.0.0.1:{server.server_address[1]}/v1", concurrency=1)
        asking = {"samples": 2, "wordings": 2, "max_tokens": 8, "device": "cpu", "known": 0.9}
        boundary = KnowledgeBoundary(endpoint=endpoint, articles=6, questions_per_article=2, **asking)
        artifact = build(recipe(tmp_path, knowledge_boundary=boundary), STAGES)["knowledge_boundary"]
    finally:
        server.shutdown()
        server.server_close()
    topics, answers = rows(artifact, "topics"), rows(artifact, "interrogations")
    assert len(topics) == 6 and asked["questions"] == 6
    assert (topics["kept_questions"].str.json_decode(pl.List(pl.String)).list.len() == 1).all()
    reason = "question 2: the answer 'no word of the article' does not stand in the article"
    assert rows(artifact, "question_rejects")["reason"].to_list() == [reason] * 6
    judged = answers.filter(pl.col("judge") == "endpoint")
    assert len(judged) == asked["judged"] > 0
    assert set(judged["grade"]) == {"right", "refused"}
    assert (topics["url"].str.len_chars() > 0).all()


def test_a_model_too_small_for_any_conversation(tmp_path):
    made = recipe(tmp_path, model=SMALL["model"].replace(context=8))
    with pytest.raises(FinetuningError, match="no conversation fits into the model's context of 8 tokens"):
        build(made, [*STAGES, GRAPH["sft_checkpoint"]])


@pytest.mark.parametrize(
    ("part", "fields", "told"),
    [
        (KnowledgeBoundary, {"known": 0.2, "unknown": 0.3}, "unknown 0.3 must lie below known 0.2"),
        (Conversations, {"weights": {"known": -1}}, "weights"),
        (Conversations, {"tools": (0, 0, 0, 0)}, "not all 0"),
        (Conversations, {"weights": {"nonsense": 1}}, "nonsense"),
        (Finetuning, {"document_share": 1.0}, "document_share"),
    ],
)
def test_wrong_settings_name_the_field(part, fields, told):
    with pytest.raises(ValueError, match="validation error") as error:
        part(**fields)
    assert told in str(error.value)
