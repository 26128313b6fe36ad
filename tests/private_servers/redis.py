"""A private Redis or Valkey, alone or as the replica of another."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from redis import Redis

from tests.private_servers.process import PrivateServer, free_port, private_folder, wait_until
from tests.private_servers.programs import REDIS_SERVER, redis_program


class PrivateRedis(PrivateServer):
    """A Redis on a unix socket, with nothing written to disk.

    Parameters
    ----------
    folder : Path
        Where its socket and its log stand.
    *arguments : str
        More of the server's own options, such as ``--requirepass``, ``secret``.
    program : str
        `REDIS_SERVER` or `VALKEY`.
    tcp : bool
        Whether it listens on a loopback port as well: replicas, clusters and Sentinels need one.
    config : Path, optional
        A configuration file to begin with.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        program: str = REDIS_SERVER,
        tcp: bool = False,
        config: Path | None = None,
    ) -> None:
        super().__init__(folder)
        self.port = free_port() if tcp else 0
        self.data = folder / "data"  # of its own, so that a test can take it away
        self.data.mkdir()
        self._command = [redis_program(program), *([str(config)] if config else [])]
        self._command += ["--port", str(self.port), "--bind", "127.0.0.1"]
        self._command += ["--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        self._command += ["--save", "", "--appendonly", "no", "--dir", str(self.data)]
        # By default a replica waits 5 seconds for others to join it.
        self._command += ["--repl-diskless-sync-delay", "0", *arguments]
        self.start()

    @property
    def url(self) -> str:
        """Where it listens, without a password."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def address(self) -> str:
        """Its host:port, as clusters and Sentinels name it."""
        return f"127.0.0.1:{self.port}"

    def command(self, *words: str | int) -> Any:
        """Send one command, without a password; the reply is as redis-py gives it, in text."""
        with Redis.from_url(self.url, decode_responses=True) as client:
            return client.execute_command(*words)

    def add_user(self, name: str, password: str, *rules: str) -> str:
        """Make a user of these ACL rules, such as ``~*``, ``+@read``; return the URL to log in."""
        self.command("ACL", "SETUSER", name, "reset", "on", f">{password}", *rules)
        return f"unix://{quote(name, safe='')}:{quote(password, safe='')}@{quote(str(self.socket))}"

    def follow(self, primary: PrivateRedis) -> None:
        """Become a replica of `primary`, which listens on a port."""
        self.command("REPLICAOF", "127.0.0.1", primary.port)

    def catch_up(self, primary: PrivateRedis) -> None:
        """Wait until this replica and its primary both say that they are in step."""
        wait_until(lambda: self._follows(primary), f"{self.address} in step with {primary.address}")

    def _follows(self, primary: PrivateRedis) -> bool:
        mine, theirs = self.command("INFO", "replication"), primary.command("INFO", "replication")
        listed = [theirs[f"slave{i}"] for i in range(theirs["connected_slaves"])]
        return mine.get("master_link_status") == "up" and any(
            one["port"] == self.port and one["state"] == "online" for one in listed
        )

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            return True
        return False


@contextmanager
def private_redis(
    *arguments: str, program: str = REDIS_SERVER, tcp: bool = False
) -> Iterator[PrivateRedis]:
    """Give a running `PrivateRedis`, empty, and end it and remove its folder afterwards."""
    with (
        private_folder() as folder,
        PrivateRedis(folder, *arguments, program=program, tcp=tcp) as server,
    ):
        yield server


@contextmanager
def private_replica_of(
    primary: PrivateRedis, *, program: str = REDIS_SERVER
) -> Iterator[PrivateRedis]:
    """Give a replica in step with `primary`, which listens on a port; either may be stopped."""
    with private_redis(program=program, tcp=True) as replica:
        replica.follow(primary)
        replica.catch_up(primary)
        yield replica
