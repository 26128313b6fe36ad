"""Which of two tables says who is in a chat, and that every operation asks the same one."""

from __future__ import annotations

import warnings

import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from imlib.errors import FallbackWarning, NotFoundError, SchemaError
from imlib.models.records import Peer
from imlib.schema import PARTICIPANTS, participants_table, tables
from tests.models.stack import Stack

THEIRS = PARTICIPANTS["chat_participants"]


def members(stack: Stack, table: str) -> list[tuple[int, int, int]]:
    """Return chat, user and state of a table's rows."""
    columns = PARTICIPANTS[table].c
    with stack.deployment.engine.connect() as connection:
        statement = sa.select(columns.chat_id, columns.user_id, columns.state)
        return [tuple(row) for row in connection.execute(statement.order_by(columns.id))]


def add_row(stack: Stack, table: sa.Table, chat_id: int, user_id: int) -> None:
    """Add a participant as a server does."""
    with stack.deployment.engine.begin() as connection:
        connection.execute(table.insert().values(chat_id=chat_id, user_id=user_id))


def owners(stack: Stack, chat_id: int, sender: int) -> list[int]:
    """Send to a chat, and return who got it."""
    message = stack.messages.send_message(sender, Peer.chat(chat_id), "noon?")
    return [row["user_id"] for row in stack.rows("message_boxes", message_id=message.id)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({"chat_participants", "chat_users"}, "chat_participants"),
        ({"chat_participants"}, "chat_participants"),
        ({"chat_users"}, "chat_users"),
        (set(), "chat_users"),
    ],
)
def test_which_table(rows: set[str], expected: str) -> None:
    """It is the deployed server's later table if that holds rows, else the specification's."""
    assert expected == participants_table(rows.__contains__)


def test_a_deployed_chat(stack: Stack) -> None:
    """Where chat_participants alone holds rows, all that reads, counts or changes participants is
    done there.
    """
    ann, ben, cy = stack.add_users(3)
    old = stack.chats.create_chat(ann, "Lunch", [ben]).id
    with stack.deployment.engine.begin() as connection:
        connection.execute(CreateTable(THEIRS))
        connection.execute(
            THEIRS.insert().from_select(list(THEIRS.c.keys()), tables["chat_users"].select())
        )
        connection.execute(tables["chat_users"].delete())
    assert [ann, ben] == [each.user_id for each in stack.chats.get_chat_full(old).participants]
    assert [ann, ben] == owners(stack, old, ann)
    assert cy == stack.chats.add_chat_participant(old, cy, ann).user_id
    stack.chats.delete_chat_user(old, ben)
    assert [ann, cy] == [each.user_id for each in stack.chats.get_chat_participants(old)]
    assert [ann, cy] == owners(stack, old, cy)
    assert "Dinner" == stack.chats.edit_chat_title(old, cy, "Dinner").title
    for refused in (
        lambda: stack.chats.edit_chat_title(old, ben, "Tea"),
        lambda: stack.messages.send_message(ben, Peer.chat(old), "me too"),
    ):
        with pytest.raises(NotFoundError) as error:
            refused()
        assert "chat_participants" == error.value.table
    new = stack.chats.create_chat(ben, "Tea", [cy], 5).id
    assert new == stack.chats.create_chat(ben, "Tea", [cy], 5).id
    assert [(old, ann, 0), (old, ben, 1), (old, cy, 0), (new, ben, 0), (new, cy, 0)] == members(
        stack, "chat_participants"
    )
    assert [] == members(stack, "chat_users")


def test_rows_in_both(stack: Stack) -> None:
    """Where both tables hold rows that is said once, and chat_participants counts."""
    ann, ben, cy = stack.add_users(3)
    chat = stack.chats.create_chat(ann, "Lunch", [ben]).id
    with stack.deployment.engine.begin() as connection:
        connection.execute(CreateTable(THEIRS))
    for user_id in (ann, cy):
        add_row(stack, THEIRS, chat, user_id)
    with pytest.warns(FallbackWarning, match="both hold rows") as said:
        assert [ann, cy] == [each.user_id for each in stack.chats.get_chat_full(chat).participants]
    assert 1 == len(said)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [ann, cy] == owners(stack, chat, ann)
    assert [(chat, ann, 0), (chat, ben, 0)] == members(stack, "chat_users")


def test_an_empty_second_table(stack: Stack) -> None:
    """Where chat_participants is there and empty, chat_users goes on; if that is empty as well, the
    first participant goes where the server that made both will look.
    """
    ann, ben = stack.add_users(2)
    with stack.deployment.engine.begin() as connection:
        connection.execute(CreateTable(THEIRS))
    add_row(stack, tables["chat_users"], 99, ann)
    chat = stack.chats.create_chat(ann, "Lunch", [ben]).id
    assert [ann, ben] == owners(stack, chat, ben)
    assert [] == members(stack, "chat_participants")
    with stack.deployment.engine.begin() as connection:
        connection.execute(tables["chat_users"].delete())
    assert () == stack.chats.get_chat_full(chat).participants
    new = stack.chats.create_chat(ann, "Tea", [ben]).id
    assert [(new, ann, 0), (new, ben, 0)] == members(stack, "chat_participants")
    assert [] == members(stack, "chat_users")


def test_one_table_alone(stack: Stack) -> None:
    """A later server has chat_participants only; where neither is there the error says so."""
    ann, ben = stack.add_users(2)
    with stack.deployment.engine.begin() as connection:
        tables["chat_users"].drop(connection)
        connection.execute(CreateTable(THEIRS))
    chat = stack.chats.create_chat(ann, "Lunch", [ben]).id
    assert [ann, ben] == owners(stack, chat, ann)
    with stack.deployment.engine.begin() as connection:
        THEIRS.drop(connection)
    with pytest.raises(SchemaError, match=r"chat_users.*imlib\.schema_check"):
        stack.chats.get_chat_full(chat)
