"""Many Redis commands in one round trip, and redis-py's errors as imlib's.

redis-py's pipelines cost several microseconds a command in Python; a connection of its pool can be
sent packed commands, and its parser asked for the replies, at a fraction of that: pool, login, TLS
and errors stay redis-py's.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
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

Command = Sequence[str | bytes | int]


class EncodedCommands(NamedTuple):
    """Commands as bytes, ready to send, and how many they are."""

    data: bytes
    commands: int


def encode_keys(keys: Sequence[bytes]) -> list[bytes]:
    """Encode keys once, for several uses of `encode_for_each_key`."""
    return [b"$%d\r\n%b\r\n" % (len(key), key) for key in keys]


def encode_for_each_key(
    command: bytes, encoded_keys: Sequence[bytes], *rest: bytes
) -> EncodedCommands:
    r"""Encode one command for each of many keys, at a tenth of the cost of one by one.

    What follows the key is ``rest``.

    Examples
    --------
    >>> encode_for_each_key(b"HLEN", encode_keys([b"online_7"]))
    EncodedCommands(data=b'*2\r\n$4\r\nHLEN\r\n$8\r\nonline_7\r\n', commands=1)
    """
    head = b"*%d\r\n$%d\r\n%b\r\n" % (2 + len(rest), len(command), command)
    tail = b"".join(encode_keys(rest))
    data = head + (tail + head).join(encoded_keys) + tail if encoded_keys else b""
    return EncodedCommands(data, len(encoded_keys))


_PIECE_BYTES = 16_384
"""How much is worth a system call."""


def round_trip(client: Redis, commands: Iterable[Command | EncodedCommands]) -> list[Any]:
    """Send commands in one round trip and return their replies in order.

    Parameters
    ----------
    client : redis.Redis
    commands : iterable of commands
        Each a sequence of its words, or `EncodedCommands`. They are sent as they come, so that the
        server works on the first while the last is still being made; no reply is waited for before
        all are sent.

    Returns
    -------
    list
        What the server answered: bytes, int, list (or dict), None; for a command it refused, the
        `redis.exceptions.ResponseError`, not raised, so that one refusal hides no other reply.

    Raises
    ------
    UnavailableError, AccessDeniedError, UnsupportedServerError
        The round trip itself failed. No command is sent twice.
    """
    with translate_errors(client), PipelinedConnection(client) as line:
        line.ask(commands)
        return line.answers()


class PipelinedConnection:
    """A connection of a client's pool, where several questions can wait for their answers.

    Parameters
    ----------
    client : redis.Redis

    Notes
    -----
    Errors are redis-py's own: see `translate_errors`.
    """

    def __init__(self, client: Redis) -> None:
        self._pool = client.connection_pool
        self._asked: list[int] = []

    def __enter__(self) -> PipelinedConnection:
        # Any: redis-py does not type its connections' methods.
        self._connection: Any = self._pool.get_connection()
        return self

    def __exit__(self, *_: object) -> None:
        # Replies may still be on their way: whoever gets this connection next must not read them.
        if self._asked:
            self._connection.disconnect()
        self._pool.release(self._connection)

    def ask(self, commands: Iterable[Command | EncodedCommands]) -> None:
        """Send commands and don't wait: the server works on them while the caller goes on."""
        import hiredis

        pack_command: Any = hiredis.pack_command  # its stub knows tuples of one word only
        self._asked.append(0)
        count, piece = 0, bytearray()
        for command in commands:
            data, number = (
                command
                if isinstance(command, EncodedCommands)
                else (pack_command(tuple(command)), 1)
            )
            count += number
            piece += data
            if len(piece) >= _PIECE_BYTES:
                self._connection.send_packed_command([piece])
                piece = bytearray()
        if piece:
            self._connection.send_packed_command([piece])
        self._asked[-1] = count

    def answers(self) -> list[Any]:
        """Return the replies to the oldest question that waits for them, as `round_trip` does."""
        from redis import exceptions
        from redis._parsers.hiredis import NOT_ENOUGH_DATA

        parser: Any = getattr(self._connection, "_parser", None)
        reader: Any = getattr(parser, "_reader", None)
        replies: list[Any] = []
        count = self._asked[0]
        if reader is None or self._connection.protocol != 2:
            # A fake's connection, or a client that a caller made: redis-py's own way, at several
            # times the cost.
            while len(replies) < count:
                try:
                    replies.append(self._connection.read_response())
                except exceptions.ResponseError as refusal:
                    replies.append(refusal)
        while len(replies) < count:
            reply = reader.gets()
            if reply is NOT_ENOUGH_DATA:
                parser.read_from_socket()
            elif isinstance(reply, exceptions.ConnectionError):
                raise reply
            else:
                replies.append(reply)
        del self._asked[0]
        return replies


