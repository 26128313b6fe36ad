"""Messages, boxes, dialogs and updates: the operations, on both databases."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from imlib.constants import MessageBoxType, MessageType, PeerType
from imlib.errors import InvalidValueError, NotFoundError, ReadOnlyError
from imlib.message_body import encode_body
from imlib.models.message import MessageModel
from imlib.models.records import Peer
from imlib.schema import tables
from tests.models.stack import NOW, Stack, open_stack


def sent_by(stack: Stack, user_id: int) -> list[tuple[int, bool, int]]:
    """Return pts, direction and id of all that a user has."""
    return [(m.pts, m.out, m.id) for m in stack.messages.get_messages_by_gt_pts(user_id, 0)]


def test_a_message_to_a_user(stack: Stack) -> None:
    """One message makes one row of history, a box for each side, a dialog for each side and a pts
    for each.
    """
    ann, ben = stack.add_users(2)
    message = stack.messages.send_message(ann, Peer.user(ben), "hello", 77)
    assert ("hello", True, 1, NOW, ann) == (
        message.text,
        message.out,
        message.pts,
        message.date2,
        message.user_id,
    )
    assert [77] == [row["random_id"] for row in stack.rows("messages")]
    boxes = [
        (b["user_id"], b["message_box_type"], b["peer_id"], b["pts"])
        for b in stack.rows("message_boxes")
    ]
    assert [(ann, MessageBoxType.OUTGOING, ben, 1), (ben, MessageBoxType.INCOMING, ann, 1)] == boxes
    (mine,) = stack.dialogs.get_dialogs_by_user_id_and_type(ann, PeerType.EMPTY)
    (theirs,) = stack.dialogs.get_dialogs_by_user_id_and_type(ben, PeerType.USER)
    assert (ben, message.id, 0) == (mine.peer_id, mine.top_message, mine.unread_count)
    assert (ann, message.id, 1, NOW) == (
        theirs.peer_id,
        theirs.top_message,
        theirs.unread_count,
        theirs.date2,
    )
    assert [1, 1] == [stack.sequences.current(str(user_id)) for user_id in (ann, ben)]


def test_a_message_to_a_chat(stack: Stack) -> None:
    """Every participant gets a box; who is mentioned counts that too; who has left gets nothing."""
    ann, ben, cy, dee = stack.add_users(4)
    chat = stack.chats.create_chat(ann, "Lunch", [ben, cy, dee])
    stack.chats.delete_chat_user(chat.id, dee)
    message = stack.messages.send_message(ben, Peer.chat(chat.id), "noon?", mentions=[ann, dee])
    owners = {
        row["user_id"]: row["message_box_type"]
        for row in stack.rows("message_boxes", peer_id=chat.id)
    }
    assert {ann: 0, ben: 1, cy: 0} == owners
    counts = {
        d["user_id"]: (d["unread_count"], d["unread_mentions_count"])
        for d in stack.rows("user_dialogs")
    }
    assert {ann: (1, 1), ben: (0, 0), cy: (1, 0)} == counts
    assert [] == stack.messages.get_messages_by_id_list(dee, [message.id])
    with pytest.raises(NotFoundError, match=f"user {dee} is not in chat"):
        stack.messages.send_message(dee, Peer.chat(chat.id), "me too")


def test_a_chats_users_are_locked(stack: Stack) -> None:
    """Sending to a chat takes the rows of all who are in it, in one order, before it writes: two
    senders at once then give nobody's pts out of order. The sender must have a row.
    """
    ann, ben, cy = stack.add_users(3)
    chat = stack.chats.create_chat(cy, "Lunch", [ann, ben])
    with statements(stack) as sent:
        stack.messages.send_message(ben, Peer.chat(chat.id), "noon?")
    kinds = [statement.split() for statement in sent]
    first_write = next(at for at, words in enumerate(kinds) if words[0] == "INSERT")
    (locking,) = (one for one in sent[:first_write] if "FROM users" in one)
    assert "ORDER BY users.id" in locking
    assert stack.deployment.engine.dialect.name == "sqlite" or locking.endswith("FOR UPDATE")
    assert 3 == max(locking.count("?"), locking.count("%("))
    with stack.deployment.engine.begin() as connection:
        connection.execute(tables["users"].delete().where(tables["users"].c.id.in_([ann, ben])))
    assert stack.messages.send_message(cy, Peer.chat(chat.id), "x").out
    with pytest.raises(NotFoundError, match=f"no such user: {ben}; .*nothing was written"):
        stack.messages.send_message(ben, Peer.chat(chat.id), "me too")


def test_a_message_to_oneself(stack: Stack) -> None:
    """A message to oneself is one box, going out, in a dialog with nothing unread."""
    (ann,) = stack.add_users(1)
    stack.messages.send_message(ann, Peer.user(ann), "buy milk")
    assert [(1, True, 1)] == sent_by(stack, ann)
    assert [0] == [row["unread_count"] for row in stack.rows("user_dialogs")]


def test_saved_messages(stack: Stack) -> None:
    """Saved messages, with the peer that the deployed server gives them, are read as any others:
    one box, going out, and one dialog; nobody else's, and not those to oneself as a user.
    """
    ann, ben = stack.add_users(2)
    mine = Peer.self(ann)
    assert Peer(PeerType.SELF, ann) == mine
    stack.messages.send_message(ann, Peer.user(ben), "hello")
    stack.messages.send_message(ann, Peer.user(ann), "to me")
    saved = [stack.messages.create_history_message(ann, mine, n, f"note {n}") for n in (1, 2, 3)]
    for message_id in saved:
        stack.messages.create_message_boxes(ann, ann, mine, False, message_id)
        stack.dialogs.create_or_update_by_last_message(ann, PeerType.SELF, ann, message_id)
    page = stack.messages.get_messages_by_user_id_peer_offset_limit(ann, mine, limit=2)
    page += stack.messages.get_messages_by_user_id_peer_offset_limit(ann, mine, page[-1].id)
    assert [("note 3", True), ("note 2", True), ("note 1", True)] == [(m.text, m.out) for m in page]
    assert saved[:1] == [
        m.id for m in stack.messages.get_messages_by_peer_and_message_id_list(ann, mine, saved[:1])
    ]
    assert [] == stack.messages.get_messages_by_user_id_peer_offset_limit(ben, Peer.self(ben))
    (dialog,) = stack.dialogs.get_dialogs_by_user_id_and_type(ann, PeerType.SELF)
    assert (ann, saved[-1], 3) == (dialog.peer_id, dialog.top_message, dialog.unread_count)
    read = stack.dialogs.read_history(ann, mine, saved[-1])
    assert read is not None
    assert (saved[-1], 0) == (read.read_inbox_max_id, read.unread_count)
    met: list[tuple[int, int]] = []
    offset: dict[str, Any] = {}
    while found := stack.dialogs.get_dialogs_by_offset_date(ann, limit=1, **offset):
        last = found[0]
        met.append((last.peer_type, last.peer_id))
        offset = {"offset_date": last.date2, "offset_id": last.top_message}
        offset["offset_peer"] = Peer(last.peer_type, last.peer_id)
    assert [(PeerType.SELF, ann), (PeerType.USER, ann), (PeerType.USER, ben)] == met
    assert saved[0] == stack.messages.create_history_message(ann, mine, 1, "note 1")


@pytest.mark.parametrize("text", ["", 5, None, b"hello", ["hello"]])
def test_a_text_that_is_none(stack: Stack, text: Any) -> None:
    """What is no text, or has no character, is refused, and nothing is stored."""
    ann, ben = stack.add_users(2)
    with pytest.raises(InvalidValueError, match=r"^text is .*; allowed is a str that is not empty"):
        stack.messages.send_message(ann, Peer.user(ben), text)
    assert [] == stack.rows("messages")


def everything(stack: Stack) -> list[list[dict[str, Any]]]:
    """Return all rows that sending a message touches."""
    names = ("messages", "message_boxes", "user_dialogs", "seq_updates_ngen")
    return [stack.rows(name) for name in names]


@contextmanager
def statements(stack: Stack) -> Iterator[list[str]]:
    """Give the statements that are sent to the database inside."""
    sent: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        sent.append(statement)

    event.listen(stack.deployment.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(stack.deployment.engine, "before_cursor_execute", note)


def test_the_same_random_id_again(stack: Stack) -> None:
    """The same message again is the first one, by reading alone; another sender's is another."""
    ann, ben, cy = stack.add_users(3)
    chat = Peer.chat(stack.chats.create_chat(ann, "Lunch", [ben, cy]).id)
    for number, peer in enumerate((Peer.user(ben), chat, Peer.user(ann)), 77):
        first = stack.messages.send_message(ann, peer, "hello", number, mentions=[ben])
        before = everything(stack)
        with statements(stack) as sent:
            assert first == stack.messages.send_message(ann, peer, "hello", number, mentions=[ben])
        assert {"SELECT"} == {statement.split()[0] for statement in sent} - {"BEGIN"}
        assert before == everything(stack)
    assert first.id != stack.messages.send_message(ben, Peer.user(ann), "hello", 77).id


