"""The notebook 08 on somebody's own servers, as papermill runs it; and what `look` looks at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import imlib
from imlib.deployment import Deployment
from imlib.investigation import look
from imlib.sample import NOW
from imlib.schema import create_all
from tests.notebooks import scheduler
from tests.private_servers.redis import private_redis
from tools.notebook import NOTEBOOKS, code_cells, read


@pytest.fixture
def named(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Give the URLs of servers of somebody's own, which hold nothing yet."""
    file = tmp_path / "own.db"
    file.touch()
    with private_redis() as server:
        yield server.url, f"sqlite:///{file}"


@pytest.fixture
def inhabited(named: tuple[str, str]) -> tuple[str, str]:
    """Give the URLs of servers that hold the sample world as if it were their own, and will for an
    hour.
    """
    with imlib.connect(*named, clock=imlib.ManualClock(NOW)) as deployment:
        create_all(deployment.engine)
        deployment.load_sample()
        for key in deployment.redis.scan_iter():
            deployment.redis.expire(key, 3600, gt=True)
    return named


def held(urls: tuple[str, str]) -> dict[str, Any]:
    """Return every key of Redis with what it holds, and the rows of each table."""
    with imlib.connect(*urls, read_only=True, clock=imlib.ManualClock(NOW)) as deployment:
        snapshot = deployment.snapshot(mask_key=b"the same for every look")
        keys = {key: deployment.redis.dump(key) for key in deployment.redis.scan_iter()}
    return keys | {name: table.to_csv() for name, table in snapshot.tables.items()}


def answers(path: Path) -> dict[str, str]:
    """Return what 08 answered to four of its questions."""
    shown = {
        cell.source: cell.outputs[-1].data["text/plain"]
        for cell in code_cells(read(path))
        if cell.outputs
    }

    def of(line: str) -> str:
        (answer,) = [text for source, text in shown.items() if line in source]
        return str(answer)

    return {
        "where": of("get_online_by_user_id(user_id)"),
        "cut off": of("cut_off = ask"),
        "missing": of("pts_gap"),
        "changed": of("difference.moved"),
    }


def test_another_parameters_cell_gives_other_answers(
    inhabited: tuple[str, str], tmp_path: Path
) -> None:
    """Papermill runs 08 on servers of somebody's own, about another user and server, and leaves
    them as they were.
    """
    redis_url, database_url = inhabited
    before = held(inhabited)
    output = scheduler.run(
        "08-investigate",
        tmp_path,
        redis_url=redis_url,
        database_url=database_url,
        at=NOW,
        user_id=10,
        server_id=4,
    )
    ours, default = answers(output), answers(NOTEBOOKS / "08-investigate.ipynb")
    assert "['server 4, connection 1021, at 1512270653']" == ours["where"]
    assert ["0", "10", "1"] == ours["cut off"].split()[-3:]
    # The world is the same, so is what it lacks; but nobody lets anything happen in it.
    assert default["missing"] == ours["missing"]
    assert "Empty DataFrame" in ours["changed"]
    assert "Empty DataFrame" not in default["changed"]
    assert before == held(inhabited)


def closed(deployment: Deployment, world: Deployment | None) -> None:
    """Close what `look` gave."""
    deployment.close()
    if world is not None:
        world.close()


def test_where_nothing_is_named_there_is_the_sample_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deployment reads only, the world writes, and both have the sample's sessions for as long
    as it takes.
    """
    for name in ("IMLIB_REDIS_URL", "IMLIB_DATABASE_URL", "IMLIB_REPLICA_URL"):
        monkeypatch.delenv(name, raising=False)
    deployment, world = look()
    assert world is not None
    assert (True, False) == (deployment.read_only, world.read_only)
    assert [1, 3] == sorted(
        one.server_id for one in deployment.online_status.get_online_by_user_id(7)
    )
    assert -1 == deployment.redis.ttl("online_4")
    assert 3600 <= deployment.redis.ttl("online_404")
    closed(deployment, world)


def test_empty_servers_are_a_stage_where_that_is_said(
    named: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With IMLIB_SAMPLE the sample world is put up in two empty servers, and taken down
    at close.
    """
    monkeypatch.setenv("IMLIB_SAMPLE", "1")
    deployment, world = look(*named)
    assert 12 == len(deployment.snapshot().tables["users"])
    closed(deployment, world)
    assert {} == held(named)


def test_empty_servers_are_only_read(
    named: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers that are named and happen to hold nothing are looked at like any other."""
    monkeypatch.delenv("IMLIB_SAMPLE", raising=False)
    deployment, world = look(*named)
    assert (None, True) == (world, deployment.snapshot().sessions.empty)
    closed(deployment, world)
    assert {} == held(named)


@pytest.mark.parametrize("present", ["key", "table"])
def test_a_server_that_holds_something_is_only_read(
    named: tuple[str, str], present: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key, or one empty table, is somebody's own: nothing is written beside it, whatever the
    variable says.
    """
    monkeypatch.setenv("IMLIB_SAMPLE", "1")
    with imlib.connect(*named) as own:
        if present == "key":
            own.redis.set("somebody", "was here")
        else:
            create_all(own.engine)
    before = held(named)
    deployment, world = look(*named)
    assert (True, None) == (deployment.read_only, world)
    closed(deployment, world)
    assert before == held(named)


def test_one_named_server_is_only_read(
    named: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names a Redis alone has it looked at, empty as it is."""
    monkeypatch.setenv("IMLIB_SAMPLE", "1")
    deployment, world = look(named[0])
    assert world is None
    assert deployment.snapshot().sessions.empty
    closed(deployment, world)
    with Redis.from_url(named[0]) as client:
        assert 0 == client.dbsize()


@pytest.mark.parametrize(("at", "online"), [(NOW, 17), (NOW + 86_400, 0)])
def test_an_instant_can_be_given_to_judge_by(
    inhabited: tuple[str, str], at: int, online: int
) -> None:
    """A deployment that was restored from a dump is judged by the dump's time."""
    deployment, world = look(*inhabited, at=at)
    assert online == deployment.snapshot(tables=[]).sessions["online"].sum()
    closed(deployment, world)
