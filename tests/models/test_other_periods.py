"""Leases of other lengths, as later servers of telegramd had them: 60 s and 70 s, on every backend
and lease, in models, snapshots and pictures.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import imlib
from imlib.plots import lease_left
from imlib.servers.redis import FAKEREDIS
from tests.models import backends
from tests.models.backends import START, Backend, Stage, on_stage

server = backends.server
stage = backends.stage


@pytest.fixture(scope="module")
def opened(
    server: tuple[Backend, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Give one stage with other periods for all tests, for `stage`."""
    folder = tmp_path_factory.mktemp("stage")
    with on_stage(*server, folder, online_timeout=60, check_online_timeout=70) as one:
        yield one


@pytest.mark.parametrize(("passed", "online"), [(15, True), (59.5, True), (60, False)])
def test_an_only_session_goes_with_its_key(stage: Stage, passed: float, online: bool) -> None:
    """A user with one session lapses after 60 s, when the key does."""
    status = stage.report()
    assert 59_000 < stage.redis.pttl("online_7") <= 60_000
    stage.turn_to(passed)
    assert ([status] if online else []) == stage.online()


@pytest.mark.parametrize(("passed", "online"), [(20, True), (69.5, True), (70, False)])
def test_beside_a_sibling_the_stored_time_decides(
    stage: Stage, passed: float, online: bool
) -> None:
    """A session counts for 70 s after its report, for one, for all, in a walk and in a snapshot."""
    status = stage.report(1)
    stage.turn_to(20)
    sibling = stage.report(2)
    stage.turn_to(passed)
    expected = [status, sibling] if online else [sibling]
    assert expected == stage.online()
    assert [(7, expected)] == list(stage.model.iter_online())
    assert len(expected) == stage.model.count_online().sessions
    for users in (None, [7]):
        seen = stage.deployment.snapshot(tables=[], user_ids=users)
        assert len(expected) == seen.sessions["online"].sum()
        assert (60, 70) == (seen.info["online_timeout"], seen.info["check_online_timeout"])


def test_a_field_lives_for_as_long_as_a_report_counts(stage: Stage) -> None:
    """On the field lease Redis forgets a report after 70 s, and not after 17."""
    stage.model.renew([stage.session(1), stage.session(2)])
    if not stage.keeps_ghosts:
        for left in stage.redis.hpttl("online_7", "-42_1", "-42_2"):
            assert 69_000 < left <= 70_000


def test_a_picture_of_what_is_left(stage: Stage) -> None:
    """A session that was reported 20 s ago has 50 s left."""
    from matplotlib.figure import Figure

    stage.report(now=START - 20)
    seen = stage.deployment.snapshot(tables=[])
    axes = lease_left(seen.sessions, Figure().subplots(), seen.info["check_online_timeout"])
    (bars, _) = axes.containers
    drawn = {bar.get_x() + bar.get_width() / 2 for bar in bars if bar.get_height()}
    assert {50} == drawn


def test_the_periods_are_shown(stage: Stage) -> None:
    """A deployment says them where they are not the specification's."""
    assert f"lease {stage.deployment.lease}, 60 s; a report counts for 70 s;" in repr(
        stage.deployment
    )
    with imlib.connect(FAKEREDIS, "embedded://") as usual:
        assert "lease key;" in repr(usual)