@pytest.mark.parametrize(
    "other",
    [
        lambda s: s.messages.send_message(1, Peer.user(2), "hello ", 77),
        lambda s: s.messages.send_message(1, Peer.user(3), "hello", 77),
        lambda s: s.messages.send_message(1, Peer.user(1), "hello", 77),
        lambda s: s.messages.send_message(1, Peer.chat(1), "hello", 77),
        lambda s: s.messages.create_history_message(1, Peer.user(2), 77, "Hello"),
        lambda s: s.messages.create_history_message(1, Peer.chat(2), 77, "hello"),
        lambda s: s.messages.create_history_message(
            1, Peer.user(2), 77, {"message": "hello", "x": 1}
        ),
        lambda s: s.messages.create_history_message_service(1, Peer.user(2), 77, "hello"),
    ],
)
def test_a_random_id_used_for_another(stack: Stack, other: Callable[[Stack], object]) -> None:
    """A random_id again with another peer, body or type is an error that names the first."""
    stack.add_users(3)
    stack.chats.create_chat(1, "Lunch", [2])
    first = stack.messages.send_message(1, Peer.user(2), "hello", 77)
    before = everything(stack)
    said = f"^random_id 77 is message {first.id}'s, .*; nothing was written$"
    with pytest.raises(InvalidValueError, match=said) as refusal:
        other(stack)
    assert "hello" not in str(refusal.value)
    assert before == everything(stack)


