"""Response pairs, rankings by people and by the simulated labeller, the reward model, and preference tuning."""

import json

import polars as pl
import pytest
from click.testing import CliRunner

from llm_assets.cli import cli
from llm_assets.evaluation.figures import MODELS
from llm_assets.graph import GRAPH
from llm_assets.preference.response_pairs import PreferenceError
from llm_assets.recipes import RankingFile
from tests.support.building import build, check
from tests.support.sample_pipeline import REFERENCE, TO_RANKINGS, table_of


def test_each_prompt_is_in_one_split_and_pairs_compare_its_responses(pipeline):
    prompts, pairs, responses = (pipeline.table("response_pairs", table) for table in ("prompts", "pairs", "responses"))
    assert set(prompts["split"]) == {"train", "development", "test"} and prompts["question"].is_unique().all()
    assert set(responses["prompt"]) == set(prompts["prompt"])
    assert (responses.group_by("prompt").len()["len"] == pipeline.recipe.response_pairs.samples).all()
    texts_by_prompt = dict(responses.group_by("prompt").agg(pl.col("text")).iter_rows())
    for pair in pairs.iter_rows(named=True):
        texts = texts_by_prompt[pair["prompt"]]
        assert pair["first"] in texts and pair["second"] in texts and pair["first"] != pair["second"]
    topics = pipeline.table("knowledge_boundary", "topics")
    split_of_entity = dict(topics.select("entity", "split").iter_rows())
    for subject, split in prompts.filter("subject_exists").select("subject", "split").iter_rows():
        assert split == split_of_entity[subject]


def test_rankings_that_no_person_made_are_marked_as_simulated(pipeline):
    rankings, stats = pipeline.table("human_rankings", "rankings"), pipeline.stats("human_rankings")
    assert rankings["simulated"].all() and stats["by_people"] == 0 and stats["simulated"] == len(rankings)
    assert set(rankings["split"]) == {"train", "development", "test", "gold"}
    assert rankings.group_by("subject").agg(pl.col("split").n_unique())["split"].max() == 1
    assert "simulated" in check(pipeline.recipe, "human_rankings", "agreement_of_labellers").summary
    report = pipeline.artifacts["rlhf_evaluation"].view("report.html").read_text()
    assert "No person ranked anything here" in report


def test_the_reward_model_is_measured_on_subjects_that_it_was_not_trained_on(pipeline):
    scores, rankings = pipeline.table("reward_checkpoint", "scores"), pipeline.table("human_rankings", "rankings")
    test = rankings.filter((pl.col("split") == "test") & (pl.col("preferred") != "tie"))
    assert len(scores) == len(test) and set(scores["question"]) == set(test["question"])
    assert not set(scores["subject"]) & set(rankings.filter(pl.col("split").is_in(["train", "gold"]))["subject"])
    accuracy = pipeline.stats("reward_checkpoint")["accuracy"]
    assert accuracy == pytest.approx((scores["margin"] > 0).mean(), abs=1e-4)
    normalisation = json.loads(pipeline.artifacts["reward_checkpoint"].file("reward.json").read_text())
    assert normalisation["standard_deviation"] > 0


def test_the_over_optimisation_monitor_keeps_the_step_that_gold_scores_highest(pipeline):
    stats = pipeline.stats("rlhf_checkpoint")
    monitor = stats["monitor"]
    assert set(monitor) == {"0", "1", "2"} and monitor["0"]["kl"] == 0
    assert monitor[str(stats["best"]["step"])]["gold"] == max(step["gold"] for step in monitor.values())
    if pipeline.artifacts["rlhf_checkpoint"].table("adversarial"):
        adversarial = pipeline.table("rlhf_checkpoint", "adversarial")
        assert (adversarial["first"] != adversarial["second"]).all()


