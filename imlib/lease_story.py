"""What presence will look like, second by second, foretold by the lease rule: no server, no clock, no waiting.

`foretell` says what `imlib.plots.watch` would see on a real server; a test compares the two. A `Story` is one user's
troubles in a few numbers, for the explorer of a lesson.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imlib.errors import ConfigurationError
from imlib.lease import Lease, counts_until, is_online, key_goes_at
from imlib.plots import Watched

if TYPE_CHECKING:
    import pandas as pd

SESSIONS: Final = ("phone", "laptop", "tablet", "desktop")
"""The sessions of a `Story`, in the order in which they join it."""
RANGES: Final = {"period": (1, 20), "lost": (0, 6), "skew": (-6, 6), "sessions": (1, len(SESSIONS))}
"""The least and the greatest of what a `Story` takes."""
_PHONE_LEAVES, _APART, _AFTERWARDS = 40, 20, 20


def foretell(beats: Mapping[str, Collection[int]], seconds: int, *, skew: int = 0, lease: Lease = Lease.KEY) -> Watched:
    """Return what a watcher of one user would see in each second.

    Parameters
    ----------
    beats : mapping
        The seconds, from 0, at which reports of each session arrive.
    seconds : int
        How long it is watched; both ends are looked at.
    skew : int
        Seconds by which the clock of the servers that report is ahead of the reader's.
    lease : Lease
        How Redis forgets.

    Examples
    --------
    >>> seen = foretell({"phone": [0], "laptop": [0, 10]}, 25)
    >>> seen.ttl[[0, 9, 10, 24, 25]].to_list()
    [15.0, 6.0, 15.0, 1.0, 0.0]
    >>> seen.state["phone"][[0, 16, 17, 25]].to_list()
    ['online', 'online', 'stale', 'expired']
    """
    import pandas as pd

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
        held |= {name: second for name, at in beats.items() if second in at}
        known |= held.keys()
        stored = {name: at + skew for name, at in held.items()}
        ttls.append((key_goes_at(list(held.values())) or second) - second)
        ages.append({name: second - now for name, now in stored.items()})
        state = {name: "online" if is_online(now, second) else "stale" for name, now in stored.items()}
        states.append(dict.fromkeys(known, "expired") | state)
    every, names = pd.RangeIndex(seconds + 1, name="second"), list(beats)
    age = pd.DataFrame(ages, index=every, columns=names, dtype=float)
    seen = pd.DataFrame(states, index=every, columns=names, dtype=object)
    return Watched(pd.Series(ttls, every, dtype=float), age, seen.where(seen.notna(), None))


def misjudged(watched: Watched, there: Mapping[str, Collection[int]]) -> pd.DataFrame:
    """Count the seconds in which a reader is wrong about each session, and about the user as a whole.

    Parameters
    ----------
    watched : Watched
    there : mapping
        The seconds in which each session really is there.

    Returns
    -------
    DataFrame of int
        A row a session, the last one called ``user``; columns ``online although gone``, ``offline although there``.

    Examples
    --------
    >>> misjudged(foretell({"phone": [0]}, 30), {"phone": range(20)}).loc["user"].to_dict()
    {'online although gone': 0, 'offline although there': 5}
    """
    import pandas as pd

    looks = watched.state == "online"
    truth = pd.DataFrame({name: looks.index.isin(list(there[str(name)])) for name in looks}, index=looks.index)
    looks["user"], truth["user"] = looks.any(axis=1), truth.any(axis=1)
    return pd.DataFrame(
        {"online although gone": (looks & ~truth).sum(), "offline although there": (truth & ~looks).sum()}
    )


@dataclass(frozen=True)
class Story:
    """One user whose sessions leave without a goodbye: the phone after 40 s, each other one 20 s after the one before.

    Parameters
    ----------
    period : int
        Seconds between two reports of a session. The sessions take turns: their reports are spread over a period.
    lost : int
        How many of the phone's reports get lost in a row, all after its first.
    skew : int
        Seconds by which the clock of the server that reports is ahead of the reader's; negative if it is behind.
    sessions : int
        How many of `SESSIONS` the user has.
    lease : Lease
        How Redis forgets.

    Raises
    ------
    ConfigurationError
        A number is out of its range (see `RANGES`), or there is no such lease.

    Examples
    --------
    >>> Story(period=10, lost=1, sessions=2).beats()
    {'phone': [0, 20, 30], 'laptop': [5, 15, 25, 35, 45, 55]}
    >>> print(Story(period=10, lost=1).summary())
    The user looks online for 5 s although gone, offline for 5 s although there; ghosts at a time: at most 0.
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
                raise ConfigurationError(
                    f"{name}={number!r} is out of range: give a whole number from {low} to {high}."
                )
        if self.lease not in list(Lease):
            raise ConfigurationError(f"lease={self.lease!r} is unknown: give one of {', '.join(Lease)}.")

    def there(self) -> dict[str, range]:
        """Return the seconds in which each session is there, from its first report on."""
        return {
            name: range(at * self.period // self.sessions, _PHONE_LEAVES + _APART * at)
            for at, name in enumerate(SESSIONS[: self.sessions])
        }

    def beats(self) -> dict[str, list[int]]:
        """Return the seconds at which reports of each session arrive."""
        beats = {name: list(seconds[:: self.period]) for name, seconds in self.there().items()}
        del beats["phone"][1 : 1 + self.lost]
        return beats

    def watched(self) -> Watched:
        """Return what a reader sees, until a while after the last session has left."""
        seconds = _PHONE_LEAVES + _APART * (self.sessions - 1) + _AFTERWARDS
        return foretell(self.beats(), seconds, skew=self.skew, lease=self.lease)

    def misjudged(self) -> pd.DataFrame:
        """Return for how many seconds the reader is wrong, as `misjudged` counts them."""
        return misjudged(self.watched(), self.there())

    def summary(self) -> str:
        """Return what the numbers do to the user, the phone and Redis, in one sentence."""
        wrong = self.misjudged()
        (online, offline), (phone_online, phone_offline) = wrong.loc["user"], wrong.loc["phone"]
        ghosts = (self.watched().state == "stale").sum(axis=1).max()
        parts = [f"The user looks online for {online} s although gone, offline for {offline} s although there"]
        if self.sessions > 1:
            parts.append(f"the phone does so for {phone_online} s and {phone_offline} s")
        return "; ".join([*parts, f"ghosts at a time: at most {ghosts}."])
