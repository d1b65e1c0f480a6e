"""Folders of published models that cannot be used: one error each, which names the file, the field and its value."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from llm_assets.model.published_config import PublishedModelError, read_shape
from llm_assets.model.published_tokenizer import read_tokenizer
from llm_assets.model.published_weights import load_published
from tests.support.published_models import write_published

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder of each architecture, and one in shards; tests get copies."""
    folder = tmp_path_factory.mktemp("published")
    for family in ("llama", "qwen2", "qwen3", "olmo2", "gpt2"):
        write_published(folder / family, family)
    write_published(folder / "sharded", "qwen2", shard_size="20KB")
    return folder


def with_config(**changes):
    def change(folder):
        values = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**values, **changes}))

    return change


def with_rope(**changes):
    def change(folder):
        values = json.loads((folder / CONFIG).read_text())
        values["rope_parameters"] = {**values["rope_parameters"], **changes}
        (folder / CONFIG).write_text(json.dumps(values))

    return change


def with_weights(change_weights):
    def change(folder):
        weights = load_file(folder / WEIGHTS)
        change_weights(weights)
        save_file(weights, folder / WEIGHTS)

    return change


def removed(name):
    return lambda folder: (folder / name).unlink()


def written(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def pickled(folder):
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful()))


class Harmful:
    """What a pickle can do: this one ends the tests if it is ever loaded."""

    def __reduce__(self):
        return exit, ("a pickle was loaded",)


def index_of(change):
    def changed(folder):
        values = json.loads((folder / INDEX).read_text())
        change(values["weight_map"])
        (folder / INDEX).write_text(json.dumps(values))

    return changed


def last_shard(folder):
    return sorted(path.name for path in folder.glob("model-*.safetensors"))[-1]


def transposed(weights):
    weights[Q_PROJ] = weights[Q_PROJ][:16].contiguous()


def as_integers(weights):
    weights[Q_PROJ] = weights[Q_PROJ].to(torch.int8)


NOT_IMPLEMENTED = {
    "qwen3": {
        "use_sliding_window": (True, "True is not implemented; only False is"),
        "attention_bias": (True, "True is not implemented; only False is"),
        "layer_types": (["full_attention", "sliding_attention"], "'sliding_attention' is not implemented"),
        "num_experts": (8, "8 is not implemented"),
        "hidden_act": ("gelu", "'gelu' is not implemented; only 'silu' is"),
        "quantization_config": ({"bits": 4}, r"\{'bits': 4\} is not implemented"),
        "max_position_embeddings": (0, "0 is not a positive whole number"),
        "rms_norm_eps": ("small", "'small' is not a positive number"),
        "tie_word_embeddings": ("yes", "'yes' is not true or false"),
        "hidden_size": (None, "None is not a positive whole number"),
    },
    "llama": {
        "attention_bias": (True, "True is not implemented; only False is"),
        "mlp_bias": (True, "True is not implemented; only False is"),
        "sliding_window": (4096, "4096 is not implemented"),
        "partial_rotary_factor": (0.5, "0.5 is not implemented; only 1 is"),
        "logits_scaling": (8.0, "8.0 is not implemented"),
        "pretraining_tp": (2, "2 is not implemented; only 1 is"),
        "rope_parameters": ([], r"\[\] is not an object"),
    },
    "olmo2": {"clip_qkv": (8.0, "8.0 is not implemented")},
    "gpt2": {
        "activation_function": ("relu", "'relu' is not implemented; only 'gelu_new', 'gelu_pytorch_tanh' is"),
        "scale_attn_by_inverse_layer_idx": (True, "True is not implemented"),
        "scale_attn_weights": (False, "False is not implemented; only True is"),
    },
}
CONFIGS = [(family, field, *case) for family, cases in NOT_IMPLEMENTED.items() for field, case in cases.items()]


@pytest.mark.parametrize(("family", "field", "value", "message"), CONFIGS, ids=lambda value: str(value)[:24])
def test_a_field_that_is_not_implemented_is_named(folders, tmp_path, family, field, value, message):
    folder = copy(folders / family, tmp_path)
    with_config(**{field: value})(folder)
    with pytest.raises(PublishedModelError, match=rf"config\.json: {field}: {message}"):
        read_shape(folder)


