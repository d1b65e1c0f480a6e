"""Published models: the logits of transformers for each architecture, and export → import → export byte for byte."""

import json

import pytest
import torch

from llm_assets.model.cache import KeyValueCache
from llm_assets.model.checkpoint import load_checkpoint, save_model
from llm_assets.model.encoding import SPECIAL_TOKENS
from llm_assets.model.huggingface import export
from llm_assets.model.published_tokenizer import read_tokenizer
from llm_assets.model.published_weights import load_published
from llm_assets.model.sampling import Engine, Sampling
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from tests.support.published_models import FAMILIES, small_config, write_published
from tests.support.training_jobs import ENCODING

TOKENS = torch.randint(0, 300, (2, 100), generator=torch.Generator().manual_seed(1))
# Both kinds of embeddings where an architecture has both; one and several key heads; heads wider than the model.
VARIANTS = [
    *((family, {}) for family in FAMILIES),
    ("qwen3", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    ("qwen2", {"tie_word_embeddings": False, "num_key_value_heads": 1}),
    ("smollm2", {"tie_word_embeddings": False, "num_key_value_heads": 4, "head_dim": 16}),
    ("olmo2", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    ("gpt2", {"n_inner": 40}),
]


@pytest.mark.parametrize(("family", "changes"), VARIANTS, ids=str)
@torch.no_grad()
def test_logits_are_those_of_transformers(tmp_path, family, changes):
    reference, _ = write_published(tmp_path, family, **changes)
    ours = load_published(tmp_path, read_tokenizer(tmp_path))
    expected = reference(TOKENS).logits
    assert expected.std() > 0.1
    assert torch.allclose(ours(TOKENS)[..., : reference.config.vocab_size], expected, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_cache_and_the_engine_give_what_the_whole_forward_gives(tmp_path, family):
    write_published(tmp_path, family)
    encoding = read_tokenizer(tmp_path)
    model = load_published(tmp_path, encoding)
    whole = model.hidden_states(TOKENS)
    cache = KeyValueCache(model.shape, 2, "cpu", torch.float32)
    parts = []
    for first, last in ((0, 60), (60, 61), (61, 100)):
        cache.reserve(last)
        positions = torch.arange(first, last).expand(2, -1)
        parts.append(model.hidden_states(TOKENS[:, first:last], positions, cache))
    assert torch.allclose(torch.cat(parts, 1), whole, atol=1e-4)
    prompt = encoding.document("The quick brown")
    [completion] = Engine(model, encoding).complete([prompt], Sampling(max_tokens=12, temperature=0))
    ids = list(prompt)
    for token in completion.tokens:
        assert token == int(model(torch.tensor([ids]))[0, -1, : model.shape.vocabulary].argmax())
        ids.append(token)


@pytest.mark.parametrize("chat", [False, True], ids=["base", "chat"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_export_of_an_imported_model_is_imported_and_exported_the_same(tmp_path, family, chat):
    write_published(tmp_path / "published", family, spare_rows=3)
    encoding = read_tokenizer(tmp_path / "published")
    export(load_published(tmp_path / "published", encoding), encoding, tmp_path / "first", chat)
    again = read_tokenizer(tmp_path / "first")
    assert again.special == encoding.special and not again.new_ids
    export(load_published(tmp_path / "first", again), again, tmp_path / "second", chat)
    assert_same_files(tmp_path / "first", tmp_path / "second")


@pytest.mark.parametrize("chat", [False, True], ids=["base", "chat"])
@pytest.mark.parametrize(
    "shape",
    [ModelShape.of_depth(2, ENCODING.size, 64, width=32), ModelShape.of_depth(2, ENCODING.size, 64, "gpt2", width=32)],
    ids=lambda shape: shape.architecture,
)
def test_our_own_export_is_imported_as_what_it_was(tmp_path, shape, chat):
    model = Transformer(shape)
    model.initialise(1)
    export(model, ENCODING, tmp_path / "first", chat)
    encoding = read_tokenizer(tmp_path / "first")
    assert (encoding.ranks, encoding.pattern, encoding.added) == (ENCODING.ranks, ENCODING.pattern, None)
    imported = load_published(tmp_path / "first", encoding)
    assert imported.shape == shape
    export(imported, encoding, tmp_path / "second", chat)
    assert_same_files(tmp_path / "first", tmp_path / "second")


def assert_same_files(first, second):
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir()) and {"config.json", "tokenizer.json"} < set(names)
    different = [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()]
    assert not different


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_transformers_reads_the_export_of_an_imported_model(tmp_path, family):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_published(tmp_path / "published", family)
    encoding = read_tokenizer(tmp_path / "published")
    model = load_published(tmp_path / "published", encoding)
    export(model, encoding, tmp_path / "export", chat=True)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "export", dtype=torch.float32).eval()
    assert torch.allclose(model(TOKENS), reference(TOKENS).logits, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    text = "It's 2026, l'élève e\u0301tudie. <think> \r\n\n  x"
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == encoding.encode(text)
    assert tokenizer("a")["input_ids"][0] == encoding.bos == tokenizer.bos_token_id


def test_added_tokens_take_spare_rows_and_then_new_ones_with_the_mean_of_the_others(tmp_path):
    reference, tokenizer = write_published(tmp_path, "llama", spare_rows=7)
    encoding = read_tokenizer(tmp_path)
    model = load_published(tmp_path, encoding)
    size, published = tokenizer.get_vocab_size(), reference.model.embed_tokens.weight
    assert len(encoding.new_ids) == len(SPECIAL_TOKENS) - 1 and min(encoding.new_ids) == size
    assert encoding.bos == tokenizer.token_to_id("<|begin_of_text|>")
    assert model.shape.rows % 64 == 0 and model.shape.rows > len(published) == size + 7
    for ours, original in ((model.embedding.weight, published), (model.head, reference.lm_head.weight)):
        assert torch.equal(ours[:size], original[:size])
        assert torch.allclose(ours[size:], original[:size].mean(0).expand(len(ours) - size, -1), atol=1e-6)


def test_spare_rows_that_suffice_leave_the_embedding_as_long_as_it_is(tmp_path):
    reference, _ = write_published(tmp_path, "qwen3", spare_rows=40)
    encoding = read_tokenizer(tmp_path)
    model = load_published(tmp_path, encoding)
    assert model.shape.rows == reference.config.vocab_size and model.shape.vocabulary == encoding.size
    last = encoding.size
    assert torch.equal(model.embedding.weight[last:], reference.model.embed_tokens.weight[last:])


@torch.no_grad()
def test_shards_are_read_like_one_file(tmp_path):
    reference, _ = write_published(tmp_path, "qwen2", shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours = load_published(tmp_path, read_tokenizer(tmp_path))
    assert torch.allclose(ours(TOKENS)[..., : reference.config.vocab_size], reference(TOKENS).logits, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@torch.no_grad()
def test_a_shorter_context_changes_no_logits(tmp_path, family):
    reference, _ = write_published(tmp_path, family)
    ours = load_published(tmp_path, read_tokenizer(tmp_path), context=64)
    assert ours.shape.context == 64
    logits = reference(TOKENS[:, :64]).logits
    assert torch.allclose(ours(TOKENS[:, :64])[..., : logits.shape[-1]], logits, atol=1e-4)


def test_a_checkpoint_of_an_imported_model_is_read_back(tmp_path):
    write_published(tmp_path / "published", "llama", spare_rows=1)
    encoding = read_tokenizer(tmp_path / "published")
    model = load_published(tmp_path / "published", encoding)
    (tmp_path / "checkpoint").mkdir()
    save_model(model, tmp_path / "checkpoint")
    encoding.save(tmp_path / "checkpoint")
    loaded, loaded_encoding = load_checkpoint(tmp_path / "checkpoint")
    assert loaded.shape == model.shape and loaded.shape.rope_scaling is not None and loaded_encoding == encoding
    assert torch.equal(loaded(TOKENS), model(TOKENS))


def test_openai_layout_of_gpt2(tmp_path):
    from safetensors.torch import load_file, save_file

    reference, _ = write_published(tmp_path, "gpt2")
    weights = load_file(tmp_path / "model.safetensors")
    renamed = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    save_file({**renamed, "h.0.attn.bias": torch.ones(1, 1, 128, 128)}, tmp_path / "model.safetensors")
    with torch.no_grad():
        ours = load_published(tmp_path, read_tokenizer(tmp_path))
        assert torch.allclose(ours(TOKENS)[..., : reference.config.vocab_size], reference(TOKENS).logits, atol=1e-4)


def test_parameters_are_counted_for_every_architecture(tmp_path):
    for family in FAMILIES:
        write_published(tmp_path / family, family)
        model = load_published(tmp_path / family, read_tokenizer(tmp_path / family))
        assert model.shape.parameters == sum(parameter.numel() for parameter in model.parameters()), family


def test_configurations_of_earlier_versions_of_transformers(tmp_path):
    """``rope_theta`` and ``rope_scaling`` beside each other, instead of ``rope_parameters``."""
    from llm_assets.model.published_config import read_shape

    values = json.loads(small_config("llama", 512).to_json_string())
    values.update(architectures=["LlamaForCausalLM"], model_type="llama")
    (tmp_path / "config.json").write_text(json.dumps(values))
    current = read_shape(tmp_path)
    scaling = values.pop("rope_parameters")
    values.update(rope_theta=scaling.pop("rope_theta"), rope_scaling=scaling)
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert read_shape(tmp_path) == current and current.rope_scaling.factor == 8
