"""Messages: each is stored once, with a box per user who has it, numbered by pts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from imlib.constants import MessageBoxType, MessageType, PeerType
from imlib.context import Context
from imlib.errors import InvalidValueError, shortened
from imlib.message_body import decode_body, encode_body, is_same_body
from imlib.models.base import (
    Model,
    absent,
    at,
    by_ids,
    check_random_id,
    check_values,
    insert,
    lock_users,
)
from imlib.models.chat import ChatModel, not_in_chat
from imlib.models.dialog import DialogModel
from imlib.models.records import Message, Peer, check_peer
from imlib.models.sequence import SequenceModel
from imlib.schema import tables
from imlib.validation import check_int, check_limit

_MESSAGES, _BOXES = Message.table, tables["message_boxes"]
# As bytes: text that is no UTF-8 must not fail in the driver.
_BODY = sa.cast(_MESSAGES.c.message_data, sa.LargeBinary).label("body")
_HISTORY = Message.select().add_columns(_BODY)


class MessageModel(Model):
    """Operations on ``messages`` and ``message_boxes``.

    Parameters
    ----------
    context : Context
    sequences, dialogs, chats
        The models that sending a message uses.

    Notes
    -----
    Reads start from a user's boxes: without a box, the user does not see a message.
    """

    beside = True

    def __init__(
        self, context: Context, sequences: SequenceModel, dialogs: DialogModel, chats: ChatModel
    ) -> None:
        super().__init__(context)
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
        """Send a text: store it, with box, pts and dialog for each side; all of it or nothing.

        Parameters
        ----------
        from_user_id : int
            The sender; to a chat only its participants can send.
        peer : Peer
            A user, who may be the sender, or a chat: each participant gets a box.
        text : str
            Not empty. Its JSON may take 65,535 bytes; a character outside ASCII takes 6 or 12.
        random_id : int, optional
            The client's own number for this message, never 0. None: a new one.
        mentions : collection of int
            The receivers whom the text mentions.

        Returns
        -------
        Message
            As the sender has it.

        Notes
        -----
        Retries: a client that got no answer sends the same again, with the same random_id. It gets
        the first message, which is stored once. If a server died before all had it, the retry
        completes it: for the sender, and for those who are in the conversation now and were when it
        was sent. If nothing is missing, nothing is written.

        A random_id is one message's for ever. With another peer or text it is an error, which
        names the first message, and nothing is written.

        Last write wins: of messages sent at once, each is stored with a pts of its own, and the
        dialog shows the last. An older message, completed late, takes no newer one's place there.

        Beside the deployed server, writing to the same tables at the same time, this is not
        supported, and a `FallbackWarning` says so once. That server hands out a user's pts from
        Redis alone, so both would hand out the same; it drops a message whose body is JSON of
        imlib's; and a chat's participants may be others to it: it looks at one table, and never at
        ``state``.
        """
        if not isinstance(text, str) or not text:  # type: ignore[redundant-expr]  # untyped callers
            raise InvalidValueError(
                f"text is {shortened(text)}; allowed is a str that is not empty"
            )
        check_peer(peer, (PeerType.USER, PeerType.CHAT))
        new = _row(from_user_id, peer, check_random_id(random_id), {"message": text})

        is_chat = peer.peer_type == PeerType.CHAT
        table = self._chats.participants() if is_chat else tables["chat_users"]

        def work(connection: sa.Connection) -> Message:
            joined = self._lock(connection, from_user_id, peer, table)
            if first := self._first(connection, new):
                message_id, date = first.id, first.date2
                joined = {each: since for each, since in joined.items() if since <= date}
            elif from_user_id in joined:
                date = self._now
                message_id = insert(connection, _MESSAGES, new | {"date2": date})
            else:
                raise not_in_chat(table, peer.peer_id, from_user_id, "nothing was sent")
            theirs = Peer.user(from_user_id) if peer.peer_type == PeerType.USER else peer
            peers = dict.fromkeys(joined, theirs) | {from_user_id: peer}
            boxless = behind = set(peers)
            if first:
                boxes = sa.select(_BOXES.c.user_id).where(_BOXES.c.message_id == message_id)
                rows = by_ids(connection, boxes, _BOXES.c.user_id, peers)
                boxless = boxless - {row.user_id for row in rows}
                behind = self._dialogs.get_behind(connection, peers, message_id)
            noted = [(each, peers[each]) for each in sorted((boxless | behind) - {from_user_id})]
            self._dialogs.count_message(
                connection,
                noted,
                message_id,
                boxless.intersection(mentions),
                date=date,
                unread=boxless,
            )
            if from_user_id in behind:
                self._dialogs.mark_sent(connection, from_user_id, peer, message_id, date=date)
            # Last: where the sequences are MyISAM, what fails after this leaves a gap.
            new_boxes = {
                each: (peers[each], MessageBoxType(each == from_user_id)) for each in boxless
            }
            if new_boxes:
                self._deliver(connection, new_boxes, from_user_id, message_id, date)
            sent = self._of(from_user_id).where(_MESSAGES.c.id == message_id).limit(1)
            return Message.read(connection, sent)[0]

        return self._write("send_message", work)

    def create_history_message(
        self, from_user_id: int, peer: Peer, random_id: int, body: object
    ) -> int:
        """Store a message without boxes, and return its id; if it is stored already, the first's.

        Parameters
        ----------
        from_user_id : int
        peer : Peer
        random_id : int
            The sender's own number, as of `send_message`.
        body : str or any JSON
            A str is the text that a person wrote.
        """
        body = {"message": body} if isinstance(body, str) else body
        return self._history("create_history_message", from_user_id, peer, random_id, body)

    def create_history_message_service(
        self, from_user_id: int, peer: Peer, random_id: int, action: object
    ) -> int:
        """Store a notice, such as "Ann joined"; otherwise as `create_history_message`."""
        body, kind = {"action": action}, MessageType.MESSAGE_SERVICE
        return self._history(
            "create_history_message_service", from_user_id, peer, random_id, body, kind
        )

    def create_message_boxes(
        self, user_id: int, from_id: int, peer: Peer, incoming: bool, message_id: int
    ) -> int:
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
        """
        box = (check_peer(peer), MessageBoxType.INCOMING if incoming else MessageBoxType.OUTGOING)

        def work(connection: sa.Connection) -> int:
            lock_users(connection, [user_id])
            date = connection.scalar(
                sa.select(_MESSAGES.c.date2).where(at(_MESSAGES, id=message_id))
            )
            if date is None:
                raise absent("messages", message_id, writing=True)
            return self._deliver(connection, {user_id: box}, from_id, message_id, date)[
                str(user_id)
            ]

        return self._write("create_message_boxes", work)

    def get_messages_by_id_list(self, user_id: int, message_ids: Collection[int]) -> list[Message]:
        """Return a user's messages of these ids, in this order, without those that have no box."""
        return self._read_ids(Message, self._of(user_id), message_ids)

    def get_messages_by_peer_and_message_id_list(
        self, user_id: int, peer: Peer, message_ids: Collection[int]
    ) -> list[Message]:
        """Return the same as `get_messages_by_id_list`, from the conversation with one peer."""
        return self._read_ids(Message, self._of(user_id, peer), message_ids)

    def get_messages_by_user_id_peer_offset_limit(
        self, user_id: int, peer: Peer, offset: int = 0, limit: int = 100
    ) -> list[Message]:
        """Return messages of a conversation with ids below `offset`, newest first; 0: all ids."""
        statement = (
            self._of(user_id, peer).order_by(_BOXES.c.message_id.desc()).limit(check_limit(limit))
        )
        if check_int("offset", offset) > 0:
            statement = statement.where(_BOXES.c.message_id < offset)
        return self._read(Message, statement)

    def get_messages_by_gt_pts(
        self, user_id: int, pts: int, limit: int | None = None
    ) -> list[Message]:
        """Return a user's messages with a greater pts, oldest first: what a client missed."""
        statement = (
            self._of(user_id).where(_BOXES.c.pts > check_int("pts", pts)).order_by(_BOXES.c.pts)
        )
        if limit is not None:
            statement = statement.limit(check_limit(limit))
        return self._read(Message, statement)

    def get_last_pts_by_user_id(self, user_id: int) -> int:
        """Return the pts of a user's newest box; 0 if there is none."""
        newest = sa.select(sa.func.max(_BOXES.c.pts)).where(at(_BOXES, user_id=user_id))
        with self._reading() as connection:
            return int(connection.scalar(newest) or 0)

    def _lock(
        self, connection: sa.Connection, from_user_id: int, peer: Peer, table: sa.Table
    ) -> dict[int, int]:
        """Take every lock that sending needs, chats before users.

        Return who is in the conversation, and since when.
        """
        if peer.peer_type == PeerType.USER:
            lock_users(connection, {from_user_id, peer.peer_id})
            return {from_user_id: 0, peer.peer_id: 0}
        joined = self._chats.lock_participants(connection, peer.peer_id, table)
        lock_users(connection, {from_user_id, *joined}, required=[from_user_id])
        return joined

    def _history(
        self,
        operation: str,
        from_user_id: int,
        peer: Peer,
        random_id: int,
        body: object,
        kind: MessageType = MessageType.MESSAGE,
    ) -> int:
        check_int("random_id", random_id, 64)
        new = _row(from_user_id, check_peer(peer), check_random_id(random_id), body, kind)

        def work(connection: sa.Connection) -> int:
            lock_users(connection, [from_user_id])
            if first := self._first(connection, new):
                return int(first.id)
            return insert(connection, _MESSAGES, new | {"date2": self._now})

        return self._write(operation, work)

    def _first(self, connection: sa.Connection, new: dict[str, Any]) -> sa.Row[Any] | None:
        """Return the message that has a new one's random_id, if any; raise if it says otherwise."""
        # Plain, and safe as such: the sender's row is locked, and this is the transaction's first
        # plain read.
        here = at(_MESSAGES, **{name: new[name] for name in ("sender_user_id", "random_id")})
        first = connection.execute(_HISTORY.where(here).order_by(_MESSAGES.c.id)).first()
        if not first:
            return None
        held = decode_body(bytes(first.body), first.sender_user_id)
        body = decode_body(new["message_data"].encode())
        if (
            (first.peer_type, first.peer_id) != (new["peer_type"], new["peer_id"])
            or held.message_type(first.message_type) != body.message_type(new["message_type"])
            or not is_same_body(held, body)
        ):
            why = f"whose body cannot be compared ({held.problem})"
            raise InvalidValueError(
                f"random_id {first.random_id} is message {first.id}'s, "
                f"{why if held.problem else 'which has another peer or body'}; allowed is the same "
                "message again, or a random_id of its own; nothing was written"
            )
        return first

    def _deliver(
        self,
        connection: sa.Connection,
        boxes: Mapping[int, tuple[Peer, MessageBoxType]],
        from_id: int,
        message_id: int,
        date: int,
    ) -> dict[str, int]:
        names = [str(user_id) for user_id in sorted(boxes)]
        pts = self._sequences.advance(connection, names, largest=2**31 - 1)  # int32 in the table
        rows = []
        for user_id, (peer, kind) in sorted(boxes.items()):
            row = {
                "user_id": user_id,
                "sender_user_id": from_id,
                "message_box_type": kind.value,
                **peer.columns(),
                "pts": pts[str(user_id)],
                "message_id": message_id,
                "media_unread": 0,
                "state": 0,
                "date2": date,
            }
            check_values(connection, _BOXES, row)
            rows.append(row)
        connection.execute(_BOXES.insert(), rows)
        return pts

    def _of(self, user_id: int, peer: Peer | None = None) -> sa.Select[Any]:
        messages = _HISTORY.add_columns(_BOXES.c.user_id, _BOXES.c.pts, _BOXES.c.media_unread)
        conversation = {} if peer is None else check_peer(peer).columns()
        mine = at(_BOXES, user_id=user_id, **conversation)
        return messages.join(_BOXES, (_BOXES.c.message_id == _MESSAGES.c.id) & mine)


def _row(
    sender_user_id: int,
    peer: Peer,
    random_id: int,
    body: object,
    kind: MessageType = MessageType.MESSAGE,
) -> dict[str, Any]:
    """Return the row of a new message, without its date."""
    return {
        "sender_user_id": sender_user_id,
        **peer.columns(),
        "random_id": random_id,
        "message_type": kind.value,
        "message_data": encode_body(body),
    }
