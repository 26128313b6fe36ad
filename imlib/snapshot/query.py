"""SQL over a snapshot's frames: one SELECT, in DuckDB, which can reach only the frames."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from imlib.errors import ImlibError, InvalidValueError, UnavailableError
from imlib.snapshot.description import NUMBERS, held_by_arrow
from imlib.snapshot.statement import Statement

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


def _half_of_memory() -> int:
    """Return half of the machine's memory, or of what its container may use."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        # Without a limit the file is not there, or holds a word.
        with contextlib.suppress(OSError, ValueError):
            most = min(most, int(Path("/sys/fs/cgroup", file).read_text(encoding="ascii")))
    return most // 2


LIMIT_BYTES = _half_of_memory()
"""The memory that a query may take while it runs, and that its result may take."""
_GRACE_S = 2.0
"""How long an interrupted query is waited for. One long step of DuckDB's cannot be interrupted."""
_STEP_S = 0.05

# In this order: the last line makes the others final.
_LOCKS = (
    # The hour of an instant is the same on every machine.
    "SET TimeZone = 'UTC'",
    # Nothing is written to disk. Without external access it could not be set any more.
    "SET temp_directory = ''",
    # A function's name alone would fetch its extension.
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",  # no file, no network
    "SET enable_progress_bar = false",
    # A caller's variable is not taken for a table.
    "SET python_enable_replacements = false",
    "SET memory_limit = '{limit}B'",
    "SET lock_configuration = true",
)
_DAY_US = 86_400_000_000
_NULLABLE = {
    **{arrow: dtype for arrow, dtype in NUMBERS.items() if pa.types.is_integer(arrow)},
    pa.bool_(): pd.BooleanDtype(),
}


def select(
    frames: Mapping[str, pd.DataFrame],
    query: str,
    parameters: Sequence[Any] | None,
    *,
    masked: Mapping[str, Collection[str]],
    timeout: float | None,
) -> pd.DataFrame:
    """Run one SELECT over frames, by their names; see `imlib.Snapshot.sql`.

    A DECIMAL of more than 38 digits is text in the query, because DuckDB has none.

    Parameters
    ----------
    frames : mapping of str to DataFrame
    query : str
    parameters : sequence or None
    masked : mapping of str to collection of str
        The masked columns of each frame.
    timeout : float or None
        Seconds.

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
        The query is not one SELECT, DuckDB refuses it (the message is DuckDB's), it asks a masked
        column for a value, or it needs too much memory.
    UnavailableError
        The time is over.
    """
    import duckdb

    if not isinstance(query, str):
        raise InvalidValueError(
            f"sql() runs one SELECT, given as text; this is {type(query).__name__}"
        )
    if not (timeout := math.inf if timeout is None else timeout) > 0:
        raise InvalidValueError(f"timeout is {timeout!r}: allowed are seconds, more than 0")
    connection = duckdb.connect(":memory:")
    running: Future[pd.DataFrame] = Future()

    def run() -> None:
        try:
            statement = Statement(connection, query)
            given = [one for one in parameters or () if one is not None]
            statement.refuse_masked(masked, given)
            _hold(connection, {name: frames[name] for name in statement.named(frames)})
            running.set_result(_frame(_answer(connection.sql(query, params=parameters))))
        except BaseException as problem:
            running.set_exception(problem)

    # In a thread: a query that DuckDB runs in the main one holds up Ctrl-C.
    threading.Thread(target=run, name="imlib sql", daemon=True).start()
    try:
        return _wait(running, connection, timeout)
    except ImlibError:
        raise
    except duckdb.OutOfMemoryException as problem:
        raise _too_large("what the query needs") from problem
    # ValueError: a date beyond Python's years.
    except (duckdb.Error, pa.ArrowException, ValueError) as problem:
        said = " ".join(str(problem).split()).rstrip(".")
        raise InvalidValueError(f"{said}. Tables are: {', '.join(frames)}") from problem