def test_every_model_answers_the_same_test_prompts_and_their_statements_are_judged(pipeline):
    answers, prompts = pipeline.table("rlhf_evaluation", "open_answers"), pipeline.table("response_pairs", "prompts")
    test = prompts.filter(pl.col("split") == "test")["prompt"].to_list()
    for model in MODELS.keys() - {"dpo"}:  # which is no model of a recipe with RLHF
        assert answers.filter(pl.col("model") == model)["prompt"].to_list() == test
    better = pipeline.table("rlhf_evaluation", "evaluation").filter(metric="better than sft")
    assert better["model"].to_list() == ["base", "ablation", "rl", "rlhf"] and set(better["n"]) == {len(test)}
    assert answers.select("true", "false", "uncheckable").null_count().sum_horizontal().item() == 0


def with_rankings(recipe, path, name, **changes):
    """The recipe with a file of rankings by people."""
    rankings = recipe.human_rankings.replace(files=(RankingFile(path=str(path), name=name),), **changes)
    return recipe.replace(human_rankings=rankings)


def test_pairs_ranked_on_the_terminal_become_rankings(pipeline_copy, tmp_path):
    file = tmp_path / "ann.jsonl"

    def rank(count, answers):
        words = ["rank", "--labeller", "ann", "--file", str(file), "--count", count, "--recipe", REFERENCE]
        return CliRunner().invoke(cli, words, input=answers)

    ranked = rank("6", "1\n2\nt\ns\nnonsense\n1\nq\n")
    assert ranked.exit_code == 0, ranked.output
    assert "4 rankings by ann added" in ranked.output
    by_ann = [json.loads(line) for line in file.read_text().splitlines()]
    assert [ranking["preferred"] for ranking in by_ann] == ["first", "second", "tie", "first"]
    resumed = rank("1", "q\n")
    for ranking in by_ann:
        assert ranking["question"] not in resumed.output or ranking["first"] not in resumed.output
    recipe = with_rankings(pipeline_copy.recipe, file, "ann")
    artifact = build(recipe, TO_RANKINGS, crawls=("sample",))["human_rankings"]
    by_people = table_of(artifact, "rankings").filter(~pl.col("simulated"))
    assert len(by_people) == artifact.record.stats["by_people"] == 4 and set(by_people["labeller"]) == {"ann"}
    assert set(by_people["pair"]) <= set(pipeline_copy.table("response_pairs", "pairs")["pair"])


def test_rankings_by_people_train_a_second_reward_model_as_gold(pipeline_copy, tmp_path):
    pairs = pipeline_copy.table("response_pairs", "pairs").select("question", "first", "second")
    first_is_longer = pl.col("first").str.len_chars() > pl.col("second").str.len_chars()
    preferred = pl.when(first_is_longer).then(pl.lit("first")).otherwise(pl.lit("second"))
    file = tmp_path / "people.jsonl"
    pairs.with_columns(preferred=preferred, labeller=pl.lit("ann")).write_ndjson(file)
    recipe = with_rankings(pipeline_copy.recipe, file, "people", simulated=None)
    trained = [GRAPH[name] for name in ("reward_checkpoint", "rlhf_checkpoint", "rlhf_evaluation")]
    artifacts = build(recipe, [*TO_RANKINGS, *trained], crawls=("sample",))
    reward = artifacts["reward_checkpoint"]
    assert {"gold/model.safetensors", "gold/reward.json", "model.safetensors"} <= set(reward.record.files)
    assert reward.record.stats["gold"]["rankings"] >= 4
    assert reward.file("gold/model.safetensors").read_bytes() != reward.file("model.safetensors").read_bytes()
    assert set(artifacts["rlhf_checkpoint"].record.stats["monitor"]) == {"0", "1", "2"}
    assert "No person ranked anything here" not in artifacts["rlhf_evaluation"].view("report.html").read_text()


def test_a_file_without_a_ranking_names_the_command_to_rank_with(pipeline_copy, tmp_path):
    file = tmp_path / "empty.jsonl"
    file.write_text("")
    recipe = with_rankings(pipeline_copy.recipe, file, "empty", simulated=None)
    with pytest.raises(PreferenceError, match="there are no rankings; rank pairs on the page or with: llm-assets rank"):
        build(recipe, TO_RANKINGS, crawls=("sample",))
