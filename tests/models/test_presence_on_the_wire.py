"""What presence costs on the wire: one round trip an operation, one atomic command a write, on
every real server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import imlib
from imlib.models.online_status import OnlineStatusModel
from tests.models import backends
from tests.models.backends import Backend
from tests.servers.proxy import Proxy, proxy_to

# pytest finds fixtures by the names of a module.
real_server = backends.real_server

STATUS = imlib.SessionStatus(7, -42, 1, 3, 99, 1_512_270_533)
THOUSAND = [imlib.SessionStatus(user_id, -42, 1, 3, 99, STATUS.now) for user_id in range(1000)]
ONE_OF_USER = [imlib.SessionStatus(7, -42, number, 3, 99, STATUS.now) for number in range(1000)]

WRITES: dict[str, Callable[[OnlineStatusModel], object]] = {
    "set_online": lambda model: model.set_online(STATUS),
    "renew 1000 users": lambda model: model.renew(THOUSAND),
    "renew 1000 sessions": lambda model: model.renew(ONE_OF_USER),
    "set_offline": lambda model: model.set_offline(STATUS),
    "set_offline by force": lambda model: model.set_offline(STATUS, force=True),
}
READS: dict[str, Callable[[OnlineStatusModel], object]] = {
    "one user": lambda model: model.get_online_by_user_id(7),
    "1000 users": lambda model: model.get_online_by_user_id_list(range(1000)),
    "malformed of 1000": lambda model: model.malformed(range(1000)),
}
EVERY = WRITES | READS


@pytest.fixture(scope="module")
def wire(real_server: tuple[Backend, str]) -> Iterator[Proxy]:
    """Give a proxy in front of each real server."""
    with proxy_to(real_server[1]) as proxy:
        yield proxy


@pytest.fixture
def deployment(
    real_server: tuple[Backend, str], wire: Proxy, tmp_path: Path
) -> Iterator[imlib.Deployment]:
    """Give a deployment that reaches its server through the proxy."""
    wire.forward()
    database = f"sqlite:///{tmp_path / 'imlib.db'}"
    with imlib.connect(wire.url, database, scratch=True, lease=real_server[0].lease) as opened:
        yield opened
        wire.forward()


@pytest.mark.parametrize("name", EVERY)
def test_one_round_trip(deployment: imlib.Deployment, wire: Proxy, name: str) -> None:
    """An operation sends all of its commands before it needs one reply."""
    deployment.online_status.renew(THOUSAND)
    wire.forward()
    EVERY[name](deployment.online_status)
    needed = len(wire.commands)
    # Again, and no reply is let through before the last command has come: with a second round trip
    # none would come.
    wire.forward(hold_until=needed)
    EVERY[name](deployment.online_status)
    assert needed == len(wire.commands)


def test_two_round_trips_would_be_noticed(deployment: imlib.Deployment, wire: Proxy) -> None:
    """The deployed server's way, one HGETALL a user, waits for a reply that the proxy withholds."""
    from redis import Redis

    with Redis.from_url(wire.url, protocol=2, retry=None) as plain, ThreadPoolExecutor(1) as pool:
        plain.ping()
        wire.forward(hold_until=2)
        asked = pool.submit(lambda: [plain.hgetall(f"online_{user_id}") for user_id in (7, 8)])
        assert wire.holding.wait(60)
        assert [[b"HGETALL", b"online_7"]] == wire.commands
        wire.forward()
        assert 2 == len(asked.result(60))


@pytest.mark.parametrize("name", WRITES)
def test_a_write_is_one_atomic_command(
    deployment: imlib.Deployment, wire: Proxy, name: str
) -> None:
    """One command a session, and no transaction around several: nothing comes between the parts of
    a write.
    """
    wire.forward()
    WRITES[name](deployment.online_status)
    sent = [command[0] for command in wire.commands]
    assert {b"HDEL" if name.endswith("force") else b"EVAL"} == set(sent)
    assert 1 == len(sent) or name.startswith("renew")
    fields = [word for command in wire.commands for word in command if word.startswith(b"-42_")]
    assert len(fields) == len(sent) or len(THOUSAND) == len(fields)


