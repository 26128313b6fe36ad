"""Redis's presence keys as a frame of sessions, and a list of what is no session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from operator import methodcaller
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from redis import Redis

from imlib.constants import CHECK_ONLINE_TIMEOUT
from imlib.lease import Clock, cutoff
from imlib.presence import BATCH_KEYS, Batch, Malformed, malformed_in, scan_batches, user_batches
from imlib.session_columns import SessionColumns, decode_columns
from imlib.session_status import PARTS, Layout

MALFORMED_KEPT = 10_000
"""The most rows of `malformed`; those beyond are counted."""
_KEPT_BYTES = 1024
# Beyond the year 9999 Python has no datetime that pandas could print.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


class SessionsRead(NamedTuple):
    """What presence keys hold.

    Parameters
    ----------
    sessions : DataFrame
        One row per session, online or not, by user_id, auth_key_id, session_id: user_id int32,
        auth_key_id int64, session_id int64, server_id int32, netlib_session_id int64, now int64,
        reported_at datetime64[us, UTC] (NaT beyond the years 1 to 9999), age_s float64, online
        bool, layout str, key_ttl_s float64 (NaN: the key never expires). A session written in
        several layouts is one row: the later report, at a tie the documented one, then the
        deployed.
    in_both_layouts, on_two_servers : list of int
        The users who have such a session; those who have one that counts on two servers.
    never_expire : list of int
        The users whose key never expires and holds no session, so that ``sessions`` can't show it.
    malformed : list of Malformed
        Ordered by key and field; at most `MALFORMED_KEPT`.
    not_kept : int
        How many there were beyond those.
    """

    sessions: pd.DataFrame
    in_both_layouts: list[int]
    on_two_servers: list[int]
    never_expire: list[int]
    malformed: list[Malformed]
    not_kept: int


def read_sessions(
    client: Redis | None,
    clock: Clock | None,
    user_ids: Sequence[int] | None = None,
    progress: Callable[[int], object] = lambda _: None,
    check_online_timeout: int = CHECK_ONLINE_TIMEOUT,
    most_keys: int | None = None,
) -> SessionsRead:
    """Read presence keys into the frame ``sessions``, and list what cannot be read.

    Parameters
    ----------
    client : redis.Redis or None
        None where Redis does not answer: a frame of no rows.
    clock : callable or None
        The clock that ``online`` and ``age_s`` are judged by; None for Redis's own, taken with each
        batch.
    user_ids : sequence of int, optional
        Whose keys to read; by default all are scanned.
    progress : callable, optional
        Called after each batch with the number of its sessions.
    check_online_timeout : int
        How long a report counts, in seconds.
    most_keys : int, optional
        Where all are scanned: about how many keys are enough.
    """
    # The first part has no rows: the columns have their types even if nobody is online.
    parts = [{name: np.zeros(0, dtype) for name, dtype in _TYPES.items()}]
    never_expire: set[int] = set()
    malformed: list[Malformed] = []
    seen: set[int] = set()  # hashes, because SCAN may return a key twice
    if client is None:
        batches: Iterable[Batch] = ()
    elif user_ids is None:
        some = None if most_keys is None else most_keys // BATCH_KEYS
        batches = islice(scan_batches(client, clock, ttl=True), some)
    else:
        batches = user_batches(client, list(dict.fromkeys(user_ids)), clock)
    for batch in batches:
        columns = decode_columns(batch.fields, batch.values)
        parts.append(_columns(batch, columns, cutoff(batch.clock, check_online_timeout)))
        for user_id, size, ttl_ms in zip(batch.user_ids, batch.sizes, batch.ttls_ms, strict=True):
            if size and ttl_ms == -1:
                never_expire.add(user_id)
        for bad in malformed_in(batch, columns):
            if (place := hash((bad.key, bad.field))) not in seen:
                seen.add(place)
                if len(malformed) < MALFORMED_KEPT:
                    malformed.append(_cut(bad))
        progress(len(columns))
    # Column by column, each taken from its parts as it is joined: memory's peak stays low.
    found = {}
    for name in _TYPES:
        found[name] = np.concatenate(list(map(methodcaller("pop", name), parts)))
    sessions, in_both, on_two = _frame(found)
    unseen = sorted(never_expire.difference(sessions["user_id"])) if never_expire else []
    return SessionsRead(
        sessions,
        in_both,
        on_two,
        unseen,
        sorted(malformed, key=lambda bad: (bad.key, bad.field or b"")),
        len(seen) - len(malformed),
    )


def _cut(bad: Malformed) -> Malformed:
    """Return the same without what is beyond a kilobyte of it."""
    kept, reason = {}, bad.reason
    for name in ("key", "field", "value"):
        whole = getattr(bad, name)
        if whole and len(whole) > _KEPT_BYTES:
            kept[name] = whole[:_KEPT_BYTES]
            reason += f"; the {name} has {len(whole)} bytes, of which the first are kept"
    return replace(bad, reason=reason, **kept)


_TYPES = {
    "user_id": "int32",
    **dict.fromkeys(PARTS, "int64"),
    "server_id": "int32",
    "age_s": "float64",
    "online": "bool",
    "layout": "int8",
    "key_ttl_s": "float64",
}


def _columns(batch: Batch, columns: SessionColumns, oldest: int) -> dict[str, NDArray[Any]]:
    # None becomes NaN.
    ttls_ms = np.array(batch.ttls_ms, dtype=np.float64)
    ttls_ms[ttls_ms == -1] = np.nan
    return {
        "user_id": np.repeat(np.array(batch.user_ids, dtype=np.int32), batch.sizes)[columns.row],
        **{part: getattr(columns, part) for part in PARTS},
        # A float, because clock - now may be beyond int64.
        "age_s": float(batch.clock) - columns.now,
        "online": columns.now > oldest,
        "layout": columns.layout,
        "key_ttl_s": np.repeat(np.maximum(ttls_ms, 0) / 1000, batch.sizes)[columns.row],
    }


def _frame(found: dict[str, NDArray[Any]]) -> tuple[pd.DataFrame, list[int], list[int]]:
    """Return the sessions in order, one row for each, and users of two kinds.

    They have one in several layouts, or one that counts on two servers.

    Of several reports the latest stays, at a tie the first in the order of `Layout`.
    """
    order = _order(found)
    for name in found:
        found[name] = found[name][order]
    # Whether each row is the last of its session.
    last = np.zeros(len(order), dtype=bool)
    last[-1:] = True
    for name in _NAME:
        last[:-1] |= found[name][1:] != found[name][:-1]
    again = ~last[:-1]
    in_both = found["user_id"][1:][again & (np.diff(found["layout"]) != 0)]
    counts = found["online"][1:] & found["online"][:-1]
    on_two = found["user_id"][1:][again & counts & (np.diff(found["server_id"]) != 0)]
    if not last.all():
        found = {name: column[last] for name, column in found.items()}
    layouts = pa.DictionaryArray.from_arrays(found.pop("layout"), [*Layout])
    now = found["now"]
    reported = now.astype("datetime64[s]")
    reported[(now < _FIRST_SECOND) | (now > _LAST_SECOND)] = np.datetime64("NaT")
    instants = pd.Series(reported.astype("datetime64[us]")).dt.tz_localize("UTC")
    sessions = pd.DataFrame(found, copy=False)
    sessions.insert(6, "reported_at", instants)
    sessions.insert(9, "layout", pd.array(layouts.cast(pa.string()), dtype="str"))
    return sessions, np.unique(in_both).tolist(), np.unique(on_two).tolist()


_NAME = ("user_id", "auth_key_id", "session_id")


def _order(found: dict[str, NDArray[Any]]) -> NDArray[np.intp]:
    """Return the order by user and session; a session's report that counts is its last.

    Most users have one session: only rows of the other users are sorted by more than the user.
    """
    order = np.argsort(found["user_id"], kind="stable")
    same = np.diff(found["user_id"][order], prepend=np.nan, append=np.nan) == 0
    several = same[1:] | same[:-1]
    few = order[several]
    columns = found | {"layout": -found["layout"]}
    # lexsort takes the most important key last.
    keys = [*_NAME, "now", "layout"]
    order[several] = few[np.lexsort([columns[key][few] for key in reversed(keys)])]
    return order


def malformed_frame(malformed: Sequence[Malformed]) -> pd.DataFrame:
    r"""Return malformed keys and entries as a frame of strings: key, field, value, reason.

    Bytes that are not ASCII are written as ``\xNN``. If a key itself is malformed, its field is
    missing.
    """

    def text(raw: bytes | None) -> str | None:
        return None if raw is None else raw.decode("ascii", "backslashreplace")

    rows = [(text(bad.key), text(bad.field), text(bad.value), bad.reason) for bad in malformed]
    return pd.DataFrame(rows, columns=["key", "field", "value", "reason"], dtype="str")
