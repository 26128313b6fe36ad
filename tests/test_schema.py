"""The 20 tables, made and compared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from imlib.schema import create_all, references, tables
from imlib.schema_check import SchemaReport, check_schema
from imlib.servers.sql import make_engine
from tests.models.stack import Stack


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """Give an engine of an empty database."""
    made = make_engine(url)
    yield made
    made.dispose()


def test_twenty_tables() -> None:
    """There are 20 tables, each with a line that says what it is for, and ids that count up."""
    assert 20 == len(tables)
    assert all(
        table.comment and [column.name for column in table.primary_key] == ["id"]
        for table in tables.values()
    )
    assert 209 == sum(len(table.c) for table in tables.values())


def test_empty_then_made_then_made_again(engine: sa.Engine) -> None:
    """Every table is missing, then none; making them again changes nothing."""
    assert sorted(tables) == check_schema(engine).missing_tables
    create_all(engine)
    assert SchemaReport() == check_schema(engine)
    assert str(check_schema(engine)) == "as imlib makes it"
    create_all(engine)
    assert SchemaReport() == check_schema(engine)


def test_what_exists_is_not_altered(engine: sa.Engine) -> None:
    """A table that exists stays as it is, and the report names what differs."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE users (id INTEGER PRIMARY KEY, mood INTEGER NOT NULL, hue INTEGER)"
            )
        )
        connection.execute(sa.text("CREATE TABLE moods (id INTEGER PRIMARY KEY)"))
    create_all(engine)
    report = check_schema(engine)
    assert not report.ok
    assert "users.phone" in report.missing_columns
    assert ["users.mood"] == report.required_columns
    assert ["users.hue"] == report.extra_columns
    assert ["moods"] == report.extra_tables
    assert ["users(phone) unique"] == report.missing_indexes
    assert [] == report.missing_tables
    assert "required columns: users.mood" in str(report)


def test_a_plain_index_is_no_unique_one(engine: sa.Engine) -> None:
    """Where the key that upserts go by is gone, an index of the same columns is no substitute;
    another order is.
    """
    columns = "(user_id, peer_type, peer_id)"
    create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE user_dialogs"))
        kinds = {
            one.name: "INTEGER PRIMARY KEY" if one.primary_key else "INTEGER"
            for one in tables["user_dialogs"].c
        }
        declared = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        connection.execute(sa.text(f"CREATE TABLE user_dialogs ({declared})"))
        connection.execute(sa.text(f"CREATE INDEX plain ON user_dialogs {columns}"))
    assert f"user_dialogs{columns} unique" in check_schema(engine).missing_indexes
    with engine.begin() as connection:
        connection.execute(
            sa.text("CREATE UNIQUE INDEX strict ON user_dialogs (peer_id, user_id, peer_type)")
        )
    assert [] == [one for one in check_schema(engine).missing_indexes if "unique" in one]


def test_references_lead_to_columns() -> None:
    """Each end of each reference is a column that exists."""
    known = {f"{table.name}.{column.name}" for table in tables.values() for column in table.c}
    assert known >= {end for pair in references() for end in pair}
    assert ("chat_users.inviter_user_id", "users.id") in references()


def test_moments_are_utc_and_never_is_none(stack: Stack) -> None:
    """A moment comes back in UTC as it was written; NULL and a zero date both read as None."""
    moment = datetime(2017, 12, 3, 3, 8, 53, tzinfo=UTC)
    stack.put("auth_keys", auth_id=1, body="", created_at=moment)
    stack.put("auth_keys", auth_id=2, body="")
    with stack.deployment.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE auth_keys SET deleted_at = '0000-00-00 00:00:00' WHERE auth_id = 2")
        )
    first, second = stack.rows("auth_keys")
    assert (moment, None) == (first["created_at"], first["deleted_at"])
    assert second["deleted_at"] is None
    assert abs((datetime.now(UTC) - second["created_at"]).total_seconds()) < 3600


def test_updated_at_follows(stack: Stack) -> None:
    """A row that imlib updates has an updated_at; one that it only inserted has none."""
    stack.sequences.next_ids("x", 2)
    stack.put("seq_updates_ngen", seq_name="y", seq=1)
    assert [True, False] == [
        row["updated_at"] is not None for row in stack.rows("seq_updates_ngen")
    ]
