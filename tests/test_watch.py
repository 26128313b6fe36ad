"""Watching presence: what each look says, what it costs, gaps, and a history that is whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

import imlib
from imlib.cli.main import main
from imlib.watch import History, Look, read_history
from tests.private_servers.redis import PrivateRedis, private_redis

START = 1_512_270_533
WIDE = 2**63 - 2
"""An id that a float would round."""


class Play:
    """A deployment whose clock moves when the watch sleeps, and what is to happen then."""

    def __init__(self, deployment: imlib.Deployment, clock: imlib.ManualClock) -> None:
        self.deployment, self.clock = deployment, clock
        self.slept: list[float] = []
        self.then: list[Callable[[], object]] = []
        self.took = 0.0

    def sleep(self, seconds: float) -> None:
        """Let time pass, and do what comes next."""
        self.slept.append(seconds)
        self.clock.advance(seconds)
        if self.then:
            self.then.pop(0)()

    def online(self, *sessions: tuple[int, int], server_id: int = 1) -> None:
        """Have these (user, session) be all that is online, on a server."""
        self.deployment.redis.flushdb()
        self.also(*sessions, server_id=server_id)

    def also(self, *sessions: tuple[int, int], server_id: int = 1) -> None:
        """Have these be online too."""
        now = int(self.clock())
        self.deployment.online_status.renew(
            imlib.SessionStatus(user_id, WIDE, session_id, server_id, 99, now)
            for user_id, session_id in sessions
        )

    def looks(self, number: int, **options: Any) -> list[Look]:
        """Return so many looks."""
        watch = self.deployment.watch(sleep=self.sleep, clock=self.time, **options)
        return [next(watch) for _ in range(number)]

    def time(self) -> float:
        """Tell the time of a machine on which each look takes a while."""
        self.clock.advance(self.took)
        return self.clock()


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateRedis]:
    """Give a server for all tests of this file."""
    with private_redis() as one:
        yield one


@pytest.fixture
def play(server: PrivateRedis) -> Iterator[Play]:
    """Give an empty stage."""
    clock = imlib.ManualClock(START)
    with imlib.connect(server.url, "embedded://", clock=clock) as deployment:
        deployment.redis.flushall()
        yield Play(deployment, clock)


def names(frame: pd.DataFrame) -> list[tuple[int, int]]:
    """Return which sessions a frame is about."""
    return list(zip(frame["user_id"], frame["session_id"], strict=True))


def test_who_came_went_and_moved(play: Play) -> None:
    """The first look has all who are there and no change; each later one has what changed."""
    play.online((1, 1), (1, 2), (2, 1))
    play.also((3, 1), server_id=-5)

    def change() -> None:
        play.online((1, 1), (4, 1))
        play.also((2, 1), server_id=2)
        play.also((3, 1), server_id=-5)

    play.then = [change, lambda: play.online()]
    first, second, third = play.looks(3)
    assert ({-5: 1, 1: 3}, START) == (first.online, first.at)
    assert [0, 0, 0] == [len(frame) for frame in (first.came, first.went, first.moved)]
    assert ({-5: 1, 1: 2, 2: 1}, START + 5) == (second.online, second.at)
    assert ([(4, 1)], [(1, 2)], [(2, 1)]) == tuple(
        names(frame) for frame in (second.came, second.went, second.moved)
    )
    assert [1] == second.moved["server_before"].to_list()
    assert [2] == second.moved["server_after"].to_list()
    assert ({}, 4, "") == (third.online, len(third.went), third.gap)


def test_a_session_that_lapses_has_gone(play: Play) -> None:
    """What Redis still holds does not count for ever."""
    play.online((1, 1))
    play.deployment.redis.persist("online_1")
    *_, counts, lapsed = play.looks(3, every=8.5)
    assert {1: 1} == counts.online
    assert ({}, [(1, 1)]) == (lapsed.online, names(lapsed.went))


@pytest.mark.parametrize(
    ("every", "took", "rest"), [(5, 0, 5), (5, 1, 4), (5, 2.5, 2.5), (5, 4, 4), (5, 60, 60)]
)
def test_it_rests_at_least_as_long_as_it_looked(
    play: Play, every: float, took: float, rest: float
) -> None:
    """Looks begin ``every`` seconds apart, or less often on a server that is slow."""
    play.took = took
    play.looks(2, every=every)
    assert [rest] == play.slept


@pytest.mark.parametrize("every", [0, -1, float("nan")])
def test_an_interval_that_is_none(play: Play, every: float) -> None:
    """It is refused with the allowed ones."""
    with pytest.raises(imlib.InvalidValueError, match="allowed is a number of seconds above 0"):
        play.looks(1, every=every)


def test_some_users_are_read_without_a_walk(play: Play) -> None:
    """Their keys alone are read; nobody else is told."""
    play.online((1, 1), (2, 1), (3, 1))
    play.deployment.redis.config_resetstat()
    (look,) = play.looks(1, user_ids=[1, 2])
    assert {1, 2} == set(look.sessions["user_id"])
    asked: Any = play.deployment.redis.info("commandstats")
    assert "cmdstat_scan" not in asked
    (look,) = play.looks(1, user_ids=3)
    assert [(3, 1)] == names(look.sessions)


def test_a_gap_is_told_and_it_goes_on(play: Play, server: PrivateRedis) -> None:
    """While the server is gone there is one look, with the reason; then the changes since."""
    play.online((1, 1), (2, 1))

    def back() -> None:
        server.start()
        play.online((2, 1), (3, 1))

    play.then = [server.stop, lambda: None, lambda: None, back]
    first, gap, after, later = play.looks(4)
    assert 2 == len(first.sessions)
    assert "cannot be reached" in gap.gap
    assert (0, {}, START + 5) == (len(gap.sessions), gap.online, gap.at)
    assert ([(3, 1)], [(1, 1)], "") == (names(after.came), names(after.went), after.gap)
    assert START + 20 == after.at
    assert {1: 2} == later.online


def test_a_server_that_is_not_there_at_first(server: PrivateRedis, play: Play) -> None:
    """Nothing is known then, and that is an error."""
    server.stop()
    try:
        with pytest.raises(imlib.UnavailableError):
            play.looks(1)
    finally:
        server.start()


class TestHistory:
    """The folder that looks are kept in."""

    def test_since_when_who_and_how_many(self, play: Play, tmp_path: Path) -> None:
        """Queries over the files answer what one asks at night, to the last digit of an id."""
        play.online((1, 1), (2, WIDE))
        play.then = [
            lambda: play.online((1, 1)),
            lambda: play.online((1, 1), (2, WIDE - 1), server_id=2),
            lambda: play.online((1, 1), (2, WIDE - 1), server_id=2),
        ]
        history = History(tmp_path / "history")
        for look in play.looks(4, every=30):
            history.add(look)
        history.write()
        files = f"'{tmp_path}/history/*.parquet'"

        def ask(query: str) -> list[Any]:
            answer: Any = duckdb.sql(query.format(files))
            rows: list[Any] = answer.fetchall()
            return rows

        since = (
            "SELECT epoch(max(seen_at)) FROM {} WHERE user_id = 2 AND change IN ('came', 'online')"
        )
        assert [(START + 60,)] == ask(since)
        went = "SELECT user_id, auth_key_id, session_id, now FROM {} WHERE change = 'went'"
        assert [(2, WIDE, WIDE, START)] == ask(went)
        moved = "SELECT user_id, server_before, server_id FROM {} WHERE change = 'moved'"
        assert [(1, 1, 2)] == ask(moved)
        hours = (
            "SELECT server_id, max(sessions) FROM {} WHERE change = 'count' GROUP BY ALL ORDER BY 1"
        )
        assert [(1, 2), (2, 2)] == ask(hours)
        read = read_history(tmp_path / "history")
        assert ["online", "online", "count"] == read["change"].to_list()[:3]
        assert read["seen_at"].is_monotonic_increasing

    def test_parts(self, play: Play, tmp_path: Path) -> None:
        """The first look is written at once, then a part a minute, for its owner alone."""
        play.online((1, 1))
        history = History(tmp_path)
        numbers = []
        for look in play.looks(14, every=10):
            history.add(look)
            numbers.append(len(list(tmp_path.iterdir())))
        assert [1] * 6 + [2] * 6 + [3] * 2 == numbers
        history.write()
        assert 4 == len(list(tmp_path.iterdir()))
        history.write()
        assert ["part-00000.parquet", "part-00003.parquet"] == sorted(os.listdir(tmp_path))[::3]
        assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}

    def test_a_gap_is_a_row(self, play: Play, tmp_path: Path) -> None:
        """With its time and its reason; nobody online is a count too."""
        (look,) = play.looks(1)
        history = History(tmp_path)
        history.add(look)
        history.add(replace(look, at=START + 5.25, gap="cannot be reached"))
        history.write()
        read = read_history(tmp_path)
        assert ["count", "gap"] == read["change"].to_list()
        assert [0] == read["sessions"].dropna().to_list()
        assert ["cannot be reached"] == read["says"].dropna().to_list()
        assert pd.Timestamp(START + 5.25, unit="s", tz="UTC") == read["seen_at"].iloc[1]

    def test_it_is_gone_on_with(self, play: Play, tmp_path: Path) -> None:
        """A second watch into the same folder adds to it; another folder's files are refused."""
        for _ in range(2):
            history = History(tmp_path / "kept")
            history.add(*play.looks(1))
        assert 2 == len(list((tmp_path / "kept").iterdir()))
        (tmp_path / "kept" / "notes.txt").touch()
        with pytest.raises(imlib.SnapshotError, match="holds something else than a history"):
            History(tmp_path / "kept")
        with pytest.raises(imlib.SnapshotError, match="cannot be used"):
            History(tmp_path / "kept" / "notes.txt")
        with pytest.raises(imlib.SnapshotError, match="holds no history"):
            read_history(tmp_path)

    def test_what_cannot_be_written_is_kept(
        self, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk is one clear error, leaves no half of a part, and loses no row."""
        history = History(tmp_path)

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("imlib.watch.os.fsync", full)
            with pytest.raises(imlib.SnapshotError, match="cannot be written: No space left"):
                history.add(*play.looks(1))
        assert [] == list(tmp_path.iterdir())
        history.write()
        assert ["count"] == read_history(tmp_path)["change"].to_list()


class TestCommand:
    """``imlib watch``."""

    @pytest.fixture(autouse=True)
    def named(self, server: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name the server."""
        monkeypatch.setenv("IMLIB_REDIS_URL", server.url)

    def test_counts_per_look(
        self, play: Play, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One line a look, whoever is online; a history if one is named."""
        play.clock.advance(int(play.deployment.redis.time()[0]) + 5 - START)
        play.online((1, 1), (2, 1))
        assert 0 == main(["watch", "--looks", "1", "--into", str(tmp_path / "kept")])
        printed = capsys.readouterr()
        (line,) = printed.out.splitlines()
        assert line.endswith(" UTC  online 2: server 1 2; came 0, went 0, moved 0")
        assert f"imlib: kept in {tmp_path / 'kept'}\n" == printed.err
        assert [2] == read_history(tmp_path / "kept")["sessions"].dropna().to_list()

    def test_rows_of_one_user(
        self, play: Play, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With --user each change is a row; Ctrl-C is the usual end, and writes what there is."""
        play.online((7, 1), (8, 1))

        def end() -> None:
            raise KeyboardInterrupt

        play.then = [lambda: play.online((7, 2), (8, 2)), end]
        watch = play.deployment.watch
        monkeypatch.setattr(
            "imlib.deployment.Deployment.watch",
            lambda _, every, users: watch(every, users, sleep=play.sleep, clock=play.clock),
        )
        assert 0 == main(["watch", "--user", "7", "--into", "kept"])
        first, second, *rows = capsys.readouterr().out.splitlines()
        assert first.endswith("online 1: server 1 1; came 0, went 0, moved 0")
        assert second.endswith("; came 1, went 1, moved 0")
        assert f"  came: user 7, auth key {WIDE}, session 2, server 1" == rows[0]
        assert rows[1].startswith(f"  went: user 7, auth key {WIDE}, session 1, server 1, last ")
        assert {"online", "came", "went", "count"} == set(read_history("kept")["change"])

    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Stand in an empty folder."""
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize("words", [["--looks", "0"], ["--every", "0"], ["--every", "nan"]])
    def test_a_wrong_question(self, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """It is one line, and no look is made."""
        assert 2 == main(["watch", *words])
        assert 1 == len(capsys.readouterr().err.splitlines())
