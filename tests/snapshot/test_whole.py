"""A snapshot of tables is whole, or says what is missing and why."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars
import pytest
import redis
import sqlalchemy as sa

import imlib
from imlib.errors import AccessDeniedError
from imlib.models.records import Peer
from imlib.presence import Batch, Malformed
from imlib.schema import SEQUENCE_KEY_PREFIX
from imlib.snapshot import selection, sessions
from imlib.snapshot.tables import TablesRead
from tests.models.stack import open_stack
from tests.private_servers.mariadb import PrivateMariaDB
from tests.private_servers.programs import REDIS_SERVER, VALKEY
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.snapshot.reading import read_tables
from tests.snapshot.test_tables import database_of

EVERY_TYPE = """CREATE TABLE t (
  id int PRIMARY KEY, tiny tinyint NOT NULL, big bigint unsigned, flag bit(9), real4 float,
  real8 double, amount decimal(10,2), huge decimal(65,30), day date, at datetime(6),
  seen timestamp NULL, lasting time(6), born year, name varchar(20), code char(3) CHARACTER SET
  latin1, raw varbinary(8), body blob, kind enum('a', 'b'), tags set('x', 'y'), extra json
);
INSERT INTO t VALUES
  (1, -128, 18446744073709551615, b'100000001', 0.1, 1e308, -12345678.90,
   12345678901234567890123456789012345.123456789012345678901234567890, '2017-12-03',
   '2017-12-03 01:02:03.000004', '2017-12-03 01:02:03', '-838:59:58.000001', 2017, 'é€😀', 'é',
   x'00ff27', x'005c', 'b', 'x,y', '{"a": 1}'),
  (2, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
   NULL, NULL, NULL),
  (3, 127, 0, b'0', 16777216, -0.1, 0, 0, '0000-00-00', '0000-00-00', '2038-01-19 03:14:07',
   '00:00:00', 0, '', '', '', '', 'a', '', '[]')"""


@contextmanager
def set_globally(server: PrivateMariaDB, name: str, value: int) -> Iterator[None]:
    """Give a server's variable another value for a while."""
    before = server.ask(f"SELECT @@GLOBAL.{name} AS value")["value"]
    server.run(f"SET GLOBAL {name} = {value}")
    try:
        yield
    finally:
        server.run(f"SET GLOBAL {name} = {before}")


def read(url: str, **asked: Any) -> TablesRead:
    """Read tables over connections of their own."""
    with open_stack(url, tables_too=False) as stack:
        return read_tables(stack.deployment, mask_key=bytes(16), **asked)


@pytest.mark.parametrize("limit", [0, 1, 25])
def test_a_server_that_cuts_every_result(mariadb: PrivateMariaDB, limit: int) -> None:
    """A global sql_select_limit cuts neither the catalogue nor a table."""
    url = mariadb.new_database()
    columns = ", ".join(f"c{number} int" for number in range(10))
    script = [f"CREATE TABLE t{number} ({columns})" for number in range(10)]
    script.append(f"INSERT INTO t0 (c0) VALUES {', '.join(f'({number})' for number in range(60))}")
    mariadb.run(";\n".join(script), database_of(url))
    with set_globally(mariadb, "sql_select_limit", limit):
        frames = read(url).frames
    assert [(60 if name == "t0" else 0, 10) for name in frames] == [
        frame.shape for frame in frames.values()
    ]
    assert 10 == len(frames)


