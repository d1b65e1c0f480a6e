"""Export to Hugging Face folders: ``config.json``, ``model.safetensors``, tokenizer files.

Parameters already have transformers' names, so the weights file is the state dict. `published_weights` reads folders.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from .chat import CALL_ENDS, CHAT_TEMPLATE, TRAINING_TEMPLATE
from .checkpoint import weights_of
from .encoding import BOS, ENDS_TURN, Encoding
from .published_config import CLASSES
from .shape import ModelShape
from .tokenizer_files import text_tokens, write_tokenizer
from .transformer import Transformer

# The chat template with transformers' `generation` tags, for training on the assistant's tokens alone. It is no part of
# the tokenizer's files, because engines that are not written in Python cannot read the tags.
TRAINING_TEMPLATE_FILE = "training_chat_template.jinja"


# Types of the exported weights, by their names in recipes and commands; the values are torch's and transformers' names.
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
SHARD_BYTES = 5 << 30  # of one file of weights, as the hub recommends; a larger model gets several and an index


def config(
    shape: ModelShape, encoding: Encoding | None = None, chat: bool = False, dtype: str = "float32"
) -> dict[str, Any]:
    """The configuration of a shape for transformers, with the ids that begin, end and pad a text if there are texts.

    dtype: of the weights in the file, as torch names it.
    """
    ids = {} if encoding is None else _text_ids(encoding, chat)
    if shape.architecture == "gpt2":
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": shape.rows,
            "n_positions": shape.context,
            "n_embd": shape.width,
            "n_layer": shape.layers,
            "n_head": shape.heads,
            "n_inner": shape.hidden,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": shape.norm_epsilon,
            "tie_word_embeddings": True,
            "torch_dtype": dtype,
            **ids,
        }
    return {
        "architectures": [CLASSES[shape.architecture]],
        "model_type": shape.architecture,
        "vocab_size": shape.rows,
        "max_position_embeddings": shape.context,
        "hidden_size": shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.hidden,
        "hidden_act": "silu",
        "rms_norm_eps": shape.norm_epsilon,
        **_rope(shape),
        **_fixed(shape),
        "attention_dropout": 0.0,
        **({"use_sliding_window": False} if shape.architecture in ("qwen2", "qwen3") else {}),
        "tie_word_embeddings": shape.tied,
        "torch_dtype": dtype,
        **ids,
    }


def _rope(shape: ModelShape) -> dict[str, Any]:
    """Rotary positions, for transformers 5 (``rope_parameters``) and for the versions before it."""
    scaling = shape.rope_scaling
    if scaling is None:
        parameters = {"rope_type": "default", "rope_theta": shape.rope_theta}
        return {"rope_theta": shape.rope_theta, "rope_parameters": parameters}
    values = {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low,
        "high_freq_factor": scaling.high,
        "original_max_position_embeddings": scaling.context,
    }
    return {
        "rope_theta": shape.rope_theta,
        "rope_scaling": values,
        "rope_parameters": {**values, "rope_theta": shape.rope_theta},
    }


def _fixed(shape: ModelShape) -> dict[str, Any]:
    """Biases, as far as the architecture's configuration names them."""
    if shape.architecture == "qwen2":
        return {}
    return {"attention_bias": False, **({"mlp_bias": False} if shape.architecture == "llama" else {})}


def _text_ids(encoding: Encoding, chat: bool) -> dict[str, int]:
    """The ids that begin, end and pad a text, by transformers' names for them."""
    return {f"{name}_id": encoding.special[token] for name, token in text_tokens(chat).items()}


def generation_config(encoding: Encoding, chat: bool) -> dict[str, Any]:
    """Where `generate` stops. A chat model also stops after a call, since a program must make it and insert the result.

    A document's end stops both kinds of model.
    """
    ends = [ENDS_TURN, BOS, *CALL_ENDS] if chat else [BOS]
    ids = [encoding.special[token] for token in ends]
    return {**_text_ids(encoding, chat), "eos_token_id": ids if chat else ids[0]}


def export(
    model: Transformer,
    encoding: Encoding | None,
    folder: Path,
    chat: bool = False,
    dtype: str = "fp32",
    shard_bytes: int = SHARD_BYTES,
) -> list[str]:
    """Write a folder for ``AutoModelForCausalLM`` and ``AutoTokenizer``; returns the names of its files.

    chat: the model has been trained on conversations. It gets the chat template, and the end of an assistant's turn
    ends a text. dtype: a key of DTYPES. shard_bytes: the largest size of one file of weights.
    """
    from huggingface_hub import save_torch_state_dict

    folder.mkdir(parents=True, exist_ok=True)
    state = weights_of(model, getattr(torch, DTYPES[dtype]))
    save_torch_state_dict(state, folder, max_shard_size=shard_bytes, metadata={"format": "pt"})
    weights = sorted(file.name for file in folder.glob("model*.safetensors*"))
    names = list(weights)

    def write(name: str, text: str) -> None:
        (folder / name).write_text(text + "\n", encoding="utf-8")
        names.append(name)

    write("config.json", json.dumps(config(model.shape, encoding, chat, DTYPES[dtype]), indent=1))
    for name in weights:
        shutil.copymode(folder / "config.json", folder / name)  # others may read it; safetensors' files are private
    if encoding is not None:
        write("generation_config.json", json.dumps(generation_config(encoding, chat), indent=1))
        if chat:
            write(TRAINING_TEMPLATE_FILE, TRAINING_TEMPLATE)
        template = CHAT_TEMPLATE if chat else None
        names += write_tokenizer(encoding, folder, model.shape.context, template)
    return names
