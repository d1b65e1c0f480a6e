"""Compiled decoding steps give what the plain ones give; their tokens are tested in `test_sampling.py`."""

import pytest
import torch

from llm_assets.model import cpu_decoding
from llm_assets.model.cpu_decoding import CpuDecoding
from llm_assets.model.prefill import CachedModel
from llm_assets.model.shape import ModelShape
from tests.support.tiny_models import ENCODING, SHAPES, TEXTS, random_model

PROMPTS = [ENCODING.document(text)[: 5 + 7 * number] for number, text in enumerate(TEXTS[:6])]
QWEN2 = ModelShape.of_depth(2, 500, 64, "qwen2", width=64, heads=4, kv_heads=2)


def logits_of_steps(model, is_final, steps=10):
    """Logits after each of some given tokens of each sequence, (steps, sequences, vocabulary)."""
    cached = CachedModel(model, is_final)
    with torch.inference_mode():
        cache, lengths, _ = cached.prefill(PROMPTS)
        out = []
        for step in range(steps):
            cache.reserve(int(lengths.max()) + 1)
            out.append(cached.next_logits((lengths * 7 + step) % 500, lengths[:, None], cache))
            lengths = lengths + 1
    return torch.stack(out)


@pytest.mark.parametrize(
    "shape", [SHAPES["plain"], SHAPES["grouped and tied"], QWEN2], ids=["qwen3", "grouped", "qwen2"]
)
def test_compiled_steps_have_the_same_logits(shape):
    plain = logits_of_steps(random_model(shape), is_final=False)
    torch.testing.assert_close(logits_of_steps(random_model(shape), is_final=True), plain, atol=2e-5, rtol=1e-5)


def test_sequences_may_be_divided_among_threads(monkeypatch):
    model = random_model(SHAPES["grouped and tied"])
    together = logits_of_steps(model, is_final=True)
    divided = []
    monkeypatch.setattr(cpu_decoding, "THREAD_BYTES", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(
        CpuDecoding,
        "_attend_from_last",
        lambda *values, plain=CpuDecoding._attend_from_last: divided.append(len(values[1])) or plain(*values),
    )
    torch.testing.assert_close(logits_of_steps(model, is_final=True), together, atol=0, rtol=0)
    assert set(divided) == {4}


def test_merged_weights_are_those_of_the_model():
    model, merged = random_model(QWEN2), random_model(QWEN2)
    CpuDecoding(merged)
    attention = merged.layers()[0].self_attn
    storages = {
        layer.weight.untyped_storage().data_ptr() for layer in (attention.q_proj, attention.k_proj, attention.v_proj)
    }
    assert len(storages) == 1  # no copy of the weights
    weights = merged.state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(weights[name], weight), name


def test_logits_of_a_diverged_model_are_not_numbers():
    model = random_model(SHAPES["plain"])
    with torch.no_grad():
        model.layers()[1].mlp.up_proj.weight[3, 5] = torch.nan
    assert logits_of_steps(model, is_final=True).isnan().all()


def test_other_models_have_plain_steps(monkeypatch):
    assert CpuDecoding.serves(random_model(SHAPES["plain"]))
    assert not CpuDecoding.serves(random_model(SHAPES["gpt2"]))
    monkeypatch.setenv("LLM_ASSETS_PRECISION", "bf16")
    assert not CpuDecoding.serves(random_model(SHAPES["plain"]))