@pytest.mark.parametrize(
    ("stored", "same"),
    [
        ('{"message":"h\\u00e9"}', True),
        ('{ "message" : "hé" }\n', True),
        ('{"message":"he"}', False),
        ('{"message":"hé","entities":[]}', False),
        ('"hé"', False),
        ("hé", False),
    ],
)
def test_the_same_body_in_another_form(stack: Stack, stored: str, same: bool) -> None:
    """A body is the same if it decodes to the same, whatever the writer's spaces and escapes."""
    ann, ben = stack.add_users(2)
    row = {"sender_user_id": ann, "peer_type": 2, "peer_id": ben, "random_id": 7, "date2": NOW}
    message_id = stack.put("messages", **row, message_type=1, message_data=stored)
    if same:
        assert message_id == stack.messages.send_message(ann, Peer.user(ben), "hé", 7).id
        assert message_id == stack.messages.create_history_message(ann, Peer.user(ben), 7, "hé")
    else:
        with pytest.raises(InvalidValueError, match=f"is message {message_id}'s"):
            stack.messages.send_message(ann, Peer.user(ben), "hé", 7)


def test_history_wants_a_random_id(stack: Stack) -> None:
    """History is told which message it is: a new number each time would store a retry twice."""
    ann, ben = stack.add_users(2)
    missing: Any = None
    for create in (
        stack.messages.create_history_message,
        stack.messages.create_history_message_service,
    ):
        with pytest.raises(InvalidValueError, match=r"^random_id is None; allowed is an integer"):
            create(ann, Peer.user(ben), missing, "x")
        for beyond in (2**63, -(2**63) - 1):
            with pytest.raises(InvalidValueError, match=f"^random_id is {beyond}; allowed is an i"):
                create(ann, Peer.user(ben), beyond, "x")
    assert [] == stack.rows("messages")
    ends = [2**63 - 1, -(2**63)]
    for end in ends:
        stack.messages.create_history_message(ann, Peer.user(ben), end, "x")
    assert ends == [row["random_id"] for row in stack.rows("messages")]


def test_a_page_has_100_messages() -> None:
    """Without an offset and a limit a page begins with the newest message and has 100."""
    page = inspect.signature(MessageModel.get_messages_by_user_id_peer_offset_limit).parameters
    assert (0, 100) == (page["offset"].default, page["limit"].default)


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.messages.send_message(1, Peer.user(2), "x", 0),
        lambda s: s.messages.create_history_message(1, Peer.user(2), 0, "x"),
        lambda s: s.messages.create_history_message_service(1, Peer.user(2), 0, "x"),
        lambda s: s.chats.create_chat(1, "x", [], 0),
        lambda s: s.chats.edit_chat_title(1, 1, "x", 0),
    ],
)
def test_random_id_0(stack: Stack, ask: Callable[[Stack], object]) -> None:
    """0 is no random_id: it is what a client that forgot it sends for every message."""
    stack.add_users(2)
    with pytest.raises(InvalidValueError, match=r"^random_id is 0; allowed is .* None "):
        ask(stack)
    assert [] == stack.rows("messages") + stack.rows("chats")


