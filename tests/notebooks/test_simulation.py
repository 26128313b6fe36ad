"""Presence second by second: what is simulated is what a server does, and what is seen of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_series_equal

import imlib
from lessons.simulation import (
    RANGES,
    SESSIONS,
    Observed,
    Scenario,
    misjudged_seconds,
    observe,
    simulate,
)
from tests.models.backends import VALKEY, VALKEY_FIELD, Stage, on_stage, serve

NOW = 1_512_270_533
PHONE = imlib.SessionStatus(7, -42, 1, 3, 99, 0)
LAPTOP = imlib.SessionStatus(7, 88, 1, 3, 98, 0)
NAMES = {PHONE.to_field(): "phone", LAPTOP.to_field(): "laptop"}
OFFLINE, ONLINE = "offline although there", "online although gone"

scenarios = st.builds(
    Scenario,
    **{name: st.integers(*ends) for name, ends in RANGES.items()},
    lease=st.sampled_from(imlib.Lease),
)
# Few sessions with few reports: what a key survives is decided by the gaps between them.
times = st.dictionaries(
    st.sampled_from(SESSIONS[:3]), st.sets(st.integers(0, 25), min_size=1, max_size=4), min_size=1
)
skews = st.sampled_from([0, -3, 3]) | st.integers(-20, 20)


def test_observing_sees_every_second() -> None:
    """The key goes 15 s after the last report of any session, a session turns stale 17 s after its
    own.
    """
    clock = imlib.ManualClock(NOW)
    with imlib.connect(
        "embedded://", "embedded://", scratch=True, clock=clock, lease="key"
    ) as deployment:
        seen = observe(deployment, clock, 30, {PHONE: [0], LAPTOP: [0, 5, 10]}, NAMES)
    assert list(range(31)) == seen.ttl.index.to_list()
    assert [15, 11, 15, 15, 1, 0] == seen.ttl[[0, 4, 5, 10, 24, 25]].to_list()
    assert ["online", "stale", "stale", "expired"] == seen.state["phone"][
        [16, 17, 24, 25]
    ].to_list()
    assert ["online", "online", "expired"] == seen.state["laptop"][[16, 24, 25]].to_list()
    assert [0, 24] == seen.age["phone"][[0, 24]].to_list()
    assert np.isnan(seen.age["phone"][25])


def test_a_session_has_no_state_before_its_first_report() -> None:
    """Nothing was there, so nothing has expired; without names a session is called by its field."""
    clock = imlib.ManualClock(NOW)
    with imlib.connect(
        "embedded://", "embedded://", scratch=True, clock=clock, lease="key"
    ) as deployment:
        seen = observe(deployment, clock, 3, {PHONE: [0], LAPTOP: [2]}).state
    assert ["-42_1", "88_1"] == list(seen)
    assert [True, True, False, False] == seen["88_1"].isna().to_list()


@pytest.fixture(
    scope="module", params=[VALKEY, VALKEY_FIELD], ids=lambda backend: str(backend.lease)
)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Give a scratch deployment on a real server, on either lease."""
    with (
        serve(request.param) as url,
        on_stage(request.param, url, tmp_path_factory.mktemp("stage")) as one,
    ):
        yield one


def agree(stage: Stage, times: dict[str, Any], seconds: int, skew: int) -> None:
    """Let reports arrive at a server, and assert that it does what is simulated."""
    sessions = {name: stage.session(at) for at, name in enumerate(times)}
    names = {status.to_field(): name for name, status in sessions.items()}
    stage.redis.flushall()
    due = {sessions[name]: seconds for name, seconds in times.items()}
    seen = observe(stage.deployment, stage.clock, seconds, due, names, skew=skew)
    told = simulate(times, seconds, skew=skew, lease=stage.deployment.lease)
    assert_series_equal(told.ttl, seen.ttl, check_names=False)
    assert_frame_equal(told.age, seen.age, check_like=True, check_names=False)
    assert_frame_equal(told.state, seen.state, check_like=True, check_names=False)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(lost=3, skew=-3, sessions=2),
        Scenario(period=20, skew=4, sessions=3),
        Scenario(period=16),
    ],
    ids=repr,
)
def test_a_server_does_what_a_scenario_says(stage: Stage, scenario: Scenario) -> None:
    """Key, ages and states are those of a real server in every second: gaps, skew and ghosts, on
    both leases.
    """
    agree(stage, scenario.report_times(), 60, scenario.skew)


