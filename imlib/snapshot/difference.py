"""What changed between two snapshots: who came, went and moved, and which rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from imlib.errors import printable

if TYPE_CHECKING:
    from imlib.snapshot.snapshot import Snapshot

_SESSION = ["user_id", "auth_key_id", "session_id"]


@dataclass(frozen=True, eq=False, repr=False)
class Difference:
    """What differs between two snapshots of one deployment.

    Parameters
    ----------
    came, went : DataFrame
        Sessions that count only in the later or only in the earlier snapshot, with the columns of
        ``sessions``.
    moved : DataFrame
        Sessions that count in both, on different servers: user_id, auth_key_id, session_id,
        server_before, server_after.
    tables : dict of str to DataFrame
        For each table that both hold: its primary key, ``change`` (``added``, ``removed``,
        ``changed``) and ``columns``, the names of those that differ. Where values were asked for
        there is a row per changed column, with ``before`` and ``after``. A table without a
        difference has an empty frame.
    left_out : dict of str to str
        ``sessions``, tables (``users``) and columns (``users.phone``) that could not be compared,
        each with the reason.
    """

    came: pd.DataFrame
    went: pd.DataFrame
    moved: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    left_out: dict[str, str]

    @property
    def whole(self) -> bool:
        """Whether everything was compared, apart from columns that are masked under two keys."""
        return set(self.left_out.values()) <= {MASKED}

    def __bool__(self) -> bool:
        return any(map(len, (self.came, self.went, self.moved, *self.tables.values())))

    def __repr__(self) -> str:
        rows = ", ".join(
            f"{name} {len(frame)}" for name, frame in self.tables.items() if len(frame)
        )
        sessions = f"came {len(self.came)}, went {len(self.went)}, moved {len(self.moved)}"
        return printable(f"<Difference: {sessions}; {rows or 'no row'}>")


def compare(later: Snapshot, earlier: Snapshot, *, values: bool = False) -> Difference:
    """Compare two snapshots; see `imlib.Snapshot.diff`."""
    left_out: dict[str, str] = {}
    # They may have been asked for in another order.
    asked = (snapshot.info.get("user_ids") for snapshot in (later, earlier))
    ours, theirs = (None if ids is None else set(ids) for ids in asked)
    same_users = ours == theirs
    if not same_users:
        left_out["sessions"] = "the two are of different users"
    for snapshot in (later, earlier):
        if reason := snapshot.info.get("redis_unfit", {}).get("sessions"):
            left_out["sessions"] = reason
    now, then = (
        one[one["online"] & ("sessions" not in left_out)].set_index(_SESSION)
        for one in (later.sessions, earlier.sessions)
    )
    names = {"server_before": then["server_id"], "server_after": now["server_id"]}
    servers = pd.concat(names, axis=1, join="inner")
    tables: dict[str, pd.DataFrame] = {}
    for name in sorted({*earlier.tables, *later.tables}):
        if name not in later.tables or name not in earlier.tables:
            left_out[name] = (
                f"only in the {'earlier' if name in earlier.tables else 'later'} snapshot"
            )
            continue
        hidden = _hidden(later, earlier, name)
        if reason := _incomparable(later, earlier, name, hidden, same_users):
            left_out[name] = reason
            continue
        left_out |= {f"{name}.{column}": reason for column, reason in hidden.items()}
        key = later.info["tables"][name]["primary_key"]
        tables[name] = _rows(later.tables[name], earlier.tables[name], key, hidden, values)
    return Difference(
        _only_in(now, then).reset_index(),
        _only_in(then, now).reset_index(),
        servers[servers["server_before"] != servers["server_after"]].astype("int32").reset_index(),
        tables,
        left_out,
    )


def _only_in(frame: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose key is not in the other frame."""
    return frame[~frame.index.isin(other.index)]


