"""The presence lease as pure functions, and the clocks that it is judged by.

Each report renews two leases. The user's Redis key lives for `ONLINE_TIMEOUT` (15 s); every session
of the user renews it. The session counts until its stored time is `CHECK_ONLINE_TIMEOUT` old (17 s:
the lease and 2 s of allowed clock error); only its own reports renew that. The stored time decides
who is online. Servers that run with other periods are read with theirs (`imlib.connect`).

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
    """How Redis forgets dead sessions. Either way the stored time decides which sessions count."""

    KEY = "key"
    """The specification's: the key has a time to live.

    A dead session's field stays as long as another session of the user renews the key.
    """
    FIELD = "field"
    """Each field has its own time to live as well, so no ghost stays: from Redis 7.4, Valkey 9."""


class ManualClock:
    """A clock for lessons and tests, which moves only by `advance`.

    Parameters
    ----------
    start : float
        The time that it shows first, in Unix seconds.

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
        """Move the clock forward, or back if ``seconds`` is negative."""
        self._shown += seconds


def cutoff(clock: float, check_online_timeout: int = CHECK_ONLINE_TIMEOUT) -> int:
    """Return the latest report time, in Unix seconds, that no longer counts at an instant.

    A session counts while ``cutoff(clock) < now``. The seconds are taken from the clock rather than
    added to ``now``, which may be any int64: in a column, ``now + 17`` could overflow.

    Parameters
    ----------
    clock : float
        The reader's clock, in Unix seconds.
    check_online_timeout : int
        How long a report counts, in seconds.

    Examples
    --------
    >>> cutoff(1512270550.9), cutoff(1512270550.9, 70)
    (1512270533, 1512270480)
    """
    return math.floor(clock) - check_online_timeout


def is_online(now: int, clock: float, check_online_timeout: int = CHECK_ONLINE_TIMEOUT) -> bool:
    """Tell whether a session reported at ``now`` counts at an instant of the reader's clock.

    Parameters
    ----------
    now : int
        The session's stored time, int64, in Unix seconds.
    clock : float
        The reader's clock, in Unix seconds.
    check_online_timeout : int
        How long a report counts, in seconds.

    Examples
    --------
    >>> is_online(1512270533, 1512270549), is_online(1512270533, 1512270550)
    (True, False)
    """
    return cutoff(clock, check_online_timeout) < now


def counts_until(now: int, check_online_timeout: int = CHECK_ONLINE_TIMEOUT) -> int:
    """Return when a session reported at ``now`` stops counting, in Unix seconds."""
    return now + check_online_timeout


def key_goes_at(reports: list[int], online_timeout: int = ONLINE_TIMEOUT) -> int | None:
    """Return when a user's key expires, given the times of all reports; None if there are none.

    Examples
    --------
    >>> key_goes_at([1512270533, 1512270540])
    1512270555
    """
    return max(reports) + online_timeout if reports else None


def skewed(clock: Clock, seconds: float) -> Clock:
    """Return the clock of a machine that is ahead of ``clock``, or behind by negative ``seconds``.

    Examples
    --------
    >>> reader = skewed(ManualClock(1512270549), seconds=1)
    >>> is_online(1512270533, reader())
    False
    """
    return lambda: clock() + seconds
