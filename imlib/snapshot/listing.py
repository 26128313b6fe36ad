"""Which tables and columns exist, and which rows of them are asked for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from imlib.constants import PeerType
from imlib.errors import ConfigurationError

Where = str | tuple[str, Mapping[str, Any]] | sa.ColumnElement[bool]

LINKS: Final = (
    ("auth_users", "auth_id", "user_id"),
    ("message_boxes", "message_id", "user_id"),
    ("chat_users", "chat_id", "user_id"),
    ("users", "phone", "id"),
)
"""(table, column, its column that names a user): what leads from users to rows that don't name them."""
_LED_TO: Final = {
    "auth_id": LINKS[0],
    "auth_key_id": LINKS[0],
    "messages.id": LINKS[1],
    "chats.id": LINKS[2],
    "phone_number": LINKS[3],
    "phone": LINKS[3],
}


@dataclass
class Listed:
    """One table as the database describes it; ``columns`` has each one's declared type."""

    name: str
    columns: dict[str, str] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    key: list[str] = field(default_factory=list)
    at_same_instant: bool = True

    @cached_property
    def clause(self) -> sa.TableClause:
        """It for a statement, every name quoted: a table or column may be named like a keyword."""
        names = (sa.quoted_name(name, quote=True) for name in self.columns)
        return sa.table(sa.quoted_name(self.name, quote=True), *map(sa.column, names))


def mysql_tables(connection: sa.Connection) -> tuple[dict[str, Listed], dict[str, str]]:
    """Return the tables of MySQL or MariaDB by name, and why the others are left out."""

    def ask(what: str) -> Sequence[Any]:
        return connection.exec_driver_sql(what).all()

    here = "WHERE TABLE_SCHEMA = DATABASE()"
    safe = {engine for (engine,) in ask("SELECT ENGINE FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'")}
    listed, left_out = {}, {}
    names = "SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES"
    for name, kind, engine in ask(f"{names} {here}"):
        if kind in ("BASE TABLE", "SYSTEM VERSIONED"):
            listed[name] = Listed(name, at_same_instant=engine in safe)
        else:
            left_out[name] = f"a {kind.lower()}, no table"
    columns = "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE FROM information_schema.COLUMNS"
    for name, column, declared in ask(f"{columns} {here} ORDER BY ORDINAL_POSITION"):
        if name in listed:
            listed[name].columns[column] = declared
    keys = "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS"
    for name, column in ask(f"{keys} {here} AND INDEX_NAME = 'PRIMARY' ORDER BY SEQ_IN_INDEX"):
        if name in listed:
            listed[name].key.append(column)
    for name in [name for name, one in listed.items() if not one.columns or set(one.key) - set(one.columns)]:
        del listed[name]
        left_out[name] = "dropped, altered or locked while the tables were listed"
    return dict(sorted(listed.items())), left_out


def sqlite_tables(connection: sa.Connection) -> tuple[dict[str, Listed], dict[str, str]]:
    """Return the tables of SQLite by name, and why the others are left out."""
    listed, left_out = {}, {}
    names = (
        r"SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
    )
    described = 'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) WHERE hidden <> 1'
    for name, kind in connection.exec_driver_sql(f"{names} ORDER BY name").all():
        if kind == "view":
            left_out[name] = "a view, no table"
            continue
        try:
            columns = connection.exec_driver_sql(described, (name,)).all()
        except sa.exc.DBAPIError as error:
            left_out[name] = str(error.orig)  # a virtual table whose module isn't there
            continue
        keyed = sorted((place, column) for column, _, _, place in columns if place)
        listed[name] = Listed(
            name,
            {column: declared for column, declared, _, _ in columns},
            {column for column, declared, required, place in columns if required or (place and declared == "INTEGER")},
            [column for _, column in keyed],
        )
    return listed, left_out


