"""MySQL and MariaDB as a source of tables: the catalogue, the transaction, locks, the cursor."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from pymysql.constants import CR

from imlib.snapshot.description import Carrier, Field, Listing, TableDescription
from imlib.snapshot.mysql_arrow import mysql_arrays, mysql_fields
from imlib.snapshot.mysql_protocol import BinaryCursor

_VALUE_BYTES: Final = 48
"""Twice what a 64-bit number takes in a list: half a packet is for the rest of a statement."""
_BEGIN: Final = (
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
# Shutdown, killed query, killed connection, idle too long: the whole reading was ended on purpose.
_ENDED: Final = frozenset({0, 1053, 1317, 1927, 4031})
_CASTS: Final[dict[Carrier, Any]] = {Carrier.TEXT: sa.CHAR, Carrier.BYTES: sa.LargeBinary}
_TRANSACTIONAL: Final = "SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'"
_TABLES: Final = """SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES
WHERE TABLE_SCHEMA = DATABASE()"""
_COLUMNS: Final = """SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() ORDER BY ORDINAL_POSITION"""
_PRIMARY_KEYS: Final = """SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX"""


def mysql_tables(connection: sa.Connection) -> Listing:
    """Return the tables of MySQL or MariaDB by name, and why the others are left out."""
    ask = connection.exec_driver_sql
    transactional = set(ask(_TRANSACTIONAL).scalars())
    listed, left_out = {}, {}
    for name, kind, engine in ask(_TABLES):
        if kind in ("BASE TABLE", "SYSTEM VERSIONED"):
            listed[name] = TableDescription(name, at_same_instant=engine in transactional)
        else:
            left_out[name] = f"a {kind.lower()}, no table"
    for name, column, declared in ask(_COLUMNS):
        if name in listed:
            listed[name].columns[column] = declared
    for name, column in ask(_PRIMARY_KEYS):
        if name in listed:
            listed[name].key.append(column)
    for name, one in list(listed.items()):
        if not one.columns or not set(one.key) <= one.columns.keys():
            del listed[name]
            left_out[name] = "dropped, altered or locked while the tables were listed"
    return dict(sorted(listed.items())), left_out


class MySQLSource:
    """MySQL or MariaDB, read through one connection that nobody else uses."""

    decode = staticmethod(mysql_arrays)

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.most = 0

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
        for statement in _BEGIN:
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
        self, statement: sa.Select[Any], table: TableDescription, carriers: Mapping[str, Carrier]
    ) -> Iterator[tuple[list[Field], Iterator[Any]]]:
        """Give a SELECT's fields and batches. SQLAlchemy only binds and quotes."""
        driver: Any = self.connection.connection.dbapi_connection
        usual, driver.cursorclass = driver.cursorclass, BinaryCursor
        try:
            result = self.connection.execute(statement)
        finally:
            driver.cursorclass = usual
        with result:
            cursor: Any = result.cursor
            yield mysql_fields(cursor.fields, carriers), cursor.batches()

    @staticmethod
    def select(
        table: TableDescription, carriers: Mapping[str, Carrier]
    ) -> list[sa.ColumnElement[Any]]:
        """Return a table's columns, each as it is carried."""
        selected: list[sa.ColumnElement[Any]] = []
        for name, carrier in carriers.items():
            column = table.clause.c[name]
            selected.append(sa.cast(column, _CASTS[carrier]).label(name) if carrier else column)
        return selected

    @staticmethod
    def ended(code: int | None, text: str) -> bool:
        """Return whether an error ends the whole reading, and not only that of one table."""
        return code is not None and (
            code in _ENDED or (2000 <= code < 3000 and code != CR.CR_PARAMS_NOT_BOUND)
        )
