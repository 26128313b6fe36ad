"""Which sessions count, of those that a batch of presence keys holds: the reader's side of the lease."""

from __future__ import annotations

from itertools import chain, repeat

from imlib.errors import CodecError
from imlib.lease import horizon
from imlib.presence import Batch
from imlib.session_status import SessionStatus

__all__ = ["online_in"]


def online_in(batch: Batch) -> list[list[SessionStatus]]:
    """Return for each key of a batch the sessions that count, one a client instance, by auth key and session.

    Where a session is written in both layouts the later report counts, at a tie the documented one.
    """
    found = _online_one_by_one(batch)
    sessions = []
    last = 0
    for size in batch.sizes:
        first, last = last, last + size
        of_user = [one for one in found[first:last] if one is not None]
        if len(of_user) > 1:
            of_user = _one_a_session(found[first:last], batch.fields[first:last])
        sessions.append(of_user)
    return sessions


_Found = list[SessionStatus | None]
"""For each entry of a batch its session, if it is one and counts."""


def _online_one_by_one(batch: Batch) -> _Found:
    oldest = horizon(batch.clock)
    owners = chain.from_iterable(map(repeat, batch.user_ids, batch.sizes))
    found: _Found = []
    for field, value, user_id in zip(batch.fields, batch.values, owners, strict=True):
        try:
            status = SessionStatus.from_key_value(field, value, user_id=user_id)
            found.append(status if status.now > oldest else None)
        except CodecError:
            found.append(None)  # `malformed_in` lists it
    return found


def _one_a_session(found: _Found, fields: list[bytes]) -> list[SessionStatus]:
    best: dict[tuple[int, int], tuple[int, bool, SessionStatus]] = {}
    for status, field in zip(found, fields, strict=True):
        if status is None:
            continue
        name = (status.auth_key_id, status.session_id)
        report = (status.now, b"@" not in field)
        if name not in best or report > best[name][:2]:
            best[name] = (*report, status)
    return [best[name][2] for name in sorted(best)]
