"""SQL over a snapshot's frames: one SELECT, in DuckDB, which can reach only the frames."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import pyarrow as pa

from imlib.errors import InvalidValueError
from imlib.snapshot.description import NUMBERS, held_by_arrow

LIMIT_BYTES: Final = 4 << 30
"""The memory that a query may take while it runs, and that its result may take."""

# In this order: the last line makes the others final.
_LOCKS: Final = (
    # The hour of an instant is the same on every machine.
    "SET TimeZone = 'UTC'",
    # Nothing is written to disk. Without external access it could not be set any more.
    "SET temp_directory = ''",
    # A function's name alone would fetch its extension.
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",  # no file, no network
    # A caller's variable is not taken for a table.
    "SET python_enable_replacements = false",
    "SET memory_limit = '{limit}B'",
    "SET lock_configuration = true",
)
_DAY_US: Final = 86_400_000_000
_NULLABLE: Final = {
    **{arrow: dtype for arrow, dtype in NUMBERS.items() if pa.types.is_integer(arrow)},
    pa.bool_(): pd.BooleanDtype(),
}


def select(
    frames: dict[str, pd.DataFrame], query: str, parameters: list[Any] | None = None
) -> pd.DataFrame:
    """Run one SELECT over frames, by their names; see `imlib.Snapshot.sql`.

    A DECIMAL of more than 38 digits is text in the query, because DuckDB has none.

    Returns
    -------
    DataFrame
        Integers keep their width, with NULL too (as pandas' nullable dtypes); decimals and sums of
        integers keep every digit (as Arrow's decimals). So do numbers in lists and structs, which
        are Python's own. Instants are in UTC. An interval without months, such as a TIME, is
        timedelta64[us].

    Raises
    ------
    InvalidValueError
        The query is not one SELECT, DuckDB refuses it (the message is DuckDB's), or its result is
        too large.
    """
    import duckdb

    if not isinstance(query, str):
        raise InvalidValueError(
            f"sql() runs one SELECT, given as text; this is {type(query).__name__}"
        )
    with duckdb.connect(":memory:") as connection:
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                kinds = ", ".join(one.type.name for one in statements) or "nothing"
                raise InvalidValueError(f"sql() runs one SELECT and nothing else; this is {kinds}")
            for name, frame in frames.items():
                connection.register(name, _table(frame))
            for line in _LOCKS:
                connection.execute(line.format(limit=LIMIT_BYTES))
            relation = connection.sql(query, params=parameters)
            # Arrow would carry half of these numbers as negative ones.
            if "UHUGEINT" in str(relation.types):
                raise InvalidValueError("no frame holds a UHUGEINT exactly: cast it to VARCHAR")
            return _frame(_bounded(relation.to_arrow_reader()))
        except InvalidValueError:
            raise
        # ValueError: a date beyond Python's years.
        except (duckdb.Error, pa.ArrowException, ValueError) as problem:
            said = " ".join(str(problem).split()).rstrip(".")
            raise InvalidValueError(f"{said}. Tables are: {', '.join(frames)}") from problem


def _table(frame: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    schema = table.schema
    for at, one in enumerate(schema):
        if pa.types.is_decimal256(one.type):
            schema = schema.set(at, one.with_type(pa.string()))
    return table.cast(schema)


def _frame(found: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = found.to_pandas(types_mapper=_dtype)
    for at, column in enumerate(found.columns):
        if pa.types.is_interval(column.type) and (spans := _spans(column)) is not None:
            frame.isetitem(at, spans.array)
        elif pa.types.is_nested(column.type):
            # pandas would make floats of the integers in a list that holds NULL too.
            frame.isetitem(at, pd.Series(column.to_pylist(), dtype=object).array)
    return frame


def _bounded(batches: pa.RecordBatchReader) -> pa.Table:
    """Return all batches as a table up to a size that fits; DuckDB's limit doesn't count them."""
    kept: list[pa.RecordBatch] = []
    left = LIMIT_BYTES
    for batch in batches:
        kept.append(batch)
        left -= batch.nbytes
        if left < 0:
            advice = "count or group in the query, or add a LIMIT"
            raise InvalidValueError(f"the result is larger than {LIMIT_BYTES:,} bytes: {advice}")
    return pa.Table.from_batches(kept, batches.schema)


def _spans(column: pa.ChunkedArray) -> pd.Series[Any] | None:
    """Return intervals as spans of time; None if one has months, which differ in length."""
    spans = column.to_pylist()
    if any(span is not None and span.months for span in spans):
        return None
    micros = [
        None if span is None else span.days * _DAY_US + span.nanoseconds // 1000 for span in spans
    ]
    found: pd.Series[Any] = pa.array(micros, pa.duration("us")).to_pandas()
    return found


def _dtype(arrow: pa.DataType) -> Any:
    """Return the pandas dtype that carries all values of an Arrow type; None: pandas' own does."""
    if pa.types.is_nested(arrow) or pa.types.is_binary(arrow):
        return pd.ArrowDtype(arrow)
    return held_by_arrow(arrow) or _NULLABLE.get(arrow)
