"""MySQL's and MariaDB's binary rows as Arrow arrays: a column at a time, in all rows of a batch at
once.

A binary row is a zero byte, a bitmap of the columns that are NULL, then the values of the others
one after the other: numbers in their own width, text and bytes behind their length, dates and times
behind a length of 0 to 12. See "Binary Protocol Resultset Row" in MySQL's documentation of its
client/server protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from pymysql.constants import FIELD_TYPE, FLAG

from imlib.snapshot.description import (
    BYTES,
    INSTANT,
    NAIVE,
    NUMBERS,
    TEXT,
    ZERO_DATE,
    Carrier,
    Field,
    Problem,
)
from imlib.snapshot.mysql_protocol import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    FIELD_TYPE.DATE: NAIVE,
    FIELD_TYPE.DATETIME: NAIVE,
    FIELD_TYPE.TIMESTAMP: INSTANT,
    FIELD_TYPE.TIME: pa.duration("us"),
    FIELD_TYPE.JSON: TEXT,  # its character set is given as binary
}
_BINARY_CHARSET: Final = 63
_HEADER_BYTES: Final = 1
_NULL_BITMAP_OFFSET: Final = 2
"""A row's bitmap begins with two bits that belong to no column."""
_LONGEST_SHORT: Final = 250
"""A length up to this is one byte; a greater one is a prefix, which tells its width, and then the
length itself.
"""
_LENGTH_BYTES: Final = {252: 2, 253: 3, 254: 8}
_GATHERED_BYTES: Final = 64
"""Mean length up to which values are copied by an index per byte, not by a slice per value."""


def mysql_fields(described: Sequence[Any], carriers: Mapping[str, Carrier]) -> list[Field]:
    """Return the fields of a result from what the server says of them (`BinaryCursor.fields`)."""
    fields = []
    for one in described:
        nullable = not one.flags & FLAG.NOT_NULL
        fields.append(
            Field(one.name, _mysql_type(one), nullable, carriers[one.name], one.type_code)
        )
    return fields


def _mysql_type(one: Any) -> pa.DataType:
    code, unsigned = one.type_code, bool(one.flags & FLAG.UNSIGNED)
    if width := _WIDTHS.get(code):
        return pa.from_numpy_dtype(f"{'u' if unsigned else 'i'}{width}")
    if code == FIELD_TYPE.BIT:
        return next(
            dtype
            for dtype in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
            if one.length <= dtype.bit_width
        )
    if code in (FIELD_TYPE.NEWDECIMAL, FIELD_TYPE.DECIMAL):
        digits = one.length - (one.scale > 0) - (not unsigned)
        return (
            pa.decimal128(digits, one.scale) if digits <= 38 else pa.decimal256(digits, one.scale)
        )
    if code in _OTHERS:
        return _OTHERS[code]
    return BYTES if one.charsetnr == _BINARY_CHARSET else TEXT


def mysql_arrays(
    fields: Sequence[Field], rows: Rows, problems: dict[str, Problem]
) -> list[pa.Array]:
    """Decode a batch of rows, a column at a time; what can't be carried goes into ``problems``, its
    values as NULL.
    """
    walk = _Walk(rows, len(fields))
    return list(map(partial(walk.next_column, problems=problems), fields))