class TestHalfSent:
    """A message that a writer stored, and died before all had it."""

    def half(self, stack: Stack, peer: Peer, *, boxes: Sequence[int] = ()) -> int:
        """Store user 1's message 7 with these users' boxes and no dialog; return its id."""
        message_id = stack.messages.create_history_message(1, peer, 7, "hello")
        for user_id in boxes:
            seen = Peer.user(1) if peer.peer_type == PeerType.USER and user_id != 1 else peer
            stack.messages.create_message_boxes(user_id, 1, seen, user_id != 1, message_id)
        return message_id

    def unread(self, stack: Stack) -> dict[int, tuple[int, int, int]]:
        """Return newest message, unread and mentions of each user's dialog with peer 1."""
        return {
            row["user_id"]: (row["top_message"], row["unread_count"], row["unread_mentions_count"])
            for row in stack.rows("user_dialogs", peer_id=1)
        }

    @pytest.mark.parametrize("boxes", [(), (1,), (1, 2), (2, 3), (1, 2, 3)])
    def test_in_a_chat(self, stack: Stack, boxes: tuple[int, ...]) -> None:
        """The retry gives each who lacks it a box, the next pts and a dialog; unread where new."""
        stack.add_users(3)
        chat = Peer.chat(stack.chats.create_chat(1, "Lunch", [2, 3]).id)
        message_id = self.half(stack, chat, boxes=boxes)
        before = {row["user_id"]: row for row in stack.rows("message_boxes")}
        sent = stack.messages.send_message(1, chat, "hello", 7, mentions=[2, 3])
        assert (message_id, 1, True) == (sent.id, sent.pts, sent.out)
        after = {row["user_id"]: row for row in stack.rows("message_boxes")}
        assert 3 == len(stack.rows("message_boxes"))
        assert before == {user_id: after[user_id] for user_id in boxes}
        assert {1: 1, 2: 0, 3: 0} == {each: after[each]["message_box_type"] for each in after}
        assert [1, 1, 1] == [row["seq"] for row in stack.rows("seq_updates_ngen")]
        made = {each: 0 if each in boxes or each == 1 else 1 for each in (1, 2, 3)}
        assert {each: (message_id, n, n) for each, n in made.items()} == self.unread(stack)
        assert all(row["date2"] == NOW for row in stack.rows("user_dialogs"))
        with statements(stack) as statement:
            assert sent == stack.messages.send_message(1, chat, "hello", 7)
        assert {"SELECT"} == {each.split()[0] for each in statement} - {"BEGIN"}

    @pytest.mark.parametrize("boxes", [(), (1,), (2,), (1, 2)])
    def test_to_a_user(self, stack: Stack, boxes: tuple[int, ...]) -> None:
        """Both sides have one box and a dialog each, and a dialog with oneself stays apart."""
        stack.add_users(2)
        for each in (1, 2):
            stack.messages.send_message(each, Peer.user(each), "a note")
        message_id = self.half(stack, Peer.user(2), boxes=boxes)
        assert message_id == stack.messages.send_message(1, Peer.user(2), "hello", 7).id
        boxed = stack.rows("message_boxes", message_id=message_id)
        assert {(1, 2, 2), (2, 1, 2)} == {(b["user_id"], b["peer_id"], b["pts"]) for b in boxed}
        assert 2 == len(boxed)
        dialogs = {(row["user_id"], row["peer_id"]): row for row in stack.rows("user_dialogs")}
        assert {(1, 1), (1, 2), (2, 1), (2, 2)} == set(dialogs)
        assert [message_id] * 2 == [dialogs[key]["top_message"] for key in ((1, 2), (2, 1))]
        assert (0, int(2 not in boxes)) == tuple(
            dialogs[key]["unread_count"] for key in ((1, 2), (2, 1))
        )

    def test_to_oneself(self, stack: Stack) -> None:
        """A note to oneself is completed as well."""
        stack.add_users(1)
        message_id = self.half(stack, Peer.user(1))
        assert message_id == stack.messages.send_message(1, Peer.user(1), "hello", 7).id
        assert [(1, True, message_id)] == sent_by(stack, 1)
        assert {1: (message_id, 0, 0)} == self.unread(stack)

    def test_a_late_retry_lowers_nothing(self, url: str) -> None:
        """Newer messages stay on top and unread; the older one is counted with them."""
        now = [NOW]
        with open_stack(url, clock=lambda: now[0]) as stack:
            stack.add_users(2)
            self.half(stack, Peer.user(2), boxes=[1])
            now[0] += 60
            stack.messages.send_message(1, Peer.user(2), "later", 8)
            newest = stack.messages.send_message(2, Peer.user(1), "what?")
            now[0] += 60
            stack.messages.send_message(1, Peer.user(2), "hello", 7)
            mine, theirs = (
                {row["user_id"]: row for row in stack.rows("user_dialogs")}[each] for each in (1, 2)
            )
            for dialog in (mine, theirs):
                assert (newest.id, NOW + 60) == (dialog["top_message"], dialog["date2"])
            assert (1, 2) == (mine["unread_count"], mine["read_inbox_max_id"])
            assert (1, newest.id) == (theirs["unread_count"], theirs["read_inbox_max_id"])
            late = stack.rows("message_boxes", user_id=2, message_id=1)
            assert [(3, NOW)] == [(box["pts"], box["date2"]) for box in late]

    def test_a_clock_that_is_set_back(self, url: str) -> None:
        """A message sent by a clock that was set back leaves its dialogs' dates as they are."""
        now = [NOW]
        with open_stack(url, clock=lambda: now[0]) as stack:
            stack.add_users(2)
            stack.messages.send_message(1, Peer.user(2), "first")
            now[0] -= 60
            second = stack.messages.send_message(1, Peer.user(2), "second")
            dialogs = stack.rows("user_dialogs")
            assert [(second.id, NOW)] * 2 == [(d["top_message"], d["date2"]) for d in dialogs]
            late = stack.dialogs.create_or_update_by_last_message(2, PeerType.USER, 1, 1)
            assert (second.id, NOW, 3) == (late.top_message, late.date2, late.unread_count)

    def test_a_dialog_below_the_message(self, stack: Stack) -> None:
        """Dialogs missing or below a message that all have are raised, and count nothing."""
        stack.add_users(3)
        chat = Peer.chat(stack.chats.create_chat(1, "Lunch", [2, 3]).id)
        stack.messages.send_message(1, chat, "before", 6)
        message_id = self.half(stack, chat, boxes=[1, 2, 3])
        with stack.deployment.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM user_dialogs WHERE user_id = 3")
        stack.messages.send_message(1, chat, "hello", 7)
        assert {1: (message_id, 0, 0), 2: (message_id, 1, 0), 3: (message_id, 0, 0)} == self.unread(
            stack
        )

    def test_who_was_there(self, url: str) -> None:
        """It goes to those who are in the chat now and came up to its second, and to the sender."""
        now = [NOW]
        with open_stack(url, clock=lambda: now[0]) as stack:
            stack.add_users(5)
            chat = Peer.chat(stack.chats.create_chat(1, "Lunch", [2, 3]).id)
            now[0] += 1
            stack.chats.add_chat_participant(chat.peer_id, 4, 1)
            self.half(stack, chat)
            now[0] += 1
            stack.chats.add_chat_participant(chat.peer_id, 5, 1)
            stack.chats.delete_chat_user(chat.peer_id, 3)
            stack.chats.delete_chat_user(chat.peer_id, 1)
            stack.messages.send_message(1, chat, "hello", 7)
            assert [1, 2, 4] == sorted(row["user_id"] for row in stack.rows("message_boxes"))
            with pytest.raises(NotFoundError, match="user 1 is not in chat"):
                stack.messages.send_message(1, chat, "hello?", 8)

    @pytest.mark.parametrize("workers", [2, 8])
    def test_retries_at_once(self, stack: Stack, workers: int) -> None:
        """Many retries at once complete it once."""
        stack.add_users(3)
        chat = Peer.chat(stack.chats.create_chat(1, "Lunch", [2, 3]).id)
        message_id = self.half(stack, chat, boxes=[1])

        def retry(_: int) -> int:
            return stack.messages.send_message(1, chat, "hello", 7).id

        with ThreadPoolExecutor(workers) as pool:
            assert {message_id} == set(pool.map(retry, range(workers)))
        assert [1, 2, 3] == sorted(row["user_id"] for row in stack.rows("message_boxes"))
        assert {1: (message_id, 0, 0), 2: (message_id, 1, 0), 3: (message_id, 1, 0)} == self.unread(
            stack
        )


