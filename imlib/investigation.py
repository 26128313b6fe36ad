"""What an investigation looks at: named servers, or the sample world where none is named."""

from __future__ import annotations

import os
from typing import Any

from imlib.connection import connect
from imlib.deployment import Deployment
from imlib.errors import NotEmptyError
from imlib.lease import ManualClock, system_clock
from imlib.sample import NOW
from imlib.scratch import check_empty
from imlib.servers.redis import EMBEDDED
from imlib.servers.redis_pipeline import translate_errors
from imlib.servers.urls import ServerUrl

_HELD_MS = 3_600_000
"""How far deadlines in Redis are moved away."""


def look(
    redis_url: str | None = None, database_url: str | None = None, at: int | None = None
) -> tuple[Deployment, Deployment | None]:
    """Connect read-only to the servers that are named; if none is, to a private sample world.

    Parameters
    ----------
    redis_url, database_url : str, optional
        As for `imlib.connect`; else the environment variables.
    at : int, optional
        The instant at which to judge who is online, in Unix seconds: for servers that were restored
        from a dump. By default Redis's own clock; for the sample world its instant.

    Returns
    -------
    deployment : Deployment
        Read only in either case.
    world : Deployment or None
        The sample world's own deployment, which can write. None for servers that were named:
        nothing is written to them.

    Notes
    -----
    The environment variable IMLIB_SAMPLE lends named servers to the sample world: if both are named
    and both are empty, the world is written into them, and removed at close. So the notebooks can
    be shown to say the same on servers of every kind.
    """
    clock = ManualClock(NOW if at is None else at)
    # No variable shows a password, in a traceback either.
    redis_url, database_url = ServerUrl(redis_url or ""), ServerUrl(database_url or "")
    redis = redis_url or ServerUrl(os.environ.get("IMLIB_REDIS_URL", ""))
    database = database_url or ServerUrl(os.environ.get("IMLIB_DATABASE_URL", ""))
    if redis or database:
        judge = system_clock if at is None else clock
        deployment = connect(redis_url, database_url, read_only=True, clock=judge)
        if not (os.environ.get("IMLIB_SAMPLE") and redis and database):
            return deployment, None
        try:
            check_empty(deployment)
        except NotEmptyError:
            return deployment, None
        deployment.close()
    world = sample_world(redis or EMBEDDED, database or EMBEDDED, clock)
    return connect(world.redis_url, world.database_url, read_only=True, clock=clock), world


def sample_world(
    redis_url: str = EMBEDDED, database_url: str = EMBEDDED, clock: ManualClock | None = None
) -> Deployment:
    """Write the sample world into empty servers, by default private ones; `close` removes it."""
    world = connect(redis_url, database_url, scratch=True, clock=clock or ManualClock(NOW))
    world.load_sample()
    _hold(world)
    return world


def _hold(world: Deployment) -> None:
    """Move deadlines away: Redis's clock goes on while a person reads, and the world's does not."""
    # Any: redis-py types each command for asynchronous clients as well.
    client: Any = world.redis
    with translate_errors(client):
        for key in client.scan_iter(count=1000):
            deadline = client.pexpiretime(key)
            if deadline > 0:  # negative: it never expires
                client.pexpireat(key, deadline + _HELD_MS)
