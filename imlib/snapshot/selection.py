"""What a snapshot is asked for: which tables and columns, and which of their rows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql import visitors

from imlib.constants import PeerType
from imlib.errors import InvalidValueError, shortened
from imlib.snapshot.description import TableDescription

Where = str | tuple[str, Mapping[str, Any]] | sa.ColumnElement[bool]

_SCANNED_ROWS = 2_000_000
"""From about so many rows on, a table is not searched by a column without an index."""


class Link(NamedTuple):
    """A column whose values belong to a user, whom another column of its table names."""

    table: str
    column: str
    user_column: str


_AUTH_KEYS = Link("auth_users", "auth_id", "user_id")
_MESSAGES = Link("message_boxes", "message_id", "user_id")
_CHATS = Link("chat_users", "chat_id", "user_id")
_PHONES = Link("users", "phone", "id")
LINKS = (_AUTH_KEYS, _MESSAGES, _CHATS, _PHONES)
"""What leads from users to rows that don't name a user: the users' keys, ids and phones."""
_LED_TO = {
    "auth_id": _AUTH_KEYS,
    "auth_key_id": _AUTH_KEYS,
    "messages.id": _MESSAGES,
    "chats.id": _CHATS,
    "phone_number": _PHONES,
    "phone": _PHONES,
}


@dataclass(frozen=True, kw_only=True)
class SnapshotRequest:
    """What is asked of a snapshot; the parameters are those of `imlib.Deployment.snapshot`.

    Raises
    ------
    InvalidValueError
        One of them is not of the allowed kind.
    """

    tables: Collection[str] | Mapping[str, Collection[str]] | None = None
    where: Mapping[str, Where] = field(default_factory=dict)
    limit: int = 1_000_000
    user_ids: list[int] | None = None
    unmask: Collection[str] = ()
    mask_key: bytes | str | None = field(default=None, repr=False)
    keep_incomplete: bool = False
    unindexed: bool = False
    timeout: float = 60

    def __post_init__(self) -> None:
        # SQL and Arrow count in 64 bits, and the SELECT asks for one row more.
        if type(self.limit) is not int or not 1 <= self.limit < 1 << 62:
            raise InvalidValueError(
                f"limit is {shortened(self.limit)}; allowed is 1 or more rows per table"
            )
        if not 0 < self.timeout < float("inf"):
            raise InvalidValueError(
                f"timeout is {shortened(self.timeout)}; allowed is a number of seconds above 0"
            )
        if not isinstance(self.where, Mapping):
            raise InvalidValueError(
                f"where is {type(self.where).__name__}: allowed is a mapping of table to condition"
            )
        for argument, given in (("tables", self.tables), ("unmask", self.unmask)):
            if isinstance(given, str):
                raise InvalidValueError(
                    f"{argument} is {given!r}: allowed is a list of names, as [{given!r}]"
                )


def choose(
    request: SnapshotRequest, listed: Mapping[str, TableDescription], left_out: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return each table's columns to read; a name is refused unless it exists or is left out."""
    tables = request.tables
    columns = {f"{one.name}.{column}" for one in listed.values() for column in one.columns}
    every = [name for name, one in listed.items() if not one.kind]
    names = [name for name in (every if tables is None else tables) if name not in left_out]
    _check_names("where", [name for name in request.where if name not in left_out], listed)
    unmask = [name for name in request.unmask if name.partition(".")[0] not in left_out]
    _check_names("unmask", unmask, columns)
    _check_names("tables", names, listed)
    chosen = {}
    for name in names:
        wanted = tables[name] if isinstance(tables, Mapping) else listed[name].columns
        if not wanted:
            raise InvalidValueError(
                f"tables names no column of {name}: allowed are one or more of each"
            )
        _check_names("tables", [f"{name}.{column}" for column in wanted], columns)
        chosen[name] = list(dict.fromkeys(wanted))
    return chosen


def _check_names(argument: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=3)
            there = "there is nothing of that name"
            if close:
                there = f"did you mean {', '.join(close)}?"
            raise InvalidValueError(f"{argument} names {name!r}: {there}")


