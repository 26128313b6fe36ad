"""One online session and its codec: a record from and to a Redis key, hash field and hash value.

There are three wire layouts. imlib writes the specification's by default; the deployed server
(telegramd) writes another, and from October 2018 on a third, which imlib reads and never writes.
A reader never guesses: their separators tell the first two apart, and the third has none in its
field, a time of 1,500,000,000 or later, and a layer of 1 to 9999::

                 documented (the specification)         deployed (telegramd)
    key          online_{user_id}                       online_{user_id}
    field        {auth_key_id}_{session_id}             {auth_key_id}@{session_id}
    value        {now}_{server_id}_{netlib_session_id}  {server_id}@{netlib_session_id}@{now}

                 deployed_2018 (telegramd, from October 2018; read only)
    field        {auth_key_id}
    value        {server_id}@{now}@{layer}

Source: type SessionStatus and the design notes of the specification.
"""

from __future__ import annotations

import operator
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import repeat
from typing import Self

from imlib.errors import CodecError, InvalidValueError, shortened

KEY_PREFIX = "online_"
"""The start of a user's Redis key; the user id follows."""

_INT32 = (-(2**31), 2**31 - 1)
_INT64 = (-(2**63), 2**63 - 1)
WIDTHS = {
    "user_id": _INT32,
    "auth_key_id": _INT64,
    "session_id": _INT64,
    "server_id": _INT32,
    "netlib_session_id": _INT64,
    "now": _INT64,
}
"""The least and the greatest value of each attribute of a session."""
FIELD_PARTS = ("auth_key_id", "session_id")
PARTS = (*FIELD_PARTS, "server_id", "netlib_session_id", "now")
"""All that an entry holds, in the order of `SessionStatus`; only the user id is in the key."""


class Layout(StrEnum):
    """How a session is written in Redis.

    Examples
    --------
    >>> Layout.DEPLOYED.separator, Layout.DEPLOYED.value_parts
    ('@', ('server_id', 'netlib_session_id', 'now'))
    """

    DOCUMENTED = "documented"
    """The specification's: ``_`` between the parts, the time first in the value."""
    DEPLOYED = "deployed"
    """telegramd's: ``@`` between the parts, the time last in the value."""
    DEPLOYED_2018 = "deployed_2018"
    """telegramd's from October 2018 on: one entry per auth key. It is read, and never written.

    ``session_id`` and ``netlib_session_id`` read as 0; the layer, the client's version of the API,
    is not kept.
    """

    @property
    def separator(self) -> str:
        """The one character between two parts."""
        return "_" if self is Layout.DOCUMENTED else "@"

    @property
    def value_parts(self) -> tuple[str, str, str]:
        """What the hash value holds, in order: attributes of `SessionStatus`, or the layer."""
        if self is Layout.DOCUMENTED:
            return ("now", "server_id", "netlib_session_id")
        if self is Layout.DEPLOYED:
            return ("server_id", "netlib_session_id", "now")
        return ("server_id", "now", "layer")


WRITTEN = (Layout.DOCUMENTED, Layout.DEPLOYED)
"""The layouts that can be written."""


def layout_of(field: str | bytes) -> Layout:
    """Return the layout of an entry by its field, given that it can be decoded."""
    text = field if isinstance(field, str) else field.decode("latin-1")
    for layout in WRITTEN:
        if layout.separator in text:
            return layout
    return Layout.DEPLOYED_2018


