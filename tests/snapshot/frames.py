"""Snapshots made by hand: frames of a few rows, and the facts that a real one would
have of them.
"""

from __future__ import annotations

from typing import Any, cast

import pandas as pd

from imlib.presence import Malformed
from imlib.session_status import Layout, SessionStatus
from imlib.snapshot import Snapshot
from imlib.snapshot.info import SnapshotInfo
from imlib.snapshot.sequences import compare_sequences
from imlib.snapshot.sessions import malformed_frame

NOW = 1_512_270_533


def session(
    user_id: int = 7,
    auth_key_id: int = -42,
    session_id: int = 1,
    *,
    age: float = 1,
    server_id: int = 3,
    **more: Any,
) -> dict[str, Any]:
    """Return a row of sessions: user 7's phone, reported a second ago, unless said otherwise."""
    row: dict[str, Any] = {"user_id": user_id, "auth_key_id": auth_key_id, "session_id": session_id}
    row |= {"server_id": server_id, "netlib_session_id": 99, "now": int(NOW - age)}
    row |= {
        "reported_at": pd.Timestamp(int(NOW - age), unit="s", tz="UTC"),
        "age_s": float(age),
        "online": age < 17,
    }
    return row | {"layout": "documented", "key_ttl_s": 14.0} | more


_DTYPES = {
    "user_id": "int32",
    "auth_key_id": "int64",
    "session_id": "int64",
    "server_id": "int32",
    "now": "int64",
}
_EMPTY = pd.DataFrame([session()]).astype(_DTYPES)[:0]


def facts(frame: pd.DataFrame, **more: Any) -> dict[str, Any]:
    """Return what a snapshot says of a table that was read whole."""
    usual = {"rows": len(frame), "truncated": False, "filtered": False, "masked": []}
    return (
        usual
        | {"primary_key": ["id"] if "id" in frame else [], "not_at_same_instant": False}
        | more
    )


def snapshot(
    sessions: list[dict[str, Any]] | None = None,
    tables: dict[str, pd.DataFrame] | None = None,
    *,
    malformed: list[Malformed] | None = None,
    sequences: tuple[dict[str, int], dict[str, int] | None, dict[str, int]] = ({}, {}, {}),
    said: dict[str, dict[str, Any]] | None = None,
    **info: Any,
) -> Snapshot:
    """Return a snapshot of these; ``said`` has more facts of tables, ``info`` more of the whole."""
    rows = pd.DataFrame(sessions).astype(_DTYPES) if sessions else _EMPTY
    tables = tables or {}
    told = {name: facts(frame, **(said or {}).get(name, {})) for name, frame in tables.items()}
    usual: dict[str, Any] = {
        "tables": told,
        "user_ids": None,
        "where": [],
        "mask_key_id": "a",
        "missing_indexes": [],
    }
    return Snapshot(
        rows,
        compare_sequences(*sequences),
        malformed_frame(malformed or []),
        tables,
        cast("SnapshotInfo", usual | info),
    )


def table(columns: str, *rows: tuple[Any, ...]) -> pd.DataFrame:
    """Return a table of int32 columns, ids first; without rows it has its types as well."""
    return pd.DataFrame(list(rows), columns=columns.split()).astype("int32")


def status(row: dict[str, Any]) -> tuple[SessionStatus, Layout]:
    """Return a row of sessions as a record and its layout."""
    names = ("user_id", "auth_key_id", "session_id", "server_id", "netlib_session_id", "now")
    return SessionStatus(*(row[name] for name in names)), Layout(row["layout"])
