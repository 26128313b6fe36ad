"""Sequences: no number is handed out twice or left out, whatever becomes of Redis.

The row of ``seq_updates_ngen`` is the truth; the Redis key ``seq_updates_ngen_{name}`` is its
mirror.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite

from imlib.context import Context
from imlib.errors import ImlibError, InvalidValueError, UnavailableError, shortened
from imlib.models.base import AFTER_COMMIT, STEERED, Model
from imlib.schema import SEQUENCE_KEY_PREFIX, tables
from imlib.servers.redis_pipeline import Command, check_refusals, round_trip
from imlib.servers.sql import translate_errors
from imlib.session_status import parse_int64
from imlib.validation import check_int

if TYPE_CHECKING:
    from redis import Redis

_MIRROR_TIMEOUT_S = 0.25
_NAME = re.compile(r"[0-9a-z_.-]{1,255}")
_LARGEST = 2**63 - 1
_log = logging.getLogger("imlib")

# Compared as digits: Lua's numbers are doubles. What is no number is somebody else's, and stays.
_RAISE = """
for i, key in ipairs(KEYS) do
  local held, new = redis.pcall('GET', key), ARGV[i]
  local lower = not held or type(held) == 'string' and (held:match('^%-%d+$')
    or (held:match('^%d+$') and (#held < #new or (#held == #new and held < new))))
  if lower then redis.call('SET', key, new) end
end
return 0
"""


class SequenceModel(Model):
    """The numbers of ``seq_updates_ngen``.

    Parameters
    ----------
    context : Context
    mirror : bool
        Whether Redis is told and asked. Without it nothing is slower, and a server that reads the
        Redis keys, or left them ahead of their rows, is not heeded.

    Notes
    -----
    A number is promised once it was returned, or once the caller's own transaction with it was
    committed: it is never handed out again, and the ones before it were handed out or promised too.
    A process that is killed between commit and return loses one number at most. Where the table is
    MyISAM, as the deployed server made it, an increment stays after a ROLLBACK: then numbers are
    missing, never doubled.

    Rows are incremented in SQL. Where Redis is ahead (a server died between its INCR and its
    UPDATE) the row is raised to it first. After the commit Redis is raised, never lowered; a Redis
    that is gone or slow costs up to half a second and no number. One that answers and refuses, to a
    user without the right or as a node of a cluster, could be ahead: that is an error, and no
    number is taken. The deployed server must not issue the same names at the same time: it takes
    its numbers from Redis alone. On tables that it made, a `FallbackWarning` says so once.
    """

    beside = True

    def __init__(self, context: Context, *, mirror: bool = True) -> None:
        super().__init__(context)
        self._mirror = mirror

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Begin a transaction that `next_id` can join, committed at the end of a ``with`` block.

        Unlike one of SQLAlchemy's own it has Redis follow after its commit, and on SQLite it holds
        the write lock from its beginning, so that what it reads stays true until it writes.
        """
        with (
            translate_errors(self._context.engine),
            self._transaction("transaction", steered=True) as connection,
        ):
            yield connection

    def next_id(self, name: str, *, connection: sa.Connection | None = None) -> int:
        """Return the next number of a sequence; the first is 1.

        Parameters
        ----------
        name : str
            1 to 255 of ``0-9 a-z _ . -``; a user's pts is the sequence ``str(user_id)``. It ends at
            2**63 - 1.
        connection : sqlalchemy.Connection, optional
            Of a transaction on the primary that the number becomes part of: see `transaction`.

        Notes
        -----
        While the deployed server issues numbers of the same name, both may issue the same one: it
        counts in Redis and never reads the row. A client loses a message by that: of two with one
        pts it takes the first. The same holds for what else is written beside it, see
        `MessageModel.send_message`.
        """
        return self.next_ids(name, 1, connection=connection)[0]

    def next_ids(self, name: str, n: int, *, connection: sa.Connection | None = None) -> range:
        """Return the next `n` numbers of a sequence, without a gap; otherwise as `next_id`."""
        if check_int("n", n, 64) < 1:
            raise InvalidValueError(
                f"n is {shortened(n)}; allowed is an integer from 1 to {_LARGEST}"
            )
        _check_name(name)
        if connection is None:
            last = self._write("next_ids", lambda own: self.advance(own, [name], n)[name])
        else:
            self._warn_beside()
            with translate_errors(self._context.engine):
                last = self.advance(connection, [name], n)[name]
        return range(last - n + 1, last + 1)

    def current(self, name: str) -> int:
        """Return the last number that was handed out, as the row has it; 0 for a new name."""
        with self._reading(primary=True) as connection:
            return int(connection.scalar(_CURRENT, {"name": _check_name(name)}) or 0)

    def advance(
        self,
        connection: sa.Connection,
        names: Iterable[str],
        n: int = 1,
        *,
        largest: int = _LARGEST,
    ) -> dict[str, int]:
        """Within a transaction, advance each name by `n` and return its last number.

        For the other models: their columns may end at a smaller number, ``largest``.
        """
        self._context.check_writable("SequenceModel.advance")
        wanted = [_check_name(name) for name in names]
        floors = self._held(wanted) if self._mirror else None
        reached = {
            name: _advance(connection, name, n, (floors or {}).get(name, 0), largest - n)
            for name in wanted
        }
        options = connection.get_execution_options()
        # A Redis that did not answer when it was read is not waited for again.
        if floors is not None and AFTER_COMMIT in options:
            options[AFTER_COMMIT].append(partial(self._follow, reached, options[STEERED]))
        return reached

    def _held(self, names: list[str]) -> dict[str, int] | None:
        """Return the numbers that Redis holds, or None if it does not answer; raise a refusal."""
        keys = [SEQUENCE_KEY_PREFIX + name for name in names]
        try:
            (reply,) = round_trip(self._client, [("MGET", *keys)])
        except UnavailableError as problem:
            _log.info("sequences go on without Redis: %s", problem)
            return None
        check_refusals(self._client, [reply])
        numbers = [value and parse_int64(value) for value in reply]
        return {name: number for name, number in zip(names, numbers, strict=True) if number}

    def _follow(self, reached: dict[str, int], steered: bool) -> None:
        """Raise keys to the numbers of their rows; one that is higher, or no number, stays."""
        try:
            if steered:
                # A caller may have rolled back, to a savepoint perhaps: then only the rows know.
                reached = {name: self.current(name) for name in reached}
            keys = [SEQUENCE_KEY_PREFIX + name for name in reached]
            raising: Command = ("EVAL", _RAISE, len(keys), *keys, *reached.values())
            check_refusals(self._client, round_trip(self._client, [raising]))
        except ImlibError as problem:
            _log.warning("a sequence in Redis stays behind its row: %s", problem)

    @cached_property
    def _client(self) -> Redis:
        """A client of the same server that waits for a fraction of a second only."""
        from redis import ConnectionPool, Redis

        pool = self._context.redis.connection_pool
        options = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), _MIRROR_TIMEOUT_S)
        own = ConnectionPool(pool.connection_class, **pool.connection_kwargs | options)
        self._context.closing.callback(own.disconnect)
        return Redis(connection_pool=own)


def _check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidValueError(
            f"sequence name {shortened(name)}; allowed are 1 to 255 of 0-9 a-z _ . - (MySQL folds "
            "case, Redis doesn't)"
        )
    return name


def _advance(connection: sa.Connection, name: str, n: int, floor: int, highest: int) -> int:
    lite = connection.dialect.name == "sqlite"
    update, begin = (_ADVANCE_LITE, _BEGIN_LITE) if lite else (_ADVANCE, _BEGIN)
    values = {"name": name, "n": n, "floor": floor, "highest": highest}
    for is_new in (False, True):
        if is_new:
            connection.execute(begin, {"seq_name": name, "seq": 0})
        if floor <= highest and (result := connection.execute(update, values)).rowcount:
            return int(
                connection.scalars(_CURRENT, {"name": name}).one() if lite else result.lastrowid
            )
    said = f"sequence {name!r} cannot be advanced by {n}: its numbers end at {highest + n}"
    if floor > highest:
        key = SEQUENCE_KEY_PREFIX + name
        said += f", and the Redis key {key} holds {floor}. If no server wrote that, delete the key"
    raise InvalidValueError(said)


# Built once: put together anew for every number they would take longer than the database does.
_ROWS = tables["seq_updates_ngen"]
_SEQ = _ROWS.c.seq
_FLOOR = sa.bindparam("floor", type_=sa.BigInteger())
_REACHED = sa.case((_SEQ < _FLOOR, _FLOOR), else_=_SEQ) + sa.bindparam("n", type_=sa.BigInteger())
_FITS = _ROWS.update().where(
    _ROWS.c.seq_name == sa.bindparam("name"), sa.bindparam("highest") >= _SEQ
)
_ADVANCE_LITE = _FITS.values(seq=_REACHED)
# LAST_INSERT_ID(x) hands x back with the UPDATE's own answer: a MyISAM row can change before a
# SELECT.
_ADVANCE = _FITS.values(seq=sa.func.last_insert_id(_REACHED))
_BEGIN_LITE = sqlite.insert(_ROWS).on_conflict_do_nothing()
_BEGIN = mysql.insert(_ROWS).on_duplicate_key_update(seq=_SEQ)
_CURRENT = sa.select(_SEQ).where(_ROWS.c.seq_name == sa.bindparam("name"))
