"""A database that a later telegramd made is called so, and gets nothing from imlib."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from imlib.cli import main
from imlib.errors import NotEmptyError, SchemaError
from imlib.models.records import Peer
from imlib.schema_check import check_schema
from imlib.servers.sql import later_telegramd, make_engine
from tests.models.stack import Stack, open_stack

THEIRS = ["apps", "auth_keys", "auths", "chat_participants", "message_datas", "user_pts_updates"]
FILLING = [f"other_{n}" for n in range(52)]


def later(engine: sa.Engine, count: int, *, with_sequences: bool = False) -> set[str]:
    """Make so many tables as a later telegramd has them, and return their names."""
    made = {
        "users": "id integer PRIMARY KEY, access_hash bigint, first_name varchar(64)",
        "messages": "id integer PRIMARY KEY, user_id integer, dialog_id bigint, message_data text",
        "chats": "id integer PRIMARY KEY, creator_user_id integer, random_id bigint",
        "user_dialogs": "id integer PRIMARY KEY, user_id integer, peer_type integer",
    }
    if with_sequences:
        made["seq_updates_ngen"] = "id integer PRIMARY KEY, seq_name varchar(255), seq bigint"
    others = [*THEIRS, *FILLING][: count - len(made)]
    made |= dict.fromkeys(others, "id integer PRIMARY KEY")
    with engine.begin() as connection:
        for name, columns in made.items():
            connection.exec_driver_sql(f"CREATE TABLE {name} ({columns})")
        connection.exec_driver_sql("INSERT INTO users VALUES (1, 5, 'Ann')")
    return set(made)


@pytest.fixture(params=[(46, False), (58, False), (46, True)], ids=str)
def database(url: str, request: pytest.FixtureRequest) -> Iterator[tuple[str, set[str]]]:
    """Give the URL of such a database, and its tables."""
    engine = make_engine(url)
    names = later(engine, request.param[0], with_sequences=request.param[1])
    yield url, names
    assert names == set(sa.inspect(engine).get_table_names())
    engine.dispose()


OPERATIONS: list[Callable[[Stack], object]] = [
    lambda s: s.messages.get_messages_by_gt_pts(1, 0),
    lambda s: s.messages.get_last_pts_by_user_id(1),
    lambda s: s.messages.send_message(1, Peer.user(1), "hi"),
    lambda s: s.updates.get_state(5, 1),
    lambda s: s.dialogs.get_dialogs_by_offset_date(1),
    lambda s: s.chats.get_chat(1),
    lambda s: s.chats.create_chat(1, "Lunch", []),
    lambda s: s.users.get_user(1),
    lambda s: s.accounts.get_devices(1),
]


def test_every_error_says_whose_it_is(database: tuple[str, set[str]]) -> None:
    """Each operation's error names the table, whose database it is and what lists the difference;
    nothing advises to make a table, and nothing makes one.
    """
    with open_stack(database[0], tables_too=False) as stack:
        for operation in OPERATIONS:
            with pytest.raises(SchemaError, match=r"later telegramd.*imlib\.schema_check") as error:
                operation(stack)
            said = str(error.value)
            assert f"({len(database[1])} tables, and no message_boxes" in said
            assert any(
                name in said.partition("later")[0]
                for name in ("message", "user", "chat", "devices")
            )
            assert "create" not in said.partition("; ")[2]


def test_the_report_says_so(
    database: tuple[str, set[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """So does the comparison of the schema, and the command that looks at the servers."""
    engine = make_engine(database[0])
    report = check_schema(engine)
    engine.dispose()
    assert report.made_by.startswith(f"a later telegramd ({len(database[1])} tables, and no mess")
    assert not report.ok
    monkeypatch.setenv("IMLIB_DATABASE_URL", database[0])
    monkeypatch.setenv("IMLIB_REDIS_URL", "embedded://")
    main(["servers"])
    assert f"schema    made by: {report.made_by}" in capsys.readouterr().out


def test_the_sample_does_not_go_there(database: tuple[str, set[str]]) -> None:
    """The sample world is refused before a table is made."""
    with (
        open_stack(database[0], tables_too=False) as stack,
        pytest.raises(NotEmptyError, match="later telegramd"),
    ):
        stack.deployment.load_sample()


def test_a_table_with_rows_is_found_first(url: str) -> None:
    """In anybody's database the sample world makes no table beside one that holds rows."""
    with open_stack(url, tables_too=False) as stack:
        with stack.deployment.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE users (name varchar(9))")
            connection.exec_driver_sql("INSERT INTO users VALUES ('Ann')")
        with pytest.raises(NotEmptyError, match="the table users holds rows"):
            stack.deployment.load_sample()
        assert ["users"] == sa.inspect(stack.deployment.engine).get_table_names()


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["users", "messages", "message_boxes", "chats"],
        ["users", "messages", "seq_updates_ngen", *FILLING[:37]],
        ["messages", *FILLING],
        ["users", *FILLING],
    ],
)
def test_others_are_not_called_so(names: list[Any]) -> None:
    """A database that lacks more than that, or one table only of 40, is nobody's in particular."""
    assert "" == later_telegramd(names)
