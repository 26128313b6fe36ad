"""A lesson's servers: found empty when it begins, emptied when it ends."""

from __future__ import annotations

import warnings

from imlib.connect import Clients, FallbackWarning
from imlib.errors import ImlibError, NotEmptyError
from imlib.wire import in_our_words

__all__ = ["check_empty", "empty"]


def check_empty(clients: Clients) -> None:
    """Raise `NotEmptyError` unless the Redis database holds no key and the SQL database no table."""
    from sqlalchemy import inspect

    with in_our_words(clients.redis):
        keys = clients.redis.dbsize()
    tables = inspect(clients.engine).get_table_names()
    if keys or tables:
        holds = f"the Redis database holds {keys} keys" if keys else f"the SQL database holds {len(tables)} tables"
        raise NotEmptyError(
            f"{holds}, and scratch=True empties what it uses: nothing was touched. "
            "Name an empty database (redis://.../1), or none at all for a private server."
        )


def empty(clients: Clients) -> None:
    """Empty both servers, each whatever became of the other; what could not be emptied is said, not raised."""
    for part in (_empty_redis, _empty_database):
        try:
            part(clients)
        except ImlibError as problem:
            said = f"imlib: the scratch deployment could not be emptied: {problem}"
            warnings.warn(said, FallbackWarning, stacklevel=3)


def _empty_redis(clients: Clients) -> None:
    with in_our_words(clients.redis):
        clients.redis.flushdb()


def _empty_database(clients: Clients) -> None:
    from sqlalchemy import MetaData

    from imlib import engines

    with engines.in_our_words(clients.engine):
        found = MetaData()
        found.reflect(clients.engine)
        found.drop_all(clients.engine)
