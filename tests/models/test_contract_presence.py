"""The presence contract, the same on every backend and lease: when sessions count, and how they
come and go.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import imlib
from imlib.models.online_status import OnlineCount
from imlib.session_status import WRITTEN
from tests.models import backends
from tests.models.backends import START, Backend, Stage, on_stage

# pytest finds fixtures by the names of a module.
server = backends.server
opened = backends.opened
stage = backends.stage


@pytest.mark.parametrize(
    ("passed", "online"), [(0, True), (14.5, True), (15, False), (15.5, False), (17, False)]
)
def test_an_only_session_goes_with_its_key_at_15_s(
    stage: Stage, passed: float, online: bool
) -> None:
    """A user with one session lapses when the key does, 15 s after the report; the 17 s never come
    to bear.
    """
    status = stage.report()
    stage.turn_to(passed)
    assert ([status] if online else []) == stage.online()
    assert int(online) == stage.redis.exists("online_7")


@pytest.mark.parametrize(
    ("passed", "online"), [(15, True), (16.5, True), (17, False), (17.5, False)]
)
def test_beside_a_live_sibling_a_session_counts_until_17_s(
    stage: Stage, passed: float, online: bool
) -> None:
    """While a sibling keeps the key alive the stored time decides; what is left behind is the
    lease's affair.
    """
    status = stage.report(1)
    stage.turn_to(10)
    sibling = stage.report(2)
    stage.turn_to(passed)
    assert ([status, sibling] if online else [sibling]) == stage.online()
    assert (2 if online or stage.keeps_ghosts else 1) == stage.redis.hlen("online_7")


@pytest.mark.parametrize(("passed", "online"), [(28.5, True), (29, False), (29.5, False)])
def test_a_report_extends_the_lease(stage: Stage, passed: float, online: bool) -> None:
    """A session reported at 0 s and again at 14 s lapses at 29 s."""
    stage.report()
    stage.turn_to(14)
    status = stage.report()
    stage.turn_to(passed)
    assert ([status] if online else []) == stage.online()


def test_every_report_gives_the_key_its_whole_15_s(stage: Stage) -> None:
    """The key's time to live is 15 s after each report, and never longer."""
    for passed in (0, 5, 14):
        stage.turn_to(passed)
        stage.report()
        assert 14_000 < stage.redis.pttl("online_7") <= 15_000


def test_a_report_renews_no_sibling(stage: Stage) -> None:
    """A sibling's reports keep a dead session's key alive, but never the dead session."""
    stage.report(1)
    for passed in (10, 20, 30, 40):
        stage.turn_to(passed)
        live = stage.report(2)
    assert [live] == stage.online()
    assert (2 if stage.keeps_ghosts else 1) == stage.redis.hlen("online_7")


def test_a_session_that_comes_back_counts_again(stage: Stage) -> None:
    """A report after the lease has lapsed begins a new one."""
    stage.report()
    stage.turn_to(20)
    assert [] == stage.online()
    status = stage.report()
    stage.turn_to(34.5)
    assert [status] == stage.online()


@pytest.mark.parametrize(("behind", "online"), [(2, True), (16, True), (17, False), (18, False)])
def test_the_stored_time_decides_and_not_when_it_was_written(
    stage: Stage, behind: int, online: bool
) -> None:
    """A report from a server whose clock is behind counts for so much less."""
    status = stage.report(now=START - behind)
    assert ([status] if online else []) == stage.online()


def test_a_writer_ahead_of_time_still_goes_with_the_key(stage: Stage) -> None:
    """A report from the future, even the last one of its width, is gone with its key."""
    status = stage.report(now=2**63 - 1)
    stage.turn_to(14.5)
    assert [status] == stage.online()
    stage.turn_to(15)
    assert [] == stage.online()


@pytest.mark.parametrize(
    ("ahead", "online"), [(-3600, True), (0, True), (1, True), (2, False), (3600, False)]
)
def test_a_reader_may_bring_its_own_clock(stage: Stage, ahead: float, online: bool) -> None:
    """At 15 s, beside a live sibling, a reader ahead by 2 s no longer sees the session, one behind
    still does.
    """
    stage.report(1)
    stage.turn_to(10)
    stage.report(2, user_id=7)
    stage.turn_to(15)
    clock = imlib.lease.skewed(stage.clock, ahead)
    seen = {status.session_id for status in stage.model.get_online_by_user_id(7, clock=clock)}
    assert online == (1 in seen)
    met = [
        status.session_id
        for _, sessions in stage.model.iter_online(clock=clock)
        for status in sessions
    ]
    assert sorted(seen) == met
    assert len(seen) == stage.model.count_online(clock=clock).sessions