@dataclass(frozen=True, slots=True)
class SessionStatus:
    """One client instance that is online: whose it is, which server reported it, and when.

    Parameters
    ----------
    user_id : int
        int32. The user; the Redis key is named after it.
    auth_key_id : int
        int64, signed: half of the real ones are negative. Identifies a device.
    session_id : int
        int64, signed. Identifies a session of that device; (auth_key_id, session_id) identifies a
        client instance.
    server_id : int
        int32. The server that holds the client's connection.
    netlib_session_id : int
        int64. That server's own number for the connection.
    now : int
        int64, Unix seconds. When the server reported the session.

    Raises
    ------
    CodecError
        A value is no integer, or is outside its width.

    Notes
    -----
    Anything with ``__index__`` counts as an integer, numpy's integers too, and is kept as `int`;
    `bool` is refused. Source: type SessionStatus of the specification.

    Examples
    --------
    >>> status = SessionStatus(7, -9223372036854775808, 9223372036854775807, 1, 42, 1512270533)
    >>> status.to_key(), status.to_field(), status.to_value()
    ('online_7', '-9223372036854775808_9223372036854775807', '1512270533_1_42')
    >>> status.to_value(Layout.DEPLOYED)
    '1@42@1512270533'
    """

    user_id: int
    auth_key_id: int
    session_id: int
    server_id: int
    netlib_session_id: int
    now: int

    def __post_init__(self) -> None:
        # This condition is written for speed. Where it fails, each value is checked on its own.
        if not (
            type(self.user_id) is type(self.auth_key_id) is type(self.session_id) is int
            and type(self.server_id) is type(self.netlib_session_id) is type(self.now) is int
            and -0x80000000 <= self.user_id <= 0x7FFFFFFF
            and -0x8000000000000000 <= self.auth_key_id <= 0x7FFFFFFFFFFFFFFF
            and -0x8000000000000000 <= self.session_id <= 0x7FFFFFFFFFFFFFFF
            and -0x80000000 <= self.server_id <= 0x7FFFFFFF
            and -0x8000000000000000 <= self.netlib_session_id <= 0x7FFFFFFFFFFFFFFF
            and -0x8000000000000000 <= self.now <= 0x7FFFFFFFFFFFFFFF
        ):
            for name in WIDTHS:
                object.__setattr__(self, name, check_width(name, getattr(self, name)))

    def to_key(self) -> str:
        """Return the name of the Redis key that holds all sessions of this user."""
        return f"online_{self.user_id}"

    def to_field(self, layout: Layout = Layout.DOCUMENTED) -> str:
        """Return the hash field that names this session within its user's key.

        Raises
        ------
        InvalidValueError
            The layout is only read.
        """
        if layout == "documented":
            return f"{self.auth_key_id}_{self.session_id}"
        return f"{self.auth_key_id}{_written(layout).separator}{self.session_id}"

    def to_value(self, layout: Layout = Layout.DOCUMENTED) -> str:
        """Return the hash value: when the session was reported, by which server and connection.

        Raises
        ------
        InvalidValueError
            The layout is only read.
        """
        if layout == "documented":
            return f"{self.now}_{self.server_id}_{self.netlib_session_id}"
        chosen = _written(layout)
        return chosen.separator.join(str(getattr(self, part)) for part in chosen.value_parts)

    @classmethod
    def from_key_value(cls, field: str | bytes, value: str | bytes, *, user_id: int) -> Self:
        """Decode one entry of a user's hash, in any layout.

        Parameters
        ----------
        field, value : str or bytes
            The hash field and the hash value, as Redis gave them.
        user_id : int
            int32. The user whose hash it is; the entry doesn't say (see `user_id_from_key`).

        Returns
        -------
        SessionStatus

        Raises
        ------
        CodecError
            The entry is of no layout. No input raises anything else.

        Examples
        --------
        >>> SessionStatus.from_key_value("-5_6", b"1512270533_1_42", user_id=7).session_id
        6
        >>> SessionStatus.from_key_value("-5@6", "1512270533_1_42", user_id=7)
        Traceback (most recent call last):
        ...
        imlib.errors.CodecError: the field is separated by '@', the value by '_': both must be of \
one layout (field '-5@6', value '1512270533_1_42')
        """
        status = cls.parse_key_value(field, value, user_id=user_id)
        if status is None:
            raise CodecError(field, value, why_malformed(field, value, user_id))
        return status

    @classmethod
    def parse_key_value(
        cls, field: str | bytes, value: str | bytes, *, user_id: int
    ) -> Self | None:
        """Decode one entry as `from_key_value` does, but return None where that raises."""
        try:
            text = field if isinstance(field, str) else bytes.decode(field, "ascii")
            stamp = value if isinstance(value, str) else bytes.decode(value, "ascii")
            # No part may hold a space, so it keeps the two apart.
            entry = f"{text} {stamp}"
            for pattern in _ENTRIES:
                if found := pattern.fullmatch(entry):
                    if pattern.groups == len(PARTS):
                        return cls(user_id, *map(int, found.group(*PARTS)))
                    parts = {part: int(digits) for part, digits in found.groupdict().items()}
                    return cls(user_id, **_NO_PARTS | parts)
        except (ValueError, TypeError):
            pass  # not ASCII, neither str nor bytes, or too wide
        return None

    @classmethod
    def parse_many(
        cls, fields: Sequence[bytes], values: Sequence[bytes], user_ids: Sequence[int]
    ) -> list[Self | None]:
        """Decode many entries as `parse_key_value` does each, at half the cost if all are good."""
        text = b"\n".join(map(b" ".join, zip(fields, values, strict=True))).decode("latin-1")
        for lines in _ENTRIES:
            if not lines.match(text):
                continue  # it is not of this layout alone
            rows = lines.findall(text)
            # Where an entry holds the end of a line, lines are not entries.
            if not len(rows) == len(fields) == text.count("\n") + 1:
                continue
            columns = dict.fromkeys(WIDTHS, [0] * len(rows)) | {"user_id": user_ids}
            for name, column in zip(
                lines.groupindex,
                zip(*rows, strict=True),
                strict=True,
            ):
                columns[name] = list(map(int, column))
            if all(
                low <= min(columns[name]) and max(columns[name]) <= high
                for name, (low, high) in WIDTHS.items()
            ):
                found: list[Self | None] = list(map(object.__new__, repeat(cls, len(rows))))
                for name, numbers in columns.items():
                    deque(map(getattr(cls, name).__set__, found, numbers), maxlen=0)
                return found
        return [
            cls.parse_key_value(field, value, user_id=owner)
            for field, value, owner in zip(
                fields,
                values,
                user_ids,
                strict=True,
            )
        ]


