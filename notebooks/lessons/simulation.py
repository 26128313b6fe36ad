"""Presence second by second: observed on a real server, or simulated by the lease rule alone.

`simulate` says what `observe` would see, without a server or a clock; a test compares the two. A
`Scenario` is one user's troubles in a few numbers, for the explorer of a lesson.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from imlib.deployment import Deployment
from imlib.errors import InvalidValueError
from imlib.lease import Lease, ManualClock, counts_until, is_online, key_goes_at
from imlib.session_status import SessionStatus

__all__ = ["RANGES", "SESSIONS", "Observed", "Scenario", "misjudged_seconds", "observe", "simulate"]

SESSIONS: Final = ("phone", "laptop", "tablet", "desktop")
"""The sessions of a `Scenario`, in the order in which they join it."""
RANGES: Final = {"period": (1, 20), "lost": (0, 6), "skew": (-6, 6), "sessions": (1, len(SESSIONS))}
"""The least and the greatest of what a `Scenario` takes."""
_PHONE_LEAVES, _APART, _AFTERWARDS = 40, 20, 20


class Observed(NamedTuple):
    """What was seen of one user: one row a second from 0, one column a session.

    Parameters
    ----------
    ttl : Series of float
        What the key had left, in whole seconds: 0 once it is gone, NaN where it never goes.
    age : DataFrame of float
        Seconds since each session's stored report; NaN where Redis holds none.
    state : DataFrame of str
        One of `imlib.plots.STATES`; None before a session's first report.
    """

    ttl: pd.Series[float]
    age: pd.DataFrame
    state: pd.DataFrame


def observe(
    deployment: Deployment,
    clock: ManualClock,
    seconds: int,
    report_times: Mapping[SessionStatus, Collection[int]],
    names: Mapping[str, str] | None = None,
    *,
    skew: int = 0,
) -> Observed:
    """Turn a clock second by second, let sessions report when they are due, and look each time.

    Parameters
    ----------
    deployment, clock
        A scratch deployment with one user at most, and its clock.
    seconds : int
        How long it is watched; both ends are looked at.
    report_times : mapping
        The seconds, from 0, at which each session reports.
    names : mapping, optional
        What to call a session, by its documented field.
    skew : int
        Seconds by which the clock of the servers that report is ahead of the reader's.
    """
    looks = []
    for second in range(seconds + 1):
        deployment.advance(min(second, 1))
        due = [
            replace(status, now=int(clock()) + skew)
            for status, at in report_times.items()
            if second in at
        ]
        deployment.online_status.renew(due)
        looks.append(deployment.snapshot(tables=[]).sessions.assign(second=second))
    held = pd.concat(looks)
    fields = held["auth_key_id"].astype(str) + "_" + held["session_id"].astype(str)
    held["name"] = fields.replace(dict(names or {}))
    every, order = pd.RangeIndex(seconds + 1, name="second"), held["name"].unique()
    online = held.pivot(index="second", columns="name", values="online").reindex(every)[order]
    state = online.astype("object").replace({True: "online", False: "stale"}).fillna("expired")
    age = held.pivot(index="second", columns="name", values="age_s").reindex(every)[order]
    # Up to the whole second: while the lesson's clock stands still the server's runs on, by far
    # less than that.
    ttl = np.ceil(held.groupby("second")["key_ttl_s"].first()).reindex(every, fill_value=0)
    return Observed(ttl, age, state.where(online.notna().cummax(), None))


def simulate(
    report_times: Mapping[str, Collection[int]],
    seconds: int,
    *,
    skew: int = 0,
    lease: Lease = Lease.KEY,
) -> Observed:
    """Return what an observer of one user would see in each second.

    Parameters
    ----------
    report_times : mapping
        The seconds, from 0, at which reports of each session arrive.
    seconds : int
        How long it is watched; both ends are looked at.
    skew : int
        Seconds by which the clock of the servers that report is ahead of the reader's.
    lease : Lease
        How Redis forgets.

    Examples
    --------
    >>> seen = simulate({"phone": [0], "laptop": [0, 10]}, 25)
    >>> seen.ttl[[0, 9, 10, 24, 25]].to_list()
    [15.0, 6.0, 15.0, 1.0, 0.0]
    >>> seen.state["phone"][[0, 16, 17, 25]].to_list()
    ['online', 'online', 'stale', 'expired']
    """
    held: dict[str, int] = {}
    known: set[str] = set()
    ttls, ages, states = [], [], []
    for second in range(seconds + 1):
        # As on a server: what is due to go goes, then reports arrive, then somebody looks.
        goes = key_goes_at(list(held.values()))
        held = {} if goes is not None and goes <= second else held
        if lease == Lease.FIELD:  # a plain "field" is as good
            # The field's own time to live runs by Redis's clock from the write; no skew moves it.
            held = {name: at for name, at in held.items() if second < counts_until(at)}
        held |= {name: second for name, at in report_times.items() if second in at}
        known |= held.keys()
        stored = {name: at + skew for name, at in held.items()}
        ttls.append((key_goes_at(list(held.values())) or second) - second)
        ages.append({name: second - now for name, now in stored.items()})
        state = {
            name: "online" if is_online(now, second) else "stale" for name, now in stored.items()
        }
        states.append(dict.fromkeys(known, "expired") | state)
    every, names = pd.RangeIndex(seconds + 1, name="second"), list(report_times)
    age = pd.DataFrame(ages, index=every, columns=names, dtype=float)
    seen = pd.DataFrame(states, index=every, columns=names, dtype=object)
    return Observed(pd.Series(ttls, every, dtype=float), age, seen.where(seen.notna(), None))


def misjudged_seconds(observed: Observed, there: Mapping[str, Collection[int]]) -> pd.DataFrame:
    """Count the seconds in which a reader is wrong about each session, and about the user as a
    whole.

    Parameters
    ----------
    observed : Observed
    there : mapping
        The seconds in which each session really is there.

    Returns
    -------
    DataFrame of int
        A row a session, the last one called ``user``; columns ``online although gone``, ``offline
        although there``.

    Examples
    --------
    >>> misjudged_seconds(simulate({"phone": [0]}, 30), {"phone": range(20)}).loc["user"].to_dict()
    {'online although gone': 0, 'offline although there': 5}
    """
    looks = observed.state == "online"
    truth = pd.DataFrame(
        {name: looks.index.isin(list(there[str(name)])) for name in looks}, index=looks.index
    )
    looks["user"], truth["user"] = looks.any(axis=1), truth.any(axis=1)
    return pd.DataFrame(
        {
            "online although gone": (looks & ~truth).sum(),
            "offline although there": (truth & ~looks).sum(),
        }
    )


@dataclass(frozen=True)
class Scenario:
    """One user whose sessions leave without a goodbye: the phone after 40 s, each other one 20 s
    after the one before.

    Parameters
    ----------
    period : int
        Seconds between two reports of a session. The sessions take turns: their reports are spread
        over a period.
    lost : int
        How many of the phone's reports get lost in a row, all after its first.
    skew : int
        Seconds by which the clock of the server that reports is ahead of the reader's; negative if
        it is behind.
    sessions : int
        How many of `SESSIONS` the user has.
    lease : Lease
        How Redis forgets.

    Raises
    ------
    InvalidValueError
        A number is out of its range (see `RANGES`), or there is no such lease.

    Examples
    --------
    >>> Scenario(period=10, lost=1, sessions=2).report_times()
    {'phone': [0, 20, 30], 'laptop': [5, 15, 25, 35, 45, 55]}
    >>> print(Scenario(period=10, lost=1).summary())
    The user looks online for 5 s although gone, offline for 5 s although there; ghosts at a time:
    at most 0.
    """

    period: int = 5
    lost: int = 0
    skew: int = 0
    sessions: int = 1
    lease: Lease = Lease.KEY

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            number = getattr(self, name)
            if not isinstance(number, int) or not low <= number <= high:  # 5.0 is in a range, too
                raise InvalidValueError(
                    f"{name}={number!r} is out of range: give a whole number from {low} to {high}."
                )
        if self.lease not in list(Lease):
            raise InvalidValueError(
                f"lease={self.lease!r} is unknown: give one of {', '.join(Lease)}."
            )

    def there(self) -> dict[str, range]:
        """Return the seconds in which each session is there, from its first report on."""
        return {
            name: range(at * self.period // self.sessions, _PHONE_LEAVES + _APART * at)
            for at, name in enumerate(SESSIONS[: self.sessions])
        }

    def report_times(self) -> dict[str, list[int]]:
        """Return the seconds at which reports of each session arrive."""
        times = {name: list(seconds[:: self.period]) for name, seconds in self.there().items()}
        del times["phone"][1 : 1 + self.lost]
        return times

    def observed(self) -> Observed:
        """Return what a reader sees, until a while after the last session has left."""
        seconds = _PHONE_LEAVES + _APART * (self.sessions - 1) + _AFTERWARDS
        return simulate(self.report_times(), seconds, skew=self.skew, lease=self.lease)

    def misjudged_seconds(self) -> pd.DataFrame:
        """Return for how many seconds the reader is wrong, as `misjudged_seconds` counts them."""
        return misjudged_seconds(self.observed(), self.there())

    def summary(self) -> str:
        """Return what the numbers do to the user, the phone and Redis, in one sentence."""
        wrong = self.misjudged_seconds()
        (online, offline), (phone_online, phone_offline) = wrong.loc["user"], wrong.loc["phone"]
        ghosts = (self.observed().state == "stale").sum(axis=1).max()
        parts = [
            f"The user looks online for {online} s although gone, offline for {offline} s "
            "although there"
        ]
        if self.sessions > 1:
            parts.append(f"the phone does so for {phone_online} s and {phone_offline} s")
        return "; ".join([*parts, f"ghosts at a time: at most {ghosts}."])
