"""Named checks over a snapshot, and what they find: one row a finding, with a way to look further.

A check asks for frames; where one is missing, or was cut short by a limit and the check needs it whole, the audit says
so in a row of severity ``skipped`` instead of guessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT, MessageBoxType
from imlib.errors import ConfigurationError

if TYPE_CHECKING:
    from imlib.snapshot import Snapshot

__all__ = ["CHECKS", "audit"]

ALLOWED_SKEW_S: Final = int(CHECK_ONLINE_TIMEOUT) - int(ONLINE_TIMEOUT)

Found = tuple[str, str, str]
"""Subject, what was found, how to look further."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Parameters
    ----------
    severity : str
        ``info``, ``warning`` or ``error``: what a finding of it is.
    needs : tuple of str
        The tables that it reads whole.
    run : callable
        From a snapshot to what it finds.
    """

    severity: str
    needs: tuple[str, ...]
    run: Callable[[Snapshot], Iterable[Found]]


CHECKS: Final[dict[str, Check]] = {}
"""Every check by name, in the order in which they run."""


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
        check, severity (``info``, ``warning``, ``error``, ``skipped``), subject, what, how_to_look; all str; by check
        in the order of `CHECKS`, then by subject. Empty where nothing is wrong.

    Raises
    ------
    ConfigurationError
        A name is none of a check.
    """
    names = list(CHECKS) if checks is None else list(checks)
    if unknown := [name for name in names if name not in CHECKS]:
        raise ConfigurationError(f"{', '.join(unknown)}: no such check. There are {', '.join(CHECKS)}")
    rows: list[tuple[str, str, str, str, str]] = []
    for name in names:
        check = CHECKS[name]
        if reason := _unfit(snapshot, check.needs):
            rows.append((name, "skipped", "", reason, "take a snapshot with those tables whole"))
        else:
            rows += sorted((name, check.severity, *found) for found in check.run(snapshot))
    return pd.DataFrame(rows, columns=["check", "severity", "subject", "what", "how_to_look"], dtype="str")


def _unfit(snapshot: Snapshot, needs: tuple[str, ...]) -> str:
    missing = [name for name in needs if name not in snapshot.tables]
    if missing:
        return f"not in the snapshot: {', '.join(missing)}"
    facts = snapshot.info.get("tables", {})
    cut = [name for name in needs if facts.get(name, {}).get("truncated")]
    return f"cut short by the row limit: {', '.join(cut)}" if cut else ""


def _check(severity: str, *needs: str) -> Callable[[Callable[[Snapshot], Iterable[Found]]], None]:
    def register(run: Callable[[Snapshot], Iterable[Found]]) -> None:
        CHECKS[run.__name__.lstrip("_")] = Check(severity, needs, run)

    return register


def _each(frame: pd.DataFrame) -> Iterator[Any]:
    """Return a frame's rows with their columns as attributes; Any, because no stub knows which those are."""
    return iter(frame.itertuples())


def _repeated(frame: pd.DataFrame, columns: list[str]) -> Iterator[tuple[Any, int]]:
    """Return the values of some columns that stand in more than one row, each with the number of rows."""
    counts: Any = frame.groupby(columns).size()
    return iter(counts[counts > 1].items())


def _indexed(frame: pd.DataFrame) -> Iterator[tuple[Any, Any]]:
    """Return a frame's rows, each with its index, which may be of several parts."""
    return iter(frame.iterrows())


def _who(row: Any) -> str:
    return f"user {row.user_id}, auth key {row.auth_key_id}, session {row.session_id}"


@_check("info")
def _ghosts(snapshot: Snapshot) -> Iterator[Found]:
    """Sessions past their lease whose field a sibling, or a key without time to live, keeps."""
    sessions = snapshot.sessions
    for row in _each(sessions[~sessions["online"]]):
        yield (
            _who(row),
            f"last reported {row.age_s:.0f} s ago, counts for {int(CHECK_ONLINE_TIMEOUT)} s: its field is still there",
            f"sessions[sessions.user_id == {row.user_id}]",
        )


