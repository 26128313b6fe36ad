"""Taking a snapshot: Redis, then the tables, then Redis's sequences once more."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pandas.api.types import is_integer_dtype

from imlib.context import Context
from imlib.errors import AccessDeniedError, ImlibError, UnavailableError, printable
from imlib.other_keys import other_keys
from imlib.presence import measure_skew
from imlib.schema_check import check_schema
from imlib.servers.redis import NO_TOUCH, RedisServer, looking
from imlib.servers.redis_pipeline import round_trip, server_address
from imlib.servers.sql import masked_url, replication
from imlib.snapshot.info import SnapshotInfo, TableFacts
from imlib.snapshot.selection import SnapshotRequest
from imlib.snapshot.sequences import compare_sequences, read_mirror
from imlib.snapshot.sessions import (
    MALFORMED_KEPT,
    SessionsRead,
    malformed_frame,
    read_sessions,
)
from imlib.snapshot.snapshot import Snapshot, frame_names
from imlib.snapshot.tables import TablesRead, read_tables

with warnings.catch_warnings():
    # In a kernel without ipywidgets the bar is of text, and that is no news.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm

_NAMED = 1000
"""The most users that info names."""


def take_snapshot(
    context: Context, request: SnapshotRequest, *, progress: bool = False
) -> Snapshot:
    """Take a snapshot; ``progress`` shows a bar in a terminal or notebook."""
    began = time.monotonic()
    users, clock = request.user_ids, context.reader_clock
    client, engine = looking(context.redis), context.replica
    skew, redis_clock, untouched = math.nan, time.time(), None
    before: dict[str, int] | None = None
    old: dict[str, str] = {}
    unfit: dict[str, str] = {}
    with client, tqdm(disable=None if progress else True, unit="row", leave=False) as bar:
        try:
            skew, redis_clock = measure_skew(client)
            untouched, told = round_trip(client, [NO_TOUCH, ("INFO", "replication")])
            old = _old(told, context.server)
            before, _ = read_mirror(client, users)
        except AccessDeniedError as problem:
            # A user may have been given presence alone; if not, that is refused next.
            unfit = {"sequences": str(problem)}
        except UnavailableError as problem:
            if not request.keep_incomplete:
                raise
            unfit = dict.fromkeys(("sessions", "sequences"), str(problem))
        there = None if "sessions" in unfit else client
        presence = read_sessions(there, clock, users, bar.update, context.check_online_timeout)
        others = {} if _holds_any(presence) or there is None else other_keys(there)
        read = read_tables(engine, request, lambda _, rows: bar.update(rows))
        after, of_mirror = (None, []) if unfit else read_mirror(client, users)
    unfit = old | unfit
    try:
        primary, lag = replication(engine)
    except ImlibError:
        primary, lag = None, None
    lost = [f"{name}: {reason}" for name, reason in unfit.items()]
    if primary and lag is None:
        lost.append(f"tables: may be old: this is a replica of {primary}, and does not follow it")
    lost += filter(None, [read.info["incomplete"]])
    malformed = presence.malformed + of_mirror
    frames = {
        "sessions": presence.sessions,
        "sequences": _sequences(before, read, after, request),
        "malformed": malformed_frame(malformed[:MALFORMED_KEPT]),
    }
    table_of = frame_names(read.frames)
    shown = frames | {name: read.frames[table] for name, table in table_of.items()}
    info: SnapshotInfo = {
        "taken_at": redis_clock if clock is None else clock(),
        "clock": _whose_clock(turned=clock is not None, skew=skew),
        "skew_s": skew,
        "redis": printable(f"{context.server.name} {context.server.version}"),
        "redis_at": server_address(client),
        "database_at": masked_url(engine),
        "lease": str(context.lease),
        "online_timeout": context.online_timeout,
        "check_online_timeout": context.check_online_timeout,
        "user_ids": users,
        "where": sorted(request.where),
        **read.info,
        "incomplete": "; ".join(lost) or None,
        "redis_unfit": unfit,
        "idle_times_kept": untouched in (b"OK", "OK", True),
        "database_primary": primary,
        "database_lag_s": lag,
        "missing_indexes": _missing_indexes(engine, read.info["tables"]),
        "in_both_layouts": presence.in_both_layouts[:_NAMED],
        "on_two_servers": presence.on_two_servers[:_NAMED],
        "never_expire": presence.never_expire[:_NAMED],
        "other_keys": others,
        "malformed_not_kept": presence.not_kept + len(malformed) - len(frames["malformed"]),
        "rows": {name: len(frame) for name, frame in shown.items()},
        "table_of": table_of,
        "duration_s": time.monotonic() - began,
    }
    return Snapshot(**frames, tables=read.frames, info=info)


def _holds_any(presence: SessionsRead) -> bool:
    return bool(len(presence.sessions) or presence.malformed)


def _old(told: Any, server: RedisServer) -> dict[str, str]:
    """Return which frames may be old, and why, by what a server says of its replication."""
    # A user who may not ask knows what was so at `connect`.
    down = b"master_link_status:down" in told if isinstance(told, bytes) else server.link == "down"
    said = f"may be old: this is a replica with its link down, {server}"
    return dict.fromkeys(("sessions", "sequences"), said) if down else {}


def _whose_clock(*, turned: bool, skew: float) -> str:
    if turned:
        return "turned"
    if math.isnan(skew):
        return "by a key's deadline, else this machine's: TIME is not allowed to this user"
    return "Redis"


def _sequences(
    before: Mapping[str, int] | None,
    read: TablesRead,
    after: Mapping[str, int] | None,
    request: SnapshotRequest,
) -> pd.DataFrame:
    table = read.frames.get("seq_updates_ngen")
    facts = read.info["tables"].get("seq_updates_ngen", {})
    if (
        table is None
        or not {"seq_name", "seq"} <= set(table)
        or "seq_name" in facts["masked"]
        or not is_integer_dtype(table["seq"])
        or (table["seq"] > (1 << 63) - 1).any()
    ):
        return compare_sequences(before, None, after)
    known = table.dropna(subset=["seq"])
    rows = dict(zip(map(str, known["seq_name"]), map(int, known["seq"]), strict=True))
    if request.user_ids is not None:
        names = rows.keys() & map(str, request.user_ids)
        rows = {name: rows[name] for name in names}
    whole = not facts["truncated"] and "seq_updates_ngen" not in request.where
    return compare_sequences(before, rows, after, whole=whole)


def _missing_indexes(engine: sa.Engine, facts: Mapping[str, TableFacts]) -> list[str] | None:
    """Return the indexes that tables of a snapshot lack; None if that cannot be found out."""
    if not facts:
        return None
    try:
        missing = check_schema(engine).missing_indexes
    except ImlibError:
        return None
    return [index for index in missing if index.partition("(")[0] in facts]