def relations(frames: Mapping[str, pd.DataFrame]) -> DuckDBPyConnection:
    """Return a connection of DuckDB's that reaches these frames alone, each as ``frame_{name}``."""
    import duckdb

    connection = duckdb.connect(":memory:")
    _hold(connection, {f"frame_{name}": frame for name, frame in frames.items()})
    return connection


def _hold(connection: DuckDBPyConnection, frames: Mapping[str, pd.DataFrame]) -> None:
    for name, frame in frames.items():
        connection.register(name, _table(frame))
    for line in _LOCKS:
        connection.execute(line.format(limit=LIMIT_BYTES))


def _wait(
    running: Future[pd.DataFrame], connection: DuckDBPyConnection, timeout: float
) -> pd.DataFrame:
    """Wait for a result; interrupt the query if the time is over, or at Ctrl-C."""
    ends = time.monotonic() + timeout
    try:
        # In steps: a signal may come just before a wait, which it would not wake then.
        while not running.done():
            if time.monotonic() > ends:
                advice = "ask for less at once, or give it more time"
                raise UnavailableError(f"the query took more than {timeout:g} s: {advice}")
            wait([running], _STEP_S)
        return running.result()
    finally:
        ends = time.monotonic() + _GRACE_S
        while not running.done() and time.monotonic() < ends:
            connection.interrupt()
            wait([running], _STEP_S)


def _table(frame: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    schema = table.schema
    for at, one in enumerate(schema):
        if pa.types.is_decimal256(one.type):
            schema = schema.set(at, one.with_type(pa.string()))
    return table.cast(schema)


def _frame(found: pa.Table) -> pd.DataFrame:
    # By number: Arrow would mix up two columns of one name.
    numbered = found.rename_columns([*map(str, range(found.num_columns))])
    frame: pd.DataFrame = numbered.to_pandas(types_mapper=_dtype)
    frame.columns = found.column_names
    for at, column in enumerate(found.columns):
        if pa.types.is_interval(column.type) and (spans := _spans(column)) is not None:
            frame.isetitem(at, spans.array)
        elif pa.types.is_nested(column.type):
            # pandas would make floats of the integers in a list that holds NULL too.
            frame.isetitem(at, pd.Series(column.to_pylist(), dtype=object).array)
    return frame


def _answer(relation: DuckDBPyRelation) -> pa.Table:
    """Return all rows up to a size that fits; DuckDB's own limit doesn't count them."""
    # Arrow would carry half of these numbers as negative ones.
    if "UHUGEINT" in str(relation.types):
        raise InvalidValueError("no frame holds a UHUGEINT exactly: cast it to VARCHAR")
    batches = relation.to_arrow_reader()
    kept: list[pa.RecordBatch] = []
    left = LIMIT_BYTES
    for batch in batches:
        kept.append(batch)
        left -= batch.nbytes
        if left < 0:
            raise _too_large("the result")
    return pa.Table.from_batches(kept, batches.schema)


def _too_large(what: str) -> InvalidValueError:
    limit = f"{LIMIT_BYTES:,} bytes of memory, half of what this machine has"
    return InvalidValueError(
        f"{what} is larger than {limit}: filter, count or group in the query, or add a LIMIT"
    )


def _spans(column: pa.ChunkedArray) -> Any:
    """Return intervals as a series of spans; None if one has months, which differ in length."""
    spans = column.to_pylist()
    if any(span is not None and span.months for span in spans):
        return None
    micros = [
        None if span is None else span.days * _DAY_US + span.nanoseconds // 1000 for span in spans
    ]
    return pa.array(micros, pa.duration("us")).to_pandas()


def _dtype(arrow: pa.DataType) -> Any:
    """Return the pandas dtype that carries all values of an Arrow type; None: pandas' own does."""
    if pa.types.is_nested(arrow) or pa.types.is_binary(arrow):
        return pd.ArrowDtype(arrow)
    return held_by_arrow(arrow) or _NULLABLE.get(arrow)
