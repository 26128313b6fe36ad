"""SQLite's values as Arrow arrays: a column's type is a wish there, each value has its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from imlib.snapshot.columns import BYTES, INSTANT, NAIVE, TEXT, ZERO_DATE, Field, Problem

_LITERAL: Final = "literal"
_ZERO_DATE: Final = r"^0000-00-00([ T]00:00:00(\.0*)?)?$"
_DECLARED: Final = (
    (r"INT|BOOL|BIT|YEAR", pa.int64()),
    (r"TIMESTAMP", INSTANT),
    (r"^DATE", NAIVE),
    (r"CHAR|CLOB|TEXT|JSON|ENUM|UUID|TIME|^SET", TEXT),
    (r"BLOB|BINARY|^$", BYTES),
    (r"", pa.float64()),
)


def sqlite_field(name: str, declared: str, nullable: bool, ours: pa.DataType | None, carry: str) -> Field:
    """Return how a column of SQLite is carried: as declared in CREATE TABLE, or by ``carry``, a `Problem`'s way out.

    ``ours`` is the width that imlib gives an integer on MySQL; SQLite's INTEGER says none.
    """
    dtype = next(dtype for pattern, dtype in _DECLARED if re.search(pattern, declared.upper()))
    if dtype == pa.int64() and ours is not None and not carry:
        dtype = ours
    return Field(name, TEXT if carry == _LITERAL else dtype, nullable, carry)


def sqlite_arrays(
    fields: Sequence[Field], rows: Sequence[tuple[Any, ...]], problems: dict[str, Problem]
) -> list[pa.Array]:
    """Decode a batch of rows; what can't be carried goes into ``problems``, its values as NULL."""
    columns = zip(fields, zip(*rows, strict=True), strict=True)
    return [_sqlite_array(field, values, problems) for field, values in columns]


def _sqlite_array(field: Field, values: tuple[Any, ...], problems: dict[str, Problem]) -> pa.Array:
    if field.wire == _LITERAL:
        return pa.array([None if value is None else repr(value) for value in values], TEXT)
    kinds = set(map(type, values)) - {type(None)}
    is_integer = pa.types.is_integer(field.dtype)
    expected = {float, int} if pa.types.is_floating(field.dtype) else {bytes} if field.dtype == BYTES else {str}
    try:
        if odd := kinds - ({int} if is_integer else expected):
            raise TypeError(f"holds {' and '.join(sorted(kind.__name__ for kind in odd))}")
        if not pa.types.is_timestamp(field.dtype):
            return pa.array(values, field.dtype)
        text = pa.array(values, TEXT)
        never = pc.match_substring_regex(text, _ZERO_DATE)
        moments = pc.if_else(never, None, text).cast(NAIVE).cast(field.dtype)
        if field.nullable and pc.any(never).as_py():
            problems.setdefault(field.name, ZERO_DATE)
        return moments
    except TypeError as odd_types:
        problem = Problem(f"{odd_types}, and is declared otherwise: carried as Python literals", _LITERAL)
    except UnicodeEncodeError:
        problem = Problem("holds text that is no UTF-8: carried as Python literals", _LITERAL)
    except pa.ArrowInvalid:
        # Arrow's own words would show the value.
        problem = Problem(f"holds what no {field.dtype} can: carried as Python literals", _LITERAL)
        if is_integer and field.dtype != pa.int64():
            problem = Problem(f"holds numbers beyond {field.dtype}: carried as int64", "int64")
    problems[field.name] = problem
    return pa.nulls(len(values), field.dtype)