class TestAServerThatPreparesNothing:
    """Tables are read as text where max_prepared_stmt_count is used up, with the same result."""

    def test_every_type(self, mariadb: PrivateMariaDB) -> None:
        """Every type gives the same frame as the binary rows do."""
        url = mariadb.new_database()
        mariadb.run(f"SET sql_mode = '';\n{EVERY_TYPE}", database_of(url))
        expected = read(url, unmask=["t.name", "t.raw", "t.extra"])
        with set_globally(mariadb, "max_prepared_stmt_count", 0):
            found = read(url, unmask=["t.name", "t.raw", "t.extra"])
        pd.testing.assert_frame_equal(expected.frames["t"], found.frames["t"])
        assert expected.info["tables"] == found.info["tables"]
        assert found.info["incomplete"] is None
        row = found.frames["t"].iloc[0]
        assert timedelta(hours=-838, minutes=-59, seconds=-58, microseconds=-1) == row["lasting"]
        assert Decimal("-12345678.90") == row["amount"]
        assert "é€😀" == row["name"]

    def test_dates_that_are_none(self, mariadb: PrivateMariaDB) -> None:
        """A date that no calendar has is carried as text."""
        url = mariadb.new_database()
        script = "CREATE TABLE t (a date, b datetime(1));\n"
        script += "INSERT INTO t VALUES ('2017-00-00', '2017-02-31 01:02:03.5'), (NULL, NULL)"
        mariadb.run(f"SET sql_mode = 'ALLOW_INVALID_DATES';\n{script}", database_of(url))
        with set_globally(mariadb, "max_prepared_stmt_count", 0):
            frame = read(url).frames["t"]
        assert ["2017-00-00", "2017-02-31 01:02:03.5"] == frame.iloc[0].tolist()
        assert frame.iloc[1].isna().all()

    def test_a_condition_and_users(self, mariadb: PrivateMariaDB) -> None:
        """Conditions, users and limits hold there as well."""
        with open_stack(mariadb.new_database()) as stack:
            stack.add_users(3)
            with set_globally(mariadb, "max_prepared_stmt_count", 0):
                found = read_tables(stack.deployment, user_ids=[1, 2], where={"users": "id > 1"})
        assert [2] == found.frames["users"]["id"].tolist()

    def test_it_is_used_up_in_the_middle(self, mariadb: PrivateMariaDB) -> None:
        """Where others use it up while tables are read, the rest is read as text."""
        url = mariadb.new_database()
        script = [f"CREATE TABLE {name} (n int)" for name in "abc"]
        script += [f"INSERT INTO {name} VALUES (1)" for name in "abc"]
        mariadb.run(";\n".join(script), database_of(url))
        before = mariadb.ask("SELECT @@GLOBAL.max_prepared_stmt_count AS value")["value"]
        try:
            with open_stack(url, tables_too=False) as stack:
                found = read_tables(
                    stack.deployment,
                    lambda *_: mariadb.run("SET GLOBAL max_prepared_stmt_count = 0"),
                )
        finally:
            mariadb.run(f"SET GLOBAL max_prepared_stmt_count = {before}")
        assert {"a": [1], "b": [1], "c": [1]} == {
            name: frame["n"].tolist() for name, frame in found.frames.items()
        }
        assert found.info["incomplete"] is None


def two_tables(server: PrivateMariaDB) -> tuple[str, Path]:
    """Make tables a and b; return the database's URL, and the folder of the files."""
    url = server.new_database()
    name = database_of(url)
    server.run("CREATE TABLE a (n int);\nCREATE TABLE b (n int) ENGINE=MyISAM", name)
    server.run("FLUSH TABLES")
    return url, Path(str(server.ask("SELECT @@datadir AS folder")["folder"])) / name


class TestTablesThatCannotBeRead:
    """What cannot be read is named with the server's own reason, and the snapshot is incomplete."""

    def test_a_damaged_description(self, mariadb: PrivateMariaDB) -> None:
        """A .frm file that is damaged."""
        url, folder = two_tables(mariadb)
        (folder / "b.frm").write_bytes(b"no description")
        info = read(url).info
        assert f"b: {info['left_out']['b']}" == info["incomplete"]
        assert "Incorrect information in file" in info["left_out"]["b"]

    def test_files_that_are_gone(self, mariadb: PrivateMariaDB) -> None:
        """A table whose data are gone from the disk."""
        url, folder = two_tables(mariadb)
        (folder / "b.MYD").unlink()
        found = read(url)
        assert ["a"] == list(found.frames)
        assert f"b: {found.info['left_out']['b']}" == found.info["incomplete"]
        assert found.info["left_out"]["b"]

    def test_not_asked_for(self, mariadb: PrivateMariaDB) -> None:
        """A table that was not asked for makes nothing incomplete."""
        url, folder = two_tables(mariadb)
        (folder / "b.frm").write_bytes(b"no description")
        assert read(url, tables=["a"]).info["incomplete"] is None

    def test_a_view_of_what_is_gone(self, url: str) -> None:
        """A view whose table is gone, asked for by name."""
        with open_stack(url, tables_too=False) as stack:
            with stack.deployment.engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE a (n int)")
                connection.exec_driver_sql("CREATE VIEW v AS SELECT n FROM a")
                connection.exec_driver_sql("DROP TABLE a")
            info = read_tables(stack.deployment, tables=["v"]).info
        assert f"v: {info['left_out']['v']}" == info["incomplete"]
        assert ["v"] == list(info["left_out"])


