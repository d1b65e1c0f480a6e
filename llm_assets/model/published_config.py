"""Reads the ``config.json`` of a published model, in the layout of Hugging Face's transformers, as a `ModelShape`.

A field that changes what the model computes and that this project does not implement is refused, and so is a field that
is not known here, unless it is null or false: the logits would differ without anyone noticing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .shape import ModelError, ModelShape, RopeScaling

CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "model.safetensors"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
CLASSES = {
    "qwen3": "Qwen3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
# Fields without influence on what the model computes in evaluation mode.
_NEUTRAL = {
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "bos_token_id",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "model_type",
    "n_ctx",
    "pad_token_id",
    "resid_pdrop",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "use_cache",
}
# Fields that must have one of these values, as everything else is not implemented. Qwen2 and Qwen3 name a window and
# the layers that have one even where no layer uses it.
_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "use_sliding_window": (False, None),
    "partial_rotary_factor": (1, None),
    "pretraining_tp": (1, None),
    "scale_attn_weights": (True,),
    "is_decoder": (False, True),
}
_WINDOW = {"sliding_window", "max_window_layers"}
_SIZES = {
    "vocab_size",
    "max_position_embeddings",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "rms_norm_eps",
    "tie_word_embeddings",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "layer_types",
}
_GPT2_SIZES = {
    "vocab_size",
    "n_positions",
    "n_embd",
    "n_layer",
    "n_head",
    "n_inner",
    "layer_norm_epsilon",
    "tie_word_embeddings",
}


class PublishedModelError(ModelError):
    """A published model that cannot be used; the message names the file, the field or tensor, and its value."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises PublishedModelError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PublishedModelError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise PublishedModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise PublishedModelError(f"{path}: not a JSON object")
    return values


def weight_files(folder: Path) -> list[str]:
    """Names of the files that hold the weights, the index of shards first. Raises PublishedModelError.

    The files need not exist, except the index or the single file.
    """
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if (folder / INDEX).is_file():
        shards = read_json(folder / INDEX).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise PublishedModelError(f"{folder / INDEX}: weight_map: not an object of tensor and file names")
        for name in shards.values():
            if Path(name).name != name:
                raise PublishedModelError(f"{folder / INDEX}: weight_map: {name!r} is not the name of a file beside it")
        return [INDEX, *sorted(set(shards.values()))]
    pickles = sorted(path.name for path in folder.glob("*.bin")) + sorted(path.name for path in folder.glob("*.pt*"))
    if pickles:
        raise PublishedModelError(
            f"{folder / pickles[0]}: a pickle, which can run any program when it is read; save the model with "
            "save_pretrained of a current version of transformers, which writes model.safetensors"
        )
    raise PublishedModelError(f"{folder}: no {WEIGHTS} and no {INDEX}")


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a published model that are read, by name. Raises PublishedModelError if one is missing."""
    if not folder.is_dir():
        raise PublishedModelError(f"{folder.absolute()}: no such folder")
    if not (folder / CONFIG).is_file():
        raise PublishedModelError(
            f"{folder / CONFIG}: missing; a published model is a folder in the format of Hugging Face transformers"
        )
    names = [CONFIG, *weight_files(folder)]
    for name in names:
        if not (folder / name).is_file():
            raise PublishedModelError(f"{folder / INDEX}: weight_map: {name} is not in the folder")
    return {name: folder / name for name in names}


def read_shape(folder: Path, context: int | None = None) -> ModelShape:
    """The shape of a published model; all rows of its embedding count as its vocabulary.

    context: use the model with at most that many tokens. Raises PublishedModelError.
    """
    path = folder / CONFIG
    values = read_json(path)
    architecture = values.get("model_type")
    if architecture not in CLASSES:
        raise PublishedModelError(f"{path}: model_type: {architecture!r}; available: {', '.join(CLASSES)}")
    classes = values.get("architectures") or [CLASSES[architecture]]
    if classes != [CLASSES[architecture]]:
        raise PublishedModelError(f"{path}: architectures: {classes!r}, not {[CLASSES[architecture]]!r}")
    _check_fields(path, values, architecture)
    reader = _Reader(path, values)
    try:
        return _gpt2_shape(reader, context) if architecture == "gpt2" else _rotary_shape(reader, architecture, context)
    except PublishedModelError:
        raise
    except ModelError as error:
        raise PublishedModelError(f"{path}: {error}") from error


def shape_with(published: ModelShape, vocabulary: int) -> ModelShape:
    """The shape of a published model with a vocabulary to which tokens may have been added.

    Its embedding keeps its rows, of which some may have been spare; only if they are too few, it gets more.
    """
    rows = published.rows if vocabulary <= published.rows else None
    shape = replace(published, vocabulary=vocabulary, embedding_rows=rows)
    padded = replace(shape, embedding_rows=None)
    return padded if padded.rows == rows else shape


def _check_fields(path: Path, values: Mapping[str, Any], architecture: str) -> None:
    """Raise PublishedModelError for a field that is not implemented."""
    known = _NEUTRAL | (_GPT2_SIZES if architecture == "gpt2" else _SIZES)
    if architecture in ("qwen2", "qwen3"):
        known = known | _WINDOW
    for name, value in values.items():
        if name in _FIXED:
            if value not in _FIXED[name]:
                implemented = ", ".join(repr(choice) for choice in _FIXED[name] if choice is not None)
                raise PublishedModelError(f"{path}: {name}: {value!r} is not implemented; only {implemented} is")
        elif name not in known and value is not None and value is not False:
            raise PublishedModelError(f"{path}: {name}: {value!r} is not implemented")
    for layer in values.get("layer_types") or ():
        if layer != "full_attention":
            raise PublishedModelError(f"{path}: layer_types: {layer!r} is not implemented; only 'full_attention' is")


class _Reader:
    """Typed fields of a config, with errors that name file, field and value."""

    def __init__(self, path: Path, values: Mapping[str, Any]):
        self.path, self.values = path, values

    def count(self, name: str, default: int | None = None) -> int:
        """A positive integer. default: if the field is missing or null; None makes it mandatory."""
        value = self.values.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PublishedModelError(f"{self.path}: {name}: {value!r} is not a positive whole number")
        return value

    def number(self, name: str, default: float) -> float:
        """A positive number; `default` if the field is missing or null."""
        return positive(self.path, name, default if self.values.get(name) is None else self.values[name])

    def flag(self, name: str, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise PublishedModelError(f"{self.path}: {name}: {value!r} is not true or false")
        return value


def positive(path: Path, name: str, value: Any) -> float:
    """A positive number of a config. Raises PublishedModelError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise PublishedModelError(f"{path}: {name}: {value!r} is not a positive number")
    return float(value)


