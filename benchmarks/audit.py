"""The audit of a large world: what of the planted faults it finds, and what it costs.

python -m benchmarks.audit [USERS] prints the kinds that were missed, and what was found in sound
worlds on both countings of dialogs.
"""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter
from typing import NamedTuple

from benchmarks.faults import EARLY, LATE
from benchmarks.faulty_world import World
from imlib.audit import CHECKS

USERS = 200_000


class Judged(NamedTuple):
    """How an audit did: kinds by share of their faults that were found, and what was no fault."""

    found: dict[str, float]
    wrong: Counter[str]


def planted(users: int, *, deployed: bool, each: int = 10) -> World:
    """Return a world with every kind of fault, so many of each."""
    world = World(users, deployed=deployed)
    for plant in EARLY:
        plant(world, each)
    world.derive(world.boxes)
    for plant in LATE:
        plant(world, each)
    return world


def judge(world: World) -> Judged:
    """Audit a world, and hold the findings against what is planted."""
    findings = world.snapshot().audit(limit=None)
    found = {(one.check, one.subject) for one in findings}
    wanted = {*world.planted}
    kinds = Counter(check for check, _ in wanted)
    hits = Counter(check for check, _ in wanted & found)
    allowed = {("dialog_counting", "all dialogs")}
    wrong = Counter(check for check, _ in found - wanted - allowed)
    return Judged({check: hits[check] / count for check, count in kinds.items()}, wrong)


def main() -> int:
    """Print recall and precision, time and memory."""
    users = int(sys.argv[1]) if len(sys.argv) > 1 else USERS
    for deployed in (False, True):
        name = "deployed" if deployed else "imlib's"
        began = time.perf_counter()
        sound = World(users, deployed=deployed).snapshot()
        made = time.perf_counter()
        findings = sound.audit()
        audited = time.perf_counter()
        print(f"{name} counting, {users:,} users, made in {made - began:.1f} s")
        print(f"  sound: audited in {audited - made:.1f} s: {findings.counts or 'nothing found'}")
        world = planted(users, deployed=deployed)
        judged = judge(world)
        missed = {check: share for check, share in judged.found.items() if share < 1}
        print(f"  planted: {len(judged.found)} of {len(CHECKS)} kinds; not wholly found: {missed}")
        print(f"  no faults, and found: {dict(judged.wrong)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak of memory with the making of the worlds: {peak:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
