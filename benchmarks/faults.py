"""One plant for each kind of fault: it breaks a `World` for users of its own, and notes what of it
should be found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pandas as pd

from benchmarks.faulty_world import NOW, World
from imlib.presence import Malformed

Plant = Callable[[World, int], None]
EARLY: Final[list[Plant]] = []
"""Those of boxes and messages: dialogs and counters are derived from what they leave."""
LATE: Final[list[Plant]] = []
"""Those of what is derived, and of all else."""


def _early(plant: Plant) -> Plant:
    EARLY.append(plant)
    return plant


def _late(plant: Plant) -> Plant:
    LATE.append(plant)
    return plant


def _add(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    rows = pd.DataFrame(columns)
    return pd.concat([frame, rows], ignore_index=True)


def _last_box(world: World, users: Any) -> pd.DataFrame:
    boxes = world.boxes
    return boxes[boxes["user_id"].isin(users)].groupby("user_id", as_index=False).last()


@_early
def box_missing(world: World, n: int) -> None:
    """Drop the newest box of a receiver."""
    last = _last_box(world, world.take(n))
    gone = world.boxes.merge(last[["user_id", "message_id"]], how="left", indicator=True)
    world.boxes = world.boxes[(gone["_merge"] == "left_only").to_numpy()]
    for row in last.itertuples():
        world.plant("box_missing", f"user {row.user_id} message {row.message_id}")


@_early
def orphan_box(world: World, n: int) -> None:
    """Drop a message; both have a box of it."""
    last = _last_box(world, world.take(n))
    messages = world.tables["messages"]
    world.tables["messages"] = messages[~messages["id"].isin(last["message_id"])]
    lost = world.boxes[world.boxes["message_id"].isin(last["message_id"])]
    for row in lost.itertuples():
        world.plant("orphan_box", f"user {row.user_id} message {row.message_id}")


@_early
def message_of_nobody(world: World, n: int) -> None:
    """Change the sender of a message and of its boxes."""
    # Of received ones: a box of the sender's own would count as unread then.
    last = _last_box(world, world.take(n))["message_id"]
    messages, nobody = world.tables["messages"], world.count + 777
    messages.loc[messages["id"].isin(last), "sender_user_id"] = nobody
    world.boxes.loc[world.boxes["message_id"].isin(last), "sender_user_id"] = nobody
    world.plant("message_of_nobody", *(f"message {one}" for one in last))


@_early
def message_without_boxes(world: World, n: int) -> None:
    """Add messages that nobody has."""
    first = 10_000_000
    ids = range(first, first + n)
    users = world.take(n)
    world.tables["messages"] = _add(
        world.tables["messages"],
        id=ids,
        sender_user_id=users,
        peer_id=users - 1,
        peer_type=2,
        message_type=1,
        date2=NOW - 9,
        random_id=ids,
    )
    world.plant("message_without_boxes", *(f"message {one}" for one in ids))


@_early
def box_of_nobody(world: World, n: int) -> None:
    """Add boxes of users who don't exist."""
    nobody = world.count + 1_000 + pd.Series(range(n))
    last = _last_box(world, world.take(n))
    world.boxes = pd.concat([world.boxes, last.assign(user_id=nobody)], ignore_index=True)
    world.plant("box_of_nobody", *(f"user {one}" for one in nobody))


@_early
def box_of_outsider(world: World, n: int) -> None:
    """Add a box of a chat's message for a user who isn't in it."""
    some = world.boxes[world.boxes["peer_type"] == 3].drop_duplicates("peer_id").head(n)
    world.boxes = pd.concat([world.boxes, some.assign(user_id=world.take(n))], ignore_index=True)
    # Those who leave are kept in this world, as one of them shows.
    world.people = _add(
        world.people, chat_id=[1], user_id=[int(world.take(1)[0])], state=[1], joined_at=[0]
    )
    for user_id, chat_id in zip(world.boxes["user_id"].tail(n), some["peer_id"], strict=True):
        world.plant("box_of_outsider", f"user {user_id} chat {chat_id}")


