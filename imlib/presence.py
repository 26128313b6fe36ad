"""Reading presence out of Redis in bounded batches: what the online-status model and snapshots have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from imlib.errors import CodecError
from imlib.lease import Clock, horizon
from imlib.session_status import KEY_PREFIX, SessionStatus, user_id_from_key
from imlib.wire import exchange, flat, for_each, in_our_words, seconds, translated, where

if TYPE_CHECKING:
    from redis import Redis

    from imlib.session_columns import SessionColumns

__all__ = [
    "Batch",
    "Malformed",
    "malformed_in",
    "measure_skew",
    "online_in",
    "read_users",
    "scan_batches",
    "scan_keys",
    "user_batches",
]

BATCH_KEYS = 2000
_LARGE = 1000
"""Fields above which a hash is read in parts of about as many."""
_COLUMNAR_FROM = 100
"""How many entries it takes for decoding by the column to be worth its start."""


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
    owners : list of int
        For each entry, its key's position in ``keys``.
    ttls_ms : list of (int or None)
        What was left of each key's time to live, in milliseconds; None where it never expires or was not asked for,
        0 where it was gone by then.
    clock : float
        The reader's clock at that time, in Unix seconds: Redis's own unless another was given.
    problems : list of Malformed
        Keys that name no user or hold no hash.
    """

    keys: list[bytes]
    user_ids: list[int]
    fields: list[bytes]
    values: list[bytes]
    owners: list[int]
    ttls_ms: list[int | None]
    clock: float
    problems: list[Malformed]


def read_users(client: Redis, user_ids: Sequence[int], clock: Clock | None) -> Batch:
    """Read some users' keys in one round trip, and Redis's clock in the same one; no id may come twice."""
    return _read(client, [b"online_%d" % user_id for user_id in user_ids], list(user_ids), clock, ttl=False)


def scan_batches(client: Redis, clock: Clock | None, *, size: int = BATCH_KEYS, ttl: bool = False) -> Iterator[Batch]:
    """Read every presence key, about ``size`` at a time, never holding more than one batch.

    SCAN promises to return what is there from its start to its end, and no more than that: a key may come twice, and
    one that comes or goes meanwhile may be in it or not. ``ttl`` asks for each key's time to live as well. Each key's
    size is asked first: one HGETALL of 100,000 fields holds a server for 30 ms, so large hashes are read in parts.
    """
    for scanned in scan_keys(client, f"{KEY_PREFIX}*", size):
        keys, user_ids, nobodys = [], [], []
        for key in scanned:
            try:
                user_ids.append(user_id_from_key(key))
                keys.append(key)
            except CodecError as refusal:
                nobodys.append(Malformed(key, None, None, refusal.reason))
        batch = _read_sized(client, keys, user_ids, clock, ttl=ttl)
        batch.problems.extend(nobodys)
        yield batch


def user_batches(
    client: Redis, user_ids: Sequence[int], clock: Clock | None, *, size: int = BATCH_KEYS
) -> Iterator[Batch]:
    """Read some users' keys as `scan_batches` reads all, with each key's time to live; no id may come twice."""
    for at in range(0, len(user_ids), size):
        some = list(user_ids[at : at + size])
        yield _read_sized(client, [b"online_%d" % user_id for user_id in some], some, clock, ttl=True)


def scan_keys(client: Redis, pattern: str, size: int = BATCH_KEYS) -> Iterator[list[bytes]]:
    """Walk through the keys that match a pattern, about ``size`` of all keys at a time; only lists with a key come."""
    cursor = 0
    while True:
        with in_our_words(client):
            reply: Any = client.scan(cursor, match=pattern, count=size)
        cursor, keys = reply
        if keys:
            yield list(dict.fromkeys(keys))
        if cursor == 0:
            return


def _read_sized(client: Redis, keys: list[bytes], user_ids: list[int], clock: Clock | None, *, ttl: bool) -> Batch:
    """Read keys, the large hashes among them in parts."""
    lengths = exchange(client, [for_each(b"HLEN", keys)])
    large = {key for key, length in zip(keys, lengths, strict=True) if isinstance(length, int) and length > _LARGE}
    return _read(client, keys, user_ids, clock, ttl=ttl, large=large)