def choose(
    listed: Mapping[str, Listed],
    left_out: Mapping[str, str],
    tables: Collection[str] | Mapping[str, Collection[str]] | None,
    where: Collection[str],
    unmask: Collection[str],
) -> dict[str, list[str]]:
    """Return the columns to read of each table; a name that doesn't exist is refused, one that is left out is not."""
    columns = {f"{one.name}.{column}" for one in listed.values() for column in one.columns}
    for argument, given in (("tables", tables), ("unmask", unmask)):
        if isinstance(given, str):
            raise ConfigurationError(f"{argument} is {given!r}: allowed is a list of names, as [{given!r}]")
    names = [name for name in (listed if tables is None else tables) if name not in left_out]
    _check_names("where", [name for name in where if name not in left_out], listed)
    _check_names("unmask", [name for name in unmask if name.partition(".")[0] not in left_out], columns)
    _check_names("tables", names, listed)
    if not isinstance(tables, Mapping):
        return {name: list(listed[name].columns) for name in names}
    if none := [name for name in names if not tables[name]]:
        raise ConfigurationError(f"tables names no column of {', '.join(none)}: allowed are one or more of each")
    _check_names("tables", [f"{name}.{column}" for name in names for column in tables[name]], columns)
    return {name: list(dict.fromkeys(tables[name])) for name in names}


def _check_names(argument: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=3)
            there = f"did you mean {', '.join(close)}?" if close else "there is nothing of that name"
            raise ConfigurationError(f"{argument} names {name!r}: {there}")


def condition(listed: Listed, where: Where) -> sa.ColumnElement[bool] | sa.TextClause:
    """Return what a caller asks of a table's rows as part of a statement over `Listed.clause`."""
    ours = listed.clause
    match where:
        case str():
            return condition(listed, (where, {}))
        case (str(text), Mapping() as values):
            return sa.text(f"({text}\n)").bindparams(**values)  # the new line ends a comment
        case sa.ClauseElement():
            pass
        case _:
            given = f"where for table {listed.name!r} is of type {type(where).__name__}"
            raise ConfigurationError(
                f"{given}: allowed is SQL, (SQL, values of its :names), or a SQLAlchemy expression"
            )

    def adapted(element: Any, **_: Any) -> Any:
        # The caller's columns may belong to a table object of imlib.schema's; a second one would be joined.
        mine = isinstance(element, sa.ColumnClause) and getattr(element.table, "name", listed.name) == listed.name
        return ours.c.get(element.name) if mine else None

    expression = visitors.replacement_traverse(where, {}, adapted)
    if sa.select(sa.literal(1)).select_from(ours).where(expression).get_final_froms() != [ours]:
        # The database would give every row once for each of the other table's.
        named = "names columns that it has not, or another table outside of a subquery"
        raise ConfigurationError(f"where for table {listed.name!r} {named}")
    return expression


def about_users(
    listed: Listed, user_ids: Collection[int], found: Mapping[tuple[str, str, str], Collection[Any]]
) -> sa.ColumnElement[bool] | None:
    """Return which rows of a table are about users, or None where nothing in it leads to one.

    ``found`` has for each of `LINKS` the values that its column has in the users' rows.
    """
    columns = listed.clause.c
    chosen = []
    for name in listed.columns:
        link = _LED_TO.get(name) or _LED_TO.get(f"{listed.name}.{name}")
        if re.fullmatch(r"(.*_)?user_id", name) or (listed.name, name) == ("users", "id"):
            chosen.append(among(columns[name], user_ids))
        elif link and (listed.name, name) != ("users", "phone"):  # its own id says as much
            chosen.append(among(columns[name], found[link], personal=link is LINKS[3]))
        elif name == "seq_name":
            chosen.append(among(columns[name], [str(user_id) for user_id in user_ids]))
        elif name == "peer_id" and "peer_type" in columns:
            chosen.append((columns["peer_type"] == int(PeerType.USER)) & among(columns[name], user_ids))
    return sa.or_(*chosen) if chosen else None


def among(column: sa.ColumnElement[Any], values: Collection[Any], *, personal: bool = False) -> sa.ColumnElement[bool]:
    """Return that a column has one of the values.

    They are rendered when executed, for SQLite binds 32,766 at most; what is personal is bound, for an error shows the
    statement.
    """
    return column.in_(sa.bindparam(None, list(values), expanding=True, literal_execute=not personal))
