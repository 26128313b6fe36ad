"""Dates and instants that a database gives as text."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from imlib.snapshot.description import INSTANT, NAIVE, ZERO_DATE, Field, Problem

_ZERO_DATE = r"^0000-00-00([ T]00:00:00(\.0*)?)?$"
_OFFSET = r"(\d:\d\d(?::\d\d(?:\.\d+)?)?) *([+-]\d\d(?::?\d\d)?|Z)$"


def moments(text: pa.Array, field: Field, problems: dict[str, Problem]) -> pa.Array:
    """Return dates and times as timestamps: in UTC where they have an offset, NaT for zero dates.

    Raises
    ------
    pyarrow.ArrowInvalid
        One is no date and time.
    """
    never = pc.match_substring_regex(text, _ZERO_DATE)
    if field.nullable and pc.any(never).as_py():
        problems.setdefault(field.name, ZERO_DATE)
    text = pc.if_else(never, None, text)
    has_offset = pc.match_substring_regex(text, _OFFSET)
    plain = pc.if_else(has_offset, None, text).cast(NAIVE)
    if pc.any(has_offset).as_py():
        close = pc.replace_substring_regex(text, _OFFSET, r"\1\2")
        plain = pc.coalesce(plain, pc.if_else(has_offset, close, None).cast(INSTANT).cast(NAIVE))
    return plain.cast(field.dtype)
