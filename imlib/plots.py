"""Pictures of presence, in one colour language for online, stale and expired that is readable in grey as well.

A picture draws the numbers of a frame and nothing else: the notebook that shows it asserts them on the frame.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from imlib.constants import CHECK_ONLINE_TIMEOUT
from imlib.lease import ManualClock
from imlib.session_status import SessionStatus

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from imlib.deployment import Deployment

STATES: Final = {"online": ("#2B7BBA", ""), "stale": ("#F2B447", "////"), "expired": ("#E6E6E6", "..")}
"""Colours and hatches. online: it counts; stale: it no longer does, but Redis holds it; expired: Redis forgot it."""
Beats = Mapping[SessionStatus, Collection[int]]
_LINES: Final = ("--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)))


class Watched(NamedTuple):
    """What `watch` saw of one user: one row a second from 0, one column a session.

    Parameters
    ----------
    ttl : Series of float
        What the key had left, in whole seconds: 0 once it is gone, NaN where it never goes.
    age : DataFrame of float
        Seconds since each session's stored report; NaN where Redis holds none.
    state : DataFrame of str
        One of `STATES`; None before a session's first report.
    """

    ttl: pd.Series[float]
    age: pd.DataFrame
    state: pd.DataFrame


def watch(
    deployment: Deployment,
    clock: ManualClock,
    seconds: int,
    beats: Beats,
    names: Mapping[str, str] | None = None,
    *,
    skew: int = 0,
) -> Watched:
    """Turn a clock second by second, let sessions report when they are due, and look each time.

    Parameters
    ----------
    deployment, clock
        A scratch deployment with one user at most, and its clock.
    beats : mapping
        The seconds, from 0, at which each session reports.
    names : mapping, optional
        What to call a session, by its documented field.
    skew : int
        Seconds by which the clock of the servers that report is ahead of the reader's.
    """
    import numpy as np
    import pandas as pd

    looks = []
    for second in range(seconds + 1):
        deployment.advance(min(second, 1))
        due = [replace(status, now=int(clock()) + skew) for status, at in beats.items() if second in at]
        deployment.online_status.renew(due)
        looks.append(deployment.snapshot(tables=[]).sessions.assign(second=second))
    held = pd.concat(looks)
    fields = held["auth_key_id"].astype(str) + "_" + held["session_id"].astype(str)
    held["name"] = fields.replace(dict(names or {}))
    every, order = pd.RangeIndex(seconds + 1, name="second"), held["name"].unique()
    online = held.pivot(index="second", columns="name", values="online").reindex(every)[order]
    state = online.astype("object").replace({True: "online", False: "stale"}).fillna("expired")
    age = held.pivot(index="second", columns="name", values="age_s").reindex(every)[order]
    # Up to the whole second: while the turned clock stands still the server's runs on, by far less than that.
    ttl = np.ceil(held.groupby("second")["key_ttl_s"].first()).reindex(every, fill_value=0)
    return Watched(ttl, age, state.where(online.notna().cummax(), None))


def lease_timeline(
    watched: Watched, figure: Figure | None = None, there: Mapping[str, range] | None = None
) -> tuple[Axes, Axes]:
    """Draw the key's time to live and each session's age over time; below, a bar of states for each session.

    Parameters
    ----------
    watched : Watched
    figure : matplotlib.figure.Figure, optional
        An empty one to draw into, instead of pyplot's next.
    there : mapping, optional
        The seconds in which each session really is there: a thick line under its bar.
    """
    from matplotlib import pyplot as plt

    figure = figure or plt.figure(figsize=(5.6, 4.6))
    clocks, bars = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    clocks.step(watched.ttl.index, watched.ttl, where="post", color="black", linewidth=2, label="key's TTL")
    for at, name in enumerate(watched.state):
        age, state = watched.age[name], watched.state[name]
        clocks.step(
            age.index, age, where="post", color="#555555", linestyle=_LINES[at % len(_LINES)], label=f"age of {name}"
        )
        # One bar a run of equal states, so that a hatch is not cut up by the seconds.
        for _, run in state.dropna().groupby(state.ne(state.shift()).cumsum()):
            (colour, hatch), span = STATES[run.iloc[0]], [(run.index[0], len(run))]
            bars.broken_barh(span, (at - 0.35, 0.7), facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0.6)
        if there:
            truth = there[str(name)]
            bars.hlines(at + 0.43, truth.start, truth.stop, color="black", linewidth=3, label="is there")
    clocks.axhline(CHECK_ONLINE_TIMEOUT, color="black", linewidth=0.8)
    clocks.text(1, CHECK_ONLINE_TIMEOUT, " 17 s", va="center", transform=clocks.get_yaxis_transform())
    clocks.set(ylabel="seconds")
    _whole(clocks.yaxis)
    _whole(bars.xaxis)
    clocks.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    bars.set(xlabel="time (s)", xlim=(0, len(watched.state)))
    bars.set_yticks(range(watched.state.shape[1]), list(watched.state))
    bars.invert_yaxis()
    bars.grid(visible=False, axis="y")
    bars.legend(
        handles=[*_legend(*STATES), *bars.get_legend_handles_labels()[0][:1]],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.35),
        ncols=4,
    )
    return clocks, bars


def fields_held(watched: Watched, axes: Axes) -> Axes:
    """Draw how many sessions Redis holds over time, and how many of them count."""
    # Each look stands for the second after it, the last one too.
    looks = watched.state.reindex(range(len(watched.state) + 1), method="ffill")
    below = looks.index * 0
    for state in ("online", "stale"):
        above = below + (looks == state).sum(axis=1).to_numpy()
        colour, hatch = STATES[state]
        axes.fill_between(looks.index, below, above, step="post", facecolor=colour, hatch=hatch, edgecolor="black")
        below = above
    axes.set(xlabel="time (s)", ylabel="sessions in Redis", xlim=(0, len(watched.state)), ylim=0)
    axes.label_outer()
    _whole(axes.yaxis)
    axes.legend(handles=_legend("online", "stale"), loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return axes


def lease_left(sessions: pd.DataFrame, axes: Axes) -> Axes:
    """Draw for how many seconds more the sessions of a snapshot count; below zero, since when they no longer do."""
    left = CHECK_ONLINE_TIMEOUT - sessions["age_s"]
    edges = [second - 0.5 for second in range(int(left.min()), int(left.max()) + 2)]
    for state, chosen in (("online", left[sessions["online"]]), ("stale", left[~sessions["online"]])):
        colour, hatch = STATES[state]
        axes.hist(chosen, bins=edges, facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0.6)
    axes.set(xlabel="lease left (s)", ylabel="sessions")
    _whole(axes.xaxis)
    _whole(axes.yaxis)
    axes.legend(handles=_legend("online", "stale"), loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return axes


def _whole(axis: Axis) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10), integer=True))


def _legend(*states: str) -> list[Patch]:
    from matplotlib.patches import Patch

    return [Patch(facecolor=STATES[one][0], hatch=STATES[one][1], edgecolor="black", label=one) for one in states]
