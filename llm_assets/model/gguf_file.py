"""Export of a model as one GGUF file, for llama.cpp and software built on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .attention import rotary_frequencies
from .chat import CALL_ENDS, CALL_STARTS, CHAT_TEMPLATE
from .encoding import Encoding
from .llama_cpp_splitting import pre_tokenizer, splitting
from .shape import ModelError, ModelShape
from .tokenizer_files import merges, spelled, template_for, text_tokens
from .transformer import Transformer

TYPES = ("f32", "f16")


@dataclass(frozen=True)
class GgufOptions:
    """What a GGUF file says about its model, and its precision.

    name: of the model. kind: ``f32`` or ``f16``; norms and biases are fp32 in any case. chat: the end of a turn ends a
    text. languages: ISO 639 codes of those it was trained on. license: as Hugging Face names it, or None.
    """

    name: str
    kind: str = "f16"
    chat: bool = True
    languages: Sequence[str] = ()
    license: str | None = None


def write_gguf(model: Transformer, encoding: Encoding, path: Path, options: GgufOptions) -> dict[str, Any]:
    """Write the file; returns the number of tensors and bytes, and whether llama.cpp splits texts exactly like the
    encoding.

    Raises ModelError for an unknown type, and for a model that llama.cpp cannot run.
    """
    import gguf

    if options.kind not in TYPES:
        raise ModelError(f"unknown gguf type {options.kind!r}; available: {', '.join(TYPES)}")
    shape = model.shape
    if reason := refusal_reason(shape):
        raise ModelError(reason)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[_architecture(gguf, shape)])
    _add_description(writer, gguf, shape, options)
    _add_tokenizer(writer, gguf, encoding, shape.rows, options.chat)
    tensors = _add_tensors(writer, gguf, model, options.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    is_exact = not splitting(encoding.pattern, encoding.normaliser)[1]
    return {"tensors": tensors, "bytes": path.stat().st_size, "exact_splitting": is_exact}


def refusal_reason(shape: ModelShape) -> str | None:
    """Why llama.cpp could not run a model of this shape; None if it can."""
    if shape.rope_scaling is not None and shape.architecture != "llama":
        return f"llama.cpp reads Llama 3's rope_scaling in llama models only, not in {shape.architecture}"
    return None


def _architecture(gguf: Any, shape: ModelShape) -> Any:
    return gguf.MODEL_ARCH[shape.architecture.upper()]


def _add_description(writer: Any, gguf: Any, shape: ModelShape, options: GgufOptions) -> None:
    """Add name, size, license, languages and the shape."""
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(options.name)
    writer.add_size_label(gguf.size_label(shape.parameters, 0, 0, 0))
    if options.license is not None:
        writer.add_license(options.license)
    if options.languages:
        writer.add_languages(options.languages)
    writer.add_vocab_size(shape.rows)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    if shape.architecture != "gpt2":
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
        writer.add_rope_freq_base(shape.rope_theta)
        writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    else:
        writer.add_layer_norm_eps(shape.norm_epsilon)
    types = gguf.LlamaFileType
    writer.add_file_type(types.ALL_F32 if options.kind == "f32" else types.MOSTLY_F16)


def _add_tensors(writer: Any, gguf: Any, model: Transformer, kind: str) -> int:
    """Add the weights, and the divisors of scaled rotary frequencies; returns the number of weights."""
    shape = model.shape
    names = gguf.get_tensor_name_map(_architecture(gguf, shape), shape.layers)
    tensors = model.state_dict()
    for name, tensor in tensors.items():
        gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise ModelError(f"GGUF has no name for {name}")
        values = in_gguf_layout(name, tensor.detach().float().cpu().numpy(), shape)
        writer.add_tensor(
            gguf_name, np.ascontiguousarray(values.astype(np.float16) if kind == "f16" and values.ndim > 1 else values)
        )
    if shape.rope_scaling is not None:
        unscaled = rotary_frequencies(replace(shape, rope_scaling=None))
        writer.add_tensor("rope_freqs.weight", (unscaled / rotary_frequencies(shape)).float().numpy())
    return len(tensors)


def in_gguf_layout(name: str, values: np.ndarray, shape: ModelShape) -> np.ndarray:
    """A weight as llama.cpp stores it. name: in transformers.

    GPT-2's matrices are transposed. In llama models, the two features of a rotary pair are neighbours (ggml-org/
    llama.cpp, convert_hf_to_gguf.py, `LlamaModel.permute`), whereas transformers has them in two halves of a head.
    """
    if name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
        return values.T
    if shape.architecture == "llama" and name.endswith((".q_proj.weight", ".k_proj.weight")):
        heads = shape.heads if name.endswith(".q_proj.weight") else shape.kv_heads
        return values.reshape(heads, 2, shape.head_dim // 2, -1).swapaxes(1, 2).reshape(values.shape)
    return values


def _add_tokenizer(writer: Any, gguf: Any, encoding: Encoding, rows: int, chat: bool) -> None:
    """Add the vocabulary, padded to the embedding's rows, and the tokens that begin, end and pad a text."""
    kinds = gguf.TokenType
    tokens = {
        rank: (spelled(token), kinds.NORMAL) for token, rank in (encoding.ranks | encoding.unreachable).items()
    } | {
        # llama.cpp leaves control tokens out of the text, but not these.
        rank: (encoding.content(name), kinds.USER_DEFINED if name in (*CALL_STARTS, *CALL_ENDS) else kinds.CONTROL)
        for name, rank in encoding.special.items()
    }
    for token in encoding.added or ():
        tokens.setdefault(token.id, (token.content, kinds.CONTROL if token.special else kinds.USER_DEFINED))
    listed = [tokens.get(rank, (f"<|unused_{rank}|>", kinds.UNUSED)) for rank in range(rows)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer(encoding.pattern)[0])
    writer.add_token_list([text for text, _ in listed])
    writer.add_token_types([kind for _, kind in listed])
    writer.add_token_merges([" ".join(pair) for pair in merges(encoding.ranks)])
    names = text_tokens(chat)
    writer.add_bos_token_id(encoding.special[names["bos_token"]])
    writer.add_eos_token_id(encoding.special[names["eos_token"]])
    writer.add_pad_token_id(encoding.special[names["pad_token"]])
    writer.add_add_bos_token(True)
    if chat:
        # llama.cpp stops at three tokens: the end of a text, of a turn and of a message. Calls take the latter two.
        writer.add_eot_token_id(encoding.special[CALL_ENDS[0]])
        writer.add_eom_token_id(encoding.special[CALL_ENDS[1]])
        writer.add_chat_template(template_for(encoding, CHAT_TEMPLATE))
