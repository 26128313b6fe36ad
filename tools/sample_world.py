"""One small world for lessons and tests, always the same: `generate` makes it, `write` puts it into empty servers.

Its history (`imlib.sample_story`) is written by the models themselves, into a private SQLite file, and faults are then
planted by hand; `PLANTED` lists them all.
"""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import sqlalchemy as sa

from imlib.connect import Clients, RedisServer
from imlib.constants import ONLINE_TIMEOUT, PeerType, TokenType
from imlib.engines import WRITING, in_our_words, make_engine
from imlib.errors import NotEmptyError
from imlib.lease import Lease, TurnedClock
from imlib.models.account import AccountModel
from imlib.models.chat import ChatModel
from imlib.models.dialog import DialogModel
from imlib.models.message import MessageModel
from imlib.models.records import Peer
from imlib.models.sequence import SequenceModel
from imlib.sample_story import (
    CHATS,
    DEVICES,
    HISTORY,
    MALFORMED,
    MARKS,
    NO_TTL,
    NOW,
    PLANTED,
    SESSIONS,
    Planted,
    rows_without_a_model,
)
from imlib.schema import SEQUENCE_KEY_PREFIX, Moment, create_all, tables
from imlib.session_status import Layout
from imlib.wire import in_our_words as redis_in_our_words
from imlib.wire import seconds

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["NOW", "PLANTED", "Planted", "RedisKey", "World", "export", "generate", "write"]

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
    """What `generate` makes: the rows of the 20 tables, moments as text; what Redis holds, by `redis`."""

    tables: dict[str, list[Row]]

    def redis(self, clock: int = NOW) -> list[RedisKey]:
        """Return the keys as they are at an instant of the clock (Unix seconds), to which all reports are moved."""
        hashes: dict[str, list[tuple[bytes, bytes]]] = {}
        age: dict[str, int] = {}
        for status, layout in SESSIONS:
            key, moved = status.to_key(), replace(status, now=status.now + clock - NOW)
            hashes.setdefault(key, []).append((moved.to_field(layout).encode(), moved.to_value(layout).encode()))
            age[key] = min(age.get(key, ONLINE_TIMEOUT), max(NOW - status.now, 0))
        hashes["online_6"] += [(field.encode("latin-1"), value.encode()) for field, value in MALFORMED]
        keys = [
            RedisKey(key, "hash", None if key == NO_TTL else ONLINE_TIMEOUT - age[key], entries)
            for key, entries in hashes.items()
        ]
        keys.append(RedisKey("online_bob", "hash", int(ONLINE_TIMEOUT), [(b"1_2", b"%d_3_99" % clock)]))
        keys.append(RedisKey("online_11", "list", None, [(b"", b"busy")]))
        astray = {"1": 1, "7": -2}
        mirror = {str(row["seq_name"]): int(row["seq"] or 0) for row in self.tables["seq_updates_ngen"]}
        numbers = {name: b"%d" % (seq + astray.get(name, 0)) for name, seq in mirror.items()} | {"broken": b"12x"}
        keys += [RedisKey(SEQUENCE_KEY_PREFIX + name, "string", None, [(b"", seq)]) for name, seq in numbers.items()]
        return sorted(keys)


def generate() -> World:
    """Make the world, always the same one; no server is asked, and no file is read."""
    with tempfile.TemporaryDirectory(prefix="imlib-") as folder:
        engine = make_engine(f"sqlite:///{Path(folder) / 'sample.db'}")
        create_all(engine)
        clock = TurnedClock(NOW - 7 * 86_400)
        nobody = cast("Redis", None)  # never asked: the sequences have no mirror, and nobody is set online
        none = RedisServer("none", "", None)
        clients = Clients(nobody, engine, engine, none, Layout.DOCUMENTED, Lease.KEY, clock, read_only=False)
        with _writing(engine) as connection:
            for table, row in rows_without_a_model():
                connection.execute(tables[table].insert().values(row))
        _write_history(clients, clock)
        with _writing(engine) as connection:
            _plant(connection)
            _note_how_far_devices_have_read(connection)
            rows = {name: _plain_rows(connection, table) for name, table in sorted(tables.items())}
        engine.dispose()
    return World(rows)


