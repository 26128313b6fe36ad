"""Bodies in the three forms that servers store them in, and bodies that are in none."""

from __future__ import annotations

import json
from typing import Any

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imlib.constants import MessageType
from imlib.errors import InvalidValueError
from imlib.message_body import Body, Encoding, decode_body, encode_body, is_same_body, judge
from imlib.protobuf import read_fields
from tests.private_servers.mariadb import PrivateMariaDB
from tools import body_vectors
from tools.body_vectors import DATE, TO_USER, field, in_utf8_column, plain, protobuf

VECTORS = json.loads(body_vectors.FILE.read_text(encoding="ascii"))


def each(group: str) -> pytest.MarkDecorator:
    """Return the parameters that are a group's vectors, by their names."""
    return pytest.mark.parametrize("vector", VECTORS[group], ids=lambda one: one["name"])


def decoded(vector: dict[str, Any]) -> Body:
    """Return what imlib makes of a vector."""
    return decode_body(bytes.fromhex(vector["hex"]), vector["sender_user_id"])


def in_json(value: object) -> object:
    """Return a value as it comes back from the file of vectors."""
    return json.loads(json.dumps(plain(value)))


def test_the_file_of_vectors() -> None:
    """The vectors are what their writer makes."""
    assert body_vectors.text() == body_vectors.FILE.read_text(encoding="ascii")


@each("valid")
def test_what_can_be_read(vector: dict[str, Any]) -> None:
    """Each form is told, and gives text, action, whole body and type."""
    body = decoded(vector)
    assert (vector["encoding"], None) == (body.encoding, body.problem)
    assert vector["body"] == in_json(body.value)
    fields = body.fields()
    assert (vector["text"], vector["action"]) == (
        fields.get("message"),
        in_json(fields.get("action")),
    )
    assert MessageType(vector["message_type"]) is body.message_type(vector["stored_type"])


@each("damaged_by_column")
def test_what_a_column_damaged(vector: dict[str, Any]) -> None:
    """Protobuf that lost bytes in a text column gives what is left of them, and no guess."""
    raw = bytes.fromhex(vector["hex"])
    body = decoded(vector)
    assert (raw, None, {}) == (body.value, body.encoding, body.fields())
    assert str(body.problem).startswith("damaged by the column")
    assert [(0, True)] == list(judge([raw.decode()], [vector["sender_user_id"]]))


def test_a_damaged_number_of_the_sender() -> None:
    """A sender's number, too, can hold what looks like a character of four bytes."""
    for sender, left in ((895619440, b"8????\x03"), (300, b"8?\x02"), (5, b"8\x05")):
        body = decode_body(left + b"`????\x05j\x02hi", sender)
        assert str(body.problem).startswith("damaged by the column")


@each("unreadable")
def test_what_cannot_be_read(vector: dict[str, Any]) -> None:
    """What is in none of the forms stays bytes, with a reason."""
    raw = bytes.fromhex(vector["hex"])
    body = decoded(vector)
    assert (raw, None, {}) == (body.value, body.encoding, body.fields())
    assert str(body.problem).startswith("neither JSON nor protobuf")
    assert [(1, False)] == list(judge([None, raw], [5, vector["sender_user_id"]]))


def test_types_of_other_servers() -> None:
    """A number that no server of 2017 wrote stays as it is stored."""
    for form, stored in ((Encoding.GO_JSON, 4), (Encoding.GO_JSON, 0), (Encoding.JSON, 3)):
        assert stored == Body({}, form).message_type(stored)
    assert MessageType.MESSAGE is Body(b"").message_type(1)


@given(st.text(min_size=1), st.integers(1, 300))
def test_a_text_is_no_protobuf(text: str, sender: int) -> None:
    """What somebody wrote is never taken for protobuf, nor for what a column left of it."""
    assert decode_body(text.encode(errors="replace"), sender).encoding in (None, Encoding.JSON)


@given(st.integers(32, 126), st.integers(33, 126), st.data())
def test_nor_is_one_that_reads_as_protobuf(sender: int, size: int, data: st.DataObject) -> None:
    """Not even a text that has a sender and a text of the right length in it."""
    rest = data.draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=size))
    raw = field(7, sender) + field(13, rest[:size])
    assert raw.decode().isprintable()
    assert decode_body(raw, sender).encoding is None


_FIELDS = st.dictionaries(
    st.integers(17, 2**29 - 1),
    st.integers(-(2**63), 2**63 - 1) | st.binary() | st.lists(st.binary(), min_size=2),
)


@given(st.integers(1, 2**31 - 1), st.integers(2**28, 2**31 - 1), st.text(), _FIELDS)
def test_protobuf_whole_and_from_a_column(
    sender: int, date: int, text: str, others: dict[int, Any]
) -> None:
    """Whatever the numbers are, a whole message is read, and one from a text column is whole or
    unread.
    """
    text = text.encode(errors="replace").decode() or "?"
    fields: dict[Any, Any] = {
        "from_id": sender,
        "to_id": {1: {1: 7}},
        "date": date,
        "message": text,
    }
    fields |= others
    raw = protobuf(fields)
    body = decode_body(raw, sender)
    if b"????" not in raw:
        assert (fields, Encoding.PROTOBUF) == (body.value, body.encoding)
    kept = decode_body(in_utf8_column(raw), sender)
    assert kept.fields().get("message", text) == text
    assert kept == body or kept.encoding is None or "message" in kept.fields()


