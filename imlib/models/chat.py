"""Group chats and who is in them."""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum
from typing import Any

import sqlalchemy as sa

from imlib.constants import ParticipantType
from imlib.errors import InvalidValueError, NotFoundError, shortened
from imlib.models.base import (
    Model,
    absent,
    at,
    check_random_id,
    check_values,
    insert,
    lock_users,
    new_random_id,
)
from imlib.models.records import Chat, ChatFull, ChatParticipant
from imlib.schema import PARTICIPANTS, participants_table
from imlib.servers.sql import driver_said
from imlib.validation import check_member


class ParticipantState(IntEnum):
    """What ``chat_users.state`` says; the deployed server never looks, and deletes the row."""

    PRESENT = 0
    GONE = 1


_CHATS = Chat.table
_PRESENT = {"state": int(ParticipantState.PRESENT)}


class ChatModel(Model):
    """Operations on ``chats`` and their participants; every change locks the chat's row.

    Participants are read from and written to ``chat_participants`` where that table holds rows,
    else ``chat_users``; a `FallbackWarning` says so once where both hold rows. Where both tables
    are there and empty, the first participant goes to ``chat_participants``: the server that made
    it looks nowhere else.
    """

    beside = True

    def create_chat(
        self, user_id: int, title: str, user_ids: Collection[int], random_id: int | None = None
    ) -> Chat:
        """Create a chat with all its participants, or not at all.

        Parameters
        ----------
        user_id : int
            The creator, who is always a participant.
        title : str
            1 to 255 characters.
        user_ids : collection of int
            The other participants.
        random_id : int, optional
            The client's own number for this chat, never 0. None: a new one. The same call again
            returns the first chat. With another title or other participants it is an error, as far
            as a chat that has changed since can tell.
        """
        _check_title(title)
        random_id, members = check_random_id(random_id), list(dict.fromkeys([user_id, *user_ids]))

        # Unique keys hold one title change and one avatar change per user and random id: creation
        # counts as both.
        new = {
            "creator_user_id": user_id,
            "create_random_id": random_id,
            "title_changer_user_id": user_id,
            "title_change_random_id": random_id,
            "avatar_changer_user_id": user_id,
            "avatar_change_random_id": random_id,
            "title": title,
            "about": "",
            "access_hash": new_random_id(),
            "participant_count": len(members),
        }

        table = self.participants()

        def work(connection: sa.Connection) -> Chat:
            lock_users(connection, members)
            first = Chat.select(creator_user_id=user_id, create_random_id=random_id)
            known: list[int] = []
            if chats := Chat.read(connection, first.order_by(_CHATS.c.id)):
                chat_id = chats[0].id
                known = self._known(connection, table, chats[0], title, members)
            else:
                chat_id = insert(connection, _CHATS, new)
            for member in members:
                if member not in known:
                    rank = ParticipantType.CREATOR if member == user_id else ParticipantType.MEMBER
                    insert(connection, table, self._row(chat_id, member, user_id, rank))
            return self._one(connection, chat_id, lock=True)

        return self._write("create_chat", work)

    def add_chat_participant(
        self,
        chat_id: int,
        user_id: int,
        inviter_user_id: int,
        participant_type: int = ParticipantType.MEMBER,
    ) -> ChatParticipant:
        """Add a user to a chat; nothing changes for one who is in it."""
        check_member("participant_type", participant_type, ParticipantType)
        table = self.participants()

        def work(connection: sa.Connection) -> ChatParticipant:
            self._one(connection, chat_id, lock=True)
            lock_users(connection, {user_id, inviter_user_id})
            if user_id not in self.lock_participants(connection, chat_id, table):
                row = self._row(chat_id, user_id, inviter_user_id, participant_type)
                mine = at(table, chat_id=chat_id, user_id=user_id)
                if not connection.execute(table.update().where(mine).values(row)).rowcount:
                    insert(connection, table, row)
                self._change(connection, chat_id, participant_count=_CHATS.c.participant_count + 1)
            members = self._participants(connection, table, chat_id)
            return next(each for each in members if each.user_id == user_id)

        return self._write("add_chat_participant", work)

    def delete_chat_user(self, chat_id: int, user_id: int) -> None:
        """Remove a user from a chat; the row stays, with state 1."""
        table = self.participants()

        def work(connection: sa.Connection) -> None:
            self._one(connection, chat_id, lock=True)
            update = table.update().where(at(table, chat_id=chat_id, user_id=user_id, **_PRESENT))
            if not connection.execute(update.values(state=ParticipantState.GONE.value)).rowcount:
                raise not_in_chat(table, chat_id, user_id, "nothing was changed")
            self._change(connection, chat_id, participant_count=_CHATS.c.participant_count - 1)

        self._write("delete_chat_user", work)

    def edit_chat_title(
        self, chat_id: int, user_id: int, title: str, random_id: int | None = None
    ) -> Chat:
        """Change a chat's title; the last change, sent again, does nothing.

        Parameters
        ----------
        chat_id : int
        user_id : int
            The participant who changes it.
        title : str
            1 to 255 characters.
        random_id : int, optional
            The client's own number for this change, never 0. None: a new one.
        """
        _check_title(title)
        random_id, table = check_random_id(random_id), self.participants()

        def work(connection: sa.Connection) -> Chat:
            chat = self._one(connection, chat_id, lock=True)
            if user_id not in self.lock_participants(connection, chat_id, table):
                raise not_in_chat(table, chat_id, user_id, "nothing was changed")
            if (chat.title_changer_user_id, chat.title_change_random_id) == (user_id, random_id):
                if title != chat.title:
                    raise _taken(random_id, chat_id, "its title was changed to another")
                return chat
            changes = {
                "title": title,
                "title_changer_user_id": user_id,
                "title_change_random_id": random_id,
            }
            check_values(connection, _CHATS, changes)
            self._change(
                connection, chat_id, **changes, title_changed_at=sa.func.current_timestamp()
            )
            return self._one(connection, chat_id, lock=True)

        return self._write("edit_chat_title", work)

    def get_chat(self, chat_id: int) -> Chat:
        """Return a chat; raise `NotFoundError` if there is none."""
        with self._reading() as connection:
            return self._one(connection, chat_id)

    def get_chat_full(self, chat_id: int) -> ChatFull:
        """Return a chat with its participants; raise `NotFoundError` if there is none."""
        with self._reading() as connection:
            chat, table = self._one(connection, chat_id), self._decide(connection)
            return ChatFull(chat, tuple(self._participants(connection, table, chat_id)))

    def get_chat_participants(self, chat_id: int) -> list[ChatParticipant]:
        """Return a chat's participants oldest first; raise `NotFoundError` as `get_chat`."""
        return list(self.get_chat_full(chat_id).participants)

    def get_chats_by_id_list(self, chat_ids: Collection[int]) -> list[Chat]:
        """Return the chats of these ids, in this order; an id without a chat is left out."""
        return self._read_ids(Chat, Chat.select(), chat_ids)

    def participants(self) -> sa.Table:
        """Return the table that participants are in, before a transaction: for the other models.

        Not within one: in MySQL its first plain read decides what it sees, and nothing is locked
        yet.
        """
        with self._reading(primary=True) as connection:
            return self._decide(connection)

    def lock_participants(
        self, connection: sa.Connection, chat_id: int, table: sa.Table
    ) -> dict[int, int]:
        """Within a transaction, lock a chat; return since when each participant is in it.

        For the other models.
        """
        self._one(connection, chat_id, lock=True)
        # A locking read: not all locks are held yet.
        since = table.c.joined_at
        members = sa.select(table.c.user_id, since).where(at(table, chat_id=chat_id, **_PRESENT))
        # Of several rows for one user the earliest counts, which comes last.
        rows = connection.execute(members.order_by(since.desc()).with_for_update())
        return {row.user_id: row.joined_at for row in rows}

    def _decide(self, connection: sa.Connection) -> sa.Table:
        """Return the table that participants are in; say once if both hold rows."""
        theirs = _holds_rows(connection, PARTICIPANTS["chat_participants"])
        ours = theirs is None or _holds_rows(connection, PARTICIPANTS["chat_users"])
        if theirs and ours:
            self._context.warn_once(
                "chat_participants and chat_users both hold rows: participants are those of "
                "chat_participants alone, as the deployed server of December 15, 2017 reads them"
            )
        return PARTICIPANTS[participants_table(lambda _: bool(theirs) or not ours)]

    def _known(
        self,
        connection: sa.Connection,
        table: sa.Table,
        chat: Chat,
        title: str,
        members: list[int],
    ) -> list[int]:
        """Return who is listed in a chat that is created again; raise if another is asked for."""
        rows = sa.select(table.c.user_id).where(at(table, chat_id=chat.id))
        known = list(dict.fromkeys(connection.scalars(rows.order_by(table.c.id))))
        first = set(known[: len(members)])  # those who joined since have later rows
        # Unchanged, a chat tells how many it was made for: a server that died may have left out
        # some.
        made_for = chat.participant_count if chat.version == 1 else len(first)
        renamed = chat.title_changed_at is not None
        if not (
            (renamed or title == chat.title) and first <= set(members) and made_for == len(members)
        ):
            raise _taken(chat.create_random_id, chat.id, "it has another title or others in it")
        return known

    def _one(self, connection: sa.Connection, chat_id: int, *, lock: bool = False) -> Chat:
        here = Chat.select(id=chat_id)
        chats = Chat.read(connection, here.with_for_update() if lock else here)
        if not chats:
            raise absent("chats", chat_id, writing=lock)
        return chats[0]

    def _participants(
        self, connection: sa.Connection, table: sa.Table, chat_id: int
    ) -> list[ChatParticipant]:
        columns = (table.c[name] for name in ChatParticipant.__annotations__)
        members = sa.select(*columns).where(at(table, chat_id=chat_id, **_PRESENT))
        return ChatParticipant.read(connection, members.order_by(table.c.id))

    def _row(
        self, chat_id: int, user_id: int, inviter_user_id: int, participant_type: int
    ) -> dict[str, int]:
        return {
            "chat_id": chat_id,
            "user_id": user_id,
            "participant_type": int(participant_type),
            "inviter_user_id": inviter_user_id,
            "invited_at": self._now,
            "joined_at": self._now,
            "state": ParticipantState.PRESENT.value,
        }

    def _change(self, connection: sa.Connection, chat_id: int, **values: Any) -> None:
        connection.execute(
            _CHATS.update()
            .where(_CHATS.c.id == chat_id)
            .values(**values, version=_CHATS.c.version + 1)
        )


def _holds_rows(connection: sa.Connection, table: sa.Table) -> bool | None:
    """Return whether a table holds rows; None if it is not there."""
    try:
        return bool(connection.scalar(sa.select(sa.exists().select_from(table))))
    except sa.exc.DBAPIError as error:
        if "no such table" in str(error.orig) or driver_said(error)[0] == 1146:
            return None
        raise


def not_in_chat(table: sa.Table, chat_id: int, user_id: int, nothing: str) -> NotFoundError:
    """Return the error for a user who is not in a chat; `nothing` says what was not done."""
    said = f"user {user_id} is not in chat {chat_id}; {nothing}"
    return NotFoundError(said, table=table.name, ids=(user_id,))


def _taken(random_id: int, chat_id: int, why: str) -> InvalidValueError:
    return InvalidValueError(
        f"random_id {random_id} is chat {chat_id}'s, and {why}; allowed is the same again, or a "
        "random_id of its own; nothing was written"
    )


def _check_title(title: str) -> None:
    if not title:
        raise InvalidValueError(f"title is {shortened(title)}; allowed are 1 to 255 characters")
