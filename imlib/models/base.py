"""What the SQL models share: transactions, upserts, locks, checks of values."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite

from imlib.constants import ParticipantType, PeerType
from imlib.context import Context
from imlib.errors import InvalidValueError, NotFoundError, SchemaError
from imlib.schema import bits, tables
from imlib.schema_check import is_zero_dated
from imlib.servers import sql
from imlib.validation import check_int

AFTER_COMMIT = "imlib_after_commit"
"""The execution option that holds what to call after one of imlib's own transactions commits."""
STEERED = "imlib_steered"
"""The execution option of a transaction that a caller steers, and may roll back in part."""

BESIDE = (
    "telegramd made these tables (created_at is a zero date by default). While it writes messages, "
    "chats or sequences as well, numbers are handed out twice (it counts in Redis alone), it drops "
    "messages (their bodies are JSON of imlib's) and misses participants (it looks at one table, "
    "and never at their state)"
)
"""What is said once, before the first of such writes."""

T = TypeVar("T")
R = TypeVar("R", bound="Record")
_TEXT_BYTES = 65_535
_IDS_A_QUERY = 5_000


class Record:
    """The base of the records that are read from rows; ``table`` is where they are."""

    __slots__ = ()
    table: ClassVar[sa.Table]

    @classmethod
    def select(cls, **where: int) -> sa.Select[Any]:
        """Return the statement that reads the record's columns and no others, `at` these values."""
        columns = (cls.table.c[name] for name in cls.__annotations__ if name in cls.table.c)
        return sa.select(*columns).where(at(cls.table, **where))

    @classmethod
    def read(cls, connection: sa.Connection, statement: sa.Select[Any]) -> list[Self]:
        """Return the records that a statement finds."""
        return list(map(cls.from_row, connection.execute(statement)))

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> Self:
        """Build the record from a row with its columns; numbers become bools and enums."""
        values = row._asdict() | cls.derived(row)
        for name, kind in cls.__annotations__.items():
            if kind == "bool" and name in values:
                values[name] = bool(values[name])
        for name, members in _MEMBERS.items():
            if name in values:
                # A number that later servers added stays a number.
                values[name] = members.get(values[name], values[name])
        return cls(**values)

    @classmethod
    def derived(cls, row: sa.Row[Any]) -> dict[str, object]:
        """Return what the record says beyond its row's columns, or otherwise than they do."""
        return {}


_MEMBERS = {
    "peer_type": PeerType._value2member_map_,
    "participant_type": ParticipantType._value2member_map_,
}


