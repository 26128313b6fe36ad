"""The constants: the specification's values, under its names and as enumerations."""

from __future__ import annotations

from enum import IntEnum

import pytest

import imlib
from imlib import constants

# As they stand in the specification, name by name.
SPECIFIED = {
    "TOKEN_TYPE_APNS": (1, imlib.TokenType.APNS),
    "TOKEN_TYPE_GCM": (2, imlib.TokenType.GCM),
    "TOKEN_TYPE_MPNS": (3, imlib.TokenType.MPNS),
    "TOKEN_TYPE_SIMPLE_PUSH": (4, imlib.TokenType.SIMPLE_PUSH),
    "TOKEN_TYPE_UBUNTU_PHONE": (5, imlib.TokenType.UBUNTU_PHONE),
    "TOKEN_TYPE_BLACKBERRY": (6, imlib.TokenType.BLACKBERRY),
    "TOKEN_TYPE_INTERNAL_PUSH": (7, imlib.TokenType.INTERNAL_PUSH),
    "MESSAGE_TYPE_UNKNOWN": (0, imlib.MessageType.UNKNOWN),
    "MESSAGE_TYPE_MESSAGE": (1, imlib.MessageType.MESSAGE),
    "MESSAGE_TYPE_MESSAGE_SERVICE": (2, imlib.MessageType.MESSAGE_SERVICE),
    "MESSAGE_BOX_TYPE_INCOMING": (0, imlib.MessageBoxType.INCOMING),
    "MESSAGE_BOX_TYPE_OUTGOING": (1, imlib.MessageBoxType.OUTGOING),
    "ONLINE_TIMEOUT": (15, imlib.OnlineTimeout.ONLINE),
    "CHECK_ONLINE_TIMEOUT": (17, imlib.OnlineTimeout.CHECK_ONLINE),
}
DEPLOYED: dict[type[IntEnum], dict[str, int]] = {
    imlib.PeerType: {
        "UNKNOWN": -1,
        "EMPTY": 0,
        "SELF": 1,
        "USER": 2,
        "CHAT": 3,
        "CHANNEL": 4,
        "USERS": 5,
        "CHATS": 6,
        "ALL": 7,
    },
    imlib.ParticipantType: {"MEMBER": 0, "ADMIN": 1, "CREATOR": 2},
}


@pytest.mark.parametrize("name", SPECIFIED)
def test_both_names_are_one_object(name: str) -> None:
    """The specification's name, the enumeration's member and the number are equal; the first two
    are one object.
    """
    value, member = SPECIFIED[name]
    assert value == member
    assert member is getattr(imlib, name) is getattr(constants, name)


def test_nothing_is_missing_and_nothing_invented() -> None:
    """Every upper-case name of the package is the specification's, and every member of its groups
    has one.
    """
    assert set(SPECIFIED) == {name for name in constants.__all__ if name.isupper()}
    groups = {type(member) for _, member in SPECIFIED.values()}
    assert {member for _, member in SPECIFIED.values()} == {
        member for group in groups for member in group
    }
    assert set(constants.__all__) <= set(imlib.__all__)


@pytest.mark.parametrize("group", DEPLOYED)
def test_the_deployed_servers_groups(group: type[IntEnum]) -> None:
    """Peer and participant types are what the deployed server stores."""
    assert DEPLOYED[group] == {member.name: member.value for member in group}


def test_they_are_numbers() -> None:
    """What is read from a column compares with them, and what is unknown is refused."""
    assert [imlib.TokenType.GCM] == [2]
    assert imlib.PeerType(-1) is imlib.PeerType.UNKNOWN
    with pytest.raises(ValueError, match="8 is not a valid TokenType"):
        imlib.TokenType(8)
