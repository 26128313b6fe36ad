"""MySQL's and MariaDB's binary rows as Arrow arrays: one column of all rows at a time.

A binary row is a zero byte, a bitmap of the columns that are NULL, then the values of the other
columns: numbers in their own width, text and bytes after their length, dates and times after a
length of 0 to 12. See "Binary Protocol Resultset Row" in MySQL's documentation of its client/server
protocol.

A value's place depends on all values before it in its row. So the columns are read from left to
right, each with a few numpy operations over all rows, and never a row by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
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

_WIDTHS = {
    FIELD_TYPE.TINY: 1,
    FIELD_TYPE.SHORT: 2,
    FIELD_TYPE.YEAR: 2,
    FIELD_TYPE.INT24: 4,
    FIELD_TYPE.LONG: 4,
    FIELD_TYPE.LONGLONG: 8,
}
_OTHERS = {
    FIELD_TYPE.FLOAT: pa.float32(),
    FIELD_TYPE.DOUBLE: pa.float64(),
    FIELD_TYPE.DATE: NAIVE,
    FIELD_TYPE.DATETIME: NAIVE,
    FIELD_TYPE.TIMESTAMP: INSTANT,
    FIELD_TYPE.TIME: pa.duration("us"),
    # It is text, although the server calls its character set binary.
    FIELD_TYPE.JSON: TEXT,
}
_BINARY_CHARSET = 63
"""The collation's number that tells a BLOB from a TEXT, which have the same type code."""
_HEADER_BYTES = 1
_NULL_BITMAP_OFFSET = 2
"""A row's bitmap begins with two bits that belong to no column."""
_LONGEST_SHORT = 250
"""A length up to this is one byte. Before a greater one is a byte that tells its width."""
_LENGTH_BYTES = {252: 2, 253: 3, 254: 8}
_GATHERED_BYTES = 64
"""Up to this mean length values are copied by an index per byte, beyond by a slice per value."""


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
        width = next(width for width in (1, 2, 4, 8) if one.length <= 8 * width)
        return pa.from_numpy_dtype(f"u{width}")
    if code in (FIELD_TYPE.NEWDECIMAL, FIELD_TYPE.DECIMAL):
        # The length is that of the text: with a point, and with a sign unless it is unsigned.
        digits = one.length - (one.scale > 0) - (not unsigned)
        decimal = pa.decimal128 if digits <= 38 else pa.decimal256
        return decimal(digits, one.scale)
    if code in _OTHERS:
        return _OTHERS[code]
    return BYTES if one.charsetnr == _BINARY_CHARSET else TEXT


def mysql_arrays(
    fields: Sequence[Field], rows: Rows, problems: dict[str, Problem]
) -> list[pa.Array]:
    """Decode a batch of rows; a column that can't be carried is noted in ``problems``, as NULLs."""
    walk = _Walk(rows, len(fields))
    return list(map(partial(walk.next_column, problems=problems), fields))