def condition(table: TableDescription, where: Where) -> sa.ColumnElement[bool] | sa.TextClause:
    """Return a caller's condition as part of a statement over `TableDescription.clause`."""
    ours = table.clause
    match where:
        case str():
            # Taken literally: a colon in it begins no parameter.
            return condition(table, (where.replace(":", r"\:"), {}))
        case (str(text), Mapping() as values):
            # The text may end with a comment, which the new line ends.
            return sa.text(f"({text}\n)").bindparams(**values)
        case sa.ClauseElement():
            pass
        case _:
            given = f"where for table {table.name!r} is of type {type(where).__name__}"
            raise InvalidValueError(
                f"{given}: allowed is SQL, (SQL, values of its :names), or a SQLAlchemy expression"
            )

    def adapted(element: Any, **_: Any) -> Any:
        # The caller's columns may be those of another object for this table, such as one of
        # imlib.schema's. SQLAlchemy would join the two.
        mine = (
            isinstance(element, sa.ColumnClause)
            and getattr(element.table, "name", table.name) == table.name
        )
        return ours.c.get(element.name) if mine else None

    expression = visitors.replacement_traverse(where, {}, adapted)
    if sa.select(sa.literal(1)).select_from(ours).where(expression).get_final_froms() != [ours]:
        # The database would return each row as many times as the other table has rows.
        named = "names columns that it has not, or another table outside of a subquery"
        raise InvalidValueError(f"where for table {table.name!r} {named}")
    return expression


class About(NamedTuple):
    """How rows about users are found in one table.

    Parameters
    ----------
    conditions : list
        Each row about users meets one or more of them.
    not_asked : list of str
        The columns that lead to users and are not asked, for want of an index.
    why : str
        Why there is no condition, if there is none.
    """

    conditions: list[sa.ColumnElement[bool]]
    not_asked: list[str]
    why: str


def about_users(
    table: TableDescription,
    user_ids: Collection[int],
    found: Mapping[Link, Collection[Any] | None],
    most: int,
    *,
    unindexed: bool,
) -> About:
    """Return how rows about users are found; there is no condition where nothing leads to one.

    Each condition is for one column, so that its index can be used, and holds at most ``most``
    values. ``found`` holds for each of `LINKS` the values of its column in the users' rows; None
    where these were not asked for.
    """
    columns = table.clause.c
    conditions: list[sa.ColumnElement[bool]] = []
    held, not_asked = 0, []
    for column in columns:
        name = column.name
        full_name = f"{table.name}.{name}"
        link = _LED_TO.get(name) or _LED_TO.get(full_name)
        by_peer = name == "peer_id" and "peer_type" in columns
        values: Collection[Any] | None = user_ids
        if re.fullmatch(r"(.*_)?user_id", name) or full_name == "users.id":
            link = None
        elif link and full_name != "users.phone":  # users.id is enough there
            values = found[link]
        elif name == "seq_name":
            values = list(map(str, user_ids))
        elif not by_peer:
            continue
        if values is None or not (unindexed or can_be_asked(table, name)):
            not_asked.append(name)
            continue
        held += len(values)
        is_user = columns["peer_type"] == int(PeerType.USER) if by_peer else sa.true()
        pieces = among(column, values, most, personal=link is _PHONES)
        conditions += [is_user & piece for piece in pieces]
    why = "nothing in it names a user"
    if not_asked:
        why = "no index leads to a user's rows: see not_asked"
    if len(conditions) > 1 and not table.key:
        # Only a key tells a row that meets two conditions from two rows.
        conditions = [sa.or_(*conditions)] if held <= most else []
        why = "the values that lead to it need several statements, and its rows a key"
    return About(conditions, not_asked, why)


def can_be_asked(table: TableDescription, column: str) -> bool:
    """Return whether rows are found by a column's values without reading too many others."""
    return column in table.indexed or table.estimate < _SCANNED_ROWS


def among(
    column: sa.ColumnElement[Any], values: Collection[Any], most: int, *, personal: bool = False
) -> list[sa.ColumnElement[bool]]:
    """Return conditions, one of which is met where a column has one of the values.

    Each holds at most ``most`` values; there is at least one. The statement holds them as literals,
    because SQLite binds 32,766 at most. Personal values are bound, because an error shows the
    statement.
    """
    every = list(values)
    return [
        column.in_(
            sa.bindparam(None, every[at : at + most], expanding=True, literal_execute=not personal)
        )
        for at in range(0, len(every) or 1, most)
    ]
