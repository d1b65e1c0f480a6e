"""Reads the ``tokenizer.json`` of a published model as an `Encoding` that gives the same ids for every text.

What `tokenizers` does by merges, tiktoken does by ranks: it merges any two neighbours that together are a token, those
of the lowest rank first. Both agree if the merges make tokens in the order of their ids, of parts with lower ids, and a
token counts as one only if the merges of lower rank leave its two parts (`_reachable`). A tokenizer for which this
cannot be shown is refused, and so is every split pattern, normaliser and model that is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from .chat import JOINER
from .encoding import GPT2_PATTERN, SPECIAL_TOKENS, AddedToken, Encoding
from .published_config import CONFIG, TOKENIZER, TOKENIZER_CONFIG, PublishedModelError, read_json, read_shape
from .published_patterns import DIGITS_PATTERN, PATTERNS
from .shape import ModelShape
from .tokenizer_files import byte_characters, parts

_JOINED = {"type": "Replace", "pattern": {"String": f"<{JOINER}|"}, "content": "<|"}  # of exported chat models


def tokenizer_files(folder: Path) -> dict[str, Path]:
    """The files that a published model's tokenizer is read from, by name. Raises PublishedModelError."""
    if not folder.is_dir():
        raise PublishedModelError(f"{folder.absolute()}: no such folder")
    if not (folder / TOKENIZER).is_file():
        if (folder / "tokenizer.model").is_file():
            raise PublishedModelError(
                f"{folder / 'tokenizer.model'}: a SentencePiece model; only byte-level BPE in {TOKENIZER} is read, "
                "since token shards and chat protocol need every byte to be a token"
            )
        raise PublishedModelError(f"{folder / TOKENIZER}: missing; save the tokenizer with AutoTokenizer's fast class")
    names = [TOKENIZER, *(name for name in (CONFIG, TOKENIZER_CONFIG) if (folder / name).is_file())]
    return {name: folder / name for name in names}


def read_tokenizer(folder: Path) -> Encoding:
    """The tokenizer of a published model, with the tokens of the chat protocol. Raises PublishedModelError.

    Tokens of the protocol that the tokenizer has by name keep their ids; the others follow its last id. A document
    begins with the token that the model begins texts with, if there is one.
    """
    path = tokenizer_files(folder)[TOKENIZER]
    shape = read_shape(folder)
    values = read_json(path)
    normaliser = _normaliser(path, values.get("normalizer"))
    pattern = _pattern(path, values.get("pre_tokenizer"))
    decoder = values.get("decoder") or {}
    if decoder.get("type") != "ByteLevel":
        raise PublishedModelError(f"{path}: decoder.type: {decoder.get('type')!r}, not 'ByteLevel'")
    added = _added_tokens(path, values.get("added_tokens") or [])
    vocabulary = _vocabulary(path, values.get("model"), added)
    ranks = _reachable(path, values["model"], vocabulary)
    unreachable = {token: number for token, number in vocabulary.items() if token not in ranks}
    _check_ids(path, vocabulary, added, shape)
    bos_token = _bos_token(folder, added)
    added = _with_protocol(path, vocabulary, added, bos_token)
    ours = tuple(AddedToken(name, len(ranks) + place) for place, name in enumerate(SPECIAL_TOKENS))
    is_ours = sorted(ranks.values()) == list(range(len(ranks))) and normaliser is None and not unreachable
    if is_ours and tuple(replace(token, special=True) for token in added) == ours:
        return Encoding("llm-assets", pattern, ranks)
    return Encoding("published", pattern, ranks, added, bos_token or SPECIAL_TOKENS[0], normaliser, unreachable)


def _normaliser(path: Path, value: Any) -> Any:
    """The Unicode form of a ``normalizer``: NFC or None."""
    steps = value["normalizers"] if isinstance(value, dict) and value.get("type") == "Sequence" else [value]
    steps = [step for step in steps if step is not None and step != _JOINED]
    if not steps:
        return None
    if steps == [{"type": "NFC"}]:
        return "NFC"
    kinds = ", ".join(str(step.get("type")) for step in steps)
    reason = "; SentencePiece models have such steps" if {"Prepend", "Precompiled"} & set(kinds.split(", ")) else ""
    raise PublishedModelError(f"{path}: normalizer: {kinds} is not implemented; only NFC is{reason}")


