"""What the seven SQL models share: transactions, upserts, locks, and the checks before a value reaches a database."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite

from imlib.constants import PeerType
from imlib.engines import WRITING, translate
from imlib.errors import InvalidValueError, NotFoundError, SchemaError, shortened
from imlib.models.records import Peer
from imlib.schema import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from imlib.connect import Clients

__all__ = [
    "AFTER_COMMIT",
    "STEERED",
    "Database",
    "by_ids",
    "check_int",
    "check_limit",
    "check_peer",
    "check_values",
    "insert",
    "lock_users",
    "upsert",
]

AFTER_COMMIT: Final = "imlib_after_commit"
"""The execution option that holds what is to be called when a transaction of imlib's own has ended well."""
STEERED: Final = "imlib_steered"
"""The execution option of a transaction that a caller steers, who may take back what was done in it."""

T = TypeVar("T")
_ATTEMPTS: Final = 10
# Deadlock, lock wait timeout, "record has changed since last read": all undone by the server, all worth another go.
_CONTENDED: Final = frozenset({1213, 1205, 1020})
_TEXT_BYTES: Final = 65_535
_IDS_A_QUERY: Final = 5_000


class Database:
    """Reads and transactions of one deployment's SQL side; SQLAlchemy's errors leave it as imlib's."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients

    @property
    def now(self) -> int:
        """The deployment's clock, whole Unix seconds."""
        return int(self.clients.clock())

    @contextmanager
    def read(self, *, primary: bool = False) -> Iterator[Connection]:
        """Give a connection for plain reads: the replica's where there is one, and `primary` is not asked for."""
        engine = self.clients.engine if primary else self.clients.replica
        try:
            with engine.connect() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise translate(error, engine) from error

    @contextmanager
    def transaction(self, operation: str) -> Iterator[Connection]:
        """Give a writing transaction on the primary: committed at the end, rolled back by any exception."""
        try:
            with self._begin(operation, steered=True) as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise translate(error, self.clients.engine) from error

    def write(self, operation: str, work: Callable[[Connection], T], connection: Connection | None = None) -> T:
        """Run `work` in a transaction on the primary, again if others' locks undid it; or in a given one, once."""
        attempt = 1
        while True:
            try:
                if connection is not None:
                    self.clients.check_writable(operation)
                    return work(connection)
                with self._begin(operation) as own:
                    return work(own)
            except sa.exc.SQLAlchemyError as error:
                contended = getattr(getattr(error, "orig", None), "args", (None,))[:1] in {(c,) for c in _CONTENDED}
                if connection is not None or not contended or attempt == _ATTEMPTS:
                    raise translate(error, self.clients.engine) from error
            time.sleep(random.uniform(0, 0.005 * attempt))  # those who met once would meet again in step
            attempt += 1

    @contextmanager
    def _begin(self, operation: str, *, steered: bool = False) -> Iterator[Connection]:
        self.clients.check_writable(operation)
        after: list[Callable[[], object]] = []
        options = {WRITING: True, AFTER_COMMIT: after, STEERED: steered}
        with self.clients.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection
        for call in after:
            call()


def insert(connection: Connection, table: sa.Table, values: Mapping[str, Any]) -> int:
    """Check and insert a row, and return its id."""
    check_values(connection, table, values)
    key = connection.execute(table.insert().values(values)).inserted_primary_key
    if key is None:
        raise SchemaError(f"{table.name} has no auto-increment id; imlib cannot work with this table")
    return int(key[0])


def upsert(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    update: Callable[[Any], dict[str, Any]],
) -> None:
    """Insert rows; where the table's unique key is taken, update that row instead: one statement of the database's own.

    Parameters
    ----------
    connection : sqlalchemy.Connection
    table : sqlalchemy.Table
        One that has a single unique key beside its id.
    rows : sequence of mappings
        All with the same columns.
    update : callable
        Given the row that was to be inserted, returns the columns to set. Without bound values, which drivers
        cannot repeat when they join many rows into one statement.
    """
    for row in rows:
        check_values(connection, table, row)
    if connection.dialect.name == "sqlite":
        (unique,) = (key for key in table.constraints if isinstance(key, sa.UniqueConstraint))
        lite = sqlite.insert(table)
        statement: Any = lite.on_conflict_do_update(
            index_elements=[column.name for column in unique.columns], set_=_touched(table, update(lite.excluded))
        )
    else:
        my = mysql.insert(table)
        statement = my.on_duplicate_key_update(**_touched(table, update(my.inserted)))
    connection.execute(statement, [dict(row) for row in rows])


def _touched(table: sa.Table, changes: dict[str, Any]) -> dict[str, Any]:
    # An upsert's update knows nothing of `onupdate`.
    return changes | ({"updated_at": sa.func.current_timestamp()} if "updated_at" in table.c else {})


