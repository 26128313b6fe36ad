"""When things break: connections cut anywhere, servers that die and come back, interrupts, many
writers, few rights.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import imlib
from imlib.models.online_status import OnlineCount, OnlineStatusModel
from tests.models import backends
from tests.models.backends import Backend
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.servers.proxy import Proxy, proxy_to

# pytest finds fixtures by the names of a module.
real_server = backends.real_server

NOW = 1_512_270_533


def session(session_id: int = 1, user_id: int = 7) -> imlib.SessionStatus:
    """Return a session that counts by the clock of these tests."""
    return imlib.SessionStatus(user_id, -42, session_id, 3, 99, NOW)


def connect(url: str, folder: Path, lease: imlib.Lease = imlib.Lease.KEY) -> imlib.Deployment:
    """Connect to a server that need not be empty."""
    return imlib.connect(url, f"sqlite:///{folder / 'imlib.db'}", lease=lease, clock=lambda: NOW)


@pytest.fixture
def proxy(real_server: tuple[Backend, str]) -> Iterator[Proxy]:
    """Give a proxy in front of each real server."""
    with proxy_to(real_server[1]) as opened:
        yield opened


@pytest.fixture
def direct(real_server: tuple[Backend, str], tmp_path: Path) -> Iterator[Any]:
    """Give a plain client to the same server, past the proxy; the server is emptied before."""
    with connect(real_server[1], tmp_path) as deployment:
        deployment.redis.flushall()
        yield deployment.redis


def cut_everywhere(
    proxy: Proxy, direct: Any, write: Callable[[], object], step: int = 1
) -> list[bytes]:
    """Cut the connection after every `step` bytes of a write; return what ever stood in Redis
    without a deadline.
    """
    proxy.forward()
    write()  # from here on the connection stands: what is counted and cut is the write alone
    proxy.forward()
    write()
    length, answer = proxy.request_bytes, proxy.reply_bytes
    assert length > 0
    assert answer > 0
    endless: list[bytes] = []
    cuts = [{"requests": sent} for sent in [*range(0, length, step), length]]
    cuts += [{"replies": sent} for sent in range(answer)]
    for cut in cuts:
        direct.flushall()
        proxy.forward()
        write()
        direct.flushall()
        proxy.forward(**cut)
        with pytest.raises(imlib.UnavailableError) as caught:
            write()
        assert "\n" not in str(caught.value)
        endless += [key for key in direct.keys("*") if direct.ttl(key) == -1]
    return endless


@pytest.mark.parametrize("sessions", [1, 3])
def test_a_cut_connection_leaves_no_key_without_a_deadline(
    proxy: Proxy, direct: Any, real_server: tuple[Backend, str], tmp_path: Path, sessions: int
) -> None:
    """Wherever the connection is cut, the error is clear, no key stays for ever, and the next write
    works.
    """
    statuses = [session(number, user_id=number % 2) for number in range(sessions)]
    with connect(proxy.url, tmp_path, real_server[0].lease) as deployment:
        model = deployment.online_status
        step = 1 if sessions == 1 else 13
        assert [] == cut_everywhere(proxy, direct, lambda: model.renew(statuses), step)
        proxy.forward()
        model.renew(statuses)
        assert sessions == model.count_online().sessions


def test_a_cut_offline_leaves_the_session_or_removes_it(
    proxy: Proxy, direct: Any, real_server: tuple[Backend, str], tmp_path: Path
) -> None:
    """Nothing in between: after the cut the key is as it was, or without the session."""
    with connect(proxy.url, tmp_path, real_server[0].lease) as deployment:
        model = deployment.online_status
        model.set_offline(session())
        proxy.forward()
        model.set_offline(session())
        for sent in range(proxy.request_bytes + 1):
            proxy.forward()
            model.renew([session(1), session(2)])
            proxy.forward(requests=sent)
            with pytest.raises(imlib.UnavailableError):
                model.set_offline(session(1))
            fields = set(direct.hkeys("online_7"))
            assert fields in ({b"-42_1", b"-42_2"}, {b"-42_2"})
            assert 0 < direct.ttl("online_7") <= 15


def test_two_commands_would_be_caught(proxy: Proxy, direct: Any) -> None:
    """The deployed server's way, HSET and then EXPIRE, does leave a key for ever: the test above
    can fail.
    """
    from redis import Redis
    from redis.exceptions import RedisError

    with Redis.from_url(proxy.url, protocol=2, retry=None) as plain:

        def write() -> None:
            try:
                plain.hset("online_7", session().to_field(), session().to_value())
                plain.expire("online_7", 15)
            except RedisError as problem:
                raise imlib.UnavailableError("cut") from problem

        assert b"online_7" in cut_everywhere(proxy, direct, write)


def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    """While it is gone every call says so in one line; then the same deployment works again."""
    with private_redis() as server, connect(server.url, tmp_path) as deployment:
        model = deployment.online_status
        calls: list[Callable[[], object]] = [
            lambda: model.set_online(session()),
            lambda: model.set_offline(session()),
            lambda: model.get_online_by_user_id(7),
            lambda: list(model.iter_online()),
            model.count_online,
            model.malformed,
            deployment.snapshot,
        ]
        for call in calls:
            model.set_online(session())
            server.stop()
            for _ in range(2):
                with pytest.raises(imlib.UnavailableError) as caught:
                    call()
                assert str(server.socket) in str(caught.value)
                assert "\n" not in str(caught.value)
            server.start()
            assert [] == model.get_online_by_user_id(7)
            model.set_online(session())
            assert [session()] == model.get_online_by_user_id(7)


def test_a_server_restarted_between_two_writes(tmp_path: Path) -> None:
    """A restart that nobody was looking at is not even noticed: only what Redis lost is lost."""
    with private_redis() as server, connect(server.url, tmp_path) as deployment:
        deployment.online_status.set_online(session(1))
        server.stop()
        server.start()
        deployment.online_status.set_online(session(2))
        assert [session(2)] == deployment.online_status.get_online_by_user_id(7)


def test_a_server_that_dies_while_it_is_asked(tmp_path: Path) -> None:
    """The reply never comes: a clear error, and the deployment works with the next server."""
    with (
        private_redis() as server,
        proxy_to(server.url) as proxy,
        connect(proxy.url, tmp_path) as deployment,
    ):
        model = deployment.online_status
        model.set_online(session())
        proxy.forward(hold_until=1_000)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(model.get_online_by_user_id_list, [7])
            assert proxy.holding.wait(60)
            server.stop()
            with pytest.raises(imlib.UnavailableError):
                asked.result(60)
        server.start()
        proxy.forward()
        model.set_online(session())
        assert [session()] == model.get_online_by_user_id(7)


def test_a_walk_over_a_server_that_dies(tmp_path: Path) -> None:
    """A walk that is under way ends with a clear error, not in silence."""
    with private_redis() as server, connect(server.url, tmp_path) as deployment:
        model = deployment.online_status
        model.renew(session(user_id=user_id) for user_id in range(500))
        walk = model.iter_online(batch=10)
        next(walk)
        server.stop()
        with pytest.raises(imlib.UnavailableError):
            list(walk)


def test_sixteen_writers_lose_nothing(
    real_server: tuple[Backend, str], direct: Any, tmp_path: Path
) -> None:
    """Sixteen at once, on one user's hash and on their own: every session is there, and every key
    has its deadline.
    """
    with (
        connect(real_server[1], tmp_path, real_server[0].lease) as deployment,
        ThreadPoolExecutor(16) as pool,
    ):
        model = deployment.online_status
        together = threading.Barrier(16)

        def write(writer: int) -> None:
            together.wait(60)
            for number in range(20):
                model.set_online(session(writer * 1000 + number, user_id=7))
                model.renew(
                    [
                        session(number, user_id=1000 + writer),
                        session(writer * 1000 + 500 + number, user_id=7),
                    ]
                )
                model.set_offline(session(writer * 1000 + 500 + number, user_id=7))

        list(pool.map(write, range(16)))
        expected = sorted(writer * 1000 + number for writer in range(16) for number in range(20))
        assert expected == [status.session_id for status in model.get_online_by_user_id(7)]
        assert OnlineCount(17, 640) == model.count_online()
        assert all(0 < direct.ttl(key) <= 15 for key in direct.keys("*"))


def test_an_interrupt_poisons_no_connection(proxy: Proxy, direct: Any, tmp_path: Path) -> None:
    """Ctrl-C while a reply is awaited: the next call gets its own reply, and not the one that came
    late.
    """
    # The interrupt has to come before the reply is given up.
    with connect(f"{proxy.url}?socket_timeout=600", tmp_path) as deployment:
        model = deployment.online_status
        model.renew([session(1, user_id=7), session(2, user_id=8)])
        waiting = threading.get_ident()
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            # The reply to the two commands of the first call comes when the next call has sent
            # something.
            proxy.forward(hold_until=3)

            def interrupt() -> None:
                assert proxy.holding.wait(60)
                signal.pthread_kill(waiting, signal.SIGINT)

            with ThreadPoolExecutor(1) as pool:
                interrupted = pool.submit(interrupt)
                with pytest.raises(KeyboardInterrupt):
                    model.get_online_by_user_id(7)
                interrupted.result()
        finally:
            signal.signal(signal.SIGINT, handler)
        assert [session(2, user_id=8)] == model.get_online_by_user_id(8)
        assert [session(1, user_id=7)] == model.get_online_by_user_id(7)


@pytest.fixture(scope="module")
def guarded() -> Iterator[PrivateRedis]:
    """Give a server with users of few rights."""
    with private_redis() as server:
        yield server


@pytest.mark.parametrize("rights", ["+@read", "+@read +@connection +time +info"])
class TestFewRights:
    """A Redis user who may read, and hardly anything else."""

    @pytest.fixture
    def model(
        self, guarded: PrivateRedis, tmp_path: Path, rights: str
    ) -> Iterator[OnlineStatusModel]:
        """Give the model as such a user has it; user 7 is online by the server's own clock."""
        with imlib.connect(guarded.url, f"sqlite:///{tmp_path / 'imlib.db'}") as owner:
            redis: Any = owner.redis
            redis.flushall()
            redis.execute_command(
                "ACL", "SETUSER", "reader", "reset", "on", ">secret", "~*", *rights.split()
            )
            told = redis.time()[0]
            owner.online_status.renew(
                [imlib.SessionStatus(7, 1, number, 1, 1, told) for number in (1, 2)]
            )
            redis.hset("online_7", "1_03", "x")
            url = guarded.url.replace("unix://", "unix://reader:secret@")
            with imlib.connect(
                url, f"sqlite:///{tmp_path / 'imlib.db'}", read_only=True
            ) as deployment:
                yield deployment.online_status

    def test_reads_and_counts(self, model: OnlineStatusModel) -> None:
        """Everything that looks works."""
        assert [1, 2] == [status.session_id for status in model.get_online_by_user_id(7)]
        assert {7: 2, 8: 0} == {
            user_id: len(many) for user_id, many in model.get_online_by_user_id_list([7, 8]).items()
        }
        assert OnlineCount(1, 2) == model.count_online()
        assert [b"1_03"] == [bad.field for bad in model.malformed()]

    def test_takes_a_snapshot(self, model: OnlineStatusModel) -> None:
        """The frames are there as well."""
        from imlib.snapshot import SnapshotRequest
        from imlib.snapshot.take import take_snapshot

        snapshot = take_snapshot(model._context, SnapshotRequest())
        assert [True, True] == snapshot.sessions["online"].tolist()
        assert 1 == len(snapshot.malformed)

    def test_is_told_what_it_may_not(
        self, guarded: PrivateRedis, tmp_path: Path, rights: str
    ) -> None:
        """A write is refused in one clear line, and changes nothing."""
        with imlib.connect(guarded.url, f"sqlite:///{tmp_path / 'imlib.db'}") as owner:
            redis: Any = owner.redis
            redis.flushall()
            redis.execute_command(
                "ACL", "SETUSER", "reader", "reset", "on", ">secret", "~*", *rights.split()
            )
            url = guarded.url.replace("unix://", "unix://reader:secret@")
            with imlib.connect(url, f"sqlite:///{tmp_path / 'imlib.db'}") as deployment:
                for write in (
                    deployment.online_status.set_online,
                    deployment.online_status.set_offline,
                ):
                    with pytest.raises(imlib.AccessDeniedError) as caught:
                        write(session())
                    assert "\n" not in str(caught.value)
                    assert "secret" not in str(caught.value)
            assert 0 == redis.dbsize()
