"""A private Redis Cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.private_servers.process import private_folder, wait_until
from tests.private_servers.programs import REDIS_SERVER
from tests.private_servers.redis import PrivateRedis

SLOTS = 16_384


@dataclass(frozen=True)
class PrivateCluster:
    """Primaries that share the slots evenly, in order, and the replicas they began with.

    Parameters
    ----------
    primaries : tuple of PrivateRedis
    replicas : tuple of PrivateRedis
        The n-th follows the n-th primary, around and around, until a server is stopped.
    """

    primaries: tuple[PrivateRedis, ...]
    replicas: tuple[PrivateRedis, ...]

    @property
    def nodes(self) -> tuple[PrivateRedis, ...]:
        """All its servers."""
        return self.primaries + self.replicas

    @property
    def url(self) -> str:
        """The URL that names all its servers, without a password."""
        return f"redis+cluster://{','.join(node.address for node in self.nodes)}/"

    def primary_of(self, key: str) -> PrivateRedis:
        """Return the server that began as the primary of a key."""
        slot: int = self.primaries[0].command("CLUSTER", "KEYSLOT", key)
        return next(one for one, slots in self._shares() if slot in slots)

    def add_user(self, name: str, password: str, *rules: str) -> None:
        """Make a user on every server, as `PrivateRedis.add_user` does on one."""
        for node in self.nodes:
            node.add_user(name, password, *rules)

    def clear(self) -> None:
        """Remove every key from its primaries."""
        for primary in self.primaries:
            primary.command("FLUSHALL")

    def wait_until_whole(self) -> None:
        """Wait until every server tells clients of every other, and all slots are served."""
        wait_until(lambda: all(map(self._is_whole_to, self.nodes)), "the cluster is whole")

    def wait_until_replaced(self, primary: PrivateRedis) -> None:
        """Wait until a replica of a primary that was stopped has taken its place."""
        heirs = [replica for replica, first in self._followers() if first is primary]
        wait_until(
            lambda: any(heir.command("ROLE")[0] == "master" for heir in heirs),
            f"{primary.address} is replaced",
        )

    def join(self) -> None:
        """Make one cluster of servers that have just started."""
        first, *others = self.nodes
        for epoch, (primary, slots) in enumerate(self._shares(), start=1):
            primary.command("CLUSTER", "ADDSLOTSRANGE", slots.start, slots.stop - 1)
            # Two primaries of one epoch would first have to settle whose word counts.
            primary.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
        for node in others:
            first.command("CLUSTER", "MEET", "127.0.0.1", node.port)
        wait_until(
            lambda: all(map(self._has_met_all, self.nodes)), "the cluster's servers have met"
        )
        for replica, primary in self._followers():
            replica.command("CLUSTER", "REPLICATE", primary.command("CLUSTER", "MYID"))
        for replica, primary in self._followers():
            replica.catch_up(primary)
        # A cluster names no replica that has never been sent anything.
        self.clear()
        self.wait_until_whole()

    def _shares(self) -> list[tuple[PrivateRedis, range]]:
        n = len(self.primaries)
        edges = [SLOTS * i // n for i in range(n + 1)]
        return [
            (primary, range(edges[i], edges[i + 1])) for i, primary in enumerate(self.primaries)
        ]

    def _followers(self) -> list[tuple[PrivateRedis, PrivateRedis]]:
        n = len(self.primaries)
        return [(replica, self.primaries[i % n]) for i, replica in enumerate(self.replicas)]

    def _is_whole_to(self, node: PrivateRedis) -> bool:
        # For each range of slots: its first, its last, its primary and the replicas in reach.
        told = node.command("CLUSTER", "SLOTS")
        ports = {port for _, _, *servers in told for _, port, *_ in servers}
        return "cluster_state:ok" in node.command("CLUSTER", "INFO") and len(self.nodes) == len(
            ports
        )

    def _has_met_all(self, node: PrivateRedis) -> bool:
        known = node.command("CLUSTER", "NODES")
        return len(self.nodes) == len(known.splitlines()) and "handshake" not in known


@contextmanager
def private_cluster(
    primaries: int, replicas: int = 0, *, program: str = REDIS_SERVER
) -> Iterator[PrivateCluster]:
    """Give a running cluster, empty, and end its servers and remove their folders afterwards.

    Parameters
    ----------
    primaries, replicas : int
        How many servers of each kind.
    program : str
        `REDIS_SERVER` or `VALKEY`.
    """
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]
    with private_folder() as folder, ExitStack() as running:
        nodes = tuple(
            running.enter_context(
                PrivateRedis(folder / str(i), *options, program=program, tcp=True)
            )
            for i in range(primaries + replicas)
        )
        cluster = PrivateCluster(nodes[:primaries], nodes[primaries:])
        cluster.join()
        yield cluster