@contextmanager
def _writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect().execution_options(**{WRITING: True}) as connection, connection.begin():
        yield connection


def _write_history(clients: Clients, clock: TurnedClock) -> None:
    sequences, dialogs, chats = SequenceModel(clients, mirror=False), DialogModel(clients), ChatModel(clients)
    messages, accounts, marks = MessageModel(clients, sequences, dialogs, chats), AccountModel(clients), iter(MARKS)
    for user_id, keys in DEVICES.items():
        for kind, key in zip((TokenType.GCM, TokenType.APNS), keys, strict=False):
            accounts.register_device(key, user_id, kind, f"FAKE-TOKEN-{user_id}-{kind.name}")
    accounts.unregister_device(TokenType.APNS, "FAKE-TOKEN-4-APNS")
    accounts.set_notify_settings(1, Peer.user(12), silent=True, mute_until=NOW + 86_400)
    accounts.reset_notify_settings(3)
    for creator, title, members in CHATS:
        chats.create_chat(creator, title, members, next(marks))
    made = messages.create_history_message_service(1, Peer.chat(1), next(marks), {"chat_created": 1})
    for user_id in (1, 2, 3, 5, 7):
        messages.create_message_boxes(user_id, 1, Peer.chat(1), user_id != 1, made)
        if user_id != 1:
            dialogs.create_or_update_by_last_message(user_id, PeerType.CHAT, 1, made)
    for sender, way, chat, receiver, text in re.findall(r"(\d+)([>!])(c?)(\d+) (.+)", HISTORY):
        clock.turn(9_973)
        me, peer, mark = int(sender), (Peer.chat if chat else Peer.user)(int(receiver)), next(marks)
        if way == ">":
            messages.send_message(me, peer, text, mark, mentions=[1] if text.startswith("@") else [])
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
        "UPDATE messages SET random_id = (SELECT random_id FROM messages WHERE id = 21) WHERE id = 22",
        "UPDATE messages SET message_data = 'constructor 0x90dddc11, 28 bytes' WHERE id = 23",
        "UPDATE message_boxes SET pts = 5 WHERE user_id = 9 AND pts = 6",
        "UPDATE seq_updates_ngen SET seq = 5 WHERE seq_name = '9'",
        "UPDATE user_dialogs SET unread_count = 3 WHERE user_id = 2 AND peer_type = 2 AND peer_id = 1",
        "UPDATE user_dialogs SET top_message = 7 WHERE user_id = 3 AND peer_type = 3 AND peer_id = 1",
        "INSERT INTO chat_users (chat_id, user_id, inviter_user_id) VALUES (77, 4, 1)",
        # No faults: what a person reads and pins.
        "UPDATE user_dialogs SET unread_count = 0, read_inbox_max_id = top_message WHERE user_id = 6",
        "UPDATE user_dialogs SET is_pinned = 1 WHERE user_id = 1 AND peer_type = 3",
    ):
        connection.exec_driver_sql(statement)


def _note_how_far_devices_have_read(connection: sa.Connection) -> None:
    for user_id, keys in DEVICES.items():
        query = sa.text("SELECT max(pts) FROM message_boxes WHERE user_id = :user_id")
        last = connection.scalar(query, {"user_id": user_id}) or 0
        for behind, key in enumerate(keys):
            state = {"auth_key_id": key, "user_id": user_id, "pts": max(last - behind, 0), "seq": 1, "date2": NOW - 60}
            connection.execute(tables["client_updates_state"].insert().values(state))


