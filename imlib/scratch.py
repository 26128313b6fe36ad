"""A lesson's servers: found empty at the start, emptied at the end; their deadlines follow the
lesson's clock.

Nobody can advance a server's own clock. But what a lesson's clock gains can be taken from every
deadline: the server then does in milliseconds what it would have done in seconds, and for the same
reasons.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT
from imlib.context import Context
from imlib.errors import FallbackWarning, ImlibError, NotEmptyError
from imlib.lease import ManualClock
from imlib.servers.redis_pipeline import parse_time, translate_errors
from imlib.session_status import KEY_PREFIX

if TYPE_CHECKING:
    from redis import Redis


def check_empty(context: Context) -> None:
    """Raise `NotEmptyError` unless the Redis database holds no key and the SQL database
    no table.
    """
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
        sql.translate_errors(engine),
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
    """

    def __init__(self, client: Redis, clock: ManualClock, *, field_lease: bool) -> None:
        self._client: Any = (
            client  # Any: redis-py types each command for asynchronous clients as well
        )
        self._clock = clock
        self._field_lease = field_lease
        # The server's clock runs on while the lesson's stands still. What ran since this instant,
        # in the server's milliseconds, is given back at the next advance, so that a slow reader
        # sees what a fast one sees.
        with translate_errors(client):
            self._stood_since = self._server_ms()

    def advance(self, by: float) -> None:
        """Advance the clock by some seconds, and take as much from every deadline; what is past is
        removed.

        Raises
        ------
        UnavailableError, AccessDeniedError
            The server does not answer, is older than Redis 7 and knows no PEXPIRETIME, or does not
            allow it.
        """
        with translate_errors(self._client):
            server = self._server_ms()
            for key in set(self._client.scan_iter(count=1000)):  # SCAN may name a key twice
                ours = key.startswith(KEY_PREFIX.encode())
                if self._field_lease and ours and self._client.type(key) == b"hash":
                    self._shift_fields(key, by, server)
                if (deadline := self._client.pexpiretime(key)) > 0:
                    left = self._left(deadline, by, ONLINE_TIMEOUT if ours else None)
                    # What ends now would end a fraction of a millisecond from now.
                    self._client.pexpireat(key, server + left) if left > 0 else self._client.delete(
                        key
                    )
        self._stood_since = server
        self._clock.advance(by)

    def _shift_fields(self, key: bytes, by: float, server: int) -> None:
        fields = self._client.hkeys(key)
        for field, deadline in zip(
            fields, self._client.hpexpiretime(key, *fields) if fields else (), strict=True
        ):
            if deadline > 0:
                left = self._left(deadline, by, CHECK_ONLINE_TIMEOUT)
                self._client.hpexpireat(
                    key, server + left, field
                ) if left > 0 else self._client.hdel(key, field)

    def _left(self, deadline: int, by: float, lease: int | None) -> int:
        """Return the milliseconds to a deadline after the advance; no lease had more than its
        whole.
        """
        left = deadline - self._stood_since
        return (left if lease is None else min(left, lease * 1000)) - round(by * 1000)

    def _server_ms(self) -> int:
        return round(parse_time(self._client.time()) * 1000)