class _Walk:
    """Goes through all rows of a batch at once, one column further with each call."""

    def __init__(self, rows: Rows, columns: int) -> None:
        self._buffer, self._starts = rows
        bitmap_bytes = (columns + _NULL_BITMAP_OFFSET + 7) // 8
        # Where each row's next value begins.
        self._at = self._starts + _HEADER_BYTES + bitmap_bytes
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
        """Return the bytes at each row's place as a number; where its value is NULL, any number.

        One array over the buffer begins at every byte: overlapping windows, of which one per row is
        taken. `PADDING` keeps the last of them inside of the buffer.
        """
        size = len(self._buffer) - np.dtype(dtype).itemsize + 1
        windows: NDArray[Any] = np.ndarray((size,), dtype, self._buffer, strides=(1,))
        return windows[self._at + offset]

    def _advance(self, width: int | NDArray[np.int64]) -> None:
        self._at = self._at + (np.where(self._null, 0, width) if self._null.any() else width)

    def _array(self, values: NDArray[Any], dtype: pa.DataType) -> pa.Array:
        return pa.array(values, mask=self._null if self._null.any() else None).cast(dtype)

    def _lengths(self) -> NDArray[np.int64]:
        return self._part(~self._null, "u1", 0)

    def _part(
        self, present: NDArray[np.bool_], dtype: str, offset: int, otherwise: int = 0
    ) -> NDArray[np.int64]:
        """Return a part of each row's value, and ``otherwise`` where it is not present."""
        return np.where(present, self._here(dtype, offset), otherwise).astype(np.int64)

    def _bytes(self) -> pa.Array:
        lengths = self._lengths()
        heads: Any = 1  # bytes before each value
        if (lengths > _LONGEST_SHORT).any():
            prefix, long = lengths, self._here("<u8", 1).astype(np.int64)
            heads = np.ones_like(prefix)
            for value, width in _LENGTH_BYTES.items():
                # Of the 8 bytes after the prefix, the first ones; a length of 8 bytes is positive.
                mask = (1 << min(8 * width, 63)) - 1
                lengths = np.where(prefix == value, long & mask, lengths)
                heads[prefix == value] += width
        begins = self._at + heads
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        valid = np.packbits(~self._null, bitorder="little")
        if offsets[-1] > _GATHERED_BYTES * len(lengths):
            slices = map(slice, begins.tolist(), (begins + lengths).tolist())
            content: Any = b"".join(map(self._buffer.data.__getitem__, slices))
        else:
            # The place in the buffer of each byte of the result: how far its value was moved, and
            # the byte's own number. 32 bits are enough for a batch.
            index = np.repeat((begins - offsets[:-1]).astype(np.int32), lengths)
            index += np.arange(len(index), dtype=np.int32)
            content = self._buffer[index]
        self._advance(heads + lengths)
        buffers = list(map(pa.py_buffer, (valid, offsets, content)))
        return pa.Array.from_buffers(BYTES, len(lengths), buffers)

    def _bits(self, dtype: pa.DataType) -> pa.Array:
        # A BIT is 1 to 8 bytes, the highest first: of 8 bytes those after it are shifted out.
        lengths = self._lengths()
        excess = 8 * (8 - np.maximum(lengths, 1))
        values = self._here(">u8", 1).astype(np.uint64) >> excess.astype(np.uint64)
        self._advance(1 + lengths)
        return self._array(values, dtype)

    def _moments(self, field: Field, problems: dict[str, Problem]) -> pa.Array:
        # A zero date has no bytes. A date has 4, a time of day 3 more, microseconds 4 more.
        lengths = self._lengths()
        dated = lengths > 0
        # A zero date or NULL counts as a real date here, so that the check of days passes.
        year = self._part(dated, "<u2", 1, otherwise=1970)
        month = self._part(dated, "u1", 3, otherwise=1)
        day = self._part(dated, "u1", 4, otherwise=1)
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
        whole = self._micros(first.astype(np.int64) + day - 1, lengths, 5)
        self._advance(1 + lengths)
        self._null = ~dated
        return self._array(whole, field.dtype)

    def _durations(self) -> pa.Array:
        # A sign, 4 bytes of days, 3 of a time of day, 4 of microseconds; nothing at all for zero.
        lengths = self._lengths()
        some = lengths > 0
        whole = self._micros(self._part(some, "<u4", 2), lengths, 6)
        negative = some & (self._here("u1", 1) != 0)
        self._advance(1 + lengths)
        return self._array(np.where(negative, -whole, whole), pa.duration("us"))

    def _micros(self, days: NDArray[np.int64], lengths: NDArray[np.int64], at: int) -> Any:
        """Return the microseconds in days and in the time of day that begins ``at`` a byte.

        Hour, minute and second are one byte each.
        """
        clock = self._part(lengths >= at, "<u4", at)
        minutes = (days * 24 + (clock & 255)) * 60 + (clock >> 8 & 255)
        seconds = minutes * 60 + (clock >> 16 & 255)
        return seconds * 1_000_000 + self._part(lengths > at + 2, "<u4", at + 3)
