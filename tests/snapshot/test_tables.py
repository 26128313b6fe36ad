"""A snapshot's tables are of one instant, are those that are asked for, and cost the database
nothing but reading.
"""

from __future__ import annotations

import gc
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pymysql
import pytest
import sqlalchemy as sa

from imlib.constants import PeerType
from imlib.errors import ConfigurationError, InvalidValueError, NotFoundError, UnavailableError
from imlib.models.records import Peer
from imlib.schema import tables as our_tables
from imlib.servers.sql import WRITING, make_engine
from imlib.snapshot import mysql
from imlib.snapshot.sqlite import SQLiteSource
from tests.models.stack import Stack, open_stack
from tests.private_servers.mariadb import PrivateMariaDB
from tests.snapshot.reading import read_tables
from tools.body_vectors import TO_USER, in_utf8_column, protobuf

KEY = b"a key of a snapshot that is kept"
BIG = 150_000
"""Rows of three columns that are more than one batch and the socket's buffers."""


AUTH_USERS_TEXT = [
    column.name for column in our_tables["auth_users"].c if isinstance(column.type, sa.String)
]


def database_of(url: str) -> str:
    """Return the name of a private MariaDB's database."""
    return url.partition("?")[0].rpartition("/")[2]


def do(stack: Stack, *statements: str) -> None:
    """Run statements on another connection than the snapshot's."""
    with stack.deployment.engine.connect().execution_options(**{WRITING: True}) as connection:
        for statement in statements:
            with connection.begin():
                connection.exec_driver_sql(statement)


def at_first(name: str, action: Callable[[], object]) -> Callable[[str, int], None]:
    """Return a progress that acts once, while table ``name`` is being read."""
    todo = [action]

    def progress(table: str, _rows: int) -> None:
        if table == name and todo:
            todo.pop()()

    return progress


def three_tables(url: str) -> None:
    """Make tables a, b and c with a row each."""
    with open_stack(url, tables_too=False) as stack:
        for name in "abc":
            do(
                stack,
                f"CREATE TABLE {name} (id integer PRIMARY KEY, n integer)",
                f"INSERT INTO {name} VALUES (1, 1)",
            )


