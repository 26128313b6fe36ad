"""SQLAlchemy engines as imlib needs them, and what their errors mean in imlib's own words.

Every SQL connection of imlib comes from `make_engine`. On MySQL it has UTC, utf8mb4, and a strict
``sql_mode`` that still takes the zero dates of deployed tables. On SQLite writers queue, instead of
failing. imlib's own statements go through `connect`, and wait for a limited time; what a caller
sends through an engine has no limit. A forked child never uses its parent's connections.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote
from weakref import WeakSet

import sqlalchemy as sa
from pymysql.constants import CR
from sqlalchemy import event

from imlib.errors import (
    AccessDeniedError,
    ConfigurationError,
    FallbackWarning,
    ImlibError,
    InvalidValueError,
    ReadOnlyError,
    SchemaError,
    UnavailableError,
    UnsupportedServerError,
    shortened,
)
from imlib.servers.urls import (
    Secret,
    ServerUrl,
    check_certificates,
    check_scheme,
    check_urls,
    parse_options,
    refused,
)

WRITING = "imlib_writing"
"""The execution option that makes a SQLite transaction take the write lock when it begins."""
CONTENDED = frozenset({1020, 1205, 1213, 3101})
"""MySQL's numbers for what others' locks or changes undid: worth another go."""

ANSWER_S = 10
"""Seconds that one of imlib's own statements waits for each part of its answer."""
BULK_S = 60
"""The same for snapshots, and where tables are made."""
LOCK_WAIT_S = 5
"""Seconds that it waits for a lock on a row or a table."""
CONTENDED_S = 15
"""Seconds for which work is tried again when others' locks undid it."""

_LOGGING_NAME = "imlib"
# At DEBUG SQLAlchemy logs each row.
logging.getLogger(f"sqlalchemy.engine.Engine.{_LOGGING_NAME}").addFilter(
    lambda record: record.levelno > logging.DEBUG
)
_CONNECT_TIMEOUT_S = 10
_LAST_PORT = 65_535
_MOST_IN_2017 = 40
# What a URL may choose. The drivers' other arguments are no text, or imlib's own choice.
_MYSQL_OPTIONS = {
    ".+": "unix_socket program_name ssl_ca ssl_capath ssl_cert ssl_key",
    "a number of whole seconds": "connect_timeout read_timeout write_timeout",
    "utf8mb4": "charset",
    "true or false": "ssl_check_hostname",
    "true": "ssl_disabled",
}
_OLDEST = {"SQLite": (3, 24), "MySQL": (5, 6), "MariaDB": (10, 2)}
# Our statements rely on these; a server may have other defaults. MySQL 8's own mode refuses the
# zero-date defaults that deployed tables have.
_SETTINGS = (
    "SET NAMES utf8mb4, time_zone = '+00:00', "
    "sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', "
    f"sql_select_limit = {2**64 - 1}"
)
_TABLE = re.compile(r"(?:FROM|INTO|UPDATE) [`\"]?(\w+)")
_OURS = "imlib_ours"
"""In a pooled connection's `info`: whether its settings are for imlib's own statements."""
_limit: ContextVar[float | None] = ContextVar("imlib_limit", default=None)
"""The limit of the connection that is being taken; callers of an engine take theirs without."""

