"""Any sequence of reports, offlines, renewals, passing time and skewed readers agrees with a plain
model in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import imlib
from imlib.lease import skewed
from imlib.models.online_status import OnlineCount
from tests.models import backends
from tests.models.backends import START, Stage

# pytest finds fixtures by the names of a module.
server = backends.server
opened = backends.opened
stage = backends.stage

USERS = (-1, 0, 7)
DOCUMENTED, DEPLOYED = imlib.Layout.DOCUMENTED, imlib.Layout.DEPLOYED

users = st.sampled_from(USERS)
instances = st.tuples(st.sampled_from([-5, 6]), st.sampled_from([1, 2]))
# Whole seconds: what is left of a lease is then at least one, longer than any step of the machine
# takes.
passing = st.sampled_from([1, 2, 7, 14, 15, 16, 17, 18]) | st.integers(1, 20)
behind = st.sampled_from([0, 0, 0, 2, 16, 17, -2, -3600]) | st.integers(-20, 20)
skews = st.sampled_from([0.0, 0.5, 1, 2, -2, 3600, -3600]) | st.integers(-20, 20)


@dataclass
class Hash:
    """What one user's key holds: each spelling's session and the instant at which the server
    forgets it.
    """

    goes_at: float
    entries: dict[tuple[int, int, imlib.Layout], tuple[imlib.SessionStatus, float]] = field(
        default_factory=dict
    )


@dataclass
class Model:
    """The lease as semantics has it, in some lines of Python."""

    lease: imlib.Lease
    clock: float = START
    hashes: dict[int, Hash] = field(default_factory=dict)

    def report(self, status: imlib.SessionStatus, layout: imlib.Layout) -> None:
        """Write a session; a deployed server gives no field a deadline, and neither does the key
        lease.
        """
        user = self.hashes.setdefault(status.user_id, Hash(0))
        forgets = self.lease is imlib.Lease.FIELD and layout is DOCUMENTED
        user.entries[status.auth_key_id, status.session_id, layout] = (
            status,
            self.clock + 17 if forgets else math.inf,
        )
        user.goes_at = self.clock + 15

    def offline(self, status: imlib.SessionStatus, *, force: bool) -> bool:
        """Remove the spellings of this connection, or both, and the key with the last one."""
        left = False
        if user := self.hashes.get(status.user_id):
            for layout in (DOCUMENTED, DEPLOYED):
                name = (status.auth_key_id, status.session_id, layout)
                held = user.entries[name][0] if name in user.entries else status
                if force or held.netlib_session_id == status.netlib_session_id:
                    user.entries.pop(name, None)
                else:
                    left = True
        self._forget()
        return not left

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock += seconds
        self._forget()

    def _forget(self) -> None:
        for user_id, user in list(self.hashes.items()):
            user.entries = {
                name: entry for name, entry in user.entries.items() if entry[1] > self.clock
            }
            if not user.entries or user.goes_at <= self.clock:
                del self.hashes[user_id]

    def online(self, user_id: int, clock: float) -> list[imlib.SessionStatus]:
        """Return the sessions that count by a reader's clock: one a client instance, the later
        report first.
        """
        found: dict[tuple[int, int], imlib.SessionStatus] = {}
        entries = self.hashes[user_id].entries if user_id in self.hashes else {}
        # At a tie the documented spelling is met last, and stays.
        for (auth_key_id, session_id, _), (status, _) in sorted(
            entries.items(), key=lambda entry: entry[0]
        ):
            known = found.get((auth_key_id, session_id))
            if known is None or status.now >= known.now:
                found[auth_key_id, session_id] = status
        return [found[name] for name in sorted(found) if math.floor(clock) - 17 < found[name].now]

    def fields(self, user_id: int) -> set[bytes]:
        """Return the hash fields that stand there."""
        entries = self.hashes[user_id].entries if user_id in self.hashes else {}
        return {status.to_field(layout).encode() for (*_, layout), (status, _) in entries.items()}


class PresenceMachine(RuleBasedStateMachine):
    """The model under test and the plain one, side by side."""

    def __init__(self, played: Stage) -> None:
        super().__init__()
        self.stage = played
        self.model = Model(played.deployment.lease)
        self.connection = 0

    @initialize()
    def begin(self) -> None:
        """Begin with nothing, at START."""
        self.stage.redis.flushall()
        self.stage.clock.advance(START - self.stage.clock())

    def status(self, user_id: int, instance: tuple[int, int], late: int = 0) -> imlib.SessionStatus:
        """Return a report unlike any before it."""
        self.connection += 1
        return imlib.SessionStatus(
            user_id, *instance, 3, self.connection, int(self.model.clock) - late
        )

    @rule(user_id=users, instance=instances, late=behind)
    def report(self, user_id: int, instance: tuple[int, int], late: int) -> None:
        """A server reports a session; its clock may be behind, or ahead."""
        status = self.status(user_id, instance, late)
        self.stage.model.set_online(status)
        self.model.report(status, DOCUMENTED)

    @rule(user_id=users, instance=instances, late=behind)
    def report_by_a_deployed_server(
        self, user_id: int, instance: tuple[int, int], late: int
    ) -> None:
        """A server of the other layout does, in its two commands."""
        status = self.status(user_id, instance, late)
        self.stage.redis.hset(status.to_key(), status.to_field(DEPLOYED), status.to_value(DEPLOYED))
        self.stage.redis.expire(status.to_key(), 15)
        self.model.report(status, DEPLOYED)

    @rule(reports=st.lists(st.tuples(users, instances, behind), max_size=6))
    def renew(self, reports: list[tuple[int, tuple[int, int], int]]) -> None:
        """Many are renewed at once, some of them twice."""
        statuses = [self.status(*one) for one in reports]
        self.stage.model.renew(statuses)
        for status in statuses:
            self.model.report(status, DOCUMENTED)

    @rule(user_id=users, instance=instances, back=st.integers(0, 3), force=st.booleans())
    def offline(self, user_id: int, instance: tuple[int, int], back: int, force: bool) -> None:
        """One of the last connections says goodbye, to a session that was online or not."""
        status = replace(
            self.status(user_id, instance), netlib_session_id=self.connection - 1 - back
        )
        gone = self.stage.model.set_offline(status, force=force)
        assert self.model.offline(status, force=force) is gone

    @rule(seconds=passing)
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.stage.deployment.advance(seconds)
        self.model.wait(seconds)

    @rule(skew=skews)
    def read(self, skew: float) -> None:
        """A reader whose clock is ahead or behind looks, in every way there is."""
        clock = skewed(self.stage.clock, skew)
        expected = {
            user_id: self.model.online(user_id, self.model.clock + skew) for user_id in USERS
        }
        assert expected == self.stage.model.get_online_by_user_id_list(USERS, clock=clock)
        assert expected[7] == self.stage.model.get_online_by_user_id(7, clock=clock)
        there = {user_id: sessions for user_id, sessions in expected.items() if sessions}
        assert there == dict(self.stage.model.iter_online(clock=clock, batch=2))
        count = OnlineCount(len(there), sum(map(len, there.values())))
        assert count == self.stage.model.count_online(clock=clock)
        assert [] == self.stage.model.malformed()

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        """Every field stands or is gone as the model says, and no key is without a deadline."""
        for user_id in USERS:
            key = f"online_{user_id}"
            assert self.model.fields(user_id) == set(self.stage.redis.hkeys(key))
            left = self.stage.redis.pttl(key)
            if user_id in self.model.hashes:
                due = (self.model.hashes[user_id].goes_at - self.model.clock) * 1000
                assert (
                    0 < left <= due + 1
                )  # a deadline that was moved is rounded to the millisecond
            else:
                assert -2 == left


def test_any_sequence_agrees_with_the_model(stage: Stage) -> None:
    """On every backend and lease, whatever happens in whatever order."""

    class Here(PresenceMachine):
        def __init__(self) -> None:
            super().__init__(stage)

    run_state_machine_as_test(Here, settings=settings(max_examples=40, stateful_step_count=20))
