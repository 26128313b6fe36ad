"""The pictures draw what the frames say, in one colour language; notebooks look alike."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle

import imlib
from imlib.display import notebook_style
from imlib.plots import STATES, Watched, fields_held, lease_left, lease_timeline, watch

NOW = 1_512_270_533
PHONE = imlib.SessionStatus(7, -42, 1, 3, 99, 0)
LAPTOP = imlib.SessionStatus(7, 88, 1, 3, 98, 0)
NAMES = {PHONE.to_field(): "phone", LAPTOP.to_field(): "laptop"}


@pytest.fixture(autouse=True)
def nothing_on_screen() -> Iterator[None]:
    """Draw into memory, and leave neither figures nor options behind."""
    with mpl.rc_context(), pd.option_context("display.width", 80):
        plt.switch_backend("agg")
        yield
        plt.close("all")


@pytest.fixture(scope="module")
def watched() -> Watched:
    """Return a phone that reports once and a laptop that reports at 0, 5 and 10 s, watched for 30 s."""
    clock = imlib.ManualClock(NOW)
    with imlib.connect("embedded://", "embedded://", scratch=True, clock=clock, lease="key") as deployment:
        return watch(deployment, clock, 30, {PHONE: [0], LAPTOP: [0, 5, 10]}, NAMES)


def axes_of_its_own() -> Axes:
    """Return an empty pair of axes."""
    return plt.figure().add_subplot()


def test_watching_sees_every_second(watched: Watched) -> None:
    """The key goes 15 s after the last report of any session, a session turns stale 17 s after its own."""
    assert list(range(31)) == watched.ttl.index.to_list()
    assert [15, 11, 15, 15, 1, 0] == watched.ttl[[0, 4, 5, 10, 24, 25]].to_list()
    assert ["online", "stale", "stale", "expired"] == watched.state["phone"][[16, 17, 24, 25]].to_list()
    assert ["online", "online", "expired"] == watched.state["laptop"][[16, 24, 25]].to_list()
    assert [0, 24] == watched.age["phone"][[0, 24]].to_list()
    assert np.isnan(watched.age["phone"][25])


def test_a_session_has_no_state_before_its_first_report() -> None:
    """Nothing was there, so nothing has expired; without names a session is called by its field."""
    clock = imlib.ManualClock(NOW)
    with imlib.connect("embedded://", "embedded://", scratch=True, clock=clock, lease="key") as deployment:
        seen = watch(deployment, clock, 3, {PHONE: [0], LAPTOP: [2]}).state
    assert ["-42_1", "88_1"] == list(seen)
    assert [True, True, False, False] == seen["88_1"].isna().to_list()


def test_a_timeline_draws_the_frames(watched: Watched) -> None:
    """The lines are the key's time to live and the ages; there is a bar for each run of equal states."""
    clocks, bars = lease_timeline(watched)
    lines = {line.get_label(): np.asarray(line.get_ydata()) for line in clocks.lines}
    assert watched.ttl.to_list() == lines["key's TTL"].tolist()
    np.testing.assert_array_equal(watched.age["laptop"], lines["age of laptop"])
    spans = [tuple(bar.get_paths()[0].get_extents().intervalx) for bar in bars.collections]
    assert [(0, 17), (17, 25), (25, 31), (0, 25), (25, 31)] == spans
    assert ["phone", "laptop"] == [label.get_text() for label in bars.get_yticklabels()]
    assert all(axis.get_label_text() for axis in (clocks.yaxis, bars.xaxis))


def test_what_redis_holds_is_stacked(watched: Watched) -> None:
    """Stale sessions stand on those that are online, up to all that Redis holds."""
    online, stale = fields_held(watched, axes_of_its_own()).collections
    assert 2 == online.get_paths()[0].get_extents().y1
    outline = np.asarray(stale.get_paths()[0].vertices)
    assert {1, 2} == set(outline[(outline[:, 0] > 17) & (outline[:, 0] < 24), 1])
    fills = [to_hex(np.asarray(fill.get_facecolor())[0]) for fill in (online, stale)]
    assert [STATES["online"][0].lower(), STATES["stale"][0].lower()] == fills


def test_lease_left_is_counted_by_whole_seconds() -> None:
    """A session of age 0 has 17 s left; one of age 17 has none and is stale."""
    sessions = pd.DataFrame({"age_s": [0.0, 16.0, 17.0, 17.0, 20.0], "online": [True, True, False, False, False]})
    axes = lease_left(sessions, axes_of_its_own())
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_height()]
    drawn = {(round(bar.get_x() + 0.5), to_hex(bar.get_facecolor())): bar.get_height() for bar in bars}
    blue, orange = STATES["online"][0].lower(), STATES["stale"][0].lower()
    assert {(17, blue): 1, (1, blue): 1, (0, orange): 2, (-3, orange): 1} == drawn


def test_states_differ_in_grey() -> None:
    """No two states have the same hatch, nor nearly the same lightness."""
    lightness = sorted(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour, _ in STATES.values())
    assert min(np.diff(lightness)) > 0.1
    assert len(STATES) == len({hatch for _, hatch in STATES.values()})


def test_notebooks_print_frames_whole() -> None:
    """A frame of a dozen columns is neither cut nor wrapped, and a figure is as narrow as a phone wants it."""
    notebook_style()
    wide = pd.DataFrame([range(12)], columns=[f"column{at}" for at in range(12)])
    assert 2 == len(str(wide).splitlines())
    assert mpl.rcParams["figure.figsize"][0] < 6


def test_lines_differ_in_more_than_colour() -> None:
    """Two lines of a notebook have dash patterns of their own, and no colour that means a state."""
    notebook_style()
    first, second = plt.plot([0, 1], [[0, 1], [1, 0]])
    assert first.get_linestyle() != second.get_linestyle()
    assert not {to_hex(line.get_color()).upper() for line in (first, second)} & {
        colour for colour, _ in STATES.values()
    }