def _written(layout: Layout) -> Layout:
    chosen = Layout(layout)
    if chosen not in WRITTEN:
        allowed = ", ".join(WRITTEN)
        raise InvalidValueError(f"layout {chosen} is only read: {allowed} can be written")
    return chosen


def user_id_from_key(key: str | bytes) -> int:
    """Return the id of the user whose sessions a Redis key holds.

    Raises
    ------
    CodecError
        The key is not ``online_`` and an int32 in plain decimal.

    Examples
    --------
    >>> user_id_from_key(b"online_-7")
    -7
    """
    try:
        given = key if isinstance(key, bytes) else str.encode(key, "ascii")
        user_id = int(given[len(KEY_PREFIX) :])
        if b"online_%d" % check_width("user_id", user_id) == given:
            return user_id
    except (ValueError, TypeError):  # CodecError is a ValueError
        pass
    rule = "the key is not online_ and a user id, an int32 in plain decimal"
    raise CodecError(key, None, _ascii_problem("key", key) or rule)


def parse_int64(text: bytes) -> int | None:
    """Return a plain decimal int64 as a number, and None for anything else."""
    if not re.fullmatch(_NUMBER.encode(), text):
        return None
    number = int(text)
    return number if _INT64[0] <= number <= _INT64[1] else None


def check_width(name: str, value: object) -> int:
    """Return a value as an `int`; raise `CodecError` if attribute ``name`` can't hold it."""
    if isinstance(value, bool):
        raise CodecError(name, value, f"{name} must be an integer, not a bool")
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # or TypeError
    except Exception as problem:
        raise CodecError(
            name, value, f"{name} must be an integer, not {type(value).__name__}"
        ) from problem
    low, high = WIDTHS[name]
    if not low <= number <= high:
        raise CodecError(name, value, f"{name} is outside its width, {low} to {high}")
    return number


def distinct_users(user_ids: Iterable[int]) -> list[int]:
    """Return user ids as plain ints, each once, in order; raise `InvalidValueError` if no int32."""
    given = list(user_ids)
    low, high = WIDTHS["user_id"]
    if (
        set(map(type, given)) <= {int}
        and low <= min(given, default=low) <= max(given, default=high) <= high
    ):
        # The usual case costs a tenth of what follows.
        return list(dict.fromkeys(given))
    try:
        return list(dict.fromkeys(check_width("user_id", user_id) for user_id in given))
    except CodecError as problem:
        raise InvalidValueError(f"{shortened(problem.value)}: {problem.reason}") from None


