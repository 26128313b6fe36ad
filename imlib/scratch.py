"""A lesson's servers: empty at the start and at the end; deadlines follow the lesson's clock.

Nobody can advance a server's own clock. But what a lesson's clock gains can be taken from every
deadline: the server then does in milliseconds what it would have done in seconds, and for the same
reasons.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT
from imlib.context import Context
from imlib.errors import FallbackWarning, ImlibError, NotEmptyError, UnsupportedServerError
from imlib.lease import ManualClock
from imlib.servers.redis_pipeline import (
    Command,
    check_refusals,
    parse_time,
    round_trip,
    translate_errors,
)
from imlib.session_status import KEY_PREFIX

if TYPE_CHECKING:
    from redis import Redis

_PREFIX = KEY_PREFIX.encode()
_NO_LEASE = 2**40


def check_empty(context: Context) -> None:
    """Raise `NotEmptyError` unless Redis holds no key and the SQL database no table."""
    from sqlalchemy import inspect

    from imlib.servers import sql

    with translate_errors(context.redis):
        keys = context.redis.dbsize()
    with sql.translate_errors(context.engine), sql.connect(context.engine) as connection:
        tables = inspect(connection).get_table_names()
    if keys or tables:
        holds = (
            f"the Redis database holds {keys} keys"
            if keys
            else f"the SQL database holds {len(tables)} tables"
        )
        raise NotEmptyError(
            f"{holds}, and scratch=True empties what it uses: nothing was touched. "
            "Name an empty database (redis://.../1), or none at all for a private server."
        )


def empty(context: Context) -> None:
    """Empty both servers, each whatever became of the other; warn of what could not be emptied."""
    for part in (_empty_redis, _empty_database):
        try:
            part(context)
        except ImlibError as problem:
            said = f"imlib: the scratch deployment could not be emptied: {problem}"
            warnings.warn(said, FallbackWarning, stacklevel=3)


def _empty_redis(context: Context) -> None:
    with translate_errors(context.redis):
        context.redis.flushdb()


def _empty_database(context: Context) -> None:
    from sqlalchemy import MetaData

    from imlib.servers import sql

    engine, found = context.engine, MetaData()
    with (
        sql.translate_errors(engine, limit_s=sql.BULK_S),
        sql.connect(engine, limit_s=sql.BULK_S, **{sql.WRITING: True}) as connection,
        connection.begin(),
    ):
        found.reflect(connection)
        found.drop_all(connection)


class DeadlineShifter:
    """Advances a lesson's clock, and takes the same time from every deadline of its Redis server.

    Parameters
    ----------
    client : redis.Redis
        Its database is the lesson's own: every key with a deadline is moved.
    clock : ManualClock
    field_lease : bool
        Whether hash fields can have deadlines.
    leases_s : tuple of int
        The most that a presence key has left, and the most that a field of it has.
    """

    def __init__(
        self,
        client: Redis,
        clock: ManualClock,
        *,
        field_lease: bool,
        leases_s: tuple[int, int] = (ONLINE_TIMEOUT, CHECK_ONLINE_TIMEOUT),
    ) -> None:
        self._client = client
        self._clock = clock
        self._field_lease = field_lease
        self._key_s, self._field_s = leases_s
        # The server's clock runs on while the lesson's stands still. What ran since this instant,
        # in the server's milliseconds, is given back at the next advance, so that a slow reader
        # sees what a fast one sees.
        self._stood_since = _ms(self._ask([("TIME",)])[0])

    def advance(self, by: float) -> None:
        """Advance the clock, and take as much from every deadline; what is past is removed.

        Raises
        ------
        UnsupportedServerError
            The server is older than Redis 7, and does not tell its keys' deadlines.
        UnavailableError, AccessDeniedError
        """
        with translate_errors(self._client):
            keys = list(set(self._client.scan_iter(count=1000)))  # SCAN may name a key twice
        ours = [key for key in keys if self._field_lease and key.startswith(_PREFIX)]
        # What can have a deadline: for keys "", for fields "H", then how it is named and its lease.
        holders: list[tuple[str, bytes, Command, int]] = [
            ("", key, (), self._key_s if key.startswith(_PREFIX) else _NO_LEASE) for key in keys
        ]
        for key, names in zip(ours, self._ask([("HKEYS", key) for key in ours]), strict=True):
            if isinstance(names, list):
                holders += [("H", key, ("FIELDS", 1, one), self._field_s) for one in names]
        asked = [(f"{kind}PEXPIRETIME", key, *rest) for kind, key, rest, _ in holders]
        told, *deadlines = self._ask([("TIME",), *asked])
        server = _ms(told)
        changes: list[Command] = []
        for (kind, key, rest, lease), reply in zip(holders, deadlines, strict=True):
            deadline = reply[0] if kind else reply
            # No lease had more than its whole. What is past by now goes at once.
            left = min(deadline - self._stood_since, lease * 1000) - round(by * 1000)
            if deadline > 0:
                changes.append((f"{kind}PEXPIREAT", key, max(1, server + left), *rest))
        self._ask(changes)
        self._stood_since = server
        self._clock.advance(by)

    def _ask(self, commands: list[Command]) -> list[Any]:
        replies = round_trip(self._client, commands)
        if any(isinstance(one, Exception) and "unknown command" in str(one) for one in replies):
            raise UnsupportedServerError(
                "only Redis 7 or newer, or any Valkey, tells its deadlines (PEXPIRETIME): here a "
                "lesson's clock cannot be advanced"
            )
        check_refusals(self._client, replies)
        return replies


def _ms(told: Any) -> int:
    return int(parse_time(told) * 1000)
