"""Sequences, messages and boxes on SQLite and MariaDB, against the deployed server's way and the
bare drivers.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Row, medians
from imlib.schema import tables
from tests.models.stack import Stack, open_stack
from tests.private_servers.mariadb import private_mariadb
from tests.private_servers.redis import private_redis

if TYPE_CHECKING:
    from redis import Redis

WORKERS = (1, 4, 16)
ADVANCE = {
    "sqlite": "UPDATE seq_updates_ngen SET seq = seq + 1 WHERE seq_name = 'bare' RETURNING seq",
    "mysql": "UPDATE seq_updates_ngen SET seq = LAST_INSERT_ID(seq + 1) WHERE seq_name = 'bare'",
}
MESSAGE = """INSERT INTO messages (sender_user_id, peer_type, peer_id, random_id, message_data)
    VALUES (?, 2, ?, 1, '{}')"""
BOX = """INSERT INTO message_boxes
    (user_id, sender_user_id, message_box_type, peer_id, pts, message_id, state, date2)
    VALUES (?, ?, 0, ?, ?, 1, 0, 0)"""
DIALOG = """UPDATE user_dialogs SET unread_count = unread_count + 1
    WHERE user_id = ? AND peer_type = 2 AND peer_id = ?"""
COUNTED = """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
    SELECT {row} FROM (SELECT a.i * 1000 + b.i AS i FROM n a, n b) AS c WHERE i < {{boxes}}"""
# Pts by pts, as messages come: a user's boxes lie far apart.
FILL = (
    "INSERT INTO message_boxes "
    "(user_id, sender_user_id, message_box_type, peer_type, peer_id, pts, message_id, state, "
    "date2) "
    + COUNTED.format(
        row=(
            "i - (i {divide} {users}) * {users} + 1000, 1, 0, 2, 1, i {divide} {users} + 1, i + "
            "1, 0, 1512270533"
        )
    ),
    "INSERT INTO messages (id, sender_user_id, peer_type, peer_id, random_id, message_type, "
    "message_data, date2) "
    + COUNTED.format(row='i + 1, 1, 2, 1, i, 1, \'{{"message":"hello"}}\', 1512270533'),
)
MISSED = """SELECT m.id, m.sender_user_id, m.peer_type, m.peer_id, m.random_id,
  m.message_type, m.date2,
    m.message_data, b.user_id, b.pts, b.media_unread, b.message_box_type
    FROM message_boxes b {index} JOIN messages m ON m.id = b.message_id
    WHERE b.user_id = {user} AND b.pts > {pts} ORDER BY b.pts"""


def run(
    numbers: int = 400, messages: int = 100, boxes: int = 1_000_000, users: int = 10_000
) -> list[Row]:
    """Measure on SQLite, and on a private MariaDB that writes every commit to disk, where one is
    installed.

    Parameters
    ----------
    numbers, messages : int
        How many of them one run of a contender hands out or sends.
    boxes, users : int
        How large the table is that updates are read from.
    """
    rows: list[Row] = []
    with private_redis() as redis:
        with tempfile.TemporaryDirectory() as folder:
            rows += _measure(
                "SQLite",
                f"sqlite:///{Path(folder) / 'im.db'}",
                redis.url,
                numbers,
                messages,
                boxes,
                users,
            )
        if shutil.which("mariadbd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"):
            durable = (
                "--innodb-flush-log-at-trx-commit=1",
                "--innodb-doublewrite=1",
                "--innodb-buffer-pool-size=512M",
            )
            with private_mariadb(*durable) as server:
                rows += _measure(
                    "MariaDB", server.new_database(), redis.url, numbers, messages, boxes, users
                )
    return rows


def _measure(
    name: str, url: str, redis_url: str, numbers: int, messages: int, boxes: int, users: int
) -> list[Row]:
    with _open(url, redis_url) as stack:
        stack.sequences.next_id("ours")
        for other in ("bare", "deployed"):
            stack.put("seq_updates_ngen", seq_name=other, seq=0)
        rows = [_next_id(name, url, redis_url, workers, numbers) for workers in WORKERS]
        rows += [_send(name, stack, messages)]
        return rows + _missed(name, stack, boxes, users)


@contextmanager
def _open(url: str, redis_url: str) -> Iterator[Stack]:
    from redis import Redis

    with open_stack(url, Redis.from_url(redis_url)) as stack:
        yield stack


@contextmanager
def _bare(stack: Stack) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Give the driver itself: the dialect's name, and what executes a statement and returns its
    rows.
    """
    pooled = stack.deployment.engine.raw_connection()
    cursor, dialect = pooled.cursor(), stack.deployment.engine.dialect.name

    def execute(statement: str, *values: Any) -> list[Any]:
        cursor.execute(statement.replace("?", "%s") if dialect == "mysql" else statement, values)
        return list(cursor.fetchall()) if cursor.description else []

    try:
        yield dialect, execute
    finally:
        pooled.close()


