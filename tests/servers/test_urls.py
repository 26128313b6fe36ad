"""Passwords are shown nowhere: not printed, not in an error or what caused it, not in a log."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pytest
import sqlalchemy as sa

import imlib
from imlib.schema import create_all, tables
from imlib.servers.redis import open_redis
from imlib.servers.sql import make_engine, open_engines
from imlib.servers.urls import Secret, ServerUrl
from tests.private_servers.mariadb import PrivateMariaDB
from tests.private_servers.process import private_folder
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.servers import loopback

SECRET = "s3cret-Word"
# Each with SECRET at its end, behind what somebody may have forgotten to encode.
SPECIAL = "@/?#:[]%&= \\"
PASSWORDS = [SECRET, *(f"Zq7{special}{SECRET}" for special in f"{SPECIAL}+")]
LOGINS = [(f"a{one}n", f"Zq{other}7") for one in SPECIAL for other in SPECIAL]
LOGINS = [pair for pair in LOGINS if " " not in pair[0]]  # no ACL user may have one
LOGINS += [("ann", "é"), ("ann", "é€日"), ("ännchen", "€ £")]


def shown(value: object) -> list[str]:
    """Return every form in which a value may be printed."""
    forms = [
        repr(value),
        str(value),
        ascii(value),
        f"{value}",
        f"{value!s:>10}",
        f"{[value]}",
        f"{value}",
    ]
    return [*forms, value._repr_html_()] if hasattr(value, "_repr_html_") else forms


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Walk through an error and all that it came from, what `from None` hides included."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            waiting += [one.__cause__, one.__context__]
            yield one


def _locals(frame: traceback.FrameSummary) -> Iterable[tuple[str, str]]:
    return (frame.locals or {}).items()


def holds(error: BaseException, *words: str, variables: bool = True) -> list[str]:
    """Return the texts of an error and its causes that hold one of these words, the variables
    of every frame but the tests' own among them.
    """
    texts = ["".join(traceback.format_exception(error))]
    for one in chain(error):
        frames = traceback.walk_tb(one.__traceback__)
        for frame in traceback.StackSummary.extract(frames, capture_locals=variables):
            if Path(__file__).parents[1] not in Path(frame.filename).parents:
                texts += [f"{frame.name}: {name} = {value}" for name, value in _locals(frame)]
        texts += [*shown(one), repr(one.args), repr(getattr(one, "__notes__", ""))]
    return [text for text in texts if any(word in text for word in words)]


@pytest.fixture(scope="module")
def guarded() -> Iterator[PrivateRedis]:
    """Give a server that wants a password."""
    with private_redis("--requirepass", SECRET) as server:
        yield server


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "spelled",
    [
        "redis://:{}@host.invalid:6379/0",
        "redis://ann:{}@host.invalid:6379/0",
        "rediss://ann:{}@host.invalid",
        "redis://host.invalid:6379/0?password={}",
        "redis://host.invalid:6379/0?db=x&PASSWORD={}",
        "redis://ann:{}",
        "http://ann:{}@host.invalid",
        "ann:{}@host.invalid:6379",
        "mysql+pymysql://ann:{}@host.invalid/im",
    ],
)
def test_a_url_prints_without_its_password(spelled: str, password: str) -> None:
    """Encoded or not, as login or as option, with or without a host: no form shows it, and `reveal`
    has it.
    """
    for given in (password, quote(password, safe="")):
        whole = spelled.format(given)
        if ("&" in given and "?" in spelled) or (
            "@" in given and "@" not in spelled and "?" not in spelled
        ):
            continue  # what follows is another option, or a host, whatever was meant
        url = ServerUrl(whole)
        assert whole == url.reveal()
        assert [] == [form for form in shown(url) if SECRET in form]
        assert "***" in str(url)


@pytest.mark.parametrize(
    "whole",
    [
        "redis://localhost:6379/0",
        "redis://localhost",
        "rediss://[::1]:6380/2",
        "unix:///a%20b/redis.sock",
        "embedded://",
        "x",
        "sqlite:////a/b:c.db",
        "redis://ann@localhost/0?db=1",
        "mysql+pymysql://root@/im?unix_socket=/a/m.sock",
    ],
)
def test_a_url_without_a_password_prints_as_it_is(whole: str) -> None:
    """Nothing is masked that hides nothing."""
    assert whole == str(ServerUrl(whole))
    assert repr(whole) == repr(ServerUrl(whole))


def test_a_url_is_a_string_without_its_password() -> None:
    """What copies its text, as pandas, json and join do, gets the mask; copies can reveal it."""
    whole = f"redis://:{SECRET}@localhost"
    url = ServerUrl(whole)
    shown = "redis://:***@localhost"
    assert shown == url
    assert [shown] == list(pd.DataFrame({"url": [url]})["url"])
    assert [shown] == pd.Series([url], dtype="str").to_list()
    assert f'["{shown}"]' == json.dumps([url])
    assert shown == "".join([url])
    assert shown.encode() == url.encode()
    assert f"{shown:>40}{shown:.9}{shown}" == f"{url:>40}{url:.9}%s" % url
    assert SECRET not in pd.DataFrame({"url": [url]}).to_html()
    assert not hasattr(url, "__dict__")
    for copied in (pickle.loads(pickle.dumps(url)), copy.deepcopy(url), ServerUrl(url)):
        assert whole == copied.reveal()
        assert shown == copied


@pytest.mark.parametrize(
    ("whole", "shown"),
    [
        ("redis://h?PassWord=x&db=1", "redis://h?PassWord=***&db=1"),
        ("redis://h?p%61ssword=x&db=1", "redis://h?p%61ssword=***&db=1"),
        ("redis://h?password=x&y&db=1", "redis://h?password=***&db=1"),
        ("redis://h?db=1?password=x", "redis://h?db=1?password=***"),
        ("rediss://h?ssl_password=x&ssl_keyfile=y", "rediss://h?ssl_password=***&ssl_keyfile=***"),
        ("mysql://h/im?passwd=x", "mysql://h/im?passwd=***"),
        ("mysql://h/im?pwd=x&a_secret=y&tokens=z", "mysql://h/im?pwd=***&a_secret=***&tokens=***"),
        ("unix://ann:x@/a/b@c?db=1", "unix://ann:***@/a/b@c?db=1"),
        ("redis://ann:/x", "redis://***"),
        ("redis://a@b:x@h:6379/0", "redis://***"),
        ("redis://h/0?password=x@y", "redis://***"),
        (
            "redis+sentinel://h/s?sentinel_username=ann&sentinel_password=x&db=1",
            "redis+sentinel://h/s?sentinel_username=ann&sentinel_password=***&db=1",
        ),
        (
            "mysql://h/im?ssl_key_password=x&charset=y",
            "mysql://h/im?ssl_key_password=***&charset=y",
        ),
        ("redis://h?%70%77%64=x&db=1", "redis://h?%70%77%64=***&db=1"),
        ("redis://h?db=1;password=x", "redis://h?db=1;password=***"),
        ("redis://h/0#password=x", "redis://h/0#password=***"),
        ("redis://h?API_KEY=x", "redis://h?API_KEY=***"),
        ("a:b/c@d", "a://***"),
    ],
)
def test_what_is_masked(whole: str, shown: str) -> None:
    """Options, however their names are spelled, and all where the login's end is unclear."""
    assert shown == str(ServerUrl(whole))


