"""Looking changes nothing, needs few rights, survives what breaks under it, and tells no secret."""

from __future__ import annotations

import gc
import inspect
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

import imlib
from imlib.models.records import Peer
from imlib.snapshot import Snapshot
from imlib.snapshot.sessions import read_sessions
from imlib.snapshot.tables import read_tables as read
from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb
from tests.private_servers.redis import PrivateRedis, private_redis

REDIS_SECRET, SQL_SECRET = "s3cret-of-redis", "s3cret-of-sql"
RIGHTS = ["+@read", "+@read +@connection +time +info"]


@dataclass(frozen=True)
class World:
    """The sample world on a redis-server and a MariaDB, seen by their owner and by a reader of few
    rights.
    """

    redis: PrivateRedis
    mariadb: PrivateMariaDB
    owner: imlib.Deployment

    def reader(self, rights: str = RIGHTS[1]) -> imlib.Deployment:
        """Connect as who may read, and hardly anything else."""
        client: Any = self.owner.redis
        client.execute_command(
            "ACL", "SETUSER", "reader", "reset", "on", f">{REDIS_SECRET}", "~*", *rights.split()
        )
        return imlib.connect(*self.urls(), read_only=True)

    def urls(self) -> tuple[str, str]:
        """Return the reader's URLs, passwords and all."""
        redis = self.redis.url.replace("unix://", f"unix://reader:{REDIS_SECRET}@")
        return redis, f"mysql+pymysql://reader:{SQL_SECRET}@/im_1?unix_socket={self.mariadb.socket}"

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask MariaDB as its owner."""
        with self.owner.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Give the sample world; none of its keys lapses."""
    with (
        private_redis() as redis,
        private_mariadb() as mariadb,
        imlib.connect(redis.url, mariadb.new_database()) as owner,
    ):
        owner.load_sample()
        client: Any = owner.redis
        for key in client.keys("*"):
            client.persist(key)
        mariadb.run(f"CREATE USER reader@localhost IDENTIFIED BY '{SQL_SECRET}'")
        mariadb.run("GRANT SELECT ON im_1.* TO reader@localhost")
        yield World(redis, mariadb, owner)


def state_of_redis(client: Any) -> dict[str, Any]:
    """Return all that Redis holds, and what it counts of writes."""
    state = {key: (client.dump(key), client.ttl(key)) for key in sorted(client.keys("*"))}
    return state | {
        "changes": client.info("persistence")["rdb_changes_since_last_save"],
        "saved": client.lastsave(),
    }


def writes_of_redis(client: Any) -> set[str]:
    """Return the commands that may write and were called since the statistics were reset."""
    asked = {
        name.removeprefix("cmdstat_"): counts["calls"]
        for name, counts in client.info("commandstats").items()
    }
    known = client.command()
    return {
        name
        for name, calls in asked.items()
        if calls and "write" in known[name.partition("|")[0]]["flags"]
    }


WRITES = (
    "insert",
    "update",
    "delete",
    "replace",
    "create",
    "alter",
    "drop",
    "truncate",
    "load",
    "grant",
    "lock_tables",
)
COUNTERS = tuple(f"Innodb_rows_{name}ed" for name in ("insert", "updat", "delet")) + tuple(
    f"Com_{one}" for one in WRITES
)


def state_of_mariadb(world: World) -> dict[str, Any]:
    """Return a checksum of each table, and what MariaDB counts of writes."""
    tables = [name for (name,) in world.query("SHOW TABLES")]
    state: dict[str, Any] = dict(world.query(f"CHECKSUM TABLE {', '.join(tables)}"))
    counted = dict(world.query("SHOW GLOBAL STATUS"))
    return state | {name: counted[name] for name in counted if name.startswith(COUNTERS)}


