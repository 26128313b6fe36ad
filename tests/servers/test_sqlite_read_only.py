"""A SQLite file that is only read: no byte of it changes, and no file is left beside it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import imlib
from imlib.servers.sql import make_engine, ping
from tests.private_servers.process import private_folder

ROWS = 20_000


@pytest.fixture(params=["WAL", "DELETE"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a database that nobody has open."""
    path = tmp_path / "im ä?#%.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"PRAGMA journal_mode = {request.param}")
        connection.execute("CREATE TABLE t (a int)")
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(ROWS)])
    return path


def url_of(path: Path) -> str:
    """Return the URL of a file whose name needs quoting."""
    return "sqlite:///" + str(path).replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def held(folder: Path) -> dict[str, tuple[str, int]]:
    """Return what the files of a folder hold, and when each was changed; not the shared memory."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if not path.name.endswith("-shm")
    }


def killed(path: Path, *statements: str) -> None:
    """Run statements in a process that then dies without a goodbye."""
    lines = [
        "import os, sqlite3, sys",
        "connection = sqlite3.connect(sys.argv[1])",
        "connection.execute('PRAGMA cache_size = 5')",
        *[f"connection.execute({statement!r})" for statement in statements],
        "os._exit(0)",
    ]
    subprocess.run([sys.executable, "-c", "\n".join(lines), str(path)], check=True)


def looked_at(path: Path) -> int:
    """Look at a database in every way, and return the rows that a snapshot found."""
    with imlib.connect("embedded://", url_of(path), read_only=True) as deployment:
        with deployment.engine.connect() as connection, pytest.raises(Exception, match="readonly"):
            connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        return len(deployment.snapshot().tables["t"])


def test_one_that_nobody_has_open(file: Path) -> None:
    """Neither its bytes nor its folder change."""
    before, files = held(file.parent), sorted(os.listdir(file.parent))
    assert ROWS == looked_at(file)
    assert before == held(file.parent)
    assert files == sorted(os.listdir(file.parent))


def test_one_whose_writer_died(tmp_path: Path) -> None:
    """What a dead writer committed into the log is read, and stays in the log."""
    path = tmp_path / "im.db"
    killed(
        path,
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE t (a int)",
        "PRAGMA wal_autocheckpoint = 0",
        "INSERT INTO t VALUES (1)",
        "COMMIT",
    )
    before = held(tmp_path)
    assert ["im.db", "im.db-wal"] == sorted(before)
    assert 1 == looked_at(path)
    assert before == held(tmp_path)


def test_one_that_somebody_has_open(tmp_path: Path) -> None:
    """A writer that is there keeps its files, and goes on."""
    path = tmp_path / "im.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("CREATE TABLE t (a int)")
        before = held(tmp_path)
        assert 0 == looked_at(path)
        assert before == held(tmp_path)
        with writer:
            writer.execute("INSERT INTO t VALUES (1)")
        assert 1 == looked_at(path)
    assert ["im.db"] == os.listdir(tmp_path)


def test_a_writer_that_comes_meanwhile(tmp_path: Path) -> None:
    """A writer that opens the file while it is read keeps the log that it wrote into."""
    path = tmp_path / "im.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a int)")
    engine = make_engine(url_of(path), read_only=True)
    ping(engine)
    with closing(sqlite3.connect(path)) as writer:
        with writer:
            writer.execute("INSERT INTO t VALUES (1)")
        engine.dispose()
        assert (tmp_path / "im.db-wal").stat().st_size
        assert [(1,)] == writer.execute("SELECT a FROM t").fetchall()


def test_a_change_that_was_cut_off(tmp_path: Path) -> None:
    """A hot rollback journal is refused with what to do, and nothing is rolled back."""
    path = tmp_path / "im.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (a int)")
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(ROWS)])
    killed(path, "UPDATE t SET a = a + 1")
    before = held(tmp_path)
    assert ["im.db", "im.db-journal"] == sorted(before)
    with pytest.raises(imlib.UnavailableError, match="open it once with a program that may write"):
        looked_at(path)
    assert before == held(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT * FROM t").fetchall()
    assert ROWS == looked_at(path)


def test_a_folder_that_takes_no_files() -> None:
    """A database with a log, in a folder that takes no files, says so and what to do."""
    with private_folder() as folder:
        path = folder / "im.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE t (a int)")
        folder.chmod(0o555)
        read, write = os.pipe()
        if not (child := os.fork()):
            answer = "nothing"
            try:
                if os.getuid() == 0:
                    os.setuid(65_534)  # root may write everywhere
                ping(make_engine(url_of(path), read_only=True))
            except BaseException as problem:
                answer = f"{type(problem).__name__}: {problem}"
            finally:
                os.write(write, answer.encode())
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with open(read, encoding="utf-8") as pipe:
            said = pipe.read()
        assert said.startswith("UnavailableError")
        assert "PRAGMA journal_mode = DELETE" in said
        assert ["im.db"] == os.listdir(folder)
        folder.chmod(0o700)