_TABLES_ADVICE = (
    "imlib.schema_check.check_schema(engine) lists how this database differs from the 20 tables; "
    "is it the right one?"
)
_REFUSED = "the database refused the value, nothing was written"
_Rules = tuple[tuple[type[ImlibError], dict[str, str]], ...]
"""Classes of error, each with what to do, by how the driver's text begins; the first one counts."""
# MySQL's and MariaDB's errors begin with their numbers.
_CODES: _Rules = (
    (
        AccessDeniedError,
        {
            "1820|1862": "the password has expired: set a new one (ALTER USER), and put it into "
            "the URL",
            "3118|3955|4150|4151": "the account is locked: have it unlocked (ALTER USER … ACCOUNT "
            "UNLOCK), or take another",
            "1129|1130": "the server is there, and refuses this machine's address: have it "
            "allowed, or unblocked (FLUSH HOSTS)",
            "1044|1045|1131|1141|1142|1143|1147|1227|1370|1449|1698|1873": "check user, password "
            "and grants",
        },
    ),
    (
        UnsupportedServerError,
        {
            "1251|1275|1524|2059|2061": "pymysql has not this account's way of authentication: "
            "have it changed, or connect by TLS",
            "1064|1115|1128|1193|1235|1273|1289|1295|1298|1305": "the server does not know what "
            "imlib asks of it: is it a new enough MySQL or MariaDB?",
        },
    ),
    (
        ConfigurationError,
        {
            "2003.*SSL|2026|3159": "TLS failed or is required: check the ssl_… options of the URL, "
            "and the certificates",
            "1046|1049|1102": "create the database, or correct the URL",
        },
    ),
    (ReadOnlyError, {"1792": "this connection takes no writes"}),
    (
        SchemaError,
        {
            "1051|1054|1109|1136|1146|1288|1347|1348|1356|1364|1412|1471|1906|1932|3105": (
                _TABLES_ADVICE
            )
        },
    ),
    (
        InvalidValueError,
        {
            "10(22|48|62)|1169|12(16|17|64|65|92)|1300|13(66|67|69)|14(06|41|51|52)|1525|1526|1557"
            "|1586|1644|1690|1761|1762|3140|3819|4025": _REFUSED
        },
    ),
    (
        UnavailableError,
        {
            "1036|1290|1836|1874": "the server takes no writes now, nothing was written; if it is "
            "a replica, connect to its primary",
            "1037|1038|1040|1041|1135|1203|1206|1226|1461|1637": "a limit of the server or of this "
            "account is reached: wait and try again, close connections, or have it raised",
            "1104|1317|1931|1969|3024": "the server or somebody ended this one query: ask for less "
            "at once, or have the server's limits on rows and time raised",
            "1153|1162|1301": "it is longer than the server's max_allowed_packet: ask for less at "
            "once, or have that raised",
            "1015|1016|1021|1030|1114|1180|1194|1195|1877": "the server cannot read or store it: "
            "look at its disk and at its error log",
            "|".join(map(str, CONTENDED)): "others hold the rows or tables: a lock is waited for "
            f"up to {LOCK_WAIT_S} s, a write tried for {CONTENDED_S} s in all; nothing was "
            "written; try again",
            "1047|1053|1152|1184|1927|3032|3168|3169|4031": "the server ends or refuses "
            "connections now: it shuts down, or is set aside; try again",
            "2006": "is the server up? A statement longer than its max_allowed_packet ends a "
            "connection too",
            "0 |1043|115[6-9]|1160|1161|1835|2...": "is the server up, and is this its address?",
            "": "the server's manual says what this number means, its error log more",
        },
    ),
)
# SQLite's driver has words alone.
_WORDS: _Rules = (
    (
        UnavailableError,
        {
            ".*READONLY_(ROLLBACK|RECOVERY)": "somebody who wrote into it died in the middle, and "
            "only a writer can undo that: open it once with a program that may write, such as the "
            "sqlite3 shell",
            ".*READONLY_(CANTINIT|CANTLOCK|DIRECTORY)|unable to open.*WAL": "its log (WAL) needs a "
            "folder in which files can be made: make the folder writable, copy the database with "
            "its -wal, or have a writer set PRAGMA journal_mode = DELETE",
        },
    ),
    (ReadOnlyError, {".*readonly": "this connection or file takes no writes"}),
    (SchemaError, {"no such table|no such column|NOT NULL|.*has no column": _TABLES_ADVICE}),
    (InvalidValueError, {".*constraint failed": _REFUSED}),
    (
        UnsupportedServerError,
        {".*(not a database|malformed)": "the file is no SQLite database, or a damaged one"},
    ),
    (
        UnavailableError,
        {
            ".*(locked|busy)": "another process was writing, and was waited for up to "
            f"{CONTENDED_S} s; nothing was written here; try again",
            "": "is the path right, and is there room on the disk?",
        },
    ),
)


