"""How a healthy Redis is made to refuse, one way for each refusal, and made well again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.private_servers.process import wait_until
from tests.private_servers.redis import PrivateRedis


@contextmanager
def _configured(server: PrivateRedis, name: str, value: str) -> Iterator[None]:
    before = server.command("CONFIG", "GET", name)[name]
    server.command("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        server.command("CONFIG", "SET", name, before)


@contextmanager
def _replica_of_nobody(server: PrivateRedis) -> Iterator[None]:
    # Nobody listens on port 1. A server of a cluster refuses this command.
    server.command("REPLICAOF", "127.0.0.1", 1)
    try:
        yield
    finally:
        server.command("REPLICAOF", "NO", "ONE")


@contextmanager
def _failed_save(server: PrivateRedis) -> Iterator[None]:
    # Root may write into any folder, but nobody into one that is gone.
    server.data.rmdir()
    try:
        with _configured(server, "save", "3600 1"):
            server.command("BGSAVE")
            wait_until(lambda: _last_save(server) == "err", "a save fails")
            yield
    finally:
        server.data.mkdir()


def _last_save(server: PrivateRedis) -> str:
    return str(server.command("INFO", "persistence")["rdb_last_bgsave_status"])


@contextmanager
def _stale(server: PrivateRedis) -> Iterator[None]:
    with _configured(server, "replica-serve-stale-data", "no"), _replica_of_nobody(server):
        yield


REFUSALS: dict[str, Callable[[PrivateRedis], AbstractContextManager[None]]] = {
    "OOM": lambda server: _configured(server, "maxmemory", "1"),
    "READONLY": _replica_of_nobody,
    "NOREPLICAS": lambda server: _configured(server, "min-replicas-to-write", "1"),
    "MISCONF": _failed_save,
    "MASTERDOWN": _stale,
}
"""By the first word of the error: what makes writes fail with it, and for MASTERDOWN reads."""
