"""The processes of `reward_checkpoint` and `rlhf_checkpoint`: learning, and resuming after they were killed."""

import json
import math
from dataclasses import replace

import pytest

from llm_assets.compute.launch import run_job
from llm_assets.model.chat import Message, render
from llm_assets.model.checkpoint import load_checkpoint, save_model, steps_saved
from llm_assets.model.reward import RewardModel
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.preference.jobs import PromptRow, RewardJob, RlhfJob
from llm_assets.preference.reward_checkpoint_process import conversation
from llm_assets.preference.rlhf_checkpoint_process import by_model, by_rule
from llm_assets.training.plan import Optimisation, PolicyPlan, TrainingPlan
from tests.support.training_jobs import ENCODING, result, run_whole, run_with_two_kills

SHAPE = ModelShape.of_depth(2, 500, 96, width=32)
OPTIMISATION = Optimisation(learning_rate=3e-3, matrix_learning_rate=3e-3)
PEOPLE = ("Mira Wolf", "Toven Hale", "Elsa Brook", "Ann Field")


def prompts(first, count):
    return tuple(
        PromptRow(number, f"Tell me about {PEOPLE[number % 4]}, part {number}.", PEOPLE[number % 4], True)
        for number in range(first, first + count)
    )


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    model = Transformer(SHAPE)
    model.initialise(1)
    save_model(model, folder)
    ENCODING.save(folder)
    return folder


@pytest.fixture(scope="module")
def fitting(policy):
    """A job whose rankings all prefer the longer answer."""
    rows = tuple((prompt.question, "A long answer, which tells of much.", "Short.") for prompt in prompts(0, 48))
    plan = TrainingPlan(
        steps=12,
        batch_size=8,
        micro_batch_size=8,
        seed=1,
        optimisation=OPTIMISATION,
        validate_every=4,
        checkpoint_every=3,
    )
    return RewardJob(
        plan=plan, checkpoint=str(policy), train=rows[:40], development=rows[40:], test=rows[40:], device="cpu"
    )


@pytest.fixture(scope="module")
def fitted(fitting, tmp_path_factory):
    return run_whole("llm_assets.preference.reward_checkpoint_process", fitting, tmp_path_factory)


