"""Ends an embedded server and removes its folder when the process that owns them is gone.

It runs as a program, in a process session of its own: an interrupt meant for the owner does not
reach it. The owner holds the other end of a pipe; when the owner closes it or dies, reading gives
end of file. A child that the owner forked may hold the pipe too, so the watchdog also looks at its
parent's pid.

The watchdog can be killed too. On Linux its server then ends with it: PR_SET_PDEATHSIG kills a
process when the *thread* that started it ends, and the watchdog, unlike the owner, has only one.
On other systems, such as macOS, the server stays. Owner and watchdog hold a lock in the folder: the
next watchdog removes every folder whose lock nobody holds.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from glob import escape, glob

LOCK = "imlib.lock"
LOOK_SECONDS = 0.5


def main() -> None:
    """Start the command, wait for the owner's end, then end the server and remove the folder."""
    _, owner, folder, *command = sys.argv
    log = os.path.join(folder, "server.log")
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    # SIGTERM becomes an exception, so that the finally below runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = None
    try:
        if command:
            with open(log, "wb") as said:
                server = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, preexec_fn=_tie()
                )
        _sweep(os.path.dirname(folder))
        _watch(int(owner), log, server)
    finally:
        if server:
            server.kill()  # it has nothing to save
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _tie() -> Callable[[], None] | None:
    """Return what a child runs before it becomes the server: it then ends with this process."""
    if sys.platform != "linux":
        return None
    import ctypes  # here, since the owner imports this module too

    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)  # the watchdog ended before prctl was called

    return tie


def _sweep(parent: str) -> None:
    """Remove the folders that this user's dead owners left; a living owner holds its lock."""
    # Here, since the owner imports this module too, and Windows has none.
    import fcntl

    for lock in glob(os.path.join(escape(parent), "imlib-*", LOCK)):
        folder = os.path.dirname(lock)
        with contextlib.suppress(OSError):
            if os.lstat(folder).st_uid == os.getuid():
                with open(lock, "r+") as held:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)


def _watch(owner: int, log: str, server: subprocess.Popen[bytes] | None) -> None:
    started = server is None
    while os.getppid() == owner:
        readable, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS if started else 0.01)
        if readable:
            if not os.read(sys.stdin.fileno(), 1):
                return
            started = True
        if server and not started and server.poll() is not None:
            with open(log, errors="replace") as said:
                print(said.read()[-1000:], flush=True)
            return


if __name__ == "__main__":
    main()