@pytest.mark.parametrize("rights", RIGHTS)
def test_few_rights_are_enough_and_nothing_is_written(world: World, rights: str) -> None:
    """As a reader of Redis and of SELECT alone: the frames that the owner has, and not a byte or
    counter changed.
    """
    client: Any = world.owner.redis
    expected = world.owner.snapshot()
    with world.reader(rights) as reader:
        client.config_resetstat()
        redis, mariadb = state_of_redis(client), state_of_mariadb(world)
        taken = reader.snapshot()
        findings = taken.audit().rows
        assert set() == writes_of_redis(client)
        assert (redis, mariadb) == (state_of_redis(client), state_of_mariadb(world))
    assert expected.info["rows"] == taken.info["rows"]
    assert {} == taken.info["left_out"]
    names = ["user_id", "auth_key_id", "session_id", "server_id", "now", "layout"]
    pd.testing.assert_frame_equal(expected.sessions[names], taken.sessions[names])
    pd.testing.assert_frame_equal(expected.tables["message_boxes"], taken.tables["message_boxes"])
    # The sample's servers have too few users to tell their clocks by.
    assert {"server_clock"} == set(findings.loc[findings["severity"] == "skipped", "check"])
    assert len(findings) > 20


def test_a_reader_without_time_is_told_whose_clock_it_is(world: World) -> None:
    """Where TIME is not allowed, info says by what clock sessions were judged, and the skew is
    unknown.
    """
    with world.reader("+@read") as reader:
        info = reader.snapshot(tables=[]).info
    assert info["skew_s"] != info["skew_s"]
    assert "TIME is not allowed" in info["clock"]
    with world.reader() as reader:
        info = reader.snapshot(tables=[]).info
    assert ("Redis", True) == (info["clock"], abs(info["skew_s"]) < 60)


def test_what_may_not_be_read_is_an_error(world: World) -> None:
    """A Redis user who may not read hashes: no snapshot without its sessions, and one
    clear line.
    """
    with (
        world.reader("+scan +time +info +get") as reader,
        pytest.raises(imlib.AccessDeniedError) as caught,
    ):
        reader.snapshot(tables=[])
    assert "\n" not in str(caught.value)
    with world.reader("+@read -pttl") as reader, pytest.raises(imlib.AccessDeniedError):
        reader.snapshot(tables=[])


def test_counters_that_may_not_be_read(world: World) -> None:
    """Without GET the counters are not read, which is said, and none of them is malformed."""
    with world.reader("+@read -get") as reader:
        snapshot = reader.snapshot(tables=[])
    assert "get" in str(snapshot.info["redis_unfit"]["sequences"])
    assert "get" in str(snapshot.info["incomplete"])
    assert snapshot.malformed["key"].str.startswith("online_").all()


@pytest.mark.parametrize("denied", ["hscan"])
def test_a_refusal_is_not_taken_for_a_key_of_another_kind(world: World, denied: str) -> None:
    """A command that this user may not give is said, and does not make good keys malformed."""
    client: Any = world.owner.redis
    client.hset(
        "online_1000000", mapping={f"{number}_1": "1512270533_1_42" for number in range(1001)}
    )
    try:
        with (
            world.reader(f"+@read -{denied}") as reader,
            pytest.raises(imlib.AccessDeniedError, match=denied),
        ):
            reader.snapshot(tables=[])
    finally:
        client.delete("online_1000000")


def test_a_replica_that_lost_its_primary_says_nothing_of_anybody() -> None:
    """Who is online there is unknown: an error, and not an empty answer."""
    lost = ("--replicaof", "127.0.0.1", "1", "--replica-serve-stale-data", "no")
    with private_redis(*lost) as server, ExitStack() as stack:
        with pytest.warns(imlib.FallbackWarning, match="replica"):
            deployment = imlib.connect(server.url, "embedded://", read_only=True)
        stack.enter_context(deployment)
        with pytest.raises(imlib.UnavailableError, match="MASTER is down"):
            deployment.online_status.get_online_by_user_id_list([7])
        with pytest.raises(imlib.UnavailableError, match="MASTER is down"):
            deployment.snapshot(user_ids=[7])


