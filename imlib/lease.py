"""The presence lease as pure functions, and the clocks that it is read by.

A report leases two things: the user's Redis key for `ONLINE_TIMEOUT` (15 s) and the session itself,
by its stored time, for `CHECK_ONLINE_TIMEOUT` (17 s: the lease and 2 s of allowed clock error). The
key's time to live is renewed by any session of the user; the stored time is a session's own, and
decides.

Source: constants and design notes of the specification.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from enum import StrEnum

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT

Clock = Callable[[], float]
"""Anything that tells the time in Unix seconds when called."""

system_clock: Clock = time.time
"""This machine's clock."""


class Lease(StrEnum):
    """How dead sessions are forgotten by Redis; which sessions count is decided by their stored
    time on both.
    """

    KEY = "key"
    """The specification's: one time to live for the key; a dead session's field stays while a
    sibling renews it.
    """
    FIELD = "field"
    """Each field has a time to live of its own beside the key's: no ghost stays. Needs Redis 7.4 or
    Valkey 9.
    """


class ManualClock:
    """A clock that moves only when it is told to: for lessons and tests.

    Parameters
    ----------
    start : float
        What it shows first, in Unix seconds.

    Examples
    --------
    >>> clock = ManualClock(1512270533)
    >>> clock.advance(15)
    >>> clock()
    1512270548
    """

    def __init__(self, start: float) -> None:
        self._shown = start

    def __call__(self) -> float:
        """Return what the clock shows, in Unix seconds."""
        return self._shown

    def __repr__(self) -> str:
        return f"ManualClock({self._shown!r})"

    def advance(self, seconds: float) -> None:
        """Move the clock by a number of seconds, backwards if it is negative."""
        self._shown += seconds


def horizon(clock: float) -> int:
    """Return the latest report time, in Unix seconds, that no longer counts at an instant.

    A session counts while ``horizon(clock) < now``: written with the difference on the clock's
    side, because ``now`` may be any int64 and ``now + 17`` would overflow in a column of them.

    Parameters
    ----------
    clock : float
        The reader's clock, in Unix seconds.

    Examples
    --------
    >>> horizon(1512270550.9)
    1512270533
    """
    return math.floor(clock) - CHECK_ONLINE_TIMEOUT


def is_online(now: int, clock: float) -> bool:
    """Tell whether a session reported at ``now`` counts at an instant of the reader's clock.

    Parameters
    ----------
    now : int
        The session's stored time, int64, in Unix seconds.
    clock : float
        The reader's clock, in Unix seconds.

    Examples
    --------
    >>> is_online(1512270533, 1512270549), is_online(1512270533, 1512270550)
    (True, False)
    """
    return horizon(clock) < now


def counts_until(now: int) -> int:
    """Return the first instant, in Unix seconds, at which a session reported at ``now`` no longer
    counts.
    """
    return now + CHECK_ONLINE_TIMEOUT


def key_goes_at(reports: list[int]) -> int | None:
    """Return the instant at which a user's key goes, given all reports of all sessions; None
    without any.

    Examples
    --------
    >>> key_goes_at([1512270533, 1512270540])
    1512270555
    """
    return max(reports) + ONLINE_TIMEOUT if reports else None


def skewed(clock: Clock, seconds: float) -> Clock:
    """Return the same clock as a machine shows it that is ahead by some seconds (behind, if
    negative).

    Examples
    --------
    >>> reader = skewed(ManualClock(1512270549), seconds=1)
    >>> is_online(1512270533, reader())
    False
    """
    return lambda: clock() + seconds
