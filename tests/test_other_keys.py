"""What Redis holds where it holds no presence: kinds of keys, and never what is somebody's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import imlib
from imlib.cli.main import main
from imlib.other_keys import in_words, other_keys
from tests.private_servers.redis import PrivateRedis, private_redis

TEAMGRAM = "user_online_keys#* (the presence of teamgram, which imlib cannot read)"
OPENIM = "ONLINE:* (the presence of OpenIM, which imlib cannot read)"


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateRedis]:
    """Give a real server for all tests of this file."""
    with private_redis() as one:
        yield one


@pytest.fixture
def redis(server: PrivateRedis) -> Iterator[Any]:
    """Give a client of the server, which is empty; untyped, as redis-py's replies are."""
    with imlib.connect(server.url, "embedded://") as deployment:
        deployment.redis.flushall()
        yield deployment.redis


@pytest.mark.parametrize(
    ("keys", "kinds"),
    [
        ([], {}),
        (["seq_updates_ngen_7", "seq_updates_ngen_8"], {}),
        (["online_7", "session:1"], {}),
        (["online_x", "session:1"], {}),
        (["seq_updates_ngen_7", "session:1", "session:x:2"], {"session:*": 2}),
        (["user_online_keys#7", "user_online_keys#8"], {TEAMGRAM: 2}),
        (["ONLINE:ann", "a:1", "a:2"], {OPENIM: 1, "a:*": 2}),
        (["sess-1", "user7", "queue", "cart_9", "a.b"], None),
        (["491701234567", "+491701234567", "ann@example.com", "ann.lee@x.org", "{7}:x"], {"*": 5}),
        (["user:ann@example.com", "x" * 40, "Ünal", b"\xff\x00"], {"*": 3, "user:*": 1}),
        (["phone+4917012345", "call me 17"], {"call*": 1, "phone*": 1}),
    ],
)
def test_kinds(redis: Any, keys: list[Any], kinds: dict[str, int] | None) -> None:
    """A kind is a first word and its separator; sequences are ours, and presence ends the look."""
    if kinds is None:
        kinds = {"a.*": 1, "cart_*": 1, "queue*": 1, "sess-*": 1, "user*": 1}
    for key in keys:
        redis.set(key, "1")
    assert kinds == other_keys(redis)
    assert list(kinds) == list(other_keys(redis))


def test_there_are_ten_at_most(redis: Any) -> None:
    """The most frequent stay and those of one key are counted together: they may be names."""
    redis.mset({f"{chr(97 + kind)}:{at}": 1 for kind in range(12) for at in range(kind + 1)})
    redis.zadd("ONLINE:ann", {"1": 1})
    found = other_keys(redis)
    assert 10 == len(found)
    assert [OPENIM, "l:*", "k:*"] == list(found)[:3]
    assert 12 * 13 // 2 + 1 == sum(found.values())
    redis.flushall()
    redis.mset(dict.fromkeys([f"{letter}nn" for letter in "abcdefghijk"], 1))
    assert {"*": 11} == other_keys(redis)


def test_the_look_is_bounded(redis: Any) -> None:
    """Of 30,000 keys some 10,000 are looked at."""
    redis.mset({f"session:{at}": 1 for at in range(30_000)})
    (seen,) = other_keys(redis).values()
    assert 10_000 <= seen < 12_000


def test_it_is_said_everywhere(
    redis: Any, server: PrivateRedis, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """`servers`, `who` and a snapshot name what there is; who is online is a matter of its own."""
    redis.hset("user_online_keys#7", "5", "{}")
    redis.set("session:ann", "1")
    monkeypatch.setenv("IMLIB_REDIS_URL", server.url)
    said = in_words({TEAMGRAM: 1, "session:*": 1})
    assert said
    assert 0 == main(["servers"])
    assert f"keys      {said}" in capsys.readouterr().out
    assert 1 == main(["who", "7", "8"])
    assert f"imlib: {said}\n" == capsys.readouterr().err
    assert 0 == main(["snapshot"])
    assert said in capsys.readouterr().err
    redis.hset("online_9", "5_6", "1_2_3")
    assert 0 == main(["servers"])
    assert 1 == main(["who", "7"])
    told = capsys.readouterr()
    assert "session:" not in told.out + told.err


@pytest.mark.parametrize("user_ids", [None, [7]])
def test_a_snapshot_keeps_it(redis: Any, server: PrivateRedis, user_ids: list[int] | None) -> None:
    """`info` has the kinds where no presence key was found, and none where there was one."""
    redis.zadd("ONLINE:7", {"5": 1})
    with imlib.connect(server.url, "embedded://", read_only=True) as deployment:
        assert {OPENIM: 1} == deployment.snapshot(user_ids=user_ids).info["other_keys"]
        redis.hset("online_7", "5_6", "1_2_3")
        assert {} == deployment.snapshot(user_ids=user_ids).info["other_keys"]


def test_a_user_who_may_see_presence_alone(redis: Any, server: PrivateRedis) -> None:
    """SCAN names other keys to any user who may use it; one who may not is told nothing."""
    redis.hset("user_online_keys#7", "5", "{}")
    redis.execute_command("ACL SETUSER", "ann", "on", "nopass", "~online_*", "+@all")
    redis.execute_command("ACL SETUSER", "bob", "on", "nopass", "~online_*", "+@all", "-scan")
    for user, found in (("ann", {TEAMGRAM: 1}), ("bob", {})):
        url = server.url.replace("unix://", f"unix://{user}:@")
        with imlib.connect(url, "embedded://", read_only=True) as deployment:
            assert found == other_keys(deployment.redis)