def _pattern(path: Path, value: Any) -> str:
    """The split pattern of a ``pre_tokenizer``, for tiktoken."""
    steps = value["pretokenizers"] if isinstance(value, dict) and value.get("type") == "Sequence" else [value]
    kinds = [step.get("type") if isinstance(step, dict) else step for step in steps]
    refused = PublishedModelError(f"{path}: pre_tokenizer: {_short(value)} is not implemented")
    if kinds[-1] != "ByteLevel" or steps[-1].get("add_prefix_space", True):
        raise refused
    splits_itself = steps[-1].get("use_regex", True)
    if kinds == ["ByteLevel"] and splits_itself:
        return GPT2_PATTERN
    if kinds == ["Digits", "ByteLevel"] and splits_itself and steps[0].get("individual_digits") is True:
        return DIGITS_PATTERN
    if kinds != ["Split", "ByteLevel"] or splits_itself:
        raise refused
    # The known patterns match every character, so nothing is left to be removed.
    behaviour = steps[0].get("behavior"), bool(steps[0].get("invert"))
    if behaviour not in (("Isolated", False), ("Removed", True)):
        raise refused
    regex = (steps[0].get("pattern") or {}).get("Regex")
    if regex not in PATTERNS:
        raise PublishedModelError(f"{path}: pre_tokenizer: the pattern {_short(regex)} is not one of those known here")
    return PATTERNS[regex]


def _short(value: Any, length: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[:length]}…"


def _added_tokens(path: Path, listed: Any) -> tuple[AddedToken, ...]:
    """The ``added_tokens``, by id. Raises PublishedModelError for what cannot be matched in the same way."""
    known = {field.name for field in fields(AddedToken)} - {"is_new"}
    tokens: dict[str, AddedToken] = {}
    for value in listed:
        if not isinstance(value, dict) or set(value) - known or not isinstance(value.get("id"), int):
            raise PublishedModelError(f"{path}: added_tokens: {_short(value)} is not a token")
        token = AddedToken(**{"special": False, **value})
        if not token.content or token.content in tokens:
            raise PublishedModelError(f"{path}: added_tokens: {token.content!r} is empty or occurs twice")
        if not token.special and (token.single_word or token.lstrip or token.rstrip):
            raise PublishedModelError(
                f"{path}: added_tokens: {token.content!r} is part of texts and has single_word, lstrip or rstrip, "
                "which are not implemented"
            )
        tokens[token.content] = token
    by_id = tuple(sorted(tokens.values(), key=lambda token: token.id))
    for before, after in pairwise(by_id):
        if before.id == after.id:
            raise PublishedModelError(
                f"{path}: added_tokens: {before.content!r} and {after.content!r} both have the id {after.id}"
            )
    return by_id


