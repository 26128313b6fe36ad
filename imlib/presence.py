"""Reading presence from Redis in bounded batches, and which of the sessions in a batch count."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice, repeat
from typing import TYPE_CHECKING, Any, NamedTuple

from imlib.errors import CodecError
from imlib.lease import Clock, cutoff
from imlib.servers.redis_pipeline import (
    Command,
    EncodedCommands,
    PipelinedConnection,
    check_refusals,
    encode_for_each_key,
    encode_keys,
    flatten_hgetall,
    parse_time,
    round_trip,
    translate_errors,
)
from imlib.session_status import (
    KEY_PREFIX,
    Layout,
    SessionStatus,
    layout_of,
    user_id_from_key,
)

if TYPE_CHECKING:
    from redis import Redis

    from imlib.session_columns import SessionColumns

BATCH_KEYS = 500
"""Few enough for what two batches send and get to fit into a socket's buffers: neither side waits
for the other.
"""
_PREFERENCE = [*Layout]
_LARGE = 1000
"""Fields above which a hash is read in parts of about as many."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something under a presence key from which no session can be read.

    Parameters
    ----------
    key : bytes
        The Redis key.
    field, value : bytes or None
        The hash entry; None where the key itself is the trouble.
    reason : str
    """

    key: bytes
    field: bytes | None
    value: bytes | None
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Presence keys that were read in one round trip, and their entries in one sequence.

    Parameters
    ----------
    keys : list of bytes
        Those that name a user.
    user_ids : list of int
        For each key, whose it is.
    fields, values : list of bytes
        The hash entries of all keys.
    sizes : list of int
        For each key, how many of the entries are its own.
    ttls_ms : list of (int or None)
        What was left of each key's time to live, in milliseconds; -1 where it never expires, -2
        where it was gone by then, None where it was not asked for.
    clock : float
        The reader's clock at that time, in Unix seconds: Redis's own unless another was given.
    problems : list of Malformed
        Keys that name no user or hold no hash.
    """

    keys: list[bytes]
    user_ids: list[int]
    fields: list[bytes]
    values: list[bytes]
    sizes: list[int]
    ttls_ms: list[int | None]
    clock: float
    problems: list[Malformed]


def read_users(client: Redis, user_ids: Sequence[int], clock: Clock | None) -> Batch:
    """Read some users' keys and Redis's clock in one round trip.

    No id may come twice. A hash of more than 1,000 fields takes another for each thousand more.
    """
    wanted = _of_users(user_ids)
    # HSCAN in HGETALL's place: it ends where one HGETALL would hold the server for too long.
    first = encode_for_each_key(b"HSCAN", wanted.encoded, b"0", b"COUNT", b"%d" % (_LARGE + 1))
    replies = round_trip(client, [("TIME",), first])
    for at, reply in enumerate(replies[1:]):
        if type(reply) is list:
            cursor, found = reply
            whole = cursor in (b"0", 0)
            replies[1 + at] = found if whole else _hash_in_parts(client, wanted.keys[at], reply)
    return _batch(client, wanted, replies, clock)


def scan_batches(
    client: Redis, clock: Clock | None, *, size: int = BATCH_KEYS, ttl: bool = False
) -> Iterator[Batch]:
    """Read every presence key, about ``size`` at a time, never holding more than a few batches.

    SCAN promises to return what is there from its start to its end, and no more than that: a key
    may come twice, and one that comes or goes meanwhile may be in it or not. ``ttl`` asks for each
    key's time to live as well.
    """
    every = map(_of_keys, scan_keys(client, f"{KEY_PREFIX}*", size))
    return _batches(client, every, clock, ttl=ttl)


def user_batches(client: Redis, user_ids: Sequence[int], clock: Clock | None) -> Iterator[Batch]:
    """Read some users' keys as `scan_batches` reads all, and each key's time to live.

    No id may come twice.
    """
    starts = range(0, len(user_ids), BATCH_KEYS)
    some = (_of_users(user_ids[at : at + BATCH_KEYS]) for at in starts)
    return _batches(client, some, clock, ttl=True)


