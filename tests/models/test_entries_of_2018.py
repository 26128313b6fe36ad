"""telegramd's entries of October 2018, on every backend and lease: read beside the other two
layouts, taken away by a goodbye of their own, and never written.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

import imlib
from imlib.session_status import WRITTEN
from tests.models import backends
from tests.models.backends import Stage

# pytest finds fixtures by the names of a module.
server = backends.server
opened = backends.opened
stage = backends.stage

NOW = 1_540_000_000
DOCUMENTED, DEPLOYED, DEPLOYED_2018 = imlib.Layout
FIELD = b"-42"


@pytest.fixture(autouse=True)
def october(stage: Stage) -> None:
    """Have the clock show a day of October 2018."""
    stage.clock.advance(NOW - stage.clock())


def entry(status: imlib.SessionStatus, layout: imlib.Layout) -> dict[str, str]:
    """Return a session's entry as a server of that layout writes it."""
    if layout is DEPLOYED_2018:
        return {f"{status.auth_key_id}": f"{status.server_id}@{status.now}@85"}
    return {status.to_field(layout): status.to_value(layout)}


def of_2018(now: int = NOW, server_id: int = 3) -> imlib.SessionStatus:
    """Return the session that an entry of auth key -42 is read as."""
    return imlib.SessionStatus(7, -42, 0, server_id, 0, now)


@pytest.mark.parametrize(("age", "online"), [(0, True), (16, True), (17, False), (3600, False)])
def test_it_is_read_everywhere(stage: Stage, age: int, online: bool) -> None:
    """Alone in its hash or beside both other layouts, by every way of reading."""
    status = of_2018(NOW - age)
    stage.redis.hset("online_7", mapping=entry(status, DEPLOYED_2018))
    seen = stage.deployment.snapshot(tables=[]).sessions
    assert [("deployed_2018", online, 0, 0)] == list(
        zip(
            *(seen[one] for one in ("layout", "online", "session_id", "netlib_session_id")),
            strict=True,
        )
    )
    others = [stage.session(1), stage.session(2)]
    for other, layout in zip(others, WRITTEN, strict=True):
        stage.redis.hset("online_7", mapping=entry(other, layout))
    expected = ([status] if online else []) + others
    assert expected == stage.online()
    assert [(7, expected)] == list(stage.model.iter_online())
    assert [] == stage.model.malformed()
    seen = stage.deployment.snapshot(tables=[]).sessions
    assert ["deployed_2018", "documented", "deployed"] == seen["layout"].to_list()


@pytest.mark.parametrize("order", [*permutations(imlib.Layout)], ids="-".join)
@pytest.mark.parametrize(
    ("ages", "wins"),
    [
        ((0, 0, 0), 0),
        ((1, 0, 0), 1),
        ((1, 1, 0), 2),
        ((0, 1, 0), 0),
        ((30, 30, 0), 2),
        ((0, 5, 9), 0),
        ((9, 0, 5), 1),
    ],
)
def test_a_session_in_several_layouts_is_one(
    stage: Stage, order: tuple[imlib.Layout, ...], ages: tuple[int, ...], wins: int
) -> None:
    """The greater time wins; at a tie the documented entry, then the deployed one."""
    each = {
        layout: of_2018(NOW - age, server_id=at)
        for at, (layout, age) in enumerate(zip(imlib.Layout, ages, strict=True))
    }
    for layout in order:
        stage.redis.hset("online_7", mapping=entry(each[layout], layout))
    winner = [*imlib.Layout][wins]
    assert [each[winner]] == stage.online()
    taken = stage.deployment.snapshot(tables=[])
    assert [winner] == taken.sessions["layout"].to_list()
    assert [7] == taken.info["in_both_layouts"]


@pytest.mark.parametrize(
    ("status", "goes"),
    [
        (of_2018(), True),
        (of_2018(now=0), True),
        (of_2018(server_id=4), False),
        (of_2018(server_id=-3), False),
        (replace(of_2018(), session_id=1), None),
        (replace(of_2018(), netlib_session_id=99), None),
        (replace(of_2018(), auth_key_id=42), None),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_goodbye(
    stage: Stage, status: imlib.SessionStatus, goes: bool | None, force: bool
) -> None:
    """It takes the entry of the same server where session and connection are 0, by force on every
    server; of another session's goodbye it is none.
    """
    stage.redis.hset("online_7", mapping=entry(of_2018(NOW - 20), DEPLOYED_2018))
    assert (goes is not False or force) is stage.model.set_offline(status, force=force)
    stays = goes is None or (goes is False and not force)
    assert ([FIELD] if stays else []) == stage.redis.hkeys("online_7")


def test_a_goodbye_of_all_three(stage: Stage) -> None:
    """One command takes what servers of three kinds wrote of one connection, and its key."""
    for layout in imlib.Layout:
        stage.redis.hset("online_7", mapping=entry(of_2018(), layout))
    assert 3 == stage.redis.hlen("online_7")
    assert stage.model.set_offline(of_2018())
    assert 0 == stage.redis.dbsize()


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"3@1540000000", b"3@1499999999@85", b"3@-1540000000@85", b"3@01540000000@85"),
        *(b"3@1540000000@0", b"3@1540000000@10000", b"3@1540000000@085", b"3@1540000000@85 "),
        *(b"3@9223372036854775808@85", b"3_1540000000_85", b"3@42@1512270533", b"03@1540000000@85"),
        *(b"3@10000000000000000000@85", b"x3@1540000000@85", b"3@1540000000@85@1"),
    ],
)
def test_a_goodbye_leaves_what_is_no_session(stage: Stage, value: bytes) -> None:
    """An entry that the codec refuses is of no connection: only force takes it."""
    stage.redis.hset("online_7", FIELD, value)
    assert [FIELD] == [bad.field for bad in stage.model.malformed()]
    assert not stage.model.set_offline(of_2018())
    assert {FIELD: value} == stage.redis.hgetall("online_7")
    assert stage.model.set_offline(of_2018(), force=True)
    assert 0 == stage.redis.dbsize()


@pytest.mark.parametrize(
    "value", [b"3@1500000000@1", b"3@9223372036854775807@9999", b"3@9999999999@10"]
)
def test_a_goodbye_at_the_ends_of_what_is_one(stage: Stage, value: bytes) -> None:
    """The earliest and the latest time and the ends of the layer are of their connection."""
    stage.redis.hset("online_7", FIELD, value)
    assert [] == stage.model.malformed()
    assert stage.model.set_offline(of_2018())
    assert 0 == stage.redis.dbsize()
