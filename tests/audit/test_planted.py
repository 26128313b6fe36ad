"""Every kind of fault that is planted in a world of thousands is found, and nothing else is."""

from __future__ import annotations

import pytest

from benchmarks.audit import judge, planted
from benchmarks.faulty_world import World
from imlib.audit import CHECKS


@pytest.mark.parametrize("deployed", [False, True])
def test_all_that_is_planted_is_found_and_nothing_else(deployed: bool) -> None:
    """Each with the check that names its cause, on either counting of dialogs."""
    judged = judge(planted(4_000, deployed=deployed, each=3))
    # All but the two that are of a whole world.
    assert {"dialog_counting", "lease_length"} == set(CHECKS) - judged.found.keys()
    assert {1.0} == set(judged.found.values())
    assert {} == dict(judged.wrong)


@pytest.mark.parametrize("lease", [15, 60])
@pytest.mark.parametrize("deployed", [False, True])
def test_a_sound_world_has_no_finding(deployed: bool, lease: int) -> None:
    """But for which counting it uses, and which lease, where that is another."""
    world = World(2_000, deployed=deployed, lease=lease)
    world.info["missing_indexes"] = []
    expected = {"lease_length": lease != 15, "dialog_counting": deployed}
    findings = world.snapshot().audit()
    assert [name for name, due in expected.items() if due] == [one.check for one in findings]
    assert "skipped" not in set(findings.rows["severity"])
    # Judged by the lease that the row proposes there is no such row.
    world = World(2_000, deployed=deployed, lease=lease)
    world.info |= {"online_timeout": lease, "check_online_timeout": 70 if lease == 60 else 17}
    world.info["missing_indexes"] = []
    assert deployed == len(world.snapshot().audit())
