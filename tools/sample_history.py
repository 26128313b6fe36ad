"""Who lives in the sample world, what was said, who is online at one instant, and every fault that
is planted in it.

Everything that must be kept secret is a fake that says so: texts contain ``FAKE`` (in the base64 of
keys ``RkFLRS``), salts begin with 666 and access hashes with 777. Every text of a column fits
3-byte utf8.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

from imlib import CHECK_ONLINE_TIMEOUT, Layout, SessionStatus
from imlib.sample import NOW, Planted

# first name, last name, country, language
_PEOPLE: Final = """
Jürgen|Müller|DE|de;Анна|Ковалёва|RU|ru;Νίκος|Παπαδόπουλος|GR|el;ليلى|حداد|LB|ar;נועה|לוי|IL|he;आरव|शर्मा|IN|hi
明|王|CN|zh;さくら|カトウ|JP|ja;민준|김|KR|ko;สมชาย|ใจดี|TH|th;☕ Café|Bot|FR|fr;Zoë|O'Connor|IE|en
""".strip().replace("\n", ";")
USERS: Final = {user_id: line.split("|") for user_id, line in enumerate(_PEOPLE.split(";"), 1)}
_PLATFORMS: Final = ("Android", "iOS", "Desktop")
CHATS: Final = ((1, "Кафе ☕ Café", (2, 3, 5, 7)), (7, "家族 ♥", (8, 9)), (2, "Friday", (1, 10)))
# Sender > receiver (c: a chat); ! for a message that its receiver's box never got. Message 1 says
# that chat 1 was made.
HISTORY: Final = """
1>2 Привет, Анна! 👋
2>1 Hallo Jürgen! 😀
2>1 Kommst du heute?
1>c1 Coffee at five? ☕
3>c1 Ναι! 🎉
7>c1 我也来 🍵
4>5 مرحبا نوعا 🌙
5>4 שלום ליילה 🌟
6!5 नमस्ते! सुना क्या?
6>5 क्या तुम वहाँ हो? 🙏
8>9 ねえ、今日は? 🍣
9>8 좋아요 👍
8>9 6時に 🕕
7>c2 晚上好 🌃
9>c2 안녕하세요
8>8 買い物: 茶 📝
8>8 買い物: 米 📝
10>c3 สวัสดี 🐘
2>c3 Супер!
3>1 Καλημέρα ☀️
3>1 Καλημέρα ☀️
10>2 ไปไหนมา
12>1 Goodbye… 👻
1>11 /order espresso
11>1 One espresso ☕, coming up
2>c1 @juergen Увидимся!
5>6 תודה 💙
4>1 العائلة 👨‍👩‍👧‍👦
7>8 谢谢 🙇
8>9 またね 👋
"""
# user, device (-1: a key that no table knows), number of the device's session, seconds since the
# report, server, layout
_REPORTS: Final = """
  1  0 0    2 1 documented
  1  1 0    6 2 documented
  1  0 1   40 1 documented
  1  0 2   95 3 documented
  2  0 0    5 2 deployed
  2  2 0    9 2 deployed
  3  0 0    1 3 documented
  3 -1 0    4 3 documented
  4  0 0 3600 4 deployed
  5  0 0   12 1 deployed
  5  0 0    2 3 documented
  5  1 0    7 1 deployed
  6  0 0    3 2 documented
  7  0 0    5 1 documented
  7  1 0   16 3 documented
  7  1 1   17 3 documented
  8  0 0    0 2 documented
  8  0 1    8 1 documented
  9  0 0    6 4 deployed
  9  0 1   11 3 deployed
 10  0 0 -120 4 documented
