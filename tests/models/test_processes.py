"""Many processes at once, and processes that are killed: what is promised holds."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from imlib.constants import MessageBoxType
from tests.models.processes import count
from tests.models.stack import open_stack
from tests.private_servers.mariadb import PrivateMariaDB
from tests.private_servers.programs import REDIS_SERVER, VALKEY
from tests.private_servers.redis import private_redis

ROOT = Path(__file__).parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start `tests.models.processes`."""
    command = [sys.executable, "-m", "tests.models.processes", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> Any:
    """Wait for it, and return what it printed."""
    out, _ = process.communicate(timeout=120)
    assert 0 == process.returncode
    return json.loads(out)


@pytest.mark.parametrize("operation", ["send_message", "send_message_to_chat", "create_chat"])
def test_killed_between_any_two_statements(url: str, operation: str) -> None:
    """A process killed at any statement of an operation, its commit among them, leaves nothing, and
    its retry does it all; one that got through leaves nothing to its retry.
    """
    people = 2 if operation == "send_message" else 3
    with open_stack(url) as stack:
        stack.add_users(3)
        if operation == "send_message_to_chat":
            stack.chats.create_chat(1, "Lunch", [2, 3])
        before = count(stack)
    outcomes = outcome(start("crash", url, operation))
    assert len(outcomes) > 5
    assert [-9] * (len(outcomes) - 1) + [0] == [each["exit"] for each in outcomes]
    for n, each in enumerate(outcomes, 1):
        grown = {"chats": n, "chat_users": 3 * n}
        if operation != "create_chat":
            alone = dict.fromkeys(("user_dialogs", "seq_updates_ngen"), people)
            grown = alone | {"messages": n, "message_boxes": people * n}
        after = {table: rows + grown.get(table, 0) for table, rows in before.items()}
        whole = each["exit"] == 0
        assert (after if whole else outcomes[n - 2]["retried"] if n > 1 else before) == each["rows"]
        assert after == each["retried"]
    with open_stack(url) as stack:
        assert all(row["seq"] == len(outcomes) for row in stack.rows("seq_updates_ngen"))


def test_killed_between_any_two_steps(url: str) -> None:
    """A writer without transactions is killed at any statement: the retry completes its message."""
    with open_stack(url) as stack:
        stack.add_users(3)
        stack.chats.create_chat(1, "Lunch", [2, 3])
    outcomes = outcome(start("crash", url, "send_in_steps"))
    assert len(outcomes) > 15
    assert len({json.dumps(each["rows"]) for each in outcomes}) > 15
    with open_stack(url) as stack:
        messages = [row["id"] for row in stack.rows("messages")]
        assert len(outcomes) == len(messages)
        for user_id in (1, 2, 3):
            boxes = stack.rows("message_boxes", user_id=user_id)
            assert messages == [box["message_id"] for box in boxes]
            assert list(range(1, len(messages) + 1)) == [box["pts"] for box in boxes]
        assert [max(messages)] * 3 == [row["top_message"] for row in stack.rows("user_dialogs")]


def test_eight_processes_send_to_one_user(url: str) -> None:
    """8 processes sending to one user at once: unread counts, mentions, pts and dialogs
    are exact.
    """
    processes, each = 8, 12
    with private_redis() as redis, open_stack(url, Redis.from_url(redis.url)) as stack:
        ann, *others = stack.add_users(1 + processes)
        ids = outcome(start("send", url, redis.url, str(processes), str(each)))
        total = processes * each
        boxes = stack.rows("message_boxes", user_id=ann)
        assert list(range(1, total + 1)) == sorted(box["pts"] for box in boxes)
        assert sorted(chain.from_iterable(ids)) == sorted(box["message_id"] for box in boxes)
        in_order = [box["message_id"] for box in sorted(boxes, key=lambda box: box["pts"])]
        assert sorted(in_order) == in_order
        dialogs = {row["peer_id"]: row for row in stack.rows("user_dialogs", user_id=ann)}
        assert sorted(others) == sorted(dialogs)
        for other, sent in zip(others, ids, strict=True):
            theirs = dialogs[other]
            assert (each, each // 2, max(sent)) == (
                theirs["unread_count"],
                theirs["unread_mentions_count"],
                theirs["top_message"],
            )
            (own,) = stack.rows("user_dialogs", user_id=other)
            assert (0, max(sent)) == (own["unread_count"], own["top_message"])
            mine = stack.rows("message_boxes", user_id=other)
            assert list(range(1, each + 1)) == [box["pts"] for box in mine]
            assert {MessageBoxType.OUTGOING} == {box["message_box_type"] for box in mine}
        assert str(total).encode() == stack.deployment.redis.get(f"seq_updates_ngen_{ann}")


def test_one_random_id_from_eight_processes(url: str) -> None:
    """The same message sent by 8 processes at once is stored once, and all of them get the same
    one.
    """
    with private_redis() as redis, open_stack(url, Redis.from_url(redis.url)) as stack:
        stack.add_users(2)
        ids = outcome(start("once", url, redis.url, "8"))
        (message,) = stack.rows("messages")
        assert [[message["id"]]] * 8 == ids
        assert 2 == len(stack.rows("message_boxes"))
        assert [0, 1] == sorted(row["unread_count"] for row in stack.rows("user_dialogs"))


def test_many_processes_and_a_redis_that_comes_and_goes(url: str) -> None:
    """16 processes get each number once, while Redis is flushed, set back, stopped and started
    under them.
    """
    processes, each = 16, 25
    with private_redis() as server, open_stack(url) as stack:
        redis = Redis.from_url(server.url)
        running = start("next_id", url, server.url, str(processes), str(each))
        while running.poll() is None and stack.sequences.current("x") < processes * each // 2:
            redis.flushall()
            # Back, never ahead: a row follows a key that is ahead of it.
            redis.set("seq_updates_ngen_x", min(1, stack.sequences.current("x")))
            server.stop()
            server.start()
        got = outcome(running)
        assert list(range(1, processes * each + 1)) == sorted(chain.from_iterable(got))
        assert all(sorted(one) == one for one in got)
        assert processes * each == stack.sequences.current("x")


@pytest.mark.parametrize(
    ("way", "server"),
    [
        ("fork", REDIS_SERVER),
        ("fork", VALKEY),
        ("fork", "fakeredis"),
        ("spawn", REDIS_SERVER),
        ("forkserver", REDIS_SERVER),
        ("threads", REDIS_SERVER),
        ("to_thread", REDIS_SERVER),
    ],
)
def test_a_deployment_shared(url: str, way: str, server: str) -> None:
    """Numbers, messages and reads are exact in forked and spawned processes and in threads; the
    process that connected goes on with its own connections.
    """
    workers, times = (4, 400) if way == "fork" and server == REDIS_SERVER else (2, 40)
    with ExitStack() as running, open_stack(url) as stack:
        stack.add_users(2)
        redis_url = ""
        if server != "fakeredis":
            redis_url = running.enter_context(private_redis(program=server)).url
        used = outcome(start("share", url, redis_url, way, str(workers), str(times)))
        # Each process that connected, how many that ever are, has used it once more.
        everything = set(range(1, stack.sequences.current("x") + 1))
        assert times + 1 == len({number for number, _ in used} & everything)
        assert times + 1 == len({pts for _, pts in used} & everything)
        assert everything == {row["pts"] for row in stack.rows("message_boxes", user_id=2)}


def test_a_fork_inside_a_transaction(mariadb: PrivateMariaDB) -> None:
    """A child that leaves its parent's transaction by an error takes nothing of it back."""
    url = mariadb.new_database()
    with open_stack(url):
        pass
    assert [1, 2, 2] == outcome(start("inside", url))
