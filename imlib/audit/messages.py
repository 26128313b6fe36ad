"""Checks of messages: their numbers and counters, boxes, messages, and dialogs."""

from __future__ import annotations

from imlib.audit.check import KEPT, check

_BOXES = "SELECT * FROM message_boxes WHERE user_id = {user_id}"
_BOX = f"{_BOXES} AND message_id = {{message_id}}"
_MESSAGE = "SELECT * FROM messages WHERE id = {message_id}"
_SEQUENCE = "SELECT * FROM sequences WHERE name = '{quoted}'"
# A user's pts is the sequence that is named by the user's id.
_USER = "TRY_CAST(name AS INTEGER) AS user_id"
_LAST = "(SELECT user_id, max(pts) AS last FROM message_boxes GROUP BY ALL)"
_DIALOG = " WHERE user_id = {user_id} AND peer_type = {peer_type} AND peer_id = {peer_id}"

NUMBERS = (
    check(
        "pts_gap",
        "error",
        "A pts missing between two boxes of a user: clients ask for it again and again.",
        """SELECT user_id, pts, before,
            before + 1 || if(before + 2 = pts, '', ' to ' || pts - 1) AS missing
        FROM (SELECT *, lag(pts) OVER (PARTITION BY user_id ORDER BY pts) AS before
            FROM message_boxes) WHERE before < pts - 1""",
        "user {user_id} pts {missing}",
        "no box has it",
        f"{_BOXES} AND pts BETWEEN {{before}} AND {{pts}}",
        message_boxes="user_id pts",
    ),
    check(
        "pts_duplicate",
        "error",
        "One pts in several boxes of a user: a client believes that it has the second already.",
        """SELECT user_id, pts, count(*) AS boxes FROM message_boxes
        GROUP BY ALL HAVING boxes > 1""",
        "user {user_id} pts {pts}",
        "{boxes} boxes have it",
        f"{_BOXES} AND pts = {{pts}}",
        message_boxes="user_id pts",
    ),
    check(
        "pts_starts_late",
        "info",
        "A user whose first box has a later pts than 1: older ones are gone.",
        """SELECT user_id, min(pts) AS first FROM message_boxes
        GROUP BY user_id HAVING first > 1""",
        "user {user_id}",
        "the first box has pts {first}",
        f"{_BOXES} ORDER BY pts LIMIT 10",
        of="count(DISTINCT user_id) FROM message_boxes",
        message_boxes="user_id pts",
    ),
    check(
        "pts_lost_at_end",
        "error",
        "A counter beyond its user's last box: the newest message was numbered, and is in no box.",
        f"""SELECT user_id, name, least(row, redis_before) AS handed_out, last
        FROM sequences JOIN {_LAST} ON name = CAST(user_id AS VARCHAR)
        WHERE handed_out > last""",
        "user {user_id}",
        "{handed_out} was handed out, and the last box has {last}",
        _SEQUENCE,
        of="count(DISTINCT user_id) FROM message_boxes",
        message_boxes="user_id pts",
        sequences="",
    ),
    check(
        "sequence_behind",
        "error",
        "Redis's counter is behind the table's: a deployed server would issue numbers twice.",
        f"SELECT {_USER}, name, row, redis_after FROM sequences WHERE state = 'behind'",
        "{name}",
        "Redis was still at {redis_after} after its row, {row}, was read",
        _SEQUENCE,
        sequences="",
    ),
    check(
        "sequence_ahead",
        "warning",
        "Redis's counter is ahead of the table's: it issued numbers that MySQL does not know.",
        f"""SELECT {_USER}, name, redis_before,
            coalesce(CAST(row AS VARCHAR), 'where there is none') AS there
        FROM sequences WHERE state IN ('ahead', 'redis only')""",
        "{name}",
        "Redis was at {redis_before} already before its row, {there}, was read",
        _SEQUENCE,
        sequences="",
    ),
    check(
        "sequence_lost",
        "warning",
        "A counter that Redis has lost: a deployed server would issue numbers twice.",
        f"SELECT {_USER}, name, row FROM sequences WHERE state = 'row only'",
        "{name}",
        "its row is at {row}, and Redis has no key of it",
        _SEQUENCE,
        sequences="",
    ),
    check(
        "sequence_behind_boxes",
        "error",
        "A counter that is below its user's last box: the next message gets a number twice.",
        f"""SELECT user_id, name, row, last
        FROM sequences JOIN {_LAST} ON name = CAST(user_id AS VARCHAR)
        WHERE row < last""",
        "user {user_id}",
        "its row is at {row}, and the last box has pts {last}",
        _SEQUENCE,
        of="count(DISTINCT user_id) FROM message_boxes",
        message_boxes="user_id pts",
        sequences="",
    ),
    check(
        "sequence_absent",
        "error",
        "A user with boxes and no counter: the numbers begin at 1 once more.",
        """SELECT user_id, max(pts) AS last FROM message_boxes
        WHERE CAST(user_id AS VARCHAR) NOT IN (SELECT name FROM sequences) GROUP BY ALL""",
        "user {user_id}",
        "the last box has pts {last}, and there is no counter",
        _BOXES,
        of="count(DISTINCT user_id) FROM message_boxes",
        message_boxes="user_id pts",
        sequences="",
    ),
    check(
        "client_ahead",
        "warning",
        "A device that has read further than the server has numbered: it misses what comes next.",
        # A deployed server tells a client of a user without boxes that it is at 1.
        f"""SELECT c.user_id, auth_key_id, c.pts, greatest(last, row, 0) AS ours
        FROM client_updates_state AS c LEFT JOIN {_LAST} USING (user_id)
        LEFT JOIN sequences ON name = CAST(c.user_id AS VARCHAR)
        WHERE c.pts > greatest(ours, 1)""",
        "user {user_id} auth key {auth_key_id}",
        "it has read up to pts {pts}, and the server is at {ours}",
        "SELECT * FROM client_updates_state WHERE user_id = {user_id}",
        client_updates_state="user_id auth_key_id pts",
        message_boxes="user_id pts",
        sequences="",
    ),
)

