"""Reads every table into a DataFrame, in one consistent transaction that writes nothing.

Each table is read between SAVEPOINT and ROLLBACK TO: an ALTER then waits only while its own table
is read, and not for the snapshot's end. If a table or column cannot be read as declared, ``info``
says so, and the reading goes on.
"""

from __future__ import annotations

import ast
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from pymysql.err import MySQLError

from imlib.errors import ConfigurationError, ImlibError, InvalidValueError, shortened
from imlib.message_body import judge
from imlib.schema import PARTICIPANTS, participants_table
from imlib.schema import tables as our_tables
from imlib.servers import sql
from imlib.snapshot.description import (
    TEXT,
    Carrier,
    Field,
    Problem,
    TableDescription,
    series,
)
from imlib.snapshot.info import TableFacts, TablesInfo
from imlib.snapshot.masking import Masking
from imlib.snapshot.mysql import MySQLSource
from imlib.snapshot.phones import PhoneTwins
from imlib.snapshot.selection import (
    LINKS,
    Link,
    SnapshotRequest,
    about_users,
    among,
    can_be_asked,
    choose,
    condition,
)
from imlib.snapshot.sqlite import SQLiteSource

Progress = Callable[[str, int], object]
"""Called with a table's name and how many more of its rows were read."""

# OverflowError: sqlite3 refuses to bind an integer beyond 64 bits. The last two: a value or a name
# that cannot be what it claims to be.
_DRIVER_ERRORS = (
    sa.exc.SQLAlchemyError,
    MySQLError,
    sqlite3.Error,
    OverflowError,
    UnicodeError,
    pa.ArrowException,
)
_BODIES_KEPT = 1_000
_SAMPLES = 3
_JUDGED_BY = ("id", "sender_user_id")


class TablesRead(NamedTuple):
    """The frames by table, and how they were read."""

    frames: dict[str, pd.DataFrame]
    info: TablesInfo


def read_tables(engine: sa.Engine, request: SnapshotRequest, progress: Progress) -> TablesRead:
    """Read tables, all as they were at one instant.

    Of a table that is cut short, the first rows by primary key are kept.

    Raises
    ------
    InvalidValueError
        The request names what does not exist, or the database refuses a where-clause.
    ConfigurationError
        The URL names another driver than pymysql.
    UnavailableError, AccessDeniedError
        The database cannot be reached, or went away.
    """
    if engine.dialect.name != "sqlite" and engine.driver != "pymysql":
        raise ConfigurationError(
            f"snapshots read MySQL through pymysql, not {engine.driver}: use mysql+pymysql://…"
        )
    reading = _Reading(engine, request, progress)
    info, chosen = reading.info, {}
    try:
        info["database"] = sql.ping(engine)
        with reading.connected():
            chosen = choose(request, reading.listed, info["left_out"])
            reading.read(chosen)
            info["incomplete"] = reading.missing()
    except (ConfigurationError, InvalidValueError):
        raise
    except ImlibError as problem:
        if not request.keep_incomplete:
            raise
        info["incomplete"] = str(problem)
        unread = sorted(chosen.keys() - reading.frames.keys() - info["left_out"].keys())
        info["left_out"].update(dict.fromkeys(unread, "not read: the reading ended before"))
    return TablesRead(reading.frames, info)


class _Pass(NamedTuple):
    """What one pass over a table gave."""

    fields: list[Field]
    hidden: list[str]
    columns: dict[str, list[pa.Array]]
    """For each field its values, batch by batch; tokens where it is hidden."""
    bodies: TableFacts


