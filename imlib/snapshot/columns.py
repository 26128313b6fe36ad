"""Columns of SQL tables as exact Arrow arrays and pandas columns: no id passes through a float, no NULL gets lost.

A dtype follows from the column's definition alone, so that it is the same with and without rows: NOT NULL
``int`` is int32, nullable Int32; DECIMAL is Arrow's, to the last digit; TIMESTAMP is datetime64[us, UTC], DATE and
DATETIME datetime64[us]; TIME timedelta64[us]; BIT an unsigned integer; text str; binary Arrow's large_binary.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pymysql.constants import FIELD_TYPE, FLAG

from imlib.snapshot.mysql_rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Field", "Problem", "held_by_arrow", "mysql_arrays", "mysql_fields", "series", "sqlite_arrays", "sqlite_field"]

_TEXT, _BYTES = pa.large_string(), pa.large_binary()
_NAIVE, _INSTANT = pa.timestamp("us"), pa.timestamp("us", tz="UTC")
_WIDTHS: Final = {
    FIELD_TYPE.TINY: 1,
    FIELD_TYPE.SHORT: 2,
    FIELD_TYPE.YEAR: 2,
    FIELD_TYPE.INT24: 4,
    FIELD_TYPE.LONG: 4,
    FIELD_TYPE.LONGLONG: 8,
}
_OTHERS: Final = {
    FIELD_TYPE.FLOAT: pa.float32(),
    FIELD_TYPE.DOUBLE: pa.float64(),
    FIELD_TYPE.DATE: _NAIVE,
    FIELD_TYPE.DATETIME: _NAIVE,
    FIELD_TYPE.TIMESTAMP: _INSTANT,
    FIELD_TYPE.TIME: pa.duration("us"),
    FIELD_TYPE.JSON: _TEXT,  # its character set is given as binary
}
_BINARY_CHARSET: Final = 63
_GATHERED_BYTES: Final = 64
_PANDAS: Final[dict[pa.DataType, Any]] = {
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
    """Why a column cannot be carried as it is declared, and how it can be: "text", "bytes", "int64" or "literal"."""

    reason: str
    carry: str


def held_by_arrow(dtype: pa.DataType) -> pd.ArrowDtype | None:
    """Return the pandas dtype of decimals and binary, else None: a ``types_mapper`` for reading Parquet back."""
    return pd.ArrowDtype(dtype) if pa.types.is_decimal(dtype) or dtype == _BYTES else None


def series(field: Field, chunks: pa.ChunkedArray) -> pd.Series[Any]:
    """Return a column for pandas, with the dtype that its definition asks for."""
    dtype: Any = held_by_arrow(field.dtype)
    if field.dtype in _PANDAS and (field.nullable or chunks.null_count):
        dtype = _PANDAS[field.dtype]
    elif field.dtype == _TEXT:
        dtype = pd.StringDtype(na_value=np.nan)
    column: pd.Series[Any] = chunks.to_pandas(types_mapper=None if dtype is None else lambda _: dtype)
    return column


# MySQL and MariaDB


def mysql_fields(described: Sequence[Any]) -> list[Field]:
    """Return the fields of a result from what the server says of them (`BinaryCursor.fields`)."""
    return [Field(one.name, _mysql_type(one), not one.flags & FLAG.NOT_NULL, one.type_code) for one in described]


def _mysql_type(one: Any) -> pa.DataType:
    code, unsigned = one.type_code, bool(one.flags & FLAG.UNSIGNED)
    if width := _WIDTHS.get(code):
        return pa.from_numpy_dtype(f"{'u' if unsigned else 'i'}{width}")
    if code == FIELD_TYPE.BIT:
        return next(dtype for dtype in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()) if one.length <= dtype.bit_width)
    if code in (FIELD_TYPE.NEWDECIMAL, FIELD_TYPE.DECIMAL):
        digits = one.length - (one.scale > 0) - (not unsigned)
        return pa.decimal128(digits, one.scale) if digits <= 38 else pa.decimal256(digits, one.scale)
    if code in _OTHERS:
        return _OTHERS[code]
    return _BYTES if one.charsetnr == _BINARY_CHARSET else _TEXT


def mysql_arrays(fields: Sequence[Field], rows: Rows, problems: dict[str, Problem]) -> list[pa.Array]:
    """Decode a batch of rows, a column at a time; what can't be carried goes into ``problems``, its values as NULL."""
    walk = _Walk(rows, len(fields))
    return [walk.next_column(field, problems) for field in fields]


