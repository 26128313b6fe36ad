"""The presence contract, the same on every backend and lease: many at once, and what others left
there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from redis.exceptions import ResponseError

import imlib
from imlib import presence
from imlib.models.online_status import OnlineCount
from tests.models import backends
from tests.models.backends import START, Stage

# pytest finds fixtures by the names of a module.
server = backends.server
opened = backends.opened
stage = backends.stage

DOCUMENTED, DEPLOYED = imlib.Layout.DOCUMENTED, imlib.Layout.DEPLOYED

# Not one of them is a hash; each command makes its key.
OTHER_TYPES = {
    "string": ("SET", "online_7", "1"),
    "list": ("RPUSH", "online_7", "1"),
    "set": ("SADD", "online_7", "1"),
    "zset": ("ZADD", "online_7", "1", "1"),
    "stream": ("XADD", "online_7", "1-1", "1", "1"),
}
MALFORMED = {
    b"": b"1512270533_1_42",
    b"1_2_3": b"1512270533_1_42",
    b"1_2": b"1512270533_1",
    b"1_3": b"1@42@1512270533",
    b"01_3": b"1512270533_1_42",
    b"1_9223372036854775808": b"1512270533_1_42",
    b"1_4": b"1512270533_2147483648_42",
    b"1@4": b"1@42@",
    b"\xff\x00": b"\xfe",
    "１_5".encode(): b"1512270533_1_42",
}


def dumped(stage: Stage) -> dict[bytes, bytes]:
    """Return all that Redis holds."""
    return {key: stage.redis.dump(key) for key in stage.redis.keys("*")}


def look(stage: Stage) -> None:
    """Look in every way there is."""
    stage.online()
    stage.model.get_online_by_user_id_list([7, 8])
    list(stage.model.iter_online())
    stage.model.count_online()
    stage.model.malformed()
    stage.model.malformed([7, 8])


@pytest.mark.parametrize("kind", OTHER_TYPES)
class TestKeyThatIsNoHash:
    """Somebody has put something else where a user's sessions belong."""

    def test_reads_skip_and_report_it(self, stage: Stage, kind: str) -> None:
        """The user is offline, others are read, the key is listed as malformed, and nothing has
        changed.
        """
        other = stage.report(user_id=8)
        stage.redis.execute_command(*OTHER_TYPES[kind])
        before = dumped(stage)
        assert {7: [], 8: [other]} == stage.model.get_online_by_user_id_list([7, 8])
        assert OnlineCount(1, 1) == stage.model.count_online()
        for found in (stage.model.malformed(), stage.model.malformed([7, 8])):
            assert [(b"online_7", None, None, "the key does not hold a hash")] == [
                (bad.key, bad.field, bad.value, bad.reason) for bad in found
            ]
        look(stage)
        assert before == dumped(stage)

    def test_writes_refuse_it(self, stage: Stage, kind: str) -> None:
        """Neither report nor offline changes it, and the error is one line that names the key."""
        stage.redis.execute_command(*OTHER_TYPES[kind])
        before = dumped(stage)
        with pytest.raises(
            imlib.WrongTypeError, match=r"^online_7: not written, .*deployment\.redis\.type"
        ) as caught:
            stage.report()
        assert "\n" not in str(caught.value)
        with pytest.raises(imlib.WrongTypeError):
            stage.model.set_offline(stage.session())
        assert before == dumped(stage)
        assert -1 == stage.redis.ttl("online_7")

    def test_a_renewal_writes_all_others(self, stage: Stage, kind: str) -> None:
        """One bad key costs no other user its lease."""
        stage.redis.execute_command(*OTHER_TYPES[kind])
        others = [stage.session(user_id=user_id) for user_id in (6, 8)]
        with pytest.raises(imlib.WrongTypeError, match=r"^online_7: not written"):
            stage.model.renew([others[0], stage.session(), others[1]])
        assert {6: others[:1], 7: [], 8: others[1:]} == stage.model.get_online_by_user_id_list(
            [6, 7, 8]
        )


