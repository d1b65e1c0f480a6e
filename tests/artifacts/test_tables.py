"""Tables: the quick validation agrees with pandera, for every schema of the graph."""

import math

import pandera.errors
import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_assets.artifacts import step
from llm_assets.artifacts.step import TableWriter
from llm_assets.artifacts.tables import TableInvalid, _violations, polars_schema, validate
from llm_assets.graph import GRAPH

MODELS = sorted(
    {model for stage in GRAPH for model in {**stage.tables, **stage.optional_tables}.values()},
    key=lambda model: model.__name__,
)
EDGE_CASES = {
    pl.String: [None, "", "x", "0" * 24, "é" * 24, "0" * 24 + "\n"],
    pl.Float64: [None, -0.5, 0.0, 1.0, 1.5, math.nan, math.inf],
    pl.Int64: [None, -1, 0, 10**15],
    pl.Int16: [None, -1, 200],
    pl.UInt64: [None, 0],
    pl.Boolean: [None, True],
}


def valid_frame(model, number):
    """A frame of `number` rows that satisfy the checks of a schema."""
    columns = {}
    for name, column in model.to_schema().columns.items():
        dtype = column.dtype.type
        value = valid_value(column, dtype)
        if column.unique:
            values = [f"{value}{i}" if dtype == pl.String else i for i in range(number)]
        else:
            values = [[value] if isinstance(dtype, pl.List) else value] * number
        columns[name] = pl.Series(values, dtype=dtype, strict=False)
    return pl.DataFrame(columns)


def valid_value(column, dtype):
    """A value that satisfies the checks of a column."""
    for check in column.checks:
        if check.name == "isin":
            return next(iter(check.statistics["allowed_values"]))
    bounds = [check.statistics["min_value"] for check in column.checks if check.name == "greater_than_or_equal_to"]
    base = dtype.base_type() if hasattr(dtype, "base_type") else dtype
    limits = [check.statistics["max_value"] for check in column.checks if check.name == "less_than_or_equal_to"]
    return {pl.String: "0" * 24, pl.Boolean: True}.get(base, min([max([1, *bounds]), *limits]))


def pandera_accepts(model, frame, column=None):
    """Whether pandera accepts a frame, or one column of it: to validate all columns takes it 0.1 s."""
    schema = model.to_schema()
    if column is not None:
        assert not schema.checks and not schema.unique
        schema, frame = schema.select_columns([column]), frame.select(column)
    try:
        schema.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors:
        return False
    return True


def validate_accepts(model, frame):
    try:
        validate(model, frame)
    except TableInvalid:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_validate_agrees_with_pandera(model):
    assert _violations(model) is not None
    frame = valid_frame(model, 3)
    assert pandera_accepts(model, frame) and validate_accepts(model, frame)
    for name, dtype in polars_schema(model).items():
        for value in EDGE_CASES.get(dtype, []):
            changed = frame.with_columns(pl.Series(name, [frame[name][0], value, frame[name][2]], dtype=dtype))
            assert validate_accepts(model, changed) == pandera_accepts(model, changed, name), (name, value)
    assert not validate_accepts(model, frame.select(frame.columns[1:]))
    first = frame.columns[0]
    assert validate_accepts(model, frame.with_columns(pl.lit(frame[first][0]).alias(first))) == pandera_accepts(
        model, frame.with_columns(pl.lit(frame[first][0]).alias(first))
    )


class Number(pa.DataFrameModel):
    number: pl.Int64


@settings(max_examples=20)
@given(st.lists(st.integers(0, 40), max_size=8))
def test_frames_are_written_like_one_frame(tmp_path_factory, sizes):
    """The same bytes, whatever the sizes of the frames; no more than a row group and a frame are held."""
    folder = tmp_path_factory.mktemp("t")
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    frames = [
        pl.DataFrame({"number": range(end - size, end)}, schema={"number": pl.Int64})
        for size, end in zip(sizes, ends, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "ROW_GROUP_ROWS", 16)
        single, many = TableWriter(folder / "single.parquet", Number), TableWriter(folder / "many.parquet", Number)
        single.frame(pl.DataFrame({"number": range(sum(sizes))}, schema={"number": pl.Int64}))
        written = 0
        for frame in many.frames(frames):
            written += len(frame)
            assert written - many.rows < 16
        for writer in (single, many):
            writer.close()
    assert (folder / "single.parquet").read_bytes() == (folder / "many.parquet").read_bytes()
