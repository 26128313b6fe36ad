"""Message bodies as ``messages.message_data`` holds them: imlib's JSON, and telegramd's two forms.

imlib writes JSON that fits every character set. telegramd wrote protobuf at the specification's
commit, and JSON of another shape from December 15, 2017 on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from imlib.constants import MessageType
from imlib.errors import InvalidValueError, shortened
from imlib.protobuf import LENGTH, VARINT, by_number, read_fields


class Encoding(StrEnum):
    """The form in which a body is stored."""

    JSON = "json"
    """imlib's."""
    GO_JSON = "go_json"
    """telegramd's: ``{"constructor": …, "data2": {…}}``, without the fields that are zero."""
    PROTOBUF = "protobuf"
    """telegramd's before that."""


class Body(NamedTuple):
    """A decoded body.

    Parameters
    ----------
    value : object
        JSON as it is. Of protobuf a dict: unknown fields, and those within a field, stand under
        their numbers, as int, bytes or dict, repeated ones as a list. Bytes that cannot be read.
    encoding : Encoding or None
        None where it cannot be read.
    problem : str or None
        Why not.
    """

    value: object
    encoding: Encoding | None = None
    problem: str | None = None

    def fields(self) -> dict[Any, Any]:
        """Return the message's fields by name; there are none in a body that is no message."""
        value: Any = self.value
        if self.encoding is Encoding.GO_JSON:
            value = value["data2"]
        return value if isinstance(value, dict) else {}

    def message_type(self, stored: int) -> int:
        """Return what the row's number means; beside its JSON telegramd counts from 1.

        A number that later servers added stays as it is stored.
        """
        try:
            return MessageType(stored - (self.encoding is Encoding.GO_JSON))
        except ValueError:
            return stored


_HEAD = ["out", "mentioned", "media_unread", "silent", "post", "id", "from_id", "to_id"]
_MESSAGE = dict(enumerate(_HEAD, 1)) | {
    12: "date",
    13: "message",
    14: "media",
    16: "entities",
}
# Of another message's fields 9 to 11 nothing is known.
_SERVICE = _MESSAGE | {9: "reply_to_msg_id", 10: "date", 11: "action"}
_WITH_LENGTH = frozenset({8, 13, 14, 16})
_NESTED = frozenset({"to_id", "media", "entities", "action"})
# What telegramd's bodies say of their row and box; the rest is what was sent.
_ENVELOPE = frozenset({*_HEAD, "date"})
# 1978. A date that a column damaged is less.
_EARLIEST = 1 << 28
# Every date ends in one of these, and nobody types them.
_CONTROL = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f]")
_NO_MESSAGE = (ValueError, LookupError, TypeError)


def encode_body(body: object) -> str:
    r"""Return a body as it is stored: JSON with non-ASCII escaped, which fits every character set.

    Examples
    --------
    >>> print(encode_body({"message": "\N{GRINNING FACE}"}))
    {"message":"\ud83d\ude00"}
    """
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidValueError(
            f"message body is no JSON: {shortened(str(problem))}; allowed are dict, list, str, "
            "finite numbers, bool and None"
        ) from problem


def decode_body(raw: bytes, sender_user_id: int = 0) -> Body:
    """Return a stored body decoded, or its bytes with the reason why they cannot be read.

    Short texts can be protobuf by chance (``hi`` is a number in field 13). So it counts as such if
    all of it can be read, every known field has its type, it is from the row's sender, and nobody
    could have typed it.

    Parameters
    ----------
    raw : bytes
    sender_user_id : int
        The row's; without it protobuf is not read.

    Examples
    --------
    >>> decode_body(b'{"message":"hi"}').value
    {'message': 'hi'}
    >>> decode_body(b"hi").problem
    'neither JSON nor protobuf: Expecting value: line 1 column 1 (char 0)'
    """
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError) as problem:
        why = str(problem)
    else:
        go = isinstance(value, dict) and isinstance(value.get("data2"), dict)
        return Body(value, Encoding.GO_JSON if go and "constructor" in value else Encoding.JSON)
    try:
        found = _message(raw, sender_user_id)
    except _NO_MESSAGE:
        if _is_damaged(raw, sender_user_id):
            lost = "protobuf whose bytes that are no UTF-8 are lost"
            return Body(raw, None, f"damaged by the column: {lost}")
        return Body(raw, None, f"neither JSON nor protobuf: {shortened(why)[1:-1]}")
    names = _SERVICE if _is_service(found) else _MESSAGE
    return Body(dict(_named(names, *field) for field in found.items()), Encoding.PROTOBUF)


