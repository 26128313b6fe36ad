"""Sequences where they are kept twice: Redis's mirror, read before and after SQL, against the
table's row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from imlib.presence import BATCH_KEYS, Malformed, scan_keys
from imlib.schema import SEQUENCE_KEY_PREFIX
from imlib.servers.redis_pipeline import check_refusals, round_trip
from imlib.session_status import parse_int64

if TYPE_CHECKING:
    from redis import Redis


def read_mirror(
    client: Redis, user_ids: Collection[int] | None = None
) -> tuple[dict[str, int], list[Malformed]]:
    """Read the sequences that Redis holds: all, or those of some users' message boxes.

    Returns their int64s by name, and the keys that hold no int64 in plain decimal or another type
    than a string.
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
                    malformed.append(
                        Malformed(key, None, reply, "a sequence must be an int64 in plain decimal")
                    )
                else:
                    numbers[name] = number
            elif reply is not None:  # None: gone since SCAN named it
                malformed.append(Malformed(key, None, None, "the key does not hold a string"))
    return numbers, malformed


def compare_sequences(
    before: Mapping[str, int],
    rows: Mapping[str, int] | None,
    after: Mapping[str, int],
    *,
    whole: bool = True,
) -> pd.DataFrame:
    """Compare Redis with the table, and blame neither for what was issued meanwhile.

    Parameters
    ----------
    before, after : dict of str to int
        Redis's numbers, read before and after the table.
    rows : dict of str to int or None
        The table's; None where it was not read.
    whole : bool
        Whether those are all that the table has; else a name that is absent from them was not read.

    Returns
    -------
    DataFrame
        name str, redis_before Int64, row Int64, redis_after Int64 (missing where there is none),
        state str: ``agrees``; ``ahead`` (Redis was beyond the row already before it was read: the
        next number comes from Redis, and the row must be raised first); ``behind`` (Redis was short
        of the row still after it was read: a deployed server would hand out numbers twice); ``redis
        only`` (already before); ``row only``; ``not read`` (the table). By name.
    """
    names = sorted(before.keys() | after.keys() | (rows or {}).keys())
    records = []
    for name in names:
        first, last = before.get(name), after.get(name)
        row = (rows or {}).get(name)
        if rows is None or (row is None and not whole):
            state = "not read"
        elif row is None:
            # A name of which Redis knew nothing before may have come, row and all, after the table
            # was read.
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
