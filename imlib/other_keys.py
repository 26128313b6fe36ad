"""Whose keys Redis holds where none is of presence, so that an empty answer has its reason."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from imlib.errors import AccessDeniedError
from imlib.schema import SEQUENCE_KEY_PREFIX
from imlib.servers.redis_pipeline import check_refusals, round_trip
from imlib.session_status import KEY_PREFIX

if TYPE_CHECKING:
    from redis import Redis

_KEYS = 10_000
_PAGE = 1000
_PAGES = 100
_KINDS = 10
_WRITERS = {"user_online_keys#": "teamgram", "ONLINE:": "OpenIM"}
"""The presence keys of telegramd's heirs, by how they begin."""
_KNOWN = {
    start: f"{start}* (the presence of {writer}, which imlib cannot read)"
    for start, writer in _WRITERS.items()
}


def other_keys(client: Redis) -> dict[str, int]:
    """Return which kinds of keys a look at 10,000 keys meets, and how many; sequences are ours.

    There is none where a presence key is met, and none where the user may not ask. A kind is a
    key's first word and what separates it; ids, phones and addresses are not shown. There are at
    most ten; ``*`` is all the rest.
    """
    kinds: Counter[str] = Counter()
    cursor: bytes | int = 0
    seen: set[bytes] = set()
    for _ in range(_PAGES):
        (reply,) = replies = round_trip(client, [("SCAN", cursor, "COUNT", _PAGE)])
        try:
            check_refusals(client, replies)
        except AccessDeniedError:
            return {}
        cursor, keys = reply
        seen.update(keys)
        if int(cursor) == 0 or len(seen) >= _KEYS:
            break
    for key in seen:
        text = key.decode("ascii", "replace")
        if text.startswith(KEY_PREFIX):
            return {}
        if not text.startswith(SEQUENCE_KEY_PREFIX):
            kinds[_kind(text)] += 1
    known = _KNOWN.values()
    ordered = sorted(kinds.items(), key=lambda one: (one[0] not in known, -one[1], one[0]))
    if len(ordered) <= _KINDS:
        return dict(ordered)
    # Among so many, a word that comes once may be a name.
    told = [one for one in ordered if one[0] in known or (one[1] > 1 and one[0] != "*")]
    kept = dict(told[: _KINDS - 1])
    return kept | {"*": kinds.total() - sum(kept.values())}


def in_words(kinds: dict[str, int]) -> str:
    """Return what `other_keys` has found as a sentence; "" where it found nothing."""
    if not kinds:
        return ""
    each = ", ".join(f"{kind}: {number}" for kind, number in kinds.items())
    return f"none of the keys looked at ({_KEYS} at most) begins with {KEY_PREFIX}. Others: {each}"


def _kind(key: str) -> str:
    for start, known in _KNOWN.items():
        if key.startswith(start):
            return known
    word = re.match(r"([A-Za-z]{1,32}(?![A-Za-z]))([:_#|/.-]?)", key)
    # What is before an @ may be somebody's name.
    return f"{word[0]}*" if word and "@" not in re.split("[:#|/]", key)[0] else "*"