def make_engine(url: str | sa.URL, *, read_only: bool = False) -> sa.Engine:
    """Return an engine for a SQL URL; nothing is connected yet.

    Parameters
    ----------
    url : str or sqlalchemy.URL
        ``sqlite:///file`` or ``mysql+pymysql://user:password@host/database``; ``mysql://`` and
        ``mariadb://`` mean the pymysql driver too.
    read_only : bool
        The database itself then refuses writes from this engine's connections.

    Raises
    ------
    ConfigurationError
        The URL cannot be read, names no file or database, or another kind of database.
    UnavailableError
        ``read_only`` and there is no such SQLite file.
    """
    url = ServerUrl(url if isinstance(url, str) else url.render_as_string(hide_password=False))
    check_urls(url)
    return _engine(url, read_only)


def open_engines(
    url: str,
    replica_url: str,
    stack: contextlib.ExitStack,
    *,
    read_only: bool,
    without_redis: str = "",
    forgive: bool = False,
) -> tuple[sa.Engine, sa.Engine]:
    """Make and connect the engines of a database and its replica; the stack disposes of them.

    With ``forgive`` either Redis or these may be gone: ``without_redis`` says why Redis is. It is
    clear where the URLs' logins end (`check_urls`).

    Raises
    ------
    ConfigurationError, UnavailableError, AccessDeniedError, UnsupportedServerError
        What `make_engine` and `ping` raise.
    """
    gone: list[str] = []
    engines = []
    for place, only in ((url, read_only), (replica_url, True)):
        if place:
            engine = _engine(place, only)
            stack.callback(engine.dispose)
            engines.append(engine)
            try:
                ping(engine)
            except UnavailableError as problem:
                # Where the primary answers, nothing is lost by connecting without its replica.
                if not forgive or len(gone) < len(engines) - 1:
                    raise
                gone.append(str(problem))
    if without_redis:
        if len(gone) == len(engines):
            raise UnavailableError(f"{without_redis}; {gone[0]}")
        gone.append(without_redis)
    for why in gone:
        warnings.warn(
            f"imlib: only what does without it is answered: {why}", FallbackWarning, stacklevel=3
        )
    return engines[0], engines[-1]


def connect(engine: sa.Engine, *, limit_s: float | None = None, **options: Any) -> sa.Connection:
    """Return a connection for imlib's own statements, none of which waits without end.

    Parameters
    ----------
    engine : sqlalchemy.Engine
    limit_s : float, optional
        Seconds without a byte after which the server counts as gone; `ANSWER_S` by default. A
        ``read_timeout`` in the URL replaces it. SQLite answers at once, or has its own limit.
    **options
        SQLAlchemy's execution options.
    """
    token = _limit.set(limit_s or ANSWER_S)
    try:
        return engine.connect().execution_options(**options)
    finally:
        _limit.reset(token)


_engines: WeakSet[sa.Engine] = WeakSet()
_drivers: WeakSet[Any] = WeakSet()


def _before_fork() -> None:
    """Close SQLite's idle connections: a child must not use them, nor even close them."""
    for engine in list(_engines):
        if engine.dialect.name == "sqlite":
            engine.pool.dispose()


def _in_child() -> None:
    """Leave the parent's connections to the parent, even where the child still refers to them."""
    for driver in list(_drivers):
        if driver._sock:
            # No goodbye to the server. `_rfile` is not closed here: a thread of the parent's may
            # hold its lock, and the child would wait for it for ever.
            driver._sock.close()
            driver._sock = driver._rfile = None
    for engine in list(_engines):
        engine.dispose(close=False)


os.register_at_fork(before=_before_fork, after_in_child=_in_child)


def _engine(url: str, read_only: bool) -> sa.Engine:
    """Make an engine, or raise an error that says what is wrong with the URL."""
    try:
        return _engine_of(url.reveal() if isinstance(url, ServerUrl) else url, read_only)
    except sa.exc.ArgumentError:
        problem = "it cannot be read"
    except (OSError, ValueError) as refusal:
        problem = str(refusal)
    # Outside the except block, so that SQLAlchemy's errors, which may hold a password, are not even
    # the context.
    raise refused(
        url,
        f"{problem}. Allowed are mysql+pymysql://user:password@host/database and sqlite:///file",
    )