@_check("warning")
def _keys_without_ttl(snapshot: Snapshot) -> Iterator[Found]:
    """Presence keys that never expire: a crash between HSET and EXPIRE leaves them."""
    sessions = snapshot.sessions
    for user_id in sorted(set(sessions.loc[sessions["key_ttl_s"].isna(), "user_id"])):
        yield f"key online_{user_id}", "has no time to live: it stays for ever", f"TTL online_{user_id}"


@_check("warning")
def _malformed(snapshot: Snapshot) -> Iterator[Found]:
    """Keys and fields that cannot be read."""
    for row in _each(snapshot.malformed.fillna("")):
        subject = f"key {row.key}, field {row.field}" if row.field else f"key {row.key}"
        yield subject, row.reason, f"malformed[malformed.key == {row.key!r}]"


@_check("info")
def _mixed_layouts(snapshot: Snapshot) -> Iterator[Found]:
    """Users whose sessions are written in both layouts: servers of two kinds serve them."""
    kinds = snapshot.sessions.groupby("user_id")["layout"].nunique()
    for user_id in kinds.index[kinds > 1]:
        yield f"user {user_id}", "has sessions in both layouts", f"sessions[sessions.user_id == {user_id}]"


@_check("warning")
def _sessions_in_the_future(snapshot: Snapshot) -> Iterator[Found]:
    """Sessions reported later than now: their server's clock is ahead, and they look online too long."""
    sessions = snapshot.sessions
    for row in _each(sessions[sessions["age_s"] < -ALLOWED_SKEW_S]):
        yield (
            _who(row),
            f"reported {-row.age_s:.0f} s from now: the clock of server {row.server_id} is ahead by at least as much, "
            f"{ALLOWED_SKEW_S} s are allowed",
            f"sessions[sessions.server_id == {row.server_id}].age_s.describe()",
        )


@_check("warning", "users")
def _unknown_users(snapshot: Snapshot) -> Iterator[Found]:
    """Sessions of users that no row of ``users`` knows."""
    known = set(snapshot.tables["users"]["id"])
    for user_id in sorted(set(snapshot.sessions["user_id"]) - known):
        yield f"user {user_id}", "has sessions and no row in users", f"sessions[sessions.user_id == {user_id}]"


@_check("warning", "auth_keys", "auth_users", "auths")
def _unknown_auth_keys(snapshot: Snapshot) -> Iterator[Found]:
    """Sessions of auth keys that are in none of the tables that know them."""
    known = {one for name in ("auth_keys", "auth_users", "auths") for one in snapshot.tables[name]["auth_id"]}
    for auth_key_id in sorted(set(snapshot.sessions["auth_key_id"]) - known):
        yield (
            f"auth key {auth_key_id}",
            "has sessions and stands in none of auth_keys, auth_users, auths",
            f"sessions[sessions.auth_key_id == {auth_key_id}]",
        )


@_check("error", "message_boxes")
def _pts_gaps(snapshot: Snapshot) -> Iterator[Found]:
    """Numbers missing between a user's boxes: clients ask for the difference again and again."""
    boxes = snapshot.tables["message_boxes"][["user_id", "pts"]].drop_duplicates().sort_values(["user_id", "pts"])
    before = boxes.groupby("user_id")["pts"].shift()
    gaps = boxes.assign(first=before + 1)[(boxes["pts"] - before) > 1]
    for row in _each(gaps):
        first, last = int(row.first), row.pts - 1
        missing = f"pts {first}" if first == last else f"pts {first} to {last}"
        yield (
            f"user {row.user_id}, {missing}",
            "no box has it",
            f"message_boxes[message_boxes.user_id == {row.user_id}]",
        )


@_check("error", "message_boxes")
def _pts_duplicates(snapshot: Snapshot) -> Iterator[Found]:
    """One pts in several boxes of a user: a client takes the second for one that it has."""
    for (user_id, pts), count in _repeated(snapshot.tables["message_boxes"], ["user_id", "pts"]):
        yield (
            f"user {user_id}, pts {pts}",
            f"{count} boxes have it",
            f"message_boxes.query('user_id == {user_id} and pts == {pts}')",
        )


@_check("error")
def _sequences_behind(snapshot: Snapshot) -> Iterator[Found]:
    """Redis short of the row: a deployed server would hand out numbers twice."""
    yield from _sequences(snapshot, "behind", "was still short of the row after the row was read")