def _next_id(name: str, url: str, redis_url: str, workers: int, numbers: int) -> Row:
    each = -(-numbers // workers)
    with _crew(workers, url, redis_url, each) as order:
        kinds = ("ours", "deployed", "bare", "ours without Redis")
        ours, deployed, bare, alone = medians(
            [partial(order, kind) for kind in kinds], units=workers * each
        )
    return Row(
        f"next_id, {name} + Redis, {workers} workers",
        ours,
        deployed,
        "INCR, then UPDATE to its number",
        bare,
        f"one UPDATE on the driver; ours without Redis: {alone / bare:.1f} times",
    )


@contextmanager
def _crew(workers: int, url: str, redis_url: str, each: int) -> Iterator[Callable[[str], None]]:
    """Give what has processes do one kind of work all at once, and returns when the
    last is done.
    """
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(workers)]
    crew = [
        context.Process(target=_worker, args=(far, url, redis_url, each), daemon=True)
        for _, far in ends
    ]
    for process in crew:
        process.start()

    def order(kind: str) -> None:
        for near, _ in ends:
            near.send(kind)
        for near, _ in ends:
            near.recv()

    try:
        yield order
    finally:
        for (near, _), process in zip(ends, crew, strict=True):
            near.send(None)
            process.join()


def _worker(orders: Connection, url: str, redis_url: str, each: int) -> None:
    from imlib.models.sequence import SequenceModel

    with _open(url, redis_url) as stack, _bare(stack) as (dialect, execute):
        redis: Redis = stack.deployment.redis
        alone = SequenceModel(stack.deployment, mirror=False)
        begin = "BEGIN IMMEDIATE" if dialect == "sqlite" else "BEGIN"

        def bare() -> None:
            execute(begin)
            execute(ADVANCE[dialect])
            execute("COMMIT")

        def deployed() -> None:
            value = redis.incr("seq_updates_ngen_deployed")
            execute(begin)
            execute("UPDATE seq_updates_ngen SET seq = ? WHERE seq_name = 'deployed'", value)
            execute("COMMIT")

        kinds = {
            "ours": lambda: stack.sequences.next_id("ours"),
            "ours without Redis": lambda: alone.next_id("alone"),
            "bare": bare,
            "deployed": deployed,
        }
        while (kind := orders.recv()) is not None:
            for _ in range(each):
                kinds[kind]()
            orders.send(None)


def _send(name: str, stack: Stack, messages: int) -> Row:
    from imlib.models.records import Peer

    ann, ben = stack.add_users(2)

    def ours() -> None:
        for _ in range(messages):
            stack.messages.send_message(ann, Peer.user(ben), "hello")

    with _bare(stack) as (dialect, execute):

        def statements(single: bool) -> None:
            # What the deployed server did, each statement committed by itself; or the same rows in
            # one transaction.
            for _ in range(messages):
                if single:
                    execute("BEGIN")
                execute(MESSAGE, ann, ben)
                for user, peer in ((ann, ben), (ben, ann)):
                    pts = stack.deployment.redis.incr(f"seq_updates_ngen_bare_{user}")
                    execute("UPDATE seq_updates_ngen SET seq = ? WHERE seq_name = 'bare'", pts)
                    execute(BOX, -user, ann, peer, pts)
                    execute(DIALOG, user, peer)
                if single:
                    execute("COMMIT")

        if dialect == "mysql":
            execute("SET autocommit = 1")
        times = medians([ours, lambda: statements(False), lambda: statements(True)], units=messages)
    return Row(
        f"send_message, {name}",
        times[0],
        times[1],
        "every statement a commit",
        times[2],
        "one transaction, bare driver",
    )


def _missed(name: str, stack: Stack, boxes: int, users: int) -> list[Row]:
    import pandas as pd
    import sqlalchemy as sa

    _fill(stack, boxes, users)
    rng, last = random.Random(users), boxes // users
    asked = [(rng.randrange(users) + 1000, max(0, last - 50)) for _ in range(20)]
    engine = stack.deployment.engine
    indexes = ", ".join(sorted(str(index.name) for index in tables["message_boxes"].indexes))
    scan = "NOT INDEXED" if engine.dialect.name == "sqlite" else f"IGNORE INDEX ({indexes})"

    def by_pandas(index: str, some: list[tuple[int, int]]) -> None:
        with engine.connect() as connection:
            for user, pts in some:
                pd.read_sql(sa.text(MISSED.format(user=user, pts=pts, index=index)), connection)

    def ours(some: list[tuple[int, int]]) -> None:
        for user, pts in some:
            stack.messages.get_messages_by_gt_pts(user, pts)

    with _bare(stack) as (_, execute):

        def bare() -> None:
            for user, pts in asked:
                execute(MISSED.format(user=user, pts=pts, index=""))

        times = medians([lambda: ours(asked), lambda: by_pandas("", asked), bare], units=len(asked))
    seldom = medians([lambda: ours(asked[:2]), lambda: by_pandas(scan, asked[:2])], units=2)
    what = f"get_messages_by_gt_pts, {name}, 50 of {boxes:,}"
    return [
        Row(what, times[0], times[1], "pandas.read_sql", times[2], "bare driver"),
        Row(f"{what}, index", seldom[0], seldom[1], "without the index (user_id, pts), pandas"),
    ]


def _fill(stack: Stack, boxes: int, users: int) -> None:
    lite = stack.deployment.engine.dialect.name == "sqlite"
    values = {"boxes": boxes, "users": users, "divide": "/" if lite else "DIV"}
    analyze = "ANALYZE" if lite else "ANALYZE TABLE message_boxes, messages"
    with stack.deployment.engine.begin() as connection:
        for statement in (
            "DELETE FROM messages",
            *(each.format(**values) for each in FILL),
            analyze,
        ):
            connection.exec_driver_sql(statement)
