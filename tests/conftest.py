"""What all tests share: no test is timed, and the last line of a run names the skipped backends.

The servers that take seconds to start are made once per process, when a test first asks for one.
A test that stops one of them makes its own, by the function that the fixture calls.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.models.stack import Stack, open_stack
from tests.private_servers import programs
from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb
from tests.private_servers.mariadb_replica import MariaDBPair, private_mariadb_pair
from tests.private_servers.programs import REDIS_SERVER, VALKEY
from tests.private_servers.redis import PrivateRedis, private_redis, private_replica_of
from tests.private_servers.redis_cluster import PrivateCluster, private_cluster
from tests.private_servers.redis_sentinel import WatchedRedis, private_sentinel

# Hypothesis would fail an example that takes 200 ms, which on a busy machine any may.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# A person's own configuration is neither read nor written.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="imlib-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"])

_ran: set[str] = set()
_skipped: set[str] = set()


def _gather(ran: list[str] | set[str], skipped: list[str] | set[str]) -> None:
    _ran.update(ran)
    _skipped.update(skipped)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand on what a worker of xdist asked for to its controller; keep it otherwise."""
    # Only a worker of xdist has it.
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        _gather(programs.ran, programs.skipped)
    else:
        output["backends"] = (sorted(programs.ran), sorted(programs.skipped))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker of xdist handed on; one that crashed handed on nothing."""
    _gather(*getattr(node, "workeroutput", {}).get("backends", ((), ())))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the last line, after pytest's own summary, once."""
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    if _skipped:
        outcome = "failed" if os.environ.get("CI") else "skipped"
        print(
            f"Backends {outcome}, not on this machine: {', '.join(sorted(_skipped))} (make "
            "servers)."
        )
    elif _ran:
        print(f"Backends: all that these tests ask for ran: {', '.join(sorted(_ran))}.")
    else:
        print("Backends: these tests ask for none beside the embedded default.")


@pytest.fixture(scope="session", params=[REDIS_SERVER, VALKEY])
def running_cluster(request: pytest.FixtureRequest) -> Iterator[PrivateCluster]:
    """Give three primaries and three replicas, for `cluster`."""
    with private_cluster(3, 3, program=request.param) as running:
        yield running


@pytest.fixture
def cluster(running_cluster: PrivateCluster) -> Iterator[PrivateCluster]:
    """Give an empty cluster of three primaries and three replicas, of each program in turn."""
    yield running_cluster
    running_cluster.clear()


@pytest.fixture(scope="session", params=[REDIS_SERVER, VALKEY])
def running_small_cluster(request: pytest.FixtureRequest) -> Iterator[PrivateCluster]:
    """Give two primaries, for `small_cluster`."""
    with private_cluster(2, program=request.param) as running:
        yield running


@pytest.fixture
def small_cluster(running_small_cluster: PrivateCluster) -> Iterator[PrivateCluster]:
    """Give an empty cluster of two primaries, of each program in turn."""
    yield running_small_cluster
    running_small_cluster.clear()


@pytest.fixture(params=[REDIS_SERVER, VALKEY])
def redis_pair(request: pytest.FixtureRequest) -> Iterator[tuple[PrivateRedis, PrivateRedis]]:
    """Give a primary and its replica, of each program in turn, which the test may stop."""
    with (
        private_redis(program=request.param, tcp=True) as primary,
        private_replica_of(primary, program=request.param) as replica,
    ):
        yield primary, replica


@pytest.fixture(params=[REDIS_SERVER, VALKEY])
def watched_redis(request: pytest.FixtureRequest) -> Iterator[WatchedRedis]:
    """Give a Sentinel, a primary and two replicas, of each program in turn; all may be stopped."""
    with private_sentinel(2, program=request.param) as watched:
        yield watched


@pytest.fixture(scope="session")
def running_mariadb_pair() -> Iterator[MariaDBPair]:
    """Give a MariaDB and its replica, for `mariadb_pair`."""
    with private_mariadb_pair() as pair:
        yield pair


@pytest.fixture
def mariadb_pair(running_mariadb_pair: MariaDBPair) -> Iterator[MariaDBPair]:
    """Give a MariaDB and its replica in step; the test may stop the replication."""
    yield running_mariadb_pair
    running_mariadb_pair.resume()
    running_mariadb_pair.catch_up()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[PrivateMariaDB]:
    """Give a MariaDB server of this process's own."""
    with private_mariadb() as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Give what makes an empty database and returns its URL: SQLite's, then MariaDB's."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / f'im {len(list(tmp_path.iterdir()))}.db'}"
    server: PrivateMariaDB = request.getfixturevalue("mariadb")
    return server.new_database


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """Give the URL of an empty database."""
    return new_url()


@pytest.fixture
def stack(url: str) -> Iterator[Stack]:
    """Give the models over a database with the 20 tables, and a fake Redis."""
    with open_stack(url) as opened:
        yield opened
