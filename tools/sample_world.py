"""Write the sample world into data/sample: a CSV per table, ``redis.json``, ``planted.csv``;
and a snapshot of it into data/sample-snapshot.

Its history (`tools.sample_history`) is written by imlib's own models, and faults are then planted
by hand. The same files come out every time; `imlib.sample` reads them.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import sqlalchemy as sa

import imlib
from imlib import ONLINE_TIMEOUT, PeerType, TokenType
from imlib.investigation import sample_world
from imlib.models.records import Peer
from imlib.sample import NOW, Planted
from imlib.schema import SEQUENCE_KEY_PREFIX, Moment, tables
from tools import command_line
from tools.notebook import ROOT
from tools.sample_history import (
    CHATS,
    DEVICES,
    FAULTS,
    HISTORY,
    MALFORMED,
    MARKS,
    NO_TTL,
    SESSIONS,
    rows_without_a_model,
)

if TYPE_CHECKING:
    from imlib.snapshot import Snapshot

DATA: Final = ROOT / "data" / "sample"
SNAPSHOT: Final = ROOT / "data" / "sample-snapshot"

Row = dict[str, int | str | None]
_NULL: Final = "\\N"


class RedisKey(NamedTuple):
    """A key of Redis: kind ``hash``, ``string`` or ``list``; ttl_s None: it never expires.

    ``entries`` are pairs of field and value for a hash; for the other kinds the field is empty.
    """

    name: str
    kind: str
    ttl_s: int | None
    entries: list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class World:
    """What `generate` makes: the rows of the 20 tables, moments as text; what Redis holds, by
    `redis`.
    """

    tables: dict[str, list[Row]]

    def redis(self) -> list[RedisKey]:
        """Return the keys as they are at the world's instant."""
        hashes: dict[str, list[tuple[bytes, bytes]]] = {}
        age: dict[str, int] = {}
        for status, layout in SESSIONS:
            key = status.to_key()
            hashes.setdefault(key, []).append(
                (status.to_field(layout).encode(), status.to_value(layout).encode())
            )
            age[key] = min(age.get(key, ONLINE_TIMEOUT), max(NOW - status.now, 0))
        hashes["online_6"] += [
            (field.encode("latin-1"), value.encode()) for field, value in MALFORMED
        ]
        keys = [
            RedisKey(key, "hash", None if key == NO_TTL else ONLINE_TIMEOUT - age[key], entries)
            for key, entries in hashes.items()
        ]
        keys.append(
            RedisKey("online_bob", "hash", int(ONLINE_TIMEOUT), [(b"1_2", b"%d_3_99" % NOW)])
        )
        keys.append(RedisKey("online_11", "list", None, [(b"", b"busy")]))
        astray = {"1": 1, "7": -2}
        mirror = {
            str(row["seq_name"]): int(row["seq"] or 0) for row in self.tables["seq_updates_ngen"]
        }
        numbers = {name: b"%d" % (seq + astray.get(name, 0)) for name, seq in mirror.items()} | {
            "broken": b"12x"
        }
        keys += [
            RedisKey(SEQUENCE_KEY_PREFIX + name, "string", None, [(b"", seq)])
            for name, seq in numbers.items()
        ]
        return sorted(keys)


def generate() -> World:
    """Make the world, always the same one."""
    clock = imlib.ManualClock(NOW - 7 * 86_400)
    with imlib.connect("fakeredis://", "embedded://", clock=clock) as deployment:
        with deployment.engine.begin() as connection:
            for table, row in rows_without_a_model():
                connection.execute(tables[table].insert().values(row))
        _write_history(deployment, clock)
        with deployment.engine.begin() as connection:
            _plant(connection)
            _note_how_far_devices_have_read(connection)
            return World(
                {name: _plain_rows(connection, table) for name, table in sorted(tables.items())}
            )


def _write_history(deployment: imlib.Deployment, clock: imlib.ManualClock) -> None:
    accounts, chats, dialogs = deployment.accounts, deployment.chats, deployment.dialogs
    messages, sequences, marks = deployment.messages, deployment.sequences, iter(MARKS)
    for user_id, keys in DEVICES.items():
        for kind, key in zip((TokenType.GCM, TokenType.APNS), keys, strict=False):
            accounts.register_device(key, user_id, kind, f"FAKE-TOKEN-{user_id}-{kind.name}")
    accounts.unregister_device(TokenType.APNS, "FAKE-TOKEN-4-APNS")
    accounts.set_notify_settings(1, Peer.user(12), silent=True, mute_until=NOW + 86_400)
    accounts.reset_notify_settings(3)
    for creator, title, members in CHATS:
        chats.create_chat(creator, title, members, next(marks))
    made = messages.create_history_message_service(
        1, Peer.chat(1), next(marks), {"chat_created": 1}
    )
    for user_id in (1, 2, 3, 5, 7):
        messages.create_message_boxes(user_id, 1, Peer.chat(1), user_id != 1, made)
        if user_id != 1:
            dialogs.create_or_update_by_last_message(user_id, PeerType.CHAT, 1, made)
    for sender, way, chat, receiver, text in re.findall(r"(\d+)([>!])(c?)(\d+) (.+)", HISTORY):
        clock.advance(9_973)
        me, peer, mark = int(sender), (Peer.chat if chat else Peer.user)(int(receiver)), next(marks)
        if way == ">":
            messages.send_message(
                me, peer, text, mark, mentions=[1] if text.startswith("@") else []
            )
            continue
        lost = messages.create_history_message(me, peer, mark, text)
        messages.create_message_boxes(me, me, peer, False, lost)
        with sequences.transaction() as connection:
            dialogs.mark_sent(connection, me, peer, lost)
        sequences.next_id(receiver)
    chats.edit_chat_title(3, 2, "Friday ♥", next(marks))
    chats.delete_chat_user(3, 1)