def test_out_is_told_by_the_sender(stack: Stack) -> None:
    """Whose message it is is told by its sender, not by its box's type, which may be swapped."""
    ann, ben = stack.add_users(2)
    sent = stack.messages.send_message(ann, Peer.user(ben), "hello").id
    with stack.deployment.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE message_boxes SET message_box_type = 1 - message_box_type"
        )
    assert [(1, True, sent)] == sent_by(stack, ann)
    assert [(1, False, sent)] == sent_by(stack, ben)
    (mine,) = stack.messages.get_messages_by_id_list(ann, [sent])
    (theirs,) = stack.messages.get_messages_by_user_id_peer_offset_limit(ben, Peer.user(ann))
    assert (True, False) == (mine.out, theirs.out)


def test_unread_counts_and_answers(stack: Stack) -> None:
    """Incoming messages add up; an answer leaves nothing unread on the answerer's side."""
    ann, ben = stack.add_users(2)
    for text in "abc":
        stack.messages.send_message(ann, Peer.user(ben), text)
    (dialog,) = stack.dialogs.get_dialogs_by_user_id_and_type(ben, PeerType.UNKNOWN)
    assert 3 == dialog.unread_count
    answer = stack.messages.send_message(ben, Peer.user(ann), "d")
    (dialog,) = stack.dialogs.get_dialogs_by_user_id_and_type(ben, PeerType.UNKNOWN)
    assert (0, answer.id, answer.id) == (
        dialog.unread_count,
        dialog.top_message,
        dialog.read_inbox_max_id,
    )


def test_history_alone(stack: Stack) -> None:
    """History takes a message or a notice once for each sender and random_id, without any box."""
    ann, ben = stack.add_users(2)
    first = stack.messages.create_history_message(ann, Peer.user(ben), 5, "hello")
    assert first == stack.messages.create_history_message(ann, Peer.user(ben), 5, "hello")
    notice = stack.messages.create_history_message_service(ann, Peer.chat(1), 6, "joined")
    assert [MessageType.MESSAGE, MessageType.MESSAGE_SERVICE] == [
        r["message_type"] for r in stack.rows("messages")
    ]
    assert [first, notice] == [row["id"] for row in stack.rows("messages")]
    assert [] == stack.rows("message_boxes")
    again = stack.messages.create_history_message_service(ann, Peer.chat(1), 6, "joined")
    assert notice == again


def test_boxes_one_by_one(stack: Stack) -> None:
    """A box gets its owner's next pts; a message or user that does not exist gets none."""
    ann, ben = stack.add_users(2)
    message_id = stack.messages.create_history_message(ann, Peer.user(ben), 5, {"any": "JSON"})
    pts = [
        stack.messages.create_message_boxes(ben, ann, Peer.user(ann), True, message_id)
        for _ in range(2)
    ]
    assert [1, 2] == pts
    assert 1 == stack.messages.create_message_boxes(ann, ann, Peer.user(ben), False, message_id)
    assert [(1, True, message_id)] == sent_by(stack, ann)
    assert [(1, False, message_id), (2, False, message_id)] == sent_by(stack, ben)
    with pytest.raises(NotFoundError, match="no such message: 99"):
        stack.messages.create_message_boxes(ann, ann, Peer.user(ben), False, 99)
    with pytest.raises(NotFoundError, match="no such user: 99"):
        stack.messages.create_message_boxes(99, ann, Peer.user(ben), False, message_id)


def test_pts_end_at_their_width(stack: Stack) -> None:
    """The last pts that fits is given out; the next is refused, and nothing of it is stored."""
    ann, ben = stack.add_users(2)
    stack.put("seq_updates_ngen", seq_name=str(ben), seq=2**31 - 2)
    assert 2**31 - 1 == stack.messages.send_message(ben, Peer.user(ann), "last").pts
    said = "^sequence '2' cannot be advanced by 1: its numbers end at 2147483647"
    with pytest.raises(InvalidValueError, match=said):
        stack.messages.send_message(ben, Peer.user(ann), "too many")
    assert 1 == len(stack.rows("messages"))
    assert 1 == stack.sequences.current(str(ann))


def test_reading_by_pts(stack: Stack) -> None:
    """Updates come oldest first, after the given pts and not with it; the last pts is
    the state's.
    """
    ann, ben = stack.add_users(2)
    assert (0, 0) == (
        stack.messages.get_last_pts_by_user_id(ben),
        stack.updates.get_state(1, ben).pts,
    )
    for text in "abcd":
        stack.messages.send_message(ann, Peer.user(ben), text)
    assert ["c", "d"] == [m.text for m in stack.messages.get_messages_by_gt_pts(ben, 2)]
    assert ["b"] == [m.text for m in stack.messages.get_messages_by_gt_pts(ben, 1, limit=1)]
    assert [] == stack.messages.get_messages_by_gt_pts(ben, 4)
    state = stack.updates.get_state(-(2**63), ben)
    assert (4, 0, 1, 0, NOW) == (state.pts, state.qts, state.seq, state.unread_count, state.date)


