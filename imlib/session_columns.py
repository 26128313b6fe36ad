"""The session codec by the column: many hash entries at once to typed arrays, for snapshots and
large reads.

Gives the verdict of `SessionStatus.from_key_value` on every entry, at a fraction of its cost.
Entries that are all valid are told by how they convert; else one regular expression a layout holds
the whole rule, widths included, and what does not match it is handed to the scalar codec, which
says why.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imlib.errors import CodecError
from imlib.session_status import FIELD_PARTS, WIDTHS, Layout, SessionStatus

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MalformedEntry:
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
    """Decoded entries, one array a part, in the order given; all arrays are of one length.

    Parameters
    ----------
    row : ndarray of int64
        The position of each decoded entry in what was given: use it to pick the user ids that
        belong.
    auth_key_id, session_id, netlib_session_id, now : ndarray of int64
    server_id : ndarray of int32
    deployed : ndarray of bool
        True where the entry is of `Layout.DEPLOYED`.
    malformed : list of MalformedEntry
        The rest, in the order given.
    """

    row: NDArray[np.int64]
    auth_key_id: NDArray[np.int64]
    session_id: NDArray[np.int64]
    server_id: NDArray[np.int32]
    netlib_session_id: NDArray[np.int64]
    now: NDArray[np.int64]
    deployed: NDArray[np.bool_]
    malformed: list[MalformedEntry]

    def __len__(self) -> int:
        return len(self.row)

    def __repr__(self) -> str:
        return f"<SessionColumns: {len(self)} sessions, {len(self.malformed)} malformed>"


def decode_columns(fields: Sequence[str | bytes], values: Sequence[str | bytes]) -> SessionColumns:
    """Decode many entries of any users' hashes.

    Parameters
    ----------
    fields, values : sequence of str or bytes
        The hash fields and the hash values that belong to them, equally many.

    Returns
    -------
    SessionColumns
        Every entry is in it once: decoded, or in ``malformed`` with its reason.

    Raises
    ------
    ValueError
        There are not as many values as fields.

    Examples
    --------
    >>> columns = decode_columns(["5_6", "5@6", "5_06"], ["9_1_2", "1@2@9", "9_1_2"])
    >>> columns.now.tolist(), columns.deployed.tolist(), columns.row.tolist()
    ([9, 9], [False, True], [0, 1])
    >>> columns.malformed[0].reason
    "session_id is no plain decimal integer (no sign but '-', no leading zero, no space)"
    """
    if len(fields) != len(values):
        raise ValueError(
            f"{len(fields)} fields and {len(values)} values: each field needs its value"
        )
    left = np.arange(len(fields), dtype=np.int64)
    field_array, value_array = _binary(fields), _binary(values)
    rows, tables, deployed = [], [], np.zeros(len(fields), dtype=bool)
    for layout in Layout:
        # Documented first; what does not match is tried as deployed; what is left then is
        # malformed.
        valid, table = _decode(layout, field_array, value_array)
        rows.append(left[valid])
        tables.append(table)
        deployed[left[valid]] = layout is Layout.DEPLOYED
        left = left[~valid]
        if not len(left):
            break
        rest = pa.array(~valid)
        field_array, value_array = field_array.filter(rest), value_array.filter(rest)
    row, table = np.concatenate(rows), np.concatenate(tables)
    if len(rows) > 1:
        order = np.argsort(row, kind="stable")
        row, table = row[order], table[order]
    column = {name: np.ascontiguousarray(table[:, at]) for at, name in enumerate(_PARTS)}
    return SessionColumns(
        row=row,
        deployed=deployed[row],
        malformed=[_malformed(at, fields[at], values[at]) for at in left.tolist()],
        server_id=column.pop("server_id").astype(np.int32),
        **column,
    )


_PARTS: Final = (*FIELD_PARTS, *Layout.DOCUMENTED.value_parts)


def _decode(
    layout: Layout, fields: pa.Array, values: pa.Array
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return which entries are of one layout, and the parts of those in the order of _PARTS."""
    valid = np.ones(len(fields), dtype=bool)
    table = _all_valid(fields, values, layout)
    if table is None:
        # Judged with a space between: no part can then pass from the field to the value.
        matched = pc.match_substring_regex(
            _joined(fields, values, " "), _PATTERNS[layout]
        ).fill_null(False)
        valid = np.asarray(matched.to_numpy(zero_copy_only=False), dtype=np.bool_)
        entries = _joined(fields.filter(matched), values.filter(matched), layout.separator)
        table = _integers(_split(entries, layout))
    written = (*FIELD_PARTS, *layout.value_parts)
    return valid, table if written == _PARTS else table[:, [written.index(name) for name in _PARTS]]


