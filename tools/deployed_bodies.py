"""Message bodies as telegramd's own encoders wrote them: protobuf, and later Go's JSON.

Only writers are here, with the field numbers of either form; imlib reads them by code of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

MESSAGE: Final = -1864508399
"""The constructor of a message, int32."""
SERVICE: Final = -1642487306
PEER_USER: Final = -1649296275
PEER_CHAT: Final = -1160714821

Fields = Iterable[tuple[int, "int | bytes | str"]]


def _varint(number: int) -> bytes:
    number &= 2**64 - 1
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def protobuf(fields: Fields) -> bytes:
    """Return a protobuf message: numbers as varints, all else by its length.

    Examples
    --------
    >>> protobuf([(7, 150), (13, "hi")]).hex()
    '3896016a026869'
    """
    told = b""
    for number, value in fields:
        if isinstance(value, int):
            told += _varint(number << 3) + _varint(value)
        else:
            raw = value.encode() if isinstance(value, str) else value
            told += _varint(number << 3 | 2) + _varint(len(raw)) + raw
    return told


def _peer(is_chat: bool, peer_id: int) -> bytes:
    inner = protobuf([(2 if is_chat else 1, peer_id)])
    return protobuf([(1, PEER_CHAT if is_chat else PEER_USER), (2, inner)])


def protobuf_message(
    sender: int, is_chat: bool, peer_id: int, date: int, text: str, others: Fields = ()
) -> bytes:
    """Return a message of d9af017; ``others`` are fields beyond those that each message has."""
    told: Fields = [(7, sender), (8, _peer(is_chat, peer_id)), (12, date), (13, text), *others]
    return protobuf(sorted(told, key=lambda one: one[0]))


def protobuf_service(sender: int, chat_id: int, date: int, action: Fields) -> bytes:
    """Return a service message of d9af017."""
    return protobuf([(7, sender), (8, _peer(True, chat_id)), (10, date), (11, protobuf(action))])


def go_json(value: object) -> str:
    r"""Return JSON as Go's encoder writes it: no spaces, text as it is, but for what HTML reads.

    Examples
    --------
    >>> print(go_json({"message": "a<b \N{GRINNING FACE}"}))
    {"message":"a\u003cb 😀"}
    """
    told = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        told = told.replace(sign, f"\\u{ord(sign):04x}")
    return told


def go_message(constructor: int, sender: int, is_chat: bool, peer_id: int, **data: Any) -> str:
    """Return a message of 4b393bf; what is zero or empty is left out, as Go leaves it out."""
    kind, name = (PEER_CHAT, "chat_id") if is_chat else (PEER_USER, "user_id")
    told = {
        "from_id": sender,
        "to_id": {"constructor": kind, "data2": {name: peer_id}},
    } | data
    present = {key: value for key, value in told.items() if value}
    return go_json({"constructor": constructor, "data2": present})