def test_a_reward_model_learns_which_answers_are_preferred(fitted, policy):
    folder, events = fitted
    evaluations = [event for event in events if event["kind"] == "validation"]
    assert (
        evaluations[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
        and evaluations[-1]["loss"] < 0.3
        and evaluations[-1]["accuracy"] == 1.0
    )
    results = json.loads((folder / "results.json").read_text())
    assert (
        results["measured"] == list(range(8))
        and min(results["margins"]) > 0
        and results["too_long"] == 0
        and results["standard_deviation"] > 0
    )


def test_a_killed_reward_training_ends_like_an_uninterrupted_one(fitting, fitted, tmp_path):
    run_with_two_kills("llm_assets.preference.reward_checkpoint_process", fitting, tmp_path, 6, 9)
    assert result(tmp_path) == result(fitted[0])
    assert (tmp_path / "results.json").read_text() == (fitted[0] / "results.json").read_text()


def curves(name, *folders):
    return [
        [json.loads(line)[name] for line in (folder / "curve.jsonl").read_text().splitlines()] for folder in folders
    ]


def test_two_processes_fit_the_same_pairs_as_one(fitting, fitted, tmp_path):
    job = replace(fitting, plan=replace(fitting.plan, micro_batch_size=4))
    run_job("llm_assets.preference.reward_checkpoint_process", job, tmp_path, lambda event: None, processes=2)
    ours, alone = curves("loss", tmp_path, fitted[0])
    assert len(ours) == 12 and ours == pytest.approx(alone, abs=2e-3)
    margins, others = (json.loads((folder / "results.json").read_text())["margins"] for folder in (tmp_path, fitted[0]))
    assert margins == pytest.approx(others, rel=0.05)


def test_conversations_too_long_for_the_model_are_left_out_and_counted(fitting, tmp_path):
    too_long = ("Why?", "word " * 200, "No.")
    job = replace(
        fitting,
        plan=replace(fitting.plan, steps=1, validate_every=0),
        train=(*fitting.train, too_long),
        test=(*fitting.test[:2], too_long, fitting.test[2]),
    )
    run_job("llm_assets.preference.reward_checkpoint_process", job, tmp_path, lambda event: None)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["too_long"] == 2 and results["measured"] == [0, 1, 3]


@pytest.fixture(scope="module")
def reward(fitted, policy, tmp_path_factory):
    """The folder of a reward model, as in the artifact."""
    folder = tmp_path_factory.mktemp("reward")
    for name in ("model.safetensors", "shape.json"):
        (folder / name).write_bytes((steps_saved(fitted[0])[-1][1] / name).read_bytes())
    results = json.loads((fitted[0] / "results.json").read_text())
    (folder / "reward.json").write_text(
        json.dumps({"mean": results["mean"], "standard_deviation": results["standard_deviation"]})
    )
    return folder


@pytest.fixture(scope="module")
def tuning(policy, reward):
    plan = PolicyPlan(
        steps=9,
        prompts=2,
        samples=4,
        max_tokens=12,
        length="tokens",
        replay_sequences=2,
        micro_batch_size=8,
        optimisation=OPTIMISATION,
        seed=1,
        evaluate_every=3,
        checkpoint_every=2,
    )
    return RlhfJob(
        plan=plan,
        checkpoint=str(policy),
        reward=str(reward),
        gold="rule",
        truth=None,
        conversations=None,
        train=prompts(0, 8),
        monitor=prompts(8, 4),
        unfinished_reward=-2.0,
        monitor_patience=99,
        monitor_margin=0.1,
        adversarial=3,
        device="cpu",
    )


@pytest.fixture(scope="module")
def tuned(tuning, tmp_path_factory):
    return run_whole("llm_assets.preference.rlhf_checkpoint_process", tuning, tmp_path_factory)


def test_the_monitor_reports_the_gold_signal_in_standard_deviations_at_the_start(tuned):
    evaluations = [event for event in tuned[1] if event["kind"] == "evaluation"]
    assert [evaluation["step"] for evaluation in evaluations] == [0, 3, 6, 9]
    assert evaluations[0]["gold"] == pytest.approx(0, abs=1e-6)
    for evaluation in evaluations:
        assert evaluation["score"] == pytest.approx(evaluation["gold"], abs=1e-6)
    start = json.loads((tuned[0] / "start.json").read_text())
    assert evaluations[0]["gold_raw"] == pytest.approx(start["mean"], abs=1e-6) and len(start["answers"]) == 4


def test_a_killed_rlhf_training_ends_like_an_uninterrupted_one(tuning, tuned, tmp_path):
    run_with_two_kills("llm_assets.preference.rlhf_checkpoint_process", tuning, tmp_path, 4, 6)
    assert result(tmp_path) == result(tuned[0])
    for name in ("best/model.safetensors", "start.json"):
        assert (tmp_path / name).read_bytes() == (tuned[0] / name).read_bytes()


def test_two_processes_tune_the_same_policy_as_one(tuning, tuned, tmp_path):
    events = []
    run_job("llm_assets.preference.rlhf_checkpoint_process", tuning, tmp_path, events.append, processes=2)
    for name in ("reward", "length", "kl"):
        ours, alone = curves(name, tmp_path, tuned[0])
        assert ours[:3] == pytest.approx(alone[:3], rel=1e-3, abs=1e-4)
    assert [event["step"] for event in events if event["kind"] == "evaluation"] == [0, 3, 6, 9]
    assert json.loads((tmp_path / "start.json").read_text()) == json.loads((tuned[0] / "start.json").read_text())


def test_scores_are_in_standard_deviations_also_for_an_endless_answer(reward, policy):
    model, encoding = load_checkpoint(policy)
    scorer = by_model(reward, encoding, "cpu")
    rows = prompts(0, 3)
    long, short, endless = scorer(
        rows, [{"text": "A long answer, which tells of much."}, {"text": "Short."}, {"text": "word " * 300}]
    )
    assert long > 0 > short and math.isfinite(endless)
    assert math.isfinite(scorer(rows[:1], [{"text": ""}])[0])
    messages = [Message("user", "Why?"), Message("assistant", "Because it is so.")]
    assert conversation(encoding, "Why?", "Because it is so.") == render(encoding, messages)[0]
    assert isinstance(model, Transformer) and not isinstance(model, RewardModel)
    assert by_rule(rows[:1], [{"text": "Mira Wolf is a baker in Fenford."}]) == [1.5]
