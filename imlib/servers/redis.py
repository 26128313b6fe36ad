"""Opening Redis: from a URL to a client, what the server can do, and what is wrong with either."""

from __future__ import annotations

import contextlib
import re
import secrets
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from imlib.errors import (
    AccessDeniedError,
    ConfigurationError,
    FallbackWarning,
    UnavailableError,
    UnsupportedServerError,
    printable,
)
from imlib.lease import Lease
from imlib.servers.redis_pipeline import Command, is_denial, round_trip, server_address
from imlib.servers.urls import (
    ServerUrl,
    check_certificates,
    check_scheme,
    parse_options,
    refused,
)
from imlib.session_status import Layout

if TYPE_CHECKING:
    from redis import Redis

EMBEDDED = "embedded://"
"""The URL that asks for a private server or SQLite file, even where an environment variable names
another.
"""
FAKEREDIS = "fakeredis://"
"""The URL that asks for an imitation of Redis inside this process."""

OLDEST_REDIS = (6, 0)
TIMEOUT_SECONDS = 5
"""How long a connection or one reply may take."""

# What a URL may choose. redis-py's other arguments are no text, or imlib's own choice.
_OPTIONS = {
    "a whole number": "db health_check_interval max_connections",
    ".+": "username password",
    "[!-~]+": "client_name",
    "a number of seconds": "socket_timeout socket_connect_timeout",
}
_TCP_OPTIONS = {
    "redis": {"true or false": "socket_keepalive"},
    "rediss": {
        "true or false": "socket_keepalive ssl_check_hostname",
        ".+": "username password ssl_ca_certs ssl_ca_path ssl_certfile ssl_keyfile ssl_password",
        "none|optional|required": "ssl_cert_reqs",
    },
}


@dataclass(frozen=True, slots=True)
class RedisServer:
    """What was found out about a Redis server when it was connected.

    Parameters
    ----------
    name : str
        "Valkey", "Redis" or "fakeredis".
    version : str
        Such as "7.0.15"; "unknown" where the user may not ask (ACL).
    field_lease : str or None
        The command that gives a hash field a time to live: "HSETEX", "HEXPIRE", or None where there
        is none, "" where this user may use none.
    primary : str
        Of a replica, host:port of the server that it follows, as far as the user may know.
    link : str
        Of a replica, whether that server is reached: "up" or "down".
    gone : str
        Why nothing is known of it: it was not reached, and the deployment opened without it.
    """

    name: str
    version: str
    field_lease: str | None
    primary: str = ""
    link: str = ""
    gone: str = ""

    def __str__(self) -> str:
        if self.gone:
            return "not reached"
        of = f" (a replica of {self.primary}, link {self.link})" if self.primary else ""
        return printable(f"{self.name} {self.version}{of}")


def open_redis(
    url: str, *, read_only: bool, forgive: bool = False
) -> tuple[Redis, RedisServer, str]:
    """Open a Redis client; return it, what its server can do, and the URL to join it by.

    With ``read_only`` no command is sent that could write. With ``forgive`` a server that is gone
    raises nothing before it is asked. It is clear where the URL's login ends (`check_urls`).

    Raises
    ------
    ConfigurationError
        The URL is none of redis-py's, nor `FAKEREDIS`.
    UnavailableError, AccessDeniedError, UnsupportedServerError
        What answers is not a Redis that imlib can use, or nothing answers.
    """
    if url.startswith(FAKEREDIS):
        return _imitation(url)
    client = _client(url, read_only)
    try:
        server = _look_at(client, read_only=read_only)
        if server.link == "down":
            warnings.warn(
                f"imlib: what is read may be old: this is {server}.", FallbackWarning, stacklevel=3
            )
        return client, server, url
    except BaseException as problem:
        if forgive and isinstance(problem, UnavailableError):
            return client, RedisServer("Redis", "unknown", None, gone=str(problem)), url
        client.close()
        raise


def looking(client: Redis) -> Redis:
    """Return a client of the same server that leaves keys' idle times alone, where that can be."""
    from redis import ConnectionPool, Redis

    pool = client.connection_pool
    options = pool.connection_kwargs | {"redis_connect_func": _log_in_to_look}
    return Redis(connection_pool=ConnectionPool(pool.connection_class, **options))


def choose_lease(server: RedisServer, asked: str, layout: Layout) -> Lease:
    """Return the lease that was asked for, or the one that the server and the layout allow."""
    auto, allowed = asked == "auto", server.field_lease
    if asked == Lease.KEY or (auto and (layout is Layout.DEPLOYED or allowed is None)):
        return Lease.KEY
    if allowed or server.gone:
        return Lease.FIELD
    lacks = "this server has no time to live for hash fields (Redis 7.4 and Valkey 9 have)"
    if allowed is not None:
        lacks = "this user may use neither HSETEX nor HEXPIRE"
        if not auto:
            raise AccessDeniedError(f"{lacks}: grant one, or connect with lease='key'")
    warnings.warn(
        f"imlib: {lacks}: the key lease is used instead; the answers are the same, dead sessions "
        "stay longer.",
        FallbackWarning,
        stacklevel=3,
    )
    return Lease.KEY


NO_TOUCH: Command = ("CLIENT", "NO-TOUCH", "ON")
"""What a connection says on which reading a key leaves its idle time and its frequency alone."""