@pytest.mark.parametrize(
    ("documented", "deployed", "wins"),
    [
        pytest.param(START, START - 1, DOCUMENTED, id="documented later"),
        pytest.param(START - 1, START, DEPLOYED, id="deployed later"),
        pytest.param(START, START, DOCUMENTED, id="tie"),
        pytest.param(START - 30, START, DEPLOYED, id="documented lapsed"),
        pytest.param(START, START - 30, DOCUMENTED, id="deployed lapsed"),
    ],
)
def test_a_session_in_both_layouts_is_one(
    stage: Stage, documented: int, deployed: int, wins: imlib.Layout
) -> None:
    """The greater time wins, at a tie the documented spelling, whichever was written first."""
    by_layout = {
        DOCUMENTED: imlib.SessionStatus(
            7, -42, 1, server_id=1, netlib_session_id=1, now=documented
        ),
        DEPLOYED: imlib.SessionStatus(7, -42, 1, server_id=2, netlib_session_id=2, now=deployed),
    }
    for order in ((DOCUMENTED, DEPLOYED), (DEPLOYED, DOCUMENTED)):
        stage.redis.delete("online_7")
        for layout in order:
            stage.redis.hset(
                "online_7", by_layout[layout].to_field(layout), by_layout[layout].to_value(layout)
            )
        assert [by_layout[wins]] == stage.online()
        assert OnlineCount(1, 1) == stage.model.count_online()


def test_sessions_of_both_layouts_stand_in_one_hash(stage: Stage) -> None:
    """Servers of both kinds serve one user: every session is read, in the order of its ids."""
    sessions = [stage.session(number) for number in range(6)]
    for status in sessions:
        layout = DEPLOYED if status.session_id % 2 else DOCUMENTED
        stage.redis.hset("online_7", status.to_field(layout), status.to_value(layout))
    assert sessions == stage.online()


def test_malformed_entries_are_skipped_reported_and_kept(stage: Stage) -> None:
    """Good sessions beside them are read, each is listed with its reason, and looking
    deletes none.
    """
    status = stage.report()
    stage.redis.hset("online_7", mapping=MALFORMED)
    before = dumped(stage)
    assert [status] == stage.online()
    assert [(7, [status])] == list(stage.model.iter_online())
    assert OnlineCount(1, 1) == stage.model.count_online()
    for found in (stage.model.malformed(), stage.model.malformed([7])):
        assert sorted(MALFORMED.items()) == [(bad.field, bad.value) for bad in found]
        assert all(bad.key == b"online_7" and bad.reason for bad in found)
    look(stage)
    assert before == dumped(stage)


def test_an_entry_has_the_codecs_own_reason(stage: Stage) -> None:
    """What the model reports is what the codec says."""
    stage.redis.hset("online_7", b"1_02", b"1512270533_1_42")
    with pytest.raises(imlib.CodecError) as caught:
        imlib.SessionStatus.from_key_value(b"1_02", b"1512270533_1_42", user_id=7)
    assert [caught.value.reason] == [bad.reason for bad in stage.model.malformed()]


@pytest.mark.parametrize(
    "name", ["online_", "online_x", "online_007", "online_-0", "online_2147483648", "online_7 "]
)
def test_a_key_that_names_no_user_is_malformed(stage: Stage, name: str) -> None:
    """Its sessions are nobody's: reads skip them, and the key is listed."""
    status = stage.report()
    stage.redis.hset(name, status.to_field(), status.to_value())
    before = dumped(stage)
    assert [(7, [status])] == list(stage.model.iter_online())
    assert [(name.encode(), None, None)] == [
        (bad.key, bad.field, bad.value) for bad in stage.model.malformed()
    ]
    look(stage)
    assert before == dumped(stage)


def test_other_keys_are_none_of_presence(stage: Stage) -> None:
    """Only keys that begin with online_ are looked at."""
    status = stage.report()
    for name in ("offline_7", "Online_7", "xonline_7", "online"):
        stage.redis.hset(name, status.to_field(), status.to_value())
    assert [] == stage.model.malformed()
    assert OnlineCount(1, 1) == stage.model.count_online()


def test_a_batch_read_answers_for_every_id(stage: Stage) -> None:
    """Duplicates are answered once, who is offline gets an empty list, and the order is the one
    asked in.
    """
    status = stage.report()
    found = stage.model.get_online_by_user_id_list(iter([9, 7, 9, -(2**31), 7, int(np.int64(8))]))
    assert [(9, []), (7, [status]), (-(2**31), []), (8, [])] == list(found.items())


def test_a_batch_read_of_nobody_is_empty(stage: Stage) -> None:
    """Asking for no one asks no server."""
    assert {} == stage.model.get_online_by_user_id_list([])
    assert [] == stage.model.malformed([])


@pytest.mark.parametrize("user_id", [2**31, -(2**31) - 1, True, 7.0, "7", None])
def test_what_is_no_user_id_is_refused(stage: Stage, user_id: Any) -> None:
    """An id outside int32 can be nobody's; the message shows it."""
    for read in (
        stage.model.get_online_by_user_id,
        lambda one: stage.model.get_online_by_user_id_list([7, one]),
    ):
        with pytest.raises(imlib.InvalidValueError) as caught:
            read(user_id)
        assert str(caught.value).startswith(repr(user_id))