STATUS = imlib.SessionStatus(7, -42, 1, 3, 99, 1_512_270_533)
MODELS = [
    "online_status",
    "sequences",
    "accounts",
    "chats",
    "dialogs",
    "messages",
    "updates",
    "users",
]
REFUSED: dict[str, Callable[[Any, Any], object]] = {
    "online_status.set_online": lambda model, _: model.set_online(STATUS),
    "online_status.set_offline": lambda model, _: model.set_offline(STATUS),
    "online_status.renew": lambda model, _: model.renew([STATUS]),
    "sequences.next_id": lambda model, _: model.next_id("7"),
    "sequences.next_ids": lambda model, _: model.next_ids("7", 3),
    "sequences.advance": lambda model, connection: model.advance(connection, ["7"]),
    "sequences.transaction": lambda model, _: model.transaction().__enter__(),
    "accounts.register_device": lambda model, _: model.register_device(1, 7, 1, "token"),
    "accounts.unregister_device": lambda model, _: model.unregister_device(1, "token"),
    "accounts.set_notify_settings": lambda model, _: model.set_notify_settings(7, Peer.user(8)),
    "accounts.reset_notify_settings": lambda model, _: model.reset_notify_settings(7),
    "chats.create_chat": lambda model, _: model.create_chat(7, "title", [8]),
    "chats.add_chat_participant": lambda model, _: model.add_chat_participant(1, 8, 7),
    "chats.delete_chat_user": lambda model, _: model.delete_chat_user(1, 7),
    "chats.edit_chat_title": lambda model, _: model.edit_chat_title(1, 7, "title"),
    "dialogs.create_or_update_by_last_message": lambda model, _: (
        model.create_or_update_by_last_message(7, 2, 8, 1)
    ),
    "dialogs.read_history": lambda model, _: model.read_history(7, Peer.user(8), 1),
    "dialogs.count_message": lambda model, connection: model.count_message(
        connection, [(7, Peer.user(8))], 1, set()
    ),
    "dialogs.mark_sent": lambda model, connection: model.mark_sent(connection, 7, Peer.user(8), 1),
    "messages.send_message": lambda model, _: model.send_message(7, Peer.user(8), "text"),
    "messages.create_history_message": lambda model, _: model.create_history_message(
        7, Peer.user(8), 1, "text"
    ),
    "messages.create_history_message_service": lambda model, _: (
        model.create_history_message_service(7, Peer.user(8), 1, {})
    ),
    "messages.create_message_boxes": lambda model, _: model.create_message_boxes(
        7, 7, Peer.user(8), False, 1
    ),
    "users.create_user": lambda model, _: model.create_user("+7", "Ann"),
}


@pytest.mark.parametrize("write", REFUSED)
def test_read_only_refuses_every_write(world: World, write: str) -> None:
    """Every write of every model is refused before it reaches a server."""
    name, _, _ = write.partition(".")
    client: Any = world.owner.redis
    before = state_of_redis(client), state_of_mariadb(world)
    with (
        imlib.connect(world.redis.url, world.mariadb.url("im_1"), read_only=True) as looking,
        looking.engine.connect() as connection,
        pytest.raises(imlib.ReadOnlyError, match="read_only=True"),
    ):
        REFUSED[write](getattr(looking, name), connection)
    assert before == (state_of_redis(client), state_of_mariadb(world))


def test_load_sample_is_a_write(world: World) -> None:
    """The sample world is not written into what may only be read."""
    with world.reader() as reader, pytest.raises(imlib.ReadOnlyError):
        reader.load_sample()


def test_no_write_was_forgotten(world: World) -> None:
    """Whatever a model's method does not call a look is in the list above."""
    looks = ["get_", "count_online", "iter_online", "malformed", "current"]
    looks += ["participants", "lock_participants"]
    with world.reader() as reader:
        methods = {
            f"{name}.{method}"
            for name in MODELS
            for method, _ in inspect.getmembers(getattr(reader, name), callable)
            if not method.startswith(("_", *looks))
        }
    assert methods == set(REFUSED)


