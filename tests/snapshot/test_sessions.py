"""Presence as frames: columns and dtypes that never depend on the data, every session a row,
nothing lost.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

import imlib
from tests.models import backends
from tests.models.backends import START, Stage

# pytest finds fixtures by the names of a module.
server = backends.server
opened = backends.opened
stage = backends.stage

DTYPES = {
    "user_id": "int32",
    "auth_key_id": "int64",
    "session_id": "int64",
    "server_id": "int32",
    "netlib_session_id": "int64",
    "now": "int64",
    "reported_at": "datetime64[us, UTC]",
    "age_s": "float64",
    "online": "bool",
    "layout": "str",
    "key_ttl_s": "float64",
}
MALFORMED = ["key", "field", "value", "reason"]
NAME = ["user_id", "auth_key_id", "session_id"]


def frames(stage: Stage) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both frames, with what holds of them always."""
    snapshot = stage.deployment.snapshot()
    sessions, malformed = snapshot.sessions, snapshot.malformed
    assert DTYPES == {name: str(dtype) for name, dtype in sessions.dtypes.items()}
    assert dict.fromkeys(MALFORMED, "str") == {
        name: str(dtype) for name, dtype in malformed.dtypes.items()
    }
    assert list(range(len(sessions))) == sessions.index.tolist()
    names = list(sessions[NAME].itertuples(index=False, name=None))
    assert sorted(set(names)) == names
    return sessions, malformed


def test_an_empty_server(stage: Stage) -> None:
    """The frames are there, with all columns and their dtypes, and no row."""
    sessions, malformed = frames(stage)
    assert (0, 0) == (len(sessions), len(malformed))


def test_a_session_is_a_row(stage: Stage) -> None:
    """Every column of one row, 5 s after its report."""
    stage.model.set_online(imlib.SessionStatus(7, -42, 2**63 - 1, 3, 99, START))
    stage.turn_to(5)
    sessions, _ = frames(stage)
    row = sessions.iloc[0].to_dict()
    left = row.pop("key_ttl_s")
    assert 9 < left <= 10.001
    assert {
        "user_id": 7,
        "auth_key_id": -42,
        "session_id": 2**63 - 1,
        "server_id": 3,
        "netlib_session_id": 99,
        "now": START,
        "reported_at": pd.Timestamp(START, unit="s", tz="UTC"),
        "age_s": 5.0,
        "online": True,
        "layout": "documented",
    } == row


@pytest.mark.parametrize(("passed", "online"), [(16, True), (17, False), (18, False)])
def test_a_ghost_is_a_row_that_is_not_online(stage: Stage, passed: int, online: bool) -> None:
    """A dead session that a sibling keeps in Redis is shown with its age; `online` is the model's
    own verdict.
    """
    stage.report(1)
    stage.turn_to(10)
    stage.report(2)
    # A deployed server's entry has no deadline of its own, and is a ghost on both leases.
    ghost = stage.session(3, now=START)
    deployed = imlib.Layout.DEPLOYED
    stage.redis.hset("online_7", ghost.to_field(deployed), ghost.to_value(deployed))
    stage.turn_to(passed)
    sessions, _ = frames(stage)
    by_session = sessions.set_index("session_id")
    assert online is bool(by_session.loc[3, "online"])
    assert passed == by_session.loc[3, "age_s"]
    assert ([1, 2, 3] if online or stage.keeps_ghosts else [2, 3]) == by_session.index.tolist()
    live = by_session.index[by_session["online"]].tolist()
    assert [status.session_id for status in stage.online()] == live


