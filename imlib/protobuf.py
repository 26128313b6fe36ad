"""Protobuf as it lies in bytes: numbered fields, read without a description of the message."""

# Thirty lines instead of the package protobuf: that reads by a compiled description, and of
# telegramd's messages only some fields are known; it keeps unknown ones apart, and mends none.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

VARINT = 0
LENGTH = 2
_FIXED = {1: 8, 5: 4}
_LAST_NUMBER = 2**29 - 1


def read_fields(raw: bytes) -> Iterator[tuple[int, int, Any]]:
    r"""Yield the number, wire type and value of each field of a message.

    Raises
    ------
    ValueError, LookupError
        The bytes are no message, or end within a field.

    Examples
    --------
    >>> list(read_fields(b"\x08\x07\x6a\x02hi"))
    [(1, 0, 7), (13, 2, b'hi')]
    """
    at, end = 0, len(raw)
    while at < end:
        key, at = _varint(raw, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(raw, at)
            # Negative numbers are written as 64 bits.
            found: Any = value - (1 << 64) if value >> 63 else value
        else:
            size, at = _varint(raw, at) if wire == LENGTH else (_FIXED[wire], at)
            found, at = raw[at : at + size], at + size
        if at > end or not 0 < number <= _LAST_NUMBER:
            raise ValueError(number)
        yield number, wire, found


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at a place, and the place after it."""
    value = raw[at]
    size = 1
    while raw[at + size - 1] > 127 and size < 10:
        value += raw[at + size] - 1 << 7 * size  # less the 128 of the byte before
        size += 1
    if raw[at + size - 1] > 127 or value >> 64:
        raise ValueError(value)
    return value, at + size


def by_number(raw: bytes, levels: int = 2) -> dict[int, Any] | bytes:
    """Return a message's values by field number, so many levels deep; what is none stays bytes.

    The values of a repeated field are a list.
    """
    held: dict[int, list[Any]] = {}
    try:
        for number, wire, value in read_fields(raw):
            inner = by_number(value, levels - 1) if wire == LENGTH and levels > 1 else value
            held.setdefault(number, []).append(inner)
    except (ValueError, LookupError):
        return raw
    return {number: values if len(values) > 1 else values[0] for number, values in held.items()}
