"""Muon on stacks of matrices is torch's Muon but for rounding."""

import pytest
import torch

from llm_assets.model.shape import ModelShape
from llm_assets.training import muon
from llm_assets.training.muon import StackedMuon, orthogonalised, stacks
from tests.support.tiny_models import initialised_model

SHAPE = ModelShape.of_depth(2, 60, 8, width=32, kv_heads=1, heads=2)
SETTINGS = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}


def trained(optimiser_type, steps=3):
    """Changes of the matrices in `steps` steps on random gradients, and their momentum."""
    model = initialised_model(SHAPE)
    weights = [weight for _, weight in model.matrices()]
    before = [weight.detach().clone() for weight in weights]
    optimiser, generator = optimiser_type(weights, **SETTINGS), torch.Generator().manual_seed(1)
    for _ in range(steps):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimiser.step()
    changes = [weight.detach() - old for weight, old in zip(weights, before, strict=True)]
    return changes, [optimiser.state[weight]["momentum_buffer"] for weight in weights]


@pytest.mark.parametrize("stack_bytes", [1, 6_000, 1 << 26])  # one matrix, some, all of a size
def test_stacks_are_trained_as_single_matrices(stack_bytes, monkeypatch):
    monkeypatch.setattr(muon, "STACK_BYTES", stack_bytes)
    (changes, momentum), (expected, expected_momentum) = trained(StackedMuon), trained(torch.optim.Muon)
    assert all(torch.equal(a, b) for a, b in zip(momentum, expected_momentum, strict=True))
    for change, wanted in zip(changes, expected, strict=True):
        assert (change - wanted).norm() < 0.02 * wanted.norm()  # products in bf16, of 8 bits


def test_a_stack_holds_matrices_of_one_size_in_either_direction():
    matrices = [torch.empty(size) for size in ((4, 8), (8, 4), (8, 8), (4, 8))]
    assert [[tuple(m.shape) for m in stack] for stack in stacks(matrices)] == [[(4, 8), (8, 4), (4, 8)], [(8, 8)]]


def test_orthogonalised_matrices_have_singular_values_near_one():
    matrices = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(1))
    settings = torch.optim.Muon([torch.zeros(2, 2)]).defaults
    values = torch.linalg.svdvals(orthogonalised(matrices, settings["ns_coefficients"], 5, 1e-7))
    assert values.min() > 0.5 and values.max() < 1.5
