"""`quality_classifier`: a quality score learned from examples that the user labels.

Logistic regression over hashed word unigrams and bigrams (the model of fastText's classifier with its hidden layer
folded away: arXiv:1607.01759; used to choose training text by GPT-3, arXiv:2005.14165, appendix A, and DCLM,
arXiv:2406.11794). Training runs in one thread and in a fixed order, so the same examples give the same weights.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_assets.artifacts.errors import ExternalInputError
from llm_assets.artifacts.external import external_digests
from llm_assets.artifacts.stage import Stage
from llm_assets.artifacts.step import Step
from llm_assets.artifacts.tables import read_table
from llm_assets.compiled import compiled
from llm_assets.json_values import parse_json
from llm_assets.recipes import QualityClassifier
from llm_assets.settings import load_settings

from .characters import ALPHA, DIGIT, decode, kinds_of, kinds_table
from .schemas import ClassifierWeights
from .text_buffers import utf8_buffers

MAX_FEATURES = 20_000  # of one text: those of its first 10,000 words
BIAS = -1


class ExamplesError(ExternalInputError, ValueError):
    """Labelled examples that cannot be used; the message names the file and the line."""


def read_examples(path: Path) -> pl.DataFrame:
    """Columns `text` and `label` (0 or 1) of a .jsonl, .jsonl.gz or .parquet file, without repeated rows.

    Raises ExamplesError if the file cannot be read or has fewer than two examples of either label.
    """
    if not path.is_file():
        raise ExamplesError(f"labelled examples {path.absolute()}: no such file")
    rows = _read_parquet(path) if path.suffix == ".parquet" else _read_json_lines(path)
    texts, labels = [], []
    for number, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("text"), str) or row.get("label") not in (0, 1):
            raise ExamplesError(
                f"labelled examples {path}, line {number}: needs `text` (a string) and `label` (0 or 1)"
            )
        texts.append(row["text"])
        labels.append(int(row["label"]))
    frame = pl.DataFrame({"text": texts, "label": labels}, schema={"text": pl.String, "label": pl.Int64})
    frame = frame.unique(maintain_order=True)
    if frame["label"].n_unique() < 2 or frame["label"].value_counts()["count"].min() < 2:
        raise ExamplesError(f"labelled examples {path}: needs at least two examples of each label")
    return frame


def _read_parquet(path: Path) -> list[tuple[int, Any]]:
    """Rows with their numbers, from 1."""
    try:
        return list(enumerate(read_table(path).iter_rows(named=True), 1))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ExamplesError(f"labelled examples {path}: {error}") from error


def _read_json_lines(path: Path) -> list[tuple[int, Any]]:
    """Values with the numbers of their lines, from 1.

    Only line feeds end a line (JSON Lines): a string may hold U+2028 and other characters that break lines elsewhere.
    """
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ExamplesError(f"labelled examples {path}: {error}") from error
    rows = []
    for number, line in enumerate(content.decode("utf-8-sig", "replace").split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, parse_json(line)))
            except (ValueError, RecursionError) as error:
                raise ExamplesError(f"labelled examples {path}, line {number}: {error}") from error
    return rows


@dataclass(frozen=True)
class Classifier:
    """The weight of each hashed feature (float64), and the bias."""

    weights: np.ndarray
    bias: float

    def score(self, texts: pl.Series) -> pl.Series:
        """P(label 1) of each text, rounded to four digits."""
        features, starts = _features(texts, len(self.weights))
        return pl.Series(_scores(features, starts, self.weights, self.bias)).round(4)


@lru_cache(maxsize=2)
def load_classifier(path: Path) -> Classifier:
    """A classifier from its table of weights (schema ClassifierWeights)."""
    frame = read_table(path)
    weights = np.zeros(int(frame["buckets"][0]), np.float64)
    features = frame.filter(pl.col("feature") != BIAS)
    weights[features["feature"].to_numpy()] = features["weight"].to_numpy()
    return Classifier(weights, frame.filter(pl.col("feature") == BIAS)["weight"][0])


def train(examples: pl.DataFrame, settings: QualityClassifier) -> tuple[Classifier, dict[str, float]]:
    """A classifier, and counts of the examples, of the held-out ones, and of those of them that it labels correctly.

    A hash of their text decides which examples are held out.
    """
    digest = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in examples["text"]]
    examples = examples.with_columns(order=pl.Series(digest, dtype=pl.UInt64)).sort("order", "label")
    held_out = examples["order"].to_numpy() % np.uint64(1000) < np.uint64(round(settings.held_out_share * 1000))
    training, testing = examples.filter(~held_out), examples.filter(held_out)
    if training["label"].n_unique() < 2:
        training = examples
    features, starts = _features(training["text"], settings.buckets)
    weights = np.zeros(settings.buckets)
    schedule = (settings.epochs, settings.learning_rate, settings.regularisation)
    bias = _fit(features, starts, training["label"].to_numpy(), weights, *schedule)
    classifier = Classifier(weights, bias)
    numbers: dict[str, float] = {
        "examples": len(examples),
        "positive": int(examples["label"].sum()),
        "held_out": len(testing),
    }
    if len(testing):
        correct = (classifier.score(testing["text"]) >= 0.5).cast(pl.Int64) == testing["label"]
        numbers["held_out_right"] = int(correct.sum())
    return classifier, numbers


def _features(texts: pl.Series, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashed features of all texts end to end (int32), and where each text's start (int64, (n + 1,))."""
    data, offsets = utf8_buffers(texts)
    size = min(len(data) + 2 * len(texts), MAX_FEATURES * len(texts)) + 1
    features, starts = np.zeros(size, np.int32), np.zeros(len(texts) + 1, np.int64)
    longest = int(np.diff(offsets).max(initial=0)) + 1
    _hash_features(data, offsets, kinds_table(), longest, buckets, features, starts)
    return features[: starts[-1]], starts