def test_reading_a_conversation(stack: Stack) -> None:
    """A conversation is read newest first, below the offset, and 0 starts at the newest; others'
    stay out of it.
    """
    ann, ben, cy = stack.add_users(3)
    ids = [stack.messages.send_message(ann, Peer.user(ben), text).id for text in "abcd"]
    other = stack.messages.send_message(ann, Peer.user(cy), "x").id

    def page(offset: int, limit: int) -> list[int]:
        found = stack.messages.get_messages_by_user_id_peer_offset_limit(
            ann, Peer.user(ben), offset, limit
        )
        return [message.id for message in found]

    assert ids[:1:-1] == page(0, 2)
    assert ids[1::-1] == page(ids[2], 5)
    assert [] == page(ids[0], 5)
    assert [] == page(0, 0)
    default = stack.messages.get_messages_by_user_id_peer_offset_limit(ann, Peer.user(ben))
    assert ids[::-1] == [message.id for message in default] == page(0, 100)
    assert [1] == ids[:1]
    assert [] == page(1, 5)
    assert [1] == page(2, 5)
    found = stack.messages.get_messages_by_peer_and_message_id_list(
        ann, Peer.user(ben), [other, ids[3], ids[0]]
    )
    assert [ids[3], ids[0]] == [message.id for message in found]


def test_missing_messages_shift_nothing(stack: Stack) -> None:
    """A list of ids with missing ones pairs each message with its own box, in the order
    asked for.
    """
    ann, ben = stack.add_users(2)
    first = stack.messages.send_message(ann, Peer.user(ben), "a").id
    second = stack.messages.send_message(ben, Peer.user(ann), "b").id
    found = stack.messages.get_messages_by_id_list(ann, [second, 99, first, second])
    assert [(second, False), (first, True)] == [(message.id, message.out) for message in found]
    assert [] == stack.messages.get_messages_by_id_list(ann, [])
    assert 2 == len(stack.messages.get_messages_by_id_list(ann, range(1, 12_000)))


def test_a_body_that_is_no_json(stack: Stack) -> None:
    """A body that is no JSON comes back as raw bytes with its reason, and hides no
    other message.
    """
    ann, ben = stack.add_users(2)
    good = stack.messages.send_message(ann, Peer.user(ben), "\U0001f600 hello").id
    bad = stack.put(
        "messages",
        sender_user_id=ann,
        peer_type=2,
        peer_id=ben,
        random_id=1,
        message_data="#1 übel \U0001f600",
    )
    stack.messages.create_message_boxes(ben, ann, Peer.user(ann), True, bad)
    first, second = stack.messages.get_messages_by_id_list(ben, [good, bad])
    assert ("\U0001f600 hello", None) == (first.text, first.body_problem)
    assert ("#1 übel \U0001f600".encode(), None) == (second.body, second.text)
    assert "neither JSON nor protobuf" in str(second.body_problem)
    assert all(ord(character) < 128 for character in stack.rows("messages")[0]["message_data"])
    assert "hello" not in repr(first)


@pytest.mark.parametrize(
    ("send", "expected"),
    [
        (lambda s: s.messages.send_message(1, Peer.user(9), "x"), NotFoundError),
        (lambda s: s.messages.send_message(9, Peer.user(1), "x"), NotFoundError),
        (lambda s: s.messages.send_message(1, Peer.chat(9), "x"), NotFoundError),
        (lambda s: s.messages.send_message(1, Peer(PeerType.CHANNEL, 1), "x"), InvalidValueError),
        (lambda s: s.messages.send_message(1, Peer(9, 1), "x"), InvalidValueError),
        (lambda s: s.messages.send_message(1, 2, "x"), InvalidValueError),
        (lambda s: s.messages.send_message(1, Peer.user(2), ""), InvalidValueError),
        (lambda s: s.messages.send_message(1, Peer.user(2), "x" * 65_522), InvalidValueError),
        (lambda s: s.messages.send_message(1, Peer.user(2), "x", 2**63), InvalidValueError),
        (lambda s: s.messages.send_message(2**31, Peer.user(2), "x"), InvalidValueError),
        (lambda s: s.messages.send_message("1", Peer.user(2), "x"), InvalidValueError),
        (lambda s: s.messages.get_messages_by_gt_pts(1, 0, limit=-1), InvalidValueError),
        (lambda s: s.messages.get_messages_by_gt_pts(1, True), InvalidValueError),
        (lambda s: s.messages.get_last_pts_by_user_id(2**31), InvalidValueError),
        (lambda s: s.updates.get_state(2**63, 1), InvalidValueError),
        (lambda s: s.dialogs.create_or_update_by_last_message(9, 2, 1, 1), NotFoundError),
        (lambda s: s.dialogs.create_or_update_by_last_message(1, 7, 1, 1), InvalidValueError),
        (lambda s: s.dialogs.create_or_update_by_last_message(1, 2, 1, 0), InvalidValueError),
        (lambda s: s.dialogs.get_dialogs_by_user_id_and_type(1, 9), InvalidValueError),
    ],
)
def test_what_is_refused(
    stack: Stack, send: Callable[[Stack], object], expected: type[Exception]
) -> None:
    """What cannot be sent or read is one clear error, and nothing is written."""
    stack.add_users(2)
    with pytest.raises(expected):
        send(stack)
    assert [] == stack.rows("messages") + stack.rows("message_boxes") + stack.rows("user_dialogs")


