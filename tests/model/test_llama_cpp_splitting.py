"""Our model of how llama.cpp splits texts, against llama.cpp itself."""

import random
from dataclasses import replace

import pytest

from llm_assets.model.encoding import GPT2_PATTERN, GPT4O_PATTERN, gpt4_pattern
from llm_assets.model.gguf_file import GgufOptions, write_gguf
from llm_assets.model.llama_cpp_splitting import in_llama_cpp
from llm_assets.model.published_patterns import DIGITS_PATTERN, LLAMA3_PATTERN, QWEN2_PATTERN
from llm_assets.model.shape import ModelShape
from llm_assets.model.transformer import Transformer
from tests.support.llama_cpp import llama_cpp_tokens
from tests.support.training_jobs import ENCODING

PATTERNS = {
    "gpt2": GPT2_PATTERN,
    "gpt4-3": gpt4_pattern(3),
    "gpt4-2": gpt4_pattern(2),
    "gpt4-1": gpt4_pattern(1),
    "gpt4o": GPT4O_PATTERN,
    "llama3": LLAMA3_PATTERN,
    "qwen2": QWEN2_PATTERN,
    "smollm": DIGITS_PATTERN,
}
PIECES = (
    "tea",
    "River",
    "ÉTÉ",
    "é",
    "don't",
    "I'LL",
    "88",
    "1774",
    "3",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    ".",
    '("',
    "—",
    "茶",
    "_",
)


def texts(count=150):
    """Texts of words, digits, white space and marks in any order."""
    rng = random.Random(1)
    return ["".join(rng.choices(PIECES, k=rng.randint(1, 12))) for _ in range(count)]


@pytest.mark.parametrize("name", PATTERNS)
def test_texts_have_the_tokens_that_llama_cpp_gives_them(tmp_path, name):
    encoding = replace(ENCODING, pattern=PATTERNS[name])
    model = Transformer(ModelShape.of_depth(1, encoding.size, 64, width=32))
    model.initialise(1)
    write_gguf(model, encoding, tmp_path / "m.gguf", GgufOptions("Ada", "f16"))
    expected = [in_llama_cpp(encoding).encode(text) for text in texts()]
    answers = llama_cpp_tokens(tmp_path / "m.gguf", texts())
    assert [pair for pair in zip(texts(), answers, expected, strict=True) if pair[1] != pair[2]] == []


def test_numbers_of_up_to_three_digits_per_token_are_the_same_tokens_and_of_up_to_two_are_not():
    text = "In 1774, 88 people lived there."
    for digits, is_same in ((1, True), (2, False), (3, True)):
        encoding = replace(ENCODING, pattern=gpt4_pattern(digits), ranks=ENCODING.ranks | {b"88": 2000, b"177": 2001})
        assert (encoding.encode(text) == in_llama_cpp(encoding).encode(text)) is is_same