def _read(
    client: Redis,
    keys: list[bytes],
    user_ids: list[int],
    clock: Clock | None,
    *,
    ttl: bool,
    large: Collection[bytes] = (),
) -> Batch:
    from redis.exceptions import NoPermissionError, ResponseError

    # HLEN in HGETALL's place keeps the replies in step.
    asked = [("HLEN" if key in large else "HGETALL", key) for key in keys] if large else [for_each(b"HGETALL", keys)]
    told, *replies = exchange(client, [("TIME",), *asked, for_each(b"PTTL", keys if ttl else [])])
    if denied := next((reply for reply in replies if isinstance(reply, NoPermissionError)), None):
        raise translated(denied, where(client)) from denied
    if clock is not None:
        instant = clock()
    else:
        instant = _clock_without_time(client, keys) if isinstance(told, ResponseError) else seconds(told)
    hashes, left = replies[: len(keys)], replies[len(keys) :] or [None] * len(keys)
    problems: list[Malformed] = []
    for at, reply in enumerate(hashes):
        if type(reply) is list:
            continue
        if isinstance(reply, int):
            reply = _hash_in_parts(client, keys[at])
        if isinstance(reply, ResponseError):
            said = str(reply)
            reason = "the key does not hold a hash" if said.startswith("WRONGTYPE") else said
            problems.append(Malformed(keys[at], None, None, reason))
        hashes[at] = [] if isinstance(reply, ResponseError) else flat(reply)
    words = list(chain.from_iterable(hashes))
    owners = [at for at, entries in enumerate(hashes) for _ in range(len(entries) // 2)]
    # -1: it never expires; -2: it did so between HGETALL and PTTL.
    ttls_ms = [max(one, 0) if isinstance(one, int) and one != -1 else None for one in left]
    return Batch(keys, user_ids, words[::2], words[1::2], owners, ttls_ms, instant, problems)


def _hash_in_parts(client: Redis, key: bytes) -> Any:
    """Return a large hash as HGETALL would; while it changes, a field that comes twice counts as it came last."""
    from redis.exceptions import ResponseError

    found: dict[bytes, bytes] = {}
    cursor: bytes | int = 0
    while True:
        (reply,) = exchange(client, [("HSCAN", key, cursor, "COUNT", _LARGE)])
        if isinstance(reply, ResponseError):
            return reply
        cursor, part = reply
        words = flat(part)
        found.update(zip(words[::2], words[1::2], strict=True))
        if int(cursor) == 0:
            return found


def online_in(batch: Batch) -> list[list[SessionStatus]]:
    """Return for each key of a batch the sessions that count, one a client instance, by auth key and session.

    Where a session is written in both layouts the later report counts, at a tie the documented one.
    """
    sessions: list[list[SessionStatus]] = [[] for _ in batch.keys]
    rows: list[list[int]] = [[] for _ in batch.keys]
    decode = _online_by_column if len(batch.fields) >= _COLUMNAR_FROM else _online_one_by_one
    for row, status in decode(batch):
        owner = batch.owners[row]
        sessions[owner].append(status)
        rows[owner].append(row)
    for at, several in enumerate(sessions):
        if len(several) > 1:
            documented = [b"@" not in batch.fields[row] for row in rows[at]]
            sessions[at] = _one_a_session(several, documented)
    return sessions


def malformed_in(batch: Batch, columns: SessionColumns | None = None) -> list[Malformed]:
    """Return what no session can be read from in a batch: keys, then entries; ``columns`` if it is decoded already."""
    from imlib.session_columns import decode_columns

    return batch.problems + [
        Malformed(batch.keys[batch.owners[bad.row]], batch.fields[bad.row], batch.values[bad.row], bad.reason)
        for bad in (decode_columns(batch.fields, batch.values) if columns is None else columns).malformed
    ]


def _online_one_by_one(batch: Batch) -> Iterator[tuple[int, SessionStatus]]:
    oldest = horizon(batch.clock)
    for row, (field, value, owner) in enumerate(zip(batch.fields, batch.values, batch.owners, strict=True)):
        try:
            status = SessionStatus.from_key_value(field, value, user_id=batch.user_ids[owner])
        except CodecError:
            continue  # `malformed_in` lists it
        if status.now > oldest:
            yield row, status


def _online_by_column(batch: Batch) -> Iterable[tuple[int, SessionStatus]]:
    import numpy as np

    from imlib.session_columns import decode_columns

    columns = decode_columns(batch.fields, batch.values).where_now_is_after(horizon(batch.clock))
    owners = np.array(batch.owners, dtype=np.intp)[columns.row]
    return zip(columns.row.tolist(), columns.sessions(np.array(batch.user_ids)[owners]), strict=True)


def _one_a_session(statuses: list[SessionStatus], documented: list[bool]) -> list[SessionStatus]:
    best: dict[tuple[int, int], tuple[int, bool, SessionStatus]] = {}
    for status, layout in zip(statuses, documented, strict=True):
        name = (status.auth_key_id, status.session_id)
        known = best.get(name)
        if known is None or (status.now, layout) > known[:2]:
            best[name] = (status.now, layout, status)
    return [best[name][2] for name in sorted(best)]


def _clock_without_time(client: Redis, keys: Sequence[bytes]) -> float:
    """Return Redis's clock for a user who may only read: a key's deadline less what is left of it, else our own."""
    replies = exchange(client, [(name, key) for key in keys for name in ("PEXPIRETIME", "PTTL")])
    for deadline, left in zip(replies[::2], replies[1::2], strict=True):
        if isinstance(deadline, int) and isinstance(left, int) and deadline > 0 and left > 0:
            return (deadline - left) / 1000
    return time.time()


def measure_skew(client: Redis) -> tuple[float, float]:
    """Return by how many seconds this machine's clock is ahead of Redis's, and what Redis's showed.

    The error is at most half of the round trip. Where the user may not ask for TIME the skew is NaN and the clock
    this machine's.
    """
    before = time.time()
    (told,) = exchange(client, [("TIME",)])
    after = time.time()
    if isinstance(told, Exception):
        return math.nan, after
    return (before + after) / 2 - seconds(told), seconds(told)