class _Reading:
    """One run through the tables, on one connection."""

    connection: sa.Connection
    source: MySQLSource | SQLiteSource
    listed: dict[str, TableDescription]

    def __init__(self, engine: sa.Engine, request: SnapshotRequest, progress: Progress) -> None:
        self.engine, self.request, self.progress = engine, request, progress
        self.masking = Masking(request.mask_key, request.unmask)
        self.frames: dict[str, pd.DataFrame] = {}
        self.failed: set[str] = set()
        self.info: TablesInfo = {
            "database": None,
            "limit": request.limit,
            "mask_key_id": self.masking.key_id,
            "tables": {},
            "left_out": {},
            "not_asked": {},
        }

    @contextmanager
    def connected(self) -> Iterator[None]:
        """List the tables and open the transaction; every driver's error leaves as imlib's own."""
        try:
            with sql.connect(self.engine, limit_s=self.request.timeout) as self.connection:
                try:
                    # Its settings are for this reading: it does not go back to the pool.
                    self.connection.detach()
                    sqlite = self.engine.dialect.name == "sqlite"
                    self.source = (SQLiteSource if sqlite else MySQLSource)(self.connection)
                    self.info["database_skew_s"] = self.source.skew()
                    self.listed, left_out = self.source.begin()
                    self.info["left_out"].update(left_out)
                    self.failed.update(left_out)
                    self.info["started_at"] = time.time()
                    yield
                except BaseException:
                    # Rows may still be on their way, or the server gone: no ROLLBACK then.
                    self.connection.invalidate()
                    raise
        except _DRIVER_ERRORS as error:
            raise sql.translate(error, self.engine, limit_s=self.request.timeout) from error

    def read(self, chosen: Mapping[str, Sequence[str]]) -> None:
        """Read the tables one after the other; if one is refused, note it and read the next."""
        users, where = self.request.user_ids, self.request.where
        found = {} if users is None else {link: self._linked(link, users) for link in LINKS}
        for name, columns in chosen.items():
            table = self.listed[name]
            with self._one_table(name):
                asked = [condition(table, where[name])] if name in where else []
                parts = [asked]
                if users is not None:
                    unindexed = self.request.unindexed
                    about = about_users(table, users, found, self.source.most, unindexed=unindexed)
                    parts = [[one, *asked] for one in about.conditions]
                    if about.not_asked:
                        self.info["not_asked"][name] = about.not_asked
                    if not parts:
                        self.info["left_out"][name] = about.why
                if parts:
                    self._read_table(table, columns, parts)
        for name, one in self.listed.items():
            if one.kind and name not in chosen:
                self.info["left_out"][name] = (
                    f"a {one.kind}, no table: name it in tables to have it read"
                )

    def missing(self) -> str | None:
        """Return what is missing because of an error, or because nobody may see it."""
        wanted = self.request.tables
        if lost := [
            name
            for name in sorted(self.failed)
            if wanted is None or name in wanted or name.rpartition(".")[0] in wanted
        ]:
            return "; ".join(f"{name}: {self.info['left_out'][name]}" for name in lost)
        if self.info["not_asked"]:
            said = "large tables were not searched by columns without an index"
            return f"{said} (unindexed=True does): {self.info['not_asked']}"
        unseen = our_tables.keys() - self.listed.keys()
        if wanted is None and unseen and not self.source.sees_all():
            return f"the user may not see every table; not there, or hidden: {sorted(unseen)}"
        return None

    def _linked(self, link: Link, users: Collection[int]) -> list[Any] | None:
        """Return the values of a link's column in users' rows; None where they are not asked."""
        is_chats = link.table in PARTICIPANTS
        name = participants_table(self._holds_rows) if is_chats else link.table
        table = self.listed.get(name)
        values: list[Any] = []
        if table is not None and {link.column, link.user_column} <= set(table.columns):
            if not (self.request.unindexed or can_be_asked(table, link.user_column)):
                return None
            column, user = table.clause.c[link.column], table.clause.c[link.user_column]
            # One more than the limit: what they lead to then has more rows than the limit too,
            # and is cut and marked as any table is.
            kept = self.request.limit + 1
            named = sa.select(column).distinct().where(column.is_not(None))
            wanted = named.order_by(column).limit(kept)
            with self._one_table(name):
                pieces = among(user, users, self.source.most)
                for piece in pieces:
                    values += self.connection.scalars(wanted.where(piece))
                if len(pieces) > 1:
                    values = sorted(set(values))[:kept]
        return values

    def _holds_rows(self, name: str) -> bool:
        found = False
        if table := self.listed.get(name):
            with self._one_table(name):
                any_row = sa.select(sa.exists().select_from(table.clause))
                found = bool(self.connection.scalar(any_row))
        return found

    @contextmanager
    def _one_table(self, name: str) -> Iterator[None]:
        """Note one table's error; raise it if the reading is over or the caller's clause wrong."""
        with self.source.locks():
            try:
                yield
            except _DRIVER_ERRORS as error:
                code, text = sql.driver_said(error)
                if self.source.ended(code, text):
                    raise
                if name in self.request.where and self._can_be_read(name):
                    said = f"where for table {name!r} is refused: {shortened(text)}"
                    advice = "give SQL and the values of its :names, or an expression"
                    raise InvalidValueError(f"{said}; {advice}") from error
                self.info["left_out"][name] = text if code is None else f"{text} (error {code})"
                self.failed.add(name)

    def _can_be_read(self, name: str) -> bool:
        """Return whether a table can be read without a condition; if so, the clause is wrong."""
        one = sa.select(*self.listed[name].clause.c).limit(1).subquery()
        try:
            self.connection.execute(sa.select(sa.func.count()).select_from(one))
        except _DRIVER_ERRORS:
            return False
        return True

    def _read_table(
        self, table: TableDescription, columns: Sequence[str], parts: Sequence[Sequence[Any]]
    ) -> None:
        limit, several = self.request.limit, len(parts) > 1
        # A row may meet several parts: its key tells.
        read_too = table.key if several else []
        if table.name == "messages" and "message_data" in columns:
            # Who sent a body tells whether it is protobuf.
            read_too = [*read_too, *(name for name in _JUDGED_BY if name in table.columns)]
        carriers = dict.fromkeys([*columns, *read_too], Carrier.DECLARED)
        problems: dict[str, Problem] = {}
        read = self._read_once(table, carriers, parts, problems, self.progress)
        while unfit := {
            name: problem.carrier
            for name, problem in problems.items()
            if problem.carrier not in (Carrier.DECLARED, carriers[name])
        }:
            # Again, with these columns in a form that can hold them; progress has counted the rows.
            carriers |= unfit
            read = self._read_once(table, carriers, parts, problems, lambda *_: None)
        frame, rows = {}, sum(map(len, read.columns[columns[0]]))
        for one in read.fields:
            dtype = TEXT if one.name in read.hidden else one.dtype
            # Popped, so that the whole table is never held twice.
            whole = pa.chunked_array(read.columns.pop(one.name), dtype)
            kept = whole.slice(0, None if several else limit)
            frame[one.name] = series(kept, nullable=one.nullable)
        found = pd.DataFrame(frame, copy=False)
        if several:
            found = found.drop_duplicates(table.key)
            rows = len(found)
        if set(table.key) <= set(found) and (several or not table.at_same_instant):
            found = found.sort_values(table.key, ignore_index=True)
        self.frames[table.name] = found[list(columns)].head(limit)
        self.info["tables"][table.name] = {
            "rows": min(rows, limit),
            "truncated": rows > limit,
            "filtered": any(parts),
            "primary_key": table.key,
            "masked": read.hidden,
            "not_at_same_instant": not table.at_same_instant,
            "could_not_carry": {name: problem.reason for name, problem in problems.items()},
            **read.bodies,
        }

    def _read_once(
        self,
        table: TableDescription,
        carriers: Mapping[str, Carrier],
        parts: Sequence[Sequence[Any]],
        problems: dict[str, Problem],
        progress: Progress,
    ) -> _Pass:
        """Pass over a table once. Each batch is decoded and masked before the next is fetched."""
        read = _Pass([], [], {name: [] for name in carriers}, {})
        phones = table.name == "users" and {"id", "phone"} <= carriers.keys()
        twins = PhoneTwins() if phones else None
        columns = table.clause.c
        selected = sa.select(*map(columns.__getitem__, carriers))
        # One row more than is kept tells whether there are more.
        limited = selected.limit(self.request.limit + 1)
        # Where rows don't lie in the key's order, the server would sort them all, on its disk.
        key = table.key if table.at_same_instant else []
        ordered = limited.order_by(*map(columns.__getitem__, key))
        for conditions in parts:
            statement = ordered.where(*conditions)
            with self.source.rows(statement, table, carriers, problems) as (fields, batches):
                hidden = self.masking.hidden(table.name, fields)
                read = read._replace(fields=fields, hidden=hidden)
                types = {one.name: one.dtype for one in fields}
                judged = (
                    table.name == "messages"
                    and "message_data" in types
                    and all(pa.types.is_integer(types.get(name, TEXT)) for name in _JUDGED_BY)
                )
                if judged and not read.bodies:
                    read.bodies["unreadable"], read.bodies["unreadable_more"] = [], 0
                    read.bodies["damaged_by_column"], read.bodies["damaged_samples"] = 0, []
                for batch in batches:
                    progress(table.name, len(batch[0]))
                    arrays = dict(zip(carriers, batch, strict=True))
                    if twins:
                        twins.add(arrays["id"], arrays["phone"])
                    if judged:
                        _judge(read.bodies, arrays, carriers)
                    for name, array in arrays.items():
                        if name in hidden:
                            array = self.masking.tokens(table.name, name, array)
                        read.columns[name].append(array)
        if twins:
            read.bodies["phone_twins"] = twins.pairs()
        return read


def _judge(
    facts: TableFacts, arrays: Mapping[str, pa.Array], carriers: Mapping[str, Carrier]
) -> None:
    """Note which messages have bodies that cannot be read: once they are masked nobody can tell."""
    stored = arrays["message_data"].to_pylist()
    if carriers["message_data"] == Carrier.LITERAL:
        stored = [None if one is None else ast.literal_eval(one) for one in stored]
    judged = list(judge(stored, arrays["sender_user_id"].fill_null(0).to_pylist()))
    more, damaged = (
        arrays["id"].take(pa.array([at for at, lost in judged if lost is kind], pa.int64()))
        for kind in (False, True)
    )
    room = _BODIES_KEPT - len(facts["unreadable"])
    facts["unreadable"] += more[:room].to_pylist()
    facts["unreadable_more"] += len(more[room:])
    facts["damaged_by_column"] += len(damaged)
    facts["damaged_samples"] += damaged[: _SAMPLES - len(facts["damaged_samples"])].to_pylist()
