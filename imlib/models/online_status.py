"""The presence model: who is online, as leases in Redis.

Every write is one round trip, a session's and its key's time to live are written by one atomic
command, and reading any number of users is one round trip too. Looking never changes anything: what
cannot be read stays where it is, and `OnlineStatusModel.malformed` lists it.

Source: the design notes of the specification; `GetOnlineStatusModel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT
from imlib.errors import InvalidValueError, WrongTypeError, shortened
from imlib.lease import Clock, Lease
from imlib.presence import (
    BATCH_KEYS,
    Batch,
    Malformed,
    malformed_in,
    online_in,
    read_users,
    scan_batches,
)
from imlib.servers.redis_pipeline import round_trip, server_address, translated_error
from imlib.session_status import Layout, SessionStatus
from imlib.validation import distinct_users

if TYPE_CHECKING:
    from imlib.context import Context


@dataclass(frozen=True, slots=True)
class OnlineCount:
    """How many are online.

    Parameters
    ----------
    users : int
        Users with at least one session that counts.
    sessions : int
        Sessions that count.
    """

    users: int
    sessions: int


class OnlineStatusModel:
    """Presence leases of all users; reached as ``deployment.online_status``.

    Parameters
    ----------
    context : Context

    Notes
    -----
    A session counts while ``clock - 17 < now``, on both leases. Times are read by Redis's own
    clock, taken in the same round trip, unless the deployment or the call names another. On the
    field lease Redis forgets a session by its own clock as well, 17 s after the write: where the
    clocks disagree its answer is a subset of the key lease's.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._script = _script(context.lease, context.server.field_lease)

    def set_online(self, status: SessionStatus) -> None:
        """Lease a session, or extend its lease: write it and give its user's key 15 s, in one
        atomic command.

        Raises
        ------
        WrongTypeError
            The user's key holds something else than a hash; nothing was written.
        ReadOnlyError, UnavailableError, AccessDeniedError
        """
        self.renew([status])

    def renew(self, statuses: Iterable[SessionStatus]) -> None:
        """Lease many sessions, of any users, in one round trip; of two reports of one session the
        last wins.

        Parameters
        ----------
        statuses : iterable of SessionStatus

        Raises
        ------
        WrongTypeError
            Some users' keys hold something else than a hash. They are named; all others were
            renewed.
        ReadOnlyError, UnavailableError, AccessDeniedError
        """
        self._context.check_writable("set_online")
        every = list(statuses)
        for given in cast(
            "list[object]", every
        ):  # who does not check types gets a sentence, before anything is sent
            if not isinstance(given, SessionStatus):
                raise InvalidValueError(
                    f"{shortened(given)} is no SessionStatus: nothing was written"
                )
        commands = (
            self._renewal(every[at : at + _SCRIPT_SESSIONS])
            for at in range(0, len(every), _SCRIPT_SESSIONS)
        )
        refusals: list[bytes] = []
        for reply in round_trip(self._context.redis, commands) if every else ():
            self._raise_refusal(reply)
            refusals += reply
        if refusals:
            keys, reasons = refusals[::2], refusals[1::2]
            shown = ", ".join(key.decode() for key in keys[:5]) + (", …" if len(keys) > 5 else "")
            raise WrongTypeError(
                f"{shown}: not written, {reasons[0].decode(errors='replace')}. Every other "
                "session was. "
                "See what the key holds with deployment.redis.type(key); imlib deletes nothing it "
                "did not write.",
                keys=tuple(key.decode() for key in keys),
            )

    def set_offline(self, status: SessionStatus) -> None:
        """Remove a session, in whichever layout it was written; its user's key goes with the last
        one.

        No time to live is extended. A session that is not there is no error.

        Raises
        ------
        WrongTypeError
            The user's key holds something else than a hash.
        ReadOnlyError, UnavailableError, AccessDeniedError
        """
        self._context.check_writable("set_offline")
        fields = [status.to_field(layout) for layout in Layout]
        (reply,) = round_trip(self._context.redis, [("HDEL", status.to_key(), *fields)])
        self._raise_refusal(reply)

    def get_online_by_user_id(
        self, user_id: int, *, clock: Clock | None = None
    ) -> list[SessionStatus]:
        """Return the sessions by which a user is online now; none means offline.

        Parameters
        ----------
        user_id : int
            int32.
        clock : callable, optional
            The reader's clock, in Unix seconds, instead of Redis's own.

        Returns
        -------
        list of SessionStatus
            Ordered by auth_key_id, then session_id. Malformed entries are not in it (see
            `malformed`).
        """
        return self.get_online_by_user_id_list([user_id], clock=clock)[int(user_id)]

    def get_online_by_user_id_list(
        self, user_ids: Iterable[int], *, clock: Clock | None = None
    ) -> dict[int, list[SessionStatus]]:
        """Return the sessions by which many users are online now, in one round trip.

        Parameters
        ----------
        user_ids : iterable of int
            int32 each.
        clock : callable, optional
            The reader's clock, in Unix seconds, instead of Redis's own.

        Returns
        -------
        dict of int to list of SessionStatus
            Every id that was asked for has its entry, an empty list if that user is offline; in the
            order asked.
        """
        ids = distinct_users(user_ids)
        if not ids:
            self._context.check_open()
            return {}
        batch = read_users(self._context.redis, ids, clock or self._context.reader_clock)
        return dict(zip(ids, online_in(batch), strict=True))

    def iter_online(
        self, *, clock: Clock | None = None, batch: int = BATCH_KEYS
    ) -> Iterator[tuple[int, list[SessionStatus]]]:
        """Walk through all users who are online, holding about ``batch`` of them in memory at a
        time.

        A walk takes time while presence changes: a user may be met twice, and one who comes or goes
        meanwhile may be met or not (SCAN promises no more).

        Yields
        ------
        user_id : int
        sessions : list of SessionStatus
            As `get_online_by_user_id` gives them, never empty.
        """
        if batch < 1:
            raise InvalidValueError(f"batch is {batch}: it must be at least 1 key")
        for read in scan_batches(
            self._context.redis, clock or self._context.reader_clock, size=batch
        ):
            for user_id, sessions in zip(read.user_ids, online_in(read), strict=True):
                if sessions:
                    yield user_id, sessions

    def count_online(self, *, clock: Clock | None = None) -> OnlineCount:
        """Count who is online, each user once; it walks through all keys, as `iter_online` does."""
        sessions_by_user = {
            user_id: len(sessions) for user_id, sessions in self.iter_online(clock=clock)
        }
        return OnlineCount(len(sessions_by_user), sum(sessions_by_user.values()))

    def malformed(self, user_ids: Iterable[int] | None = None) -> list[Malformed]:
        """List what reads skip: entries that are no session, keys that are no hash or name no user.

        Parameters
        ----------
        user_ids : iterable of int, optional
            Whose keys to look at; by default all ``online_`` keys.

        Returns
        -------
        list of Malformed
            Ordered by key and field.
        """
        client = self._context.redis
        if user_ids is None:
            batches: Iterable[Batch] = scan_batches(client, None)
        else:
            batches = [read_users(client, distinct_users(user_ids), None)]
        # A set, because a scan may meet a key twice.
        found = {problem for batch in batches for problem in malformed_in(batch)}
        return sorted(found, key=lambda problem: (problem.key, problem.field or b""))

    def _renewal(self, statuses: list[SessionStatus]) -> tuple[str | int, ...]:
        layout = self._context.layout
        by_key: dict[str, list[str]] = {}
        for status in statuses:
            by_key.setdefault(status.to_key(), []).extend(
                (status.to_field(layout), status.to_value(layout))
            )
        words: list[str | int] = []
        for entries in by_key.values():
            words += (len(entries), *entries)
        # EVAL and not EVALSHA: a server that was restarted has forgotten the script, and one round
        # trip is promised.
        return (
            "EVAL",
            self._script,
            len(by_key),
            *by_key,
            int(ONLINE_TIMEOUT),
            int(CHECK_ONLINE_TIMEOUT),
            *words,
        )

    def _raise_refusal(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            raise translated_error(reply, server_address(self._context.redis)) from reply


_SCRIPT_SESSIONS = 250
"""Sessions a script, of those that are renewed in one round trip: none holds the server for as much
as 1 ms.
"""

_WRITES = {
    None: "redis.pcall('HSET', key, unpack(ARGV, first, last))",
    "HSETEX": """redis.pcall('HSETEX', key, 'EX', ARGV[2],
      'FIELDS', (last - first + 1) / 2, unpack(ARGV, first, last))""",
    "HEXPIRE": """redis.pcall('HSET', key, unpack(ARGV, first, last))
  for field = first, type(written) == 'number' and last or 0, 2 do
    redis.call('HEXPIRE', key, ARGV[2], 'FIELDS', 1, ARGV[field])
  end""",
}
_SCRIPT = """local refused, at = {}, 3
for _, key in ipairs(KEYS) do
  local first, last = at + 1, at + ARGV[at]
  local written = %s
  if type(written) == 'number' then
    redis.call('EXPIRE', key, ARGV[1])
  else
    refused[#refused + 1] = key
    refused[#refused + 1] = written.err
  end
  at = last + 1
end
return refused"""


def _script(lease: Lease, field_lease: str | None) -> str:
    """Return the script that writes entries and gives them and their keys their times to live.

    KEYS are users' keys; ARGV are the two times to live, then for each key how many words follow
    and the words: field, value, field, value. It returns the keys that could not be written, each
    with the server's reason.
    """
    return _SCRIPT % _WRITES[field_lease if lease is Lease.FIELD else None]
