"""The databases that every SQL test runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb
from tests.sql.stack import Stack, open_stack


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
