"""Opening Redis: from a URL to a client, what the server can do, and what is wrong with either."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from imlib.errors import ConfigurationError, UnsupportedServerError
from imlib.servers.redis_pipeline import Command, is_denial, round_trip, server_address
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
        is none, "" where this user may use none.
    primary : str
        Of a replica, host:port of the server that it follows, as far as the user may know.
    link : str
        Of a replica, whether that server is reached: "up" or "down".
    """

    name: str
    version: str
    field_lease: str | None
    primary: str = ""
    link: str = ""

    def __str__(self) -> str:
        of = f" (a replica of {self.primary}, link {self.link})" if self.primary else ""
        return f"{self.name} {self.version}{of}"


def open_redis(url: str, *, read_only: bool) -> tuple[Redis, RedisServer, ServerUrl]:
    """Open a Redis client; return it, what its server can do, and the URL by which another process
    can join.

    With ``read_only`` no command is sent that could write.

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
        return client, _look_at(client, read_only=read_only), ServerUrl(url)
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


def _look_at(client: Redis, *, read_only: bool) -> RedisServer:
    """Ask what the server is, and try the hash-field commands on what is not there."""
    of_field = ("FIELDS", 1, secrets.token_hex())  # one that nobody has
    tries: dict[str, Command] = {
        "HSETEX": ("HSETEX", "online_", "FXX", "EX", 1, *of_field, 1),
        "HEXPIRE": ("HEXPIRE", "online_", 0, "GT", *of_field),
    }
    if read_only:
        tries = {"HEXPIRE": ("HTTL", "online_", *of_field)}
    questions: list[Command] = [("INFO", "server"), ("INFO", "replication")]
    # Two keys of different slots, for a user who may not ask for INFO.
    questions += [("EXISTS", "online_1", "online_2"), *tries.values()]
    *told, keys = (replies := round_trip(client, questions))[:3]
    facts: dict[str, str] = {}
    for info in told:
        if isinstance(info, bytes):
            text = info.decode(errors="replace")
            facts |= re.findall(r"^(\w+):(.*?)\r?$", text, re.MULTILINE)
    if isinstance(told[0], bytes) and "redis_version" not in facts:
        raise UnsupportedServerError("what answers is no Redis: its INFO names no redis_version")
    _check_kind(server_address(client), facts, keys)
    name, version = "Redis", facts.get("redis_version", "unknown")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers and numbers < OLDEST_REDIS:
        raise UnsupportedServerError(
            f"Redis {version} is too old: imlib needs {'.'.join(map(str, OLDEST_REDIS))} or "
            "newer, or any Valkey"
        )
    if "valkey_version" in facts:
        name, version = "Valkey", facts["valkey_version"]
    field_lease = None
    for command, reply in reversed(list(zip(tries, replies[3:], strict=True))):
        if is_denial(reply):
            field_lease = field_lease or ("" if not read_only else None)
        elif "unknown command" not in str(reply):
            field_lease = command
    primary = ":".join(facts[part] for part in ("master_host", "master_port") if part in facts)
    return RedisServer(name, version, field_lease, primary, facts.get("master_link_status", ""))


def _check_kind(server: str, facts: dict[str, str], keys: object) -> None:
    """Raise `UnsupportedServerError` for a server that has no keys, or a part of them."""
    from redis.exceptions import ClusterCrossSlotError, ClusterDownError

    mode = facts.get("redis_mode", facts.get("server_mode"))
    if (
        mode == "cluster"
        or isinstance(keys, ClusterCrossSlotError)
        or type(keys) is ClusterDownError
    ):
        raise UnsupportedServerError(
            f"{server} is a node of a cluster and has a part of the keys, which would be taken for "
            "all: name a server that is no cluster's",
            server=server,
        )
    if mode == "sentinel" or (not facts and "unknown command" in str(keys)):
        raise UnsupportedServerError(
            f"{server} is a Sentinel and has no keys: name the server that it calls the primary "
            "(SENTINEL GET-MASTER-ADDR-BY-NAME)",
            server=server,
        )
