"""Every table that exists, as DataFrames, out of one consistent read-only transaction that writes nothing.

Each table is read between SAVEPOINT and ROLLBACK TO: an ALTER then waits for the one table that is being read, and
not for the snapshot's end. What could not be read, or not as declared, is said in ``info``; the rest goes on.
"""

from __future__ import annotations

import difflib
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from pymysql.err import MySQLError

from imlib.engines import ping, translate
from imlib.errors import ConfigurationError, ImlibError, shortened
from imlib.schema import tables as our_tables
from imlib.snapshot.columns import Field, Problem, mysql_arrays, mysql_fields, series, sqlite_arrays, sqlite_field
from imlib.snapshot.listing import LINKS, Listed, Where, about_users, among, condition, list_tables
from imlib.snapshot.masking import Masking
from imlib.snapshot.mysql_rows import BinaryCursor

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from imlib.connect import Clients

__all__ = ["TablesRead", "read_tables"]

_SQLITE_BATCH_ROWS: Final = 20_000
_LOCK_WAIT_S: Final = 10
_BEGIN: Final = (
    f"SET SESSION lock_wait_timeout = {_LOCK_WAIT_S}",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
_CAST: Final[dict[str, Any]] = {"text": sa.CHAR, "bytes": sa.LargeBinary}
_DRIVER_ERRORS: Final = (sa.exc.SQLAlchemyError, MySQLError, sqlite3.Error, OSError)
# Shutdown, killed query, killed connection, idle too long: somebody or something wants this to end.
_ENDED: Final = frozenset({1053, 1317, 1927, 4031})


@dataclass(frozen=True, slots=True)
class TablesRead:
    """The frames by table, and ``info``: how they were read.

    Parameters
    ----------
    frames : dict of str to DataFrame
    info : dict
        ``database`` (kind and version), ``database_skew_s`` (this machine's clock less the database's), ``started_at``
        (Unix seconds), ``limit``, ``mask_key_id`` (equal for equal keys), ``left_out`` (table to reason),
        ``incomplete`` (why reading ended early, or None), and ``tables``: for each ``rows``, ``truncated``,
        ``filtered``, ``primary_key``, ``masked`` (columns), ``not_at_same_instant`` (its engine has no snapshots),
        ``could_not_carry`` (column to reason, and as what it is carried).
    """

    frames: dict[str, pd.DataFrame] = field(repr=False)
    info: dict[str, Any]


def read_tables(
    clients: Clients,
    *,
    tables: Collection[str] | Mapping[str, Collection[str]] | None = None,
    where: Mapping[str, Where] | None = None,
    limit: int = 1_000_000,
    user_ids: Collection[int] | None = None,
    unmask: Collection[str] = (),
    mask_key: bytes | None = None,
    keep_incomplete: bool = False,
    progress: Callable[[str, int], object] | None = None,
) -> TablesRead:
    """Read tables of the replica (of the primary where there is none), all as they were at one instant.

    Parameters
    ----------
    clients : Clients
    tables : collection of str, or mapping of str to collection of str, optional
        Names of tables; or for each its columns. All by default.
    where : mapping, optional
        For a table which rows: SQL text, SQL text with the values of its ``:names``, or a SQLAlchemy expression.
    limit : int
        How many rows of a table at most, the first by primary key.
    user_ids : collection of int, optional
        Only what is about these users: rows that name one, their devices, messages, chats and sequences.
    unmask : collection of str
        ``table.column`` of what is to be shown; all other text and secrets are tokens, see `Masking`.
    mask_key : bytes, optional
        At least 16; two snapshots under one key have equal tokens for equal values. Random by default.
    keep_incomplete : bool
        Where the server goes away in the middle, return what was read, with the reason in ``info["incomplete"]``.
    progress : callable, optional
        Called with a table's name and how many more rows of it were read.

    Raises
    ------
    ConfigurationError
        An argument names what does not exist, or the database refuses a where-clause.
    UnavailableError, AccessDeniedError
        The database cannot be reached, or went away.
    """
    engine = clients.replica
    if limit < 1:
        raise ConfigurationError(f"limit is {limit!r}: allowed is 1 or more rows a table")
    if engine.dialect.name != "sqlite" and engine.driver != "pymysql":
        raise ConfigurationError(f"snapshots read MySQL through pymysql, not {engine.driver}: use mysql+pymysql://…")
    masking = Masking(mask_key, unmask)
    reading = _Reading(engine, masking, limit, where or {}, progress or (lambda _name, _rows: None))
    reading.info |= {"database": ping(engine), "limit": limit, "mask_key_id": masking.key_id}
    try:
        with reading.connected():
            chosen = reading.choose(tables, unmask)
            users = None if user_ids is None else [int(user_id) for user_id in user_ids]
            reading.read(chosen, users)
    except ImlibError as problem:
        if not keep_incomplete or isinstance(problem, ConfigurationError):
            raise
        reading.info["incomplete"] = str(problem)
    return TablesRead(reading.frames, reading.info)


class _Reading:
    """One run through the tables, on one connection."""

    connection: Connection

    def __init__(
        self,
        engine: Engine,
        masking: Masking,
        limit: int,
        where: Mapping[str, Where],
        progress: Callable[[str, int], object],
    ) -> None:
        self.engine, self.masking, self.limit, self.where, self.progress = engine, masking, limit, where, progress
        self.sqlite = engine.dialect.name == "sqlite"
        self.listed: dict[str, Listed] = {}
        self.frames: dict[str, pd.DataFrame] = {}
        self.info: dict[str, Any] = {"tables": {}, "left_out": {}, "incomplete": None}

    @contextmanager
    def connected(self) -> Iterator[None]:
        """List the tables and open the transaction; every error of a driver leaves this as one of imlib's."""
        try:
            with self.engine.connect() as self.connection:
                try:
                    self.connection.detach()  # what is set for this connection is for nobody else
                    self._begin()
                    yield
                except BaseException:
                    self.connection.invalidate()  # rows may be on their way, or nobody there to roll back
                    raise
        except _DRIVER_ERRORS as error:
            raise translate(error, self.engine) from error

    def _begin(self) -> None:
        skew = 0.0  # SQLite's clock is this machine's
        driver: Any = self.connection.connection.dbapi_connection
        if self.sqlite:
            driver.text_factory = methodcaller("decode", "utf-8", "surrogateescape")
        else:
            before = time.time()
            told = self.connection.exec_driver_sql("SELECT UNIX_TIMESTAMP(SYSDATE(6))").scalar_one()
            skew = (before + time.time()) / 2 - float(told)
        # MySQL lists before the snapshot, so that its own catalogue is not locked to the end.
        self.listed, left_out = list_tables(self.connection)
        for statement in () if self.sqlite else _BEGIN:
            self.connection.exec_driver_sql(statement)
        self.info |= {"database_skew_s": skew, "started_at": time.time()}
        self.info["left_out"] |= left_out

    def choose(
        self, tables: Collection[str] | Mapping[str, Collection[str]] | None, unmask: Collection[str]
    ) -> dict[str, list[str]]:
        """Return the columns to read of each table; a name that doesn't exist is refused."""
        columns = {f"{listed.name}.{column}" for listed in self.listed.values() for column in listed.columns}
        _check_names("where", self.where, self.listed)
        _check_names("unmask", unmask, columns)
        if tables is None:
            tables = self.listed
        _check_names("tables", tables, self.listed)
        if not isinstance(tables, Mapping) or tables is self.listed:
            return {name: list(self.listed[name].columns) for name in tables}
        _check_names("tables", [f"{name}.{column}" for name in tables for column in tables[name]], columns)
        return {name: list(dict.fromkeys(tables[name])) for name in tables}

    def read(self, chosen: Mapping[str, Sequence[str]], users: Sequence[int] | None) -> None:
        """Read the tables one after the other; what one of them refuses is noted, and the next one read."""
        found = {} if users is None else {link: self._linked(*link, users) for link in LINKS}
        for name, columns in chosen.items():
            listed = self.listed[name]
            conditions: list[Any] = [condition(listed, self.where[name])] if name in self.where else []
            if users is not None:
                about = about_users(listed, users, found)
                if about is None:
                    self.info["left_out"][name] = "nothing in it names a user"
                    continue
                conditions.append(about)
            with self._one_table(name):
                self.frames[name], facts = self._frame(listed, columns, conditions)
                self.info["tables"][name] = facts | {"filtered": bool(conditions)}

    def _linked(self, table: str, column: str, by: str, users: Sequence[int]) -> list[Any]:
        listed = self.listed.get(table)
        values: list[Any] = []
        if listed is not None and {column, by} <= set(listed.columns):
            clause = listed.clause
            wanted = sa.select(clause.c[column]).distinct().where(among(clause.c[by], users)).limit(self.limit)
            with self._one_table(table):
                values = list(self.connection.execute(wanted).scalars())
        return values

    @contextmanager
    def _one_table(self, name: str) -> Iterator[None]:
        """Give a table's locks back after it; what the table refuses is noted, what ends the connection is raised."""
        if not self.sqlite:
            self.connection.exec_driver_sql("SAVEPOINT imlib")
        try:
            yield
        except _DRIVER_ERRORS as error:
            self.info["left_out"][name] = self._reason(name, error)
        if not self.sqlite:
            self.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT imlib")

    def _reason(self, name: str, error: BaseException) -> str:
        original = getattr(error, "orig", None) or error
        code = original.args[0] if original.args and isinstance(original.args[0], int) else None
        text = str(original.args[-1] if original.args else original)
        if isinstance(original, OSError) or code in _ENDED or (code is not None and (code == 0 or 2000 <= code < 3000)):
            raise error
        if self.sqlite and any(word in text for word in ("locked", "busy", "disk I/O")):
            raise error
        if name in self.where:
            raise ConfigurationError(f"where for table {name!r} is refused: {shortened(text)}") from error
        return text if code is None else f"{text} (error {code})"

    def _frame(
        self, listed: Listed, columns: Sequence[str], conditions: Sequence[Any]
    ) -> tuple[pd.DataFrame, dict[str, Any]]:
        carry: dict[str, Problem] = {}
        while True:
            problems: dict[str, Problem] = {}
            fields, masked, pieces = self._pass(listed, columns, conditions, carry, problems)
            if not problems:
                break
            carry |= problems  # read again, with these columns as what can hold them
        by_column = [list(arrays) for arrays in zip(*pieces, strict=True)] or [[] for _ in fields]
        pieces.clear()
        rows = sum(map(len, by_column[0]))
        frame = {}
        for one in fields:
            whole = pa.chunked_array(by_column.pop(0), one.dtype)  # popped: at no time is all of it held twice
            frame[one.name] = series(one, whole.slice(0, self.limit))
        facts = {
            "rows": min(rows, self.limit),
            "truncated": rows > self.limit,
            "primary_key": listed.key,
            "masked": masked,
            "not_at_same_instant": not listed.at_same_instant,
            "could_not_carry": {name: problem.reason for name, problem in carry.items()},
        }
        return pd.DataFrame(frame, copy=False), facts

    def _pass(
        self,
        listed: Listed,
        columns: Sequence[str],
        conditions: Sequence[Any],
        carry: Mapping[str, Problem],
        problems: dict[str, Problem],
    ) -> tuple[list[Field], list[str], list[list[pa.Array]]]:
        """Read a table through once: its fields, which are masked, and the arrays of each batch."""
        ways = {name: carry[name].carry if name in carry else "" for name in columns}
        pieces = []
        with self._rows(self._statement(listed, ways, conditions)) as cursor:
            if self.sqlite:
                fields = [self._sqlite_field(listed, name, way) for name, way in ways.items()]
                batches, decode = iter(lambda: cursor.fetchmany(_SQLITE_BATCH_ROWS), []), sqlite_arrays
            else:
                fields = mysql_fields(cursor.fields)
                batches, decode = cursor.batches(), mysql_arrays
            # A date that is carried as text is still a date.
            masked = [
                one.name
                for one in fields
                if self.masking.hides(listed.name, one.name, pa.date32() if ways[one.name] == "text" else one.dtype)
            ]
            for batch in batches:
                arrays = decode(fields, batch, problems)
                pieces.append(
                    [
                        self.masking.tokens(array) if one.name in masked else array
                        for one, array in zip(fields, arrays, strict=True)
                    ]
                )
                if not carry:
                    self.progress(listed.name, len(arrays[0]))
        fields = [replace(one, dtype=pa.large_string()) if one.name in masked else one for one in fields]
        return fields, masked, pieces

    def _statement(self, listed: Listed, ways: Mapping[str, str], conditions: Sequence[Any]) -> sa.Select[Any]:
        clause = listed.clause
        selected = [
            sa.cast(clause.c[name], _CAST[way]).label(name) if way in _CAST else clause.c[name]
            for name, way in ways.items()
        ]
        # One row more than is kept tells whether there are more.
        ordered = sa.select(*selected).order_by(*(clause.c[name] for name in listed.key)).limit(self.limit + 1)
        return ordered.select_from(clause).where(*conditions)

    @contextmanager
    def _rows(self, statement: sa.Select[Any]) -> Iterator[Any]:
        """Give the driver's own cursor: SQLAlchemy binds and quotes, and converts no value."""
        driver: Any = self.connection.connection.dbapi_connection
        usual = None if self.sqlite else driver.cursorclass
        if usual:
            driver.cursorclass = BinaryCursor
        try:
            result = self.connection.execute(statement)
        finally:
            if usual:
                driver.cursorclass = usual
        with result:
            yield result.cursor

    def _sqlite_field(self, listed: Listed, name: str, way: str) -> Field:
        ours = our_tables.get(listed.name)
        type_ = ours.c[name].type if ours is not None and name in ours.c else None
        width = next((dtype for kind, dtype in _SQLITE_WIDTHS if isinstance(type_, kind)), None)
        return sqlite_field(name, listed.columns[name], name not in listed.required, width, way)


# As MySQL has them; a SmallInteger of imlib's is a TINYINT there.
_SQLITE_WIDTHS: Final = ((sa.BigInteger, pa.int64()), (sa.SmallInteger, pa.int8()), (sa.Integer, pa.int32()))


def _check_names(argument: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            there = f"did you mean {', '.join(close)}?" if close else "there is nothing of that name"
            raise ConfigurationError(f"{argument} names {name!r}: {there}")