def test_ids_keep_every_bit(stage: Stage) -> None:
    """Both ends of every width, and integers that a double cannot hold."""
    low, high = -(2**63), 2**63 - 1
    ends = [
        imlib.SessionStatus(-(2**31), low, low, -(2**31), low, low),
        imlib.SessionStatus(2**31 - 1, high, high, 2**31 - 1, high, high),
        imlib.SessionStatus(0, 2**53 + 1, -(2**53) - 1, 0, 2**53 + 1, 2**53 + 1),
    ]
    for status in ends:
        stage.redis.hset(status.to_key(), status.to_field(), status.to_value())
    sessions, _ = frames(stage)
    rows = [
        imlib.SessionStatus(*row)
        for row in sessions[list(DTYPES)[:6]].itertuples(index=False, name=None)
    ]
    assert sorted(ends, key=lambda status: status.user_id) == rows


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (0, "1970-01-01 00:00:00+00:00"),
        (-1, "1969-12-31 23:59:59+00:00"),
        (253_402_300_799, "9999-12-31 23:59:59+00:00"),
        (253_402_300_800, None),
        (-62_135_596_800, "0001-01-01 00:00:00+00:00"),
        (-62_135_596_801, None),
        (2**63 - 1, None),
        (-(2**63), None),
    ],
)
def test_reported_at_is_nat_beyond_what_a_date_can_hold(
    stage: Stage, now: int, shown: str | None
) -> None:
    """From the year 1 to 9999 it is the time; beyond it is NaT, and the row is there
    all the same.
    """
    stage.report(now=now)
    sessions, _ = frames(stage)
    assert [now] == sessions["now"].tolist()
    assert [shown] == [None if pd.isna(at) else str(at) for at in sessions["reported_at"]]
    assert math.isclose(START - now, sessions["age_s"].iloc[0])
    assert (now > START - 17) is bool(sessions["online"].iloc[0])


def test_a_key_that_never_expires_has_no_time_left(stage: Stage) -> None:
    """What a crash between HSET and EXPIRE left: NaN, beside a key that has its 15 s."""
    status = stage.session(user_id=1)
    stage.redis.hset("online_1", status.to_field(), status.to_value())
    stage.report(user_id=2)
    sessions, _ = frames(stage)
    assert [True, False] == sessions["key_ttl_s"].isna().tolist()
    assert 14 < sessions["key_ttl_s"].iloc[1] <= 15


def test_a_key_that_never_expires_and_holds_no_session(stage: Stage) -> None:
    """It is named where no row could show it; a key of another kind, and one with a session, are
    not.
    """
    stage.redis.hset("online_1", "o'hara", "x")
    stage.redis.set("online_2", "busy")
    stage.redis.hset("online_3", "o'hara", "x")
    stage.redis.expire("online_3", 15)
    status = stage.session(user_id=4)
    stage.redis.hset("online_4", status.to_field(), status.to_value())
    taken = stage.deployment.snapshot(tables=[])
    assert [1] == taken.info["never_expire"]
    assert ["online_1", "online_4"] == sorted(taken.audit(["key_without_ttl"]).rows["subject"])


@pytest.mark.parametrize(
    ("documented", "deployed", "wins"),
    [(0, -1, "documented"), (-1, 0, "deployed"), (0, 0, "documented")],
)
def test_a_session_in_both_layouts_is_one_row(
    stage: Stage, documented: int, deployed: int, wins: str
) -> None:
    """The later report, at a tie the documented one: as the model reads it."""
    for layout, by in ((imlib.Layout.DOCUMENTED, documented), (imlib.Layout.DEPLOYED, deployed)):
        status = stage.session(now=START + by)
        stage.redis.hset("online_7", status.to_field(layout), status.to_value(layout))
    sessions, malformed = frames(stage)
    assert [(wins, START)] == list(zip(sessions["layout"], sessions["now"], strict=True))
    assert 0 == len(malformed)
    stage.report(user_id=8)
    assert [7] == stage.deployment.snapshot(tables=[]).info["in_both_layouts"]


