"""A private MariaDB."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

from tests.private_servers.process import PrivateServer, private_folder
from tests.private_servers.programs import require


class PrivateMariaDB(PrivateServer):
    """Debian's mariadbd on a unix socket; what was committed survives `stop` and `start`.

    Parameters
    ----------
    folder : Path
        Where its data, its socket and its log stand.
    *arguments : str
        More of the server's own options.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(folder)
        program, install = require("mariadbd"), require("mariadb-install-db")
        user = [f"--user={getpass.getuser()}"] if os.getuid() == 0 else []
        # A tmpdir of its own: at its start a server removes the temporary tables of all others in a
        # shared one.
        temporary = folder / "tmp"
        temporary.mkdir()
        common = ["--no-defaults", *user, f"--datadir={folder / 'data'}", f"--tmpdir={temporary}"]
        common += ["--innodb-log-file-size=8M"]
        done = subprocess.run(
            [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
        self._command = [
            program,
            *common,
            f"--socket={self.socket}",
            f"--pid-file={folder / 'pid'}",
        ]
        self._command += [
            "--skip-networking",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=32M",
        ]
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
        """Run SQL statements, each ended by a semicolon at the end of a line, as the deployed
        server's user might.
        """
        opened = pymysql.connect(
            unix_socket=str(self.socket), user="root", database=database, autocommit=True
        )
        with opened as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
            for statement in script.split(";\n"):
                if statement.strip():
                    cursor.execute(statement)

    def _answers(self) -> bool:
        if (
            not self.socket.exists()
        ):  # pymysql leaves its own socket open when it finds nobody there
            return False
        try:
            pymysql.connect(unix_socket=str(self.socket), user="root").close()
        except pymysql.OperationalError:
            return False
        return True


@contextmanager
def private_mariadb(*arguments: str) -> Iterator[PrivateMariaDB]:
    """Give a running `PrivateMariaDB`, and end it and remove its folder afterwards."""
    with private_folder() as folder, PrivateMariaDB(folder, *arguments) as server:
        yield server