def test_a_path_may_hold_anything(tmp_path: Path) -> None:
    """The @ of a file's or a socket's path is no login's."""
    for character in ["@", ":", "#", "[", "]", "&", "=", " ", "%", "%3F", "%2520"]:
        folder = tmp_path / f"a{unquote(character)}b"
        folder.mkdir()
        url = f"sqlite:///{tmp_path}/a{character}b/imlib.db"
        assert url == str(ServerUrl(url))
        with imlib.connect("fakeredis://", url):
            assert (folder / "imlib.db").exists()
    with private_folder() as folder, PrivateRedis(folder) as server:
        at = folder / "a@b#c:d"
        at.symlink_to(server.socket)
        with imlib.connect(f"unix://{at}", f"sqlite:///{tmp_path}/imlib.db") as deployment:
            assert f"unix://{at}" == deployment.redis_url


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what is looked up or connected; nothing is."""
    seen: list[object] = []

    def refuse(*what: object, **_: object) -> None:
        seen.append(what)
        raise ConnectionRefusedError(111, "nobody is there")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    return seen


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # pymysql drops the socket
@pytest.mark.parametrize(
    "kind", ["redis://{}@host.invalid/0", "mysql+pymysql://{}@host.invalid/im"]
)
@pytest.mark.parametrize("in_password", SPECIAL)
def test_a_login_that_is_not_encoded(
    touched: list[object], tmp_path: Path, kind: str, in_password: str
) -> None:
    """It is refused before anything is looked up, or taken as it is; no part of it is shown."""
    for in_user in ["", *SPECIAL]:
        password = f"Zq7{in_password}{SECRET}"
        url = kind.format(f"an{in_user}n:{password}")
        servers = (url, "embedded://") if "redis" in kind else ("fakeredis://", url)
        touched.clear()
        with pytest.raises(imlib.ImlibError) as caught:
            imlib.connect(*servers)
        assert [] == holds(caught.value, SECRET, "Zq7")
        if {in_user, in_password} & set("@/?#"):
            assert imlib.ConfigurationError is type(caught.value)
            assert "%40" in str(caught.value)
        if isinstance(caught.value, imlib.ConfigurationError):
            assert [] == touched
            assert str(ServerUrl(url)) == caught.value.url


def test_an_encoded_login_works_on_redis() -> None:
    """Every pair of special characters, and passwords beyond Latin-1."""
    with private_redis() as server:
        for user, password in LOGINS:
            client, _, _ = open_redis(server.add_user(user, password, "+@all"), read_only=True)
            assert user == client.acl_whoami()
            client.close()


@pytest.mark.parametrize("password", ["é", "é€日"])
def test_a_default_users_password_beyond_ascii(password: str) -> None:
    """It is sent as UTF-8, encoded in the URL or not, in the login or as an option."""
    with private_redis("--requirepass", password) as server:
        for at in (f":{password}@", f":{quote(password)}@"):
            url = server.url.replace("unix://", f"unix://{at}")
            open_redis(url, read_only=True)[0].close()
        open_redis(f"{server.url}?password={password}", read_only=True)[0].close()


def test_an_encoded_login_works_on_mariadb(mariadb: PrivateMariaDB) -> None:
    """The same for SQL."""
    url = mariadb.new_database()
    for user, password in LOGINS:
        name, word = (one.replace("\\", "\\\\") for one in (user, password))
        mariadb.run(
            f"CREATE USER '{name}'@'%' IDENTIFIED BY '{word}';\nGRANT ALL ON *.* TO '{name}'@'%'"
        )
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@"
        with ExitStack() as stack:
            open_engines(url.replace("root@", login), "", stack, read_only=False)
        mariadb.run(f"DROP USER '{name}'@'%'")


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "spelled",
    [
        "redis://ann:{}@127.0.0.1:1/0",
        "redis://ann:{}",
        "http://ann:{}@127.0.0.1",
        "redis://ann:{}@h:x",
    ],
)
def test_an_error_about_a_url_hides_it(tmp_path: Path, spelled: str, password: str) -> None:
    """Neither the message nor anything it came from holds the password or the part that was taken
    for a port.
    """
    with pytest.raises(imlib.ImlibError) as caught:
        imlib.connect(spelled.format(password), f"sqlite:///{tmp_path / 'imlib.db'}")
    # What follows an @ may be a host, and variables hold hosts.
    assert [] == holds(caught.value, SECRET, "Zq7", variables="@" not in password)


@pytest.mark.parametrize("password", [SECRET, f"{SECRET}-not"])
def test_everything_about_a_login_hides_it(
    guarded: PrivateRedis,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    password: str,
) -> None:
    """Connected or refused: deployment, clients, errors, logs and outputs do not hold
    the password.
    """
    caplog.set_level(logging.DEBUG)
    url = guarded.url.replace("unix://", f"unix://:{password}@")
    try:
        with imlib.connect(url, f"sqlite:///{tmp_path / 'imlib.db'}") as deployment:
            for one in (
                deployment,
                deployment.redis_url,
                deployment,
                deployment.online_status,
                deployment.server,
            ):
                assert [] == [form for form in shown(one) if SECRET in form]
            snapshot = deployment.snapshot()
            assert SECRET not in repr(snapshot) + repr(snapshot.info)
            guarded.stop()
            with pytest.raises(imlib.UnavailableError) as caught:
                deployment.online_status.count_online()
            assert [] == holds(caught.value, SECRET)
        assert [] == [form for form in shown(deployment) if SECRET in form]
    except imlib.AccessDeniedError as refused:
        assert [] == holds(refused, SECRET)  # noqa: PT017  # both ways of the same test
    finally:
        guarded.stop()
        guarded.start()
    assert SECRET not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "serve", [loopback.http, loopback.hangs_up, loopback.of_version("redis_version:3.2.0")]
)
def test_an_error_about_a_server_hides_it(serve: Callable[[Any], None]) -> None:
    """Whatever answers, the password that it was sent is in no error."""
    with loopback.listening(serve) as address, pytest.raises(imlib.ImlibError) as caught:
        imlib.connect(f"redis://:{SECRET}@{address}/0")
    assert [] == holds(caught.value, SECRET)


def test_an_error_about_the_database_hides_it() -> None:
    """The same for the SQL side: a server that is not there, and a URL that is none."""
    for url in (
        f"mysql+pymysql://ann:{SECRET}@127.0.0.1:1/im",
        f"oracle://ann:{SECRET}@h/im",
        f"ann:{SECRET}@h",
        f"mysql://ann:{SECRET}",
    ):
        with pytest.raises(imlib.ImlibError) as caught:
            imlib.connect("fakeredis://", url)
        assert [] == holds(caught.value, SECRET)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spelled",
    [
        "mysql+pymysql://ann:{}@127.0.0.1:1/im",
        "mysql+pymysql://ann:{}@127.0.0.1:1/im?ssl_key=/x-{}",
        "mysql+pymysql://ann:{}@127.0.0.1:1/",
        "mysql+pymysql://ann:{}@127.0.0.1:1/im?passwd={}",
        "oracle://ann:{}@127.0.0.1/im",
    ],
)
def test_an_engine_hides_it(spelled: str) -> None:
    """Neither an engine nor its URL, nor a variable in a traceback of its errors, shows it."""
    url = spelled.replace("{}", SECRET)
    try:
        engine = make_engine(url)
    except imlib.ConfigurationError as refused:
        assert [] == holds(refused, SECRET)  # noqa: PT017 - both ways of the same test
        return
    forms = [*shown(engine), *shown(engine.url), engine.url.render_as_string(hide_password=False)]
    assert [] == [form for form in forms if SECRET in form]
    assert SECRET not in repr(engine.url.query)
    with pytest.raises(sa.exc.OperationalError) as caught:
        engine.connect()
    assert [] == holds(caught.value, SECRET)


def test_every_way_of_login_hides_it(mariadb: PrivateMariaDB) -> None:
    """A refused password is in no variable of the driver's, whichever packet it was sent in."""
    url = mariadb.new_database().replace("root@", f"nobody:{SECRET}@")
    with pytest.raises(imlib.AccessDeniedError) as caught:
        imlib.connect("fakeredis://", url)
    assert [] == holds(caught.value, SECRET)
    packet = b"\x01" + Secret(SECRET.encode()) + b"\0"
    assert b"\x01" + SECRET.encode() + b"\0" == packet
    assert [] == [form for form in shown(packet) if SECRET in form]


