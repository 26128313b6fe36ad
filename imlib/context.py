"""The clients and settings of one deployment: what every model and every snapshot is given."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT
from imlib.errors import FallbackWarning, NotConnectedError, ReadOnlyError
from imlib.lease import Clock, Lease, system_clock
from imlib.servers.redis import RedisServer
from imlib.session_status import Layout

if TYPE_CHECKING:
    from redis import Redis
    from sqlalchemy import Engine


@dataclass(eq=False, repr=False)
class Context:
    """The opened clients of one deployment, and how they are to be used.

    Parameters
    ----------
    redis_client, engine_client, replica_client
        What the properties `redis`, `engine` and `replica` return while the deployment is open.
        Without a replica of its own, the primary's engine is both.
    server : RedisServer
        Kind and version of the Redis server, and what it can do.
    layout : Layout
        The layout that is written; all are read.
    lease : Lease
        The lease in force: what was asked for, or what the server can do.
    clock : callable
        Unix seconds. `system_clock`, unless a lesson or a test brings its own.
    read_only : bool
        Whether models refuse to write.
    online_timeout, check_online_timeout : int
        The two periods of a presence lease, in seconds.
    closed : bool
        Whether the deployment was closed: nothing can be asked of it any more.

    Attributes
    ----------
    closing : ExitStack
        What has to be ended when it is closed.
    warned : set of str
        What was asked and, where it holds, said already.
    """

    redis_client: Redis
    engine_client: Engine
    replica_client: Engine
    server: RedisServer
    layout: Layout
    lease: Lease
    clock: Clock
    read_only: bool
    online_timeout: int = int(ONLINE_TIMEOUT)
    check_online_timeout: int = int(CHECK_ONLINE_TIMEOUT)
    closed: bool = False
    closing: ExitStack = field(default_factory=ExitStack, init=False)
    warned: set[str] = field(default_factory=set, init=False)

    @property
    def redis(self) -> Redis:
        """The Redis client itself: redis-py, bytes in and bytes out."""
        self.check_open()
        return self.redis_client

    @property
    def engine(self) -> Engine:
        """The SQL primary's SQLAlchemy engine: writes, and reads that decide a write."""
        self.check_open()
        return self.engine_client

    @property
    def replica(self) -> Engine:
        """The SQL replica's engine, for plain reads; the primary's where no replica was named."""
        self.check_open()
        return self.replica_client

    @property
    def reader_clock(self) -> Clock | None:
        """The clock that presence is read by, if it is not Redis's own."""
        return None if self.clock is system_clock else self.clock

    @property
    def lease_words(self) -> str:
        """Which lease is in force, with its periods if they are not the specification's."""
        periods = self.online_timeout, self.check_online_timeout
        if periods == (ONLINE_TIMEOUT, CHECK_ONLINE_TIMEOUT):
            return f"{self.lease}"
        return "{}, {} s; a report counts for {} s".format(self.lease, *periods)

    def warn_once(self, said: str, holds: Callable[[], bool] = lambda: True) -> None:
        """Warn of something about the whole deployment, if it holds when first asked."""
        if said not in self.warned:
            due = holds()
            self.warned.add(said)
            if due:
                warnings.warn(f"imlib: {said}", FallbackWarning, stacklevel=5)

    def check_open(self) -> None:
        """Raise `NotConnectedError` if the deployment is closed."""
        if self.closed:
            raise NotConnectedError("this deployment is closed: call imlib.connect() for a new one")

    def check_writable(self, operation: str) -> None:
        """Raise `ReadOnlyError` if an operation would write where only looking is allowed."""
        self.check_open()
        if self.read_only:
            raise ReadOnlyError(
                f"{operation} writes, and this deployment was connected with read_only=True: "
                "nothing was changed. Connect with read_only=False to write."
            )
