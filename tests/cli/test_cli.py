"""The command line: what it prints, for people and for scripts, and what its exit codes mean."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import imlib
from imlib.audit import CHECKS
from imlib.cli import main
from imlib.cli.output import show
from imlib.sample import PLANTED
from imlib.schema import create_all
from tests.private_servers.mariadb_replica import MariaDBPair
from tests.private_servers.redis import private_redis
from tests.snapshot.frames import snapshot, table

ROOT = Path(__file__).parents[2]
COMMANDS = ["servers", "who", "user", "watch", "snapshot", "audit", "diff", "sample", "decode"]
VARIABLES = (
    *("IMLIB_REDIS_URL", "IMLIB_DATABASE_URL", "IMLIB_REPLICA_URL", "IMLIB_MASK_KEY"),
    *("IMLIB_ONLINE_TIMEOUT", "IMLIB_CHECK_ONLINE_TIMEOUT"),
)


@pytest.fixture(scope="module")
def world() -> Iterator[imlib.Deployment]:
    """Give the sample world on private servers; none of its keys lapses."""
    with imlib.connect("embedded://", "embedded://") as deployment:
        deployment.load_sample()
        client: Any = deployment.redis
        for key in client.keys("*"):
            client.persist(key)
        yield deployment


@pytest.fixture
def tables_alone(monkeypatch: pytest.MonkeyPatch, named: None) -> Iterator[None]:
    """Name servers with the sample's tables and nobody online: a session could lapse between two
    snapshots.
    """
    with imlib.connect("embedded://", "embedded://") as deployment:
        deployment.load_sample()
        deployment.redis.flushdb()
        monkeypatch.setenv("IMLIB_REDIS_URL", deployment.redis_url.reveal())
        monkeypatch.setenv("IMLIB_DATABASE_URL", deployment.database_url.reveal())
        yield


@pytest.fixture
def sound() -> Iterator[imlib.Deployment]:
    """Give servers in which nothing is wrong, because nothing is there."""
    with imlib.connect("embedded://", "embedded://") as deployment:
        create_all(deployment.engine)
        yield deployment


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Name no server, and stand in an empty folder."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def name_servers(
    monkeypatch: pytest.MonkeyPatch, deployment: imlib.Deployment, *, database: bool = True
) -> None:
    """Name a deployment's servers by the variables."""
    monkeypatch.setenv("IMLIB_REDIS_URL", deployment.redis_url.reveal())
    if database:
        monkeypatch.setenv("IMLIB_DATABASE_URL", deployment.database_url.reveal())


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch, world: imlib.Deployment) -> None:
    """Name the sample world's servers."""
    name_servers(monkeypatch, world)


def run(*arguments: str) -> int:
    """Run one command in this process."""
    return main(list(arguments))


def rows(text: str, form: str) -> list[dict[str, Any]]:
    """Read what was printed as JSON or as CSV."""
    return json.loads(text) if form == "json" else list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("command", [["servers"], ["who", "7"], ["snapshot"], ["audit"]])
