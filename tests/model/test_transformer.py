"""The transformer compared with transformers: equal logits of both architectures, export and import; checkpoints."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets.model import IGNORE
from llm_assets.model.attention import document_mask
from llm_assets.model.cache import KeyValueCache
from llm_assets.model.checkpoint import CheckpointError, load_checkpoint, load_model, save_model
from llm_assets.model.devices import DEVICES, Machine, find_device, predict
from llm_assets.model.huggingface import export
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.model.training_memory import fitting_micro_batch
from llm_assets.model.transformer import Transformer
from llm_assets.tokens.tokenizer import train
from tests.support.tiny_models import ENCODING, SHAPES, TEXTS, random_model


@given(
    st.sampled_from(["qwen3", "gpt2"]),
    st.integers(1, 4),
    st.integers(260, 900),
    st.booleans(),
    st.sampled_from([32, 64, 160]),
)
@settings(max_examples=20)
def test_the_shape_counts_the_parameters_of_the_model(architecture, depth, vocabulary, tied, width):
    shape = ModelShape.of_depth(depth, vocabulary, 32, architecture, width=width, tied=tied or architecture == "gpt2")
    model = Transformer(shape)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (
        sum(parameter.numel() for _, parameter in model.matrices())
        == shape.matrix_parameters - shape.rows * shape.width
    )


def test_the_depth_determines_the_other_sizes():
    assert [ModelShape.of_depth(depth, 32_768, 2048).width for depth in (4, 12, 20)] == [256, 768, 1280]
    assert ModelShape.of_depth(12, 32_768, 2048).heads == 6 and ModelShape.of_depth(12, 32_768, 2048).head_dim == 128
    # GPT-2 as published: 124,439,808 and 1,557,611,200 parameters with 50,257 rows; ours has 50,304.
    small, large = (
        ModelShape.of_depth(12, 50_257, 1024, "gpt2", heads=12),
        ModelShape.of_depth(48, 50_257, 1024, "gpt2", width=1600, heads=25),
    )
    assert small.parameters - 47 * 768 == 124_439_808
    assert large.parameters - 47 * 1600 == 1_557_611_200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5, "kv_heads": 2}, "heads 5 is no multiple of kv_heads 2"),
        ({"head_dim": 33}, "head_dim 33 is odd"),
        ({"architecture": "mamba"}, "unknown architecture 'mamba'; available: qwen3, gpt2"),
        ({"context": 0}, "model.context is 0"),
    ],
)
def test_impossible_shapes_are_errors(change, message):
    with pytest.raises(ModelError, match=message):
        ModelShape(**{**SHAPES["plain"].__dict__, **change})
    with pytest.raises(ModelError, match="tied embeddings"):
        ModelShape.of_depth(2, 500, 64, "gpt2", tied=False)


@pytest.mark.parametrize("name", SHAPES)
def test_an_exported_checkpoint_has_equal_logits_and_tokens_in_transformers(name, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = random_model(SHAPES[name])
    export(model, ENCODING, tmp_path)
    other = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS[:5]:
        ids = ENCODING.encode(text)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
        tokens = torch.tensor([ids[:64]])
        with torch.no_grad():
            assert torch.allclose(model(tokens), other(tokens).logits, atol=1e-4)
    assert tokenizer.decode(ENCODING.encode(TEXTS[0])) == TEXTS[0]
    assert tokenizer.bos_token_id == other.config.bos_token_id == ENCODING.bos


@pytest.mark.parametrize("name", SHAPES)
@torch.no_grad()
def test_bf16_works_with_masks_and_cache(name):
    """Under autocast, here on a CPU, the types of queries, keys, values, cache and masks fit each other."""
    model, tokens = random_model(SHAPES[name]), torch.randint(0, 400, (2, 24))
    tokens[:, 10] = ENCODING.bos
    plain = model(tokens, tokens, document_mask(tokens, ENCODING.bos))
    with torch.autocast("cpu", torch.bfloat16):
        for blocks in (False, True):
            losses = model(tokens, tokens, document_mask(tokens, ENCODING.bos, blocks))
            assert losses.dtype == torch.float32 and torch.allclose(losses, plain, atol=0.15)
        cache = KeyValueCache(SHAPES[name], 2, "cpu", torch.bfloat16)
        cache.reserve(24)
        states = model.hidden_states(tokens, torch.arange(24).expand(2, -1), cache)
        assert torch.allclose(states.float(), model.hidden_states(tokens).float(), atol=0.2)


def test_ignored_targets_have_no_loss():
    model, tokens = random_model(SHAPES["plain"]), torch.randint(0, 500, (2, 10))
    targets = tokens.roll(-1, 1)
    whole = model(tokens, targets)
    targets[:, :4] = IGNORE
    part = model(tokens, targets)
    assert torch.equal(part[:, :4], torch.zeros(2, 4)) and torch.allclose(part[:, 4:], whole[:, 4:], atol=1e-6)
    reference = torch.nn.functional.cross_entropy(model(tokens)[0, 5:6], targets[0, 5:6])
    assert torch.allclose(part[0, 5], reference, atol=1e-6)
    of_part, of_whole = (
        torch.autograd.grad(losses[:, 4:].sum(), list(model.parameters()))
        for losses in (part, model(tokens, tokens.roll(-1, 1)))
    )
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(of_part, of_whole, strict=True))


def test_losses_by_chunks_have_the_gradients_of_all_at_once():
    model = random_model(SHAPES["plain"])
    hidden, targets = torch.randn(10, 64, requires_grad=True), torch.randint(0, 500, (10,))
    inputs = [hidden, model.head]
    whole, chunked = (model.chosen_losses(hidden, targets, 0.7, size) for size in (None, 4))
    assert torch.allclose(whole, chunked, atol=1e-6)
    of_whole, of_chunked = (torch.autograd.grad(losses.sum(), inputs) for losses in (whole, chunked))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(of_whole, of_chunked, strict=True))


def test_losses_by_chunks_keep_no_logits():
    model, saved_sizes = random_model(SHAPES["plain"]), []
    hidden, targets = torch.randn(12, 64, requires_grad=True), torch.randint(0, 500, (12,))

    def keep(tensor):
        if tensor.data_ptr() != model.head.data_ptr():
            saved_sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.chosen_losses(hidden, targets, size=4)
    assert max(saved_sizes) < 4 * model.shape.rows  # not even those of one chunk


def test_a_batch_without_targets_has_no_gradient():
    model, tokens = random_model(SHAPES["plain"]), torch.randint(0, 500, (2, 10))
    losses = model(tokens, torch.full_like(tokens, IGNORE))
    assert torch.equal(losses, torch.zeros(2, 10))
    assert all(
        not gradient.any()
        for gradient in torch.autograd.grad(losses.sum(), list(model.parameters()), materialize_grads=True)
    )


def test_checkpoints_are_read_back_and_broken_ones_are_errors(tmp_path):
    model = random_model(SHAPES["plain"])
    save_model(model, tmp_path)
    ENCODING.save(tmp_path)
    loaded, encoding = load_checkpoint(tmp_path)
    assert encoding == ENCODING and all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    with pytest.raises(CheckpointError, match=r"has another shape: layers 3 \(expected 2\)"):
        load_model(tmp_path, shape=ModelShape.of_depth(2, 500, 64, width=64))
    train(TEXTS, 400).save(tmp_path)
    with pytest.raises(CheckpointError, match="the tokenizer has 400 ids, but the model's vocabulary has 500"):
        load_checkpoint(tmp_path)
    (tmp_path / "shape.json").write_text(ModelShape.of_depth(3, 500, 64, width=96).dump())
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit shape\.json"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "shape.json").write_text('{"architecture": "qwen3", "colour": 1}')
    with pytest.raises(ModelError, match="unknown field 'colour'"):
        load_model(tmp_path)


def test_predictions_follow_from_the_shape():
    shape = ModelShape.of_depth(12, 32_768, 2048)
    one_gpu, eight_gpus = (predict(shape, 10**9, 2**19, Machine("h200", processes)) for processes in (1, 8))
    assert one_gpu.steps == round(10**9 / 2**19) and one_gpu.flops == pytest.approx(
        shape.flops_per_token * one_gpu.steps * 2**19
    )
    assert one_gpu.seconds == pytest.approx(8 * eight_gpus.seconds) and one_gpu.cost == pytest.approx(eight_gpus.cost)
    assert find_device("NVIDIA H100 80GB HBM3") is DEVICES[1] and find_device("TPU") is None
    assert fitting_micro_batch(shape, 141 * 10**9, 256) > fitting_micro_batch(shape, 24 * 10**9, 256) >= 1
    with pytest.raises(
        ModelError, match=r"needs .* GB, but the device has 24 GB \(85 % usable\); lower model\.depth or model\.context"
    ):
        fitting_micro_batch(ModelShape.of_depth(60, 32_768, 2048), 24 * 10**9, 8)
    with pytest.raises(ModelError, match="unknown device 'abacus'; available: cpu, h200"):
        predict(shape, 10**9, 2**19, Machine("abacus"))


COPYING = ModelShape.of_depth(4, 2048, 256, width=128, tied=True, rope_theta=1e6)


def ranks_of_copies(shape, induction):
    """In sequences that repeat random tokens, the rank of the token that followed the same token before."""
    model = Transformer(shape)
    model.initialise(1, induction)
    generator = torch.Generator().manual_seed(2)
    half = torch.randint(0, 2000, (8, 24), generator=generator)
    tokens = torch.cat([half, half], 1)
    with torch.no_grad():
        logits = model(tokens)[:, 24:-1, : shape.vocabulary]
    wanted = tokens[:, 25:, None]
    return (logits > logits.gather(-1, wanted)).sum(-1).float()


def test_with_an_induction_head_it_copies_before_any_training():
    assert ranks_of_copies(COPYING, False).median() > 500
    assert ranks_of_copies(COPYING, True).median() < 250


def test_a_shape_without_room_for_an_induction_head_is_an_error():
    with pytest.raises(ModelError, match=r"set model\.induction to false"):
        Transformer(ModelShape.of_depth(1, 500, 64, width=128)).initialise(1, True)
    with pytest.raises(ModelError, match="an induction head needs"):
        Transformer(ModelShape.of_depth(2, 500, 64, "gpt2", width=128)).initialise(1, True)
