"""SQLite as a source of tables: the catalogue, the transaction, and values as Arrow arrays.

A column's declared type is only a wish there: each value has a type of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import methodcaller
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from imlib.schema import bits
from imlib.schema import tables as our_tables
from imlib.snapshot.description import (
    BYTES,
    INSTANT,
    NAIVE,
    TEXT,
    ZERO_DATE,
    Carrier,
    Field,
    Listing,
    Problem,
    TableDescription,
)

_BATCH_ROWS: Final = 20_000
_ZERO_DATE: Final = r"^0000-00-00([ T]00:00:00(\.0*)?)?$"
_DECLARED: Final = (
    (r"INT|BOOL|BIT|YEAR", pa.int64()),
    (r"TIMESTAMP", INSTANT),
    (r"^DATE", NAIVE),
    (r"CHAR|CLOB|TEXT|JSON|ENUM|UUID|TIME|^SET", TEXT),
    (r"BLOB|BINARY|^$", BYTES),
    (r"", pa.float64()),
)


def sqlite_tables(connection: sa.Connection) -> Listing:
    """Return the tables of SQLite by name, and why the others are left out."""
    listed, left_out = {}, {}
    names = (
        r"SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT "
        r"LIKE 'sqlite\_%' ESCAPE '\'"
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
        listed[name] = TableDescription(
            name,
            {column: declared for column, declared, _, _ in columns},
            {
                column
                for column, declared, required, place in columns
                if required or (place and declared == "INTEGER")
            },
            [column for _, column in keyed],
        )
    return listed, left_out


def sqlite_field(
    name: str, declared: str, nullable: bool, ours: pa.DataType | None, carrier: Carrier
) -> Field:
    """Return how a column of SQLite is carried: as declared in CREATE TABLE, or as a `Problem`
    asked for.

    ``ours`` is the width that imlib gives an integer on MySQL; SQLite's INTEGER says none.
    """
    dtype = next(dtype for pattern, dtype in _DECLARED if re.search(pattern, declared.upper()))
    if dtype == pa.int64() and ours is not None and not carrier:
        dtype = ours
    return Field(name, TEXT if carrier == Carrier.LITERAL else dtype, nullable, carrier)


def sqlite_arrays(
    fields: Sequence[Field], rows: Sequence[tuple[Any, ...]], problems: dict[str, Problem]
) -> list[pa.Array]:
    """Decode a batch of rows; what can't be carried goes into ``problems``, its values as NULL."""
    columns = zip(fields, zip(*rows, strict=True), strict=True)
    return [_sqlite_array(field, values, problems) for field, values in columns]


def _sqlite_array(field: Field, values: tuple[Any, ...], problems: dict[str, Problem]) -> pa.Array:
    if field.carrier == Carrier.LITERAL:
        return pa.array([None if value is None else repr(value) for value in values], TEXT)
    kinds = set(map(type, values)) - {type(None)}
    is_integer = pa.types.is_integer(field.dtype)
    expected = (
        {float, int}
        if pa.types.is_floating(field.dtype)
        else {bytes}
        if field.dtype == BYTES
        else {str}
    )
    try:
        if odd := kinds - ({int} if is_integer else expected):
            raise TypeError(f"holds {' and '.join(sorted(kind.__name__ for kind in odd))}")
        if not pa.types.is_timestamp(field.dtype):
            return pa.array(values, field.dtype)
        text = pa.array(values, TEXT)
        never = pc.match_substring_regex(text, _ZERO_DATE)
        moments = pc.if_else(never, None, text).cast(NAIVE).cast(field.dtype)
        if field.nullable and pc.any(never).as_py():
            problems.setdefault(field.name, ZERO_DATE)
        return moments
    except TypeError as odd_types:
        problem = Problem(
            f"{odd_types}, and is declared otherwise: carried as Python literals", Carrier.LITERAL
        )
    except UnicodeEncodeError:
        problem = Problem(
            "holds text that is no UTF-8: carried as Python literals", Carrier.LITERAL
        )
    except pa.ArrowInvalid:
        # Arrow's own words would show the value.
        problem = Problem(
            f"holds what no {field.dtype} can: carried as Python literals", Carrier.LITERAL
        )
        if is_integer and field.dtype != pa.int64():
            problem = Problem(
                f"holds numbers beyond {field.dtype}: carried as int64", Carrier.INT64
            )
    problems[field.name] = problem
    return pa.nulls(len(values), field.dtype)


class SQLiteSource:
    """A SQLite file, read through one connection that nobody else uses."""

    decode = staticmethod(sqlite_arrays)
    most = 10_000_000
    """How many values a statement can hold."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def skew(self) -> float:
        """Return 0: SQLite's clock is this machine's."""
        return 0.0

    def begin(self) -> Listing:
        """List the tables inside the transaction, which begins with it."""
        driver: Any = self.connection.connection.dbapi_connection
        # Bytes that are no UTF-8 arrive as lone surrogates, which Arrow refuses: noticed, and not
        # raised in the middle.
        driver.text_factory = methodcaller("decode", "utf-8", "surrogateescape")
        return sqlite_tables(self.connection)

    @contextmanager
    def locks(self) -> Iterator[None]:
        """Do nothing: SQLite locks no table."""
        yield

    @contextmanager
    def rows(
        self, statement: sa.Select[Any], table: TableDescription, carriers: Mapping[str, Carrier]
    ) -> Iterator[tuple[list[Field], Iterator[Any]]]:
        """Give a SELECT's fields and batches; SQLAlchemy binds and quotes, and converts
        no value.
        """
        known = our_tables.get(table.name)
        ours = (
            {}
            if known is None
            else {one.name: one for one in known.c if isinstance(one.type, sa.Integer)}
        )
        fields = []
        for name, carrier in carriers.items():
            width = (
                pa.from_numpy_dtype(f"i{bits(ours[name]) // 8}") if name in ours else None
            )  # as MySQL has it
            fields.append(
                sqlite_field(name, table.columns[name], name not in table.required, width, carrier)
            )
        with self.connection.execute(statement) as result:
            cursor: Any = result.cursor
            yield fields, iter(lambda: cursor.fetchmany(_BATCH_ROWS), [])

    @staticmethod
    def select(
        table: TableDescription, carriers: Mapping[str, Carrier]
    ) -> list[sa.ColumnElement[Any]]:
        """Return a table's columns as they are: what can't be carried is told apart once read."""
        return [table.clause.c[name] for name in carriers]

    @staticmethod
    def ended(code: int | None, text: str) -> bool:
        """Return whether an error ends the reading, and not that of one table alone."""
        # Its words and no others': a column in a where-clause may be called locked.
        return re.match(r"database( table| schema)? is locked|disk I/O error", text) is not None