class _Walk:
    """Goes through all rows of a batch side by side, one column further with each call."""

    def __init__(self, rows: Rows, columns: int) -> None:
        self._buffer, self._starts = rows
        bitmap_bytes = (columns + _NULL_BITMAP_OFFSET + 7) // 8
        self._at = self._starts + _HEADER_BYTES + bitmap_bytes  # where each row's next value begins
        self._bit = _NULL_BITMAP_OFFSET
        self._null = np.zeros(len(self._starts), dtype=bool)

    def next_column(self, field: Field, problems: dict[str, Problem]) -> pa.Array:
        flags = self._buffer[self._starts + _HEADER_BYTES + self._bit // 8]
        self._null = (flags & (1 << self._bit % 8)) != 0
        self._bit += 1
        if pa.types.is_timestamp(field.dtype):
            return self._moments(field, problems)
        if pa.types.is_duration(field.dtype):
            return self._durations()
        if field.mysql_type == FIELD_TYPE.BIT:
            return self._bits(field.dtype)
        if field.dtype in NUMBERS:
            width = field.dtype.bit_width // 8
            values = self._here(np.dtype(field.dtype.to_pandas_dtype()).newbyteorder("<").str)
            self._advance(width)
            return self._array(values, field.dtype)
        raw = self._bytes()
        if field.dtype == BYTES:
            return raw
        try:
            text = raw.cast(TEXT)
        except pa.ArrowInvalid:
            problems[field.name] = Problem(
                "holds text that is no UTF-8: carried as bytes", Carrier.BYTES
            )
            return pa.nulls(len(raw), field.dtype)
        return text if field.dtype == TEXT else text.cast(field.dtype)

    def _here(self, dtype: str, offset: int = 0) -> NDArray[Any]:
        """Return what stands at every row's place, as one type; where nothing of it is left,
        whatever is there.
        """
        size = len(self._buffer) - np.dtype(dtype).itemsize + 1
        windows: NDArray[Any] = np.ndarray((size,), dtype, self._buffer, strides=(1,))
        return windows[self._at + offset]

    def _advance(self, width: int | NDArray[np.int64]) -> None:
        self._at = self._at + (np.where(self._null, 0, width) if self._null.any() else width)

    def _array(
        self, values: NDArray[Any], dtype: pa.DataType, never: NDArray[np.bool_] | None = None
    ) -> pa.Array:
        missing = self._null if never is None else never
        return pa.array(values, mask=missing if missing.any() else None).cast(dtype)

    def _lengths(self) -> NDArray[np.int64]:
        return np.where(self._null, 0, self._here("u1")).astype(np.int64)

    def _bytes(self) -> pa.Array:
        lengths = self._lengths()
        heads: Any = 1
        if (lengths > _LONGEST_SHORT).any():
            prefix, long = lengths, self._here("<u8", 1).astype(np.int64)
            heads = np.ones_like(prefix)
            for value, width in _LENGTH_BYTES.items():
                lengths = np.where(
                    prefix == value, long & (1 << 8 * width) - 1 if width < 8 else long, lengths
                )
                heads[prefix == value] += width
        begins = self._at + heads
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        valid = (
            pa.py_buffer(np.packbits(~self._null, bitorder="little")) if self._null.any() else None
        )
        content = pa.py_buffer(self._gathered(begins, lengths, offsets))
        self._advance(heads + lengths)
        return pa.Array.from_buffers(BYTES, len(lengths), [valid, pa.py_buffer(offsets), content])

    def _gathered(
        self, begins: NDArray[np.int64], lengths: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> Any:
        total = int(offsets[-1])
        if total > _GATHERED_BYTES * len(lengths):
            view = self._buffer.data
            ends = (begins + lengths).tolist()
            return b"".join(
                [view[begin:end] for begin, end in zip(begins.tolist(), ends, strict=True)]
            )
        index = np.repeat((begins - offsets[:-1]).astype(np.int32), lengths)
        index += np.arange(total, dtype=np.int32)
        return self._buffer[index]

    def _bits(self, dtype: pa.DataType) -> pa.Array:
        lengths = self._lengths()
        values = self._here(">u8", 1).astype(np.uint64) >> (
            8 * (8 - np.maximum(lengths, 1))
        ).astype(np.uint64)
        self._advance(1 + lengths)
        return self._array(values, dtype)

    def _moments(self, field: Field, problems: dict[str, Problem]) -> pa.Array:
        # The server sends 4 bytes for a date, 3 more for a time of day, 4 more for microseconds,
        # none for a zero date.
        lengths = self._lengths()
        dated = lengths > 0
        # Where there is no date, one that every calendar has.
        year = np.where(dated, self._here("<u2", 1), 1970).astype(np.int64)
        month = np.where(dated, self._here("u1", 3), 1).astype(np.int64)
        day = np.where(dated, self._here("u1", 4), 1).astype(np.int64)
        months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
        first = months.astype("M8[D]")
        in_month = ((months + 1).astype("M8[D]") - first).astype(np.int64)
        if (bad := (year == 0) | (month == 0) | (day == 0) | (day > in_month)).any():
            which = int(np.argmax(bad))
            shown = f"{year[which]:04}-{month[which]:02}-{day[which]:02}"
            problems[field.name] = Problem(
                f"holds {shown}, which no datetime can: carried as text", Carrier.TEXT
            )
        elif field.nullable and (~dated & ~self._null).any():
            problems.setdefault(field.name, ZERO_DATE)
        clock = np.where(lengths > 4, self._here("<u4", 5), 0).astype(np.int64)
        micros = np.where(lengths > 7, self._here("<u4", 8), 0).astype(np.int64)
        seconds = (first.astype(np.int64) + day - 1) * 86_400 + _seconds(clock)
        self._advance(1 + lengths)
        return self._array(seconds * 1_000_000 + micros, field.dtype, ~dated)

    def _durations(self) -> pa.Array:
        lengths = self._lengths()
        some = lengths > 0
        days, clock = (
            np.where(some, self._here("<u4", offset), 0).astype(np.int64) for offset in (2, 6)
        )
        micros = np.where(lengths > 8, self._here("<u4", 9), 0).astype(np.int64)
        whole = (days * 86_400 + _seconds(clock)) * 1_000_000 + micros
        negative = some & (self._here("u1", 1) != 0)
        self._advance(1 + lengths)
        return self._array(np.where(negative, -whole, whole), pa.duration("us"))


def _seconds(clock: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the seconds in a time of day whose hour, minute and second are one byte each."""
    seconds: NDArray[np.int64] = (
        (clock & 255) * 3600 + (clock >> 8 & 255) * 60 + (clock >> 16 & 255)
    )
    return seconds
