"""SQLite as a source of tables: the catalogue, the transaction, and values as Arrow arrays.

In SQLite a column's declared type binds nobody: each value has a type of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import repeat
from operator import methodcaller
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from imlib.schema import bits
from imlib.schema import tables as our_tables
from imlib.snapshot.description import (
    BYTES,
    INSTANT,
    NAIVE,
    TEXT,
    Carrier,
    Field,
    Listing,
    Problem,
    TableDescription,
)
from imlib.snapshot.moments import moments

_BATCH_ROWS = 20_000
_ODD_NAME = "its name is no UTF-8"
# The kind of a table is empty.
_TABLES = r"""SELECT name, replace(type, 'table', '') FROM sqlite_master
WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name"""
_COLUMNS = """SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?)
WHERE hidden <> 1"""
_DECLARED = (
    (r"INT|BOOL|BIT|YEAR", pa.int64()),
    (r"TIMESTAMP", INSTANT),
    (r"^DATE", NAIVE),
    (r"CHAR|CLOB|TEXT|JSON|ENUM|UUID|TIME|^SET", TEXT),
    (r"BLOB|BINARY|^$", BYTES),
    (r"", pa.float64()),
)


def sqlite_tables(connection: sa.Connection) -> Listing:
    """Return the tables of SQLite by name, and why others cannot be read."""
    listed, left_out = {}, {}
    for name, kind in connection.exec_driver_sql(_TABLES).all():
        if (shown := _shown(name)) != name:
            left_out[shown] = _ODD_NAME
            continue
        try:
            columns = connection.exec_driver_sql(_COLUMNS, (name,)).all()
        except sa.exc.DBAPIError as error:
            # A virtual table whose module isn't there, a view of a table that is gone.
            left_out[name] = str(error.orig)
            continue
        listed[name] = table = TableDescription(name, kind=kind)
        keyed = {}
        for column, declared, required, place in columns:
            if (shown := _shown(column)) != column:
                left_out[f"{name}.{shown}"] = _ODD_NAME
                continue
            table.columns[column] = declared
            if place:
                keyed[place] = column
            if required or (place and declared == "INTEGER"):
                table.required.add(column)
        table.key.extend(map(keyed.__getitem__, sorted(keyed)))
    return listed, left_out


def _shown(name: str) -> str:
    """Return a name; of one that is no UTF-8, its lone surrogates as the bytes that they were."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def sqlite_field(table: TableDescription, name: str, carrier: Carrier, declared: str) -> Field:
    """Return how a column is carried: as it is declared, or as a `Problem` asks for."""
    dtype = next(dtype for pattern, dtype in _DECLARED if re.search(pattern, declared.upper()))
    if carrier == Carrier.LITERAL:
        dtype = TEXT
    elif dtype == pa.int64() and not carrier and table.name in our_tables:
        # SQLite's INTEGER has no width: imlib's own columns get the one that MySQL gives them.
        ours = our_tables[table.name].c.get(name)
        if ours is not None and isinstance(ours.type, sa.Integer):
            dtype = pa.from_numpy_dtype(f"i{bits(ours) // 8}")
    return Field(name, dtype, name not in table.required, carrier)


def sqlite_arrays(
    fields: Sequence[Field], rows: Sequence[tuple[Any, ...]], problems: dict[str, Problem]
) -> list[pa.Array]:
    """Decode a batch of rows; a column that can't be carried is noted in ``problems``, as NULLs."""
    return list(map(_sqlite_array, fields, zip(*rows, strict=True), repeat(problems)))


def _sqlite_array(field: Field, values: tuple[Any, ...], problems: dict[str, Problem]) -> pa.Array:
    if field.carrier == Carrier.LITERAL:
        return pa.array([None if value is None else repr(value) for value in values], TEXT)
    carrier = Carrier.LITERAL
    try:
        if odd := set(map(type, values)) - {type(None)} - _expected(field.dtype):
            raise TypeError(f"holds {' and '.join(sorted(kind.__name__ for kind in odd))}")
        if not pa.types.is_timestamp(field.dtype):
            return pa.array(values, field.dtype)
        return moments(pa.array(values, TEXT), field, problems)
    except UnicodeEncodeError:
        reason = "holds text that is no UTF-8"
    except TypeError as odd_types:
        reason = f"{odd_types}, and is declared otherwise"
    except pa.ArrowInvalid:
        # Arrow's own words would show the value.
        reason = f"holds what no {field.dtype} can"
        if pa.types.is_integer(field.dtype) and field.dtype != pa.int64():
            reason, carrier = f"holds numbers beyond {field.dtype}", Carrier.INT64
    form = "int64" if carrier == Carrier.INT64 else "Python literals"
    problems[field.name] = Problem(f"{reason}: carried as {form}", carrier)
    return pa.nulls(len(values), field.dtype)


def _expected(dtype: pa.DataType) -> set[type]:
    """Return the types in which Python gets a column's values when they are as declared."""
    if pa.types.is_integer(dtype):
        return {int}
    if pa.types.is_floating(dtype):
        return {float, int}
    return {bytes if dtype == BYTES else str}


class SQLiteSource:
    """A SQLite file, read through one connection that nobody else uses."""

    most = 10_000_000
    """How many values a statement can hold."""
    locks = staticmethod(nullcontext)
    """SQLite locks no table."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def skew(self) -> float:
        """Return 0: SQLite's clock is this machine's."""
        return 0.0

    def begin(self) -> Listing:
        """List the tables inside the transaction, which begins with it."""
        driver: Any = self.connection.connection.dbapi_connection
        # Bytes that are no UTF-8 become lone surrogates. Arrow refuses these later, for one column;
        # the driver would end the whole reading.
        driver.text_factory = methodcaller("decode", "utf-8", "surrogateescape")
        return sqlite_tables(self.connection)

    @contextmanager
    def rows(
        self,
        statement: sa.Select[Any],
        table: TableDescription,
        carriers: Mapping[str, Carrier],
        problems: dict[str, Problem],
    ) -> Iterator[tuple[list[Field], Iterator[list[pa.Array]]]]:
        """Give a SELECT's fields and batches, decoded. SQLAlchemy only binds and quotes."""
        fields = []
        for name, carrier in carriers.items():
            declared = table.columns[name] or self._untyped(statement, table, name)
            fields.append(sqlite_field(table, name, carrier, declared))
        with self.connection.execute(statement) as result:
            cursor: Any = result.cursor
            batches = iter(partial(cursor.fetchmany, _BATCH_ROWS), [])
            yield fields, map(partial(sqlite_arrays, fields, problems=problems), batches)

    def _untyped(self, statement: sa.Select[Any], table: TableDescription, name: str) -> str:
        """Return the one type that the values of a column without a declared type have."""
        values = statement.with_only_columns(table.clause.c[name]).subquery()
        kinds = sa.select(sa.func.typeof(values.c[0])).distinct()
        found = set(self.connection.scalars(kinds)) - {"null"}
        return found.pop() if len(found) == 1 else ""

    @staticmethod
    def sees_all() -> bool:
        """Return True: SQLite hides no table."""
        return True

    @staticmethod
    def ended(code: int | None, text: str) -> bool:
        """Return whether an error ends the whole reading, and not only that of one table."""
        # The whole words: a column in a where-clause may be called locked.
        return re.match(r"database( table| schema)? is locked|disk I/O error", text) is not None
