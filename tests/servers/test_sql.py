"""URLs to engines, and errors in imlib's own words."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest
import sqlalchemy as sa

from imlib.errors import (
    AccessDeniedError,
    ConfigurationError,
    ImlibError,
    InvalidValueError,
    ReadOnlyError,
    SchemaError,
    UnavailableError,
    UnsupportedServerError,
)
from imlib.models.records import Peer
from imlib.schema import create_all, tables
from imlib.schema_check import check_schema
from imlib.servers import sql
from imlib.servers.sql import make_engine, masked_url, ping, translate
from tests.models.stack import Stack, open_stack
from tests.private_servers.mariadb import PrivateMariaDB
from tests.snapshot.reading import read_tables

WAITS = ("innodb_lock_wait_timeout", "lock_wait_timeout")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", ConfigurationError),
        ("postgresql://u:hush@h/d", ConfigurationError),
        ("sqlite://", ConfigurationError),
        ("sqlite:///:memory:", ConfigurationError),
        ("mysql://u:hush@h", ConfigurationError),
        ("mysql+nodriver://u:hush@h/im", ConfigurationError),
        ("mysql+pymysql://u:hush@h/im?bogus=1", ConfigurationError),
        (
            "mysql+pymysql://u:hush@127.0.0.1:1/im?ssl_check_hostname=false&connect_timeout=1",
            UnavailableError,
        ),
        ("sqlite:////no/such/folder/im.db", UnavailableError),
        ("mysql://u:hush@127.0.0.1:1/im", UnavailableError),
    ],
)
def test_a_url_that_leads_nowhere(url: str, expected: type[ImlibError]) -> None:
    """A URL that cannot be used raises one error of ours, which shows no password."""
    with pytest.raises(expected) as caught:
        ping(make_engine(url))
    assert "hush" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of another kind is named as such, and left as it was."""
    path = tmp_path / "im.db"
    path.write_text("not a database at all, but long enough to be read as a header" * 3)
    before = path.read_bytes()
    engine = make_engine(f"sqlite:///{path}")
    with pytest.raises(UnsupportedServerError):
        ping(engine)
    engine.dispose()
    assert before == path.read_bytes()


def test_reading_makes_no_file(tmp_path: Path) -> None:
    """A read-only engine does not create the SQLite file that it does not find."""
    with pytest.raises(UnavailableError):
        make_engine(f"sqlite:///{tmp_path / 'im.db'}", read_only=True)
    assert [] == list(tmp_path.iterdir())


def test_wrong_names_and_passwords(mariadb: PrivateMariaDB) -> None:
    """A database or user that MariaDB does not know, or a wrong password, is one clear
    error each.
    """
    good = make_engine(mariadb.new_database())
    assert ping(good).startswith(("MariaDB ", "MySQL "))
    good.dispose()
    for url, expected in [
        (mariadb.url("no_such"), ConfigurationError),
        (mariadb.url("im_1").replace("root@", "nobody:hush@"), AccessDeniedError),
        (mariadb.url("im_1").replace("root@", "root:hush@"), AccessDeniedError),
    ]:
        engine = make_engine(url)
        with pytest.raises(expected) as caught:
            ping(engine)
        engine.dispose()
        assert "hush" not in str(caught.value)