def test_walking_meets_everyone_who_is_online(stage: Stage) -> None:
    """Every user with a session that counts is met, with these sessions alone."""
    stage.model.renew([stage.session(user_id=user_id, now=START - 17) for user_id in range(30)])
    live = {user_id: [stage.session(2, user_id=user_id)] for user_id in range(10, 40)}
    stage.model.renew(status for sessions in live.values() for status in sessions)
    assert live == dict(stage.model.iter_online(batch=7))
    assert OnlineCount(30, 30) == stage.model.count_online()


def test_walking_holds_about_a_batch(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are online, SCAN brings a batch, and few are asked for before the first is used
    up.
    """
    stage.model.renew(stage.session(user_id=user_id) for user_id in range(500))
    brought: list[int] = []
    scan_keys = presence.scan_keys

    def counted(*arguments: Any) -> Iterator[list[bytes]]:
        for keys in scan_keys(*arguments):
            brought.append(len(keys))
            yield keys

    monkeypatch.setattr(presence, "scan_keys", counted)
    walk = stage.model.iter_online(batch=10)
    next(walk)
    assert sum(brought) < 150
    assert 499 == sum(1 for _ in walk)
    # SCAN ends with the hash bucket that it began.
    assert max(brought) < 50


def test_a_walk_that_is_given_up_leaves_no_reply_behind(stage: Stage) -> None:
    """Other questions in the middle of a walk, and after its early end, get their own answers."""
    stage.model.renew(stage.session(user_id=user_id) for user_id in range(100))
    walk = stage.model.iter_online(batch=10)
    for _ in range(15):
        user_id, sessions = next(walk)
        assert sessions == stage.model.get_online_by_user_id(user_id)
    walk.close()  # type: ignore[attr-defined]  # a generator, though no more than an iterator is promised
    assert [stage.session(user_id=7)] == stage.model.get_online_by_user_id(7)
    assert OnlineCount(100, 100) == stage.model.count_online()


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_is_at_least_one_key(stage: Stage, batch: int) -> None:
    """A batch of nothing would never end."""
    with pytest.raises(imlib.InvalidValueError, match=f"batch is {batch}: .* at least 1"):
        list(stage.model.iter_online(batch=batch))


def test_a_batch_of_one_key(stage: Stage) -> None:
    """The least batch there can be meets everybody."""
    stage.model.renew(stage.session(user_id=user_id) for user_id in range(5))
    met = [user_id for user_id, _ in stage.model.iter_online(batch=1)]
    assert [0, 1, 2, 3, 4] == sorted(set(met))


@pytest.mark.parametrize(
    ("replies", "clock"),
    [
        ([], 9.0),
        ([-2, -2, -1, -1], 9.0),
        ([5000, -2, -1, 300], 9.0),
        ([5000, 0, 0, 300], 9.0),
        ([5000, 250], 4.75),
        ([-1, -1, 5000, 1, 70_000, 1], 4.999),
        ([ResponseError("unknown command"), 300, 5000, ResponseError("x"), 1, 1], 0.0),
    ],
)
def test_the_clock_of_who_may_only_read(
    monkeypatch: pytest.MonkeyPatch, replies: list[Any], clock: float
) -> None:
    """The first key with a deadline and a time left tells it; where none does, our own clock."""
    monkeypatch.setattr(presence, "round_trip", lambda *_: replies)
    monkeypatch.setattr("time.time", lambda: 9.0)
    keys: Any = [b"online_7"] * (len(replies) // 2)
    nobody: Any = None  # every question is answered above
    assert clock == presence._clock_without_time(nobody, keys)


def test_skew_is_measured_from_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis's clock is compared with the middle of the round trip; ahead is positive."""
    moments = iter([100.0, 102.0])
    monkeypatch.setattr(presence, "round_trip", lambda *_: [[b"98", b"500000"]])
    monkeypatch.setattr("time.time", lambda: next(moments))
    nobody: Any = None  # every question is answered above
    assert (2.5, 98.5) == presence.measure_skew(nobody)


def test_a_count_counts_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """SCAN may bring a key twice, as it does while the server's table grows: the count does not."""
    stage.model.renew(
        stage.session(number, user_id=user_id) for user_id in range(5) for number in range(2)
    )
    stage.redis.set("online_x", "no hash")
    scan_keys = presence.scan_keys

    def twice(*arguments: Any) -> Iterator[list[bytes]]:
        for keys in scan_keys(*arguments):
            yield from (keys, keys)

    monkeypatch.setattr(presence, "scan_keys", twice)
    assert OnlineCount(5, 10) == stage.model.count_online()
    found = [bad.key for bad in stage.model.malformed()]
    assert len(set(found)) == len(found)
