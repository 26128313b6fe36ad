"""Many Redis commands in one round trip, and a Redis client's errors in our words.

redis-py's pipelines cost several microseconds a command in Python; a connection of its pool can be sent packed
commands, and its parser asked for the replies, at a fraction of that: pool, login, TLS and errors stay redis-py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from imlib.errors import (
    AccessDeniedError,
    ImlibError,
    UnavailableError,
    UnsupportedServerError,
    WrongTypeError,
)

if TYPE_CHECKING:
    from redis import Redis

__all__ = [
    "Conversation",
    "Packed",
    "check_refusals",
    "exchange",
    "flat",
    "for_each",
    "in_our_words",
    "seconds",
    "translated",
    "where",
    "words",
]

Command = Sequence[str | bytes | int]


class Packed(NamedTuple):
    """Commands as they go over the wire, and how many they are."""

    data: bytes
    commands: int


def words(keys: Sequence[bytes]) -> list[bytes]:
    """Return keys as they stand in a command: made once, they serve `for_each` for several commands."""
    return [b"$%d\r\n%b\r\n" % (len(key), key) for key in keys]


def for_each(command: bytes, words: Sequence[bytes]) -> Packed:
    r"""Return one command for each of many keys, at a tenth of what packing one by one costs.

    Examples
    --------
    >>> for_each(b"HLEN", words([b"online_7"]))
    Packed(data=b'*2\r\n$4\r\nHLEN\r\n$8\r\nonline_7\r\n', commands=1)
    """
    head = b"*2\r\n$%d\r\n%b\r\n" % (len(command), command)
    return Packed(head + head.join(words) if words else b"", len(words))


_PIECE_BYTES = 16_384


def exchange(client: Redis, commands: Iterable[Command | Packed]) -> list[Any]:
    """Send commands in one round trip and return their replies in order.

    Parameters
    ----------
    client : redis.Redis
    commands : iterable of commands
        Each a sequence of its words, or `Packed` ones. They are sent as they come, so that the server works on the
        first while the last is still being made; no reply is waited for before all are sent.

    Returns
    -------
    list
        What the server answered: bytes, int, list (or dict), None; for a command it refused, the
        `redis.exceptions.ResponseError`, not raised, so that one refusal hides no other reply.

    Raises
    ------
    UnavailableError, AccessDeniedError, UnsupportedServerError
        The round trip itself failed. Nothing is sent twice.
    """
    with in_our_words(client), Conversation(client) as line:
        line.ask(commands)
        return line.answers()


class Conversation:
    """A connection of a client's pool on which a question can be asked before the last one's answers are read.

    Parameters
    ----------
    client : redis.Redis

    Notes
    -----
    Errors are redis-py's own: see `in_our_words`.
    """

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._asked: list[int] = []

    def __enter__(self) -> Conversation:
        self._connection: Any = self._pool.get_connection()  # Any: redis-py does not type its connections' methods
        return self

    def __exit__(self, *_: object) -> None:
        # Replies may still be on their way: whoever gets this connection next must not read them.
        if self._asked:
            self._connection.disconnect()
        self._pool.release(self._connection)

    def ask(self, commands: Iterable[Command | Packed]) -> None:
        """Send commands as `exchange` does and don't wait: the server works on them while the caller does."""
        self._asked.append(0)
        for packed, length in _pieces(commands):
            self._connection.send_packed_command([packed])
            self._asked[-1] += length

    def answers(self) -> list[Any]:
        """Return the replies to the oldest question that waits for them, as `exchange` does."""
        replies = _read(self._connection, self._asked[0])
        del self._asked[0]
        return replies


def _pieces(commands: Iterable[Command | Packed]) -> Iterator[Packed]:
    """Pack commands into pieces worth a system call, each with the number of commands in it."""
    import hiredis

    pack_command: Any = hiredis.pack_command  # its stub knows tuples of one word only
    piece: list[bytes] = []
    size = count = 0
    for command in commands:
        packed = command if isinstance(command, Packed) else Packed(pack_command(tuple(command)), 1)
        piece.append(packed.data)
        size += len(packed.data)
        count += packed.commands
        if size >= _PIECE_BYTES:
            yield Packed(b"".join(piece), count)
            piece, size, count = [], 0, 0
    if count:
        yield Packed(b"".join(piece), count)


