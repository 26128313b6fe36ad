"""Processes for the tests of crashes and crowds: ``python -m tests.models.processes WHAT ...``
prints what came of them.

A script of its own, because a fork of pytest would copy its threads' locks and its open servers.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from redis import Redis
from sqlalchemy import event

from imlib.errors import ImlibError
from imlib.models.records import Peer
from tests.models.stack import Stack, open_stack

TABLES = ("messages", "message_boxes", "user_dialogs", "seq_updates_ngen", "chats", "chat_users")


def send_in_steps(stack: Stack, random_id: int) -> None:
    """Send to chat 1 as the deployed server does: history, boxes, dialogs, each by itself."""
    peer = Peer.chat(1)
    message_id = stack.messages.create_history_message(1, peer, random_id, "hello")
    members = [each.user_id for each in stack.chats.get_chat_participants(1)]
    for user_id in members:
        stack.messages.create_message_boxes(user_id, 1, peer, user_id != 1, message_id)
    for user_id in members:
        stack.dialogs.create_or_update_by_last_message(
            user_id, peer.peer_type, peer.peer_id, message_id
        )


OPERATIONS: dict[str, Callable[[Stack, int], object]] = {
    "send_message": lambda stack, n: stack.messages.send_message(1, Peer.user(2), "hello", n),
    "send_message_to_chat": lambda stack, n: stack.messages.send_message(
        1, Peer.chat(1), "hello", n
    ),
    "create_chat": lambda stack, n: stack.chats.create_chat(1, "Title", [2, 3], n),
    "send_in_steps": send_in_steps,
}
RETRIES = OPERATIONS | {"send_in_steps": OPERATIONS["send_message_to_chat"]}


def in_child(work: Callable[[], None]) -> int:
    """Start a child process that does this and nothing else; return its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as problem:
            print(repr(problem), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def end_of(pid: int) -> int:
    """Wait for a child, and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def crash(url: str, operation: str) -> list[dict[str, Any]]:
    """Run an operation, killed at its first statement, then at its second, and so on until it gets
    through. Each time it is tried again, with the same random_id.
    """
    outcomes: list[dict[str, Any]] = []
    while not outcomes or outcomes[-1]["exit"]:
        random_id = len(outcomes) + 1000 * (1 + list(OPERATIONS).index(operation))

        def work(point: int = len(outcomes), random_id: int = random_id) -> None:
            with open_stack(url, tables_too=False) as stack:
                left = iter(range(point))

                def step(*_: Any) -> None:
                    if next(left, None) is None:
                        os.kill(os.getpid(), signal.SIGKILL)

                event.listen(stack.deployment.engine, "before_cursor_execute", step)
                event.listen(stack.deployment.engine, "commit", step)
                OPERATIONS[operation](stack, random_id)

        code = end_of(in_child(work))
        with open_stack(url, tables_too=False) as stack:
            rows = count(stack)
            RETRIES[operation](stack, random_id)
            outcomes.append({"exit": code, "rows": rows, "retried": count(stack)})
    return outcomes


def count(stack: Stack) -> dict[str, int]:
    """Return how many rows each of the tables has."""
    return {table: len(stack.rows(table)) for table in TABLES}


def crowd(
    url: str, redis_url: str, processes: int, work: Callable[[Stack, int], list[Any]]
) -> list[list[Any]]:
    """Do some work in many processes at once, and return what each returned."""
    pipes, pids = [os.pipe() for _ in range(processes)], []
    gate, opened = os.pipe()
    for number, (_, end) in enumerate(pipes):

        def child(number: int = number, end: int = end) -> None:
            with open_stack(url, Redis.from_url(redis_url), tables_too=False) as stack:
                stack.rows("users")
                os.close(opened)
                os.read(gate, 1)  # until the parent lets all of them go at once
                result = work(stack, number)
            with open(end, "w") as out:
                json.dump(result, out)

        pids.append(in_child(child))
        os.close(end)
    os.close(opened)
    results = []
    for start, _ in pipes:
        with open(start) as answer:
            results.append(json.loads(answer.read() or "null"))
    assert {end_of(pid) for pid in pids} == {0}
    return results


opened: list[Stack] = []
"""The models of this process: opened before it was forked, or by itself."""
_kept = ExitStack()


def join(url: str, redis_url: str) -> None:
    """Open the models and use them once, so that there are connections to inherit."""
    redis = Redis.from_url(redis_url) if redis_url else None
    opened.append(_kept.enter_context(open_stack(url, redis, tables_too=False)))
    use(0)


def use(_: int) -> list[int]:
    """Take a number, send a message and read it; return the number and the message's pts."""
    (stack,) = opened
    number = stack.sequences.next_id("x")
    sent = stack.messages.send_message(1, Peer.user(2), f"{number}")
    (found,) = stack.messages.get_messages_by_id_list(2, [sent.id])
    assert f"{number}" == found.text
    return [number, sent.pts]


def share(url: str, redis_url: str, way: str, workers: int, times: int) -> list[list[int]]:
    """Use a deployment in many threads or processes at once, and then once more in this one."""
    if way == "threads":
        join(url, redis_url)
        with ThreadPoolExecutor(workers) as threads:
            used = list(threads.map(use, range(times)))
    elif way == "to_thread":
        join(url, redis_url)

        async def all_at_once() -> list[list[int]]:
            return await asyncio.gather(*(asyncio.to_thread(use, each) for each in range(times)))

        used = asyncio.run(all_at_once())
    else:
        context: Any = multiprocessing.get_context(way)
        initializer: Callable[..., None] | None = None
        arguments: tuple[str, ...] = ()
        if way == "forkserver":
            os.environ["IMLIB_TEST_URLS"] = json.dumps([url, redis_url])
            context.set_forkserver_preload(["tests.models.preloaded"])
        elif way == "spawn":
            initializer, arguments = join, (url, redis_url)
        join(url, redis_url)
        with context.Pool(workers, initializer, arguments) as pool:
            work = preloaded_use if way == "forkserver" else use
            used = pool.map(work, range(times), chunksize=1)
    return [*used, use(0)]


def preloaded_use(at: int) -> list[int]:
    """Do what `use` does, over what the fork server had opened before it was asked for a child."""
    from tests.models import preloaded

    return preloaded.use(at)


def inside(url: str) -> list[int]:
    """Fork in the middle of a transaction: the child leaves it by an error, this process well."""
    with open_stack(url, tables_too=False) as stack:
        with stack.sequences.transaction() as connection:
            first = stack.sequences.next_id("x", connection=connection)

            def leave() -> None:
                try:
                    stack.sequences.next_id("x", connection=connection)
                except ImlibError:
                    connection.get_transaction().rollback()  # type: ignore[union-attr]  # begun above
                    stack.deployment.close()
                    os._exit(7)

            assert 7 == end_of(in_child(leave))
            second = stack.sequences.next_id("x", connection=connection)
        return [first, second, stack.sequences.current("x")]


def main(what: str, url: str, *rest: str) -> None:
    """Do one of the jobs and print its outcome as JSON."""
    if what == "crash":
        result: Any = crash(url, *rest)
    elif what == "next_id":
        redis_url, processes, each = rest[0], int(rest[1]), int(rest[2])
        result = crowd(
            url,
            redis_url,
            processes,
            lambda stack, _: [stack.sequences.next_id("x") for _ in range(each)],
        )
    elif what == "share":
        redis_url, way, workers, times = rest[0], rest[1], int(rest[2]), int(rest[3])
        result = share(url, redis_url, way, workers, times)
    elif what == "inside":
        result = inside(url)
    elif what == "send":
        redis_url, processes, each = rest[0], int(rest[1]), int(rest[2])
        result = crowd(
            url,
            redis_url,
            processes,
            lambda stack, number: [
                stack.messages.send_message(
                    2 + number, Peer.user(1), f"{i}", mentions=[1] if i % 2 else []
                ).id
                for i in range(each)
            ],
        )
    else:
        result = crowd(
            url,
            rest[0],
            int(rest[1]),
            lambda stack, _: [stack.messages.send_message(2, Peer.user(1), "once", 7).id],
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