def _engine_of(whole: str, read_only: bool) -> sa.Engine:
    check_scheme(whole)
    address, _, query = whole.partition("?")
    url = sa.make_url(whole)
    if (url.port or 0) > _LAST_PORT:
        raise ValueError(f"its port is above {_LAST_PORT}")
    (url.host or "").encode("idna")  # or a UnicodeError, as from the driver, but in time
    sqlite = url.drivername in {"sqlite", "sqlite+pysqlite"}
    allowed = {"a number of seconds": "timeout"} if sqlite else _MYSQL_OPTIONS
    options = parse_options(query, allowed) if query else {}
    if sqlite:
        # SQLAlchemy decodes a path from 2.1 on.
        url = url.set(database=unquote(address.partition("///")[2]))
        return _sqlite_engine(url, options, read_only)
    if url.drivername in {"mysql", "mysql+pymysql", "mariadb", "mariadb+pymysql"}:
        return _mysql_engine(url, options, read_only)
    raise ValueError(f"{url.drivername!r} is no database and driver that imlib knows")


def _sqlite_engine(url: sa.URL, options: dict[str, Any], read_only: bool) -> sa.Engine:
    if url.host or url.username or not url.database or "\0" in url.database:
        raise ValueError("after sqlite:/// stands a file's path")
    if ":memory:" in url.database:
        raise ValueError("SQLite in memory would be another for each connection")
    if read_only and not Path(url.database).exists():
        raise UnavailableError(f"there is no SQLite file {url.database!r} to read; check the path")
    # mode=ro: the last connection that may write would change the file when it closes.
    mode = "ro" if read_only else "rwc"
    place = f"{Path(url.database).absolute().as_uri()}?mode={mode}"

    def opened() -> sqlite3.Connection:
        driver = sqlite3.connect(
            place,
            options.get("timeout", CONTENDED_S),
            # The driver would begin on its own, deferred and late; `begun` decides instead.
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        driver.execute(f"PRAGMA query_only = {read_only}")
        return driver

    engine = sa.create_engine(url, creator=opened, hide_parameters=True, logging_name=_LOGGING_NAME)
    if read_only:
        _tidy(engine, Path(f"{url.database}-wal"))

    def begun(connection: sa.Connection) -> None:
        # A deferred BEGIN that writes after it has read fails at once when another process wrote in
        # between.
        writing = connection.get_execution_options().get(WRITING) and not read_only
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    event.listen(engine, "begin", begun)
    _engines.add(engine)
    return engine


def _tidy(engine: sa.Engine, log: Path) -> None:
    """Have the files removed that SQLite makes to read a database with a write-ahead log."""
    if log.exists():
        return

    def closed(driver: Any, _record: Any = None) -> None:
        driver.close()
        if log.exists() and not log.stat().st_size:
            # SQLite removes them when the last connection closes which could write, if it is the
            # last of all. There is nothing that it could write into the database.
            with contextlib.closing(sqlite3.connect(str(engine.url.database))) as last:
                last.execute("SELECT 1 FROM sqlite_master").fetchall()

    event.listen(engine, "close", closed)
    event.listen(engine, "close_detached", closed)


def _mysql_engine(url: sa.URL, options: dict[str, Any], read_only: bool) -> sa.Engine:
    if not url.database:
        raise ValueError("it names no database; add it after the host: …/database")
    check_certificates(*map(options.get, ("ssl_ca", "ssl_cert", "ssl_key")))
    engine = sa.create_engine(
        url.set(drivername=f"{url.get_backend_name()}+pymysql"),
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": _CONNECT_TIMEOUT_S,
            # SQLAlchemy hands on those of TLS by itself.
            **{name: options[name] for name in options if "ssl_" not in name},
            "charset": "utf8mb4",
            # As bytes, because pymysql would send text as Latin-1.
            "password": Secret((url.password or "").encode()),
        },
        logging_name=_LOGGING_NAME,
    )
    engine.url = sa.make_url(masked_url(engine))
    _settle(engine, options, read_only)
    return engine


