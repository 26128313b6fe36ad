"""The checks of an audit: each finds one kind of fault, and says how to see more of it.

A check is registered under its function's name, with its severity and with the columns that it
needs, with all their rows. Its docstring is one line, which ``imlib audit --list`` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pandas as pd

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT, MessageBoxType, PeerType
from imlib.session_status import Layout

if TYPE_CHECKING:
    from imlib.snapshot.snapshot import Snapshot

ALLOWED_SKEW_S: Final = CHECK_ONLINE_TIMEOUT - ONLINE_TIMEOUT

_SESSION: Final = ("user_id", "auth_key_id", "session_id")

Found = tuple[str, str, str]
"""Subject, what was found, a query that shows more of it."""
_Run = Callable[["Snapshot"], Iterable[Found]]


class Check(NamedTuple):
    """One check: what it looks for, what it needs, and the function that finds it."""

    severity: str
    """Of its findings: ``info``, ``warning`` or ``error``."""
    about: str
    """What it looks for, in a sentence."""
    needs: dict[str, tuple[str, ...]]
    """For each table that it reads, the columns; it needs all rows. ``sessions`` and ``sequences``
    are what Redis holds."""
    run: _Run


CHECKS: Final[dict[str, Check]] = {}
"""Every check by name, in the order in which they run."""


def _check(severity: str, **needs: str) -> Callable[[_Run], None]:
    """Register a check under its function's name; ``needs`` lists each table's columns."""

    def register(run: _Run) -> None:
        tables = {table: tuple(columns.split()) for table, columns in needs.items()}
        CHECKS[run.__name__.lstrip("_")] = Check(severity, run.__doc__ or "", tables, run)

    return register


def _each(frame: pd.DataFrame) -> Iterator[Any]:
    """Return a frame's rows, their columns as attributes; Any, because no stub knows these."""
    return iter(frame.itertuples())


def _read(snapshot: Snapshot, table: str, *columns: str) -> pd.DataFrame:
    """Return columns of a table, without rows that have a NULL there: a NULL refers to nothing."""
    return snapshot.tables[table][[*columns]].dropna()


def _select(frame: str, *conditions: str, **where: object) -> str:
    """Return a query for a reader to run: a frame's rows of these values that meet conditions."""
    terms = []
    for name, value in where.items():
        literal = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else value
        terms.append(f"{name} = {literal}")
    condition = " AND ".join([*terms, *conditions])
    return f"SELECT * FROM {frame} WHERE {condition}"  # noqa: S608 - only a reader runs it


def _entry(row: Any) -> str:
    """Return a session's key and field as they are in Redis."""
    return f"online_{row.user_id} {row.auth_key_id}{Layout(row.layout).separator}{row.session_id}"


def _same(row: Any, frame: str, *columns: str) -> str:
    """Return a query for the rows of a frame that have a row's values in some columns."""
    return _select(frame, **{name: getattr(row, name) for name in columns})


@_check("info", sessions="")
def _ghost(snapshot: Snapshot) -> Iterator[Found]:
    """A session past its lease, still in Redis: a sibling renews the key, or it never expires."""
    sessions = snapshot.sessions
    for row in _each(sessions[~sessions["online"]]):
        what = (
            f"last reported {row.age_s:.0f} s ago on server {row.server_id}; it counts for "
            f"{CHECK_ONLINE_TIMEOUT} s"
        )
        yield _entry(row), what, _same(row, "sessions", *_SESSION)


@_check("warning", sessions="")
def _key_without_ttl(snapshot: Snapshot) -> Iterator[Found]:
    """A presence key that never expires: a crash between HSET and EXPIRE leaves one."""
    sessions, what = snapshot.sessions, "it has no time to live, and stays for ever"
    for user_id in sessions.loc[sessions["key_ttl_s"].isna(), "user_id"].unique():
        yield f"online_{user_id}", what, _select("sessions", user_id=user_id)
    # Keys without a session: all that they hold is malformed.
    for user_id in snapshot.info.get("never_expire", []):
        yield f"online_{user_id}", what, _select("malformed", key=f"online_{user_id}")


@_check("warning", sessions="")
def _malformed(snapshot: Snapshot) -> Iterator[Found]:
    """A key or field from which nothing can be read."""
    for row in _each(snapshot.malformed):
        subject = row.key if pd.isna(row.field) else f"{row.key} {row.field}"
        yield subject, row.reason, _same(row, "malformed", "key")
    if more := snapshot.info.get("malformed_not_kept"):
        query = "SELECT reason, count(*) FROM malformed GROUP BY reason"
        yield "more", f"{more} more were counted and not kept", query


