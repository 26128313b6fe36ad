"""How a database's tables and columns are described, and each column's exact pandas dtype.

The dtype follows from the column's definition alone, so it is the same with and without rows:
NOT NULL ``int`` is int32, nullable Int32; DECIMAL is Arrow's, to the last digit; TIMESTAMP is
datetime64[us, UTC], DATE and DATETIME datetime64[us]; TIME timedelta64[us]; BIT an unsigned
integer; text str; binary Arrow's large_binary. No id passes through a float, and no NULL gets lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

TEXT, BYTES = pa.large_string(), pa.large_binary()
NAIVE, INSTANT = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
_NUMBERS = "Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float32 Float64"
NUMBERS: dict[pa.DataType, Any] = dict(
    zip(
        map(pa.type_for_alias, _NUMBERS.lower().split()),
        map(pd.api.types.pandas_dtype, _NUMBERS.split()),
        strict=True,
    )
)
"""Arrow's integers and floats, each with the pandas dtype that can hold NULL too."""


@dataclass
class TableDescription:
    """One table as the database describes it.

    Parameters
    ----------
    name : str
    columns : dict of str to str
        Each column's declared type.
    required : set of str
        SQLite's columns that cannot be NULL; MySQL says it with each result.
    key : list of str
        The primary key.
    indexed : set of str
        The columns by which rows are found without reading the others.
    estimate : int
        About how many rows there are; 0 where that is not known.
    at_same_instant : bool
        Whether its engine has transactions, so that all tables can be read as of one instant.
    kind : str
        Such as ``view``, for what is read only where it is asked for by name; empty for a table.
    """

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    key: list[str] = field(default_factory=list)
    indexed: set[str] = field(default_factory=set)
    estimate: int = 0
    at_same_instant: bool = True
    kind: str = ""

    @cached_property
    def clause(self) -> sa.TableClause:
        """The table for a statement, every name quoted: a name may be one of SQL's keywords."""
        quoted = partial(sa.quoted_name, quote=True)
        return sa.table(quoted(self.name), *map(sa.column, map(quoted, self.columns)))


Listing = tuple[dict[str, TableDescription], dict[str, str]]
"""The tables by name, and why others cannot be read."""


class Carrier(StrEnum):
    """The form in which a column's values are read."""

    DECLARED = ""
    """As the column's declaration says."""
    TEXT = "text"
    BYTES = "bytes"
    INT64 = "int64"
    LITERAL = "literal"
    """Python literals, for values of several types."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column of a result: its type in Arrow, and how its values arrive."""

    name: str
    dtype: pa.DataType
    nullable: bool
    carrier: Carrier = Carrier.DECLARED
    mysql_type: int = -1
    """MySQL's own code of the type (`pymysql.constants.FIELD_TYPE`)."""


class Problem(NamedTuple):
    """Why a column cannot be carried as it is declared, and the carrier that can hold it.

    With `Carrier.DECLARED` it is a remark for the reader: the column stays as it is.
    """

    reason: str
    carrier: Carrier = Carrier.DECLARED


ZERO_DATE = Problem("holds zero dates, which are NaT here as NULL is")
"""Both mean never. In a NOT NULL column every NaT is a zero date, and no remark is needed."""


def held_by_arrow(dtype: pa.DataType) -> pd.ArrowDtype | None:
    """Return the pandas dtype of decimals and binary, else None; a ``types_mapper`` of Arrow's."""
    return pd.ArrowDtype(dtype) if pa.types.is_decimal(dtype) or dtype == BYTES else None


def series(chunks: pa.ChunkedArray, *, nullable: bool) -> pd.Series[Any]:
    """Return a column for pandas, with the dtype that follows from its definition."""
    dtype: Any = held_by_arrow(chunks.type)
    if chunks.type in NUMBERS and (nullable or chunks.null_count):
        dtype = NUMBERS[chunks.type]
    elif chunks.type == TEXT:
        dtype = pd.StringDtype(na_value=np.nan)
    column: pd.Series[Any] = chunks.to_pandas(types_mapper={chunks.type: dtype}.get)
    return column
