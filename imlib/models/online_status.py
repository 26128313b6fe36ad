"""The presence model: who is online, as leases in Redis.

Every write is one round trip, a session's and its key's time to live are written by one atomic
command, and reading any number of users is one round trip too. Looking never changes anything: what
cannot be read stays where it is, and `OnlineStatusModel.malformed` lists it.

Source: the design notes of the specification; `GetOnlineStatusModel`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imlib.errors import ImlibError, InvalidValueError, WrongTypeError, shortened
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
from imlib.servers.redis_pipeline import Command, round_trip, translated_error
from imlib.session_status import SessionStatus, distinct_users

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
    clocks disagree its answer is a subset of the key lease's. Here and below 15 s and 17 s are the
    specification's periods; a deployment may have others (`imlib.connect`).

    A Redis user needs EVAL, HSET and EXPIRE to report (on the field lease HSETEX for HSET, or
    HEXPIRE beside it), EVAL, HMGET and HDEL for a goodbye.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        by_field = context.lease is Lease.FIELD
        self._script = _SCRIPT % _WRITES[context.server.field_lease if by_field else None]

    def set_online(self, status: SessionStatus) -> None:
        """Lease a session, or extend its lease, in one atomic command.

        The entry is written and its user's key gets 15 s.

        The last write wins, whatever the times say: a report that comes late replaces a newer one,
        and one that was on its way while `set_offline` ran brings the session back for 15 s.

        Raises
        ------
        WrongTypeError
            The user's key holds something else than a hash; nothing was written.
        ReadOnlyError, UnavailableError, AccessDeniedError
        """
        self.renew([status])

    def renew(self, statuses: Iterable[SessionStatus]) -> None:
        """Lease many sessions, of any users, in one round trip.

        Of two reports of one session the last wins.

        Parameters
        ----------
        statuses : iterable of SessionStatus

        Raises
        ------
        WrongTypeError
            Some users' keys hold something else than a hash. They are named; all others were
            renewed.
        ReadOnlyError
        UnavailableError, AccessDeniedError
            Of a refusal, the message says which users' sessions were not written. None of them has
            left anything behind.
        """
        self._context.check_writable("set_online")
        every: list[Any] = list(statuses)
        for given in every:
            # Who does not check types gets a sentence, before anything is sent.
            if not isinstance(given, SessionStatus):
                raise InvalidValueError(
                    f"{shortened(given)} is no SessionStatus: nothing was written"
                )
        keys: list[list[str]] = []
        replies = round_trip(self._context.redis, self._renewals(every, keys)) if every else []
        refused: dict[str, Exception] = {}
        for sent, reply in zip(keys, replies, strict=True):
            if isinstance(reply, Exception):
                refused |= dict.fromkeys(sent, reply)
            else:
                refused |= {sent[at - 1]: why for at, why in reply}
        if refused:
            every_key = {key for sent in keys for key in sent}
            raise self._refusal(refused, len(every_key)) from next(iter(refused.values()))

    def set_offline(self, status: SessionStatus, *, force: bool = False) -> bool:
        """Remove a session's entries, in all layouts, and its user's key with the last of all.

        A goodbye concerns its own connection. What the session has reported on another one, by
        ``server_id`` and ``netlib_session_id``, stays, whenever it was reported. No time to live is
        extended.

        Parameters
        ----------
        status : SessionStatus
            Its ``now`` does not matter.
        force : bool
            Remove the session on whichever connection it is, and entries that cannot be read.

        Returns
        -------
        bool
            Whether nothing of the session is left; True as well where nothing was.

        Raises
        ------
        WrongTypeError
            The user's key holds something else than a hash.
        ReadOnlyError, UnavailableError, AccessDeniedError
        """
        self._context.check_writable("set_offline")
        key, field = status.to_key(), status.to_field()
        server_id = f"{status.server_id}".replace("-", "%-")
        connection = f"{server_id}_{status.netlib_session_id}".replace("_-", "_%-")
        entries = {
            field: f"^(%-?)(%d+)_{connection}$",
            field.replace("_", "@"): f"^{connection}_(%-?)(%d+)$".replace("_", "@"),
        }
        if status.session_id == status.netlib_session_id == 0:
            # October 2018's entry names neither.
            entries[f"{status.auth_key_id}"] = f"^{server_id}@(%-?)(%d+)@[1-9]%d?%d?%d?$"
        command: Command = ("HDEL", key, *entries)
        if not force:
            command = ("EVAL", _GOODBYE, 1, key, *entries, *entries.values())
        (reply,) = round_trip(self._context.redis, [command])
        if isinstance(reply, Exception):
            raise self._refusal({key: reply}, 1) from reply
        return force or not reply

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
        return dict(zip(ids, self._online_in(batch), strict=True))

    def iter_online(
        self, *, clock: Clock | None = None, batch: int = BATCH_KEYS
    ) -> Iterator[tuple[int, list[SessionStatus]]]:
        """Walk through all users who are online, about ``batch`` of them in memory at a time.

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
            for user_id, sessions in zip(read.user_ids, self._online_in(read), strict=True):
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

    def _online_in(self, batch: Batch) -> list[list[SessionStatus]]:
        return online_in(batch, self._context.check_online_timeout)

    def _renewals(self, every: list[SessionStatus], keys: list[list[str]]) -> Iterator[Command]:
        """Give the commands that renew sessions, and note in ``keys`` the keys of each."""
        context = self._context
        for start in range(0, len(every), _SCRIPT_SESSIONS):
            by_key: dict[str, list[str]] = defaultdict(list)
            for status in every[start : start + _SCRIPT_SESSIONS]:
                by_key[status.to_key()] += (
                    status.to_field(context.layout),
                    status.to_value(context.layout),
                )
            keys.append(list(by_key))
            words: list[str | int] = [context.online_timeout, context.check_online_timeout]
            for entries in by_key.values():
                words += (len(entries), *entries)
            # EVAL and not EVALSHA: a server that was restarted has forgotten the script, and one
            # round trip is promised.
            yield ("EVAL", self._script, len(by_key), *by_key, *words)

    def _refusal(self, refused: dict[str, Exception], keys: int) -> ImlibError:
        """Return the error that says why some of so many keys were not written.

        The server's refusal, or one of this user, is told before a key's.
        """
        reasons = sorted(refused.values(), key=lambda why: str(why).startswith("WRONGTYPE"))
        meaning = translated_error(reasons[0], self._context.redis)
        shown = ", ".join(list(refused)[:5]) + (", …" if len(refused) > 5 else "")
        others = " Every other session was." if len(refused) < keys else ""
        said = f"{meaning} {shown}: not written.{others}"
        if isinstance(meaning, WrongTypeError):
            said = (
                f"{shown}: not written, {reasons[0]}.{others} See what the key holds with "
                "deployment.redis.type(key); imlib deletes nothing it did not write."
            )
        return type(meaning)(said, server=meaning.server, keys=tuple(refused))


