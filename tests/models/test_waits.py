"""Nothing waits without end: a server that is halted, a table that somebody has locked."""

from __future__ import annotations

import pytest

from imlib.errors import UnavailableError
from imlib.models.records import Peer
from imlib.servers import sql
from tests.models.stack import open_stack
from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb


def test_a_halted_server_is_waited_for_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read and a write say what was waited for, and go on when the server does."""
    monkeypatch.setattr(sql, "_CONNECT_TIMEOUT_S", 3)
    with private_mariadb() as server, open_stack(server.new_database()) as stack:
        (user_id,) = stack.add_users(1)
        monkeypatch.setattr(sql, "ANSWER_S", 2)
        with server.paused():
            with pytest.raises(UnavailableError, match="no answer within 2 s"):
                stack.users.get_user(user_id)
            with pytest.raises(UnavailableError, match="no answer within"):
                stack.sequences.next_id("x")
        found = stack.users.get_user(user_id)
        assert found is not None
        assert user_id == found.id


def test_a_locked_table_is_waited_for_and_told(
    mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LOCK TABLES elsewhere ends a send in an error that says to try again."""
    monkeypatch.setattr(sql, "LOCK_WAIT_S", 1)
    monkeypatch.setattr(sql, "CONTENDED_S", 1)
    with open_stack(mariadb.new_database()) as stack:
        one, two = stack.add_users(2)
        with stack.deployment.engine.connect() as other:
            other.exec_driver_sql("LOCK TABLES messages WRITE")
            with pytest.raises(UnavailableError, match="try again"):
                stack.messages.send_message(one, Peer.user(two), "hello", 1)
            other.exec_driver_sql("UNLOCK TABLES")
        assert 1 == stack.messages.send_message(one, Peer.user(two), "hello", 1).pts


def test_callers_of_the_engine_have_no_limit(
    mariadb: PrivateMariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a caller sends through the engine itself may take longer than imlib's own statements."""
    monkeypatch.setattr(sql, "ANSWER_S", 2)
    with (
        open_stack(mariadb.new_database()) as stack,
        stack.deployment.engine.connect() as connection,
    ):
        assert 0 == connection.exec_driver_sql("SELECT SLEEP(3)").scalar()
