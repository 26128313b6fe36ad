"""Columns of SQL tables as exact pandas columns: no id passes through a float, no NULL gets lost.

A dtype follows from the column's definition alone, so that it is the same with and without rows: NOT NULL
``int`` is int32, nullable Int32; DECIMAL is Arrow's, to the last digit; TIMESTAMP is datetime64[us, UTC], DATE and
DATETIME datetime64[us]; TIME timedelta64[us]; BIT an unsigned integer; text str; binary Arrow's large_binary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

TEXT, BYTES = pa.large_string(), pa.large_binary()
NAIVE, INSTANT = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
NUMBERS: Final[dict[pa.DataType, Any]] = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.float64(): pd.Float64Dtype(),
}
"""Arrow's integers and floats, each with pandas' dtype for those that may be NULL."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a result: how its values arrive, ``dtype`` in Arrow's words, and whether NULL may be among them.

    ``wire`` is MySQL's type code, or for SQLite how the column is carried: "" as declared.
    """

    name: str
    dtype: pa.DataType
    nullable: bool
    wire: int | str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a column cannot be carried as it is declared, and how it can be: "text", "bytes", "int64" or "literal".

    An empty ``carry`` is a remark: the column stays as it is, and its reader has to know this.
    """

    reason: str
    carry: str


ZERO_DATE: Final = Problem("holds zero dates, which are NaT here as NULL is", "")
"""Both mean never; where a column is NOT NULL, NaT says it alone."""


def held_by_arrow(dtype: pa.DataType) -> pd.ArrowDtype | None:
    """Return the pandas dtype of decimals and binary, else None: a ``types_mapper`` for reading Parquet back."""
    return pd.ArrowDtype(dtype) if pa.types.is_decimal(dtype) or dtype == BYTES else None


def series(field: Field, chunks: pa.ChunkedArray) -> pd.Series[Any]:
    """Return a column for pandas, with the dtype that its definition asks for."""
    dtype: Any = held_by_arrow(field.dtype)
    if field.dtype in NUMBERS and (field.nullable or chunks.null_count):
        dtype = NUMBERS[field.dtype]
    elif field.dtype == TEXT:
        dtype = pd.StringDtype(na_value=np.nan)
    column: pd.Series[Any] = chunks.to_pandas(types_mapper=None if dtype is None else lambda _: dtype)
    return column