@_check("info", sessions="")
def _mixed_layouts(snapshot: Snapshot) -> Iterator[Found]:
    """A user whose sessions are in both layouts: servers of two kinds serve them."""
    kinds = snapshot.sessions.groupby("user_id")["layout"].nunique()
    # The frame has one row for a session that is written in both; info names its user.
    for user_id in sorted({*kinds.index[kinds > 1], *snapshot.info.get("in_both_layouts", [])}):
        what = "sessions stand in it in both layouts"
        yield f"online_{user_id}", what, _select("sessions", user_id=user_id)


@_check("warning", sessions="")
def _future_session(snapshot: Snapshot) -> Iterator[Found]:
    """A session reported later than now: its server's clock is ahead, it looks online too long."""
    sessions = snapshot.sessions
    for row in _each(sessions[sessions["age_s"] < -ALLOWED_SKEW_S]):
        what = (
            f"reported {-row.age_s:.0f} s from now: the clock of server {row.server_id} is ahead "
            f"by at least that; {ALLOWED_SKEW_S} s are allowed"
        )
        yield _entry(row), what, _same(row, "sessions", "server_id")


@_check(
    "warning",
    sessions="",
    users="id",
    auth_keys="auth_id",
    auth_users="auth_id",
    auths="auth_id",
)
def _orphan_session(snapshot: Snapshot) -> Iterator[Found]:
    """A session of no user in users, or of no auth key in auth_keys, auth_users or auths."""
    sessions, tables = snapshot.sessions, snapshot.tables
    # As Python's integers: pandas would compare int64 with a table's unsigned ids as floats.
    known: set[int] = set()
    for name in ("auth_keys", "auth_users", "auths"):
        known.update(map(int, tables[name]["auth_id"].dropna()))
    user = sessions["user_id"].isin(tables["users"]["id"])
    key = sessions["auth_key_id"].map(known.__contains__).astype(bool)
    for row in _each(sessions.assign(user=user, key=key)[~(user & key)]):
        what = "its user and auth key are in no table"
        if row.user or row.key:
            what = f"its {'auth key' if row.user else 'user'} is in no table"
        yield _entry(row), what, _same(row, "sessions", *_SESSION)


@_check("error", message_boxes="user_id pts")
def _pts_gap(snapshot: Snapshot) -> Iterator[Found]:
    """A pts missing between two boxes of a user: clients ask for it again and again."""
    boxes = _read(snapshot, "message_boxes", "user_id", "pts").astype("int64")
    boxes = boxes.drop_duplicates().sort_values(["user_id", "pts"])
    # Before the oldest box that there is nothing is missing.
    before = boxes.groupby("user_id")["pts"].shift(fill_value=2**63 - 1)
    for row in _each(boxes.assign(before=before)[before < boxes["pts"] - 1]):
        first, last = row.before + 1, row.pts - 1
        missing = f"{first}" if first == last else f"{first} to {last}"
        between = f"pts BETWEEN {row.before} AND {row.pts}"
        query = _select("message_boxes", between, user_id=row.user_id)
        yield f"user {row.user_id} pts {missing}", "no box has it", query


@_check("error", message_boxes="user_id pts")
def _pts_duplicate(snapshot: Snapshot) -> Iterator[Found]:
    """One pts in several boxes of a user: a client believes that it has the second already."""
    boxes = snapshot.tables["message_boxes"]
    for (user_id, pts), rows in _repeated(boxes, ["user_id", "pts"]):
        query = _select("message_boxes", user_id=user_id, pts=pts)
        yield f"user {user_id} pts {pts}", f"{len(rows)} boxes have it", query


