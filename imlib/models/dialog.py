"""Dialogs: a user's list of conversations, with what is unread in each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from imlib.constants import PeerType
from imlib.errors import InvalidValueError
from imlib.models.base import Model, at, check_peer, lock_users, upsert
from imlib.models.records import Dialog, Peer
from imlib.schema import tables
from imlib.validation import check_int, check_limit

_DIALOGS = tables["user_dialogs"]


class DialogModel(Model):
    """Operations on ``user_dialogs``; lists are newest first, by ``date2`` and then by the newest
    message.
    """

    def get_dialogs_by_offset_date(
        self, user_id: int, exclude_pinned: bool = False, offset_date: int = 0, limit: int = 100
    ) -> list[Dialog]:
        """Return dialogs whose ``date2`` is before `offset_date` (Unix seconds; 0: from the
        newest).
        """
        where = [at(_DIALOGS, is_pinned=0)] if exclude_pinned else []
        if check_int("offset_date", offset_date) > 0:
            where.append(_DIALOGS.c.date2 < offset_date)
        return self._list(user_id, *where, limit=check_limit(limit))

    def get_dialogs_by_user_id_and_type(self, user_id: int, peer_type: int) -> list[Dialog]:
        """Return a user's dialogs with peers of one type; UNKNOWN or EMPTY: of every type."""
        if peer_type in (PeerType.UNKNOWN, PeerType.EMPTY):
            return self._list(user_id)
        check_peer(Peer(peer_type, 0))
        return self._list(user_id, at(_DIALOGS, peer_type=peer_type))

    def get_pinned_dialogs(self, user_id: int) -> list[Dialog]:
        """Return the dialogs that a user has pinned."""
        return self._list(user_id, at(_DIALOGS, is_pinned=1))

    def create_or_update_by_last_message(
        self,
        user_id: int,
        peer_type: int,
        peer_id: int,
        top_message: int,
        unread_mentions: bool = False,
    ) -> Dialog:
        """Count a message that came in: the dialog gets one more unread, and it as its newest
        message.

        Parameters
        ----------
        user_id : int
            The dialog's owner.
        peer_type, peer_id : int
            The other side, as the owner sees it.
        top_message : int
            The message's id.
        unread_mentions : bool
            Whether it mentions the owner: one more of these too.
        """
        peer = Peer(peer_type, peer_id)

        def work(connection: sa.Connection) -> Dialog:
            lock_users(connection, [user_id])
            self.count_message(
                connection, [(user_id, peer)], top_message, [user_id] if unread_mentions else []
            )
            here = at(_DIALOGS, user_id=user_id, **peer.columns())
            return Dialog.from_row(connection.execute(Dialog.select(_DIALOGS).where(here)).one())

        return self._write("create_or_update_by_last_message", work)

    def count_message(
        self,
        connection: sa.Connection,
        owners: Sequence[tuple[int, Peer]],
        top_message: int,
        mentioned: Collection[int],
        *,
        date: int | None = None,
    ) -> None:
        """Within a transaction, count an incoming message in its receivers' dialogs: for the other
        models.
        """
        self._context.check_writable("DialogModel.count_message")
        rows = [
            self._row(
                user_id,
                peer,
                top_message,
                date,
                unread_count=1,
                unread_mentions_count=int(user_id in mentioned),
            )
            for user_id, peer in owners
        ]

        def update(new: Any) -> dict[str, Any]:
            counts = {
                name: _DIALOGS.c[name] + new[name]
                for name in ("unread_count", "unread_mentions_count")
            }
            return counts | {"top_message": new.top_message, "date2": new.date2}

        if rows:
            upsert(connection, _DIALOGS, rows, update)

    def mark_sent(
        self,
        connection: sa.Connection,
        user_id: int,
        peer: Peer,
        top_message: int,
        *,
        date: int | None = None,
    ) -> None:
        """Within a transaction, note a message in its sender's own dialog, where nothing is unread
        then.
        """
        self._context.check_writable("DialogModel.mark_sent")
        read = {"unread_count": 0, "unread_mentions_count": 0, "read_inbox_max_id": top_message}
        row = self._row(user_id, peer, top_message, date, **read)
        upsert(
            connection,
            _DIALOGS,
            [row],
            lambda new: {name: new[name] for name in ("top_message", "date2", *read)},
        )

    def _row(
        self, user_id: int, peer: Peer, top_message: int, date: int | None, **counts: int
    ) -> dict[str, int]:
        if check_int("top_message", top_message) < 1:
            raise InvalidValueError(
                f"top_message is {top_message}; allowed is a message's id, 1 or more"
            )
        when = self._now if date is None else date
        return (
            {"user_id": user_id, "top_message": top_message, "date2": when}
            | check_peer(peer).columns()
            | counts
        )

    def _list(
        self, user_id: int, *where: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[Dialog]:
        newest = (_DIALOGS.c.date2.desc(), _DIALOGS.c.top_message.desc(), _DIALOGS.c.id.desc())
        dialogs = Dialog.select(_DIALOGS).where(at(_DIALOGS, user_id=user_id), *where)
        return self._read(Dialog, dialogs.order_by(*newest).limit(limit))
