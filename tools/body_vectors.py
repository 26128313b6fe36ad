"""Writes `data/vectors/message_bodies.json`: bodies as each server stores them.

The protobuf is written here field by field, from the numbers that telegramd's messages have, and by
nothing that reads it: ``python -m tools.body_vectors``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "data" / "vectors" / "message_bodies.json"
DATE = 1_512_270_533
UTF8_DATE = 0x43 | 0x29 << 7 | 0x43 << 14 | 0x29 << 21 | 5 << 28
"""A date whose bytes happen to be UTF-8: C3 A9 C3 A9 05."""

HEAD = {"out": 1, "mentioned": 2, "media_unread": 3, "silent": 4, "post": 5}
HEAD |= {"id": 6, "from_id": 7, "to_id": 8}
MESSAGE = HEAD | {"date": 12, "message": 13, "media": 14, "entities": 16}
SERVICE = HEAD | {"reply_to_msg_id": 9, "date": 10, "action": 11}


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it; a negative one has 64 bits."""
    number &= 2**64 - 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: object) -> bytes:
    """Return one field: numbers as varints; text, bytes and messages with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, list):
        return b"".join(field(number, each) for each in value)
    raw = message(value) if isinstance(value, dict) else value
    raw = raw.encode() if isinstance(raw, str) else raw
    assert isinstance(raw, bytes)
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def message(fields: dict[int, Any]) -> bytes:
    """Return a message of these fields, in their order."""
    return b"".join(field(number, value) for number, value in fields.items())


def protobuf(fields: dict[Any, Any]) -> bytes:
    """Return telegramd's message of these fields, by name or, where it has none, by number."""
    names = SERVICE if "action" in fields else MESSAGE
    return message({names.get(name, name): value for name, value in fields.items()})


def go_json(fields: dict[str, Any]) -> bytes:
    """Return telegramd's JSON of these fields, as Go writes it."""
    body = {"constructor": -1_940_157_347, "data2": fields}
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    for one in "<>&":
        text = text.replace(one, f"\\u00{ord(one):x}")
    return text.encode()


def in_utf8_column(raw: bytes) -> bytes:
    """Return what a text column of MariaDB's utf8 leaves of bytes, outside strict mode."""
    kept = raw.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
    return "".join("????" if one > "\uffff" else one for one in kept).encode()


