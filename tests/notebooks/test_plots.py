"""Plots draw what the frames say, in one colour language: those of the package and those of the
course.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle

from lessons.plots import STATES, fields_held, lease_left, lease_timeline
from lessons.simulation import simulate

# A phone that reports once, and a laptop that reports three times.
OBSERVED = simulate({"phone": [0], "laptop": [0, 5, 10]}, 30)


@pytest.fixture(autouse=True)
def nothing_on_screen() -> Iterator[None]:
    """Draw into memory, and leave no figures behind."""
    plt.switch_backend("agg")
    yield
    plt.close("all")


def axes_of_its_own() -> Axes:
    """Return an empty pair of axes."""
    return plt.figure().add_subplot()


def test_a_timeline_draws_the_frames() -> None:
    """The lines are the key's time to live and the ages; there is a bar for each run of equal
    states.
    """
    clocks, bars = lease_timeline(OBSERVED)
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in clocks.lines}
    assert OBSERVED.ttl.to_list() == lines["key's TTL"].tolist()
    np.testing.assert_array_equal(OBSERVED.age["laptop"], lines["age of laptop"])
    spans = [tuple(bar.get_paths()[0].get_extents().intervalx) for bar in bars.collections]
    assert [(0, 17), (17, 25), (25, 31), (0, 25), (25, 31)] == spans
    assert ["phone", "laptop"] == [label.get_text() for label in bars.get_yticklabels()]
    assert all(axis.get_label_text() for axis in (clocks.yaxis, bars.xaxis))


def test_what_redis_holds_is_stacked() -> None:
    """Stale sessions stand on those that are online, up to all that Redis holds."""
    online, stale = fields_held(OBSERVED, axes_of_its_own()).collections
    assert 2 == online.get_paths()[0].get_extents().y1
    outline = np.asarray(stale.get_paths()[0].vertices)
    assert {1, 2} == set(outline[(outline[:, 0] > 17) & (outline[:, 0] < 24), 1])
    fills = [to_hex(np.asarray(fill.get_facecolor())[0]) for fill in (online, stale)]
    assert [STATES["online"][0].lower(), STATES["stale"][0].lower()] == fills


def test_lease_left_is_counted_by_whole_seconds() -> None:
    """A session of age 0 has 17 s left; one of age 17 has none and is stale."""
    sessions = pd.DataFrame(
        {"age_s": [0.0, 16.0, 17.0, 17.0, 20.0], "online": [True, True, False, False, False]}
    )
    axes = lease_left(sessions, axes_of_its_own())
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_height()]
    drawn = {
        (round(bar.get_x() + 0.5), to_hex(bar.get_facecolor())): bar.get_height() for bar in bars
    }
    blue, orange = STATES["online"][0].lower(), STATES["stale"][0].lower()
    assert {(17, blue): 1, (1, blue): 1, (0, orange): 2, (-3, orange): 1} == drawn


def test_states_differ_in_grey() -> None:
    """No two states have the same hatch, nor nearly the same lightness."""
    lightness = sorted(
        np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour, _ in STATES.values()
    )
    assert min(np.diff(lightness)) > 0.1
    assert len(STATES) == len({hatch for _, hatch in STATES.values()})
