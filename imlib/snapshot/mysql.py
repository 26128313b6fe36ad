"""MySQL and MariaDB as a source of tables: the catalogue, the transaction, locks, the cursor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pymysql.constants import CR

from imlib.servers.sql import driver_said
from imlib.snapshot.description import Carrier, Field, Listing, Problem, TableDescription
from imlib.snapshot.mysql_arrow import mysql_arrays, mysql_fields
from imlib.snapshot.mysql_protocol import BinaryCursor
from imlib.snapshot.mysql_text import TextCursor, text_arrays

_VALUE_BYTES = 48
"""Twice what a 64-bit number takes in a list: half a packet is for the rest of a statement."""
# Shutdown, killed query, killed connection, idle too long: the whole reading was ended on purpose.
_ENDED = frozenset({0, 1053, 1317, 1927, 4031})
_TOO_MANY_PREPARED = 1461
_CASTS: dict[Carrier, Any] = {Carrier.TEXT: sa.CHAR, Carrier.BYTES: sa.LargeBinary}
_TABLES = """SELECT TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE()"""
_COLUMNS = """SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() ORDER BY ORDINAL_POSITION"""
_INDEXES = """SELECT TABLE_NAME, COLUMN_NAME, INDEX_NAME = 'PRIMARY', SEQ_IN_INDEX
FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND INDEX_TYPE IN ('BTREE', 'HASH') ORDER BY SEQ_IN_INDEX"""
# These two views show a user's own rights to that user.
_RIGHTS = """SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES
UNION SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES
WHERE DATABASE() LIKE TABLE_SCHEMA"""


def mysql_tables(connection: sa.Connection) -> Listing:
    """Return the tables of MySQL or MariaDB by name, and why others cannot be read."""
    ask = connection.exec_driver_sql
    engines = ask("SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'")
    transactional = set(engines.scalars())
    listed, left_out = {}, {}
    for name, kind, engine, rows in ask(_TABLES):
        is_table = kind in (None, "BASE TABLE", "SYSTEM VERSIONED")
        listed[name] = TableDescription(
            name,
            estimate=rows or 0,
            at_same_instant=engine in transactional,
            kind="" if is_table else kind.lower(),
        )
    for name, column, declared in ask(_COLUMNS):
        if name in listed:
            listed[name].columns[column] = declared
    for name, column, primary, place in ask(_INDEXES):
        if name in listed and column is not None:
            if primary:
                listed[name].key.append(column)
            if place == 1:
                listed[name].indexed.add(column)
    for name, one in list(listed.items()):
        if not one.columns or not set(one.key) <= one.columns.keys():
            del listed[name]
            left_out[name] = _why_not(connection, one)
    return dict(sorted(listed.items())), left_out


def _why_not(connection: sa.Connection, table: TableDescription) -> str:
    """Return why the catalogue tells nothing of a table: in the server's words, if it has any."""
    try:
        connection.execute(sa.select(sa.literal(1)).select_from(table.clause).limit(0))
    except sa.exc.DBAPIError as error:
        code, text = driver_said(error)
        if MySQLSource.ended(code, text):
            raise
        return f"{text} (error {code})"
    return "dropped, altered or locked while the tables were listed"


class MySQLSource:
    """MySQL or MariaDB, read through one connection that nobody else uses."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.most = 0
        self._cursor: type[BinaryCursor | TextCursor] = BinaryCursor

    def skew(self) -> float:
        """Return by how many seconds this machine's clock is ahead of the database's."""
        before = time.time()
        told = self.connection.exec_driver_sql("SELECT UNIX_TIMESTAMP(SYSDATE(6))").scalar_one()
        return (before + time.time()) / 2 - float(told)

    def begin(self) -> Listing:
        """List the tables and open the transaction.

        In this order, because reading the catalogue takes locks that a transaction would keep.
        """
        packet = self.connection.exec_driver_sql("SELECT @@max_allowed_packet").scalar_one()
        self.most = max(1, packet // _VALUE_BYTES)
        listing = mysql_tables(self.connection)
        for statement in (
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ):
            self.connection.exec_driver_sql(statement)
        return listing

    @contextmanager
    def locks(self) -> Iterator[None]:
        """Release metadata locks at the end of the block."""
        self.connection.exec_driver_sql("SAVEPOINT imlib")
        yield
        self.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT imlib")

    @contextmanager
    def rows(
        self,
        statement: sa.Select[Any],
        table: TableDescription,
        carriers: Mapping[str, Carrier],
        problems: dict[str, Problem],
    ) -> Iterator[tuple[list[Field], Iterator[list[pa.Array]]]]:
        """Give a SELECT's fields and batches, decoded. SQLAlchemy only binds and quotes."""
        try:
            result = self._execute(statement, table, carriers)
        except sa.exc.DBAPIError as error:
            if driver_said(error)[0] != _TOO_MANY_PREPARED:
                raise
            self._cursor = TextCursor
            result = self._execute(statement, table, carriers)
        with result:
            cursor: Any = result.cursor
            fields = mysql_fields(cursor.fields, carriers)
            for at, one in enumerate(fields):
                if one.dtype == pa.float64() and self._is_text_float(table.columns[one.name]):
                    fields[at] = replace(one, dtype=pa.float32())
            arrays: Any = mysql_arrays if self._cursor is BinaryCursor else text_arrays
            yield fields, map(partial(arrays, fields, problems=problems), cursor.batches())

    def _execute(
        self, statement: sa.Select[Any], table: TableDescription, carriers: Mapping[str, Carrier]
    ) -> sa.CursorResult[Any]:
        """Execute a SELECT, each column as it is carried."""
        selected: list[sa.ColumnElement[Any]] = []
        for name, carrier in carriers.items():
            column: sa.ColumnElement[Any] = table.clause.c[name]
            if carrier:
                column = sa.cast(column, _CASTS[carrier]).label(name)
            elif self._is_text_float(table.columns[name]):
                # As a DOUBLE: of a FLOAT only six digits become text.
                column = (column * sa.literal_column("1e0")).label(name)
            selected.append(column)
        driver: Any = self.connection.connection.dbapi_connection
        usual, driver.cursorclass = driver.cursorclass, self._cursor
        try:
            return self.connection.execute(statement.with_only_columns(*selected))
        finally:
            driver.cursorclass = usual

    def sees_all(self) -> bool:
        """Return whether the user may see every table that there is."""
        return "SELECT" in self.connection.exec_driver_sql(_RIGHTS).scalars().all()

    def _is_text_float(self, declared: str) -> bool:
        return self._cursor is TextCursor and declared.startswith("float")

    @staticmethod
    def ended(code: int | None, text: str) -> bool:
        """Return whether an error ends the whole reading, and not only that of one table."""
        return code is not None and (
            code in _ENDED or (2000 <= code < 3000 and code != CR.CR_PARAMS_NOT_BOUND)
        )
