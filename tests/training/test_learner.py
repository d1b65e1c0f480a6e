"""One training step: gradients of micro-batches add up, and losses are weighted, averaged and checked."""

import math
from functools import partial

import pytest
import torch
import torch._inductor.config
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.functional import cross_entropy

from llm_assets.model.shape import ModelShape
from llm_assets.training.learner import Execution, Learner, Loss
from llm_assets.training.plan import Optimisation
from llm_assets.training.processes import Devices
from tests.support.tiny_models import initialised_model

SHAPE = ModelShape.of_depth(1, 60, 8, width=32)
OPTIMISATION = Optimisation(learning_rate=1e-2, matrix_learning_rate=1e-2, warmup=0.0, cooldown=0.0, clip=1e9)
TOKENS = torch.randint(0, 60, (6, 8), generator=torch.Generator().manual_seed(1))


def make_learner(**settings):
    return Learner(initialised_model(SHAPE), OPTIMISATION, 10, Devices(torch.device("cpu")), Execution(**settings))


def summed(tokens):
    return lambda model: model(tokens, tokens.roll(-1, 1)).sum()


def gradient_norm(loss, model):
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return float(torch.stack([gradient.norm() for gradient in gradients]).norm())


@pytest.mark.parametrize("size", [1, 4, 6])
def test_micro_batches_give_the_loss_and_gradient_of_the_whole_batch(size):
    learner = make_learner()
    logits = learner.model(TOKENS)
    expected = cross_entropy(logits.flatten(0, 1), TOKENS.roll(-1, 1).flatten())
    norm = gradient_norm(expected, learner.model)
    [value], found_norm = learner.step(0, [Loss([summed(part) for part in TOKENS.split(size)], TOKENS.numel())])
    assert value == pytest.approx(expected.item(), rel=1e-5) and found_norm == pytest.approx(norm, rel=1e-4)


def test_a_step_minimises_the_weighted_sum_of_its_losses():
    learner = make_learner()
    first, second = TOKENS[:2], TOKENS[2:]
    weighted = summed(first)(learner.model) / 16 + 0.3 * summed(second)(learner.model)
    norm = gradient_norm(weighted, learner.model)
    losses = [Loss([summed(first)], divisor=16), Loss([summed(part) for part in second.split(1)], weight=0.3)]
    values, found_norm = learner.step(0, losses)
    assert found_norm == pytest.approx(norm, rel=1e-4)
    assert values[1] == pytest.approx(32 * math.log(60), rel=0.05)  # without its weight


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_changes_no_weight(broken):
    learner = make_learner()
    before = [parameter.clone() for parameter in learner.model.parameters()]
    [value], _ = learner.step(0, [Loss([lambda model: summed(TOKENS)(model) + broken])])
    assert not math.isfinite(value)
    after = learner.model.parameters()
    assert all(torch.equal(old, new) and new.grad is None for old, new in zip(before, after, strict=True))


def test_processes_share_numbered_items_without_gaps():
    for world in (1, 2, 3, 5):
        shares = [Devices(torch.device("cpu"), rank, world).share(12) for rank in range(world)]
        assert [number for share in shares for number in share] == list(range(12))


def losses_of_steps(learner):
    return [learner.step(number, [Loss([summed(TOKENS)], TOKENS.numel())])[0][0] for number in range(3)]


def test_a_compiled_model_learns_the_same(monkeypatch):
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    monkeypatch.setattr("llm_assets.training.learner.find_compiler", lambda language: "g++")
    assert losses_of_steps(make_learner(compile=True)) == pytest.approx(losses_of_steps(make_learner()), rel=1e-4)
    assert counter.frame_count


@pytest.mark.parametrize("compiler", ["absent", "false"])  # no program of this name; a program that only fails
def test_a_model_is_trained_where_it_cannot_be_compiled(compiler, monkeypatch):
    monkeypatch.setenv("CXX", compiler)
    torch._dynamo.reset()
    with torch._inductor.config.patch({"cpp.cxx": (None, compiler)}):
        assert losses_of_steps(make_learner(compile=True)) == losses_of_steps(make_learner())