_SCRIPT_SESSIONS = 250
"""Sessions a script, of those that are renewed in one round trip: none holds the server for as much
as 1 ms.
"""

_WRITES = {
    None: "redis.pcall('HSET', key, unpack(ARGV, first, last))",
    "HSETEX": """redis.pcall('HSETEX', key, 'EX', ARGV[2],
      'FIELDS', (last - first + 1) / 2, unpack(ARGV, first, last))""",
    "HEXPIRE": """denied('HEXPIRE', key, ARGV[2], 'FIELDS', 1, ARGV[first])
      or redis.pcall('HSET', key, unpack(ARGV, first, last))
  for field = first, type(written) == 'number' and last or 0, 2 do
    redis.call('HEXPIRE', key, ARGV[2], 'FIELDS', 1, ARGV[field])
  end""",
}
# The script writes entries, and gives them and their keys their times to live. KEYS are users'
# keys; ARGV are the two times to live, then for each key how many words follow and the words:
# field, value, field, value. It returns which keys could not be written, each with the server's
# refusal.
# A user may lack what must follow the first write. So rights are asked for before it, without
# doing anything: Redis 6, which cannot be asked, refuses a time that is no number.
_SCRIPT = """local function denied(...)
  if redis.acl_check_cmd and redis.acl_check_cmd(...) then return end
  local told = redis.pcall(...)
  return told.err and not tostring(told.err):find('integer') and told
end
local refused, at = {}, 3
for i, key in ipairs(KEYS) do
  local first, last = at + 1, at + ARGV[at]
  local written = denied('EXPIRE', key, '') or %s
  if type(written) == 'number' then
    redis.call('EXPIRE', key, ARGV[1])
  else
    refused[#refused + 1] = {i, written}
  end
  at = last + 1
end
return refused"""


# ARGV: the fields of the layouts, and Lua's patterns of their values: a time's sign and digits.
# An entry that the codec refuses is of no connection. The third is of October 2018 at the earliest.
_GOODBYE = """local layouts, left = #ARGV / 2, 0
local held = redis.pcall('HMGET', KEYS[1], unpack(ARGV, 1, layouts))
if held.err then return held end
for i = 1, layouts do
  local sign, digits = (held[i] or ''):match(ARGV[i + layouts])
  if digits and (digits:byte() > 48 or sign .. digits == '0') and #digits < 20
      and (#digits < 19 or digits <= '922337203685477580' .. (sign == '' and 7 or 8))
      and (i < 3 or sign == '' and (#digits > 10 or digits >= '1500000000' and #digits == 10)) then
    local done = redis.pcall('HDEL', KEYS[1], ARGV[i])
    if done ~= 1 then return done end
  elseif held[i] then
    left = left + 1
  end
end
return left"""