class TestRights:
    """What a user may not see is not taken for what is not there."""

    @pytest.mark.parametrize(
        ("grant", "seen", "said"),
        [
            ("SELECT ON {}.*", 20, None),
            ("SELECT ON *.*", 20, None),
            ("SELECT ON {}.users", 1, "may not see every table.*messages"),
            ("SELECT ON {}.v", 0, "may not see every table.*messages"),
            ("CREATE ON {}.*", 0, "messages: .*denied"),
            ("USAGE ON *.*", None, "Access denied"),
        ],
    )
    def test_a_user(
        self, mariadb: PrivateMariaDB, grant: str, seen: int | None, said: str | None
    ) -> None:
        """A user who may see some tables, only a view, or none, gets that said."""
        url = mariadb.new_database()
        name = database_of(url)
        with open_stack(url):
            pass
        mariadb.run("CREATE VIEW v AS SELECT id FROM users", name)
        mariadb.run("CREATE USER 'looker'@'localhost' IDENTIFIED BY 'hush'")
        try:
            mariadb.run(f"GRANT {grant.format(name)} TO 'looker'@'localhost'")
            if seen is None:
                with pytest.raises(AccessDeniedError, match=said):
                    read(url.replace("root@", "looker:hush@"))
                return
            found = read(url.replace("root@", "looker:hush@"))
        finally:
            mariadb.run("DROP USER 'looker'@'localhost'")
        assert seen == len(found.frames)
        assert (said is None) == (found.info["incomplete"] is None)
        assert re.search(said or "None", str(found.info["incomplete"]))

    def test_a_database_without_tables(self, mariadb: PrivateMariaDB) -> None:
        """A database that has no table is whole, for a user who would see one."""
        found = read(mariadb.new_database())
        assert {} == found.frames
        assert found.info["incomplete"] is None


def test_views_are_read_by_name(url: str) -> None:
    """A view is read where it is asked for by name, and named where it is not."""
    with open_stack(url) as stack:
        stack.add_users(2)
        with stack.deployment.engine.begin() as connection:
            connection.exec_driver_sql("CREATE VIEW v AS SELECT id, phone FROM users")
        asked = read_tables(stack.deployment, tables=["v"])
        whole = read_tables(stack.deployment)
    assert [1, 2] == sorted(asked.frames["v"]["id"])
    assert ["phone"] == asked.info["tables"]["v"]["masked"]
    assert "v" not in whole.frames
    assert {"v": "a view, no table: name it in tables to have it read"} == whole.info["left_out"]
    assert whole.info["incomplete"] is None


def test_myisam_is_not_sorted_by_the_server(mariadb: PrivateMariaDB) -> None:
    """Rows of MyISAM come in the order of their key, and the server sorts none."""
    url = mariadb.new_database()
    rows = ", ".join(f"({number})" for number in (3, 1, 2))
    script = "CREATE TABLE {0} (id int PRIMARY KEY) ENGINE={1};\nINSERT INTO {0} VALUES {2}"
    for name, engine in ("a", "MyISAM"), ("b", "InnoDB"), ("c", "Aria"):
        mariadb.run(script.format(name, engine, rows), database_of(url))
    with open_stack(url, tables_too=False) as stack:
        statements: list[str] = []
        sa.event.listen(
            stack.deployment.engine,
            "before_cursor_execute",
            lambda *told: statements.append(told[2]),
        )
        frames = read_tables(stack.deployment).frames
    assert [[1, 2, 3]] * 3 == [frame["id"].tolist() for frame in frames.values()]
    sorting = [one for one in statements if "ORDER BY `" in one]
    assert ["`b`"] == [one.partition("FROM ")[2].partition(" ")[0].strip() for one in sorting]


