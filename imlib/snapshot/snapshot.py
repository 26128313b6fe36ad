"""A snapshot: frames of one deployment's state, and the facts of how they were taken."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from imlib.presence import measure_skew
from imlib.snapshot.sessions import read_sessions

if TYPE_CHECKING:
    import pandas as pd

    from imlib.connect import Clients

__all__ = ["Snapshot", "take"]


@dataclass(frozen=True, eq=False, repr=False)
class Snapshot:
    """What a deployment held when it was looked at; a context manager, as a deployment is.

    Parameters
    ----------
    sessions : DataFrame
        One row a session, online or not; see `imlib.snapshot.sessions.read_sessions` for columns and dtypes.
    malformed : DataFrame
        key, field, value, reason: what no session can be read from.
    info : dict
        ``taken_at`` (the clock that ``online`` was judged by, Unix seconds), ``clock`` (whose it is), ``skew_s`` (this
        machine's clock less Redis's), ``redis`` (kind and version), ``lease``, ``rows`` (of each frame),
        ``duration_s``.
    """

    sessions: pd.DataFrame
    malformed: pd.DataFrame
    info: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {count}" for name, count in self.info["rows"].items())
        return f"<Snapshot: {rows}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the frames as they are: a snapshot holds no connection."""


def take(clients: Clients) -> Snapshot:
    """Take a snapshot; nothing is written to what is looked at."""
    began = time.monotonic()
    skew, redis_clock = measure_skew(clients.redis)
    clock = clients.reader_clock
    sessions, malformed = read_sessions(clients.redis, clock)
    info = {
        "taken_at": redis_clock if clock is None else clock(),
        "clock": "Redis" if clock is None else "turned",
        "skew_s": skew,
        "redis": str(clients.server),
        "lease": str(clients.lease),
        "rows": {"sessions": len(sessions), "malformed": len(malformed)},
        "duration_s": time.monotonic() - began,
    }
    return Snapshot(sessions, malformed, info)
