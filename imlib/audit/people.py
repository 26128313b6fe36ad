"""Checks of people: chats and who is in them, contacts, logins, devices, and names."""

from __future__ import annotations

from imlib.audit.check import KEPT, check

_PARTICIPANT = "SELECT * FROM {participants} WHERE chat_id = {chat_id} AND user_id = {user_id}"
_USERS = "SELECT * FROM users WHERE id IN ({user_ids})"
_CHAT = "SELECT * FROM {participants} WHERE chat_id = {chat_id}"

PEOPLE = (
    check(
        "orphan_participant",
        "error",
        "A participant who does not exist, or is in a chat that does not exist.",
        """SELECT chat_id, user_id, 'chat' AS one FROM participants
        WHERE chat_id NOT IN (SELECT id FROM chats)
        UNION ALL
        SELECT chat_id, user_id, 'user' FROM participants
        WHERE user_id NOT IN (SELECT id FROM users)""",
        "user {user_id} chat {chat_id}",
        "the {one} is not in {one}s",
        _PARTICIPANT,
        participants="chat_id user_id",
        chats="id",
        users="id",
    ),
    check(
        "participant_twice",
        "error",
        "A user who is in a chat twice.",
        """SELECT chat_id, user_id, count(*) AS rows FROM participants WHERE state = 0
        GROUP BY ALL HAVING rows > 1""",
        "user {user_id} chat {chat_id}",
        "{rows} rows say that the user is in it",
        _PARTICIPANT,
        participants="chat_id user_id state",
    ),
    check(
        "participant_count",
        "warning",
        "A chat whose participant_count is not how many are in it.",
        """SELECT id AS chat_id, participant_count, count(DISTINCT user_id) AS there
        FROM chats LEFT JOIN participants ON chat_id = id AND state = 0
        GROUP BY ALL HAVING there <> participant_count""",
        "chat {chat_id}",
        "participant_count is {participant_count}, and {there} are in it",
        _CHAT,
        chats="id participant_count",
        participants="chat_id user_id state",
    ),
    check(
        "creator_not_in_chat",
        "warning",
        "A chat whose creator never was in it.",
        f"""SELECT id AS chat_id, creator_user_id AS user_id
        FROM chats ANTI JOIN participants ON chat_id = id AND user_id = creator_user_id
        WHERE {KEPT}""",
        "chat {chat_id}",
        "its creator, user {user_id}, never was in it",
        _CHAT,
        chats="id creator_user_id",
        participants="chat_id user_id state",
        message_boxes="user_id sender_user_id peer_type message_box_type",
    ),
    check(
        "orphan_contact",
        "warning",
        "A contact who does not exist, or is in the address book of nobody.",
        """SELECT owner_user_id AS user_id, contact_user_id, who FROM (
            SELECT *, unnest([owner_user_id, contact_user_id]) AS one, unnest(['owner', 'contact'])
                AS who FROM user_contacts
        ) WHERE one NOT IN (SELECT id FROM users)""",
        "user {user_id} contact {contact_user_id}",
        "the {who} is not in users",
        "SELECT * FROM user_contacts WHERE owner_user_id = {user_id}"
        " AND contact_user_id = {contact_user_id}",
        user_contacts="owner_user_id contact_user_id",
        users="id",
    ),
    check(
        "username_twice",
        "warning",
        "Usernames that are equal, or differ by case alone: people find the wrong one.",
        """SELECT lower(username) AS name, list(id ORDER BY id) AS user_ids FROM users
        WHERE username <> '' GROUP BY name HAVING count(*) > 1""",
        "users {user_ids}",
        "all are called {name}, whatever the case",
        _USERS,
        users="id username",
    ),
    check(
        "phone_twice",
        "warning",
        "Phones that differ by a leading + alone: one person has two accounts. "
        "Judged before masking.",
        "SELECT unnest(phone_twins) AS user_ids FROM facts",
        "users {user_ids}",
        "their phones differ by a + alone",
        _USERS,
        users="id phone",
        facts="phone_twins",
    ),
    check(
        "orphan_auth",
        "warning",
        "A login of a user who does not exist.",
        """SELECT user_id, auth_id FROM auth_users
        WHERE user_id <> 0 AND user_id NOT IN (SELECT id FROM users)""",
        "user {user_id} auth key {auth_id}",
        "is logged in, and not in users",
        "SELECT * FROM auth_users WHERE auth_id = {auth_id}",
        auth_users="auth_id user_id",
        users="id",
    ),
    check(
        "device_without_auth",
        "warning",
        "A registered device whose auth key is in no table: its pushes can go to anybody.",
        """SELECT id, user_id, auth_id FROM devices WHERE state IN (0, 1)
            AND auth_id NOT IN (SELECT auth_id FROM auth_users UNION ALL
                SELECT auth_id FROM auth_keys UNION ALL SELECT auth_id FROM auths)""",
        "user {user_id} device {id}",
        "auth key {auth_id} is in no table",
        "SELECT * FROM devices WHERE id = {id}",
        devices="id user_id auth_id state",
        auth_users="auth_id",
        auth_keys="auth_id",
        auths="auth_id",
    ),
    check(
        "token_of_two",
        "warning",
        "A push token that is registered for several users: each gets the other's messages.",
        # A deployed server unregisters a device by writing the token type as its state.
        """SELECT list(DISTINCT user_id ORDER BY user_id) AS user_ids, list(id ORDER BY id) AS ids
        FROM devices WHERE state IN (0, 1) AND state <> token_type AND token <> ''
        GROUP BY token_type, token HAVING count(DISTINCT user_id) > 1""",
        "users {user_ids}",
        "one token is registered for all of them",
        "SELECT * FROM devices WHERE id IN ({ids})",
        devices="id user_id token_type token state",
    ),
    check(
        "missing_index",
        "info",
        "An index that imlib's tables have and this lacks: reads scan, or duplicates are possible.",
        """SELECT item, if(item LIKE '% unique', 'nothing refuses a second row of the same key',
            'reads that would use it scan the table') AS what
        FROM (SELECT unnest(missing_indexes) AS item FROM facts)""",
        "{item}",
        "{what}",
        "imlib.schema_check.check_schema(deployment.engine)",
        facts="missing_indexes",
    ),
)
