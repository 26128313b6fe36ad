"""A deployment: one Redis and one SQL database, the models over them, and the way in, `connect`."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from functools import cached_property
from html import escape
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from imlib.connect import EMBEDDED, Clients, FallbackWarning, open_redis
from imlib.embedded import Embedded, find_server
from imlib.errors import ConfigurationError, ImlibError, NotConnectedError, NotEmptyError
from imlib.lease import Clock, Lease, TurnedClock, system_clock
from imlib.models.online_status import OnlineStatusModel
from imlib.rehearsal import Rehearsal
from imlib.session_status import Layout
from imlib.urls import ServerUrl
from imlib.wire import in_our_words

if TYPE_CHECKING:
    from redis import Redis
    from sqlalchemy import Engine

    from imlib.snapshot import Snapshot

__all__ = ["Deployment", "connect", "get_online_status_model"]


class Deployment:
    """One IM server's state, connected: made by `connect`, ended by `close` or a ``with`` block.

    Attributes
    ----------
    redis_url, database_url, replica_url : ServerUrl
        By which another process can join; they print without passwords (``url.whole()`` has them).
    """

    def __init__(
        self,
        clients: Clients,
        urls: tuple[ServerUrl, ServerUrl, ServerUrl | None],
        *,
        scratch: bool,
        stack: ExitStack,
    ) -> None:
        self._clients = clients
        self._scratch = scratch
        self._stack = stack
        self.redis_url, self.database_url, self.replica_url = urls
        self._rehearsal: Rehearsal | None = None
        if scratch and isinstance(clients.clock, TurnedClock):
            fields = clients.server.field_lease is not None
            self._rehearsal = Rehearsal(clients.redis, clients.clock, field_lease=fields)

    @property
    def redis(self) -> Redis:
        """The Redis client itself: redis-py, bytes in and bytes out."""
        return self._clients.redis

    @property
    def engine(self) -> Engine:
        """The SQL primary itself: a SQLAlchemy engine."""
        return self._clients.engine

    @property
    def replica(self) -> Engine:
        """The SQL replica's engine; the primary's where none was named."""
        return self._clients.replica

    @property
    def lease(self) -> Lease:
        """The lease in force: what was asked for, or what the server can do."""
        return self._clients.lease

    @property
    def layout(self) -> Layout:
        """The layout that is written; both are read."""
        return self._clients.layout

    @property
    def read_only(self) -> bool:
        """Whether the models refuse to write."""
        return self._clients.read_only

    @cached_property
    def online_status(self) -> OnlineStatusModel:
        """Who is online."""
        return OnlineStatusModel(self._clients)

    def snapshot(self) -> Snapshot:
        """Return what Redis holds now as DataFrames; nothing is written to what is looked at."""
        from imlib.snapshot import take

        return take(self._clients)

    def turn(self, seconds: float) -> None:
        """Turn the clock of a scratch deployment; Redis's deadlines move along, and what is past goes.

        Parameters
        ----------
        seconds : float
            How far, forwards.

        Raises
        ------
        ConfigurationError
            The deployment has no clock of its own: ``imlib.connect(scratch=True, clock=imlib.TurnedClock(...))``.
        """
        self._clients.check_open()
        if self._rehearsal is None:
            raise ConfigurationError(
                "only a scratch deployment's clock can be turned: "
                "imlib.connect(scratch=True, clock=imlib.TurnedClock(start))"
            )
        self._rehearsal.turn(seconds)

    def close(self) -> None:
        """End the deployment and what was started for it; one connected with ``scratch=True`` is emptied first."""
        if self._clients.closed:
            return
        try:
            if self._scratch:
                _empty(self._clients)
        finally:
            self._clients.closed = True
            self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        facts = "; ".join(f"{name} {value}" for name, value in self._facts().items())
        return f"<Deployment: {facts}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in self._facts().items()
        )
        return f"<table>{rows}</table>"

    def _facts(self) -> dict[str, str]:
        if self._clients.closed:
            return {"state": "closed"}
        facts = {
            "redis": f"{self._clients.server} at {self.redis_url}",
            "database": f"{self.database_url}",
            "replica": f"{self.replica_url}" if self.replica_url else "",
            "lease": f"{self.lease}",
            "layout": f"{self.layout}",
            "access": "read only" if self.read_only else "scratch: emptied at close" if self._scratch else "",
        }
        return {name: value for name, value in facts.items() if value}


_current: Deployment | None = None


def connect(
    redis_url: str | None = None,
    database_url: str | None = None,
    replica_url: str | None = None,
    *,
    read_only: bool = False,
    scratch: bool = False,
    layout: Layout | str = Layout.DOCUMENTED,
    lease: Lease | str = "auto",
    clock: Clock = system_clock,
) -> Deployment:
    """Connect to a deployment; without URLs, to a private real server and a SQLite file of its own.

    Parameters
    ----------
    redis_url : str, optional
        ``redis://[user:password@]host[:port][/db]``, ``rediss://...`` or ``unix:///path``; else the environment
        variable IMLIB_REDIS_URL; else ``embedded://``, a private server that ends with this process.
    database_url : str, optional
        ``mysql+pymysql://user:password@host/database`` or ``sqlite:///file``; else IMLIB_DATABASE_URL; else
        ``embedded://``, a SQLite file that goes with this process.
    replica_url : str, optional
        A replica for plain reads; else IMLIB_REPLICA_URL; else there is none.
    read_only : bool
        Refuse every write of every model with `ReadOnlyError`.
    scratch : bool
        For lessons: refuse servers that are not empty, and empty them at close.
    layout : Layout or str
        What is written: ``documented``, or ``deployed`` beside telegramd's own servers. Both are read.
    lease : Lease or str
        ``key``, ``field``, or ``auto``: field where the server has hash-field time to live, but key beside deployed
        servers, whose HSET would clear it.
    clock : callable
        Unix seconds, in place of Redis's and this machine's clock; a `TurnedClock` in lessons.

    Returns
    -------
    Deployment
        Also the one that `get_online_status_model` and its siblings use from now on.

    Raises
    ------
    ConfigurationError
        An argument or URL is not one of these.
    UnavailableError, AccessDeniedError, UnsupportedServerError
        A server cannot be used; the message says why.
    NotEmptyError
        ``scratch=True`` and there is something in it.

    Warns
    -----
    FallbackWarning
        There is less than was asked for: no server program to embed, or no field lease on this server.
    """
    global _current
    if scratch and read_only:
        raise ConfigurationError("scratch=True writes and read_only=True forbids it: choose one")
    layout = _choice(Layout, layout, "layout", list(Layout))
    asked = lease if lease == "auto" else _choice(Lease, lease, "lease", [*Lease, "auto"])
    named = {
        "redis": redis_url or os.environ.get("IMLIB_REDIS_URL") or EMBEDDED,
        "database": database_url or os.environ.get("IMLIB_DATABASE_URL") or EMBEDDED,
        "replica": replica_url or os.environ.get("IMLIB_REPLICA_URL") or "",
    }
    with ExitStack() as stack:
        private: list[Embedded] = []

        def embedded() -> Embedded:
            if not private:
                private.append(Embedded(find_server() if named["redis"] == EMBEDDED else None))
                stack.callback(private[0].close)
            return private[0]

        redis, server, redis_named = open_redis(named["redis"], embedded)
        stack.callback(redis.close)
        from imlib.engines import make_engine, ping

        database = ServerUrl(embedded().database_url if named["database"] == EMBEDDED else named["database"])
        engine = make_engine(database.whole(), read_only=read_only)
        stack.callback(engine.dispose)
        ping(engine)
        replica = engine
        if named["replica"]:
            replica = make_engine(named["replica"], read_only=True)
            stack.callback(replica.dispose)
            ping(replica)
        clients = Clients(
            redis,
            engine,
            replica,
            server,
            layout,
            _lease(asked, layout, server.field_lease),
            clock,
            read_only,
        )
        if scratch:
            _check_empty(clients)
        urls = (redis_named, database, ServerUrl(named["replica"]) if named["replica"] else None)
        _current = Deployment(clients, urls, scratch=scratch, stack=stack.pop_all())
    return _current


def get_online_status_model() -> OnlineStatusModel:
    """Return the presence model of the deployment that was connected last.

    Raises
    ------
    NotConnectedError
        There is none, or it is closed.
    """
    return _connected().online_status


def _connected() -> Deployment:
    if _current is None or _current._clients.closed:
        state = "no deployment is connected" if _current is None else "the deployment is closed"
        raise NotConnectedError(
            f"{state}: call imlib.connect() first. Without URLs it starts a private server; "
            "IMLIB_REDIS_URL and IMLIB_DATABASE_URL name yours."
        )
    return _current


_Choice = TypeVar("_Choice", Layout, Lease)


def _choice(kind: type[_Choice], value: str, name: str, allowed: list[str]) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        raise ConfigurationError(f"{name} is {value!r}: allowed are {', '.join(map(str, allowed))}") from None


def _lease(asked: Lease | str, layout: Layout, field_lease: str | None) -> Lease:
    if asked == "auto":
        return Lease.FIELD if field_lease and layout is Layout.DOCUMENTED else Lease.KEY
    if asked == Lease.FIELD and not field_lease:
        warnings.warn(
            "imlib: this server has no time to live for hash fields (Redis 7.4 and Valkey 9 have): "
            "the key lease is used instead; the answers are the same, dead sessions stay longer.",
            FallbackWarning,
            stacklevel=3,
        )
        return Lease.KEY
    return Lease(asked)


def _check_empty(clients: Clients) -> None:
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


def _empty(clients: Clients) -> None:
    from sqlalchemy import MetaData

    try:
        with in_our_words(clients.redis):
            clients.redis.flushdb()
        found = MetaData()
        found.reflect(clients.engine)
        found.drop_all(clients.engine)
    except ImlibError as problem:
        warnings.warn(f"imlib: the scratch deployment could not be emptied: {problem}", FallbackWarning, stacklevel=4)
