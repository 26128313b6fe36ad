"""Arguments that must fit an integer column, checked before a server sees them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from imlib.errors import InvalidValueError, shortened


def check_int(what: str, value: object, bits: int = 32) -> int:
    """Return a signed integer that fits its column; raise `InvalidValueError` otherwise."""
    limit = 1 << (bits - 1)
    if (
        not isinstance(value, int)
        or (isinstance(value, bool) and bits > 8)
        or not -limit <= value < limit
    ):
        raise InvalidValueError(
            f"{what} is {shortened(value)}; allowed is an integer from {-limit} to {limit - 1}"
        )
    return int(value)


def check_limit(limit: int) -> int:
    """Return how many rows are wanted at most; raise `InvalidValueError` if negative."""
    if check_int("limit", limit) < 0:
        raise InvalidValueError(f"limit is {limit}; allowed is 0 or more")
    return limit


def check_member(what: str, value: int, allowed: Iterable[IntEnum]) -> None:
    """Raise `InvalidValueError` for a number that none of the allowed members has."""
    members = list(allowed)
    if value not in members:
        names = ", ".join(f"{member.name} ({member.value})" for member in members)
        raise InvalidValueError(f"{what} is {shortened(value)}; allowed are {names}")
