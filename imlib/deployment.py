"""A deployment: one Redis and one SQL database, and the models over them."""

from __future__ import annotations

import atexit
import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from html import escape
from typing import TYPE_CHECKING, Any, Self

from imlib.connect import Clients, RedisServer
from imlib.errors import ConfigurationError, InvalidValueError
from imlib.lease import Lease
from imlib.models.online_status import OnlineStatusModel
from imlib.scratch import empty
from imlib.session_status import Layout
from imlib.urls import ServerUrl

if TYPE_CHECKING:
    from redis import Redis
    from sqlalchemy import Engine

    from imlib.models.account import AccountModel
    from imlib.models.chat import ChatModel
    from imlib.models.dialog import DialogModel
    from imlib.models.message import MessageModel
    from imlib.models.sequence import SequenceModel
    from imlib.models.updates import UpdatesModel
    from imlib.models.user import UserModel
    from imlib.rehearsal import Rehearsal
    from imlib.snapshot import Snapshot

__all__ = ["Deployment"]


class Deployment:
    """One IM server's state, connected: made by `imlib.connect`, ended by `close` or a ``with`` block.

    Attributes
    ----------
    redis_url, database_url, replica_url : ServerUrl
        By which another process can join; they print without passwords (``url.whole()`` has them).
    """

    def __init__(
        self,
        clients: Clients,
        urls: tuple[ServerUrl, ServerUrl, ServerUrl | None],
        *,
        scratch: bool,
        rehearsal: Rehearsal | None,
        stack: ExitStack,
    ) -> None:
        self._clients, self._scratch, self._rehearsal, self._stack = clients, scratch, rehearsal, stack
        self.redis_url, self.database_url, self.replica_url = urls
        self._owner = os.getpid()
        if scratch:
            atexit.register(self.close)  # a lesson that failed half-way leaves nothing behind either

    @property
    def redis(self) -> Redis:
        """The Redis client itself: redis-py, bytes in and bytes out."""
        return self._clients.redis

    @property
    def engine(self) -> Engine:
        """The SQL primary itself: a SQLAlchemy engine."""
        return self._clients.engine

    @property
    def replica(self) -> Engine:
        """The SQL replica's engine; the primary's where none was named."""
        return self._clients.replica

    @property
    def server(self) -> RedisServer:
        """Kind and version of the Redis server, and what it can do."""
        return self._clients.server

    @property
    def closed(self) -> bool:
        """Whether `close` was called: nothing can be asked of the deployment any more."""
        return self._clients.closed

    @property
    def lease(self) -> Lease:
        """The lease in force: what was asked for, or what the server can do."""
        return self._clients.lease

    @property
    def layout(self) -> Layout:
        """The layout that is written; both are read."""
        return self._clients.layout

    @property
    def read_only(self) -> bool:
        """Whether the models refuse to write."""
        return self._clients.read_only

    @cached_property
    def online_status(self) -> OnlineStatusModel:
        """Who is online."""
        return OnlineStatusModel(self._clients)

    @cached_property
    def sequences(self) -> SequenceModel:
        """Numbers without gaps: update ids and every other sequence."""
        from imlib.models.sequence import SequenceModel

        return SequenceModel(self._clients)

    @cached_property
    def accounts(self) -> AccountModel:
        """Devices, notification settings and privacy."""
        from imlib.models.account import AccountModel

        return AccountModel(self._clients)

    @cached_property
    def chats(self) -> ChatModel:
        """Groups and their participants."""
        from imlib.models.chat import ChatModel

        return ChatModel(self._clients)

    @cached_property
    def dialogs(self) -> DialogModel:
        """Each user's list of conversations."""
        from imlib.models.dialog import DialogModel

        return DialogModel(self._clients)

    @cached_property
    def messages(self) -> MessageModel:
        """Messages, and the boxes that deliver them."""
        from imlib.models.message import MessageModel

        return MessageModel(self._clients, self.sequences, self.dialogs, self.chats)

    @cached_property
    def updates(self) -> UpdatesModel:
        """How far a user's message boxes have come."""
        from imlib.models.updates import UpdatesModel

        return UpdatesModel(self._clients, self.messages)

    @cached_property
    def users(self) -> UserModel:
        """Users and their contacts."""
        from imlib.models.user import UserModel

        return UserModel(self._clients, self.accounts)

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
        progress: bool = False,
    ) -> Snapshot:
        """Return what Redis and the SQL database hold now as DataFrames; nothing is written to what is looked at.

        Parameters
        ----------
        tables : collection of str, or mapping of str to collection of str, optional
            The tables to read, or for each the columns; by default every table that exists, whole.
        where : mapping, optional
            For a table a condition: a SQLAlchemy expression, ``("pts > :pts", {"pts": 7})`` with bound parameters, or
            SQL that needs none.
        limit : int
            Rows of a table at the most; ``info`` says which tables were cut.
        user_ids : int or collection of int, optional
            Only what belongs to this user or these, in Redis and in all tables.
        unmask : collection of str
            Masked columns to show as they are, each by name: ``devices.token``.
        mask_key : bytes, optional
            Makes the tokens of masked values comparable between snapshots that are given the same; by default each has
            a random key, which is never kept.
        keep_incomplete : bool
            Keep what was read of Redis when the database fails; ``info["incomplete"]`` then says why.
        progress : bool
            Show a progress bar in a terminal or notebook.

        Raises
        ------
        ConfigurationError, InvalidValueError
            An argument is not one of these, or names what does not exist.
        UnavailableError, AccessDeniedError
            A server failed or refused; there is no half snapshot, unless ``keep_incomplete`` asks for one.
        """
        from imlib.snapshot import take

        asked: dict[str, Any] = {"tables": tables, "where": where, "limit": limit, "user_ids": user_ids}
        asked |= {"unmask": unmask, "mask_key": mask_key, "keep_incomplete": keep_incomplete, "progress": progress}
        return take(self._clients, **asked)

    def load_sample(self) -> None:
        """Write the sample world (`imlib.sample`) into empty servers; its presence is moved to the clock's time.

        Raises
        ------
        NotEmptyError
            Redis or one of the 20 tables holds something: nothing was written.
        ReadOnlyError, UnavailableError, SchemaError
        """
        from imlib.sample import write

        self._clients.check_writable("load_sample")
        # Turned by nothing: deadlines that are set now count from now.
        settle = (lambda: None) if self._rehearsal is None else partial(self._rehearsal.turn, 0)
        write(self._clients, settle)

    def turn(self, seconds: float) -> None:
        """Turn the clock of a scratch deployment; Redis's deadlines move along, and what is past goes.

        Parameters
        ----------
        seconds : float
            How far; not negative.

        Raises
        ------
        ConfigurationError
            The deployment has no clock of its own: ``imlib.connect(scratch=True, clock=imlib.TurnedClock(...))``.
        """
        self._clients.check_open()
        if seconds < 0:
            why = "what Redis has deleted does not come back"
            raise InvalidValueError(f"the clock cannot be turned by {seconds}: {why}")
        if self._rehearsal is None:
            how = "imlib.connect(scratch=True, clock=imlib.TurnedClock(start))"
            raise ConfigurationError(f"only a scratch deployment's clock can be turned: {how}")
        self._rehearsal.turn(seconds)

    def close(self) -> None:
        """End the deployment and what was started for it; one connected with ``scratch=True`` is emptied first."""
        if self._clients.closed:
            return
        try:
            if self._scratch and os.getpid() == self._owner:  # a forked child leaves its parent's lesson alone
                empty(self._clients)
        finally:
            self._clients.closed = True
            self._stack.close()
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
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(value)}</td></tr>"
            for name, value in self._facts().items()
        )
        return f"<table>{rows}</table>"

    def _facts(self) -> dict[str, str]:
        if self._clients.closed:
            return {"state": "closed"}
        facts = {
            "redis": f"{self._clients.server} at {self.redis_url}",
            "database": f"{self.database_url}",
            "replica": f"{self.replica_url}" if self.replica_url else "",
            "lease": f"{self.lease}",
            "layout": f"{self.layout}",
            "access": "read only" if self.read_only else "scratch: emptied at close" if self._scratch else "",
        }
        return {name: value for name, value in facts.items() if value}
