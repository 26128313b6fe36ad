"""The sample world, read from its files and written into servers; from the wheel too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import sqlalchemy as sa

import imlib
from imlib.cli import main
from imlib.models.records import Peer
from imlib.sample import NOW, PLANTED, folder
from imlib.schema import tables
from imlib.servers.redis import EMBEDDED
from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb
from tests.private_servers.redis import private_redis
from tools.notebook import ROOT
from tools.sample_world import DATA, generate

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
    """Return a table's rows as its driver gives them, moments as text, in the order of
    their ids.
    """
    with engine.connect() as connection:
        found = connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY id")).mappings().all()
    return [
        {name: str(v) if hasattr(v, "isoformat") else v for name, v in row.items()} for row in found
    ]


def planted(check: str) -> list[str]:
    """Return the subjects of one kind of fault."""
    return [fault.subject for fault in PLANTED if fault.check == check]


def held(deployment: imlib.Deployment) -> dict[str, tuple[str, list[tuple[bytes, bytes]]]]:
    """Return what Redis holds: by key its kind and its entries, in order."""
    client: Any = deployment.redis
    found = {}
    for key in client.scan_iter():
        kind = client.type(key).decode()
        match kind:
            case "hash":
                entries = sorted(client.hgetall(key).items())
            case "string":
                entries = [(b"", client.get(key))]
            case _:
                entries = [(b"", word) for word in client.lrange(key, 0, -1)]
        found[key.decode()] = (kind, entries)
    return found


def test_loaded_rows_are_the_generated_ones(redis_url: str, database_url: str) -> None:
    """On SQLite and MariaDB alike all arrives as it was made: rows with NULL as NULL, and every key
    to the byte.
    """
    world = generate()
    with imlib.connect(
        redis_url, database_url, scratch=True, clock=imlib.ManualClock(NOW)
    ) as deployment:
        deployment.load_sample()
        for name, expected in world.tables.items():
            assert expected == rows(deployment.engine, name), name
        keys = {key.name: key for key in world.redis()}
        assert {name: (key.kind, sorted(key.entries)) for name, key in keys.items()} == held(
            deployment
        )
        client: Any = deployment.redis
        for name, key in keys.items():
            ttl = client.pttl(name)
            if key.ttl_s is None:
                assert -1 == ttl, name
            else:
                assert key.ttl_s * 1000 - 5000 < ttl <= key.ttl_s * 1000, name


def test_every_report_is_moved_by_as_much() -> None:
    """By a clock 100 s on all reports are, in both layouts, 100 s later; what is no session stays
    as it is.
    """
    with imlib.connect(EMBEDDED, EMBEDDED, clock=imlib.ManualClock(NOW + 100)) as deployment:
        deployment.load_sample()
        found = held(deployment)
    made = {key.name: dict(key.entries) for key in generate().redis()}
    [(sound, _)] = [entry for entry in made["online_6"].items() if entry[1].endswith(b"_2_1013")]
    assert [b"1512270621", b"1512270626", b"1512270631"] == sorted(
        match[0] for _, value in found["online_5"][1] for match in re.finditer(rb"\d{10}", value)
    )
    assert made["online_6"] | {sound: b"1512270630_2_1013"} == dict(found["online_6"][1])
    assert [(b"1_2", b"1512270633_3_99")] == found["online_bob"][1]
    assert [(b"", b"17")] == found["seq_updates_ngen_1"][1]


def test_models_go_on_from_it(redis_url: str, database_url: str) -> None:
    """A message sent into the world gets the next id and the next pts, beyond a Redis that was
    ahead.
    """
    with imlib.connect(
        redis_url, database_url, scratch=True, clock=imlib.ManualClock(NOW)
    ) as deployment:
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
    assert {1: 2, 2: 2, 4: 0, 11: 0, 12: 0} == {
        user_id: len(sessions) for user_id, sessions in online.items()
    }


def test_a_turned_clock_finds_deadlines_where_the_files_say() -> None:
    """A key with 13 s left is there after 12 s of the turned clock, and gone after 13."""
    stood_still = True
    while stood_still:
        with imlib.connect(
            EMBEDDED, EMBEDDED, scratch=True, clock=imlib.ManualClock(NOW)
        ) as deployment:
            deployment.load_sample()
            begun = time.monotonic()
            deployment.advance(12)
            there = deployment.redis.exists("online_1")
            # A machine that stands still for the last second tells nothing: Redis's clock goes on.
            stood_still = time.monotonic() - begun > 0.9
            deployment.advance(1)
            assert 0 == deployment.redis.exists("online_1")
            assert 1 == deployment.redis.exists("online_4")
    assert 1 == there


@pytest.mark.parametrize(
    ("fill", "holds"),
    [
        (lambda own: own.redis.set("x", 1), "^the Redis database holds 1 keys, "),
        (lambda own: own.users.create_user("+1", "A"), "^the table users holds rows, "),
    ],
)
def test_it_goes_only_where_nothing_is(
    fill: Callable[[imlib.Deployment], object], holds: str
) -> None:
    """With a key in Redis or a row in a table it is refused, and nothing is written."""
    with imlib.connect(EMBEDDED, EMBEDDED) as deployment:
        fill(deployment)
        keys = deployment.redis.dbsize()
        with pytest.raises(imlib.NotEmptyError, match=f"{holds}.*: nothing was written$"):
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
    with (
        imlib.connect(EMBEDDED, EMBEDDED, read_only=True) as deployment,
        pytest.raises(imlib.ReadOnlyError),
    ):
        deployment.load_sample()


def test_redis_that_fails_leaves_the_tables_empty(redis_url: str, database_url: str) -> None:
    """All or nothing: where Redis refuses its part, the tables stay empty too."""
    with imlib.connect(redis_url, database_url, clock=imlib.ManualClock(NOW)) as deployment:
        deployment.redis.config_set("maxmemory", "1")
        with pytest.raises(imlib.ImlibError):
            deployment.load_sample()
        assert [] == rows(deployment.engine, "users")
        assert 0 == deployment.redis.dbsize()


def test_deployed_tables_get_zero_dates(redis_url: str, mariadb: PrivateMariaDB) -> None:
    """In tables that the deployed server made "never" is a zero date, and the models read it as
    never.
    """
    url = mariadb.new_database("utf8")
    name = url.split("/")[3].split("?")[0]
    mariadb.run(DUMP.read_text(encoding="utf-8"), name)
    mariadb.run("".join(f"DELETE FROM {table};\n" for table in tables), name)
    with imlib.connect(
        redis_url, url, layout="deployed", clock=imlib.ManualClock(NOW)
    ) as deployment:
        deployment.load_sample()
        found = {row["id"]: row["deleted_at"] for row in rows(deployment.engine, "users")}
        assert ("0000-00-00 00:00:00", "2017-11-26 03:08:53") == (found[1], found[12])
        user = deployment.users.get_user(1)
        assert user is not None
        assert user.deleted_at is None


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder in which nothing but the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    ZipFile(wheel).extractall(folder)
    return folder


def test_the_wheel_carries_it(installed: Path) -> None:
    """Installed without a checkout imlib has the same files, and loads them."""
    asks = (
        "import imlib.cli, imlib.sample as it; print(it.folder()); imlib.cli.main(['who', '2', "
        "'--sample'])"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", asks]
    done = subprocess.run(
        command, cwd=installed, env=environment, check=True, capture_output=True, text=True
    )
    where, answer, *sessions = done.stdout.splitlines()
    assert installed / "imlib" / "_data" / "sample" == Path(where)
    assert {path.name: path.read_bytes() for path in DATA.iterdir()} == {
        path.name: path.read_bytes() for path in Path(where).iterdir()
    }
    assert ("user 2: online", 2) == (answer, sum("reported at" in line for line in sessions))


def test_a_checkout_has_it_where_it_lies() -> None:
    """Without a wheel, in an editable install, the files are the repository's."""
    assert DATA == folder()


