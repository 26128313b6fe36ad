"""What an investigation looks at: the servers that are named or, where none is, the
sample world.
"""

from __future__ import annotations

import os
from typing import Any

from imlib.connection import connect
from imlib.deployment import Deployment
from imlib.errors import NotEmptyError
from imlib.lease import ManualClock, system_clock
from imlib.scratch import check_empty
from imlib.servers.redis import EMBEDDED
from imlib.servers.redis_pipeline import translate_errors

_HELD_MS = 3_600_000


def look(
    redis_url: str | None = None, database_url: str | None = None, at: int | None = None
) -> tuple[Deployment, Deployment | None]:
    """Connect to the servers that are named for reading only; where none is, to the sample world on
    private ones.

    Parameters
    ----------
    redis_url, database_url : str, optional
        As for `imlib.connect`; else the environment variables.
    at : int, optional
        The instant by which to judge who is online, in Unix seconds: for servers that were restored
        from a dump. By default Redis's own clock; for the sample world its instant.

    Returns
    -------
    deployment : Deployment
        Read only, whatever it is.
    world : Deployment or None
        The sample world's own, which can write; None for servers that were named: in them nothing
        is written.

    Notes
    -----
    The environment variable IMLIB_SAMPLE says that the servers which are named are a stage: where
    both are named and both are empty the sample world is put up in them, and taken down at close.
    It shows that the notebooks say the same on servers of every kind.
    """
    from imlib.sample import NOW

    clock = ManualClock(NOW if at is None else at)
    named = [
        redis_url or os.environ.get("IMLIB_REDIS_URL"),
        database_url or os.environ.get("IMLIB_DATABASE_URL"),
    ]
    if any(named):
        judge = system_clock if at is None else clock
        deployment = connect(redis_url, database_url, read_only=True, clock=judge)
        if not (os.environ.get("IMLIB_SAMPLE") and all(named)) or _holds_something(deployment):
            return deployment, None
        deployment.close()
    world = sample_world(named[0] or EMBEDDED, named[1] or EMBEDDED, clock)
    return connect(
        world.redis_url.reveal(), world.database_url.reveal(), read_only=True, clock=clock
    ), world


def sample_world(
    redis_url: str = EMBEDDED, database_url: str = EMBEDDED, clock: ManualClock | None = None
) -> Deployment:
    """Put the sample world into empty servers, private ones by default; closing the deployment
    takes it down.
    """
    from imlib.sample import NOW

    world = connect(redis_url, database_url, scratch=True, clock=clock or ManualClock(NOW))
    world.load_sample()
    _hold(world)
    return world


def _holds_something(deployment: Deployment) -> bool:
    try:
        check_empty(deployment)
    except NotEmptyError:
        return True
    return False


def _hold(world: Deployment) -> None:
    """Move Redis's deadlines away: its clock goes on while a person reads, and the turned one
    stands still.
    """
    client: Any = world.redis  # redis-py's types know of replies to come, too
    with translate_errors(client):
        for key in client.scan_iter(count=1000):
            deadline = client.pexpiretime(key)
            if deadline > 0:  # negative: it never expires
                client.pexpireat(key, deadline + _HELD_MS)
