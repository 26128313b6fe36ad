"""The sample world: made-up users at one instant, read from files and written into empty servers.

The files are the repository's ``data/sample``, and ``data/deployed`` for worlds as telegramd's own
servers left them; ``data/README.md`` describes both.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from imlib.context import Context
from imlib.errors import NotEmptyError
from imlib.schema import PARTICIPANTS, create_all, tables
from imlib.servers import redis_pipeline, sql
from imlib.session_status import SessionStatus

NOW = 1_512_270_533
"""The instant at which the world is looked at, in Unix seconds."""

_COMMANDS = {"hash": "HSET", "list": "RPUSH", "string": "SET"}


class Planted(NamedTuple):
    """A fault of the world: the check that finds it, where it is, and what it is."""

    check: str
    subject: str
    sentence: str


_INSTALLED = Path(__file__).with_name("_data")
_DATA = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[1] / "data"


def folder(world: str = "sample") -> Path:
    """Return the folder of a world: the wheel's own or, in a checkout, the repository's."""
    return _DATA / world


def kept_snapshot() -> Path:
    """Return the folder of a snapshot of the world, as `imlib.Snapshot.save` wrote it."""
    return _DATA / "sample-snapshot"


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


PLANTED = tuple(Planted(**row) for row in _read(folder() / "planted.csv"))
"""All faults of the sample world; key and field name an entry of a hash."""


def write(context: Context, before_redis: Callable[[], object], files: Path) -> None:
    """Write a world into an empty Redis and an empty database: all of it, or nothing.

    Parameters
    ----------
    context : Context
        Absent tables are created. Where "never" cannot be NULL, as in deployed tables, it is a zero
        date.
    before_redis : callable
        Called just before Redis is written; its deadlines count from then.
    files : Path
        The world's folder.

    Raises
    ------
    NotEmptyError
        There is something in Redis or in one of the 20 tables.
    UnavailableError, SchemaError
    """
    with redis_pipeline.translate_errors(context.redis):
        if keys := context.redis.dbsize():
            raise _refusal(f"the Redis database holds {keys} keys")
    with sql.translate_errors(context.engine), sql.connect(context.engine) as connection:
        # Before any table is made, which would stay in somebody else's database.
        present = sa.inspect(connection).get_table_names()
        if theirs := sql.later_telegramd(present):
            raise _refusal(f"the database was made by {theirs}")
        for name in tables.keys() & set(present):
            if connection.scalar(sa.select(sa.exists().select_from(tables[name]))):
                raise _refusal(f"the table {name} holds rows")
    create_all(context.engine)
    with (
        sql.translate_errors(context.engine),
        sql.connect(context.engine, **{sql.WRITING: True}) as connection,
        connection.begin(),
    ):
        for path in sorted(files.glob("*.csv")):
            if rows := _read(path):
                _write_table(connection, path.stem, rows)
        _write_redis(context, before_redis, files)


def _refusal(what: str) -> NotEmptyError:
    why = "the sample world goes only where nothing is"
    return NotEmptyError(f"{what}, and {why}: nothing was written")


def _write_table(connection: sa.Connection, name: str, rows: list[dict[str, str]]) -> None:
    if name == "planted":
        return
    if name == "chat_participants":
        # Without its index, whose name chat_users has.
        later = PARTICIPANTS[name].to_metadata(sa.MetaData())
        later.indexes.clear()
        later.create(connection, checkfirst=True)
    columns = sa.inspect(connection).get_columns(name)
    never = {one["name"]: None if one["nullable"] else "0000-00-00 00:00:00" for one in columns}
    values = [{c: _cell(v, never.get(c)) for c, v in row.items()} for row in rows]
    # Without types, which allow no zero date: the database itself reads numbers from text.
    connection.execute(sa.table(name, *map(sa.column, rows[0])).insert(), values)


def _cell(text: str, never: str | None) -> str | bytes | None:
    if text.startswith(r"\x"):
        return bytes.fromhex(text[2:])
    return never if text == r"\N" else text


def _write_redis(context: Context, before: Callable[[], object], files: Path) -> None:
    text = (files / "redis.json").read_text(encoding="ascii")
    # The file has a byte that is not ASCII as \xNN.
    keys = json.loads(text.replace(r"\\x", r"\u00"))
    # Any: redis-py types each command for asynchronous clients as well.
    client: Any = context.redis
    with redis_pipeline.translate_errors(client):
        server = redis_pipeline.parse_time(client.time())
        before()
        clock = context.reader_clock
        later = int(server if clock is None else clock()) - NOW
        pipeline = client.pipeline(transaction=True)
        for key in keys:
            entries = [(field, _moved(field, value, later)) for field, value in key["entries"]]
            words = [word.encode("latin-1") for entry in entries for word in entry if word]
            pipeline.execute_command(_COMMANDS[key["kind"]], key["key"], *words)
            if key["ttl_s"] is not None:
                pipeline.pexpireat(key["key"], round(server * 1000) + key["ttl_s"] * 1000)
        pipeline.execute()


def _moved(field: str, value: str, later: int) -> str:
    """Return an entry's value with its session reported later; what is no session stays."""
    status = SessionStatus.parse_key_value(field, value, user_id=0)
    if status is None:
        return value
    return value.replace(str(status.now), str(status.now + later))
