"""Group chats and who is in them."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from imlib.constants import ParticipantType
from imlib.errors import InvalidValueError, NotFoundError, shortened
from imlib.models.records import Chat, ChatFull, ChatParticipant
from imlib.models.sql import Database, by_ids, check_int, check_values, insert, lock_users
from imlib.schema import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from imlib.connect import Clients

__all__ = ["ChatModel", "ParticipantState"]


class ParticipantState(IntEnum):
    """What ``chat_users.state`` says."""

    PRESENT = 0
    GONE = 1


_CHATS, _PARTICIPANTS = tables["chats"], tables["chat_users"]
_PRESENT = _PARTICIPANTS.c.state == ParticipantState.PRESENT.value


class ChatModel:
    """Operations on ``chats`` and ``chat_users``; every change of a chat holds the lock of its row."""

    def __init__(self, clients: Clients) -> None:
        self._database = Database(clients)

    def create_chat(self, user_id: int, title: str, user_ids: Collection[int], random_id: int | None = None) -> Chat:
        """Create a chat with all its participants, or nothing.

        Parameters
        ----------
        user_id : int
            The creator, who is a participant whether listed or not.
        title : str
            1 to 255 characters.
        user_ids : collection of int
            The other participants, who exist.
        random_id : int, optional
            int64, the client's own mark: the same user and mark again return the first chat and write nothing.

        Raises
        ------
        NotFoundError, InvalidValueError
        """
        _check_title(title)
        mark = secrets.randbits(63) if random_id is None else check_int("random_id", random_id, 64)
        members = list(dict.fromkeys([user_id, *user_ids]))
        first = Chat.select(_CHATS).where(_CHATS.c.creator_user_id == user_id, _CHATS.c.create_random_id == mark)

        def work(connection: Connection) -> Chat:
            lock_users(connection, members)
            if (row := connection.execute(first.order_by(_CHATS.c.id)).first()) is not None:
                return Chat.from_row(row)
            # The unique keys hold one title and one avatar change for each user and mark: creation counts as both.
            values: dict[str, Any] = {"creator_user_id": user_id, "create_random_id": mark, "title": title}
            values |= {"access_hash": secrets.randbits(63), "participant_count": len(members), "about": ""}
            values |= {"title_changer_user_id": user_id, "title_change_random_id": mark}
            values |= {"avatar_changer_user_id": user_id, "avatar_change_random_id": mark, "version": 1}
            chat_id = insert(connection, _CHATS, values)
            for member in members:
                rank = ParticipantType.CREATOR if member == user_id else ParticipantType.MEMBER
                insert(connection, _PARTICIPANTS, self._row(chat_id, member, user_id, rank))
            return Chat.from_row(self._locked(connection, chat_id))

        return self._database.write("ChatModel.create_chat", work)

    def add_chat_participant(
        self, chat_id: int, user_id: int, inviter_user_id: int, participant_type: int = ParticipantType.MEMBER
    ) -> ChatParticipant:
        """Put a user into a chat; one who is in it already stays as is.

        Raises
        ------
        NotFoundError
            There is no such chat, user or inviter.
        """
        if participant_type not in ParticipantType.__members__.values():
            raise InvalidValueError(
                f"participant_type is {shortened(participant_type)}; allowed are 0 (member), 1 (admin), 2 (creator)"
            )

        def work(connection: Connection) -> ChatParticipant:
            self._locked(connection, chat_id)
            lock_users(connection, {user_id, inviter_user_id})
            row = self._row(chat_id, user_id, inviter_user_id, participant_type)
            if user_id not in self.lock_participants(connection, chat_id):
                mine = (_PARTICIPANTS.c.chat_id == chat_id, _PARTICIPANTS.c.user_id == user_id)
                if not connection.execute(_PARTICIPANTS.update().where(*mine).values(row)).rowcount:
                    insert(connection, _PARTICIPANTS, row)
                self._change(connection, chat_id, participant_count=_CHATS.c.participant_count + 1)
            return next(each for each in self._participants(connection, chat_id) if each.user_id == user_id)

        return self._database.write("ChatModel.add_chat_participant", work)

    def delete_chat_user(self, chat_id: int, user_id: int) -> None:
        """Take a user out of a chat; the row stays, with state 1.

        Raises
        ------
        NotFoundError
            There is no such chat, or the user is not in it.
        """

        def work(connection: Connection) -> None:
            self._locked(connection, chat_id)
            mine = (_PARTICIPANTS.c.chat_id == chat_id, _PARTICIPANTS.c.user_id == check_int("user_id", user_id))
            update = _PARTICIPANTS.update().where(*mine, _PRESENT).values(state=ParticipantState.GONE.value)
            if not connection.execute(update).rowcount:
                raise NotFoundError(f"user {user_id} is not in chat {chat_id}; nothing was changed")
            self._change(connection, chat_id, participant_count=_CHATS.c.participant_count - 1)

        self._database.write("ChatModel.delete_chat_user", work)

    def edit_chat_title(self, chat_id: int, user_id: int, title: str, random_id: int | None = None) -> Chat:
        """Give a chat another title; the same user and mark again change nothing.

        Parameters
        ----------
        chat_id : int
        user_id : int
            Who changes it: somebody in the chat.
        title : str
            1 to 255 characters.
        random_id : int, optional
            int64, the client's own mark, used for no other chat's title.

        Raises
        ------
        NotFoundError, InvalidValueError
        """
        _check_title(title)
        mark = secrets.randbits(63) if random_id is None else check_int("random_id", random_id, 64)

        def work(connection: Connection) -> Chat:
            chat = self._locked(connection, chat_id)
            if user_id not in self.lock_participants(connection, chat_id):
                raise NotFoundError(f"user {user_id} is not in chat {chat_id}; nothing was changed")
            if (chat.title_changer_user_id, chat.title_change_random_id) != (user_id, mark):
                changes = {"title": title, "title_changer_user_id": user_id, "title_change_random_id": mark}
                check_values(connection, _CHATS, changes)
                self._change(connection, chat_id, **changes, title_changed_at=sa.func.current_timestamp())
            return Chat.from_row(self._locked(connection, chat_id))

        return self._database.write("ChatModel.edit_chat_title", work)

    def get_chat(self, chat_id: int) -> Chat:
        """Return a chat; raise `NotFoundError` if there is none."""
        found = self.get_chats_by_id_list([chat_id])
        if not found:
            raise _no_chat(chat_id)
        return found[0]

    def get_chat_full(self, chat_id: int) -> ChatFull:
        """Return a chat with those who are in it; raise `NotFoundError` if there is none."""
        with self._database.read() as connection:
            rows = by_ids(connection, Chat.select(_CHATS), _CHATS.c.id, [chat_id])
            if not rows:
                raise _no_chat(chat_id)
            return ChatFull(Chat.from_row(rows[0]), tuple(self._participants(connection, chat_id)))

    def get_chat_participants(self, chat_id: int) -> list[ChatParticipant]:
        """Return those who are in a chat, in the order in which they came; raise `NotFoundError` if there is none."""
        return list(self.get_chat_full(chat_id).participants)

    def get_chats_by_id_list(self, chat_ids: Collection[int]) -> list[Chat]:
        """Return the chats of these ids, in their order; an id without a chat is left out."""
        with self._database.read() as connection:
            return [Chat.from_row(row) for row in by_ids(connection, Chat.select(_CHATS), _CHATS.c.id, chat_ids)]

    def lock_participants(self, connection: Connection, chat_id: int) -> list[int]:
        """Within a transaction, lock a chat and return the ids of those who are in it: for the other models."""
        self._locked(connection, chat_id)
        # A locking read: a plain one would fix what the rest of a MySQL transaction sees before all locks are held.
        statement = sa.select(_PARTICIPANTS.c.user_id).where(_PARTICIPANTS.c.chat_id == chat_id, _PRESENT)
        return list(dict.fromkeys(connection.scalars(statement.order_by(_PARTICIPANTS.c.id).with_for_update())))

    def _locked(self, connection: Connection, chat_id: int) -> sa.Row[Any]:
        statement = Chat.select(_CHATS).where(_CHATS.c.id == check_int("chat_id", chat_id)).with_for_update()
        row = connection.execute(statement).first()
        if row is None:
            raise _no_chat(chat_id)
        return row

    def _participants(self, connection: Connection, chat_id: int) -> list[ChatParticipant]:
        statement = ChatParticipant.select(_PARTICIPANTS).where(
            _PARTICIPANTS.c.chat_id == check_int("chat_id", chat_id), _PRESENT
        )
        return [ChatParticipant.from_row(row) for row in connection.execute(statement.order_by(_PARTICIPANTS.c.id))]

    def _row(self, chat_id: int, user_id: int, inviter_user_id: int, participant_type: int) -> dict[str, int]:
        row = {"chat_id": chat_id, "user_id": user_id, "participant_type": int(participant_type)}
        row |= {"inviter_user_id": inviter_user_id, "state": ParticipantState.PRESENT.value}
        return row | dict.fromkeys(("invited_at", "joined_at"), self._database.now)

    def _change(self, connection: Connection, chat_id: int, **values: Any) -> None:
        values["version"] = _CHATS.c.version + 1
        connection.execute(_CHATS.update().where(_CHATS.c.id == chat_id).values(values))


def _check_title(title: str) -> None:
    if not title:
        raise InvalidValueError(f"title is {shortened(title)}; allowed are 1 to 255 characters")


def _no_chat(chat_id: int) -> NotFoundError:
    return NotFoundError(f"no such chat: {chat_id}; the table chats has no row with this id")
