"""A private MariaDB (or MySQL) for tests: in a folder of its own, on a unix socket, ended by its own process id."""

from __future__ import annotations

import getpass
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import private_folder, require

READY_WITHIN_S = 60.0


class PrivateMariaDB:
    """Debian's mariadbd, private to one test run: no TCP port, and nothing that survives it.

    Parameters
    ----------
    folder : Path
        Where its data, its socket and its log stand.
    *arguments : str
        More of the server's own options.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.socket = folder / "m.sock"
        self.log = folder / "err.log"
        self._data = folder / "data"
        program, install = require("mariadbd"), require("mariadb-install-db")
        user = [f"--user={getpass.getuser()}"] if os.getuid() == 0 else []
        # A tmpdir of its own: at its start a server removes the temporary tables of all others in a shared one.
        temporary = folder / "tmp"
        temporary.mkdir()
        common = ["--no-defaults", *user, f"--datadir={self._data}", f"--tmpdir={temporary}"]
        common += ["--innodb-log-file-size=8M"]
        done = subprocess.run(
            [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
        self._command = [program, *common, f"--socket={self.socket}", f"--pid-file={folder / 'm.pid'}"]
        self._command += ["--skip-networking", "--skip-name-resolve", "--innodb-buffer-pool-size=32M"]
        # Tests kill clients, never the machine: nothing needs to reach the disk.
        self._command += ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", f"--log-error={self.log}"]
        self._command += arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers."""
        import pymysql

        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            if self.socket.exists():  # pymysql leaves its own socket open when it finds nobody there
                try:
                    pymysql.connect(unix_socket=str(self.socket), user="root").close()
                    return
                except pymysql.OperationalError:
                    pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"mariadbd did not start:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.02)  # the server says nowhere that it listens, short of answering

    def stop(self) -> None:
        """End it as a crash would; `start` goes on from what was committed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

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
        """Run SQL statements, each ended by a semicolon at the end of a line, as the deployed server's user might."""
        import pymysql

        opened = pymysql.connect(unix_socket=str(self.socket), user="root", database=database, autocommit=True)
        with opened as connection, connection.cursor() as cursor:
            cursor.execute("SET sql_mode = ''")
            for statement in script.split(";\n"):
                if statement.strip():
                    cursor.execute(statement)


@contextmanager
def private_mariadb(*arguments: str) -> Iterator[PrivateMariaDB]:
    """Give a running `PrivateMariaDB`, and end it and remove its folder afterwards."""
    with private_folder() as folder:
        server = PrivateMariaDB(folder, *arguments)
        try:
            yield server
        finally:
            server.stop()
