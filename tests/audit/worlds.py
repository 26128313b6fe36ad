"""For each kind of fault of tables and presence a world that has it, and one that just hasn't."""

from __future__ import annotations

from typing import Any

import pandas as pd

from imlib.snapshot import Snapshot
from tests.snapshot.frames import NOW, session, snapshot, table


def tables(**rows: tuple[str, list[tuple[Any, ...]]]) -> dict[str, pd.DataFrame]:
    """Return tables of int32 columns: of each its columns and rows."""
    return {name: table(columns, *some) for name, (columns, some) in rows.items()}


def fleet(
    *servers: int, users: int = 20, age: float = 3, lease: int = 15, **more: Any
) -> list[dict[str, Any]]:
    """Return sessions of servers with so many users each, who reported so many seconds ago, and a
    part of a second more, by their server's clock; their keys' lease began then.
    """
    rows = []
    for server_id in servers:
        for user in range(users):
            since = age + user * 0.04
            row = session(server_id * 1000 + user, age=since, server_id=server_id)
            rows.append(row | {"age_s": since, "key_ttl_s": lease - since} | more)
    return rows


def _spread(server_id: int, users: int = 100, lease: int = 15) -> list[dict[str, Any]]:
    """Return sessions whose reports are spread evenly over the lease, some just before now."""
    ages = [lease * user / users for user in range(users)]
    return [
        fleet(server_id, users=1, age=age, lease=lease)[0] | {"user_id": server_id * 1000 + user}
        for user, age in enumerate(ages)
    ]


