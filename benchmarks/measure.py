"""Timing side by side: each run times every contender once, so that all meet the same moods of the
machine.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from tools.figures import duration

RUNS = 5


@dataclass(frozen=True)
class Row:
    """One line of the table: medians, in seconds a unit of work.

    Parameters
    ----------
    what : str
        The work, and of what one unit is.
    ours, peer : float
    floor : float or None
        The least that the same result can cost: the bare bytes over a socket, or the unchecked
        conversion.
    peer_name, floor_name : str
    promise : str
        What is promised of the ratio, in words; empty where nothing is.
    """

    what: str
    ours: float
    peer: float
    peer_name: str
    floor: float | None = None
    floor_name: str = ""
    promise: str = ""

    def as_dict(self) -> dict[str, object]:
        """Return the row as plain values, with its two ratios."""
        return asdict(self) | {
            "peer_to_ours": self.peer / self.ours,
            "ours_to_floor": self.ours / self.floor if self.floor else None,
        }


def medians(
    contenders: Sequence[Callable[[], object]],
    *,
    units: int = 1,
    runs: int = RUNS,
    before: Callable[[], object] = lambda: None,
) -> list[float]:
    """Time contenders in turn, A B C A B C, after one run that is not counted; return each one's
    median.

    Parameters
    ----------
    contenders : sequence of callables
    units : int
        How many units of work one call does.
    runs : int
        Counted runs of each.
    before : callable
        What makes each call's world, and is not counted.
    """
    taken: list[list[float]] = [[] for _ in contenders]
    for run in range(runs + 1):
        for times, contender in zip(taken, contenders, strict=True):
            before()
            gc.collect()
            began = time.perf_counter()
            contender()
            if run:
                times.append((time.perf_counter() - began) / units)
    return [statistics.median(times) for times in taken]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, one a line."""
    lines = [
        f"{'work':46} {'ours':>9} {'peer':>9} {'floor':>9}  {'peer/ours':>9} {'ours/floor':>10}  "
        "promised; peer; floor"
    ]
    for row in rows:
        ratios = row.as_dict()
        floor = f"{ratios['ours_to_floor']:10.1f}" if row.floor else f"{'':10}"
        notes = "; ".join(note for note in (row.promise, row.peer_name, row.floor_name) if note)
        lines.append(
            f"{row.what:46} {duration(row.ours)} {duration(row.peer)} {duration(row.floor)}  "
            f"{ratios['peer_to_ours']:9.1f} {floor}  {notes}"
        )
    return "\n".join(lines)