def _plant(connection: sa.Connection) -> None:
    for statement in (
        "DELETE FROM messages WHERE id = 17",
        "UPDATE messages SET random_id = (SELECT random_id FROM messages WHERE id = 21) WHERE id "
        "= 22",
        "UPDATE messages SET message_data = 'constructor 0x90dddc11, 28 bytes' WHERE id = 23",
        "UPDATE message_boxes SET pts = 5 WHERE user_id = 9 AND pts = 6",
        "UPDATE seq_updates_ngen SET seq = 5 WHERE seq_name = '9'",
        "UPDATE user_dialogs SET unread_count = 3 WHERE user_id = 2 AND peer_type = 2 AND peer_id "
        "= 1",
        "UPDATE user_dialogs SET top_message = 7 WHERE user_id = 3 AND peer_type = 3 AND peer_id "
        "= 1",
        "INSERT INTO chat_users (chat_id, user_id, inviter_user_id) VALUES (77, 4, 1)",
        # No faults: what a person reads and pins.
        "UPDATE user_dialogs SET unread_count = 0, read_inbox_max_id = top_message WHERE user_id "
        "= 6",
        "UPDATE user_dialogs SET is_pinned = 1 WHERE user_id = 1 AND peer_type = 3",
    ):
        connection.exec_driver_sql(statement)


def _note_how_far_devices_have_read(connection: sa.Connection) -> None:
    for user_id, keys in DEVICES.items():
        query = sa.text("SELECT max(pts) FROM message_boxes WHERE user_id = :user_id")
        last = connection.scalar(query, {"user_id": user_id}) or 0
        for behind, key in enumerate(keys):
            state = {
                "auth_key_id": key,
                "user_id": user_id,
                "pts": max(last - behind, 0),
                "seq": 1,
                "date2": NOW - 60,
            }
            connection.execute(tables["client_updates_state"].insert().values(state))


def _plain_rows(connection: sa.Connection, table: sa.Table) -> list[Row]:
    """Return a table's rows with what the database's clock and chance gave replaced by what is
    always the same.
    """
    rows: list[Row] = []
    for found in connection.execute(table.select().order_by(table.c.id)):
        row = dict(found._mapping)
        own = next(
            (row[name] for name in ("date2", "date_created", "joined_at") if row.get(name)),
            NOW - 7 * 86_400,
        )
        for column in table.c:
            if isinstance(column.type, Moment) and row[column.name] is not None:
                row[column.name] = datetime.fromtimestamp(own, UTC).strftime("%Y-%m-%d %H:%M:%S")
        if table.name == "chats":
            row["access_hash"] = 777 * 10**15 + 1000 + int(row["id"])
        rows.append(row)
    return rows


def export(folder: Path) -> None:
    """Write the world's files into a folder, which is made."""
    world = generate()
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in world.tables.items():
        _write_csv(folder / f"{name}.csv", list(rows[0]), [list(row.values()) for row in rows])
    _write_csv(folder / "planted.csv", list(Planted._fields), [list(fault) for fault in FAULTS])
    keys = [
        {"key": key.name, "kind": key.kind, "ttl_s": key.ttl_s}
        | {
            "entries": [
                [word.decode("ascii", "backslashreplace") for word in entry]
                for entry in key.entries
            ]
        }
        for key in world.redis()
    ]
    (folder / "redis.json").write_text(json.dumps(keys, indent=1) + "\n", encoding="ascii")


def snapshot() -> Snapshot:
    """Take a snapshot of the world, without what depends on the machine and the moment."""
    with sample_world() as world:
        taken = world.snapshot(mask_key=b"the sample world")
    # What the keys have left at the world's instant; a server's clock goes on meanwhile.
    left = {key.name: key.ttl_s for key in generate().redis()}
    keys = "online_" + taken.sessions["user_id"].astype(str)
    sessions = taken.sessions.assign(key_ttl_s=keys.map(left).astype("float64"))
    info = taken.info | {
        "redis": "Valkey",
        "redis_at": "a private server",
        "database": "SQLite",
        "database_at": "a private file",
        "skew_s": 0.0,
        "started_at": float(NOW),
        "duration_s": 0.0,
    }
    return replace(taken, sessions=sessions, info=info)


def _write_csv(path: Path, names: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_NULL if value is None else value for value in row] for row in rows)


if __name__ == "__main__":
    command_line("tools.sample_world", __doc__).parse_args()
    export(DATA)
    shutil.rmtree(SNAPSHOT, ignore_errors=True)
    snapshot().save(SNAPSHOT)
    print(f"the sample world, with {len(FAULTS)} planted faults, is in {DATA}")
