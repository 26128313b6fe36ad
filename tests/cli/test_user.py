"""The command ``user``: all that is known of one user, found by id or phone, masked and exact."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

import imlib
from imlib.cli.main import main
from imlib.investigation import sample_world

PHONE = "15550100007"
"""Of user 7, as the sample world stores it: without a plus."""


@pytest.fixture(scope="module")
def world() -> Iterator[imlib.Deployment]:
    """Give the sample world, where user 12's phone is stored with its plus."""
    with sample_world() as deployment:
        with deployment.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE users SET phone = '+4917012345' WHERE id = 12")
        yield deployment


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch, world: imlib.Deployment) -> None:
    """Name the world's servers."""
    monkeypatch.setenv("IMLIB_REDIS_URL", world.redis_url.reveal())
    monkeypatch.setenv("IMLIB_DATABASE_URL", world.database_url.reveal())


def told(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """Return what the command tells, exactly."""
    assert 0 == main(["user", *words, "--format", "json"])
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_all_about_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Each frame that holds something of the user is there, with rows; others' rows are not."""
    (seven,) = told(capsys, "7", "--at", "1512270533")
    assert {"users", "sessions", "devices", "auth_users", "auths", "user_dialogs"} <= seven.keys()
    assert {"message_boxes", "chats", "chat_users", "user_contacts", "sequences"} <= seven.keys()
    assert [7] == [row["id"] for row in seven["users"]]
    assert {7} == {row["user_id"] for row in seven["message_boxes"] + seven["user_dialogs"]}
    boxes = [row["id"] for row in seven["message_boxes"]]
    assert sorted(boxes, reverse=True) == boxes
    assert 3 == len(seven["sessions"])
    assert ["7"] == [row["name"] for row in seven["sequences"]]


def test_it_is_exact_and_masked(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers of 64 bits are text, others numbers; phones, keys and tokens are masked."""
    (seven,) = told(capsys, "7")
    assert "6278967073029751445" in {row["auth_id"] for row in seven["devices"]}
    assert {int} == {type(row["token_type"]) for row in seven["devices"]}
    (sequence,) = seven["sequences"]
    assert ("6", "8") == (sequence["redis_before"], sequence["row"])
    for form in ("json", "csv", "table"):
        assert 0 == main(["user", "7", "--format", form])
        printed = "".join(capsys.readouterr())
        assert PHONE not in printed
        assert "FAKE" not in printed
        assert "RkFLRS" not in printed
        assert "masked" in printed


def test_csv_has_a_line_per_value(capsys: pytest.CaptureFixture[str]) -> None:
    """So that frames of any columns fit into one table."""
    assert 0 == main(["user", "7", "--format", "csv"])
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert ["user_id", "frame", "row", "column", "value"] == list(lines[0])
    names = [line["value"] for line in lines if line["column"] == "username"]
    assert ["user_7"] == names


@pytest.mark.parametrize(
    ("words", "user_id"),
    [
        (["+15550100007"], 7),
        (["--phone", "+15550100007"], 7),
        (["--phone", "15550100007"], 7),
        (["+1 (555) 010-0007"], 7),
        (["+4917012345"], 12),
        (["--phone", "4917012345"], 12),
    ],
)
def test_by_phone(words: list[str], user_id: int, capsys: pytest.CaptureFixture[str]) -> None:
    """It is found with its plus or without, however either is spelled."""
    assert [user_id] == [one["user_id"] for one in told(capsys, *words)]


@pytest.mark.parametrize("words", [["999"], ["+15550100099"], ["--phone", "' OR 1=1"], ["+12"]])
def test_nobody(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No such user is a no, what is no phone a wrong question; a phone is not repeated."""
    odd = "OR" in words[-1] or words == ["+12"]
    if odd:
        with pytest.raises(SystemExit):
            main(["user", *words])
    else:
        assert 1 == main(["user", *words])
    printed = "".join(capsys.readouterr())
    assert ("no phone" if odd else "there is no such user") in printed
    assert words[-1] not in printed or words == ["999"]


@pytest.mark.parametrize("words", [[], ["7", "--phone", "123"], ["7", "--rows", "0"]])
def test_a_wrong_question(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One user is named, in one way, and at least one row is asked for."""
    assert 2 == main(["user", *words])
    assert 1 == len(capsys.readouterr().err.splitlines())


def test_the_newest_rows_of_many(capsys: pytest.CaptureFixture[str]) -> None:
    """More rows than asked for are left out, and that is said."""
    assert 0 == main(["user", "7", "--rows", "2", "--format", "json"])
    printed = capsys.readouterr()
    (seven,) = json.loads(printed.out)
    assert [75, 70] == [row["id"] for row in seven["message_boxes"]]
    assert "user 7: message_boxes has 8 rows, of which the newest are shown" in printed.err


def test_presence_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a database sessions are told, and a phone cannot be looked for."""
    monkeypatch.delenv("IMLIB_DATABASE_URL")
    (seven,) = told(capsys, "7")
    assert {"user_id", "sessions", "sequences"} == seven.keys()
    assert 2 == main(["user", "+15550100007"])
    assert "set IMLIB_DATABASE_URL" in capsys.readouterr().err


def test_a_database_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is known is told, what is missing is named, and it is no whole answer."""
    monkeypatch.setenv("IMLIB_DATABASE_URL", "mysql+pymysql://nobody@127.0.0.1:1/im")
    assert 2 == main(["user", "7"])
    printed = capsys.readouterr()
    assert "user 7: " in printed.out
    assert "INCOMPLETE: " in printed.err


def test_a_redis_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody is called offline, or absent, by who could not look."""
    monkeypatch.setenv("IMLIB_REDIS_URL", "redis://127.0.0.1:1/0")
    assert 2 == main(["user", "7"])
    printed = capsys.readouterr()
    assert "user 7: whether online cannot be told\n" in printed.out
    assert "offline" not in printed.out
    assert 2 == main(["user", "999"])
    assert "no such user" not in capsys.readouterr().err