# What breaks under it


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[tuple[PrivateRedis, imlib.Deployment]]:
    """Give a Redis with 5,000 users, to be killed, and a database beside it."""
    with private_redis() as server:
        with imlib.connect(server.url, f"sqlite:///{tmp_path / 'im.db'}") as writer:
            imlib.schema.create_all(writer.engine)
            fill(writer.redis)
        with imlib.connect(
            server.url, f"sqlite:///{tmp_path / 'im.db'}", read_only=True
        ) as deployment:
            yield server, deployment


def fill(client: Any) -> None:
    """Write 5,000 sessions."""
    with client.pipeline(transaction=False) as pipeline:
        for user_id in range(5_000):
            pipeline.hset(f"online_{user_id}", "1_1", "1512270533_1_42")
        pipeline.execute()


def once(kill: Callable[[], object]) -> Callable[..., None]:
    """Return a progress callback that does something when it is first called."""
    waiting = [kill]

    def report(*_: object) -> None:
        while waiting:
            waiting.pop()()

    return report


@pytest.mark.parametrize("keep_incomplete", [False, True])
def test_redis_killed_in_the_middle(
    fragile: tuple[PrivateRedis, imlib.Deployment],
    monkeypatch: pytest.MonkeyPatch,
    keep_incomplete: bool,
) -> None:
    """Half of the sessions are no snapshot, asked for or not; with the server back, the same
    deployment gives one.
    """
    server, deployment = fragile
    with monkeypatch.context() as patched:
        patched.setattr(
            "imlib.snapshot.take.read_sessions",
            lambda client, clock, users, *_: read_sessions(client, clock, users, once(server.stop)),
        )
        with pytest.raises(imlib.UnavailableError, match="cannot be reached") as caught:
            deployment.snapshot(keep_incomplete=keep_incomplete)
    assert "\n" not in str(caught.value)
    server.start()
    fill(deployment.redis)
    assert 5_000 == len(deployment.snapshot().sessions)