def test_the_longest_text(stack: Stack) -> None:
    """A text whose JSON fills the column to its last byte is stored."""
    stack.add_users(2)
    text = "x" * (65_535 - len(encode_body({"message": ""})))
    assert text == stack.messages.send_message(1, Peer.user(2), text).text


def test_dialogs_in_order(stack: Stack) -> None:
    """Dialogs come newest first, before the offset date and not at it; pinned ones can be had alone
    or left out.
    """
    (ann,) = stack.add_users(1)
    for peer_id, date, pinned in [(1, 100, 0), (2, 300, 1), (3, 200, 0)]:
        stack.put(
            "user_dialogs", user_id=ann, peer_type=2, peer_id=peer_id, date2=date, is_pinned=pinned
        )
    stack.put("user_dialogs", user_id=ann, peer_type=3, peer_id=1, date2=50)

    def peers(exclude_pinned: bool, offset_date: int, limit: int) -> list[int]:
        return [
            d.date2
            for d in stack.dialogs.get_dialogs_by_offset_date(
                ann, exclude_pinned, offset_date, limit
            )
        ]

    assert [300, 200, 100, 50] == peers(False, 0, 10)
    assert [200, 100, 50] == peers(True, 0, 10)
    assert [100] == peers(False, 200, 1)
    assert [200, 100, 50] == peers(False, 201, 10)
    assert [2] == [d.peer_id for d in stack.dialogs.get_pinned_dialogs(ann)]
    assert [1] == [
        d.peer_id for d in stack.dialogs.get_dialogs_by_user_id_and_type(ann, PeerType.CHAT)
    ]