@pytest.mark.parametrize("name", READS)
def test_reading_sends_no_command_that_writes(
    deployment: imlib.Deployment, wire: Proxy, name: str
) -> None:
    """Looking changes nothing because nothing that could is ever sent."""
    wire.forward()
    READS[name](deployment.online_status)
    list(deployment.online_status.iter_online())
    deployment.snapshot()
    # CLIENT is of a connection alone: by SETINFO redis-py says who it is, by NO-TOUCH a look asks
    # to be none.
    of_connections = [b"CLIENT", b"SETINFO"], [b"CLIENT", b"NO-TOUCH"]
    sent = {command[0] for command in wire.commands if command[:2] not in of_connections}
    assert (
        {b"HSCAN", b"TIME"}
        <= sent
        <= {b"HGETALL", b"TIME", b"SCAN", b"PTTL", b"INFO", b"HLEN", b"HSCAN", b"TYPE"}
    )


@pytest.mark.parametrize(
    ("fields", "trips"), [(1, 1), (1000, 1), (1001, 2), (2500, 3), (10_000, 11)]
)
def test_a_large_hash_is_read_in_parts(
    deployment: imlib.Deployment, wire: Proxy, fields: int, trips: int
) -> None:
    """One round trip up to 1,000 fields, then at most one more per 1,000; all of them are read."""
    sessions = [replace(STATUS, session_id=number) for number in range(fields)]
    deployment.online_status.renew([*sessions, replace(STATUS, user_id=8)])
    wire.forward()
    online = deployment.online_status.get_online_by_user_id_list([8, 7], clock=lambda: STATUS.now)
    assert [1, fields] == [len(online[8]), len(online[7])]
    assert sessions == online[7]
    sent = [command for command in wire.commands if b"online_7" in command]
    assert {b"HSCAN"} == {command[0] for command in sent}
    assert 1 <= len(sent) <= trips


@pytest.mark.parametrize("changed", ["gone", "another type"])
def test_a_large_hash_that_goes_while_it_is_read(
    deployment: imlib.Deployment, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    """What was read before it went counts; that it became another type is listed as malformed."""
    many = [replace(STATUS, session_id=number) for number in range(5000)]
    deployment.online_status.renew(many)
    redis: Any = deployment.redis
    hscan = redis.hscan

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        redis.delete("online_7")
        if changed == "another type":
            redis.set("online_7", "x")
        return hscan(*arguments, **options)

    monkeypatch.setattr(redis, "hscan", meanwhile)
    found = deployment.online_status.get_online_by_user_id(7, clock=lambda: STATUS.now)
    assert (changed == "gone") == bool(found)
    assert len(found) < 5000


def test_a_server_that_forgot_its_scripts_needs_nothing_more(
    deployment: imlib.Deployment, wire: Proxy
) -> None:
    """SCRIPT FLUSH between two writes is harmless, and costs no second round trip."""
    deployment.online_status.set_online(STATUS)
    deployment.redis.script_flush()
    wire.forward()
    deployment.online_status.set_online(STATUS)
    assert 1 == len(wire.commands)
    assert 1 == deployment.redis.exists("online_7")


@pytest.mark.parametrize("wrong_by", [-3600, 0, 3600])
def test_the_readers_clock_is_rediss_own(
    deployment: imlib.Deployment, monkeypatch: pytest.MonkeyPatch, wrong_by: int
) -> None:
    """However wrong this machine's clock is, the server's decides."""
    redis: Any = deployment.redis
    told = redis.time()[0]
    live, dead = (
        imlib.SessionStatus(7, 1, number, 1, 1, told - age) for number, age in ((1, 5), (2, 17))
    )
    deployment.online_status.renew([live, dead])
    monkeypatch.setattr("time.time", lambda: float(told + wrong_by))
    assert [live] == deployment.online_status.get_online_by_user_id(7)
    assert 1 == deployment.online_status.count_online().sessions
