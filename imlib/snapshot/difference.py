"""What changed between two snapshots: who came, went and moved, and which rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from imlib.snapshot.snapshot import Snapshot

__all__ = ["Difference", "compare"]

_SESSION = ["user_id", "auth_key_id", "session_id"]


@dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """What a later snapshot has that an earlier one had not, and the other way round.

    Parameters
    ----------
    came, went : DataFrame
        Sessions that count in one of the two alone, with the columns of ``sessions``.
    moved : DataFrame
        Sessions that count in both, on different servers: user_id, auth_key_id, session_id, server_before,
        server_after.
    tables : dict of str to DataFrame
        For each table that both hold: its primary key, ``change`` (``added``, ``removed``, ``changed``) and
        ``columns``, the names of those that differ. Tables without a difference are empty frames.
    left_out : dict of str to str
        Tables (``users``) and columns (``users.phone``) that could not be compared, each with the reason.
    """

    came: pd.DataFrame
    went: pd.DataFrame
    moved: pd.DataFrame
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(map(len, (self.came, self.went, self.moved, *self.tables.values())))

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {len(frame)}" for name, frame in self.tables.items() if len(frame))
        return (
            f"<Difference: came {len(self.came)}, went {len(self.went)}, moved {len(self.moved)}; {rows or 'no row'}>"
        )


def compare(later: Snapshot, earlier: Snapshot) -> Difference:
    """Compare two snapshots; see `imlib.Snapshot.diff`."""
    now = later.sessions[later.sessions["online"]].set_index(_SESSION)
    then = earlier.sessions[earlier.sessions["online"]].set_index(_SESSION)
    both = pd.DataFrame({"server_before": then["server_id"], "server_after": now["server_id"]}).dropna()
    moved = both[both["server_before"] != both["server_after"]].astype("int32").reset_index()
    tables: dict[str, pd.DataFrame] = {}
    left_out: dict[str, str] = {}
    for name in [*earlier.tables, *(name for name in later.tables if name not in earlier.tables)]:
        if name not in later.tables or name not in earlier.tables:
            left_out[name] = f"only in the {'earlier' if name in earlier.tables else 'later'} snapshot"
            continue
        key = later.info["tables"][name].get("primary_key", [])
        if reason := _incomparable(later, earlier, name, key):
            left_out[name] = reason
            continue
        hidden = _hidden(later, earlier, name)
        left_out |= {f"{name}.{column}": "masked under another key" for column in hidden}
        tables[name] = _rows(later.tables[name], earlier.tables[name], key, hidden, left_out, name)
    return Difference(
        now[~now.index.isin(then.index)].reset_index(),
        then[~then.index.isin(now.index)].reset_index(),
        moved,
        tables,
        left_out,
    )


def _incomparable(later: Snapshot, earlier: Snapshot, name: str, key: list[str]) -> str:
    if not key:
        return "it has no primary key to tell its rows by"
    for which, snapshot in (("later", later), ("earlier", earlier)):
        facts = snapshot.info["tables"][name]
        if facts.get("truncated") or facts.get("filtered"):
            return f"the {which} snapshot holds only part of it"
        if set(key) - set(snapshot.tables[name]):
            return f"the {which} snapshot lacks its primary key"
        if set(key) & set(facts.get("masked", [])):
            return f"its primary key is masked in the {which} snapshot"
    return ""


def _hidden(later: Snapshot, earlier: Snapshot, name: str) -> list[str]:
    """Return the columns whose values are tokens that cannot be compared."""
    masked = [set(snapshot.info["tables"][name].get("masked", [])) for snapshot in (later, earlier)]
    if later.info.get("mask_key_id") == earlier.info.get("mask_key_id"):
        return sorted(masked[0] ^ masked[1])
    return sorted(masked[0] | masked[1])


def _rows(
    later: pd.DataFrame,
    earlier: pd.DataFrame,
    key: list[str],
    hidden: list[str],
    left_out: dict[str, str],
    name: str,
) -> pd.DataFrame:
    now, then = later.set_index(key), earlier.set_index(key)
    for column in set(now.columns) ^ set(then.columns):
        left_out[f"{name}.{column}"] = "only in one of the two"
    shared = [column for column in now.columns if column in then.columns and column not in hidden]
    common = now.index.intersection(then.index)
    left, right = now.loc[common, shared], then.loc[common, shared]
    differs = pd.DataFrame({column: _differs(left[column], right[column]) for column in shared}, index=common)
    changed = differs[differs.any(axis=1)] if shared else differs
    parts = [
        _change(now.index.difference(then.index, sort=False), "added", ""),
        _change(then.index.difference(now.index, sort=False), "removed", ""),
        _change(changed.index, "changed", [", ".join(row.index[row]) for _, row in changed.iterrows()]),
    ]
    return pd.concat(parts).sort_values([*key, "change"], ignore_index=True)


def _differs(left: pd.Series, right: pd.Series) -> pd.Series:
    missing = left.isna() | right.isna()
    unequal = (left != right).fillna(True).astype(bool)
    return (unequal & ~missing) | (left.isna() != right.isna())


def _change(index: pd.Index, change: str, columns: str | list[str]) -> pd.DataFrame:
    frame = index.to_frame(index=False)
    frame["change"] = pd.array([change] * len(index), dtype="str")
    frame["columns"] = pd.array([columns] * len(index) if isinstance(columns, str) else columns, dtype="str")
    return frame
