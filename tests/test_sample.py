"""The sample world: always the same, in files and servers alike, with exactly the faults that it lists."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import imlib
from imlib.cli import main
from imlib.connect import EMBEDDED
from imlib.models.records import Peer
from imlib.sample import NOW, PLANTED, export, generate
from imlib.schema import tables
from imlib.session_status import SessionStatus
from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb
from tests.private_servers.process import private_folder
from tests.private_servers.redis import private_redis
from tools.notebook import ROOT

Tables = dict[str, list[dict[str, Any]]]

DATA = ROOT / "data" / "sample"
DUMP = ROOT / "tests" / "deployed_dump.sql"


@pytest.fixture(scope="module")
def mariadb() -> Iterator[PrivateMariaDB]:
    """Give a MariaDB server of this module's own."""
    with private_mariadb() as server:
        yield server


@pytest.fixture
def redis_url() -> Iterator[str]:
    """Give the URL of an empty redis-server."""
    with private_redis() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty database: SQLite's, then MariaDB's."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'im.db'}"
    server: PrivateMariaDB = request.getfixturevalue("mariadb")
    return server.new_database()


def rows(engine: sa.Engine, table: str) -> list[dict[str, Any]]:
    """Return a table's rows as its driver gives them, moments as text, in the order of their ids."""
    with engine.connect() as connection:
        found = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id")).mappings().all()
    return [{name: str(v) if hasattr(v, "isoformat") else v for name, v in row.items()} for row in found]


def planted(check: str) -> list[str]:
    """Return the subjects of one kind of fault."""
    return [fault.subject for fault in PLANTED if fault.check == check]


def test_it_is_always_the_same() -> None:
    """Two worlds made one after the other are equal, whatever the clock says."""
    assert generate() == generate()


def test_the_files_are_what_is_generated(tmp_path: Path) -> None:
    """data/sample is what `export` writes now, to the byte; if this fails: imlib sample --export data/sample."""
    export(tmp_path)
    expected = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert expected == {path.name: path.read_bytes() for path in DATA.iterdir()}
    assert {f"{name}.csv" for name in tables} | {"planted.csv", "redis.json"} == expected.keys()


def test_the_files_hold_their_ids_exactly() -> None:
    """What a program reads as text and turns into integers are the 64-bit ids, and NULL is not an empty text."""
    with (DATA / "auth_keys.csv").open(encoding="utf-8", newline="") as file:
        held = [int(row["auth_id"]) for row in csv.DictReader(file)]
    assert [row["auth_id"] for row in generate().tables["auth_keys"]] == held
    assert any(each < 0 for each in held)
    assert max(map(abs, held)) > 2**53
    with (DATA / "users.csv").open(encoding="utf-8", newline="") as file:
        assert [("\\N", ""), ("2017-11-26 03:08:53", "asked for it")] == [
            (row["deleted_at"], row["deleted_reason"]) for row in csv.DictReader(file) if row["id"] in ("1", "12")
        ]


def test_every_column_is_documented() -> None:
    """data/README.md has a line for every file, and in it every column."""
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    documented = {
        name: set(re.findall(r"`(\w+)`", line)) for name, line in re.findall(r"^\| (\w+)\.csv \| (.*)$", text, re.M)
    }
    common = {"id", "created_at", "updated_at", "deleted_at"}
    expected = {name: {column.name for column in table.c} - common for name, table in tables.items()}
    assert expected == {name: words & expected[name] for name, words in documented.items()}
    assert set() == {fault.check for fault in PLANTED} - set(re.findall(r"`(\w+)`", text))


def test_loaded_rows_are_the_generated_ones(redis_url: str, database_url: str) -> None:
    """On SQLite and MariaDB alike every row arrives as it is, NULL as NULL, and Redis as redis.json says."""
    world = generate()
    clock = imlib.TurnedClock(NOW)
    with imlib.connect(redis_url, database_url, scratch=True, clock=clock) as deployment:
        deployment.load_sample()
        for name, expected in world.tables.items():
            assert expected == rows(deployment.engine, name), name
        held: dict[str, Any] = {}
        client: Any = deployment.redis
        for key in json.loads((DATA / "redis.json").read_text(encoding="ascii")):
            name = key["key"]
            ttl = client.pttl(name)
            assert key["ttl_s"] is None or key["ttl_s"] * 1000 - 5000 < ttl <= key["ttl_s"] * 1000, name
            assert key["ttl_s"] is not None or ttl == -1, name
            held[name] = key
        assert len(held) == client.dbsize()
        expected_keys = {key.name: key for key in world.redis()}
        assert dict(expected_keys["online_6"].entries) == client.hgetall("online_6")


