"""Runs checks over a snapshot: one row per finding, with a way to look further.

A check needs columns of tables. If a column is missing, or a table holds only part of its rows, the
audit does not guess: it adds a row of severity ``skipped``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_integer_dtype

from imlib.audit.checks import CHECKS, Found
from imlib.errors import InvalidValueError

if TYPE_CHECKING:
    from imlib.snapshot.snapshot import Snapshot


def audit(snapshot: Snapshot, checks: Iterable[str] | None = None) -> pd.DataFrame:
    """Run checks over a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
    checks : iterable of str, optional
        Names from `CHECKS`; all by default.

    Returns
    -------
    DataFrame
        check, severity (``info``, ``warning``, ``error``, ``skipped``), subject, what, how_to_look
        (a query for ``snapshot.sql``, or what to do); all str; in the order of `CHECKS`, then by
        subject. Empty if nothing is wrong.

    Raises
    ------
    InvalidValueError
        No check has this name.
    """
    rows: list[tuple[str, ...]] = []
    unfit = snapshot.info.get("redis_unfit", {})
    for name in known(checks):
        check = CHECKS[name]
        reason = _unfit(snapshot, name, check.needs)
        for frame in check.needs.keys() & unfit.keys():
            reason = f"{frame}: {unfit[frame]}"
        judged, old = snapshot, _behind(snapshot)
        if old and "sequences" in check.needs:
            reason = f"the tables are {old:g} s older than Redis: a replica's"
        elif old and "sessions" in check.needs and len(check.needs) > 1:
            judged = replace(snapshot, sessions=snapshot.sessions.query("age_s > @old"))
            young = f"not judged: sessions younger than {old:g} s, by which the tables are older"
            rows.append((name, "skipped", "", young, "look again at the primary"))
        if reason:
            rows.append((name, "skipped", "", reason, "take a snapshot that holds all of it"))
        else:
            found = sorted(check.run(judged), key=_as_read)
            rows.extend((name, check.severity, *one) for one in found)
    return pd.DataFrame(
        rows, columns=["check", "severity", "subject", "what", "how_to_look"], dtype="str"
    )


def known(checks: Iterable[str] | None) -> list[str]:
    """Return each name once, or all for None; raise `InvalidValueError` for one of no check."""
    if isinstance(checks, str):
        raise InvalidValueError(
            f"checks is {checks!r}: allowed is a list of names, as [{checks!r}]"
        )
    names = list(CHECKS if checks is None else dict.fromkeys(checks))
    if unknown := [name for name in names if name not in CHECKS]:
        raise InvalidValueError(
            f"{', '.join(unknown)}: no such check. There are {', '.join(CHECKS)}"
        )
    return names


def _behind(snapshot: Snapshot) -> float:
    """Return by how many seconds tables of a replica are older than Redis."""
    if not snapshot.info.get("database_primary"):
        return 0
    lag = snapshot.info.get("database_lag_s")
    return math.inf if lag is None else lag


def _as_read(found: Found) -> list[tuple[int, str]]:
    """Return a key that sorts user 9 before user 10, numbers of any length."""
    key = []
    for part in re.split(r"(\d+)", " ".join(found)):
        digits = part.lstrip("0")
        key.append((len(digits), digits) if part.isdecimal() else (0, part))
    return key


def _unfit(snapshot: Snapshot, check: str, needs: dict[str, tuple[str, ...]]) -> str:
    info, facts = snapshot.info, snapshot.info.get("tables", {})
    if check == "missing_index" and info.get("missing_indexes") is None:
        return "the snapshot does not say which indexes there are"
    states = snapshot.sequences["state"]
    unread = states.empty and "seq_updates_ngen" not in facts
    if "sequences" in needs and (unread or (states == "not read").any()):
        return "not read, or not as integers: seq_updates_ngen"
    if missing := [name for name in needs if needs[name] and name not in snapshot.tables]:
        why = f" ({info['incomplete']})" if info.get("incomplete") else ""
        return f"not in the snapshot: {', '.join(missing)}{why}"
    columns: dict[str, Any] = {
        f"{table}.{column}": snapshot.tables[table].get(column)
        for table, names in needs.items()
        for column in names
    }
    if absent := [name for name, column in columns.items() if column is None]:
        return f"not in the snapshot: {', '.join(absent)}"
    # The only one that is no integer.
    columns.pop("messages.message_data", None)
    if odd := [name for name, column in columns.items() if not is_integer_dtype(column)]:
        return f"carried as something else than integers: {', '.join(odd)}"
    if check == "body_not_json" and "unreadable" not in facts.get("messages", {}):
        return "the snapshot does not say which bodies are JSON"
    for part, reason in (
        ("truncated", "cut short by the row limit"),
        ("filtered", "only a part was asked for"),
    ):
        if names := [name for name in needs if needs[name] and facts.get(name, {}).get(part)]:
            return f"{reason}: {', '.join(names)}"
    return ""