def plain(value: object) -> object:
    """Return a value for JSON: bytes as ``{"hex": …}``."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return {"hex": value.hex()} if isinstance(value, bytes) else value


TO_USER = {"to_id": {1: {1: 2}}, "date": DATE}
TO_CHAT = {"to_id": {2: {1: 3}}, "date": DATE}
ENTITY = {7: {1: 0, 2: 5}}
PROTOBUF: dict[str, dict[Any, Any]] = {
    "a text": {"from_id": 7, **TO_USER, "message": "hello"},
    "an emoji": {"from_id": 7, **TO_USER, "message": "\U0001f600 hello"},
    "other scripts": {"from_id": 7, **TO_USER, "message": "gr\u00fc\u00dfe \u674e \u05e9\u05dc"},
    "a text of 128 bytes": {"from_id": 7, **TO_USER, "message": "x" * 128},
    "a text of 300 bytes": {"from_id": 7, **TO_USER, "message": "\u00e9" * 150},
    "question marks": {"from_id": 7, **TO_USER, "message": "what????"},
    "a control character": {"from_id": 7, **TO_USER, "message": "a\x00b"},
    "to a chat": {"from_id": 300, **TO_CHAT, "message": "noon?"},
    "with flags and id": {"out": 1, "silent": 1, "id": 9, "from_id": 7, **TO_USER, "message": "x"},
    "from a user of two bytes": {"from_id": 16_383, **TO_USER, "message": "hi"},
    "from a user of three bytes": {"from_id": 20_000, **TO_USER, "message": "hi"},
    "from a user of four bytes": {"from_id": 2_000_000, **TO_USER, "message": "hi"},
    "from the last user": {"from_id": 2**31 - 1, **TO_USER, "message": "hi"},
    "media without a text": {
        "from_id": 7,
        **TO_USER,
        "media": {2: {1: b"\x12\x02\x08\x05", 2: b"cap"}},
    },
    "media with a text": {
        "from_id": 7,
        **TO_USER,
        "message": "see",
        "media": {3: {1: b"\0\0\x80?"}},
    },
    "entities": {"from_id": 7, **TO_USER, "message": "hello all", "entities": [ENTITY, {8: {}}]},
    "one entity": {"from_id": 7, **TO_USER, "message": "hello", "entities": [ENTITY]},
    "unknown fields": {"from_id": 7, **TO_USER, "message": "x", 17: 5, 19: b"Ann", 1000: [1, -1]},
    "other fields first": {20: 1, "message": "x", **TO_USER, "from_id": 7},
    "a date that is UTF-8": {"from_id": 7, "date": UTF8_DATE, "message": "hello"},
    "an emoji, the rest UTF-8": {"from_id": 7, "date": UTF8_DATE, "message": "\U0001f600"},
    "a chat is made": {"from_id": 7, **TO_CHAT, "action": {2: {1: b"Lunch", 2: b"\x02\x03"}}},
    "a new title": {"from_id": 300, **TO_CHAT, "action": {3: {1: b"\xf0\x9f\x8d\x9c"}}},
    "history is cleared": {"from_id": 7, **TO_USER, "action": {13: {}}},
    "a reply of the service": {
        "from_id": 7,
        "to_id": {2: {1: 3}},
        "reply_to_msg_id": 8,
        "date": DATE,
        "action": {12: {}},
    },
}
OTHER_FORMS: dict[str, tuple[str, int, object, str]] = {
    # Name: form, message_type as it is stored, and the JSON: as Go writes it, or as imlib does.
    "a text, Go's": ("go_json", 2, {"from_id": 7, "date": DATE, "message": "hello"}, "message"),
    "an emoji, Go's": ("go_json", 2, {"from_id": 7, "message": "\U0001f600 <b> &"}, "message"),
    "media, Go's": ("go_json", 2, {"from_id": 7, "media": {"constructor": 3, "data2": {}}}, ""),
    "a chat is made, Go's": (
        "go_json",
        3,
        {"from_id": 7, "action": {"constructor": 4, "data2": {"title": "Lunch", "users": [2]}}},
        "action",
    ),
    "empty, Go's": ("go_json", 1, {}, ""),
    "a text, imlib's": ("json", 1, {"message": "hello"}, "message"),
    "an emoji, imlib's": ("json", 1, {"message": "\U0001f600"}, "message"),
    "a notice, imlib's": ("json", 2, {"action": "Ann joined"}, "action"),
    "another value, imlib's": ("json", 0, [1, "x"], ""),
    "data2 alone": ("json", 1, {"data2": {"message": "hello"}}, ""),
    "data2 that is no object": ("json", 1, {"constructor": 1, "data2": "hello"}, ""),
}
WHOLE = protobuf(PROTOBUF["a text"])
UNREADABLE: dict[str, tuple[int, bytes]] = {
    "nothing": (7, b""),
    "a text": (7, b"hello"),
    "a text that is a varint": (7, b"hi"),
    "a text that is from_id": (65, b"8A"),
    "a text that is a whole message": (49, b"81j 01234567890123456789012345678901"),
    "from_id alone": (7, b"8\x07"),
    "another's": (8, WHOLE),
    "nobody's": (0, protobuf({"from_id": 0, **TO_USER, "message": "x"})),
    "cut": (7, WHOLE[:-1]),
    "cut within the date": (7, WHOLE[:11]),
    "cut, with a question mark": (7, protobuf({"from_id": 7, **TO_USER, "message": "how? x"})[:-1]),
    "a question that begins like from_id": (65, b"8A, what?"),
    "a notice of 1970": (7, protobuf({"from_id": 7, "date": 5, "action": {13: {}}})),
    "a byte too many": (7, WHOLE + b"\x08"),
    "field 0": (7, WHOLE + b"\0\0"),
    "a group": (7, WHOLE + varint(20 << 3 | 3)),
    "a number of more than 64 bits": (7, WHOLE + varint(20 << 3) + b"\xff" * 9 + b"\x02"),
    "a number without an end": (7, WHOLE + varint(20 << 3) + b"\xff" * 10 + b"\x01"),
    "a length beyond the end": (7, WHOLE + varint(20 << 3 | 2) + b"\xff" * 9 + b"\x01"),
    "a text of another wire type": (7, protobuf({"from_id": 7, **TO_USER, "message": 5})),
    "a date of another wire type": (7, protobuf({"from_id": 7, "date": b"\x05", "message": "x"})),
    "a text that is no UTF-8": (7, protobuf({"from_id": 7, **TO_USER, "message": b"\xff"})),
    "JSON that is cut": (7, b'{"message":"hel'),
    "JSON that is no UTF-8": (7, b'{"message":"\xff"}'),
}


def vectors() -> dict[str, Any]:
    """Return the file's content."""
    valid, damaged = [], []
    for name, fields in PROTOBUF.items():
        raw, kind = protobuf(fields), 2 if "action" in fields else 1
        one = {"name": name, "encoding": "protobuf", "sender_user_id": fields["from_id"]}
        said = {"text": fields.get("message"), "action": plain(fields.get("action"))}
        one |= {"stored_type": kind, "message_type": kind, "hex": raw.hex(), **said}
        valid.append(one | {"body": plain(fields)})
        if in_utf8_column(raw) != raw:
            left = {"sender_user_id": fields["from_id"], "hex": in_utf8_column(raw).hex()}
            damaged.append({"name": name, **left})
    for name, (form, kind, value, said_by) in OTHER_FORMS.items():
        is_go = form == "go_json"
        raw = (
            go_json(value)
            if isinstance(value, dict) and is_go
            else json.dumps(value, separators=(",", ":")).encode()
        )
        said = {"text": None, "action": None}
        if said_by:
            assert isinstance(value, dict)
            said["text" if said_by == "message" else "action"] = value[said_by]
        one = {"name": name, "encoding": form, "sender_user_id": 7, "stored_type": kind}
        one |= {"message_type": kind - is_go, "hex": raw.hex(), **said}
        valid.append(one | {"body": json.loads(raw)})
    unreadable = [
        {"name": name, "sender_user_id": sender, "hex": raw.hex()}
        for name, (sender, raw) in UNREADABLE.items()
    ]
    return {"valid": valid, "damaged_by_column": damaged, "unreadable": unreadable}


def text() -> str:
    """Return the file: plain ASCII, a line a vector."""
    groups = [
        f"  {json.dumps(name)}: [\n"
        + ",\n".join(f"    {json.dumps(each)}" for each in group)
        + "\n  ]"
        for name, group in vectors().items()
    ]
    return "{\n" + ",\n".join(groups) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="ascii")
