"""How llama.cpp splits a text before BPE, and where that differs from the encoding.

llama.cpp splits by one of its own patterns, which a GGUF file names (src/llama-vocab.cpp). It does not read a pattern
from the file. Its patterns of GPT-2 and of published models are exactly theirs.
"""

from __future__ import annotations

from dataclasses import replace

from .encoding import GPT2_PATTERN, GPT4O_PATTERN, Encoding, gpt4_pattern
from .published_patterns import DIGITS_PATTERN, LLAMA3_PATTERN, QWEN2_PATTERN

# Texts that llama.cpp splits otherwise, as the model card names them.
LINE_BREAK_AT_THE_END = (
    "white space with a line break at the end of a text, such as a message that ends with an empty line"
)
NUMBERS = "numbers of three or more digits"
NOT_NFC = "characters that Unicode's form NFC replaces, such as a letter with its accent as a second character"
CAPITALS = "words with accented capitals or combining marks"
_KNOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    GPT2_PATTERN: ("gpt-2", ()),
    GPT4O_PATTERN: ("gpt-4o", (CAPITALS,)),
    gpt4_pattern(3): ("llama-bpe", (LINE_BREAK_AT_THE_END,)),
    gpt4_pattern(1): ("qwen2", (LINE_BREAK_AT_THE_END,)),
    QWEN2_PATTERN: ("qwen2", ()),
    LLAMA3_PATTERN: ("llama-bpe", ()),
    DIGITS_PATTERN: ("smollm", ()),
}


_LETTERS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?"
# The patterns that llama.cpp has under these names.
PATTERNS = {
    "gpt-2": GPT2_PATTERN,
    "gpt-4o": "|".join(
        [
            rf"[^\r\n\p{{L}}\p{{N}}]?((?=[\p{{L}}])([^a-z]))*((?=[\p{{L}}])([^A-Z]))+{_LETTERS}",
            rf"[^\r\n\p{{L}}\p{{N}}]?((?=[\p{{L}}])([^a-z]))+((?=[\p{{L}}])([^A-Z]))*{_LETTERS}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ]
    ),
    "llama-bpe": LLAMA3_PATTERN,
    "qwen2": QWEN2_PATTERN,
    "smollm": DIGITS_PATTERN,
}


def in_llama_cpp(encoding: Encoding) -> Encoding:
    """The encoding as llama.cpp applies it: the same tokens, with its own splitting, and no Unicode form."""
    return replace(encoding, pattern=PATTERNS[splitting(encoding.pattern)[0]], normaliser=None)


def splitting(pattern: str, normaliser: str | None = None) -> tuple[str, tuple[str, ...]]:
    """llama.cpp's name for how a text is split before BPE, and the texts that it splits otherwise than `pattern`.

    normaliser: the Unicode form that the encoding brings texts into. llama.cpp brings them into none.
    """
    name, differences = _KNOWN.get(pattern, ("llama-bpe", (NUMBERS, LINE_BREAK_AT_THE_END)))
    return name, differences if normaliser is None else (*differences, NOT_NFC)


def pre_tokenizer(pattern: str) -> tuple[str, bool]:
    """llama.cpp's name for how a text is split before BPE, and whether it splits every text like `pattern`."""
    name, differences = splitting(pattern)
    return name, not differences
