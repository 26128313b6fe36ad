"""What an investigation looks at: named servers, or the sample world where none is named."""

from __future__ import annotations

import os

from imlib.connection import connect
from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT
from imlib.deployment import Deployment
from imlib.errors import NotEmptyError
from imlib.lease import ManualClock, system_clock
from imlib.sample import NOW
from imlib.scratch import check_empty
from imlib.servers.redis import EMBEDDED
from imlib.servers.urls import ServerUrl

_HELD_S = 3600
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
    looking = connect(
        world.redis_url,
        world.database_url,
        read_only=True,
        online_timeout=world.online_timeout,
        check_online_timeout=world.check_online_timeout,
        clock=clock,
    )
    return looking, world


def sample_world(
    redis_url: str = EMBEDDED,
    database_url: str = EMBEDDED,
    clock: ManualClock | None = None,
    *,
    online_timeout: int = ONLINE_TIMEOUT,
    check_online_timeout: int = CHECK_ONLINE_TIMEOUT,
) -> Deployment:
    """Write the sample world into empty servers, by default private ones; `close` removes it.

    It is judged by the specification's periods unless others are given: what the environment says
    of those is said of the user's own servers.
    """
    clock = clock or ManualClock(NOW)
    world = connect(
        redis_url,
        database_url,
        scratch=True,
        online_timeout=online_timeout,
        check_online_timeout=check_online_timeout,
        clock=clock,
    )
    world.load_sample()
    if world.shifter:
        # Redis's clock goes on while a person reads, and the world's does not.
        world.shifter.advance(-_HELD_S)
        clock.advance(_HELD_S)
    return world
