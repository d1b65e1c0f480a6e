"""The process of `dpo_checkpoint`: learning, and resuming after it was killed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llm_assets.compute.launch import run_job
from llm_assets.model.checkpoint import load_model, save_model, steps_saved
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from llm_assets.preference.jobs import DpoJob
from llm_assets.training.plan import Optimisation, TrainingPlan
from tests.support.training_jobs import ENCODING, result, run_whole, run_with_two_kills, whole_and_killed, with_adapters

MODULE = "llm_assets.preference.dpo_checkpoint_process"
PEOPLE = ("Mira Wolf", "Toven Hale", "Elsa Brook", "Ann Field")


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job whose rankings all prefer the same answer."""
    folder = tmp_path_factory.mktemp("policy")
    model = Transformer(ModelShape.of_depth(2, 500, 96, width=32))
    model.initialise(1)
    save_model(model, folder)
    ENCODING.save(folder)
    rows = tuple(
        (f"Tell me about {PEOPLE[number % 4]}, part {number}.", "A long answer, which tells of much.", "Short.")
        for number in range(48)
    )
    plan = TrainingPlan(
        steps=12,
        batch_size=8,
        micro_batch_size=8,
        seed=1,
        optimisation=Optimisation(learning_rate=1e-3, matrix_learning_rate=1e-3),
        validate_every=4,
        checkpoint_every=3,
    )
    return DpoJob(
        plan=plan,
        checkpoint=str(folder),
        train=rows[:32],
        development=rows[32:40],
        test=rows[40:],
        loss="dpo",
        beta=0.1,
        device="cpu",
    )


@pytest.fixture(scope="module")
def trained(job, tmp_path_factory):
    return run_whole(MODULE, job, tmp_path_factory)


def read_curve(folder):
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("loss", ["dpo", "dpo_norm", "ipo"])
def test_a_policy_learns_which_answers_are_preferred(loss, job, tmp_path):
    events = []
    run_job(MODULE, replace(job, loss=loss), tmp_path, events.append)
    first, *_, last = [event for event in events if event["kind"] == "validation"]
    assert first["loss"] == pytest.approx(25.0 if loss == "ipo" else 0.693147, abs=1e-3)
    assert first["margin"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] < first["loss"] and last["margin"] > 0 and last["accuracy"] == 1.0
    assert min(json.loads((tmp_path / "results.json").read_text())["margins"]) > 0


def test_adapters_alone_are_trained_and_kept_beside_the_merged_weights(job, tmp_path):
    job = with_adapters(job, learning_rate=1e-2)
    whole, resumed, events = whole_and_killed(MODULE, job, tmp_path, 6, 9)
    first, *_, last = [event for event in events if event["kind"] == "validation"]
    assert last["accuracy"] == 1.0 and last["margin"] > first["margin"] + 0.01
    assert result(resumed) == result(whole)
    adapters = [(steps_saved(folder)[-1][1] / "adapter_model.safetensors").read_bytes() for folder in (whole, resumed)]
    assert adapters[0] == adapters[1]
    before, after = load_model(Path(job.checkpoint)), load_model(steps_saved(whole)[-1][1])
    assert torch.equal(before.embedding.weight, after.embedding.weight)
    projection = "model.layers.0.self_attn.q_proj.weight"
    change = after.state_dict()[projection] - before.state_dict()[projection]
    assert int(torch.linalg.matrix_rank(change, atol=1e-6)) == 4


def test_the_first_step_starts_at_the_reference(trained):
    reference = json.loads((trained[0] / "reference.json").read_text())
    assert {split: len(rows) for split, rows in reference.items()} == {"train": 32, "development": 8, "test": 8}
    curve = read_curve(trained[0])
    assert curve[0]["loss"] == pytest.approx(0.693147, abs=1e-5) and curve[0]["margin"] == pytest.approx(0, abs=1e-5)
    assert curve[-1]["chosen"] - curve[-1]["rejected"] > curve[0]["chosen"] - curve[0]["rejected"]


def test_the_same_job_gives_the_same_bytes(job, trained, tmp_path):
    run_job(MODULE, job, tmp_path, lambda event: None)
    assert result(tmp_path) == result(trained[0])


def test_a_killed_training_ends_like_an_uninterrupted_one_and_computes_the_reference_once(job, trained, tmp_path):
    (tmp_path / "reference.json").write_text((trained[0] / "reference.json").read_text())
    before = (tmp_path / "reference.json").stat().st_mtime_ns
    run_with_two_kills(MODULE, job, tmp_path, 6, 9)
    assert (tmp_path / "reference.json").stat().st_mtime_ns == before
    assert result(tmp_path) == result(trained[0])
    assert (tmp_path / "results.json").read_text() == (trained[0] / "results.json").read_text()


def test_two_processes_train_the_same_policy_as_one(job, trained, tmp_path):
    run_job(MODULE, replace(job, plan=replace(job.plan, micro_batch_size=4)), tmp_path, lambda event: None, processes=2)
    for name in ("loss", "margin", "accuracy", "chosen", "rejected"):
        ours, alone = ([row[name] for row in read_curve(folder)] for folder in (tmp_path, trained[0]))
        assert ours[:6] == pytest.approx(alone[:6], rel=1e-3, abs=2e-3)


def test_rankings_too_long_for_the_model_are_left_out(job, tmp_path):
    too_long = ("Why?", "word " * 200, "No.")
    plan = replace(job.plan, steps=1, validate_every=0)
    run_job(
        MODULE,
        replace(job, plan=plan, train=(too_long, *job.train), test=(*job.test[:2], too_long)),
        tmp_path,
        lambda event: None,
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["fitting"]["train"] == list(range(1, 33)) and results["fitting"]["test"] == [0, 1]
    assert len(results["reference"]["train"]) == 32 and len(results["margins"]) == 2
