"""Every table that exists, as DataFrames, out of one consistent read-only transaction that writes nothing.

Each table is read between SAVEPOINT and ROLLBACK TO: an ALTER then waits for the one table that is being read, and
not for the snapshot's end. What could not be read, or not as declared, is said in ``info``; the rest goes on.
"""

from __future__ import annotations

import ast
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from pymysql.err import MySQLError

from imlib.context import Context
from imlib.errors import ConfigurationError, ImlibError, shortened
from imlib.message_body import is_json
from imlib.servers.sql import driver_said, ping, translate
from imlib.snapshot.columns import NAIVE, TEXT, Problem, series
from imlib.snapshot.listing import LINKS, Listed, Where, about_users, among, choose, condition
from imlib.snapshot.masking import Masking
from imlib.snapshot.sources import MySQLSource, SQLiteSource
from imlib.validation import check_int

Progress = Callable[[str, int], object]
"""Is told a table's name and how many more rows of it were read."""

# The last is how sqlite3 refuses to bind an integer beyond 64 bits.
_DRIVER_ERRORS: Final = (sa.exc.SQLAlchemyError, MySQLError, sqlite3.Error, OverflowError)
_BODIES_KEPT: Final = 1_000


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
        ``could_not_carry`` (column to reason, and as what it is carried; also where a nullable one has zero dates);
        for messages also ``not_json``, the ids of those whose bodies are no JSON, at most 1,000, and
        ``not_json_more``, how many there are beyond those.
    """

    frames: dict[str, pd.DataFrame] = field(repr=False)
    info: dict[str, Any]


def read_tables(
    context: Context,
    *,
    tables: Collection[str] | Mapping[str, Collection[str]] | None = None,
    where: Mapping[str, Where] | None = None,
    limit: int = 1_000_000,
    user_ids: Collection[int] | None = None,
    unmask: Collection[str] = (),
    mask_key: bytes | None = None,
    keep_incomplete: bool = False,
    progress: Progress | None = None,
) -> TablesRead:
    """Read tables of the replica (of the primary where there is none), all as they were at one instant.

    The arguments are those of `imlib.Deployment.snapshot`, except ``progress``, which is told a table's name and how
    many more rows of it were read. Of a table that is cut short the first rows by primary key are kept.

    Raises
    ------
    ConfigurationError
        An argument names what does not exist, or the database refuses a where-clause.
    UnavailableError, AccessDeniedError
        The database cannot be reached, or went away.
    """
    engine = context.replica
    if check_int("limit", limit, 63) < 1:  # one more is asked for, and SQL and Arrow count in 64 bits
        raise ConfigurationError(f"limit is {limit!r}: allowed is 1 or more rows a table")
    if engine.dialect.name != "sqlite" and engine.driver != "pymysql":
        raise ConfigurationError(f"snapshots read MySQL through pymysql, not {engine.driver}: use mysql+pymysql://…")
    if not isinstance(where, Mapping | None):
        raise ConfigurationError(f"where is {type(where).__name__}: allowed is a mapping of table to condition")
    masking = Masking(mask_key, unmask)
    reading = _Reading(engine, masking, limit, where or {}, progress or _silent)
    reading.info |= {"incomplete": None, "limit": limit, "mask_key_id": masking.key_id}
    try:
        reading.info["database"] = ping(engine)
        with reading.connected():
            reading.read(choose(reading.listed, reading.left_out, tables, reading.where, unmask), user_ids)
    except ImlibError as problem:
        if not keep_incomplete or isinstance(problem, ConfigurationError):
            raise
        reading.info["incomplete"] = str(problem)
        unread = sorted(reading.chosen - reading.frames.keys() - reading.left_out.keys())
        reading.left_out.update(dict.fromkeys(unread, "not read: the reading ended before"))
    return TablesRead(reading.frames, reading.info)


class _Reading:
    """One run through the tables, on one connection."""

    connection: sa.Connection
    source: MySQLSource | SQLiteSource
    listed: dict[str, Listed]

    def __init__(
        self, engine: sa.Engine, masking: Masking, limit: int, where: Mapping[str, Where], progress: Progress
    ) -> None:
        self.engine, self.masking, self.limit, self.where, self.progress = engine, masking, limit, where, progress
        self.chosen: frozenset[str] = frozenset()
        self.frames: dict[str, pd.DataFrame] = {}
        self.left_out: dict[str, str] = {}
        self.facts: dict[str, dict[str, Any]] = {}
        self.info: dict[str, Any] = {"database": None, "tables": self.facts, "left_out": self.left_out}

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

    def read(self, chosen: Mapping[str, Sequence[str]], users: Collection[int] | None) -> None:
        """Read the tables one after the other; what one of them refuses is noted, and the next one read."""
        self.chosen = frozenset(chosen)
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
                self._read_table(listed, columns, conditions)

    def _linked(self, table: str, column: str, by: str, users: Collection[int]) -> list[Any]:
        listed = self.listed.get(table)
        values: list[Any] = []
        if listed is not None and {column, by} <= set(listed.columns):
            columns = listed.clause.c
            named = sa.select(columns[column]).distinct().where(among(columns[by], users), columns[column].is_not(None))
            # One more than is kept, and the first: what they lead to is then cut, and said to be, as any table.
            wanted = named.order_by(columns[column]).limit(self.limit + 1)
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
                code, text = driver_said(error)
                if self.source.ended(code, text):
                    raise
                if name in self.where and self._can_be_read(name):
                    said = f"where for table {name!r} is refused: {shortened(text)}"
                    advice = "give SQL and the values of its :names, or an expression"
                    raise ConfigurationError(f"{said}; {advice}") from error
                self.left_out[name] = text if code is None else f"{text} (error {code})"

    def _can_be_read(self, name: str) -> bool:
        """Return whether a table can be read where nothing is asked of its rows: then the clause was to blame."""
        one = sa.select(*self.listed[name].clause.c).limit(1).subquery()
        try:
            self.connection.execute(sa.select(sa.func.count()).select_from(one))
        except _DRIVER_ERRORS:
            return False
        return True

    def _read_table(self, listed: Listed, columns: Sequence[str], conditions: Sequence[Any]) -> None:
        ways = dict.fromkeys(columns, "")
        run = _Pass(self, listed, ways, conditions, self.progress)
        carried: dict[str, Problem] = {}
        while again := {name: problem.carry for name, problem in run.problems.items() if problem.carry}:
            # Once more, with these columns as what can hold them; progress was told already.
            carried |= run.problems
            ways |= again
            run = _Pass(self, listed, ways, conditions, _silent)
        carried |= run.problems
        fields = [replace(one, dtype=TEXT) if hides else one for one, hides in zip(run.fields, run.hidden, strict=True)]
        by_column = [list(arrays) for arrays in zip(*run.batches, strict=True)] or [[] for _ in fields]
        run.batches.clear()
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
            "masked": [one.name for one, hides in zip(fields, run.hidden, strict=True) if hides],
            "not_at_same_instant": not listed.at_same_instant,
            "could_not_carry": {name: problem.reason for name, problem in carried.items()},
            **run.bodies,
        }


class _Pass:
    """A table read through once: its fields, and of each batch the columns, masked before the next one is read."""

    def __init__(
        self,
        reading: _Reading,
        listed: Listed,
        ways: Mapping[str, str],
        conditions: Sequence[Any],
        progress: Progress,
    ) -> None:
        self.problems: dict[str, Problem] = {}
        self.batches: list[list[pa.Array]] = []
        self.bodies: dict[str, Any] = {}
        source, masking, columns = reading.source, reading.masking, listed.clause.c
        selected = [source.selected(columns[name], way) for name, way in ways.items()]
        # One row more than is kept tells whether there are more.
        limited = sa.select(*selected).order_by(*(columns[name] for name in listed.key)).limit(reading.limit + 1)
        statement = limited.select_from(listed.clause).where(*conditions)
        with source.rows(statement, listed, ways) as (self.fields, batches):
            # A date that MySQL renders as text is still a date.
            carried = [NAIVE if ways[one.name] == "text" else one.dtype for one in self.fields]
            named = zip(self.fields, carried, strict=True)
            self.hidden = [masking.hides(listed.name, one.name, dtype) for one, dtype in named]
            ids = [one.name for one in self.fields if one.name == "id" and pa.types.is_integer(one.dtype)]
            judged = listed.name == "messages" and bool(ids) and "message_data" in ways
            if judged:
                self.bodies = {"not_json": [], "not_json_more": 0}
            for batch in batches:
                arrays = source.decode(self.fields, batch, self.problems)
                progress(listed.name, len(arrays[0]))
                if judged:
                    read = {one.name: array for one, array in zip(self.fields, arrays, strict=True)}
                    self._judge(read["id"], read["message_data"], ways["message_data"])
                both = zip(arrays, self.hidden, strict=True)
                self.batches.append([masking.tokens(array) if hides else array for array, hides in both])

    def _judge(self, ids: pa.Array, bodies: pa.Array, way: str) -> None:
        """Note which messages have bodies that are no JSON: once they are masked nobody can tell."""
        read: Callable[[Any], Any] = ast.literal_eval if way == "literal" else lambda body: body
        bad = [at for at, body in enumerate(bodies.to_pylist()) if body is not None and not is_json(read(body))]
        more = ids.take(pa.array(bad, pa.int64())).to_pylist()
        room = _BODIES_KEPT - len(self.bodies["not_json"])
        self.bodies["not_json"] += more[:room]
        self.bodies["not_json_more"] += len(more[room:])


def _silent(_name: str, _rows: int) -> None:
    """Tell nobody."""
