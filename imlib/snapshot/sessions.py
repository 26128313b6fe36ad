"""Redis's presence keys as two frames: the sessions, and what no session can be read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from imlib.lease import Clock, horizon
from imlib.presence import Batch, Malformed, malformed_in, scan_batches
from imlib.session_columns import SessionColumns, decode_columns
from imlib.session_status import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from redis import Redis

__all__ = ["read_sessions"]

# Beyond the year 9999 Python has no datetime that pandas could print.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


def read_sessions(client: Redis, clock: Clock | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    r"""Scan all presence keys into the frames ``sessions`` and ``malformed``.

    Parameters
    ----------
    client : redis.Redis
    clock : callable or None
        The clock that ``online`` and ``age_s`` are judged by; None for Redis's own, taken with each batch.

    Returns
    -------
    sessions : DataFrame
        One row a session, online or not, by user_id, auth_key_id, session_id: user_id int32, auth_key_id int64,
        session_id int64, server_id int32, netlib_session_id int64, now int64, reported_at datetime64[us, UTC] (NaT
        beyond the years 1 to 9999), age_s float64, online bool, layout str, key_ttl_s float64 (NaN: the key never
        expires). A session written in both layouts is one row: the later report, at a tie the documented one.
    malformed : DataFrame
        key, field, value, reason, all str; bytes that are not ASCII as ``\xNN``; None where the key itself is the
        trouble.
    """
    frames = [_frame(_NOTHING, decode_columns([], []))]
    malformed: set[Malformed] = set()
    for batch in scan_batches(client, clock, ttl=True):
        columns = decode_columns(batch.fields, batch.values)
        frames.append(_frame(batch, columns))
        malformed.update(malformed_in(batch, columns))
    # The empty frame gives the columns and dtypes where there is nothing, and adds no row where there is.
    return _one_row_a_session(pd.concat(frames, ignore_index=True)), _malformed_frame(malformed)


_NOTHING = Batch([], [], [], [], [], [], 0, [])


def _frame(batch: Batch, columns: SessionColumns) -> pd.DataFrame:
    owners = np.array(batch.owners, dtype=np.intp)[columns.row]
    layouts = np.where(columns.deployed, Layout.DEPLOYED.value, Layout.DOCUMENTED.value)
    return pd.DataFrame(
        {
            "user_id": np.array(batch.user_ids, dtype=np.int32)[owners],
            "auth_key_id": columns.auth_key_id,
            "session_id": columns.session_id,
            "server_id": columns.server_id,
            "netlib_session_id": columns.netlib_session_id,
            "now": columns.now,
            "reported_at": _datetimes(columns.now),
            "age_s": float(batch.clock) - columns.now,  # a float, because clock - now may pass int64
            "online": columns.now > horizon(batch.clock),
            "layout": pd.array(layouts, dtype="str"),
            "key_ttl_s": np.array(batch.ttls_ms, dtype=np.float64)[owners] / 1000,  # None becomes NaN
        }
    )


def _one_row_a_session(sessions: pd.DataFrame) -> pd.DataFrame:
    name = ["user_id", "auth_key_id", "session_id"]
    # "documented" sorts behind "deployed": of two spellings the later one stays, at a tie the documented one.
    ordered = sessions.sort_values([*name, "now", "layout"], kind="stable")
    return ordered.drop_duplicates(name, keep="last", ignore_index=True)


def _datetimes(now: NDArray[np.int64]) -> pd.Series[pd.Timestamp]:
    within = (now >= _FIRST_SECOND) & (now <= _LAST_SECOND)
    times = np.where(within, now, 0).astype("datetime64[s]").astype("datetime64[us]")
    times[~within] = np.datetime64("NaT")
    return pd.Series(times).dt.tz_localize("UTC")


def _malformed_frame(malformed: set[Malformed]) -> pd.DataFrame:
    def text(raw: bytes | None) -> str | None:
        return None if raw is None else raw.decode("ascii", "backslashreplace")

    ordered = sorted(malformed, key=lambda bad: (bad.key, bad.field or b""))
    rows = [(text(bad.key), text(bad.field), text(bad.value), bad.reason) for bad in ordered]
    return pd.DataFrame(rows, columns=["key", "field", "value", "reason"], dtype="str")
