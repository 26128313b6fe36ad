"""A world of any size with faults planted in it, each of one kind and nothing else's symptom.

Users 2k + 1 and 2k + 2 wrote to each other; the last of them are in chats of five as well. Each
fault has users of its own. What is planted is listed with the check that should find it.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd

from imlib.presence import Malformed
from imlib.snapshot import Snapshot
from imlib.snapshot.info import SnapshotInfo
from imlib.snapshot.sequences import compare_sequences
from imlib.snapshot.sessions import malformed_frame

NOW = 1_512_270_533
SERVERS = 8
_PAIR = 4
_CHAT = 5
_KEY = ["user_id", "peer_type", "peer_id"]


class World:
    """A sound world, on imlib's counting of dialogs or on the deployed one; `plant` breaks it."""

    def __init__(self, users: int, *, deployed: bool = False, lease: int = 15) -> None:
        self.count, self.deployed, self.lease = users, deployed, lease
        self.random = np.random.default_rng(7)
        self.planted: list[tuple[str, str]] = []
        self._next = 0
        self.tables: dict[str, pd.DataFrame] = {}
        self.malformed: list[Malformed] = []
        self.info: dict[str, Any] = {"on_two_servers": []}
        self.info["missing_indexes"] = ["one"] if deployed else []
        self.said: dict[str, dict[str, Any]] = {
            "messages": {"unreadable": [], "damaged_by_column": 0, "damaged_samples": []},
            "users": {"phone_twins": []},
        }
        self._people()
        self._messages()
        self._presence()

    def _people(self) -> None:
        ids = np.arange(1, self.count + 1)
        names = pd.Series(ids).astype("str")
        users = pd.DataFrame({"id": ids, "deleted": 0, "username": "user_" + names})
        self.tables["users"] = users.assign(phone="masked:" + names)
        login = {"id": ids, "auth_id": ids * 7919, "user_id": ids, "country": "DE"}
        self.tables["auth_users"] = pd.DataFrame(login)
        for name in ("auth_keys", "auths"):
            self.tables[name] = pd.DataFrame({"auth_id": ids * 7919})
        devices = pd.DataFrame({"id": ids, "auth_id": ids * 7919, "user_id": ids})
        self.tables["devices"] = devices.assign(token_type=2, state=0, token="masked:" + names)
        contacts = {"owner_user_id": ids, "contact_user_id": np.roll(ids, 1)}
        self.tables["user_contacts"] = pd.DataFrame(contacts)
        members = ids[-(self.count // 20) :][: self.count // 20 // _CHAT * _CHAT]
        chats = np.repeat(np.arange(1, len(members) // _CHAT + 1), _CHAT)
        self.chat_table = "chat_participants" if self.deployed else "chat_users"
        people = pd.DataFrame({"chat_id": chats, "user_id": members, "state": 0})
        self.people = people.assign(joined_at=NOW - 90_000)
        made = people.drop_duplicates("chat_id")[["chat_id", "user_id"]]
        made = made.rename(columns={"chat_id": "id", "user_id": "creator_user_id"})
        self.tables["chats"] = made.assign(participant_count=_CHAT)

    def _messages(self) -> None:
        pairs = self.count // 2
        first = np.repeat(2 * np.arange(pairs) + 1, _PAIR)
        turn = np.tile(np.arange(_PAIR) % 2, pairs)
        single = pd.DataFrame({"sender_user_id": first + turn, "peer_id": first + 1 - turn})
        chats = self.people.sample(frac=1, random_state=7).rename(columns={"chat_id": "peer_id"})
        group = chats.rename(columns={"user_id": "sender_user_id"})[["sender_user_id", "peer_id"]]
        both = pd.concat([single.assign(peer_type=2), group.assign(peer_type=3)], ignore_index=True)
        both = both.assign(id=np.arange(1, len(both) + 1), message_type=1, message_data="masked:0")
        both["date2"] = NOW - 80_000 + both["id"] * 70_000 // len(both)
        self.tables["messages"] = both.assign(random_id=both["id"] * 104_729)
        single = both[both["peer_type"] == 2]
        out = single.assign(user_id=single["sender_user_id"])
        came = single.assign(user_id=single["peer_id"], peer_id=single["sender_user_id"])
        members = self.people.rename(columns={"chat_id": "peer_id"})[["peer_id", "user_id"]]
        group = both[both["peer_type"] == 3].merge(members, on="peer_id")
        boxes = pd.concat([out, came, group]).rename(columns={"id": "message_id"})
        boxes = boxes[[*_KEY, "sender_user_id", "message_id", "date2"]].sort_values("message_id")
        own = boxes["user_id"] == boxes["sender_user_id"]
        # telegramd gives senders in chats a box of the other type.
        swapped = (boxes["peer_type"] == 3) & self.deployed
        self.boxes = boxes.assign(message_box_type=(own ^ swapped).astype("int32"))
        self.boxes = self.boxes.reset_index(drop=True)

    def _presence(self) -> None:
        ids = np.arange(1, self.count + 1)
        again = ids[ids % 3 == 0]
        user = np.concatenate([ids, again])
        session = np.concatenate([np.ones_like(ids), np.full_like(again, 2)])
        since = self.random.uniform(0, self.lease - 0.1, len(user))
        last = pd.Series(since).groupby(user).transform("min").to_numpy()
        frame: dict[str, Any] = {"user_id": user, "auth_key_id": user * 7919, "session_id": session}
        frame |= {"server_id": (user + session) % SERVERS + 1, "netlib_session_id": 1}
        frame |= {"since_s": since, "ahead_s": 0.0, "key_ttl_s": self.lease - last}
        layout = "deployed" if self.deployed else "documented"
        self.sessions = pd.DataFrame(frame).assign(layout=layout)

    def take(self, how_many: int, step: int = 2) -> np.ndarray[Any, Any]:
        """Return users whom no other fault has, one of a pair each: not in chats, with one session
        on a server.
        """
        users: list[int] = []
        while len(users) < how_many:
            self._next += step
            if self._next % 3 and (self._next - 1) % 3:
                users.append(self._next)
        return np.array(users)

    def plant(self, check: str, *subjects: object) -> None:
        """Note what should be found."""
        self.planted += [(check, str(subject)) for subject in subjects]

    def snapshot(self) -> Snapshot:
        """Return it as a snapshot would hold it, with what follows from the boxes."""
        tables, boxes = self.tables, self.boxes.sort_values(["user_id", "message_id"])
        if "pts" not in boxes:
            boxes["pts"] = boxes.groupby("user_id").cumcount() + 1
        tables[self.chat_table] = self.people
        tables["message_boxes"] = boxes
        if "user_dialogs" not in tables:
            self.derive(boxes)
        for name, frame in tables.items():
            wide = {"auth_id", "auth_key_id", "random_id"}
            numbers = frame.select_dtypes("number").columns
            kinds = {one: "int64" if one in wide else "int32" for one in numbers}
            whole = frame.fillna(dict.fromkeys(kinds, 0)).astype(kinds)
            tables[name] = whole.reset_index(drop=True)
        facts = {"truncated": False, "filtered": False, "primary_key": [], "masked": []}
        told = {name: facts | self.said.get(name, {}) for name in tables}
        info = {"tables": told, "where": [], "taken_at": NOW + 0.5, **self.info}
        # A report is written in whole seconds of its server's clock.
        sessions = self.sessions
        now = np.floor(NOW + 0.5 - sessions.pop("since_s") + sessions.pop("ahead_s"))
        sessions = sessions.assign(
            now=now, age_s=NOW + 0.5 - now, reported_at=pd.Timestamp(NOW, unit="s", tz="UTC")
        )
        sessions["online"] = sessions["age_s"] < self.lease + 2
        return Snapshot(
            sessions.astype({"user_id": "int32", "server_id": "int32", "now": "int64"}),
            compare_sequences(*self.counters),
            malformed_frame(self.malformed),
            tables,
            cast("SnapshotInfo", info),
        )

    def derive(self, boxes: pd.DataFrame) -> None:
        """Derive dialogs, counters and what devices have read."""
        came = (boxes["sender_user_id"] != boxes["user_id"]).astype("int64")
        per = boxes.assign(came=came, all=1).groupby(_KEY, as_index=False)
        dialogs = per.agg(
            top_message=("message_id", "max"), came=("came", "sum"), all=("all", "sum")
        )
        dialogs["unread_count"] = dialogs["all" if self.deployed else "came"]
        dialogs = dialogs.drop(columns=["came", "all"]).assign(read_inbox_max_id=0)
        zeros = {"read_outbox_max_id": 0, "unread_mentions_count": 0}
        self.tables["user_dialogs"] = dialogs.assign(date2=NOW - 5, **zeros)
        last = boxes.groupby("user_id")["pts"].max()
        rows = dict(zip(last.index.astype("str"), map(int, last), strict=True))
        self.counters: tuple[dict[str, int], dict[str, int], dict[str, int]] = (
            dict(rows),
            dict(rows),
            dict(rows),
        )
        state = pd.DataFrame({"auth_key_id": last.index * 7919, "user_id": last.index, "pts": last})
        self.tables["client_updates_state"] = state.reset_index(drop=True)