class TestRedis:
    """What Redis holds is told once, in bounded size, and what it refuses is said."""

    @pytest.fixture(params=[REDIS_SERVER, VALKEY])
    def server(self, request: pytest.FixtureRequest) -> Iterator[PrivateRedis]:
        """Give an empty private server."""
        with private_redis(program=request.param) as server:
            yield server

    def test_a_user_who_may_read_presence_alone(self, server: PrivateRedis) -> None:
        """Sessions come, sequences are not read, and the snapshot says so."""
        server.command("HSET", "online_7", "5_6", f"{int(time.time())}_1_42")
        server.command("SET", f"{SEQUENCE_KEY_PREFIX}7", 3)
        looker = server.add_user("looker", "hush", "~online_*", "+@read", "+@connection", "+time")
        with imlib.connect(looker, read_only=True) as deployment:
            snapshot = deployment.snapshot(tables=["seq_updates_ngen"])
        assert [7] == snapshot.sessions["user_id"].tolist()
        assert set(snapshot.sequences["state"]) <= {"not read"}
        assert "sequences: " in str(snapshot.info["incomplete"])
        assert "hush" not in str(snapshot.info)

    def test_a_primary_that_goes_while_connected(self, server: PrivateRedis) -> None:
        """A server that became a replica and lost its primary since is said to be old."""
        server.command("HSET", "online_7", "5_6", f"{int(time.time())}_1_42")
        with imlib.connect(server.url, read_only=True) as deployment:
            assert deployment.snapshot(tables=[]).info["incomplete"] is None
            server.command("REPLICAOF", "127.0.0.1", 1)
            snapshot = deployment.snapshot(tables=[])
        assert 1 == len(snapshot.sessions)
        assert "may be old" in snapshot.info["redis_unfit"]["sessions"]
        assert "may be old" in str(snapshot.info["incomplete"])

    @pytest.mark.parametrize("length", [1023, 1024, 1025, 5_000_000])
    def test_a_long_malformed_entry(self, server: PrivateRedis, length: int) -> None:
        """A malformed entry is kept as its first kilobyte and its length."""
        server.command("HSET", "online_7", "f" * length, "v", "field", "v" * length)
        server.command("HSET", "online_" + "k" * length, "5_6", "v")
        with imlib.connect(server.url, read_only=True) as deployment:
            malformed = deployment.snapshot(tables=[]).malformed
        assert 3 == len(malformed)
        for name in "key", "field", "value":
            whole = length + 7 * (name == "key")
            longest = malformed[malformed[name].str.len() == min(whole, 1024)]
            said = f"the {name} has {whole} bytes, of which the first are kept"
            assert [whole > 1024] == [said in reason for reason in longest["reason"]]

    def test_each_malformed_entry_is_counted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key that SCAN returns again is counted once, also beyond what is kept."""
        monkeypatch.setattr(sessions, "MALFORMED_KEPT", 2)
        bad = [Malformed(b"online_%d" % number, None, None, "odd") for number in range(5)]
        twice = Batch([], [], [], [], [], [], 0.0, [*bad, *bad])
        monkeypatch.setattr(sessions, "scan_batches", lambda *_, **__: iter([twice, twice]))
        with redis.Redis() as client:
            found = sessions.read_sessions(client, None)
        assert bad[:2] == found.malformed
        assert 3 == found.not_kept

    @pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu"])
    def test_idle_times(self, server: PrivateRedis, policy: str) -> None:
        """Looking leaves idle times and frequencies alone where the server can, and says so."""
        server.command("CONFIG", "SET", "maxmemory-policy", policy)
        with redis.Redis.from_url(server.url) as client:
            client.hset("online_7", "5_6", "1512270533_1_42")
            client.set(f"{SEQUENCE_KEY_PREFIX}7", 3)
            keys = ["online_7", f"{SEQUENCE_KEY_PREFIX}7"]
            lru = policy == "allkeys-lru"
            for key in keys:
                dumped: Any = client.dump(key)
                long = {"idletime": 1000} if lru else {"frequency": 99}
                client.restore(key, 0, dumped, replace=True, **long)
        word = "IDLETIME" if lru else "FREQ"
        before = [server.command("OBJECT", word, key) for key in keys]
        for read_only in True, False:
            with imlib.connect(server.url, "embedded://", read_only=read_only) as deployment:
                snapshot = deployment.snapshot()
                kept = snapshot.info["idle_times_kept"]
                if read_only:
                    deployment.online_status.get_online_by_user_id(7)
            assert 1 == len(snapshot.sessions)
            after = [server.command("OBJECT", word, key) for key in keys]
            near = [abs(one - other) < 100 for one, other in zip(before, after, strict=True)]
            assert kept == (server.command("INFO", "server").get("valkey_version") is not None)
            if kept:
                assert [True, True] == near


@pytest.mark.parametrize("unindexed", [False, True])
def test_one_user_of_a_large_table(
    mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch, unindexed: bool
) -> None:
    """Columns with an index are asked one by one; a large table's others on request."""
    url = mariadb.new_database()
    with open_stack(url) as stack:
        stack.add_users(3)
        stack.messages.send_message(1, Peer.user(2), "hello")
        stack.messages.send_message(3, Peer.user(2), "hello")
        expected = read_tables(stack.deployment, user_ids=[1], mask_key=bytes(16))
        monkeypatch.setattr(selection, "_SCANNED_ROWS", 0)
        found = read_tables(stack.deployment, user_ids=[1], mask_key=bytes(16), unindexed=unindexed)
    if unindexed:
        assert expected.info["tables"] == found.info["tables"]
        assert {} == found.info["not_asked"]
        assert found.info["incomplete"] is None
        for name, frame in expected.frames.items():
            pd.testing.assert_frame_equal(frame, found.frames[name])
    else:
        assert "peer_id" in found.info["not_asked"]["user_dialogs"]
        assert "user_id" not in found.info["not_asked"]["message_boxes"]
        assert [1] == found.frames["message_boxes"]["user_id"].unique().tolist()
        assert "unindexed=True" in str(found.info["incomplete"])


