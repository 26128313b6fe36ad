"""The seven models over one SQL database and one Redis, of one deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imlib.deployment import Deployment
from imlib.lease import Lease
from imlib.models.account import AccountModel
from imlib.models.chat import ChatModel
from imlib.models.dialog import DialogModel
from imlib.models.message import MessageModel
from imlib.models.sequence import SequenceModel
from imlib.models.updates import UpdatesModel
from imlib.models.user import UserModel
from imlib.schema import create_all, tables
from imlib.servers.redis import RedisServer
from imlib.servers.sql import make_engine
from imlib.session_status import Layout

if TYPE_CHECKING:
    from redis import Redis

NOW = 1_512_270_533


@dataclass
class Stack:
    """The models, their deployment, and a way to look at the rows themselves."""

    deployment: Deployment
    sequences: SequenceModel
    dialogs: DialogModel
    chats: ChatModel
    messages: MessageModel
    accounts: AccountModel
    users: UserModel
    updates: UpdatesModel

    def rows(self, table: str, **where: Any) -> list[dict[str, Any]]:
        """Return a table's rows with these values, in the order of their ids."""
        columns = tables[table].c
        statement = (
            tables[table].select().where(*(columns[name] == value for name, value in where.items()))
        )
        with self.deployment.engine.connect() as connection:
            return [
                dict(row._mapping) for row in connection.execute(statement.order_by(columns.id))
            ]

    def put(self, table: str, **values: Any) -> int:
        """Insert a row as it is, and return its id."""
        with self.deployment.engine.begin() as connection:
            key = connection.execute(tables[table].insert().values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def add_users(self, n: int) -> list[int]:
        """Create users and return their ids."""
        first = len(self.rows("users"))
        return [self.users.create_user(f"+{first + i}", f"User {first + i}").id for i in range(n)]


@contextmanager
def open_stack(
    url: str,
    redis: Redis | None = None,
    *,
    tables_too: bool = True,
    read_only: bool = False,
    clock: Callable[[], float] = lambda: NOW,
    replica_url: str | None = None,
) -> Iterator[Stack]:
    """Give the models over a database, and close its connections afterwards; without a Redis, over
    a fake one.
    """
    import fakeredis

    engine = make_engine(url, read_only=read_only)
    replica = make_engine(replica_url, read_only=True) if replica_url else engine
    own = fakeredis.FakeRedis(server=fakeredis.FakeServer()) if redis is None else redis
    server = RedisServer("a test's", "unknown", None)
    opened = Deployment(
        own, engine, replica, server, Layout.DOCUMENTED, Lease.KEY, clock, read_only
    )
    try:
        if tables_too and not read_only:
            create_all(engine)
        yield Stack(
            opened,
            opened.sequences,
            opened.dialogs,
            opened.chats,
            opened.messages,
            opened.accounts,
            opened.users,
            opened.updates,
        )
    finally:
        opened.close()
        engine.dispose()
        replica.dispose()
        own.close()
