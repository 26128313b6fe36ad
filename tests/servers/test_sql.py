"""URLs to engines, and errors in imlib's own words."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

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
from imlib.schema import create_all
from imlib.servers.sql import make_engine, masked_url, ping, translate
from tests.models.stack import open_stack
from tests.private_servers.mariadb import PrivateMariaDB


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
        assert isinstance(translate(caught.value, stack.clients.engine), ReadOnlyError)


def test_a_database_without_tables(url: str) -> None:
    """An operation on a database without tables says so, and how to see what is missing."""
    with open_stack(url, tables_too=False) as stack:
        with pytest.raises(SchemaError, match="schema_check"):
            stack.users.get_user(1)
        with pytest.raises(SchemaError, match="schema_check"):
            stack.sequences.next_id("x")


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
