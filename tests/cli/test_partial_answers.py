"""What can't be told is never told: a partial answer says that it is one, and never exits with 0.

A state is a function that breaks a `World`, and a row of `STATES`: the state, what is asked, the
exit code, and what is said on stdout or stderr.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import imlib
from imlib.cli import main
from imlib.schema import create_all
from imlib.snapshot import selection
from tests.private_servers.mariadb import PrivateMariaDB
from tests.private_servers.mariadb_replica import MariaDBPair
from tests.private_servers.process import free_port
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.private_servers.refusals import REFUSALS


@dataclass(frozen=True)
class World:
    """Servers in which nothing is wrong: user 1 is online, a sequence has a counter.

    Parameters
    ----------
    request : pytest.FixtureRequest
        For servers that only one state needs.
    monkeypatch : pytest.MonkeyPatch
        Undoes what a state names.
    redis, mariadb, database
        The servers, and the URL of the world's own database.
    closing : ExitStack
        What a state opens, and has to be closed.
    """

    request: pytest.FixtureRequest
    monkeypatch: pytest.MonkeyPatch
    redis: PrivateRedis
    mariadb: PrivateMariaDB
    database: str
    closing: ExitStack

    def name(self, **urls: str) -> None:
        """Name servers: ``redis``, ``database``, ``replica``."""
        for server, url in urls.items():
            self.monkeypatch.setenv(f"IMLIB_{server.upper()}_URL", url)

    def run(self, statement: str) -> None:
        """Run a statement in the database."""
        self.mariadb.run(statement, self.database.partition("?")[0].rpartition("/")[2])

    def log_in(self, *rules: str) -> None:
        """Name Redis by a user of these rules."""
        self.name(redis=self.redis.add_user("reader", "secret", *rules))

    def keep(self, folder: str = "kept", **options: Any) -> None:
        """Keep a snapshot in a folder."""
        with imlib.connect(read_only=True) as deployment:
            deployment.snapshot(**options).save(folder)


@pytest.fixture
def world(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    mariadb: PrivateMariaDB,
    tmp_path: Path,
) -> Iterator[World]:
    """Give a world of its own to each state, named by the variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMLIB_REPLICA_URL", raising=False)
    database = mariadb.new_database()
    with private_redis() as redis, ExitStack() as closing:
        made = World(request, monkeypatch, redis, mariadb, database, closing)
        made.name(redis=redis.url, database=database)
        with imlib.connect() as deployment:
            create_all(deployment.engine)
            deployment.sequences.next_id("joined")
            # Ahead of every clock that this test will see.
            status = imlib.SessionStatus(1, 5, 6, 3, 4, 2**40)
            deployment.online_status.set_online(status)
        redis.command("PERSIST", "online_1")
        yield made


def redis_gone(world: World) -> None:
    """Nobody listens where Redis was."""
    world.redis.stop()


def mysql_gone(world: World) -> None:
    """Nobody listens where MySQL was."""
    world.name(database=f"mysql+pymysql://root@127.0.0.1:{free_port()}/im")


def both_gone(world: World) -> None:
    """Nothing is left to answer."""
    redis_gone(world)
    mysql_gone(world)


def no_info(world: World) -> None:
    """The user may read, and not ask what the server is."""
    world.log_in("~*", "+@read", "+@connection", "+time")


def no_time(world: World) -> None:
    """The user may not ask for the server's clock."""
    world.log_in("~*", "+@read", "+@connection", "+info")


def no_scan(world: World) -> None:
    """The user may not walk through the keys."""
    world.log_in("~*", "+@read", "+@connection", "+time", "+info", "-scan")


def presence_alone(world: World) -> None:
    """The user may read presence's keys, and not the sequences'."""
    world.log_in("~online_*", "+@read", "+@connection", "+time", "+info")


def primary_gone(world: World) -> None:
    """Redis is a replica that lost its primary, and goes on answering."""
    world.redis.command("REPLICAOF", "127.0.0.1", 1)


def stale_and_silent(world: World) -> None:
    """Redis is a replica that lost its primary, and answers no read."""
    world.closing.enter_context(REFUSALS["MASTERDOWN"](world.redis))


def node_of_a_cluster(world: World) -> None:
    """Redis is one of several that have the keys among them."""
    node = private_redis("--cluster-enabled", "yes", tcp=True)
    world.name(redis=world.closing.enter_context(node).url)


def follows_nobody(world: World) -> None:
    """The database's replica no longer follows the primary."""
    pair: MariaDBPair = world.request.getfixturevalue("mariadb_pair")
    pair.stop_following()
    world.name(replica=pair.replica.url("mysql"))


def falls_behind(world: World) -> None:
    """The database is a replica that no longer applies what its primary does."""
    pair: MariaDBPair = world.request.getfixturevalue("mariadb_pair")
    with imlib.connect(world.redis.url, pair.primary.new_database()) as deployment:
        create_all(deployment.engine)
        name = deployment.engine.url.database
    pair.catch_up()
    pair.stop_applying()
    world.name(database=pair.replica.url(str(name)))


