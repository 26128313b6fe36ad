"""A deployment: one Redis and one SQL database, and the models over them."""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from html import escape
from typing import TYPE_CHECKING, Any, Self

from imlib.context import Context
from imlib.errors import ConfigurationError, InvalidValueError, printable
from imlib.lease import Clock
from imlib.models.online_status import OnlineStatusModel
from imlib.scratch import DeadlineShifter, empty
from imlib.servers.urls import Secret, ServerUrl
from imlib.session_status import distinct_users

if TYPE_CHECKING:
    from imlib.models.account import AccountModel
    from imlib.models.chat import ChatModel
    from imlib.models.dialog import DialogModel
    from imlib.models.message import MessageModel
    from imlib.models.sequence import SequenceModel
    from imlib.models.updates import UpdatesModel
    from imlib.models.user import UserModel
    from imlib.snapshot import Snapshot
    from imlib.watch import Look


_NOWHERE = ServerUrl()
"""Of clients that were not opened by a URL."""


@dataclass(eq=False, repr=False, kw_only=True)
class Deployment(Context):
    """One IM server's state, connected: by `imlib.connect`, until `close` or a ``with`` block ends.

    Attributes
    ----------
    redis_url, database_url, replica_url : ServerUrl
        By which another process can join; they print without passwords (``url.reveal()`` has them).
    scratch : bool
        Whether `close` empties the servers: a lesson's.
    shifter : DeadlineShifter or None
        Moves Redis's deadlines along with a lesson's clock.
    """

    redis_url: ServerUrl = _NOWHERE
    database_url: ServerUrl = _NOWHERE
    replica_url: ServerUrl | None = None
    scratch: bool = False
    shifter: DeadlineShifter | None = None
    _owner: int = field(default_factory=os.getpid, init=False)

    @cached_property
    def online_status(self) -> OnlineStatusModel:
        """Who is online."""
        return OnlineStatusModel(self)

    @cached_property
    def sequences(self) -> SequenceModel:
        """Numbers without gaps: update ids and every other sequence."""
        from imlib.models.sequence import SequenceModel

        return SequenceModel(self)

    @cached_property
    def accounts(self) -> AccountModel:
        """Devices, notification settings and privacy."""
        from imlib.models.account import AccountModel

        return AccountModel(self)

    @cached_property
    def chats(self) -> ChatModel:
        """Groups and their participants."""
        from imlib.models.chat import ChatModel

        return ChatModel(self)

    @cached_property
    def dialogs(self) -> DialogModel:
        """Each user's list of conversations."""
        from imlib.models.dialog import DialogModel

        return DialogModel(self)

    @cached_property
    def messages(self) -> MessageModel:
        """Messages, and the boxes that deliver them."""
        from imlib.models.message import MessageModel

        return MessageModel(self, self.sequences, self.dialogs, self.chats)

    @cached_property
    def updates(self) -> UpdatesModel:
        """How far a user's message boxes have come."""
        from imlib.models.updates import UpdatesModel

        return UpdatesModel(self, self.messages)

    @cached_property
    def users(self) -> UserModel:
        """Users and their contacts."""
        from imlib.models.user import UserModel

        return UserModel(self, self.accounts)

    def snapshot(
        self,
        *,
        tables: Collection[str] | Mapping[str, Collection[str]] | None = None,
        where: Mapping[str, Any] | None = None,
        limit: int = 1_000_000,
        user_ids: int | Collection[int] | None = None,
        unmask: Collection[str] = (),
        mask_key: bytes | None = None,
        keep_incomplete: bool = False,
        unindexed: bool = False,
        timeout: float = 60,
        progress: bool = False,
    ) -> Snapshot:
        """Return what Redis and the SQL database hold now as DataFrames; nothing is written to what
        is looked at.

        Parameters
        ----------
        tables : collection of str, or mapping of str to collection of str, optional
            The tables and views to read, or for each the columns; by default every table that
            exists, whole.
        where : mapping, optional
            For a table a condition: a SQLAlchemy expression, ``("pts > :pts", {"pts": 7})`` with
            bound parameters, or SQL that needs none.
        limit : int
            Rows of a table at the most; ``info`` says which tables were cut.
        user_ids : int or collection of int, optional
            Only what belongs to this user or these, in Redis and in all tables.
        unmask : collection of str
            Masked columns to show as they are, each by name: ``devices.token``. A column's tokens
            don't join with another's, but for ids of users and of auth keys.
        mask_key : bytes, optional
            Makes the tokens of masked values comparable between snapshots that are given the same;
            by default each has a random key, which is never kept.
        keep_incomplete : bool
            Keep what was read of Redis when the database fails, or of the database when Redis does
            not answer; ``info["incomplete"]`` then says why.
        unindexed : bool
            With ``user_ids``: search tables of more than about 2,000,000 rows also by columns
            without an index. Without it ``info["not_asked"]`` names them.
        timeout : float
            Seconds without a byte after which the database counts as gone; a ``read_timeout`` in
            its URL replaces it.
        progress : bool
            Show a progress bar in a terminal or notebook.

        Raises
        ------
        InvalidValueError
            An argument is not one of these, or names what does not exist.
        UnavailableError, AccessDeniedError
            A server failed or refused; there is no half snapshot, unless ``keep_incomplete`` asks
            for one.
        """
        mask_key = Secret(mask_key) if isinstance(mask_key, bytes) else mask_key
        from imlib.snapshot import SnapshotRequest
        from imlib.snapshot.take import take_snapshot

        users = user_ids if isinstance(user_ids, Collection | None) else [user_ids]
        request = SnapshotRequest(
            tables=tables,
            where=where or {},
            limit=limit,
            user_ids=None if users is None else distinct_users(users),
            unmask=unmask,
            mask_key=mask_key,
            keep_incomplete=keep_incomplete,
            unindexed=unindexed,
            timeout=timeout,
        )
        return take_snapshot(self, request, progress=progress)

    def watch(
        self,
        every: float = 5,
        user_ids: int | Collection[int] | None = None,
        *,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> Iterator[Look]:
        """Look at presence again and again, until the loop is left; nothing is written.

        Parameters
        ----------
        every : float
            Seconds from the beginning of one look to that of the next. Each is followed by a rest
            that is at least as long as it took.
        user_ids : int or collection of int, optional
            Only these users: their keys alone are read, without a walk through all.
        clock, sleep : callable
            In place of this machine's.

        Yields
        ------
        look : Look
            While Redis is lost there is one look with a `gap`; the next one is when it is back.

        Raises
        ------
        UnavailableError
            The first look failed.
        AccessDeniedError, InvalidValueError
        """
        from imlib.watch import watch

        users = user_ids if isinstance(user_ids, Collection | None) else [user_ids]
        ids = None if users is None else distinct_users(users)
        return watch(self, every, ids, clock=clock, sleep=sleep)

    def load_sample(self) -> None:
        """Write the sample world (`imlib.sample`) into empty servers; its presence is moved to the
        clock's time.

        Raises
        ------
        NotEmptyError
            Redis or one of the 20 tables holds something: nothing was written.
        ReadOnlyError, UnavailableError, SchemaError
        """
        from imlib.sample import write

        self.check_writable("load_sample")
        # Advanced by nothing: deadlines that are set now count from now.
        settle = (lambda: None) if self.shifter is None else partial(self.shifter.advance, 0)
        write(self, settle)

    def advance(self, seconds: float) -> None:
        """Advance the clock of a scratch deployment; Redis's deadlines move along, and what is past
        goes.

        Parameters
        ----------
        seconds : float
            How far; not negative.

        Raises
        ------
        ConfigurationError
            The deployment has no clock of its own: ``imlib.connect(scratch=True,
            clock=imlib.ManualClock(...))``.
        """
        self.check_open()
        if seconds < 0:
            why = "what Redis has deleted does not come back"
            raise InvalidValueError(f"the clock cannot be advanced by {seconds}: {why}")
        if self.shifter is None:
            how = "imlib.connect(scratch=True, clock=imlib.ManualClock(start))"
            raise ConfigurationError(f"only a scratch deployment's clock can be advanced: {how}")
        self.shifter.advance(seconds)

    def close(self) -> None:
        """End the deployment and what was started for it; one connected with ``scratch=True`` is
        emptied first.
        """
        if self.closed:
            return
        try:
            # A forked child leaves its parent's lesson alone.
            if self.scratch and os.getpid() == self._owner:
                empty(self)
        finally:
            self.closed = True
            self.closing.close()
            atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        facts = "; ".join(f"{name} {value}" for name, value in self._facts().items())
        return f"<Deployment: {facts}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td "
            f"style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in self._facts().items()
        )
        return f"<table>{rows}</table>"

    def _facts(self) -> dict[str, str]:
        if self.closed:
            return {"state": "closed"}
        facts = {
            "redis": f"{self.server} at {self.redis_url}",
            "database": f"{self.database_url}",
            "replica": f"{self.replica_url}" if self.replica_url else "",
            "lease": self.lease_words,
            "layout": f"{self.layout}",
            "access": "read only"
            if self.read_only
            else "scratch: emptied at close"
            if self.scratch
            else "",
        }
        return {name: printable(value) for name, value in facts.items() if value}