def _settle(engine: sa.Engine, options: dict[str, Any], read_only: bool) -> None:
    """Give each connection from an engine's pool the settings and limits of whoever takes it."""

    def limit(driver: Any, seconds: float | None) -> None:
        driver._read_timeout = options.get("read_timeout", seconds)
        driver._write_timeout = options.get("write_timeout", seconds)

    def taken(driver: Any, record: Any, _proxy: Any = None) -> None:
        seconds = _limit.get()
        ours = seconds is not None
        if record.info.get(_OURS) != ours:
            wait = LOCK_WAIT_S if ours else "DEFAULT"
            with driver.cursor() as cursor:
                cursor.execute(
                    f"{_SETTINGS}, innodb_lock_wait_timeout = {wait}, lock_wait_timeout = {wait}"
                )
                if read_only:
                    cursor.execute("SET SESSION TRANSACTION READ ONLY")
            record.info[_OURS] = ours
            _drivers.add(driver)
        limit(driver, seconds)

    def returned(driver: Any, _record: Any) -> None:
        if driver is not None:
            # Whether it still lives is asked before it is taken again.
            limit(driver, ANSWER_S)

    # Before SQLAlchemy looks at sql_mode, and quotes names and backslashes by what it finds.
    event.listen(engine, "connect", taken, insert=True)
    event.listen(engine, "checkout", taken)
    event.listen(engine, "checkin", returned)
    _engines.add(engine)


def masked_url(url: str | sa.URL | sa.Engine) -> str:
    """Return a database URL that can be shown: the password, wherever it stands, is ``***``.

    Examples
    --------
    >>> masked_url("mysql+pymysql://im:secret@db/im")
    'mysql+pymysql://im:***@db/im'
    """
    parsed = url.url if isinstance(url, sa.Engine) else sa.make_url(url)
    return str(ServerUrl(parsed.render_as_string(hide_password=False)))


def ping(engine: sa.Engine) -> str:
    """Connect once, and return the server's name and version, such as ``MariaDB 10.11.6``.

    Raises
    ------
    ImlibError
        What `translate` makes of a failure; `UnsupportedServerError` for a version that is too old.
    """
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                # BEGIN alone opens no file; only reading it shows that it is a database.
                connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
    except (sa.exc.SQLAlchemyError, RuntimeError) as error:
        raise translate(error, engine) from error
    server: Any = engine.dialect
    name = "SQLite"
    if server.name != "sqlite":
        name = "MariaDB" if server.is_mariadb else "MySQL"
    # MariaDB's version has a word among its numbers.
    numbers = tuple(map(int, re.findall(r"\d+", str(server.server_version_info))))
    version, oldest = ".".join(map(str, numbers)), ".".join(map(str, _OLDEST[name]))
    if numbers < _OLDEST[name]:
        raise UnsupportedServerError(
            f"{masked_url(engine)} is {name} {version}; imlib needs {oldest} or later"
        )
    return f"{name} {version}"


class Replication(NamedTuple):
    """Which server a database follows, and how far it is behind."""

    primary: str
    """Its host:port; "" where it follows nobody."""
    lag_s: float | None
    """None where it does not follow now: what it holds may be of any age."""


def replication(engine: sa.Engine) -> Replication:
    """Return which server a database follows; raise what `translate` makes of a refusal."""
    server: Any = engine.dialect
    if server.name == "sqlite":
        return Replication("", 0)
    with translate_errors(engine), connect(engine) as connection:
        # What the server is, is known once it is connected.
        renamed = not server.is_mariadb and server.server_version_info >= (8, 0, 22)
        asked = f"SHOW {'REPLICA' if renamed else 'SLAVE'} STATUS"
        status = connection.exec_driver_sql(asked).mappings().first()
    if not status:
        return Replication("", 0)
    facts = {re.sub("_?(Master|Source)_?", "", name): value for name, value in status.items()}
    return Replication(f"{facts['Host']}:{facts['Port']}", facts["Seconds_Behind"])


