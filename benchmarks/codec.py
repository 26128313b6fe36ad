"""The codec: the scalar one against an unchecked split-and-int, the columnar one against the
scalar.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from benchmarks.measure import Row, medians
from imlib.errors import CodecError
from imlib.session_columns import decode_columns
from imlib.session_status import WRITTEN, Layout, SessionStatus

ENTRIES = 100_000

Entries = tuple[list[bytes], list[bytes]]


def run() -> list[Row]:
    """Measure both codecs on clean, spoilt and mixed entries."""
    rng = random.Random(1512270533)
    statuses = [_random_session(rng) for _ in range(ENTRIES)]
    clean = _entries(statuses, [Layout.DOCUMENTED] * ENTRIES)
    mixed = _entries(statuses, [rng.choice(WRITTEN) for _ in statuses])
    spoilt = (
        [b"0" + field if at % 100 == 0 else field for at, field in enumerate(clean[0])],
        clean[1],
    )

    ours, unchecked, bare = medians(
        [_scalar(clean), lambda: _each(_unchecked, clean), lambda: _each(_bare, clean)],
        units=ENTRIES,
    )
    rows = [
        Row(
            "scalar decode, an entry",
            ours,
            unchecked,
            "split and int, then SessionStatus(...)",
            bare,
            "split and int into the record, past its checks",
            "at most 2.5 times the floor",
        )
    ]
    for name, entries, promise in (
        ("clean", clean, 3),
        ("1 % malformed", spoilt, 2.5),
        ("layouts mixed", mixed, 2.5),
    ):
        columnar, scalar = medians(
            [partial(decode_columns, *entries), _scalar(entries)], units=ENTRIES
        )
        rows.append(
            Row(
                f"columnar decode, {name}, an entry",
                columnar,
                scalar,
                "the scalar codec",
                promise=f"{promise} times",
            )
        )
    return rows


def _random_session(rng: random.Random) -> SessionStatus:
    def wide() -> int:
        return rng.randrange(-(2**63), 2**63)

    return SessionStatus(
        7, wide(), wide(), rng.randrange(16), rng.randrange(2**40), 1512270533 + rng.randrange(30)
    )


def _entries(statuses: list[SessionStatus], layouts: list[Layout]) -> Entries:
    fields = [
        status.to_field(layout).encode() for status, layout in zip(statuses, layouts, strict=True)
    ]
    values = [
        status.to_value(layout).encode() for status, layout in zip(statuses, layouts, strict=True)
    ]
    return fields, values


def _each(decode: Callable[[bytes, bytes], object], entries: Entries) -> None:
    for field, value in zip(*entries, strict=True):
        decode(field, value)


def _scalar(entries: Entries) -> Callable[[], int]:
    def decode() -> int:
        refused = 0
        for field, value in zip(*entries, strict=True):
            try:
                SessionStatus.from_key_value(field, value, user_id=7)
            except CodecError:
                refused += 1
        return refused

    return decode


def _unchecked(field: bytes, value: bytes) -> SessionStatus:
    auth_key_id, session_id = field.decode().split("_")
    now, server_id, netlib_session_id = value.decode().split("_")
    return SessionStatus(
        7, int(auth_key_id), int(session_id), int(server_id), int(netlib_session_id), int(now)
    )


def _bare(field: bytes, value: bytes) -> SessionStatus:
    auth_key_id, session_id = field.decode().split("_")
    now, server_id, netlib_session_id = value.decode().split("_")
    status = object.__new__(SessionStatus)
    put = object.__setattr__
    put(status, "user_id", 7)
    put(status, "auth_key_id", int(auth_key_id))
    put(status, "session_id", int(session_id))
    put(status, "server_id", int(server_id))
    put(status, "netlib_session_id", int(netlib_session_id))
    put(status, "now", int(now))
    return status