def test_models_go_on_from_it(redis_url: str, database_url: str) -> None:
    """A message sent into the world gets the next id and the next pts, beyond a Redis that was ahead."""
    with imlib.connect(redis_url, database_url, scratch=True, clock=imlib.TurnedClock(NOW)) as deployment:
        deployment.load_sample()
        before = deployment.messages.get_last_pts_by_user_id(7)
        sent = deployment.messages.send_message(1, Peer.user(7), "and on it goes 🎈")
        assert (32, 18) == (sent.id, sent.pts)
        assert before + 1 == deployment.messages.get_last_pts_by_user_id(7)


def test_presence_is_moved_to_the_servers_clock() -> None:
    """By a real clock sessions were reported just now, and those online are the same."""
    with imlib.connect(EMBEDDED, EMBEDDED) as deployment:
        deployment.load_sample()
        online = deployment.online_status.get_online_by_user_id_list([1, 2, 4, 11, 12])
    assert {1: 2, 2: 2, 4: 0, 11: 0, 12: 0} == {user_id: len(sessions) for user_id, sessions in online.items()}


def test_a_turned_clock_finds_deadlines_where_the_files_say() -> None:
    """A key with 13 s left is there after 12 s of the turned clock, and gone after 13."""
    with imlib.connect(EMBEDDED, EMBEDDED, scratch=True, clock=imlib.TurnedClock(NOW)) as deployment:
        deployment.load_sample()
        deployment.turn(12)
        assert 1 == deployment.redis.exists("online_1")
        deployment.turn(1)
        assert 0 == deployment.redis.exists("online_1")
        assert 1 == deployment.redis.exists("online_4")


@pytest.mark.parametrize("fill", [lambda own: own.redis.set("x", 1), lambda own: own.users.create_user("+1", "A")])
def test_it_goes_only_where_nothing_is(fill: Callable[[imlib.Deployment], object]) -> None:
    """With a key in Redis or a row in a table it is refused, and nothing is written."""
    with imlib.connect(EMBEDDED, EMBEDDED) as deployment:
        fill(deployment)
        keys = deployment.redis.dbsize()
        with pytest.raises(imlib.NotEmptyError, match="nothing was written"):
            deployment.load_sample()
        assert keys == deployment.redis.dbsize()
        assert [] == rows(deployment.engine, "apps")


def test_it_goes_in_once() -> None:
    """A second load finds the first."""
    with imlib.connect(EMBEDDED, EMBEDDED) as deployment:
        deployment.load_sample()
        with pytest.raises(imlib.NotEmptyError):
            deployment.load_sample()


def test_read_only_refuses() -> None:
    """A deployment that may only be looked at is not loaded."""
    with imlib.connect(EMBEDDED, EMBEDDED, read_only=True) as deployment, pytest.raises(imlib.ReadOnlyError):
        deployment.load_sample()


def test_redis_that_fails_leaves_the_tables_empty(redis_url: str, database_url: str) -> None:
    """All or nothing: where Redis refuses its part, the tables stay empty too."""
    with imlib.connect(redis_url, database_url, clock=imlib.TurnedClock(NOW)) as deployment:
        deployment.redis.config_set("maxmemory", "1")
        with pytest.raises(imlib.ImlibError):
            deployment.load_sample()
        assert [] == rows(deployment.engine, "users")
        assert 0 == deployment.redis.dbsize()


def test_deployed_tables_get_zero_dates(redis_url: str, mariadb: PrivateMariaDB) -> None:
    """In tables that the deployed server made "never" is a zero date, and the models read it as never."""
    url = mariadb.new_database("utf8")
    name = url.split("/")[3].split("?")[0]
    mariadb.run(DUMP.read_text(encoding="utf-8"), name)
    mariadb.run("".join(f"DELETE FROM {table};\n" for table in tables), name)
    with imlib.connect(redis_url, url, layout="deployed", clock=imlib.TurnedClock(NOW)) as deployment:
        deployment.load_sample()
        found = {row["id"]: row["deleted_at"] for row in rows(deployment.engine, "users")}
        assert ("0000-00-00 00:00:00", "2017-11-26 03:08:53") == (found[1], found[12])
        user = deployment.users.get_user(1)
        assert user is not None
        assert user.deleted_at is None


@pytest.fixture(scope="module")
def world() -> Tables:
    """Give the rows."""
    return dict(generate().tables)


@pytest.fixture(scope="module")
def pts(world: Tables) -> dict[int, list[int]]:
    """Give every user's pts, in order."""
    by_user: dict[int, list[int]] = {}
    for box in world["message_boxes"]:
        by_user.setdefault(box["user_id"], []).append(box["pts"])
    return {user_id: sorted(numbers) for user_id, numbers in by_user.items()}


