"""The command ``who``: by which sessions users are online, and why others don't count."""

from __future__ import annotations

import argparse
import os
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import imlib
from imlib.cli.output import (
    FAILED,
    NO,
    YES,
    add_at,
    add_format,
    add_sample,
    complain,
    connected,
    moment,
    say,
    show,
    to_user_id,
)
from imlib.errors import AccessDeniedError, ImlibError
from imlib.other_keys import in_words, other_keys
from imlib.session_status import WIDTHS, distinct_users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imlib.presence import Malformed

_LOOKED_AT = 10_000
"""Presence keys by which servers are judged."""
_CAUSES = ("server_clock", "server_silent", "now_in_milliseconds")
"""The audit's checks of servers."""
_DEVICE = ("user_id", "device_model", "app_name", "app_version", "country")
_WIDE = ("auth_key_id", "session_id", "netlib_session_id", "now")
_COLUMNS = (
    *WIDTHS,
    *("layout", "online", "age_s", "key_ttl_s", "expires_at"),
    *("device", "app", "country", "server_healthy", "server_says", "why_not"),
)


class Health(NamedTuple):
    """What a look at some users tells of a server; None: not enough."""

    healthy: bool | None
    says: str


def add_who(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``who``."""
    who = command("who", _who)
    who.add_argument(
        "users", metavar="USER", type=to_user_id, nargs="+", help="a user id, an int32"
    )
    add_at(who)
    add_format(who)
    add_sample(who)


def _who(options: argparse.Namespace) -> int:
    """Say by which sessions users are online, on what, and why other sessions don't count.

    Redis's own clock decides. Devices and apps are told where a database is named; whether servers
    are healthy is judged by a look at 10,000 users. JSON and CSV have a row per session that Redis
    holds, with "online", and none for who has none.

    Exit code 0: every one is online; 1: somebody is not; 2: it could not be told.

    for example:
      imlib who 7 8 --format csv
    """
    database = options.sample or bool(os.environ.get("IMLIB_DATABASE_URL"))
    with connected(options, database=database) as deployment:
        rows, malformed = sessions_of(deployment, options.users, database=database)
        nothing = not (rows or malformed)
        others = in_words(other_keys(deployment.redis)) if nothing else ""
    if options.format == "table":
        for user_id in dict.fromkeys(options.users):
            tell(user_id, [row for row in rows if row["user_id"] == user_id])
    else:
        show(_COLUMNS, map(itemgetter(*_COLUMNS), rows), options.format)
    for problem in malformed:
        complain(f"{problem.key!r} {problem.field!r}: {problem.reason}")
    if others:
        complain(others)
    if deployment.server.link == "down":
        return FAILED
    online = {row["user_id"] for row in rows if row["online"]}
    return YES if online.issuperset(options.users) else NO


def sessions_of(
    deployment: imlib.Deployment, user_ids: Iterable[int], *, database: bool
) -> tuple[list[dict[Any, Any]], list[Malformed]]:
    """Return a row per session of some users, and what of their keys cannot be read.

    Numbers of 64 bits are text.
    """
    from imlib.snapshot.sessions import read_sessions

    counts_s = deployment.check_online_timeout
    read = read_sessions(
        deployment.redis,
        deployment.reader_clock,
        distinct_users(user_ids),
        check_online_timeout=counts_s,
    )
    rows = read.sessions.drop(columns="reported_at").to_dict("records")
    if rows:
        try:
            health = _health(deployment)
        except AccessDeniedError as problem:  # SCAN, which reading a user's key does without
            complain(f"servers are not judged: {problem}")
            health = {}
        devices = _devices(deployment, {row["auth_key_id"] for row in rows}) if database else {}
    for row in rows:
        device = devices.get(row["auth_key_id"], {})
        server = health.get(row["server_id"], Health(None, "not among those looked at"))
        expires = row["now"] + counts_s
        row["age_s"] = round(row["age_s"], 3)
        row["expires_at"] = moment(expires)
        row["device"] = device.get("device_model")
        row["app"] = " ".join(filter(None, map(device.get, ("app_name", "app_version")))) or None
        row["country"] = device.get("country")
        row["server_healthy"], row["server_says"] = server
        row["why_not"] = ""
        if not row["online"]:
            row["why_not"] = f"expired {row['age_s'] - counts_s:.0f} s ago, at {moment(expires)}"
            # A clock that is ahead makes nobody look offline.
            if server.healthy is False and "ahead" not in server.says:
                row["why_not"] += f"; server {row['server_id']}: {server.says}"
        if device.get("user_id", row["user_id"]) != row["user_id"]:
            row["device"] = f"{row['device'] or 'a device'} (logged in by user {device['user_id']})"
        for name in _WIDE:
            row[name] = str(row[name])
    return rows, read.malformed


def tell(user_id: int, rows: list[dict[Any, Any]]) -> None:
    """Print a user's sessions for people."""
    state = "online" if any(row["online"] for row in rows) else "offline"
    say(f"user {user_id}: {state}" + ("" if rows else ", and Redis holds no session"))
    for row in rows:
        say(
            f"  auth key {row['auth_key_id']}, session {row['session_id']}: server "
            f"{row['server_id']}, connection {row['netlib_session_id']}, reported at "
            f"{moment(int(row['now']))}, {_ago(row['age_s'])}"
        )
        if on := ", ".join(filter(None, (row["device"], row["app"], row["country"]))):
            say(f"    on {on}")
        state = {True: "is healthy", False: "is not healthy", None: ""}[row["server_healthy"]]
        say(f"    server {row['server_id']} {state}".rstrip() + f": {row['server_says']}")
        if row["why_not"]:
            say(f"    does not count: {row['why_not']}")


def _ago(age_s: float) -> str:
    return f"{age_s:.0f} s ago" if age_s >= 0 else f"{-age_s:.0f} s from now"


def _health(deployment: imlib.Deployment) -> dict[int, Health]:
    """Judge servers by a bounded look at presence."""
    from imlib.audit import audit
    from imlib.snapshot import Snapshot
    from imlib.snapshot.sequences import compare_sequences
    from imlib.snapshot.sessions import malformed_frame, read_sessions

    read = read_sessions(
        deployment.redis,
        deployment.reader_clock,
        check_online_timeout=deployment.check_online_timeout,
        most_keys=_LOOKED_AT,
    )
    sample = Snapshot(
        read.sessions,
        compare_sequences({}, {}, {}),
        malformed_frame([]),
        info={
            "online_timeout": deployment.online_timeout,
            "check_online_timeout": deployment.check_online_timeout,
        },
    )
    youngest: dict[Any, float] = read.sessions.groupby("server_id")["age_s"].min().to_dict()
    health = {server_id: _by_youngest(deployment, age_s) for server_id, age_s in youngest.items()}
    # Times to live are of now, and the clock may be of another instant.
    at = deployment.reader_clock and deployment.reader_clock()
    for one in audit(sample, _CAUSES, at=at).rows.to_dict("records"):
        # A fault that is Redis's, or most servers', is each one's.
        named = re.fullmatch(r"servers? [-, \d]+", one["subject"])
        for server_id in map(int, re.findall(r"-?\d+", named[0])) if named else list(health):
            server = health[server_id]
            if one["severity"] != "skipped":
                said = one["what"] if named else f"{one['subject']}: {one['what']}"
                health[server_id] = Health(False, said)
            elif server.healthy:
                said = f"{server.says}; too few users to tell whether its clock is right"
                health[server_id] = Health(None, said)
    return health


def _by_youngest(deployment: imlib.Deployment, age_s: float) -> Health:
    """Judge a server by the last report of all that were looked at."""
    counts_s = deployment.check_online_timeout
    if age_s >= counts_s:
        return Health(False, f"last heard of {age_s:.0f} s ago")
    if age_s < deployment.online_timeout - counts_s:
        return Health(False, f"its clock is ahead, by {-age_s:.0f} s at least")
    return Health(True, f"reports, {max(age_s, 0):.0f} s ago")


def _devices(deployment: imlib.Deployment, auth_keys: set[int]) -> dict[int, dict[str, Any]]:
    """Return what two tables know of devices, by auth key; nothing of them is masked."""
    import sqlalchemy as sa

    from imlib import schema
    from imlib.servers import sql

    engine, found = deployment.replica, dict[int, dict[str, Any]]()
    for name in ("auths", "auth_users"):  # the second knows more
        table = schema.tables[name]
        columns = [table.c[column] for column in _DEVICE if column in table.c]
        query = sa.select(table.c.auth_id, *columns).where(table.c.auth_id.in_(auth_keys))
        try:
            with sql.translate_errors(engine), sql.connect(engine) as connection:
                for row in connection.execute(query).mappings():
                    found.setdefault(row["auth_id"], {}).update(row)
        except ImlibError as problem:
            complain(f"{name} is not asked for devices: {problem}")
    return found