def judge(bodies: Sequence[object], senders: Sequence[int]) -> Iterator[tuple[int, bool]]:
    """Yield the place of each body that cannot be read, and whether a column damaged it.

    Bodies are text or bytes; None is not judged. Nothing is built of those that can be read.
    """
    for at, stored in enumerate(bodies):
        if stored is None:
            continue
        try:
            json.loads(stored.decode() if isinstance(stored, bytes) else str(stored))
        except (ValueError, RecursionError):
            raw = stored if isinstance(stored, bytes) else str(stored).encode()
            try:
                _message(raw, senders[at])
            except _NO_MESSAGE:
                yield at, _is_damaged(raw, senders[at])


def is_same_body(one: Body, other: Body) -> bool:
    """Return whether two bodies say the same once decoded, in whatever forms they are stored.

    Examples
    --------
    >>> go = b'{"constructor":1,"data2":{"from_id":7,"message":"hi"}}'
    >>> is_same_body(decode_body(go), decode_body(b'{ "message": "hi" }'))
    True
    """
    # As text: to Python, 1 equals True.
    first, second = (json.dumps(_sent(each), sort_keys=True, default=str) for each in (one, other))
    return None not in (one.encoding, other.encoding) and first == second


def _sent(body: Body) -> object:
    if body.encoding in (None, Encoding.JSON):
        return body.value
    return {str(name): value for name, value in body.fields().items() if name not in _ENVELOPE}


def _message(raw: bytes, sender_user_id: int) -> dict[int, list[Any]]:
    """Return the fields of telegramd's message by number; raise where it is none, or another's."""
    if not _CONTROL.search(raw):
        raise ValueError("text")
    found: dict[int, list[Any]] = {}
    for number, wire, value in read_fields(raw):
        if number in _MESSAGE and wire != (LENGTH if number in _WITH_LENGTH else VARINT):
            raise ValueError(number)
        found.setdefault(number, []).append(value)
    if not 0 < sender_user_id == found.get(7, [0])[-1] or len(found) == 1:
        raise ValueError("from_id")
    if found.get(10 if _is_service(found) else 12, [_EARLIEST])[-1] < _EARLIEST:
        raise ValueError("date")
    # Where all bytes are UTF-8, four question marks may be what a column left of an emoji.
    if b"????" in raw and _is_utf8(raw):
        raise ValueError("message")
    found.get(13, [b""])[-1].decode()
    return found


def _is_service(found: dict[int, list[Any]]) -> bool:
    return isinstance(found.get(11, [0])[-1], bytes)


def _named(names: dict[int, str], number: int, values: list[Any]) -> tuple[int | str, Any]:
    """Return a field's name and value; of one that is not repeated the last value counts."""
    name = names.get(number)
    if name is None:
        return number, values if len(values) > 1 else values[0]
    if name in _NESTED:
        values = list(map(by_number, values))
    value: Any = values if name == "entities" else values[-1]
    return name, value.decode() if name == "message" else value


def _is_damaged(raw: bytes, sender_user_id: int) -> bool:
    """Return whether bytes are what a text column leaves of a protobuf message of this sender."""
    if not (b"?" in raw and _CONTROL.search(raw) and _is_utf8(raw)):
        return False
    mark, left = b"8", max(sender_user_id, 0)
    while left > 127:
        mark, left = mark + bytes([left & 127 | 128]), left >> 7
    mark += bytes([left])
    # A question mark for each byte that is no UTF-8, or of a character of four bytes.
    text = re.sub("[^\\0-\uffff]", "????", mark.decode(errors="surrogateescape"))
    return text.encode(errors="replace") in raw


def _is_utf8(raw: bytes) -> bool:
    return raw.decode(errors="ignore").encode() == raw