def _vocabulary(path: Path, model: Any, added: tuple[AddedToken, ...]) -> dict[bytes, int]:
    """The tokens of a BPE model in bytes, by id, without the added tokens, which some files list here as well."""
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE" or "merges" not in model:
        kind = model.get("type") if isinstance(model, dict) else model
        reason = " (SentencePiece)" if kind == "Unigram" else ""
        raise PublishedModelError(f"{path}: model.type: {_short(kind)}{reason}; only byte-level BPE is read")
    for name in ("byte_fallback", "dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            reason = " (SentencePiece)" if name == "byte_fallback" else ""
            raise PublishedModelError(f"{path}: model.{name}: {model[name]!r} is not implemented{reason}")
    bytes_of = {character: byte for byte, character in byte_characters().items()}
    added_ids = {token.content: token.id for token in added}
    vocabulary: dict[bytes, int] = {}
    for text, number in model["vocab"].items():
        if text in added_ids:
            if added_ids[text] != number:
                raise PublishedModelError(
                    f"{path}: model.vocab: {text!r} has the id {number}, and {added_ids[text]} in added_tokens"
                )
        elif all(character in bytes_of for character in text):
            vocabulary[bytes(bytes_of[character] for character in text)] = number
        else:
            raise PublishedModelError(f"{path}: model.vocab: {text!r} (id {number}) is not spelled in bytes as GPT-2's")
    for byte in range(256):
        if bytes([byte]) not in vocabulary:
            raise PublishedModelError(
                f"{path}: model.vocab: no token for the byte {byte}; byte-level BPE needs all 256"
            )
    return vocabulary


def _reachable(path: Path, model: Mapping[str, Any], vocabulary: Mapping[bytes, int]) -> dict[bytes, int]:
    """The tokens that texts can yield, with their ids, so that tiktoken merges exactly as the file's merges do.

    With ``ignore_merges``, a piece that is a token as a whole becomes it even if no merges make it.
    """
    bytes_of = {character: byte for byte, character in byte_characters().items()}
    pairs: dict[bytes, set[tuple[bytes, bytes]]] = {}
    last = -1
    for place, merge in enumerate(model["merges"]):
        spelled_pair = merge.split(" ") if isinstance(merge, str) else merge
        try:
            left, right = (bytes(bytes_of[character] for character in text) for text in spelled_pair)
            number = vocabulary[left + right]
        except (KeyError, ValueError):
            raise PublishedModelError(f"{path}: model.merges[{place}]: {merge!r} makes no token of vocab") from None
        if left not in vocabulary or right not in vocabulary or number < last:
            raise PublishedModelError(
                f"{path}: model.merges[{place}]: {merge!r} is not in the order of ids, by which tokens are merged here"
            )
        last = number
        pairs.setdefault(left + right, set()).add((left, right))
    ranks = {bytes([byte]): vocabulary[bytes([byte])] for byte in range(256)}
    takes_whole = bool(model.get("ignore_merges"))
    for token in sorted((token for token in vocabulary if len(token) > 1), key=vocabulary.__getitem__):
        made_by = pairs.get(token, set())
        pieces = parts(token, ranks, vocabulary[token])
        if tuple(pieces) in made_by:
            ranks[token] = vocabulary[token]
            continue
        # Otherwise no merges of lower ids make the token. Two parts with higher ids might, and tiktoken would then
        # merge them; so the file must too.
        splits = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        possible = {pair for pair in splits if pair[0] in vocabulary and pair[1] in vocabulary}
        later = {pair for pair in made_by if max(map(vocabulary.__getitem__, pair)) > vocabulary[token]}
        if takes_whole and possible == made_by:
            ranks[token] = vocabulary[token]
        elif takes_whole or later:
            raise PublishedModelError(
                f"{path}: model.merges: {token!r} (id {vocabulary[token]}) is made of parts in another order than "
                "that of ids, by which tokens are merged here"
            )
    return ranks


def _check_ids(path: Path, vocabulary: Mapping[bytes, int], added: tuple[AddedToken, ...], shape: ModelShape) -> None:
    """Raise PublishedModelError if two tokens share an id, or one has none in the embedding."""
    names: dict[int, str] = {}
    tokens = [(token.decode("utf-8", "replace"), number) for token, number in vocabulary.items()]
    tokens += [(token.content, token.id) for token in added]
    for token, number in tokens:
        if number in names:
            raise PublishedModelError(f"{path}: {names[number]!r} and {token!r} both have the id {number}")
        if not 0 <= number < shape.rows:
            raise PublishedModelError(
                f"{path}: the id {number} of {token!r} passes the embedding, which has {shape.rows:,} rows "
                f"({CONFIG}: vocab_size)"
            )
        names[number] = token


def _bos_token(folder: Path, added: tuple[AddedToken, ...]) -> str | None:
    """The token that begins a document: our own, else the one that begins texts, else the one that ends them.

    Models that have no token for the beginning were trained on documents with the ending one between them.
    """
    names, ids = {token.content for token in added if token.special}, {token.id: token for token in added}
    if SPECIAL_TOKENS[0] in {token.content for token in added}:
        return SPECIAL_TOKENS[0]
    has_config = (folder / TOKENIZER_CONFIG).is_file()
    described = read_json(folder / TOKENIZER_CONFIG) if has_config else {}
    config = read_json(folder / CONFIG)
    for kind in ("bos_token", "eos_token"):
        named = described.get(kind)
        content = named.get("content") if isinstance(named, dict) else named
        if content in names:
            return content
        number = config.get(f"{kind}_id")
        number = number[0] if isinstance(number, list) and number else number
        if number in ids and ids[number].special:
            return ids[number].content
    return None


def _with_protocol(
    path: Path, vocabulary: Mapping[bytes, int], added: tuple[AddedToken, ...], bos_token: str | None
) -> tuple[AddedToken, ...]:
    """The added tokens with those of the chat protocol. Raises PublishedModelError if one of these is text already."""
    contents = {token.content for token in added}
    following = 1 + max(*vocabulary.values(), *(token.id for token in added), -1)
    tokens = list(added)
    for name in SPECIAL_TOKENS:
        if name.encode() in vocabulary:
            raise PublishedModelError(
                f"{path}: model.vocab: {name!r} (id {vocabulary[name.encode()]}) is an ordinary token, so that texts "
                "could contain this token of the chat protocol; list it in added_tokens"
            )
        if name not in contents and not (name == SPECIAL_TOKENS[0] and bos_token is not None):
            tokens.append(AddedToken(name, following, is_new=True))
            following += 1
    return tuple(tokens)


__all__ = ["read_tokenizer", "tokenizer_files"]
