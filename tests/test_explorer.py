"""The lease explorer: what it foretells is what a server does, and its picture follows its controls."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from pandas.testing import assert_frame_equal, assert_series_equal

import imlib
from imlib.display import alt_text, notebook_style
from imlib.explorer import Explorer, picture
from imlib.lease_story import RANGES, SESSIONS, Story, foretell, misjudged
from imlib.plots import Watched, watch
from tests.backends import VALKEY, VALKEY_FIELD, Stage, on_stage, serve

VIEW = "application/vnd.jupyter.widget-view+json"
OFFLINE, ONLINE = "offline although there", "online although gone"

stories = st.builds(
    Story, **{name: st.integers(*ends) for name, ends in RANGES.items()}, lease=st.sampled_from(imlib.Lease)
)
# Few sessions with few reports: what a key survives is decided by the gaps between them.
beats = st.dictionaries(st.sampled_from(SESSIONS[:3]), st.sets(st.integers(0, 25), min_size=1, max_size=4), min_size=1)
skews = st.sampled_from([0, -3, 3]) | st.integers(-20, 20)


@pytest.fixture(scope="module", params=[VALKEY, VALKEY_FIELD], ids=lambda backend: str(backend.lease))
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a scratch deployment on a real server, on either lease."""
    with serve(request.param) as url, on_stage(request.param, url, tmp_path_factory.mktemp("stage")) as one:
        yield one


def agree(stage: Stage, beats: dict[str, Any], seconds: int, skew: int) -> None:
    """Let a story happen on a server and assert that it is the one foretold."""
    sessions = {name: stage.session(at) for at, name in enumerate(beats)}
    names = {status.to_field(): name for name, status in sessions.items()}
    stage.redis.flushall()
    due = {sessions[name]: seconds for name, seconds in beats.items()}
    seen = watch(stage.deployment, stage.clock, seconds, due, names, skew=skew)
    told = foretell(beats, seconds, skew=skew, lease=stage.deployment.lease)
    assert_series_equal(told.ttl, seen.ttl, check_names=False)
    assert_frame_equal(told.age, seen.age, check_like=True, check_names=False)
    assert_frame_equal(told.state, seen.state, check_like=True, check_names=False)


@pytest.mark.parametrize(
    "story", [Story(lost=3, skew=-3, sessions=2), Story(period=20, skew=4, sessions=3), Story(period=16)], ids=repr
)
def test_a_server_does_what_a_story_foretells(stage: Stage, story: Story) -> None:
    """Key, ages and states are those of a real server in every second: gaps, skew and ghosts, on both leases."""
    agree(stage, story.beats(), 60, story.skew)


@settings(max_examples=5)
@given(beats=beats, skew=skews)
def test_a_server_does_what_is_foretold_of_any_reports(stage: Stage, beats: dict[str, set[int]], skew: int) -> None:
    """Sessions that come late, report once, return after their key has gone, under clocks far off."""
    agree(stage, beats, 45, skew)


def test_a_lone_session_lapses_with_its_key() -> None:
    """At 15 s the key is gone, and the session with it; there is no 17."""
    told = foretell({"phone": [2]}, 20)
    assert [0, 15, 1, 0] == told.ttl[[1, 2, 16, 17]].to_list()
    assert [None, "online", "online", "expired"] == told.state["phone"][[1, 2, 16, 17]].to_list()


@pytest.mark.parametrize(
    ("lease", "after"), [(imlib.Lease.KEY, "stale"), (imlib.Lease.FIELD, "expired"), ("field", "expired")]
)
def test_beside_a_sibling_the_stored_time_decides(lease: Any, after: str) -> None:
    """At 17 s a dead session turns into a ghost, or is gone where fields expire."""
    told = foretell({"phone": [0], "laptop": [10]}, 20, lease=lease)
    assert ["online", after] == told.state["phone"][[16, 17]].to_list()


@pytest.mark.parametrize(("skew", "lapses"), [(-6, 11), (-3, 14), (-2, 15), (-1, 15), (0, 15), (6, 15)])
def test_a_clock_behind_cuts_the_lease_short(skew: int, lapses: int) -> None:
    """Alone a session counts for the smaller of 15 s and 17 s plus the skew."""
    state = foretell({"phone": [0]}, 20, skew=skew).state["phone"]
    assert [True, False] == (state[[lapses - 1, lapses]] == "online").to_list()


@given(beats, skews)
def test_leases_differ_only_in_what_they_forget(beats: dict[str, set[int]], skew: int) -> None:
    """Who is online on the field lease is online on the key lease; with right clocks it is the same the other way."""
    key, field = (foretell(beats, 45, skew=skew, lease=lease).state == "online" for lease in imlib.Lease)
    assert not (field & ~key).any(axis=None)
    assert skew > 0 or key.equals(field)


def test_no_reports_are_no_story() -> None:
    """Nobody reports: the key was never there, and nobody is in the frames."""
    told = foretell({}, 3)
    assert [0, 0, 0, 0] == told.ttl.to_list()
    assert (4, 0) == told.state.shape == told.age.shape


def test_misjudged_counts_both_ways() -> None:
    """A second counts where look and truth differ; the user is there, or online, with any of her sessions."""
    state = pd.DataFrame({"a": ["online", "stale", "stale", "expired"], "b": [None, "online", "online", "online"]})
    seen = Watched(pd.Series(dtype=float), pd.DataFrame(), state)
    wrong = misjudged(seen, {"a": range(1, 4), "b": range(1, 2)})
    assert {"a": 1, "b": 2, "user": 1} == wrong[ONLINE].to_dict()
    assert {"a": 3, "b": 0, "user": 0} == wrong[OFFLINE].to_dict()


