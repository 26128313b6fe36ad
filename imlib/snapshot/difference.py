"""What changed between two snapshots: who came, went and moved, and which rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imlib.snapshot.snapshot import Snapshot

_SESSION = ["user_id", "auth_key_id", "session_id"]


@dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """What a later snapshot has that an earlier one had not, and the other way round.

    Parameters
    ----------
    came, went : DataFrame
        Sessions that count in one of the two alone, with the columns of ``sessions``.
    moved : DataFrame
        Sessions that count in both, on different servers: user_id, auth_key_id, session_id,
        server_before, server_after.
    tables : dict of str to DataFrame
        For each table that both hold: its primary key, ``change`` (``added``, ``removed``,
        ``changed``) and ``columns``, the names of those that differ. Tables without a difference
        are empty frames.
    left_out : dict of str to str
        ``sessions``, tables (``users``) and columns (``users.phone``) that could not be compared,
        each with the reason.
    """

    came: pd.DataFrame
    went: pd.DataFrame
    moved: pd.DataFrame
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether all was compared but for columns that are masked under two keys."""
        return set(self.left_out.values()) <= {_MASKED}

    def __bool__(self) -> bool:
        return any(map(len, (self.came, self.went, self.moved, *self.tables.values())))

    def __repr__(self) -> str:
        rows = ", ".join(
            f"{name} {len(frame)}" for name, frame in self.tables.items() if len(frame)
        )
        sessions = ", ".join(
            f"{name} {len(getattr(self, name))}" for name in ("came", "went", "moved")
        )
        return f"<Difference: {sessions}; {rows or 'no row'}>"


def compare(later: Snapshot, earlier: Snapshot) -> Difference:
    """Compare two snapshots; see `imlib.Snapshot.diff`."""
    left_out: dict[str, str] = {}
    same_users = _same_users(later, earlier)
    if not same_users:
        left_out["sessions"] = "the two are of different users"
    sessions = (later.sessions, earlier.sessions)
    now, then = (one[one["online"] & same_users].set_index(_SESSION) for one in sessions)
    names = {"server_before": then["server_id"], "server_after": now["server_id"]}
    servers = pd.concat(names, axis=1, join="inner")
    tables: dict[str, pd.DataFrame] = {}
    for name in sorted({*earlier.tables, *later.tables}):
        if reason := _incomparable(later, earlier, name):
            left_out[name] = reason
            continue
        hidden = _hidden(later, earlier, name)
        left_out |= {f"{name}.{column}": reason for column, reason in hidden.items()}
        key = later.info["tables"][name]["primary_key"]
        tables[name] = _rows(later.tables[name], earlier.tables[name], key, hidden)
    return Difference(
        now[~now.index.isin(then.index)].reset_index(),
        then[~then.index.isin(now.index)].reset_index(),
        servers[servers["server_before"] != servers["server_after"]].astype("int32").reset_index(),
        tables,
        left_out,
    )


def _same_users(later: Snapshot, earlier: Snapshot) -> bool:
    """Return whether both are of the same users, in whichever order they were asked for."""
    asked = (snapshot.info.get("user_ids") for snapshot in (later, earlier))
    ours, theirs = (None if ids is None else set(ids) for ids in asked)
    return ours == theirs


def _incomparable(later: Snapshot, earlier: Snapshot, name: str) -> str:
    """Return why a table cannot be compared, or "" where it can."""
    if name not in later.tables or name not in earlier.tables:
        return f"only in the {'earlier' if name in earlier.tables else 'later'} snapshot"
    facts = {"later": later.info["tables"][name], "earlier": earlier.info["tables"][name]}
    key = facts["later"]["primary_key"]
    if not key:
        return "it has no primary key to tell its rows by"
    if key != facts["earlier"]["primary_key"]:
        return "its primary key is another one now"
    if {"change", "columns"} & set(key):
        return "its primary key has a column named change or columns"
    same_users = _same_users(later, earlier)
    for which, snapshot in (("later", later), ("earlier", earlier)):
        # The same users in both are one question asked twice; of conditions that can't be told.
        asked = facts[which]["filtered"] and (name in snapshot.info["where"] or not same_users)
        if facts[which]["truncated"] or asked:
            return f"the {which} snapshot holds only part of it"
        if set(key) - set(snapshot.tables[name]):
            return f"the {which} snapshot lacks its primary key"
        if snapshot.tables[name].duplicated(key).any():
            # SQLite lets several be NULL.
            return f"its primary key is not unique in the {which} snapshot"
    for column, reason in _hidden(later, earlier, name).items():
        if column in key:
            return f"its primary key is {reason}"
    return ""


