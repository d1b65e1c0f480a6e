"""Rows of JSONL and Parquet files: each is read or reported with its number, whatever is damaged."""

import gzip
import json
import tempfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets import row_files
from llm_assets.row_files import RowFileError, parquet_columns, read_rows

COMPRESSIONS = {".jsonl": bytes, ".jsonl.gz": gzip.compress, ".jsonl.zst": zstd.compress}
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
LINES = st.binary(max_size=30).filter(lambda line: b"\n" not in line)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def written(folder, ending, data: bytes) -> Path:
    path = Path(folder) / f"rows{ending}"
    path.write_bytes(COMPRESSIONS[ending](data))
    return path


@given(st.lists(VALUES, max_size=8), st.sampled_from(list(COMPRESSIONS)), st.sampled_from(["\n", "\r\n", "\n\n"]))
@settings(max_examples=60, deadline=None)
def test_json_rows_come_back_in_order_with_their_lines(values, ending, line_end):
    with tempfile.TemporaryDirectory() as folder:
        data = "".join(json.dumps(value) + line_end for value in values).encode()
        rows = list(read_rows(written(folder, ending, data)))
    assert [row.value for row in rows] == values and not any(row.problem for row in rows)
    assert [row.number for row in rows] == [1 + number * line_end.count("\n") for number in range(len(values))]


@given(
    st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=8),
    st.sampled_from(list(COMPRESSIONS)),
)
@settings(max_examples=60, deadline=None)
def test_every_line_that_is_not_blank_is_a_value_or_a_problem(lines, ending):
    with tempfile.TemporaryDirectory() as folder:
        rows = list(read_rows(written(folder, ending, b"\n".join(lines))))
    assert [row.number for row in rows] == [number for number, line in enumerate(lines, 1) if line.strip()]
    for row in rows:
        row.problem.encode()
        assert row.value is None or not row.problem


@given(st.lists(st.dictionaries(st.sampled_from("abc"), TEXT, min_size=3), min_size=1, max_size=40), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_parquet_rows_are_numbered_over_all_row_groups(values, group):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        pl.DataFrame(values).write_parquet(path, row_group_size=group)
        assert parquet_columns(path) is not None and set(parquet_columns(path)) == set("abc")
        assert [(row.number, row.value) for row in read_rows(path)] == list(enumerate(values, 1))
        assert [row.value for row in read_rows(path, ["b", "no such column"])] == [{"b": row["b"]} for row in values]


def test_a_line_that_is_too_long_is_a_problem_and_the_next_ones_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "MAX_LINE_BYTES", 16)
    exact = json.dumps("x" * 13)
    assert len(exact) == 15
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(["1", json.dumps("x" * 50), "2", exact, "3"]))
    rows = list(read_rows(path))
    assert [row.value for row in rows] == [1, None, 2, "x" * 13, 3]
    assert rows[1].problem == "longer than 16 bytes" and [row.number for row in rows] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
def test_where_a_compressed_file_breaks_off_the_last_row_says_so(tmp_path, ending):
    lines = b"".join(json.dumps({"n": number, "h": hash(number * 7919)}).encode() + b"\n" for number in range(20_000))
    path = written(tmp_path, ending, lines)
    path.write_bytes(path.read_bytes()[:-2_000])
    rows = list(read_rows(path))
    assert rows[-1].problem and not any(row.problem for row in rows[:-1])
    assert [row.number for row in rows] == list(range(1, len(rows) + 1))


def test_a_parquet_string_that_is_not_utf_8_is_a_problem_of_its_row(tmp_path):
    strings = pa.array([b"good", b"\xff bad", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": strings}), tmp_path / "rows.parquet")
    rows = list(read_rows(tmp_path / "rows.parquet"))
    assert [row.value for row in rows] == [{"text": "good"}, None, {"text": "fine"}]
    assert rows[1].problem.startswith("not UTF-8") and rows[1].number == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "no such file"),
        ("rows.csv", b"a,b", "ends with neither .jsonl, .jsonl.gz, .jsonl.zst nor .parquet"),
        ("rows.parquet", b"PAR1", "rows.parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_error_that_names_it(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RowFileError, match=message) as error:
        list(read_rows(tmp_path / name))
    assert name in str(error.value)