def _all_valid(fields: pa.Array, values: pa.Array, layout: Layout) -> NDArray[np.int64] | None:
    """Return the parts of entries that are all valid, or None if any might not be.

    The usual case, told without the regular expression, whose compilation alone costs as much as
    decoding some thousand entries: no character but digits, ``-`` and the separator; five parts
    each, two of them the field's; no leading zero, no ``-0``; and pyarrow's parser, which then has
    only misplaced signs, empty parts and int64 to judge.
    """
    entries = _joined(fields, values, layout.separator)
    if not len(entries) or entries.null_count:
        return None
    _, offsets, data = entries.buffers()
    bounds = np.frombuffer(offsets, np.int64)[entries.offset : entries.offset + len(entries) + 1]
    text = np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]
    separator = ord(layout.separator)
    if not ((text - _ZERO <= 9) | (text == _MINUS) | (text == separator)).all():
        return None
    parts = _split(entries, layout)
    if not (np.diff(parts.offsets.to_numpy()) == len(_PARTS)).all():
        return None
    tokens = parts.flatten()
    _, offsets, data = tokens.buffers()
    bounds = np.frombuffer(offsets, np.int64)[: len(tokens) + 1]
    text = np.append(np.frombuffer(data, np.uint8), np.zeros(2, np.uint8))
    first, second, length = text[bounds[:-1]], text[bounds[:-1] + 1], np.diff(bounds)
    two_parts = length[:: len(_PARTS)] + 1 + length[1 :: len(_PARTS)]
    if (two_parts != pc.binary_length(fields).to_numpy(zero_copy_only=False)).any():
        return None
    if (
        ((first == _ZERO) & (length > 1)) | ((first == _MINUS) & (second == _ZERO) & (length > 1))
    ).any():
        return None
    try:
        table = _integers(parts)
    except pa.ArrowInvalid:
        return None
    narrow = table[:, (*FIELD_PARTS, *layout.value_parts).index("server_id")]
    low, high = WIDTHS["server_id"]
    return table if (narrow >= low).all() and (narrow <= high).all() else None


def _joined(fields: pa.Array, values: pa.Array, between: str) -> pa.Array:
    return pc.binary_join_element_wise(
        fields, values, pa.scalar(between.encode(), pa.large_binary())
    )


def _split(entries: pa.Array, layout: Layout) -> pa.Array:
    # What comes here is ASCII, so it can be looked at as strings without another check.
    return pc.split_pattern(entries.view(pa.large_string()), layout.separator)


def _integers(parts: pa.Array) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = parts.flatten().cast(pa.int64()).to_numpy(zero_copy_only=False)
    return numbers.reshape(-1, len(_PARTS))


_ZERO: Final = np.uint8(ord("0"))
_MINUS: Final = np.uint8(ord("-"))


def _malformed(row: int, field: str | bytes, value: str | bytes) -> MalformedEntry:
    try:
        SessionStatus.from_key_value(field, value, user_id=0)
    except CodecError as problem:
        return MalformedEntry(row, field, value, problem.reason)
    raise AssertionError(f"the two codecs disagree on {field!r}, {value!r}: please report this")


def _binary(entries: Sequence[str | bytes]) -> pa.Array:
    if set(map(type, entries)) <= {str, bytes}:
        with contextlib.suppress(UnicodeEncodeError):
            return pa.array(entries, pa.large_binary())
    # Something is neither str nor bytes, or not encodable: it becomes null, matches nothing and
    # gets its reason below.
    return pa.array([_bytes_or_none(entry) for entry in entries], pa.large_binary())


def _bytes_or_none(entry: object) -> bytes | None:
    if isinstance(entry, str):
        return entry.encode() if entry.isascii() else None
    return entry if isinstance(entry, bytes) else None


def _at_most(limit: str) -> str:
    """Return a pattern of the plain decimals from 1 to ``limit``: fewer digits, or the same start
    and then less.
    """
    length = len(limit)
    choices = [f"[1-9][0-9]{{0,{length - 2}}}"]
    for at, digit in enumerate(limit):
        lowest = 0 if at else 1
        if int(digit) > lowest:
            choices.append(f"{limit[:at]}[{lowest}-{int(digit) - 1}][0-9]{{{length - at - 1}}}")
    return "|".join([*choices, limit])


def _integer(name: str) -> str:
    low, high = WIDTHS[name]
    return f"(?:0|{_at_most(str(high))}|-(?:{_at_most(str(-low))}))"


def _pattern(layout: Layout) -> str:
    field, value = (
        layout.separator.join(map(_integer, parts)) for parts in (FIELD_PARTS, layout.value_parts)
    )
    return rf"\A{field} {value}\z"


_PATTERNS: Final = {layout: _pattern(layout) for layout in Layout}
