"""Sequences: no number twice, none left out, whatever becomes of Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from imlib.errors import AccessDeniedError, ImlibError, InvalidValueError, UnavailableError
from imlib.models.records import Peer
from tests.models.stack import Stack, open_stack
from tests.private_servers.mariadb import PrivateMariaDB
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.private_servers.redis_cluster import PrivateCluster
from tests.private_servers.refusals import REFUSALS

KEY = "seq_updates_ngen_x"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[PrivateRedis]:
    """Give a redis-server that the tests of this module may stop and start."""
    with private_redis() as server:
        yield server


def test_numbers_begin_at_one(stack: Stack) -> None:
    """A new name begins at 1, names don't share numbers, and Redis has what the rows have."""
    assert [1, 2, 3] == [stack.sequences.next_id("x") for _ in range(3)]
    assert range(4, 9) == stack.sequences.next_ids("x", 5)
    assert 1 == stack.sequences.next_id("y")
    assert (8, 1, 0) == tuple(stack.sequences.current(name) for name in "xyz")
    assert b"8" == stack.deployment.redis.get(KEY)


def test_what_a_deployed_server_wrote_is_continued(stack: Stack) -> None:
    """Row 41, Redis 42: the server died between INCR and UPDATE, and the next number is 43."""
    stack.put("seq_updates_ngen", seq_name="x", seq=41)
    stack.deployment.redis.set(KEY, 42)
    assert 43 == stack.sequences.next_id("x")
    assert (43, b"43") == (stack.sequences.current("x"), stack.deployment.redis.get(KEY))


def test_redis_ahead_without_a_row(stack: Stack) -> None:
    """A number that only Redis has is not handed out again."""
    stack.deployment.redis.set(KEY, 42)
    assert range(43, 45) == stack.sequences.next_ids("x", 2)


@pytest.mark.parametrize(
    "held", [None, b"0", b"3", b"9", b"-5", b"99x", b"", b"9" * 19, b"9" * 30, b"\xff"]
)
def test_redis_behind_or_beside_itself(stack: Stack, held: bytes | None) -> None:
    """A mirror that is lost, behind or no number costs nothing; what is no number stays
    as it is.
    """
    stack.put("seq_updates_ngen", seq_name="x", seq=10)
    if held is not None:
        stack.deployment.redis.set(KEY, held)
    assert 11 == stack.sequences.next_id("x")
    number = held is None or held in (b"0", b"3", b"9", b"-5")
    assert (b"11" if number else held) == stack.deployment.redis.get(KEY)


def test_redis_with_another_type(stack: Stack) -> None:
    """A key of another type is left alone, and the row counts on."""
    stack.deployment.redis.lpush(KEY, "a")
    assert [1, 2] == [stack.sequences.next_id("x") for _ in range(2)]
    assert [b"a"] == stack.deployment.redis.lrange(KEY, 0, -1)


def test_redis_is_never_lowered(stack: Stack) -> None:
    """A mirror that was raised by somebody faster stays where it is, beyond what a double can tell
    apart too.
    """
    for held, row, expected in [
        (b"12", 9, b"12"),
        (b"9007199254740993", 9007199254740991, b"9007199254740993"),
    ]:
        stack.put("seq_updates_ngen", seq_name=f"x{row}", seq=row)
        key = f"seq_updates_ngen_x{row}"
        with stack.sequences.transaction() as connection:
            assert row + 1 == stack.sequences.next_id(f"x{row}", connection=connection)
            stack.deployment.redis.set(key, held)
        assert expected == stack.deployment.redis.get(key)


def test_a_transaction_keeps_or_gives_back(stack: Stack) -> None:
    """A number is part of the caller's transaction: kept by its commit, given back by
    its rollback.
    """
    with stack.sequences.transaction() as connection:
        assert 1 == stack.sequences.next_id("x", connection=connection)
        assert None is stack.deployment.redis.get(KEY)
    assert b"1" == stack.deployment.redis.get(KEY)
    with stack.sequences.transaction() as connection:
        assert range(2, 5) == stack.sequences.next_ids("x", 3, connection=connection)
        connection.rollback()
    assert b"1" == stack.deployment.redis.get(KEY)
    with stack.sequences.transaction() as connection:
        savepoint = connection.begin_nested()
        assert range(2, 5) == stack.sequences.next_ids("x", 3, connection=connection)
        savepoint.rollback()
    assert b"1" == stack.deployment.redis.get(KEY)
    with pytest.raises(ZeroDivisionError):
        _fail_after_a_number(stack)
    assert b"1" == stack.deployment.redis.get(KEY)
    with stack.deployment.engine.begin() as connection:
        assert 2 == stack.sequences.next_id("x", connection=connection)
    assert (b"1", 3, b"3") == (
        stack.deployment.redis.get(KEY),
        stack.sequences.next_id("x"),
        stack.deployment.redis.get(KEY),
    )


