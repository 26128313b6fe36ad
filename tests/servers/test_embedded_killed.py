"""Owner and watchdog, killed or stopped: no process stays, and no folder beyond the next start."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

import imlib
from imlib.servers import watchdog
from tests.private_servers.process import private_folder
from tests.servers.test_embedded import (
    FORKS,
    PROLOGUE,
    WAIT,
    Owner,
    looks_twice,
    owner,
    runs,
    until,
)

ASKS_AGAIN = """
sys.stdin.readline()
try:
    deployment.online_status.get_online_by_user_id(7)
except imlib.UnavailableError as problem:
    print("unavailable", flush=True)
"""


def kill(one: Owner, whom: str) -> None:
    """Kill the owner or the watchdog."""
    if whom == "owner":
        one.process.kill()
        one.process.wait()
    else:
        one.watchdog.kill()
        assert until(lambda: not runs(one.watchdog))


def test_the_watchdog() -> None:
    """Its server ends with it, the owner is told so, and removes the folder itself."""
    with owner(ASKS_AGAIN) as one:
        kill(one, "watchdog")
        assert until(lambda: not runs(one.server))
        assert one.folder.exists()
        assert ("unavailable\n", "") == one.process.communicate("\n")
        assert 0 == one.process.returncode
        assert not one.folder.exists()


@pytest.mark.parametrize("order", ["owner watchdog", "watchdog owner"])
@pytest.mark.parametrize("child", ["", "os.fork"])
def test_both(order: str, child: str) -> None:
    """No process is left, whatever a child inherited; the next start removes the folder."""
    then = FORKS[child].format(child="time.sleep(600)") if child else "child = 0\n"
    with private_folder() as folder:
        with owner(then + "print(child, flush=True)" + WAIT, TMPDIR=str(folder)) as one:
            assert one.process.stdout is not None
            pid = int(one.process.stdout.readline())
            children = [psutil.Process(pid)] if pid else []
            # Stopped it notices nothing: as if both were killed at once.
            one.watchdog.suspend()
            for whom in order.split():
                kill(one, whom)
            assert until(lambda: not one.serves())
            assert one.folder.exists()
            # A child that lives still holds the folder's lock.
            for each in children:
                each.kill()
            assert until(lambda: not any(map(runs, children)))
        with owner(TMPDIR=str(folder)) as other:
            assert until(lambda: not one.folder.exists())
            assert other.is_alive()


def test_an_owner_that_is_only_stopped() -> None:
    """It keeps its server, which others may use, and has it when it goes on."""
    with owner(ASKS_AGAIN) as one:
        os.kill(one.process.pid, signal.SIGSTOP)
        assert until(lambda: psutil.Process(one.process.pid).status() == psutil.STATUS_STOPPED)
        assert looks_twice(one.watchdog)
        assert one.is_alive()
        os.kill(one.process.pid, signal.SIGCONT)
        assert ("", "") == one.process.communicate("\n")
        assert one.leaves_nothing()


def test_an_owner_that_is_stopped_and_then_killed() -> None:
    """Nothing of it stays."""
    with owner() as one:
        os.kill(one.process.pid, signal.SIGSTOP)
        kill(one, "owner")
        assert one.leaves_nothing()


def test_a_watchdog_that_is_stopped() -> None:
    """The owner's end waits for it no longer than it has to, and ends it."""
    with owner() as one:
        one.watchdog.suspend()
        assert ("", "") == one.process.communicate("")
        assert one.leaves_nothing()


class TestSweeping:
    """What a start may remove beside its own folder."""

    def test_the_living_keep_theirs(self) -> None:
        """Whoever has a watchdog, has lost it, or is stopped."""
        with private_folder() as folder, ExitStack() as stack:
            three = [stack.enter_context(owner(TMPDIR=str(folder))) for _ in range(3)]
            kill(three[1], "watchdog")
            os.kill(three[2].process.pid, signal.SIGSTOP)
            watchdog._sweep(str(folder))
            assert {one.folder for one in three} == set(folder.iterdir())
            assert [True] * 3 == [(one.folder / "imlib.db").exists() for one in three]

    def test_an_owner_in_a_container_keeps_its_own(self) -> None:
        """In another pid namespace it cannot be seen, and its process ids mean nothing here."""
        apart = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
        if (
            not shutil.which("unshare")
            or subprocess.run([*apart, "true"], capture_output=True).returncode
        ):
            pytest.skip("this machine lets nobody make a pid namespace")
        with private_folder() as folder:
            process = subprocess.Popen(
                [*apart, sys.executable, "-c", PROLOGUE + WAIT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"TMPDIR": str(folder)},
            )
            try:
                assert process.stdout is not None
                process.stdout.readline()
                (theirs,) = folder.iterdir()
                watchdog._sweep(str(folder))
                urls = (f"unix://{theirs}/redis.sock", f"sqlite:///{theirs}/imlib.db")
                with imlib.connect(*urls) as joined:
                    assert joined.redis.ping()
            finally:
                process.communicate()
            assert until(lambda: not theirs.exists())

    @pytest.mark.parametrize(
        ("name", "lock", "goes"),
        [
            pytest.param("imlib-dead", "imlib.lock", True, id="a dead owner's"),
            pytest.param("imlib-new", "lock", False, id="one that is just being made"),
            pytest.param("imlib-other", None, False, id="one of something else"),
            pytest.param("other", "imlib.lock", False, id="another name"),
        ],
    )
    def test_what_is_removed(self, tmp_path: Path, name: str, lock: str | None, goes: bool) -> None:
        """What bears the mark of an embedded server whose lock nobody holds, and nothing else."""
        folder = tmp_path / "a [b]*" / name
        folder.mkdir(parents=True)
        if lock is not None:
            (folder / lock).touch()
        watchdog._sweep(str(folder.parent))
        assert goes == (not folder.exists())

    def test_a_held_lock(self, tmp_path: Path) -> None:
        """A folder goes only once nobody holds its lock any more."""
        folder = tmp_path / "imlib-held"
        folder.mkdir()
        with open(folder / watchdog.LOCK, "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            watchdog._sweep(str(tmp_path))
            assert folder.exists()
        watchdog._sweep(str(tmp_path))
        assert not folder.exists()

    def test_another_users(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not even a dead one's is touched, though root could; nor is what a link leads to."""
        folder, elsewhere = tmp_path / "imlib-theirs", tmp_path / "elsewhere"
        for each in (folder, elsewhere):
            each.mkdir()
            (each / watchdog.LOCK).touch()
        (tmp_path / "imlib-link").symlink_to(elsewhere)
        user = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
        watchdog._sweep(str(tmp_path))
        assert folder.exists()
        monkeypatch.undo()
        watchdog._sweep(str(tmp_path))
        assert not folder.exists()
        assert [watchdog.LOCK] == [each.name for each in elsewhere.iterdir()]
