"""Opening Redis: from a URL to a client, what the server can do, and what is wrong with either."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from imlib.errors import ConfigurationError, UnsupportedServerError
from imlib.servers.redis_pipeline import round_trip
from imlib.servers.urls import ServerUrl

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
        is none.
    """

    name: str
    version: str
    field_lease: str | None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def open_redis(url: str) -> tuple[Redis, RedisServer, ServerUrl]:
    """Open a Redis client; return it, what its server can do, and the URL by which another process
    can join.

    Raises
    ------
    ConfigurationError
        The URL is none of redis-py's, nor `FAKEREDIS`.
    UnavailableError, AccessDeniedError, UnsupportedServerError
        What answers is not a Redis that imlib can use, or nothing answers.
    """
    if url.startswith(FAKEREDIS):
        return _imitation(url)
    client = _client(url)
    try:
        return client, _look_at(client), ServerUrl(url)
    except BaseException:
        client.close()
        raise


_imitations: WeakValueDictionary[str, Any] = WeakValueDictionary()


def _imitation(url: str) -> tuple[Redis, RedisServer, ServerUrl]:
    """Make a store of its own, or join one of this process by the URL that it was given."""
    import fakeredis

    store = fakeredis.FakeServer() if url == FAKEREDIS else _imitations.get(url)
    if store is None:
        raise ConfigurationError(
            f"no deployment of this process is at {url}; a new one is made by {FAKEREDIS}"
        )
    url = f"{FAKEREDIS}{id(store):x}"
    _imitations[url] = store
    return (
        fakeredis.FakeRedis(server=store),
        RedisServer("fakeredis", fakeredis.__version__, None),
        ServerUrl(url),
    )


def _client(url: str) -> Redis:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    problem = _problem_of(url)
    try:
        client = Redis.from_url(
            url,
            # One shape of reply from every server, and no HELLO, which old ones and proxies lack.
            protocol=2,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(
                NoBackoff(), 0
            ),  # nothing is sent twice: only the caller knows whether it may be
        )
        pool = client.connection_pool
        pool.connection_kwargs["decode_responses"] = False  # the codec judges bytes, not a guess
        pool.connection_class(
            **pool.connection_kwargs
        )  # connects nowhere, but refuses options that it does not know
    except (ValueError, TypeError, RedisError) as refusal:
        # Its own words, unless they may hold a part of the password.
        problem = problem or str(refusal).rpartition("() ")[2].rstrip(".")
    if problem is None:
        return client
    # Outside the except block: the original, which may hold the whole URL, is not even its context.
    raise ConfigurationError(
        f"redis_url {ServerUrl(url)!r} is not understood: {problem}. Allowed are "
        "redis://[user:password@]host[:port][/db], rediss://... for TLS, unix:///path/to/socket "
        "and "
        f"{EMBEDDED} for a private server."
    )


def _problem_of(url: str) -> str | None:
    """Say what is wrong with a URL where redis-py would look away, or would quote what may be a
    password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return (
            "host and port cannot be read (in a password, / ? # [ ] and @ have to be "
            "percent-encoded)"
        )
    if parts.scheme == "unix":
        return None if parts.path else "it names no socket"
    if parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        return "what follows the host is the number of a database"
    return None


def _look_at(client: Redis) -> RedisServer:
    """Ask for the version and try the hash-field commands: what a user may not ask is taken as not
    there.
    """
    info, ttl, setex = round_trip(
        client, [("INFO", "server"), ("HTTL", "online_", "FIELDS", 1, "imlib"), ("HSETEX",)]
    )
    name, version = "Redis", "unknown"
    if isinstance(info, bytes):
        facts: dict[str, str] = dict(
            re.findall(r"^(\w+):(.*?)\r?$", info.decode(errors="replace"), re.MULTILINE)
        )
        if "redis_version" not in facts:
            raise UnsupportedServerError(
                "what answers is no Redis: its INFO names no redis_version"
            )
        if "valkey_version" in facts:
            name = "Valkey"
        version = facts.get("valkey_version", facts["redis_version"])
        numbers = tuple(map(int, re.findall(r"\d+", facts["redis_version"])[:2]))
        if numbers < OLDEST_REDIS:
            raise UnsupportedServerError(
                f"Redis {version} is too old: imlib needs {'.'.join(map(str, OLDEST_REDIS))} or "
                "newer, or any Valkey"
            )
    field_lease = None
    if not isinstance(ttl, Exception):
        field_lease = "HSETEX" if "wrong number of arguments" in str(setex) else "HEXPIRE"
    return RedisServer(name, version, field_lease)
