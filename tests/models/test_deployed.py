"""Every model on a database in the deployed server's own shape: zero dates, 3-byte utf8, MyISAM, no
indexes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imlib.constants import MessageType, PeerType, TokenType
from imlib.errors import FallbackWarning, InvalidValueError, ReadOnlyError, SchemaError
from imlib.message_body import Encoding, encode_body
from imlib.models.records import Peer
from imlib.schema import create_all
from imlib.schema_check import check_schema
from tests.models.stack import NOW, Stack, open_stack
from tests.models.test_processes import outcome, start
from tests.private_servers.mariadb import PrivateMariaDB
from tools.body_vectors import TO_USER, go_json, in_utf8_column, protobuf

# What every first write says, see `test_the_first_write_beside_telegramd`.
pytestmark = pytest.mark.filterwarnings("ignore:imlib. telegramd made these tables")
DUMP = Path(__file__).parents[1] / "deployed_dump.sql"


@pytest.fixture
def url(mariadb: PrivateMariaDB) -> str:
    """Give the URL of a database with the dump in it."""
    made = mariadb.new_database("utf8")
    mariadb.run(DUMP.read_text(encoding="utf-8"), made.partition("?")[0].rpartition("/")[2])
    return made


@pytest.fixture
def stack(url: str) -> Iterator[Stack]:
    """Give the models over it; nothing is created."""
    with open_stack(url, tables_too=False) as opened:
        yield opened


def test_the_report(stack: Stack) -> None:
    """The comparison finds the drift, the MyISAM table and the indexes that are missing, and that
    all can work.
    """
    report = check_schema(stack.deployment.engine)
    assert report.ok
    assert (["users.is_verified"], ["banned"], ["seq_updates_ngen"]) == (
        report.extra_columns,
        report.extra_tables,
        report.not_transactional,
    )
    assert "message_boxes(user_id, pts)" in report.missing_indexes
    assert {"chats", "devices", "message_boxes", "messages"} == {
        i.partition("(")[0] for i in report.missing_indexes
    }
    create_all(stack.deployment.engine)
    assert report == check_schema(stack.deployment.engine)


def test_users_and_zero_dates(stack: Stack) -> None:
    """What a zero date dates never was."""
    ann = stack.users.get_user(1)
    assert ann is not None
    assert ("李", -(2**63), None, None) == (
        ann.last_name,
        ann.access_hash,
        ann.created_at,
        ann.deleted_at,
    )
    assert ann.updated_at is not None
    assert "first" == stack.users.get_user_full(2, 1).about
    assert [2] == [contact.contact_user_id for contact in stack.users.get_contacts(1)]
    assert 4 == stack.users.create_user("864", "Dee").id


def test_messages_go_on(stack: Stack) -> None:
    """Old messages are read, raw ones too; new ones go on from the old pts, emoji included."""
    first, second = stack.messages.get_messages_by_gt_pts(2, 0)
    assert ("hello", 40, "#a5 not JSON ü".encode()) == (first.text, first.pts, second.body)
    assert 41 == stack.updates.get_state(-5, 2).pts
    sent = stack.messages.send_message(1, Peer.user(2), "\U0001f600", 99)
    assert (4, 3, "\U0001f600") == (sent.id, sent.pts, sent.text)
    assert sent == stack.messages.send_message(1, Peer.user(2), "\U0001f600", 99)
    with pytest.raises(InvalidValueError, match="random_id 99 is message 4's"):
        stack.messages.send_message(1, Peer.user(2), "again", 99)
    assert [42] == [message.pts for message in stack.messages.get_messages_by_gt_pts(2, 41)]
    assert [3] == [
        d.unread_count for d in stack.dialogs.get_dialogs_by_user_id_and_type(2, PeerType.EMPTY)
    ]
    half = stack.messages.send_message(1, Peer.user(2), "nobody has it", 23)
    assert (3, 4, 1512270002) == (half.id, half.pts, half.date2)
    (dialog,) = stack.dialogs.get_dialogs_by_user_id_and_type(2, PeerType.EMPTY)
    assert (4, NOW, 4) == (dialog.top_message, dialog.date2, dialog.unread_count)
    assert 2 == len(stack.rows("message_boxes", message_id=3))
    assert 5 == stack.messages.create_history_message_service(1, Peer.chat(1), 7, "x")
    assert 44 == stack.messages.create_message_boxes(2, 1, Peer.chat(1), True, 5)
    assert 3 == len(stack.messages.get_messages_by_user_id_peer_offset_limit(1, Peer.user(2), 4))
    assert [2, 3] == [
        m.id
        for m in stack.messages.get_messages_by_peer_and_message_id_list(1, Peer.user(2), [2, 3])
    ]
    assert [0, 0] == [stack.updates.get_state(-5, 3).pts, stack.updates.get_state(-5, 9).pts]


def put_message(stack: Stack, kind: int, body: bytes, random_id: int = 5) -> int:
    """Store a message of user 1 to user 2 as it is, with a box for both; return its id."""
    insert = (
        "INSERT INTO messages (sender_user_id, peer_type, peer_id, random_id, message_type, "
        "message_data, date2) VALUES (1, 2, 2, %s, %s, %s, %s)"
    )
    with stack.deployment.engine.begin() as connection:
        values = (random_id, kind, body, NOW)
        message_id = int(connection.exec_driver_sql(insert, values).lastrowid)
    for user_id in (1, 2):
        stack.messages.create_message_boxes(user_id, 1, Peer.user(2), user_id == 2, message_id)
    return message_id


def test_bodies_of_each_form(stack: Stack) -> None:
    """Text, action and type of a message are the same, whichever server stored it in what form."""
    with stack.deployment.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE messages MODIFY message_data blob NOT NULL"))
    head: dict[str, Any] = {"from_id": 1, **TO_USER}
    texts: list[tuple[Any, ...]] = [
        (Encoding.PROTOBUF, 1, protobuf(head | {"message": "\U0001f600 hello"})),
        (Encoding.GO_JSON, 2, go_json({"from_id": 1, "message": "\U0001f600 hello"})),
        (Encoding.JSON, 1, encode_body({"message": "\U0001f600 hello"}).encode()),
    ]
    notices: list[tuple[Any, ...]] = [
        (Encoding.PROTOBUF, 2, protobuf(head | {"action": {13: {}}}), {13: {}}),
        (Encoding.GO_JSON, 3, go_json({"action": {"constructor": 1}}), {"constructor": 1}),
        (Encoding.JSON, 2, encode_body({"action": "Ann joined"}).encode(), "Ann joined"),
    ]
    stored = [put_message(stack, kind, raw) for _, kind, raw, *_ in [*texts, *notices]]
    read = stack.messages.get_messages_by_id_list(2, stored)
    for (form, _, raw), message in zip(texts, read[:3], strict=True):
        assert (form, "\U0001f600 hello", None) == (message.encoding, message.text, message.action)
        assert (MessageType.MESSAGE, False) == (message.message_type, message.out)
        assert raw.decode(errors="replace") not in repr(message)
        assert "hello" not in repr(message)
    for (form, _, _, action), message in zip(notices, read[3:], strict=True):
        assert (form, action, None) == (message.encoding, message.action, message.text)
        assert MessageType.MESSAGE_SERVICE is message.message_type
    empty = put_message(stack, 1, go_json({}))
    assert MessageType.UNKNOWN is stack.messages.get_messages_by_id_list(1, [empty])[0].message_type


def test_a_body_that_its_column_damaged(stack: Stack) -> None:
    """What a utf8 column left of protobuf is bytes with the reason, and no retry is its message."""
    raw = in_utf8_column(protobuf({"from_id": 1, **TO_USER, "message": "hello"}))
    (message,) = stack.messages.get_messages_by_id_list(2, [put_message(stack, 1, raw, 77)])
    assert (raw, None, None) == (message.body, message.encoding, message.text)
    assert str(message.body_problem).startswith("damaged by the column")
    with pytest.raises(InvalidValueError, match=r"random_id 77.*cannot be compared \(damaged"):
        stack.messages.send_message(1, Peer.user(2), "hello", 77)


@pytest.mark.parametrize("form", ["protobuf", "go_json"])
def test_a_retry_of_what_telegramd_stored(stack: Stack, form: str) -> None:
    """The same text again, sent through imlib, is the message that telegramd stored; another text,
    or a notice that says the same, is not.
    """
    with stack.deployment.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE messages MODIFY message_data blob NOT NULL"))
    fields = {"from_id": 1, **TO_USER, "message": "gr\u00fc\u00dfe"}
    raw = protobuf(fields) if form == "protobuf" else go_json({**fields, "to_id": {}})
    first = put_message(stack, 1 if form == "protobuf" else 2, raw, 78)
    assert first == stack.messages.send_message(1, Peer.user(2), "gr\u00fc\u00dfe", 78).id
    assert first == stack.messages.create_history_message(1, Peer.user(2), 78, "gr\u00fc\u00dfe")
    with pytest.raises(InvalidValueError, match="random_id 78"):
        stack.messages.send_message(1, Peer.user(2), "gru\u00dfe", 78)
    other = put_message(stack, 2 if form == "protobuf" else 3, raw, 79)
    with pytest.raises(InvalidValueError, match=f"random_id 79 is message {other}'s"):
        stack.messages.send_message(1, Peer.user(2), "gr\u00fc\u00dfe", 79)


def test_a_group_chat_of_the_deployed_server(stack: Stack) -> None:
    """Its boxes have their types swapped in chats: the sender alone tells whose a message is."""
    message_id = stack.messages.create_history_message(1, Peer.chat(1), 7, "hello")
    for user_id in (1, 2):
        stack.messages.create_message_boxes(user_id, 1, Peer.chat(1), user_id == 1, message_id)
    assert [True, False] == [
        stack.messages.get_messages_by_user_id_peer_offset_limit(user_id, Peer.chat(1))[0].out
        for user_id in (1, 2)
    ]
    sent = stack.messages.send_message(1, Peer.chat(1), "hello", 7)
    assert (message_id, True) == (sent.id, sent.out)
    assert [0, 1] == sorted(b["message_box_type"] for b in stack.rows("message_boxes", peer_type=3))
    assert [0, 0] == [d["unread_count"] for d in stack.rows("user_dialogs", peer_type=3)]


def test_killed_and_tried_again(url: str) -> None:
    """A sender killed at any statement, MyISAM's and one that writes step by step too: the retry
    makes each message whole, once.
    """
    for operation in ("send_message_to_chat", "send_in_steps"):
        outcomes = outcome(start("crash", url, operation))
        assert {-9} == {each["exit"] for each in outcomes[:-1]}
    with open_stack(url, tables_too=False) as stack:
        messages = [row["id"] for row in stack.rows("messages", peer_type=PeerType.CHAT)]
        for user_id in (1, 2):
            boxes = stack.rows("message_boxes", user_id=user_id, peer_type=PeerType.CHAT)
            assert messages == sorted(box["message_id"] for box in boxes)
            numbers = [box["pts"] for box in boxes]
            assert sorted(set(numbers)) == numbers
            (dialog,) = stack.rows("user_dialogs", user_id=user_id, peer_type=PeerType.CHAT)
            assert max(messages) == dialog["top_message"]


def test_history_is_read(stack: Stack) -> None:
    """The deployed server counted on both sides and never down; reading makes the count right."""
    for user_id, max_id, read, unread in ((2, 1, 1, 1), (2, 0, 1, 1), (2, 9, 2, 0), (1, 0, 0, 0)):
        dialog = stack.dialogs.read_history(user_id, Peer.user(3 - user_id), max_id)
        assert dialog is not None
        assert (read, unread) == (dialog.read_inbox_max_id, dialog.unread_count)


def test_pages_of_dialogs(stack: Stack) -> None:
    """Dialogs of one second are each met once, one by one."""
    for peer_id in (4, 5, 3):
        stack.put("user_dialogs", user_id=3, peer_type=2, peer_id=peer_id, date2=9, top_message=1)
    met: list[int] = []
    offset: dict[str, Any] = {}
    while page := stack.dialogs.get_dialogs_by_offset_date(3, limit=1, **offset):
        met.append(page[0].peer_id)
        offset = {"offset_date": 9, "offset_id": 1, "offset_peer": Peer.user(met[-1])}
    assert [5, 4, 3] == met


@pytest.mark.parametrize("other", ["TOKEN", "token ", "tok\u00e9n", "Token"])
def test_tokens_are_compared_byte_by_byte(stack: Stack, other: str) -> None:
    """Two tokens that utf8_general_ci takes for one are two devices, and come and go apart."""
    for auth_key_id, token, state in ((5, "token", 0), (5, other, 0), (6, other, 0), (5, other, 1)):
        device = stack.accounts.register_device(auth_key_id, 1, TokenType.GCM, token)
        assert (token, state) == (device.token, device.state)
    assert {(5, "token"), (5, other)} == {
        (device.auth_id, device.token)
        for device in stack.accounts.get_devices(1)
        if device.registered
    }
    assert stack.accounts.unregister_device(TokenType.GCM, other)
    assert ["token"] == [d.token for d in stack.accounts.get_devices(1) if d.registered]


def test_chats_accounts_and_dialogs(stack: Stack) -> None:
    """Every other operation works on the deployed tables as it does on ours."""
    chat = stack.chats.get_chat(1)
    assert (None, None, 1) == (chat.title_changed_at, chat.created_at, chat.version)
    assert chat == stack.chats.create_chat(1, "Old chat", [2], 11)
    for title, members in (("Again", [2]), ("Old chat", []), ("Old chat", [2, 3])):
        with pytest.raises(InvalidValueError, match="random_id 11 is chat 1's"):
            stack.chats.create_chat(1, title, members, 11)
    assert 3 == stack.chats.add_chat_participant(1, 3, 1).user_id
    assert 3 == stack.chats.edit_chat_title(1, 2, "New").version
    stack.chats.delete_chat_user(1, 2)
    assert [1, 3] == [each.user_id for each in stack.chats.get_chat_full(1).participants]
    assert 2 == stack.chats.create_chat(2, "Newer", [3]).id
    assert stack.messages.send_message(3, Peer.chat(1), "hi").out
    assert [False] == [device.registered for device in stack.accounts.get_devices(1)]
    assert stack.accounts.register_device(-5, 1, TokenType.GCM, "old token").registered
    assert stack.accounts.unregister_device(TokenType.GCM, "old token")
    stack.accounts.set_notify_settings(1, Peer.user(2), silent=True)
    stack.accounts.reset_notify_settings(1)
    assert not stack.accounts.get_notify_settings(1, Peer(PeerType.ALL, 0)).silent
    privacy = stack.accounts.get_privacy(1)
    assert privacy is not None
    assert (180, True) == (privacy.ttl, privacy.has_password)
    assert 3 == stack.dialogs.create_or_update_by_last_message(2, PeerType.USER, 1, 9).unread_count
    assert [] == stack.dialogs.get_pinned_dialogs(1)
    assert 2 == len(stack.dialogs.get_dialogs_by_offset_date(1))


def test_emoji_that_would_be_lost(stack: Stack) -> None:
    """An emoji is refused before it reaches a column of at most 3 bytes a character; what fits is
    stored.
    """
    for write in (
        lambda: stack.users.create_user("865", "\U0001f600"),
        lambda: stack.chats.create_chat(1, "Lunch \U0001f35c", []),
        lambda: stack.chats.edit_chat_title(1, 1, "Lunch \U0001f35c"),
        lambda: stack.accounts.set_notify_settings(1, Peer.user(2), sound="\U0001f514"),
        lambda: stack.accounts.register_device(1, 1, TokenType.GCM, "\U0001f514"),
    ):
        with pytest.raises(InvalidValueError, match="utf8mb4"):
            write()
    assert "\uffee" == stack.chats.edit_chat_title(1, 1, "\uffee").title


def test_sequences_on_myisam(stack: Stack, url: str) -> None:
    """Without transactions numbers are still nobody's twice, in processes too; a rollback leaves a
    gap, as is said.
    """
    assert 42 == stack.sequences.next_id("2")
    with stack.sequences.transaction() as connection:
        assert 43 == stack.sequences.next_id("2", connection=connection)
        connection.rollback()
    assert 44 == stack.sequences.next_id("2")
    got = outcome(start("next_id", url, "unix:///nowhere/redis.sock", "8", "50"))
    assert list(range(1, 401)) == sorted(chain.from_iterable(got))


def in_own_transaction(stack: Stack) -> None:
    """Take a number as part of a transaction of the caller's."""
    with stack.sequences.transaction() as connection:
        stack.sequences.next_id("9", connection=connection)


