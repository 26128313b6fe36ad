"""Message bodies as ``messages.message_data`` holds them: JSON that fits every character set."""

from __future__ import annotations

import json
from collections.abc import Sequence

from imlib.errors import InvalidValueError, shortened


def encode_body(body: object) -> str:
    r"""Return a body as it is stored: JSON with non-ASCII escaped, which fits every character set.

    Examples
    --------
    >>> print(encode_body({"message": "\N{GRINNING FACE}"}))
    {"message":"\ud83d\ude00"}
    """
    try:
        return json.dumps(body, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidValueError(
            f"message body is no JSON: {shortened(str(problem))}; allowed are dict, list, str, "
            "finite numbers, bool and None"
        ) from problem


def decode_body(raw: bytes) -> tuple[object, str | None]:
    """Return a stored body decoded and None, or if it is no JSON, the raw bytes and the reason.

    Examples
    --------
    >>> decode_body(b'{"message":"hi"}')
    ({'message': 'hi'}, None)
    >>> decode_body(b"hi")
    (b'hi', 'no JSON: Expecting value: line 1 column 1 (char 0)')
    """
    try:
        return json.loads(raw.decode("utf-8")), None
    except (ValueError, RecursionError) as problem:
        return raw, f"no JSON: {shortened(str(problem))[1:-1]}"


def not_json(bodies: Sequence[object]) -> list[int]:
    """Return the places of stored bodies, text or bytes, that are no JSON; None is not judged."""
    found = []
    for at, stored in enumerate(bodies):
        raw = stored if isinstance(stored, bytes) else str(stored).encode()
        if stored is not None and decode_body(raw)[1] is not None:
            found.append(at)
    return found


def is_same_body(stored: bytes, other: str) -> bool:
    """Return whether two bodies say the same once decoded, however they are written.

    Examples
    --------
    >>> is_same_body(b'{ "message": "hi" }', '{"message":"hi"}')
    True
    """
    body, problem = decode_body(stored)
    # As text: to Python, 1 equals True.
    one, two = (json.dumps(each, sort_keys=True, default=str) for each in (body, json.loads(other)))
    return problem is None and one == two