# A number is canonical: it matches exactly when encoding it gives the same text back.
# No width has more digits.
_NUMBER = "0|-?[1-9][0-9]{0,18}"
_SINCE_2017 = "1[5-9][0-9]{8}|[2-9][0-9]{9}|[1-9][0-9]{10,18}"
_DECIMAL = re.compile("0|-?[1-9][0-9]*")


def _pattern(parts: tuple[str, ...], separator: str) -> str:
    return separator.join(f"(?P<{part}>{_NUMBER})" for part in parts)


PATTERNS = {
    layout: (
        _pattern(FIELD_PARTS, layout.separator),
        _pattern(layout.value_parts, layout.separator),
    )
    for layout in WRITTEN
} | {
    # A deployed entry whose field was cut has its time where the layer would be.
    Layout.DEPLOYED_2018: (
        _pattern(("auth_key_id",), ""),
        f"{_pattern(('server_id',), '')}@(?P<now>{_SINCE_2017})@[1-9][0-9]{{0,3}}",
    )
}
"""The shape of a hash field and of a hash value in each layout, with a named group per part."""
_NO_PARTS = dict.fromkeys(PARTS, 0)
_ENTRIES = [re.compile(f"^{' '.join(both)}$", re.MULTILINE) for both in PATTERNS.values()]


def why_malformed(field: object, value: object, user_id: object = 0) -> str:
    """Return why an entry is refused, given that it is."""
    if problem := _ascii_problem("field", field) or _ascii_problem("value", value):
        return problem
    text, stamp = _text(field), _text(value)
    layout, another = Layout.DOCUMENTED, Layout.DEPLOYED
    if another.separator in text:
        layout, another = another, layout
    separator, other = layout.separator, another.separator
    if separator not in text and stamp.count(other) == 2 and separator not in stamp:
        return (
            _parts_problem("field", text, ("auth_key_id",), other)
            or _parts_problem("value", stamp, Layout.DEPLOYED_2018.value_parts, other)
            or _width_problem("user_id", user_id)
            or "a field without session_id is of October 2018's layout, whose value has a time of "
            "1500000000 or later and a layer of 1 to 9999"
        )
    if separator in text and other in stamp and separator not in stamp:
        return (
            f"the field is separated by {separator!r}, the value by {other!r}: both must be of "
            "one layout"
        )
    return (
        _parts_problem("field", text, FIELD_PARTS, separator)
        or _parts_problem("value", stamp, layout.value_parts, separator)
        or _width_problem("user_id", user_id)
        or "the entry is not what any layout would write"
    )


def _parts_problem(what: str, text: str, names: Sequence[str], separator: str) -> str | None:
    parts = text.split(separator)
    if len(parts) != len(names):
        wanted = separator.join(f"{{{name}}}" for name in names)
        given = f"{len(parts)} part{'s' if len(parts) > 1 else ''}"
        return f"the {what} has {given}, {wanted} has {len(names)}"
    for name, part in zip(names, parts, strict=True):
        if not part:
            return f"{name} is empty"
        if not _DECIMAL.fullmatch(part):
            rule = "no sign but '-', no leading zero, no space"
            return f"{name} is no plain decimal integer ({rule})"
        # Python refuses to convert thousands of digits; 21 characters are outside of every width.
        if name in WIDTHS and (problem := _width_problem(name, int(part[:21]))):
            return problem
    return None


def _width_problem(name: str, value: object) -> str | None:
    try:
        check_width(name, value)
    except CodecError as problem:
        return problem.reason
    return None


def _text(given: object) -> str:
    return str(given, "ascii") if isinstance(given, bytes | bytearray) else str(given)


def _ascii_problem(what: str, given: object) -> str | None:
    if not isinstance(given, (str, bytes)):
        return f"the {what} must be str or bytes, not {type(given).__name__}"
    return None if given.isascii() else f"the {what} holds characters that are not ASCII"
