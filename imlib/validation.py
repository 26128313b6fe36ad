"""Arguments that must fit an integer column, checked before a server sees them."""

from __future__ import annotations

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
