"""Reinforcement learning on the small sample web: its problems, its training and its evaluation."""

import polars as pl
import pytest

from llm_assets.evaluation.figures import MODELS
from llm_assets.evaluation.problems import ProblemError
from llm_assets.graph import GRAPH
from tests.support.building import build, check
from tests.support.sample_pipeline import FROM_RL, TO_CONVERSATIONS, missing_assets, with_changed_columns


def test_problems_are_of_every_family_and_split_without_overlap(pipeline):
    problems = pipeline.table("practice_problems", "problems")
    assert check(pipeline.recipe, "practice_problems", "no_shared_problems").passed
    assert {"arithmetic", "letters", "letters_at_once", "spelling", "two_hops"} == set(problems["family"])
    held_out = problems.filter(pl.col("split") != "train")
    by_level = held_out.group_by("split", "family", "level").len()
    assert (by_level["len"] <= pipeline.recipe.practice_problems.held_out).all()


def test_a_problem_in_two_splits_is_found(pipeline, tmp_path):
    artifact = pipeline.artifacts["practice_problems"]
    problems = pipeline.table("practice_problems", "problems")
    held_out = problems.filter(pl.col("split") == "test")
    moved = pl.when(pl.col("problem") == held_out["problem"][0])
    columns = {
        "split": moved.then(pl.lit("train")).otherwise("split"),
        "key": moved.then(pl.lit(held_out["key"][1])).otherwise("key"),
    }
    changed = with_changed_columns(artifact, tmp_path / "changed", "problems", columns)
    outcome = check(pipeline.recipe, "practice_problems", "no_shared_problems", changed=changed)
    assert not outcome.passed and outcome.failures[0]["key"] == held_out["key"][1]


def test_levels_that_a_family_does_not_have_are_named(pipeline_copy):
    recipe = pipeline_copy.recipe
    wrong = recipe.practice_problems.replace(levels={"arithmetic": (1, 7)})
    stages = [*TO_CONVERSATIONS, GRAPH["practice_problems"]]
    with pytest.raises(ProblemError, match="family arithmetic has levels 0 to 2, not 1, 7"):
        build(recipe.replace(practice_problems=wrong), stages, crawls=("sample",))


def test_reinforcement_learning_records_its_curve_and_its_evaluation_steps(pipeline):
    checkpoint, settings = pipeline.artifacts["rl_checkpoint"], pipeline.recipe.reinforcement
    assert len(pipeline.table("rl_checkpoint", "curve")) == settings.steps
    assert pipeline.table("rl_checkpoint", "evaluations")["step"].to_list() == [0, 1, 2]
    solutions = pipeline.table("rl_checkpoint", "solutions")
    assert set(solutions["step"]) == {0, 1, 2} and solutions["transcript"].str.starts_with("user: ").all()
    best = checkpoint.record.stats["best"]
    assert best["score"] == max(checkpoint.record.stats["evaluations"].values())
    assert {"model.safetensors", "shape.json", "tokenizer.tiktoken", "assistant.json"} <= set(checkpoint.record.files)
    if best["step"] == 0:  # no later step was better than the model that training started from
        started_from = pipeline.artifacts["sft_checkpoint"].file("model.safetensors")
        assert checkpoint.file("model.safetensors").read_bytes() == started_from.read_bytes()


def test_the_evaluation_has_attempts_of_every_model(pipeline):
    attempts = pipeline.table("rl_evaluation", "attempts")
    problems = pipeline.table("practice_problems", "problems").filter(pl.col("split") == "test")
    groups = problems.select("family", "level").unique()
    models = ("base", "ablation", "sft", "rl")
    assert dict(attempts.group_by("model").len().iter_rows()) == dict.fromkeys(models, len(groups))
    assert (attempts["samples"] == pipeline.recipe.rl_evaluation.samples).all()
    assert set(attempts["problem"]) <= set(problems["problem"])
    report = pipeline.artifacts["rl_evaluation"].view("report.html").read_text()
    assert all(title in report for title in ("pass@1", "Length", "<svg"))


def test_every_checkpoint_has_the_same_groups_with_the_same_number_of_observations(pipeline):
    figures = pipeline.table("scorecard", "evaluation")
    for suite, metric in (("questions", "right"), ("problems", "pass@1"), ("open_answers", "gold")):
        counts = {
            model: dict(of_model.select("group", "n").iter_rows())
            for (model,), of_model in figures.filter(suite=suite, metric=metric).group_by("model")
        }
        assert MODELS.keys() - {"dpo"} <= counts.keys()  # with RLHF, DPO is built on demand
        assert all(counts[model] == counts["sft"] for model in MODELS.keys() - {"dpo"}), suite
        baselines = {group: n for model, groups in counts.items() if model not in MODELS for group, n in groups.items()}
        assert suite == "open_answers" or baselines == counts["sft"]


def test_a_field_of_reinforcement_learning_rebuilds_only_what_is_downstream(pipeline):
    recipe = pipeline.recipe
    assert missing_assets(recipe.replace(reinforcement=recipe.reinforcement.replace(kl=0.5))) == FROM_RL
