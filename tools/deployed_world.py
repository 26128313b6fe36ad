"""Write a world as telegramd left it: rows and Redis entries, statement by statement.

    python -m tools.deployed_world                          data/deployed, both commits
    python -m tools.deployed_world FOLDER --users 200000    one large world, without a fault

`data/README.md` says what the two December commits did differently. The same world comes out
every time.
"""

from __future__ import annotations

import base64
import csv
import json
import random
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from imlib import Layout, SessionStatus
from imlib.constants import MessageBoxType, ParticipantType, PeerType
from imlib.sample import NOW
from imlib.schema import SEQUENCE_KEY_PREFIX, Moment, tables
from tools import command_line
from tools import deployed_bodies as bodies
from tools.notebook import ROOT

DATA: Final = ROOT / "data" / "deployed"
COMMITS: Final = ("d9af017", "4b393bf")
"""The commits of telegramd whose writing is known: of 3 December 2017, and of the 15th."""

_SERVERS: Final = (1, 2, 3, 4)
_LEASE_S: Final = 15
_WORDS: Final = (
    "hi",
    "да",
    "ταυ",
    "نعم",
    "हाँ",
    "你好",
    "はい",
    "네",
    "ok 👍",
    "a < b & c",
    "☕",
    "see you",
)
Row = tuple[Any, ...]
"""Of one table: int, str, bytes, or None for never."""


class _Chat(NamedTuple):
    creator: int
    members: list[int]


@lru_cache(100_000)
def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _defaults(name: str) -> dict[str, Any]:
    """Return a row of a table as a statement leaves it that names no column; None: never."""
    row: dict[str, Any] = {}
    for column in tables[name].c:
        kept = column.server_default is not None and not isinstance(column.type, Moment)
        text = "" if "CHAR" in str(column.type).upper() or str(column.type) == "TEXT" else 0
        row[column.name] = None if isinstance(column.type, Moment) or column.nullable else text
        if kept and column.name == "version":
            row[column.name] = 1
        if kept and column.name == "sound":
            row[column.name] = "default"
    return row


