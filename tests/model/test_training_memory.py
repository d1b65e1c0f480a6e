"""What training keeps in memory: less with savings, and about as much as the estimate says."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from llm_assets.model import transformer
from llm_assets.model.attention import document_mask
from llm_assets.model.lora import add_adapters
from llm_assets.model.shape import Adapters, ModelError, ModelShape
from llm_assets.model.training_memory import (
    USABLE,
    MemorySavings,
    TrainingKind,
    fitting_micro_batch,
    trained_parameters,
    training_memory,
    with_checkpointing,
)
from llm_assets.training.learner import compiled
from tests.support.tiny_models import SHAPES, random_model

CHECKPOINTING, CHUNKED = MemorySavings(activation_checkpointing=True), MemorySavings(chunked_logits=True)
BOTH = MemorySavings(activation_checkpointing=True, chunked_logits=True)
# Qwen3-0.6B, in sequences of 2,048 tokens.
PUBLISHED = ModelShape("qwen3", 151_669, 2048, 28, 1024, 16, 8, 128, 3072, True, 1e6, embedding_rows=151_936)


def model_of(shape, savings=MemorySavings()):  # noqa: B008
    model = random_model(shape).train()
    model.save_memory(savings)
    return model


def tokens_of(shape):
    tokens = torch.randint(1, shape.vocabulary, (3, 24), generator=torch.Generator().manual_seed(1))
    tokens[:, ::7] = 0
    return tokens


def loss_and_gradients(model, tokens):
    targets = tokens.roll(-1, 1)
    targets[:, :4] = transformer.IGNORE
    loss = model(tokens, targets, document_mask(tokens, 0)).sum()
    return [loss, *torch.autograd.grad(loss, [weight for weight in model.parameters() if weight.requires_grad])]


def saved_bytes(model, tokens, targets, half=False):
    """Bytes of what a forward pass keeps for the backward pass, apart from weights and their copies."""
    sizes_saved, excluded = {}, {weight.untyped_storage().data_ptr() for weight in model.state_dict().values()}
    sizes = {tuple(sorted(weight.shape)) for weight in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in excluded and tuple(sorted(tensor.shape)) not in sizes:
            sizes_saved[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=half):
        model(tokens, targets)
    return sum(size for size, _ in sizes_saved.values())


@pytest.mark.parametrize("name", SHAPES)
def test_activation_checkpointing_changes_no_digit_of_loss_and_gradients(name):
    tokens = tokens_of(SHAPES[name])
    plain, checkpointed = (
        loss_and_gradients(model_of(SHAPES[name], savings), tokens) for savings in (MemorySavings(), CHECKPOINTING)
    )
    assert all(torch.equal(a, b) for a, b in zip(plain, checkpointed, strict=True))


def test_activation_checkpointing_works_with_adapters():
    shape, tokens = SHAPES["plain"], tokens_of(SHAPES["plain"])
    results = []
    for savings in (MemorySavings(), CHECKPOINTING):
        model = model_of(shape, savings)
        add_adapters(model, Adapters(4, 8.0, seed=1))
        results.append(loss_and_gradients(model, tokens))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("by_layer", [False, True])
def test_a_compiled_model_with_savings_learns_the_same(by_layer, monkeypatch):
    torch._dynamo.reset()  # what another test has compiled is not compiled again, or for any size
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    monkeypatch.setattr(transformer, "LOGIT_BYTES", 4 * 512 * 10)  # chunks of ten targets
    shape = ModelShape.of_depth(3 if by_layer else 1, 500, 64, width=64)
    expected = loss_and_gradients(model_of(shape), tokens_of(shape))
    model = compiled(model_of(shape, replace(CHECKPOINTING, chunked_logits=True)), by_layer)
    losses = loss_and_gradients(model, tokens_of(shape))
    assert all(torch.allclose(a, b, atol=2e-4) for a, b in zip(expected, losses, strict=True))
    assert counter.frame_count == 2  # all layers or the one, and the logits of a chunk


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("architecture", ["qwen3", "llama", "gpt2"])
def test_the_estimate_of_activations_is_that_of_what_is_kept(architecture, half):
    """A CPU keeps more of a norm than a GPU, which computes it in one kernel."""
    shape = ModelShape.of_depth(6, 100, 128, architecture, width=128, heads=4)
    tokens = torch.randint(0, 100, (8, 128), generator=torch.Generator().manual_seed(1))
    no_targets = torch.full_like(tokens, transformer.IGNORE)
    without_savings = saved_bytes(model_of(shape), tokens, no_targets, half)
    kind = TrainingKind(compiled=False, precision_bytes=2 if half else 4)
    assert 0.7 < training_memory(shape, 8, kind).activations / without_savings < 1.1
    with_savings = saved_bytes(model_of(shape, CHECKPOINTING), tokens, no_targets, half)
    estimate = training_memory(shape, 8, with_checkpointing(kind)).activations
    assert with_savings < estimate < without_savings / 2


@pytest.mark.parametrize("targets", [None, ("q_proj", "down_proj"), ("c_proj",)])
@pytest.mark.parametrize("name", SHAPES)
def test_a_training_of_adapters_has_as_many_parameters_as_planned(name, targets):
    shape = SHAPES[name]
    if targets and (shape.architecture == "gpt2") != (targets == ("c_proj",)):
        pytest.skip("no layer of this name")
    adapters, model = Adapters(4, 8.0, targets), random_model(shape)
    add_adapters(model, adapters)
    assert trained_parameters(shape, adapters) == sum(w.numel() for w in model.parameters() if w.requires_grad)
    assert (
        trained_parameters(shape, None) == shape.parameters == sum(w.numel() for w in random_model(shape).parameters())
    )


def test_adapters_and_shards_need_less_memory_for_state():
    plain = training_memory(PUBLISHED, 4)
    adapted = training_memory(PUBLISHED, 4, TrainingKind(adapters=Adapters(16, 32.0)))
    assert plain.gradients == 4 * PUBLISHED.parameters and plain.weights == adapted.weights
    assert adapted.gradients + adapted.optimiser < 0.03 * (plain.gradients + plain.optimiser)
    sharded = training_memory(PUBLISHED, 4, TrainingKind(shards=4))
    assert 4 * sharded.optimiser == pytest.approx(plain.optimiser) and sharded.activations == plain.activations
    beside_reference = training_memory(PUBLISHED, 4, TrainingKind(copies=1))
    assert beside_reference.weights - plain.weights == 4 * PUBLISHED.parameters


def test_estimates_are_near_what_an_h100_took():
    """benchmarks/results/training-h100.json and policy-step-h100.json; bytes at the peak."""
    shape = ModelShape.of_depth(12, 50_257, 1024)
    assert training_memory(shape, 32).total == pytest.approx(18.2e9, rel=0.1)
    assert training_memory(shape, 32, TrainingKind(compiled=False)).total == pytest.approx(19.9e9, rel=0.1)
    policy = ModelShape.of_depth(12, 32_768, 320)
    assert training_memory(policy, 64, TrainingKind(compiled=False, copies=1)).total == pytest.approx(15.2e9, rel=0.1)


@pytest.mark.parametrize("micro_batch_size, savings, peak", [(16, CHUNKED, 53.9e9), (32, BOTH, 17.1e9)])
def test_estimates_for_a_published_shape_leave_enough_free(micro_batch_size, savings, peak):
    """benchmarks/results/tuning-qwen3-0.6b-h100.json: fine-tuning took at most what the estimate and its 15 % allow."""
    estimate = training_memory(PUBLISHED, micro_batch_size, TrainingKind(savings)).total
    assert peak < estimate / USABLE and estimate < 1.5 * peak


def test_a_larger_micro_batch_fits_with_savings():
    sizes = [fitting_micro_batch(PUBLISHED, 40 * 10**9, 64, TrainingKind(s)) for s in (MemorySavings(), CHUNKED)]
    checkpointed = fitting_micro_batch(PUBLISHED, 40 * 10**9, 64, with_checkpointing(TrainingKind(CHUNKED)))
    assert sizes[0] <= sizes[1] < checkpointed
    with pytest.raises(
        ModelError, match=r"one sequence of 2048 tokens at depth 28 needs 1\d GB, .* 8 GB \(85 % usable"
    ):
        fitting_micro_batch(PUBLISHED, 8 * 10**9, 64)
