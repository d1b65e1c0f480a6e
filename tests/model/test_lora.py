"""Low-rank adapters: as peft computes them, merged into checkpoints, and trained alone."""

import copy
import json

import pytest
import torch

from llm_assets.model import IGNORE
from llm_assets.model.checkpoint import TrainingState, load_model, save_model
from llm_assets.model.lora import PEFT_PREFIX, add_adapters, load_adapters, merged_state
from llm_assets.model.sampling import Engine
from llm_assets.model.shape import Adapters, ModelError
from llm_assets.training.learner import Learner, Loss
from llm_assets.training.plan import Optimisation
from tests.support.peer_losses import FIXTURE, adapt_randomly, adapted_model, padded_answers
from tests.support.policy_training import CPU, policy_trainer
from tests.support.tiny_models import ENCODING, SHAPES, random_model

PEERS = json.loads(FIXTURE.read_text())
ADAPTERS = Adapters(rank=4, alpha=8.0, seed=1)
OPTIMISATION = Optimisation(learning_rate=1e-2, warmup=0.0, cooldown=0.0, muon=False, adapters=ADAPTERS)
TOKENS = torch.arange(40).reshape(2, 20)


def trained(shape, steps=3):
    """A learner after some steps on random targets, in this process."""
    learner = Learner(random_model(shape), OPTIMISATION, steps, CPU)
    for step in range(steps):
        learner.step(step, [Loss([lambda model: model(TOKENS, TOKENS.flip(1)).sum()], divisor=TOKENS.numel())])
    return learner


@pytest.mark.parametrize("name", SHAPES)
def test_loss_and_gradients_are_pefts(name):
    model, expected = adapted_model(name), dict(PEERS["peft"][name])
    tokens, answers = padded_answers()
    losses = model(tokens, answers)
    loss = losses.sum() / (answers != IGNORE).sum()
    loss.backward()
    assert loss.item() == pytest.approx(expected.pop("loss"), rel=1e-5)
    assert float(model(tokens).detach().abs().sum()) == pytest.approx(expected.pop("logits"), rel=1e-4)
    gradients = {
        f"{PEFT_PREFIX}{parameter_name}.weight": float(parameter.grad.norm())
        for parameter_name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    assert gradients == pytest.approx(expected, rel=1e-3)


def test_peft_still_gives_the_losses_of_the_fixture():
    pytest.importorskip("peft", reason="peft is not installed; the fixture holds what it computed")
    from tests.support.peer_losses import peft_losses

    for name, numbers in peft_losses().items():
        assert numbers == pytest.approx(PEERS["peft"][name], rel=1e-4)


@pytest.mark.parametrize("name", SHAPES)
def test_an_adapted_model_begins_as_the_model_was(name):
    model = random_model(SHAPES[name])
    before = model(TOKENS)
    add_adapters(model, ADAPTERS)
    assert torch.equal(model(TOKENS), before)
    assert {parameter_name.rpartition(".")[2] for parameter_name, weight in trainable(model)} == {"lora_A", "lora_B"}


def trainable(model):
    return [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]


def test_the_seed_alone_decides_where_adapters_begin():
    first, second, other = (random_model(SHAPES["plain"]) for _ in range(3))
    torch.manual_seed(1)
    add_adapters(first, ADAPTERS)
    torch.manual_seed(2)
    add_adapters(second, ADAPTERS)
    add_adapters(other, Adapters(4, 8.0, seed=2))
    assert all(
        torch.equal(ours, same) for (_, ours), (_, same) in zip(trainable(first), trainable(second), strict=True)
    )
    matrix = "model.layers.0.self_attn.q_proj.lora_A"
    ours, different = first.get_parameter(matrix), other.get_parameter(matrix)
    assert not torch.equal(ours, different)
    bound = SHAPES["plain"].width ** -0.5
    assert 0.9 * bound < float(ours.detach().abs().max()) <= bound


@pytest.mark.parametrize("name", SHAPES)
def test_only_adapters_are_trained(name):
    learner, before = trained(SHAPES[name]), random_model(SHAPES[name])
    for weight_name, weight in before.named_parameters():
        assert torch.equal(learner.model.get_parameter(weight_name), weight), weight_name
    assert all(bool((weight != 0).any()) for weight_name, weight in trainable(learner.model))
    assert not torch.allclose(learner.model(TOKENS), before(TOKENS), atol=1e-3)


@pytest.mark.parametrize("name", SHAPES)
def test_a_checkpoint_of_an_adapted_model_is_that_of_a_model_with_the_same_logits(name, tmp_path):
    model = trained(SHAPES[name]).model.eval()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert not any("lora" in weight_name for weight_name in loaded.state_dict())
    assert torch.allclose(loaded(TOKENS), model(TOKENS), atol=1e-4)
    assert merged_state(loaded).keys() == merged_state(model).keys()


def test_a_model_without_adapters_has_no_adapter_files(tmp_path):
    save_model(random_model(SHAPES["plain"]), tmp_path)
    assert not list(tmp_path.glob("adapter*"))


@pytest.mark.parametrize("name", SHAPES)
def test_a_resumed_training_continues_with_the_same_bytes(name, tmp_path):
    whole = trained(SHAPES[name], steps=3)
    first = Learner(random_model(SHAPES[name]), OPTIMISATION, 3, CPU)
    loss = Loss([lambda model: model(TOKENS, TOKENS.flip(1)).sum()], divisor=TOKENS.numel())
    first.step(0, [loss])
    first.save(tmp_path, TrainingState(1, {}), 2)
    resumed = Learner(random_model(SHAPES[name]), OPTIMISATION, 3, CPU)
    assert resumed.restore(tmp_path).step == 1
    for step in (1, 2):
        resumed.step(step, [loss])
    for (weight_name, ours), (_, expected) in zip(trainable(resumed.model), trainable(whole.model), strict=True):
        assert torch.equal(ours, expected), weight_name


def test_adapters_are_part_of_the_compiled_graph():
    torch._dynamo.reset()  # of what another test has compiled for any size
    model = adapted_model("plain")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(TOKENS), model(TOKENS), atol=1e-5)


