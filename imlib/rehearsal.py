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
from imlib.wire import in_our_words, seconds

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
        self._client: Any = client  # Any: redis-py types each command for asynchronous clients as well
        self._clock = clock
        self._field_lease = field_lease
        # While the turned clock stands still the server's runs on. What ran since this instant, in its milliseconds,
        # is given back at the next turn, so that a slow reader sees what a fast one sees.
        with in_our_words(client):
            self._stood_since = self._server_ms()

    def turn(self, by: float) -> None:
        """Turn the clock on by some seconds, and take as much from every deadline; what is past is removed.

        Raises
        ------
        UnavailableError, AccessDeniedError
            The server does not answer, is older than Redis 7 and knows no PEXPIRETIME, or does not allow it.
        """
        with in_our_words(self._client):
            server = self._server_ms()
            for key in set(self._client.scan_iter(count=1000)):  # SCAN may name a key twice
                ours = key.startswith(KEY_PREFIX.encode())
                if self._field_lease and ours and self._client.type(key) == b"hash":
                    self._turn_fields(key, by, server)
                if (deadline := self._client.pexpiretime(key)) > 0:
                    left = self._left(deadline, by, ONLINE_TIMEOUT if ours else None)
                    # What ends now would end a fraction of a millisecond from now.
                    self._client.pexpireat(key, server + left) if left > 0 else self._client.delete(key)
        self._stood_since = server
        self._clock.turn(by)

    def _turn_fields(self, key: bytes, by: float, server: int) -> None:
        fields = self._client.hkeys(key)
        for field, deadline in zip(fields, self._client.hpexpiretime(key, *fields) if fields else (), strict=True):
            if deadline > 0:
                left = self._left(deadline, by, CHECK_ONLINE_TIMEOUT)
                self._client.hpexpireat(key, server + left, field) if left > 0 else self._client.hdel(key, field)

    def _left(self, deadline: int, by: float, lease: int | None) -> int:
        """Return the milliseconds to a deadline once the clock is turned; no lease had more than its whole."""
        left = deadline - self._stood_since
        return (left if lease is None else min(left, lease * 1000)) - round(by * 1000)

    def _server_ms(self) -> int:
        return round(seconds(self._client.time()) * 1000)
