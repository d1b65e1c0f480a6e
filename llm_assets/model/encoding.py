"""Byte-level BPE encodings: a tiktoken ranks file, a split pattern, and the special tokens of the chat and tool
protocol.

File format (openai/tiktoken): one line per token with its bytes in base64, a space, and its rank. Ranks are ids;
special tokens follow. The tokenizer of a published model has its special tokens where that model has them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import tiktoken

# Split patterns as published (openai/tiktoken, tiktoken_ext/openai_public.py).
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
GPT4_PATTERN = "|".join(
    [
        r"""'(?i:[sdmt]|ll|ve|re)""",
        r"""[^\r\n\p{L}\p{N}]?+\p{L}++""",
        r"""\p{N}{1,3}+""",
        r""" ?[^\s\p{L}\p{N}]++[\r\n]*+""",
        r"""\s++$""",
        r"""\s*[\r\n]""",
        r"""\s+(?!\S)""",
        r"""\s""",
    ]
)

GPT4O_PATTERN = "|".join(
    [
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"""
        r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"""
        r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    ]
)


def gpt4_pattern(digits: int = 3) -> str:
    """GPT-4's pattern, with numbers split into pieces of at most `digits` digits (nanochat uses 2 for small
    vocabularies).
    """
    return GPT4_PATTERN.replace("{1,3}", f"{{1,{digits}}}")


@dataclass(frozen=True)
class Published:
    """A published encoding: URL and digest of its ranks file, its pattern, its number of tokens."""

    url: str
    sha256: str
    pattern: str
    tokens: int


_AT = "https://openaipublic.blob.core.windows.net/encodings/"
PUBLISHED = {
    # GPT-2's vocabulary in tiktoken's own format; `gpt2` and `r50k_base` are the same tokens.
    "gpt2": Published(
        f"{_AT}r50k_base.tiktoken",
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        GPT2_PATTERN,
        50_256,
    ),
    "cl100k_base": Published(
        f"{_AT}cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        GPT4_PATTERN,
        100_256,
    ),
    "o200k_base": Published(
        f"{_AT}o200k_base.tiktoken",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        GPT4O_PATTERN,
        199_998,
    ),
}

# Their ids follow the ranks in this order; another order would need other models.
BOS = "<|bos|>"
ENDS_TURN = "<|assistant_end|>"
PAD = "<|pad|>"
SPECIAL_TOKENS = (
    BOS,
    "<|system_start|>",
    "<|system_end|>",
    "<|user_start|>",
    "<|user_end|>",
    "<|assistant_start|>",
    ENDS_TURN,
    "<|tool_start|>",
    "<|tool_end|>",
    "<|search_start|>",
    "<|search_end|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|result_start|>",
    "<|result_end|>",
    PAD,
)


class TokenizerError(ValueError):
    """A tokenizer that cannot be built or read; the message names the file and line, or the setting to change."""


class EncodingUnavailable(TokenizerError):
    """The ranks of a published encoding could not be downloaded; a retry may succeed."""


