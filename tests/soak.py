"""Minutes of everything at once, for what short tests cannot meet; not a part of `make test`.

    python -m tests.soak [SECONDS]

Sixteen threads and four forked processes share one connected deployment and do random operations,
while MariaDB and Redis are killed, halted and flushed. What is counted at the end must be exact: no
number twice, none missing but those whose caller was told of a failure, each message once with one
box per user, unread counts that equal the boxes, and no process or open file left behind.
"""

from __future__ import annotations

import gc
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

import imlib
from imlib.models.records import Peer
from imlib.schema import create_all, tables
from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb
from tests.private_servers.process import private_folder
from tests.private_servers.redis import PrivateRedis, private_redis

USERS, THREADS, PROCESSES = 12, 16, 4
NAMES = ("orders", "tickets", "updates")
Results = dict[str, Any]


class Worker:
    """Random operations on a deployment until time is up, and what their callers were told."""

    def __init__(self, deployment: imlib.Deployment, seed: int, chat_id: int) -> None:
        self._deployment, self._random, self._chat_id = deployment, random.Random(seed), chat_id
        self._marks = (seed << 32) + 1
        self.results: Results = {
            "numbers": {name: [] for name in NAMES},
            "lost": dict.fromkeys(NAMES, 0),
            "sent": [],
            "refused": 0,
            "operations": 0,
        }

    def run(self, deadline: float) -> None:
        """Work until the deadline; a send that failed is tried again until it is told as done."""
        operations: list[Callable[[], None]] = [self._number, self._send, self._report, self._read]
        while time.monotonic() < deadline:
            self._random.choice(operations)()
            self.results["operations"] += 1

    def _number(self) -> None:
        name = self._random.choice(NAMES)
        try:
            self.results["numbers"][name].append(self._deployment.sequences.next_id(name))
        except imlib.ImlibError:
            self.results["lost"][name] += 1  # it may have been committed before the answer was lost

    def _send(self) -> None:
        sender = self._random.randint(1, USERS)
        peer = Peer.user(self._random.randint(1, USERS))
        if self._random.random() < 0.2:
            peer = Peer.chat(self._chat_id)
        self._marks += 1
        text = f"message {self._marks}"
        while True:
            try:
                self._deployment.messages.send_message(sender, peer, text, self._marks)
            except imlib.ImlibError:
                self.results["refused"] += 1
                continue
            self.results["sent"].append(self._marks)
            return

    def _report(self) -> None:
        user_id, session = self._random.randint(1, USERS), self._random.randint(1, 3)
        status = imlib.SessionStatus(user_id, session, session, 1, 1, int(time.time()))
        with suppress(imlib.ImlibError):
            self._deployment.online_status.set_online(status)
            if self._random.random() < 0.3:
                self._deployment.online_status.set_offline(status)

    def _read(self) -> None:
        with suppress(imlib.ImlibError):
            user_id = self._random.randint(1, USERS)
            self._deployment.online_status.get_online_by_user_id_list(range(1, USERS + 1))
            self._deployment.messages.get_messages_by_gt_pts(user_id, 0, limit=20)
            self._deployment.dialogs.get_dialogs_by_offset_date(user_id, limit=5)


def trouble(redis: PrivateRedis, mariadb: PrivateMariaDB, deadline: float) -> Counter[str]:
    """Kill, halt and flush the servers in turn until the deadline; return how often each came."""
    done: Counter[str] = Counter()
    chance = random.Random(7)
    while time.monotonic() < deadline:
        time.sleep(chance.uniform(2, 6))  # a soak is about time
        what = chance.choice(["redis killed", "redis flushed", "mariadb killed", "redis halted"])
        done[what] += 1
        if what == "redis killed":
            redis.stop()
            redis.start()
        elif what == "redis flushed":
            redis.command("FLUSHALL")
        elif what == "redis halted":
            with redis.paused():
                time.sleep(chance.uniform(0.1, 1))
        else:
            mariadb.stop()
            mariadb.start()
    return done


