"""Named checks over a snapshot, and what they find: one row a finding, with a way to look further.

A check asks for columns of tables; where one is missing, or a table holds only a part of its rows,
the audit says so in a row of severity ``skipped`` instead of guessing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

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
        subject. Empty where nothing is wrong.

    Raises
    ------
    InvalidValueError
        A name is none of a check.
    """
    rows: list[tuple[str, ...]] = []
    for name in known(checks):
        check = CHECKS[name]
        if reason := _unfit(snapshot, name, check.needs):
            rows.append((name, "skipped", "", reason, "take a snapshot that holds all of it"))
        else:
            rows += [
                (name, check.severity, *found)
                for found in sorted(check.run(snapshot), key=_as_read)
            ]
    return pd.DataFrame(
        rows, columns=["check", "severity", "subject", "what", "how_to_look"], dtype="str"
    )


def known(checks: Iterable[str] | None) -> list[str]:
    """Return the names of checks, each once, None being all; raise `InvalidValueError` for one that
    there is not.
    """
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


def _as_read(found: Found) -> list[tuple[int, str]]:
    """Return a key that sorts user 9 before user 10, numbers of any length."""
    parts = [
        part.lstrip("0") if at % 2 else part
        for at, part in enumerate(re.split(r"(\d+)", " ".join(found)))
    ]
    return [(len(part) if at % 2 else 0, part) for at, part in enumerate(parts)]


def _unfit(snapshot: Snapshot, check: str, needs: dict[str, tuple[str, ...]]) -> str:
    facts = snapshot.info.get("tables", {})
    if check == "missing_index" and snapshot.info.get("missing_indexes") is None:
        return "the snapshot does not say which indexes there are"
    if check.startswith("sequence_") and (snapshot.sequences["state"] == "not read").any():
        return "not read, or not as integers: seq_updates_ngen"
    if missing := [name for name in needs if name not in snapshot.tables]:
        return f"not in the snapshot: {', '.join(missing)}"
    wanted = [(name, one) for name, columns in needs.items() for one in columns]
    if absent := [f"{name}.{one}" for name, one in wanted if one not in snapshot.tables[name]]:
        return f"not in the snapshot: {', '.join(absent)}"
    numbers = [(name, one) for name, one in wanted if one != "message_data"]
    if odd := [
        f"{name}.{one}" for name, one in numbers if not is_integer_dtype(snapshot.tables[name][one])
    ]:
        return f"carried as something else than integers: {', '.join(odd)}"
    if check == "body_not_json" and "not_json" not in facts.get("messages", {}):
        return "the snapshot does not say which bodies are JSON"
    for part, reason in (
        ("truncated", "cut short by the row limit"),
        ("filtered", "only a part was asked for"),
    ):
        if names := [name for name in needs if facts.get(name, {}).get(part)]:
            return f"{reason}: {', '.join(names)}"
    return ""
