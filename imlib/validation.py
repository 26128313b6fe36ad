"""Arguments that must fit an integer column, checked before a server sees them."""

from __future__ import annotations

from collections.abc import Iterable

from imlib.errors import CodecError, InvalidValueError, shortened
from imlib.session_status import WIDTHS, check_width


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


def distinct_users(user_ids: Iterable[int]) -> list[int]:
    """Return user ids as plain ints, each once, in order; raise `InvalidValueError` if no int32."""
    given = list(user_ids)
    low, high = WIDTHS["user_id"]
    if (
        set(map(type, given)) <= {int}
        and low <= min(given, default=low) <= max(given, default=high) <= high
    ):
        # The usual case costs a tenth of what follows.
        return list(dict.fromkeys(given))
    try:
        return list(dict.fromkeys(check_width("user_id", user_id) for user_id in given))
    except CodecError as problem:
        raise InvalidValueError(f"{shortened(problem.value)}: {problem.reason}") from None
