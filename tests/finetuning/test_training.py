"""The assistant's training process: broken off and gone on."""

import json

import numpy as np
import pytest

from llm_assets.compute.launch import run_job
from llm_assets.dialogue.packing import Conversations
from llm_assets.finetuning.jobs import SftJob
from llm_assets.model.chat import Message, render
from llm_assets.model.checkpoint import save_model, steps_saved
from llm_assets.model.transformer import Transformer
from llm_assets.training.plan import Optimisation, TrainingPlan
from tests.support.training_jobs import ENCODING, PEOPLE, SHAPE, broken_off_and_gone_on, result, write_corpus

MODULE = "llm_assets.finetuning.sft_checkpoint_process"


def talks(people):
    """Short conversations as tokens, as the asset writes them."""
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
    talks(PEOPLE[:150]).save(folder / "training.npz")
    talks(PEOPLE[150:]).save(folder / "held-out.npz")
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
def unbroken(job, tmp_path_factory):
    folder, events = tmp_path_factory.mktemp("unbroken"), []
    run_job(MODULE, job, folder, events.append)
    return folder, events


def test_it_learns_what_assistants_say(unbroken):
    looks = [event for event in unbroken[1] if event["kind"] == "validation"]
    assert [event["step"] for event in looks] == [0, 8, 16, 24]
    assert looks[-1]["loss"] < looks[0]["loss"] - 1


def test_killed_at_any_moment_it_ends_as_unbroken(job, unbroken, tmp_path):
    events = broken_off_and_gone_on(MODULE, job, tmp_path, 12, 18)
    assert events[0]["kind"] == "started" and events[0]["step"] >= 18
    assert result(tmp_path) == result(unbroken[0])
    kept, whole = (
        json.loads((steps_saved(folder)[-1][1] / "state.json").read_text())["values"]["events"]
        for folder in (tmp_path, unbroken[0])
    )
    assert kept == whole