# For every dialog what its boxes say, by imlib's counting and by the deployed one, which counts all
# boxes and never lowers it; and by which of them this database counts.
_COUNTED = """
WITH counted AS (
    SELECT d.*, coalesce(max(message_id), 0) AS newest, count(message_id) AS boxes,
        count(*) FILTER (sender_user_id <> user_id AND message_id > read_inbox_max_id) AS unread
    FROM (SELECT DISTINCT * FROM user_dialogs) AS d
    LEFT JOIN message_boxes USING (user_id, peer_type, peer_id) GROUP BY ALL
), counting AS (
    SELECT count(*) AS dialogs, count(*) FILTER (unread_count = unread) AS ours,
        count(*) FILTER (unread_count = boxes) AS theirs,
        CASE WHEN ours >= 0.95 * dialogs THEN 'imlib''s' WHEN theirs >= 0.95 * dialogs
            THEN 'the deployed' ELSE 'mixed' END AS way
    FROM counted WHERE boxes > 0
)
"""
_DIALOG_NEEDS = {
    "user_dialogs": "user_id peer_type peer_id top_message unread_count read_inbox_max_id",
    "message_boxes": "user_id sender_user_id peer_type peer_id message_id",
}

DIALOGS = (
    check(
        "dialog_counting",
        "info",
        "Unread messages are counted in another way than imlib does: telegramd counts all boxes.",
        f"""{_COUNTED}SELECT way, if(way = 'mixed', 'neither counting fits 95 % of them: each '
            || 'dialog is judged by either', 'unread_count is the number of all boxes of a dialog, '
            || 'the sender''s too, as telegramd counts') AS what, dialogs, ours, theirs
        FROM counting WHERE way <> 'imlib''s'""",
        "all dialogs",
        "{way} counting: {what} ({theirs} of {dialogs} fit telegramd's, {ours} imlib's)",
        "SELECT unread_count, count(*) FROM user_dialogs GROUP BY ALL ORDER BY ALL",
        **_DIALOG_NEEDS,
    ),
    check(
        "dialog_disagrees",
        "error",
        "A dialog whose newest message or unread count is not what its boxes say.",
        f"""{_COUNTED}SELECT user_id, peer_type, peer_id, concat_ws('; ',
            if(top_message <> newest,
                format('top_message is {{}}, its newest box has {{}}', top_message, newest), NULL),
            if(miscounted, format('unread_count is {{}}, and {{}} of its boxes are unread',
                unread_count, if(way = 'the deployed', boxes, unread)), NULL)) AS what,
            if(newest > 0, 'message_boxes', 'user_dialogs') AS frame
        FROM (SELECT *, CASE way WHEN 'imlib''s' THEN unread_count <> unread
            WHEN 'mixed' THEN unread_count NOT IN (unread, boxes)
            ELSE unread_count <> boxes END AS miscounted FROM counted, counting)
        WHERE miscounted OR top_message <> newest""",
        "user {user_id} peer {peer} {peer_id}",
        "{what}",
        "SELECT * FROM {frame}" + _DIALOG,
        **_DIALOG_NEEDS,
    ),
    check(
        "dialog_missing",
        "error",
        "Boxes of a user without a dialog: the conversation is in no list.",
        """SELECT user_id, peer_type, peer_id, count(*) AS boxes
        FROM message_boxes ANTI JOIN user_dialogs USING (user_id, peer_type, peer_id)
        GROUP BY ALL""",
        "user {user_id} peer {peer} {peer_id}",
        "{boxes} boxes, and no dialog",
        "SELECT * FROM message_boxes" + _DIALOG,
        of="count(DISTINCT (user_id, peer_type, peer_id)) FROM message_boxes",
        message_boxes="user_id peer_type peer_id",
        user_dialogs="user_id peer_type peer_id",
    ),
    check(
        "read_beyond_newest",
        "warning",
        "A dialog that is read beyond its newest message: what comes next counts as read.",
        """SELECT user_id, peer_type, peer_id, top_message,
            greatest(read_inbox_max_id, read_outbox_max_id) AS read
        FROM user_dialogs
        LEFT JOIN (SELECT user_id, peer_type, peer_id, max(message_id) AS newest
            FROM message_boxes GROUP BY ALL) USING (user_id, peer_type, peer_id)
        WHERE read > greatest(top_message, coalesce(newest, 0))""",
        "user {user_id} peer {peer} {peer_id}",
        "read up to {read}, and the newest message is {top_message}",
        "SELECT * FROM user_dialogs" + _DIALOG,
        user_dialogs="user_id peer_type peer_id top_message read_inbox_max_id read_outbox_max_id",
        message_boxes="user_id peer_type peer_id message_id",
    ),
    check(
        "mentions_without_unread",
        "warning",
        "A dialog with more unread mentions than unread messages.",
        """SELECT user_id, peer_type, peer_id, unread_mentions_count, unread_count
        FROM user_dialogs WHERE unread_mentions_count > unread_count""",
        "user {user_id} peer {peer} {peer_id}",
        "{unread_mentions_count} unread mentions in {unread_count} unread messages",
        "SELECT * FROM user_dialogs" + _DIALOG,
        user_dialogs="user_id peer_type peer_id unread_mentions_count unread_count",
    ),
)

