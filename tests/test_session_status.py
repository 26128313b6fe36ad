"""The session codec: golden vectors, the ends of every width, round trips, and a clear refusal of
everything else.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import imlib
from imlib import CodecError, Layout, SessionStatus
from imlib.session_status import WIDTHS, WRITTEN, layout_of, parse_int64, user_id_from_key
from tests import strategies
from tests.strategies import Entry

VECTORS = json.loads(
    (Path(__file__).parent.parent / "data/vectors/session_status.json").read_text(encoding="ascii")
)
STATUS = SessionStatus(7, -5, 6, 1, 42, 1512270533)


def record(vector: dict[str, Any]) -> SessionStatus:
    """Return the session of a valid vector."""
    return SessionStatus(**{name: int(digits) for name, digits in vector["session"].items()})


def entry(vector: dict[str, Any]) -> Entry:
    """Return the field and value of a malformed vector, as it is encoded there."""
    if vector["encoding"] == "hex":
        return bytes.fromhex(vector["field"]), bytes.fromhex(vector["value"])
    return vector["field"], vector["value"]


def spelling(vector: dict[str, Any]) -> tuple[str, str, str]:
    """Return key, field and value of a valid vector."""
    return vector["key"], vector["field"], vector["value"]


def decoded(field: Any, value: Any, user_id: int = 7) -> SessionStatus | CodecError:
    """Return the session of an entry, or the error that it is refused with."""
    try:
        return SessionStatus.from_key_value(field, value, user_id=user_id)
    except CodecError as problem:
        return problem


def refusal(field: Any, value: Any, user_id: Any = 7) -> CodecError:
    """Return the error that an entry is refused with."""
    with pytest.raises(CodecError) as caught:
        SessionStatus.from_key_value(field, value, user_id=user_id)
    return caught.value


def spells(status: SessionStatus, field: str, value: str) -> bool:
    """Tell whether an entry is what one of the layouts has for a session."""
    if "@" not in field and "_" not in field:
        _, _, layer = value.split("@")
        assert 0 == status.session_id == status.netlib_session_id
        assert 1 <= int(layer) <= 9999
        assert status.now >= 1_500_000_000
        expected = f"{status.auth_key_id}", f"{status.server_id}@{status.now}@{int(layer)}"
        return expected == (field, value)
    return (field, value) in [(status.to_field(one), status.to_value(one)) for one in WRITTEN]


class TestVectors:
    """data/vectors/session_status.json, entry by entry."""

    @pytest.mark.parametrize(
        "vector", VECTORS["valid"], ids=lambda one: f"{one['layout']}: {one['name']}"
    )
    def test_valid(self, vector: dict[str, Any]) -> None:
        """Encodes to the key, field and value, and decodes from them, as str and as bytes."""
        status, layout = record(vector), Layout(vector["layout"])
        assert vector["key"] == status.to_key()
        assert vector["field"] == status.to_field(layout)
        assert vector["value"] == status.to_value(layout)
        assert (
            status.user_id
            == user_id_from_key(vector["key"])
            == user_id_from_key(vector["key"].encode())
        )
        for field in (vector["field"], vector["field"].encode()):
            for value in (vector["value"], vector["value"].encode()):
                assert status == SessionStatus.from_key_value(field, value, user_id=status.user_id)

    @pytest.mark.parametrize(
        "vector", VECTORS["valid"], ids=lambda one: f"{one['layout']}: {one['name']}"
    )
    def test_valid_by_the_layouts_alone(self, vector: dict[str, Any]) -> None:
        """What the file says of the layouts is enough to write every entry, without imlib."""
        layout = VECTORS["layouts"][vector["layout"]]
        for part in ("field", "value"):
            assert vector[part] == layout["separator"].join(
                vector["session"][name] for name in layout[part]
            )

    @pytest.mark.parametrize("vector", VECTORS["read_only"], ids=lambda one: one["name"])
    def test_read_only(self, vector: dict[str, Any]) -> None:
        """Decodes as str and as bytes, alone and among many; no session is written like that."""
        status, layout = record(vector), Layout(vector["layout"])
        assert vector["key"] == status.to_key()
        assert layout is layout_of(vector["field"]) is layout_of(vector["field"].encode())
        for field in (vector["field"], vector["field"].encode()):
            for value in (vector["value"], vector["value"].encode()):
                assert status == SessionStatus.from_key_value(field, value, user_id=status.user_id)
        fields, values = ([vector[half].encode()] * 2 for half in ("field", "value"))
        assert [status] * 2 == SessionStatus.parse_many(fields, values, [status.user_id] * 2)
        parts = vector["session"] | {"layer": vector["layer"]}
        for half in ("field", "value"):
            written = VECTORS["layouts"][layout][half]
            assert vector[half] == layout.separator.join(parts[name] for name in written)
        for write in (status.to_field, status.to_value):
            for asked in (layout, layout.value):
                with pytest.raises(imlib.InvalidValueError, match="deployed_2018 is only read"):
                    write(asked)  # type: ignore[arg-type]  # a StrEnum's value

    @pytest.mark.parametrize(
        "vector",
        VECTORS["malformed"],
        ids=lambda one: ascii((one["kind"], one["field"], one["value"])),
    )
    def test_malformed(self, vector: dict[str, Any]) -> None:
        """Is refused with exactly its reason, as bytes too where it is ASCII."""
        field, value = entry(vector)
        problem = refusal(field, value)
        assert (field, value, vector["reason"]) == (problem.field, problem.value, problem.reason)
        if isinstance(field, str) and isinstance(value, str) and (field + value).isascii():
            assert vector["reason"] == refusal(field.encode(), value.encode()).reason

    @pytest.mark.parametrize("vector", VECTORS["malformed_keys"], ids=lambda one: ascii(one["key"]))
    def test_malformed_keys(self, vector: dict[str, Any]) -> None:
        """A key that names no user is refused with exactly its reason."""
        for key in (vector["key"], vector["key"].encode()):
            with pytest.raises(CodecError) as caught:
                user_id_from_key(key)
            assert (key, None, vector["reason"]) == (
                caught.value.field,
                caught.value.value,
                caught.value.reason,
            )

    def test_the_example_of_the_facts(self) -> None:
        """The golden example stands there word for word."""
        golden = {one["layout"]: one for one in VECTORS["valid"] if one["name"] == "golden example"}
        field = "-9223372036854775808_9223372036854775807"
        assert ("online_7", field, "1512270533_1_42") == spelling(golden["documented"])
        field = "-9223372036854775808@9223372036854775807"
        assert ("online_7", field, "1@42@1512270533") == spelling(golden["deployed"])

    def test_every_width_has_both_ends(self) -> None:
        """Each part stands there at its lowest and its highest, in each layout."""
        for layout in WRITTEN:
            there = [one["session"] for one in VECTORS["valid"] if one["layout"] == layout]
            for name, ends in WIDTHS.items():
                assert {str(end) for end in ends} <= {session[name] for session in there}
        read = [one["session"] for one in VECTORS["read_only"]]
        for name in ("user_id", "auth_key_id", "server_id"):
            assert {str(end) for end in WIDTHS[name]} <= {session[name] for session in read}

    def test_every_key_is_documented(self) -> None:
        """data/README.md names every key of the file."""
        text = (Path(__file__).parent.parent / "data/README.md").read_text(encoding="utf-8")
        for name, vectors in VECTORS.items():
            assert f"| `{name}` |" in text
            one, path = (
                (vectors["documented"], f"{name}.*")
                if name == "layouts"
                else (vectors[0], f"{name}[]")
            )
            assert all(f"| `{path}.{key}` |" in text for key in one)


class TestWidths:
    """Each attribute just inside, at and just outside both ends of its width."""

    @pytest.mark.parametrize("name", WIDTHS)
    @pytest.mark.parametrize("inside", [0, 1])
    def test_inside(self, name: str, inside: int) -> None:
        """The ends themselves belong to the width."""
        low, high = WIDTHS[name]
        for number in (low + inside, high - inside):
            assert number == getattr(dataclasses.replace(STATUS, **{name: number}), name)

    @pytest.mark.parametrize("name", WIDTHS)
    @pytest.mark.parametrize("beyond", [1, 2**64, pytest.param(10**5000, id="5000 digits")])
    def test_outside(self, name: str, beyond: int) -> None:
        """One step further is refused, and so is any number of digits, with attribute, value and
        width.
        """
        low, high = WIDTHS[name]
        for number in (low - beyond, high + beyond):
            with pytest.raises(CodecError) as caught:
                dataclasses.replace(STATUS, **{name: number})
            assert (name, number) == (caught.value.field, caught.value.value)
            assert f"{name} is outside its width, {low} to {high}" == caught.value.reason
            assert len(str(caught.value)) < 400

    @pytest.mark.parametrize("name", WIDTHS)
    @pytest.mark.parametrize(
        "value", [True, False, 1.0, float("nan"), "1", b"1", None, [], np.float64(1), np.bool_(1)]
    )
    def test_no_integer(self, name: str, value: Any) -> None:
        """Nothing but an integer is taken, bool least of all."""
        with pytest.raises(CodecError, match=f"^{name} must be an integer, not ") as caught:
            dataclasses.replace(STATUS, **{name: value})
        assert name == caught.value.field
        assert value is caught.value.value

    @pytest.mark.parametrize("name", WIDTHS)
    @pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint64])
    def test_numpy_integers(self, name: str, kind: type[np.integer[Any]]) -> None:
        """They are taken, and kept as plain int."""
        given: Any = kind(7)
        status = dataclasses.replace(STATUS, **{name: given})
        assert int is type(getattr(status, name))
        assert status == dataclasses.replace(STATUS, **{name: 7})

    def test_numpy_integers_too_wide(self) -> None:
        """An unsigned 64-bit id above int64 is refused, not wrapped."""
        with pytest.raises(CodecError):
            SessionStatus(7, np.uint64(2**63), 6, 1, 42, 0)  # type: ignore[arg-type]  # numpy's integers are no int

    def test_an_index_that_fails(self) -> None:
        """A value whose own conversion raises is refused like any other."""

        class Broken:
            def __index__(self) -> int:
                raise RuntimeError("no")

            def __repr__(self) -> str:
                raise RuntimeError("no")

        with pytest.raises(CodecError, match="must be an integer, not Broken"):
            SessionStatus(Broken(), -5, 6, 1, 42, 0)  # type: ignore[arg-type]  # that is the test

    @pytest.mark.parametrize("user_id", [2**31, -(2**31) - 1, True, "7", None, 7.0])
    def test_the_users_id_on_decoding(self, user_id: Any) -> None:
        """The id that the caller brings is checked as well."""
        assert "user_id" in refusal("-5_6", "1512270533_1_42", user_id).reason


@given(strategies.sessions, strategies.layouts)
def test_round_trip(status: SessionStatus, layout: Layout) -> None:
    """Over the full widths what was encoded decodes to itself, as str and as bytes."""
    field, value = status.to_field(layout), status.to_value(layout)
    assert status == SessionStatus.from_key_value(field, value, user_id=status.user_id)
    assert status == SessionStatus.from_key_value(
        field.encode(), value.encode(), user_id=status.user_id
    )
    assert status.user_id == user_id_from_key(status.to_key())


@pytest.mark.parametrize("number", [0, 7, -7, 2**63 - 1, -(2**63)])
def test_a_plain_int64(number: int) -> None:
    """What Redis holds as a number is read as that number, over the full width."""
    assert number == parse_int64(b"%d" % number)


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"-", b"+1", b"01", b"-0", b" 1", b"1 ", b"1\n", b"1.0", b"1_0", b"x", b"\xb2"),
        *(b"%d" % 2**63, b"%d" % (-(2**63) - 1), b"1" + b"0" * 19, b"9" * 5000, b"\xd9\xa3"),
    ],
    ids=repr,
)
def test_no_plain_int64(text: bytes) -> None:
    """Another spelling, and a number that is too wide, is none."""
    assert parse_int64(text) is None


GOOD_ENTRIES = [(b"-5_6", b"1512270533_1_42"), (b"0_-6", b"-1_-1_0")]
DEPLOYED_ENTRIES = [(b"-5@6", b"1@42@1512270533"), (b"0@-6", b"-1@0@-1")]
ENTRIES_OF_2018 = [(b"-5", b"1@1540000000@85"), (b"0", b"-1@1500000000@9999")]


@given(
    st.lists(strategies.valid_entries | strategies.every_entry, max_size=6),
    st.sampled_from([[], GOOD_ENTRIES, DEPLOYED_ENTRIES, ENTRIES_OF_2018]),
)
@example([], GOOD_ENTRIES)
@example([], DEPLOYED_ENTRIES)
@example([], ENTRIES_OF_2018)
@example(DEPLOYED_ENTRIES, ENTRIES_OF_2018)
@example([(b"-5", b"1@1540000000@85\n0 -1@1500000000@1"), (b"-42", b"1@42@1512270533")], [])
@example([(b"5_6", b"9_1_2\n5_6 9_1_2"), (b"", b"")], [])
@example([(b"5_6 9_1_2\n5_6", b"9_1_2"), (b"05_6", b"9_1_2")], GOOD_ENTRIES)
@example([(b"5_6", b"9_1_2\n")], [])
@example([(b"5_6", b"9_1_2"), (b"\xff", b"\xa0")], [])
def test_many_are_decoded_as_each_alone(
    entries: list[strategies.Entry], others: list[strategies.Entry]
) -> None:
    """The verdict on an entry is the same whatever else is decoded with it, and for any owner."""
    given_entries = [
        tuple(
            part.encode(errors="surrogatepass") if isinstance(part, str) else part for part in one
        )
        for one in entries + others
    ]
    fields, values = ([one[half] for one in given_entries] for half in (0, 1))
    owners = [(-1) ** at * (2**31 - 1 - at) for at in range(len(fields))]
    assert [
        SessionStatus.parse_key_value(*one, user_id=owner)
        for one, owner in zip(given_entries, owners, strict=True)
    ] == SessionStatus.parse_many(fields, values, owners)


@pytest.mark.parametrize("layout", WRITTEN)
@pytest.mark.parametrize("name", [name for name in WIDTHS if name != "user_id"])
def test_many_around_every_border(layout: Layout, name: str) -> None:
    """A number just within its width is decoded, one just beyond it is not; nothing wraps."""
    for end, beyond in zip(WIDTHS[name], (-1, 1), strict=True):
        known = dataclasses.replace(STATUS, **{name: end})
        field, value = known.to_field(layout), known.to_value(layout)
        too_wide = [text.replace(str(end), str(end + beyond)) for text in (field, value)]
        fields, values = ([one.encode()] * 2 for one in (field, value))
        assert [known, known] == SessionStatus.parse_many(fields, values, [known.user_id] * 2)
        fields[1], values[1] = too_wide[0].encode(), too_wide[1].encode()
        assert [known, None] == SessionStatus.parse_many(fields, values, [known.user_id] * 2)


@settings(max_examples=500)
@given(strategies.every_entry)
@example(("9" * 5000 + "_1", "1_1_1"))
@example(("1_1", b"1_1_" + b"9" * 100_000))
@example(("\ud800_1", "1_1_1"))
def test_no_input_raises_anything_else(given_entry: Entry) -> None:
    """Any str or bytes either decodes, and then encodes to exactly itself, or is refused with a
    reason of one line.
    """
    field, value = given_entry
    status = decoded(field, value)
    if isinstance(status, CodecError):
        assert (field, value) == (status.field, status.value)
        assert status.reason
        assert "\n" not in status.reason + str(status)
        assert len(str(status)) < 600
    else:
        text, stamp = (
            part if isinstance(part, str) else part.decode("ascii") for part in given_entry
        )
        assert spells(status, text, stamp)


@given(
    st.text(st.characters())
    | st.binary()
    | st.builds("online_{}".format, st.integers() | st.text())
)
def test_no_key_raises_anything_else(key: str | bytes) -> None:
    """Any str or bytes is the key of a user, and then spells exactly that id, or is refused."""
    try:
        user_id = user_id_from_key(key)
    except CodecError:
        return
    assert f"online_{user_id}" == (key if isinstance(key, str) else key.decode())


@pytest.mark.parametrize(
    "other", [None, 5, 1.5, ["5_6"], bytearray(b"5_6"), memoryview(b"5_6"), object()]
)
def test_what_is_neither_str_nor_bytes_is_refused(other: Any) -> None:
    """Redis gives str or bytes; anything else is a mistake of the caller's, named as such."""
    kind = type(other).__name__
    assert f"the field must be str or bytes, not {kind}" == refusal(other, "1512270533_1_42").reason
    assert f"the value must be str or bytes, not {kind}" == refusal("-5_6", other).reason
    with pytest.raises(CodecError, match="the key must be str or bytes"):
        user_id_from_key(other)


