"""SQL over a snapshot's frames: one SELECT, in DuckDB, which reaches nothing but the frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from imlib.errors import InvalidValueError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["select"]

# In this order: the last line makes the others final.
_LOCKS = (
    "SET temp_directory = ''",  # nothing spilt to disk; while that may still be said
    "SET enable_external_access = false",  # no file, no network, no extension
    "SET python_enable_replacements = false",  # no variable of the caller's taken for a table
    "SET lock_configuration = true",
)


def select(frames: dict[str, pd.DataFrame], query: str, parameters: list[Any] | None = None) -> pd.DataFrame:
    """Run one SELECT over frames.

    Parameters
    ----------
    frames : dict of str to DataFrame
        The tables that the query may name.
    query : str
        One statement, a SELECT in DuckDB's dialect.
    parameters : list, optional
        Values for ``?`` in the query.

    Returns
    -------
    DataFrame
        Integers keep their width, with NULL too (as pandas' nullable dtypes).

    Raises
    ------
    InvalidValueError
        The query is not one SELECT, or DuckDB refuses it; the message is DuckDB's.
    """
    import duckdb

    with duckdb.connect(":memory:") as connection:
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                kinds = ", ".join(one.type.name for one in statements) or "nothing"
                raise InvalidValueError(f"sql() runs one SELECT and nothing else; this is {kinds}")
            for name, frame in frames.items():
                connection.register(name, pa.Table.from_pandas(frame, preserve_index=False))
            _lock(connection)
            found: pa.Table = connection.sql(query, params=parameters).to_arrow_table()
        except duckdb.Error as problem:
            said = " ".join(str(problem).split())
            raise InvalidValueError(f"{said}. Tables are: {', '.join(frames)}") from problem
    result: pd.DataFrame = found.to_pandas(types_mapper=_NULLABLE.get)
    return result


def _lock(connection: DuckDBPyConnection) -> None:
    for line in _LOCKS:
        connection.execute(line)


_NULLABLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