@pytest.mark.parametrize(
    "where",
    ["message_data LIKE '%\":7%'", "message_data LIKE '%:seven%'", "'a:b' = 'a:b' AND 5 % 2 = 1"],
)
def test_a_condition_is_taken_literally(url: str, where: str) -> None:
    """A bare condition has no parameters: its colons and percents are its own."""
    with open_stack(url) as stack:
        stack.add_users(2)
        stack.messages.send_message(1, Peer.user(2), '":7 :seven')
        frames = read_tables(stack.deployment, where={"messages": where}).frames
    assert 1 == len(frames["messages"])


class TestSQLite:
    """What SQLite's columns hold arrives exactly, and nothing odd ends a snapshot."""

    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[sqlite3.Connection]:
        """Give a file's connection, whose statements may hold any bytes."""
        with closing(sqlite3.connect(tmp_path / "im.db")) as connection:
            yield connection

    def read(self, tmp_path: Path, **asked: Any) -> TablesRead:
        """Read what was written."""
        return read(f"sqlite:///{tmp_path / 'im.db'}", **asked)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2017-12-03 01:02:03+02:00", "2017-12-02 23:02:03"),
            ("2017-12-03T01:02:03.000004-0330", "2017-12-03 04:32:03.000004"),
            ("2017-12-03 01:02:03Z", "2017-12-03 01:02:03"),
            ("2017-12-03 01:02 +14:00", "2017-12-02 11:02:00"),
            ("2017-12-03 01:02:03", "2017-12-03 01:02:03"),
            ("2017-12-03", "2017-12-03"),
        ],
    )
    @pytest.mark.parametrize("declared", ["DATETIME", "TIMESTAMP"])
    def test_offsets(
        self, tmp_path: Path, database: sqlite3.Connection, declared: str, text: str, expected: str
    ) -> None:
        """A time with an offset is converted, beside times without one."""
        database.execute(f"CREATE TABLE t (id integer PRIMARY KEY, at {declared})")
        rows = [(text,), (None,), ("2000-01-01 00:00:00",)]
        database.executemany("INSERT INTO t (at) VALUES (?)", rows)
        database.commit()
        column = self.read(tmp_path).frames["t"]["at"]
        zone = "UTC" if declared == "TIMESTAMP" else None
        assert pd.Timestamp(expected, tz=zone) == column[0]
        assert column[1] is pd.NaT
        assert pd.Timestamp("2000-01-01", tz=zone) == column[2]

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            ([1, 2**63 - 1], "Int64"),
            ([1.5, -0.25], "Float64"),
            (["a", "é"], "str"),
            ([b"a", b"\xff"], "large_binary[pyarrow]"),
            ([1, "a"], "str"),
            ([], "large_binary[pyarrow]"),
        ],
    )
    def test_columns_without_a_type(
        self, tmp_path: Path, database: sqlite3.Connection, values: list[Any], dtype: str
    ) -> None:
        """A column without a type has that of its values, if they have one."""
        database.execute("CREATE TABLE t (id integer PRIMARY KEY, auth_id)")
        rows = [(value,) for value in (*values, None)]
        database.executemany("INSERT INTO t (auth_id) VALUES (?)", rows)
        database.commit()
        found = self.read(tmp_path, unmask=["t.auth_id"])
        column = found.frames["t"]["auth_id"]
        assert dtype == str(column.dtype)
        reason = found.info["tables"]["t"]["could_not_carry"].get("auth_id", "")
        assert (values == [1, "a"]) == ("literals" in reason)

    def test_names_that_are_no_utf_8(self, tmp_path: Path, database: sqlite3.Connection) -> None:
        """A table and a column of such a name are named and left out; the rest is read."""
        database.execute("CREATE TABLE t (a int, bbbb int)")
        database.execute("CREATE TABLE cccc (a int)")
        database.execute("INSERT INTO t VALUES (1, 2)")
        database.commit()
        database.close()
        file = tmp_path / "im.db"
        content = file.read_bytes()
        file.write_bytes(content.replace(b"bbbb", b"bb\xffb").replace(b"cccc", b"cc\xffc"))
        found = self.read(tmp_path)
        assert [1] == found.frames["t"]["a"].tolist()
        assert {"cc\\xffc", "t.bb\\xffb"} == set(found.info["left_out"])
        assert "cc\\xffc: its name is no UTF-8" in str(found.info["incomplete"])
        json.dumps(found.info)