def test_redis_killed_at_the_very_end(
    fragile: tuple[PrivateRedis, imlib.Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When only the last reading of the sequences is missing, that too is no snapshot."""
    server, deployment = fragile

    def kill(context: Any, request: Any, progress: Any) -> Any:
        done = read(context, request, progress)
        server.stop()
        return done

    monkeypatch.setattr("imlib.snapshot.take.read_tables", kill)
    with pytest.raises(imlib.UnavailableError):
        deployment.snapshot()


# pymysql leaves its own socket open when it finds nobody there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("moment", ["before the tables", "among the tables"])
def test_the_database_killed_in_the_middle(
    moment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No half snapshot, unless asked for: then it is marked, in info, repr and saved; later all is
    well again.
    """
    # What was committed outlives the kill.
    with private_redis() as redis, private_mariadb("--innodb-flush-log-at-trx-commit=1") as mariadb:
        url = mariadb.new_database()
        with imlib.connect(redis.url, url) as writer:
            writer.load_sample()
        with imlib.connect(redis.url, url, read_only=True) as deployment:

            def kill(context: Any, request: Any, _: Any) -> Any:
                if moment == "before the tables":
                    mariadb.stop()
                return read(context, request, once(mariadb.stop))

            with monkeypatch.context() as patched:
                patched.setattr("imlib.snapshot.take.read_tables", kill)
                with pytest.raises(imlib.UnavailableError) as caught:
                    deployment.snapshot()
                assert "\n" not in str(caught.value)
                mariadb.start()
                kept = deployment.snapshot(keep_incomplete=True)
            mariadb.start()
            assert kept.info["incomplete"]
            assert "INCOMPLETE" in repr(kept)
            assert "Incomplete" in kept._repr_html_()
            assert len(kept.sequences) == 12
            assert {"redis only", "not read"} >= set(kept.sequences["state"])
            kept.save(tmp_path / "kept")
            assert (
                kept.info["incomplete"] == imlib.Snapshot.load(tmp_path / "kept").info["incomplete"]
            )
            assert "skipped" in set(kept.audit().rows["severity"])
            whole = deployment.snapshot()
            assert whole.info["incomplete"] is None
            assert 20 == len(whole.tables)
    gc.collect()  # pymysql's socket, within this test and its filter


def test_a_wrong_argument_is_never_incomplete(world: World) -> None:
    """What is wrong with the question is said, and not taken for trouble of the server's."""
    with world.reader() as reader, pytest.raises(imlib.InvalidValueError):
        reader.snapshot(tables=["nothing"], keep_incomplete=True)
    with (
        world.reader() as reader,
        pytest.raises(imlib.InvalidValueError, match="2147483648: user_id is outside"),
    ):
        reader.snapshot(user_ids=[2**31])


def test_one_user_is_a_list_of_one(world: World) -> None:
    """A user's id alone asks for the same as a list that holds it; what is neither is refused by
    its value.
    """
    with world.reader() as reader:
        one, listed = reader.snapshot(user_ids=7), reader.snapshot(user_ids=[7])
        assert 0 < len(one.sessions)
        assert {7} == set(one.sessions["user_id"])
        assert listed.info["rows"] == one.info["rows"]
        of_a_frame = reader.snapshot(
            user_ids=one.sessions["user_id"].unique()
        )  # numpy's own integers
        assert one.info["user_ids"] == of_a_frame.info["user_ids"]
        assert listed.info["user_ids"] == one.info["user_ids"] == [7]
        with pytest.raises(imlib.InvalidValueError, match="'seven': user_id must be an integer"):
            reader.snapshot(user_ids=["seven"])  # type: ignore[list-item]  # what is tested


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("int", "7", True),
        ("bigint unsigned", "7", True),
        ("bigint unsigned", "18446744073709551615", False),
        ("decimal(30,0)", "7", False),
        ("double", "1e300", False),
        ("varchar(30)", "'seven'", False),
        ("datetime", "'2017-12-03'", False),
    ],
)
def test_a_counter_of_another_type(world: World, kind: str, value: str, read: bool) -> None:
    """A table of sequences that was altered stands in its frame, and is compared only where it
    holds int64s.
    """
    url = world.mariadb.new_database()
    with sa.create_engine(url).begin() as connection:
        connection.execute(
            sa.text(f"CREATE TABLE seq_updates_ngen (seq_name varchar(9) PRIMARY KEY, seq {kind})")
        )
        connection.execute(
            sa.text(f"INSERT INTO seq_updates_ngen VALUES ('new', {value}), ('none', NULL)")
        )
    with imlib.connect(world.redis.url, url, read_only=True) as deployment:
        taken = deployment.snapshot()
    assert 2 == len(taken.tables["seq_updates_ngen"])
    states = taken.sequences.set_index("name")["state"]
    assert read == ("new" in states.index)
    assert read != ("not read" in set(states))


# What is large


@pytest.fixture(scope="module")
def crowded() -> Iterator[PrivateRedis]:
    """Give a Redis with 50,000 keys that are not ours, a user of 100,000 sessions, and one of a
    single session.
    """
    with (
        private_redis("--slowlog-max-len", "100000") as server,
        imlib.connect(server.url, "embedded://") as writer,
    ):
        client: Any = writer.redis
        client.mset({f"cache:{number}": "x" for number in range(50_000)})
        client.hset(
            "online_7", mapping={f"{number}_1": "1512270533_1_42" for number in range(100_000)}
        )
        client.hset("online_8", "1_1", "1512270533_1_42")
        yield server