# A kernel takes its arrays one by one: numba compiles it for their types.
@compiled
def _hash_features(data, offsets, table, longest, buckets, features, starts):  # type: ignore[no-untyped-def]
    """Features of every text: its words (runs of letters and digits, ASCII in lower case) and pairs of words."""
    text, kinds = np.zeros(longest, np.uint32), np.zeros(longest, np.uint32)
    total = 0
    for page in range(len(offsets) - 1):
        n = decode(data, offsets[page], offsets[page + 1], text)
        kinds_of(text, n, table, kinds)
        first = total
        at = 0
        before = np.uint64(0)
        while at < n and total - first < MAX_FEATURES - 1:
            if not kinds[at] & (ALPHA | DIGIT):
                at += 1
                continue
            value = np.uint64(0xCBF29CE484222325)
            while at < n and kinds[at] & (ALPHA | DIGIT):
                code = text[at]
                if 65 <= code <= 90:
                    code |= np.uint32(32)
                value = (value ^ np.uint64(code)) * np.uint64(0x100000001B3)
                at += 1
            mixed = value * np.uint64(0x9E3779B97F4A7C15)
            features[total] = (mixed >> np.uint64(32)) % np.uint64(buckets)
            total += 1
            if before:
                mixed = (before * np.uint64(31) + value) * np.uint64(0xBF58476D1CE4E5B9)
                features[total] = (mixed >> np.uint64(32)) % np.uint64(buckets)
                total += 1
            before = value
        starts[page + 1] = total


@compiled
def _logit(features, start, end, weights, bias):  # type: ignore[no-untyped-def]
    # Dividing by the root of the number of features is between a sum, which makes long texts certain, and a mean, which
    # makes none certain.
    total = 0.0
    for i in range(start, end):
        total += weights[features[i]]
    return bias + total / np.sqrt(max(end - start, 1))


@compiled
def _scores(features, starts, weights, bias):  # type: ignore[no-untyped-def]
    scores = np.zeros(len(starts) - 1)
    for page in range(len(scores)):
        scores[page] = 1.0 / (1.0 + np.exp(-_logit(features, starts[page], starts[page + 1], weights, bias)))
    return scores


# A kernel takes its arrays and numbers one by one: numba compiles it for their types.
@compiled
def _fit(features, starts, labels, weights, epochs, rate, regularisation):  # type: ignore[no-untyped-def]
    """Fit `weights` by Adagrad on the log loss, in the examples' order; returns the bias."""
    bias = 0.0
    squares = np.zeros(len(weights))
    bias_square = 1e-8
    for _ in range(epochs):
        for page in range(len(labels)):
            start, end = starts[page], starts[page + 1]
            error = 1.0 / (1.0 + np.exp(-_logit(features, start, end, weights, bias))) - labels[page]
            bias_square += error * error
            bias -= rate * error / np.sqrt(bias_square)
            scale = 1.0 / np.sqrt(max(end - start, 1))
            for i in range(start, end):
                feature = features[i]
                gradient = error * scale + regularisation * weights[feature]
                squares[feature] += gradient * gradient + 1e-12
                weights[feature] -= rate * gradient / np.sqrt(squares[feature])
    return bias


def build_quality_classifier(step: Step, config: QualityClassifier) -> None:
    """Write one row for each weight other than 0; no table if the recipe names no examples."""
    with step.task("classifier") as task:
        if config.examples is None:
            task.stats["examples"] = 0
            return
        classifier, numbers = train(read_examples(Path(config.examples).expanduser()), config)
        used = np.flatnonzero(classifier.weights)
        task.table("weights", ClassifierWeights).frame(
            pl.DataFrame(
                {
                    "feature": [BIAS, *used.tolist()],
                    "weight": [classifier.bias, *classifier.weights[used].tolist()],
                    "buckets": [config.buckets] * (len(used) + 1),
                }
            )
        )
        task.stats.update(numbers)


def _examples_version(config: QualityClassifier) -> Mapping[str, str]:
    if config.examples is None:
        return {}
    path = Path(config.examples).expanduser()
    if not path.is_file():
        raise ExamplesError(f"labelled examples {path.absolute()}: no such file")
    return {"examples": external_digests({"examples": path}, load_settings().digest_cache)["examples"][:32]}


QUALITY_CLASSIFIER = Stage(
    name="quality_classifier",
    group="curation",
    description="A quality score learned from the user's labelled examples; empty if the recipe names none.",
    kinds=("numba", "parquet"),
    build=build_quality_classifier,
    code_version="2",
    config=lambda recipe, _: recipe.quality_classifier,
    external_inputs=_examples_version,
    optional_tables={"weights": ClassifierWeights},
    libraries=("numba", "polars"),
)
