"""What changed between two snapshots: sessions that came, went and moved, and rows by their primary
keys.
"""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import imlib
from imlib.snapshot import Snapshot
from tests.snapshot.frames import session, snapshot, table

BIG = 2**53 + 1


def changes(later: pd.DataFrame, earlier: pd.DataFrame, **said: Any) -> list[tuple[Any, ...]]:
    """Return the rows of the difference between two states of one table."""
    two = [snapshot(tables={"t": frame}, said={"t": said}) for frame in (later, earlier)]
    difference = two[0].diff(two[1])
    assert {} == difference.left_out
    return list(difference.tables["t"].itertuples(index=False, name=None))


def test_who_came_went_and_moved() -> None:
    """Sessions that count are compared by user, auth key and session, exactly."""
    earlier = snapshot(
        [session(1, BIG), session(2), session(3, server_id=3), session(5), session(6, age=30)]
    )
    later = snapshot(
        [
            session(1, BIG - 1),
            session(3, server_id=4),
            session(4),
            session(5, age=17),
            session(6, age=40),
        ]
    )
    difference = later.diff(earlier)
    assert [(1, BIG - 1), (4, -42)] == list(
        zip(difference.came["user_id"], difference.came["auth_key_id"], strict=True)
    )
    # 5 is still there, and past its lease: it went. 6 never counted.
    assert [(1, BIG), (2, -42), (5, -42)] == list(
        zip(difference.went["user_id"], difference.went["auth_key_id"], strict=True)
    )
    assert [(3, -42, 1, 3, 4)] == list(difference.moved.itertuples(index=False, name=None))
    assert "int32" == str(difference.moved["server_after"].dtype)
    assert list(later.sessions) == sorted(difference.came, key=list(later.sessions).index)
    assert difference


def test_a_later_report_is_no_difference() -> None:
    """A session that reported again, on the same server, neither came nor went."""
    assert not snapshot([session(age=1)]).diff(snapshot([session(age=9)]))


def test_rows_added_removed_and_changed() -> None:
    """Rows are told by their primary key, wherever they stand, and changed columns are named."""
    earlier = table("id a b", (1, 10, 100), (2, 20, 200), (3, 30, 300))
    later = table("id a b", (4, 40, 400), (3, 30, 300), (2, 21, 201))
    expected = [(1, "removed", ""), (2, "changed", "a, b"), (4, "added", "")]
    assert expected == changes(later, earlier)


def test_a_composite_key() -> None:
    """All columns of the key together tell a row."""
    earlier = table("user_id peer_id unread", (7, 8, 1), (7, 9, 1))
    later = table("user_id peer_id unread", (7, 9, 2), (8, 7, 1))
    expected = [(7, 8, "removed", ""), (7, 9, "changed", "unread"), (8, 7, "added", "")]
    assert expected == changes(later, earlier, primary_key=["user_id", "peer_id"])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pd.array([BIG, None], dtype="Int64"), pd.array([BIG - 1, 0], dtype="Int64")),
        (np.array([2**64 - 1, 0], dtype="uint64"), np.array([2**64 - 2, 1], dtype="uint64")),
        (pd.array(["", None], dtype="str"), pd.array([None, ""], dtype="str")),
        (pd.array([b"\x00", None], dtype=object), pd.array([None, b""], dtype=object)),
        (
            pd.Series([Decimal("0.1"), None], dtype=pd.ArrowDtype(pa.decimal128(38, 30))),
            pd.Series(
                [Decimal("0." + "1" * 30), Decimal(0)], dtype=pd.ArrowDtype(pa.decimal128(38, 30))
            ),
        ),
        (
            pd.Series([b"a", None], dtype=pd.ArrowDtype(pa.large_binary())),
            pd.Series([None, b""], dtype=pd.ArrowDtype(pa.large_binary())),
        ),
        (
            pd.to_datetime(pd.Series(["2017-12-03", None]), utc=True),
            pd.to_datetime(pd.Series([None, "2017-12-03"]), utc=True),
        ),
        (pd.Series([0.5, float("nan")]), pd.Series([float("nan"), 0.0])),
        (pd.array([1.5, None], dtype="Float64"), pd.array([None, 0.0], dtype="Float64")),
    ],
    ids=["bigint", "unsigned", "text", "bytes", "decimal", "binary", "instant", "float", "Float64"],
)
def test_values_are_compared_exactly_and_null_equals_null(one: Any, other: Any) -> None:
    """Every kind of column: NULL is equal to NULL and to nothing else, and no value is rounded."""
    first, second = (
        pd.DataFrame({"id": [1, 2], "value": pd.Series(values)}) for values in (one, other)
    )
    assert [] == changes(first, first.copy())
    assert [(1, "changed", "value"), (2, "changed", "value")] == changes(second, first)


