"""Plots of a snapshot: one colour language for online, stale and expired, readable in grey too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imlib.constants import CHECK_ONLINE_TIMEOUT

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.patches import Patch

STATES = {
    "online": ("#2B7BBA", ""),
    "stale": ("#F2B447", "////"),
    "expired": ("#E6E6E6", ".."),
}
"""Colours and hatches. online: it counts. stale: only Redis still holds it. expired: it is gone."""


def lease_left(
    sessions: pd.DataFrame, axes: Axes, check_online_timeout: int = CHECK_ONLINE_TIMEOUT
) -> Axes:
    """Draw the seconds that a snapshot's sessions still count; below zero they no longer do.

    ``check_online_timeout`` is how long a report counts, ``snapshot.info["check_online_timeout"]``.
    """
    left = check_online_timeout - sessions["age_s"]
    # Where nobody is online there is no shortest and no longest.
    seconds = range(int(left.min()), int(left.max()) + 2) if len(left) else range(2)
    edges = [second - 0.5 for second in seconds]
    for state, chosen in (("online", sessions["online"]), ("stale", ~sessions["online"])):
        colour, hatch = STATES[state]
        axes.hist(
            left[chosen],
            bins=edges,
            facecolor=colour,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.6,
        )
    axes.set(xlabel="lease left (s)", ylabel="sessions")
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)
    axes.legend(
        handles=state_legend("online", "stale"),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.18),
        ncols=2,
    )
    return axes


def whole_numbers(axis: Axis) -> None:
    """Put the ticks of an axis at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10), integer=True))


def state_legend(*states: str) -> list[Patch]:
    """Return a patch for each of these states, as handles for a legend."""
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=STATES[one][0], hatch=STATES[one][1], edgecolor="black", label=one)
        for one in states
    ]
