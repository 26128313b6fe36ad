"""Passwords are shown nowhere: not printed, not in an error or what caused it, not in a log."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import imlib
from imlib.servers.urls import ServerUrl
from tests.private_servers.redis import PrivateRedis, private_redis
from tests.servers import loopback

SECRET = "s3cret-Word"
# Each with SECRET at its end, behind what somebody may have forgotten to encode.
PASSWORDS = [SECRET, *(f"Zq7{special}{SECRET}" for special in "/?#@:[]&=%+ \\")]


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


def holds(error: BaseException, *words: str) -> list[str]:
    """Return the texts of an error and its causes that hold one of these words."""
    texts = ["".join(traceback.format_exception(error))]
    for one in chain(error):
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
    """Encoded or not, as login or as option, with or without a host: no form shows it, and `whole`
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


def test_a_url_is_a_string() -> None:
    """A library or another process that is handed it gets it whole."""
    whole = f"redis://:{SECRET}@localhost"
    url = ServerUrl(whole)
    assert whole == url
    assert whole.encode() == url.encode()
    assert whole == pickle.loads(pickle.dumps(url)).reveal()


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
    assert [] == holds(caught.value, SECRET, "Zq7")


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
