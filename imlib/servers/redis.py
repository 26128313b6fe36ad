"""Opening Redis: from a URL to a client, what the server can do, and what is wrong with either."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from imlib.errors import ConfigurationError, UnsupportedServerError
from imlib.servers.redis_pipeline import round_trip
from imlib.servers.urls import (
    ServerUrl,
    check_certificates,
    parse_options,
    plain_url,
    refused,
)

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

# What a URL may choose. All other arguments of redis-py are no text, or imlib's own choice.
_OPTIONS = {
    "number": "db health_check_interval max_connections",
    "text": "username password",
    "word": "client_name",
    "seconds": "socket_timeout socket_connect_timeout",
}
_TLS_OPTIONS = {
    "text": f"{_OPTIONS['text']} ssl_ca_certs ssl_ca_path ssl_certfile ssl_keyfile ssl_password",
    "check": "ssl_cert_reqs",
    "boolean": "ssl_check_hostname",
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
    from redis.retry import Retry

    url = plain_url(url)
    try:
        address, options = _parsed(url)
        limits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), TIMEOUT_SECONDS)
        return Redis.from_url(
            address,
            # One shape of reply from every server, and no HELLO, which old ones and proxies lack.
            protocol=2,
            # Nothing is sent twice: only the caller knows whether it may be.
            retry=Retry(NoBackoff(), 0),
            **limits | options,
        )
    except ValueError as refusal:
        problem = str(refusal)
    # Outside the except block, so that the original error is not even the context.
    raise refused(
        url,
        f"{problem}. Allowed are redis://[user:password@]host[:port][/db], rediss://... for TLS, "
        f"unix:///path/to/socket and {EMBEDDED} for a private server",
    )


def _parsed(url: str) -> tuple[str, dict[str, Any]]:
    """Return a URL without its options, and the options as redis-py's arguments.

    Raises
    ------
    ValueError
        redis-py would misread the URL, or quote what may be a password.
    """
    address = url.partition("?")[0].replace("#", "%23")  # urlsplit would drop what follows a #
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "host and port cannot be read (in a password, write / ? # [ ] and @ as %2F and so on)"
        ) from None
    database = parts.path.strip("/")
    if parts.scheme == "unix":
        if not database:
            raise ValueError("it names no socket")
    elif database and ("db=" in url or not database.isdecimal()):
        raise ValueError("what follows the host is the number of a database, and it stands once")
    if parts.scheme != "rediss":
        return address, parse_options(url, **_OPTIONS)
    # With a password, if only an empty one: without one OpenSSL asks for it at the terminal.
    options = {"ssl_password": ""} | parse_options(url, **_OPTIONS | _TLS_OPTIONS)
    files = "ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile", "ssl_password"
    check_certificates(*map(options.get, files))
    return address, options


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