class TestPlanted:
    """Each fault that is listed is there, and no other of its kind; told from the rows, without imlib's models."""

    def test_pts(self, world: Tables, pts: dict[int, list[int]]) -> None:
        """One number is missing, one is there twice, and every row stands at its user's last pts."""
        gaps = [(user, n) for user, held in pts.items() for n in range(1, held[-1]) if n not in held]
        assert planted("pts_gap") == [f"user {user} pts {n}" for user, n in gaps]
        twice = [(user, n) for user, held in pts.items() for n, times in Counter(held).items() if times > 1]
        assert planted("pts_duplicate") == [f"user {user} pts {n}" for user, n in twice]
        assert {str(user): held[-1] for user, held in pts.items()} == {
            row["seq_name"]: row["seq"] for row in world["seq_updates_ngen"]
        }

    def test_sequences(self, world: Tables) -> None:
        """Redis agrees with the rows but for one ahead, one behind and one that is no number."""
        held = {
            k.name.removeprefix("seq_updates_ngen_"): k.entries[0][1] for k in generate().redis() if "seq" in k.name
        }
        assert b"12x" == held.pop("broken")
        off = {row["seq_name"]: int(held[row["seq_name"]]) - row["seq"] for row in world["seq_updates_ngen"]}
        assert {"1": 1, "7": -2} == {name: by for name, by in off.items() if by}
        assert (["1"], ["7"]) == (planted("sequence_ahead"), planted("sequence_behind"))

    def test_dialogs(self, world: Tables) -> None:
        """Newest message and unread count follow from the boxes, but for two dialogs; every conversation has one."""
        wrong = []
        conversations = {(box["user_id"], box["peer_type"], box["peer_id"]) for box in world["message_boxes"]}
        for dialog in world["user_dialogs"]:
            at = (dialog["user_id"], dialog["peer_type"], dialog["peer_id"])
            conversations.remove(at)
            boxes = [box for box in world["message_boxes"] if at == (box["user_id"], box["peer_type"], box["peer_id"])]
            incoming = [box["message_id"] for box in boxes if box["message_box_type"] == 0]
            unread = sum(each > dialog["read_inbox_max_id"] for each in incoming)
            if (max(box["message_id"] for box in boxes), unread) != (dialog["top_message"], dialog["unread_count"]):
                wrong.append(f"user {at[0]} peer {'user' if at[1] == 2 else 'chat'} {at[2]}")
        assert set() == conversations
        assert planted("dialog_disagrees") == sorted(wrong)

    def test_orphans(self, world: Tables) -> None:
        """One box without a message, one participant without a chat; all users exist, and counts of chats are true."""
        messages = {row["id"] for row in world["messages"]}
        orphans = [row for row in world["message_boxes"] if row["message_id"] not in messages]
        assert planted("orphan_box") == [f"user {row['user_id']} message {row['message_id']}" for row in orphans]
        chats = {row["id"]: row["participant_count"] for row in world["chats"]}
        orphans = [row for row in world["chat_users"] if row["chat_id"] not in chats]
        assert planted("orphan_participant") == [f"user {row['user_id']} chat {row['chat_id']}" for row in orphans]
        inside = Counter(row["chat_id"] for row in world["chat_users"] if row["state"] == 0)
        assert chats == {chat_id: inside[chat_id] for chat_id in chats}
        users = {row["id"] for row in world["users"]}
        assert users >= {row["user_id"] for table in ("message_boxes", "chat_users", "devices") for row in world[table]}

    def test_messages(self, world: Tables) -> None:
        """One random_id stands twice, one body is no JSON, and one message never got into its receiver's box."""
        marks = Counter((row["sender_user_id"], row["random_id"]) for row in world["messages"])
        ((sender, mark),) = [each for each, times in marks.items() if times > 1]
        ids = [str(row["id"]) for row in world["messages"] if row["random_id"] == mark]
        assert planted("duplicate_random_id") == [f"user {sender} messages {', '.join(ids)}"]
        no_json = [row["id"] for row in world["messages"] if not row["message_data"].startswith("{")]
        assert planted("body_not_json") == [f"message {each}" for each in no_json]
        boxes = {(row["user_id"], row["message_id"]) for row in world["message_boxes"]}
        to_users = [row for row in world["messages"] if row["peer_type"] == 2]
        assert [10] == [row["id"] for row in to_users if (row["peer_id"], row["id"]) not in boxes]

    def test_sessions(self, world: Tables) -> None:
        """Ghosts, sessions ahead of time and of nobody, keys that stay and mixed ones are those listed."""
        keys = {row["auth_id"] for row in world["auth_keys"]}
        users = {row["id"] for row in world["users"]}
        found: dict[str, list[str]] = {}
        for key in (each for each in generate().redis() if each.name.startswith("online_")):
            layouts = set()
            for field, value in key.entries:
                try:
                    status = SessionStatus.from_key_value(field, value, user_id=int(key.name.removeprefix("online_")))
                except ValueError:
                    where = key.name + (
                        " " + field.decode("ascii", "backslashreplace") if key.name == "online_6" else ""
                    )
                    found.setdefault("malformed", []).append(where)
                    continue
                layouts.add(b"@" in field)
                orphan = status.user_id not in users or status.auth_key_id not in keys
                kinds = {"ghost": status.now <= NOW - 17, "future_session": status.now > NOW, "orphan_session": orphan}
                for kind in (kind for kind, holds in kinds.items() if holds):
                    found.setdefault(kind, []).append(f"{key.name} {field.decode()}")
            if key.kind == "hash" and key.ttl_s is None:
                found.setdefault("key_without_ttl", []).append(key.name)
            if len(layouts) == 2:
                found.setdefault("mixed_layouts", []).append(key.name)
        found["malformed"].append("seq_updates_ngen_broken")
        assert {kind: sorted(planted(kind)) for kind in found} == {kind: sorted(where) for kind, where in found.items()}

    def test_secrets_say_that_they_are_fakes(self, world: Tables) -> None:
        """A leak test knows a secret when it sees one."""
        secret = r"FAKE|^RkFLRS|^666|^777"
        columns = {"auth_keys": ["body"], "auth_salts": ["salt"], "devices": ["token"], "reports": ["content"]}
        columns |= {"tmp_passwords": ["password_hash", "tmp_password"], "users": ["access_hash"]}
        columns |= {"chats": ["access_hash"], "user_privacys": ["password", "recovery_mail"]}
        columns |= {"auth_phone_transactions": ["transaction_hash", "code", "api_hash"]}
        values = [str(row[name]) for table, names in columns.items() for row in world[table] for name in names]
        assert [] == [value for value in values if not re.search(secret, value)]