def _incomparable(
    later: Snapshot, earlier: Snapshot, name: str, hidden: dict[str, str], same_users: bool
) -> str:
    """Return why a table cannot be compared, or "" where it can."""
    key = later.info["tables"][name]["primary_key"]
    if not key:
        return "it has no primary key to tell its rows by"
    if key != earlier.info["tables"][name]["primary_key"]:
        return "its primary key is another one now"
    if own := {"change", "columns", "before", "after"} & set(key):
        return f"its primary key has a column named {min(own)}"
    for which, snapshot in (("later", later), ("earlier", earlier)):
        facts, frame = snapshot.info["tables"][name], snapshot.tables[name]
        # Two filters by the same users give the same rows. Two conditions can be different ones.
        by_condition = name in snapshot.info["where"] or not same_users
        if facts["truncated"] or (facts["filtered"] and by_condition):
            return f"the {which} snapshot holds only part of it"
        if set(key) - set(frame):
            return f"the {which} snapshot lacks its primary key"
        # SQLite allows NULL in a key, in several rows.
        if frame.duplicated(key).any():
            return f"its primary key is not unique in the {which} snapshot"
    for column in key:
        if column in hidden:
            return f"its primary key is {hidden[column]}"
    return ""


MASKED = "masked, and not under one key"


def _hidden(later: Snapshot, earlier: Snapshot, name: str) -> dict[str, str]:
    """Return the columns that cannot be compared, each with the reason."""
    now, then = later.tables[name], earlier.tables[name]
    ours, theirs = later.info["tables"][name], earlier.info["tables"][name]
    masked = set(ours["masked"]) ^ set(theirs["masked"])
    if later.info.get("mask_key_id") != earlier.info.get("mask_key_id"):
        # Equal values have other tokens under another key.
        masked.update(ours["masked"])
    carried = ours.get("could_not_carry", {}) | theirs.get("could_not_carry", {})
    hidden = {}
    for column in dict.fromkeys([*now.columns, *then.columns]):
        if column in masked and column in now:
            hidden[column] = MASKED
        elif column not in now or column not in then:
            hidden[column] = "only in one of the two"
        elif column in carried and now[column].dtype != then[column].dtype:
            hidden[column] = "carried as another type in the other"
    return hidden


def _rows(
    later: pd.DataFrame,
    earlier: pd.DataFrame,
    key: list[str],
    hidden: Collection[str],
    values: bool,
) -> pd.DataFrame:
    # Keys become Python objects in two cases. If their types differ: pandas would compare signed
    # with unsigned as floats. If one is NULL, which SQLite allows: an index of numbers finds none.
    loose = [one for one in key if later[one].dtype != earlier[one].dtype or later[one].hasnans]
    now, then = (
        frame.astype(dict.fromkeys(loose, object)).set_index(key) for frame in (later, earlier)
    )
    both = now.index[now.index.isin(then.index)]
    shared = [column for column in now.columns if column not in hidden]
    differs = np.zeros((len(both), len(shared)), dtype=bool)
    for at, column in enumerate(shared):
        left, right = (frame.loc[both, column].reset_index(drop=True) for frame in (now, then))
        if left.dtype != right.dtype:
            # As Python objects: pandas would compare a BIGINT that became a DOUBLE as two floats.
            left, right = left.astype(object), right.astype(object)
        unequal = (left != right).to_numpy(bool, na_value=True)
        # Missing is equal to missing and to nothing else.
        differs[:, at] = unequal & ~(left.isna() & right.isna())
    told: dict[str, pd.Series] = {}
    if values:
        changed, which = differs.nonzero()
        names = [shared[column] for column in which]
        for title, frame in (("before", then), ("after", now)):
            places = frame.index.get_indexer(both[changed])
            found = [frame[name].iloc[at] for name, at in zip(names, places, strict=True)]
            told[title] = pd.Series(found, dtype=object)
    else:
        changed = np.flatnonzero(differs.any(axis=1))
        names = [", ".join(np.array(shared)[row]) for row in differs[changed]]
    parts = []
    nothing = dict.fromkeys(told)
    for change, index, columns, more in (
        ("added", _only_in(now, then).index, "", nothing),
        ("removed", _only_in(then, now).index, "", nothing),
        ("changed", both[changed], names, told),
    ):
        part = index.to_frame(index=False).assign(change=change, columns=columns, **more)
        parts.append(part.astype({"change": "str", "columns": "str"}))
    rows, order = pd.concat(parts), [*key, "change"]
    try:
        return rows.sort_values(order, ignore_index=True)
    except TypeError:
        # The key was altered: its values of then and now have no order among them.
        return rows.sort_values(order, ignore_index=True, key=lambda values: values.map(repr))
