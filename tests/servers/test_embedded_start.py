"""Starting an embedded server: wherever its folder is, for several at once, and when it cannot be
started.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import imlib
from imlib.servers import watchdog
from imlib.servers.embedded import Embedded, find_server
from tests.private_servers.process import private_folder
from tests.private_servers.programs import require
from tests.servers.test_embedded import owner


def test_a_folder_with_a_long_name() -> None:
    """A socket's path may have 107 bytes: with a longer TMPDIR a short folder is found, and goes
    again.
    """
    with private_folder() as folder:
        long = folder / ("a long name " * 10) / "ünd möre"
        long.mkdir(parents=True)
        with owner(TMPDIR=str(long)) as one:
            assert one.is_alive()
            one.process.communicate("")
            assert one.leaves_nothing()
            assert [] == list(long.iterdir())


def test_a_folder_with_a_space() -> None:
    """Its URL says so in a form that another process can use."""
    with private_folder() as folder:
        spaced = folder / "a b%20c?d#e"
        spaced.mkdir()
        with owner(TMPDIR=str(spaced)) as one:
            assert one.is_alive()
            (private,) = spaced.iterdir()
            assert (private / "imlib.db").exists()
            assert [spaced] == list(folder.iterdir())


def test_another_process_joins() -> None:
    """By redis_url and database_url a second process sees what the first wrote, and its own end
    changes nothing.
    """
    with owner() as one:
        joiner = (
            "import imlib, sys\n"
            "with imlib.connect(sys.argv[1], sys.argv[2]) as joined:\n"
            "    print(joined.online_status.get_online_by_user_id(7)[0].netlib_session_id)"
        )
        program = [sys.executable, "-c", joiner, one.redis_url, one.database_url]
        assert "4\n" == subprocess.run(program, capture_output=True, text=True, check=True).stdout
        assert one.is_alive()


def test_two_deployments_are_two() -> None:
    """Each has a server, a folder and a database of its own, and ends alone."""
    require("a server to embed", found=find_server() is not None)
    status = imlib.SessionStatus(7, 1, 2, 3, 4, int(time.time()))
    with (
        imlib.connect("embedded://", "embedded://") as one,
        imlib.connect("embedded://", "embedded://") as other,
    ):
        assert one.redis_url.reveal() != other.redis_url.reveal()
        assert one.database_url.reveal() != other.database_url.reveal()
        one.online_status.set_online(status)
        assert [] == other.online_status.get_online_by_user_id(7)
        other.close()
        assert [status] == one.online_status.get_online_by_user_id(7)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param(
            "echo starting; echo 'Fatal: no memory' >&2; exit 1",
            "Fatal: no memory",
            id="with last words",
        ),
        pytest.param("exit 1", "it ended without a word", id="without a word"),
    ],
)
def test_a_server_that_does_not_start(
    tmp_path: Path, script: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one line that ends with the server's own last words, and nothing is left."""
    program = tmp_path / "valkey-server"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    with private_folder() as folder:
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        with pytest.raises(
            imlib.UnavailableError,
            match=f"^the embedded server valkey-server did not start: {words}",
        ) as caught:
            Embedded(program)
        assert "\n" not in str(caught.value)
        assert "IMLIB_REDIS_URL" in str(caught.value)
        assert [] == list(folder.iterdir())


def test_a_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, and ended, after a while."""
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr("imlib.servers.embedded.START_SECONDS", 0.3)
    with private_folder() as folder:
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        with pytest.raises(imlib.UnavailableError, match=r"no answer within 0\.3 s"):
            Embedded(program)
        assert [] == list(folder.iterdir())


# What keeps a server from starting, said in the owner before it connects.
STRAITS = [
    pytest.param("limit(resource.RLIMIT_NOFILE, 4)", id="no file for the lock"),
    pytest.param("limit(resource.RLIMIT_NOFILE, 9)", id="no file for the watchdog"),
    pytest.param("limit(resource.RLIMIT_NOFILE, 32)", id="no file for the server"),
    pytest.param("limit(resource.RLIMIT_FSIZE, 0)", id="no byte on any disk"),
    pytest.param("limit(resource.RLIMIT_FSIZE, 20)", id="a few bytes on the disk"),
    pytest.param("os.rmdir(tempfile.gettempdir())", id="TMPDIR is gone"),
]
IN_STRAITS = """
import os, resource, sys, tempfile
import imlib
def limit(what, number):
    resource.setrlimit(what, (number, number))
def first_free():
    file = os.dup(0)
    os.close(file)
    return file
before = first_free()
{strait}
for redis in ("embedded://", "fakeredis://"):
    try:
        imlib.connect(redis, "embedded://").close()
        print("fine")
    except imlib.UnavailableError as problem:
        print(problem)
assert before == first_free()
try:
    print("left:", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    pass
"""


@pytest.mark.parametrize("strait", STRAITS)
def test_no_room_to_start(strait: str) -> None:
    """One error, in one line that says what to look at; no open file and no process is left."""
    require("a server to embed", found=find_server() is not None)
    with private_folder() as folder:
        tmp = folder / "tmp"
        tmp.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", IN_STRAITS.format(strait=strait)],
            capture_output=True,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp)},
        )
        assert (0, "") == (done.returncode, done.stderr)
        server, database = done.stdout.splitlines()
        assert "See whether TMPDIR has room and `ulimit -n` is enough" in server
        # 32 files are enough for a database.
        assert re.search("TMPDIR has room|is there room on the disk|fine", database)
        # Removing a folder takes open files too: the next start has them.
        watchdog._sweep(str(tmp))
        assert not tmp.exists() or [] == list(tmp.iterdir())


def test_a_tmpdir_that_nobody_may_write() -> None:
    """Another folder for temporary files stands in for it."""
    with owner(TMPDIR="/dev/null/tmp") as one:
        assert one.is_alive()