def test_a_server_that_dies_and_returns(mariadb: PrivateMariaDB) -> None:
    """A server that is killed is a clear error, and the same models work once it is back."""
    with open_stack(mariadb.new_database()) as stack:
        assert 1 == stack.sequences.next_id("x")
        mariadb.stop()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ResourceWarning
            )  # pymysql drops the socket it could not connect
            with pytest.raises(UnavailableError):
                stack.sequences.next_id("x")
            gc.collect()
        mariadb.start()
        assert 2 == stack.sequences.next_id("x")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a lock waited for a second, and an answer for two."""
    for name in ("LOCK_WAIT_S", "CONTENDED_S"):
        monkeypatch.setattr(sql, name, 1)
    for name in ("ANSWER_S", "BULK_S", "_CONNECT_TIMEOUT_S"):
        monkeypatch.setattr(sql, name, 2)


OPERATIONS: dict[str, Callable[[Stack], object]] = {
    "get_user": lambda stack: stack.users.get_user(1),
    "get_state": lambda stack: stack.updates.get_state(7, 1),
    "next_id": lambda stack: stack.sequences.next_id("x"),
    "send_message": lambda stack: stack.messages.send_message(1, Peer.user(2), "hello"),
    "ping": lambda stack: ping(stack.deployment.engine),
    "check_schema": lambda stack: check_schema(stack.deployment.engine),
    "create_all": lambda stack: create_all(stack.deployment.engine),
    "read_tables": lambda stack: read_tables(stack.deployment),
}


@pytest.mark.usefixtures("short")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pymysql drops what it could not connect
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_server_that_is_stopped(mariadb: PrivateMariaDB, operation: str) -> None:
    """A server that stops answering is an error which says how long was waited, with connections
    and without; the same models work once it goes on.
    """
    with open_stack(mariadb.new_database()) as stack:
        stack.add_users(2)
        with mariadb.paused():
            for _ in range(2):
                with pytest.raises(UnavailableError, match=r"no answer within 2 s.*try again"):
                    OPERATIONS[operation](stack)
                stack.deployment.engine.dispose()
        OPERATIONS[operation](stack)
        gc.collect()


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_tables_that_somebody_locks(mariadb: PrivateMariaDB, operation: str) -> None:
    """LOCK TABLES elsewhere is an error after a while, which says what was waited for; nothing was
    written. What does not need the tables goes on.
    """
    with open_stack(mariadb.new_database()) as stack:
        stack.add_users(2)
        names = ", ".join(f"{name} WRITE" for name in tables)
        with stack.deployment.engine.connect() as other:
            other.exec_driver_sql(f"LOCK TABLES {names}")
            if operation in {"get_user", "get_state", "next_id", "send_message"}:
                with pytest.raises(UnavailableError, match=r"others hold.*waited for up to.*again"):
                    OPERATIONS[operation](stack)
            other.exec_driver_sql("UNLOCK TABLES")
        assert [] == stack.rows("messages")
        OPERATIONS[operation](stack)


@pytest.mark.usefixtures("short")
def test_a_row_that_somebody_locks(url: str) -> None:
    """A write waits for a row that another transaction holds, says so in the end, then works."""
    with open_stack(url) as stack:
        stack.add_users(2)
        with sql.connect(stack.deployment.engine, **{sql.WRITING: True}) as other, other.begin():
            other.execute(tables["users"].update().values(first_name="held"))
            with pytest.raises(UnavailableError, match=r"nothing was written.*try again"):
                stack.messages.send_message(1, Peer.user(2), "hello")
        assert 1 == stack.messages.send_message(1, Peer.user(2), "hello").pts


def test_what_a_caller_asks_is_not_limited(
    mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's own statements through the engine have no limit of ours, before and after ours
    have used the connection; what a caller sets there does not stay for ours.
    """
    monkeypatch.setattr(sql, "ANSWER_S", 1)
    waits = sa.text("SELECT @@innodb_lock_wait_timeout, @@lock_wait_timeout, @@sql_select_limit")
    with open_stack(mariadb.new_database()) as stack:
        stack.add_users(3)
        default = [mariadb.ask(f"SELECT @@{name} AS n")["n"] for name in WAITS]
        for _ in range(2):
            with stack.deployment.engine.connect() as connection:
                assert 0 == connection.scalar(sa.text("SELECT SLEEP(1.2)"))
                assert default == list(connection.execute(waits).one())[:2]
                connection.execute(sa.text("SET sql_select_limit = 1, time_zone = '+03:00'"))
            assert 3 == len(stack.users.get_user_list([1, 2, 3]))
            with sql.connect(stack.deployment.engine) as connection:
                assert (5, 5, 2**64 - 1) == tuple(connection.execute(waits).one())
                assert "+00:00" == connection.scalar(sa.text("SELECT @@time_zone"))


def test_a_limit_in_the_url(mariadb: PrivateMariaDB) -> None:
    """A read_timeout in the URL replaces imlib's own, and the error names it."""
    with open_stack(mariadb.new_database() + "&read_timeout=1") as stack:
        stack.add_users(1)
        with (
            pytest.raises(UnavailableError, match=r"no answer within 1 s.*set read_timeout"),
            sql.translate_errors(stack.deployment.engine),
            sql.connect(stack.deployment.engine) as connection,
        ):
            connection.execute(sa.text("SELECT SLEEP(5)"))
        assert [1] == [user.id for user in stack.users.get_user_list([1])]