404 -1 0    6 3 documented
"""
NO_TTL: Final = "online_4"
MALFORMED: Final = (
    *(
        ("laptop", "yes"),
        ("5_6", "1@42@1512270533"),
        ("05_6", "1512270533_1_42"),
        ("1_2_3", "1512270533_1_42"),
    ),
    *(
        ("9223372036854775808_1", "1512270533_1_42"),
        ("7_8", "1512270533_1_"),
        ("\xff_1", "1512270533_1_42"),
    ),
)


def _sessions() -> Iterator[tuple[SessionStatus, Layout]]:
    """Yield the sessions as they were reported; the same user, device and number is the same
    session.
    """
    ids: dict[tuple[int, ...], int] = {}
    for netlib, line in enumerate(_REPORTS.strip().splitlines(), 1001):
        *numbers, layout = line.split()
        user_id, device, number, age, server_id = map(int, numbers)
        session_id = ids.setdefault((user_id, device, number), _id64())
        auth_key_id = DEVICES[user_id][device] if device >= 0 else _id64()
        yield (
            SessionStatus(user_id, auth_key_id, session_id, server_id, netlib, NOW - age),
            Layout(layout),
        )


_random: Final = random.Random(20171203)


def _id64() -> int:
    """Return the next random int64, negative as often as not."""
    return _random.getrandbits(64) - 2**63


DEVICES: Final = {user_id: [_id64() for _ in range(1 + user_id % 3)] for user_id in USERS}
SESSIONS: Final = tuple(_sessions())
"""Every session that is reported, with the layout that it is written in."""
MARKS: Final = [_id64() for _ in range(100)]


def _planted() -> Iterator[Planted]:
    for status, layout in SESSIONS:
        subject, age = f"{status.to_key()} {status.to_field(layout)}", NOW - status.now
        if age >= CHECK_ONLINE_TIMEOUT:
            yield Planted(
                "ghost", subject, f"the session was reported {age} s ago, and Redis still holds it"
            )
        if age < 0:
            yield Planted(
                "future_session",
                subject,
                f"reported {-age} s ahead: a server's clock is wrong by that much",
            )
        if status.user_id not in USERS or status.auth_key_id not in DEVICES[status.user_id]:
            who = (
                "the user and the auth key are"
                if status.user_id not in USERS
                else "the auth key is"
            )
            yield Planted("orphan_session", subject, f"{who} in no table")
    yield Planted(
        "key_without_ttl", NO_TTL, "a server died between HSET and EXPIRE; the key stays for ever"
    )
    yield Planted(
        "mixed_layouts", "all servers", "users have sessions in both layouts: servers are upgraded"
    )
    yield Planted(
        "session_held_twice", "online_5", "one session counts on two servers, one of them upgraded"
    )
    for field, value in MALFORMED:
        field = field.encode("latin-1").decode("ascii", "backslashreplace")
        yield Planted(
            "malformed",
            f"online_6 {field}",
            f"no session can be read from the field {field}, value {value}",
        )
    yield Planted("malformed", "online_bob", "the key names no user")
    yield Planted("malformed", "online_11", "the key holds a list")
    yield Planted("malformed", "seq_updates_ngen_broken", "the sequence is no number")
    yield Planted(
        "sequence_ahead", "1", "Redis is 1 ahead of the row: a server died between INCR and UPDATE"
    )
    yield Planted(
        "sequence_behind", "7", "Redis is 2 behind the row: it came back from an older dump"
    )
    yield Planted(
        "pts_gap", "user 5 pts 7", "the server died before it wrote the box of message 10"
    )
    yield Planted(
        "box_missing", "user 5 message 10", "the server died before it wrote the receiver's box"
    )
    yield Planted(
        "pts_duplicate", "user 9 pts 5", "two boxes have this pts: the number was handed out twice"
    )
    yield Planted("dialog_disagrees", "user 2 peer user 1", "3 are said to be unread, and none is")
    yield Planted(
        "dialog_disagrees", "user 3 peer chat 1", "top_message is 7, and the newest box has 27"
    )
    yield Planted("orphan_box", "user 8 message 17", "the box's message is in no table")
    yield Planted("orphan_participant", "user 4 chat 77", "the chat is in no table")
    yield Planted(
        "duplicate_random_id", "user 3 messages 21, 22", "one message, sent again, was stored twice"
    )
    yield Planted("body_unreadable", "message 23", "the body is in no form that is known")


FAULTS: Final = tuple(_planted())
"""What `imlib.sample.PLANTED` lists."""


def rows_without_a_model() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (table, row) for what no model writes: users, keys, logins, contacts, secrets."""
    fake = count(1)
    gone = datetime.fromtimestamp(NOW - 86_400, UTC)
    for api_id, name in ((4, "android"), (8, "desktop")):
        yield (
            "apps",
            {
                "api_id": api_id,
                "api_hash": f"FAKE-API-HASH-{api_id}",
                "title": name,
                "short_name": name[:3],
            },
        )
    for user_id, (first, last, country, language) in USERS.items():
        phone, bot, deleted = f"1555010{user_id:04}", user_id == 11, user_id == 12
        yield (
            "users",
            {
                "id": user_id,
                "access_hash": 777 * 10**15 + user_id,
                "first_name": first,
                "last_name": last,
            }
            | {
                "username": f"user_{user_id}",
                "phone": phone,
                "country_code": country,
                "bio": "",
                "about": f"({first})",
            }
            | {
                "is_bot": int(bot),
                "deleted": int(deleted),
                "deleted_reason": "asked for it" if deleted else "",
            }
            | {"deleted_at": gone if deleted else None},
        )
        for at, auth_id in enumerate(DEVICES[user_id]):
            platform, device = _PLATFORMS[at], {"auth_id": auth_id, "api_id": 8 if at == 2 else 4}
            body = base64.b64encode(
                f"FAKE-AUTH-KEY-{next(fake):03}-".encode().ljust(256, b"=")
            ).decode()
            yield "auth_keys", {"auth_id": auth_id, "body": body}
            yield (
                "auth_salts",
                {"auth_id": auth_id, "salt": 666 * 10**15 + next(fake), "valid_since": NOW - 1800},
            )
            versions = dict.fromkeys(("system_version", "app_version"), f"{at + 4}.2")
            about = device | versions | {"device_model": f"{platform} of {first}"}
            codes = {
                "system_lang_code": language,
                "lang_pack": platform.lower(),
                "lang_code": language,
            }
            yield "auths", about | codes
            where = {
                "ip": f"192.0.2.{user_id}",
                "country": country,
                "region": "",
                "platform": platform,
            }
            dates = {"date_created": NOW - 7 * 86_400, "date_active": NOW - 60 * user_id}
            yield "auth_users", about | where | dates | {"user_id": user_id, "app_name": "imlib"}
    for at, user_id in enumerate((1, 5, 12)):
        secret = {
            "transaction_hash": f"FAKE-TRANSACTION-{at}",
            "api_id": 4,
            "api_hash": "FAKE-API-HASH-4",
        }
        phone = f"1555010{user_id:04}"
        yield (
            "auth_phone_transactions",
            secret | {"phone_number": phone, "code": f"FAKE{at}", "attempts": at},
        )
        privacy = {
            "user_id": user_id,
            "password": f"FAKE-PASSWORD-{at}",
            "recovery_mail": f"FAKE-{at}@example.org",
        }
        yield "user_privacys", privacy | {"ttl": 365, "ttl_created_at": NOW - 86_400}
    mine = {"auth_id": DEVICES[1][0], "user_id": 1}
    secret = {"password_hash": "FAKE-PASSWORD-HASH", "tmp_password": "FAKE-TMP-PASSWORD"}
    yield "tmp_passwords", mine | secret | {"period": 3600, "valid_until": NOW + 600}
    yield (
        "reports",
        mine
        | {"peer_type": 2, "peer_id": 12, "reason": 1, "content": "FAKE-REPORT: too many messages"},
    )
    for owner, contact in (
        (1, 2),
        (2, 1),
        (1, 3),
        (4, 5),
        (5, 4),
        (6, 5),
        (7, 8),
        (8, 9),
        (9, 8),
        (10, 2),
        (1, 12),
    ):
        row = {"owner_user_id": owner, "contact_user_id": contact, "date2": NOW - 5 * 86_400}
        yield "user_contacts", row | {"is_blocked": int((owner, contact) == (1, 12))}