def test_adapters_are_trained_in_mixed_precision(monkeypatch):
    monkeypatch.setenv("LLM_ASSETS_PRECISION", "bf16")
    model = trained(SHAPES["plain"], steps=1).model
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert all(bool(weight.isfinite().all() and (weight != 0).any()) for _, weight in trainable(model))


def test_an_engine_samples_from_the_adapted_model_also_if_it_was_made_before(tmp_path):
    engine = Engine(random_model(SHAPES["plain"]), ENCODING)
    prompt = ENCODING.document("one")
    before = dict(engine.next_tokens(prompt, 5))
    adapt_randomly(engine.model, "plain")
    after = dict(engine.next_tokens(prompt, 5))
    save_model(engine.model, tmp_path)
    merged = dict(Engine(load_model(tmp_path), ENCODING).next_tokens(prompt, 5))
    assert after == pytest.approx(merged, rel=1e-3)
    assert after != pytest.approx(before, rel=1e-1)


def test_a_policys_reference_is_the_model_without_adapters_and_shares_its_weights(tmp_path):
    optimisation = Optimisation(learning_rate=3e-2, warmup=0.0, cooldown=0.0, muon=False, adapters=ADAPTERS)
    trainer = policy_trainer(tmp_path / "run", optimisation=optimisation, kl=0.01, steps=3, evaluate_every=0)
    before = copy.deepcopy(trainer.reference)(TOKENS[:, :16])
    trainer.run()
    assert torch.equal(trainer.reference(TOKENS[:, :16]), before)
    assert trainer.reference.embedding.weight.data_ptr() == trainer.model.embedding.weight.data_ptr()
    assert not torch.allclose(trainer.model(TOKENS[:, :16]), before, atol=1e-3)


def test_a_target_that_the_model_does_not_have_is_named_with_those_it_has():
    with pytest.raises(ModelError, match=r"lora\.targets: the model has no layer 'q_proj'; available: c_attn, c_proj"):
        add_adapters(random_model(SHAPES["gpt2"]), Adapters(4, 8.0, ("q_proj",)))


def test_adapters_of_another_training_are_refused(tmp_path):
    save_model(adapted_model("plain"), tmp_path)
    model = random_model(SHAPES["plain"])
    add_adapters(model, Adapters(2, 8.0))
    with pytest.raises(ModelError, match=r"adapter_model.safetensors: base_model\.model\.\S+ does not fit"):
        load_adapters(model, tmp_path)
    with pytest.raises(ModelError, match=r"adapters .*adapter_model.safetensors: "):
        load_adapters(model, tmp_path / "none")
