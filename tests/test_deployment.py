"""A deployment: scratch is empty or refused, read-only never writes, closed is closed, and TLS is
spoken.
"""

from __future__ import annotations

import datetime
import ipaddress
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

import imlib
from imlib import scratch
from imlib.scratch import DeadlineShifter
from imlib.servers import redis_pipeline
from tests.private_servers.process import free_port
from tests.private_servers.redis import PrivateRedis, private_redis

STATUS = imlib.SessionStatus(7, 1, 2, 3, 4, 1_512_270_533)
ACCESSORS = sorted(
    name for name in imlib.__all__ if name.startswith("get_") and name.endswith("_model")
)


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateRedis]:
    """Give a server for all tests of this file."""
    with private_redis() as opened:
        yield opened


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return the path of a SQLite file that is not there yet."""
    return tmp_path / "imlib.db"


class TestScratch:
    """For lessons: what is not empty is refused untouched, what was used is emptied."""

    def test_refuses_a_redis_that_holds_something(
        self, server: PrivateRedis, database: Path
    ) -> None:
        """One key is enough; it stays."""
        with imlib.connect(server.url, f"sqlite:///{database}") as deployment:
            deployment.redis.set("somebodys", "key")
            with pytest.raises(imlib.NotEmptyError, match="the Redis database holds 1 key"):
                imlib.connect(server.url, f"sqlite:///{database}", scratch=True)
            assert b"key" == deployment.redis.get("somebodys")
            deployment.redis.flushall()

    def test_refuses_a_database_that_holds_something(
        self, server: PrivateRedis, database: Path
    ) -> None:
        """One table is enough; it stays."""
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("CREATE TABLE somebodys (id INTEGER)")
        with pytest.raises(imlib.NotEmptyError, match="the SQL database holds 1 table"):
            imlib.connect(server.url, f"sqlite:///{database}", scratch=True)
        assert ["somebodys"] == tables(database)

    def test_uses_another_database_of_a_server_that_holds_something(
        self, server: PrivateRedis, database: Path
    ) -> None:
        """Redis's databases are separate: the lesson's is emptied, the other isn't."""
        with imlib.connect(server.url, f"sqlite:///{database}") as real:
            real.redis.set("somebodys", "key")
            with imlib.connect(
                f"{server.url}?db=1", f"sqlite:///{database}", scratch=True
            ) as lesson:
                lesson.online_status.set_online(STATUS)
                assert 1 == lesson.redis.dbsize()
            assert 1 == real.redis.dbsize()
            real.redis.flushall()

    @pytest.mark.parametrize("ends", ["close", "with", "error", "exit"])
    def test_is_emptied_at_its_end(self, server: PrivateRedis, database: Path, ends: str) -> None:
        """Nothing that was written stays, in Redis or in SQL, however the lesson ends."""
        lesson = (
            "import imlib, sys, sqlalchemy\n"
            "deployment = imlib.connect(sys.argv[1], sys.argv[2], scratch=True)\n"
            "deployment.online_status.set_online(imlib.SessionStatus(7, 1, 2, 3, 4, 5))\n"
            "with deployment.engine.begin() as connection:\n"
            "    connection.execute(sqlalchemy.text('CREATE TABLE lesson (id INTEGER)'))\n"
            "assert deployment.redis.dbsize() == 1\n"
        )
        end = {
            "close": "deployment.close()",
            "with": "with deployment: pass",
            "error": "1 / 0",
            "exit": "",
        }[ends]
        program = [sys.executable, "-c", lesson + end, server.url, f"sqlite:///{database}"]
        run = subprocess.run(program, capture_output=True, text=True, check=False)
        assert (1 if ends == "error" else 0) == run.returncode, run.stderr
        assert [] == tables(database)
        with imlib.connect(server.url, f"sqlite:///{database}", scratch=True) as next_lesson:
            assert 0 == next_lesson.redis.dbsize()

    def test_a_forked_child_empties_nothing(self, server: PrivateRedis, database: Path) -> None:
        """A child that closes what it inherited leaves its parent's lesson alone."""
        lesson = (
            "import imlib, os, sys\n"
            "with imlib.connect(sys.argv[1], sys.argv[2], scratch=True) as deployment:\n"
            "    deployment.online_status.set_online(imlib.SessionStatus(7, 1, 2, 3, 4, 5))\n"
            "    if child := os.fork():\n"
            "        os.waitpid(child, 0)\n"
            "        print(deployment.redis.dbsize())\n"
        )
        program = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            lesson,
            server.url,
            f"sqlite:///{database}",
        ]
        assert "1\n" == subprocess.run(program, capture_output=True, text=True, check=True).stdout

    def test_whose_server_is_gone(self, database: Path) -> None:
        """It can't be emptied, says so, and is closed all the same."""
        with private_redis() as server:
            deployment = imlib.connect(server.url, f"sqlite:///{database}", scratch=True)
            server.stop()
            with pytest.warns(imlib.FallbackWarning, match="could not be emptied"):
                deployment.close()
            assert deployment.closed

    def test_whose_user_may_not_ask_for_the_time(self, server: PrivateRedis) -> None:
        """A clock can't be turned where nobody can tell what is left of a deadline: one line says
        what is denied.
        """
        with redis.Redis.from_url(server.url) as client:
            client.execute_command(
                "ACL SETUSER", "timeless", "on", "nopass", "~*", "+@all", "-time"
            )
            client.execute_command("AUTH", "timeless", "")
            with pytest.raises(imlib.AccessDeniedError, match="'time' command"):
                DeadlineShifter(client, imlib.ManualClock(0), field_lease=False)

    def test_whose_server_cannot_tell_deadlines(self, server: PrivateRedis) -> None:
        """A clock is not turned alone where deadlines can't be: an old server, or who may not ask,
        is told so.
        """
        clock = imlib.ManualClock(0)
        with redis.Redis.from_url(server.url) as client:
            client.execute_command(
                "ACL SETUSER", "blind", "on", "nopass", "~*", "+@all", "-pexpiretime"
            )
            client.set("key", "value", ex=15)
            client.execute_command("AUTH", "blind", "")
            with pytest.raises(imlib.AccessDeniedError, match="'pexpiretime' command"):
                DeadlineShifter(client, clock, field_lease=False).advance(100)
            client.delete("key")
        assert 0 == clock()

    def test_whose_server_is_older_than_redis_7(self, database: Path) -> None:
        """It does not tell its keys' deadlines: the clock stays, and which servers do is said."""
        clock = imlib.ManualClock(STATUS.now)
        with (
            private_redis("--rename-command", "PEXPIRETIME", "") as server,
            imlib.connect(
                server.url, f"sqlite:///{database}", scratch=True, clock=clock
            ) as deployment,
        ):
            deployment.online_status.set_online(STATUS)
            with pytest.raises(imlib.UnsupportedServerError, match="Redis 7 or newer"):
                deployment.advance(10)
            assert STATUS.now == clock()
            assert 10 < deployment.redis.ttl("online_7")

    def test_a_clock_moves_any_number_of_deadlines_in_a_few_round_trips(
        self, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many fields there are, few real milliseconds go by while they are moved."""
        asked: list[int] = []
        round_trip = redis_pipeline.round_trip

        def counted(client: Any, commands: list[Any]) -> list[Any]:
            asked.append(len(commands))
            return round_trip(client, commands)

        monkeypatch.setattr(scratch, "round_trip", counted)
        clock = imlib.ManualClock(STATUS.now)
        with imlib.connect("embedded://", "embedded://", scratch=True, clock=clock) as deployment:
            deployment.online_status.renew(
                replace(STATUS, session_id=number) for number in range(1000)
            )
            deployment.redis.set("other", "x", px=20_000)
            asked.clear()
            deployment.advance(14)
            assert 3 == len(asked)
            assert 1000 == deployment.online_status.count_online().sessions
            deployment.advance(1)
            assert 0 == deployment.redis.exists("online_7")
            assert 4_000 < deployment.redis.pttl("other") < 10_000
            deployment.advance(10**12)
            assert 0 == deployment.redis.dbsize()

    @pytest.mark.parametrize("options", [{}, {"scratch": True}, {"clock": imlib.ManualClock(0)}])
    def test_only_its_clock_can_be_turned(
        self, server: PrivateRedis, database: Path, options: dict[str, Any]
    ) -> None:
        """Real deadlines are never moved: without a scratch deployment's own clock, turning is
        refused.
        """
        with (
            imlib.connect(server.url, f"sqlite:///{database}", **options) as deployment,
            pytest.raises(
                imlib.ConfigurationError, match="only a scratch deployment's clock can be advanced"
            ),
        ):
            deployment.advance(1)


def tables(database: Path) -> list[str]:
    """Return the names of the tables of a SQLite file, but for SQLite's own, which
    nobody can drop.
    """
    with closing(sqlite3.connect(database)) as connection:
        names = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
    return [name for name in names if not name.startswith("sqlite_")]


def test_read_only_refuses_every_write_and_reads_on(server: PrivateRedis, database: Path) -> None:
    """A write raises before anything is sent, and says that nothing was changed; looking works."""
    with imlib.connect(server.url, f"sqlite:///{database}", clock=lambda: STATUS.now) as owner:
        owner.online_status.set_online(STATUS)
        before = owner.redis.dump("online_7")
        with imlib.connect(
            server.url, f"sqlite:///{database}", read_only=True, clock=lambda: STATUS.now
        ) as looker:
            model = looker.online_status
            writes: list[Callable[[], object]] = [
                lambda: model.set_online(STATUS),
                lambda: model.set_offline(STATUS),
                lambda: model.renew([STATUS]),
                lambda: model.renew([]),
            ]
            for write in writes:
                with pytest.raises(imlib.ReadOnlyError, match="nothing was changed") as caught:
                    write()
                assert "\n" not in str(caught.value)
            assert [STATUS] == model.get_online_by_user_id(7)
            assert 1 == len(looker.snapshot().sessions)
            assert looker.read_only
        assert before == owner.redis.dump("online_7")
        owner.redis.flushall()


@pytest.mark.parametrize("name", ACCESSORS)
def test_accessors_before_connect(name: str) -> None:
    """In a new process an accessor says what to call, in one line and without another library's
    words.
    """
    program = (
        f"import imlib\ntry:\n    imlib.{name}()\n"
        "except imlib.NotConnectedError as error:\n    print(error)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("no deployment is connected: call imlib.connect() first.")
    assert 1 == said.count("\n")


def test_accessors_give_the_last_deployment_until_it_is_closed(
    server: PrivateRedis, database: Path
) -> None:
    """The last one connected counts; once it is closed the accessors refuse, and so does all that
    it gave out.
    """
    assert "get_online_status_model" in ACCESSORS
    with imlib.connect(server.url, f"sqlite:///{database}") as first:
        with imlib.connect(server.url, f"sqlite:///{database}") as second:
            assert second.online_status is imlib.get_online_status_model()
            assert first.online_status is not second.online_status
        model = second.online_status
        for name in ACCESSORS:
            with pytest.raises(
                imlib.NotConnectedError,
                match=r"the deployment is closed: call imlib\.connect\(\) first",
            ):
                getattr(imlib, name)()
        uses: list[Callable[[], object]] = [
            lambda: model.set_online(STATUS),
            lambda: model.set_offline(STATUS),
            lambda: model.get_online_by_user_id(7),
            lambda: model.get_online_by_user_id_list([]),
            lambda: list(model.iter_online()),
            model.count_online,
            model.malformed,
            second.snapshot,
            lambda: second.redis,
            lambda: second.engine,
            lambda: second.replica,
            lambda: second.advance(1),
        ]
        for use in uses:
            with pytest.raises(imlib.NotConnectedError):
                use()
        second.close()
        assert "closed" in repr(second)
        assert [] == first.online_status.get_online_by_user_id(7)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a self-signed certificate for the loopback interface and its key, made anew."""
    # Comes with pymysql's [rsa], which imlib asks for.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return paths


@pytest.fixture(scope="module")
def port(certificate: tuple[Path, Path]) -> Iterator[int]:
    """Give the port of a server that speaks TLS alone."""
    port = free_port()
    paths = ["--tls-cert-file", str(certificate[0]), "--tls-key-file", str(certificate[1])]
    with private_redis(
        "--tls-port", str(port), "--bind", "127.0.0.1", "--tls-auth-clients", "no", *paths
    ):
        yield port


class TestTls:
    """rediss:// is TLS, checked against the certificates that one trusts."""

    def test_with_the_certificate_it_works(
        self, port: int, certificate: tuple[Path, Path], database: Path
    ) -> None:
        """Presence is written and read as anywhere."""
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={quote(str(certificate[0]))}"
        with imlib.connect(
            url, f"sqlite:///{database}", scratch=True, clock=lambda: STATUS.now
        ) as deployment:
            deployment.online_status.set_online(STATUS)
            assert [STATUS] == deployment.online_status.get_online_by_user_id(7)

    @pytest.mark.parametrize("scheme", ["rediss", "redis"])
    def test_without_it_there_is_one_clear_error(
        self, port: int, database: Path, scheme: str
    ) -> None:
        """A certificate that nobody vouches for is refused; so is speaking plainly to a server that
        wants TLS.
        """
        with pytest.raises(imlib.UnavailableError) as caught:
            imlib.connect(f"{scheme}://localhost:{port}/0", f"sqlite:///{database}")
        assert f"localhost:{port}" in str(caught.value)
        assert "\n" not in str(caught.value)


class TestClosingAScratchDeploymentWhoseServersAreGone:
    """What cannot be emptied is said in a warning; the rest is emptied, and the deployment is
    closed.
    """

    def test_redis_is_gone(self, tmp_path: Path) -> None:
        """The database is emptied although Redis, which comes first, could not be."""
        file = tmp_path / "lesson.db"
        with private_redis() as server:
            deployment = imlib.connect(server.url, f"sqlite:///{file}", scratch=True)
        with pytest.warns(
            imlib.FallbackWarning, match="could not be emptied: Redis at .* cannot be reached"
        ):
            deployment.close()
        with closing(sqlite3.connect(file)) as connection:
            left = connection.execute(
                "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
            ).fetchall()
        assert ([], True) == (left, deployment.closed)

    def test_the_database_is_spoilt(self, server: PrivateRedis, tmp_path: Path) -> None:
        """Redis is emptied although the database cannot be read any more, and no other library's
        error comes out.
        """
        file = tmp_path / "lesson.db"
        deployment = imlib.connect(server.url, f"sqlite:///{file}", scratch=True)
        deployment.redis.set("lesson", 1)
        deployment.engine.dispose()
        for part in tmp_path.glob("lesson.db*"):
            part.write_bytes(b"no database at all " * 100)
        with pytest.warns(imlib.FallbackWarning, match="could not be emptied"):
            deployment.close()
        with imlib.connect(server.url) as after:
            assert 0 == after.redis.dbsize()


def test_a_clock_is_not_turned_back() -> None:
    """What Redis has deleted does not come back, so a negative turn is refused, and
    nothing moves.
    """
    clock = imlib.ManualClock(1512270533)
    with imlib.connect("embedded://", "embedded://", scratch=True, clock=clock) as deployment:
        with pytest.raises(imlib.InvalidValueError, match="cannot be advanced by -1"):
            deployment.advance(-1)
        assert 1512270533 == clock()