def test_offline_removes_the_session_alone(stage: Stage) -> None:
    """A sibling stays online, and the key's deadline stays where it was."""
    leaves, stays = stage.report(1), stage.report(2)
    stage.turn_to(5)
    deadline = stage.redis.pexpiretime("online_7")
    stage.model.set_offline(leaves)
    assert [stays] == stage.online()
    assert {stays.to_field().encode(): stays.to_value().encode()} == stage.redis.hgetall("online_7")
    assert deadline == stage.redis.pexpiretime("online_7")


def test_the_key_goes_with_its_last_session(stage: Stage) -> None:
    """Nothing of a user is left once every session is offline."""
    sessions = [stage.report(number) for number in range(3)]
    for status in sessions:
        assert 1 == stage.redis.exists("online_7")
        stage.model.set_offline(status)
    assert 0 == stage.redis.dbsize()


def test_offline_by_force_needs_no_matching_report(stage: Stage) -> None:
    """By force the client instance alone says what goes: both spellings, malformed ones too."""
    stage.report()
    other = imlib.SessionStatus(7, -42, 1, server_id=0, netlib_session_id=0, now=0)
    stage.redis.hset("online_7", other.to_field(imlib.Layout.DEPLOYED), "no session")
    assert stage.model.set_offline(other, force=True)
    assert 0 == stage.redis.dbsize()


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(
    ("server_id", "netlib_session_id", "late", "goes"),
    [
        (3, 99, 0, True),
        (3, 99, 20, True),
        (3, 99, -20, True),
        (3, 99, START - 2**63 + 1, True),
        (3, 99, START + 2**63, True),
        (3, 99, START, True),
        (3, 98, 0, False),
        (3, 9, 0, False),
        (3, 999, 0, False),
        (3, -99, 0, False),
        (2, 99, 0, False),
        (-3, 99, 0, False),
        (33, 99, 0, False),
        (99, 3, 0, False),
        (0, 0, 0, False),
    ],
)
def test_a_goodbye_concerns_its_own_connection(
    stage: Stage,
    written: imlib.Layout,
    server_id: int,
    netlib_session_id: int,
    late: int,
    goes: bool,
) -> None:
    """What the session reported elsewhere stays, with its key's deadline, whatever the time."""
    there = imlib.SessionStatus(7, -42, 1, server_id, netlib_session_id, START - late)
    entry = {there.to_field(written).encode(): there.to_value(written).encode()}
    sibling = stage.report(2)
    stage.redis.hset("online_7", mapping=entry)
    stage.turn_to(5)
    deadline = stage.redis.pexpiretime("online_7")
    assert goes is stage.model.set_offline(stage.session())
    left = {sibling.to_field().encode(): sibling.to_value().encode()} | ({} if goes else entry)
    assert left == stage.redis.hgetall("online_7")
    assert deadline == stage.redis.pexpiretime("online_7")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"_3_99",
        b"x_3_99",
        b"01_3_99",
        b"-0_3_99",
        b"+1_3_99",
        b" 1_3_99",
        b"1.0_3_99",
        b"9223372036854775808_3_99",
        b"-9223372036854775809_3_99",
        b"10000000000000000000_3_99",
        b"1512270533_3_99 ",
        b"1512270533_3_99_",
        b"1512270533_03_99",
        b"3@99@1512270533",
        b"\xff_3_99",
    ],
)
def test_a_goodbye_leaves_what_is_no_session(stage: Stage, value: bytes) -> None:
    """Of an entry that the codec refuses nobody knows the connection: only force removes it."""
    stage.redis.hset("online_7", "-42_1", value)
    assert not stage.model.set_offline(stage.session())
    assert {b"-42_1": value} == stage.redis.hgetall("online_7")
    assert stage.model.set_offline(stage.session(), force=True)
    assert 0 == stage.redis.dbsize()


def test_a_late_goodbye_leaves_the_new_connection(stage: Stage) -> None:
    """The first connection's goodbye comes after the second one's report, and cuts nobody off."""
    first = stage.report()
    second = replace(first, server_id=4, netlib_session_id=100)
    stage.model.set_online(second)
    assert not stage.model.set_offline(first)
    assert [second] == stage.online()
    assert stage.model.set_offline(second)
    assert stage.model.set_offline(second)
    assert 0 == stage.redis.dbsize()


