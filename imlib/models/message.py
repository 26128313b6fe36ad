"""Messages: each stored once, with a box for every user who has it; the boxes are numbered by the user's pts."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from imlib.constants import MessageBoxType, MessageType, PeerType
from imlib.errors import InvalidValueError, NotFoundError, shortened
from imlib.models.body import decode_body, encode_body
from imlib.models.records import Message, Peer
from imlib.models.sql import Database, by_ids, check_int, check_limit, check_peer, check_values, insert, lock_users
from imlib.schema import tables

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from imlib.connect import Clients
    from imlib.models.chat import ChatModel
    from imlib.models.dialog import DialogModel
    from imlib.models.sequence import SequenceModel

__all__ = ["MessageModel"]

_MESSAGES, _BOXES = tables["messages"], tables["message_boxes"]
_PEERS = (PeerType.USER, PeerType.CHAT, PeerType.CHANNEL)
_LARGEST_PTS = 2**31 - 1


class MessageModel:
    """Operations on ``messages`` and ``message_boxes``.

    Parameters
    ----------
    clients : Clients
    sequences, dialogs, chats
        The models that a message passes through on its way.

    Notes
    -----
    Reads go by a user's boxes: what a user has no box for, that user does not see.
    """

    def __init__(self, clients: Clients, sequences: SequenceModel, dialogs: DialogModel, chats: ChatModel) -> None:
        self._database = Database(clients)
        self._sequences, self._dialogs, self._chats = sequences, dialogs, chats

    def send_message(
        self,
        from_user_id: int,
        peer: Peer,
        text: str,
        random_id: int | None = None,
        *,
        mentions: Collection[int] = (),
    ) -> Message:
        """Send a text: history, the boxes of sender and receivers, their dialogs and pts; all of it or nothing.

        Parameters
        ----------
        from_user_id : int
            Who sends it, and in a chat is in it.
        peer : Peer
            A user, who may be the sender, or a chat, each participant of which gets a box.
        text : str
            Not empty; its JSON takes up to 65,535 bytes, in which a character outside ASCII counts 6 or 12.
        random_id : int, optional
            int64, the client's own mark: the same sender and mark again return the first message and write nothing.
        mentions : collection of int
            Receivers whom the text mentions.

        Returns
        -------
        Message
            As the sender has it.

        Raises
        ------
        NotFoundError
            There is no such user or chat, or the sender is not in the chat.
        InvalidValueError
        """
        if not text:
            raise InvalidValueError(f"text is {shortened(text)}; allowed is a str that is not empty")
        check_peer(peer, (PeerType.USER, PeerType.CHAT))
        mark = secrets.randbits(63) if random_id is None else check_int("random_id", random_id, 64)

        def work(connection: Connection) -> Message:
            receivers = self._receivers(connection, from_user_id, peer)
            first = self._first(connection, from_user_id, mark)
            if first is not None:
                return self._as_sent(connection, from_user_id, first)
            date = self._database.now
            message_id = self._store(connection, from_user_id, peer, mark, {"message": text}, MessageType.MESSAGE, date)
            seen_by = {each: self._seen_as(peer, from_user_id, each) for each in sorted({from_user_id, *receivers})}
            incoming = [(each, seen_by[each]) for each in sorted(receivers)]
            self._dialogs.count_message(connection, incoming, message_id, set(mentions), date=date)
            self._dialogs.mark_sent(connection, from_user_id, seen_by[from_user_id], message_id, date=date)
            # Last: where the sequences are MyISAM, what fails after this leaves a gap.
            self._deliver(connection, seen_by, from_user_id, message_id, date)
            return self._as_sent(connection, from_user_id, message_id)

        return self._database.write("MessageModel.send_message", work)

    def create_history_message(self, from_user_id: int, peer: Peer, random_id: int, body: object) -> int:
        """Store a message without boxes, and return its id; for the same sender and mark again, the first one's.

        Parameters
        ----------
        from_user_id : int
        peer : Peer
        random_id : int
            int64.
        body : str or any JSON
            A str is the text that a person wrote.

        Raises
        ------
        NotFoundError, InvalidValueError
        """
        body = {"message": body} if isinstance(body, str) else body
        return self._history("create_history_message", from_user_id, peer, random_id, body, MessageType.MESSAGE)

    def create_history_message_service(self, from_user_id: int, peer: Peer, random_id: int, action: object) -> int:
        """Store a notice, such as that a user joined, as `create_history_message` stores a message."""
        body, kind = {"action": action}, MessageType.MESSAGE_SERVICE
        return self._history("create_history_message_service", from_user_id, peer, random_id, body, kind)

    def create_message_boxes(self, user_id: int, from_id: int, peer: Peer, incoming: bool, message_id: int) -> int:
        """Put a message into a user's box, and return the pts that it gets there.

        Parameters
        ----------
        user_id : int
            Whose box.
        from_id : int
            The message's sender.
        peer : Peer
            The conversation as the box's owner sees it.
        incoming : bool
        message_id : int
            Of a message that exists.

        Raises
        ------
        NotFoundError, InvalidValueError
        """
        check_peer(peer, _PEERS)

        def work(connection: Connection) -> int:
            lock_users(connection, [user_id])
            date = connection.scalar(
                sa.select(_MESSAGES.c.date2).where(_MESSAGES.c.id == check_int("message_id", message_id))
            )
            if date is None:
                raise NotFoundError(f"no such message: {message_id}; the table messages has no row with this id")
            return self._deliver(connection, {user_id: peer}, from_id, message_id, date, incoming=incoming)[user_id]

        return self._database.write("MessageModel.create_message_boxes", work)

    def get_messages_by_id_list(self, user_id: int, message_ids: Collection[int]) -> list[Message]:
        """Return a user's messages of these ids, in their order; one that the user has no box for is left out."""
        with self._database.read() as connection:
            return self._records(by_ids(connection, self._of(user_id), _MESSAGES.c.id, message_ids))

    def get_messages_by_peer_and_message_id_list(
        self, user_id: int, peer: Peer, message_ids: Collection[int]
    ) -> list[Message]:
        """Return those of the messages that are in a user's conversation with one peer."""
        statement = self._of(user_id, peer)
        with self._database.read() as connection:
            return self._records(by_ids(connection, statement, _MESSAGES.c.id, message_ids))

    def get_messages_by_user_id_peer_offset_limit(
        self, user_id: int, peer: Peer, offset: int = 0, limit: int = 100
    ) -> list[Message]:
        """Return messages of a conversation older than the message id `offset` (0: from the newest), newest first."""
        statement = self._of(user_id, peer).order_by(_BOXES.c.message_id.desc()).limit(check_limit(limit))
        if check_int("offset", offset) > 0:
            statement = statement.where(_BOXES.c.message_id < offset)
        with self._database.read() as connection:
            return self._records(connection.execute(statement))

    def get_messages_by_gt_pts(self, user_id: int, pts: int, limit: int | None = None) -> list[Message]:
        """Return a user's messages with a greater pts, oldest first: what a client has missed."""
        statement = self._of(user_id).where(_BOXES.c.pts > check_int("pts", pts)).order_by(_BOXES.c.pts)
        with self._database.read() as connection:
            return self._records(connection.execute(statement.limit(None if limit is None else check_limit(limit))))

    def get_last_pts_by_user_id(self, user_id: int) -> int:
        """Return the pts of a user's newest box; 0 if there is none."""
        statement = sa.select(sa.func.max(_BOXES.c.pts)).where(_BOXES.c.user_id == check_int("user_id", user_id))
        with self._database.read() as connection:
            return int(connection.scalar(statement) or 0)

    def _receivers(self, connection: Connection, from_user_id: int, peer: Peer) -> set[int]:
        """Take every lock that sending needs, chats before users, and return who but the sender gets the message."""
        if peer.peer_type == PeerType.USER:
            lock_users(connection, {from_user_id, peer.peer_id})
            return {peer.peer_id} - {from_user_id}
        members = self._chats.lock_participants(connection, peer.peer_id)
        lock_users(connection, {from_user_id, *members}, required=[from_user_id])
        if from_user_id not in members:
            raise NotFoundError(f"user {from_user_id} is not in chat {peer.peer_id}; nothing was sent")
        return set(members) - {from_user_id}

    def _seen_as(self, peer: Peer, from_user_id: int, owner: int) -> Peer:
        return Peer.user(from_user_id) if peer.peer_type == PeerType.USER and owner != from_user_id else peer

    def _history(
        self, operation: str, from_user_id: int, peer: Peer, random_id: int, body: object, kind: MessageType
    ) -> int:
        check_peer(peer, _PEERS)
        check_int("random_id", random_id, 64)

        def work(connection: Connection) -> int:
            lock_users(connection, [from_user_id])
            first = self._first(connection, from_user_id, random_id)
            date = self._database.now
            return first or self._store(connection, from_user_id, peer, random_id, body, kind, date)

        return self._database.write(f"MessageModel.{operation}", work)

    def _first(self, connection: Connection, from_user_id: int, random_id: int) -> int | None:
        # Plain, and safe as such: the sender's row is locked, and this is the transaction's first plain read.
        at = (_MESSAGES.c.sender_user_id == from_user_id, _MESSAGES.c.random_id == random_id)
        first: int | None = connection.scalar(sa.select(sa.func.min(_MESSAGES.c.id)).where(*at))
        return first

    def _store(
        self, connection: Connection, user_id: int, peer: Peer, mark: int, body: object, kind: MessageType, date: int
    ) -> int:
        row = {"sender_user_id": user_id, "peer_type": int(peer.peer_type), "peer_id": peer.peer_id, "random_id": mark}
        row |= {"message_type": kind.value, "date2": date}
        return insert(connection, _MESSAGES, row | {"message_data": encode_body(body)})

    def _deliver(
        self,
        connection: Connection,
        seen_by: dict[int, Peer],
        from_id: int,
        message_id: int,
        date: int,
        *,
        incoming: bool | None = None,
    ) -> dict[int, int]:
        reached = self._sequences.advance(connection, [str(user_id) for user_id in seen_by])
        pts = {user_id: reached[str(user_id)] for user_id in seen_by}
        common = {"sender_user_id": from_id, "message_id": message_id, "date2": date, "state": 0, "media_unread": 0}
        rows = []
        for user_id, peer in seen_by.items():
            comes_in = user_id != from_id if incoming is None else incoming
            box = MessageBoxType.INCOMING if comes_in else MessageBoxType.OUTGOING
            row = {"user_id": user_id, "message_box_type": box.value, "pts": pts[user_id]} | common
            rows.append(row | {"peer_type": int(peer.peer_type), "peer_id": peer.peer_id})
            check_values(connection, _BOXES, rows[-1])
        connection.execute(_BOXES.insert(), rows)
        return pts

    def _of(self, user_id: int, peer: Peer | None = None) -> sa.Select[Any]:
        out = sa.case((_BOXES.c.message_box_type == MessageBoxType.OUTGOING.value, 1), else_=0).label("out")
        joined = _BOXES.join(_MESSAGES, _MESSAGES.c.id == _BOXES.c.message_id)
        statement = sa.select(*_HISTORY, _BOXES.c.user_id, _BOXES.c.pts, _BOXES.c.media_unread, out)
        statement = statement.select_from(joined).where(_BOXES.c.user_id == check_int("user_id", user_id))
        if peer is not None:
            check_peer(peer, _PEERS)
            statement = statement.where(_BOXES.c.peer_type == int(peer.peer_type), _BOXES.c.peer_id == peer.peer_id)
        return statement

    def _as_sent(self, connection: Connection, user_id: int, message_id: int) -> Message:
        row = connection.execute(self._of(user_id).where(_MESSAGES.c.id == message_id)).first()
        if row is None:
            # History alone, as create_history_message or a crash of the deployed server leaves it.
            box = (
                sa.literal(user_id).label("user_id"),
                sa.literal(0).label("pts"),
                sa.literal(0).label("media_unread"),
            )
            statement = sa.select(*_HISTORY, *box, sa.literal(1).label("out")).where(_MESSAGES.c.id == message_id)
            row = connection.execute(statement).one()
        return self._records([row])[0]

    def _records(self, rows: Any) -> list[Message]:
        decoded = ((row, decode_body(bytes(row.message_data))) for row in rows)
        return [Message.from_row(row, body=body, body_problem=problem) for row, (body, problem) in decoded]


# As bytes: text that is no UTF-8 must not fail in the driver.
_HISTORY = (
    *(
        _MESSAGES.c[name]
        for name in ("id", "sender_user_id", "peer_type", "peer_id", "random_id", "message_type", "date2")
    ),
    sa.cast(_MESSAGES.c.message_data, sa.LargeBinary).label("message_data"),
)
