"""07 and 08 on servers of other shapes than the sample world's: each cell runs, no cell guesses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import imlib
from imlib import ManualClock
from imlib.sample import NOW
from imlib.schema import create_all
from tests.notebooks import scheduler
from tests.private_servers.redis import private_redis
from tools.notebook import code_cells, read

Change = Callable[[imlib.Deployment], Any]


def drop(*names: str) -> Change:
    """Return what drops tables."""

    def run(deployment: imlib.Deployment) -> None:
        with deployment.engine.begin() as connection:
            for name in names:
                connection.exec_driver_sql(f"DROP TABLE {name}")

    return run


def nobody_online(deployment: imlib.Deployment) -> None:
    """Take all sessions away."""
    for key in deployment.redis.scan_iter("online_*"):
        deployment.redis.delete(key)


def of_teamgram(deployment: imlib.Deployment) -> None:
    """Leave a Redis that another server writes, and no table at all."""
    deployment.redis.flushdb()
    deployment.redis.hset("user_online_keys#7", "-5", "{}")
    drop(*sa.inspect(deployment.engine).get_table_names())(deployment)


SHAPES: dict[str, tuple[str, Change]] = {
    "telegramd of 3 December": ("deployed/d9af017", lambda _: None),
    "telegramd of 15 December": ("deployed/4b393bf", lambda _: None),
    "without its auth tables": ("sample", drop("auth_keys", "auth_users", "auths")),
    "a later telegramd": ("deployed/4b393bf", drop("message_boxes", "seq_updates_ngen")),
    "nobody is online": ("sample", nobody_online),
    "leases of 60 s": ("sample", lambda _: None),
    "another server": ("sample", of_teamgram),
}
LONGER = {"IMLIB_ONLINE_TIMEOUT": "60", "IMLIB_CHECK_ONLINE_TIMEOUT": "70"}
# What a notebook says that it cannot tell; one answer shows how that is said.
UNTOLD = {"without its auth tables": 3, "a later telegramd": 3, "another server": 6}


@pytest.fixture(params=SHAPES)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Give the parameters that lead a notebook to servers of a shape."""
    world, change = SHAPES[request.param]
    file = tmp_path / "own.db"
    file.touch()
    with private_redis() as server:
        urls = {"redis_url": server.url, "database_url": f"sqlite:///{file}"}
        with imlib.connect(*urls.values(), clock=ManualClock(NOW)) as deployment:
            create_all(deployment.engine)
            deployment.load_sample(world)
            change(deployment)
            for key in deployment.redis.scan_iter("online_*"):
                deployment.redis.expire(key, 3600, gt=True)
        yield urls


def test_every_cell_runs(urls: dict[str, str], tmp_path: Path, request: Any) -> None:
    """Both run to their end, 07 wherever its tables are; what cannot be told is said, never
    answered.
    """
    shape = request.node.callspec.params["urls"]
    variables = LONGER if shape == "leases of 60 s" else {}
    if shape not in ("without its auth tables", "another server"):
        scheduler.run("07-snapshot", tmp_path, variables, **urls)
    run = read(scheduler.run("08-investigate", tmp_path, variables, **urls, at=NOW))
    shown = {
        cell.source: "".join(
            out.data.get("text/plain", "") for out in cell.outputs if "data" in out
        )
        for cell in code_cells(run)
    }
    untold = [source for source, text in shown.items() if "cannot be told here" in text]
    assert UNTOLD.get(shape, 1) == len(untold), untold