def test_nothing_malformed_is_lost_or_in_the_way(stage: Stage) -> None:
    """Each is a row with key, field, value and reason, in order; the good sessions beside them are
    all there.
    """
    stage.report()
    stage.redis.hset("online_7", mapping={"01_2": "1_2_3", b"\xff\n": b"\x00x", "": ""})
    stage.redis.hset("online_x", "1_2", "1_2_3")
    stage.redis.set("online_8", "a string")
    sessions, malformed = frames(stage)
    assert [7] == sessions["user_id"].tolist()
    expected = [
        ("online_7", "", ""),
        ("online_7", "01_2", "1_2_3"),
        ("online_7", "\\xff\n", "\x00x"),
        ("online_8", None, None),
        ("online_x", None, None),
    ]
    shown = [
        tuple(None if pd.isna(part) else part for part in row)
        for row in malformed[MALFORMED[:3]].to_numpy()
    ]
    assert expected == shown
    reasons = malformed["reason"].tolist()
    assert [bad.reason for bad in stage.model.malformed()] == reasons
    assert "the key does not hold a hash" == reasons[3]


def test_the_same_state_gives_the_same_frames(stage: Stage) -> None:
    """In whatever order it was written: sorted, and equal to the last bit but for the time that is
    left.
    """
    rng = np.random.default_rng(7)
    statuses = [
        stage.session(int(number), user_id=int(user))
        for user, number in rng.integers(-50, 50, (300, 2))
    ]
    taken: list[pd.DataFrame] = []
    for order in (statuses, statuses[::-1]):
        stage.redis.flushall()
        stage.model.renew(order)
        stage.redis.hset("online_0", mapping={"x": "1", "y": "2"})
        sessions, malformed = frames(stage)
        taken.append(sessions.drop(columns="key_ttl_s"))
        assert ["x", "y"] == malformed["field"].tolist()
    pd.testing.assert_frame_equal(taken[0], taken[1])
    assert len({(status.user_id, status.session_id) for status in statuses}) == len(taken[0])


def test_a_key_that_scan_brings_twice_is_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """SCAN may, while the server's table grows; rows and malformed entries stay single."""
    stage.report()
    stage.redis.hset("online_7", "x", "1")
    stage.redis.set("online_x", "1")
    scan = stage.redis.scan

    def twice(*arguments: Any, **options: Any) -> Any:
        cursor, keys = scan(*arguments, **options)
        return cursor, keys + keys

    monkeypatch.setattr(stage.redis, "scan", twice)
    sessions, malformed = frames(stage)
    assert (1, 2) == (len(sessions), len(malformed))


def test_the_clock_of_a_stage_is_the_one_it_is_judged_by(stage: Stage) -> None:
    """`info` says whose clock it was, and what it showed."""
    stage.report()
    stage.turn_to(3)
    snapshot = stage.deployment.snapshot()
    assert START + 3 == snapshot.info["taken_at"]
    assert [3.0] == snapshot.sessions["age_s"].tolist()


def test_a_session_that_counts_on_two_servers() -> None:
    """Two entries of one session, each of another server and both in time, name the user; one that
    is past its lease, or of the same server, does not.
    """
    with imlib.connect("embedded://", "embedded://", scratch=True) as deployment:
        now = int(deployment.redis.time()[0])
        for user_id, server_id, age in ((1, 2, 5), (2, 2, 20), (3, 1, 5)):
            report = imlib.SessionStatus(user_id, 7, 8, 1, 9, now)
            older = imlib.SessionStatus(user_id, 7, 8, server_id, 9, now - age)
            entries: Any = {report.to_field(): report.to_value()}
            deployed = imlib.Layout.DEPLOYED
            entries[older.to_field(deployed)] = older.to_value(deployed)
            deployment.redis.hset(report.to_key(), mapping=entries)
        taken = deployment.snapshot(tables=[])
    assert [1, 2, 3] == taken.info["in_both_layouts"]
    assert [1] == taken.info["on_two_servers"]
    (held,) = taken.audit(["session_held_twice"])
    assert "online_1" == held.subject
