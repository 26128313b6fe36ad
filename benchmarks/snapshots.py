"""Redis to the frame of sessions, time to live included, against plain redis-py: a command a key,
and pipelines.

All peers end with the columns of ``sessions``. Two of them decode without any check, which is the
fastest way in Python; one decodes by the scalar codec, which checks what ours checks.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote

import imlib
from benchmarks.measure import Row, medians
from imlib.session_status import SessionStatus, user_id_from_key
from imlib.snapshot.sessions import read_sessions

USERS: Final = (10_000, 100_000, 1_000_000)
NOW: Final = 1_512_270_533
_BATCH: Final = 1000
_ONE_BY_ONE: Final = 10_000


def run(sizes: Iterable[int] = USERS) -> list[Row]:
    """Measure on a private real server at each number of users; a million takes some
    three minutes.
    """
    return [row for users in sizes for row in _at(users)]


def _at(users: int) -> Iterator[Row]:
    with imlib.connect("embedded://", "embedded://") as deployment:
        client: Any = deployment.redis
        sessions = _fill(client, users)

        def ours() -> Any:
            return read_sessions(client, lambda: NOW).sessions

        _check(ours(), _decode(_by_pipelines(client)))
        few = min(users, _ONE_BY_ONE)
        of_few = _sessions(_one_by_one(client, few))
        contenders = {
            ours: sessions,
            lambda: _decode(_one_by_one(client, few)): of_few,
            lambda: _decode(_by_pipelines(client)): sessions,
        }
        if users < USERS[-1]:  # it would take as long again
            contenders[lambda: _decode_checked(_by_pipelines(client))] = sessions
        taken = medians([*contenders])
        mine, *theirs = (
            time / units for time, units in zip(taken, contenders.values(), strict=True)
        )
        floor = _server_alone(deployment.redis_url.reveal())
    what = f"a session to its frame, {users:,} users"
    bare = None if floor is None else floor * users / sessions
    named = "" if bare is None else "redis-benchmark's own HGETALL, a session's share"
    peers = [
        (
            "scan_iter, HGETALL, PTTL one by "
            f"one{f', on {few:,} keys of them' if few < users else ''}",
            "20 times",
        ),
        ("redis-py pipelines, split and int, unchecked", "2.5 times"),
        ("redis-py pipelines, SessionStatus: our checks", "2.5 times"),
    ]
    for peer, (name, promise) in zip(theirs, peers, strict=False):
        yield Row(what, mine, peer, name, bare, named, promise)


def _fill(client: Any, users: int) -> int:
    """Write 1.4 sessions a user, which last for the measurement; return how many."""
    rng = random.Random(NOW)
    written = 0
    for first in range(0, users, 10_000):
        with client.pipeline(transaction=False) as pipeline:
            for user_id in range(first, min(first + 10_000, users)):
                value = f"{NOW}_{rng.randrange(9)}_{user_id}"
                ids = (
                    (rng.getrandbits(64) - 2**63, rng.getrandbits(64) - 2**63)
                    for _ in range(1 + (user_id % 5 < 2))
                )
                entries = {f"{auth_key_id}_{session_id}": value for auth_key_id, session_id in ids}
                written += len(entries)
                pipeline.hset(f"online_{user_id}", mapping=entries)
                pipeline.pexpire(f"online_{user_id}", 86_400_000)
            pipeline.execute()
    return written


_Read = Iterator[tuple[bytes, dict[bytes, bytes], int]]


def _one_by_one(client: Any, keys: int) -> _Read:
    for key in islice(client.scan_iter("online_*", count=_BATCH), keys):
        yield key, client.hgetall(key), client.pttl(key)


def _by_pipelines(client: Any) -> _Read:
    cursor = 0
    while True:
        cursor, keys = client.scan(cursor, match="online_*", count=_BATCH)
        with client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hgetall(key)
                pipeline.pttl(key)
            replies = pipeline.execute()
        yield from zip(keys, replies[::2], replies[1::2], strict=True)
        if not cursor:
            return


def _decode(read: _Read) -> Any:
    """Return the frame that a person would write in an afternoon: split, int, DataFrame."""
    rows = []
    for key, entries, ttl in read:
        user_id = int(key[7:])
        for field, value in entries.items():
            auth_key_id, session_id = field.split(b"_")
            now, server_id, netlib = value.split(b"_")
            rows.append(
                (
                    user_id,
                    int(auth_key_id),
                    int(session_id),
                    int(server_id),
                    int(netlib),
                    int(now),
                    ttl / 1000,
                )
            )
    return _frame(rows)


def _decode_checked(read: _Read) -> Any:
    """Return the same frame by the scalar codec, which refuses what ours refuses."""
    rows = []
    for key, entries, ttl in read:
        user_id = user_id_from_key(key)
        for field, value in entries.items():
            one = SessionStatus.from_key_value(field, value, user_id=user_id)
            known = (one.auth_key_id, one.session_id, one.server_id, one.netlib_session_id, one.now)
            rows.append((user_id, *known, ttl / 1000))
    return _frame(rows)


def _frame(rows: list[tuple[Any, ...]]) -> Any:
    import pandas as pd

    names = [
        "user_id",
        "auth_key_id",
        "session_id",
        "server_id",
        "netlib_session_id",
        "now",
        "key_ttl_s",
    ]
    frame = pd.DataFrame(rows, columns=names)
    frame["reported_at"] = pd.to_datetime(frame["now"], unit="s", utc=True)
    frame["age_s"] = NOW - frame["now"]
    frame["online"] = frame["age_s"] < 17
    return frame


def _sessions(read: _Read) -> int:
    return sum(len(entries) for _, entries, _ in read)


def _check(ours: Any, theirs: Any) -> None:
    names = [
        "user_id",
        "auth_key_id",
        "session_id",
        "server_id",
        "netlib_session_id",
        "now",
        "online",
    ]
    theirs = theirs.drop_duplicates(names[:3]).sort_values(names[:3])
    if not (ours[names].to_numpy() == theirs[names].to_numpy()).all():
        raise AssertionError(
            "the two sides do not read the same sessions: the comparison would mean nothing"
        )


def _server_alone(url: str) -> float | None:
    """Return the seconds that one HGETALL costs by redis-benchmark, 100 in a pipeline; None where
    there is none.
    """
    program = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if program is None:
        return None
    command = [
        program,
        "-s",
        unquote(url.removeprefix("unix://")),
        "-q",
        "-P",
        "100",
        "-n",
        "500000",
    ]
    command += ["HGETALL", "online_2"]  # a user of one session, as most are
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rates = re.findall(r"([\d.]+) requests per second", done.stdout)
    return 1 / float(rates[-1]) if rates else None