def test_settings_of_a_server_that_differ(mariadb: PrivateMariaDB) -> None:
    """What a server sets for all sessions, such as its rows per query, changes no answer."""
    url = mariadb.new_database()
    differ = {"sql_select_limit": 1, "time_zone": "+05:00", "sql_mode": "", "lock_wait_timeout": 99}
    kept = {name: mariadb.ask(f"SELECT @@GLOBAL.{name} AS n")["n"] for name in differ}
    for name, value in differ.items():
        mariadb.run(f"SET GLOBAL {name} = {value!r}")
    try:
        with open_stack(url) as stack:
            stack.add_users(3)
            assert [1, 2, 3] == [user.id for user in stack.users.get_user_list([1, 2, 3])]
            assert 3 == len(read_tables(stack.deployment).frames["users"])
    finally:
        for name, value in kept.items():
            mariadb.run(f"SET GLOBAL {name} = {value!r}")


def test_every_connection_is_utc_and_strict(mariadb: PrivateMariaDB) -> None:
    """Connections to MariaDB speak utf8mb4 in UTC, strictly, but let zero dates be."""
    engine = make_engine(mariadb.new_database())
    with engine.connect() as connection:
        zone, mode, charset = connection.execute(
            sa.text("SELECT @@time_zone, @@sql_mode, @@character_set_client")
        ).one()
    engine.dispose()
    assert ("+00:00", "utf8mb4") == (zone, charset)
    assert "STRICT_ALL_TABLES" in mode
    assert "ZERO_DATE" not in mode
    assert "ZERO_IN_DATE" not in mode


def test_read_only_at_the_database(url: str) -> None:
    """A read-only engine's writes are refused by the database, and by the models before it."""
    with open_stack(url) as stack:
        stack.add_users(1)
    with open_stack(url, read_only=True) as stack:
        assert 1 == len(stack.users.get_user_list([1]))
        with pytest.raises(ReadOnlyError, match="next_id"):
            stack.sequences.next_id("x")
        with pytest.raises(sa.exc.DBAPIError) as caught:
            stack.put("seq_updates_ngen", seq_name="x", seq=1)
        assert isinstance(translate(caught.value, stack.deployment.engine), ReadOnlyError)


def test_a_database_without_tables(url: str) -> None:
    """An operation on a database without tables names the first, and what lists them; it advises
    nobody to make tables in what may be another's database.
    """
    with open_stack(url, tables_too=False) as stack:
        with pytest.raises(SchemaError, match=r"users.*imlib.schema_check") as read:
            stack.users.get_user(1)
        with pytest.raises(SchemaError, match=r"seq_updates_ngen.*imlib.schema_check") as written:
            stack.sequences.next_id("x")
    assert "create" not in f"{read.value}{written.value}"


@pytest.mark.parametrize(
    "change",
    ["DROP COLUMN unread_count", "ADD COLUMN theirs int NOT NULL", "RENAME COLUMN date2 TO n"],
)
def test_a_table_that_differs(mariadb: PrivateMariaDB, change: str) -> None:
    """An operation on a table with other columns names the table, whatever the server said."""
    with open_stack(mariadb.new_database()) as stack:
        stack.add_users(2)
        with stack.deployment.engine.connect() as connection:
            connection.exec_driver_sql(f"ALTER TABLE user_dialogs {change}")
        with pytest.raises(SchemaError, match=r"user_dialogs.*imlib.schema_check"):
            stack.messages.send_message(1, Peer.user(2), "hello")


def test_what_the_database_refuses(url: str) -> None:
    """A value that only the database can judge is an InvalidValueError."""
    engine = make_engine(url)
    create_all(engine)
    insert = sa.text("INSERT INTO seq_updates_ngen (seq_name, seq) VALUES ('x', 1)")
    with engine.begin() as connection:
        connection.execute(insert)
    with pytest.raises(sa.exc.IntegrityError) as caught, engine.begin() as connection:
        connection.execute(insert)
    engine.dispose()
    assert isinstance(translate(caught.value, engine), InvalidValueError)


def test_masked_url() -> None:
    """A URL for people holds no password."""
    assert "mysql+pymysql://im:***@db/im" == masked_url("mysql+pymysql://im:hush@db/im")


