"""A private MariaDB."""

from __future__ import annotations

import atexit
import functools
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
from pymysql.cursors import Cursor, DictCursor

from tests.private_servers.process import PrivateServer, free_port, private_folder
from tests.private_servers.programs import require


class PrivateMariaDB(PrivateServer):
    """Debian's mariadbd on a unix socket; what was committed survives `stop` and `start`.

    Parameters
    ----------
    folder : Path
        Where its data, its socket and its log stand.
    *arguments : str
        More of the server's own options.
    tcp : bool
        Whether it listens on a port of the loopback interface as well, as a replica's primary must.
    """

    def __init__(self, folder: Path, *arguments: str, tcp: bool = False) -> None:
        super().__init__(folder)
        program = require("mariadbd")
        shutil.copytree(_installed(), folder / "data")
        self.port = free_port() if tcp else 0
        network = (
            [f"--port={self.port}", "--bind-address=127.0.0.1"] if tcp else ["--skip-networking"]
        )
        self._command = [
            program,
            *_in_folder(folder),
            f"--socket={self.socket}",
            f"--pid-file={folder / 'pid'}",
        ]
        self._command += [*network, "--skip-name-resolve", "--innodb-buffer-pool-size=32M"]
        # Tests kill clients, never the machine: nothing needs to reach the disk.
        self._command += [
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
            *arguments,
        ]
        self._databases = 0
        self.start()

    def url(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"mysql+pymysql://root@/{database}?unix_socket={self.socket}"

    def new_database(self, charset: str = "utf8mb4") -> str:
        """Create an empty database and return its URL."""
        self._databases += 1
        name = f"im_{self._databases}"
        self.run(f"CREATE DATABASE {name} CHARACTER SET {charset}")
        return self.url(name)

    def run(self, script: str, database: str | None = None) -> None:
        """Run SQL statements, divided by semicolons at the end of a line, outside strict mode."""
        with self._connected(database) as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
            for statement in script.split(";\n"):
                if statement.strip():
                    cursor.execute(statement)

    def ask(self, statement: str) -> dict[str, object]:
        """Return the first row of an answer by its column names; an empty dict if there is none."""
        with self._connected() as connection, connection.cursor(DictCursor) as cursor:
            cursor.execute(statement)
            return cursor.fetchone() or {}

    def _connected(self, database: str | None = None) -> pymysql.Connection[Cursor]:
        return pymysql.connect(
            unix_socket=str(self.socket), user="root", database=database, autocommit=True
        )

    def _answers(self) -> bool:
        # pymysql leaves its own socket open when it finds nobody there.
        if not self.socket.exists():
            return False
        try:
            self._connected().close()
        except pymysql.OperationalError:
            return False
        return True


def _in_folder(folder: Path) -> list[str]:
    """Return the options that keep a server and its installation inside a folder."""
    # A tmpdir of its own: a server that starts removes the temporary tables of all that share it.
    temporary = folder / "tmp"
    temporary.mkdir()
    user = [f"--user={getpass.getuser()}"] if os.getuid() == 0 else []
    return [
        "--no-defaults",
        *user,
        f"--datadir={folder / 'data'}",
        f"--tmpdir={temporary}",
        "--innodb-log-file-size=8M",
    ]


@functools.cache
def _installed() -> Path:
    """Return the data of a server that never ran: made once per process, for it takes seconds."""
    install = require("mariadb-install-db")
    folder = Path(tempfile.mkdtemp(prefix="imlib-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = subprocess.run(
        [
            install,
            *_in_folder(folder),
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
    return folder / "data"


@contextmanager
def private_mariadb(*arguments: str) -> Iterator[PrivateMariaDB]:
    """Give a running `PrivateMariaDB`, and end it and remove its folder afterwards."""
    with private_folder() as folder, PrivateMariaDB(folder, *arguments) as server:
        yield server
