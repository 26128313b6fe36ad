"""The commands over snapshots that were kept: diff and sql."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import imlib
from imlib.cli.main import main


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with two snapshots of one database, monday's and tuesday's."""
    folder = tmp_path_factory.mktemp("kept")
    with imlib.connect("fakeredis://", "embedded://") as deployment:
        for number in range(1, 6):
            deployment.users.create_user(f"+{number}", f"User {number}")
        deployment.sequences.next_id("7")
        deployment.snapshot().save(folder / "monday")
        with deployment.engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE users SET first_name = 'X', phone = '+99' WHERE id = 2"
            )
            connection.exec_driver_sql(
                "UPDATE users SET access_hash = -9007199254740993 WHERE id = 3"
            )
            connection.exec_driver_sql("UPDATE users SET state = 1 WHERE id > 3")
            connection.exec_driver_sql("DELETE FROM users WHERE id = 1")
            connection.exec_driver_sql("UPDATE seq_updates_ngen SET seq = 9007199254740993")
        deployment.snapshot(unmask=["users.access_hash"]).save(folder / "tuesday")
        deployment.snapshot(mask_key="fresh").save(folder / "fresh")
    return folder


@pytest.fixture(autouse=True)
def inside(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in the folder."""
    monkeypatch.chdir(kept)


def test_a_comparison_begins_with_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    """Each table's additions, removals and changes are counted, changes by their columns."""
    assert main(["diff", "monday", "tuesday"]) == 1
    counts = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert [
        ["frame", "change", "columns", "how", "many"],
        ["seq_updates_ngen", "changed", "seq", "1"],
        ["users", "removed", "1"],
        ["users", "changed", "first_name,", "phone", "1"],
        ["users", "changed", "state", "2"],
    ] == [line.split() for line in counts]


def test_values_are_told_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """--values gives a row per changed column: numbers of 32 bits as numbers, tokens as tokens."""
    assert main(["diff", "monday", "tuesday", "--values", "--format", "json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [
        ("id 1", "", None, None),
        ("id 2", "first_name", "User 2", "X"),
        ("id 4", "state", 0, 1),
        ("id 5", "state", 0, 1),
    ] == [
        (row["key"], row["what"], row["before"], row["after"])
        for row in rows
        if row["frame"] == "users" and row["what"] != "phone"
    ]
    seq = next(row for row in rows if row["what"] == "seq")
    assert ("1", "9007199254740993") == (seq["before"], seq["after"])
    phone = next(row for row in rows if row["what"] == "phone")
    assert phone["before"].startswith("masked:")
    assert phone["before"] != phone["after"]


def test_masked_columns_take_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """All columns that are masked under two keys are named in one line on stderr."""
    assert main(["diff", "monday", "fresh"]) == 1
    said = capsys.readouterr().err.splitlines()
    line = next(line for line in said if "masked" in line)
    assert line.startswith("imlib: not compared, masked, and not under one key: apps.api_hash, ")
    assert "users.phone" in line
    assert 1 == sum("masked" in line for line in said)


def test_a_query_of_a_kept_snapshot(capsys: pytest.CaptureFixture[str]) -> None:
    """`imlib sql` prints what a SELECT gives: 64-bit numbers exact, NULL as null, no name lost."""
    query = (
        "SELECT id, id AS id, access_hash, NULL::int AS n, is_bot = 0 AS yes FROM users ORDER BY 1"
    )
    assert main(["sql", "tuesday", f"{query} LIMIT 2", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = {"id": 3, "id_2": 3, "access_hash": "-9007199254740993", "n": None, "yes": True}
    assert expected == found[1]
    assert main(["sql", "tuesday", "SELECT count(*) AS users FROM users"]) == 0
    assert ["users", "4"] == capsys.readouterr().out.split()
    assert main(["sql", "tuesday", "SELECT id FROM users WHERE false", "--format", "csv"]) == 0
    assert "id\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sql", "tuesday", "DROP TABLE users"], "runs one SELECT"),
        (["sql", "tuesday", "SELECT nothing FROM users"], "nothing"),
        (["sql", "tuesday", "SELECT * FROM users WHERE phone = '+99'"], "masked"),
        (["sql", "nowhere", "SELECT 1"], "nowhere"),
    ],
)
def test_a_refused_query(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be asked is one line on stderr, and exit code 2."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert ("", 1) == (printed.out, printed.err.count("\n"))
    assert said in printed.err