class Telegramd:
    """An IM server of December 2017: each method is what one of its functions writes.

    Parameters
    ----------
    commit : str
        One of `COMMITS`.
    """

    def __init__(self, commit: str) -> None:
        self.json = commit == "4b393bf"
        # The commit of the first dump moved the participants, and left the old table there, empty.
        self.participants = "chat_participants" if self.json else "chat_users"
        self.rows: dict[str, list[Row]] = {name: [] for name in tables}
        self.rows.setdefault(self.participants, [])
        self.clock = NOW - 7 * 86_400
        self.hashes: dict[str, list[tuple[bytes, bytes]]] = {}
        self.deadline: dict[str, int] = {}
        self.counters: dict[int, int] = defaultdict(int)
        self._dialogs: dict[tuple[int, int, int], dict[str, Any]] = {}
        self._chats: dict[int, tuple[dict[str, Any], list[dict[str, Any]]]] = {}
        self._defaults = {name: _defaults(name) for name in tables}
        self._defaults["chat_participants"] = self._defaults["chat_users"]
        self._random = random.Random(commit)

    def id64(self) -> int:
        """Return the next random int64, negative as often as not."""
        return self._random.getrandbits(64) - 2**63

    def insert(self, table: str, **values: Any) -> int:
        """Append a row, and return its id."""
        rows, now = self.rows[table], _moment(self.clock)
        row = self._defaults[table] | {"id": len(rows) + 1, "created_at": now} | values
        rows.append(tuple(row.values()))
        return len(rows)

    def next_pts(self, user_id: int) -> int:
        """INCR of the user's counter in Redis, whose value is then saved to its row."""
        self.counters[user_id] += 1
        return self.counters[user_id]

    def _history(self, sender: int, peer: tuple[int, int], text: str, service: bool) -> int:
        kind, peer_id = peer
        chat, now = kind == PeerType.CHAT, self.clock
        data: str | bytes
        if self.json:
            told: dict[str, Any] = {"message": text}
            if service:
                told = {"action": {"constructor": -1503425638, "data2": {"title": text}}}
            constructor = bodies.SERVICE if service else bodies.MESSAGE
            data = bodies.go_message(constructor, sender, chat, peer_id, date=now, **told)
        elif service:
            data = bodies.protobuf_service(sender, peer_id, now, [(1, -1503425638), (2, text)])
        else:
            data = bodies.protobuf_message(sender, chat, peer_id, now, text)
        return self.insert(
            "messages",
            sender_user_id=sender,
            peer_type=kind,
            peer_id=peer_id,
            random_id=self.id64(),
            message_type=self.json + 1 + service,
            message_data=data,
            date2=now,
        )

    def _box(self, owner: int, sender: int, way: int, peer: tuple[int, int], message: int) -> None:
        self.insert(
            "message_boxes",
            user_id=owner,
            sender_user_id=sender,
            message_box_type=way,
            peer_type=peer[0],
            peer_id=peer[1],
            pts=self.next_pts(owner),
            message_id=message,
            date2=self.clock,
        )

    def _dialog(self, owner: int, peer: tuple[int, int], message: int) -> None:
        """Count one more unread, on the sender's side as well: nothing ever lowers it."""
        now = _moment(self.clock)
        dialog = self._dialogs.setdefault(
            (owner, *peer), {"created_at": now, "updated_at": None, "unread_count": 0}
        )
        dialog["unread_count"] += 1
        dialog |= {"top_message": message, "date2": self.clock}
        if dialog["unread_count"] > 1:
            dialog["updated_at"] = now

    def send(self, sender: int, receiver: int, text: str) -> None:
        """Send a message to a user; to oneself it is a saved message, with one box."""
        self.clock = min(self.clock + 1, NOW)
        if sender == receiver:
            peer = (int(PeerType.SELF), sender)
            message = self._history(sender, peer, text, False)
            self._box(sender, sender, MessageBoxType.OUTGOING, peer, message)
            self._dialog(sender, peer, message)
            return
        there, back = (int(PeerType.USER), receiver), (int(PeerType.USER), sender)
        message = self._history(sender, there, text, False)
        self._box(sender, sender, MessageBoxType.OUTGOING, there, message)
        self._box(receiver, sender, MessageBoxType.INCOMING, back, message)
        self._dialog(sender, there, message)
        self._dialog(receiver, back, message)

    def say(self, sender: int, chat_id: int, text: str, service: bool = False) -> None:
        """Send to a chat. Of its boxes incoming and outgoing are swapped, as the server does it."""
        self.clock = min(self.clock + 1, NOW)
        peer = (int(PeerType.CHAT), chat_id)
        message = self._history(sender, peer, text, service)
        members = [row["user_id"] for row in self._chats[chat_id][1]]
        self._box(sender, sender, MessageBoxType.INCOMING, peer, message)
        others = [each for each in members if each != sender]
        for each in others:
            self._box(each, sender, MessageBoxType.OUTGOING, peer, message)
        for each in (sender, *others):
            self._dialog(each, peer, message)

    def create_chat(self, creator: int, title: str, members: list[int]) -> int:
        """Make a chat and its participants, and say so in it."""
        mark, chat_id, now = self.id64(), len(self._chats) + 1, _moment(self.clock)
        chat = self._defaults["chats"] | {
            "id": chat_id,
            "creator_user_id": creator,
            "create_random_id": mark,
            "access_hash": 777 * 10**15 + chat_id,
            "participant_count": len(members) + 1,
            "title": title,
            "title_changer_user_id": creator,
            "title_changed_at": now,
            "title_change_random_id": mark,
            "avatar_changer_user_id": creator,
            "avatar_changed_at": now,
            "avatar_change_random_id": mark,
            "created_at": now,
        }
        inside = [
            {
                "chat_id": chat_id,
                "user_id": each,
                "participant_type": ParticipantType.MEMBER + 2 * (each == creator),
                "inviter_user_id": creator,
                "invited_at": self.clock,
                "joined_at": self.clock,
                "created_at": now,
            }
            for each in (creator, *members)
        ]
        self._chats[chat_id] = chat, inside
        self.say(creator, chat_id, title, service=True)
        return chat_id

    def leave(self, chat_id: int, user_id: int) -> None:
        """Delete a participant's row: nothing keeps that the user was ever in the chat."""
        self.clock = min(self.clock + 1, NOW)
        chat, inside = self._chats[chat_id]
        inside[:] = [row for row in inside if row["user_id"] != user_id]
        chat["participant_count"] -= 1
        chat["version"] += 1
        chat["updated_at"] = _moment(self.clock)

    def set_online(self, user_id: int, auth_key_id: int, age: int, goodbye: bool) -> None:
        """Report a session, or say its goodbye: the time less 17 s, and the key's lease renewed."""
        status = SessionStatus(
            user_id,
            auth_key_id,
            self.id64(),
            self._random.choice(_SERVERS),
            self._random.getrandbits(40),
            NOW - age - 17 * goodbye,
        )
        field, value = status.to_field(Layout.DEPLOYED), status.to_value(Layout.DEPLOYED)
        key = status.to_key()
        self.hashes.setdefault(key, []).append((field.encode(), value.encode()))
        self.deadline[key] = max(self.deadline.get(key, 0), _LEASE_S - age)

    def finish(self) -> None:
        """Write down what changed until now: dialogs, chats, participants, the saved counters."""
        for (user_id, kind, peer_id), values in self._dialogs.items():
            at = {"user_id": user_id, "peer_type": kind, "peer_id": peer_id}
            self.insert("user_dialogs", **at, **values)
        for chat, inside in self._chats.values():
            self.insert("chats", **chat)
            for row in inside:
                self.insert(self.participants, **row)
        for user_id, last in self.counters.items():
            saved = {"seq_name": str(user_id), "seq": last}
            self.insert("seq_updates_ngen", **saved, updated_at=_moment(self.clock))


