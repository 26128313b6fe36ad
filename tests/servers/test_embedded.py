"""The embedded server ends with its owner, however that ends, and only then; nothing of it stays
behind.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

import imlib
from imlib.servers.embedded import find_server
from tests.private_servers.programs import require

WITHIN_S = 60  # much longer than anything takes: who waits longer has found a fault

# What every owner runs first; it then says where its server is.
PROLOGUE = """
import json, os, signal, sys, time
import imlib
deployment = imlib.connect("embedded://", "embedded://")
deployment.online_status.set_online(imlib.SessionStatus(7, 1, 2, 3, 4, int(time.time())))
print(json.dumps({
    "server": deployment.redis.info("server")["process_id"],
    "redis_url": deployment.redis_url.reveal(),
    "database_url": deployment.database_url.reveal(),
}), flush=True)
"""
WAIT = "\nsys.stdin.read()\n"


@dataclass
class Owner:
    """A Python process that has connected to an embedded deployment."""

    process: subprocess.Popen[str]
    server: psutil.Process
    watchdog: psutil.Process
    redis_url: str
    database_url: str

    @property
    def folder(self) -> Path:
        """The private folder of server and SQLite file."""
        return Path(self.redis_url.removeprefix("unix://")).parent

    def is_alive(self) -> bool:
        """Tell whether the server answers who joins it."""
        with imlib.connect(self.redis_url, self.database_url) as joined:
            return joined.online_status.malformed() == []

    def leaves_nothing(self) -> bool:
        """Wait until server, watchdog and folder are gone."""
        return until(self.has_left_nothing)

    def has_left_nothing(self) -> bool:
        """Tell whether server, watchdog and folder are gone."""
        return not (self.serves() or self.folder.exists())

    def serves(self) -> bool:
        """Tell whether server or watchdog still run."""
        return runs(self.server) or runs(self.watchdog)


@contextmanager
def owner(then: str = WAIT, *, prologue: str = PROLOGUE, **environment: str) -> Iterator[Owner]:
    """Start a process that connects and then runs `then`; what still runs of it and of its children
    is killed at the end.
    """
    require("a server to embed", found=find_server() is not None)
    process = subprocess.Popen(
        [sys.executable, "-c", prologue + then],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline() or "null")
        assert said is not None, process.communicate()[1]
        server = psutil.Process(said.pop("server"))
        parent = server.parent()
        assert parent is not None
        yield Owner(process, server, parent, **said)
    finally:
        # Its children hold its pipes: nothing would come to an end without theirs.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(true: Callable[[], object]) -> bool:
    """Wait for something to become true, for a while."""
    deadline = time.monotonic() + WITHIN_S
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)  # another process's end can only be polled for
    return True


def looks_twice(watchdog: psutil.Process) -> bool:
    """Wait until a watchdog has slept and woken twice more; tell whether it still runs."""
    try:
        then = watchdog.num_ctx_switches().voluntary + 2
        return until(lambda: watchdog.num_ctx_switches().voluntary > then) and runs(watchdog)
    except psutil.NoSuchProcess:
        return False


def runs(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that only waits to be reaped does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("end", "code"),
    [
        pytest.param("deployment.close()\ndeployment.close()", 0, id="close, twice"),
        pytest.param("", 0, id="interpreter exit"),
        pytest.param("sys.exit(3)", 3, id="sys.exit"),
        pytest.param("raise RuntimeError('on purpose')", 1, id="exception"),
        pytest.param("os._exit(4)", 4, id="exit without clean-up"),
        pytest.param("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, id="SIGTERM"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, id="SIGKILL"),
    ],
)
def test_nothing_stays_behind(end: str, code: int) -> None:
    """However the owner ends, server, watchdog and folder are gone."""
    with owner(WAIT + end) as one:
        assert one.folder.exists()
        assert runs(one.server)
        one.process.communicate("")
        assert code == one.process.returncode
        assert one.leaves_nothing()


def test_gone_as_soon_as_it_is_closed() -> None:
    """When close() returns, there is nothing left to wait for."""
    require("a server to embed", found=find_server() is not None)
    deployment = imlib.connect("embedded://", "embedded://")
    redis: Any = deployment.redis
    server = psutil.Process(redis.info("server")["process_id"])
    folder = Path(redis.connection_pool.connection_kwargs["path"]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    deployment.close()
    assert not folder.exists()
    assert not runs(server)


def test_an_interrupt_ends_neither_server_nor_deployment() -> None:
    """Ctrl-C and a kernel's interrupt go to the owner's whole process group: the server is in none
    of it.
    """
    then = """
