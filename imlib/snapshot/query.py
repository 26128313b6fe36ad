"""SQL over a snapshot's frames: one SELECT, in DuckDB, which reaches nothing but the frames."""

from __future__ import annotations

from typing import Any, Final

import pandas as pd
import pyarrow as pa

from imlib.errors import InvalidValueError
from imlib.snapshot.description import NUMBERS

LIMIT_BYTES: Final = 4 << 30
"""What a query may take while it runs, and its result once more."""

# In this order: the last line makes the others final.
_LOCKS: Final = (
    "SET TimeZone = 'UTC'",  # the hour of an instant is the same on every machine
    "SET temp_directory = ''",  # nothing spilt to disk; while that may still be said
    "SET autoinstall_known_extensions = false",  # a function's name alone would fetch its extension
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",  # no file, no network
    "SET python_enable_replacements = false",  # no variable of the caller's taken for a table
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

    A DECIMAL of more than 38 digits is text in the query, for DuckDB has none.

    Returns
    -------
    DataFrame
        Integers keep their width, with NULL too (as pandas' nullable dtypes); decimals and sums of
        integers keep every digit (as Arrow's decimals), and so do numbers within lists and structs,
        which come as Python's own. Instants are in UTC. An interval without months, as a TIME is,
        comes as timedelta64[us].

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
            if any(
                "UHUGEINT" in str(one) for one in relation.types
            ):  # Arrow would carry half of them as negative
                raise InvalidValueError("no frame holds a UHUGEINT exactly: cast it to VARCHAR")
            found = _bounded(relation.to_arrow_reader())
            result: pd.DataFrame = found.to_pandas(types_mapper=_dtype)
            for at, column in enumerate(found.columns):
                if pa.types.is_interval(column.type) and (spans := _spans(column)) is not None:
                    result.isetitem(at, spans.array)
                elif pa.types.is_nested(
                    column.type
                ):  # pandas would make floats of integers beside NULL in a list
                    result.isetitem(at, pd.Series(column.to_pylist(), dtype=object).array)
        except InvalidValueError:
            raise
        except (
            duckdb.Error,
            pa.ArrowException,
            ValueError,
        ) as problem:  # ValueError: a date beyond Python's years
            said = " ".join(str(problem).split()).rstrip(".")
            raise InvalidValueError(f"{said}. Tables are: {', '.join(frames)}") from problem
    return result


def _table(frame: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    wide = [
        one.with_type(pa.string()) if pa.types.is_decimal256(one.type) else one
        for one in table.schema
    ]
    return table.cast(pa.schema(wide))


def _bounded(batches: pa.RecordBatchReader) -> pa.Table:
    """Return all batches as a table, unless they grow beyond what fits: DuckDB's own limit knows
    nothing of them.
    """
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
    """Return intervals as spans of time; None where one has months, which are of no one length."""
    spans = column.to_pylist()
    if any(span is not None and span.months for span in spans):
        return None
    micros = [
        None if span is None else span.days * _DAY_US + span.nanoseconds // 1000 for span in spans
    ]
    found: pd.Series[Any] = pa.array(micros, pa.duration("us")).to_pandas()
    return found


def _dtype(arrow: pa.DataType) -> Any:
    """Return the pandas dtype that carries every value of an Arrow type, or None where pandas' own
    choice does.
    """
    exact = pa.types.is_decimal(arrow) or pa.types.is_nested(arrow)
    if exact or pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow):
        return pd.ArrowDtype(arrow)
    return _NULLABLE.get(arrow)
