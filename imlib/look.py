"""What an investigation looks at: the servers that are named or, where nothing is, the sample world."""

from __future__ import annotations

import os
from typing import Any

from imlib.access import connect
from imlib.connect import EMBEDDED
from imlib.deployment import Deployment
from imlib.errors import NotEmptyError
from imlib.lease import TurnedClock, system_clock
from imlib.scratch import check_empty
from imlib.wire import in_our_words

__all__ = ["look"]

_HELD_MS = 3_600_000


def look(
    redis_url: str | None = None, database_url: str | None = None, at: int | None = None
) -> tuple[Deployment, Deployment | None]:
    """Connect to servers for reading only; where nothing is named, or nothing is in what is named, to the sample world.

    Parameters
    ----------
    redis_url, database_url : str, optional
        As for `imlib.connect`; else the environment variables.
    at : int, optional
        The instant by which to judge who is online, in Unix seconds: for servers that were restored from a dump. By
        default Redis's own clock; for the sample world its instant.

    Returns
    -------
    deployment : Deployment
        Read only, whatever it is.
    world : Deployment or None
        The sample world's own, which can write; None for servers that held something: in them nothing is written.

    Raises
    ------
    ConfigurationError, UnavailableError, AccessDeniedError, UnsupportedServerError
        As `imlib.connect`.
    """
    from imlib.sample import NOW

    clock = TurnedClock(NOW if at is None else at)
    named = [redis_url or os.environ.get("IMLIB_REDIS_URL"), database_url or os.environ.get("IMLIB_DATABASE_URL")]
    if any(named):
        judge = system_clock if at is None else clock
        deployment = connect(redis_url, database_url, read_only=True, clock=judge)
        # Somebody who named one server only has a deployment in mind, and no lesson.
        if not all(named) or _holds_something(deployment):
            return deployment, None
        deployment.close()
    world = connect(named[0] or EMBEDDED, named[1] or EMBEDDED, scratch=True, clock=clock)
    world.load_sample()
    _hold(world)
    return connect(world.redis_url.whole(), world.database_url.whole(), read_only=True, clock=clock), world


def _holds_something(deployment: Deployment) -> bool:
    try:
        check_empty(deployment._clients)
    except NotEmptyError:
        return True
    return False


def _hold(world: Deployment) -> None:
    """Move Redis's deadlines away: its clock goes on while a person reads, and the turned one stands still."""
    client: Any = world.redis  # redis-py's types know of replies to come, too
    with in_our_words(client):
        for key in client.scan_iter(count=1000):
            deadline = client.pexpiretime(key)
            if deadline > 0:  # negative: it never expires
                client.pexpireat(key, deadline + _HELD_MS)