@pytest.mark.parametrize("user_ids", [None, [7, 8]])
def test_large_keys_are_read_in_parts(crowded: PrivateRedis, user_ids: list[int] | None) -> None:
    """No command asks for more than about two thousand entries at once, and what is not ours is not
    asked for.
    """
    with imlib.connect(crowded.url, "embedded://", read_only=True) as deployment:
        client: Any = deployment.redis
        client.config_set(
            "slowlog-log-slower-than", 0
        )  # all of them: the machine's mood is no measure
        client.slowlog_reset()
        taken = deployment.snapshot(user_ids=user_ids)
        client.config_set("slowlog-log-slower-than", -1)
        asked = [entry["command"].split() for entry in client.slowlog_get(100_000)]
    assert 100_001 == len(taken.sessions)
    assert [] == [words for words in asked if b"HGETALL" in words and b"online_7" in words]
    assert [b"online_8"] == [words[1] for words in asked if words[0] == b"HGETALL"]
    assert not any(words[0] == b"KEYS" or b"cache:" in b" ".join(words) for words in asked)
    counts = {
        int(words[words.index(b"COUNT") + 1]) for words in asked if words[0] in (b"SCAN", b"HSCAN")
    }
    assert max(counts) <= 2000
    assert len([words for words in asked if words[0] == b"HSCAN"]) >= 90


# What is secret


def searchable(folder: Path) -> bytes:
    """Return all that the files of a snapshot hold: their bytes, and what these are once
    decompressed.
    """
    found = io.BytesIO()
    for path in folder.iterdir():
        found.write(path.name.encode() + path.read_bytes())
        content = pq.read_table(path)
        with pa.ipc.new_stream(found, content.schema) as writer:
            writer.write_table(content)
    return found.getvalue()


def secrets_of_the_sample() -> list[bytes]:
    """Return what must stand in no file: the sample's fakes, as text and as the bytes of 64-bit
    numbers.
    """
    from tools.sample_world import generate

    tables = generate().tables
    numbers = [row["salt"] for row in tables["auth_salts"]] + [
        row["access_hash"] for row in tables["users"]
    ]
    words = [
        b"FAKE",
        b"RkFLRS",
        *(str(row["phone"]).encode() for row in tables["users"]),
        b"constructor 0x90dddc11",
    ]
    words += [text.encode() for text in ("Kommst du heute", "192.0.2.", "@example.org")]
    return words + [int(number or 0).to_bytes(8, "little") for number in numbers]


def test_a_masked_snapshot_on_disk_holds_no_secret(world: World, tmp_path: Path) -> None:
    """None of the sample's secrets is in any file; the search would find them, for unmasked it
    does.
    """
    secrets = secrets_of_the_sample()
    world.owner.snapshot().save(tmp_path / "masked")
    assert [] == [secret for secret in secrets if secret in searchable(tmp_path / "masked")]
    unmask = [
        "devices.token",
        "auth_salts.salt",
        "users.access_hash",
        "auth_keys.body",
        "users.phone",
    ]
    world.owner.snapshot(
        unmask=[*unmask, "messages.message_data", "auth_users.ip", "user_privacys.recovery_mail"]
    ).save(tmp_path / "unmasked")
    shown = searchable(tmp_path / "unmasked")
    assert [] == [secret for secret in secrets if secret not in shown]


def test_passwords_and_keys_are_nowhere(world: World, tmp_path: Path) -> None:
    """No password of a URL and no mask key is in info, in a repr, in the audit or in a file."""
    mask_key = b"a mask key that nobody may see"
    with world.reader() as reader:
        taken = reader.snapshot(mask_key=mask_key)
    taken.save(tmp_path / "one")
    texts = [repr(taken), taken._repr_html_(), repr(taken.info), taken.audit().rows.to_csv()]
    for secret in (REDIS_SECRET.encode(), SQL_SECRET.encode(), mask_key):
        assert secret not in searchable(tmp_path / "one")
        assert not any(secret.decode() in text for text in texts)
    assert "reader:***@" in taken.info["database_at"]


def test_a_snapshot_outlives_its_deployment(world: World) -> None:
    """It holds no connection: closed or not, its frames are there; it is a context manager like the
    deployment.
    """
    with closing(world.reader()) as reader:
        taken = reader.snapshot()
    with taken as same:
        assert isinstance(same, Snapshot)
    assert 12 == taken.sql("SELECT count(*) AS n FROM users")["n"][0]
