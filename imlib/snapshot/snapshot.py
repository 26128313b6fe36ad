"""A snapshot: frames of one deployment's state, and how they were taken."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from imlib.errors import printable, shortened
from imlib.snapshot.difference import Difference, compare
from imlib.snapshot.folder import read_folder, refusal, write_folder
from imlib.snapshot.info import SnapshotInfo
from imlib.snapshot.query import relations, select

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from imlib.audit import Findings

_SHAPES = {
    "sessions": (
        "user_id auth_key_id session_id server_id netlib_session_id now reported_at age_s online "
        "layout key_ttl_s",
        "iiiiiidfbsf",
    ),
    "sequences": ("name redis_before row redis_after state", "siiis"),
    "malformed": ("key field value reason", "ssss"),
}
"""Of the frames that every snapshot has, the columns and how their dtypes' names begin."""


@dataclass(frozen=True, eq=False, repr=False)
class Snapshot:
    """What a deployment held at one time; made by ``deployment.snapshot()`` or `Snapshot.load`.

    Parameters
    ----------
    sessions : DataFrame
        One row per session, online or not: user_id int32, auth_key_id int64, session_id int64,
        server_id int32, netlib_session_id int64, now int64, reported_at datetime64[us, UTC], age_s
        float64, online bool, layout str, key_ttl_s float64 (NaN: the key never expires).
    sequences : DataFrame
        name str, redis_before Int64, row Int64, redis_after Int64, state str.
    malformed : DataFrame
        key, field, value, reason, all str: what could not be read, at most 10,000 rows of it.
    tables : dict of str to DataFrame
        Every table that was read, by name, with the columns and widths that it has there.
    info : SnapshotInfo
        How it was taken: see `imlib.snapshot.info.SnapshotInfo`.
    """

    sessions: pd.DataFrame
    sequences: pd.DataFrame
    malformed: pd.DataFrame
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    info: SnapshotInfo = field(default_factory=SnapshotInfo)

    def sql(
        self, query: str, parameters: list[Any] | None = None, *, timeout: float | None = None
    ) -> pd.DataFrame:
        """Run one SELECT, in DuckDB's dialect, over all frames; it reaches nothing else.

        It takes half of the machine's memory at the most, and ends at Ctrl-C.

        Parameters
        ----------
        query : str
            Its tables are ``sessions``, ``sequences``, ``malformed`` and every table of the
            database. A table that has one of those three names gets another: ``table_sessions``. So
            does the second of two whose names differ only by case.
        parameters : list, optional
            Values for ``?`` in the query.
        timeout : float, optional
            Seconds; without it there is no limit.

        Raises
        ------
        InvalidValueError
            It is not one SELECT, DuckDB refuses it, it needs more memory, or it compares a masked
            column with a value, which no token equals.
        UnavailableError
            The time is over.
        """
        tables = self.info.get("tables", {})
        masked = {}
        for frame, table in frame_names(self.tables).items():
            masked[frame.casefold()] = tables.get(table, {}).get("masked", ())
        return select(self._frames(), query, parameters, masked=masked, timeout=timeout)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save as a folder of Parquet files, complete or not at all; masked columns stay masked.

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
            There is no snapshot, it is of another format, or a file is missing or damaged.
        """
        frames, info = read_folder(folder)
        table_of = info.get("table_of", {})
        odd = frames.keys() ^ {*_SHAPES, *table_of}
        odd |= set(table_of.values()) - info.get("tables", {}).keys()
        if odd or table_of != frame_names(table_of.values()):
            told = f"its files and its facts do not agree {shortened(sorted(odd))}"
            raise refusal(Path(folder), f"is not whole: {told}")
        for name, (columns, kinds) in _SHAPES.items():
            there = frames[name].dtypes.map(lambda dtype: str(dtype)[0].lower()).to_dict()
            if not dict(zip(columns.split(), kinds, strict=True)).items() <= there.items():
                raise refusal(Path(folder), f"is not whole: {name} has other columns or dtypes")
        return cls(
            **{name: frames[name] for name in _SHAPES},
            tables={table: frames[name] for name, table in table_of.items()},
            info=info,
        )

    def diff(self, earlier: Snapshot, *, values: bool = False) -> Difference:
        """Compare with an earlier snapshot: who came, went and moved, and which rows changed.

        With ``values`` each change says what was there before, and what is after it.
        """
        return compare(self, earlier, values=values)

    def audit(
        self,
        checks: Collection[str] | None = None,
        *,
        limit: int | None = 1_000,
        at: float | None = None,
        user_id: int | None = None,
    ) -> Findings:
        """Return what `imlib.audit.audit` finds in this snapshot."""
        from imlib.audit import audit

        return audit(self, checks, limit=limit, at=at, user_id=user_id)

    def relations(self, columns: Mapping[str, Collection[str]]) -> DuckDBPyConnection:
        """Return a connection of DuckDB's in which each of these tables is ``frame_{table}``.

        Parameters
        ----------
        columns : mapping of str to collection of str
            Of each table the columns; none for all. It reaches nothing else.
        """
        frames = self.tables | {name: getattr(self, name) for name in _SHAPES}
        chosen = {name: frames[name] for name in columns}
        for name, some in columns.items():
            if some:
                chosen[name] = chosen[name][[*some]]
        return relations(chosen)

    def _frames(self) -> dict[str, pd.DataFrame]:
        frames = {name: getattr(self, name) for name in _SHAPES}
        for name, table in frame_names(self.tables).items():
            frames[name] = self.tables[table]
        return frames

    def __repr__(self) -> str:
        counts = self.info.get("rows", {}).items()
        rows = ", ".join(f"{name} {count}" for name, count in counts if count) or "empty"
        if why := self.info.get("incomplete"):
            rows += f"; INCOMPLETE: {why}"
        return printable(f"<Snapshot: {rows}>")

    def _repr_html_(self) -> str:
        html = "<table><tr><th>frame</th><th>rows</th></tr>"
        if why := self.info.get("incomplete"):
            html = f"<p><b>Incomplete:</b> {escape(printable(why))}</p>{html}"
        for name, count in self.info.get("rows", {}).items():
            cell = f"<td style='text-align:left'>{escape(printable(name))}</td>"
            html += f"<tr>{cell}<td>{count:,}</td></tr>"
        return f"{html}</table>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: a snapshot holds no connection."""


def frame_names(tables: Iterable[str]) -> dict[str, str]:
    """Return each table by its frame's name; the names are unique even if case is ignored."""
    # SQLite allows a table without a name, DuckDB does not.
    taken = {*_SHAPES, ""}
    names = {}
    for table in tables:
        name = table
        while name.casefold() in taken:
            name = f"table_{name}"
        taken.add(name.casefold())
        names[name] = table
    return names