class _Walk:
    """The place that each row of a batch has been read to: one column further, in all rows, with each call."""

    def __init__(self, rows: Rows, columns: int) -> None:
        self._buffer, self._starts = rows
        self._at = self._starts + 1 + (columns + 9) // 8
        self._bit = 2
        self._null = np.zeros(len(self._starts), dtype=bool)

    def next_column(self, field: Field, problems: dict[str, Problem]) -> pa.Array:
        flags = self._buffer[self._starts + 1 + self._bit // 8]
        self._null = (flags & (1 << self._bit % 8)) != 0
        self._bit += 1
        if pa.types.is_timestamp(field.dtype):
            return self._moments(field, problems)
        if pa.types.is_duration(field.dtype):
            return self._durations()
        if field.wire == FIELD_TYPE.BIT:
            return self._bits(field.dtype)
        if field.dtype in _PANDAS:
            width = field.dtype.bit_width // 8
            values = self._here(np.dtype(field.dtype.to_pandas_dtype()).newbyteorder("<").str)
            self._advance(width)
            return self._array(values, field.dtype)
        raw = self._bytes()
        if field.dtype == _BYTES:
            return raw
        try:
            text = raw.cast(_TEXT)
        except pa.ArrowInvalid:
            problems[field.name] = Problem("holds text that is no UTF-8: carried as bytes", "bytes")
            return pa.nulls(len(raw), field.dtype)
        return text if field.dtype == _TEXT else text.cast(field.dtype)

    def _here(self, dtype: str, offset: int = 0) -> NDArray[Any]:
        """Return what stands at every row's place, as one type; where nothing of it is left, whatever is there."""
        size = len(self._buffer) - np.dtype(dtype).itemsize + 1
        windows: NDArray[Any] = np.ndarray((size,), dtype, self._buffer, strides=(1,))
        return windows[self._at + offset]

    def _advance(self, width: int | NDArray[np.int64]) -> None:
        self._at = self._at + (np.where(self._null, 0, width) if self._null.any() else width)

    def _array(self, values: NDArray[Any], dtype: pa.DataType, never: NDArray[np.bool_] | None = None) -> pa.Array:
        missing = self._null if never is None else never
        return pa.array(values, mask=missing if missing.any() else None).cast(dtype)

    def _lengths(self) -> NDArray[np.int64]:
        return np.where(self._null, 0, self._here("u1")).astype(np.int64)

    def _bytes(self) -> pa.Array:
        lengths, heads = self._lengths(), 1
        if (lengths > 250).any():
            first, long = lengths, self._here("<u8", 1)
            cases = [first == 252, first == 253, first == 254]
            lengths = np.select(cases, [long & 0xFFFF, long & 0xFFFFFF, long], first).astype(np.int64)
            heads = np.select(cases, [3, 4, 9], 1)
        begins = self._at + heads
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        valid = pa.py_buffer(np.packbits(~self._null, bitorder="little")) if self._null.any() else None
        content = pa.py_buffer(self._gathered(begins, lengths, offsets))
        self._advance(heads + lengths)
        return pa.Array.from_buffers(_BYTES, len(lengths), [valid, pa.py_buffer(offsets), content])

    def _gathered(self, begins: NDArray[np.int64], lengths: NDArray[np.int64], offsets: NDArray[np.int64]) -> Any:
        total = int(offsets[-1])
        if total > _GATHERED_BYTES * len(lengths):  # few and long: a slice each costs less than an index a byte
            view = memoryview(self._buffer)
            ends = (begins + lengths).tolist()
            return b"".join([view[begin:end] for begin, end in zip(begins.tolist(), ends, strict=True)])
        index = np.repeat((begins - offsets[:-1]).astype(np.int32), lengths)
        index += np.arange(total, dtype=np.int32)
        return self._buffer[index]

    def _bits(self, dtype: pa.DataType) -> pa.Array:
        lengths = self._lengths()
        values = self._here(">u8", 1).astype(np.uint64) >> (8 * (8 - np.maximum(lengths, 1))).astype(np.uint64)
        self._advance(1 + lengths)
        return self._array(values, dtype)

    def _moments(self, field: Field, problems: dict[str, Problem]) -> pa.Array:
        # The server sends 4 bytes for a date, 3 more for a time of day, 4 more for microseconds, none for a zero date.
        lengths = self._lengths()
        dated = lengths > 0
        year, month, day = (
            np.where(dated, self._here(dtype, offset), neutral).astype(np.int64)
            for dtype, offset, neutral in (("<u2", 1, 1970), ("u1", 3, 1), ("u1", 4, 1))
        )
        months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
        first = months.astype("M8[D]")
        in_month = ((months + 1).astype("M8[D]") - first).astype(np.int64)
        if (bad := (year == 0) | (month == 0) | (day == 0) | (day > in_month)).any():
            which = int(np.argmax(bad))
            shown = f"{year[which]:04}-{month[which]:02}-{day[which]:02}"
            problems[field.name] = Problem(f"holds {shown}, which no datetime can: carried as text", "text")
        clock = np.where(lengths > 4, self._here("<u4", 5), 0).astype(np.int64)
        micros = np.where(lengths > 7, self._here("<u4", 8), 0).astype(np.int64)
        seconds = (first.astype(np.int64) + day - 1) * 86_400 + _seconds(clock)
        self._advance(1 + lengths)
        return self._array(seconds * 1_000_000 + micros, field.dtype, ~dated)

    def _durations(self) -> pa.Array:
        lengths = self._lengths()
        some = lengths > 0
        days, clock = (np.where(some, self._here("<u4", offset), 0).astype(np.int64) for offset in (2, 6))
        micros = np.where(lengths > 8, self._here("<u4", 9), 0).astype(np.int64)
        whole = (days * 86_400 + _seconds(clock)) * 1_000_000 + micros
        negative = some & (self._here("u1", 1) != 0)
        self._advance(1 + lengths)
        return self._array(np.where(negative, -whole, whole), pa.duration("us"))


def _seconds(clock: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the seconds in a time of day whose hour, minute and second are one byte each."""
    return (clock & 255) * 3600 + (clock >> 8 & 255) * 60 + (clock >> 16 & 255)


# SQLite: a column's type is a wish, each value has its own

_LITERAL: Final = "literal"
_ZERO_DATE: Final = r"^0000-00-00([ T]00:00:00(\.0*)?)?$"
_DECLARED: Final = (
    (r"INT|BOOL|BIT|YEAR", pa.int64()),
    (r"TIMESTAMP", _INSTANT),
    (r"^DATE", _NAIVE),
    (r"CHAR|CLOB|TEXT|JSON|ENUM|UUID|TIME|^SET", _TEXT),
    (r"BLOB|BINARY|^$", _BYTES),
    (r"", pa.float64()),
)


def sqlite_field(name: str, declared: str, nullable: bool, ours: pa.DataType | None, carry: str) -> Field:
    """Return how a column of SQLite is carried.

    Parameters
    ----------
    name : str
    declared : str
        Its type in CREATE TABLE; may be empty.
    nullable : bool
    ours : pyarrow.DataType or None
        The width that imlib gives the column on MySQL; SQLite's INTEGER says none.
    carry : str
        A `Problem`'s way out, or "": as declared.
    """
    dtype = next(dtype for pattern, dtype in _DECLARED if re.search(pattern, declared.upper()))
    if dtype == pa.int64() and ours is not None and not carry:
        dtype = ours
    return Field(name, _TEXT if carry == _LITERAL else dtype, nullable, carry)


def sqlite_arrays(
    fields: Sequence[Field], rows: Sequence[tuple[Any, ...]], problems: dict[str, Problem]
) -> list[pa.Array]:
    """Decode a batch of rows; what can't be carried goes into ``problems``, its values as NULL."""
    return [_sqlite_array(field, values, problems) for field, values in zip(fields, zip(*rows, strict=True), strict=True)]


def _sqlite_array(field: Field, values: tuple[Any, ...], problems: dict[str, Problem]) -> pa.Array:
    if field.wire == _LITERAL:
        return pa.array([None if value is None else repr(value) for value in values], _TEXT)
    kinds = set(map(type, values)) - {type(None)}
    is_integer = pa.types.is_integer(field.dtype)
    expected = {float, int} if pa.types.is_floating(field.dtype) else {bytes} if field.dtype == _BYTES else {str}
    try:
        if odd := kinds - ({int} if is_integer else expected):
            raise TypeError(f"holds {' and '.join(sorted(kind.__name__ for kind in odd))}")
        if not pa.types.is_timestamp(field.dtype):
            return pa.array(values, field.dtype)
        text = pa.array(values, _TEXT)
        never = pc.match_substring_regex(text, _ZERO_DATE)
        return pc.if_else(never, None, text).cast(_NAIVE).cast(field.dtype)
    except TypeError as odd_types:
        problem = Problem(f"{odd_types}, and is declared otherwise: carried as Python literals", _LITERAL)
    except UnicodeEncodeError:
        problem = Problem("holds text that is no UTF-8: carried as Python literals", _LITERAL)
    except pa.ArrowInvalid:
        # Arrow's own words would show the value.
        wide = is_integer and field.dtype != pa.int64()
        problem = (
            Problem(f"holds numbers beyond {field.dtype}: carried as int64", "int64")
            if wide
            else Problem(f"holds what no {field.dtype} can: carried as Python literals", _LITERAL)
        )
    problems[field.name] = problem
    return pa.nulls(len(values), field.dtype)
