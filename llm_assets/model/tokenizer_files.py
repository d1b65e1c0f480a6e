"""Writes a tokenizer as Hugging Face's ``tokenizer.json``, without that library.

A ranks file holds no merges. They follow from it: a token's two parts are what BPE makes of its bytes when only merges
of lower rank are allowed (as in transformers' TikTokenConverter; Sennrich et al., arXiv:1508.07909).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .chat import CALL_ENDS, CALL_STARTS, JOINER
from .encoding import BOS, ENDS_TURN, PAD, AddedToken, Encoding


@cache
def byte_characters() -> dict[int, str]:
    """GPT-2's printable character for each byte (openai/gpt-2, encoder.py, `bytes_to_unicode`)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {**{byte: chr(byte) for byte in printable}, **{byte: chr(256 + place) for place, byte in enumerate(rest)}}


def spelled(token: bytes) -> str:
    """A token as byte-level BPE files write it."""
    return "".join(byte_characters()[byte] for byte in token)


def parts(token: bytes, ranks: dict[bytes, int], limit: int | None = None) -> list[bytes]:
    """The pieces of a token before its own merge, using only merges of lower rank.

    limit: the rank of the token; None is that in `ranks`.
    """
    *_, pieces = merge_steps(token, ranks, limit)
    return pieces


def merge_steps(token: bytes, ranks: dict[bytes, int], limit: int | None = None) -> Iterator[list[bytes]]:
    """The pieces of a token after each merge of lower rank, from its bytes to the two of its own merge.

    limit: see `parts`. There are more than two pieces at the end if merges of lower rank do not make the token.
    """
    limit = ranks[token] if limit is None else limit
    pieces = [bytes([byte]) for byte in token]
    yield pieces
    while len(pieces) > 2:
        best = min(range(len(pieces) - 1), key=lambda i: ranks.get(pieces[i] + pieces[i + 1], limit))
        if ranks.get(pieces[best] + pieces[best + 1], limit) >= limit:
            break
        pieces = [*pieces[:best], pieces[best] + pieces[best + 1], *pieces[best + 2 :]]
        yield pieces


def merges(ranks: dict[bytes, int]) -> list[list[str]]:
    """The merges in order of rank, as pairs of spelled tokens.

    A token that merges of lower rank do not make has all its splits into two tokens, as in transformers'
    TikTokenConverter: tiktoken merges any of these.
    """
    pairs = []
    for token in sorted((token for token in ranks if len(token) > 1), key=ranks.__getitem__):
        pieces = parts(token, ranks)
        splits = [pieces] if len(pieces) == 2 else [[token[:cut], token[cut:]] for cut in range(1, len(token))]
        pairs += [[spelled(left), spelled(right)] for left, right in splits if left in ranks and right in ranks]
    return pairs


def text_tokens(chat: bool) -> dict[str, str]:
    """The tokens that begin, end and pad a text, by transformers' names for them (see `Encoding.content`).

    chat: a chat model's text ends with the assistant's turn, a base model's where the next document begins.
    """
    return {"bos_token": BOS, "eos_token": ENDS_TURN if chat else BOS, "pad_token": PAD}


def template_for(encoding: Encoding, template: str) -> str:
    """A chat template with the token that begins a document in this tokenizer."""
    return template.replace(BOS, encoding.bos_token)


def write_tokenizer(encoding: Encoding, folder: Path, context: int, chat_template: str | None = None) -> list[str]:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``; returns their names.

    context: of the model, in tokens. chat_template: of a chat model; a base model has none.
    """
    is_chat = chat_template is not None
    tokenizer = json.dumps(tokenizer_description(encoding, is_chat), ensure_ascii=False, indent=1)
    (folder / "tokenizer.json").write_text(tokenizer + "\n", encoding="utf-8")
    config: dict[str, object] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        **{kind: encoding.content(token) for kind, token in text_tokens(is_chat).items()},
        "clean_up_tokenization_spaces": False,
    }
    if is_chat:
        config["chat_template"] = template_for(encoding, chat_template)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    return ["tokenizer.json", "tokenizer_config.json"]


def tokenizer_description(encoding: Encoding, chat: bool = False) -> dict[str, object]:
    """The contents of ``tokenizer.json``: special tokens, splitting, byte-level BPE, and BOS before every text.

    chat: undo the chat template's change of "<|". Special tokens are recognised before that, so none can arise from it.
    """
    added_tokens = _added_tokens(encoding)
    vocabulary = {spelled(token): rank for token, rank in (encoding.ranks | encoding.unreachable).items()}
    if [token["id"] for token in added_tokens] != [*range(len(vocabulary), len(vocabulary) + len(added_tokens))]:
        # `tokenizers` numbers added tokens after the vocabulary, unless they are in it.
        vocabulary |= {token["content"]: token["id"] for token in added_tokens}
    split = {
        "type": "Split",
        "pattern": {"Regex": onigmo(encoding.pattern)},
        "behavior": "Isolated",
        "invert": False,
    }
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens,
        "normalizer": _normaliser(encoding, chat),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": _begins_with(encoding.bos_token, encoding.bos),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            # A piece that is a token as a whole is not merged step by step, as in tiktoken. Tokens that no text yields
            # must not be found in this way.
            "ignore_merges": not encoding.unreachable,
            "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])),
            "merges": merges(encoding.ranks),
        },
    }


def _added_tokens(encoding: Encoding) -> list[dict[str, Any]]:
    """Special tokens and, of a published model, its other added tokens, with the flags that they had there."""
    # A token that is not special is part of the text that a pipeline returns, as a call must be.
    calls = (*CALL_STARTS, *CALL_ENDS)
    tokens = encoding.added or [AddedToken(name, number) for name, number in encoding.special.items()]
    names = ("id", "content", "single_word", "lstrip", "rstrip", "normalized")
    return [
        {**{name: getattr(token, name) for name in names}, "special": token.special and token.content not in calls}
        for token in tokens
    ]


def _normaliser(encoding: Encoding, chat: bool) -> dict[str, object] | None:
    """The Unicode form of texts, and for a chat model the removal of joiners."""
    form = [] if encoding.normaliser is None else [{"type": encoding.normaliser}]
    joined = [{"type": "Replace", "pattern": {"String": f"<{JOINER}|"}, "content": "<|"}] if chat else []
    steps = [*form, *joined]
    if not steps:
        return None
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": steps}


def _begins_with(token: str, rank: int) -> dict[str, object]:
    """A post-processor that puts a token before every text, unless special tokens are turned off."""

    def piece(kind: str, name: str, number: int) -> dict[str, object]:
        return {kind: {"id": name, "type_id": number}}

    single = [piece("SpecialToken", token, 0), piece("Sequence", "A", 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, piece("SpecialToken", token, 1), piece("Sequence", "B", 1)],
        "special_tokens": {token: {"id": token, "ids": [rank], "tokens": [token]}},
    }


def onigmo(pattern: str) -> str:
    """The split pattern for the `tokenizers` library, whose Oniguruma reads ``{1,3}+`` as a repeated repeat."""
    return re.sub(r"(\\p\{N\}\{1,\d\})\+", r"\1", pattern)


__all__ = ["byte_characters", "merges", "onigmo", "parts", "spelled", "template_for", "text_tokens", "write_tokenizer"]
