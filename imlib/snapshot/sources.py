"""What reading tables takes that differs between SQLite and MySQL: the transaction, its locks, the cursor."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import methodcaller
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from pymysql.constants import CR

from imlib.schema import bits
from imlib.schema import tables as our_tables
from imlib.snapshot.columns import Field
from imlib.snapshot.listing import Listed, mysql_tables, sqlite_tables
from imlib.snapshot.mysql_columns import mysql_arrays, mysql_fields
from imlib.snapshot.mysql_rows import BinaryCursor
from imlib.snapshot.sqlite_columns import sqlite_arrays, sqlite_field

Listing = tuple[dict[str, Listed], dict[str, str]]
"""The tables by name, and why the others are left out."""

_LOCK_WAIT_S: Final = 10
_BEGIN: Final = (
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
# Shutdown, killed query, killed connection, idle too long: somebody or something wants this to end.
_ENDED: Final = frozenset({0, 1053, 1317, 1927, 4031})
_CASTS: Final[dict[str, Any]] = {"text": sa.CHAR, "bytes": sa.LargeBinary}

_SQLITE_BATCH_ROWS: Final = 20_000


class MySQLSource:
    """MySQL or MariaDB, read through one connection that nobody else uses."""

    decode = staticmethod(mysql_arrays)

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def skew(self) -> float:
        """Return by how many seconds this machine's clock is ahead of the database's."""
        before = time.time()
        told = self.connection.exec_driver_sql("SELECT UNIX_TIMESTAMP(SYSDATE(6))").scalar_one()
        return (before + time.time()) / 2 - float(told)

    def begin(self) -> Listing:
        """List the tables and open the transaction, in this order: the catalogue is then not locked to the end."""
        # By default MySQL waits a day for a locked table.
        self.connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {_LOCK_WAIT_S}")
        listing = mysql_tables(self.connection)
        for statement in _BEGIN:
            self.connection.exec_driver_sql(statement)
        return listing

    @contextmanager
    def locks(self) -> Iterator[None]:
        """Give the locks on what is read inside back at the end."""
        self.connection.exec_driver_sql("SAVEPOINT imlib")
        yield
        self.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT imlib")

    @contextmanager
    def rows(
        self, statement: sa.Select[Any], listed: Listed, ways: Mapping[str, str]
    ) -> Iterator[tuple[list[Field], Iterator[Any]]]:
        """Give a SELECT's fields and batches; SQLAlchemy binds and quotes, and converts no value."""
        driver: Any = self.connection.connection.dbapi_connection
        usual, driver.cursorclass = driver.cursorclass, BinaryCursor
        try:
            result = self.connection.execute(statement)
        finally:
            driver.cursorclass = usual
        with result:
            cursor: Any = result.cursor
            yield mysql_fields(cursor.fields), cursor.batches()

    @staticmethod
    def selected(column: sa.ColumnElement[Any], way: str) -> sa.ColumnElement[Any]:
        """Return a column as it is carried."""
        return sa.cast(column, _CASTS[way]).label(column.key) if way else column

    @staticmethod
    def ended(code: int | None, text: str) -> bool:
        """Return whether an error ends the reading, and not that of one table alone."""
        return code is not None and (code in _ENDED or (2000 <= code < 3000 and code != CR.CR_PARAMS_NOT_BOUND))


class SQLiteSource:
    """A SQLite file, read through one connection that nobody else uses."""

    decode = staticmethod(sqlite_arrays)

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def skew(self) -> float:
        """Return 0: SQLite's clock is this machine's."""
        return 0.0

    def begin(self) -> Listing:
        """List the tables inside the transaction, which begins with it."""
        driver: Any = self.connection.connection.dbapi_connection
        # Bytes that are no UTF-8 arrive as lone surrogates, which Arrow refuses: noticed, and not raised in the middle.
        driver.text_factory = methodcaller("decode", "utf-8", "surrogateescape")
        return sqlite_tables(self.connection)

    @contextmanager
    def locks(self) -> Iterator[None]:
        """Do nothing: SQLite locks no table."""
        yield

    @contextmanager
    def rows(
        self, statement: sa.Select[Any], listed: Listed, ways: Mapping[str, str]
    ) -> Iterator[tuple[list[Field], Iterator[Any]]]:
        """Give a SELECT's fields and batches; SQLAlchemy binds and quotes, and converts no value."""
        table = our_tables.get(listed.name)
        ours = {} if table is None else {one.name: one for one in table.c if isinstance(one.type, sa.Integer)}
        fields = []
        for name, way in ways.items():
            width = pa.from_numpy_dtype(f"i{bits(ours[name]) // 8}") if name in ours else None  # as MySQL has it
            fields.append(sqlite_field(name, listed.columns[name], name not in listed.required, width, way))
        with self.connection.execute(statement) as result:
            cursor: Any = result.cursor
            yield fields, iter(lambda: cursor.fetchmany(_SQLITE_BATCH_ROWS), [])

    @staticmethod
    def selected(column: sa.ColumnElement[Any], way: str) -> sa.ColumnElement[Any]:
        """Return a column as it is: what can't be carried is told apart after it was read."""
        return column

    @staticmethod
    def ended(code: int | None, text: str) -> bool:
        """Return whether an error ends the reading, and not that of one table alone."""
        # Its words and no others': a column in a where-clause may be called locked.
        return re.match(r"database( table| schema)? is locked|disk I/O error", text) is not None