@_early
def pts_gap(world: World, n: int) -> None:
    """Number the boxes; leave one number out."""
    boxes = world.boxes.sort_values(["user_id", "message_id"])
    boxes["pts"] = boxes.groupby("user_id").cumcount() + 1
    users = world.take(n)
    boxes.loc[boxes["user_id"].isin(users) & (boxes["pts"] > 2), "pts"] += 1
    world.plant("pts_gap", *(f"user {one} pts 3" for one in users))
    users = world.take(n)
    boxes.loc[boxes["user_id"].isin(users) & (boxes["pts"] == 4), "pts"] = 3
    world.plant("pts_duplicate", *(f"user {one} pts 3" for one in users))
    users = world.take(n)
    boxes.loc[boxes["user_id"].isin(users), "pts"] += 5
    world.plant("pts_starts_late", *(f"user {one}" for one in users))
    world.boxes = boxes


@_late
def counters(world: World, n: int) -> None:
    """Set counters before, in and after the table."""
    before, rows, after = world.counters
    shifts = {
        "pts_lost_at_end": (1, 1, 1),
        "sequence_behind": (-1, 0, -1),
        "sequence_ahead": (1, 0, 1),
        "sequence_lost": (None, 0, None),
        "sequence_behind_boxes": (-1, -1, -1),
        "sequence_absent": (None, None, None),
    }
    for check, changes in shifts.items():
        for user in map(str, world.take(n)):
            for kept, change in zip((before, rows, after), changes, strict=True):
                if change is None:
                    kept.pop(user)
                else:
                    kept[user] += change
            world.plant(
                check, user if check[:-1].endswith(("behin", "ahea", "los")) else f"user {user}"
            )


@_late
def dialogs(world: World, n: int) -> None:
    """Change dialogs."""
    frame = world.tables["user_dialogs"]
    changes = {
        "dialog_disagrees": ("unread_count", 7),
        "read_beyond_newest": ("read_outbox_max_id", 20_000_000),
        "mentions_without_unread": ("unread_mentions_count", 9),
    }
    for check, (column, value) in changes.items():
        chosen = frame["user_id"].isin(world.take(n))
        frame.loc[chosen, column] += value
        for row in frame[chosen].itertuples():
            world.plant(check, f"user {row.user_id} peer user {row.peer_id}")
    chosen = frame["user_id"].isin(world.take(n))
    for row in frame[chosen].itertuples():
        world.plant("dialog_missing", f"user {row.user_id} peer user {row.peer_id}")
    frame = frame[~chosen]
    chosen = frame["user_id"].isin(world.take(n))
    frame.loc[chosen, "top_message"] -= 1
    for row in frame[chosen].itertuples():
        world.plant("dialog_disagrees", f"user {row.user_id} peer user {row.peer_id}")
    world.tables["user_dialogs"] = frame


@_late
def messages(world: World, n: int) -> None:
    """Change messages and boxes in what nothing is derived from."""
    frame = world.tables["messages"]
    last = _last_box(world, world.take(n))
    frame.loc[frame["id"].isin(last["message_id"]), "date2"] = NOW + 4_000
    world.plant("future_date", *(f"message {one}" for one in last["message_id"]))
    last = _last_box(world, world.take(n))
    came = world.boxes["message_id"].isin(last["message_id"])
    came &= world.boxes["sender_user_id"] != world.boxes["user_id"]
    world.boxes.loc[came, "sender_user_id"] = world.take(1)[0]
    for row in world.boxes[came].itertuples():
        world.plant("box_of_another_sender", f"user {row.user_id} message {row.message_id}")
    own = frame[frame["sender_user_id"].isin(world.take(n))].groupby("sender_user_id")
    for sender, rows in own:
        frame.loc[rows.index, "random_id"] = 5
        ids = ", ".join(map(str, sorted(rows["id"])))
        world.plant("duplicate_random_id", f"user {sender} messages {ids}")
    unreadable = _last_box(world, world.take(n))["message_id"].tolist()
    world.said["messages"] = {"unreadable": unreadable, "damaged_samples": [1, 3, 5]}
    world.said["messages"]["damaged_by_column"] = 3
    world.plant("body_unreadable", *(f"message {one}" for one in unreadable))
    world.plant("body_damaged", "messages")