ADVICE = [
    ((1820, 1862), AccessDeniedError, "password has expired"),
    ((3118, 3955, 4150, 4151), AccessDeniedError, "account is locked"),
    ((1129, 1130), AccessDeniedError, "this machine's address"),
    ((1044, 1045, 1142, 1143, 1227, 1370, 1698), AccessDeniedError, "grants"),
    ((1251, 1275, 2059), UnsupportedServerError, "authentication"),
    ((2026, 3159), ConfigurationError, "TLS"),
    ((1046, 1049), ConfigurationError, "create the database, or correct the URL"),
    ((1036, 1290, 1836, 1874), UnavailableError, "takes no writes now"),
    ((1792,), ReadOnlyError, "this connection takes no writes"),
    ((1040, 1041, 1203, 1226, 1461), UnavailableError, "limit"),
    ((1104, 1969, 3024), UnavailableError, "ended this one query"),
    ((1153,), UnavailableError, "max_allowed_packet"),
    ((1021, 1114, 1194), UnavailableError, "disk"),
    ((1054, 1136, 1146, 1364, 1412), SchemaError, "imlib.schema_check"),
    ((1048, 1062, 1264, 1366, 1406, 1452, 3819, 4025), InvalidValueError, "refused the value"),
    ((1020, 1205, 1213, 3101), UnavailableError, "try again"),
    ((1064, 1193), UnsupportedServerError, "new enough"),
    ((1053, 1927, 3032), UnavailableError, "try again"),
    ((9999, 1999, 3000), UnavailableError, "the server's manual"),
]


@pytest.mark.parametrize(("codes", "expected", "advice"), ADVICE)
def test_what_the_server_refuses(
    codes: tuple[int, ...], expected: type[ImlibError], advice: str
) -> None:
    """Each kind of refusal has its class and advice and repeats the server's words; none of them
    asks whether the server is up.
    """
    for code in codes:
        error = translate(pymysql.OperationalError(code, "its words"), "mysql+pymysql://h/im")
        assert expected is type(error)
        assert advice in str(error)
        assert f"'its words' (error {code})" in str(error)
        assert "is the server up" not in str(error)


@pytest.mark.parametrize("code", [0, 2002, 2003, 2006, 2013, 2055, 1158])
def test_a_connection_that_is_lost(code: int) -> None:
    """Only a connection that is lost, or was never made, asks whether the server is up."""
    error = translate(pymysql.OperationalError(code, "its words"), "mysql+pymysql://h/im")
    assert UnavailableError is type(error)
    assert "is the server up" in str(error)


ACCOUNTS = [
    ("PASSWORD EXPIRE", "", AccessDeniedError, "password has expired"),
    ("ACCOUNT LOCK", "", AccessDeniedError, "account is locked"),
    ("WITH MAX_QUERIES_PER_HOUR 1", "", UnavailableError, "limit"),
    ("WITH MAX_USER_CONNECTIONS 1", "", UnavailableError, "limit"),
    ("REQUIRE SSL", "", AccessDeniedError, "grants"),
]


@pytest.mark.parametrize(("clause", "password", "expected", "advice"), ACCOUNTS)
def test_accounts_that_are_limited(
    mariadb: PrivateMariaDB, clause: str, password: str, expected: type[ImlibError], advice: str
) -> None:
    """MariaDB's own refusals of an account, at connect or later, say what is to be done."""
    url = mariadb.new_database().replace("root@", "limited@")
    mariadb.run("CREATE OR REPLACE USER limited;\nGRANT ALL ON *.* TO limited")
    mariadb.run(f"ALTER USER limited {clause}")
    engine = make_engine(url)
    try:
        with (
            pytest.raises(expected, match=advice) as caught,
            sql.translate_errors(engine),
            sql.connect(engine),
            sql.connect(engine),
        ):
            pass
    finally:
        engine.dispose()
        mariadb.run("DROP USER limited")
    assert "is the server up" not in str(caught.value)


def test_a_server_that_takes_no_writes(mariadb: PrivateMariaDB) -> None:
    """A server set to read_only is not our own refusal: UnavailableError, and nothing written."""
    with open_stack(mariadb.new_database()) as stack:
        mariadb.run("CREATE OR REPLACE USER plain;\nGRANT ALL ON *.* TO plain")
        mariadb.run("REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM plain")
        url = str(stack.deployment.engine.url).replace("root@", "plain@")
        mariadb.run("SET GLOBAL read_only = 1")
        try:
            with (
                open_stack(url, tables_too=False) as other,
                pytest.raises(UnavailableError, match="takes no writes now"),
            ):
                other.sequences.next_id("x")
        finally:
            mariadb.run("SET GLOBAL read_only = 0;\nDROP USER plain")
        assert [] == stack.rows("seq_updates_ngen")
