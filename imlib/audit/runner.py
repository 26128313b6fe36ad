"""Runs checks over a snapshot: each is one SELECT, in DuckDB, over the columns that it needs.

If a column is missing, or a table holds only part of its rows, the audit does not guess: it adds a
row of severity ``skipped``. Nor does it repeat itself: what most rows share is one finding.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pandas as pd
import sqlalchemy as sa
from pandas.api.types import is_integer_dtype

from imlib import schema
from imlib.audit.check import ENOUGH, Check
from imlib.audit.checks import CHECKS
from imlib.audit.findings import SKIPPED, Finding, Findings
from imlib.audit.presence import JUDGED, MACROS, SERVERS
from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT, PeerType
from imlib.errors import InvalidValueError

if TYPE_CHECKING:
    from imlib.snapshot.snapshot import Snapshot

LIMIT = 1_000
_SAMPLES = 3
_REDIS = ("sessions", "sequences", "malformed")
_OTHERS = (*_REDIS, "facts")
"""What a check may need beside the database's tables."""


def audit(
    snapshot: Snapshot,
    checks: Iterable[str] | None = None,
    *,
    limit: int | None = LIMIT,
    at: float | None = None,
    user_id: int | None = None,
) -> Findings:
    """Run checks over a snapshot.

    Parameters
    ----------
    snapshot : Snapshot
    checks : iterable of str, optional
        Names from `CHECKS`; all by default.
    limit : int or None
        The most rows per check; None for all. All are counted.
    at : float, optional
        The instant to judge by, in Unix seconds, as for a dump that was restored later. Times to
        live, which are of the instant of the reading, then tell nothing.
    user_id : int, optional
        Only what is about this user.

    Raises
    ------
    InvalidValueError
        No check has this name, or the limit is below 1.
    """
    names = known(checks)
    if limit is not None and limit < 1:
        raise InvalidValueError(f"limit is {limit}: allowed is 1 or more, or None for all")
    run = _Run(snapshot, names, limit, at, user_id)
    with closing(run.connection):
        rows = [row for name in names for row in run.findings(CHECKS[name])]
    return Findings(pd.DataFrame(rows, columns=Finding._fields, dtype="str"), run.counts)


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


class _Run:
    """One audit: its connection, and what it counted."""

    def __init__(
        self,
        snapshot: Snapshot,
        names: Iterable[str],
        limit: int | None,
        at: float | None,
        user_id: int | None,
    ) -> None:
        self.snapshot, self.limit, self.at, self.user_id = snapshot, limit, at, user_id
        self.counts: dict[str, int] = {}
        self.old = _behind(snapshot)
        self.participants = schema.participants_table(
            lambda name: len(snapshot.tables.get(name, ())) > 0
        )
        self.facts = _facts(snapshot, at)
        self.reasons = {name: self._unfit(CHECKS[name]) for name in names}
        columns: dict[str, set[str]] = {name: set() for name in _REDIS}
        for name, reason in self.reasons.items():
            for table, needed in CHECKS[name].needs.items():
                if not reason and table != "facts":
                    columns.setdefault(self._table(table), set()).update(needed)
        self.connection = snapshot.relations(columns)
        self._prepare()

    def findings(self, check: Check) -> Iterator[Finding]:
        """Run one check."""
        import duckdb

        reason = self.reasons[check.name]
        if not reason and self.old and "sequences" in check.needs:
            reason = f"the tables are {self.old:g} s older than Redis: a replica's"
        elif self.old and "sessions" in check.needs and _tables(check):
            young = f"sessions younger than {self.old:g} s, by which the tables are older"
            yield _skipped(check, f"not judged: {young}", "look again at the primary")
        try:
            found = () if reason else self._found(check)
        except duckdb.Error as problem:
            reason = " ".join(str(problem).split())
        if reason:
            yield _skipped(check, reason, "take a snapshot that holds all of it")
        else:
            yield from found

    def _found(self, check: Check) -> list[Finding]:
        old = f" WHERE age_s > '{self.old}'::DOUBLE" if self.old and _tables(check) else ""
        for name, columns in check.needs.items():
            rows = f'SELECT {", ".join(columns)} FROM "frame_{self._table(name)}"'
            rows += f" WHERE {' AND '.join(f'{one} IS NOT NULL' for one in columns)}"
            if name in _REDIS:
                rows = f"FROM held_{name}" if name != "sessions" else f"FROM judged_sessions{old}"
            if name != "facts":
                self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {rows}")
        query = f"SELECT *, count(*) OVER () FROM ({check.sql})"
        if self.user_id is not None:
            about = {"user_id": "user_id = ?", "user_ids": "list_contains(user_ids, ?)"}
            known = about.keys() & {*self.connection.sql(check.sql).columns}
            if not known:
                return []
            query += f" WHERE {about[known.pop()]}"
        query += " ORDER BY ALL" + (f" LIMIT {self.limit}" if self.limit else "")
        answer = self.connection.execute(query, [] if self.user_id is None else [self.user_id])
        names = [name for name, *_ in answer.description]
        found = []
        for row in answer.fetchall():
            *_, count = row
            found.append(self._told(check, dict(zip(names, row, strict=True))))
        if not found:
            return []
        found.sort(key=_as_read)
        self.counts[check.name] = count - sum(one.severity == SKIPPED for one in found)
        judged = self.connection.execute(check.judged).fetchone()
        if self.user_id is None and count > ENOUGH and judged and count * 5 > judged[0]:
            samples = "; ".join(one.subject for one in found[:_SAMPLES])
            subject = f"{count:,} of {judged[0]:,}"
            what = f"{check.about.rstrip('.')}; such as {samples}"
            return [found[0]._replace(subject=subject, what=what)]
        return found

    def _told(self, check: Check, row: dict[str, Any]) -> Finding:
        row["participants"] = self.participants
        for name, value in row.items():
            if isinstance(value, list):
                row[name] = ", ".join(map(str, value))
        if "peer_type" in row:
            kind = row["peer_type"]
            row["peer"] = PeerType(kind).name.lower() if kind in set(PeerType) else kind
        if "name" in row:
            row["quoted"] = row["name"].replace("'", "''")
        return Finding(
            check.name,
            row.get("severity", check.severity),
            check.subject.format_map(row),
            check.what.format_map(row),
            check.look.format_map(row),
        )

    def _prepare(self) -> None:
        """Make what is not read from a frame: what info knows, and what is known of servers."""
        columns = ", ".join(f"? AS {name}" for name in self.facts)
        self.connection.execute(
            f"CREATE TEMP TABLE facts AS SELECT {columns}", [*self.facts.values()]
        )
        age = "" if self.at is None else f"* REPLACE ({float(self.at)} - now AS age_s)"
        for name in _REDIS:
            chosen = age if name == "sessions" and age else "*"
            self.connection.execute(
                f"CREATE TEMP VIEW held_{name} AS SELECT {chosen} FROM frame_{name}"
            )
        for statement in (*MACROS, SERVERS, JUDGED):
            self.connection.execute(statement)

    def _table(self, name: str) -> str:
        return self.participants if name == "participants" else name

    def _unfit(self, check: Check) -> str:
        """Return why a check cannot judge this snapshot; "" where it can."""
        snapshot, needs = self.snapshot, check.needs
        info, facts = snapshot.info, snapshot.info.get("tables", {})
        if broken := [name for name in needs if name in info.get("redis_unfit", {})]:
            return f"{broken[0]}: {info['redis_unfit'][broken[0]]}"
        if untold := [name for name in needs.get("facts", ()) if self.facts[name] is None]:
            return f"the snapshot does not say which {untold[0].replace('_', ' ')} there are"
        states = snapshot.sequences["state"]
        unread = states.empty and "seq_updates_ngen" not in facts
        if "sequences" in needs and (unread or (states == "not read").any()):
            return "not read, or not as integers: seq_updates_ngen"
        needs = {self._table(name): needs[name] for name in needs if name not in _OTHERS}
        if missing := [name for name in needs if name not in snapshot.tables]:
            why = f" ({info['incomplete']})" if info.get("incomplete") else ""
            return f"not in the snapshot: {', '.join(missing)}{why}"
        columns = {
            f"{table}.{column}": (snapshot.tables[table].get(column), _is_integer(table, column))
            for table, names in needs.items()
            for column in names
        }
        if absent := [name for name, (column, _) in columns.items() if column is None]:
            return f"not in the snapshot: {', '.join(absent)}"
        if odd := [
            name
            for name, (column, integer) in columns.items()
            if integer and column is not None and not is_integer_dtype(column)
        ]:
            return f"carried as something else than integers: {', '.join(odd)}"
        for part, reason in (
            ("truncated", "cut short by the row limit"),
            ("filtered", "only a part was asked for"),
        ):
            if names := [name for name in needs if facts.get(name, {}).get(part)]:
                return f"{reason}: {', '.join(names)}"
        return ""


