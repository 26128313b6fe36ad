"""What one check is: a SELECT over a snapshot's tables, and the words for each row that it finds.

A check is data: its SQL finds, its three templates tell. The SQL sees the tables that the check
needs as views of the columns that it needs, without rows that have a NULL there: a NULL refers to
nothing. So a column that it doesn't name can be absent, and its rows are never read.
"""

from __future__ import annotations

from typing import NamedTuple

ENOUGH = 20
"""The fewest users that tell a server's clock, and the fewest findings that may be one."""


KEPT = """
(EXISTS (FROM participants WHERE state <> 0) OR (
    SELECT coalesce(bool_and(message_box_type = 1), false)
    FROM message_boxes WHERE peer_type = 3 AND sender_user_id = user_id))
"""
"""Whether those who leave a chat are kept: one is, or imlib wrote the chats' boxes. The deployed
server, which removes who leaves, gives senders in chats a box of type 0."""


class Check(NamedTuple):
    """One check."""

    name: str
    severity: str
    """Of its findings: ``info``, ``warning`` or ``error``."""
    about: str
    """What it looks for, in a sentence."""
    sql: str
    """One SELECT. Its rows are ordered by their columns; ``user_id`` says whom a row is about."""
    subject: str
    what: str
    look: str
    """Templates of a row's columns: where it is, what is wrong, a query that shows more of it."""
    needs: dict[str, tuple[str, ...]]
    """For each table that it reads, the columns; it needs all rows. ``sessions``, ``sequences`` and
    ``malformed`` are what Redis holds; ``participants`` are those of chats."""
    judged: str
    """A SELECT of how many rows it judges."""


def check(
    name: str,
    severity: str,
    about: str,
    sql: str,
    subject: str,
    what: str,
    look: str,
    *,
    of: str = "",
    **needs: str,
) -> Check:
    """Return a check; ``needs`` lists each table's columns, ``of`` says what is judged.

    By default each row of the first table is.
    """
    tables = {table: tuple(columns.split()) for table, columns in needs.items()}
    judged = f"SELECT count(*) FROM {next(iter(tables), 'facts')}"
    return Check(
        name, severity, about, sql, subject, what, look, tables, f"SELECT {of}" if of else judged
    )
