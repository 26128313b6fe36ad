"""Watching presence: look after look, what changed between them, and a history of it in files."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from imlib.errors import InvalidValueError, SnapshotError, UnavailableError
from imlib.presence import measure_skew
from imlib.servers.redis import looking
from imlib.snapshot.sequences import compare_sequences
from imlib.snapshot.sessions import malformed_frame, read_sessions
from imlib.snapshot.snapshot import Snapshot

if TYPE_CHECKING:
    from imlib.context import Context

PART_S = 60
"""How many seconds of a history are a part."""
_PART = "part-{:05d}.parquet"
_COLUMNS = {
    "seen_at": "datetime64[us, UTC]",
    "change": "str",
    "user_id": "Int32",
    "auth_key_id": "Int64",
    "session_id": "Int64",
    "server_id": "Int32",
    "server_before": "Int32",
    "netlib_session_id": "Int64",
    "now": "Int64",
    "sessions": "Int64",
    "says": "str",
}


@dataclass(frozen=True, eq=False)
class Look:
    """What one look at presence saw, and what changed since the one before.

    Parameters
    ----------
    at : float
        Unix seconds, by the clock that presence is read by: Redis's own unless the deployment has
        another.
    sessions : DataFrame
        The sessions that count, as a snapshot has them; none in a gap.
    came, went : DataFrame
        Sessions that count only now, or no longer, with the columns of ``sessions``; ``now`` is
        their last report. The first look has none.
    moved : DataFrame
        Sessions on another server than before: user_id, auth_key_id, session_id, server_before,
        server_after.
    gap : str
        Why there was no look: Redis was lost. Changes are told by the next look, as of its time.
    """

    at: float
    sessions: pd.DataFrame = field(repr=False)
    came: pd.DataFrame = field(repr=False)
    went: pd.DataFrame = field(repr=False)
    moved: pd.DataFrame = field(repr=False)
    gap: str = ""

    @property
    def online(self) -> dict[int, int]:
        """How many sessions count, by server id."""
        counts = self.sessions["server_id"].value_counts().sort_index()
        return dict(zip(counts.index.tolist(), counts.tolist(), strict=True))


def watch(
    context: Context,
    every: float,
    user_ids: Sequence[int] | None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Look]:
    """Look again and again; see `imlib.Deployment.watch`."""
    if not every > 0:
        raise InvalidValueError(f"every is {every}: allowed is a number of seconds above 0")
    before, lost = None, False
    with looking(context.redis) as client:
        while True:
            began = clock()
            try:
                at, seen = _look(context, client, user_ids)
            except UnavailableError as problem:
                if before is None:
                    raise
                if not lost:
                    none, at = before.sessions[:0], (context.reader_clock or time.time)()
                    yield Look(at, none, none, none, none, str(problem))
                lost = True
            else:
                change = seen.diff(before or seen)
                before, lost = seen, False
                yield Look(at, seen.sessions, change.came, change.went, change.moved)
            took = clock() - began
            sleep(max(every - took, took))  # a busy server has rest for as long as it was asked


def _look(context: Context, client: Any, user_ids: Sequence[int] | None) -> tuple[float, Snapshot]:
    own = context.reader_clock
    at = own() if own else measure_skew(client)[1]
    counts_s = context.check_online_timeout
    read = read_sessions(client, own, user_ids, check_online_timeout=counts_s).sessions
    online = read[read["online"]].reset_index(drop=True)
    return at, Snapshot(online, compare_sequences({}, {}, {}), malformed_frame([]))


class History:
    """A folder of what looks saw: the first one's sessions, then changes.

    Each part is a Parquet file of about a minute, whole or absent, which its owner alone can read.
    A row is a session that was there at the first look (``online``), ``came``, ``went`` or
    ``moved``; a ``gap``, with its reason; or, at the end of each part, how many ``sessions`` a
    server had (``count``). A folder that holds a history is gone on with.

    Parameters
    ----------
    folder : path

    Raises
    ------
    SnapshotError
        It holds something else, or cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._rows: list[pd.DataFrame] = []
        self._began: float | None = None
        self._last: Look | None = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            there = sorted(path.name for path in self._folder.iterdir() if path.name[0] != ".")
        except OSError as problem:
            raise self._refusal(f"cannot be used: {problem.strerror}") from problem
        if there != [_PART.format(number) for number in range(len(there))]:
            raise self._refusal("holds something else than a history: name a new folder")
        self._parts = len(there)

    def add(self, look: Look) -> None:
        """Take a look in; a part is written with the first one, and after each minute."""
        if self._began is None:
            self._note(look, "online", look.sessions)
        if look.gap:
            self._rows.append(_rows(look, "gap", pd.DataFrame({"says": [look.gap]})))
        else:
            self._last = look
        for change in ("came", "went", "moved"):
            frame = getattr(look, change).rename(columns={"server_after": "server_id"})
            self._note(look, change, frame)
        if self._began is None or look.at - self._began >= PART_S:
            self.write()
            self._began = look.at

    def write(self) -> None:
        """Write what there is since the last part, if anything was looked at."""
        rows = self._rows + ([_counts(self._last)] if self._last else [])
        if not rows:
            return
        # A name of its own: what was cut off here is no part.
        path = self._folder / _PART.format(self._parts)
        hidden = self._folder / f".{path.name}.{secrets.token_hex(4)}"
        try:
            number = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "wb") as file:
                pd.concat(rows).to_parquet(file, compression="zstd", index=False)
                file.flush()
                os.fsync(number)
            hidden.rename(path)
        except OSError as problem:
            raise self._refusal(f"cannot be written: {problem.strerror}") from problem
        finally:
            hidden.unlink(missing_ok=True)
        self._rows, self._last, self._parts = [], None, self._parts + 1

    def _note(self, look: Look, change: str, frame: pd.DataFrame) -> None:
        if len(frame):
            self._rows.append(_rows(look, change, frame))

    def _refusal(self, problem: str) -> SnapshotError:
        return SnapshotError(f"{self._folder} {problem}", path=str(self._folder))


def _counts(look: Look) -> pd.DataFrame:
    """Return a row per server; one without a server says that nobody is online."""
    online = look.online
    servers: list[int | None] = [*online] or [None]
    numbers = [*online.values()] or [0]
    return _rows(look, "count", pd.DataFrame({"server_id": servers, "sessions": numbers}))


def _rows(look: Look, change: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of a history, each column of its type: joined, ids would else be rounded."""
    seen_at = pd.Timestamp(round(look.at * 1e6), unit="us", tz="UTC")
    whole = frame.assign(seen_at=seen_at, change=change).reindex(columns=[*_COLUMNS])
    return whole.astype(_COLUMNS)


def read_history(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Return a history that `History` wrote: one row per change, in order."""
    parts = sorted(Path(folder).glob("part-*.parquet"))
    if not parts:
        raise SnapshotError(f"{folder} holds no history: there is no part", path=str(folder))
    return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