def _sign_up(server: Telegramd, user_id: int) -> list[int]:
    """Make a user with one device or two; return their auth keys."""
    country = ("DE", "RU", "CN", "BR")[user_id % 4]
    server.insert(
        "users",
        access_hash=777 * 10**15 + user_id,
        first_name=f"First {user_id}",
        last_name=f"Last {user_id}",
        username=f"user_{user_id}",
        phone=f"1555{user_id:07}",
        country_code=country,
    )
    keys = [server.id64() for _ in range(1 + (user_id % 5 == 0))]
    for at, key in enumerate(keys):
        body = base64.b64encode(f"FAKE-AUTH-KEY-{user_id}".ljust(256, "=").encode()).decode()
        server.insert("auth_keys", auth_id=key, body=body)
        about = {"auth_id": key, "api_id": 4, "system_version": "8.0", "app_version": "4.6"}
        lang = dict.fromkeys(("system_lang_code", "lang_code"), country.lower())
        model = ("Android", "Desktop")[at]
        server.insert("auths", **about, **lang, device_model=model, lang_pack=model.lower())
        server.insert(
            "auth_users",
            auth_id=key,
            user_id=user_id,
            device_model=model,
            platform=model,
            system_version="8.0",
            api_id=4,
            app_name="app",
            app_version="4.6",
            date_created=server.clock,
            date_active=NOW - user_id % 86_400,
            ip=f"192.0.2.{user_id % 254 + 1}",
            country=country,
        )
        token = {"token_type": 2 - at, "token": f"FAKE-TOKEN-{user_id}-{at}"}
        server.insert("devices", auth_id=key, user_id=user_id, **token)
    return keys


def generate(commit: str, users: int = 24) -> Telegramd:
    """Let telegramd at a commit serve some users for a while, and return what it left.

    Parameters
    ----------
    commit : str
        One of `COMMITS`.
    users : int
        How many; each has about four boxes, and two in three are online.
    """
    server, chance = Telegramd(commit), random.Random(users)
    keys = {user_id: _sign_up(server, user_id) for user_id in range(1, users + 1)}
    everybody = range(1, users + 1)
    for user_id in everybody:
        friend = user_id % users + 1
        mine = {"owner_user_id": user_id, "contact_user_id": friend, "date2": server.clock}
        server.insert("user_contacts", **mine)
        server.send(user_id, friend, chance.choice(_WORDS))
        if user_id % 6 == 0:
            server.send(friend, user_id, chance.choice(_WORDS))
        if user_id % 8 == 0:
            server.send(user_id, user_id, chance.choice(_WORDS))
        if user_id % 12 == 0:
            others = sorted({each for each in chance.sample(everybody, 4) if each != user_id})
            chat = server.create_chat(user_id, f"Chat of {user_id} ☕", others)
            server.say(others[0], chat, chance.choice(_WORDS))
            if user_id % 24 == 0:
                server.leave(chat, others[0])
                server.say(user_id, chat, chance.choice(_WORDS))
    for user_id in everybody:
        for at, key in enumerate(keys[user_id]):
            if user_id % 3:
                server.set_online(user_id, key, chance.randrange(_LEASE_S), goodbye=False)
            elif at == 0 and user_id % 9 == 0:
                server.set_online(user_id, key, chance.randrange(_LEASE_S), goodbye=True)
            read = {"pts": max(server.counters[user_id] - at, 0), "seq": 1, "date2": NOW - 60}
            server.insert("client_updates_state", auth_key_id=key, user_id=user_id, **read)
    server.finish()
    return server


def _cell(value: int | str | bytes | None) -> int | str:
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    return "\\N" if value is None else value


def export(server: Telegramd, folder: Path) -> None:
    """Write a world's files into a folder, in the form of ``data/sample``."""
    folder.mkdir(parents=True)
    for name, rows in server.rows.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            shape = "chat_users" if name == "chat_participants" else name
            writer.writerow([column.name for column in tables[shape].c])
            writer.writerows([_cell(value) for value in row] for row in rows)
    keys: list[dict[str, object]] = [
        {
            "key": key,
            "kind": "hash",
            "ttl_s": server.deadline[key],
            "entries": [[word.decode() for word in entry] for entry in entries],
        }
        for key, entries in server.hashes.items()
    ]
    keys += [
        {
            "key": f"{SEQUENCE_KEY_PREFIX}{user_id}",
            "kind": "string",
            "ttl_s": None,
            "entries": [["", str(last)]],
        }
        for user_id, last in server.counters.items()
    ]
    text = ",\n".join(json.dumps(key) for key in keys)
    (folder / "redis.json").write_text(f"[\n{text}\n]\n", encoding="ascii")


def main() -> None:
    """Write both small worlds, or one of any size."""
    parser = command_line("tools.deployed_world", __doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="a new folder, for one world")
    parser.add_argument("--users", type=int, default=200_000, help="how many, in that folder")
    parser.add_argument("--commit", choices=COMMITS, default="4b393bf")
    options = parser.parse_args()
    if options.folder:
        export(generate(options.commit, options.users), options.folder)
        return
    shutil.rmtree(DATA, ignore_errors=True)
    for commit in COMMITS:
        export(generate(commit), DATA / commit)


if __name__ == "__main__":
    main()
