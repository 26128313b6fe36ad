"""What the models give back: frozen records, an attribute a column unless said otherwise.

Widths are the columns': ids int32; auth keys, access hashes and random ids int64. Names that begin
with ``date`` or end in ``_at`` or ``_until`` and are ints hold Unix seconds; `datetime` attributes
are UTC, and None means never. What a log must not show (access hashes, tokens, phones, what people
wrote) is in no repr; nor are the moments that the database's own clock sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from functools import cache
from typing import Any, Self, get_type_hints

import sqlalchemy as sa

from imlib.constants import ParticipantType, PeerType


class DeviceState(IntEnum):
    """What ``devices.state`` says; any other value means unregistered too (the deployed server left
    some).
    """

    REGISTERED = 0
    REGISTERED_AGAIN = 1
    UNREGISTERED = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a conversation: a user, or a chat.

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

    def columns(self) -> dict[str, int]:
        """Return the two columns that name a peer in a table."""
        return {"peer_type": int(self.peer_type), "peer_id": self.peer_id}


class Record:
    """The base of the records that are read from rows."""

    __slots__ = ()

    @classmethod
    def select(cls, table: sa.Table) -> sa.Select[Any]:
        """Return the statement that reads the record's columns and no other."""
        return sa.select(*(table.c[name] for name in map(str, cls.__slots__) if name in table.c))

    @classmethod
    def from_row(cls, row: sa.Row[Any], **extra: Any) -> Self:
        """Build the record from a row that has its columns, among others; numbers become bools and
        enums.
        """
        values: dict[str, Any] = {**row._mapping, **extra}
        readers = _readers(cls)  # type: ignore[arg-type]  # a class is hashable
        return cls(**{name: read(values[name]) for name, read in readers.items() if name in values})


def _as_stored(value: Any) -> Any:
    return value


@cache
def _readers(record: type[Record]) -> dict[str, Callable[[Any], Any]]:
    """Return for each attribute of a record what makes its value of the column's: bools and enums
    of numbers.
    """
    hints = get_type_hints(record)
    return {
        name: _READERS.get(name, bool if hints[name] is bool else _as_stored)
        for name in map(str, record.__slots__)
    }


def _member(kind: type[IntEnum]) -> Callable[[int], int]:
    # A number that the deployed server invented later stays a number.
    members: dict[Any, Any] = kind._value2member_map_
    return lambda value: members.get(value, value)


_READERS: dict[str, Callable[[Any], Any]] = {
    "peer_type": _member(PeerType),
    "participant_type": _member(ParticipantType),
}


@dataclass(frozen=True, slots=True)
class User(Record):
    """An account (``users``); names up to 255 characters, about up to 512, phone 32, country_code
    2.
    """

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
    """Whether two users have each other in their contacts: the one who asks the other, and the
    other way round.
    """

    contact: bool
    mutual: bool


@dataclass(frozen=True, slots=True)
class Contact(Record):
    """An entry of ``user_contacts``; ``date2``: when it was made."""

    owner_user_id: int
    contact_user_id: int
    is_blocked: bool
    is_deleted: bool
    date2: int


@dataclass(frozen=True, slots=True)
class NotifySettings(Record):
    """How a user wants to hear of a peer; ``is_empty``: no row says so, these are what the columns
    default to.
    """

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
    """All that one user's client shows of another: `user` as seen by who asks."""

    user: User
    link: Link
    notify_settings: NotifySettings
    blocked: bool
    about: str


@dataclass(frozen=True, slots=True)
class Device(Record):
    """A push token (``devices``); ``token``, up to 255 characters, is a secret."""

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
    """What a user allows (``user_privacys``); ``ttl``: days of absence after which the account
    goes, 0 if unset.
    """

    user_id: int
    status_timestamp: int
    chat_invite: int
    phone_call: int
    ttl: int
    ttl_created_at: int
    has_password: bool


@dataclass(frozen=True, slots=True)
class Chat(Record):
    """A group chat (``chats``); title and topic up to 255 characters; ``version`` grows by 1 with
    every change.
    """

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
    """A user in a chat (``chat_users``)."""

    chat_id: int
    user_id: int
    participant_type: int
    inviter_user_id: int
    invited_at: int
    joined_at: int
    state: int


@dataclass(frozen=True, slots=True)
class ChatFull:
    """A chat with those who are in it, in the order in which they came."""

    chat: Chat
    participants: tuple[ChatParticipant, ...]


@dataclass(frozen=True, slots=True)
class Dialog(Record):
    """A conversation as its owner sees it (``user_dialogs``); ``top_message``: the id of its newest
    message.
    """

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
    """A message as one user has it: the row of ``messages``, and from that user's box ``out`` and
    what follows.

    ``body`` is the decoded JSON; where the stored text is none, it is the raw bytes, and
    ``body_problem`` says why. The peer is whom it was sent to, whoever looks; ``out``: the box's
    owner sent it.
    """

    id: int
    sender_user_id: int
    peer_type: int
    peer_id: int
    random_id: int
    message_type: int
    date2: int
    body: object = field(repr=False)
    body_problem: str | None
    user_id: int
    pts: int
    out: bool
    media_unread: bool

    @property
    def text(self) -> str | None:
        """What a person wrote; None for a body that is not of the kind that send_message stores."""
        text = self.body.get("message") if isinstance(self.body, dict) else None
        return text if isinstance(text, str) else None
