"""The 20 tables, one definition for SQLite and for MySQL/MariaDB.

Names, widths, defaults and unique keys are the deployed server's. Where imlib makes the tables they
are InnoDB with utf8mb4, "never" is NULL instead of a zero date, and they have the indexes that the
models' reads need. A table that exists is never altered. Integer columns named ``date…``,
``…_until``, ``…_at`` or ``…_since`` hold Unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles

from imlib.servers import sql

# The specification's own shorthand. A column is `name type`, `=default` where it has one, NOT NULL
# unless `null`:
#   t     tinyint
#   i     int
#   I     bigint
#   vN    varchar(N)
#   text  text
# A column without a type is a moment: created_at is now by default, every other one is NULL.
_TABLES = """
apps: client applications, by the api_id that each presents
  api_id i, api_hash v256, title v128, short_name v128, created_at, deleted_at
  unique api_id
auth_keys: one key a device, made before anybody logs in; body is 256 bytes in base64, secret
  auth_id I, body v512, created_at, deleted_at
  unique auth_id
auth_phone_transactions: login codes sent to phones and how often each was tried; secret
  transaction_hash v255, api_id i, api_hash v255, phone_number v32, code v8, attempts i=0,
  created_at, updated_at, is_deleted t=0
  unique transaction_hash
auth_salts: the salts that a session's messages carry in turn; secret
  auth_id I, salt I, valid_since i=0, created_at, updated_at, deleted_at
  key auth_id
auth_users: who is logged in on which auth key, with device, application and address
  auth_id I, user_id i=0, hash I=0, device_model v128, platform v64, system_version v64,
  api_id i=0, app_name v64, app_version v64, date_created i=0, date_active i=0, ip v64,
  country v64, region v64, created_at, deleted_at
  unique auth_id
auths: what a client said of itself when it opened its connection
  auth_id I, api_id i, device_model v255, system_version v255, app_version v255,
  system_lang_code v255, lang_pack v255, lang_code v255, connection_hash I=0, created_at,
  updated_at, deleted_at
  unique auth_id
chat_users: the participants of each chat; state 0 is in it, 1 is gone
  chat_id i, user_id i, participant_type t=0, inviter_user_id i=0, invited_at i=0,
  joined_at i=0, state t=0, created_at, updated_at
  key chat_id
chats: group chats with title, creator, number of participants, version
  creator_user_id i, create_random_id I, access_hash I, participant_count i, title v255,
  title_changer_user_id i, title_changed_at, title_change_random_id I,
  avatar_changer_user_id i, avatar_changed_at, avatar_change_random_id I, is_public t=0,
  about text, topic v255 null, is_hidden t=0, version i=1, created_at, updated_at
  unique title_changer_user_id title_change_random_id
  unique avatar_changer_user_id avatar_change_random_id
  key creator_user_id create_random_id
client_updates_state: how far each device has read its user's updates
  auth_key_id I, user_id i, pts i=0, qts i=0, seq i=0, date2 i=0, created_at, updated_at,
  deleted_at
  unique auth_key_id user_id
devices: push tokens; state 0 is registered, 1 registered again, any other unregistered; secret
  auth_id I, user_id i, token_type t, token v255, state t=0, created_at, updated_at
  key user_id
  key token
message_boxes: one row per message and user who has it, numbered by the user's pts
  user_id i, sender_user_id i, message_box_type t, peer_type t=0, peer_id i, pts i,
  message_id i, media_unread t=0, state t, date2 i, created_at, updated_at
  key user_id pts
  key user_id message_id
  key user_id peer_type peer_id message_id
messages: every message once, its body as JSON; secret
  sender_user_id i, peer_type i, peer_id i, random_id I, message_type t=0, message_data text,
  date2 i=0, created_at, deleted_at
  key sender_user_id random_id
reports: complaints of users about a peer
  auth_id I, user_id i, peer_type i, peer_id i, reason t, content v10000, created_at
seq_updates_ngen: the last number of each sequence; \
a user's pts is the sequence named by the user's id
  seq_name v255, seq I, created_at, updated_at
  unique seq_name
tmp_passwords: short-lived passwords; secret
  auth_id I, user_id i, password_hash v512, period i, tmp_password v512, valid_until i,
  created_at