def _plain_rows(connection: sa.Connection, table: sa.Table) -> list[Row]:
    """Return a table's rows with what the database's clock and chance gave replaced by what is always the same."""
    rows: list[Row] = []
    for found in connection.execute(table.select().order_by(table.c.id)):
        row = dict(found._mapping)
        own = next((row[name] for name in ("date2", "date_created", "joined_at") if row.get(name)), NOW - 7 * 86_400)
        for column in table.c:
            if isinstance(column.type, Moment) and row[column.name] is not None:
                row[column.name] = datetime.fromtimestamp(own, UTC).strftime("%Y-%m-%d %H:%M:%S")
        if table.name == "chats":
            row["access_hash"] = 777 * 10**15 + 1000 + int(row["id"])
        rows.append(row)
    return rows


def write(clients: Clients, world: World, before_redis: Callable[[], object] = lambda: None) -> None:
    """Write the world into a Redis and a database that are empty: all of it, or nothing.

    Parameters
    ----------
    clients : Clients
        Absent tables are made; where "never" cannot be NULL, as in deployed tables, it is a zero date.
    world : World
    before_redis : callable
        Called just before Redis is written, whose deadlines count from then.

    Raises
    ------
    NotEmptyError
        There is something in Redis or in one of the 20 tables.
    ReadOnlyError, UnavailableError, SchemaError
    """
    clients.check_writable("load_sample")
    with redis_in_our_words(clients.redis):
        keys = clients.redis.dbsize()
    if keys:
        raise _not_empty(f"the Redis database holds {keys} keys")
    create_all(clients.engine)
    with in_our_words(clients.engine), _writing(clients.engine) as connection:
        for name in world.tables:
            if connection.execute(tables[name].select().limit(1)).first() is not None:
                raise _not_empty(f"the table {name} holds rows")
        inspector = sa.inspect(clients.engine)
        for name, rows in world.tables.items():
            # Without types, which know of no zero date.
            plain = sa.table(name, *map(sa.column, rows[0]))
            # "Never" in moments that cannot be NULL, as in deployed tables.
            strict = {column["name"] for column in inspector.get_columns(name) if not column["nullable"]}
            moments = {column.name for column in tables[name].c if isinstance(column.type, Moment)}
            zero = dict.fromkeys(strict & moments, "0000-00-00 00:00:00")
            connection.execute(plain.insert(), [row | {c: zero[c] for c in zero if row[c] is None} for row in rows])
        _write_redis(clients, world, before_redis)


def export(folder: Path) -> None:
    """Write the world as files, for what does not speak Python: a CSV a table, ``redis.json`` and ``planted.csv``."""
    world = generate()
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in world.tables.items():
        _write_csv(folder / f"{name}.csv", list(rows[0]), [list(row.values()) for row in rows])
    _write_csv(folder / "planted.csv", list(Planted._fields), [list(fault) for fault in PLANTED])
    keys = [
        {"key": key.name, "kind": key.kind, "ttl_s": key.ttl_s}
        | {"entries": [[word.decode("ascii", "backslashreplace") for word in entry] for entry in key.entries]}
        for key in world.redis()
    ]
    (folder / "redis.json").write_text(json.dumps(keys, indent=1) + "\n", encoding="ascii")


def _write_csv(path: Path, names: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_NULL if value is None else value for value in row] for row in rows)


def _not_empty(holds: str) -> NotEmptyError:
    return NotEmptyError(f"{holds}, and the sample world goes only where nothing is: nothing was written")


def _write_redis(clients: Clients, world: World, before: Callable[[], object]) -> None:
    client: Any = clients.redis  # redis-py's types know of replies to come, too
    with redis_in_our_words(client):
        server = seconds(client.time())
        before()
        clock = clients.reader_clock
        pipeline = client.pipeline(transaction=True)
        for key in world.redis(int(server if clock is None else clock())):
            if key.kind == "hash":
                pipeline.hset(key.name, mapping=dict(key.entries))
            else:
                write = pipeline.set if key.kind == "string" else pipeline.rpush
                write(key.name, key.entries[0][1])
            if key.ttl_s is not None:
                pipeline.pexpireat(key.name, round(server * 1000) + key.ttl_s * 1000)
        pipeline.execute()