MESSAGES = (
    check(
        "orphan_box",
        "error",
        "A box whose message does not exist.",
        """SELECT user_id, message_id FROM message_boxes
        WHERE message_id NOT IN (SELECT id FROM messages)""",
        "user {user_id} message {message_id}",
        "its box is there, and the message in no table",
        _BOX,
        message_boxes="user_id message_id",
        messages="id",
    ),
    check(
        "message_without_boxes",
        "error",
        "A message that is in no box: its writer died, and nobody sees it.",
        """SELECT id AS message_id, sender_user_id AS user_id FROM messages
        WHERE id NOT IN (SELECT message_id FROM message_boxes)""",
        "message {message_id}",
        "of user {user_id}: it is in no box",
        _MESSAGE,
        messages="id sender_user_id",
        message_boxes="message_id",
    ),
    check(
        "box_missing",
        "error",
        "A message that one of its people has no box of, and others have: it was lost on the way.",
        # Whoever joined in the same second may have joined later.
        """WITH due AS (
            SELECT id, peer_id AS user_id FROM messages WHERE peer_type = 2
            UNION SELECT id, sender_user_id FROM messages
            UNION SELECT m.id, p.user_id FROM messages AS m JOIN participants AS p
                ON chat_id = peer_id AND state = 0 AND joined_at < date2 WHERE peer_type = 3
        ), boxes AS (SELECT user_id, message_id AS id FROM message_boxes)
        SELECT user_id, id AS message_id FROM due ANTI JOIN boxes USING (user_id, id)
            SEMI JOIN boxes AS others USING (id) WHERE user_id IN (SELECT id FROM users)""",
        "user {user_id} message {message_id}",
        "others have a box of it, and this user has none",
        _MESSAGE,
        of="count(*) FROM message_boxes",
        messages="id sender_user_id peer_type peer_id date2",
        message_boxes="user_id message_id",
        participants="chat_id user_id state joined_at",
        users="id",
    ),
    check(
        "message_of_nobody",
        "error",
        "A message whose sender is no user.",
        """SELECT id AS message_id, sender_user_id AS user_id FROM messages
        WHERE sender_user_id NOT IN (SELECT id FROM users)""",
        "message {message_id}",
        "its sender, user {user_id}, is not in users",
        _MESSAGE,
        messages="id sender_user_id",
        users="id",
    ),
    check(
        "box_of_nobody",
        "error",
        "Boxes whose owner is no user.",
        """SELECT user_id, count(*) AS boxes FROM message_boxes
        WHERE user_id NOT IN (SELECT id FROM users) GROUP BY ALL""",
        "user {user_id}",
        "has {boxes} boxes, and is not in users",
        _BOXES,
        of="count(DISTINCT user_id) FROM message_boxes",
        message_boxes="user_id",
        users="id",
    ),
    check(
        "box_of_outsider",
        "error",
        "Boxes of a chat whose owner never was in it.",
        # Where those who leave are removed, nobody can tell.
        f"""SELECT user_id, peer_id AS chat_id, count(*) AS boxes
        FROM message_boxes ANTI JOIN participants AS p
            ON p.user_id = message_boxes.user_id AND chat_id = peer_id
        WHERE peer_type = 3 AND {KEPT} GROUP BY ALL""",
        "user {user_id} chat {chat_id}",
        "{boxes} boxes of a chat that the user was never in",
        f"{_BOXES} AND peer_type = 3 AND peer_id = {{chat_id}}",
        message_boxes="user_id sender_user_id peer_type peer_id message_box_type",
        participants="chat_id user_id state",
    ),
    check(
        "box_of_another_sender",
        "error",
        "A box that names another sender than its message does.",
        """SELECT user_id, message_id, b.sender_user_id AS one, m.sender_user_id AS other
        FROM message_boxes AS b JOIN messages AS m ON m.id = message_id WHERE one <> other""",
        "user {user_id} message {message_id}",
        "its box names user {one} as its sender, and the message user {other}",
        _BOX,
        message_boxes="user_id message_id sender_user_id",
        messages="id sender_user_id",
    ),
    check(
        "future_date",
        "warning",
        "A message or box of a later date than now.",
        """WITH ahead AS (SELECT id, date2 - now_s AS s FROM messages, facts WHERE s > 60)
        SELECT 'message ' || id AS subject, s, 'messages WHERE id = ' || id AS rows FROM ahead
        UNION ALL
        SELECT 'user ' || user_id || ' message ' || message_id, date2 - now_s AS s,
            'message_boxes WHERE user_id = ' || user_id || ' AND message_id = ' || message_id
        FROM message_boxes, facts WHERE s > 60 AND message_id NOT IN (SELECT id FROM ahead)""",
        "{subject}",
        "its date is {s:.0f} s from now",
        "SELECT * FROM {rows}",
        messages="id date2",
        message_boxes="user_id message_id date2",
    ),
    check(
        "duplicate_random_id",
        "error",
        "One random_id on several messages of a sender: a retry was stored as a second message.",
        """SELECT sender_user_id AS user_id, random_id, list(id ORDER BY id) AS ids
        FROM messages GROUP BY ALL HAVING count(*) > 1""",
        "user {user_id} messages {ids}",
        "all have random_id {random_id}",
        "SELECT * FROM messages WHERE sender_user_id = {user_id} AND random_id = {random_id}",
        messages="id sender_user_id random_id",
    ),
    check(
        "body_unreadable",
        "warning",
        "A body that is in none of the three known forms. Judged before masking.",
        """SELECT 'message ' || item AS subject, 'its body can be read in no known form' AS what,
            'SELECT * FROM messages WHERE id = ' || item AS look
        FROM (SELECT unnest(unreadable_bodies) AS item FROM facts)
        UNION ALL
        SELECT 'more', unreadable_more || ' more were counted and not kept',
            'take a snapshot with a where-clause on messages.id'
        FROM facts WHERE unreadable_more > 0""",
        "{subject}",
        "{what}",
        "{look}",
        messages="id message_data",
        facts="unreadable_bodies",
    ),
    check(
        "body_damaged",
        "info",
        "Bodies that their utf8 column has damaged: each byte that it cannot hold is a ?.",
        "SELECT damaged, damaged_samples AS ids FROM facts WHERE damaged > 0",
        "messages",
        "{damaged} bodies are damaged by their column, such as of messages {ids}",
        "SELECT * FROM messages WHERE id IN ({ids})",
        messages="id message_data",
        facts="unreadable_bodies",
    ),
)
