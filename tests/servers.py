"""Private servers for tests: each in a folder of its own, on a unix socket, ended by its own process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

READY_WITHIN_S = 10.0

# What this process asked for; tests/conftest.py gathers it from all processes for the last line of the run.
ran: set[str] = set()
skipped: set[str] = set()


def require(name: str, *, found: bool | None = None) -> str:
    """Return the path of the server binary `name`, or skip the test that needs it; with CI set, fail it.

    Parameters
    ----------
    name : str
        A binary such as ``redis-server`` or ``mariadbd``, or the name of a backend that is none.
    found : bool, optional
        For a backend that is no binary: whether it is there.

    Returns
    -------
    str
        The path of the binary; `name` when `found` was given.
    """
    # Debian keeps servers where only root's PATH looks.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    binary = shutil.which(name, path=path) if found is None else name if found else None
    if binary is not None:
        ran.add(name)
        return binary
    skipped.add(name)
    reason = f"{name} is not on this machine (make servers)"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI skips no backend", pytrace=False)
    pytest.skip(reason)


class PrivateRedis:
    """Debian's redis-server, private to one test: no TCP port, nothing written to disk.

    Parameters
    ----------
    folder : Path
        Where its socket and its log stand.
    *arguments : str
        More of the server's own options, such as ``--requirepass``, ``secret``.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.socket = folder / "redis.sock"
        self.log = folder / "redis.log"
        if len(os.fsencode(self.socket)) >= 104:
            raise RuntimeError(f"{self.socket} is too long for a socket: set TMPDIR to a shorter folder")
        self._command = [require("redis-server"), "--port", "0", "--unixsocket", str(self.socket)]
        self._command += ["--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        self._command += ["--logfile", str(self.log), *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it listens, without a password."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is stopped"
        return self._process.pid

    def start(self) -> None:
        """Start it, empty, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_WITHIN_S
        while not _listens(self.socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"redis-server did not start:\n{self.log.read_text(encoding='utf-8')}")
            time.sleep(0.005)  # the server says nowhere that it listens, short of listening

    def stop(self) -> None:
        """End it as a crash would, and with it all that it held; `start` begins anew at the same URL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
        return True


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for a socket, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="imlib-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def private_redis(*arguments: str) -> Iterator[PrivateRedis]:
    """Give a running `PrivateRedis`, and end it and remove its folder afterwards."""
    with private_folder() as folder:
        server = PrivateRedis(folder, *arguments)
        try:
            yield server
        finally:
            server.stop()