def test_arguments_that_are_refused_hide_it() -> None:
    """URLs that were given right are in no variable either, whatever else was wrong."""
    redis, mysql = f"redis://:{SECRET}@127.0.0.1:1/0", f"mysql://ann:{SECRET}@127.0.0.1:1/im"
    wrong: list[dict[str, Any]] = [{"scratch": True, "read_only": True}, {"layout": "x"}]
    for more in (*wrong, {"lease": "x"}, {"database_url": "x://"}, {}):
        with pytest.raises(imlib.ImlibError) as caught:
            imlib.connect(**{"redis_url": redis, "database_url": mysql} | more)
        assert [] == holds(caught.value, SECRET)
    with pytest.raises(imlib.ConfigurationError) as caught:
        imlib.connect(redis, replica_url=mysql)
    assert [] == holds(caught.value, SECRET)


def test_a_mask_key_is_hidden(guarded: PrivateRedis, tmp_path: Path) -> None:
    """So is the key of a snapshot that failed."""
    url = guarded.url.replace("unix://", f"unix://:{SECRET}@")
    with imlib.connect(url, f"sqlite:///{tmp_path / 'imlib.db'}") as deployment:
        for key in (SECRET.encode(), SECRET.encode() * 2):
            with pytest.raises(imlib.InvalidValueError) as caught:
                deployment.snapshot(mask_key=key, tables=["nowhere"])
            assert [] == holds(caught.value, SECRET)


@pytest.mark.parametrize("backend", ["sqlite", "mariadb"])
def test_sqlalchemys_log_shows_no_row(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG statements are logged, by level or by echo, and neither rows nor parameters."""
    url = f"sqlite:///{tmp_path / 'im.db'}"
    if backend == "mariadb":
        url = request.getfixturevalue("mariadb").new_database()
    with imlib.connect("fakeredis://", url) as deployment:
        create_all(deployment.engine)
        for echo in (False, "debug"):
            deployment.engine.echo = echo
            with caplog.at_level(logging.DEBUG, "sqlalchemy"):
                with deployment.engine.begin() as connection:
                    phone = f"{SECRET}{echo}"
                    row = {"phone": phone, "access_hash": 1, "first_name": SECRET}
                    row |= dict.fromkeys(("last_name", "username", "bio", "about"), SECRET)
                    row |= {"country_code": "DE", "deleted_reason": "", "is_bot": 0, "deleted": 0}
                    connection.execute(tables["users"].insert(), [row])
                    stored = connection.execute(sa.select(tables["users"])).all()
                deployment.users.get_user(1)
                deployment.snapshot(user_ids=[1])
            assert phone == stored[-1].phone
    assert "SELECT" in caplog.text
    assert SECRET not in caplog.text