def later_telegramd(names: Collection[str]) -> str:
    """Return who made tables of these names, if it was a later telegramd; else "".

    From 54fe67f on, in 2018, it has neither ``message_boxes`` nor ``seq_updates_ngen``, and twice
    as many others.
    """
    later = len(names) > _MOST_IN_2017 or "seq_updates_ngen" not in names
    if "message_boxes" in names or not later or not {"messages", "users"}.issubset(names):
        return ""
    said = f"a later telegramd ({len(names)} tables, and no message_boxes)"
    return f"{said}; imlib cannot read its messages"


def _whose(engine: sa.Engine) -> str:
    """Return who made a database's tables, to begin an advice; "" where that cannot be told."""
    told = ""
    with contextlib.suppress(sa.exc.SQLAlchemyError), connect(engine) as connection:
        told = later_telegramd(sa.inspect(connection).get_table_names())
    return told and f"this database was made by {told}. "


@contextlib.contextmanager
def translate_errors(engine: sa.Engine, *, limit_s: float | None = None) -> Iterator[None]:
    """Raise what SQLAlchemy or SQLite raises as the `ImlibError` that `translate` makes of it."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
        raise translate(error, engine, limit_s=limit_s) from error


def driver_said(error: BaseException) -> tuple[int | None, str]:
    """Return the number, which SQLite's errors have not, and the text of a driver's error."""
    original = getattr(error, "orig", None) or error
    code, *rest = original.args or (None,)
    return (code, str(rest[0]) if rest else "") if isinstance(code, int) else (None, str(original))


def _log_of(url: sa.URL) -> str:
    """Return " WAL" for a SQLite file that has, or had, a write-ahead log."""
    with (
        contextlib.suppress(OSError, ValueError, TypeError),
        open(url.database or "", "rb") as file,
    ):
        if file.read(20)[18:] == b"\2\2":
            return " WAL"
    return ""


def translate(
    error: BaseException, engine: sa.Engine | sa.URL | str, *, limit_s: float | None = None
) -> ImlibError:
    """Return imlib's own error for one of SQLAlchemy's or a driver's; raise it ``from`` that one.

    Parameters
    ----------
    error : BaseException
        What was caught. An `ImlibError` is returned as it is.
    engine : sqlalchemy.Engine, sqlalchemy.URL or str
        Whose error it is; the message names its URL without the password.
    limit_s : float, optional
        What `connect` was given.
    """
    if isinstance(error, ImlibError):
        return error
    url = engine.url if isinstance(engine, sa.Engine) else sa.make_url(engine)
    original = getattr(error, "orig", None) or error
    code, text = driver_said(error)
    kind: type[ImlibError] = UnavailableError
    said = shortened(text)
    if isinstance(error, sa.exc.TimeoutError):
        advice = "every connection of the pool is in use: close some"
    elif code is not None or type(original).__module__ == "sqlite3":
        if code is not None:
            rules, told = _CODES, f"{code} {text}"
            said = f"{said if text else 'the connection is gone'} (error {code})"
        else:
            name = getattr(original, "sqlite_errorname", "")
            rules, told = _WORDS, f"{text} {name}{_log_of(url)}"
        kind, advice = next(
            (kind, advice)
            for kind, cases in rules
            for form, advice in cases.items()
            if re.match(form, told)
        )
        if (code or 0) > 2000 and "timed out" in text:
            name, limit = "read_timeout", limit_s or ANSWER_S
            if code == CR.CR_CONN_HOST_ERROR:
                name, limit = "connect_timeout", _CONNECT_TIMEOUT_S
            said = f"the server gave no answer within {url.query.get(name, f'{limit:g}')} s: {said}"
            advice = f"it is stopped, busy or cut off; try again, or set {name} in the URL"
        names = _TABLE.search(getattr(error, "statement", None) or "")
        if kind is SchemaError and names and names[1] not in text:
            said = f"table {names[1]}: {said}"
        if kind is SchemaError and isinstance(engine, sa.Engine):
            advice = f"{_whose(engine)}{advice}"
    elif isinstance(original, RuntimeError) and "cryptography" in text:
        kind = UnsupportedServerError
        said = "this account's way of authentication needs the package cryptography"
        advice = "install it"
    else:
        said, advice = f"{type(original).__name__}: {said}", "please report this"
    where = masked_url(url)
    return kind(f"{where}: {said}; {advice}", server=where)