@contextmanager
def translate_errors(client: Redis) -> Iterator[None]:
    """Re-raise redis-py's errors as `ImlibError`, with the original as the cause."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError, UnicodeError) as problem:
        raise translated_error(problem, client) from problem


def translated_error(problem: Exception, client: Redis) -> ImlibError:
    """Return the `ImlibError` that says what a redis-py error means, without any password.

    It may have been raised, or be a reply to a command or a part of what a script returned.
    """
    from redis import exceptions as theirs

    # redis-py's frames have the login among their variables, which some tracebacks show.
    cause: BaseException | None = problem
    while cause:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__context__
    server = server_address(client)
    said = str(problem).strip().rstrip(".") or type(problem).__name__
    kind: type[ImlibError] = UnavailableError
    match problem:
        case theirs.AuthenticationError() | theirs.AuthorizationError():
            kind = AccessDeniedError
            advice = "Check user and password in redis_url or IMLIB_REDIS_URL."
            text = f"Redis at {server} refuses the login: {said}. {advice}"
        case _ if is_denial(problem):
            kind = AccessDeniedError
            text = f"Redis at {server} does not allow this user the command: {said}."
        case theirs.TimeoutError():
            text = (
                f"Redis at {server} did not answer in time. Is it a Redis, is it overloaded, "
                "is a firewall between?"
            )
        case theirs.InvalidResponse():
            kind, advice = UnsupportedServerError, "Check host and port in redis_url."
            text = f"what answers at {server} does not speak Redis's protocol. {advice}"
        case theirs.ResponseError() if said.startswith("WRONGTYPE"):
            kind = WrongTypeError
            text = f"a key at {server} holds another type than expected: {said}."
        case theirs.ReadOnlyError():
            text = f"Redis at {server} is a replica and takes no writes{_primary(client)}."
        case theirs.AskError():  # MOVED, too
            text = f"Redis at {server} is a cluster's node, and the key is another's: {said}."
        case theirs.ResponseError() | theirs.BusyLoadingError():
            text = f"Redis at {server} refused: {said}."
        case _:
            advice = "Start it, or check redis_url or IMLIB_REDIS_URL."
            text = f"Redis at {server} cannot be reached: {said}. {advice}"
    return kind(text, server=server)


def is_denial(reply: object) -> bool:
    """Tell whether a reply says that the user may not: inside scripts old servers don't name it."""
    from redis.exceptions import NoPermissionError

    return isinstance(reply, NoPermissionError) or (
        isinstance(reply, Exception)
        and re.search("executing the script can't|^ACL failure", str(reply)) is not None
    )


def _primary(client: Redis) -> str:
    """Name a replica's primary, if the user may ask for it."""
    with suppress(ImlibError):
        (role,) = round_trip(client, [("ROLE",)])
        if isinstance(role, list) and role[0] == b"slave":
            return f"; its primary is {role[1].decode(errors='replace')}:{role[2]}"
    return ""


def server_address(client: Redis) -> str:
    """Return a client's server in a form for messages: a path or host:port/db, never a login."""
    options = client.connection_pool.connection_kwargs
    if path := options.get("path"):
        return f"{path}?db={options['db']}" if options.get("db") else str(path)
    if "server" in options:
        return "fakeredis"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"


def check_refusals(client: Redis, replies: Iterable[Any]) -> None:
    """Raise, as an `ImlibError`, the first reply that refuses, unless it concerns its key alone.

    A key of another type is passed over. Any other refusal would give a wrong answer if it were
    taken for a key's: behind a replica that lost its primary everybody would be offline.
    """
    for reply in replies:
        if isinstance(reply, Exception):
            meaning = translated_error(reply, client)
            if not isinstance(meaning, WrongTypeError):
                raise meaning from reply


def flatten_hgetall(reply: Any) -> list[bytes]:
    """Return an HGETALL reply as field, value, field, value; a fake gives a dict."""
    return reply if isinstance(reply, list) else [word for pair in reply.items() for word in pair]


def parse_time(reply: Sequence[Any]) -> float:
    """Return a TIME reply in Unix seconds."""
    return int(reply[0]) + int(reply[1]) / 1_000_000
