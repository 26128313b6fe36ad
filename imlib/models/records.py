"""What the models return: frozen records, one attribute per column unless said otherwise.

Widths are the columns': ids are int32; auth keys, access hashes and random ids int64. An int whose
name begins with ``date`` or ends in ``_at`` or ``_until`` holds Unix seconds. A `datetime` is UTC;
None means never. A repr leaves out what a log must not show (access hashes, tokens, phones, what
people wrote) and the moments that the database's own clock sets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, Self

import sqlalchemy as sa

from imlib.constants import PeerType
from imlib.errors import InvalidValueError, shortened
from imlib.message_body import Encoding, decode_body
from imlib.models.base import Record
from imlib.schema import tables
from imlib.validation import check_int, check_member


class DeviceState(IntEnum):
    """What ``devices.state`` says; deployed servers left others, which mean unregistered."""

    REGISTERED = 0
    REGISTERED_AGAIN = 1
    UNREGISTERED = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a conversation: a user, a chat, or oneself.

    Parameters
    ----------
    peer_type : PeerType
    peer_id : int
        int32; the id of the user or chat.

    Examples
    --------
    >>> Peer.user(7)
    Peer(peer_type=<PeerType.USER: 2>, peer_id=7)
    """

    peer_type: int
    peer_id: int

    @classmethod
    def user(cls, user_id: int) -> Self:
        """Return a user as a peer."""
        return cls(PeerType.USER, user_id)

    @classmethod
    def chat(cls, chat_id: int) -> Self:
        """Return a chat as a peer."""
        return cls(PeerType.CHAT, chat_id)

    @classmethod
    def self(cls, user_id: int) -> Self:
        """Return a user's own saved messages as a peer, as the deployed server stores them."""
        return cls(PeerType.SELF, user_id)

    def columns(self) -> dict[str, int]:
        """Return the two columns that hold a peer in a table."""
        return {"peer_type": int(self.peer_type), "peer_id": self.peer_id}


_TALKS = (PeerType.SELF, PeerType.USER, PeerType.CHAT, PeerType.CHANNEL)


def check_peer(peer: object, allowed: Collection[PeerType] = _TALKS) -> Peer:
    """Return a peer if its type is one of `allowed`; else raise `InvalidValueError`."""
    if not isinstance(peer, Peer):
        raise InvalidValueError(f"peer is {shortened(peer)}; allowed is a Peer")
    check_member("peer_type", peer.peer_type, allowed)
    check_int("peer_id", peer.peer_id)
    return peer


@dataclass(frozen=True, slots=True)
class User(Record):
    """An account (``users``).

    Names have up to 255 characters, ``about`` 512, ``phone`` 32, ``country_code`` 2.
    """

    table = tables["users"]

    id: int
    access_hash: int = field(repr=False)
    first_name: str
    last_name: str
    username: str
    phone: str = field(repr=False)
    country_code: str
    bio: str
    about: str
    state: int
    is_bot: bool
    deleted: bool
    deleted_reason: str
    created_at: datetime | None = field(repr=False)
    updated_at: datetime | None = field(repr=False)
    deleted_at: datetime | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Link:
    """Whether a user has another in their contacts, and whether both have each other."""

    contact: bool
    mutual: bool


@dataclass(frozen=True, slots=True)
class Contact(Record):
    """An entry of ``user_contacts``; ``date2`` is when it was made."""

    table = tables["user_contacts"]

    owner_user_id: int
    contact_user_id: int
    is_blocked: bool
    is_deleted: bool
    date2: int


@dataclass(frozen=True, slots=True)
class NotifySettings(Record):
    """A user's settings for a peer; ``is_empty``: no row, these are the columns' defaults."""

    table = tables["user_notify_settings"]

    user_id: int
    peer_type: int
    peer_id: int
    show_previews: bool = False
    silent: bool = False
    mute_until: int = 0
    sound: str = "default"
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class UserFull:
    """All that one user's client shows of another, `user`."""

    user: User
    link: Link
    notify_settings: NotifySettings
    blocked: bool
    about: str


