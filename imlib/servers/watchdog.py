"""Ends an embedded server and removes its folder once the process that owns them is gone, however
it went.

Run as a program, in a process session of its own so that no interrupt meant for the owner reaches
it. The owner holds the other end of a pipe: when the owner closes it or dies, reading gives end of
file. A child that the owner forked may hold the pipe too, so the parent's pid is looked at as well.
(PR_SET_PDEATHSIG would not do: it fires when the *thread* that started the server ends.)
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys

GRACE_SECONDS = 5
LOOK_SECONDS = 0.5


def main() -> None:
    """Start the command, wait for the owner's end, then end the server and remove the folder."""
    owner, folder, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the finally below runs
    server = None
    try:
        if command:
            with open(os.path.join(folder, "server.log"), "wb") as log:
                server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        _watch(owner, folder, server)
    finally:
        if server is not None and server.poll() is None:
            server.terminate()
            try:
                server.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _watch(owner: int, folder: str, server: subprocess.Popen[bytes] | None) -> None:
    started = server is None
    while os.getppid() == owner:
        readable, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS if started else 0.01)
        if readable:
            if not os.read(sys.stdin.fileno(), 1):
                return
            started = True
        if server is not None and server.poll() is not None and not started:
            with open(os.path.join(folder, "server.log"), errors="replace") as log:
                print(log.read()[-1000:], flush=True)
            return


if __name__ == "__main__":
    main()
