"""A private server's process: started, waited for, halted, and ended by its own id."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

PATIENCE_S = 60.0
FIRST_PORT = 11_000


class PrivateServer:
    """A server that runs from when it is made, and no longer than its ``with`` block.

    A subclass says how to start it, in `_command`, and how to tell that it answers, in `_answers`.

    Parameters
    ----------
    folder : Path
        Where its data, its socket and its log stand; made if it isn't there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.socket = folder / "server.sock"
        self.log = folder / "server.log"
        if len(os.fsencode(self.socket)) >= 104:
            raise RuntimeError(
                f"{self.socket} is too long for a socket: set TMPDIR to a shorter folder"
            )
        self._command: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None, "the server is stopped"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._process = process
        try:
            wait_until(lambda: process.poll() is not None or self._answers(), "a server answers")
            if process.returncode is not None:
                said = self.log.read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{self._command[0]} did not start:\n{said}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it as a crash would; `start` begins again at the same place."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.socket.unlink(missing_ok=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Halt its process: until the block ends it takes connections and answers no command."""
        process = self._process
        assert process is not None, "the server is stopped"
        process.send_signal(signal.SIGSTOP)
        # The signal alone is not enough: for a moment its threads still answer.
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        """Return whether it answers yet."""
        raise NotImplementedError


def wait_until(met: Callable[[], bool], what: str) -> None:
    """Ask again and again, for no server tells when it is ready; TimeoutError names `what`."""
    deadline = time.monotonic() + PATIENCE_S
    while not met():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(0.005)


def free_port() -> int:
    """Return a free TCP port on loopback; that of its Redis Cluster bus, 10,000 above, is free too.

    Both are below the ports that systems give to outgoing connections.
    """
    while True:
        # Hypothesis seeds `random`, the same in every process of a run.
        port = FIRST_PORT + secrets.randbelow(10_000)
        with (
            contextlib.suppress(OSError),
            socket.create_server(("127.0.0.1", port)),
            socket.create_server(("127.0.0.1", port + 10_000)),
        ):
            return port


@contextmanager
def private_folder() -> Iterator[Path]:
    """Give a folder whose path is short enough for a socket, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="imlib-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