def _read(connection: Any, count: int) -> list[Any]:
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import ResponseError

    parser: Any = getattr(connection, "_parser", None)
    reader = getattr(parser, "_reader", None)
    replies: list[Any] = []
    if reader is None or connection.protocol != 2:
        # A fake's connection, or a client that a caller made: redis-py's own way, at several times the cost.
        for _ in range(count):
            try:
                replies.append(connection.read_response())
            except ResponseError as refusal:
                replies.append(refusal)
        return replies
    from redis._parsers.hiredis import NOT_ENOUGH_DATA

    gets, append = reader.gets, replies.append
    while count:
        reply = gets()
        if reply is NOT_ENOUGH_DATA:
            parser.read_from_socket()
            continue
        if isinstance(reply, RedisConnectionError):
            raise reply
        append(reply)
        count -= 1
    return replies


@contextmanager
def in_our_words(client: Redis) -> Iterator[None]:
    """Raise what redis-py raises inside as an `ImlibError` of one clear line, with the original as its cause."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError, UnicodeError) as problem:
        raise translated(problem, where(client)) from problem


def translated(problem: Exception, server: str) -> ImlibError:
    """Return the `ImlibError` that says what a redis-py error means, without any password."""
    from redis import exceptions as theirs

    said = str(problem).strip().rstrip(".") or type(problem).__name__
    match problem:
        case theirs.AuthenticationError() | theirs.AuthorizationError():
            return AccessDeniedError(
                f"Redis at {server} refuses the login: {said}. Check user and password in redis_url or IMLIB_REDIS_URL."
            )
        case theirs.NoPermissionError():
            return AccessDeniedError(f"Redis at {server} does not allow this user the command: {said}.")
        case theirs.TimeoutError():
            return UnavailableError(
                f"Redis at {server} did not answer in time. Is it a Redis, is it overloaded, is a firewall between?"
            )
        case theirs.InvalidResponse():
            return UnsupportedServerError(
                f"what answers at {server} does not speak Redis's protocol. Check host and port in redis_url."
            )
        case theirs.ResponseError() if said.startswith("WRONGTYPE"):
            return WrongTypeError(f"a key at {server} holds another type than expected: {said}.")
        case theirs.ResponseError():
            return UnavailableError(f"Redis at {server} refused: {said}.")
        case _:
            return UnavailableError(
                f"Redis at {server} cannot be reached: {said}. Start it, or check redis_url or IMLIB_REDIS_URL."
            )


def where(client: Redis) -> str:
    """Return a client's server in a form for messages: a path or host:port/db, never a login."""
    options = client.connection_pool.connection_kwargs
    if path := options.get("path"):
        return f"{path}?db={options['db']}" if options.get("db") else str(path)
    if "server" in options:
        return "fakeredis"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"


def check_refusals(client: Redis, replies: Iterable[Any]) -> None:
    """Raise, in our words, the first refusal among replies that is the server's or for this user.

    That a key is of another type is its own trouble and passes. All else would be, taken for a key's, a wrong answer:
    behind a replica that lost its primary everybody would be offline.
    """
    from redis.exceptions import ResponseError

    for reply in replies:
        if isinstance(reply, ResponseError) and not str(reply).startswith("WRONGTYPE"):
            raise translated(reply, where(client)) from reply


def flat(reply: Any) -> list[bytes]:
    """Return an HGETALL reply as field, value, field, value; a fake gives a dict."""
    return reply if isinstance(reply, list) else [word for pair in reply.items() for word in pair]


def seconds(reply: Sequence[Any]) -> float:
    """Return a TIME reply in Unix seconds."""
    return int(reply[0]) + int(reply[1]) / 1_000_000
