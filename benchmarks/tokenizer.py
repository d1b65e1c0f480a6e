"""Megabytes per second of training a tokenizer and of encoding, compared with `tokenizers` on the same text.

    python benchmarks/tokenizer.py --text FOLDER_OR_FILES --json FILE

Text is .txt, .txt.gz, or parquet with a `text` column. All encoders have the same trained ranks.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from model_shape import finish

from llm_assets.artifacts.tables import read_table
from llm_assets.model.encoding import GPT4_PATTERN, SPECIAL_TOKENS, Encoding
from llm_assets.model.tokenizer_files import write_tokenizer
from llm_assets.tokens.tokenizer import train

DOCUMENT_CHARACTERS = 4_000  # a file that is one long text is cut into documents of this length
CONTEXT = 1024  # written to the tokenizer's files; it does not change the speed


def read(paths: list[Path], max_bytes: int) -> list[str]:
    """Documents of about `max_bytes` in all."""
    texts: list[str] = []
    size = 0
    for text in documents(paths):
        texts.append(text)
        size += len(text.encode())
        if size >= max_bytes:
            break
    return texts


def documents(paths: list[Path]) -> Iterator[str]:
    """The texts of all files and folders, in order of the files' paths."""
    for file in sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))):
        if file.suffix == ".parquet":
            yield from (text for text in read_table(file, columns=["text"])["text"] if text)
        elif file.name.endswith((".txt", ".txt.gz")):
            data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            text = data.decode(errors="replace")
            for start in range(0, len(text), DOCUMENT_CHARACTERS):
                yield text[start : start + DOCUMENT_CHARACTERS]


def train_with_tokenizers(texts: list[str], vocabulary: int) -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(GPT4_PATTERN.replace("{1,3}+", "{1,3}"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)


def median_seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """Seconds of one call, the median of several."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


_encodings: dict[str, Encoding] = {}  # of a worker, by folder


def encode_share(arguments: tuple[str, list[str]]) -> int:
    """Worker: encode some texts; returns the number of tokens."""
    folder, texts = arguments
    if folder not in _encodings:
        _encodings[folder] = Encoding.load(Path(folder))
    return sum(len(_encodings[folder].document(text)) for text in texts)


def measure_encoding(encoding: Encoding, texts: list[str], workers: int) -> dict[str, float]:
    """Seconds that each encoder takes for all texts."""
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(encoding, Path(folder), CONTEXT)
        tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        encoding.save(Path(folder))
        shares = [(folder, texts[start::workers]) for start in range(workers)]
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(encode_share, [(folder, texts[:10])] * workers))  # starts the processes
            return {
                "tiktoken, one core": median_seconds(lambda: [encoding.document(text) for text in texts]),
                f"tiktoken, {workers} processes": median_seconds(lambda: list(pool.map(encode_share, shares))),
                "tokenizers, all cores": median_seconds(lambda: tokenizer.encode_batch(texts)),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--bytes", type=int, default=16 << 20, help="text to use, about")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = read(options.text, options.bytes)
    size = sum(len(text.encode()) for text in texts)
    megabytes = size / 1e6
    workers = len(os.sched_getaffinity(0))
    merges = options.vocabulary - len(SPECIAL_TOKENS)
    training = {
        "rustbpe": median_seconds(lambda: train(texts, options.vocabulary)),
        "tokenizers": median_seconds(lambda: train_with_tokenizers(texts, merges)),
    }
    encoding = train(texts, options.vocabulary)
    seconds = measure_encoding(encoding, texts, workers)
    tokens = sum(len(encoding.encode(text)) for text in texts)
    result = {
        "bytes": size,
        "documents": len(texts),
        "vocabulary": options.vocabulary,
        "bytes_per_token": round(size / tokens, 3),
        "cores": workers,
        "training_megabytes_per_second": {name: round(megabytes / value, 2) for name, value in training.items()},
        "training_ratio": round(training["tokenizers"] / training["rustbpe"], 2),
        "encoding_megabytes_per_second": {name: round(megabytes / value, 2) for name, value in seconds.items()},
        "encoding_tokens_per_second": {name: round(tokens / value) for name, value in seconds.items()},
        "encoding_ratio": round(seconds["tokenizers, all cores"] / seconds[f"tiktoken, {workers} processes"], 2),
    }
    finish(result, options.json)


if __name__ == "__main__":
    main()
