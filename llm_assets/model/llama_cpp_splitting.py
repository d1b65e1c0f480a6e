"""How llama.cpp splits a text before BPE, and where that differs from the encoding.

llama.cpp splits by one of its own patterns, which a GGUF file names (src/llama-vocab.cpp). It does not read a pattern
from the file. Only its pattern of GPT-2 is exactly tiktoken's.
"""

from __future__ import annotations

from .encoding import GPT2_PATTERN, GPT4O_PATTERN, gpt4_pattern

# Texts that llama.cpp splits otherwise, as the model card names them.
LINE_BREAK_AT_THE_END = (
    "white space with a line break at the end of a text, such as a message that ends with an empty line"
)
NUMBERS = "numbers of three or more digits"
CAPITALS = "words with accented capitals or combining marks"
_KNOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    GPT2_PATTERN: ("gpt-2", ()),
    GPT4O_PATTERN: ("gpt-4o", (CAPITALS,)),
    gpt4_pattern(3): ("llama-bpe", (LINE_BREAK_AT_THE_END,)),
    gpt4_pattern(1): ("qwen2", (LINE_BREAK_AT_THE_END,)),
}


def splitting(pattern: str) -> tuple[str, tuple[str, ...]]:
    """llama.cpp's name for how a text is split before BPE, and the texts that it splits otherwise than `pattern`."""
    return _KNOWN.get(pattern, ("llama-bpe", (NUMBERS, LINE_BREAK_AT_THE_END)))


def pre_tokenizer(pattern: str) -> tuple[str, bool]:
    """llama.cpp's name for how a text is split before BPE, and whether it splits every text like `pattern`."""
    name, differences = splitting(pattern)
    return name, not differences
