"""Rows of MySQL and MariaDB as text, from a server that prepares no more statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import pandas as pd
import pyarrow as pa
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import SSCursor

from imlib.snapshot.description import BYTES, TEXT, Carrier, Field, Problem
from imlib.snapshot.moments import moments

_BATCH_ROWS = 20_000


class TextCursor(SSCursor):
    """A cursor like `BinaryCursor`, whose batches are rows of text and bytes."""

    fields: list[Any]

    def execute(self, query: str, args: object = None) -> int:
        """Execute a SELECT; no value is converted."""
        # Any: its types leave out what is inside.
        connection: Any = self.connection
        usual, connection.decoders = connection.decoders, {}
        try:
            count: int = super().execute(query, args)
        finally:
            connection.decoders = usual
        self.fields = connection._result.fields
        return count

    def batches(self) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Give all rows, some thousands at a time."""
        while rows := self.fetchmany(_BATCH_ROWS):
            yield rows


def text_arrays(
    fields: Sequence[Field], rows: Sequence[tuple[Any, ...]], problems: dict[str, Problem]
) -> list[pa.Array]:
    """Decode a batch; a column that can't be carried is noted in ``problems``, as NULLs."""
    return list(map(_text_array, fields, zip(*rows, strict=True), repeat(problems)))


def _text_array(field: Field, values: tuple[Any, ...], problems: dict[str, Problem]) -> pa.Array:
    dtype = field.dtype
    if field.mysql_type == FIELD_TYPE.BIT:
        return pa.array([None if one is None else int.from_bytes(one) for one in values], dtype)
    if dtype in (TEXT, BYTES):
        return pa.array(values, dtype)
    text = pa.array(values, TEXT)
    if pa.types.is_duration(dtype):
        return pa.array(pd.to_timedelta(pd.Series(values, dtype="object")), dtype)
    if not pa.types.is_timestamp(dtype):
        return text.cast(dtype)
    try:
        return moments(text, field, problems)
    except pa.ArrowInvalid:
        reason = "holds dates which no datetime can: carried as text"
        problems[field.name] = Problem(reason, Carrier.TEXT)
        return pa.nulls(len(values), dtype)
