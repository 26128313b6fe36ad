"""The command ``user``: all that is known of one user."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING, Any

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
    exact_rows,
    say,
    show,
    show_json,
    to_user_id,
)
from imlib.cli.who import sessions_of, tell
from imlib.errors import ConfigurationError
from imlib.other_keys import in_words
from imlib.snapshot.masking import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_ROWS = 20
_MOST = 100_000
_FIRST = (
    *("users", "sessions", "malformed", "devices", "auth_users", "auths", "user_dialogs"),
    *("message_boxes", "chats", "chat_users", "chat_participants", "user_contacts", "sequences"),
)
_OWN = ("message_boxes", "user_dialogs")
"""Tables whose rows name other users as well: of these only a user's own are shown."""
_Frames = dict[str, list[dict[Any, Any]]]
"""Rows of each frame, ready to be shown."""


def add_user(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``user``."""
    user = command("user", _user)
    user.add_argument(
        "user",
        metavar="USER",
        nargs="?",
        type=_to_user,
        help="a user id, or a phone that begins with +",
    )
    user.add_argument("--phone", type=_to_phone, help="a phone, with or without its +")
    user.add_argument(
        "--rows",
        type=int,
        default=_ROWS,
        help=f"the most rows of a table, the newest ones (default: {_ROWS})",
    )
    user.add_argument(
        "--unindexed",
        action="store_true",
        help="search large tables by columns without an index too",
    )
    add_at(user)
    add_format(user)
    add_sample(user)


def _to_user(text: str) -> int | str:
    return _to_phone(text) if text.startswith("+") else to_user_id(text)


def _to_phone(text: str) -> str:
    """Return a phone's digits."""
    digits = re.sub(r"[ ()./-]", "", text).removeprefix("+")
    if not re.fullmatch("[0-9]{3,20}", digits):
        # What was given may be a phone, and is not repeated.
        raise argparse.ArgumentTypeError(
            "that is no phone: allowed are digits, and a + before them"
        )
    return digits


def _user(options: argparse.Namespace) -> int:
    """Show all about one user, rows and not counts: sessions, devices, dialogs, boxes, chats.

    What is secret or personal is masked, as in a snapshot; of each table the newest rows are shown.
    JSON is one object per user, of a list of rows for each frame; CSV has a line per value.

    Exit code 0: there is such a user; 1: there is none; 2: it could not all be told.

    for example:
      imlib user 7
      imlib user +15550100007 --format json
      imlib user 7 --sample
    """
    if (options.user is None) == (options.phone is None):
        raise ConfigurationError("name one user: by an id, or by a phone that begins with +")
    if options.rows < 1:
        raise ConfigurationError(f"--rows is {options.rows}: allowed is 1 or more")
    phone = options.user if isinstance(options.user, str) else options.phone
    database = bool(options.sample or os.environ.get("IMLIB_DATABASE_URL"))
    if phone and not database:
        raise ConfigurationError("phones stand in the database: set IMLIB_DATABASE_URL")
    with connected(options, database=database) as deployment:
        user_ids = _of_phone(deployment, phone) if phone else [options.user]
        found = {one: _all_about(deployment, one, options, database) for one in user_ids}
    known = {user_id: frames for user_id, (frames, _) in found.items() if frames}
    incomplete = any(unread is not None for _, unread in found.values())
    if not known:
        complain("nothing of this user was found" if incomplete else "there is no such user")
    untold = {one for one, (_, unread) in found.items() if unread and "sessions" in unread}
    _tell(known, options.format, untold)
    if incomplete:
        return FAILED
    return YES if known else NO


def _of_phone(deployment: imlib.Deployment, digits: str) -> list[int]:
    """Return the users of a phone, which may be stored with its + or without."""
    import sqlalchemy as sa

    from imlib.schema import tables
    from imlib.servers import sql

    users, engine = tables["users"], deployment.replica
    query = sa.select(users.c.id).where(users.c.phone.in_([digits, f"+{digits}"]))
    with sql.translate_errors(engine), sql.connect(engine) as connection:
        return sorted(connection.execute(query).scalars())


def _all_about(
    deployment: imlib.Deployment, user_id: int, options: argparse.Namespace, database: bool
) -> tuple[_Frames, dict[str, str] | None]:
    """Return the rows of one user; if they are not all, what of Redis was not read, and why."""
    taken = deployment.snapshot(
        tables=None if database else [],
        user_ids=user_id,
        limit=_MOST,
        unindexed=options.unindexed,
        keep_incomplete=True,
    )
    if reason := taken.info["incomplete"]:
        complain(f"INCOMPLETE: {reason}")
    if others := taken.info["other_keys"]:
        complain(in_words(others))
    frames = {"malformed": taken.malformed, "sequences": taken.sequences, **taken.tables}
    shown: _Frames = {}
    if len(taken.sessions):
        shown["sessions"], _ = sessions_of(deployment, [user_id], database=database)
    for name, frame in frames.items():
        own = frame[frame["user_id"] == user_id] if name in _OWN and "user_id" in frame else frame
        if len(own):
            shown[name] = exact_rows(own.iloc[::-1][: options.rows])
        if len(own) > options.rows:
            complain(f"user {user_id}: {name} has {len(own)} rows, of which the newest are shown")
        if taken.info["tables"].get(name, {}).get("truncated"):
            complain(
                f"user {user_id}: {name} has more than {_MOST} rows, and newer ones than these"
            )
    ordered = [*(name for name in _FIRST if name in shown), *sorted(shown.keys() - {*_FIRST})]
    unread = taken.info["redis_unfit"] if taken.info["incomplete"] else None
    return {name: shown[name] for name in ordered}, unread


def _tell(found: dict[int, _Frames], form: str, untold: set[int]) -> None:
    import pandas as pd

    if form == "json":
        show_json([{"user_id": user_id, **frames} for user_id, frames in found.items()])
    elif form == "csv":
        show(["user_id", "frame", "row", "column", "value"], _values(found), form)
    else:
        for user_id, frames in found.items():
            sessions = frames.pop("sessions", [])
            if sessions or user_id not in untold:
                tell(user_id, sessions)
            else:
                say(f"user {user_id}: whether online cannot be told")
            for name, rows in frames.items():
                say("")
                say(name)
                # A token says nothing to people.
                frame = pd.DataFrame(rows, dtype=object).dropna(axis=1, how="all")
                frame = frame.replace(f"^{PREFIX}.*", "masked", regex=True)
                show([*frame], frame.itertuples(index=False), form)


def _values(found: dict[int, _Frames]) -> Iterator[tuple[object, ...]]:
    for user_id, frames in found.items():
        for frame, rows in frames.items():
            for at, row in enumerate(rows):
                for name, value in row.items():
                    yield user_id, frame, at, name, value
