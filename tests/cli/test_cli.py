"""The command line: what it prints, for people and for scripts, and what its exit codes mean."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import imlib
from imlib.audit import CHECKS
from imlib.cli import main
from imlib.sample import PLANTED
from imlib.schema import create_all
from tests.snapshot.frames import snapshot, table

ROOT = Path(__file__).parents[2]
COMMANDS = ["servers", "who", "snapshot", "audit", "diff", "sample", "decode"]
VARIABLES = ("IMLIB_REDIS_URL", "IMLIB_DATABASE_URL", "IMLIB_REPLICA_URL", "IMLIB_MASK_KEY")


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
    planted = [(fault.check, fault.subject) for fault in PLANTED]
    assert sorted(planted) == sorted((row["check"], row["subject"]) for row in found)
    assert all(row["how_to_look"] for row in found)


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
    for option in (["--sample"], ["--limit", "7"], ["--tables", "users"]):
        assert 2 == run("audit", "kept", *option)
        assert "not of kept" in capsys.readouterr().err


def test_which_checks_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    """--list names all of them, and an unknown one is refused before any server is asked."""
    assert 0 == run("audit", "--list", "--format", "json")
    assert list(CHECKS) == [row["check"] for row in json.loads(capsys.readouterr().out)]
    assert 2 == run("audit", "--check", "gohst")
    assert "gohst: no such check. There are ghost, " in capsys.readouterr().err


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
    assert "5203465674717198145" in {str(row["auth_key_id"]) for row in found}
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
    ("arguments", "where_to", "said"),
    [
        ("decode 5_6 1_2_3", "no reader", ""),
        ("--help", "no reader", ""),
        (
            "audit --list",
            "/dev/full",
            "imlib: reading or writing failed: [Errno 28] No space left on device\n",
        ),
        (
            "decode 5_6 1_2_3",
            "/dev/full",
            "imlib: reading or writing failed: [Errno 28] No space left on device\n",
        ),
    ],
)
def test_output_that_goes_nowhere(arguments: str, where_to: str, said: str, tmp_path: Path) -> None:
    """A reader that has left is no error to speak of, a full disk is one line; both are exit code
    2.
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
    assert (2, said) == (done.returncode, done.stderr)


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
