"""The audit of what telegramd left: nothing where nothing is wrong, and each planted fault."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import imlib
from imlib.investigation import sample_world
from tools.deployed_world import COMMITS, export, generate

WORST = ("error", "warning")
# check, what plants it (a statement, or words for Redis), and where it is.
FAULTS = [
    ("pts_gap", "DELETE FROM message_boxes WHERE user_id = 12 AND pts = 2", "user 12 pts 2"),
    (
        "pts_duplicate",
        "INSERT INTO message_boxes (user_id, sender_user_id, message_box_type, peer_type, peer_id,"
        " pts, message_id, state, date2) SELECT user_id, sender_user_id, message_box_type,"
        " peer_type, peer_id, pts, message_id, state, date2 FROM message_boxes WHERE user_id = 40"
        " AND pts = 1",
        "user 40 pts 1",
    ),
    ("sequence_behind", "SET seq_updates_ngen_50 1", "50"),
    ("sequence_ahead", "SET seq_updates_ngen_51 99", "51"),
    ("sequence_lost", "DEL seq_updates_ngen_52", "52"),
    (
        "sequence_behind_boxes",
        "UPDATE seq_updates_ngen SET seq = 1 WHERE seq_name = '60'",
        "user 60",
    ),
    ("sequence_absent", "DELETE FROM seq_updates_ngen WHERE seq_name = '61'", "user 61"),
    ("client_ahead", "UPDATE client_updates_state SET pts = 99 WHERE user_id = 62", "user 62"),
    (
        "dialog_disagrees",
        "UPDATE user_dialogs SET unread_count = 77 WHERE user_id = 70 AND peer_id = 71",
        "user 70 peer user 71",
    ),
    (
        "dialog_disagrees",
        "UPDATE user_dialogs SET top_message = 1 WHERE user_id = 71 AND peer_id = 72",
        "user 71 peer user 72",
    ),
    (
        "dialog_missing",
        "DELETE FROM user_dialogs WHERE user_id = 80 AND peer_id = 81",
        "user 80 peer user 81",
    ),
    (
        "read_beyond_newest",
        "UPDATE user_dialogs SET read_inbox_max_id = 999999 WHERE user_id = 82 AND peer_id = 83",
        "user 82 peer user 83",
    ),
    (
        "mentions_without_unread",
        "UPDATE user_dialogs SET unread_mentions_count = 50 WHERE user_id = 85 AND peer_id = 86",
        "user 85 peer user 86",
    ),
    (
        "orphan_box",
        "UPDATE message_boxes SET message_id = 888888 WHERE user_id = 90 AND pts = 1",
        "90",
    ),
    (
        "message_of_nobody",
        "UPDATE messages SET sender_user_id = 7777 WHERE id = (SELECT min(message_id) FROM"
        " message_boxes WHERE user_id = 95)",
        "7777",
    ),
    ("future_date", "UPDATE messages SET date2 = 2000000000 WHERE id = 3", "message 3"),
    (
        "duplicate_random_id",
        "UPDATE messages SET random_id = (SELECT random_id FROM messages m WHERE m.sender_user_id ="
        " 96 ORDER BY id LIMIT 1) WHERE sender_user_id = 96",
        "user 96",
    ),
    ("body_unreadable", "UPDATE messages SET message_data = 'hi' WHERE id = 5", "message 5"),
    ("orphan_participant", "UPDATE {members} SET user_id = 8888 WHERE id = 2", "user 8888"),
    ("participant_count", "UPDATE chats SET participant_count = 99 WHERE id = 4", "chat 4"),
    ("orphan_contact", "UPDATE user_contacts SET contact_user_id = 9999 WHERE id = 9", "9999"),
    ("username_twice", "UPDATE users SET username = 'USER_101' WHERE id = 100", "101"),
    ("phone_twice", "UPDATE users SET phone = '+15550000103' WHERE id = 102", "103"),
    ("orphan_auth", "UPDATE auth_users SET user_id = 6666 WHERE user_id = 121", "6666"),
    ("device_without_auth", "UPDATE devices SET auth_id = 5 WHERE user_id = 106", "106"),
    (
        "token_of_two",
        "UPDATE devices SET token = 'FAKE-TOKEN-108-0' WHERE user_id = 107",
        "107",
    ),
    ("key_without_ttl", "PERSIST online_110", "online_110"),
    ("malformed", "HSET online_113 laptop yes", "online_113 laptop"),
    ("orphan_session", "HSET online_4444 -5@6 1@2@1512270530", "online_4444"),
    ("deleted_user_online", "UPDATE users SET deleted = 1 WHERE id = 118", "118"),
]


@pytest.fixture(scope="module", params=COMMITS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[imlib.Deployment]:
    """Give a world of 600 users on private servers."""
    folder = tmp_path_factory.mktemp("worlds") / request.param
    export(generate(request.param, 600), folder)
    with sample_world(world=str(folder)) as deployment:
        yield deployment


def test_a_healthy_server_is_read_as_healthy(world: imlib.Deployment) -> None:
    """No error and no warning; the row about how unread messages are counted, and goodbyes."""
    found = world.snapshot().audit()
    assert {"ghost", "dialog_counting"} == {one.check for one in found}
    assert {"info"} == {one.severity for one in found}


def test_each_planted_fault_is_found(world: imlib.Deployment) -> None:
    """All thirty, each by the check that is meant for it."""
    assert 30 == len(FAULTS)
    with world.engine.begin() as connection:
        rows = connection.exec_driver_sql("SELECT count(*) FROM chat_users").scalar_one()
        participants = "chat_users" if rows else "chat_participants"
        for _, statement, _ in FAULTS:
            if statement.split()[0] in ("UPDATE", "INSERT", "DELETE"):
                connection.exec_driver_sql(statement.format(members=participants))
    # Any: redis-py types it for asynchronous clients as well.
    command: Any = world.redis.execute_command
    for _, statement, _ in FAULTS:
        if statement.split()[0] not in ("UPDATE", "INSERT", "DELETE"):
            command(*statement.split())
    world.redis.delete("seq_updates_ngen_61")
    found = [(one.check, f"{one.subject}: {one.what}") for one in world.snapshot().audit()]
    missed = [
        (check, subject)
        for check, _, subject in FAULTS
        if not any(check == name and subject in where for name, where in found)
    ]
    assert [] == missed
