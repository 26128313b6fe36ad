"""The way in: `connect`, and the specification's eight accessors to the last deployment."""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from numbers import Integral
from typing import TYPE_CHECKING

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT
from imlib.deployment import Deployment
from imlib.errors import (
    ConfigurationError,
    NotConnectedError,
    shortened,
)
from imlib.lease import Clock, Lease, ManualClock, system_clock
from imlib.scratch import DeadlineShifter, check_empty
from imlib.servers.embedded import private_urls
from imlib.servers.redis import EMBEDDED, choose_lease, open_redis
from imlib.servers.urls import ServerUrl, check_urls
from imlib.session_status import WRITTEN, Layout, parse_int64

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
# In seconds: beyond it servers refuse a time to live, each from another number on.
_LONGEST = 2**31 - 1


def connect(
    redis_url: str | None = None,
    database_url: str | None = None,
    replica_url: str | None = None,
    *,
    read_only: bool = False,
    scratch: bool = False,
    layout: Layout | str = Layout.DOCUMENTED,
    lease: Lease | str = "auto",
    online_timeout: int | None = None,
    check_online_timeout: int | None = None,
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
        These and ``deployed_2018``, which is read only, are read.
    lease : Lease or str
        ``key``, ``field`` or ``auto``. With ``auto`` it is the field lease if the server can give
        hash fields a time to live, but the key lease beside deployed servers, whose HSET would
        clear it.
    online_timeout, check_online_timeout : int, optional
        The two periods of a lease, in whole seconds: what a report gives the user's key, and how
        long it counts. Else the environment variables IMLIB_ONLINE_TIMEOUT and
        IMLIB_CHECK_ONLINE_TIMEOUT; else 15 and 17. From March 2018 on telegramd had 60 and 70.
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

    Notes
    -----
    Presence can be written beside the deployed server, with ``layout="deployed"``. Messages, chats
    and sequences cannot, while it writes the same tables: numbers would be handed out twice, it
    would drop messages whose bodies it cannot read, and miss participants. Nothing is refused; the
    first such write into tables that it made warns (`FallbackWarning`).
    """
    global _current
    # From here on no variable shows a password, in a traceback either.
    redis_url, database_url, replica_url = map(
        ServerUrl,
        (
            redis_url or os.environ.get("IMLIB_REDIS_URL") or EMBEDDED,
            database_url or os.environ.get("IMLIB_DATABASE_URL") or EMBEDDED,
            # The variable's replica belongs to the variable's database, not to the caller's.
            replica_url or ("" if database_url else os.environ.get("IMLIB_REPLICA_URL", "")),
        ),
    )
    if scratch and read_only:
        raise ConfigurationError("scratch=True writes and read_only=True forbids it: choose one")
    choices = ("layout", layout, WRITTEN), ("lease", lease, [*Lease, "auto"])
    for name, chosen, allowed in choices:
        if chosen not in allowed:
            only_read = ". It is only read" if chosen in [*Layout] else ""
            raise ConfigurationError(
                f"{name} is {chosen!r}: allowed are {', '.join(allowed)}{only_read}"
            )
    leases_s = _leases_s(online_timeout, check_online_timeout)
    own_database = database_url == EMBEDDED
    if own_database and replica_url:
        raise ConfigurationError(
            "IMLIB_REPLICA_URL or replica_url names a replica, and nothing names its database: set "
            "IMLIB_DATABASE_URL or database_url as well",
            url=f"{replica_url}",
        )
    from imlib.servers import sql

    with ExitStack() as stack:
        # A private server is no half of anything that somebody looks for.
        forgive = read_only and EMBEDDED not in (redis_url, database_url)
        if (redis_url, database_url) != (EMBEDDED, EMBEDDED):
            check_urls(redis_url, database_url, replica_url)
        redis_url, database_url = private_urls(redis_url, database_url, stack)
        redis, server, redis_url = open_redis(redis_url, read_only=read_only, forgive=forgive)
        stack.callback(redis.close)
        lease = choose_lease(server, lease, Layout(layout))
        engine, replica = sql.open_engines(
            database_url,
            replica_url,
            stack,
            # An embedded database is imlib's own: its tables are made even with read_only.
            read_only=read_only and not own_database,
            without_redis=server.gone,
            forgive=forgive,
        )
        deployment = Deployment(
            redis,
            engine,
            replica,
            server,
            Layout(layout),
            lease,
            clock,
            read_only,
            *leases_s,
            redis_url=ServerUrl(redis_url),
            database_url=ServerUrl(database_url),
            replica_url=replica_url or None,
            scratch=scratch,
        )
        if scratch:
            check_empty(deployment)
            if isinstance(clock, ManualClock):
                deployment.shifter = DeadlineShifter(
                    redis,
                    clock,
                    field_lease=server.field_lease is not None,
                    leases_s=leases_s,
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


def _leases_s(online: int | None, check: int | None) -> tuple[int, int]:
    """Return the two periods of a lease: what was given, else the environment's, else ours."""
    online = _seconds("online_timeout", online, ONLINE_TIMEOUT)
    check = _seconds("check_online_timeout", check, CHECK_ONLINE_TIMEOUT)
    if check < online:
        raise ConfigurationError(
            f"check_online_timeout is {check}, less than online_timeout, {online}: a report must "
            "count for as long as its key lives at least. Give both, such as 60 and 70"
        )
    return online, check


def _seconds(name: str, given: object, default: int) -> int:
    told = given
    if given is None:
        name = f"IMLIB_{name.upper()}"
        told = os.environ.get(name) or int(default)
        given = parse_int64(told.encode(errors="replace")) if isinstance(told, str) else told
    seconds = 0
    # A bool counts as an integer, and is none.
    if isinstance(given, Integral) and not isinstance(given, bool):
        seconds = int(given)
    if not 1 <= seconds <= _LONGEST:
        raise ConfigurationError(
            f"{name} is {shortened(told)}: it must be whole seconds, from 1 to {_LONGEST}, such as "
            f"{default}"
        )
    return seconds


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
