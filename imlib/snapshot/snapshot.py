"""A snapshot: frames of one deployment's state, and the facts of how they were taken."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from imlib.errors import ImlibError
from imlib.presence import measure_skew
from imlib.snapshot.difference import Difference, compare
from imlib.snapshot.query import select
from imlib.snapshot.sequences import compare_sequences, read_mirror
from imlib.snapshot.sessions import malformed_frame, read_sessions
from imlib.snapshot.storage import read_folder, write_folder
from imlib.snapshot.tables import TablesRead, read_tables

if TYPE_CHECKING:
    from imlib.connect import Clients

__all__ = ["Snapshot", "take"]

MALFORMED_KEPT = 10_000
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
        How it was taken: ``taken_at``, ``clock``, ``redis``, ``database``, ``skew_s`` and ``database_skew_s`` (this
        machine's clock less the servers'), ``rows``, ``duration_s``, ``tables`` (facts of each), ``left_out``,
        ``incomplete`` (why, or None).
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
            bears one of those three names is ``table_sessions`` and so on.
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
        redis = {name: frames.pop(name) for name in _REDIS_FRAMES}
        return cls(**redis, tables={info["table_of"][name]: frame for name, frame in frames.items()}, info=info)

    def diff(self, earlier: Snapshot) -> Difference:
        """Compare with an earlier snapshot: who came, went and moved, which rows were added, removed or changed."""
        return compare(self, earlier)

    def audit(self, checks: Collection[str] | None = None) -> pd.DataFrame:
        """Return what `imlib.audit.audit` finds in it."""
        from imlib.audit import audit

        return audit(self, checks)

    def _frames(self) -> dict[str, pd.DataFrame]:
        frames = {name: getattr(self, name) for name in _REDIS_FRAMES}
        return frames | {_frame_name(name): frame for name, frame in self.tables.items()}

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {count}" for name, count in self.info.get("rows", {}).items() if count)
        incomplete = f"; INCOMPLETE: {self.info['incomplete']}" if self.info.get("incomplete") else ""
        return f"<Snapshot: {rows or 'empty'}{incomplete}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(name)}</td><td>{count:,}</td></tr>"
            for name, count in self.info.get("rows", {}).items()
        )
        incomplete = (
            f"<p><b>Incomplete:</b> {escape(self.info['incomplete'])}</p>" if self.info.get("incomplete") else ""
        )
        return f"{incomplete}<table><tr><th>frame</th><th>rows</th></tr>{rows}</table>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the frames as they are: a snapshot holds no connection."""


def take(
    clients: Clients,
    *,
    tables: Collection[str] | Mapping[str, Collection[str]] | None = None,
    where: Mapping[str, Any] | None = None,
    limit: int = 1_000_000,
    user_ids: Collection[int] | None = None,
    unmask: Collection[str] = (),
    mask_key: bytes | None = None,
    keep_incomplete: bool = False,
    progress: bool = False,
) -> Snapshot:
    """Take a snapshot; see ``deployment.snapshot``."""
    from tqdm.auto import tqdm

    began = time.monotonic()
    users = None if user_ids is None else list(user_ids)
    clock = clients.reader_clock
    with tqdm(disable=None if progress else True, unit="row", leave=False) as bar:
        skew, redis_clock = measure_skew(clients.redis)
        before, _ = read_mirror(clients.redis, users)
        sessions, malformed = read_sessions(clients.redis, clock, users, bar.update)
        incomplete = None
        try:
            read = read_tables(
                clients,
                tables=tables,
                where=where,
                limit=limit,
                user_ids=users,
                unmask=unmask,
                mask_key=mask_key,
                progress=lambda _, rows: bar.update(rows),
            )
        except ImlibError as problem:
            if not keep_incomplete:
                raise
            incomplete = str(problem)
            read = TablesRead({}, {})
        after, of_mirror = read_mirror(clients.redis, users)
    malformed += of_mirror
    sequences = compare_sequences(before, _rows(read.frames, users), after)
    frames = {"sessions": sessions, "sequences": sequences, **read.frames}
    info = {
        "taken_at": redis_clock if clock is None else clock(),
        "clock": "Redis" if clock is None else "turned",
        "skew_s": skew,
        "redis": str(clients.server),
        "lease": str(clients.lease),
        **read.info,
        "malformed_not_kept": max(0, len(malformed) - MALFORMED_KEPT),
        "rows": {name: len(frame) for name, frame in frames.items()} | {"malformed": len(malformed)},
        "table_of": {_frame_name(name): name for name in read.frames},
        "incomplete": incomplete,
        "duration_s": time.monotonic() - began,
    }
    return Snapshot(sessions, sequences, malformed_frame(malformed[:MALFORMED_KEPT]), read.frames, info)


def _rows(frames: dict[str, pd.DataFrame], user_ids: list[int] | None) -> dict[str, int] | None:
    table = frames.get("seq_updates_ngen")
    if table is None or not {"seq_name", "seq"} <= set(table):
        return None
    names = None if user_ids is None else {str(user_id) for user_id in user_ids}
    rows = zip(table["seq_name"].astype(str), table["seq"], strict=True)
    return {name: int(seq) for name, seq in rows if names is None or name in names}


def _frame_name(table: str) -> str:
    return f"table_{table}" if table in _REDIS_FRAMES else table