def test_others_read_what_is_saved(mariadb: PrivateMariaDB, tmp_path: Path) -> None:
    """Long decimals and spans of time keep every digit in Parquet, for DuckDB and for polars."""
    url = mariadb.new_database()
    mariadb.run(f"SET sql_mode = '';\n{EVERY_TYPE}", database_of(url))
    with imlib.connect("embedded://", url, read_only=True) as deployment:
        snapshot = deployment.snapshot(unmask=["t.name"])
    snapshot.save(tmp_path / "kept")
    file = tmp_path / "kept" / "t.parquet"
    digits = "12345678901234567890123456789012345.123456789012345678901234567890"
    query = f"SELECT huge, lasting, lasting::INTERVAL::VARCHAR FROM '{file}' ORDER BY id"
    by_duckdb = duckdb.execute(query).fetchall()
    assert (digits, "-838:59:58.000001", "-838:59:58.000001") == by_duckdb[0]
    assert (None, None, None) == by_duckdb[1]
    by_polars = polars.read_parquet(file).sort("id")
    assert digits == by_polars["huge"][0]
    assert "-838:59:58.000001" == by_polars["lasting"][0]
    assert "é€😀" == by_polars["name"][0]
    again = imlib.Snapshot.load(tmp_path / "kept")
    pd.testing.assert_frame_equal(snapshot.tables["t"], again.tables["t"])