class TestCommand:
    """``imlib sample``, and ``--sample`` of the commands that ask."""

    @pytest.fixture(autouse=True)
    def no_servers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name none; what a command takes out of the environment is put back."""
        for name in ("IMLIB_REDIS_URL", "IMLIB_DATABASE_URL", "IMLIB_REPLICA_URL"):
            monkeypatch.delenv(name, raising=False)

    def test_fills_the_servers_that_are_named(
        self, redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It goes in once, with exit code 0; a second time is an error in one line, with exit code 2."""
        monkeypatch.setenv("IMLIB_REDIS_URL", redis_url)
        monkeypatch.setenv("IMLIB_DATABASE_URL", database_url)
        assert 0 == main(["sample"])
        assert f"the sample world, with {len(PLANTED)} planted faults" in capsys.readouterr().out
        assert 2 == main(["sample"])
        refusal = capsys.readouterr()
        assert "" == refusal.out
        assert re.fullmatch(r"imlib: the Redis database holds \d+ keys, and .*: nothing was written.*\n", refusal.err)

    def test_wants_both_servers(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Half a world in a private database would be gone at once."""
        monkeypatch.setenv("IMLIB_REDIS_URL", "redis://localhost:1")
        assert 2 == main(["sample"])
        assert "set IMLIB_DATABASE_URL" in capsys.readouterr().err

    def test_exports(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Files need no server; a folder that cannot be made is one clear line."""
        with private_folder() as folder:
            assert 0 == main(["sample", "--export", str(folder / "new")])
            assert {path.name for path in DATA.iterdir()} == {path.name for path in (folder / "new").iterdir()}
            capsys.readouterr()
            assert 2 == main(["sample", "--export", str(folder / "new" / "users.csv" / "below")])
            assert re.fullmatch(r"imlib: .* cannot be written: .*\n", capsys.readouterr().err)

    def test_asks_the_sample_world(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """`who --sample` answers the same at any time, on no server of anybody's, replica or not."""
        monkeypatch.setenv("IMLIB_REDIS_URL", "redis://localhost:1")
        monkeypatch.setenv("IMLIB_REPLICA_URL", "sqlite:///nowhere.db")
        assert 0 == main(["who", "2", "6", "--sample", "--format", "json"])
        shown = capsys.readouterr()
        assert [(2, NOW - 9), (2, NOW - 5), (6, NOW - 3)] == [(s["user_id"], s["now"]) for s in json.loads(shown.out)]
        assert len([subject for subject in planted("malformed") if "online_6" in subject]) == len(
            shown.err.splitlines()
        )
        assert 1 == main(["who", "12", "--sample"])
        assert 0 == main(["servers", "--sample"])