def test_a_key_of_64_bits_and_one_of_text() -> None:
    """Keys are compared exactly too, whatever their type."""
    numbers = [pd.DataFrame({"id": pd.array([key], dtype="int64")}) for key in (BIG, BIG - 1)]
    assert [(BIG - 1, "removed", ""), (BIG, "added", "")] == changes(*numbers)
    words = [pd.DataFrame({"id": pd.array([key], dtype="str")}) for key in ("ü", "u")]
    assert [("u", "removed", ""), ("ü", "added", "")] == changes(*words)


def test_a_key_that_became_unsigned() -> None:
    """Signed and unsigned keys are told apart to the last digit, and are shown so."""
    later = pd.DataFrame({"id": np.array([BIG, 1], dtype="uint64"), "a": [1, 2]})
    earlier = pd.DataFrame({"id": np.array([BIG - 1, 1], dtype="int64"), "a": [1, 1]})
    assert [(1, "changed", "a"), (BIG - 1, "removed", ""), (BIG, "added", "")] == changes(
        later, earlier
    )


def test_a_key_that_is_null() -> None:
    """The row whose key is NULL, which SQLite allows, is itself."""
    key = pd.array([1, None], dtype="Int64")
    later, earlier = (pd.DataFrame({"id": key, "a": [1, value]}) for value in (2, 3))
    assert [] == changes(later, later.copy())
    assert [("changed", "a")] == [row[1:] for row in changes(later, earlier)]


def test_a_bigint_that_became_a_double() -> None:
    """What the ALTER rounded has changed, and the rest has not."""
    earlier = pd.DataFrame({"id": [1, 2, 3], "a": pd.array([BIG, 5, None], dtype="Int64")})
    later = pd.DataFrame({"id": [1, 2, 3], "a": [float(BIG), 5.0, float("nan")]})
    assert [(1, "changed", "a")] == changes(later, earlier)


MOMENTS = pd.to_datetime(pd.Series(["2017-12-03", None]))
KINDS = {
    "int32": pd.Series([1, 2], dtype="int32"),
    "Int64": pd.Series([1, None], dtype="Int64"),
    "str": pd.Series(["1", None], dtype="str"),
    "datetime": MOMENTS.astype("datetime64[us]"),
    "instant": MOMENTS.dt.tz_localize("UTC").astype("datetime64[us, UTC]"),
    "time": pd.Series([pd.Timedelta(1, "s"), pd.NaT]).astype("timedelta64[us]"),
    "bytes": pd.Series([b"1", None], dtype=pd.ArrowDtype(pa.large_binary())),
    "decimal": pd.Series([Decimal(1), None], dtype=pd.ArrowDtype(pa.decimal128(9, 2))),
    "double": pd.Series([1.0, None], dtype="Float64"),
}


@pytest.mark.parametrize("now", KINDS)
@pytest.mark.parametrize("then", KINDS)
def test_a_column_of_another_type_than_before(now: str, then: str) -> None:
    """Whatever an ALTER made of a column: numbers that are equal have not changed, all else has,
    and NULL is NULL.
    """
    numbers = {"int32", "Int64", "decimal", "double"}
    same = now == then or {now, then} <= numbers
    later, earlier = (pd.DataFrame({"id": [1], "a": KINDS[kind][:1]}) for kind in (now, then))
    assert ([] if same else [(1, "changed", "a")]) == changes(later, earlier)
    later, earlier = (pd.DataFrame({"id": [1], "a": KINDS[kind][1:].array}) for kind in (now, then))
    one_is_null = (now == "int32") != (then == "int32")
    assert ([(1, "changed", "a")] if one_is_null else []) == changes(later, earlier)


@pytest.mark.parametrize("now", KINDS)
@pytest.mark.parametrize("then", KINDS)
def test_a_key_of_another_type_than_before(now: str, then: str) -> None:
    """Keys that have no order among them are listed all the same, each as removed and added unless
    they are equal.
    """
    later, earlier = (pd.DataFrame({"id": KINDS[kind][:1]}) for kind in (now, then))
    same = now == then or {now, then} <= {"int32", "Int64", "decimal", "double"}
    assert ([] if same else ["added", "removed"]) == sorted(
        row[1] for row in changes(later, earlier)
    )


