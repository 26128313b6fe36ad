"""The course's plots: presence over time, as it was observed or simulated; and the package's own.

A plot draws the numbers of a frame and nothing else: the notebook that shows it asserts them on
the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imlib.constants import CHECK_ONLINE_TIMEOUT
from imlib.plots import STATES, lease_left, state_legend, whole_numbers
from lessons.simulation import Observed

__all__ = ["STATES", "fields_held", "lease_left", "lease_timeline"]

_LINES: Final = ("--", ":", "-.", (0, (6, 2, 1, 2, 1, 2)))


def lease_timeline(
    observed: Observed, figure: Figure | None = None, there: Mapping[str, range] | None = None
) -> tuple[Axes, Axes]:
    """Draw the key's time to live and each session's age over time, and below them its states.

    Parameters
    ----------
    observed : Observed
    figure : matplotlib.figure.Figure, optional
        An empty one to draw into, instead of pyplot's next.
    there : mapping, optional
        The seconds in which each session really is there: a thick line under its bar.
    """
    figure = figure or plt.figure(figsize=(5.6, 4.6))
    clocks, bars = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    clocks.step(
        observed.ttl.index,
        observed.ttl,
        where="post",
        color="black",
        linewidth=2,
        label="key's TTL",
    )
    for at, name in enumerate(observed.state):
        _draw_session(observed, str(name), at, clocks, bars)
        if there:
            truth = there[str(name)]
            bars.hlines(
                at + 0.43, truth.start, truth.stop, color="black", linewidth=3, label="is there"
            )
    clocks.axhline(CHECK_ONLINE_TIMEOUT, color="black", linewidth=0.8)
    clocks.text(
        1, CHECK_ONLINE_TIMEOUT, " 17 s", va="center", transform=clocks.get_yaxis_transform()
    )
    clocks.set(ylabel="seconds")
    whole_numbers(clocks.yaxis)
    whole_numbers(bars.xaxis)
    named = clocks.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    for text in named.get_texts():
        text.set_parse_math(False)  # a $ in a name is a dollar
    bars.set(xlabel="time (s)", xlim=(0, len(observed.state)))
    bars.set_yticks(range(observed.state.shape[1]), list(observed.state), parse_math=False)
    bars.invert_yaxis()
    bars.grid(visible=False, axis="y")
    bars.legend(
        handles=[*state_legend(*STATES), *bars.get_legend_handles_labels()[0][:1]],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.35),
        ncols=4,
    )
    return clocks, bars


def _draw_session(observed: Observed, name: str, at: int, clocks: Axes, bars: Axes) -> None:
    """Draw one session: a line of its age into `clocks`, its states into the row `at` of `bars`."""
    age, state = observed.age[name], observed.state[name]
    style = _LINES[at % len(_LINES)]
    clocks.step(
        age.index, age, where="post", color="#555555", linestyle=style, label=f"age of {name}"
    )
    # One bar for each run of equal states, so that a hatch is not cut up by the seconds.
    for _, run in state.dropna().groupby(state.ne(state.shift()).cumsum()):
        (colour, hatch), span = STATES[run.iloc[0]], [(run.index[0], len(run))]
        bars.broken_barh(
            span, (at - 0.35, 0.7), facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0.6
        )


def fields_held(observed: Observed, axes: Axes) -> Axes:
    """Draw how many sessions Redis holds over time, and how many of them count."""
    # Each look stands for the second after it, the last one too.
    looks = observed.state.reindex(range(len(observed.state) + 1), method="ffill")
    below = looks.index * 0
    for state in ("online", "stale"):
        above = below + (looks == state).sum(axis=1).to_numpy()
        colour, hatch = STATES[state]
        axes.fill_between(
            looks.index, below, above, step="post", facecolor=colour, hatch=hatch, edgecolor="black"
        )
        below = above
    axes.set(xlabel="time (s)", ylabel="sessions in Redis", xlim=(0, len(observed.state)), ylim=0)
    axes.label_outer()
    whole_numbers(axes.yaxis)
    axes.legend(
        handles=state_legend("online", "stale"),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.18),
        ncols=2,
    )
    return axes