@given(st.sampled_from(list(body_vectors.PROTOBUF.items())), st.data())
def test_a_part_is_never_another_text(
    case: tuple[str, dict[Any, Any]], data: st.DataObject
) -> None:
    """Of a message that is cut off anywhere, no text is read but its own."""
    raw = protobuf(case[1])
    left = decode_body(raw[: data.draw(st.integers(0, len(raw) - 1))], case[1]["from_id"])
    assert left.fields().get("message") in (None, case[1].get("message"))


@given(st.binary(), st.integers(0, 255))
def test_any_bytes(raw: bytes, sender: int) -> None:
    """No bytes raise, and a body judged in bulk is judged as one alone."""
    body = decode_body(raw, sender)
    is_damaged = str(body.problem).startswith("damaged")
    assert ([(0, is_damaged)] if body.problem else []) == list(judge([raw], [sender]))


def test_many_bytes_without_an_end() -> None:
    """A number is given up after ten bytes, however many follow."""
    with pytest.raises(ValueError, match=r"\d"):
        list(read_fields(b"\x08" + b"\xff" * 65_000))


def test_json_bodies() -> None:
    """What JSON can hold survives, lone surrogates included; what it cannot is refused."""
    bodies: list[object] = ["", "\ud800", {"a": [1, 2**70, None, True, "\x00"]}, 0]
    for body in bodies:
        assert (body, Encoding.JSON, None) == decode_body(encode_body(body).encode())
    for bad in (float("nan"), {1, 2}, object()):
        with pytest.raises(InvalidValueError):
            encode_body(bad)
    assert decode_body(b"[" * 100_000).problem


@pytest.mark.parametrize(
    ("body", "other", "same"),
    [
        ({"a": 1, "b": [2, (3,)]}, {"b": [2, [3]], "a": 1}, True),
        ({1: "\ud800"}, {"1": "\ud800"}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 0}, {"a": False}, False),
        ({"a": None}, {}, False),
        ([1, 2], [2, 1], False),
    ],
)
def test_json_that_is_the_same(body: object, other: object, same: bool) -> None:
    """Two bodies are the same if JSON makes them so: true is not 1, and keys have no order."""
    one, two = (decode_body(encode_body(each).encode()) for each in (body, other))
    assert same is is_same_body(one, two)


def test_the_same_in_another_form() -> None:
    """A text is the same in each form; more than its text, or another text, is not."""
    go = json.dumps({"constructor": 1, "data2": {"from_id": 7, "date": DATE, "message": "h\u00e9"}})
    theirs = decode_body(protobuf({"out": 1, "from_id": 7, **TO_USER, "message": "h\u00e9"}), 7)
    forms = [
        theirs,
        decode_body(go.encode()),
        decode_body(encode_body({"message": "h\u00e9"}).encode()),
    ]
    assert [*Encoding][::-1] == [each.encoding for each in forms]
    more: list[dict[Any, Any]] = [{"media": {3: {}}}, {17: 5}, {"message": "he"}]
    others = [
        decode_body(protobuf({"from_id": 7, **TO_USER, "message": "h\u00e9"} | one), 7)
        for one in more
    ]
    for one in forms:
        assert all(is_same_body(one, two) for two in forms)
        assert not any(is_same_body(one, two) or is_same_body(two, one) for two in others)
    lost = decode_body(b"\xff")
    assert not is_same_body(lost, lost)


@pytest.mark.parametrize("charset", ["utf8", "utf8mb4"])
def test_what_a_real_column_leaves(mariadb: PrivateMariaDB, charset: str) -> None:
    """The damaged vectors are what MariaDB stores for a client of utf8; one of utf8mb4 leaves less
    of an emoji, and nothing that is read otherwise.
    """
    name = mariadb.new_database("utf8").partition("?")[0].rpartition("/")[2]
    cases = [(protobuf(one), one["from_id"]) for one in body_vectors.PROTOBUF.values()]
    lone = [bytes([lead, after, 5]) for lead in range(128, 256) for after in (63, 128, 200)]
    with pymysql.connect(
        unix_socket=str(mariadb.socket), user="root", database=name, charset=charset
    ) as client:
        client.query("SET sql_mode = ''")
        client.query("CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, kept text)")
        for raw in [*(raw for raw, _ in cases), *lone]:
            # As Go's driver sends it: a string whose bytes are whatever they are.
            quoted = raw.replace(b"\\", b"\\\\").replace(b"'", b"\\'")
            client.query(b"INSERT INTO t (kept) VALUES ('" + quoted + b"')")
        cursor = client.cursor()
        cursor.execute("SELECT HEX(kept) FROM t ORDER BY id")
        kept = [bytes.fromhex(row[0]) for row in cursor.fetchall()]
    assert list(map(in_utf8_column, lone)) == kept[len(cases) :]
    for (raw, sender), left in zip(cases, kept, strict=False):
        assert left == in_utf8_column(raw) or (
            charset == "utf8mb4" and "\U0001f000" < max(raw.decode(errors="ignore"))
        )
        body = decode_body(left, sender)
        assert (body.encoding is None) == (left != raw)
        assert str(body.problem).startswith("damaged") == (left != raw)