def test_without_servers_it_says_what_to_set(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """No command looks at an empty private server: it names the variables, and fails."""
    assert 2 == run(*command)
    printed = capsys.readouterr()
    assert "" == printed.out
    assert "set IMLIB_REDIS_URL" in printed.err
    assert "--sample" in printed.err
    assert 1 == printed.err.count("\n")


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_snapshot_for_scripts(
    form: str, world: imlib.Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each frame with its number of rows and its masked columns."""
    assert 0 == run("snapshot", "--format", form)
    found = {row["frame"]: row for row in rows(capsys.readouterr().out, form)}
    assert {name: str(count) for name, count in world.snapshot().info["rows"].items()} == {
        name: str(row["rows"]) for name, row in found.items()
    }
    assert "token" == found["devices"]["masked"]


@pytest.mark.usefixtures("named")
def test_a_snapshot_is_kept_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The folder holds it; a second one under the same name is refused before any
    server is asked.
    """
    assert 0 == run("snapshot", "monday")
    assert "kept in monday" in capsys.readouterr().err
    assert 12 == len(imlib.Snapshot.load("monday").tables["users"])
    assert 2 == run("snapshot", "monday")
    assert "exists" in capsys.readouterr().err


@pytest.mark.usefixtures("named")
def test_what_a_snapshot_is_of() -> None:
    """Tables and users can be chosen, and columns unmasked."""
    assert 0 == run(
        "snapshot",
        "one",
        "--tables",
        "users,devices",
        "--user",
        "7",
        "--user",
        "8",
        "--unmask",
        "users.phone",
    )
    one = imlib.Snapshot.load("one")
    assert ({7, 8}, {7, 8}) == (set(one.tables["users"]["id"]), set(one.sessions["user_id"]))
    assert one.tables["users"]["phone"].str.startswith("1555").all()
    assert one.tables["devices"]["token"].str.startswith("masked:").all()


@pytest.mark.usefixtures("named")
def test_a_table_that_was_cut_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A limit leaves its mark, and the audit of it is no all-clear."""
    assert 0 == run("snapshot", "cut", "--limit", "5", "--format", "json")
    found = {row["frame"]: row for row in json.loads(capsys.readouterr().out)}
    assert (5, "truncated") == (found["message_boxes"]["rows"], found["message_boxes"]["notes"])
    assert 2 == run("audit", "cut", "--check", "pts_gap")
    assert "skipped pts_gap: cut short by the row limit: message_boxes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tables", "nothing"], "nothing"),
        (["--unmask", "users.phon"], "users.phone"),
        (["--limit", "0"], "limit is 0"),
        (["--user", "2147483648"], "2147483648"),
    ],
)
@pytest.mark.usefixtures("named")
def test_a_wrong_question_is_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not exist is named, on stderr, with exit code 2."""
    assert 2 == run("snapshot", *arguments)
    printed = capsys.readouterr()
    assert ("", 1) == (printed.out, printed.err.count("\n"))
    assert said in printed.err


def test_mask_keys_make_snapshots_comparable(
    monkeypatch: pytest.MonkeyPatch,
    named: None,
    tables_alone: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With IMLIB_MASK_KEY masked columns are compared; the key itself is shown nowhere."""
    run("snapshot", "one")
    run("snapshot", "two")
    assert 0 == run("diff", "one", "two")
    assert "users.phone was not compared: masked, and not under one key" in capsys.readouterr().err
    monkeypatch.setenv("IMLIB_MASK_KEY", "a long and secret word")
    run("snapshot", "three")
    run("snapshot", "four")
    assert 0 == run("diff", "three", "four")
    printed = capsys.readouterr()
    assert "was not compared" not in printed.err
    assert "secret word" not in printed.out + printed.err


@pytest.mark.parametrize("form", ["json", "csv"])
def test_the_audit_of_the_sample_world(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It finds what was planted, and exits with 1."""
    assert 1 == run("audit", "--sample", "--format", form)
    found = rows(capsys.readouterr().out, form)
    assert all(row["how_to_look"] for row in found)
    # Its servers have too few users for their clocks to be told.
    skipped = [found.pop(at) for at, row in enumerate(found) if row["severity"] == "skipped"]
    assert ["server_clock"] == [row["check"] for row in skipped]
    planted = [(fault.check, fault.subject) for fault in PLANTED]
    assert sorted(planted) == sorted((row["check"], row["subject"]) for row in found)


def test_an_audit_is_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors first, two lines a cause, no row of a table; nothing is coloured for no terminal."""
    assert 1 == run("audit", "--sample")
    head, *lines = capsys.readouterr().out.splitlines()
    assert "kinds: 17; findings: 9 error, 17 warning, 5 info" == head
    assert len(lines) < 40
    assert all(len(line) <= 100 for line in lines)
    severities = [line.split()[0] for line in lines[:-1:2]]
    assert sorted(severities, key=["error", "warning", "info"].index) == severities
    assert "error   pts_gap  no box has it: user 5 pts 7" == lines[0]
    query = "SELECT * FROM message_boxes WHERE user_id = 5 AND pts BETWEEN 6 AND 8"
    assert query == lines[1].strip()
    assert "imlib audit --sample --check ghost" == lines[-2].strip()
    assert "server_clock" in lines[-1]


def test_rows_of_an_audit(capsys: pytest.CaptureFixture[str]) -> None:
    """They are shown for a check, a limit, or all; into a file that isn't there yet."""
    assert 0 == run("audit", "--sample", "--check", "ghost", "--limit", "3")
    printed = capsys.readouterr()
    assert (4, 4) == (printed.out.count("\n"), printed.out.count("  info  ") + 1)
    assert "ghost: 3 of 4 are shown; --all shows every one" in printed.err
    assert 1 == run("audit", "--sample", "--all", "--output", "all.csv", "--format", "csv")
    assert "" == capsys.readouterr().out
    written = rows(Path("all.csv").read_text(encoding="utf-8"), "csv")
    assert {fault.check for fault in PLANTED} == {row["check"] for row in written} - {
        "server_clock"
    }
    assert 2 == run("audit", "--sample", "--output", "all.csv")
    assert "File exists: 'all.csv'" in capsys.readouterr().err
    assert 2 == run("audit", "--sample", "--limit", "0")
    assert "limit is 0" in capsys.readouterr().err


def test_an_audit_of_one_user_at_another_time(capsys: pytest.CaptureFixture[str]) -> None:
    """What is about others is left out; the instant is Unix seconds, or a moment in UTC."""
    assert 1 == run("audit", "--sample", "--user", "9", "--format", "json")
    found = json.loads(capsys.readouterr().out)
    assert {"user 9 pts 5"} == {row["subject"] for row in found if row["severity"] != "skipped"}
    for at in ("1512270544", "2017-12-03T03:09:04", "2017-12-03T04:09:04+01:00"):
        run("audit", "--sample", "--check", "ghost", "--user", "9", "--at", at)
        assert "last reported 17 s ago on server 4" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run("audit", "--sample", "--at", "noon")
    assert "allowed are Unix seconds" in capsys.readouterr().err


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_a_terminal(no_color: str, coloured: bool, tmp_path: Path) -> None:
    """Severities are coloured there, unless NO_COLOR says no."""
    controller, terminal = os.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": no_color}
    command = [sys.executable, "-m", "imlib", "audit", "--sample"]
    with open(terminal, "wb") as out:
        subprocess.run(command, stdout=out, env=environment, cwd=tmp_path)
    printed = b""
    with open(controller, "rb", buffering=0) as shown, contextlib.suppress(OSError):
        while part := shown.read(1 << 16):
            printed += part
    assert coloured == (b"\x1b[1;31merror\x1b[0m" in printed)
    assert b"pts_gap" in printed


def test_exit_codes_of_an_audit(monkeypatch: pytest.MonkeyPatch, sound: imlib.Deployment) -> None:
    """0: nothing, or information alone; 1: a warning or an error; 2: it could not be told."""
    assert 0 == run("audit", "--sample", "--check", "ghost")
    assert 1 == run("audit", "--sample", "--check", "ghost", "--check", "pts_gap")
    name_servers(monkeypatch, sound, database=False)
    assert 2 == run("audit")
    assert 0 == run("audit", "--check", "ghost")
    name_servers(monkeypatch, sound)
    assert 0 == run("audit")


def test_without_a_database_tables_are_not_taken_for_empty(
    monkeypatch: pytest.MonkeyPatch, world: imlib.Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """With Redis alone, whose users are in no table, nobody is called an orphan: those checks are
    skipped.
    """
    name_servers(monkeypatch, world, database=False)
    assert 1 == run("audit", "--format", "json")
    found = {(row["check"], row["severity"]) for row in json.loads(capsys.readouterr().out)}
    assert ("orphan_session", "skipped") in found
    assert ("ghost", "info") in found
    assert 2 == run("snapshot", "--tables", "users")
    assert "IMLIB_DATABASE_URL" in capsys.readouterr().err


def test_an_audit_of_what_was_kept_asks_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder is enough."""
    assert 0 == run("snapshot", "kept", "--sample")
    assert 1 == run("audit", "kept")
    assert "pts_duplicate" in capsys.readouterr().out
    assert 2 == run("audit", "nowhere")
    assert "nowhere holds no snapshot" in capsys.readouterr().err
    for option in (["--sample"], ["--table-limit", "7"], ["--tables", "users"]):
        assert 2 == run("audit", "kept", *option)
        assert "not of kept" in capsys.readouterr().err


def test_which_checks_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """--list names all of them, and an unknown one is refused before any server is asked."""
    assert 0 == run("audit", "--list", "--format", "json")
    assert list(CHECKS) == [row["check"] for row in json.loads(capsys.readouterr().out)]
    assert 2 == run("audit", "--check", "gohst")
    assert "gohst: no such check. There are server_clock, " in capsys.readouterr().err


def test_what_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """Sessions and rows, each in a line of its own, ids to the last digit; 0 without a difference,
    else 1.
    """
    with imlib.connect("embedded://", "embedded://") as deployment:
        now = int(deployment.redis.time()[0])
        deployment.snapshot().save("monday")
        deployment.online_status.set_online(imlib.SessionStatus(7, -(2**63), 2**53 + 1, 3, 99, now))
        deployment.users.create_user("+7", "Ann")
        deployment.snapshot().save("tuesday")
    assert 1 == run("diff", "monday", "tuesday", "--format", "json")
    key = f"user_id 7, auth_key_id {-(2**63)}, session_id {2**53 + 1}"
    session, user = json.loads(capsys.readouterr().out)
    assert {"frame": "sessions", "change": "came", "key": key, "what": "server_id 3"} == session
    assert {"frame": "users", "change": "added", "key": "id 1", "what": ""} == user
    assert 1 == run("diff", "tuesday", "monday")
    assert re.search(r"^sessions +went +user_id 7", capsys.readouterr().out, re.MULTILINE)
    assert 0 == run("diff", "monday", "monday", "--format", "csv")
    assert "frame,change,key,what\n" == capsys.readouterr().out
    assert 2 == run("diff", "monday", "wednesday")


def test_tables_that_came_and_went_are_no_all_clear(capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be compared is no difference, and its absence is not told either: 2, and stderr
    says what.
    """
    for name, tables in (("monday", {"old": table("id")}), ("tuesday", {"new": table("id")})):
        one = snapshot(tables=tables)
        one.info["table_of"] = {table: table for table in tables}
        one.save(name)
    assert 2 == run("diff", "monday", "tuesday")
    said = capsys.readouterr().err
    assert "new was not compared: only in the later snapshot" in said
    assert "old was not compared: only in the earlier snapshot" in said


def test_a_fault_of_its_own_is_no_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What imlib did not foresee is shown whole, and its exit code is that of what could not be
    told.
    """

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("imlib.snapshot.Snapshot.load", broken)
    assert 2 == run("diff", "monday", "tuesday")
    assert "ZeroDivisionError: unforeseen" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["-_5", "-@5", "-5_6_7"])
def test_a_malformed_field_with_a_minus(field: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is malformed, not an option: 1, and why."""
    assert 1 == run("decode", field, "1_2_3")
    assert capsys.readouterr().err.startswith("imlib: ")


def test_an_option_that_is_wrong_is_no_malformed_entry(capsys: pytest.CaptureFixture[str]) -> None:
    """A user id that is none is the question's fault: 2, where a malformed entry is 1."""
    assert 2 == run("decode", "5_6", "1_2_3", "--user", "99999999999")
    assert "--user: user_id is outside its width" in capsys.readouterr().err
    assert 1 == run("decode", "5_6", "1_2")


def test_who_is_online_while_the_database_is_down(
    monkeypatch: pytest.MonkeyPatch,
    named: None,
    world: imlib.Deployment,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only Redis is asked, whatever the database's variables name."""
    for name in ("IMLIB_DATABASE_URL", "IMLIB_REPLICA_URL"):
        monkeypatch.setenv(name, "mysql+pymysql://nobody@127.0.0.1:1/im")
    # Ahead by a minute: it counts however long the command takes.
    status = imlib.SessionStatus(77, 1, 2, 3, 4, int(time.time()) + 60)
    world.online_status.set_online(status)
    world.redis.persist(status.to_key())
    assert 0 == run("who", "77")
    assert "user 77: online" in capsys.readouterr().out
    world.online_status.set_offline(status)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_ids_are_exact(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All 64 bits of an id are printed."""
    assert 0 == run("who", "1", "--sample", "--format", form)
    found = rows(capsys.readouterr().out, form)
    assert "5203465674717198145" in {row["auth_key_id"] for row in found}
    number = int if form == "json" else str
    assert {str} == {type(row[name]) for row in found for name in ("session_id", "now")}
    assert {number} == {type(row[name]) for row in found for name in ("user_id", "server_id")}
    assert 1 == run("who", "1", "12", "--sample")


def test_nothing_secret_is_printed(
    monkeypatch: pytest.MonkeyPatch, world: imlib.Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a password of the variables, nor what the tables hide; not in an error either."""
    monkeypatch.setenv("IMLIB_REDIS_URL", "redis://ann:s3cret-word@127.0.0.1:1/0")
    assert 2 == run("snapshot")
    name_servers(monkeypatch, world)
    monkeypatch.setenv("IMLIB_REPLICA_URL", "mysql+pymysql://ann:s3cret-word@127.0.0.1:1/im")
    assert 2 == run("audit")
    monkeypatch.delenv("IMLIB_REPLICA_URL")
    for command in (
        ["snapshot"],
        ["snapshot", "--format", "json"],
        ["audit"],
        ["audit", "--format", "csv"],
        ["servers"],
    ):
        run(*command)
    printed = capsys.readouterr()
    assert not re.search("s3cret|FAKE|RkFLRS|1555010", printed.out + printed.err)


def test_the_end_of_a_password_is_no_host(
    monkeypatch: pytest.MonkeyPatch, world: imlib.Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """A password with an @ that nobody encoded is refused before a driver can repeat what it takes
    for the host.
    """
    name_servers(monkeypatch, world)
    for variable in ("IMLIB_REPLICA_URL", "IMLIB_DATABASE_URL"):
        monkeypatch.setenv(variable, "mysql+pymysql://ann:s3@cret-word@127.0.0.1:1/im")
        assert 2 == run("audit")
        printed = capsys.readouterr()
        assert "cret-word" not in printed.out + printed.err
        assert "percent-encoded" in printed.err


def test_a_key_moves_no_cursor(
    monkeypatch: pytest.MonkeyPatch, sound: imlib.Deployment, capsys: Any
) -> None:
    """What stands in a key is printed in a form that no terminal obeys."""
    sound.redis.set("online_\x1b[2Jbad\n", "x")
    name_servers(monkeypatch, sound)
    assert 1 == run("audit", "--check", "malformed")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert r"online_\x1b[2Jbad\n" in printed
    assert 2 == printed.count("\n")


def test_an_incomplete_snapshot_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, world: imlib.Deployment, capsys: Any
) -> None:
    """Without --keep-incomplete it fails and keeps nothing; with it, it is kept and said to be
    incomplete.
    """

    def gone(*_: object, **__: object) -> None:
        raise imlib.UnavailableError("the database went away")

    name_servers(monkeypatch, world)
    monkeypatch.setattr("imlib.snapshot.tables.choose", gone)
    assert 2 == run("snapshot", "one")
    assert not Path("one").exists()
    assert 1 == run("snapshot", "one", "--keep-incomplete")
    assert "INCOMPLETE: the database went away" in capsys.readouterr().err
    assert "the database went away" == imlib.Snapshot.load("one").info["incomplete"]


def test_in_a_process_of_its_own(world: imlib.Deployment, tmp_path: Path) -> None:
    """As a script runs it: rows on stdout, quiet on stderr, for no terminal is there to
    show a bar.
    """
    environment = os.environ | {
        "IMLIB_REDIS_URL": world.redis_url.reveal(),
        "PYTHONPATH": str(ROOT),
    }
    environment["IMLIB_DATABASE_URL"] = world.database_url.reveal()
    command = [sys.executable, "-m", "imlib", "snapshot", "--format", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (0, "") == (done.returncode, done.stderr)
    assert ["12"] == [row["rows"] for row in rows(done.stdout, "csv") if row["frame"] == "users"]
    read_enough = (
        f"{shlex.join([sys.executable, '-m', 'imlib', 'audit', '--format', 'json'])} | head -c 1"
    )
    done = subprocess.run(
        ["sh", "-c", read_enough], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert ("[", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("arguments", "where_to", "code"),
    [
        ("decode 5_6 1_2_3", "no reader", 0),
        ("--help", "no reader", 0),
        ("", "no reader", 0),
        ("audit --list", "no reader", 0),
        ("who 1 --sample --format json", "no reader", 0),
        ("who 12 --sample", "no reader", 1),
        ("snapshot --sample --format csv", "no reader", 0),
        ("audit --sample", "no reader", 1),
        ("servers --sample", "no reader", 0),
        ("audit --list", "/dev/full", 2),
        ("decode 5_6 1_2_3", "/dev/full", 2),
    ],
)
def test_output_that_goes_nowhere(arguments: str, where_to: str, code: int, tmp_path: Path) -> None:
    """A reader that has left has read enough, and the exit code is as if all was written; a full
    disk is one line.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)  # what is short is then written at the very end
    command = [sys.executable, "-m", "imlib", *arguments.split()]
    if where_to == "no reader":
        reader, out = os.pipe()
        os.close(reader)
    else:
        out = os.open(where_to, os.O_WRONLY)
    with open(out, "wb") as stdout:
        done = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
        )
    full = "imlib: reading or writing failed: [Errno 28] No space left on device\n"
    assert (code, full if code == 2 else "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("who 1 --sample", 0),
        ("servers --sample", 0),
        ("audit --sample --format csv", 1),
        ("decode 5_6 1_2", 1),
        ("audit nowhere", 2),
        ("--help", 0),
        ("--version", 0),
    ],
)
def test_streams_that_are_closed(arguments: str, code: int, closed: str, tmp_path: Path) -> None:
    """The exit code is what it always is; nothing is said of it elsewhere, nor is any warning."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "always"}
    command = f"{shlex.join([sys.executable, '-m', 'imlib', *arguments.split()])} {closed}"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert code == done.returncode
    assert "Traceback" not in done.stderr + done.stdout
    assert "Warning" not in done.stderr + done.stdout
    assert closed != "2>&-" or "imlib:" not in done.stdout


def test_a_server_that_is_gone_leaves_no_warning(world: imlib.Deployment, tmp_path: Path) -> None:
    """Not even of a socket that a driver forgot: one line says what is not answered."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "always"}
    environment["IMLIB_REDIS_URL"] = world.redis_url.reveal()
    environment["IMLIB_DATABASE_URL"] = f"mysql+pymysql://root@/im?unix_socket={tmp_path}/none"
    command = [sys.executable, "-m", "imlib", "audit", "--check", "ghost"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (0, 1) == (done.returncode, done.stderr.count("\n"))
    assert done.stderr.startswith("imlib: only what does without it is answered: mysql+pymysql://")


def test_bare_imlib_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """It is what --help shows, and no failure."""
    printed = []
    for arguments in ([], ["--help"]):
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert 0 == caught.value.code
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""


@pytest.mark.parametrize(
    "odd", ["5_6", "+5", " 5", "5 ", "05", "-0", "٥", "５", "5.0", "0x5", "", "5e1", "5,6", "½"]
)
@pytest.mark.parametrize(
    "command", ["who {}", "who 7 {}", "snapshot --user {}", "decode 5_6 1_2_3 --user {}"]
)
def test_an_id_is_written_in_one_way(
    command: str, odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in Redis's keys: no sign but a minus, no underscore, no space, no other script's digits;
    the server is not even asked.
    """
    with pytest.raises(SystemExit) as caught:
        run(*[word.format(odd) for word in command.split()])
    assert 2 == caught.value.code
    assert "is no user id: allowed are digits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "layout", "date"),
    [
        ("-5_6 1512270533_1_42", "documented", "2017-12-03 03:08:53 UTC"),
        ("-5@-6 1@42@0", "deployed", "1970-01-01 00:00:00 UTC"),
        ("-5_6 -1_-2_-3", "documented", "1969-12-31 23:59:59 UTC"),
        ("5_6 253402300799_2_3", "documented", "9999-12-31 23:59:59 UTC"),
        ("5_6 253402300800_2_3", "documented", "beyond the calendar"),
        (f"{-(2**63)}_0 {-(2**63)}_2_3", "documented", "beyond the calendar"),
        ("--user -7 -5_6 1_2_3", "documented", "1970-01-01 00:00:01 UTC"),
        ("-- -5_6 1_2_3", "documented", "1970-01-01 00:00:01 UTC"),
        ("-42 1@1540000000@85", "deployed_2018", "2018-10-20 01:46:40 UTC"),
        ("42 -1@1500000000@1", "deployed_2018", "2017-07-14 02:40:00 UTC"),
        ("--user 7 -- -42 1@1540000000@85", "deployed_2018", "2018-10-20 01:46:40 UTC"),
    ],
)
def test_an_entry_in_words(
    entry: str, layout: str, date: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its layout, its parts and its time as a date; a field may begin with a minus."""
    assert 0 == run("decode", *entry.split())
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (layout, date) == (told["layout"], told["date"])


def test_a_cut_entry_is_none_of_october_2018(capsys: pytest.CaptureFixture[str]) -> None:
    """A deployed entry whose field was cut is malformed, and the reason says what it lacks."""
    assert 1 == run("decode", "-42", "1@42@1512270533")
    assert "a time of 1500000000 or later and a layer of 1 to 9999" in capsys.readouterr().err


class TestShow:
    """One table in three forms: for people, for programs, for spreadsheets."""

    @pytest.mark.parametrize(
        "cell",
        [
            *("=1+1", "@SUM(A1)", "\tx", "\nx", "+1+1", "-2+3+cmd|' /C calc'!A0", "-x", "+ 1a"),
            *("＝1", "＋1", "－1", "＠x", "-1e5", "+49 (0)30", "-1\n", "-٥", "-1,5", "=", "-1;2"),
        ],
    )
    def test_a_spreadsheet_runs_nothing(
        self, cell: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A text that it would take for a formula begins with an apostrophe."""
        show(["a", "b"], [(cell, "x")], "csv")
        ((_, _), (kept, _)) = csv.reader(io.StringIO(capsys.readouterr().out, newline=""))
        assert f"'{cell}" == kept

    @pytest.mark.parametrize(
        "cell",
        ["-5_6", "-5@6", "+49 30 1234", "-1.5", "-", "a=1", "1+1", " =1", "'x", "", -5, 2**63],
    )
    def test_other_cells_stay(self, cell: object, capsys: pytest.CaptureFixture[str]) -> None:
        """Numbers, phones, entries of Redis and plain texts are as they were."""
        show(["a", "b"], [(cell, "x")], "csv")
        assert f"a,b\n{cell},x\n" == capsys.readouterr().out

    def test_no_row_begins_inside_a_cell(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A CR, which CSV's readers take for a row's end, is escaped."""
        show(["a"], [("\r=1",), ("x\r=1",)], "csv")
        assert "a\n'\\r=1\nx\\r=1\n" == capsys.readouterr().out

    @pytest.mark.parametrize("form", ["table", "csv"])
    def test_no_terminal_obeys(self, form: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Control and bidi characters are shown escaped, in the names of columns as well."""
        odd = "a\x1b[2J\x07\x9b\u202eb\u2066\u200f\x7f"
        show([odd, "b"], [(odd, 1)], form)
        printed = capsys.readouterr().out
        assert printed.replace("\n", "").isprintable()
        assert 2 == printed.count(r"a\x1b[2J\x07\x9b\u202eb\u2066\u200f\x7f")

    def test_json_is_ascii_and_exact(self, capsys: pytest.CaptureFixture[str]) -> None:
        """64-bit numbers are strings, others numbers, what is nothing is null, on any terminal."""
        nothing = [None, math.nan, math.inf, -math.inf, pd.NaT, pd.NA, np.float64("nan")]
        rows = [
            (str(2**63 - 1), 7, "größe 日本 \x7f\x1b", each) for each in [*nothing, 0.5, Decimal(1)]
        ]
        show(["id", "user_id", "text", "what"], rows, "json")
        printed = capsys.readouterr().out
        assert printed.isascii()
        assert "\x7f" not in printed
        found = json.loads(printed, parse_constant=pytest.fail)
        assert [*[None] * 7, 0.5, "1"] == [row["what"] for row in found]
        assert {"id": str(2**63 - 1), "user_id": 7, "text": "größe 日本 \x7f\x1b"} == {
            name: found[0][name] for name in ("id", "user_id", "text")
        }

    def test_wide_letters_are_aligned(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A letter of two columns counts for two, an accent that stands on a letter for none."""
        names = ["日本", "ｱ", "Ａ", "e\u0301", "abcd", "한글"]
        show(["name", "n"], [(name, 1) for name in names], "table")
        lines = capsys.readouterr().out.splitlines()
        assert [
            f"{name}{' ' * (6 - width)}1"
            for name, width in zip(names, (4, 1, 2, 1, 4, 4), strict=True)
        ] == (lines[1:])


@pytest.mark.parametrize("command", ["servers", "who 7", "snapshot", "audit"])
def test_periods_that_are_none(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no whole number is the usage's matter, another one is told as connect tells it."""
    with pytest.raises(SystemExit):
        run(*command.split(), "--sample", "--online-timeout", "6_0")
    assert "'6_0': allowed are whole seconds, such as 60" in capsys.readouterr().err
    assert 2 == run(*command.split(), "--sample", "--online-timeout", "0")
    assert "online_timeout is 0: it must be whole seconds, from 1" in capsys.readouterr().err
    assert 2 == run(*command.split(), "--sample", "--online-timeout", "60")
    assert "less than online_timeout, 60" in capsys.readouterr().err


def test_periods_of_other_lengths(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report of 40 s ago counts where servers lease for 60 and 70 s, by option or variable."""
    periods = ("--online-timeout", "60", "--check-online-timeout", "70")
    with imlib.connect("embedded://", "embedded://") as deployment:
        name_servers(monkeypatch, deployment)
        at = int(deployment.redis.time()[0]) - 40
        status = imlib.SessionStatus(7, 1, 2, 3, 4, at)
        deployment.online_status.set_online(status)
        assert 1 == run("who", "7")
        assert 0 == run("who", "7", *periods)
        assert 0 == run("servers", *periods)
        assert "60 s; a report counts for 70 s" in capsys.readouterr().out
        monkeypatch.setenv("IMLIB_ONLINE_TIMEOUT", "60")
        monkeypatch.setenv("IMLIB_CHECK_ONLINE_TIMEOUT", "70")
        assert 0 == run("who", "7")
        assert 0 == run("snapshot", "kept")
        assert imlib.Snapshot.load("kept").sessions["online"].all()
        assert 70 == imlib.Snapshot.load("kept").info["check_online_timeout"]


def test_the_sample_world_has_its_own_periods(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the variables say of the user's servers changes nothing of it; an option does."""

    def online() -> list[bool]:
        assert 0 == run("who", "1", "--sample", "--format", "json")
        return [row["online"] for row in json.loads(capsys.readouterr().out)]

    usual = online()
    monkeypatch.setenv("IMLIB_ONLINE_TIMEOUT", "60")
    monkeypatch.setenv("IMLIB_CHECK_ONLINE_TIMEOUT", "7000")
    assert usual == online()
    assert 0 == run("who", "4", "--sample", "--check-online-timeout", "7000")


def test_what_servers_says(
    monkeypatch: pytest.MonkeyPatch,
    mariadb_pair: MariaDBPair,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Kinds, versions and roles, memory and eviction, how far a replica is behind, what the tables
    lack.
    """
    memory = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with private_redis(tcp=True) as primary, private_redis(*memory, tcp=True) as redis:
        redis.follow(primary)
        redis.catch_up(primary)
        monkeypatch.setenv("IMLIB_REDIS_URL", redis.url)
        monkeypatch.setenv("IMLIB_DATABASE_URL", mariadb_pair.primary.url("mysql"))
        monkeypatch.setenv("IMLIB_REPLICA_URL", mariadb_pair.replica.url("mysql"))
        assert 0 == run("servers")
    printed = capsys.readouterr().out
    for said in (
        rf"^redis +Redis \d+\.\d+\.\d+ \(a replica of {primary.address}, link up\) at unix:",
        rf"^role +replica of {primary.address}, link up, heard of \d+ s ago$",
        r"^memory +used \d+ bytes, maxmemory 104857600 bytes .*, policy allkeys-lru, evicted keys",
        r"^database +MariaDB \d+\.\d+\.\d+ at mysql.*\nrole +primary: it follows nobody$",
        rf"^replica +MariaDB .*\nrole +replica of 127.0.0.1:{mariadb_pair.primary.port}, lag \d+ s",
        r"^schema +missing tables: apps, auth_keys, ",
        r"^schema +extra tables: ",
    ):
        assert re.search(said, printed, re.MULTILINE), f"{said}\n{printed}"


def test_a_terminal_that_lacks_a_letter(tmp_path: Path) -> None:
    """What its encoding has no letter for is printed escaped."""
    imlib.Snapshot.save(
        snapshot([], {"größe": table("id", (1,))}, table_of={"größe": "größe"}), tmp_path / "later"
    )
    imlib.Snapshot.save(
        snapshot([], {"größe": table("id")}, table_of={"größe": "größe"}), tmp_path / "earlier"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "imlib", "diff", "earlier", "later", "--format", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (1, "") == (done.returncode, done.stderr)
    assert r"gr\xf6\xdfe,added,id 1," in done.stdout


def helped(*command: str) -> str:
    """Return what --help prints."""
    done = subprocess.run(
        [sys.executable, "-m", "imlib", *command, "--help"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """Give the help of imlib and of each command."""
    return {name: helped(*name.split()) for name in ("", *COMMANDS)}


def test_every_command_is_documented(helps: dict[str, str]) -> None:
    """Each is in the list of commands, has a help with an example, and stands in the README."""
    listed = re.findall(r"^    (\w+) {2,}\S", helps[""].partition("commands:")[2], re.MULTILINE)
    assert COMMANDS == listed
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert re.search(rf"^  imlib {name}\b", helps[name], re.MULTILINE), name
        assert f"imlib {name}" in readme


def examples(text: str) -> list[str]:
    """Return the commands under a help's "examples", without what a shell would do with them."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("  imlib ")]
    return [re.split(r" \| | {3,}", line)[0] for line in lines]


def test_every_example_runs(
    helps: dict[str, str], sound: imlib.Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the helps show works as it stands there, on servers that hold the sample world."""
    name_servers(monkeypatch, sound)
    assert 0 == run("sample")
    assert 0 == run("snapshot", "monday")
    assert 0 == run("snapshot", "tuesday")
    made = {"imlib sample", "imlib snapshot monday", "imlib snapshot tuesday --limit 5000000"}
    shown = {line for text in helps.values() for line in examples(text)}
    assert made <= shown
    assert len(shown) > 15
    for line in sorted(shown - made):
        assert run(*shlex.split(line)[1:]) in (0, 1), line


def test_a_help_of_a_command_that_does_not_exist() -> None:
    """An unknown command is a usage error: exit code 2, as for all that could not be told."""
    with pytest.raises(SystemExit) as caught:
        run("snapshto")
    assert 2 == caught.value.code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("snapshto", "did you mean snapshot?"),
        ("whoo 7", "did you mean who?"),
        ("Audit", "did you mean audit?"),
        ("watchs", "did you mean watch?"),
        ("who 7 --format jsn", "did you mean json?"),
        ("who 7 --fromat json", "did you mean --format?"),
        ("snapshot --usr 7", "did you mean --user?"),
        ("audit --chek pts_gap", "did you mean --check?"),
        ("zzz", "(choose from "),
        ("who 7 --zzz", "unrecognized arguments: --zzz\n"),
        ("diff a b c", "unrecognized arguments: c\n"),
    ],
)
def test_a_word_that_is_mistyped(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What may have been meant is asked, under the usage of the command that was named."""
    with pytest.raises(SystemExit) as caught:
        run(*words.split())
    assert 2 == caught.value.code
    printed = capsys.readouterr().err
    assert said in printed
    command = words.split()[0] if len(words.split()) > 2 else ""
    assert printed.startswith(f"usage: imlib {command}")


@pytest.mark.parametrize("command", ["audit nowhere", "diff nowhere nowhere"])
def test_a_folder_that_is_not_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told from one that holds something else."""
    assert 2 == run(*command.split())
    assert "nowhere holds no snapshot: there is no such folder" in capsys.readouterr().err
    Path("nowhere").mkdir()
    assert 2 == run(*command.split())
    assert "sessions.parquet is not there" in capsys.readouterr().err