# What a shell runs in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _ in range(3):
    try:
        print("ready", flush=True)
        time.sleep(600)  # never served out: the interrupt ends it
    except KeyboardInterrupt:
        print(len(deployment.online_status.get_online_by_user_id(7)), flush=True)
sys.stdin.read()
"""
    with owner(then) as one:
        assert one.process.stdout is not None
        for _ in range(3):
            assert "ready\n" == one.process.stdout.readline()
            os.killpg(one.process.pid, signal.SIGINT)
            assert "1\n" == one.process.stdout.readline()
        assert one.is_alive()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP])
def test_the_watchdog_itself_takes_no_interrupt(sent: signal.Signals) -> None:
    """Even an interrupt that reaches the watchdog ends nothing; asked to end, it ends the server
    first.
    """
    with owner() as one:
        one.watchdog.send_signal(sent)
        assert one.is_alive()
        one.watchdog.terminate()
        assert one.leaves_nothing()


FORKS = {
    "os.fork": "child = os.fork()\nif not child: {child}\n",
    "multiprocessing": (
        "import multiprocessing\n"
        "def run(): {child}\n"
        "process = multiprocessing.get_context('fork').Process(target=run)\nprocess.start()\n"
        "child = process.pid\n"
    ),
}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("child", ["sys.exit(0)", "deployment.close(); sys.exit(0)"])
def test_a_forked_childs_end_is_not_the_owners(fork: str, child: str) -> None:
    """A child inherits the deployment, but its exit, and even its close(), leave the owner's server
    alone.
    """
    then = (
        FORKS[fork].format(child=child) + "os.waitpid(child, 0)\nprint('over', flush=True)" + WAIT
    )
    with owner(then) as one:
        assert one.process.stdout is not None
        assert "over\n" == one.process.stdout.readline()
        assert one.is_alive()
        one.process.communicate("")
        assert one.leaves_nothing()


@pytest.mark.parametrize("fork", FORKS)
def test_a_living_child_keeps_nothing_alive(fork: str) -> None:
    """A child holds the watchdog's pipe as well: the owner's death ends the server all the same."""
    # The child only has to outlive its parent; the test ends it.
    then = FORKS[fork].format(child="time.sleep(600)") + "print(child, flush=True)" + WAIT
    with owner(then) as one:
        assert one.process.stdout is not None
        child = psutil.Process(int(one.process.stdout.readline()))
        one.process.kill()
        one.process.wait()
        assert one.leaves_nothing()
        assert runs(child)


@pytest.mark.parametrize("fork", FORKS)
def test_closed_beside_a_living_child(fork: str) -> None:
    """A child that holds the watchdog's pipe does not hold up the owner's close()."""
    then = FORKS[fork].format(child="time.sleep(600)")
    then += "sys.stdin.readline()\ndeployment.close()\nprint(child, flush=True)" + WAIT
    with owner(then) as one:
        assert one.process.stdin is not None
        assert one.process.stdout is not None
        one.process.stdin.write("close\n")
        one.process.stdin.flush()
        child = psutil.Process(int(one.process.stdout.readline()))
        assert one.has_left_nothing()
        assert runs(child)


def test_started_in_a_thread_that_ends() -> None:
    """The server belongs to the process, and not to the thread that started it."""
    require("a server to embed", found=find_server() is not None)
    started: list[imlib.Deployment] = []
    thread = threading.Thread(
        target=lambda: started.append(imlib.connect("embedded://", "embedded://"))
    )
    thread.start()
    thread.join()
    with started[0] as deployment:
        redis: Any = deployment.redis
        watchdog = psutil.Process(redis.info("server")["process_id"]).parent()
        assert watchdog is not None
        assert looks_twice(watchdog)
        assert redis.ping()


def test_a_server_that_is_killed() -> None:
    """A clear error where it was; closing still leaves nothing behind."""
    with owner() as one:
        one.server.kill()
        assert until(lambda: not runs(one.server))
        with pytest.raises(imlib.UnavailableError):
            imlib.connect(one.redis_url, one.database_url)
        one.process.communicate("")
        assert 0 == one.process.returncode
        assert one.leaves_nothing()
