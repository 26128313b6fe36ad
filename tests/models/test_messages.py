"""Messages, boxes, dialogs and updates: the operations, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imlib.constants import MessageBoxType, MessageType, PeerType
from imlib.errors import InvalidValueError, NotFoundError, ReadOnlyError
from imlib.message_body import decode_body, encode_body
from imlib.models.records import Peer
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


def test_a_message_to_oneself(stack: Stack) -> None:
    """A message to oneself is one box, going out, in a dialog with nothing unread."""
    (ann,) = stack.add_users(1)
    stack.messages.send_message(ann, Peer.user(ann), "buy milk")
    assert [(1, True, 1)] == sent_by(stack, ann)
    assert [0] == [row["unread_count"] for row in stack.rows("user_dialogs")]


@pytest.mark.parametrize("text", ["", 5, None, b"hello", ["hello"]])
def test_a_text_that_is_none(stack: Stack, text: Any) -> None:
    """What is no text, or has no character, is refused, and nothing is stored."""
    ann, ben = stack.add_users(2)
    with pytest.raises(InvalidValueError, match=r"^text is .*; allowed is a str that is not empty"):
        stack.messages.send_message(ann, Peer.user(ben), text)
    assert [] == stack.rows("messages")


def test_the_same_random_id_again(stack: Stack) -> None:
    """The same sender and random_id return the first message and write nothing; another sender's is
    another message.
    """
    ann, ben = stack.add_users(2)
    first = stack.messages.send_message(ann, Peer.user(ben), "hello", 77)
    before = [
        stack.rows(name)
        for name in ("messages", "message_boxes", "user_dialogs", "seq_updates_ngen")
    ]
    assert first == stack.messages.send_message(ann, Peer.user(ben), "something else", 77)
    assert before == [
        stack.rows(name)
        for name in ("messages", "message_boxes", "user_dialogs", "seq_updates_ngen")
    ]
    assert first.id != stack.messages.send_message(ben, Peer.user(ann), "hello", 77).id


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
    assert first == stack.messages.create_history_message(ann, Peer.user(ben), 5, "hello again")
    notice = stack.messages.create_history_message_service(ann, Peer.chat(1), 6, "joined")
    assert [MessageType.MESSAGE, MessageType.MESSAGE_SERVICE] == [
        r["message_type"] for r in stack.rows("messages")
    ]
    assert [first, notice] == [row["id"] for row in stack.rows("messages")]
    assert [] == stack.rows("message_boxes")
    sent = stack.messages.send_message(ann, Peer.user(ben), "hello", 5)
    assert (first, 0, True) == (sent.id, sent.pts, sent.out)


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
    with pytest.raises(InvalidValueError, match=r"message_boxes\.pts"):
        stack.messages.send_message(ben, Peer.user(ann), "too many")
    assert 1 == len(stack.rows("messages"))
    assert 1 == stack.sequences.current(str(ann))


def test_reading_by_pts(stack: Stack) -> None:
    """Updates come oldest first, after the given pts and not with it; the last pts is
    the state's.
    """
    ann, ben = stack.add_users(2)
    assert (0, 1) == (
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
    assert "no JSON" in str(second.body_problem)
    assert all(ord(character) < 128 for character in stack.rows("messages")[0]["message_data"])
    assert "hello" not in repr(first)


def test_bodies() -> None:
    """What JSON can hold survives, lone surrogates included; what it cannot is refused."""
    bodies: list[object] = ["", "\ud800", {"a": [1, 2**70, None, True, "\x00"]}, 0]
    for body in bodies:
        assert (body, None) == decode_body(encode_body(body).encode())
    for bad in (float("nan"), {1, 2}, object()):
        with pytest.raises(InvalidValueError):
            encode_body(bad)
    for raw in (b"", b"{", b"\xff", b"[" * 100_000):
        kept, problem = decode_body(raw)
        assert raw == kept
        assert problem


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
