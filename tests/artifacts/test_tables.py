"""Tables: the quick validation says what pandera says, for every schema of the graph."""

import math

import pandera.errors
import polars as pl
import pytest

from llm_assets.artifacts.tables import TableInvalid, _violations, polars_schema, validate
from llm_assets.graph import GRAPH

MODELS = sorted(
    {model for stage in GRAPH for model in {**stage.tables, **stage.optional_tables}.values()},
    key=lambda model: model.__name__,
)
STRANGE = {
    pl.String: [None, "", "x", "0" * 24, "é" * 24, "0" * 24 + "\n"],
    pl.Float64: [None, -0.5, 0.0, 1.0, 1.5, math.nan, math.inf],
    pl.Int64: [None, -1, 0, 10**15],
    pl.Int16: [None, -1, 200],
    pl.UInt64: [None, 0],
    pl.Boolean: [None, True],
}


def rows(model, number):
    """Valid rows, by the schema's own words."""
    columns = {}
    for name, column in model.to_schema().columns.items():
        allowed = next(
            (list(check.statistics["allowed_values"]) for check in column.checks if check.name == "isin"), None
        )
        least = max(
            [1, *(check.statistics["min_value"] for check in column.checks if check.name == "greater_than_or_equal_to")]
        )
        kind = column.dtype.type
        value = (
            allowed[0]
            if allowed
            else {pl.String: "0" * 24, pl.Boolean: True}.get(
                kind.base_type() if hasattr(kind, "base_type") else kind, least
            )
        )
        columns[name] = pl.Series(
            [
                f"{value}{i}"
                if column.unique and kind == pl.String
                else i
                if column.unique
                else [value]
                if isinstance(kind, pl.List)
                else value
                for i in range(number)
            ],
            dtype=kind,
            strict=False,
        )
    return pl.DataFrame(columns)


def panderas(model, frame):
    try:
        model.to_schema().validate(frame, lazy=True)
    except pandera.errors.SchemaErrors:
        return False
    return True


def ours(model, frame):
    try:
        validate(model, frame)
    except TableInvalid:
        return False
    return True


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_what_pandera_says(model):
    assert _violations(model) is not None
    frame = rows(model, 3)
    assert panderas(model, frame) and ours(model, frame)
    for name, kind in polars_schema(model).items():
        for value in STRANGE.get(kind, []):
            changed = frame.with_columns(pl.Series(name, [frame[name][0], value, frame[name][2]], dtype=kind))
            assert ours(model, changed) == panderas(model, changed), (name, value)
    assert not ours(model, frame.select(frame.columns[1:]))
    first = frame.columns[0]
    assert ours(model, frame.with_columns(pl.lit(frame[first][0]).alias(first))) == panderas(
        model, frame.with_columns(pl.lit(frame[first][0]).alias(first))
    )