@pytest.mark.parametrize(
    "dialogs",
    [
        [(100, 7, 2, n) for n in range(1, 6)],
        [(100, n, 2, 6 - n) for n in range(1, 6)],
        [(100 + n // 2, 7, 2 + n % 2, n) for n in range(1, 6)],
        [(0, 0, 2, n) for n in range(-2, 3)],
        [(100, 7, kind, 4) for kind in (1, 2, 3, 4, 7)],
    ],
)
def test_pages_of_dialogs(stack: Stack, dialogs: list[tuple[int, int, int, int]]) -> None:
    """Each dialog is met once, though all are of one second or message, or peers of all types."""
    (ann,) = stack.add_users(1)
    names = ("date2", "top_message", "peer_type", "peer_id")
    for number, row in enumerate(dialogs):
        values = dict(zip(names, row, strict=True))
        stack.put("user_dialogs", user_id=ann, is_pinned=int(number == 2), **values)
    for size, exclude_pinned in itertools.product((1, 2, 4, 5, 6), (False, True)):
        met: list[tuple[int, int, int, int]] = []
        offset: dict[str, Any] = {}
        while page := stack.dialogs.get_dialogs_by_offset_date(
            ann, exclude_pinned, limit=size, **offset
        ):
            assert len(page) <= size
            met += [(d.date2, d.top_message, d.peer_type, d.peer_id) for d in page]
            date, top, kind, peer_id = met[-1]
            offset = {"offset_date": date, "offset_id": top, "offset_peer": Peer(kind, peer_id)}
        kept = [row for number, row in enumerate(dialogs) if number != 2 or not exclude_pinned]
        assert sorted(kept, reverse=True) == met


def test_offsets_of_dialogs(stack: Stack) -> None:
    """A date alone skips its second, with a message's id those of the same message and above."""
    (ann,) = stack.add_users(1)
    for peer_id, top in enumerate((5, 6, 6, 7), 1):
        stack.put(
            "user_dialogs", user_id=ann, peer_type=2, peer_id=peer_id, date2=9, top_message=top
        )

    def peers(**offset: Any) -> list[int]:
        return [d.peer_id for d in stack.dialogs.get_dialogs_by_offset_date(ann, **offset)]

    assert [4, 3, 2, 1] == peers()
    assert [] == peers(offset_date=9)
    assert [1] == peers(offset_date=9, offset_id=6)
    assert [2, 1] == peers(offset_date=9, offset_id=6, offset_peer=Peer.user(3))
    assert [3, 2, 1] == peers(offset_date=9, offset_id=6, offset_peer=Peer.user(4))
    for bad in ({"offset_id": 2**31}, {"offset_peer": 3}, {"offset_peer": Peer(2, 2**31)}):
        with pytest.raises(InvalidValueError):
            peers(**bad)


def test_reading_history(stack: Stack) -> None:
    """Beyond the mark all is unread; the mark never goes down, nor past the newest message."""
    ann, ben = stack.add_users(2)
    ids = [
        stack.messages.send_message(ann, Peer.user(ben), text, mentions=[ben]).id for text in "abcd"
    ]
    stack.messages.send_message(ann, Peer.chat(stack.chats.create_chat(ann, "x", [ben]).id), "e")

    def read(max_id: int) -> tuple[int, int, int]:
        dialog = stack.dialogs.read_history(ben, Peer.user(ann), max_id)
        assert dialog in stack.dialogs.get_dialogs_by_user_id_and_type(ben, PeerType.USER)
        assert dialog is not None
        return dialog.read_inbox_max_id, dialog.unread_count, dialog.unread_mentions_count

    assert (0, 4, 4) == read(ids[0] - 1)
    assert (ids[0], 3, 3) == read(ids[0])
    assert (ids[2], 1, 1) == read(ids[2])
    assert (ids[2], 1, 1) == read(ids[1])
    assert (ids[3], 0, 0) == read(2**31 - 1)
    later = stack.messages.send_message(ann, Peer.user(ben), "f").id
    assert (ids[3], 1, 0) == read(0)
    assert (later, 0, 0) == read(later)
    (chat,) = stack.dialogs.get_dialogs_by_user_id_and_type(ben, PeerType.CHAT)
    assert 1 == chat.unread_count
    (mine,) = stack.dialogs.get_dialogs_by_user_id_and_type(ann, PeerType.USER)
    assert (later, 0, 0) == (mine.top_message, mine.unread_count, mine.read_outbox_max_id)


def test_reading_history_counts_what_others_sent(stack: Stack) -> None:
    """One's own boxes are never unread, whatever their type; a count that went wrong is mended."""
    ann, ben = stack.add_users(2)
    for sender, other in ((ann, ben), (ben, ann), (ann, ben)):
        stack.messages.send_message(sender, Peer.user(other), "x")
    with stack.deployment.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE message_boxes SET message_box_type = 0")
        connection.exec_driver_sql(
            "UPDATE user_dialogs SET unread_count = 3, unread_mentions_count = 2, "
            "read_inbox_max_id = 0"
        )
    dialog = stack.dialogs.read_history(ben, Peer.user(ann), 1)
    assert dialog is not None
    assert (1, 1, 1) == (
        dialog.read_inbox_max_id,
        dialog.unread_count,
        dialog.unread_mentions_count,
    )


def test_reading_where_there_is_nothing(stack: Stack) -> None:
    """Without a dialog nothing is read; a user who doesn't exist, or a bad id, is refused."""
    stack.add_users(2)
    assert None is stack.dialogs.read_history(1, Peer.user(2), 5)
    assert [] == stack.rows("user_dialogs")
    with pytest.raises(NotFoundError, match="no such user: 9"):
        stack.dialogs.read_history(9, Peer.user(2), 5)
    for bad in ("5", 2**31, None):
        with pytest.raises(InvalidValueError, match=r"^max_id is "):
            stack.dialogs.read_history(1, Peer.user(2), bad)  # type: ignore[arg-type]  # on purpose


def test_a_dialog_counts_by_itself(stack: Stack) -> None:
    """create_or_update_by_last_message begins at 1 unread and adds 1 each time, mentions only where
    there is one.
    """
    (ann,) = stack.add_users(1)
    for message_id, mention in [(5, False), (6, True), (7, False)]:
        dialog = stack.dialogs.create_or_update_by_last_message(
            ann, PeerType.USER, 2, message_id, mention
        )
    assert (3, 1, 7, NOW) == (
        dialog.unread_count,
        dialog.unread_mentions_count,
        dialog.top_message,
        dialog.date2,
    )


def test_reads_go_to_the_replica(new_url: Callable[[], str]) -> None:
    """Plain reads come from the replica; what decides a write is read from the primary."""
    replica_url = new_url()
    with open_stack(replica_url):
        pass
    with open_stack(new_url(), replica_url=replica_url) as stack:
        ann, ben = stack.add_users(2)
        chat = stack.chats.create_chat(ann, "Lunch", [ben], 1)
        message = stack.messages.send_message(ann, Peer.chat(chat.id), "hello", 7)
        assert message == stack.messages.send_message(ann, Peer.chat(chat.id), "hello", 7)
        assert chat == stack.chats.create_chat(ann, "Lunch", [ben], 1)
        assert None is stack.users.get_user(ann)
        assert [] == stack.messages.get_messages_by_gt_pts(ann, 0)
        assert 1 == stack.sequences.current(str(ann))


def test_no_write_of_any_model_when_read_only(url: str) -> None:
    """Every operation that writes is refused by name on a read-only deployment."""
    with open_stack(url) as stack:
        stack.add_users(2)
    with open_stack(url, read_only=True) as stack:
        peer = Peer.user(2)
        writes: list[Callable[[], object]] = [
            lambda: stack.sequences.next_ids("x", 2),
            lambda: stack.messages.send_message(1, peer, "x"),
            lambda: stack.messages.create_history_message(1, peer, 1, "x"),
            lambda: stack.messages.create_history_message_service(1, peer, 1, "x"),
            lambda: stack.messages.create_message_boxes(1, 1, peer, False, 1),
            lambda: stack.dialogs.create_or_update_by_last_message(1, 2, 2, 1),
            lambda: stack.dialogs.read_history(1, peer, 1),
            lambda: stack.chats.create_chat(1, "x", []),
            lambda: stack.chats.add_chat_participant(1, 1, 1),
            lambda: stack.chats.delete_chat_user(1, 1),
            lambda: stack.chats.edit_chat_title(1, 1, "x"),
            lambda: stack.accounts.register_device(1, 1, 2, "x"),
            lambda: stack.accounts.unregister_device(2, "x"),
            lambda: stack.accounts.set_notify_settings(1, peer),
            lambda: stack.accounts.reset_notify_settings(1),
            lambda: stack.users.create_user("+9", "x"),
        ]
        for write in writes:
            with pytest.raises(ReadOnlyError, match="read_only=True"):
                write()