@pytest.mark.parametrize(
    "write",
    [
        lambda s: s.messages.send_message(1, Peer.user(2), "hi"),
        lambda s: s.messages.create_history_message(1, Peer.user(2), 9, "hi"),
        lambda s: s.messages.create_message_boxes(2, 1, Peer.user(1), True, 1),
        lambda s: s.chats.create_chat(1, "Lunch", [2]),
        lambda s: s.chats.edit_chat_title(1, 1, "Lunch"),
        lambda s: s.sequences.next_id("9"),
        in_own_transaction,
    ],
)
def test_the_first_write_beside_telegramd(stack: Stack, write: Callable[[Stack], object]) -> None:
    """The first message, chat or number written into telegramd's tables says once what telegramd
    would make of it; it is written all the same.
    """
    stack.users.create_user("866", "Eve")
    stack.dialogs.create_or_update_by_last_message(2, PeerType.USER, 1, 9)
    stack.messages.get_messages_by_gt_pts(2, 0)
    with pytest.warns(FallbackWarning, match="twice.*drops messages.*misses participants") as said:
        write(stack)
    assert 1 == len(said)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack.messages.send_message(1, Peer.user(2), "again")
        stack.chats.create_chat(2, "Tea", [])
        stack.sequences.next_id("9")


def test_reading_says_nothing(url: str) -> None:
    """A deployment that only looks is told of nothing, also where a write is refused."""
    with warnings.catch_warnings(), open_stack(url, tables_too=False, read_only=True) as stack:
        warnings.simplefilter("error")
        assert 2 == len(stack.chats.get_chat_full(1).participants)
        with pytest.raises(ReadOnlyError):
            stack.messages.send_message(1, Peer.user(2), "hi")


