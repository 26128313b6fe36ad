"""How a database differs from the 20 tables; for one that the deployed server made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from imlib.errors import printable
from imlib.schema import tables
from imlib.servers.sql import connect, later_telegramd, translate_errors


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """How a database differs from the 20 tables.

    Columns are written ``table.column``, indexes ``table(a, b)``, unique ones ``table(a, b)
    unique``.
    """

    made_by: str = ""
    """A later telegramd, where the tables show one; it has none that imlib's messages need."""
    missing_tables: list[str] = field(default_factory=list)
    missing_columns: list[str] = field(default_factory=list)
    """Operations that need these raise `imlib.errors.SchemaError`."""
    required_columns: list[str] = field(default_factory=list)
    """Extra columns, NOT NULL, without a default: imlib cannot insert into their tables."""
    extra_columns: list[str] = field(default_factory=list)
    extra_tables: list[str] = field(default_factory=list)
    missing_indexes: list[str] = field(default_factory=list)
    """Reads that need them scan the table. Without a unique one, a row can be there twice."""
    not_transactional: list[str] = field(default_factory=list)
    """Tables, such as MyISAM's, that keep a write after a ROLLBACK: sequences then get gaps."""

    @property
    def ok(self) -> bool:
        """Whether every operation of every model can work."""
        return not (self.missing_tables or self.missing_columns or self.required_columns)

    def __str__(self) -> str:
        found = [(name.replace("_", " "), getattr(self, name)) for name in self.__slots__]
        lines = (
            f"{what}: {printable(told if isinstance(told, str) else ', '.join(told))}"
            for what, told in found
            if told
        )
        return "\n".join(lines) or "as imlib makes it"


def is_zero_dated(engine: sa.Engine) -> bool:
    """Return whether another than imlib made the tables: a row is made on a zero date by default.

    Raises
    ------
    ImlibError
        What `imlib.servers.sql.translate` makes of a failure.
    """
    if engine.dialect.name == "sqlite":
        return False
    query = (
        "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() "
        "AND column_name = 'created_at' AND column_default LIKE '%0000-00-00%' AND table_name "
        "IN ('chats', 'chat_users', 'message_boxes', 'users', 'user_dialogs', 'seq_updates_ngen')"
    )
    with translate_errors(engine), connect(engine) as connection:
        return bool(connection.scalar(sa.text(query)))


def check_schema(engine: sa.Engine) -> SchemaReport:
    """Compare a database's tables with the 20 of `imlib.schema`; nothing is changed.

    Raises
    ------
    ImlibError
        What `imlib.servers.sql.translate` makes of a failure.
    """
    with translate_errors(engine), connect(engine) as connection:
        inspector = sa.inspect(connection)
        present = set(inspector.get_table_names())
        report = SchemaReport(later_telegramd(present))
        for table in tables.values():
            if table.name in present:
                _compare(table, inspector, report)
    report.missing_tables.extend(sorted(tables.keys() - present))
    report.extra_tables.extend(sorted(present - tables.keys()))
    return report


def _compare(table: sa.Table, inspector: sa.Inspector, report: SchemaReport) -> None:
    found = {column["name"]: column for column in inspector.get_columns(table.name)}
    ours = [column.name for column in table.c]
    report.missing_columns.extend(f"{table.name}.{name}" for name in ours if name not in found)
    for name in sorted(found.keys() - set(ours)):
        required = not found[name]["nullable"] and found[name].get("default") is None
        (report.required_columns if required else report.extra_columns).append(
            f"{table.name}.{name}"
        )
    constraints = inspector.get_unique_constraints(table.name)
    held: list[Any] = [*inspector.get_indexes(table.name), *constraints]
    unique = [set(one["column_names"]) for one in held if one.get("unique", True)]
    lacking = []
    for wanted in table.indexes:
        names = wanted.columns.keys()
        if not any(names == one["column_names"][: len(names)] for one in held):
            lacking.append(f"{table.name}({', '.join(names)})")
    for key in table.constraints:
        names = key.columns.keys() if isinstance(key, sa.UniqueConstraint) else []
        if names and set(names) not in unique:
            lacking.append(f"{table.name}({', '.join(names)}) unique")
    report.missing_indexes.extend(sorted(lacking))
    if inspector.get_table_options(table.name).get("mysql_engine", "InnoDB") != "InnoDB":
        report.not_transactional.append(table.name)