def _log_in_to_look(connection: Any) -> None:
    from redis.exceptions import ResponseError

    connection.on_connect()
    connection.send_command(*NO_TOUCH)
    with contextlib.suppress(ResponseError):  # an older server, or not for this user
        connection.read_response()


_imitations: WeakValueDictionary[str, Any] = WeakValueDictionary()


def _imitation(url: str) -> tuple[Redis, RedisServer, str]:
    """Make a store of its own, or join one of this process by the URL that it was given."""
    import fakeredis

    store = fakeredis.FakeServer() if url == FAKEREDIS else _imitations.get(url)
    if store is None:
        raise ConfigurationError(
            f"no deployment of this process is at {url}; a new one is made by {FAKEREDIS}", url=url
        )
    url = f"{FAKEREDIS}{id(store):x}"
    _imitations[url] = store
    server = RedisServer("fakeredis", fakeredis.__version__, None)
    return fakeredis.FakeRedis(server=store), server, url


def _client(url: str, read_only: bool) -> Redis:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        return Redis.from_url(
            # One shape of reply from every server, and no HELLO, which old ones and proxies lack.
            protocol=2,
            # Nothing is sent twice: only the caller knows whether it may be.
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=_log_in_to_look if read_only else None,
            **_arguments(url.reveal() if isinstance(url, ServerUrl) else url),
        )
    except (OSError, ValueError) as refusal:
        problem = str(refusal)
    # Outside the except block, so that the original error is not even the context.
    raise refused(
        url,
        f"{problem}. Allowed are redis://[user:password@]host[:port][/db], rediss://... for TLS, "
        f"unix:///path/to/socket and {EMBEDDED} for a private server",
    )


def _arguments(whole: str) -> dict[str, Any]:
    """Return redis-py's arguments for a URL, after a check of its address.

    Raises
    ------
    ValueError
        redis-py would misread the URL, or quote what may be a password.
    OSError
        A certificate or key cannot be loaded.
    """
    check_scheme(whole)
    address, _, query = whole.replace("#", "%23").partition("?")  # redis-py would drop what follows
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise ValueError("host and port cannot be read ([ ] in a password are %5B %5D)") from None
    allowed = _OPTIONS | _TCP_OPTIONS.get(parts.scheme, {})
    options = parse_options(query, allowed) if query else {}
    path = parts.path.strip("/")
    number = not path or (path.isdecimal() and "db" not in options)
    if not (path if parts.scheme == "unix" else number):
        raise ValueError("what follows the host is a socket's path or, once, a database's number")
    if parts.scheme == "rediss":
        check_certificates(
            *map(options.get, ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")),
            password=options.get("ssl_password", ""),
        )
    return {
        "url": address,
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        **options,
    }


def _look_at(client: Redis, *, read_only: bool) -> RedisServer:
    """Ask what the server is, and try the hash-field commands on what is not there."""
    from redis.exceptions import ClusterCrossSlotError, ClusterDownError

    of_field = ("FIELDS", 1, secrets.token_hex())  # one that nobody has
    tries: dict[str, Command] = {
        "HSETEX": ("HSETEX", "online_", "FXX", "EX", 1, *of_field, 1),
        "HEXPIRE": ("HEXPIRE", "online_", 0, "GT", *of_field),
    }
    if read_only:
        tries = {"HEXPIRE": ("HTTL", "online_", *of_field)}
    # Two keys of different slots, for a user who may not ask for INFO.
    of_slots = ("EXISTS", "online_1", "online_2")
    told, keys, *tried = round_trip(client, [("INFO",), of_slots, *tries.values()])
    field_lease = None
    for command, reply in zip(tries, tried, strict=True):
        if is_denial(reply):
            field_lease = None if read_only else ""
        elif "unknown command" not in str(reply):
            field_lease = command
            break
    text = told.decode(errors="replace") if isinstance(told, bytes) else ""
    facts = dict(re.findall(r"^(\w+):(.*?)\r?$", text, re.MULTILINE))
    version = facts.get("redis_version", "unknown")
    numbers = tuple(map(int, re.findall(r"\d+", version)))
    mode = facts.get("redis_mode", facts.get("server_mode"))
    problem = ""
    if text and "redis_version" not in facts:
        problem = "no Redis: its INFO names no redis_version"
    elif mode == "cluster" or type(keys) in (ClusterCrossSlotError, ClusterDownError):
        problem = (
            "a node of a cluster and has a part of the keys, which would be taken for all: name a "
            "server that is no cluster's"
        )
    elif mode == "sentinel" or (not text and "unknown command" in str(keys)):
        problem = (
            "a Sentinel and has no keys: name the server that it calls the primary "
            "(SENTINEL GET-MASTER-ADDR-BY-NAME)"
        )
    elif numbers and numbers < OLDEST_REDIS:
        oldest = ".".join(map(str, OLDEST_REDIS))
        problem = f"Redis {version} and too old: imlib needs {oldest} or newer, or any Valkey"
    if problem:
        address = server_address(client)
        raise UnsupportedServerError(f"{address} is {problem}", server=address)
    link = facts.get("master_link_status", "")
    primary = f"{facts['master_host']}:{facts['master_port']}" if link else ""
    name = "Valkey" if "valkey_version" in facts else "Redis"
    version = facts.get("valkey_version") or version
    return RedisServer(name, version, field_lease, primary, link)
