"""The session codec by the column: decode many hash entries at once into typed arrays.

It accepts exactly what `SessionStatus.from_key_value` accepts, by the same patterns, at a fraction
of the cost. Entries that don't match, or whose numbers are too wide, are set aside. For these
`why_malformed` says why the scalar codec refuses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imlib.session_status import (
    PARTS,
    PATTERNS,
    WRITTEN,
    Layout,
    SessionStatus,
    layout_of,
    why_malformed,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPES = {
    **dict.fromkeys(PARTS, "int64"),
    "server_id": "int32",
    "layout": "int8",
    "decoded": "bool",
}
_LAYOUTS = [*Layout]
# Fewer entries than this are decoded faster one by one: columns cost half a millisecond to start.
_COLUMNAR_FROM = 400


class MalformedEntry(NamedTuple):
    """One entry that no layout could have written.

    Parameters
    ----------
    row : int
        Its position in what was given to `decode_columns`.
    field, value : str or bytes
        The entry, as given.
    reason : str
        The scalar codec's words.
    """

    row: int
    field: str | bytes
    value: str | bytes
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class SessionColumns:
    """Decoded entries in the order given, one array per part. All arrays have the same length.

    Parameters
    ----------
    row : ndarray of int64
        The position of each decoded entry in what was given: use it to look up the user ids.
    auth_key_id, session_id, netlib_session_id, now : ndarray of int64
    server_id : ndarray of int32
    layout : ndarray of int8
        Which `Layout` each entry is in, by its position there: 0 is `Layout.DOCUMENTED`.
    malformed : list of MalformedEntry
        The other entries, in the order given.
    """

    row: NDArray[np.int64]
    auth_key_id: NDArray[np.int64]
    session_id: NDArray[np.int64]
    server_id: NDArray[np.int32]
    netlib_session_id: NDArray[np.int64]
    now: NDArray[np.int64]
    layout: NDArray[np.int8]
    malformed: list[MalformedEntry]

    def __len__(self) -> int:
        return len(self.row)

    def __repr__(self) -> str:
        return f"<SessionColumns: {len(self)} sessions, {len(self.malformed)} malformed>"


def decode_columns(fields: Sequence[str | bytes], values: Sequence[str | bytes]) -> SessionColumns:
    """Decode many entries, of one user's hash or of many.

    Parameters
    ----------
    fields, values : sequence of str or bytes
        The hash fields, and for each field its hash value.

    Returns
    -------
    SessionColumns
        Holds every entry once: decoded, or in ``malformed`` with the reason.

    Raises
    ------
    ValueError
        There are not as many values as fields.

    Examples
    --------
    >>> columns = decode_columns(["5_6", "5@6", "5_06"], ["9_1_2", "1@2@9", "9_1_2"])
    >>> columns.now.tolist(), columns.layout.tolist(), columns.row.tolist()
    ([9, 9], [0, 1], [0, 1])
    >>> columns.malformed[0].reason
    "session_id is no plain decimal integer (no sign but '-', no leading zero, no space)"
    """
    if len(fields) != len(values):
        raise ValueError(
            f"{len(fields)} fields and {len(values)} values: each field needs its value"
        )
    table = {name: np.zeros(len(fields), kind) for name, kind in _TYPES.items()}
    if len(fields) < _COLUMNAR_FROM:
        _fill_one_by_one(table, fields, values)
    else:
        _fill_by_column(table, _binary(fields), _binary(values))
    decoded = table.pop("decoded")
    return SessionColumns(
        row=np.flatnonzero(decoded),
        malformed=[
            MalformedEntry(row, fields[row], values[row], why_malformed(fields[row], values[row]))
            for row in np.flatnonzero(~decoded).tolist()
        ],
        **{name: column[decoded] for name, column in table.items()},
    )


_Table = dict[str, "NDArray[Any]"]
"""Columns as long as the input, filled where an entry is decoded."""


def _fill_one_by_one(
    table: _Table, fields: Sequence[str | bytes], values: Sequence[str | bytes]
) -> None:
    for row, (field, value) in enumerate(zip(fields, values, strict=True)):
        if status := SessionStatus.parse_key_value(field, value, user_id=0):
            table["decoded"][row] = True
            table["layout"][row] = _LAYOUTS.index(layout_of(field))
            for name in PARTS:
                table[name][row] = getattr(status, name)


def _fill_by_column(table: _Table, fields: pa.Array, values: pa.Array) -> None:
    row = np.arange(len(fields))
    entries = pa.record_batch({"row": row, "field": fields, "value": values})
    separated = [pc.match_substring(fields, layout.separator) for layout in WRITTEN]
    alone = pc.invert(pc.or_(*separated))
    for at, (layout, which) in enumerate(zip(Layout, (*separated, alone), strict=True)):
        candidates = entries.filter(which)
        if len(candidates):
            decoded = _decode(candidates, layout)
            rows = decoded["row"].to_numpy()
            table["decoded"][rows] = True
            table["layout"][rows] = at
            for name in decoded.schema.names[1:]:
                table[name][rows] = decoded[name].to_numpy()


def _decode(entries: pa.RecordBatch, layout: Layout) -> pa.RecordBatch:
    """Return the rows that are in a layout, with one column per part."""
    columns = {"row": entries["row"]}
    for text, pattern in zip(("field", "value"), PATTERNS[layout], strict=True):
        # A text that doesn't match becomes null.
        groups = pc.extract_regex(entries[text], rf"\A{pattern}\z")
        for part, digits in zip(groups.type, groups.flatten(), strict=True):
            columns[part.name] = _integers(part.name, digits.view(pa.large_string()))
    return pa.record_batch(columns).drop_null()


def _integers(name: str, digits: pa.Array) -> pa.Array:
    """Cast decimal digits to a part's type. What is outside its width becomes null."""
    try:
        return digits.cast(_TYPES[name])
    except pa.ArrowInvalid:
        # At least one is too wide, and the error doesn't say which.
        numbers = digits.cast(pa.decimal128(19))
        # Without a check: what is too wide is cut, and then differs.
        integers = numbers.cast(_TYPES[name], safe=False)
        return pc.if_else(pc.equal(integers, numbers), integers, None)


def _binary(entries: Sequence[str | bytes]) -> pa.Array:
    """Return entries as bytes. What is not ASCII, or neither str nor bytes, is null."""
    known: Sequence[object] = entries
    if set(map(type, entries)) != {bytes}:
        known = [_bytes_or_none(entry) for entry in entries]
    return pa.array(known, pa.large_binary())


def _bytes_or_none(entry: object) -> bytes | None:
    if isinstance(entry, str):
        return entry.encode() if entry.isascii() else None
    return entry if isinstance(entry, bytes) else None
