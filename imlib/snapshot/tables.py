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
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from pymysql.err import MySQLError

from imlib.engines import ping, translate
from imlib.errors import ConfigurationError, ImlibError, shortened
from imlib.snapshot.columns import NAIVE, TEXT, Field, Problem, series
from imlib.snapshot.listing import LINKS, Listed, Where, about_users, among, condition
from imlib.snapshot.masking import Masking
from imlib.snapshot.sources import MySQLSource, SQLiteSource

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from imlib.connect import Clients

__all__ = ["TablesRead", "read_tables"]

_DRIVER_ERRORS: Final = (sa.exc.SQLAlchemyError, MySQLError, sqlite3.Error)


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
    reading = _Reading(engine, masking, limit, where or {})
    reading.info |= {"database": ping(engine), "limit": limit, "mask_key_id": masking.key_id}
    try:
        with reading.connected():
            chosen = reading.choose(tables, unmask)
            users = None if user_ids is None else [int(user_id) for user_id in user_ids]
            reading.read(chosen, users, progress or _silent)
    except ImlibError as problem:
        if not keep_incomplete or isinstance(problem, ConfigurationError):
            raise
        reading.info["incomplete"] = str(problem)
    return TablesRead(reading.frames, reading.info)


class _Reading:
    """One run through the tables, on one connection."""

    connection: Connection
    source: MySQLSource | SQLiteSource
    listed: dict[str, Listed]

    def __init__(self, engine: Engine, masking: Masking, limit: int, where: Mapping[str, Where]) -> None:
        self.engine, self.masking, self.limit, self.where = engine, masking, limit, where
        self.frames: dict[str, pd.DataFrame] = {}
        self.left_out: dict[str, str] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.info: dict[str, Any] = {"tables": self.facts, "left_out": self.left_out, "incomplete": None}

    @contextmanager
    def connected(self) -> Iterator[None]:
        """List the tables and open the transaction; every error of a driver leaves this as one of imlib's."""
        try:
            with self.engine.connect() as self.connection:
                try:
                    self.connection.detach()  # what is set for this connection is for nobody else
                    sqlite = self.engine.dialect.name == "sqlite"
                    self.source = (SQLiteSource if sqlite else MySQLSource)(self.connection)
                    self.info["database_skew_s"] = self.source.skew()
                    self.listed, left_out = self.source.begin()
                    self.left_out.update(left_out)
                    self.info["started_at"] = time.time()
                    yield
                except BaseException:
                    self.connection.invalidate()  # rows may be on their way, or nobody there to roll back
                    raise
        except _DRIVER_ERRORS as error:
            raise translate(error, self.engine) from error

    def choose(
        self, tables: Collection[str] | Mapping[str, Collection[str]] | None, unmask: Collection[str]
    ) -> dict[str, list[str]]:
        """Return the columns to read of each table; a name that doesn't exist is refused."""
        columns = {f"{listed.name}.{column}" for listed in self.listed.values() for column in listed.columns}
        _check_names("where", self.where, self.listed)
        _check_names("unmask", unmask, columns)
        if not isinstance(tables, Mapping):
            names = self.listed if tables is None else dict.fromkeys(tables)
            _check_names("tables", names, self.listed)
            return {name: list(self.listed[name].columns) for name in names}
        _check_names("tables", tables, self.listed)
        _check_names("tables", [f"{name}.{column}" for name in tables for column in tables[name]], columns)
        return {name: list(dict.fromkeys(tables[name])) for name in tables}

    def read(
        self,
        chosen: Mapping[str, Sequence[str]],
        users: Sequence[int] | None,
        progress: Callable[[str, int], object],
    ) -> None:
        """Read the tables one after the other; what one of them refuses is noted, and the next one read."""
        found = {} if users is None else {link: self._linked(*link, users) for link in LINKS}
        for name, columns in chosen.items():
            listed = self.listed[name]
            about = None if users is None else about_users(listed, users, found)
            if users is not None and about is None:
                self.left_out[name] = "nothing in it names a user"
                continue
            with self._one_table(name):
                conditions: list[Any] = [] if about is None else [about]
                if name in self.where:
                    conditions.append(condition(listed, self.where[name]))
                self._read_table(listed, columns, conditions, progress)

    def _linked(self, table: str, column: str, by: str, users: Sequence[int]) -> list[Any]:
        listed = self.listed.get(table)
        values: list[Any] = []
        if listed is not None and {column, by} <= set(listed.columns):
            columns = listed.clause.c
            wanted = sa.select(columns[column]).distinct().where(among(columns[by], users)).limit(self.limit)
            with self._one_table(table):
                values = list(self.connection.execute(wanted).scalars())
        return values

    @contextmanager
    def _one_table(self, name: str) -> Iterator[None]:
        """Note what a table refuses; raise what ends the reading, and what the caller's own clause is to blame for."""
        with self.source.locks():
            try:
                yield
            except _DRIVER_ERRORS as error:
                original = getattr(error, "orig", None) or error
                code = original.args[0] if original.args and isinstance(original.args[0], int) else None
                text = str(original.args[-1] if original.args else original)
                if self.source.ended(code, text):
                    raise
                if name in self.where:
                    said = f"where for table {name!r} is refused: {shortened(text)}"
                    raise ConfigurationError(
                        f"{said}; give SQL and the values of its :names, or an expression"
                    ) from error
                self.left_out[name] = text if code is None else f"{text} (error {code})"

    def _read_table(
        self,
        listed: Listed,
        columns: Sequence[str],
        conditions: Sequence[Any],
        progress: Callable[[str, int], object],
    ) -> None:
        carry: dict[str, Problem] = {}
        problems: dict[str, Problem] = {}
        while True:
            ways = {name: carry[name].carry if name in carry else "" for name in columns}
            fields, batches = self._pass(listed, self._statement(listed, ways, conditions), ways, problems, progress)
            if not problems:
                break
            batches.clear()  # read once more, with these columns as what can hold them; progress was told already
            carry, problems, progress = carry | problems, {}, _silent
        masked = {one.name for one in fields if self._hides(listed, one, ways)}
        fields = [replace(one, dtype=TEXT) if one.name in masked else one for one in fields]
        by_column = [list(arrays) for arrays in zip(*batches, strict=True)] or [[] for _ in fields]
        batches.clear()
        frame, rows = {}, sum(map(len, by_column[0]))
        for one in fields:
            whole = pa.chunked_array(by_column.pop(0), one.dtype)  # popped: at no time is all of it held twice
            frame[one.name] = series(one, whole.slice(0, self.limit))
        self.frames[listed.name] = pd.DataFrame(frame, copy=False)
        self.facts[listed.name] = {
            "rows": min(rows, self.limit),
            "truncated": rows > self.limit,
            "filtered": bool(conditions),
            "primary_key": listed.key,
            "masked": [name for name in columns if name in masked],
            "not_at_same_instant": not listed.at_same_instant,
            "could_not_carry": {name: problem.reason for name, problem in carry.items()},
        }

    def _statement(self, listed: Listed, ways: Mapping[str, str], conditions: Sequence[Any]) -> sa.Select[Any]:
        columns = listed.clause.c
        selected = [self.source.selected(columns[name], way) for name, way in ways.items()]
        # One row more than is kept tells whether there are more.
        limited = sa.select(*selected).order_by(*(columns[name] for name in listed.key)).limit(self.limit + 1)
        return limited.select_from(listed.clause).where(*conditions)

    def _pass(
        self,
        listed: Listed,
        statement: sa.Select[Any],
        ways: Mapping[str, str],
        problems: dict[str, Problem],
        progress: Callable[[str, int], object],
    ) -> tuple[list[Field], list[list[pa.Array]]]:
        """Read a table through once: its fields, and of each batch the columns, masked before the next one is read."""
        decoded = []
        with self.source.rows(statement, listed, ways) as (fields, batches):
            hidden = [self._hides(listed, one, ways) for one in fields]
            for batch in batches:
                arrays = self.source.decode(fields, batch, problems)
                progress(listed.name, len(arrays[0]))
                decoded.append(
                    [
                        self.masking.tokens(array) if hides else array
                        for array, hides in zip(arrays, hidden, strict=True)
                    ]
                )
        return fields, decoded

    def _hides(self, listed: Listed, one: Field, ways: Mapping[str, str]) -> bool:
        # A date that MySQL renders as text is still a date.
        return self.masking.hides(listed.name, one.name, NAIVE if ways[one.name] == "text" else one.dtype)


def _silent(_name: str, _rows: int) -> None:
    """Tell nobody."""


def _check_names(argument: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            there = f"did you mean {', '.join(close)}?" if close else "there is nothing of that name"
            raise ConfigurationError(f"{argument} names {name!r}: {there}")
