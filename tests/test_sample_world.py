"""The sample world's generator: the files are what it makes, with exactly the faults
that it lists.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

from imlib import SessionStatus
from imlib.sample import NOW, PLANTED, kept_snapshot
from imlib.schema import tables
from imlib.snapshot import Snapshot
from tools.notebook import ROOT
from tools.sample_world import DATA, World, export, generate, snapshot

Tables = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def made() -> World:
    """Give the world, made."""
    return generate()


@pytest.fixture(scope="module")
def world(made: World) -> Tables:
    """Give its rows."""
    return dict(made.tables)


def planted(check: str) -> list[str]:
    """Return the subjects of one kind of fault."""
    return [fault.subject for fault in PLANTED if fault.check == check]


def test_it_is_always_the_same(made: World) -> None:
    """Two worlds made one after the other are equal, whatever the clock says."""
    assert made == generate()


def test_the_files_are_what_is_generated(tmp_path: Path) -> None:
    """data/sample is what is made now, to the byte; if this fails: python -m tools.sample_world."""
    export(tmp_path)
    expected = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert expected == {path.name: path.read_bytes() for path in DATA.iterdir()}
    assert {f"{name}.csv" for name in tables} | {"planted.csv", "redis.json"} == expected.keys()


def test_the_kept_snapshot_is_one_taken_now() -> None:
    """What `imlib audit --sample` reads is, frame by frame, a snapshot of the world."""
    kept, now = Snapshot.load(kept_snapshot()), snapshot()
    assert now.tables.keys() == kept.tables.keys()
    for name, frame in now._frames().items():
        assert_frame_equal(frame, kept._frames()[name])
    drifting = {"database_skew_s", "taken_at"}
    assert {name: fact for name, fact in now.info.items() if name not in drifting} == {
        name: fact for name, fact in kept.info.items() if name not in drifting
    }


def test_the_files_hold_their_ids_exactly(world: Tables) -> None:
    """What a program reads as text and turns into integers are the 64-bit ids, and NULL is not an
    empty text.
    """
    with (DATA / "auth_keys.csv").open(encoding="utf-8", newline="") as file:
        held = [int(row["auth_id"]) for row in csv.DictReader(file)]
    assert [row["auth_id"] for row in world["auth_keys"]] == held
    assert any(each < 0 for each in held)
    assert max(map(abs, held)) > 2**53
    with (DATA / "users.csv").open(encoding="utf-8", newline="") as file:
        assert [("\\N", ""), ("2017-11-26 03:08:53", "asked for it")] == [
            (row["deleted_at"], row["deleted_reason"])
            for row in csv.DictReader(file)
            if row["id"] in ("1", "12")
        ]


def test_every_column_is_documented() -> None:
    """data/README.md has a line for every file, and in it every column."""
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    documented = {
        name: set(re.findall(r"`(\w+)`", line))
        for name, line in re.findall(r"^\| (\w+)\.csv \| (.*)$", text, re.M)
    }
    common = {"id", "created_at", "updated_at", "deleted_at"}
    expected = {
        name: {column.name for column in table.c} - common for name, table in tables.items()
    }
    assert expected == {name: words & expected[name] for name, words in documented.items()}
    assert set() == {fault.check for fault in PLANTED} - set(re.findall(r"`(\w+)`", text))


@pytest.fixture(scope="module")
def pts(world: Tables) -> dict[int, list[int]]:
    """Give every user's pts, in order."""
    by_user: dict[int, list[int]] = {}
    for box in world["message_boxes"]:
        by_user.setdefault(box["user_id"], []).append(box["pts"])
    return {user_id: sorted(numbers) for user_id, numbers in by_user.items()}