def test_asks_the_sample_world(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`who --sample` answers the same at any time, on no server of anybody's, replica or not."""
    monkeypatch.setenv("IMLIB_REDIS_URL", "redis://localhost:1")
    monkeypatch.delenv("IMLIB_DATABASE_URL", raising=False)
    monkeypatch.setenv("IMLIB_REPLICA_URL", "sqlite:///nowhere.db")
    assert 0 == main(["who", "2", "6", "--sample", "--format", "json"])
    shown = capsys.readouterr()
    assert [(2, NOW - 9), (2, NOW - 5), (6, NOW - 3)] == [
        (s["user_id"], int(s["now"])) for s in json.loads(shown.out)
    ]
    assert len([subject for subject in planted("malformed") if "online_6" in subject]) == len(
        shown.err.splitlines()
    )
    assert 1 == main(["who", "12", "--sample"])
    assert 0 == main(["servers", "--sample"])


class TestCommand:
    """``imlib sample``: into servers, or into files."""

    @pytest.fixture(autouse=True)
    def no_servers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name none; what a command takes out of the environment is put back."""
        for name in ("IMLIB_REDIS_URL", "IMLIB_DATABASE_URL", "IMLIB_REPLICA_URL"):
            monkeypatch.delenv(name, raising=False)

    def test_fills_the_servers_that_are_named(
        self,
        redis_url: str,
        database_url: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """It goes in once, with exit code 0; a second time is an error in one line, with exit code
        2.
        """
        monkeypatch.setenv("IMLIB_REDIS_URL", redis_url)
        monkeypatch.setenv("IMLIB_DATABASE_URL", database_url)
        assert 0 == main(["sample"])
        assert f"the sample world, with {len(PLANTED)} planted faults" in capsys.readouterr().out
        assert 2 == main(["sample"])
        refusal = capsys.readouterr()
        assert "" == refusal.out
        assert re.fullmatch(
            r"imlib: the Redis database holds \d+ keys, and .*: nothing was written.*\n",
            refusal.err,
        )

    def test_wants_both_servers(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Half a world in a private database would be gone at once."""
        monkeypatch.setenv("IMLIB_REDIS_URL", "redis://localhost:1")
        assert 2 == main(["sample"])
        assert "set IMLIB_DATABASE_URL" in capsys.readouterr().err

    def test_exports(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """Files need no server, and may go into a folder that is there; one that cannot be made is
        one clear line.
        """
        for _ in range(2):
            assert 0 == main(["sample", "--export", str(tmp_path / "new")])
        assert {path.name for path in DATA.iterdir()} == {
            path.name for path in (tmp_path / "new").iterdir()
        }
        capsys.readouterr()
        assert 2 == main(["sample", "--export", str(tmp_path / "new" / "users.csv" / "below")])
        assert re.fullmatch(
            r"imlib: .*users\.csv.* cannot be written: .*\n", capsys.readouterr().err
        )