def test_rows_are_made_now(stack: Stack) -> None:
    """A new row says when it was made, where its column would say never by default."""
    stack.users.create_user("867", "Flo")
    chat = stack.chats.create_chat(1, "Lunch", [2])
    stack.messages.send_message(1, Peer.chat(chat.id), "noon?")
    stack.sequences.next_id("new")
    stack.accounts.register_device(1, 1, TokenType.GCM, "token of now")
    stack.accounts.set_notify_settings(1, Peer.user(2), silent=True)
    now = datetime.now(UTC)
    made = {
        name: stack.rows(name)[-1]["created_at"]
        for name in [
            "users",
            "chats",
            "chat_users",
            "messages",
            "message_boxes",
            "user_dialogs",
            "seq_updates_ngen",
            "devices",
            "user_notify_settings",
        ]
    }
    assert {} == {
        name: at for name, at in made.items() if at is None or abs(now - at) > timedelta(hours=1)
    }
    assert chat.created_at == stack.chats.get_chat(chat.id).created_at is not None


def test_a_column_that_drifted_away(stack: Stack) -> None:
    """A missing column is one clear error, and nothing is half written; a required one that imlib
    lacks, too.
    """
    with stack.deployment.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE user_dialogs DROP COLUMN unread_mentions_count"))
        connection.execute(sa.text("ALTER TABLE devices ADD COLUMN shard int NOT NULL"))
    report = check_schema(stack.deployment.engine)
    assert (["user_dialogs.unread_mentions_count"], ["devices.shard"], False) == (
        report.missing_columns,
        report.required_columns,
        report.ok,
    )
    with pytest.raises(SchemaError, match="check_schema"):
        stack.messages.send_message(1, Peer.user(2), "x")
    with pytest.raises(SchemaError, match="check_schema"):
        stack.accounts.register_device(1, 1, TokenType.GCM, "new token")
    assert 3 == len(stack.rows("messages"))
    assert 4 == len(stack.rows("message_boxes"))