def soak(seconds: float, folder: Path) -> list[str]:
    """Run it all, print what was done, and return what is wrong."""
    me = psutil.Process()
    wrong: list[str] = []
    # What was committed outlives the kill.
    options = ("--innodb-flush-log-at-trx-commit=1",)
    with private_redis() as redis, private_mariadb(*options) as mariadb:
        files = me.num_fds()
        deployment = imlib.connect(redis.url, mariadb.new_database())
        with deployment:
            create_all(deployment.engine)
            for number in range(1, USERS + 1):
                deployment.users.create_user(f"+{number}", f"User {number}")
            chat_id = deployment.chats.create_chat(1, "all", range(1, USERS + 1)).id
            deployment.sequences.next_id("warm")
            deadline = time.monotonic() + seconds
            children = [
                fork(deployment, 100 + at, chat_id, deadline, folder) for at in range(PROCESSES)
            ]
            workers = [Worker(deployment, at, chat_id) for at in range(THREADS)]
            threads = [
                threading.Thread(target=one.run, args=(deadline,), name=f"soak-{at}")
                for at, one in enumerate(workers)
            ]
            for thread in threads:
                thread.start()
            done = trouble(redis, mariadb, deadline)
            for thread in threads:
                thread.join()
            ended = {child: os.waitpid(child, 0)[1] for child in children}
            wrong += [f"the forked process {child} failed" for child, code in ended.items() if code]
            results = [one.results for one in workers]
            results += [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
            print(f"{sum(one['operations'] for one in results)} operations; {dict(done)}")
            wrong += numbers(deployment, results) + messages(deployment, results)
        gc.collect()
        if (more := me.num_fds() - files) > 0:
            wrong.append(f"{more} files are open that were not before")
    if left := me.children(recursive=True):
        wrong.append(f"processes are left: {left}")
    return wrong


def fork(
    deployment: imlib.Deployment, seed: int, chat_id: int, deadline: float, folder: Path
) -> int:
    """Fork a process that works on its parent's deployment; return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        worker = Worker(deployment, seed, chat_id)
        worker.run(deadline)
        (folder / f"{seed}.json").write_text(json.dumps(worker.results))
    finally:
        os._exit(0)


def numbers(deployment: imlib.Deployment, results: list[Results]) -> list[str]:
    """Return what is wrong with the sequences."""
    wrong = []
    for name in NAMES:
        given = [number for one in results for number in one["numbers"][name]]
        lost = sum(one["lost"][name] for one in results)
        last = deployment.sequences.current(name)
        doubled = len(given) - len(set(given))
        print(f"{name}: {len(given)} numbers up to {last}, {lost} calls failed")
        if doubled:
            wrong.append(f"{name}: {doubled} numbers were handed out twice")
        if given and max(given) > last:
            wrong.append(f"{name}: the row is at {last}, and {max(given)} was handed out")
        if last - len(set(given)) > lost:
            wrong.append(f"{name}: {last - len(set(given))} numbers are missing, {lost} may be")
    return wrong


def messages(deployment: imlib.Deployment, results: list[Results]) -> list[str]:
    """Return what is wrong with messages, boxes, numbers of boxes and unread counts."""
    wrong = []
    sent = [mark for one in results for mark in one["sent"]]
    boxes, stored, dialogs = (tables[n] for n in ("message_boxes", "messages", "user_dialogs"))
    with deployment.engine.connect() as connection:
        marks = connection.scalars(sa.select(stored.c.random_id)).all()
        twice = connection.execute(
            sa.select(boxes.c.user_id, boxes.c.message_id)
            .group_by(boxes.c.user_id, boxes.c.message_id)
            .having(sa.func.count() > 1)
        ).all()
        pts: dict[int, list[int]] = {}
        for user_id, number in connection.execute(sa.select(boxes.c.user_id, boxes.c.pts)):
            pts.setdefault(user_id, []).append(number)
        unread = connection.scalar(sa.select(sa.func.sum(dialogs.c.unread_count)))
        incoming = connection.scalar(
            sa.select(sa.func.count())
            .select_from(boxes)
            .where(boxes.c.user_id != boxes.c.sender_user_id)
        )
    refused = sum(one["refused"] for one in results)
    print(f"{len(sent)} messages, {sum(map(len, pts.values()))} boxes, {refused} tries refused")
    if Counter(sent) != Counter(marks):
        wrong.append(f"{len(sent)} messages were told as sent, {len(marks)} are stored")
    if twice:
        wrong.append(f"{len(twice)} messages have two boxes of one user")
    for user_id, found in pts.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            wrong.append(f"user {user_id}: pts are not 1 to {len(found)}")
    if unread > incoming:
        wrong.append(f"{unread} are unread, and {incoming} boxes came in")
    return wrong


def main() -> int:
    """Return 0 where all was exact."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600
    with private_folder() as folder:
        wrong = soak(seconds, folder)
    for line in wrong:
        print(f"WRONG: {line}")
    print("exact" if not wrong else f"{len(wrong)} things are wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
