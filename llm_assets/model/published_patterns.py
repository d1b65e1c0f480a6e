"""Split patterns of published models' tokenizers, as tiktoken reads them."""

from __future__ import annotations

from .encoding import GPT2_PATTERN, GPT4O_PATTERN, gpt4_pattern
from .tokenizer_files import onigmo

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_PATTERN = rf"{_WORDS}\p{{N}}{_REST}"
LLAMA3_PATTERN = rf"{_WORDS}\p{{N}}{{1,3}}{_REST}"
# GPT-2's pattern applied between digits, as SmolLM2 splits: where a digit follows, white space ends as at the
# end of a text.
DIGITS_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++|\p{N}| ?[^\s\p{L}\p{N}]++|\s+(?![^\s\p{N}])|\s+"
# Split patterns by how tokenizer.json writes them.
PATTERNS = {
    **{pattern: pattern for pattern in (QWEN2_PATTERN, LLAMA3_PATTERN, DIGITS_PATTERN)},
    **{
        onigmo(pattern): pattern
        for pattern in (GPT2_PATTERN, GPT4O_PATTERN, gpt4_pattern(1), gpt4_pattern(2), gpt4_pattern(3))
    },
}