class TestPlanted:
    """Each fault that is listed is there, and no other of its kind; told from the rows, without
    imlib's models.
    """

    def test_pts(self, world: Tables, pts: dict[int, list[int]]) -> None:
        """One number is missing, one is there twice, and every row stands at its user's
        last pts.
        """
        gaps = [
            (user, n) for user, held in pts.items() for n in range(1, held[-1]) if n not in held
        ]
        assert planted("pts_gap") == [f"user {user} pts {n}" for user, n in gaps]
        twice = [
            (user, n)
            for user, held in pts.items()
            for n, times in Counter(held).items()
            if times > 1
        ]
        assert planted("pts_duplicate") == [f"user {user} pts {n}" for user, n in twice]
        assert {str(user): held[-1] for user, held in pts.items()} == {
            row["seq_name"]: row["seq"] for row in world["seq_updates_ngen"]
        }

    def test_sequences(self, made: World, world: Tables) -> None:
        """Redis agrees with the rows but for one ahead, one behind and one that is no number."""
        held = {
            k.name.removeprefix("seq_updates_ngen_"): k.entries[0][1]
            for k in made.redis()
            if "seq" in k.name
        }
        assert b"12x" == held.pop("broken")
        off = {
            row["seq_name"]: int(held[row["seq_name"]]) - row["seq"]
            for row in world["seq_updates_ngen"]
        }
        assert {"1": 1, "7": -2} == {name: by for name, by in off.items() if by}
        assert (["1"], ["7"]) == (planted("sequence_ahead"), planted("sequence_behind"))

    def test_dialogs(self, world: Tables) -> None:
        """Newest message and unread count follow from the boxes, but for two dialogs; every
        conversation has one.
        """
        wrong = []
        conversations = {
            (box["user_id"], box["peer_type"], box["peer_id"]) for box in world["message_boxes"]
        }
        for dialog in world["user_dialogs"]:
            at = (dialog["user_id"], dialog["peer_type"], dialog["peer_id"])
            conversations.remove(at)
            boxes = [
                box
                for box in world["message_boxes"]
                if at == (box["user_id"], box["peer_type"], box["peer_id"])
            ]
            incoming = [box["message_id"] for box in boxes if box["message_box_type"] == 0]
            unread = sum(each > dialog["read_inbox_max_id"] for each in incoming)
            if (max(box["message_id"] for box in boxes), unread) != (
                dialog["top_message"],
                dialog["unread_count"],
            ):
                wrong.append(f"user {at[0]} peer {'user' if at[1] == 2 else 'chat'} {at[2]}")
        assert set() == conversations
        assert planted("dialog_disagrees") == sorted(wrong)

    def test_orphans(self, world: Tables) -> None:
        """One box without a message, one participant without a chat; all users exist, and counts of
        chats are true.
        """
        messages = {row["id"] for row in world["messages"]}
        orphans = [row for row in world["message_boxes"] if row["message_id"] not in messages]
        assert planted("orphan_box") == [
            f"user {row['user_id']} message {row['message_id']}" for row in orphans
        ]
        chats = {row["id"]: row["participant_count"] for row in world["chats"]}
        orphans = [row for row in world["chat_users"] if row["chat_id"] not in chats]
        assert planted("orphan_participant") == [
            f"user {row['user_id']} chat {row['chat_id']}" for row in orphans
        ]
        inside = Counter(row["chat_id"] for row in world["chat_users"] if row["state"] == 0)
        assert chats == {chat_id: inside[chat_id] for chat_id in chats}
        users = {row["id"] for row in world["users"]}
        assert users >= {
            row["user_id"]
            for table in ("message_boxes", "chat_users", "devices")
            for row in world[table]
        }

    def test_messages(self, world: Tables) -> None:
        """One random_id stands twice, one body is no JSON, and one message never got into its
        receiver's box.
        """
        marks = Counter((row["sender_user_id"], row["random_id"]) for row in world["messages"])
        ((sender, mark),) = [each for each, times in marks.items() if times > 1]
        ids = [str(row["id"]) for row in world["messages"] if row["random_id"] == mark]
        assert planted("duplicate_random_id") == [f"user {sender} messages {', '.join(ids)}"]
        no_json = [
            row["id"] for row in world["messages"] if not row["message_data"].startswith("{")
        ]
        assert planted("body_unreadable") == [f"message {each}" for each in no_json]
        boxes = {(row["user_id"], row["message_id"]) for row in world["message_boxes"]}
        to_users = [row for row in world["messages"] if row["peer_type"] == 2]
        unboxed = [row for row in to_users if (row["peer_id"], row["id"]) not in boxes]
        assert planted("box_missing") == [
            f"user {row['peer_id']} message {row['id']}" for row in unboxed
        ]

    def test_sessions(self, made: World, world: Tables) -> None:
        """Ghosts, sessions ahead of time and of nobody, keys that stay and mixed ones are those
        listed.
        """
        keys = {row["auth_id"] for row in world["auth_keys"]}
        users = {row["id"] for row in world["users"]}
        found: dict[str, list[str]] = {}
        for key in (each for each in made.redis() if each.name.startswith("online_")):
            layouts = set()
            servers: dict[bytes, set[int]] = {}
            for field, value in key.entries:
                try:
                    status = SessionStatus.from_key_value(
                        field, value, user_id=int(key.name.removeprefix("online_"))
                    )
                except ValueError:
                    where = key.name + (
                        " " + field.decode("ascii", "backslashreplace")
                        if key.name == "online_6"
                        else ""
                    )
                    found.setdefault("malformed", []).append(where)
                    continue
                layouts.add(b"@" in field)
                if status.now > NOW - 17:
                    servers.setdefault(field.replace(b"@", b"_"), set()).add(status.server_id)
                orphan = status.user_id not in users or status.auth_key_id not in keys
                kinds = {
                    "ghost": status.now <= NOW - 17,
                    "future_session": status.now > NOW,
                    "orphan_session": orphan,
                }
                for kind in (kind for kind, holds in kinds.items() if holds):
                    found.setdefault(kind, []).append(f"{key.name} {field.decode()}")
            if key.kind == "hash" and key.ttl_s is None:
                found.setdefault("key_without_ttl", []).append(key.name)
            if len(layouts) == 2:
                found["mixed_layouts"] = ["all servers"]
            if any(len(held_by) > 1 for held_by in servers.values()):
                found.setdefault("session_held_twice", []).append(key.name)
        found["malformed"].append("seq_updates_ngen_broken")
        assert {kind: sorted(planted(kind)) for kind in found} == {
            kind: sorted(where) for kind, where in found.items()
        }

    def test_secrets_say_that_they_are_fakes(self, world: Tables) -> None:
        """A leak test knows a secret when it sees one."""
        secret = r"FAKE|^RkFLRS|^666|^777"
        columns = {
            "auth_keys": ["body"],
            "auth_salts": ["salt"],
            "devices": ["token"],
            "reports": ["content"],
        }
        columns |= {"tmp_passwords": ["password_hash", "tmp_password"], "users": ["access_hash"]}
        columns |= {"chats": ["access_hash"], "user_privacys": ["password", "recovery_mail"]}
        columns |= {"auth_phone_transactions": ["transaction_hash", "code", "api_hash"]}
        values = [
            str(row[name])
            for table, names in columns.items()
            for row in world[table]
            for name in names
        ]
        assert [] == [value for value in values if not re.search(secret, value)]
