"""A snapshot: frames of one deployment's state, and the facts of how they were taken."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Any, Self

import pandas as pd

from imlib.context import Context
from imlib.errors import ImlibError, SnapshotError
from imlib.presence import measure_skew
from imlib.schema_check import check_schema
from imlib.servers.redis_pipeline import server_address
from imlib.servers.sql import masked_url
from imlib.snapshot.difference import Difference, compare
from imlib.snapshot.query import select
from imlib.snapshot.sequences import compare_sequences, read_mirror
from imlib.snapshot.sessions import MALFORMED_KEPT, malformed_frame, read_sessions
from imlib.snapshot.storage import read_folder, write_folder
from imlib.snapshot.tables import TablesRead, read_tables
from imlib.validation import distinct_users

_REDIS_FRAMES = ("sessions", "sequences", "malformed")


@dataclass(frozen=True, eq=False, repr=False)
class Snapshot:
    """What a deployment held when it was looked at; made by ``deployment.snapshot()`` or `Snapshot.load`.

    Parameters
    ----------
    sessions : DataFrame
        One row a session, online or not: user_id int32, auth_key_id int64, session_id int64, server_id int32,
        netlib_session_id int64, now int64, reported_at datetime64[us, UTC], age_s float64, online bool, layout str,
        key_ttl_s float64 (NaN: the key never expires).
    sequences : DataFrame
        name str, redis_before Int64, row Int64, redis_after Int64, state str.
    malformed : DataFrame
        key, field, value, reason, all str: what could not be read, at most 10,000 rows of it.
    tables : dict of str to DataFrame
        Every table that was read, by name, with the columns and widths that it has there.
    info : dict
        How it was taken: ``taken_at`` (Unix seconds), ``clock`` (whose), ``redis``, ``redis_at``, ``database``,
        ``database_at`` (kinds, versions and places, no password), ``skew_s`` and ``database_skew_s`` (this machine's
        clock less the servers'), ``rows`` (of each frame), ``duration_s``, ``user_ids``, ``where`` (tables),
        ``tables`` (facts of each),
        ``left_out`` (table to reason), ``missing_indexes``, ``malformed_not_kept``, ``incomplete`` (why, or None).
    """

    sessions: pd.DataFrame
    sequences: pd.DataFrame
    malformed: pd.DataFrame
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)

    def sql(self, query: str, parameters: list[Any] | None = None) -> pd.DataFrame:
        """Run one SELECT, in DuckDB's dialect, over all frames; it reaches nothing else.

        Parameters
        ----------
        query : str
            ``sessions``, ``sequences``, ``malformed`` and every table are its tables. A table of the database that
            bears one of those three names is ``table_sessions`` and so on; of two whose names differ by case alone the
            second is ``table_`` and its name.
        parameters : list, optional
            Values for ``?`` in the query.

        Raises
        ------
        InvalidValueError
            It is not one SELECT, or DuckDB refuses it.
        """
        return select(self._frames(), query, parameters)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save as a folder of Parquet files, which is complete or absent; masked columns stay masked.

        Raises
        ------
        SnapshotError
            The folder exists, or cannot be written.
        """
        write_folder(folder, self._frames(), self.info)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Load what `save` wrote.

        Raises
        ------
        SnapshotError
            There is none, it is of another format, or a file is missing or damaged.
        """
        frames, info = read_folder(folder)
        table_of = info.get("table_of", {})
        if odd := frames.keys() ^ {*_REDIS_FRAMES, *table_of}:
            told = f"its files and its facts do not agree on {', '.join(sorted(odd))}"
            raise SnapshotError(f"{os.fspath(folder)} is not whole: {told}")
        return cls(
            **{name: frames[name] for name in _REDIS_FRAMES},
            tables={table: frames[name] for name, table in table_of.items()},
            info=info,
        )

    def diff(self, earlier: Snapshot) -> Difference:
        """Compare with an earlier snapshot: who came, went and moved, which rows were added, removed or changed."""
        return compare(self, earlier)

    def audit(self, checks: Collection[str] | None = None) -> pd.DataFrame:
        """Return what `imlib.audit.audit` finds in it."""
        from imlib.audit import audit

        return audit(self, checks)

    def _frames(self) -> dict[str, pd.DataFrame]:
        frames = {name: getattr(self, name) for name in _REDIS_FRAMES}
        return frames | {name: self.tables[table] for name, table in _frame_names(self.tables).items()}

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {count}" for name, count in self.info.get("rows", {}).items() if count)
        incomplete = f"; INCOMPLETE: {self.info['incomplete']}" if self.info.get("incomplete") else ""
        return f"<Snapshot: {rows or 'empty'}{incomplete}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(name)}</td><td>{count:,}</td></tr>"
            for name, count in self.info.get("rows", {}).items()
        )
        why = self.info.get("incomplete")
        incomplete = f"<p><b>Incomplete:</b> {escape(why)}</p>" if why else ""
        return f"{incomplete}<table><tr><th>frame</th><th>rows</th></tr>{rows}</table>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the frames as they are: a snapshot holds no connection."""


def take(
    context: Context,
    *,
    user_ids: int | Collection[int] | None = None,
    progress: bool = False,
    **asked: Any,
) -> Snapshot:
    """Take a snapshot; see ``deployment.snapshot``, whose arguments these are."""
    from tqdm.auto import tqdm

    began = time.monotonic()
    given = user_ids if isinstance(user_ids, Collection | None) else [user_ids]
    users = None if given is None else distinct_users(given)
    clock = context.reader_clock
    with tqdm(disable=None if progress else True, unit="row", leave=False) as bar:
        skew, redis_clock = measure_skew(context.redis)
        before, _ = read_mirror(context.redis, users)
        presence = read_sessions(context.redis, clock, users, bar.update)
        read = read_tables(context, progress=lambda _, rows: bar.update(rows), user_ids=users, **asked)
        after, of_mirror = read_mirror(context.redis, users)
    malformed = presence.malformed + of_mirror
    where = sorted(asked.get("where") or {})
    table_of = _frame_names(read.frames)
    kept = malformed_frame(malformed[:MALFORMED_KEPT])
    frames = {
        "sessions": presence.sessions,
        "sequences": _sequences(before, read, after, users, where),
        "malformed": kept,
    }
    tables = {name: read.frames[table] for name, table in table_of.items()}
    info = {
        "taken_at": redis_clock if clock is None else clock(),
        "clock": "turned" if clock else "Redis" if skew == skew else _CLOCK_WITHOUT_TIME,  # NaN is not itself
        "skew_s": skew,
        "redis": str(context.server),
        "redis_at": server_address(context.redis),
        "database_at": masked_url(context.replica),
        "lease": str(context.lease),
        "user_ids": users,
        "where": where,
        **read.info,
        "missing_indexes": _missing_indexes(context, read.info["tables"]),
        "in_both_layouts": presence.in_both_layouts[:_NAMED],
        "never_expire": presence.never_expire[:_NAMED],
        "malformed_not_kept": presence.not_kept + len(malformed) - len(kept),
        "rows": {name: len(frame) for name, frame in (frames | tables).items()},
        "table_of": table_of,
        "duration_s": time.monotonic() - began,
    }
    return Snapshot(**frames, tables=read.frames, info=info)


_LARGEST = (1 << 63) - 1
_NAMED = 1000
"""Users whom info names at the most."""
_CLOCK_WITHOUT_TIME = "by a key's deadline, else this machine's: TIME is not allowed to this user"


def _sequences(
    before: dict[str, int],
    read: TablesRead,
    after: dict[str, int],
    user_ids: list[int] | None,
    where: Collection[str],
) -> pd.DataFrame:
    table, facts = read.frames.get("seq_updates_ngen"), read.info["tables"].get("seq_updates_ngen", {})
    if table is None or not {"seq_name", "seq"} <= set(table) or "seq_name" in facts["masked"]:
        return compare_sequences(before, None, after)
    if not pd.api.types.is_integer_dtype(table["seq"]) or (table["seq"] > _LARGEST).any():  # not as it was made
        return compare_sequences(before, None, after)
    names = None if user_ids is None else {str(user_id) for user_id in user_ids}
    pairs = zip(table["seq_name"], table["seq"], strict=True)
    rows = {str(name): int(seq) for name, seq in pairs if pd.notna(seq) and (names is None or name in names)}
    whole = not facts["truncated"] and "seq_updates_ngen" not in where
    return compare_sequences(before, rows, after, whole=whole)


def _missing_indexes(context: Context, facts: dict[str, Any]) -> list[str] | None:
    """Return the indexes that tables of a snapshot lack; None where that could not be told."""
    try:
        missing = check_schema(context.replica).missing_indexes if facts else []
    except ImlibError:
        return None
    return [index for index in missing if index.partition("(")[0] in facts]


def _frame_names(tables: Iterable[str]) -> dict[str, str]:
    """Return a name for each table's frame that no other has, and what table it is: SQL does not tell case apart."""
    taken = {*_REDIS_FRAMES, ""}  # SQLite allows a table without a name, SQL here does not
    names = {}
    for table in tables:
        name = table
        while name.casefold() in taken:
            name = f"table_{name}"
        taken.add(name.casefold())
        names[name] = table
    return names