def _fail_after_a_number(stack: Stack) -> None:
    with stack.sequences.transaction() as connection:
        stack.sequences.next_id("x", connection=connection)
        raise ZeroDivisionError


def test_names(stack: Stack) -> None:
    """Names are 1 to 255 of the characters that MySQL and Redis agree on; any other is refused
    before it is stored.
    """
    for name in ("a", "0" * 255, "-2147483648", "a.b_c-d"):
        assert 1 == stack.sequences.next_id(name)
    for bad in ("", "0" * 256, "A", "é", "a b", "a\n", b"a", 7, None):
        with pytest.raises(InvalidValueError, match="sequence name"):
            stack.sequences.next_id(bad)  # type: ignore[arg-type]  # what is refused
    for n in (0, -1, True, 2**63, 1.0):
        with pytest.raises(InvalidValueError, match="n is"):
            stack.sequences.next_ids("a", n)  # type: ignore[arg-type]  # what is refused
    assert 4 == len(stack.rows("seq_updates_ngen"))


def test_the_last_number(stack: Stack) -> None:
    """A sequence reaches 2**63 - 1 exactly, and then refuses, by the row as by Redis."""
    stack.put("seq_updates_ngen", seq_name="x", seq=2**63 - 3)
    assert 2**63 - 2 == stack.sequences.next_id("x")
    with pytest.raises(InvalidValueError, match="end at"):
        stack.sequences.next_ids("x", 2)
    assert 2**63 - 1 == stack.sequences.next_id("x")
    with pytest.raises(InvalidValueError, match="end at"):
        stack.sequences.next_id("x")
    stack.deployment.redis.set("seq_updates_ngen_y", 2**63 - 1)
    with pytest.raises(InvalidValueError, match="end at"):
        stack.sequences.next_id("y")


def test_a_wide_block(stack: Stack) -> None:
    """A block may be as wide as the sequence: the count of its numbers has 64 bits."""
    assert 2**40 == stack.sequences.next_ids("x", 2**40)[-1]
    assert range(2**40 + 1, 2**63) == stack.sequences.next_ids("x", 2**63 - 1 - 2**40)


def test_who_is_to_blame_at_the_end(stack: Stack) -> None:
    """A Redis key is named only if it is beyond the last number; at it, the row alone is."""
    stack.put("seq_updates_ngen", seq_name="x", seq=2**63 - 1)
    stack.deployment.redis.set(KEY, 2**63 - 2)
    with pytest.raises(InvalidValueError) as error:
        stack.sequences.next_id("x")
    assert "Redis" not in str(error.value)
    stack.deployment.redis.set(KEY, 2**63 - 1)
    with pytest.raises(InvalidValueError, match=f"Redis key {KEY} holds {2**63 - 1}"):
        stack.sequences.next_id("x")


def test_the_end_of_the_mirror(url: str, redis_server: PrivateRedis) -> None:
    """Closing a deployment ends the sequences' own connections to Redis as well."""
    with Redis.from_url(redis_server.url) as redis:
        redis.flushall()
        with open_stack(url, redis) as stack:
            before = len(redis.client_list())
            assert 1 == stack.sequences.next_id("x")
            assert before < len(redis.client_list())
        assert [] == [one for one in redis.client_list() if one["cmd"] in ("mget", "eval")]