def status(server: PrivateMariaDB, pattern: str) -> dict[str, str]:
    """Return the server's own counters."""
    with (
        pymysql.connect(unix_socket=str(server.socket), user="root") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name REGEXP %s", (pattern,))
        return {str(name): str(value) for name, value in cursor.fetchall()}


def test_all_tables_are_of_one_instant(url: str) -> None:
    """What others write while a snapshot is read is not in it, in no table."""
    if url.startswith("sqlite"):
        with open_stack(
            url
        ) as stack:  # makes the file as imlib does: readers and a writer don't wait for each other
            do(stack, *(f"DROP TABLE {name}" for name in our_tables))
    three_tables(url)
    with open_stack(url, tables_too=False) as stack:
        writes = [f"INSERT INTO {name} VALUES (2, 2)" for name in "abc"] + [
            "UPDATE c SET n = 7",
            "DELETE FROM b",
        ]
        found = read_tables(stack.deployment, progress=at_first("a", lambda: do(stack, *writes)))
        later = read_tables(stack.deployment)
    assert {name: [[1, 1]] for name in "abc"} == {
        name: found.frames[name].values.tolist() for name in "abc"
    }
    assert [[[1, 1], [2, 2]], [], [[1, 7], [2, 7]]] == [
        later.frames[name].values.tolist() for name in "abc"
    ]


def test_an_alter_waits_for_one_table_at_most(mariadb: PrivateMariaDB) -> None:
    """While b is read, a and c can be altered at once and b can't; what was altered since is left
    out, and said.
    """
    url = mariadb.new_database()
    three_tables(url)
    altered: dict[str, str] = {}
    with open_stack(url, tables_too=False) as stack:

        def alter() -> None:
            for name in "abc":
                try:
                    do(stack, f"ALTER TABLE {name} NOWAIT ADD COLUMN m int, ALGORITHM=COPY")
                    altered[name] = "at once"
                except sa.exc.OperationalError:
                    altered[name] = "waits"

        found = read_tables(stack.deployment, progress=at_first("b", alter))
        again = read_tables(stack.deployment)
    assert {"a": "at once", "b": "waits", "c": "at once"} == altered
    assert ["a", "b"] == list(found.frames)
    assert ["c"] == list(found.info["left_out"])
    assert "1412" in found.info["left_out"]["c"]
    assert {"a": 3, "b": 2, "c": 3} == {
        name: frame.shape[1] for name, frame in again.frames.items()
    }


def test_a_table_dropped_or_made_meanwhile(mariadb: PrivateMariaDB) -> None:
    """A table that goes between listing and reading is left out with the reason; one that comes is
    not in it.
    """
    url = mariadb.new_database()
    three_tables(url)
    with open_stack(url, tables_too=False) as stack:
        change = at_first(
            "a", lambda: do(stack, "DROP TABLE b", "CREATE TABLE d (id int)", "RENAME TABLE c TO e")
        )
        found = read_tables(stack.deployment, progress=change)
    assert ["a"] == list(found.frames)
    assert {"b", "c"} == set(found.info["left_out"])
    assert all("1146" in reason for reason in found.info["left_out"].values())
    assert "b: {b}; c: {c}".format(**found.info["left_out"]) == found.info["incomplete"]


@pytest.mark.parametrize(
    ("moment", "change"),
    [
        ("information_schema.COLUMNS", "DROP TABLE b"),
        ("information_schema.STATISTICS", "ALTER TABLE b CHANGE id ident int"),
        (
            "information_schema.STATISTICS",
            "ALTER TABLE b DROP PRIMARY KEY, ADD COLUMN m int PRIMARY KEY",
        ),
    ],
)
def test_a_table_that_changes_while_it_is_listed(
    mariadb: PrivateMariaDB, moment: str, change: str
) -> None:
    """What the catalogue says of one table in two states is used for neither: it is left out, asked
    for or not.
    """
    url = mariadb.new_database()
    three_tables(url)
    with open_stack(url, tables_too=False) as stack:

        def meanwhile(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if moment in statement:
                mariadb.run(change, database_of(url))

        sa.event.listen(stack.deployment.engine, "before_cursor_execute", meanwhile)
        found = read_tables(
            stack.deployment, tables=["a", "b"], unmask=["b.n"], where={"b": "id > 0"}
        )
    assert ["a"] == list(found.frames)
    gone = f"Table '{database_of(url)}.b' doesn't exist (error 1146)"
    changed = "dropped, altered or locked while the tables were listed"
    assert {"b": gone if "DROP TABLE" in change else changed} == found.info["left_out"]
    assert f"b: {found.info['left_out']['b']}" == found.info["incomplete"]


def test_listing_waits_for_nobody_for_long(
    mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is made and filled by somebody for hours is left out as well, after a bounded
    wait.
    """
    from imlib.servers import sql

    url = mariadb.new_database()
    three_tables(url)
    monkeypatch.setattr(sql, "LOCK_WAIT_S", 0)

    def fill() -> None:
        with suppress(pymysql.MySQLError):  # it is ended below
            mariadb.run("CREATE TABLE d AS SELECT id, SLEEP(60) AS s FROM a", database_of(url))

    filling = threading.Thread(target=fill)
    filling.start()
    with open_stack(url, tables_too=False) as stack, stack.deployment.engine.connect() as other:
        mine = "SELECT id FROM information_schema.PROCESSLIST WHERE info LIKE 'CREATE TABLE d AS%%'"
        while not (processes := other.exec_driver_sql(mine).scalars().all()):
            other.rollback()
        found = read_tables(stack.deployment)
        assert processes == other.exec_driver_sql(mine).scalars().all()  # it is still at it
        other.exec_driver_sql(f"KILL {processes[0]}")
    filling.join()
    assert ["a", "b", "c"] == list(found.frames)
    why = "Lock wait timeout exceeded; try restarting transaction (error 1205)"
    assert {"d": why} == found.info["left_out"]
    assert f"d: {found.info['left_out']['d']}" == found.info["incomplete"]


def test_a_clause_is_not_blamed_for_what_happened_to_its_table(mariadb: PrivateMariaDB) -> None:
    """A table with a where-clause that is dropped meanwhile is left out like any other."""
    url = mariadb.new_database()
    three_tables(url)
    with open_stack(url, tables_too=False) as stack:
        drop = at_first("a", lambda: do(stack, "DROP TABLE b"))
        found = read_tables(stack.deployment, where={"b": "id > 0"}, progress=drop)
    assert ["a", "c"] == list(found.frames)
    assert "1146" in found.info["left_out"]["b"]


def test_a_locked_table_is_waited_for_and_then_left_out(
    mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that somebody has locked costs a bounded wait, and the others are read."""
    from imlib.servers import sql

    url = mariadb.new_database()
    three_tables(url)
    monkeypatch.setattr(sql, "LOCK_WAIT_S", 0)
    with open_stack(url, tables_too=False) as stack, stack.deployment.engine.connect() as other:
        other.exec_driver_sql("LOCK TABLES b WRITE")
        found = read_tables(stack.deployment)
        other.exec_driver_sql("UNLOCK TABLES")
    assert ["a", "c"] == list(found.frames)
    assert "1205" in found.info["left_out"]["b"]


def test_what_is_not_at_the_same_instant(mariadb: PrivateMariaDB) -> None:
    """Tables whose engine has no snapshots are read and marked; views are left out."""
    url = mariadb.new_database()
    mariadb.run(
        "CREATE TABLE a (id int) ENGINE=InnoDB;\nCREATE TABLE b (id int) ENGINE=MyISAM;\n"
        "CREATE TABLE c (id int) ENGINE=MEMORY;\nCREATE VIEW v AS SELECT id FROM a",
        database_of(url),
    )
    with open_stack(url, tables_too=False) as stack:
        info = read_tables(stack.deployment).info
    marks = {name: facts["not_at_same_instant"] for name, facts in info["tables"].items()}
    assert {"a": False, "b": True, "c": True} == marks
    assert {"v": "a view, no table: name it in tables to have it read"} == info["left_out"]


def test_five_hundred_tables(mariadb: PrivateMariaDB) -> None:
    """All of 500 tables are read, over one connection, with no more than one statement prepared for
    each.
    """
    url = mariadb.new_database()
    mariadb.run(
        ";\n".join(f"CREATE TABLE t{number:03} (id int) ENGINE=MyISAM" for number in range(500)),
        database_of(url),
    )
    with open_stack(url, tables_too=False) as stack:
        before = status(mariadb, "^(Connections|Com_stmt_prepare|Prepared_stmt_count)$")
        frames = read_tables(stack.deployment).frames
        after = status(mariadb, "^(Connections|Com_stmt_prepare|Prepared_stmt_count)$")
    assert [f"t{number:03}" for number in range(500)] == list(frames)
    assert int(before["Com_stmt_prepare"]) + 500 == int(after["Com_stmt_prepare"])
    assert "0" == after["Prepared_stmt_count"]
    assert (
        int(after["Connections"]) - int(before["Connections"]) <= 2
    )  # the snapshot's, and the one that counts


def test_a_user_who_may_only_select_and_nothing_written(mariadb: PrivateMariaDB) -> None:
    """A user with SELECT alone gets the same frames, and the server counts no write."""
    url = mariadb.new_database()
    name = database_of(url)
    mariadb.run(
        "CREATE USER 'looker'@'localhost' IDENTIFIED BY 'hush';\n"
        f"GRANT SELECT ON {name}.* TO 'looker'@'localhost'"
    )
    with open_stack(url) as stack:
        stack.add_users(3)
        expected = read_tables(stack.deployment, mask_key=bytes(16)).frames
    statements = "insert|update|delete|replace|create_table|drop_table|alter_table"
    writes = f"^(Com_({statements})|Innodb_rows_(ins|upd|del).*)$"
    before = status(mariadb, writes)
    with open_stack(url.replace("root@", "looker:hush@"), read_only=True) as stack:
        found = read_tables(stack.deployment, mask_key=bytes(16))
    assert before == status(mariadb, writes)
    assert "hush" not in repr(found)
    for table, frame in expected.items():
        assert frame.equals(found.frames[table])
    mariadb.run("DROP USER 'looker'@'localhost'")


def test_nothing_stays_behind(url: str) -> None:
    """The pool's connections are as they were, and none is in use afterwards."""
    three_tables(url)
    with open_stack(url, tables_too=False) as stack:
        read_tables(stack.deployment)
        pool: Any = stack.deployment.engine.pool
        assert 0 == pool.checkedout()
        do(stack, "INSERT INTO a VALUES (2, 2)")


def big_table(server: PrivateMariaDB) -> str:
    """Give a database with a small table a, and b, which is not read in one go."""
    url = server.new_database()
    server.run(
        "CREATE TABLE a (id int PRIMARY KEY);\nINSERT INTO a VALUES (1);\n"
        "CREATE TABLE b (id int PRIMARY KEY, x bigint NOT NULL, y char(40) NOT NULL);\n"
        f"INSERT INTO b SELECT seq, seq, repeat('y', 40) FROM seq_1_to_{BIG}",
        database_of(url),
    )
    return url


def test_the_server_dies_in_the_middle(mariadb: PrivateMariaDB) -> None:
    """A killed server is one clear error, and the deployment works again once it is back."""
    url = big_table(mariadb)
    with open_stack(url, tables_too=False) as stack:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ResourceWarning
            )  # pymysql drops the socket it could not connect
            with pytest.raises(UnavailableError, match="error 2013"):
                read_tables(stack.deployment, progress=at_first("b", mariadb.stop))
            gc.collect()
        mariadb.start()
        assert ["a", "b"] == list(read_tables(stack.deployment).frames)


def test_what_was_read_before_the_end_can_be_kept(mariadb: PrivateMariaDB) -> None:
    """With keep_incomplete what was whole is kept, the rest is not, and info says why it ended."""
    url = big_table(mariadb)

    def kill() -> None:
        with (
            pymysql.connect(unix_socket=str(mariadb.socket), user="root") as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE info LIKE '%FROM `b`%' AND "
                "id <> CONNECTION_ID()"
            )
            ((one,),) = cursor.fetchall()
            cursor.execute(f"KILL {one}")

    with open_stack(url, tables_too=False) as stack:
        found = read_tables(stack.deployment, keep_incomplete=True, progress=at_first("b", kill))
        assert ["a"] == list(found.frames) == list(found.info["tables"])
        assert {"b": "not read: the reading ended before"} == found.info["left_out"]
        assert "error" in str(found.info["incomplete"])
        with pytest.raises(UnavailableError):
            read_tables(stack.deployment, progress=at_first("b", kill))


def test_an_interrupt_passes(mariadb: PrivateMariaDB) -> None:
    """Ctrl-C in the middle of a table leaves no half-read connection behind."""
    url = big_table(mariadb)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with open_stack(url, tables_too=False) as stack:
        with pytest.raises(KeyboardInterrupt):
            read_tables(stack.deployment, progress=at_first("b", interrupt))
        assert BIG == len(read_tables(stack.deployment).frames["b"])


@pytest.mark.parametrize("limit", [1.5, "5", None, 2**62])
def test_a_limit_that_is_no_number_of_rows(url: str, limit: Any) -> None:
    """Anything but an integer that SQL can count to is refused, and not every table left out for
    it.
    """
    with (
        open_stack(url, tables_too=False) as stack,
        pytest.raises(InvalidValueError, match="limit is"),
    ):
        read_tables(stack.deployment, limit=limit)


@pytest.mark.parametrize(
    ("limit", "rows", "truncated"), [(1, 1, True), (2, 2, True), (3, 3, False), (4, 3, False)]
)
def test_the_limit(url: str, limit: int, rows: int, truncated: bool) -> None:
    """A table is cut at the limit, its first rows by primary key kept, and marked only if there is
    more.
    """
    with open_stack(url, tables_too=False) as stack:
        do(
            stack,
            "CREATE TABLE t (n integer, id integer PRIMARY KEY)",
            "INSERT INTO t VALUES (1, 3), (2, 1), (3, 2)",
        )
        found = read_tables(stack.deployment, limit=limit)
    assert [1, 2, 3][:rows] == found.frames["t"]["id"].tolist()
    assert (rows, truncated) == (
        found.info["tables"]["t"]["rows"],
        found.info["tables"]["t"]["truncated"],
    )


@pytest.mark.parametrize(("limit", "truncated"), [(2, True), (3, False)])
def test_the_limit_holds_for_what_a_user_is_led_to(
    stack: Stack, limit: int, truncated: bool
) -> None:
    """Messages that a user's boxes name are cut and marked like any table, also where only the list
    of them is cut.
    """
    for n in (3, 2, 1):
        stack.put(
            "messages", sender_user_id=5, peer_type=3, peer_id=9, random_id=n, message_data="{}"
        )
        box = {
            "user_id": 1,
            "sender_user_id": 5,
            "message_box_type": 0,
            "peer_type": 3,
            "peer_id": 9,
        }
        stack.put("message_boxes", **box, pts=n, message_id=n, state=0, date2=0)
    found = read_tables(stack.deployment, user_ids=[1], limit=limit)
    assert [1, 2, 3][:limit] == found.frames["messages"]["id"].tolist()
    assert truncated == found.info["tables"]["messages"]["truncated"]


def test_a_user_without_a_phone(url: str) -> None:
    """A NULL among the values that lead on leads nowhere, and is in nobody's way."""
    with open_stack(url, tables_too=False) as stack:
        do(
            stack,
            "CREATE TABLE users (id integer PRIMARY KEY, phone varchar(9))",
            "INSERT INTO users VALUES (1, NULL), (2, '+2')",
            "CREATE TABLE auth_phone_transactions (id integer PRIMARY KEY, phone_number "
            "varchar(9))",
            "INSERT INTO auth_phone_transactions VALUES (1, '+2'), (2, '+3'), (3, NULL)",
        )
        found = read_tables(stack.deployment, user_ids=[1, 2])
    assert {} == found.info["left_out"]
    assert [1] == found.frames["auth_phone_transactions"]["id"].tolist()


@pytest.mark.parametrize("mode", ["ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"])
def test_a_server_with_another_sql_mode(mariadb: PrivateMariaDB, mode: str) -> None:
    """Names and values are quoted for the connection's own sql_mode: a backslash in one is a
    backslash.
    """
    phone = "\\' OR 1=1 -- "
    url = mariadb.new_database()
    mariadb.run(f"SET GLOBAL sql_mode = '{mode}'")
    try:
        with open_stack(url) as stack:
            for user in (stack.users.create_user(one, "A") for one in (phone, "+2")):
                code = {"api_id": 1, "api_hash": "", "code": "1", "phone_number": user.phone}
                stack.put("auth_phone_transactions", transaction_hash=user.phone, **code)
            found = read_tables(
                stack.deployment, user_ids=[1], unmask=["auth_phone_transactions.phone_number"]
            )
    finally:
        mariadb.run("SET GLOBAL sql_mode = DEFAULT")
    assert [phone] == found.frames["auth_phone_transactions"]["phone_number"].tolist()


def test_a_phone_is_in_no_chain_of_errors(stack: Stack) -> None:
    """What leads from a user to rows that name a phone is bound: an error shows the statement, and
    not the phone.
    """
    stack.users.create_user("+8613912345678", "A")
    with pytest.raises(InvalidValueError) as caught:
        read_tables(stack.deployment, user_ids=[1], where={"auth_phone_transactions": "nope = 1"})
    told = "".join(traceback.format_exception(caught.value))
    assert "auth_phone_transactions" in told
    assert "8613912345678" not in told


def test_a_table_that_names_a_phone(url: str) -> None:
    """What bears a user's phone is about the user, in tables that imlib knows nothing
    of as well.
    """
    with open_stack(url, tables_too=False) as stack:
        do(
            stack,
            "CREATE TABLE users (id integer PRIMARY KEY, phone varchar(9))",
            "INSERT INTO users VALUES (1, '+1'), (2, '+2')",
            "CREATE TABLE banned (id integer PRIMARY KEY, phone varchar(9))",
            "INSERT INTO banned VALUES (1, '+1'), (2, '+2'), (3, '+3')",
        )
        found = read_tables(stack.deployment, user_ids=[2])
    assert [[2], [2]] == [found.frames[name]["id"].tolist() for name in ("users", "banned")]


@pytest.mark.parametrize("kind", ["varchar(9)", "blob"])
def test_messages_whose_ids_are_no_numbers(mariadb: PrivateMariaDB, kind: str) -> None:
    """What is masked in a frame stands in no fact beside it: bodies are not judged there, and the
    audit says so.
    """
    url = mariadb.new_database()
    with open_stack(url, tables_too=False) as stack:
        do(
            stack,
            f"CREATE TABLE messages (id {kind}, message_data blob)",
            "INSERT INTO messages VALUES ('SECRETID', 'no json')",
        )
        found = read_tables(stack.deployment)
    assert ["id", "message_data"] == found.info["tables"]["messages"]["masked"]
    assert "SECRETID" not in repr(found.info)
    assert "unreadable" not in found.info["tables"]["messages"]


def test_bodies_are_judged_before_they_are_masked(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which messages hold what cannot be read is said, bounded and counted, while what they hold
    stays masked.
    """
    for body in ('{"message":"hi"}', "constructor 0x90dddc11", "7", "", "[1,"):
        stack.put(
            "messages", sender_user_id=1, peer_type=2, peer_id=2, random_id=1, message_data=body
        )
    found = read_tables(stack.deployment)
    facts = found.info["tables"]["messages"]
    assert ([2, 4, 5], 0) == (facts["unreadable"], facts["unreadable_more"])
    assert (0, []) == (facts["damaged_by_column"], facts["damaged_samples"])
    assert found.frames["messages"]["message_data"].str.startswith("masked:").all()
    monkeypatch.setattr("imlib.snapshot.tables._BODIES_KEPT", 1)
    facts = read_tables(stack.deployment, unmask=["messages.message_data"]).info["tables"][
        "messages"
    ]
    assert ([2], 2) == (facts["unreadable"], facts["unreadable_more"])
    assert (
        "unreadable"
        not in read_tables(stack.deployment, tables={"messages": ["id"]}).info["tables"]["messages"]
    )


def test_bodies_of_an_odd_type_are_judged_too(tmp_path: Path) -> None:
    """A body that SQLite holds as a blob, whose column is carried as literals, is still JSON or
    not.
    """
    with open_stack(f"sqlite:///{tmp_path / 'im.db'}") as stack:
        for body in ("x'7b7d'", "x'ff'", "'{}'", "'{'"):
            columns = "sender_user_id, peer_type, peer_id, random_id, message_data"
            do(stack, f"INSERT INTO messages ({columns}) VALUES (1, 2, 2, 1, {body})")
        facts = read_tables(stack.deployment).info["tables"]["messages"]
    assert [2, 4] == facts["unreadable"]


@pytest.mark.parametrize("kind", ["text", "blob"])
def test_bodies_that_telegramd_wrote(mariadb: PrivateMariaDB, kind: str) -> None:
    """Protobuf is judged by its row's sender, whichever columns are asked for; what a column
    damaged is counted apart, with three samples.
    """
    url = mariadb.new_database("utf8")
    bodies = [protobuf({"from_id": 7, **TO_USER, "message": f"hello {n}"}) for n in range(5)]
    bodies += [
        b'{"constructor":1,"data2":{}}',
        b"hello",
        protobuf({"from_id": 8, **TO_USER, 20: 1}),
    ]
    kept = [in_utf8_column(body) if kind == "text" else body for body in bodies]
    asked: list[Any] = [None, {"messages": ["message_data"]}, {"messages": ["id", "message_data"]}]
    with open_stack(url, tables_too=False) as stack:
        rows = ", ".join(f"(7, x'{body.hex()}')" for body in kept)
        do(
            stack,
            "CREATE TABLE messages (id int AUTO_INCREMENT PRIMARY KEY, sender_user_id int, "
            f"message_data {kind})",
            f"INSERT INTO messages (sender_user_id, message_data) VALUES {rows}, (NULL, 'hi')",
        )
        for tables in asked:
            found = read_tables(stack.deployment, tables=tables)
            facts = found.info["tables"]["messages"]
            damaged = [1, 2, 3] if kind == "text" else []
            assert ([7, 8, 9], 0) == (facts["unreadable"], facts["unreadable_more"])
            assert damaged == facts["damaged_samples"]
            assert (5 if kind == "text" else 0) == facts["damaged_by_column"]
            wanted = tables or {"messages": ["id", "sender_user_id", "message_data"]}
            assert wanted["messages"] == list(found.frames["messages"])


def test_the_chats_of_a_user_of_a_deployed_server(stack: Stack) -> None:
    """A user's chats are found by the table that participants are read from."""
    ann, ben = stack.add_users(2)
    chats = [stack.chats.create_chat(one, "Lunch", []).id for one in (ann, ben)]
    do(
        stack,
        "CREATE TABLE chat_participants (id int PRIMARY KEY, chat_id int, user_id int)",
    )
    assert chats[:1] == read_tables(stack.deployment, user_ids=[ann]).frames["chats"]["id"].tolist()
    do(stack, f"INSERT INTO chat_participants VALUES (1, {chats[1]}, {ann})")
    found = read_tables(stack.deployment, user_ids=[ann])
    # The first is hers as its creator.
    assert chats == found.frames["chats"]["id"].tolist()
    assert [1] == found.frames["chat_participants"]["id"].tolist()
    do(
        stack,
        f"UPDATE chats SET creator_user_id = {ben}, title_changer_user_id = {ben}, "
        f"avatar_changer_user_id = {ben}, title_change_random_id = id, "
        "avatar_change_random_id = id",
    )
    found = read_tables(stack.deployment, user_ids=[ann])
    assert chats[1:] == found.frames["chats"]["id"].tolist()


def test_where(stack: Stack) -> None:
    """Text, text with values, and expressions choose rows; an injected quote is a value like any
    other.
    """
    stack.add_users(3)
    users = our_tables["users"]
    attack = "x' OR '1'='1"
    cases: list[tuple[Any, list[int]]] = [
        ("id > 1", [2, 3]),
        ("id = 1 OR id = 3 -- as they came", [1, 3]),
        (("id = :id", {"id": 2}), [2]),
        (("phone = :phone", {"phone": attack}), []),
        (("first_name = :name OR id = :id", {"name": "100%s ?", "id": 1}), [1]),
        (users.c.id.in_([1, 3]), [1, 3]),
        (users.c.first_name == attack, []),
        ((users.c.id == 2) | (users.c.first_name == "User 2"), [2, 3]),
        (sa.column("id") < 2, [1]),
        (users.c.created_at > datetime(2017, 12, 3, tzinfo=UTC), [1, 2, 3]),
    ]
    for where, expected in cases:
        found = read_tables(stack.deployment, tables=["users"], where={"users": where})
        assert expected == found.frames["users"]["id"].tolist()
        assert found.info["tables"]["users"]["filtered"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tables": ["user"]}, "did you mean users"),
        ({"tables": {"users": ["phon"]}}, "did you mean users.phone"),
        ({"unmask": ["users.fone"]}, "unmask names 'users.fone'"),
        ({"where": {"usrs": "1"}}, "did you mean users"),
        ({"where": {"users": "no_such = 1"}}, "where for table 'users' is refused"),
        ({"where": {"users": "id = 1; DROP TABLE users"}}, "where for table 'users' is refused"),
        ({"where": {"users": "locked = busy"}}, "where for table 'users' is refused"),
        ({"where": {"users": "id = :id"}}, "where for table 'users' is refused"),
        ({"where": {"users": ("id = 1", {"id": 1})}}, "where for table 'users' is refused"),
        ({"where": {"users": "id = ?"}}, "where for table 'users' is refused"),
        ({"where": {"users": {"id": 1}}}, "is of type dict: allowed"),
        ({"where": {"users": ("id = 1",)}}, "is of type tuple: allowed"),
        (
            {"where": {"users": our_tables["users"].alias().c.id == 1}},
            "another table outside of a subquery",
        ),
        ({"tables": {"users": []}}, "names no column of users"),
        ({"limit": 0}, "limit is 0"),
        ({"mask_key": b"short"}, "mask_key has 5 bytes"),
        ({"mask_key": "a text of some length"}, "mask_key is str: allowed is bytes"),
        ({"tables": [7]}, "tables names 7"),
        ({"tables": "users"}, r"allowed is a list of names, as \['users'\]"),
        ({"unmask": "users.phone"}, r"allowed is a list of names, as \['users.phone'\]"),
        ({"where": "id = 1"}, "where is str: allowed is a mapping"),
    ],
)
def test_arguments_that_name_nothing(stack: Stack, options: dict[str, Any], said: str) -> None:
    """What doesn't exist, and a clause that the database refuses, is one clear error; nothing is
    changed.
    """
    stack.add_users(1)
    with pytest.raises(InvalidValueError, match=said):
        read_tables(stack.deployment, **options)
    assert 1 == len(stack.rows("users"))


def test_a_value_that_sqlite_cannot_bind(tmp_path: Path) -> None:
    """An integer beyond 64 bits is the clause's fault, and said like any other."""
    with (
        open_stack(f"sqlite:///{tmp_path / 'im.db'}") as stack,
        pytest.raises(InvalidValueError, match="too large"),
    ):
        read_tables(stack.deployment, where={"users": ("id = :id", {"id": 2**63})})


def test_tables_and_columns(stack: Stack) -> None:
    """Only the tables and columns that are asked for are read, in the order asked for."""
    stack.add_users(2)
    found = read_tables(
        stack.deployment,
        tables={"users": ["phone", "id"], "apps": ["title"]},
        unmask=["users.phone"],
    )
    assert {"users": ["phone", "id"], "apps": ["title"]} == {
        name: list(one) for name, one in found.frames.items()
    }
    once: Any = (name for name in ["users"])
    assert ["users"] == list(read_tables(stack.deployment, tables=once).frames)
    assert ["+0", "+1"] == found.frames["users"]["phone"].tolist()
    assert [] == found.info["tables"]["users"]["masked"]


def test_everything_about_users(stack: Stack) -> None:
    """A user's own rows, devices, chats, sequences, and messages sent and received are found, and
    nobody else's.
    """
    one, two, three = stack.add_users(3)
    for user_id in (one, two, three):
        stack.put("auth_keys", auth_id=-user_id, body="k")
        stack.put(
            "auth_users",
            auth_id=-user_id,
            user_id=user_id,
            hash=0,
            **dict.fromkeys(AUTH_USERS_TEXT, ""),
        )
        stack.put(
            "auth_phone_transactions",
            transaction_hash=str(user_id),
            api_id=1,
            api_hash="",
            code="1",
            phone_number=f"+{user_id - 1}",
        )
        stack.put("seq_updates_ngen", seq_name=str(user_id), seq=1)
        stack.put("client_updates_state", auth_key_id=-user_id, user_id=user_id)
    stack.put("apps", api_id=1, api_hash="", title="", short_name="")
    for sender, receiver in ((one, two), (two, three), (three, one)):
        message = stack.put(
            "messages",
            sender_user_id=sender,
            peer_type=int(PeerType.USER),
            peer_id=receiver,
            random_id=sender,
            message_data="{}",
        )
        for owner in (sender, receiver):
            stack.put(
                "message_boxes",
                user_id=owner,
                sender_user_id=sender,
                message_box_type=0,
                peer_type=int(PeerType.USER),
                peer_id=receiver,
                pts=message,
                message_id=message,
                state=0,
                date2=0,
            )
    chat = stack.put(
        "messages",
        sender_user_id=three,
        peer_type=int(PeerType.CHAT),
        peer_id=one,
        random_id=9,
        message_data="{}",
    )
    found = read_tables(
        stack.deployment, user_ids=[one], unmask=["auth_phone_transactions.phone_number"]
    )
    frames = found.frames
    assert [one] == frames["users"]["id"].tolist()
    assert (
        [-one]
        == frames["auth_keys"]["auth_id"].tolist()
        == frames["client_updates_state"]["auth_key_id"].tolist()
    )
    assert [f"+{one - 1}"] == frames["auth_phone_transactions"]["phone_number"].tolist()
    assert [str(one)] == frames["seq_updates_ngen"]["seq_name"].tolist()
    assert [1, 3] == frames["messages"]["id"].tolist()
    assert (
        chat not in frames["messages"]["id"].tolist()
    )  # its peer is the chat, not the user, of that number
    assert [1, 2, 5, 6] == frames["message_boxes"]["id"].tolist()
    assert "nothing in it names a user" == found.info["left_out"]["apps"]
    nobody = read_tables(stack.deployment, user_ids=[])
    assert {0} == {len(frame) for frame in nobody.frames.values()}


def test_progress_counts_every_row_once(stack: Stack) -> None:
    """Progress adds up to the rows of each table, also of one that is read twice."""
    stack.add_users(3)
    if stack.deployment.engine.dialect.name == "sqlite":
        do(stack, "UPDATE users SET state = 'x' WHERE id = 2")
    counted: dict[str, int] = {}
    found = read_tables(
        stack.deployment,
        progress=lambda name, rows: counted.update({name: counted.get(name, 0) + rows}),
    )
    assert {name: len(frame) for name, frame in found.frames.items() if len(frame)} == counted


def test_the_replica_is_read(new_url: Callable[[], str]) -> None:
    """Where a replica is named, it is the one that is read."""
    replica = new_url()
    three_tables(replica)
    primary = new_url()
    with open_stack(primary, replica_url=replica) as stack:
        assert ["a", "b", "c"] == list(read_tables(stack.deployment).frames)


def test_a_driver_that_has_no_binary_rows(mariadb: PrivateMariaDB) -> None:
    """MySQL through another driver is refused with what to write instead."""
    url = mariadb.new_database()
    with open_stack(url, tables_too=False) as stack:
        engine: Any = make_engine(url)
        engine.dialect.driver = "other"
        stack.deployment.replica_client = engine
        with pytest.raises(ConfigurationError, match=r"mysql\+pymysql"):
            read_tables(stack.deployment)
        engine.dispose()


def test_users_beyond_a_packet(url: str) -> None:
    """A list of users too long for one statement gives the same rows, none of them twice, in the
    same order, and as many as asked for.
    """
    with open_stack(url) as stack:
        stack.add_users(4)
        for number in range(3):
            stack.messages.send_message(1 + number, Peer.user(2 + number), f"{number}")
        for users, limit in ([1, 2, 3, 4], 1000), ([1, 2, 3, 4], 3), ([3, 1], 1000), ([9, 8], 1000):
            with pytest.MonkeyPatch.context() as patch:
                whole = read_tables(stack.deployment, user_ids=users, limit=limit, mask_key=KEY)
                patch.setattr(mysql, "_VALUE_BYTES", 2**40)
                patch.setattr(SQLiteSource, "most", 1)
                cut = read_tables(stack.deployment, user_ids=users, limit=limit, mask_key=KEY)
            assert list(whole.frames) == list(cut.frames)
            for name, frame in whole.frames.items():
                pd.testing.assert_frame_equal(frame, cut.frames[name])
            assert whole.info["tables"] == cut.info["tables"]
            assert whole.info["left_out"] == cut.info["left_out"]


def test_six_hundred_thousand_users(mariadb: PrivateMariaDB) -> None:
    """More users than a packet of 4 MB holds are read all the same, and chats made of as many
    users say who is not there.
    """
    many = list(range(1_000_000_000, 1_000_600_000))
    before = mariadb.ask("SELECT @@GLOBAL.max_allowed_packet AS bytes")["bytes"]
    mariadb.run("SET GLOBAL max_allowed_packet = 4194304")
    try:
        with open_stack(mariadb.new_database()) as stack:
            stack.add_users(3)
            found = read_tables(stack.deployment, user_ids=[*many, 2])
            assert [2] == found.frames["users"]["id"].tolist()
            assert {"apps": "nothing in it names a user"} == found.info["left_out"]
            assert [2] == [user.id for user in stack.users.get_user_list([*many, 2])]
            with pytest.raises(NotFoundError, match="1000000000"):
                stack.chats.create_chat(1, "Lunch", many)
    finally:
        mariadb.run(f"SET GLOBAL max_allowed_packet = {before}")
