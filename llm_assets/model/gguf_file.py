"""Export of a model as one GGUF file, for llama.cpp and software built on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .chat import CALL_ENDS, CALL_STARTS, CHAT_TEMPLATE
from .encoding import Encoding
from .llama_cpp_splitting import pre_tokenizer
from .shape import ModelError
from .tokenizer_files import merges, spelled, text_tokens
from .transformer import Transformer

TYPES = ("f32", "f16")


def write_gguf(
    model: Transformer,
    encoding: Encoding,
    path: Path,
    name: str,
    kind: str = "f16",
    chat: bool = True,
    languages: Sequence[str] = (),
    license: str | None = None,
) -> dict[str, Any]:
    """Write the file; returns the number of tensors and bytes, and whether llama.cpp splits texts exactly like the
    encoding.

    kind: ``f32`` or ``f16``; norms and biases are fp32 in any case. chat: the end of a turn ends a text. languages: ISO
    639 codes of those it was trained on. license: as Hugging Face names it. Raises ModelError for another type.
    """
    import gguf

    if kind not in TYPES:
        raise ModelError(f"unknown gguf type {kind!r}; available: {', '.join(TYPES)}")
    shape = model.shape
    arch = {"qwen3": gguf.MODEL_ARCH.QWEN3, "gpt2": gguf.MODEL_ARCH.GPT2}[shape.architecture]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_size_label(gguf.size_label(shape.parameters, 0, 0, 0))
    if license is not None:
        writer.add_license(license)
    if languages:
        writer.add_languages(languages)
    writer.add_vocab_size(shape.rows)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    if shape.architecture == "qwen3":
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
        writer.add_rope_freq_base(shape.rope_theta)
        writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    else:
        writer.add_layer_norm_eps(shape.norm_epsilon)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32 if kind == "f32" else gguf.LlamaFileType.MOSTLY_F16)
    _add_tokenizer(writer, gguf, encoding, shape.rows, chat)
    names = gguf.get_tensor_name_map(arch, shape.layers)
    count = 0
    for name_here, tensor in model.state_dict().items():
        gguf_name = names.get_name(name_here, try_suffixes=(".weight", ".bias"))
        if gguf_name is None:
            raise ModelError(f"GGUF has no name for {name_here}")
        values = tensor.detach().float().cpu().numpy()
        if name_here.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            values = values.T  # transformers' GPT-2 stores the transposed weight
        writer.add_tensor(
            gguf_name, np.ascontiguousarray(values.astype(np.float16) if kind == "f16" and values.ndim > 1 else values)
        )
        count += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"tensors": count, "bytes": path.stat().st_size, "exact_splitting": pre_tokenizer(encoding.pattern)[1]}


def _add_tokenizer(writer: Any, gguf: Any, encoding: Encoding, rows: int, chat: bool) -> None:
    """Add the vocabulary, padded to the embedding's rows, and the tokens that begin, end and pad a text."""
    kinds = gguf.TokenType
    tokens = {rank: (spelled(token), kinds.NORMAL) for token, rank in encoding.ranks.items()} | {
        # llama.cpp leaves control tokens out of the text, but not these.
        rank: (name, kinds.USER_DEFINED if name in (*CALL_STARTS, *CALL_ENDS) else kinds.CONTROL)
        for name, rank in encoding.special.items()
    }
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
        writer.add_chat_template(CHAT_TEMPLATE)