user_contacts: who has whom in the address book, and who blocked whom
  owner_user_id i, contact_user_id i, is_blocked t=0, date2 i, is_deleted t=0, created_at,
  updated_at
  unique owner_user_id contact_user_id
user_dialogs: one row per user and conversation with its newest message, \
what is read and what is not
  user_id i, peer_type t, peer_id i, is_pinned t=0, top_message i=0, read_inbox_max_id i=0,
  read_outbox_max_id i=0, unread_count i=0, unread_mentions_count i=0, date2 i, created_at,
  updated_at
  unique user_id peer_type peer_id
user_notify_settings: how a user wants to hear of a peer's messages
  user_id i, peer_type t, peer_id i, show_previews t=0, silent t=0, mute_until i=0,
  sound v255='default', is_deleted t=0, created_at, updated_at
  unique user_id peer_type peer_id
user_privacys: password, what others may see and do, days until an unused account goes
  user_id i, password v64, recovery_mail v64, status_timestamp t=0, chat_invite t=0,
  phone_call t=0, ttl i=0, ttl_created_at i, created_at, updated_at
  unique user_id
users: the accounts with names, phone and state
  access_hash I, first_name v255, last_name v255, username v255, phone v32, country_code v2,
  bio v255, about v512, state i=0, is_bot t=0, deleted t=0, deleted_reason v500, created_at,
  updated_at, deleted_at
  unique phone
