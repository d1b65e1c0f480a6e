"""The check of token shards: what it finds in damaged shards, in a window of the index, and in a sample of texts."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from llm_assets.artifacts.sampling import Sample
from llm_assets.recipes import SampleWeb
from llm_assets.tokens import shard_check
from llm_assets.tokens.shard_check import IndexCursor, shards_agree
from llm_assets.tokens.token_shards import TOKEN_SHARDS
from llm_assets.tokens.tokenizer import TOKENIZER
from tests.support.written_corpus import PAGES, build, small_recipe, texts, workspace


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Shards of 200 pages with their inputs and config."""
    PAGES.clear()
    PAGES["sample"] = [("news.example", text) for text in texts(50)] + [("old.example", text) for text in texts(150, 3)]
    space = workspace(
        tmp_path_factory.mktemp("store"),
        small_recipe(crawls={"sample": SampleWeb()}, search_only_hosts=("old.example",)),
        TOKENIZER,
        TOKEN_SHARDS,
    )
    outcome = build(space, "clean_corpus", "tokenizer", "token_shards")
    return outcome.artifact, outcome.resolution.inputs, outcome.resolution.config


def changed(built, tmp_path, change):
    """The outcome with another index of the shards. change: from its rows to others."""
    shards, inputs, config = built
    index = change(pl.read_parquet(shards.table("documents")))
    index.write_parquet(tmp_path / "index.parquet", row_group_size=16)
    return shards_agree(
        SimpleNamespace(path=shards.path, table=lambda name: [tmp_path / "index.parquet"]), inputs, config
    )


def test_the_index_is_read_in_windows_with_the_same_outcome(built, monkeypatch):
    complete = shards_agree(*built)
    assert complete.passed and (complete.numbers["documents"], complete.numbers["withheld_documents"]) == (50, 150)
    held, window = [], IndexCursor.window

    def counted(cursor, rows):
        frame = window(cursor, rows)
        held.append(len(frame))
        return frame

    monkeypatch.setattr(shard_check, "INDEX_ROWS", 4)
    monkeypatch.setattr(IndexCursor, "window", counted)
    # A page's row is looked for within INDEX_ROWS rows of where it should be, in a batch of pages.
    monkeypatch.setattr(shard_check, "row_groups", lambda stream: slices(stream, 8))
    assert shards_agree(*built) == complete
    assert max(held) <= 8 + 4 + 4 and len(held) > 20


def slices(stream, rows):
    """Like `row_groups`, in groups of a few rows."""
    frame = pl.read_parquet(stream)
    for start in range(0, len(frame), rows):
        yield lambda columns, start=start: frame[start : start + rows].select(columns)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda rows: rows[:-1], "not in the index"),
        (lambda rows: pl.concat([rows[:20], rows[21:]]), "not in the index"),
        (
            lambda rows: pl.concat([rows[:20], rows[30:31].with_columns(doc_id=pl.lit("0" * 24)), rows[20:]]),
            "tokens of",
        ),
        (lambda rows: rows.with_columns(position=pl.col("position").shift(1, fill_value=0)), "not at its place"),
        (lambda rows: rows.with_columns(length=pl.col("length") + (pl.col("doc_id") == rows["doc_id"][7])), "place"),
        (lambda rows: rows[::-1], "not at its place"),
        (lambda rows: pl.concat([rows[:20], rows[19:]]), "withheld of 200, 51 rows of the index"),
        (lambda rows: rows[:0], "not in the index"),
        (
            lambda rows: rows.with_columns(url=pl.lit(rows["url"][0])),
            "in both splits",
        ),
    ],
    ids=["last lost", "one lost", "one too many", "moved", "longer", "reversed", "listed twice", "empty", "in both"],
)
def test_a_damaged_index_is_found(built, tmp_path, change, problem):
    outcome = changed(built, tmp_path, change)
    assert not outcome.passed and any(problem in failure["problem"] for failure in outcome.failures), outcome.failures


def test_lengths_of_documents_that_the_index_lacks_are_found(built, tmp_path):
    shards, inputs, config = built
    for path in shards.path.glob("*.npy"):
        values = np.load(path)
        np.save(tmp_path / path.name, np.append(values, 3) if path.name == "train-lengths.npy" else values)
    outcome = shards_agree(SimpleNamespace(path=tmp_path, table=shards.table), inputs, config)
    problem = "train-lengths.npy has 1 more entries than the index has documents"
    assert not outcome.passed and [failure["problem"] for failure in outcome.failures] == [problem]


def test_in_a_large_corpus_the_texts_of_a_sample_are_compared(built, tmp_path, monkeypatch):
    shards, inputs, config = built
    index = pl.read_parquet(shards.table("documents"))
    monkeypatch.setattr(shard_check.Sample, "of", classmethod(lambda cls, rows: Sample(1 << 31)))
    outcome = shards_agree(shards, inputs, config)
    sampled = index.filter(pl.col("doc_id").str.tail(8) < f"{1 << 31:08x}")
    assert outcome.passed and f"a sample of {len(sampled)} decode to their texts: at most 0." in outcome.summary
    for is_sampled in (True, False):
        rows = (sampled if is_sampled else index.join(sampled, on="doc_id", how="anti")).filter(split="train")
        folder = tmp_path / str(is_sampled)
        folder.mkdir()
        for path in shards.path.glob("*.npy"):
            tokens = np.load(path)
            if path.name == "train-00000.npy":
                tokens[rows["position"][0] + 1] ^= 1
            np.save(folder / path.name, tokens)
        damaged = SimpleNamespace(path=folder, table=shards.table)
        assert shards_agree(damaged, inputs, config).passed is not is_sampled