def scan_keys(client: Redis, pattern: str, size: int = BATCH_KEYS) -> Iterator[list[bytes]]:
    """Walk through the keys that match a pattern, about ``size`` of all keys at a time.

    No list is empty.
    """
    cursor: bytes | int = 0
    keys: list[bytes] = []
    with translate_errors(client), PipelinedConnection(client) as line:
        while True:
            line.ask([("SCAN", cursor, "MATCH", pattern, "COUNT", size)])
            if keys:
                yield list(dict.fromkeys(keys))  # the server looks for more meanwhile
            (reply,) = line.answers()
            if isinstance(reply, Exception):
                raise reply
            cursor, keys = reply
            if int(cursor) == 0:
                break
    if keys:
        yield list(dict.fromkeys(keys))


class _Wanted(NamedTuple):
    """Keys to be read, their users, which hold large hashes, and keys that name no user."""

    keys: list[bytes]
    user_ids: list[int]
    encoded: list[bytes]
    large: set[bytes]
    problems: list[Malformed]

    def note_sizes(self, sizes: list[Any]) -> None:
        """Take the replies to HLEN, in the order of the keys."""
        measured = zip(self.keys, sizes, strict=True)
        self.large.update(key for key, size in measured if isinstance(size, int) and size > _LARGE)

    def reading(self, *, ttl: bool) -> Iterator[Command | EncodedCommands]:
        yield ("TIME",)
        if self.large:
            for key in self.keys:
                # HLEN in HGETALL's place keeps the replies in step.
                yield ("HLEN" if key in self.large else "HGETALL", key)
        else:
            yield encode_for_each_key(b"HGETALL", self.encoded)
        if ttl:
            yield encode_for_each_key(b"PTTL", self.encoded)


def _of_users(user_ids: Sequence[int]) -> _Wanted:
    keys = [b"online_%d" % user_id for user_id in user_ids]
    return _Wanted(keys, list(user_ids), encode_keys(keys), set(), [])


def _of_keys(scanned: list[bytes]) -> _Wanted:
    keys, user_ids, problems = [], [], []
    for key in scanned:
        try:
            user_ids.append(user_id_from_key(key))
            keys.append(key)
        except CodecError as refusal:
            problems.append(Malformed(key, None, None, refusal.reason))
    return _Wanted(keys, user_ids, encode_keys(keys), set(), problems)


def _batches(
    client: Redis, every: Iterator[_Wanted], clock: Clock | None, *, ttl: bool
) -> Iterator[Batch]:
    """Read keys so that the server works on the next ones while the caller has the last.

    Each key's size is asked two rounds before its contents: one HGETALL of 100,000 fields holds a
    server for 30 ms, so large hashes are read in parts.
    """
    read = sized = measured = None
    with translate_errors(client), PipelinedConnection(client) as line:
        # Nothing is awaited in the first round.
        line.ask(())
        line.ask(())
        # Three rounds more than there are batches: nothing is left to be sized, then to be read,
        # then to be awaited.
        for wanted in chain(every, (None, None, None)):
            line.ask(sized.reading(ttl=ttl) if sized else ())
            line.ask([encode_for_each_key(b"HLEN", wanted.encoded)] if wanted else ())
            contents, sizes = line.answers(), line.answers()
            if measured:
                measured.note_sizes(sizes)
            if read:
                yield _batch(client, read, contents, clock)
            read, sized, measured = sized, measured, wanted
        line.answers()
        line.answers()


