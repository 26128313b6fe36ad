"""The lease rule without any server: its two edges, its clocks, and integers as wide as
they come.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import imlib
from imlib.lease import (
    ManualClock,
    counts_until,
    cutoff,
    is_online,
    key_goes_at,
    skewed,
    system_clock,
)

NOW = 1_512_270_533
INT64 = st.integers(-(2**63), 2**63 - 1)
CLOCKS = st.integers(-(2**40), 2**40) | st.floats(-(2.0**40), 2.0**40)


@pytest.mark.parametrize(
    ("age", "online"),
    [
        (-1, True),
        (0, True),
        (14.999, True),
        (15, True),
        (16, True),
        (16.999, True),
        (17, False),
        (17.001, False),
        (18, False),
    ],
)
def test_a_session_counts_for_17_s(age: float, online: bool) -> None:
    """Until just before 17 s after its own report, whatever happened at 15 s; at 17 s it no longer
    does.
    """
    assert online is is_online(NOW, NOW + age)
    assert online is (NOW + age < counts_until(NOW))


@pytest.mark.parametrize(
    ("reports", "goes"), [([], None), ([NOW], NOW + 15), ([NOW, NOW + 9, NOW + 4], NOW + 24)]
)
def test_a_key_goes_15_s_after_the_last_report(reports: list[int], goes: int | None) -> None:
    """The last report of any session decides, in whatever order they are given; without one there
    is no key.
    """
    assert goes == key_goes_at(reports)


@pytest.mark.parametrize(
    ("clock", "latest"),
    [(17, 0), (17.999, 0), (18, 1), (0, -17), (-0.5, -18), (NOW + 16.999, NOW - 1)],
)
def test_cutoff(clock: float, latest: int) -> None:
    """The clock is taken down to its whole second, below zero too; the answer is an int."""
    assert latest == cutoff(clock)
    assert int is type(cutoff(clock))


@pytest.mark.parametrize(
    ("now", "online"), [(2**63 - 1, True), (-(2**63), False), (2**63 - 17, True), (0, False)]
)
def test_the_ends_of_int64_overflow_nothing(now: int, online: bool) -> None:
    """A stored time may be any int64; the rule never adds to it, so a column of them can be
    compared as it is.
    """
    import numpy as np

    assert online is is_online(now, NOW)
    assert [online] == (np.array([now], dtype=np.int64) > cutoff(NOW)).tolist()
    assert now + 17 == counts_until(now)


@given(INT64, CLOCKS)
def test_the_rule_is_the_specifications(now: int, clock: float) -> None:
    """`clock - 17 < now`, in whole seconds, is `clock < now + 17`."""
    assert (int(clock // 1) < now + 17) is is_online(now, clock)


@given(st.integers(0, 2**40), st.integers(0, 100), st.integers(0, 100))
def test_once_offline_is_offline(now: int, age: int, more: int) -> None:
    """Without another report a session never comes back."""
    assert is_online(now, now + age) or not is_online(now, now + age + more)


@pytest.mark.parametrize(
    ("ahead", "online"), [(-2, True), (0, True), (1, True), (1.999, True), (2, False), (3, False)]
)
def test_a_skewed_reader(ahead: float, online: bool) -> None:
    """At 15 s the 2 s of allowed error decide: a reader ahead by just less still sees the session,
    by 2 s not.
    """
    clock = ManualClock(NOW + 15)
    assert online is is_online(NOW, skewed(clock, ahead)())


def test_a_skewed_clock_goes_with_the_one_it_is_of() -> None:
    """It shows what that shows at the time, and skews add up."""
    clock = ManualClock(NOW)
    late = skewed(skewed(clock, -5), 2)
    assert NOW - 3 == late()
    clock.advance(10)
    assert NOW + 7 == late()


def test_a_turned_clock_moves_when_it_is_turned() -> None:
    """By as much, in both directions, and never by itself; whole seconds stay whole."""
    clock = ManualClock(NOW)
    assert NOW == clock() == clock()
    clock.advance(15)
    assert NOW + 15 == clock()
    assert int is type(clock())
    clock.advance(-0.5)
    assert NOW + 14.5 == clock()
    assert f"ManualClock({NOW + 14.5!r})" == repr(clock)


def test_the_system_clock_is_this_machines() -> None:
    """Unix seconds, running."""
    import time

    before = time.time()
    assert before <= system_clock() <= time.time()


@pytest.mark.parametrize(
    ("name", "lease"), [("key", imlib.Lease.KEY), ("field", imlib.Lease.FIELD)]
)
def test_a_lease_is_named_by_a_word(name: str, lease: imlib.Lease) -> None:
    """Member and word are one."""
    assert lease == name == str(lease)
    assert lease is imlib.Lease(name)
