"""A private Sentinel that watches a primary and its replicas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.private_servers.process import private_folder, wait_until
from tests.private_servers.programs import REDIS_SERVER
from tests.private_servers.redis import PrivateRedis

SERVICE = "mymaster"
# A primary that is silent for two seconds is replaced. A Sentinel first asks a new primary after a
# second: with one second or less it would replace that one at once.
_CONFIG = f"""sentinel monitor {SERVICE} 127.0.0.1 {{port}} 1
sentinel down-after-milliseconds {SERVICE} 2000
sentinel failover-timeout {SERVICE} 3000
sentinel parallel-syncs {SERVICE} 2
"""


@dataclass(frozen=True)
class WatchedRedis:
    """A service of Sentinel's: who watches, and the servers it began with.

    Parameters
    ----------
    sentinel, primary : PrivateRedis
    replicas : tuple of PrivateRedis
    """

    sentinel: PrivateRedis
    primary: PrivateRedis
    replicas: tuple[PrivateRedis, ...]

    @property
    def url(self) -> str:
        """The URL that names the Sentinel and the service, without a password."""
        return f"redis+sentinel://{self.sentinel.address}/{SERVICE}"

    def current(self) -> PrivateRedis:
        """Return the server that the Sentinel names as the primary."""
        port = int(self._told()["port"])
        return next(one for one in (self.primary, *self.replicas) if one.port == port)

    def wait_until_replaced(self) -> None:
        """Wait until the Sentinel names another primary, and finds nothing wrong with it."""
        wait_until(
            lambda: self._told()["flags"] == "master" and self.current() is not self.primary,
            f"{self.primary.address} is replaced",
        )

    def wait_until_known(self) -> None:
        """Wait until the Sentinel knows each replica and could replace the primary."""
        wait_until(self._is_known, "Sentinel knows its servers")

    def _told(self) -> dict[str, str]:
        told: dict[str, str] = self.sentinel.command("SENTINEL", "MASTER", SERVICE)
        return told

    def _is_known(self) -> bool:
        known = self.sentinel.command("SENTINEL", "REPLICAS", SERVICE)
        return len(known) == len(self.replicas) and all(
            one["flags"] == "slave" and one["master-link-status"] == "ok" for one in known
        )


@contextmanager
def private_sentinel(replicas: int = 2, *, program: str = REDIS_SERVER) -> Iterator[WatchedRedis]:
    """Give a primary, its replicas and a Sentinel that knows them, and end them all afterwards."""
    with private_folder() as folder, ExitStack() as running:

        def server(name: str) -> PrivateRedis:
            return running.enter_context(PrivateRedis(folder / name, program=program, tcp=True))

        primary = server("primary")
        followers = tuple(server(str(i)) for i in range(replicas))
        for replica in followers:
            replica.follow(primary)
        for replica in followers:
            replica.catch_up(primary)
        config = folder / "sentinel.conf"
        config.write_text(_CONFIG.format(port=primary.port), encoding="utf-8")
        sentinel = running.enter_context(
            PrivateRedis(
                folder / "sentinel", "--sentinel", program=program, tcp=True, config=config
            )
        )
        watched = WatchedRedis(sentinel, primary, followers)
        watched.wait_until_known()
        yield watched