@_late
def chats(world: World, n: int) -> None:
    """Change chats and their participants."""
    chats, people = world.tables["chats"], world.people
    ids = iter(chats["id"].tolist()[10:])
    for _ in range(n):
        first, second, third, fourth = (next(ids) for _ in range(4))
        chats.loc[chats["id"] == first, "participant_count"] = 9
        world.plant("participant_count", f"chat {first}")
        twice = people[people["chat_id"] == second].head(1)
        people = pd.concat([people, twice], ignore_index=True)
        world.plant("participant_twice", f"user {twice['user_id'].iloc[0]} chat {second}")
        stranger = int(world.take(1)[0])
        chats.loc[chats["id"] == third, "creator_user_id"] = stranger
        world.plant("creator_not_in_chat", f"chat {third}")
        nobody = world.count + 50_000
        joined = {"chat_id": [fourth], "user_id": [nobody], "state": [0], "joined_at": [NOW]}
        people = _add(people, **joined)
        chats.loc[chats["id"] == fourth, "participant_count"] += 1
        world.plant("orphan_participant", f"user {nobody} chat {fourth}")
    world.people = people


@_late
def people(world: World, n: int) -> None:
    """Change users, contacts, logins and devices."""
    tables, nobody = world.tables, world.count + 60_000
    for user in map(int, world.take(n)):
        tables["user_contacts"].loc[user - 1, "contact_user_id"] = nobody
        world.plant("orphan_contact", f"user {user} contact {nobody}")
    for one, other in zip(*map(sorted, (world.take(n), world.take(n))), strict=True):
        tables["users"].loc[other - 1, "username"] = f"USER_{one}"
        world.plant("username_twice", f"users {one}, {other}")
    twins = [[int(one), int(one) + 1] for one in world.take(n)]
    world.said["users"] = {"phone_twins": twins}
    world.plant("phone_twice", *(f"users {one}, {other}" for one, other in twins))
    devices = tables["devices"]
    for user in map(int, world.take(n)):
        devices.loc[user - 1, "auth_id"] = -user
        world.plant("device_without_auth", f"user {user} device {user}")
    tokens = devices["token"].tolist()
    for user in map(int, world.take(n)):
        tokens[user] = tokens[user - 1]
        world.plant("token_of_two", f"users {user}, {user + 1}")
    devices["token"] = tokens
    logins = tables["auth_users"]
    keys = [-(10**9) - at for at in range(n)]
    tables["auth_users"] = _add(logins, auth_id=keys, user_id=nobody, country="")
    world.plant("orphan_auth", *(f"user {nobody} auth key {key}" for key in keys))
    state = tables["client_updates_state"]
    chosen = state["user_id"].isin(world.take(n))
    state.loc[chosen, "pts"] += 100
    for row in state[chosen].itertuples():
        world.plant("client_ahead", f"user {row.user_id} auth key {row.auth_key_id}")
    world.info["missing_indexes"] = [*world.info["missing_indexes"], "users(phone) unique"]
    world.plant("missing_index", *world.info["missing_indexes"])