def _tables(check: Check) -> bool:
    """Return whether a check reads a table of the database."""
    return not check.needs.keys() <= {*_OTHERS}


def _is_integer(table: str, column: str) -> bool:
    known = schema.tables["chat_users" if table == "chat_participants" else table].c
    return isinstance(known[column].type, sa.Integer)


def _facts(snapshot: Snapshot, at: float | None) -> dict[str, Any]:
    """Return what info knows, as one row: None for what it does not say."""
    info = snapshot.info
    tables = info.get("tables", {})
    bodies, phones = tables.get("messages", {}), tables.get("users", {})
    return {
        "lease_s": info.get("online_timeout", ONLINE_TIMEOUT),
        "check_s": info.get("check_online_timeout", CHECK_ONLINE_TIMEOUT),
        "now_s": info.get("taken_at") if at is None else at,
        # Times to live are of Redis's clock, and of the instant of the reading.
        "live": at is None and info.get("clock") != "turned",
        "never_expire": info.get("never_expire"),
        "sessions_on_two_servers": info.get("on_two_servers"),
        "malformed_more": info.get("malformed_not_kept"),
        "missing_indexes": info.get("missing_indexes"),
        "unreadable_bodies": bodies.get("unreadable"),
        "unreadable_more": bodies.get("unreadable_more"),
        "damaged": bodies.get("damaged_by_column"),
        "damaged_samples": bodies.get("damaged_samples"),
        "phone_twins": phones.get("phone_twins"),
    }


def _skipped(check: Check, reason: str, advice: str) -> Finding:
    return Finding(check.name, SKIPPED, "", reason, advice)


def _behind(snapshot: Snapshot) -> float:
    """Return by how many seconds tables of a replica are older than Redis."""
    if not snapshot.info.get("database_primary"):
        return 0
    lag = snapshot.info.get("database_lag_s")
    return math.inf if lag is None else lag


def _as_read(found: Finding) -> list[tuple[int, str]]:
    """Return a key that sorts user 9 before user 10, numbers of any length."""
    key = []
    for part in re.split(r"(\d+)", " ".join(found[2:])):
        digits = part.lstrip("0")
        key.append((len(digits), digits) if part.isdecimal() else (0, part))
    return key