@dataclass(frozen=True, slots=True)
class Device(Record):
    """A push token (``devices``); ``token``, up to 255 characters, is a secret."""

    table = tables["devices"]

    id: int
    auth_id: int
    user_id: int
    token_type: int
    token: str = field(repr=False)
    state: int
    created_at: datetime | None = field(repr=False)
    updated_at: datetime | None = field(repr=False)

    @property
    def registered(self) -> bool:
        """Whether pushes go to it."""
        return self.state in (DeviceState.REGISTERED, DeviceState.REGISTERED_AGAIN)


@dataclass(frozen=True, slots=True)
class Privacy(Record):
    """What a user allows (``user_privacys``).

    An account that is unused for ``ttl`` days is deleted; 0: unset.
    """

    table = tables["user_privacys"]

    user_id: int
    status_timestamp: int
    chat_invite: int
    phone_call: int
    ttl: int
    ttl_created_at: int
    has_password: bool


@dataclass(frozen=True, slots=True)
class Chat(Record):
    """A group chat (``chats``); every change adds 1 to ``version``.

    Title and topic have up to 255 characters.
    """

    table = tables["chats"]

    id: int
    creator_user_id: int
    create_random_id: int
    access_hash: int = field(repr=False)
    participant_count: int
    title: str
    title_changer_user_id: int
    title_changed_at: datetime | None = field(repr=False)
    title_change_random_id: int
    avatar_changer_user_id: int
    avatar_changed_at: datetime | None = field(repr=False)
    avatar_change_random_id: int
    is_public: bool
    about: str
    topic: str | None
    is_hidden: bool
    version: int
    created_at: datetime | None = field(repr=False)
    updated_at: datetime | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChatParticipant(Record):
    """A user in a chat (``chat_users``, or ``chat_participants`` where that holds rows)."""

    table = tables["chat_users"]

    chat_id: int
    user_id: int
    participant_type: int
    inviter_user_id: int
    invited_at: int
    joined_at: int
    state: int


@dataclass(frozen=True, slots=True)
class ChatFull:
    """A chat with its participants, in the order they came."""

    chat: Chat
    participants: tuple[ChatParticipant, ...]


@dataclass(frozen=True, slots=True)
class Dialog(Record):
    """A user's conversation (``user_dialogs``); ``top_message`` is its newest message's id."""

    table = tables["user_dialogs"]

    user_id: int
    peer_type: int
    peer_id: int
    is_pinned: bool
    top_message: int
    read_inbox_max_id: int
    read_outbox_max_id: int
    unread_count: int
    unread_mentions_count: int
    date2: int


@dataclass(frozen=True, slots=True)
class Message(Record):
    """A message as one user has it: its row of ``messages``, and that user's box.

    ``body`` is decoded from the form that ``encoding`` names, as `imlib.message_body.Body` says. If
    it is none, ``body`` is the raw bytes, ``encoding`` is None and ``body_problem`` says why.
    ``message_type`` is a `MessageType`, whatever number its server gave it. The peer is the one it
    was sent to, whoever looks. From the box come ``user_id``, its owner, ``pts`` and
    ``media_unread``. ``out``: the owner is the sender.
    """

    table = tables["messages"]

    id: int
    sender_user_id: int
    peer_type: int
    peer_id: int
    random_id: int
    message_type: int
    date2: int
    body: object = field(repr=False)
    encoding: Encoding | None
    body_problem: str | None
    text: str | None = field(repr=False)
    """What a person wrote; None where nobody wrote a text."""
    action: object = field(repr=False)
    """What a service message says was done; None in any other."""
    user_id: int
    pts: int
    out: bool
    media_unread: bool

    @classmethod
    def derived(cls, row: sa.Row[Any]) -> dict[str, object]:
        """Return what the body says, and whether the owner is the sender."""
        body = decode_body(bytes(row.body), row.sender_user_id)
        text = body.fields().get("message")
        return {
            "body": body.value,
            "encoding": body.encoding,
            "body_problem": body.problem,
            "text": text if isinstance(text, str) else None,
            "action": body.fields().get("action"),
            "message_type": body.message_type(row.message_type),
            # The box's type doesn't tell who sent it: the deployed server swapped the two in chats.
            "out": row.sender_user_id == row.user_id,
        }