@_late
def sessions(world: World, n: int) -> None:
    """Change single sessions."""
    frame = world.sessions
    dead = frame[_of(frame, world.take(n))].assign(session_id=9, since_s=300.0)
    _entries(world, "ghost", dead)
    ahead = _of(frame, world.take(n))
    frame.loc[ahead, "ahead_s"] = 90.0
    _entries(world, "future_session", frame[ahead])
    names = [f"online_x{at}" for at in range(n)]
    world.malformed = [Malformed(one.encode(), None, None, "it names no user") for one in names]
    world.plant("malformed", *names)
    many = _of(frame, world.take(1))
    hundreds = [frame[many].assign(session_id=number) for number in range(100, 400)]
    world.plant("many_sessions", f"user {frame[many]['user_id'].iloc[0]}")
    lone = _of(frame, world.take(1))
    frame.loc[lone, "server_id"] = 4_321
    world.plant("lone_server", "server 4321")
    twice = world.take(n)
    world.info |= {"on_two_servers": [int(one) for one in twice]}
    world.plant("session_held_twice", *(f"online_{one}" for one in twice))
    other = frame[_of(frame, world.take(n))].assign(session_id=4)
    other["layout"] = "documented" if world.deployed else "deployed"
    world.plant("mixed_layouts", "all servers")
    world.sessions = pd.concat([frame, dead, *hundreds, other], ignore_index=True)


def _of(sessions: pd.DataFrame, users: Any) -> pd.Series[bool]:
    return sessions["user_id"].isin(users)


def _entries(world: World, check: str, rows: pd.DataFrame) -> None:
    mark = "@" if world.deployed else "_"
    for one in rows.itertuples():
        world.plant(check, f"online_{one.user_id} {one.auth_key_id}{mark}{one.session_id}")


@_late
def keys_and_logins(world: World, n: int) -> None:
    """Change keys, and whom a session is of."""
    frame, tables = world.sessions, world.tables
    stays = world.take(n)
    frame.loc[_of(frame, stays), "key_ttl_s"] = float("nan")
    world.plant("key_without_ttl", *(f"online_{one}" for one in stays))
    longer = world.take(n)
    frame.loc[_of(frame, longer), "key_ttl_s"] = 3_600.0
    world.plant("key_outlives_lease", *(f"online_{one}" for one in longer))
    strange = _of(frame, world.take(n))
    frame.loc[strange, "auth_key_id"] = -5
    _entries(world, "orphan_session", frame[strange])
    gone = world.take(n)
    tables["users"].loc[gone - 1, "deleted"] = 1
    world.plant("deleted_user_online", *(f"user {one}" for one in gone))
    theirs = world.take(n)
    tables["auth_users"].loc[theirs - 1, "user_id"] = world.take(1)[0]
    _entries(world, "auth_key_of_another", frame[_of(frame, theirs)])
    there = frame[_of(frame, world.take(n))]
    extra = there.assign(session_id=3, auth_key_id=there["user_id"] * 7919 + 1)
    for name in ("auth_keys", "auth_users"):
        keys = {"auth_id": extra["auth_key_id"], "user_id": extra["user_id"], "country": "FR"}
        columns = {one: keys[one] for one in tables[name].columns if one in keys}
        tables[name] = _add(tables[name], **columns)
    world.plant("two_countries", *(f"user {one}" for one in there["user_id"]))
    world.sessions = pd.concat([frame, extra], ignore_index=True)


@_late
def servers(world: World, n: int) -> None:
    """Give one server a clock that is behind, one a clock that is ahead; one dies, one writes
    milliseconds.
    """
    frame = world.sessions
    frame.loc[frame["server_id"] == 2, "ahead_s"] -= 30
    frame.loc[frame["server_id"] == 5, "ahead_s"] += 12
    world.plant("server_clock", "server 2", "server 5")
    # Whoever has a session elsewhere is still there.
    some = frame[(frame["server_id"] == 3) & (frame["session_id"] == 2)].head(40 * n)
    dead = some.assign(server_id=77, session_id=8)
    dead["since_s"] = 60.0 + dead["user_id"] % 20
    world.plant("server_silent", "server 77")
    mark = "@" if world.deployed else "_"
    for one in dead.itertuples():
        world.plant("ghost", f"online_{one.user_id} {one.auth_key_id}{mark}8")
    wrong = some.head(30).assign(server_id=78, session_id=7)
    wrong["ahead_s"] = NOW * 999.0
    world.plant("now_in_milliseconds", "server 78")
    world.sessions = pd.concat([frame, dead, wrong], ignore_index=True)