FOLDERS = {
    "no folder": ("llama", lambda folder: folder.rename(folder.with_name("other")), "llama: no such folder"),
    "no config": ("llama", removed(CONFIG), r"config\.json: (missing|No such file)"),
    "config that is no JSON": ("llama", written(CONFIG, b"{"), r"config\.json: not JSON"),
    "config that is a list": ("llama", written(CONFIG, b"[]"), r"config\.json: not a JSON object"),
    "unknown architecture": (
        "llama",
        with_config(model_type="mamba"),
        r"config\.json: model_type: 'mamba'; available: qwen3, qwen2, llama, olmo2, gpt2",
    ),
    "a classifier": (
        "qwen3",
        with_config(architectures=["Qwen3ForSequenceClassification"]),
        r"config\.json: architectures: \['Qwen3ForSequenceClassification'\], not \['Qwen3ForCausalLM'\]",
    ),
    "YaRN": (
        "llama",
        with_rope(rope_type="yarn"),
        r"config\.json: rope_parameters\.rope_type: 'yarn' is not implemented; only 'default' and 'llama3' are",
    ),
    "rope scaling without a factor": (
        "llama",
        with_rope(factor=None),
        r"config\.json: rope_parameters\.factor: None is not a positive number",
    ),
    "partial rotary positions": (
        "llama",
        with_rope(partial_rotary_factor=0.5),
        r"config\.json: rope_parameters\.partial_rotary_factor: 0\.5 is not implemented",
    ),
    "heads that do not fit": (
        "llama",
        with_config(num_key_value_heads=3),
        r"config\.json: model\.heads 4 is no multiple of kv_heads 3",
    ),
    "no weights": ("llama", removed(WEIGHTS), r"llama: no model\.safetensors and no model\.safetensors\.index\.json"),
    "pickles alone": ("llama", pickled, r"pytorch_model\.bin: a pickle, which can run any program when it is read"),
    "unreadable safetensors": ("llama", written(WEIGHTS, b"garbage"), r"model\.safetensors: not a safetensors file"),
    "a tensor is missing": (
        "llama",
        with_weights(lambda weights: weights.pop(Q_PROJ)),
        r"tensor model\.layers\.0\.self_attn\.q_proj\.weight is missing, which config\.json asks for",
    ),
    "another shape": (
        "llama",
        with_weights(transposed),
        r"model\.safetensors: model\.layers\.0\.self_attn\.q_proj\.weight: shape \(16, 32\), but config\.json makes it "
        r"\(32, 32\)",
    ),
    "another dtype": (
        "llama",
        with_weights(as_integers),
        r"model\.safetensors: model\.layers\.0\.self_attn\.q_proj\.weight: dtype I8; only BF16, F16, F32 are read",
    ),
    "a tensor too many": (
        "llama",
        with_weights(lambda weights: weights.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)})),
        r"model\.safetensors: tensor model\.layers\.0\.self_attn\.q_proj\.bias has no place in a llama model",
    ),
    "untied without an output layer": (
        "qwen2",
        with_config(tie_word_embeddings=False),
        r"tensor lm_head\.weight is missing, which config\.json asks for",
    ),
    "a shard is missing": (
        "sharded",
        lambda folder: (folder / last_shard(folder)).unlink(),
        r"index\.json: weight_map: model-\d+-of-\d+\.safetensors is not in the folder",
    ),
    "a shard elsewhere": (
        "sharded",
        index_of(lambda shards: shards.update({Q_PROJ: "../model.safetensors"})),
        r"index\.json: weight_map: '\.\./model\.safetensors' is not the name of a file beside it",
    ),
    "an index that is wrong": (
        "sharded",
        index_of(lambda shards: shards.update({Q_PROJ: sorted(set(shards.values()) - {shards[Q_PROJ]})[0]})),
        r"index\.json: weight_map: model\.layers\.0\.self_attn\.q_proj\.weight is not in model-",
    ),
    "an index without a map": (
        "sharded",
        written(INDEX, b"{}"),
        r"index\.json: weight_map: not an object of tensor and file names",
    ),
    "an embedding that is too short": (
        "llama",
        with_config(vocab_size=300),
        r"tokenizer\.json: the id 300 of .* passes the embedding, which has 300 rows \(config\.json: vocab_size\)",
    ),
    "no tokenizer": ("llama", removed("tokenizer.json"), r"tokenizer\.json: missing"),
}


def copy(source, target):
    import shutil

    return shutil.copytree(source, target / source.name)


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_cannot_be_used_is_refused(folders, tmp_path, case):
    family, change, message = FOLDERS[case]
    folder = copy(folders / family, tmp_path)
    change(folder)
    with pytest.raises(PublishedModelError, match=message) as caught:
        load_published(folder, read_tokenizer(folder))
    assert "\n" not in str(caught.value)


def test_a_longer_context_than_the_models_is_refused(folders):
    with pytest.raises(PublishedModelError, match=r"max_position_embeddings: 128, fewer than the 4,096 tokens asked"):
        read_shape(folders / "llama", 4096)