def _batch(client: Redis, wanted: _Wanted, replies: list[Any], clock: Clock | None) -> Batch:
    """Make a batch of the replies to a reading."""
    from redis.exceptions import ResponseError

    keys, problems = wanted.keys, wanted.problems
    told, hashes, left = replies[0], replies[1 : 1 + len(keys)], replies[1 + len(keys) :]
    check_refusals(client, replies[1:])
    if clock is not None:
        instant = clock()
    elif isinstance(told, ResponseError):
        instant = _clock_without_time(client, keys)
    else:
        instant = parse_time(told)
    for at, reply in enumerate(hashes):
        if type(reply) is list:
            continue
        if isinstance(reply, int):
            reply = _hash_in_parts(client, keys[at])
        if isinstance(reply, ResponseError):
            problems.append(Malformed(keys[at], None, None, "the key does not hold a hash"))
            reply = []
        hashes[at] = flatten_hgetall(reply)
    entries = list(chain.from_iterable(hashes))
    sizes = [len(of_key) // 2 for of_key in hashes]
    ttls_ms = [one if isinstance(one, int) else None for one in left] or [None] * len(keys)
    return Batch(
        keys, wanted.user_ids, entries[::2], entries[1::2], sizes, ttls_ms, instant, problems
    )


def _hash_in_parts(client: Redis, key: bytes, begun: Sequence[Any] = (-1, ())) -> Any:
    """Return a large hash as HGETALL would.

    While it changes a field may come twice; the last one counts. ``begun`` is the reply to an
    HSCAN, to go on from there.
    """
    from redis.exceptions import ResponseError

    cursor, found = begun
    entries: Any = dict(zip(found[::2], found[1::2], strict=True))
    with translate_errors(client):
        try:
            while cursor:
                cursor, more = client.hscan(key, max(int(cursor), 0), count=_LARGE)
                entries |= more
        except ResponseError as refusal:  # no hash any more, or not for this user
            check_refusals(client, [refusal])
            return refusal
    return entries


def online_in(batch: Batch, check_online_timeout: int) -> list[list[SessionStatus]]:
    """Return for each key of a batch the sessions that count, ordered by auth key and session.

    Where one session is written in several layouts, the later report counts; at a tie the
    documented one, then the deployed.
    """
    oldest = cutoff(batch.clock, check_online_timeout)
    owners = list(chain.from_iterable(map(repeat, batch.user_ids, batch.sizes)))
    parsed = SessionStatus.parse_many(batch.fields, batch.values, owners)
    entries = zip(batch.fields, parsed, strict=True)
    online = []
    for size in batch.sizes:
        latest: dict[tuple[int, int], tuple[bytes, SessionStatus]] = {}
        for field, status in islice(entries, size):
            if status and status.now > oldest:  # `malformed_in` lists what is no session
                session = status.auth_key_id, status.session_id
                known = latest.get(session)
                if known is None or _rank(field, status) > _rank(*known):
                    latest[session] = field, status
        online.append([latest[session][1] for session in sorted(latest)])
    return online


def _rank(field: bytes, status: SessionStatus) -> tuple[int, int]:
    """Return what decides between two entries of one session: the greater counts."""
    return status.now, -_PREFERENCE.index(layout_of(field))


def malformed_in(batch: Batch, columns: SessionColumns | None = None) -> list[Malformed]:
    """Return what no session can be read from in a batch: keys, then entries.

    ``columns`` are its entries, if they are decoded already.
    """
    from imlib.session_columns import decode_columns

    ends = list(accumulate(batch.sizes))
    if columns is None:
        columns = decode_columns(batch.fields, batch.values)
    return batch.problems + [
        Malformed(batch.keys[bisect_right(ends, row)], batch.fields[row], batch.values[row], reason)
        for row, _, _, reason in columns.malformed
    ]


def _clock_without_time(client: Redis, keys: Sequence[bytes]) -> float:
    """Return Redis's clock for a user who may only read, else our own.

    It is a key's deadline less what is left until then.
    """
    replies = round_trip(client, [(name, key) for key in keys for name in ("PEXPIRETIME", "PTTL")])
    for deadline, left in zip(replies[::2], replies[1::2], strict=True):
        if isinstance(deadline, int) and isinstance(left, int) and deadline > 0 and left > 0:
            return (deadline - left) / 1000
    return time.time()


def measure_skew(client: Redis) -> tuple[float, float]:
    """Return by how many seconds this machine's clock is ahead of Redis's, and what Redis's showed.

    The error is at most half of the round trip. Where the user may not ask for TIME the skew is NaN
    and the clock this machine's.
    """
    before = time.time()
    (told,) = round_trip(client, [("TIME",)])
    after = time.time()
    if isinstance(told, Exception):
        return math.nan, after
    return (before + after) / 2 - parse_time(told), parse_time(told)