def large_table_without_index(world: World) -> None:
    """A large table leads to users by a column without an index."""
    world.monkeypatch.setattr(selection, "_SCANNED_ROWS", 0)


def table_without_its_file(world: World) -> None:
    """A table is in the catalogue, and can't be read."""
    world.run("ALTER TABLE chats DISCARD TABLESPACE")


def table_that_is_not_there(world: World) -> None:
    """The database has fewer tables than the twenty."""
    world.run("DROP TABLE chats")


def one_table_granted(world: World) -> None:
    """The user sees one table, as if there were no other."""
    name = world.database.partition("?")[0].rpartition("/")[2]
    world.mariadb.run(
        f"CREATE OR REPLACE USER few@localhost;\nGRANT SELECT ON {name}.users TO few@localhost"
    )
    world.name(database=world.database.replace("root@", "few@"))


def no_database(world: World) -> None:
    """Only Redis is named."""
    world.monkeypatch.delenv("IMLIB_DATABASE_URL")


def counter_of_no_row(world: World) -> None:
    """The snapshot holds no sequence: neither a counter nor a row is seen."""
    world.redis.command("FLUSHALL")
    no_database(world)


def cut_short(world: World) -> None:
    """The kept snapshot has the first row of each table."""
    world.run("INSERT INTO users (phone) VALUES (1);\nINSERT INTO users (phone) VALUES (2)")
    world.keep(limit=1)


def of_one_user(world: World) -> None:
    """The kept snapshot is of one user, another is of all."""
    world.keep(user_ids=1)
    world.keep("all")


def chosen_tables(world: World) -> None:
    """The kept snapshot has two tables."""
    world.keep(tables=["users", "messages"])


def kept_without_redis(world: World) -> None:
    """The kept snapshot was taken while Redis was gone, the other one before."""
    world.keep("before")
    redis_gone(world)
    assert 1 == main(["snapshot", "kept", "--keep-incomplete"])


def kept_without_mysql(world: World) -> None:
    """The kept snapshot was taken while MySQL was gone, the other one before."""
    world.keep("before")
    mysql_gone(world)
    assert 1 == main(["snapshot", "kept", "--keep-incomplete"])


