"""Megabytes a second of training a tokenizer and of encoding, against the `tokenizers` library on the same text.

    python benchmarks/tokenizer.py --text FOLDER_OR_FILES --json FILE

Text: .txt, .txt.gz, or parquet with a `text` column. One vocabulary for all; encoders get the same trained ranks.
"""

from __future__ import annotations

import argparse
import gzip
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
from model_shape import finish

from llm_assets.model.encoding import GPT4_PATTERN, SPECIAL_TOKENS, Encoding
from llm_assets.model.tokenizer_files import write_tokenizer
from llm_assets.tokens.tokenizer import train

PIECE = 4_000  # characters of a document where a file is one long text


def read(paths: list[Path], most: int) -> list[str]:
    """Documents of about `most` bytes in all."""
    texts: list[str] = []
    size = 0
    for file in sorted(found for path in paths for found in ([path] if path.is_file() else path.rglob("*"))):
        if file.suffix == ".parquet":
            found = [text for text in pl.read_parquet(file, columns=["text"])["text"] if text]
        elif file.name.endswith((".txt", ".txt.gz")):
            data = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode(
                errors="replace"
            )
            found = [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
        else:
            continue
        for text in found:
            texts.append(text)
            size += len(text.encode())
            if size >= most:
                return texts
    return texts


def train_with_tokenizers(texts: list[str], vocabulary: int) -> None:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(GPT4_PATTERN.replace("{1,3}+", "{1,3}"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )


def best(work: Any, rounds: int = 3) -> float:
    """Seconds of one call, the median."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


_held: dict[str, Encoding] = {}


def encode_share(arguments: tuple[str, list[str]]) -> int:
    folder, texts = arguments
    if folder not in _held:
        _held[folder] = Encoding.load(Path(folder))
    return sum(len(_held[folder].document(text)) for text in texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--bytes", type=int, default=16 << 20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = read(options.text, options.bytes)
    size = sum(len(text.encode()) for text in texts)
    megabytes = size / 1e6
    workers = len(os.sched_getaffinity(0))
    training = {
        "rustbpe": best(lambda: train(texts, options.vocabulary)),
        "tokenizers": best(lambda: train_with_tokenizers(texts, options.vocabulary - len(SPECIAL_TOKENS))),
    }
    encoding = train(texts, options.vocabulary)
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory() as folder:
        encoding.save(Path(folder))
        write_tokenizer(encoding, Path(folder), 1024)
        other = Tokenizer.from_file(f"{folder}/tokenizer.json")
        encoding.save(Path(folder))
        shares = [(folder, texts[start::workers]) for start in range(workers)]
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(encode_share, [(folder, texts[:10])] * workers))  # starts them
            seconds = {
                "tiktoken, one core": best(lambda: [encoding.document(text) for text in texts]),
                f"tiktoken, {workers} processes": best(lambda: list(pool.map(encode_share, shares))),
                "tokenizers, all cores": best(lambda: other.encode_batch(texts)),
            }
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
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