@settings(max_examples=5)
@given(times=times, skew=skews)
def test_a_server_does_what_is_simulated_of_any_reports(
    stage: Stage, times: dict[str, set[int]], skew: int
) -> None:
    """Sessions that come late, report once, return after their key has gone, under
    clocks far off.
    """
    agree(stage, times, 45, skew)


def test_a_lone_session_lapses_with_its_key() -> None:
    """At 15 s the key is gone, and the session with it; there is no 17."""
    told = simulate({"phone": [2]}, 20)
    assert [0, 15, 1, 0] == told.ttl[[1, 2, 16, 17]].to_list()
    assert [None, "online", "online", "expired"] == told.state["phone"][[1, 2, 16, 17]].to_list()


@pytest.mark.parametrize(
    ("lease", "after"),
    [(imlib.Lease.KEY, "stale"), (imlib.Lease.FIELD, "expired"), ("field", "expired")],
)
def test_beside_a_sibling_the_stored_time_decides(lease: Any, after: str) -> None:
    """At 17 s a dead session turns into a ghost, or is gone where fields expire."""
    told = simulate({"phone": [0], "laptop": [10]}, 20, lease=lease)
    assert ["online", after] == told.state["phone"][[16, 17]].to_list()


@pytest.mark.parametrize(
    ("skew", "lapses"), [(-6, 11), (-3, 14), (-2, 15), (-1, 15), (0, 15), (6, 15)]
)
def test_a_clock_behind_cuts_the_lease_short(skew: int, lapses: int) -> None:
    """Alone a session counts for the smaller of 15 s and 17 s plus the skew."""
    state = simulate({"phone": [0]}, 20, skew=skew).state["phone"]
    assert [True, False] == (state[[lapses - 1, lapses]] == "online").to_list()


@given(times, skews)
def test_leases_differ_only_in_what_they_forget(times: dict[str, set[int]], skew: int) -> None:
    """Who is online on the field lease is online on the key lease; with right clocks it is the same
    the other way.
    """
    key, field = (
        simulate(times, 45, skew=skew, lease=lease).state == "online" for lease in imlib.Lease
    )
    assert not (field & ~key).any(axis=None)
    assert skew > 0 or key.equals(field)


def test_no_reports_are_no_scenario() -> None:
    """Nobody reports: the key was never there, and nobody is in the frames."""
    told = simulate({}, 3)
    assert [0, 0, 0, 0] == told.ttl.to_list()
    assert (4, 0) == told.state.shape == told.age.shape


def test_misjudged_counts_both_ways() -> None:
    """A second counts where look and truth differ; the user is there, or online, with any of her
    sessions.
    """
    state = pd.DataFrame(
        {"a": ["online", "stale", "stale", "expired"], "b": [None, "online", "online", "online"]}
    )
    seen = Observed(pd.Series(dtype=float), pd.DataFrame(), state)
    wrong = misjudged_seconds(seen, {"a": range(1, 4), "b": range(1, 2)})
    assert {"a": 1, "b": 2, "user": 1} == wrong[ONLINE].to_dict()
    assert {"a": 3, "b": 0, "user": 0} == wrong[OFFLINE].to_dict()


@pytest.mark.parametrize(("lost", "alone", "beside"), [(0, 0, 0), (2, 0, 0), (3, 5, 3), (4, 10, 8)])
def test_the_second_session_gives_two_seconds_more(lost: int, alone: int, beside: int) -> None:
    """Reports every 5 s: with two lost the third still comes in time; from then on a sibling's key
    saves 2 s.
    """
    seconds = [
        Scenario(lost=lost, sessions=n).misjudged_seconds().loc["phone", OFFLINE] for n in (1, 2)
    ]
    assert [alone, beside] == seconds


@given(scenarios)
def test_every_scenario_can_be_told(scenario: Scenario) -> None:
    """Each setting of the controls has a first report of each session, an end with nothing left,
    and a sentence.
    """
    seen = scenario.observed()
    assert list(SESSIONS[: scenario.sessions]) == list(scenario.report_times()) == list(seen.state)
    assert all(
        reports and set(reports) <= set(scenario.there()[name])
        for name, reports in scenario.report_times().items()
    )
    assert 0 == seen.ttl.iloc[-1]
    assert "online" not in set(seen.state.iloc[-1])
    assert scenario.summary().startswith("The user looks online for ")
    assert scenario.summary().endswith(".")


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
def test_a_scenario_refuses_what_it_cannot_tell(setting: dict[str, Any], message: str) -> None:
    """A number out of its range, or a lease that there is not, is refused by name."""
    with pytest.raises(imlib.errors.InvalidValueError) as refusal:
        Scenario(**setting)
    assert message == str(refusal.value)
