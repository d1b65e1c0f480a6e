"""Samples of large tables: which rows they hold, and what finding no fault among them says about all rows."""

import hashlib

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_assets.artifacts.sampling import Sample, largest_unseen_share, most_unseen, sampled_clause


@pytest.fixture
def table(tmp_path):
    """5,000 rows with the digests of their numbers, in row groups of 64."""
    ids = [hashlib.sha256(str(number).encode()).hexdigest()[:24] for number in range(5_000)]
    pl.DataFrame({"doc_id": ids, "number": range(5_000)}).write_parquet(tmp_path / "t.parquet", row_group_size=64)
    return tmp_path / "t.parquet"


@pytest.mark.parametrize("wanted", [50, 1_000])
def test_a_sample_is_the_rows_with_the_lowest_last_digits(table, wanted):
    sample = Sample.of(5_000, wanted)
    sampled = pl.concat(sample.frames(table, ["number", "doc_id"]))
    limit = wanted / 5_000 * 16**8
    expected = [
        number
        for number, doc_id in pl.read_parquet(table).select("number", "doc_id").iter_rows()
        if int(doc_id[-8:], 16) < int(limit)
    ]
    assert sampled["number"].to_list() == expected and abs(len(sampled) - wanted) < 4 * wanted**0.5


def test_a_small_table_is_examined_completely(table):
    sample = Sample.of(5_000, 5_000)
    assert sample == Sample(None) and pl.concat(sample.frames(table, ["number"]))["number"].to_list() == [*range(5_000)]
    assert sampled_clause(5_000, 5_000) == ""


@given(st.integers(1, 10**7))
def test_a_share_at_the_bound_shows_no_fault_with_a_probability_of_5_percent(examined):
    share = largest_unseen_share(examined)
    assert (1 - share) ** examined == pytest.approx(0.05, rel=1e-6)
    assert examined < 30 or share == pytest.approx(3 / examined, rel=0.06)  # the rule of three


def test_the_summary_names_the_sample_and_its_error():
    assert sampled_clause(100_000, 10**7) == (
        " in a sample of 100,000 of 10,000,000 pages: at most 3e-05 of all have any (95 %)"
    )


@given(st.floats(1e-6, 0.99))
def test_one_fault_more_than_the_greatest_unseen_number_would_be_seen(share):
    number = most_unseen(share)
    assert (1 - share) ** number >= 0.05 * (1 - 1e-6) and (1 - share) ** (number + 1) < 0.05 * (1 + 1e-6)
