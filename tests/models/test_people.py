"""Accounts, chats and users: the operations, on both databases."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from imlib.constants import ParticipantType, PeerType, TokenType
from imlib.errors import InvalidValueError, NotFoundError
from imlib.models.records import DeviceState, Link, NotifySettings, Peer, Privacy
from tests.models.stack import NOW, Stack


def test_a_device_comes_goes_and_moves(stack: Stack) -> None:
    """A new token has state 0, a known one 1 and its new owner, an unregistered one neither;
    nothing is done twice.
    """
    ann, ben = stack.add_users(2)
    device = stack.accounts.register_device(-(2**63), ann, TokenType.GCM, "secret token")
    assert (-(2**63), ann, DeviceState.REGISTERED, True) == (
        device.auth_id,
        device.user_id,
        device.state,
        device.registered,
    )
    assert "secret token" not in repr(device)
    again = stack.accounts.register_device(-(2**63), ben, TokenType.GCM, "secret token")
    assert (device.id, -(2**63), ben, DeviceState.REGISTERED_AGAIN) == (
        again.id,
        again.auth_id,
        again.user_id,
        again.state,
    )
    assert stack.accounts.unregister_device(TokenType.GCM, "secret token")
    assert not stack.accounts.unregister_device(TokenType.GCM, "secret token")
    assert not stack.accounts.unregister_device(TokenType.APNS, "secret token")
    assert [False] == [each.registered for each in stack.accounts.get_devices(ben)]
    assert [] == stack.accounts.get_devices(ann)
    assert stack.accounts.register_device(6, ben, TokenType.GCM, "secret token").registered


def test_a_token_has_one_auth_key(stack: Stack) -> None:
    """Registering a token unregisters it for other auth keys, and no other token or type."""
    ann, ben = stack.add_users(2)
    for auth_key_id, user_id, kind, token in (
        (5, ann, TokenType.GCM, "token"),
        (5, ann, TokenType.APNS, "token"),
        (5, ann, TokenType.GCM, "other"),
        (6, ben, TokenType.GCM, "token"),
    ):
        device = stack.accounts.register_device(auth_key_id, user_id, kind, token)
        assert (auth_key_id, user_id, 0) == (device.auth_id, device.user_id, device.state)
    assert [2, 0, 0, 0] == [row["state"] for row in stack.rows("devices")]
    back = stack.accounts.register_device(5, ann, TokenType.GCM, "token")
    assert (1, DeviceState.REGISTERED_AGAIN) == (back.id, back.state)
    assert [1, 0, 0, 2] == [row["state"] for row in stack.rows("devices")]


def test_one_auth_key_unregisters(stack: Stack) -> None:
    """With an auth key only its own device is unregistered, without one the token everywhere."""
    (ann,) = stack.add_users(1)
    for auth_id in (5, 6):
        stack.put("devices", auth_id=auth_id, user_id=ann, token_type=2, token="token", state=0)
    assert not stack.accounts.unregister_device(TokenType.GCM, "token", auth_key_id=7)
    assert stack.accounts.unregister_device(TokenType.GCM, "token", auth_key_id=6)
    assert not stack.accounts.unregister_device(TokenType.GCM, "token", auth_key_id=6)
    assert [0, 2] == [row["state"] for row in stack.rows("devices")]
    assert stack.accounts.unregister_device(TokenType.GCM, "token")
    assert [2, 2] == [row["state"] for row in stack.rows("devices")]


@pytest.mark.parametrize("other", ["TOKEN", "token ", "tok\u00e9n", "token\u00df", "token\0"])
def test_tokens_are_compared_byte_by_byte(stack: Stack, other: str) -> None:
    """Tokens that a collation would take for equal are different devices."""
    (ann,) = stack.add_users(1)
    for token in ("token", other):
        device = stack.accounts.register_device(5, ann, TokenType.GCM, token)
        assert (token, DeviceState.REGISTERED) == (device.token, device.state)
    stack.accounts.register_device(6, ann, TokenType.GCM, other)
    assert [0, 2, 0] == [row["state"] for row in stack.rows("devices")]
    assert stack.accounts.unregister_device(TokenType.GCM, "token")
    assert [2, 2, 0] == [row["state"] for row in stack.rows("devices")]


def test_one_token_registered_at_once(stack: Stack) -> None:
    """Of many auth keys that register a token at once one has it in the end."""
    users = stack.add_users(8)

    def register(n: int) -> None:
        stack.accounts.register_device(n % 4, users[n], TokenType.GCM, "token")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(register, range(8)))
    registered = [row for row in stack.rows("devices") if row["state"] in (0, 1)]
    assert 1 == len(registered)
    assert 4 == len(stack.rows("devices"))


def test_what_the_deployed_server_unregistered(stack: Stack) -> None:
    """A state that holds a token type, as the deployed server left it, reads as unregistered."""
    stack.put("devices", auth_id=1, user_id=1, token_type=7, token="x", state=7)
    assert [False] == [device.registered for device in stack.accounts.get_devices(1)]


def test_notify_settings(stack: Stack) -> None:
    """No row is empty settings; what is set is had back; a reset leaves only the defaults for
    everybody.
    """
    (ann,) = stack.add_users(1)
    peer, everybody = Peer.user(2), Peer(PeerType.ALL, 0)
    assert NotifySettings(ann, 2, 2, is_empty=True) == stack.accounts.get_notify_settings(ann, peer)
    stack.accounts.set_notify_settings(
        ann, everybody, show_previews=False, silent=True, mute_until=9, sound="ding"
    )
    for sound in ("dong", "böng \U0001f514"):
        expected = NotifySettings(ann, PeerType.USER, 2, True, True, 2**31 - 1, sound)
        settings = stack.accounts.set_notify_settings(
            ann, peer, silent=True, mute_until=2**31 - 1, sound=sound
        )
        assert expected == settings == stack.accounts.get_notify_settings(ann, peer)
    plain = stack.accounts.set_notify_settings(ann, Peer(2, 2))
    assert repr(plain) == repr(stack.accounts.get_notify_settings(ann, peer))
    stack.accounts.reset_notify_settings(ann)
    assert stack.accounts.get_notify_settings(ann, peer).is_empty
    expected = NotifySettings(ann, PeerType.ALL, 0, True, False, 0, "default")
    assert expected == stack.accounts.get_notify_settings(ann, everybody)
    assert [1, 0] == [
        row["is_deleted"]
        for row in sorted(stack.rows("user_notify_settings"), key=lambda r: r["peer_type"])
    ]
    assert not stack.accounts.set_notify_settings(ann, peer).is_empty


def test_reset_without_settings(stack: Stack) -> None:
    """A reset of settings that were never set gives the defaults for everybody."""
    (ann,) = stack.add_users(1)
    stack.accounts.reset_notify_settings(ann)
    assert stack.accounts.get_notify_settings(ann, Peer(PeerType.ALL, 0)).show_previews


def test_privacy(stack: Stack) -> None:
    """Privacy tells the time to live and whether there is a password, and never the password."""
    assert None is stack.accounts.get_privacy(1)
    stack.put(
        "user_privacys",
        user_id=1,
        password="hush",
        recovery_mail="a@b",
        ttl=365,
        ttl_created_at=NOW,
    )
    stack.put("user_privacys", user_id=2, password="", recovery_mail="", ttl_created_at=0)
    assert Privacy(1, 0, 0, 0, 365, NOW, True) == stack.accounts.get_privacy(1)
    assert Privacy(2, 0, 0, 0, 0, 0, False) == stack.accounts.get_privacy(2)


def test_a_chat_from_its_creation(stack: Stack) -> None:
    """The creator is a participant once, listed or not; a repeated random_id is the first chat."""
    ann, ben, cy = stack.add_users(3)
    chat = stack.chats.create_chat(ann, "Lunch \U0001f35c", [ben, ann, cy, ben], -(2**63))
    assert ("Lunch \U0001f35c", 3, 1, ann) == (
        chat.title,
        chat.participant_count,
        chat.version,
        chat.creator_user_id,
    )
    full = stack.chats.get_chat_full(chat.id)
    ranks = {each.user_id: each.participant_type for each in full.participants}
    assert {
        ann: ParticipantType.CREATOR,
        ben: ParticipantType.MEMBER,
        cy: ParticipantType.MEMBER,
    } == ranks
    assert [(ann, NOW)] * 3 == [
        (each.inviter_user_id, each.joined_at) for each in full.participants
    ]
    again = stack.chats.create_chat(ann, "Lunch \U0001f35c", [cy, ben], -(2**63))
    assert chat == again == stack.chats.get_chat(chat.id) == full.chat
    assert chat.id != stack.chats.create_chat(ben, "Other", [], -(2**63)).id
    assert str(chat.access_hash) not in repr(chat)


@pytest.mark.parametrize(
    ("title", "members"),
    [
        ("lunch", [2, 3]),
        ("Lunch ", [2, 3]),
        ("Lunch", [2]),
        ("Lunch", [2, 4]),
        ("Lunch", [2, 3, 4]),
    ],
)
def test_a_random_id_used_for_another_chat(stack: Stack, title: str, members: list[int]) -> None:
    """A random_id again with another title or other members is an error that names the first."""
    stack.add_users(4)
    chat = stack.chats.create_chat(1, "Lunch", [2, 3], 7)
    before = [stack.rows("chats"), stack.rows("chat_users")]
    with pytest.raises(InvalidValueError, match=f"^random_id 7 is chat {chat.id}'s, .*written$"):
        stack.chats.create_chat(1, title, members, 7)
    assert before == [stack.rows("chats"), stack.rows("chat_users")]


def test_a_chat_that_changed_since(stack: Stack) -> None:
    """A retry finds its chat after changes; another request is told apart as far as rows tell."""
    ann, ben, cy, dee = stack.add_users(4)
    chat = stack.chats.create_chat(ann, "Lunch", [ben, cy], 7)
    stack.chats.add_chat_participant(chat.id, dee, ben)
    stack.chats.delete_chat_user(chat.id, cy)
    assert chat.id == stack.chats.create_chat(ann, "Lunch", [cy, ben], 7).id
    for title, members in (("Dinner", [ben, cy]), ("Lunch", [ben, dee]), ("Lunch", [cy])):
        with pytest.raises(InvalidValueError, match=f"is chat {chat.id}'s"):
            stack.chats.create_chat(ann, title, members, 7)
    stack.chats.edit_chat_title(chat.id, ben, "Dinner", 7)
    assert "Dinner" == stack.chats.create_chat(ann, "Lunch", [ben, cy], 7).title
    assert 4 == len(stack.rows("chat_users"))


def test_a_chat_that_was_made_in_part(stack: Stack) -> None:
    """A chat whose writer died before all were in it is completed by its retry."""
    ann, ben, cy = stack.add_users(3)
    chat = stack.chats.create_chat(ann, "Lunch", [ben, cy], 7)
    with stack.deployment.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM chat_users WHERE user_id > 1")
    for members in ([ben], [ben, cy, 99]):
        with pytest.raises((InvalidValueError, NotFoundError)):
            stack.chats.create_chat(ann, "Lunch", members, 7)
    assert chat == stack.chats.create_chat(ann, "Lunch", [ben, cy], 7)
    assert [ann, ben, cy] == [p.user_id for p in stack.chats.get_chat_participants(chat.id)]


def test_chats_that_nobody_marked(stack: Stack) -> None:
    """Chats without a random_id are different chats, whatever the unique keys."""
    (ann,) = stack.add_users(1)
    chats = [stack.chats.create_chat(ann, "Same", []) for _ in range(3)]
    found = stack.chats.get_chats_by_id_list([chats[2].id, 99, chats[0].id])
    assert [chats[2], chats[0]] == found


def test_who_comes_and_goes(stack: Stack) -> None:
    """Each change counts the version up; a second arrival changes nothing; who returns is one row
    again.
    """
    ann, ben, cy = stack.add_users(3)
    chat = stack.chats.create_chat(ann, "Lunch", [ben])

    def state() -> tuple[int, int, list[int]]:
        now = stack.chats.get_chat(chat.id)
        return (
            now.participant_count,
            now.version,
            [p.user_id for p in stack.chats.get_chat_participants(chat.id)],
        )

    added = stack.chats.add_chat_participant(chat.id, cy, ben, ParticipantType.ADMIN)
    assert (cy, ben, ParticipantType.ADMIN) == (
        added.user_id,
        added.inviter_user_id,
        added.participant_type,
    )
    assert added == stack.chats.add_chat_participant(chat.id, cy, ann)
    assert (3, 2, [ann, ben, cy]) == state()
    stack.chats.delete_chat_user(chat.id, ben)
    with pytest.raises(NotFoundError, match=f"user {ben} is not in chat"):
        stack.chats.delete_chat_user(chat.id, ben)
    assert (2, 3, [ann, cy]) == state()
    stack.chats.add_chat_participant(chat.id, ben, cy)
    assert (3, 4, [ann, ben, cy]) == state()
    assert 3 == len(stack.rows("chat_users"))


def test_a_title_changes(stack: Stack) -> None:
    """A title changes once for each random_id, is dated, and counts the version up."""
    ann, ben = stack.add_users(2)
    chat = stack.chats.create_chat(ann, "Lunch", [ben])
    edited = stack.chats.edit_chat_title(chat.id, ben, "Dinner", 5)
    assert ("Dinner", 2, ben) == (edited.title, edited.version, edited.title_changer_user_id)
    assert edited.title_changed_at is not None
    assert edited == stack.chats.edit_chat_title(chat.id, ben, "Dinner", 5)
    with pytest.raises(InvalidValueError, match=f"^random_id 5 is chat {chat.id}'s, .*written$"):
        stack.chats.edit_chat_title(chat.id, ben, "Again", 5)
    assert edited == stack.chats.get_chat(chat.id)
    other = stack.chats.create_chat(ben, "Other", [])
    with pytest.raises(InvalidValueError):
        stack.chats.edit_chat_title(other.id, ben, "Taken", 5)
    assert other == stack.chats.get_chat(other.id)


def test_users(stack: Stack) -> None:
    """Users are had by id in the order asked for, None where there is none, with names in any
    script.
    """
    ann = stack.users.create_user(
        "+1", "Ḁnn \U0001f469", "李" * 255, username="ann", country_code="GB"
    )
    ben = stack.users.create_user("+2", "Ben")
    assert ann == stack.users.get_user(ann.id)
    assert None is stack.users.get_user(99)
    assert [ben, ann] == stack.users.get_user_list([ben.id, 99, ann.id, ben.id])
    assert ("李" * 255, None, False) == (ann.last_name, ann.deleted_at, ann.is_bot)
    assert "+1" not in repr(ann)
    assert str(ann.access_hash) not in repr(ann)


def test_one_user_as_another_sees_them(stack: Stack) -> None:
    """Link, block and notify settings are those between the two, in the right direction."""
    ann, ben = stack.add_users(2)
    stack.put("user_contacts", owner_user_id=ann, contact_user_id=ben, is_blocked=1, date2=NOW)
    stack.accounts.set_notify_settings(ann, Peer.user(ben), silent=True)
    full = stack.users.get_user_full(ann, ben)
    assert (Link(contact=True, mutual=False), True, True) == (
        full.link,
        full.blocked,
        full.notify_settings.silent,
    )
    back = stack.users.get_user_full(ben, ann)
    assert (Link(contact=False, mutual=False), False, True) == (
        back.link,
        back.blocked,
        back.notify_settings.is_empty,
    )
    stack.put("user_contacts", owner_user_id=ben, contact_user_id=ann, date2=NOW)
    assert stack.users.get_user_full(ann, ben).link.mutual
    with pytest.raises(NotFoundError, match="no such user: 99"):
        stack.users.get_user_full(ann, 99)


def test_contacts(stack: Stack) -> None:
    """Contacts leave out the deleted ones, the blocked are a list of their own."""
    for contact, blocked, deleted in [(2, 0, 0), (3, 1, 0), (4, 1, 1), (5, 0, 1)]:
        stack.put(
            "user_contacts",
            owner_user_id=1,
            contact_user_id=contact,
            is_blocked=blocked,
            is_deleted=deleted,
            date2=0,
        )
    assert [2, 3] == [contact.contact_user_id for contact in stack.users.get_contacts(1)]
    assert [3, 4] == [contact.contact_user_id for contact in stack.users.get_blocked(1)]


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda s: s.chats.create_chat(1, "", []), InvalidValueError),
        (lambda s: s.chats.create_chat(1, "x" * 256, []), InvalidValueError),
        (lambda s: s.chats.create_chat(1, "\ud800", []), InvalidValueError),
        (lambda s: s.chats.create_chat(1, "x", [9]), NotFoundError),
        (lambda s: s.chats.create_chat(9, "x", []), NotFoundError),
        (lambda s: s.chats.get_chat(9), NotFoundError),
        (lambda s: s.chats.get_chat_full(9), NotFoundError),
        (lambda s: s.chats.get_chat_participants(9), NotFoundError),
        (lambda s: s.chats.add_chat_participant(9, 1, 1), NotFoundError),
        (lambda s: s.chats.add_chat_participant(9, 1, 1, 3), InvalidValueError),
        (lambda s: s.chats.edit_chat_title(9, 1, "x"), NotFoundError),
        (lambda s: s.users.create_user("", "x"), InvalidValueError),
        (lambda s: s.users.create_user("+0", "x"), InvalidValueError),
        (lambda s: s.users.create_user("+9", "x" * 256), InvalidValueError),
        (lambda s: s.users.create_user("+9", "x", country_code="GBR"), InvalidValueError),
        (lambda s: s.users.create_user("+9", 5), InvalidValueError),
        (lambda s: s.users.get_user(2**31), InvalidValueError),
        (lambda s: s.users.get_user_list([1.0]), InvalidValueError),
        (lambda s: s.accounts.register_device(1, 9, 2, "x"), NotFoundError),
        (lambda s: s.accounts.register_device(1, 1, 8, "x"), InvalidValueError),
        (lambda s: s.accounts.register_device(2**63, 1, 2, "x"), InvalidValueError),
        (lambda s: s.accounts.register_device(1, 1, 2, "x" * 256), InvalidValueError),
        (lambda s: s.accounts.register_device(1, 1, 2, ""), InvalidValueError),
        (lambda s: s.accounts.set_notify_settings(9, Peer.user(1)), NotFoundError),
        (lambda s: s.accounts.set_notify_settings(1, Peer(PeerType.SELF, 1)), InvalidValueError),
        (
            lambda s: s.accounts.set_notify_settings(1, Peer.user(1), mute_until=2**31),
            InvalidValueError,
        ),
        (lambda s: s.accounts.get_notify_settings(1, Peer(PeerType.EMPTY, 0)), InvalidValueError),
    ],
)
def test_what_is_refused(
    stack: Stack, ask: Callable[[Stack], object], expected: type[Exception]
) -> None:
    """What does not exist or does not fit is one clear error, and nothing is written."""
    stack.add_users(1)
    with pytest.raises(expected):
        ask(stack)
    assert 1 == len(stack.rows("users"))
    assert [] == stack.rows("chats") + stack.rows("devices") + stack.rows("user_notify_settings")


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda s: s.chats.get_chat("x"), "chat_id is 'x'"),
        (lambda s: s.chats.delete_chat_user("x", 1), "chat_id is 'x'"),
        (lambda s: s.chats.add_chat_participant(2**31, 1, 1), "chat_id is 2147483648"),
        (lambda s: s.users.get_user_list([1, None]), "user_id is None"),
        (lambda s: s.users.get_contacts(1.0), "user_id is 1.0"),
        (lambda s: s.users.get_user_full(2**63, 1), "user_id is 9223372036854775808"),
        (lambda s: s.accounts.get_privacy(True), "user_id is True"),
        (
            lambda s: s.messages.get_messages_by_id_list(1, [-(2**31) - 1]),
            "message_id is -2147483649",
        ),
        (
            lambda s: s.messages.create_message_boxes(1, 1, Peer.user(1), True, "x"),
            "message_id is 'x'",
        ),
        (
            lambda s: s.messages.create_history_message(1, Peer.user(1), None, "hi"),
            "random_id is None",
        ),
    ],
)
def test_a_refusal_names_the_argument(
    stack: Stack, ask: Callable[[Stack], object], named: str
) -> None:
    """A value that its column could not hold is named as the caller knows it, and what is allowed
    follows.
    """
    stack.add_users(1)
    with pytest.raises(
        InvalidValueError, match=f"^{re.escape(named)}; allowed is an integer from "
    ):
        ask(stack)


@pytest.mark.parametrize(
    ("write", "absent"),
    [
        (lambda s: s.chats.create_chat(1, "x", [8, 9]), "no such user: 8, 9; the table users"),
        (lambda s: s.chats.edit_chat_title(9, 1, "x"), "no such chat: 9; the table chats"),
        (
            lambda s: s.messages.send_message(1, Peer.chat(9), "x"),
            "no such chat: 9; the table chats",
        ),
        (
            lambda s: s.messages.create_message_boxes(1, 1, Peer.user(1), True, 9),
            "no such message: 9; the table messa",
        ),
    ],
)
def test_a_write_says_that_nothing_was_written(
    stack: Stack, write: Callable[[Stack], object], absent: str
) -> None:
    """What a write names and does not exist is told with its table, and that the write left nothing
    behind.
    """
    stack.add_users(1)
    with pytest.raises(
        NotFoundError, match=rf"^{absent}\w* has no row with this id, nothing was written$"
    ):
        write(stack)


def test_the_longest_values_fit(stack: Stack) -> None:
    """A value exactly as long as its column is stored."""
    user = stack.users.create_user(
        "9" * 32, "\U0001f600" * 255, username="u" * 255, country_code="GB"
    )
    assert user == stack.users.get_user(user.id)
    assert "t" * 255 == stack.chats.create_chat(user.id, "t" * 255, []).title
    assert (
        "t" * 255
        == stack.accounts.register_device(2**63 - 1, user.id, TokenType.MPNS, "t" * 255).token
    )