def lock_users(connection: Connection, user_ids: Collection[int], required: Collection[int] | None = None) -> None:
    """Lock users' rows in the order of their ids until the transaction ends.

    Raises
    ------
    NotFoundError
        One of `required`, by default of all, has no row.
    """
    users = tables["users"]
    wanted = sorted({check_int("user_id", user_id) for user_id in user_ids})
    statement = sa.select(users.c.id).where(users.c.id.in_(wanted)).order_by(users.c.id).with_for_update()
    missing = set(wanted if required is None else required) - set(connection.scalars(statement))
    if missing:
        names = ", ".join(map(str, sorted(missing)[:10]))
        raise NotFoundError(f"no such user: {names}; the table users has no row with this id, nothing was written")


def by_ids(
    connection: Connection, statement: sa.Select[Any], column: sa.Column[Any], ids: Collection[int]
) -> list[Any]:
    """Return the rows of a statement whose `column` is one of `ids`, in the order of the ids; absent ones left out."""
    wanted = list(dict.fromkeys(check_int(column.name, each) for each in ids))
    found: dict[int, list[Any]] = {}
    for start in range(0, len(wanted), _IDS_A_QUERY):
        rows = connection.execute(statement.where(column.in_(wanted[start : start + _IDS_A_QUERY])))
        for row in rows:
            found.setdefault(row._mapping[column.name], []).append(row)
    return [row for each in wanted for row in found.get(each, ())]


def check_int(what: str, value: object, bits: int = 32) -> int:
    """Return a signed integer that fits the width of its column; raise `InvalidValueError` for any other."""
    limit = 1 << (bits - 1)
    if not isinstance(value, int) or (isinstance(value, bool) and bits > 8) or not -limit <= value < limit:
        raise InvalidValueError(f"{what} is {shortened(value)}; allowed is an integer from {-limit} to {limit - 1}")
    return int(value)


def check_limit(limit: int) -> int:
    """Return how many rows may be given back; raise `InvalidValueError` for a negative number."""
    if check_int("limit", limit) < 0:
        raise InvalidValueError(f"limit is {limit}; allowed is 0 or more")
    return limit


def check_peer(peer: object, allowed: Collection[PeerType]) -> Peer:
    """Return a peer whose type is one of `allowed`; raise `InvalidValueError` for any other."""
    if not isinstance(peer, Peer) or peer.peer_type not in allowed:
        kinds = ", ".join(f"{kind.name} ({kind.value})" for kind in allowed)
        raise InvalidValueError(f"peer is {shortened(peer)}; allowed is a Peer of type {kinds}")
    check_int("peer_id", peer.peer_id)
    return peer


def check_values(connection: Connection, table: sa.Table, values: Mapping[str, Any]) -> None:
    """Raise `InvalidValueError` for a value that its column would refuse, cut off or change."""
    for name, value in values.items():
        if isinstance(value, sa.ClauseElement):
            continue
        what, kind = f"{table.name}.{name}", table.c[name].type
        if isinstance(kind, sa.Integer):
            check_int(
                what, value, 64 if isinstance(kind, sa.BigInteger) else 8 if isinstance(kind, sa.SmallInteger) else 32
            )
        elif isinstance(kind, sa.String):
            _check_text(connection, what, kind, value)


def _check_text(connection: Connection, what: str, kind: sa.String, value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidValueError(f"{what} is {type(value).__name__}; allowed is str")
    if kind.length is not None and len(value) > kind.length:
        raise InvalidValueError(f"{what} has {len(value)} characters; allowed are {kind.length}: shorten it")
    try:
        size = len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidValueError(
            f"{what} holds half a surrogate pair at {error.start}; allowed is valid Unicode"
        ) from None
    if kind.length is None and size > _TEXT_BYTES:
        raise InvalidValueError(f"{what} takes {size} bytes in UTF-8; allowed are {_TEXT_BYTES}: shorten it")
    wide = next((character for character in value if character > "\uffff"), None)
    if wide is not None and connection.dialect.name != "sqlite" and not _four_bytes(connection, *what.split(".")):
        raise InvalidValueError(
            f"{what} holds {wide!r} (U+{ord(wide):X}), which this column's character set of at most 3 bytes cannot; "
            "leave it out, or convert the table to utf8mb4"
        )


def _four_bytes(connection: Connection, table: str, column: str) -> bool:
    charset = connection.scalar(
        sa.text(
            "SELECT character_set_name FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND table_name = :table AND column_name = :column"
        ),
        {"table": table, "column": column},
    )
    return charset in {"utf8mb4", "utf16", "utf32"}
