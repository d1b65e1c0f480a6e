"""Where a family of statistics keeps each of its columns."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pandera.polars as pa


def column_positions(family: type[pa.DataFrameModel]) -> Any:
    """A named tuple with the position of each column in the family's row, in the order of the model's fields.

    Compiled code indexes its row with it (``row[COLUMN.words]``): numba freezes the positions as constants.
    """
    names = tuple(family.to_schema().columns)
    return namedtuple(f"{family.__name__}Columns", names)(*range(len(names)))
