"""The private servers are what later tests take them for, and end with the block that made them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import psutil
import pymysql
import pytest
from redis import Redis, RedisCluster
from redis import exceptions as said
from redis.sentinel import Sentinel
from sqlalchemy import make_url

from tests.private_servers.mariadb_replica import MariaDBPair, private_mariadb_pair
from tests.private_servers.process import FIRST_PORT, free_port, private_folder
from tests.private_servers.programs import REDIS_SERVER, VALKEY
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.private_servers.redis_cluster import PrivateCluster, private_cluster
from tests.private_servers.redis_sentinel import SERVICE, WatchedRedis, private_sentinel
from tests.private_servers.refusals import REFUSALS

KEYS = [f"online_{user_id}" for user_id in range(1, 31)]


@pytest.fixture(scope="module", params=[REDIS_SERVER, VALKEY])
def server(request: pytest.FixtureRequest) -> Iterator[PrivateRedis]:
    """Give a server of each program in turn."""
    with private_redis(program=request.param) as running:
        yield running


def reply(server: PrivateRedis, command: str) -> str:
    """Return the reply to the letter: redis-py drops the first word of errors that it knows."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(server.socket))
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(4096).decode()


def children() -> set[int]:
    """Return the ids of all processes that this one started, and that those started."""
    return {child.pid for child in psutil.Process().children(recursive=True)}


class TestOneServer:
    """A Redis of either program, and what can be done to it."""

    def test_is_the_program_that_was_asked_for(
        self, server: PrivateRedis, request: pytest.FixtureRequest
    ) -> None:
        """The wheel's says that it is a Valkey, and Debian's that it is nothing but a Redis."""
        names = {REDIS_SERVER: None, VALKEY: "valkey"}
        told = server.command("INFO", "server").get("server_name")
        assert names[request.node.callspec.params["server"]] == told

    def test_is_silent_while_paused(self, server: PrivateRedis) -> None:
        """A halted server takes connections and answers nothing until it goes on."""
        with Redis.from_url(server.url, socket_timeout=0.2, retry=None) as client:
            with server.paused(), pytest.raises(said.TimeoutError):
                client.ping()
            assert client.ping()

    def test_is_stopped_while_paused(self) -> None:
        """A halted server can be ended, too."""
        with private_redis() as halted, halted.paused():
            pid = halted.pid
            halted.stop()
            assert not psutil.pid_exists(pid)

    @pytest.mark.parametrize("word", REFUSALS)
    def test_refuses_as_it_is_told(self, server: PrivateRedis, word: str) -> None:
        """Each way to refuse answers with its own word, and leaves a server that takes writes."""
        server.command("SET", "key", "value")
        with REFUSALS[word](server):
            refused = reply(server, "GET key" if word == "MASTERDOWN" else "SET key value")
        assert f"-{word}" == refused.split()[0]
        assert "+OK\r\n" == reply(server, "SET key value")

    def test_has_users_of_given_rights(self, server: PrivateRedis) -> None:
        """A user may do what its rules say and no more; rules given anew replace the old ones."""
        with Redis.from_url(
            server.add_user("reader", "p@ss/word", "~online_*", "+@read")
        ) as client:
            assert client.get("online_1") is None
            with pytest.raises(said.NoPermissionError):
                client.set("online_1", "value")
            with pytest.raises(said.NoPermissionError):
                client.get("other")
        with Redis.from_url(server.add_user("reader", "other", "~*", "+set")) as client:
            assert client.set("other", "value")
            with pytest.raises(said.NoPermissionError):
                client.get("other")

    def test_that_cannot_start_says_why(self) -> None:
        """An option that is none is named in the error, and no process is left."""
        before = children()
        with private_folder() as folder, pytest.raises(RuntimeError, match="no-such-option"):
            PrivateRedis(folder, "--no-such-option", "1")
        assert before == children()