def test_a_column_that_is_carried_otherwise() -> None:
    """One odd value makes a column text: its rows have not changed for that, and the column is
    named instead.
    """
    earlier = pd.DataFrame({"id": [1, 2], "a": MOMENTS, "b": [1, 2]})
    later = pd.DataFrame({"id": [1, 2, 3], "a": ["2017-12-03", None, "2017-00-03"], "b": [1, 3, 3]})
    odd = {"could_not_carry": {"a": "holds 2017-00-03, which no datetime can: carried as text"}}
    difference = two({"frame": later, **odd}, {"frame": earlier})
    assert {"t.a": "carried as another type in the other"} == difference.left_out
    assert [(2, "changed", "b"), (3, "added", "")] == list(
        difference.tables["t"].itertuples(index=False, name=None)
    )
    difference = two(
        {"frame": later, **odd, "primary_key": ["a"]}, {"frame": earlier, "primary_key": ["a"]}
    )
    assert {"t": "its primary key is carried as another type in the other"} == difference.left_out


def test_what_was_compared_is_whole_or_not() -> None:
    """Columns masked under two keys are expected to be left out; anything else is not."""
    assert two({}, {}).whole
    assert two({"masked": ["a"]}, {"masked": ["a"], "info": {"mask_key_id": "other"}}).whole
    assert not two({"truncated": True}, {}).whole
    assert not snapshot(tables={"t": table("id")}).diff(snapshot()).whole


def test_empty_tables() -> None:
    """From nothing, to nothing, and nothing at all."""
    empty, one = table("id a"), table("id a", (1, 2))
    assert [] == changes(empty, empty)
    assert [(1, "added", "")] == changes(one, empty)
    assert [(1, "removed", "")] == changes(empty, one)


def test_a_width_that_changed_is_no_difference() -> None:
    """An ALTER from int to bigint changes no row."""
    narrow = table("id a", (1, 2))
    assert [] == changes(narrow.astype("int64"), narrow)
    assert [] == changes(narrow.astype("Int64"), narrow)


def two(
    later: dict[str, Any],
    earlier: dict[str, Any],
    frame: pd.DataFrame | None = None,
    **columns: Any,
) -> imlib.snapshot.difference.Difference:
    """Compare two snapshots of one table whose facts differ; ``info`` in them is of the whole."""
    shown = table("id a", (1, 2)) if frame is None else frame
    made = []
    for said in (later, earlier):
        info = said.pop("info", {})
        made.append(snapshot(tables={"t": said.pop("frame", shown)}, said={"t": said}, **info))
    return made[0].diff(made[1])


def test_masked_under_different_keys() -> None:
    """Tokens of two keys cannot be compared: the column is left out, and that is said; the others
    are compared.
    """
    frame = pd.DataFrame({"id": [1], "token": ["masked:aa"], "a": [1]})
    other = pd.DataFrame({"id": [1], "token": ["masked:bb"], "a": [2]})
    difference = two(
        {"frame": frame, "masked": ["token"], "info": {"mask_key_id": "x"}},
        {"frame": other, "masked": ["token"], "info": {"mask_key_id": "y"}},
    )
    assert {"t.token": "masked, and not under one key"} == difference.left_out
    assert [(1, "changed", "a")] == list(difference.tables["t"].itertuples(index=False, name=None))


def test_masked_under_one_key() -> None:
    """Under the same key they can, and a token that differs is a value that differs."""
    frame = pd.DataFrame({"id": [1], "token": ["masked:aa"]})
    other = pd.DataFrame({"id": [1], "token": ["masked:bb"]})
    difference = two({"frame": frame, "masked": ["token"]}, {"frame": other, "masked": ["token"]})
    assert {} == difference.left_out
    assert [(1, "changed", "token")] == list(
        difference.tables["t"].itertuples(index=False, name=None)
    )


def test_masked_in_one_alone() -> None:
    """A token and a value cannot be compared, whatever the keys."""
    difference = two({"masked": ["a"]}, {})
    assert {"t.a": "masked, and not under one key"} == difference.left_out