def test_threads(stack: Stack) -> None:
    """8 threads of one process get each number once."""
    got: list[int] = []
    threads = [
        threading.Thread(target=lambda: got.extend(stack.sequences.next_id("x") for _ in range(10)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(range(1, 81)) == sorted(got)


def test_redis_that_does_not_answer(url: str, redis_server: PrivateRedis) -> None:
    """A Redis that accepts and is silent costs time and no number, and is raised once it answers
    again.
    """
    redis = Redis.from_url(redis_server.url)
    redis.flushall()
    with open_stack(url, redis) as stack:
        assert 1 == stack.sequences.next_id("x")
        with redis_server.paused():
            assert [2, 3] == [stack.sequences.next_id("x") for _ in range(2)]
        assert (4, b"4") == (stack.sequences.next_id("x"), redis.get(KEY))


def test_a_node_of_a_cluster_is_not_silent(url: str, small_cluster: PrivateCluster) -> None:
    """A key that is another node's could be ahead: no number is taken; names of this node go on."""
    name = "x"
    here = small_cluster.primary_of(KEY)
    (other,) = (node for node in small_cluster.primaries if node is not here)
    here.command("SET", KEY, 42)
    with open_stack(url, Redis.from_url(other.url)) as stack:
        for _ in range(2):
            with pytest.raises(UnavailableError, match="a cluster's node"):
                stack.sequences.next_id(name)
        assert [] == stack.rows("seq_updates_ngen")
    with open_stack(url, Redis.from_url(here.url), tables_too=False) as stack:
        assert 43 == stack.sequences.next_id(name)


@pytest.mark.parametrize(
    ("rules", "kind"),
    [
        ("-mget", AccessDeniedError),
        ("resetkeys ~other", AccessDeniedError),
        ("resetpass", AccessDeniedError),
        ("off", AccessDeniedError),
    ],
)
def test_a_user_who_may_not_look(
    url: str, redis_server: PrivateRedis, rules: str, kind: type[ImlibError]
) -> None:
    """Redis answers and refuses: that is said before a number is taken, and mended it goes on."""
    redis_server.command("FLUSHALL")
    user = redis_server.add_user("ann", "secret", "~*", "+@all")
    with open_stack(url, Redis.from_url(user)) as stack:
        assert 1 == stack.sequences.next_id("x")
        redis_server.command("SET", KEY, 42)
        redis_server.command("ACL", "SETUSER", "ann", *rules.split())
        redis_server.command("CLIENT", "KILL", "USER", "ann")
        with pytest.raises(kind):
            stack.sequences.next_id("x")
        with pytest.raises(kind), stack.sequences.transaction() as connection:
            stack.sequences.next_ids("x", 2, connection=connection)
        assert 1 == stack.sequences.current("x")
        redis_server.add_user("ann", "secret", "~*", "+@all")
        assert 43 == stack.sequences.next_id("x")


@pytest.mark.parametrize("refused", REFUSALS)
def test_a_redis_that_refuses(
    url: str, redis_server: PrivateRedis, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One that tells what it holds and takes no writes costs no number, and a warning says so."""
    redis_server.command("FLUSHALL")
    redis_server.command("SET", KEY, 42)
    with open_stack(url, Redis.from_url(redis_server.url)) as stack:
        with REFUSALS[refused](redis_server):
            if refused == "MASTERDOWN":
                with pytest.raises(UnavailableError):
                    stack.sequences.next_id("x")
                assert 0 == stack.sequences.current("x")
            else:
                assert 43 == stack.sequences.next_id("x")
                assert ["a sequence in Redis stays behind its row"] == [
                    record.message.split(":")[0]
                    for record in caplog.records
                    if record.levelname == "WARNING"
                ]
                assert "42" == redis_server.command("GET", KEY)
        following = 43 if refused == "MASTERDOWN" else 44
        assert following == stack.sequences.next_id("x")
        assert str(following) == redis_server.command("GET", KEY)


def test_a_key_of_another_type_stops_no_other(stack: Stack) -> None:
    """Of several names one has a list in Redis: the others' keys are raised all the same."""
    stack.deployment.redis.lpush(KEY, "a")
    with stack.sequences.transaction() as connection:
        assert {"x": 1, "y": 1} == stack.sequences.advance(connection, ["x", "y"])
    assert b"1" == stack.deployment.redis.get("seq_updates_ngen_y")


@pytest.mark.parametrize(("held", "sent"), [(2**31 - 2, True), (2**31 - 1, False), (2**40, False)])
def test_a_foreign_value_under_a_boxs_counter(stack: Stack, held: int, sent: bool) -> None:
    """A number beyond any box is refused with the key's name; without the key all goes on."""
    ann, bob = stack.add_users(2)
    key = f"seq_updates_ngen_{bob}"
    stack.deployment.redis.set(key, held)
    if sent:
        stack.messages.send_message(ann, Peer.user(bob), "hello")
        assert 2**31 - 1 == stack.sequences.current(str(bob))
        with pytest.raises(InvalidValueError, match="numbers end at 2147483647"):
            stack.messages.send_message(ann, Peer.user(bob), "hello")
        return
    with pytest.raises(
        InvalidValueError, match=f"end at 2147483647, and the Redis key {key} holds {held}"
    ):
        stack.messages.send_message(ann, Peer.user(bob), "hello")
    assert [] == stack.rows("messages")
    assert str(held).encode() == stack.deployment.redis.get(key)
    stack.deployment.redis.delete(key)
    stack.messages.send_message(ann, Peer.user(bob), "hello")
    assert 1 == stack.sequences.current(str(bob))


EVENTS = st.one_of(
    st.just(("next", 1)),
    st.tuples(st.just("next"), st.integers(1, 50)),
    st.just(("flush", 0)),
    st.tuples(st.just("roll back by"), st.integers(1, 60)),
    st.just(("stop", 0)),
    st.just(("start", 0)),
    st.tuples(st.just("run ahead by"), st.integers(1, 5)),
    st.tuples(st.just("commit"), st.integers(1, 5)),
    st.tuples(st.just("undo"), st.integers(1, 5)),
)


def _live(stack: Stack, redis: Redis, server: PrivateRedis, events: list[tuple[str, int]]) -> None:
    """Let a sequence live through events, beside a count that is plainly right."""
    redis.flushall()
    name = f"x{len(stack.rows('seq_updates_ngen'))}"
    key, last, up = f"seq_updates_ngen_{name}", 0, True
    for what, n in events:
        if what == "next":
            assert range(last + 1, last + n + 1) == stack.sequences.next_ids(name, n)
            last += n
        elif what in ("commit", "undo"):
            try:
                with stack.sequences.transaction() as connection:
                    expected = range(last + 1, last + n + 1)
                    assert expected == stack.sequences.next_ids(name, n, connection=connection)
                    if what == "undo":
                        raise ZeroDivisionError
                last += n
            except ZeroDivisionError:
                pass
        elif what == "start" and not up:
            server.start()
            up = True
        elif up and what == "stop":
            server.stop()
            up = False
        elif up and what == "flush":
            redis.flushall()
        elif up and what == "roll back by":
            redis.set(key, max(0, last - n))
        elif up and what == "run ahead by":
            # What a deployed server handed out and did not live to save: promised, so never again,
            # and heeded here by the next number, which is asked for while Redis still has it.
            last += n
            redis.set(key, last)
            assert last + 1 == stack.sequences.next_id(name)
            last += 1
        assert last == stack.sequences.current(name)
    if not up:
        server.start()


@pytest.mark.parametrize(("database", "examples"), [("sqlite", 60), ("mariadb", 25)])
def test_redis_lost_at_any_point(
    database: str,
    examples: int,
    request: pytest.FixtureRequest,
    tmp_path: Any,
    redis_server: PrivateRedis,
) -> None:
    """Redis flushed, set back, stopped or restarted anywhere in a run: every number once, in order,
    none left out.
    """
    if database == "sqlite":
        url = f"sqlite:///{tmp_path / 'im.db'}"
    else:
        server: PrivateMariaDB = request.getfixturevalue("mariadb")
        url = server.new_database()
    redis = Redis.from_url(redis_server.url)
    with open_stack(url, redis) as stack:

        @settings(
            max_examples=examples,
            database=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        )
        @given(st.lists(EVENTS, max_size=12))
        def run(events: list[tuple[str, int]]) -> None:
            try:
                _live(stack, redis, redis_server, events)
            finally:
                redis_server.stop()
                redis_server.start()

        run()


def test_another_engine_beside(new_url: Callable[[], str]) -> None:
    """Two deployments over one database and two Redis servers still share one count."""
    url = new_url()
    with open_stack(url) as one, open_stack(url) as other:
        assert [1, 2, 3, 4] == [stack.sequences.next_id("x") for stack in (one, other, one, other)]