def test_a_goodbye_of_one_spelling_alone(stage: Stage) -> None:
    """Where the spellings are of two connections, the one that leaves goes."""
    stays, leaves = stage.report(), replace(stage.session(), netlib_session_id=100)
    deployed = imlib.Layout.DEPLOYED
    stage.redis.hset("online_7", leaves.to_field(deployed), leaves.to_value(deployed))
    assert not stage.model.set_offline(leaves)
    assert [stays.to_field().encode()] == stage.redis.hkeys("online_7")


def test_offline_of_who_is_not_online_changes_nothing(stage: Stage) -> None:
    """Neither an unknown session nor an unknown user is an error, and neither makes a key."""
    status = stage.report()
    before = stage.redis.dump("online_7")
    for force in (False, True):
        assert stage.model.set_offline(stage.session(5), force=force)
        assert stage.model.set_offline(stage.session(user_id=8), force=force)
    assert before == stage.redis.dump("online_7")
    assert [status] == stage.online()
    assert 1 == stage.redis.dbsize()


def test_offline_removes_both_spellings(stage: Stage) -> None:
    """A session that servers of both layouts have written is gone in both."""
    status = stage.report()
    deployed = imlib.Layout.DEPLOYED
    stage.redis.hset("online_7", status.to_field(deployed), status.to_value(deployed))
    assert 2 == stage.redis.hlen("online_7")
    assert stage.model.set_offline(status)
    assert 0 == stage.redis.dbsize()


def test_renew_is_set_online_for_many(stage: Stage) -> None:
    """Sessions of several users are leased as if each had been reported alone."""
    sessions = [
        stage.session(number, user_id=user_id) for user_id in (7, -7, 0) for number in (1, 2)
    ]
    stage.model.renew(iter(sessions))
    assert {
        7: sessions[:2],
        -7: sessions[2:4],
        0: sessions[4:],
    } == stage.model.get_online_by_user_id_list([7, -7, 0])
    assert all(
        14_000 < stage.redis.pttl(key) <= 15_000 for key in ("online_7", "online_-7", "online_0")
    )


def test_of_two_reports_of_one_session_the_last_wins(stage: Stage) -> None:
    """Within one renewal the order given decides, and not the stored time."""
    late, early = stage.session(now=START), stage.session(now=START - 5)
    stage.model.renew([late, stage.session(2), early])
    assert [early, stage.session(2)] == stage.online()


def test_renewing_nothing_is_no_error(stage: Stage) -> None:
    """An empty renewal writes nothing."""
    stage.model.renew([])
    assert 0 == stage.redis.dbsize()


@pytest.mark.parametrize("number", [999, 1000, 1001, 2500])
def test_renewals_of_any_size_are_whole(stage: Stage, number: int) -> None:
    """Not one session is lost where a renewal is cut into commands."""
    stage.model.renew(stage.session(at, user_id=at % 300) for at in range(number))
    assert OnlineCount(300, number) == stage.model.count_online()
    assert number == sum(map(len, stage.model.get_online_by_user_id_list(range(300)).values()))


def test_a_thousand_sessions_of_one_user(stage: Stage) -> None:
    """They are read whole and in order, and lapse together."""
    sessions = [stage.session(number) for number in range(-500, 500)]
    stage.model.renew(reversed(sessions))
    assert sessions == stage.online()
    stage.turn_to(14.5)
    assert sessions == stage.online()
    stage.turn_to(15)
    assert [] == stage.online()
    assert 0 == stage.redis.dbsize()


@pytest.mark.parametrize("end", ["low", "high"])
def test_ids_at_the_ends_of_their_widths(stage: Stage, end: str) -> None:
    """Every part survives at both ends, through every way of reading."""
    int32, int64 = (-(2**31), -(2**63)) if end == "low" else (2**31 - 1, 2**63 - 1)
    status = imlib.SessionStatus(int32, int64, int64, int32, int64, START)
    stage.model.set_online(status)
    assert [status] == stage.online(int32)
    assert [(int32, [status])] == list(stage.model.iter_online())
    stage.model.set_offline(status)
    assert 0 == stage.redis.dbsize()


@pytest.mark.parametrize("layout", WRITTEN)
def test_what_is_written_is_of_the_layout_asked_for(
    server: tuple[Backend, str], tmp_path: Path, layout: imlib.Layout
) -> None:
    """Field and value stand in Redis as the codec spells them, and are read back."""
    with on_stage(*server, tmp_path, layout) as stage:
        status = stage.report()
        assert {
            status.to_field(layout).encode(): status.to_value(layout).encode()
        } == stage.redis.hgetall("online_7")
        assert [status] == stage.online()
