"""Turning the clock of a scratch deployment: a real server's deadlines move along with a clock that a person turns.

A server counts a time to live down by its own clock, which nobody can turn. What can be done is to take from every
deadline what the turned clock has gained: the server then does in milliseconds what it would have done in seconds,
and for the same reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT
from imlib.lease import TurnedClock
from imlib.session_status import KEY_PREFIX
from imlib.wire import exchange, in_our_words, seconds, translated, where

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["Rehearsal"]


class Rehearsal:
    """A turned clock, and the server whose deadlines follow it.

    Parameters
    ----------
    client : redis.Redis
        Its database is the lesson's own: every key with a deadline is moved.
    clock : TurnedClock
    field_lease : bool
        Whether hash fields can have deadlines.
    """

    def __init__(self, client: Redis, clock: TurnedClock, *, field_lease: bool) -> None:
        self._client = client
        self._clock = clock
        self._field_lease = field_lease
        # While the turned clock stands still the server's runs on. What ran since this instant, in its milliseconds,
        # is given back at the next turn, so that a slow reader sees what a fast one sees.
        self._stood_since = self._server_ms()

    def turn(self, by: float) -> None:
        """Turn the clock on by some seconds, and take as much from every deadline; what is past is removed."""
        server = self._server_ms()
        with in_our_words(self._client):
            keys = list(self._client.scan_iter(count=1000))
        for key in keys:
            ours = key.startswith(KEY_PREFIX.encode())
            if self._field_lease and ours:
                self._turn_fields(key, by, server)
            (deadline,) = self._ask(("PEXPIRETIME", key))
            if isinstance(deadline, int) and deadline > 0:
                left = self._left(deadline, ONLINE_TIMEOUT if ours else None) - round(by * 1000)
                self._ask(("PEXPIREAT", key, server + left) if left > 0 else ("DEL", key))
        self._stood_since = server
        self._clock.turn(by)

    def _turn_fields(self, key: bytes, by: float, server: int) -> None:
        (fields,) = self._ask(("HKEYS", key))
        if not fields or isinstance(fields, Exception):
            return
        (deadlines,) = self._ask(("HPEXPIRETIME", key, "FIELDS", len(fields), *fields))
        for field, deadline in zip(fields, deadlines, strict=True):
            if deadline > 0:
                left = self._left(deadline, CHECK_ONLINE_TIMEOUT) - round(by * 1000)
                self._ask(("HPEXPIREAT", key, server + left, "FIELDS", 1, field) if left > 0 else ("HDEL", key, field))

    def _left(self, deadline: int, lease: int | None) -> int:
        """Return the milliseconds to a deadline when the clock last stopped; no lease had more than its whole."""
        left = deadline - self._stood_since
        return left if lease is None else min(left, lease * 1000)

    def _server_ms(self) -> int:
        (told,) = self._ask(("TIME",))
        if isinstance(told, Exception):
            raise translated(told, where(self._client)) from told
        return round(seconds(told) * 1000)

    def _ask(self, command: tuple[Any, ...]) -> list[Any]:
        return exchange(self._client, [command])