_MASKED = "masked, and not under one key"


def _hidden(later: Snapshot, earlier: Snapshot, name: str) -> dict[str, str]:
    """Return the columns that cannot be compared, each with the reason."""
    facts = [snapshot.info["tables"][name] for snapshot in (later, earlier)]
    ours, theirs = (set(fact["masked"]) for fact in facts)
    same_key = later.info.get("mask_key_id") == earlier.info.get("mask_key_id")
    masked = ours ^ theirs if same_key else ours | theirs
    columns, others = (
        later.tables[name].columns.astype(str),
        earlier.tables[name].columns.astype(str),
    )
    alone = [
        column for column in [*columns, *others] if column not in columns or column not in others
    ]
    shared = [
        column
        for fact in facts
        for column in fact.get("could_not_carry", {})
        if column not in alone
    ]
    carried = [
        one for one in shared if later.tables[name][one].dtype != earlier.tables[name][one].dtype
    ]
    reasons = dict.fromkeys(alone, "only in one of the two") | dict.fromkeys(
        carried, "carried as another type in the other"
    )
    return reasons | {column: _MASKED for column in columns if column in masked}


def _rows(
    later: pd.DataFrame, earlier: pd.DataFrame, key: list[str], hidden: Collection[str]
) -> pd.DataFrame:
    # As Python's own where the types differ, for pandas would meet a signed and an unsigned key as
    # floats; and where a key is NULL, as SQLite allows, for an index of numbers finds no NULL.
    loose = [one for one in key if later[one].dtype != earlier[one].dtype or later[one].hasnans]
    now, then = (
        frame.astype(dict.fromkeys(loose, object)).set_index(key) for frame in (later, earlier)
    )
    both = now.index[now.index.isin(then.index)]
    shared = [column for column in now.columns if column not in hidden]
    differs = np.zeros((len(both), len(shared)), dtype=bool)
    for at, column in enumerate(shared):
        left, right = (frame.loc[both, column].reset_index(drop=True) for frame in (now, then))
        differs[:, at] = _differs(left, right)
    changed: NDArray[np.bool_] = np.any(differs, axis=1)
    parts = [
        _change(now.index[~now.index.isin(then.index)], "added", ""),
        _change(then.index[~then.index.isin(now.index)], "removed", ""),
        _change(
            both[changed], "changed", [", ".join(np.array(shared)[row]) for row in differs[changed]]
        ),
    ]
    rows = pd.concat(parts)
    try:
        return rows.sort_values([*key, "change"], ignore_index=True)
    except (
        TypeError
    ):  # the key was altered, and its values of then and now have no order among them
        return rows.sort_values(
            [*key, "change"], ignore_index=True, key=lambda values: values.map(repr)
        )


def _differs(left: pd.Series[Any], right: pd.Series[Any]) -> NDArray[np.bool_]:
    """Return where two columns differ; missing is equal to missing and to nothing else."""
    if (
        left.dtype != right.dtype
    ):  # as Python's own: pandas would make a BIGINT that is a DOUBLE now one in both
        left, right = left.astype(object), right.astype(object)
    gone, missing = left.isna().to_numpy(bool), right.isna().to_numpy(bool)
    unequal = (left != right).to_numpy(bool, na_value=True)
    differs: NDArray[np.bool_] = np.where(gone | missing, gone != missing, unequal)
    return differs


def _change(index: pd.Index[Any], change: str, columns: str | list[str]) -> pd.DataFrame:
    frame = index.to_frame(index=False)
    frame["change"] = pd.array([change] * len(index), dtype="str")
    frame["columns"] = pd.array(
        [columns] * len(index) if isinstance(columns, str) else columns, dtype="str"
    )
    return frame
