"""Sequences, which are kept twice: Redis's mirror, read before and after SQL, and the table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pandas as pd
from redis import Redis

from imlib.presence import BATCH_KEYS, Malformed, scan_keys
from imlib.schema import SEQUENCE_KEY_PREFIX
from imlib.servers.redis_pipeline import check_refusals, round_trip
from imlib.session_status import parse_int64


def read_mirror(
    client: Redis, user_ids: Collection[int] | None
) -> tuple[dict[str, int], list[Malformed]]:
    """Read the sequences that Redis holds: all, or those of some users' message boxes.

    Returns the numbers by name, and the keys that hold no string, or no int64 in plain decimal.
    """
    numbers: dict[str, int] = {}
    malformed: list[Malformed] = []
    if user_ids is None:
        batches: Iterable[list[bytes]] = scan_keys(client, f"{SEQUENCE_KEY_PREFIX}*")
    else:
        named = [f"{SEQUENCE_KEY_PREFIX}{user_id}".encode() for user_id in user_ids]
        batches = (named[at : at + BATCH_KEYS] for at in range(0, len(named), BATCH_KEYS))
    for keys in batches:
        replies = round_trip(client, [("GET", key) for key in keys])
        check_refusals(client, replies)
        for key, reply in zip(keys, replies, strict=True):
            name = key.removeprefix(SEQUENCE_KEY_PREFIX.encode()).decode(
                "ascii", "backslashreplace"
            )
            if isinstance(reply, bytes):
                number = parse_int64(reply)
                if number is None:
                    reason = "a sequence must be an int64 in plain decimal"
                    malformed.append(Malformed(key, None, reply, reason))
                else:
                    numbers[name] = number
            elif reply is not None:  # None: it expired or was deleted after SCAN
                malformed.append(Malformed(key, None, None, "the key does not hold a string"))
    return numbers, malformed


def compare_sequences(
    before: Mapping[str, int] | None,
    rows: Mapping[str, int] | None,
    after: Mapping[str, int] | None,
    *,
    whole: bool = True,
) -> pd.DataFrame:
    """Compare Redis with the table; numbers issued while they were read are no disagreement.

    Parameters
    ----------
    before, after : dict of str to int or None
        Redis's numbers, read before and after the table; None where they were not read.
    rows : dict of str to int or None
        The table's; None where it was not read.
    whole : bool
        Whether ``rows`` is the whole table; otherwise a name that it lacks was not read.

    Returns
    -------
    DataFrame
        By name: name str, redis_before Int64, row Int64, redis_after Int64 (missing where there is
        none), state str. The states are ``agrees``; ``ahead``: before the table was read, Redis had
        a higher number already, and the row must be raised before the next one is issued;
        ``behind``: after the table was read, Redis still had a lower number, and a deployed server
        would issue numbers twice; ``redis only``: before the table was read; ``row only``;
        ``not read``: one of the three, or not this row of the table.
    """
    unread = None in (before, rows, after)
    before, known, after = before or {}, rows or {}, after or {}
    records = []
    for name in sorted(before.keys() | known.keys() | after.keys()):
        first, row, last = before.get(name), known.get(name), after.get(name)
        if unread or (row is None and not whole):
            state = "not read"
        elif row is None:
            # A sequence that Redis had only afterwards may be younger than the table's reading.
            state = "agrees" if first is None else "redis only"
        elif last is None:
            state = "row only"
        elif first is not None and first > row:
            state = "ahead"
        elif last < row:
            state = "behind"
        else:
            state = "agrees"
        records.append((name, first, row, last, state))
    dtypes = {
        "name": "str",
        "redis_before": "Int64",
        "row": "Int64",
        "redis_after": "Int64",
        "state": "str",
    }
    return pd.DataFrame(records, columns=list(dtypes), dtype=object).astype(dtypes)