def _repeated(frame: pd.DataFrame, columns: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Return the values of some columns that are in several rows, each with its rows."""
    return iter(frame[frame.duplicated(columns, keep=False)].groupby(columns))


@_check("error", sequences="")
def _sequence_behind(snapshot: Snapshot) -> Iterator[Found]:
    """Redis's counter is behind the table's: a deployed server would issue numbers twice."""
    sequences = snapshot.sequences
    for row in _each(sequences[sequences["state"] == "behind"]):
        what = f"Redis was still at {row.redis_after} after its row, {row.row}, was read"
        yield row.name, what, _same(row, "sequences", "name")


@_check("warning", sequences="")
def _sequence_ahead(snapshot: Snapshot) -> Iterator[Found]:
    """Redis's counter is ahead of the table's: it issued numbers that MySQL does not know."""
    sequences = snapshot.sequences
    for row in _each(sequences[sequences["state"].isin(["ahead", "redis only"])]):
        there = "where there is none" if pd.isna(row.row) else row.row
        what = f"Redis was at {row.redis_before} already before its row, {there}, was read"
        yield row.name, what, _same(row, "sequences", "name")


@_check(
    "error",
    user_dialogs="user_id peer_type peer_id top_message unread_count read_inbox_max_id",
    message_boxes="user_id peer_type peer_id message_id message_box_type",
)
def _dialog_disagrees(snapshot: Snapshot) -> Iterator[Found]:
    """A dialog whose newest message or unread count is not what its boxes say."""
    key = ["user_id", "peer_type", "peer_id"]
    dialogs = _read(
        snapshot, "user_dialogs", *key, "top_message", "unread_count", "read_inbox_max_id"
    )
    boxes = _read(snapshot, "message_boxes", *key, "message_id", "message_box_type")
    # Without the unique index a dialog can be there twice; its boxes are counted once.
    boxes = boxes.merge(dialogs.drop_duplicates(key), on=key)
    incoming = boxes["message_box_type"] == int(MessageBoxType.INCOMING)
    boxes["unread"] = incoming & (boxes["message_id"] > boxes["read_inbox_max_id"])
    counted = boxes.groupby(key).agg(
        newest=("message_id", "max"),
        unread=("unread", "sum"),
    )
    both = dialogs.join(counted, on=key).fillna(0)
    both = both.astype({"newest": "int64", "unread": "int64"})
    wrong = (both["top_message"] != both["newest"]) | (both["unread_count"] != both["unread"])
    for row in _each(both[wrong]):
        what = []
        if row.top_message != row.newest:
            what.append(f"top_message is {row.top_message}, its newest box has {row.newest}")
        if row.unread_count != row.unread:
            what.append(
                f"unread_count is {row.unread_count}, and {row.unread} of its boxes are unread"
            )
        query = _same(row, "message_boxes" if row.newest else "user_dialogs", *key)
        yield f"user {row.user_id} peer {_peer(row)}", "; ".join(what), query


def _peer(row: Any) -> str:
    known = row.peer_type in set(PeerType)
    return f"{PeerType(row.peer_type).name.lower() if known else row.peer_type} {row.peer_id}"


@_check(
    "error",
    message_boxes="user_id message_id",
    messages="id",
)
def _orphan_box(snapshot: Snapshot) -> Iterator[Found]:
    """A box whose message does not exist."""
    boxes = _read(snapshot, "message_boxes", "user_id", "message_id")
    for row in _each(boxes[~boxes["message_id"].isin(snapshot.tables["messages"]["id"])]):
        query = _same(row, "message_boxes", "user_id", "message_id")
        what = "its box is there, and the message in no table"
        yield f"user {row.user_id} message {row.message_id}", what, query


@_check(
    "error",
    chat_users="chat_id user_id",
    chats="id",
    users="id",
)
def _orphan_participant(snapshot: Snapshot) -> Iterator[Found]:
    """A chat_users row whose user or chat does not exist."""
    participants, tables = _read(snapshot, "chat_users", "chat_id", "user_id"), snapshot.tables
    for column, table in (("chat_id", "chats"), ("user_id", "users")):
        for row in _each(participants[~participants[column].isin(tables[table]["id"])]):
            query = _same(row, "chat_users", "chat_id", "user_id")
            what = f"the {column[:-3]} is not in {table}"
            yield f"user {row.user_id} chat {row.chat_id}", what, query


@_check("error", messages="id sender_user_id random_id")
def _duplicate_random_id(snapshot: Snapshot) -> Iterator[Found]:
    """One random_id on several messages of a sender: a retry was stored as a second message."""
    messages = snapshot.tables["messages"]
    for (sender, random_id), rows in _repeated(messages, ["sender_user_id", "random_id"]):
        ids = ", ".join(map(str, sorted(rows["id"])))
        query = _select("messages", sender_user_id=sender, random_id=random_id)
        yield f"user {sender} messages {ids}", f"all have random_id {random_id}", query


@_check("warning", messages="id message_data")
def _body_not_json(snapshot: Snapshot) -> Iterator[Found]:
    """A body that is no JSON: an older server wrote it, or it is damaged. Judged before masking."""
    facts = snapshot.info["tables"]["messages"]
    for number in facts["unreadable"]:
        yield f"message {number}", "its body is no JSON", _select("messages", id=number)
    if more := facts.get("unreadable_more"):
        query = "take a snapshot with a where-clause on messages.id"
        yield "more", f"{more} more were counted and not kept", query


@_check("info")
def _missing_index(snapshot: Snapshot) -> Iterator[Found]:
    """An index that imlib's tables have and this lacks: reads scan, or duplicates are possible."""
    for index in snapshot.info["missing_indexes"] or ():
        what = "reads that would use it scan the table"
        if index.endswith(" unique"):
            what = "nothing refuses a second row of the same key"
        yield index, what, "imlib.schema_check.check_schema(deployment.engine)"
