"""Worlds as telegramd left them: the files are what the generator makes, and imlib loads both."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from imlib.investigation import sample_world
from imlib.sample import NOW
from tools.deployed_world import COMMITS, DATA, Telegramd, export, generate


@pytest.fixture(scope="module", params=COMMITS)
def commit(request: pytest.FixtureRequest) -> str:
    """Give each commit in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def world(commit: str) -> Telegramd:
    """Give its world of 240 users, made."""
    return generate(commit, 240)


def test_the_files_are_what_is_generated(commit: str, tmp_path: Path) -> None:
    """data/deployed is what is made now, to the byte; else: python -m tools.deployed_world."""
    export(generate(commit), tmp_path / commit)
    expected = {path.name: path.read_bytes() for path in (tmp_path / commit).iterdir()}
    assert expected == {path.name: path.read_bytes() for path in (DATA / commit).iterdir()}


def test_only_the_participants_that_its_commit_reads_are_written(world: Telegramd) -> None:
    """The later commit has all in chat_participants, and leaves chat_users empty."""
    later = "chat_participants" in world.rows
    assert world.json == later
    inside = sum(row[4] for row in world.rows["chats"])
    assert inside > 0
    assert len(world.rows["chat_users"]) == (0 if later else inside)
    assert len(world.rows.get("chat_participants", [])) == (inside if later else 0)


def test_each_user_has_a_number_for_each_box(world: Telegramd) -> None:
    """The pts of a user's boxes are 1, 2, 3 and so on, and the saved counter is the last."""
    boxes = Counter(row[1] for row in world.rows["message_boxes"])
    pts = sorted((row[1], row[6]) for row in world.rows["message_boxes"])
    assert [(user, n) for user in sorted(boxes) for n in range(1, boxes[user] + 1)] == pts
    saved = {int(row[1]): row[2] for row in world.rows["seq_updates_ngen"]}
    assert boxes == saved


def test_each_dialog_counts_all_its_boxes(world: Telegramd) -> None:
    """A deployed server counts the sender's own messages as unread, and never reads any."""
    boxes = Counter((row[1], row[4], row[5]) for row in world.rows["message_boxes"])
    assert boxes == {(row[1], row[2], row[3]): row[8] for row in world.rows["user_dialogs"]}


def test_it_is_loaded_and_looked_at(commit: str) -> None:
    """Each world goes into private servers: its rows, its sessions, its goodbyes past the lease."""
    made = generate(commit)
    with sample_world(world=f"deployed/{commit}") as deployment:
        snapshot = deployment.snapshot()
        online = deployment.online_status.get_online_by_user_id_list([1, 9])
    rows = {name: len(rows) for name, rows in made.rows.items()}
    assert rows == {name: len(frame) for name, frame in snapshot.tables.items()}
    assert {"deployed"} == set(snapshot.sessions["layout"])
    assert (1, 0) == (len(online[1]), len(online[9]))
    assert snapshot.malformed.empty


def test_the_command_line_asks_the_later_one(capsys: pytest.CaptureFixture[str]) -> None:
    """--sample-deployed is a world that needs no server, like --sample."""
    from imlib.cli.main import main

    assert main(["who", "1", "--sample-deployed"]) == 0
    assert "user 1: online" in capsys.readouterr().out


def test_no_message_is_of_the_future() -> None:
    """However many users there are, no message is sent after the world's instant."""
    server = generate("4b393bf", 60)
    server.clock = NOW
    server.send(1, 2, "late")
    assert max(row[7] for row in server.rows["messages"]) == NOW