def off(rows: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """Return the same sessions, written by a clock that is so many seconds behind."""
    return [row | {"age_s": row["age_s"] + seconds} for row in rows]


def without(rows: list[dict[str, Any]], ages: float, server_id: int) -> list[dict[str, Any]]:
    """Return the sessions of a server that died so long ago, held by a sibling on server 1."""
    dead = [row | {"server_id": server_id, "age_s": ages, "session_id": 2} for row in rows]
    return [*rows, *dead]


def logins(*rows: tuple[int, int, str]) -> dict[str, pd.DataFrame]:
    """Return auth_users of auth_id, user_id and country."""
    frame = pd.DataFrame(list(rows), columns=["auth_id", "user_id", "country"])
    return {"auth_users": frame.astype({"auth_id": "int64", "user_id": "int32", "country": "str"})}


def boxes(*rows: tuple[int, int, int]) -> tuple[str, list[tuple[Any, ...]]]:
    """Return message_boxes of user_id, message_id and pts: with user 9, who sent them."""
    columns = "user_id message_id pts peer_type peer_id sender_user_id date2"
    return columns, [(*one, 2, 9, 9, NOW) for one in rows]


def counters(at: int, *, before: int | None = None, row: int | None = None) -> Any:
    """Return what user 7's sequence is before the tables are read, in its row, and afterwards."""
    return ({"7": before or at}, {"7": at if row is None else row}, {"7": at})


def dialog(**columns: int) -> dict[str, pd.DataFrame]:
    """Return user 7's dialog with user 9 and a box of message 5."""
    usual = {"user_id": 7, "peer_type": 2, "peer_id": 9, "top_message": 5, "unread_count": 1}
    usual |= {"read_inbox_max_id": 0, "read_outbox_max_id": 0, "unread_mentions_count": 0}
    row = usual | columns
    return tables(
        user_dialogs=(" ".join(row), [tuple(row.values())]), message_boxes=boxes((7, 5, 1))
    )


def message(peer_type: int = 2, peer_id: int = 7, **more: int) -> tuple[str, list[tuple[Any, ...]]]:
    """Return message 5 of user 9, to user 7."""
    row = {"id": 5, "sender_user_id": 9, "peer_type": peer_type, "peer_id": peer_id, "date2": NOW}
    return " ".join(row), [tuple((row | more).values())]


_GROUP_BOX = "user_id sender_user_id peer_type peer_id message_box_type"


def group_box(sender: int, *, box_type: int = 1) -> dict[str, pd.DataFrame]:
    """Return user 8's and 9's boxes of a message to chat 1; senders' of type 0 are telegramd's."""
    boxes_of = [(user, sender, 3, 1, box_type if user == sender else 0) for user in (8, 9)]
    return {"message_boxes": table(_GROUP_BOX, *boxes_of)}


def chat(
    *participants: tuple[int, int, int], creator: int = 7, count: int = 2
) -> dict[str, pd.DataFrame]:
    """Return chat 1 and its participants: user_id, state, joined_at; and user 7's message to it,
    in a box as imlib writes it.
    """
    return tables(
        chats=("id creator_user_id participant_count", [(1, creator, count)]),
        chat_users=("chat_id user_id state joined_at", [(1, *one) for one in participants]),
        users=("id", [(7,), (8,), (9,)]),
        message_boxes=(_GROUP_BOX, [(7, 7, 3, 1, 1)]),
    )


def devices(*rows: tuple[int, int, int, str, int]) -> dict[str, pd.DataFrame]:
    """Return devices of auth_id, user_id, token_type, token and state, and the login of key 1."""
    columns = ["id", "auth_id", "user_id", "token_type", "token", "state"]
    frame = pd.DataFrame([(at, *one) for at, one in enumerate(rows, 1)], columns=columns)
    known = {name: pd.DataFrame({"auth_id": [1]}) for name in ("auth_users", "auth_keys", "auths")}
    return {"devices": frame.astype({"token": "str"})} | known


def names(*usernames: str, **said: Any) -> Snapshot:
    """Return users 1, 2 … who are called so."""
    frame = pd.DataFrame({"id": range(1, len(usernames) + 1), "username": list(usernames)})
    frame["phone"] = "masked:0"
    return snapshot(tables={"users": frame.astype({"username": "str"})}, said={"users": said})


_USERS = tables(users=("id deleted", [(7, 1), (8, 0)]))
_LONG: Any = {"online_timeout": 60, "check_online_timeout": 70}
_JOINED = [(7, 0, NOW - 1), (9, 0, NOW - 9)]
_PEOPLE = {"users": table("id", (7,), (9,))}

# check, a world with the fault, its subjects, a world without
PRESENCE_CASES: list[tuple[str, Snapshot, list[str], Snapshot]] = [
    (
        "server_clock",
        snapshot([*fleet(1, 2), *off(fleet(3), 3)]),
        ["server 3"],
        snapshot([*fleet(1, 2), *off(fleet(3), 2)]),
    ),
    (
        "server_clock",
        snapshot([*fleet(1), *off(fleet(3), -30), *off(fleet(4), 8)]),
        ["server 3", "server 4"],
        snapshot([*fleet(1), *off(fleet(3), -2)]),
    ),
    (
        "server_clock",
        snapshot(off(fleet(1, 2, 3), 5)),
        ["Redis"],
        snapshot(fleet(1, 2, 3, lease=60)),
    ),
    (
        "server_clock",
        snapshot([*fleet(1, lease=60), *off(fleet(2, lease=60), 30), *fleet(3, lease=15)]),
        ["server 2"],
        snapshot([*fleet(1, lease=60), *fleet(2), *fleet(3, age=40, lease=60)]),
    ),
    (
        # A drain: most have just said goodbye, as a deployed server writes it.
        "server_clock",
        snapshot([*off(fleet(1), 30), *off(fleet(1, users=300, layout="deployed"), 47)]),
        ["server 1"],
        snapshot([*fleet(1), *off(fleet(1, users=25, layout="deployed"), 17)]),
    ),
    (
        # A drain some seconds ago, and its server's sessions alone.
        "server_clock",
        snapshot([*fleet(1), *off(fleet(2, age=8, layout="deployed"), 25)]),
        ["server 2"],
        snapshot([*fleet(1), *off(fleet(2, 3, age=8, layout="deployed"), 17)]),
    ),
    (
        # Leases of two lengths, the longer on few servers.
        "server_clock",
        snapshot([*_spread(1), *_spread(2), *off(_spread(3, lease=60), 30)]),
        ["server 3"],
        snapshot(fleet(1, 2, users=90, age=8, lease=60)),
    ),
    (
        "lease_length",
        snapshot([*_spread(1), *_spread(2), *_spread(4), *_spread(3, lease=60)]),
        ["lease of 60 s"],
        snapshot([*fleet(1, 2, age=4, users=60), *off(fleet(3, age=4, users=60), 30)]),
    ),
    (
        "key_outlives_lease",
        snapshot([*_spread(1), session(1000, server_id=3, key_ttl_s=99.0)]),
        ["online_1000"],
        snapshot([*_spread(1), *_spread(2), *_spread(3, lease=60)]),
    ),
    (
        "server_silent",
        snapshot(without(fleet(1), 90, 2)),
        ["server 2"],
        snapshot(without(fleet(1), 16, 2)),
    ),
    (
        "server_silent",
        snapshot(without(fleet(1), 150, 2)),
        ["server 2"],
        snapshot(without(fleet(1), 151, 2)),
    ),
    (
        "server_silent",
        snapshot(without(fleet(1), 17, 2)),
        ["server 2"],
        snapshot([*without(fleet(1, users=19), 90, 2), *fleet(3)]),
    ),
    (
        "now_in_milliseconds",
        snapshot([session(age=1), session(8, server_id=4, now=NOW * 1000, age=-1.5e12)]),
        ["server 4"],
        snapshot([session(age=-3600)]),
    ),
    (
        "lease_length",
        snapshot(fleet(1, 2, age=5, lease=60)),
        ["lease of 60 s"],
        snapshot(fleet(1, 2, age=5, lease=60), **_LONG),
    ),
    (
        "lease_length",
        snapshot([session(user, key_ttl_s=20.0 + 5 * user) for user in range(1, 9)]),
        ["lease of 60 s"],
        snapshot([session(user, key_ttl_s=15.0) for user in range(1, 9)]),
    ),
    (
        "ghost",
        snapshot(
            [*off(fleet(3, users=21), 30), session(3001, session_id=9, age=60, key_ttl_s=12.0)]
        ),
        ["online_3001 -42_9"],
        snapshot(off(fleet(3), 30)),
    ),
    (
        "future_session",
        snapshot([*fleet(3), session(age=-60)]),
        ["online_7 -42_1"],
        snapshot(off(fleet(3), -60)),
    ),
    (
        "session_held_twice",
        snapshot([session()], on_two_servers=[7]),
        ["online_7"],
        snapshot([session()], on_two_servers=[], in_both_layouts=[7]),
    ),
    (
        "deleted_user_online",
        snapshot([session(7), session(8)], _USERS),
        ["user 7"],
        snapshot([session(7, age=17), session(8)], _USERS),
    ),
    (
        "auth_key_of_another",
        snapshot([session()], logins((-42, 8, ""))),
        ["online_7 -42_1"],
        snapshot([session()], logins((-42, 7, ""), (-43, 8, ""))),
    ),
    (
        "auth_key_of_another",
        snapshot([session(layout="deployed_2018")], logins((-42, 8, ""))),
        ["online_7 -42"],
        snapshot([session(), session(8, age=17)], logins((-42, 7, ""))),
    ),
    (
        "lone_server",
        snapshot([*fleet(1), session(server_id=9)]),
        ["server 9"],
        snapshot([*fleet(1), session(server_id=9), session(8, server_id=9)]),
    ),
    (
        "many_sessions",
        snapshot([session(session_id=number) for number in range(100)]),
        ["user 7"],
        snapshot([session(session_id=number) for number in range(99)]),
    ),
    (
        "two_countries",
        snapshot([session(), session(7, -43)], logins((-42, 7, "DE"), (-43, 7, "FR"))),
        ["user 7"],
        snapshot([session(), session(7, -43, age=17)], logins((-42, 7, "DE"), (-43, 7, "FR"))),
    ),
    (
        "key_outlives_lease",
        snapshot([*fleet(1), session(key_ttl_s=16.0)]),
        ["online_7"],
        snapshot([*fleet(1), *fleet(2, lease=60), session(key_ttl_s=59.0)]),
    ),
]
TABLE_CASES: list[tuple[str, Snapshot, list[str], Snapshot]] = [
    (
        "pts_starts_late",
        snapshot(tables=tables(message_boxes=boxes((7, 5, 2), (8, 5, 1)))),
        ["user 7"],
        snapshot(tables=tables(message_boxes=boxes((7, 5, 1), (7, 6, 2)))),
    ),
    (
        "pts_lost_at_end",
        snapshot(tables=tables(message_boxes=boxes((7, 5, 1))), sequences=counters(2)),
        ["user 7"],
        snapshot(tables=tables(message_boxes=boxes((7, 5, 1))), sequences=counters(2, before=1)),
    ),
    (
        "sequence_behind_boxes",
        snapshot(tables=tables(message_boxes=boxes((7, 5, 3))), sequences=counters(2)),
        ["user 7"],
        snapshot(tables=tables(message_boxes=boxes((7, 5, 2))), sequences=counters(2)),
    ),
    (
        "sequence_absent",
        snapshot(tables=tables(message_boxes=boxes((7, 5, 1), (8, 5, 1))), sequences=counters(1)),
        ["user 8"],
        snapshot(tables=tables(message_boxes=boxes((7, 5, 1))), sequences=counters(1)),
    ),
    (
        "sequence_lost",
        snapshot(sequences=({"8": 1}, {"7": 5, "8": 1}, {"8": 1})),
        ["7"],
        snapshot(sequences=({}, {"8": 1}, {"8": 1})),
    ),
    (
        "client_ahead",
        snapshot(
            tables=tables(
                message_boxes=boxes((7, 5, 3)),
                client_updates_state=("user_id auth_key_id pts", [(7, 1, 4), (8, 2, 2)]),
            ),
            sequences=counters(3),
        ),
        ["user 7 auth key 1", "user 8 auth key 2"],
        snapshot(
            tables=tables(
                message_boxes=boxes((7, 5, 3)),
                client_updates_state=("user_id auth_key_id pts", [(7, 1, 3), (8, 2, 1)]),
            ),
            sequences=counters(3),
        ),
    ),
    (
        "dialog_missing",
        snapshot(tables=dialog(peer_id=8)),
        ["user 7 peer user 9"],
        snapshot(tables=dialog()),
    ),
    (
        "read_beyond_newest",
        snapshot(tables=dialog(read_inbox_max_id=6)),
        ["user 7 peer user 9"],
        snapshot(tables=dialog(read_inbox_max_id=5, top_message=4)),
    ),
    (
        "mentions_without_unread",
        snapshot(tables=dialog(unread_mentions_count=2)),
        ["user 7 peer user 9"],
        snapshot(tables=dialog(unread_mentions_count=1)),
    ),
    (
        "message_without_boxes",
        snapshot(tables=tables(messages=message(), message_boxes=boxes())),
        ["message 5"],
        snapshot(tables=tables(messages=message(), message_boxes=boxes((7, 5, 1)))),
    ),
    (
        "box_missing",
        snapshot(
            tables=chat() | tables(messages=message(), message_boxes=boxes((9, 5, 1))),
        ),
        ["user 7 message 5"],
        snapshot(
            tables=chat() | tables(messages=message(), message_boxes=boxes((9, 5, 1), (7, 5, 1))),
        ),
    ),
    (
        "box_missing",
        snapshot(
            tables=chat(*_JOINED) | tables(messages=message(3, 1), message_boxes=boxes((9, 5, 1))),
        ),
        ["user 7 message 5"],
        snapshot(
            tables=chat((7, 0, NOW), (8, 1, 0), (9, 0, 0))
            | tables(messages=message(3, 1), message_boxes=boxes((9, 5, 1))),
        ),
    ),
    (
        "box_missing",  # of the sender; another user's message that is in no box is another fault
        snapshot(
            tables=chat() | tables(messages=message(), message_boxes=boxes((7, 5, 1))),
        ),
        ["user 9 message 5"],
        snapshot(tables=chat() | tables(messages=message(), message_boxes=boxes((7, 6, 1)))),
    ),
    (
        "message_of_nobody",
        snapshot(tables=tables(messages=message(sender_user_id=10)) | _PEOPLE),
        ["message 5"],
        snapshot(tables=tables(messages=message()) | _PEOPLE),
    ),
    (
        "box_of_nobody",
        snapshot(tables=tables(message_boxes=boxes((8, 5, 1), (8, 6, 2), (7, 5, 1))) | _PEOPLE),
        ["user 8"],
        snapshot(tables=tables(message_boxes=boxes((7, 5, 1))) | _PEOPLE),
    ),
    (
        "box_of_outsider",
        snapshot(tables=chat((9, 0, 0)) | group_box(9)),
        ["user 8 chat 1"],
        snapshot(tables=chat((9, 0, 0), (8, 1, 0)) | group_box(9)),
    ),
    (
        # Where those who leave are removed, as telegramd does, nobody can tell.
        "box_of_outsider",
        snapshot(tables=chat((9, 0, 0), (7, 1, 0)) | group_box(9, box_type=0)),
        ["user 8 chat 1"],
        snapshot(tables=chat((9, 0, 0)) | group_box(9, box_type=0)),
    ),
    (
        "box_of_another_sender",
        snapshot(tables=tables(messages=message(sender_user_id=8), message_boxes=boxes((7, 5, 1)))),
        ["user 7 message 5"],
        snapshot(tables=tables(messages=message(), message_boxes=boxes((7, 5, 1)))),
    ),
    (
        "future_date",
        snapshot(
            tables=tables(messages=message(date2=NOW + 61), message_boxes=boxes((7, 5, 1))),
            taken_at=NOW,
        ),
        ["message 5"],
        snapshot(
            tables=tables(messages=message(date2=NOW + 60), message_boxes=boxes((7, 5, 1))),
            taken_at=NOW,
        ),
    ),
    (
        "future_date",
        snapshot(
            tables=tables(messages=message(date2=NOW - 61), message_boxes=boxes((7, 5, 1))),
            taken_at=NOW - 61,
        ),
        ["user 7 message 5"],
        snapshot(
            tables=tables(messages=message(), message_boxes=boxes((7, 5, 1))), taken_at=NOW - 60
        ),
    ),
    (
        "participant_twice",
        snapshot(tables=chat((7, 0, 0), (7, 0, 1), (8, 0, 0))),
        ["user 7 chat 1"],
        snapshot(tables=chat((7, 0, 0), (7, 1, 1), (8, 0, 0))),
    ),
    (
        "participant_count",
        snapshot(tables=chat((7, 0, 0), (8, 1, 0))),
        ["chat 1"],
        snapshot(tables=chat((7, 0, 0), (7, 0, 0), (8, 0, 0))),
    ),
    (
        "creator_not_in_chat",
        snapshot(tables=chat((7, 0, 0), creator=9)),
        ["chat 1"],
        snapshot(tables=chat((7, 0, 0), (9, 1, 0), creator=9)),
    ),
    (
        "creator_not_in_chat",
        snapshot(tables=chat((7, 0, 0), (9, 1, 0), creator=8) | group_box(9, box_type=0)),
        ["chat 1"],
        snapshot(tables=chat((7, 0, 0), creator=8) | group_box(9, box_type=0)),
    ),
    (
        "orphan_contact",
        snapshot(
            tables=tables(user_contacts=("owner_user_id contact_user_id", [(7, 8), (8, 7), (7, 9)]))
            | _PEOPLE
        ),
        ["user 7 contact 8", "user 8 contact 7"],
        snapshot(
            tables=tables(user_contacts=("owner_user_id contact_user_id", [(7, 9)])) | _PEOPLE
        ),
    ),
    ("username_twice", names("Ann", "bob", "ann"), ["users 1, 3"], names("Ann", "", "")),
    ("phone_twice", names("a", "b", phone_twins=[[1, 2]]), ["users 1, 2"], names(phone_twins=[])),
    (
        "orphan_auth",
        snapshot(tables=logins((1, 8, ""), (2, 7, "")) | _PEOPLE),
        ["user 8 auth key 1"],
        snapshot(tables=logins((1, 0, ""), (2, 7, "")) | _PEOPLE),
    ),
    (
        "device_without_auth",
        snapshot(tables=devices((1, 7, 2, "a", 0), (2, 7, 2, "b", 1))),
        ["user 7 device 2"],
        snapshot(tables=devices((1, 7, 2, "a", 0), (2, 7, 2, "b", 2))),
    ),
    (
        "token_of_two",
        snapshot(tables=devices((1, 7, 2, "a", 0), (1, 8, 2, "a", 1))),
        ["users 7, 8"],
        # A deployed server unregisters by writing the token type as the state.
        snapshot(tables=devices((1, 7, 1, "a", 0), (1, 8, 1, "a", 1), (1, 8, 2, "a", 0))),
    ),
    (
        "body_damaged",
        snapshot(
            tables={"messages": table("id message_data", (5, 0))},
            said={
                "messages": {"unreadable": [], "damaged_by_column": 9, "damaged_samples": [5, 6]}
            },
        ),
        ["messages"],
        snapshot(
            tables={"messages": table("id message_data", (5, 0))},
            said={"messages": {"unreadable": [], "damaged_by_column": 0, "damaged_samples": []}},
        ),
    ),
]


def dialogs(kinds: list[tuple[int, int]]) -> Snapshot:
    """Return dialogs of user 1, 2 … with another user and two boxes, of which one is unread: for
    each kind of unread_count how many.
    """
    rows = [unread for unread, count in kinds for _ in range(count)]
    some = pd.DataFrame({"user_id": range(1, len(rows) + 1), "unread_count": rows})
    some = some.assign(peer_type=2, peer_id=10**8, top_message=6, read_inbox_max_id=0)
    first = some[["user_id", "peer_type", "peer_id"]]
    held = [first.assign(message_id=5, sender_user_id=10**8)]
    held.append(first.assign(message_id=6, sender_user_id=first["user_id"]))
    return snapshot(tables={"user_dialogs": some, "message_boxes": pd.concat(held)})


TABLE_CASES.append(
    (
        "dialog_counting",
        dialogs([(2, 95), (1, 5)]),
        ["all dialogs"],
        dialogs([(1, 95), (2, 5)]),
    )
)
