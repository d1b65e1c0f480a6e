"""Checkpoints are written one after the other; in the background, the training goes on meanwhile."""

import threading

import pytest
import torch

from llm_assets.model.checkpoint import TrainingState, steps_saved
from llm_assets.model.shape import ModelShape
from llm_assets.training.learner import Learner, Loss
from llm_assets.training.plan import Optimisation
from llm_assets.training.processes import Devices
from llm_assets.training.saving import CheckpointWriter
from tests.support.tiny_models import initialised_model

SHAPE = ModelShape.of_depth(1, 60, 8, width=32)


def test_a_training_goes_on_while_a_checkpoint_is_written_and_waits_before_the_next():
    writer, may_write, order = CheckpointWriter(background=True), threading.Event(), []

    def write(number):
        may_write.wait(10)
        order.append(f"written {number}")

    writer.submit(lambda: write(1), lambda: order.append("reported 1"))
    order.append("trained")
    may_write.set()
    writer.submit(lambda: write(2), lambda: order.append("reported 2"))
    writer.wait()
    writer.wait()
    assert order == ["trained", "written 1", "reported 1", "written 2", "reported 2"]


def test_without_a_background_a_checkpoint_is_whole_before_the_training_goes_on():
    order = []
    CheckpointWriter(background=False).submit(lambda: order.append("written"), lambda: order.append("reported"))
    assert order == ["written", "reported"]


def test_a_checkpoint_that_cannot_be_written_stops_the_training_and_is_not_reported():
    def fail():
        raise OSError(28, "No space left on device")

    writer = CheckpointWriter(background=True)
    writer.submit(fail, lambda: pytest.fail("reported"))
    with pytest.raises(OSError, match="No space left"):
        writer.wait()


def test_checkpoints_of_the_background_are_those_that_are_written_at_once(tmp_path):
    tokens = torch.randint(0, 60, (4, 8), generator=torch.Generator().manual_seed(1))
    loss = Loss([lambda model: model(tokens, tokens.roll(-1, 1)).sum()], tokens.numel())
    for name in ("at once", "background"):
        learner = Learner(initialised_model(SHAPE), Optimisation(), 10, Devices(torch.device("cpu")))
        torch.manual_seed(1)  # the state of the random numbers is saved too
        learner._writer = CheckpointWriter(background=name == "background")
        for step in range(2):
            learner.step(step, [loss])
            learner.save(tmp_path / name, TrainingState(step + 1, {"events": []}), 1)
            learner.finish_saving()
    at_once, background = (steps_saved(tmp_path / name) for name in ("at once", "background"))
    assert [step for step, _ in background] == [2]
    files = sorted(path.name for path in at_once[0][1].iterdir())
    assert files == sorted(path.name for path in background[0][1].iterdir())
    assert all((at_once[0][1] / name).read_bytes() == (background[0][1] / name).read_bytes() for name in files)