@pytest.mark.parametrize(
    ("later", "earlier", "reason"),
    [
        ({"truncated": True}, {}, "the later snapshot holds only part of it"),
        ({}, {"truncated": True}, "the earlier snapshot holds only part of it"),
        (
            {"filtered": True, "info": {"where": ["t"]}},
            {},
            "the later snapshot holds only part of it",
        ),
        (
            {"filtered": True, "info": {"where": ["t"]}},
            {"filtered": True, "info": {"where": ["t"]}},
            "the later snapshot holds only part of it",
        ),
        ({"primary_key": []}, {}, "it has no primary key to tell its rows by"),
        ({"primary_key": ["a"]}, {}, "its primary key is another one now"),
        ({"masked": ["id"]}, {}, "its primary key is masked, and not under one key"),
        (
            {"frame": table("a", (1,)), "primary_key": ["id"]},
            {},
            "the later snapshot lacks its primary key",
        ),
        (
            {"frame": table("id a", (1, 1), (1, 2))},
            {},
            "its primary key is not unique in the later snapshot",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(
    later: dict[str, Any], earlier: dict[str, Any], reason: str
) -> None:
    """A table that cannot be compared is left out with the reason, and is no difference."""
    difference = two(dict(later), dict(earlier))
    assert {"t": reason} == difference.left_out
    assert {} == difference.tables
    assert not difference


def test_tables_and_columns_in_one_alone() -> None:
    """Of tables and columns that one of the two lacks it is said which."""
    earlier = snapshot(tables={"old": table("id"), "both": table("id a", (1, 1))})
    later = snapshot(tables={"new": table("id"), "both": table("id b", (1, 1))})
    expected = {"both.b": "only in one of the two", "both.a": "only in one of the two"}
    expected |= {"new": "only in the later snapshot", "old": "only in the earlier snapshot"}
    assert expected == later.diff(earlier).left_out


def test_of_different_users() -> None:
    """Whoever was not asked for did not go."""
    difference = snapshot([session(7)], user_ids=[7]).diff(snapshot([session(7), session(8)]))
    assert {"sessions": "the two are of different users"} == difference.left_out
    assert not difference


def test_of_the_same_users() -> None:
    """The same question asked twice can be compared, tables as well, in whichever order it names
    the users.
    """
    asked: list[dict[str, Any]] = [
        {"filtered": True, "info": {"user_ids": users}} for users in ([7, 8], [8, 7])
    ]
    difference = two(asked[0], asked[1])
    assert {} == difference.left_out


def test_equal_snapshots_are_falsy() -> None:
    """No difference is no difference, and says so."""
    one = snapshot([session()], {"users": table("id", (1,))})
    difference = one.diff(one)
    assert not difference
    assert "<Difference: came 0, went 0, moved 0; no row>" == repr(difference)


@pytest.fixture(scope="module")
def taken() -> list[Snapshot]:
    """Give the sample world before and after something happened in it, under one mask key."""
    from imlib.sample import NOW

    with imlib.connect(
        "embedded://", "embedded://", scratch=True, clock=imlib.ManualClock(NOW)
    ) as deployment:
        deployment.load_sample()
        first = deployment.snapshot(mask_key=b"sixteen bytes or more")
        deployment.messages.send_message(1, imlib.models.records.Peer.user(2), "hello", 99)
        deployment.advance(5)
        other = deployment.snapshot()
        return [first, deployment.snapshot(mask_key=b"sixteen bytes or more"), other]


def test_what_a_message_changes(taken: list[Snapshot]) -> None:
    """One message, seen in every table that it touches and in no other."""
    difference = taken[1].diff(taken[0])
    changed = {
        name: list(frame["change"]) for name, frame in difference.tables.items() if len(frame)
    }
    expected = {"message_boxes": ["added"] * 2, "messages": ["added"]}
    assert (
        expected | {"seq_updates_ngen": ["changed"] * 2, "user_dialogs": ["changed"] * 2} == changed
    )
    assert {} == difference.left_out
    assert len(difference.went)


def test_random_keys_leave_masked_columns_out(taken: list[Snapshot]) -> None:
    """By default each snapshot masks under a key of its own: those columns are left
    out, by name.
    """
    difference = taken[2].diff(taken[0])
    assert {"users.phone", "devices.token", "messages.message_data"} <= set(difference.left_out)
    assert ["changed"] * 2 == list(difference.tables["user_dialogs"]["change"])


def test_what_was_loaded_is_compared_alike(taken: list[Snapshot], tmp_path: Any) -> None:
    """A saved snapshot is compared with one that was taken as if it had never left."""
    taken[0].save(tmp_path / "first")
    expected, actual = (
        taken[1].diff(taken[0]),
        taken[1].diff(imlib.Snapshot.load(tmp_path / "first")),
    )
    for field in dataclasses.fields(expected):
        if field.name in ("came", "went", "moved"):
            pd.testing.assert_frame_equal(
                getattr(expected, field.name), getattr(actual, field.name)
            )
    assert {name: len(frame) for name, frame in expected.tables.items()} == {
        name: len(frame) for name, frame in actual.tables.items()
    }