class Model:
    """Reads and transactions on a deployment's SQL database; errors come as imlib's own.

    Parameters
    ----------
    context : Context

    Raises
    ------
    InvalidValueError
        By every operation: an argument that its column could not hold. Ids of users, chats and
        messages are int32, auth keys and a client's own marks (``random_id``) int64, texts as long
        as the records say.
    NotFoundError
        By writes: a user, chat or message that they name does not exist. Nothing was written then.
    ReadOnlyError, UnavailableError, AccessDeniedError, SchemaError
        As the deployment is connected, and as the database answers.
    """

    beside = False
    """Whether what it writes harms a server that writes the same tables."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def _warn_beside(self) -> None:
        context = self._context
        if self.beside and not context.read_only:
            context.warn_once(BESIDE, partial(is_zero_dated, context.engine))

    @property
    def _now(self) -> int:
        """The deployment's clock, whole Unix seconds."""
        return int(self._context.clock())

    @contextmanager
    def _reading(self, *, primary: bool = False) -> Iterator[sa.Connection]:
        """Give a connection for plain reads: to the replica, unless `primary` is asked for."""
        engine = self._context.engine if primary else self._context.replica
        with sql.translate_errors(engine), sql.connect(engine) as connection:
            yield connection

    def _read(self, kind: type[R], statement: sa.Select[Any]) -> list[R]:
        with self._reading() as connection:
            return kind.read(connection, statement)

    def _read_ids(self, kind: type[R], statement: sa.Select[Any], ids: Collection[int]) -> list[R]:
        with self._reading() as connection:
            rows = by_ids(connection, statement, kind.table.c.id, ids)
            return list(map(kind.from_row, rows))

    @contextmanager
    def _transaction(self, operation: str, *, steered: bool = False) -> Iterator[sa.Connection]:
        """Give a writing transaction on the primary; any exception rolls it back."""
        self._context.check_writable(f"{type(self).__name__}.{operation}")
        after: list[Callable[[], object]] = []
        options: dict[str, Any] = {sql.WRITING: True, AFTER_COMMIT: after, STEERED: steered}
        with (
            sql.connect(self._context.engine, **options) as connection,
            connection.begin(),
        ):
            yield connection
        for call in after:
            call()

    def _write(self, operation: str, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a transaction, again if others' locks undid it."""
        self._warn_beside()
        until = time.monotonic() + sql.CONTENDED_S
        while True:
            try:
                with self._transaction(operation) as connection:
                    return work(connection)
            except sa.exc.SQLAlchemyError as error:
                if sql.driver_said(error)[0] not in sql.CONTENDED or time.monotonic() > until:
                    raise sql.translate(error, self._context.engine) from error
            # Those who met once would meet again in step.
            time.sleep(random.uniform(0, 0.01))


def insert(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> int:
    """Check and insert a row, and return its id."""
    check_values(connection, table, values)
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    if key is None:
        raise SchemaError(
            f"{table.name} has no auto-increment id; imlib cannot work with this table"
        )
    return int(key[0])


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    update: Callable[[Any], dict[str, Any]],
) -> None:
    """Insert rows, or update those whose unique key is there already: in one statement.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    table : sqlalchemy.Table
        One that has a single unique key beside its id.
    rows : sequence of mappings
        All with the same columns.
    update : callable
        Given the row to insert, returns the columns to set. They hold no bound values: drivers
        cannot repeat those when they join many rows into one statement.
    """
    for row in rows:
        check_values(connection, table, row)
    touched = {
        "updated_at": sa.func.current_timestamp()
    }  # an upsert's update knows nothing of `onupdate`
    if connection.dialect.name == "sqlite":
        # Named, because SQLite before 3.35 asks for it.
        (unique,) = (key for key in table.constraints if isinstance(key, sa.UniqueConstraint))
        lite = sqlite.insert(table)
        statement: Any = lite.on_conflict_do_update(
            unique.columns, set_=update(lite.excluded) | touched
        )
    else:
        my = mysql.insert(table)
        statement = my.on_duplicate_key_update(update(my.inserted) | touched)
    connection.execute(statement, rows)


def lock_users(
    connection: sa.Connection, user_ids: Collection[int], required: Collection[int] | None = None
) -> None:
    """Lock users' rows in the order of their ids until the transaction ends.

    Raises
    ------
    NotFoundError
        One of `required`, by default of all, has no row.
    """
    users = tables["users"]
    wanted = sorted({check_int("user_id", user_id) for user_id in user_ids})
    locking = sa.select(users.c.id).order_by(users.c.id).with_for_update()
    found = {row.id for row in by_ids(connection, locking, users.c.id, wanted)}
    if missing := set(wanted if required is None else required) - found:
        raise absent("users", *sorted(missing), writing=True)


def by_ids(
    connection: sa.Connection,
    statement: sa.Select[Any],
    column: sa.Column[Any],
    ids: Collection[int],
) -> list[sa.Row[Any]]:
    """Return a statement's rows whose `column` is one of `ids`, in the order of the ids."""
    wanted = list(dict.fromkeys(check_int(_argument(column), each) for each in ids))
    found: dict[int, list[Any]] = {}
    for start in range(0, len(wanted), _IDS_A_QUERY):
        rows = connection.execute(statement.where(column.in_(wanted[start : start + _IDS_A_QUERY])))
        for row in rows:
            found.setdefault(row._mapping[column.name], []).append(row)
    return [row for each in wanted for row in found.get(each, ())]


def at(table: sa.Table, **values: int) -> sa.ColumnElement[bool]:
    """Return the condition that integer columns have these values; each must fit its column."""
    conditions = []
    for name, value in values.items():
        column = table.c[name]
        conditions.append(column == check_int(_argument(column), value, bits(column)))
    return sa.and_(True, *conditions)


def _argument(column: sa.Column[Any]) -> str:
    """Return the argument's name for a column: ``chat_id`` for ``chats.id``, say."""
    name = f"{column.table.name[:-1]}_id" if column.name == "id" else column.name
    return "user_id" if name.endswith("user_id") else name


def absent(table: str, *ids: int, writing: bool = False) -> NotFoundError:
    """Return the error that names absent rows, and says of a write that nothing was written."""
    names = ", ".join(map(str, ids[:10])) + (", …" if len(ids) > 10 else "")
    nothing = ", nothing was written" if writing else ""
    return NotFoundError(
        f"no such {table[:-1]}: {names}; the table {table} has no row with this id{nothing}",
        table=table,
        ids=ids,
    )


def new_random_id() -> int:
    """Return a number that nobody has: 63 random bits, never 0."""
    return 1 + secrets.randbelow(2**63 - 1)


def check_random_id(random_id: int | None) -> int:
    """Return a client's own number, an int64 but 0, or a new one where the client gave none."""
    if random_id is None:
        return new_random_id()
    if check_int("random_id", random_id, 64) == 0:
        raise InvalidValueError("random_id is 0; allowed is any other int64, or None for a new one")
    return random_id


def check_values(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> None:
    """Raise `InvalidValueError` for a value that its column would refuse, cut off or change."""
    for name, value in values.items():
        what, kind = f"{table.name}.{name}", table.c[name].type
        if isinstance(kind, sa.Integer):
            check_int(what, value, bits(table.c[name]))
        elif isinstance(kind, sa.String):
            _check_text(connection, what, kind.length, value)


def _check_text(connection: sa.Connection, what: str, length: int | None, value: object) -> None:
    if not isinstance(value, str):
        raise InvalidValueError(f"{what} is {type(value).__name__}; allowed is str")
    try:
        size, most, unit = len(value.encode()), _TEXT_BYTES, "bytes in UTF-8"
    except UnicodeEncodeError as error:
        why = f"{what} holds half a surrogate pair at {error.start}; allowed is valid Unicode"
        raise InvalidValueError(why) from None
    if length is not None:
        size, most, unit = len(value), length, "characters"
    if size > most:
        raise InvalidValueError(f"{what} has {size} {unit}; allowed are {most}: shorten it")
    wide = max(value, default="")
    if (
        wide > "\uffff"
        and connection.dialect.name != "sqlite"
        and not _four_bytes(connection, *what.split("."))
    ):
        raise InvalidValueError(
            f"{what} holds {wide!r} (U+{ord(wide):X}), which this column's character set of at "
            "most 3 bytes cannot; leave it out, or convert the table to utf8mb4"
        )


def _four_bytes(connection: sa.Connection, table: str, column: str) -> bool:
    query = (
        "SELECT character_set_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = :table AND column_name = :column"
    )
    charset = connection.scalar(sa.text(query), {"table": table, "column": column})
    return charset in {"utf8mb4", "utf16", "utf32"}