class TestSeveralServers:
    """Servers that belong together, and know it."""

    def test_a_cluster_holds_keys_on_every_primary(self, cluster: PrivateCluster) -> None:
        """Keys lie on the primary that the cluster names, and on its replica."""
        host, port = cluster.nodes[-1].address.split(":")
        with RedisCluster(host=host, port=int(port)) as client:
            for key in KEYS:
                client.set(key, "value")
            client.wait(1, 0, target_nodes=RedisCluster.PRIMARIES)
            assert [3, 3] == [len(client.get_primaries()), len(client.get_replicas())]
        held = [set(primary.command("KEYS", "*")) for primary in cluster.primaries]
        assert all(held)
        assert held == [
            {key for key in KEYS if cluster.primary_of(key) is one} for one in cluster.primaries
        ]
        assert held == [set(replica.command("KEYS", "*")) for replica in cluster.replicas]
        assert f"redis+cluster://{','.join(node.address for node in cluster.nodes)}/" == cluster.url

    def test_a_small_cluster_refuses_what_is_not_one_nodes(
        self, small_cluster: PrivateCluster
    ) -> None:
        """A key of the other server is MOVED there, and keys of different slots are CROSSSLOT."""
        one, other = small_cluster.primaries
        key = next(key for key in KEYS if small_cluster.primary_of(key) is other)
        moved = reply(one, f"GET {key}").split()
        assert ["-MOVED", other.address] == [moved[0], moved[2]]
        assert reply(one, f"EXISTS {' '.join(KEYS)}").startswith("-CROSSSLOT")

    def test_a_cluster_begins_each_test_empty(self, small_cluster: PrivateCluster) -> None:
        """What a test left there is removed."""
        small_cluster.primary_of("key").command("SET", "key", "value")
        small_cluster.clear()
        assert [0, 0] == [primary.command("DBSIZE") for primary in small_cluster.primaries]

    def test_a_cluster_has_users_everywhere(self, small_cluster: PrivateCluster) -> None:
        """A user of the cluster's may log in on each of its servers."""
        small_cluster.add_user("reader", "password", "~*", "+@read")
        for node in small_cluster.nodes:
            with Redis(port=node.port, username="reader", password="password") as client:
                client.auth("password", "reader")

    def test_a_cluster_outlives_a_primary(self) -> None:
        """A replica takes the place of a stopped primary, which follows it when it is back."""
        with private_cluster(3, 3) as cluster:
            first, heir = cluster.primaries[0], cluster.replicas[0]
            key = next(key for key in KEYS if cluster.primary_of(key) is first)
            first.stop()
            cluster.wait_until_replaced(first)
            heir.command("SET", key, "value")
            first.start()
            heir.command("WAIT", 1, 0)
            cluster.wait_until_whole()
            assert ["master", "slave"] == [heir.command("ROLE")[0], first.command("ROLE")[0]]

    def test_a_replica_outlives_its_primary(
        self, redis_pair: tuple[PrivateRedis, PrivateRedis]
    ) -> None:
        """A replica holds what its primary was sent, also when alone, and takes no writes."""
        primary, replica = redis_pair
        primary.command("SET", "key", "value")
        primary.command("WAIT", 1, 0)
        assert "value" == replica.command("GET", "key")
        primary.stop()
        assert "value" == replica.command("GET", "key")
        assert reply(replica, "SET key other").startswith("-READONLY")

    def test_a_sentinel_replaces_a_primary(self, watched_redis: WatchedRedis) -> None:
        """The Sentinel names the primary, and when it is killed a replica that takes writes."""
        host, port = watched_redis.sentinel.address.split(":")
        sentinel: Any = Sentinel([(host, int(port))])  # type: ignore[no-untyped-call]  # no types
        assert (host, watched_redis.primary.port) == sentinel.discover_master(SERVICE)
        assert 2 == len(sentinel.discover_slaves(SERVICE))
        watched_redis.primary.stop()
        watched_redis.wait_until_replaced()
        assert watched_redis.current() in watched_redis.replicas
        with sentinel.master_for(SERVICE) as client:
            assert client.set("key", "value")
        for one in sentinel.sentinels:
            one.close()

    @pytest.mark.parametrize("stop", [MariaDBPair.stop_applying, MariaDBPair.stop_following])
    def test_a_mariadb_replica_falls_behind(
        self, mariadb_pair: MariaDBPair, stop: Callable[[MariaDBPair], None]
    ) -> None:
        """What is committed on the primary comes to the replica, unless it was told to stop."""
        database = make_url(mariadb_pair.primary.new_database()).database
        mariadb_pair.primary.run("CREATE TABLE t (n INT);\nINSERT INTO t VALUES (1)", database)
        mariadb_pair.catch_up()
        stop(mariadb_pair)
        mariadb_pair.primary.run("INSERT INTO t VALUES (2)", database)
        count = f"SELECT COUNT(*) AS n FROM {database}.t"
        assert [{"n": 2}, {"n": 1}] == [
            mariadb_pair.primary.ask(count),
            mariadb_pair.replica.ask(count),
        ]
        mariadb_pair.resume()
        mariadb_pair.catch_up()
        assert {"n": 2} == mariadb_pair.replica.ask(count)

    def test_a_mariadb_replica_takes_no_writes(self, mariadb_pair: MariaDBPair) -> None:
        """Whoever is not root is refused there with MariaDB's own error."""
        mariadb_pair.primary.run(
            "CREATE USER someone@localhost;\nGRANT ALL ON *.* TO someone@localhost"
        )
        mariadb_pair.primary.run("REVOKE READ_ONLY ADMIN, SUPER ON *.* FROM someone@localhost")
        mariadb_pair.catch_up()
        with (
            pymysql.connect(
                unix_socket=str(mariadb_pair.replica.socket), user="someone"
            ) as connection,
            connection.cursor() as cursor,
            pytest.raises(pymysql.OperationalError, match="1290"),
        ):
            cursor.execute("CREATE DATABASE refused")


@pytest.mark.parametrize(
    "made",
    [private_redis, lambda: private_cluster(2), lambda: private_sentinel(1), private_mariadb_pair],
    ids=["redis", "cluster", "sentinel", "mariadb"],
)
def test_nothing_is_left_running(made: Callable[[], AbstractContextManager[object]]) -> None:
    """When a test fails, the servers that it started end with it."""
    before = children()
    while_it_ran = set()

    def fail() -> None:
        while_it_ran.update(children())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), made():
        fail()
    assert before < while_it_ran
    assert before == children()


def test_ports_leave_room_for_a_clusters_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is not given where it, or the one 10,000 above it, is taken."""
    ports: set[int] = set()
    while len(ports) < 3:
        ports.add(free_port())
    taken, below, free = ports
    offered = iter(port - FIRST_PORT for port in (taken, below, free))
    monkeypatch.setattr("secrets.randbelow", lambda _: next(offered))
    with (
        socket.create_server(("127.0.0.1", taken)),
        socket.create_server(("127.0.0.1", below + 10_000)),
    ):
        assert free == free_port()
