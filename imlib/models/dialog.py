"""Dialogs: a user's conversations, and how much is unread in each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from imlib.constants import PeerType
from imlib.errors import InvalidValueError
from imlib.models.base import Model, at, by_ids, lock_users, upsert
from imlib.models.records import Dialog, Peer, check_peer
from imlib.schema import tables
from imlib.validation import check_int, check_limit

_DIALOGS, _BOXES = Dialog.table, tables["message_boxes"]
# The peer makes it a total order, so that pages neither repeat nor skip a dialog.
_ORDER = ("date2", "top_message", "peer_type", "peer_id")
_COUNTS = ("unread_count", "unread_mentions_count")


class DialogModel(Model):
    """Operations on ``user_dialogs``.

    Lists are newest first: by ``date2``, then by the newest message, then by the peer.
    """

    def get_dialogs_by_offset_date(
        self,
        user_id: int,
        exclude_pinned: bool = False,
        offset_date: int = 0,
        limit: int = 100,
        offset_id: int = 0,
        offset_peer: Peer | None = None,
    ) -> list[Dialog]:
        """Return a page of a user's dialogs, newest first; the offsets say where the last ended.

        Parameters
        ----------
        user_id : int
        exclude_pinned : bool
        offset_date : int
            The last dialog's ``date2``, Unix seconds; 0: begin with the newest. Alone, it skips
            every dialog of this second.
        limit : int
        offset_id : int
            The last dialog's ``top_message``.
        offset_peer : Peer, optional
            The last dialog's peer. With all three offsets each dialog is met once.
        """
        where = [at(_DIALOGS, is_pinned=0)] if exclude_pinned else []
        # Without a peer, the least there can be: every dialog of this date and message is skipped.
        peer = check_peer(offset_peer or Peer(PeerType.UNKNOWN, -(2**31)), tuple(PeerType))
        after = check_int("offset_date", offset_date), check_int("offset_id", offset_id)
        if offset_date > 0 or offset_peer:
            columns = sa.tuple_(*(_DIALOGS.c[name] for name in _ORDER))
            where.append(columns < sa.tuple_(*after, *peer.columns().values()))
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
        """Count a message that came in: one more is unread, and the newest is this or a newer.

        Parameters
        ----------
        user_id : int
            The dialog's owner.
        peer_type, peer_id : int
            The other side, as the owner sees it.
        top_message : int
            The message's id.
        unread_mentions : bool
            Whether it mentions the owner: then one more mention is unread, too.
        """
        peer = Peer(peer_type, peer_id)

        def work(connection: sa.Connection) -> Dialog:
            lock_users(connection, [user_id])
            self.count_message(
                connection, [(user_id, peer)], top_message, [user_id] if unread_mentions else []
            )
            return Dialog.read(connection, Dialog.select(user_id=user_id, **peer.columns()))[0]

        return self._write("create_or_update_by_last_message", work)

    def read_history(self, user_id: int, peer: Peer, max_id: int) -> Dialog | None:
        """Mark a conversation as read up to a message; return the dialog, or None without one.

        What others sent after it stays unread, and is counted anew. No table says which messages
        mention the user: the count of mentions only falls to that of unread messages.

        Parameters
        ----------
        user_id : int
        peer : Peer
        max_id : int
            A message's id. ``read_inbox_max_id`` is raised to it, or to the dialog's newest
            message if that is less, and never lowered.
        """
        conversation = {"user_id": user_id, **check_peer(peer).columns()}
        check_int("max_id", max_id)

        def work(connection: sa.Connection) -> Dialog | None:
            lock_users(connection, [user_id])
            dialogs = Dialog.read(connection, Dialog.select(**conversation))
            if not dialogs:
                return None
            held = dialogs[0]
            beyond = sa.select(sa.func.count()).where(
                at(_BOXES, **conversation),
                _BOXES.c.sender_user_id != user_id,
                _BOXES.c.message_id > max(max_id, held.read_inbox_max_id),
            )
            unread = connection.scalars(beyond).one()
            here = at(_DIALOGS, **conversation)
            changes: dict[str, Any] = {
                "read_inbox_max_id": max(held.read_inbox_max_id, min(max_id, held.top_message)),
                "unread_count": unread,
                "unread_mentions_count": min(held.unread_mentions_count, unread),
            }
            connection.execute(_DIALOGS.update().where(here).values(changes))
            return replace(held, **changes)

        return self._write("read_history", work)

    def get_behind(
        self, connection: sa.Connection, owners: Mapping[int, Peer], message_id: int
    ) -> set[int]:
        """Within a transaction, return whose dialog is missing or ends before a message.

        For the other models.
        """
        reached = Dialog.select().where(
            _DIALOGS.c.peer_id.in_({peer.peer_id for peer in owners.values()}),
            _DIALOGS.c.top_message >= message_id,
        )
        rows = by_ids(connection, reached, _DIALOGS.c.user_id, owners)
        return set(owners) - {
            row.user_id for row in rows if owners[row.user_id] == Peer(row.peer_type, row.peer_id)
        }

    def count_message(
        self,
        connection: sa.Connection,
        owners: Sequence[tuple[int, Peer]],
        top_message: int,
        mentioned: Collection[int],
        *,
        date: int | None = None,
        unread: Collection[int] | None = None,
    ) -> None:
        """Within a transaction, note a message in its receivers' dialogs: for the other models.

        `unread` has the users who get one unread more, by default all.
        """
        self._context.check_writable("DialogModel.count_message")
        rows = [
            self._row(
                user_id,
                peer,
                top_message,
                date,
                unread_count=int(unread is None or user_id in unread),
                unread_mentions_count=int(user_id in mentioned),
            )
            for user_id, peer in owners
        ]

        def update(new: Any) -> dict[str, Any]:
            return {name: _DIALOGS.c[name] + new[name] for name in _COUNTS} | _raised(new)

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
        """Within a transaction, note a message in its sender's dialog: nothing is unread then."""
        self._context.check_writable("DialogModel.mark_sent")
        counts = dict.fromkeys(_COUNTS, 0)
        row = self._row(user_id, peer, top_message, date, read_inbox_max_id=top_message, **counts)

        def update(new: Any) -> dict[str, Any]:
            return {name: new[name] for name in _COUNTS} | _raised(new, "read_inbox_max_id")

        upsert(connection, _DIALOGS, [row], update)

    def _row(
        self, user_id: int, peer: Peer, top_message: int, date: int | None, **counts: int
    ) -> dict[str, int]:
        if check_int("top_message", top_message) < 1:
            raise InvalidValueError(
                f"top_message is {top_message}; allowed is a message's id, 1 or more"
            )
        when = self._now if date is None else date
        where = {"user_id": user_id, **check_peer(peer).columns()}
        return where | {"top_message": top_message, "date2": when} | counts

    def _list(
        self, user_id: int, *where: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[Dialog]:
        newest = (_DIALOGS.c[name].desc() for name in _ORDER)
        dialogs = Dialog.select(user_id=user_id).where(*where)
        return self._read(Dialog, dialogs.order_by(*newest).limit(limit))


def _raised(new: Any, *names: str) -> dict[str, Any]:
    """Return how an upsert raises columns to the new values, and never lowers them."""
    held, raised = _DIALOGS.c, ("top_message", "date2", *names)
    return {name: sa.case((new[name] > held[name], new[name]), else_=held[name]) for name in raised}
