"""What a server or its ACL refuses: the right error, the truth about what was written, no trace."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest

import imlib
from tests.private_servers.programs import REDIS_SERVER, VALKEY
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.private_servers.refusals import REFUSALS

NOW = 1_512_270_533
SCRIPTS: dict[str, tuple[str, str | None, set[str]]] = {
    "redis-server": (REDIS_SERVER, None, {"eval", "hset", "expire"}),
    "valkey": (VALKEY, None, {"eval", "hset", "expire"}),
    "valkey HSETEX": (VALKEY, "HSETEX", {"eval", "hsetex", "expire"}),
    "valkey HEXPIRE": (VALKEY, "HEXPIRE", {"eval", "hset", "hexpire", "expire"}),
}
"""The program, the command of the field lease or None for the key lease, and what a write needs."""


def session(user_id: int = 7, session_id: int = 1) -> imlib.SessionStatus:
    """Return a session that counts by the clock of these tests."""
    return imlib.SessionStatus(user_id, -42, session_id, 3, 99, NOW)


@pytest.fixture(scope="module", params=SCRIPTS)
def script(request: pytest.FixtureRequest) -> Iterator[tuple[PrivateRedis, str | None, set[str]]]:
    """Give a server, the command of the field lease that is used, and what a write needs."""
    program, command, needs = SCRIPTS[request.param]
    with private_redis(program=program, tcp=True) as server:
        yield server, command, needs


@pytest.fixture
def server(script: tuple[PrivateRedis, str | None, set[str]]) -> PrivateRedis:
    """Give the server alone, empty."""
    script[0].command("FLUSHALL")
    return script[0]


@pytest.fixture
def deployment(
    script: tuple[PrivateRedis, str | None, set[str]], server: PrivateRedis, tmp_path: Path
) -> Iterator[imlib.Deployment]:
    """Give a deployment of a user whose rights the test changes, with the script asked for."""
    url = server.add_user("writer", "secret", "~*", "+@all")
    with imlib.connect(url, f"sqlite:///{tmp_path / 'imlib.db'}", clock=lambda: NOW) as opened:
        opened.lease = imlib.Lease.FIELD if script[1] else imlib.Lease.KEY
        opened.server = replace(opened.server, field_lease=script[1])
        yield opened


def held(server: PrivateRedis) -> dict[str, tuple[Any, int]]:
    """Return what each key holds, and when it goes."""
    kinds = {"hash": "HGETALL", "string": "GET"}
    return {
        key: (
            server.command(kinds[server.command("TYPE", key)], key),
            server.command("PEXPIRETIME", key),
        )
        for key in server.command("KEYS", "*")
    }


def refusal(kind: type[imlib.ImlibError], write: Any) -> str:
    """Return the message that a write fails with: one line."""
    with pytest.raises(imlib.ImlibError) as caught:
        write()
    assert kind is type(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_servers_refusal_is_no_keys(
    deployment: imlib.Deployment, server: PrivateRedis, refused: str
) -> None:
    """The server is unavailable: nobody is told of another type, nor that others were written."""
    model = deployment.online_status
    model.set_online(session(8))
    server.command("PERSIST", "online_8")
    before = held(server)
    many = [session(user_id) for user_id in range(300)]
    with REFUSALS[refused](server):
        for write in (lambda: model.set_online(session()), lambda: model.renew(many)):
            said = refusal(imlib.UnavailableError, write)
            assert "not written" in said
            assert "redis.type" not in said
            assert "other session" not in said
        if refused == "MASTERDOWN":
            refusal(imlib.UnavailableError, lambda: model.get_online_by_user_id(8))
        if refused != "OOM":  # a goodbye needs no memory
            for force in (False, True):
                refusal(imlib.UnavailableError, partial(model.set_offline, session(8), force=force))
    assert before == held(server)
    model.set_online(session())
    assert [session()] == model.get_online_by_user_id(7)


def test_a_replica_names_its_primary(deployment: imlib.Deployment, server: PrivateRedis) -> None:
    """Where ROLE may be asked the primary is named, else that it is a replica is said."""
    with REFUSALS["READONLY"](server):
        for rule, named in (("+role", True), ("-role", False)):
            server.command("ACL", "SETUSER", "writer", rule)
            said = refusal(
                imlib.UnavailableError, lambda: deployment.online_status.set_online(session())
            )
            assert "is a replica" in said
            assert named == ("127.0.0.1:1" in said)


def test_a_server_that_is_full_half_way(deployment: imlib.Deployment, server: PrivateRedis) -> None:
    """Of a key and a server that refuse at once, the server's refusal is told."""
    server.command("SET", "online_7", "x")
    with REFUSALS["OOM"](server):
        said = refusal(
            imlib.UnavailableError,
            lambda: deployment.online_status.renew([session(6), session(7), session(8)]),
        )
    assert "online_6, online_7, online_8: not written" in said
    assert {"online_7": ("x", -1)} == held(server)