def read_ranks(data: bytes, name: str) -> dict[bytes, int]:
    """Ranks by token. Raises TokenizerError for a malformed line or a repeated token."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            token64, rank = line.split()
            token = base64.b64decode(token64, validate=True)
            value = int(rank)
        except (ValueError, binascii.Error):
            raise TokenizerError(f"{name}, line {number}: not a token in base64 and its rank") from None
        if token in ranks:
            raise TokenizerError(f"{name}, line {number}: token {token!r} occurs twice")
        ranks[token] = value
    return ranks


def parse_ranks(data: bytes, name: str, is_complete: bool = True) -> dict[bytes, int]:
    """Ranks by token. Raises TokenizerError for a malformed line, a repeated token, a gap, a missing byte.

    is_complete: ranks begin at 0 and have no gaps, as in tiktoken's files; a published model's may have both.
    """
    ranks = read_ranks(data, name)
    if is_complete and sorted(ranks.values()) != list(range(len(ranks))):
        missing = sorted(set(range(len(ranks))) - set(ranks.values()))
        raise TokenizerError(
            f"{name}: ranks are not 0 to {len(ranks) - 1}" + (f"; {missing[0]} is missing" if missing else "")
        )
    absent = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if absent:
        raise TokenizerError(f"{name}: no token for the byte {absent[0]}; byte-level BPE needs all 256")
    return ranks


def write_ranks(ranks: dict[bytes, int]) -> bytes:
    """The contents of a ranks file, in order of rank."""
    return b"".join(
        base64.b64encode(token) + b" %d\n" % rank for token, rank in sorted(ranks.items(), key=lambda item: item[1])
    )


@dataclass(frozen=True)
class AddedToken:
    """A token of a published tokenizer that is matched as a whole, not made by merges.

    special: text never yields it. Others are found in texts. The further flags are those of ``tokenizer.json``. is_new:
    the published tokenizer does not have it; it was added for the chat protocol.
    """

    content: str
    id: int
    special: bool = True
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    is_new: bool = False


@dataclass(frozen=True)
class Encoding:
    """A tokenizer: its ranks and split pattern. Ids are the ranks, then the special tokens.

    In a published model's tokenizer (`published_tokenizer`), the ids of special tokens may come first or in between.
    added: all its special and other added tokens; None is our special tokens after the ranks. bos_token: the one that
    begins a document. normaliser: the Unicode form that texts are brought into. unreachable: tokens that no text yields
    although they are in the vocabulary, with their ids.
    """

    name: str
    pattern: str
    ranks: dict[bytes, int]
    added: tuple[AddedToken, ...] | None = None
    bos_token: str = BOS
    normaliser: Literal["NFC"] | None = None
    unreachable: dict[bytes, int] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """Number of ids, including special tokens; one above the largest id."""
        if self.added is None:
            return len(self.ranks) + len(SPECIAL_TOKENS)
        return 1 + max(*self.ranks.values(), *self.unreachable.values(), *(token.id for token in self.added))

    @cached_property
    def special(self) -> dict[str, int]:
        """Ids of SPECIAL_TOKENS by name; BOS may be another token (`bos_token`)."""
        if self.added is None:
            return {token: len(self.ranks) + place for place, token in enumerate(SPECIAL_TOKENS)}
        return {name: self._whole_tokens[self.content(name)] for name in SPECIAL_TOKENS}

    @property
    def bos(self) -> int:
        return self.special[BOS]

    def content(self, name: str) -> str:
        """What one of SPECIAL_TOKENS is called in this tokenizer's files."""
        return self.bos_token if name == BOS else name

    @property
    def new_ids(self) -> frozenset[int]:
        """Ids that a published model has no embeddings for."""
        return frozenset(token.id for token in self.added or () if token.is_new)

    @property
    def dtype(self) -> type:
        """uint16 where every id fits, else uint32."""
        return np.uint16 if self.size <= 1 << 16 else np.uint32

    @cached_property
    def bpe(self) -> tiktoken.Encoding:
        """The encoding of tiktoken, which does the work. Its `encode_ordinary` never produces special tokens."""
        import tiktoken

        return tiktoken.Encoding(
            self.name, pat_str=self.pattern, mergeable_ranks=self.ranks, special_tokens=self._whole_tokens
        )

    @property
    def _whole_tokens(self) -> dict[str, int]:
        """Ids of all tokens that are matched as a whole, by what they are called in the tokenizer's files."""
        return self.special if self.added is None else {token.content: token.id for token in self.added}

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        """The text of each id, in UTF-8. Special tokens have their names, and ids that no token has, made-up ones."""
        texts = {number: f"<|unused_{number}|>".encode() for number in range(self.size)}
        texts.update({number: name.encode() for name, number in self._whole_tokens.items()})
        for tokens in (self.ranks, self.unreachable):
            texts.update({number: token for token, number in tokens.items()})
        return texts

    @cached_property
    def text_ids(self) -> frozenset[int]:
        """Ids of tokens that are text: all but special tokens, and ids that no token has."""
        return frozenset([*self.ranks.values(), *self.unreachable.values(), *self._found_in_texts.values()])

    @cached_property
    def _found_in_texts(self) -> dict[str, int]:
        """Added tokens that are matched in texts, with their ids; never those of the chat protocol."""
        return {token.content: token.id for token in self.added or () if self._is_found(token)}

    def _is_found(self, token: AddedToken) -> bool:
        return not token.special and token.content not in SPECIAL_TOKENS

    @cached_property
    def _matches(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        """Patterns of the added tokens that are found in texts before and after normalisation, the longest first."""

        def pattern(normalized: bool) -> re.Pattern[str] | None:
            tokens = [token for token in self.added or () if self._is_found(token) and token.normalized is normalized]
            longest_first = sorted((token.content for token in tokens), key=len, reverse=True)
            return re.compile(f"({'|'.join(map(re.escape, longest_first))})") if tokens else None

        return pattern(False), pattern(True)

    @cached_property
    def token_bytes(self) -> np.ndarray:
        """The length of each id's text in bytes, (size,) int32; 0 for special tokens."""
        lengths = np.zeros(self.size, np.int32)
        for number in self.text_ids:
            lengths[number] = len(self._bytes[number])
        return lengths

    @cached_property
    def line_ends(self) -> frozenset[int]:
        """Ids of tokens that contain a line break, at which sampling of a single line stops."""
        return frozenset(number for number in self.text_ids if b"\n" in self._bytes[number])

    def normalise(self, text: str) -> str:
        """The text that the tokens of a text decode to."""
        return text if self.normaliser is None else unicodedata.normalize(self.normaliser, text)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Names of special tokens in it are text like any other."""
        if self.added is None:
            return self.bpe.encode_ordinary(text)
        ids: list[int] = []
        before, after = self._matches
        for part in before.split(text) if before else (text,):
            if before and part in self._found_in_texts and before.fullmatch(part):
                ids.append(self._found_in_texts[part])
                continue
            for piece in after.split(self.normalise(part)) if after else (self.normalise(part),):
                if after and after.fullmatch(piece):
                    ids.append(self._found_in_texts[piece])
                else:
                    ids += self.bpe.encode_ordinary(piece)
        return ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text; faster than one at a time where no added token can be in a text."""
        if self._found_in_texts:
            return [self.encode(text) for text in texts]
        return self.bpe.encode_ordinary_batch([self.normalise(text) for text in texts])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids. Special tokens appear as their names, broken UTF-8 as U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The text of ids in UTF-8, which may end within a character."""
        return b"".join([self._bytes[number] for number in map(int, ids)])

    def document(self, text: str) -> list[int]:
        """A document as in the token shards: BOS and its text."""
        return [self.bos, *self.encode(text)]

    def save(self, folder: Path) -> list[str]:
        """Write ``tokenizer.tiktoken`` and ``encoding.json``; returns their names."""
        (folder / "tokenizer.tiktoken").write_bytes(ranks := write_ranks(self.ranks))
        described: dict[str, Any] = {
            "name": self.name,
            "pattern": self.pattern,
            "special_tokens": self.special,
            "size": self.size,
            "ranks_sha256": hashlib.sha256(ranks).hexdigest(),
        }
        if self.added is not None:
            described["added_tokens"] = [asdict(token) for token in self.added]
            described["bos_token"] = self.bos_token
            described["normaliser"] = self.normaliser
            described["unreachable"] = write_ranks(self.unreachable).decode()
        (folder / "encoding.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")
        return ["tokenizer.tiktoken", "encoding.json"]

    @classmethod
    def load(cls, folder: Path) -> Encoding:
        """Read what `save` wrote. Raises TokenizerError."""
        try:
            described = json.loads((folder / "encoding.json").read_text())
            data = (folder / "tokenizer.tiktoken").read_bytes()
        except (OSError, ValueError) as error:
            raise TokenizerError(f"tokenizer in {folder}: {error}") from error
        if hashlib.sha256(data).hexdigest() != described["ranks_sha256"]:
            raise TokenizerError(
                f"tokenizer in {folder}: tokenizer.tiktoken is not the file that encoding.json describes"
            )
        name = str(folder / "tokenizer.tiktoken")
        if "added_tokens" not in described:
            return cls(described["name"], described["pattern"], parse_ranks(data, name))
        return cls(
            described["name"],
            described["pattern"],
            parse_ranks(data, name, is_complete=False),
            tuple(AddedToken(**token) for token in described["added_tokens"]),
            described["bos_token"],
            described["normaliser"],
            read_ranks(described["unreachable"].encode(), str(folder / "encoding.json")),
        )


def published_here(name: str) -> Encoding | None:
    """A published encoding if its ranks file is in tiktoken's cache; it is never downloaded. Raises TokenizerError."""
    known = PUBLISHED[name]
    # As in tiktoken.load.read_file_cached.
    default = Path(tempfile.gettempdir(), "data-gym-cache")
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", default))
    ranks = Path(folder) / hashlib.sha1(known.url.encode()).hexdigest()
    return published(name, ranks) if folder and ranks.is_file() else None


def published(name: str, ranks: Path | None = None) -> Encoding:
    """A published encoding, from its ranks file by path or from tiktoken's cache (or, with a network, from its URL).

    Raises EncodingUnavailable if the download fails, TokenizerError if the file is broken or another one.
    """
    known = PUBLISHED.get(name)
    if known is None:
        raise TokenizerError(f"unknown encoding {name!r}; available: {', '.join(PUBLISHED)}")
    if ranks is not None:
        try:
            data = ranks.read_bytes()
        except OSError as error:
            raise TokenizerError(f"ranks file {ranks.absolute()}: {error.strerror}") from error
        parsed = parse_ranks(data, str(ranks))
        if hashlib.sha256(data).hexdigest() != known.sha256:
            raise TokenizerError(
                f"ranks file {ranks}: well formed, {len(parsed):,} tokens, but not the published {name} "
                f"(sha256 {known.sha256[:16]}…)"
            )
        return Encoding(name, known.pattern, parsed)
    from tiktoken.load import read_file_cached

    try:
        data = read_file_cached(known.url, known.sha256)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong digest is a ValueError
        raise EncodingUnavailable(
            f"encoding {name}: not in tiktoken's cache, and the download from {known.url} failed "
            f"({type(error).__name__}); name a local ranks file instead"
        ) from error
    return Encoding(name, known.pattern, parse_ranks(data, name))