def _context(reader: _Reader, name: str, context: int | None) -> int:
    """The context to use. Raises PublishedModelError if the model was made for a shorter one."""
    longest = reader.count(name)
    if context is not None and context > longest:
        raise PublishedModelError(f"{reader.path}: {name}: {longest:,}, fewer than the {context:,} tokens asked for")
    return context or longest


def _gpt2_shape(reader: _Reader, context: int | None) -> ModelShape:
    width, heads = reader.count("n_embd"), reader.count("n_head")
    return ModelShape(
        "gpt2",
        reader.count("vocab_size"),
        _context(reader, "n_positions", context),
        reader.count("n_layer"),
        width,
        heads,
        heads,
        width // heads,
        reader.count("n_inner", 4 * width),
        reader.flag("tie_word_embeddings", True),
        norm_epsilon=reader.number("layer_norm_epsilon", 1e-5),
        embedding_rows=reader.count("vocab_size"),
    )


def _rotary_shape(reader: _Reader, architecture: str, context: int | None) -> ModelShape:
    width, heads = reader.count("hidden_size"), reader.count("num_attention_heads")
    theta, scaling = _rope(reader)
    # The defaults of transformers' configuration classes, for the fields that published files leave out.
    return ModelShape(
        architecture,
        reader.count("vocab_size"),
        _context(reader, "max_position_embeddings", context),
        reader.count("num_hidden_layers"),
        width,
        heads,
        reader.count("num_key_value_heads", heads),
        reader.count("head_dim", 128 if architecture == "qwen3" else width // heads),
        reader.count("intermediate_size"),
        reader.flag("tie_word_embeddings", False),
        rope_theta=theta,
        norm_epsilon=reader.number("rms_norm_eps", 1e-5 if architecture == "olmo2" else 1e-6),
        rope_scaling=scaling,
        embedding_rows=reader.count("vocab_size"),
    )


def _rope(reader: _Reader) -> tuple[float, RopeScaling | None]:
    """The base of rotary positions and their scaling: ``rope_theta`` and ``rope_scaling``, since version 5 of
    transformers both in ``rope_parameters``.
    """
    field = "rope_parameters" if reader.values.get("rope_parameters") is not None else "rope_scaling"
    values, path = reader.values.get(field), reader.path
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise PublishedModelError(f"{path}: {field}: {values!r} is not an object")
    theta = positive(path, f"{field}.rope_theta", values.get("rope_theta", reader.number("rope_theta", 10_000.0)))
    kind = values.get("rope_type", values.get("type", "default"))
    partial = values.get("partial_rotary_factor")
    if partial not in (None, 1):
        raise PublishedModelError(f"{path}: {field}.partial_rotary_factor: {partial!r} is not implemented; only 1 is")
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise PublishedModelError(
            f"{path}: {field}.rope_type: {kind!r} is not implemented; only 'default' and 'llama3' are"
        )
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    factor, low, high, context = (positive(path, f"{field}.{name}", values.get(name)) for name in names)
    return theta, RopeScaling(factor, low, high, int(context))


__all__ = ["CLASSES", "PublishedModelError", "model_files", "read_json", "read_shape", "shape_with", "weight_files"]