@pytest.mark.parametrize("there", ["nothing", "a hash", "a hash without end", "a string"])
def test_whatever_the_rights_nothing_is_half_written(
    deployment: imlib.Deployment,
    server: PrivateRedis,
    script: tuple[PrivateRedis, str | None, set[str]],
    there: str,
) -> None:
    """With every subset of the commands of all writes: it is whole, or denied without a trace."""
    commands = ("eval", "hset", "expire") + (("hsetex", "hexpire") if script[1] else ())
    subsets = chain.from_iterable(combinations(commands, n) for n in range(len(commands) + 1))
    for granted in map(set, subsets):
        server.command("FLUSHALL")
        if there == "a string":
            server.command("SET", "online_7", "foreign", "PX", 1_000_000)
        elif there != "nothing":
            server.command("HSET", "online_7", "-42_1", "1_2_3", "-42_2", "1_2_3")
            if there == "a hash":
                server.command("PEXPIRE", "online_7", 1_000_000)
        before = held(server)
        rules = ["-@all", "+@read", *(f"+{name}" for name in granted)]
        server.command("ACL", "SETUSER", "writer", *rules)
        write = partial(deployment.online_status.set_online, session())
        if not granted >= script[2]:
            said = refusal(imlib.AccessDeniedError, write)
            assert "online_7: not written" in said
            assert "other session" not in said
            assert before == held(server)
        elif there == "a string":
            assert "redis.type" in refusal(imlib.WrongTypeError, write)
            assert before == held(server)
        else:
            write()
            assert b"1512270533_3_99" == deployment.redis.hget("online_7", "-42_1")
            assert 14 <= server.command("TTL", "online_7") <= 15


def test_rights_that_differ_by_key(deployment: imlib.Deployment, server: PrivateRedis) -> None:
    """Who may extend one key alone writes that one; the other is named, and not there."""
    rules = ["-@all", "+@all", "-expire", "(+expire ~online_7)"]
    server.command("ACL", "SETUSER", "writer", *rules)
    said = refusal(
        imlib.AccessDeniedError,
        lambda: deployment.online_status.renew([session(6), session(7), session(8)]),
    )
    assert "online_6, online_8: not written. Every other session was." in said
    assert ["online_7"] == list(held(server))


def test_keys_that_may_not_be_touched(deployment: imlib.Deployment, server: PrivateRedis) -> None:
    """A user who may not touch one of the keys is denied, and none is written."""
    server.command("ACL", "SETUSER", "writer", "resetkeys", "~online_7")
    said = refusal(
        imlib.AccessDeniedError,
        lambda: deployment.online_status.renew([session(6), session(7)]),
    )
    assert "online_6, online_7: not written" in said
    assert {} == held(server)


def test_what_was_written_is_said_by_the_batch(
    deployment: imlib.Deployment, server: PrivateRedis
) -> None:
    """Keys of another type are named, all of them as evidence, and others only if there are."""
    model = deployment.online_status
    strings = range(0, 600, 100)
    for user_id in strings:
        server.command("SET", f"online_{user_id}", "x")
    with pytest.raises(imlib.WrongTypeError, match="Every other session was") as caught:
        model.renew(session(user_id) for user_id in range(600))
    assert tuple(f"online_{user_id}" for user_id in strings) == caught.value.keys
    assert "online_400, …: not written, WRONGTYPE" in str(caught.value)
    assert 594 == model.count_online().sessions
    for write in (model.set_online, model.set_offline):
        with pytest.raises(imlib.WrongTypeError, match=r"^online_0: not written, W") as caught:
            write(session(0))
        assert ("online_0",) == caught.value.keys
        assert "other session" not in str(caught.value)


@pytest.mark.parametrize(("refused", "shown"), [(5, "online_3, online_4: "), (6, "online_4, …: ")])
def test_five_keys_are_named(
    deployment: imlib.Deployment, server: PrivateRedis, refused: int, shown: str
) -> None:
    """A message names as many keys as a line holds; the error's evidence has them all."""
    for user_id in range(refused):
        server.command("SET", f"online_{user_id}", "x")
    with pytest.raises(imlib.WrongTypeError) as caught:
        deployment.online_status.renew(map(session, range(refused)))
    assert shown + "not written" in str(caught.value)
    assert refused == len(caught.value.keys)


@pytest.mark.parametrize(
    ("granted", "works"),
    [
        ("+eval +hmget +hdel", True),
        ("+eval +hmget", False),
        ("+eval +hdel", False),
        ("+hmget +hdel", False),
        ("+hdel", False),
    ],
)
def test_a_goodbye_that_is_denied(
    deployment: imlib.Deployment, server: PrivateRedis, granted: str, works: bool
) -> None:
    """A user who may not look or remove is denied, and everything stays."""
    model = deployment.online_status
    model.renew([session(), session(session_id=2)])
    before = held(server)
    server.command("ACL", "SETUSER", "writer", "-@all", *granted.split())
    if works:
        assert model.set_offline(session())
        assert ["-42_2"] == server.command("HKEYS", "online_7")
    else:
        refusal(imlib.AccessDeniedError, lambda: model.set_offline(session()))
        assert before == held(server)
