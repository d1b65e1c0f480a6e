"""The training process of `sft_checkpoint`: learning, and resuming after it was killed."""

import json

import numpy as np
import pytest

from llm_assets.dialogue.packing import Conversations
from llm_assets.finetuning.jobs import SftJob
from llm_assets.model.chat import Message, render
from llm_assets.model.checkpoint import save_model, steps_saved
from llm_assets.model.transformer import Transformer
from llm_assets.training.plan import Optimisation, TrainingPlan
from tests.support.training_jobs import (
    ENCODING,
    PEOPLE,
    SHAPE,
    result,
    run_whole,
    run_with_two_kills,
    whole_and_killed,
    with_adapters,
    write_corpus,
)

MODULE = "llm_assets.finetuning.sft_checkpoint_process"


def conversations_about(people):
    """Short conversations as tokens, as `sft_checkpoint` writes them."""
    rendered = [
        render(
            ENCODING,
            [Message("user", f"Who is {person.name}?"), Message("assistant", f"A {person.facts['profession']}.")],
        )
        for person in people
    ]
    rendered = [(ids, trained) for ids, trained in rendered if len(ids) - 1 <= SHAPE.context]
    starts = np.cumsum([0, *(len(ids) for ids, _ in rendered)])
    return Conversations(
        np.concatenate([ids for ids, _ in rendered]).astype(np.uint32),
        np.concatenate([trained for _, trained in rendered]),
        starts.astype(np.int64),
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetuning")
    write_corpus(folder)
    model = Transformer(SHAPE)
    model.initialise(1)
    base = folder / "base"
    base.mkdir()
    save_model(model, base)
    ENCODING.save(base)
    conversations_about(PEOPLE[:150]).save(folder / "training.npz")
    conversations_about(PEOPLE[150:]).save(folder / "held-out.npz")
    plan = TrainingPlan(
        steps=24,
        batch_size=8,
        micro_batch_size=8,
        seed=1,
        optimisation=Optimisation(learning_rate=3e-3, matrix_learning_rate=3e-3),
        validate_every=8,
        checkpoint_every=6,
    )
    return SftJob(
        plan=plan,
        checkpoint=str(base),
        training=str(folder / "training.npz"),
        held_out=str(folder / "held-out.npz"),
        shards=(str(folder / "shards"),),
        document_share=0.25,
        device="cpu",
    )


@pytest.fixture(scope="module")
def uninterrupted(job, tmp_path_factory):
    return run_whole(MODULE, job, tmp_path_factory)


def test_it_learns_the_assistants_answers(uninterrupted):
    validations = [event for event in uninterrupted[1] if event["kind"] == "validation"]
    assert [event["step"] for event in validations] == [0, 8, 16, 24]
    assert validations[-1]["loss"] < validations[0]["loss"] - 1


def test_a_killed_training_ends_like_an_uninterrupted_one(job, uninterrupted, tmp_path):
    events = run_with_two_kills(MODULE, job, tmp_path, 12, 18)
    assert events[0]["kind"] == "started" and events[0]["step"] >= 18
    assert result(tmp_path) == result(uninterrupted[0])
    resumed_events, whole_events = (
        json.loads((steps_saved(folder)[-1][1] / "state.json").read_text())["values"]["events"]
        for folder in (tmp_path, uninterrupted[0])
    )
    assert resumed_events == whole_events


def test_a_killed_training_of_adapters_ends_like_an_uninterrupted_one(job, tmp_path):
    job = with_adapters(job, learning_rate=3e-2)
    whole, resumed, events = whole_and_killed(MODULE, job, tmp_path, 12, 18)
    validations = [event for event in events if event["kind"] == "validation"]
    assert validations[-1]["loss"] < validations[0]["loss"] - 0.1
    assert result(resumed) == result(whole)
