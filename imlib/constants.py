"""The server's numbers with their names: tokens, messages, boxes, timeouts, peers, participants.

Each group is an `enum.IntEnum`. The specification's groups have its own names too:
``TOKEN_TYPE_APNS`` and ``TokenType.APNS`` are one object.

Source: the constants of the specification; for `PeerType` and `ParticipantType`, the numbers that
the deployed server stores.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "CHECK_ONLINE_TIMEOUT",
    "MESSAGE_BOX_TYPE_INCOMING",
    "MESSAGE_BOX_TYPE_OUTGOING",
    "MESSAGE_TYPE_MESSAGE",
    "MESSAGE_TYPE_MESSAGE_SERVICE",
    "MESSAGE_TYPE_UNKNOWN",
    "ONLINE_TIMEOUT",
    "TOKEN_TYPE_APNS",
    "TOKEN_TYPE_BLACKBERRY",
    "TOKEN_TYPE_GCM",
    "TOKEN_TYPE_INTERNAL_PUSH",
    "TOKEN_TYPE_MPNS",
    "TOKEN_TYPE_SIMPLE_PUSH",
    "TOKEN_TYPE_UBUNTU_PHONE",
    "MessageBoxType",
    "MessageType",
    "OnlineTimeout",
    "ParticipantType",
    "PeerType",
    "TokenType",
]


class TokenType(IntEnum):
    """The push service that a device's token belongs to (``devices.token_type``).

    Examples
    --------
    >>> TokenType(2)
    <TokenType.GCM: 2>
    """

    APNS = 1
    GCM = 2
    MPNS = 3
    SIMPLE_PUSH = 4
    UBUNTU_PHONE = 5
    BLACKBERRY = 6
    INTERNAL_PUSH = 7
    """The Android app's own push connection."""


class MessageType(IntEnum):
    """What a row of ``messages`` holds (``messages.message_type``).

    Beside its JSON the deployed server stores one more than these: 1 empty, 2 message, 3 service.
    """

    UNKNOWN = 0
    MESSAGE = 1
    MESSAGE_SERVICE = 2
    """A notice such as "Ann joined", written by the server on a user's behalf."""


class MessageBoxType(IntEnum):
    """Which way a message went, seen from the box's owner (``message_boxes.message_box_type``).

    In chats the deployed server wrote the one for the other; ``sender_user_id`` tells in any case.
    """

    INCOMING = 0
    OUTGOING = 1


class OnlineTimeout(IntEnum):
    """The two periods of a presence lease, in seconds."""

    ONLINE = 15
    """The time to live that every report gives the user's Redis key."""
    CHECK_ONLINE = 17
    """How long a session counts after its own report: the lease and 2 s of allowed clock error."""


class PeerType(IntEnum):
    """What a conversation is with (``peer_type`` columns); the deployed server's values."""

    UNKNOWN = -1
    EMPTY = 0
    SELF = 1
    USER = 2
    CHAT = 3
    CHANNEL = 4
    USERS = 5
    CHATS = 6
    ALL = 7


class ParticipantType(IntEnum):
    """A rank in a chat (``chat_users.participant_type``); the deployed server's values."""

    MEMBER = 0
    ADMIN = 1
    CREATOR = 2


TOKEN_TYPE_APNS = TokenType.APNS
TOKEN_TYPE_GCM = TokenType.GCM
TOKEN_TYPE_MPNS = TokenType.MPNS
TOKEN_TYPE_SIMPLE_PUSH = TokenType.SIMPLE_PUSH
TOKEN_TYPE_UBUNTU_PHONE = TokenType.UBUNTU_PHONE
TOKEN_TYPE_BLACKBERRY = TokenType.BLACKBERRY
TOKEN_TYPE_INTERNAL_PUSH = TokenType.INTERNAL_PUSH

MESSAGE_TYPE_UNKNOWN = MessageType.UNKNOWN
MESSAGE_TYPE_MESSAGE = MessageType.MESSAGE
MESSAGE_TYPE_MESSAGE_SERVICE = MessageType.MESSAGE_SERVICE

MESSAGE_BOX_TYPE_INCOMING = MessageBoxType.INCOMING
MESSAGE_BOX_TYPE_OUTGOING = MessageBoxType.OUTGOING

ONLINE_TIMEOUT = OnlineTimeout.ONLINE
CHECK_ONLINE_TIMEOUT = OnlineTimeout.CHECK_ONLINE