@pytest.mark.parametrize(("lost", "alone", "beside"), [(0, 0, 0), (2, 0, 0), (3, 5, 3), (4, 10, 8)])
def test_the_second_session_gives_two_seconds_more(lost: int, alone: int, beside: int) -> None:
    """Reports every 5 s: with two lost the third still comes in time; from then on a sibling's key saves 2 s."""
    seconds = [Story(lost=lost, sessions=n).misjudged().loc["phone", OFFLINE] for n in (1, 2)]
    assert [alone, beside] == seconds


@given(stories)
def test_every_story_can_be_told(story: Story) -> None:
    """Each setting of the controls has a first report of each session, an end with nothing left, and a sentence."""
    seen = story.watched()
    assert list(SESSIONS[: story.sessions]) == list(story.beats()) == list(seen.state)
    assert all(reports and set(reports) <= set(story.there()[name]) for name, reports in story.beats().items())
    assert 0 == seen.ttl.iloc[-1]
    assert "online" not in set(seen.state.iloc[-1])
    assert story.summary().startswith("The user looks online for ")
    assert story.summary().endswith(".")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"period": 0}, "period=0 is out of range: give a whole number from 1 to 20."),
        ({"period": 21}, "period=21 is out of range: give a whole number from 1 to 20."),
        ({"skew": -7}, "skew=-7 is out of range: give a whole number from -6 to 6."),
        ({"sessions": 5}, "sessions=5 is out of range: give a whole number from 1 to 4."),
        ({"period": 5.0}, "period=5.0 is out of range: give a whole number from 1 to 20."),
        ({"lost": 1.5}, "lost=1.5 is out of range: give a whole number from 0 to 6."),
        ({"lost": "2"}, "lost='2' is out of range: give a whole number from 0 to 6."),
        ({"lease": "lock"}, "lease='lock' is unknown: give one of key, field."),
    ],
)
def test_a_story_refuses_what_it_cannot_tell(setting: dict[str, Any], message: str) -> None:
    """A number out of its range, or a lease that there is not, is refused by name."""
    with pytest.raises(imlib.errors.ConfigurationError) as refusal:
        Story(**setting)
    assert message == str(refusal.value)


def test_the_picture_draws_the_story() -> None:
    """Lines are the frames', thick lines are the truth, and the sentence is under it and read out for it."""
    notebook_style()
    story = Story(lost=3, sessions=2)
    figure = picture(story)
    clocks, bars = figure.axes
    (ttl,) = (line.get_ydata() for line in clocks.lines if line.get_label() == "key's TTL")
    assert story.watched().ttl.to_list() == np.asarray(ttl).tolist()
    lines = [line for line in bars.collections if isinstance(line, LineCollection)]
    truths = [np.asarray(line.get_segments())[0, :, 0].tolist() for line in lines]
    assert [[0, 40], [2, 60]] == truths
    assert story.summary() == figure.texts[0].get_text().replace("\n", " ") == alt_text(figure)


def bundle(explorer: Explorer) -> dict[str, Any]:
    """Return what a cell shows that ends with an explorer."""
    return explorer._repr_mimebundle_()[0]


def drawn(story: Story) -> str:
    """Return what the picture of a story is stored as."""
    image: str = bundle(Explorer(story, live=False))["image/png"]
    return image


def test_without_widgets_it_is_a_picture_and_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Jupyter server, no widget: a PNG with its description, the same to the letter each time."""
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    notebook_style()
    explorer = Explorer(Story(lost=1))
    data, metadata = explorer._repr_mimebundle_()
    assert {"text/plain": Story(lost=1).summary(), "image/png": drawn(Story(lost=1))} == data
    assert {"image/png": {"alt": alt_text(picture(Story(lost=1)))}} == metadata
    image = base64.b64decode(data["image/png"])
    assert (b"\x89PNG", 728, 676) == (image[:4], *struct.unpack(">II", image[16:24]))


def test_under_a_jupyter_server_it_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server tells its kernels their session's name; beside the widget the picture and the sentence stay."""
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/02-presence-lease.ipynb")
    explorer = Explorer()
    assert {"text/plain", "image/png", VIEW} == set(bundle(explorer))
    assert repr(explorer) == Story().summary() == bundle(explorer)["text/plain"]
    assert VIEW not in bundle(Explorer(live=False))


@pytest.mark.parametrize(
    ("name", "value"),
    [("period", 16), ("lost", 3), ("skew", -6), ("sessions", 4), ("lease", imlib.Lease.FIELD)],
)
def test_the_picture_follows_a_moved_control(name: str, value: Any) -> None:
    """Every control changes its own number of the story, and the picture with its description at once."""
    start = Story(sessions=2)
    explorer = Explorer(start, live=True)
    box = explorer.controls()
    (control,) = (one for one in box.children if f"imlib-explorer-{name}" in one._dom_classes)
    shown = box.children[-1]
    before = shown.value
    control.value = value
    story = replace(start, **{name: value})
    assert story == explorer.story
    assert f'<img src="data:image/png;base64,{drawn(story)}" alt="{story.summary()}">' == shown.value != before


def test_controls_are_named_and_bounded() -> None:
    """Classes find the whole, each control and the picture; sliders say what they move and go no further than it."""
    box = Explorer(live=True).controls()
    assert "imlib-explorer" in box._dom_classes
    *sliders, lease, shown = box.children
    assert RANGES == {name: (slider.min, slider.max) for name, slider in zip(RANGES, sliders, strict=True)}
    assert ["report every (s)", "lost in a row", "clock ahead (s)", "sessions", "lease"] == [
        control.description for control in (*sliders, lease)
    ]
    assert "imlib-explorer-picture" in shown._dom_classes