STATES: list[tuple[Callable[[World], None], str, int, str]] = [
    (redis_gone, "servers", 2, r"redis +cannot be told: Redis at .*(\n.*)*database +MariaDB 1\d\."),
    (redis_gone, "who 1", 2, "cannot be reached"),
    (redis_gone, "user 1", 2, "INCOMPLETE: sessions: Redis at .* be reached"),
    (redis_gone, "watch --looks 1", 2, "cannot be reached"),
    (mysql_gone, "user 1", 2, "INCOMPLETE: mysql.*Can't connect"),
    (no_scan, "watch --looks 1", 2, "does not allow this user the command: .*'scan'"),
    (large_table_without_index, "user 1", 2, "INCOMPLETE: large .*'peer_id'"),
    (redis_gone, "user 1", 2, "nothing of this user was found"),
    (redis_gone, "snapshot", 2, "cannot be reached"),
    (redis_gone, "snapshot --keep-incomplete", 1, "INCOMPLETE: sessions: Redis at .* be reached"),
    (
        redis_gone,
        "audit",
        2,
        "skipped server_clock, .*, ghost, .*: sessions: Redis at .* cannot be reached",
    ),
    (redis_gone, "audit --check orphan_session", 2, "skipped orphan_session: sessions: Redis"),
    (redis_gone, "audit --check sequence_ahead", 2, "skipped sequence_ahead: sequences: Redis"),
    (mysql_gone, "servers", 2, r"redis +(Redis|Valkey) .*(\n.*)*database +cannot be told: mysql"),
    (mysql_gone, "user 9", 2, "nothing of this user was found"),
    (mysql_gone, "snapshot", 2, "Can't connect to MySQL server"),
    (mysql_gone, "snapshot --keep-incomplete", 1, "INCOMPLETE: mysql.*Can't connect"),
    (mysql_gone, "audit", 1, r"skipped pts_gap, .*: not in the snapshot: .* \(mysql.* connect"),
    (mysql_gone, "audit --check pts_gap", 2, "skipped pts_gap: not in the snapshot: message_box"),
    (mysql_gone, "audit --check missing_index", 2, "skipped missing_index: .* does not say which"),
    (mysql_gone, "audit --check sequence_behind", 2, "skipped sequence_behind: not read"),
    (both_gone, "servers", 2, "cannot be reached.*; mysql.*Can't connect"),
    (both_gone, "audit", 2, "cannot be reached.*; mysql.*Can't connect"),
    (no_info, "servers", 2, "role +cannot be told: .*'info'"),
    (no_time, "servers", 2, "skew +cannot be told: this user may not ask Redis for TIME"),
    (no_scan, "audit", 2, "does not allow this user the command: .*'scan'"),
    (no_scan, "snapshot", 2, "does not allow this user the command: .*'scan'"),
    (presence_alone, "snapshot", 1, "INCOMPLETE: sequences: Redis at .*key"),
    (presence_alone, "audit --check sequence_behind", 2, "skipped sequence_behind: sequences: "),
    (primary_gone, "servers", 2, "role +cannot be told: .*, link down: what it holds may be old"),
    (primary_gone, "who 1", 2, "what is read may be old"),
    (primary_gone, "snapshot", 1, "INCOMPLETE: sessions: may be old: this is .*link down"),
    (primary_gone, "audit --check ghost", 2, "skipped ghost: sessions: may be old"),
    (stale_and_silent, "who 1", 2, "MASTERDOWN|MASTER is down"),
    (stale_and_silent, "audit", 2, "skipped .*, ghost, .*: sessions: .*MASTER is down"),
    (node_of_a_cluster, "servers", 2, "a node of a cluster and has a part of the keys"),
    (node_of_a_cluster, "who 1", 2, "a node of a cluster and has a part of the keys"),
    (follows_nobody, "servers", 2, "role +cannot be told: replica of 127.*may be old"),
    (follows_nobody, "snapshot --tables ''", 1, "INCOMPLETE: tables: may be old: .*a replica of"),
    (falls_behind, "snapshot", 1, "INCOMPLETE: tables: may be old: .*a replica of 127"),
    (falls_behind, "audit --check orphan_session", 2, "sessions younger than inf s"),
    (falls_behind, "audit --check sequence_ahead", 2, "are inf s older than Redis: a replica's"),
    (large_table_without_index, "snapshot --user 1", 1, "INCOMPLETE: large .*'peer_id'"),
    (table_without_its_file, "snapshot", 1, r"chats +left out: .*\n(.*\n)*.*INCOMPLETE: chats: "),
    (table_without_its_file, "audit", 1, r"skipped orphan_participant, .*: .*chats \(.*error 1814"),
    (table_that_is_not_there, "audit --check orphan_participant", 2, "not in the snapshot: chats"),
    (one_table_granted, "audit --check pts_gap", 2, "not in the snapshot: message_boxes"),
    (no_database, "audit --check pts_gap", 2, "not in the snapshot: message_boxes"),
    (no_database, "audit --check missing_index", 2, "does not say which missing indexes there are"),
    (counter_of_no_row, "audit --check sequence_behind", 2, "not read, or not as integers"),
    (cut_short, "audit kept --check orphan_participant", 2, "cut short by the row limit: users"),
    (of_one_user, "audit kept --check pts_gap", 2, "only a part was asked for: message_boxes"),
    (of_one_user, "diff kept all", 2, "sessions was not compared: the two are of different user"),
    (chosen_tables, "audit kept --check pts_gap", 2, "not in the snapshot: message_boxes"),
    (kept_without_redis, "audit kept --check ghost", 2, "skipped ghost: sessions: Redis at"),
    (kept_without_redis, "diff before kept", 2, "sessions was not compared: Redis at"),
    (kept_without_mysql, "audit kept --check pts_gap", 2, "not in the snapshot: message_boxes"),
    (kept_without_mysql, "diff before kept", 2, "users was not compared: only in the earlier"),
]
IDS = [f"{state.__name__}: {asked}" for state, asked, *_ in STATES]


@pytest.mark.parametrize(("state", "asked", "code", "said"), STATES, ids=IDS)
def test_a_partial_answer_says_so(
    state: Callable[[World], None],
    asked: str,
    code: int,
    said: str,
    world: World,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is missing is named with its reason, and the exit code is not that of a whole answer."""
    state(world)
    capsys.readouterr()
    assert code == main(shlex.split(asked)) != 0
    printed = capsys.readouterr()
    assert re.search(said, printed.out + printed.err), printed.out + printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    "asked",
    [
        "servers",
        "who 1",
        "user 1",
        "watch --looks 1",
        "snapshot",
        "snapshot --user 1",
        "snapshot --user 1 --unindexed",
        "audit --check pts_gap --check sequence_behind",
    ],
)
def test_a_whole_answer_is_0(asked: str, world: World) -> None:
    """The same world, unbroken, is told whole: what the states say is theirs."""
    assert 0 == main(shlex.split(asked))


@pytest.mark.parametrize(
    ("state", "asked", "said"),
    [
        (mysql_gone, "ghost", "check +severity"),
        (mysql_gone, "key_without_ttl", "online_1 +it has no time to live"),
        (redis_gone, "pts_gap", "check +severity"),
        (redis_gone, "missing_index", "check +severity"),
    ],
)
def test_the_half_that_is_there_answers(
    state: Callable[[World], None],
    asked: str,
    said: str,
    world: World,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A check that needs the other half alone is no partial answer: nothing is skipped."""
    state(world)
    main(["audit", "--check", asked])
    printed = capsys.readouterr()
    assert re.search(said, printed.out)
    assert "skipped" not in printed.err