@settings(max_examples=500)
@given(strategies.sessions, strategies.layouts, st.data())
def test_a_tampered_entry_is_refused_or_is_another(
    status: SessionStatus, layout: Layout, data: st.DataObject
) -> None:
    """One character replaced, put in or taken out: refused, or another session, which encodes to
    just that.
    """
    parts = [status.to_field(layout), status.to_value(layout)]
    which = data.draw(st.integers(0, 1), label="field or value")
    text = parts[which]
    at = data.draw(st.integers(0, len(text) - 1), label="position")
    character = data.draw(
        st.sampled_from("0123456789-_@+ \n.x１") | st.characters(), label="character"
    )
    put = data.draw(
        st.sampled_from([(character, 1), (character, 0), ("", 1)]),
        label="replace, put in, take out",
    )
    parts[which] = text[:at] + put[0] + text[at + put[1] :]
    tampered = decoded(parts[0], parts[1], status.user_id)
    if isinstance(tampered, CodecError):
        assert parts == [tampered.field, tampered.value]
    else:
        assert spells(tampered, *parts)
        assert (tampered == status) == (parts[which] == text)


@pytest.mark.parametrize("layout", ["documented", "deployed"])
def test_a_layout_may_be_given_by_name(layout: str) -> None:
    """The string is as good as the member, and what is no layout is refused."""
    assert STATUS.to_field(Layout(layout)) == STATUS.to_field(layout)  # type: ignore[arg-type]  # a StrEnum's value
    assert STATUS.to_value(Layout(layout)) == STATUS.to_value(layout)  # type: ignore[arg-type]  # likewise
    with pytest.raises(ValueError, match="neither"):
        STATUS.to_field("neither")  # type: ignore[arg-type]  # that is the test


