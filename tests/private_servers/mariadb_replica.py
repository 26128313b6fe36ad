"""A private MariaDB that follows another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.private_servers.mariadb import PrivateMariaDB
from tests.private_servers.process import private_folder, wait_until

_PRIMARY = ("--server-id=1", "--log-bin=binlog", "--binlog-format=ROW")
_REPLICA = ("--server-id=2", "--read-only")
_USER = """CREATE USER replica@127.0.0.1;
GRANT REPLICATION SLAVE ON *.* TO replica@127.0.0.1"""
_FOLLOW = """CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}, MASTER_USER='replica',
    MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1;
START SLAVE"""


@dataclass(frozen=True)
class MariaDBPair:
    """A primary, and a replica that takes writes from root alone.

    Parameters
    ----------
    primary, replica : PrivateMariaDB
    """

    primary: PrivateMariaDB
    replica: PrivateMariaDB

    def stop_applying(self) -> None:
        """Have the replica fall behind: it fetches what is committed, and applies none of it."""
        self.replica.run("STOP SLAVE SQL_THREAD")

    def stop_following(self) -> None:
        """Cut the replica off from its primary."""
        self.replica.run("STOP SLAVE")

    def resume(self) -> None:
        """Have the replica go on, whatever was stopped."""
        self.replica.run("START SLAVE")

    def catch_up(self) -> None:
        """Wait until the replica holds all that is committed on the primary."""
        wait_until(self._is_in_step, "the replica is in step")

    def _is_in_step(self) -> bool:
        committed = self.primary.ask("SELECT @@gtid_binlog_pos AS position")
        return committed == self.replica.ask("SELECT @@gtid_slave_pos AS position")


@contextmanager
def private_mariadb_pair() -> Iterator[MariaDBPair]:
    """Give a running primary and its replica, and end both and remove their folders afterwards."""
    with (
        private_folder() as folder,
        PrivateMariaDB(folder / "primary", *_PRIMARY, tcp=True) as primary,
        PrivateMariaDB(folder / "replica", *_REPLICA) as replica,
    ):
        primary.run(_USER)
        replica.run(_FOLLOW.format(port=primary.port))
        pair = MariaDBPair(primary, replica)
        pair.catch_up()
        yield pair
