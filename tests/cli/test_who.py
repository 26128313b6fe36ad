"""The command ``who``: on which device, on which server and whether that is healthy, and why a
session does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import imlib
from imlib.cli.main import main

USERS = 30
"""Of each server: enough to judge its clock."""


@pytest.fixture(scope="module")
def fleet() -> Iterator[imlib.Deployment]:
    """Give servers whose database knows two devices: one of user 7, and one of user 9."""
    with imlib.connect(
        "embedded://", "embedded://", online_timeout=600, check_online_timeout=620
    ) as deployment:
        with deployment.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO auth_users (auth_id, user_id, hash, device_model, platform, "
                "system_version, api_id, app_name, app_version, date_created, date_active, ip, "
                "country, region) VALUES (7, 7, 0, 'Nexus 5', 'Android', '7', 4, 'Tele', '1.2', "
                "0, 0, '192.0.2.77', 'DE', ''), "
                "(8, 9, 0, 'Pixel', '', '', 4, '', '', 0, 0, '', '', '')"
            )
        yield deployment


@pytest.fixture(autouse=True)
def named(fleet: imlib.Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the servers, and have three IM servers report: 1 is healthy, the clock of 2 is 900 s
    behind, and 3 died 700 s ago: its ghosts stand beside sessions of server 1.
    """
    monkeypatch.setenv("IMLIB_REDIS_URL", fleet.redis_url.reveal())
    monkeypatch.setenv("IMLIB_DATABASE_URL", fleet.database_url.reveal())
    # Leases so long that no test has to be quick.
    monkeypatch.setenv("IMLIB_ONLINE_TIMEOUT", "600")
    monkeypatch.setenv("IMLIB_CHECK_ONLINE_TIMEOUT", "620")
    now = int(fleet.redis.time()[0])
    fleet.redis.flushdb()
    each = range(1, USERS + 1)
    fleet.online_status.renew(
        [imlib.SessionStatus(2000 + n, -n, 2, 3, n, now - 700) for n in each]
        + [imlib.SessionStatus(n, n, 1, 1, n, now) for n in each]
        + [imlib.SessionStatus(1000 + n, n, 1, 2, n, now - 900) for n in each]
        + [imlib.SessionStatus(2000 + n, n, 1, 1, n, now) for n in each]
    )


def who(capsys: pytest.CaptureFixture[str], *users: int) -> list[dict[str, Any]]:
    """Return what the command tells of some users, exactly."""
    main(["who", *map(str, users), "--format", "json"])
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_where_a_user_is_online(capsys: pytest.CaptureFixture[str]) -> None:
    """Device, app, age, and a healthy server; nothing that is masked."""
    (row,) = who(capsys, 7)
    assert (True, True, "") == (row["online"], row["server_healthy"], row["why_not"])
    assert ("Nexus 5", "Tele 1.2", "DE") == (row["device"], row["app"], row["country"])
    assert 0 <= row["age_s"] < 300
    assert ("7", 1, "documented") == (row["auth_key_id"], row["server_id"], row["layout"])
    assert 0 == main(["who", "7"])
    printed = capsys.readouterr().out
    assert "    on Nexus 5, Tele 1.2, DE\n    server 1 is healthy: reports, " in printed
    assert "192.0.2.77" not in printed


def test_a_server_whose_clock_is_behind(capsys: pytest.CaptureFixture[str]) -> None:
    """Its users look offline, and the reason is named."""
    (row,) = who(capsys, 1007)
    assert (False, False) == (row["online"], row["server_healthy"])
    assert row["why_not"].startswith("expired 28")
    assert re.search(r"; server 2: its clock is 90\d s behind the one of Redis", row["why_not"])
    assert 1 == main(["who", "1007"])
    printed = capsys.readouterr().out
    assert "user 1007: offline" in printed
    assert "does not count: expired 28" in printed


def test_a_server_that_died(capsys: pytest.CaptureFixture[str]) -> None:
    """The ghost that a sibling holds says which server fell silent; the sibling counts."""
    ghost, sibling = who(capsys, 2007)
    assert (False, True) == (ghost["online"], sibling["online"])
    assert "; server 3: last heartbeat 7" in ghost["why_not"]


def test_an_auth_key_of_another_user(capsys: pytest.CaptureFixture[str]) -> None:
    """Whose device it is by the tables is said."""
    (row,) = who(capsys, 8)
    assert "Pixel (logged in by user 9)" == row["device"]


def test_redis_alone_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a database devices are not told, and neither is it an error."""
    monkeypatch.delenv("IMLIB_DATABASE_URL")
    (row,) = who(capsys, 7)
    assert (None, None, True) == (row["device"], row["app"], row["server_healthy"])
    assert "" == capsys.readouterr().err


def test_a_database_without_these_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    """What could not be asked is said in a line; the rest is answered."""
    (tmp_path / "im.db").touch()
    monkeypatch.setenv("IMLIB_DATABASE_URL", f"sqlite:///{tmp_path / 'im.db'}")
    assert 0 == main(["who", "7"])
    told = capsys.readouterr()
    assert "user 7: online" in told.out
    assert "imlib: auth_users is not asked for devices: " in told.err


def test_a_user_who_may_not_scan(
    fleet: imlib.Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Servers are not judged then, and that is said; who is online is."""
    client: Any = fleet.redis
    client.execute_command("ACL SETUSER", "bob", "on", "nopass", "~online_*", "+@all", "-scan")
    url = fleet.redis_url.reveal().replace("unix://", "unix://bob:@")
    monkeypatch.setenv("IMLIB_REDIS_URL", url)
    assert 0 == main(["who", "7"])
    assert "servers are not judged: " in capsys.readouterr().err


def test_at_another_time(fleet: imlib.Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """A restored dump is judged as of then: by Unix seconds or a date, never by another."""
    then = int(fleet.redis.time()[0]) - 890
    assert 0 == main(["who", "1007", "--at", str(then)])
    assert 1 == main(["who", "7", "--at", "2030-01-01T00:00:00"])
    assert 1 == main(["who", "7", "--at", "2030-01-01T02:00:00+02:00"])
    assert ", at 2" in capsys.readouterr().out
    for odd in ("yesterday", "12:30", "1_5"):
        with pytest.raises(SystemExit):
            main(["who", "7", "--at", odd])
    assert 2 == main(["who", "7", "--at", "5", "--online-timeout", "0"])


def test_who_has_no_session(capsys: pytest.CaptureFixture[str]) -> None:
    """That is said for people, and is no row for programs."""
    assert 1 == main(["who", "99"])
    assert "user 99: offline, and Redis holds no session\n" == capsys.readouterr().out
    assert [] == who(capsys, 99)
