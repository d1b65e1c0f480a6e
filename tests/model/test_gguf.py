"""The GGUF file: weights and vocabulary as the gguf package reads them, for both architectures."""

import gguf
import numpy as np
import pytest

from llm_assets.model.encoding import GPT2_PATTERN, gpt4_pattern
from llm_assets.model.gguf_file import pre_tokenizer, write_gguf
from llm_assets.model.shape import ModelError, ModelShape
from llm_assets.model.transformer import Transformer
from tests.support.training_jobs import ENCODING

QWEN = ModelShape.of_depth(2, 500, 64, width=32)
GPT2 = ModelShape("gpt2", 512, 64, 2, 32, 2, 2, 16, 128, True)


def model(shape):
    transformer = Transformer(shape)
    transformer.initialise(1)
    return transformer


def value(reader, name):
    return reader.fields[name].contents()


@pytest.mark.parametrize("shape", [QWEN, GPT2], ids=["qwen3", "gpt2"])
@pytest.mark.parametrize("kind", ["f32", "f16"])
def test_every_weight_is_read_back(tmp_path, shape, kind):
    transformer = model(shape)
    written = write_gguf(transformer, ENCODING, tmp_path / "m.gguf", "Ada", kind)
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert written["tensors"] == len(reader.tensors) == len(transformer.state_dict())
    weights = {tensor.name: np.asarray(tensor.data, np.float32) for tensor in reader.tensors}
    embedding = transformer.embedding.weight.detach().numpy()
    assert np.array_equal(
        weights["token_embd.weight"], embedding.astype(np.float16 if kind == "f16" else np.float32).astype(np.float32)
    )
    if shape is GPT2:
        assert weights["blk.1.attn_qkv.weight"].shape == (96, 32)  # transposed: out, in
    else:
        assert np.array_equal(
            weights["blk.1.attn_q_norm.weight"], transformer.model.layers[1].self_attn.q_norm.weight.detach().numpy()
        )
        assert (
            value(reader, "qwen3.rope.freq_base") == shape.rope_theta
            and value(reader, "qwen3.attention.head_count_kv") == shape.kv_heads
        )
    assert value(reader, "general.architecture") == shape.architecture


def test_the_vocabulary_and_the_end_of_a_turn(tmp_path):
    write_gguf(model(QWEN), ENCODING, tmp_path / "m.gguf", "Ada")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    tokens, kinds = value(reader, "tokenizer.ggml.tokens"), value(reader, "tokenizer.ggml.token_type")
    assert len(tokens) == len(kinds) == QWEN.rows and len(set(tokens)) == len(tokens)
    end = ENCODING.special["<|assistant_end|>"]
    assert (
        value(reader, "tokenizer.ggml.eos_token_id") == end
        and tokens[end] == "<|assistant_end|>"
        and kinds[end] == gguf.TokenType.CONTROL
    )
    assert "assistant_start" in value(reader, "tokenizer.chat_template")
    assert len(value(reader, "tokenizer.ggml.merges")) == len(ENCODING.ranks) - 256


def test_a_base_model_ends_with_the_document(tmp_path):
    write_gguf(model(QWEN), ENCODING, tmp_path / "m.gguf", "base", chat=False)
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert (
        value(reader, "tokenizer.ggml.eos_token_id") == ENCODING.bos and "tokenizer.chat_template" not in reader.fields
    )


def test_known_split_patterns_are_named():
    assert pre_tokenizer(GPT2_PATTERN) == ("gpt-2", True)
    assert pre_tokenizer(gpt4_pattern(3)) == ("llama-bpe", True)
    assert pre_tokenizer(gpt4_pattern(2)) == ("llama-bpe", False)


def test_an_unknown_type_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="unknown gguf type 'q4'; available: f32, f16"):
        write_gguf(model(QWEN), ENCODING, tmp_path / "m.gguf", "Ada", "q4")