@_check("warning")
def _sequences_ahead(snapshot: Snapshot) -> Iterator[Found]:
    """Redis beyond the row: numbers were handed out that MySQL does not know of."""
    yield from _sequences(snapshot, "ahead", "was beyond the row before the row was read")


def _sequences(snapshot: Snapshot, state: str, what: str) -> Iterator[Found]:
    sequences = snapshot.sequences
    for row in _each(sequences[sequences["state"] == state]):
        number = row.redis_after if state == "behind" else row.redis_before
        yield f"sequence {row.name}", f"Redis {number} {what}, {row.row}", f"sequences[sequences.name == {row.name!r}]"


@_check("error", "user_dialogs", "message_boxes")
def _dialogs_disagree(snapshot: Snapshot) -> Iterator[Found]:
    """Dialogs whose newest message or unread count is not what their boxes say."""
    key = ["user_id", "peer_type", "peer_id"]
    boxes = snapshot.tables["message_boxes"].merge(
        snapshot.tables["user_dialogs"][[*key, "top_message", "unread_count", "read_inbox_max_id"]], on=key, how="right"
    )
    unread = (boxes["message_box_type"] == int(MessageBoxType.INCOMING)) & (
        boxes["message_id"] > boxes["read_inbox_max_id"]
    )
    boxes = boxes.assign(unread=unread.fillna(False))
    said = boxes.groupby(key, sort=True).agg(
        top_message=("top_message", "first"),
        unread_count=("unread_count", "first"),
        newest=("message_id", "max"),
        unread=("unread", "sum"),
    )
    for (user_id, peer_type, peer_id), row in _indexed(said):
        newest = 0 if pd.isna(row["newest"]) else int(row["newest"])
        wrong = []
        if row["top_message"] != newest:
            wrong.append(f"top_message is {row['top_message']}, the newest box is of message {newest}")
        if row["unread_count"] != row["unread"]:
            wrong.append(f"unread_count is {row['unread_count']}, {row['unread']} boxes are unread")
        if wrong:
            yield (
                f"user {user_id}, peer {peer_type} {peer_id}",
                "; ".join(wrong),
                f"message_boxes.query('user_id == {user_id} and peer_type == {peer_type} and peer_id == {peer_id}')",
            )


@_check("error", "message_boxes", "messages")
def _orphan_boxes(snapshot: Snapshot) -> Iterator[Found]:
    """Boxes whose message is not there."""
    boxes = snapshot.tables["message_boxes"]
    for row in _each(boxes[~boxes["message_id"].isin(snapshot.tables["messages"]["id"])]):
        yield (
            f"box {row.id} of user {row.user_id}",
            f"delivers message {row.message_id}, which is not in messages",
            f"message_boxes[message_boxes.id == {row.id}]",
        )


@_check("error", "chat_users", "chats", "users")
def _orphan_participants(snapshot: Snapshot) -> Iterator[Found]:
    """Participants of a chat, or users in one, that are not there."""
    participants = snapshot.tables["chat_users"]
    for column, table in (("chat_id", "chats"), ("user_id", "users")):
        for row in _each(participants[~participants[column].isin(snapshot.tables[table]["id"])]):
            yield (
                f"user {row.user_id} in chat {row.chat_id}",
                f"{column} {getattr(row, column)} is not in {table}",
                f"chat_users[chat_users.id == {row.id}]",
            )


@_check("error", "messages")
def _duplicate_random_ids(snapshot: Snapshot) -> Iterator[Found]:
    """One sender's random_id on several messages: a retry was stored as a message of its own."""
    for (sender, random_id), count in _repeated(snapshot.tables["messages"], ["sender_user_id", "random_id"]):
        yield (
            f"user {sender}, random_id {random_id}",
            f"{count} messages have it",
            f"messages.query('sender_user_id == {sender} and random_id == {random_id}')",
        )


@_check("info")
def _missing_indexes(snapshot: Snapshot) -> Iterator[Found]:
    """Indexes that imlib's own tables have and these lack: reads that would use them scan the table."""
    for index in snapshot.info.get("missing_indexes", []):
        yield f"index {index}", "is not there", f"SHOW INDEX FROM {index.partition('(')[0]}"