"""
_COLUMN = re.compile(
    r"""(?P<name>\w+)
    (\ (?P<type>i|I|t|text|v(?P<width>\d+)))?
    (=(?P<default>'?\w+'?))?
    (?P<null>\ null)?""",
    re.VERBOSE,
)
SEQUENCE_KEY_PREFIX = "seq_updates_ngen_"
"""What the Redis mirror of a sequence begins with; its name follows."""
_REFERS = (
    (r"(.*_)?user_id", "users.id"),
    (r"chat_id", "chats.id"),
    (r"message_id|top_message", "messages.id"),
    (r"auth_id|auth_key_id", "auth_keys.auth_id"),
    (r"api_id", "apps.api_id"),
)


class Moment(sa.types.TypeDecorator[datetime]):
    """A ``timestamp`` column as an aware UTC `datetime`; NULL and zero dates are None."""

    impl = sa.TIMESTAMP
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], str | None]:
        """Return what turns an aware datetime into the text that both databases take."""
        return lambda value: (
            None if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        )

    def result_processor(
        self, dialect: sa.Dialect, coltype: object
    ) -> Callable[[Any], datetime | None]:
        """Return what reads a driver's value: pymysql hands zero dates over as text, SQLite every
        date.
        """

        def read(value: datetime | str | None) -> datetime | None:
            if isinstance(value, str):
                try:
                    value = datetime.fromisoformat(value)
                except ValueError:
                    return None
            return None if value is None else value.replace(tzinfo=UTC)

        return read


class _NullUntilUpdated(sa.ColumnElement[Any]):
    inherit_cache = True


@compiles(_NullUntilUpdated)
def _null(element: Any, compiler: Any, **_: Any) -> str:
    return "NULL" if compiler.dialect.name == "sqlite" else "NULL ON UPDATE CURRENT_TIMESTAMP"


def _column(table: str, text: str) -> sa.Column[Any]:
    match = _COLUMN.fullmatch(text.strip())
    assert match is not None, text
    name, kind, width, default, null = match.group("name", "type", "width", "default", "null")
    if kind is None:
        created, updated = name == "created_at", name == "updated_at"
        now = sa.text("CURRENT_TIMESTAMP") if created else None
        return sa.Column(
            name,
            Moment(),
            nullable=not created,
            server_default=_NullUntilUpdated() if updated and table == "users" else now,
            # Said by imlib too: in most deployed tables the default is a zero date.
            default=sa.func.current_timestamp() if created else None,
            # Said by imlib too: SQLite's DDL has no ON UPDATE, nor have the deployed tables but
            # one.
            onupdate=sa.func.current_timestamp() if updated else None,
        )
    kinds: dict[str, sa.types.TypeEngine[Any]] = {
        "i": sa.Integer(),
        "I": sa.BigInteger(),
        "t": sa.SmallInteger().with_variant(mysql.TINYINT(), "mysql", "mariadb"),
        "text": sa.Text(),
    }
    return sa.Column(
        name,
        sa.String(int(width)) if width else kinds[kind],
        nullable=bool(null),
        server_default=sa.text(default) if default else None,
    )


def _define(into: sa.MetaData) -> None:
    # Binary collation: MySQL then compares text as SQLite does.
    options: dict[str, Any] = {
        "engine": "InnoDB",
        "charset": "utf8mb4",
        "collate": "utf8mb4_bin",
        "row_format": "DYNAMIC",
    }
    for name, comment, body in re.findall(r"^(\w+): (.*)\n((?:  .*\n)+)", _TABLES, re.MULTILINE):
        columns = re.sub(r"^ +(unique|key) .*\n", "", body, flags=re.MULTILINE).split(",")
        indexes = [sa.Index(None, *on.split()) for on in re.findall(" key (.*)", body)]
        unique = [sa.UniqueConstraint(*on.split()) for on in re.findall(" unique (.*)", body)]
        # SQLite counts up an INTEGER key only; AUTOINCREMENT keeps it, like MySQL, from giving an
        # id out again.
        big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
        sa.Table(
            name,
            into,
            sa.Column("id", big if name == "seq_updates_ngen" else sa.Integer(), primary_key=True),
            *(_column(name, column) for column in columns),
            *indexes,
            *unique,
            comment=comment,
            sqlite_autoincrement=True,
            **{f"mysql_{key}": value for key, value in options.items()},
            **{f"mariadb_{key}": value for key, value in options.items()},
        )


metadata = sa.MetaData(
    naming_convention={kind: f"{kind}_%(table_name)s_%(column_0_N_name)s" for kind in ("ix", "uq")}
)
"""The 20 tables as SQLAlchemy knows them; `tables` has them by name."""
_define(metadata)
tables = metadata.tables
"""The 20 tables by name; ``tables["users"].comment`` says in a line what one is for."""

PARTICIPANTS = {
    "chat_users": tables["chat_users"],
    "chat_participants": tables["chat_users"].to_metadata(sa.MetaData(), name="chat_participants"),
}
"""The two tables that may say who is in which chat; of the second imlib makes none."""


def participants_table(holds_rows: Callable[[str], bool]) -> str:
    """Return which table says who is in which chat.

    From December 15, 2017 on the deployed server has both, and looks at ``chat_participants`` only.

    Parameters
    ----------
    holds_rows : callable
        Given a table's name, whether it is there and holds a row.
    """
    return "chat_participants" if holds_rows("chat_participants") else "chat_users"


def references() -> list[tuple[str, str]]:
    """Return pairs of a column and the column it refers to; the tables have no foreign keys.

    Examples
    --------
    >>> [pair for pair in references() if pair[0].startswith("user_dialogs.")]
    [('user_dialogs.user_id', 'users.id'), ('user_dialogs.top_message', 'messages.id')]
    """
    return [
        (str(column), target)
        for table in tables.values()
        for column in table.c
        for name, target in _REFERS
        if re.fullmatch(name, column.name) and str(column) != target
    ]


def bits(column: sa.Column[Any]) -> int:
    """Return the width of an integer column."""
    if isinstance(column.type, sa.BigInteger):
        return 64
    return 8 if isinstance(column.type, sa.SmallInteger) else 32


def create_all(engine: sa.Engine) -> None:
    """Create the tables that are absent; those that exist stay as they are.

    A SQLite file without tables is put into WAL mode: readers and a writer then don't wait for each
    other.

    Raises
    ------
    ImlibError
        What `imlib.servers.sql.translate` makes of the database's refusal.
    """
    with (
        sql.translate_errors(engine, limit_s=sql.BULK_S),
        sql.connect(engine, limit_s=sql.BULK_S, **{sql.WRITING: True}) as connection,
    ):
        if engine.dialect.name == "sqlite":
            driver: Any = connection.connection
            if not driver.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                driver.execute("PRAGMA journal_mode = WAL")
            with connection.begin():
                metadata.create_all(connection)
        else:
            # DDL commits by itself there: a lock keeps a second process from creating the same
            # table.
            connection.exec_driver_sql(f"SELECT GET_LOCK('imlib.create_all', {sql.CONTENDED_S})")
            try:
                metadata.create_all(connection)
            except BaseException:
                connection.invalidate()  # and with it the lock
                raise
            connection.exec_driver_sql("SELECT RELEASE_LOCK('imlib.create_all')")