def test_a_session_is_a_value() -> None:
    """It can be compared, hashed, copied, pickled and replaced, but not changed."""
    other = dataclasses.replace(STATUS, now=STATUS.now + 1)
    assert 2 == len({STATUS, other, SessionStatus(*dataclasses.astuple(STATUS))})
    assert STATUS == pickle.loads(pickle.dumps(STATUS)) == copy.deepcopy(STATUS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        STATUS.now = 0  # type: ignore[misc]  # that is the test
    with pytest.raises((AttributeError, TypeError)):
        STATUS.color = "red"  # type: ignore[attr-defined]  # likewise


@pytest.mark.parametrize("part", ["x" * 1000, b"\xff" * 1000, None])
def test_an_error_is_whole_and_its_message_is_short(part: Any) -> None:
    """A CodecError keeps what it was given, shortens it in its message, and survives
    being pickled.
    """
    problem = refusal(part, "1512270533_1_42")
    again = pickle.loads(pickle.dumps(problem))
    for one in (problem, again, copy.copy(problem)):
        assert (part, "1512270533_1_42", problem.reason) == (one.field, one.value, one.reason)
        assert str(problem) == str(one)
    assert len(str(problem)) < 500
    assert isinstance(problem, imlib.ImlibError)
    assert isinstance(problem, ValueError)
