"""Every option that a URL can carry works, or is refused by one error that names it."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from typing import Any

import pymysql.connections
import pytest
import redis.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis import Redis
from sqlalchemy import event

import imlib
from imlib.servers.redis import open_redis
from imlib.servers.sql import make_engine, open_engines, ping
from tests.private_servers.mariadb import PrivateMariaDB
from tests.private_servers.process import free_port, private_folder
from tests.private_servers.redis import private_redis

# pymysql drops the socket that it could not connect.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
SECRET = "s3cret-Word"
# What a URL may choose, a value that is right, and what the driver is given for it.
MYSQL: dict[str, tuple[str, Any]] = {
    "unix_socket": ("/no/such.sock", "/no/such.sock"),
    "program_name": ("x", "x"),
    "charset": ("utf8mb4", "utf8mb4"),
    "connect_timeout": ("3", 3),
    "read_timeout": ("3", 3),
    "write_timeout": ("3", 3),
    "ssl_ca": ("{pem}", {"ca": "{pem}"}),
    "ssl_capath": ("{folder}", {"capath": "{folder}"}),
    "ssl_cert": ("{pem}", {"cert": "{pem}"}),
    "ssl_key": ("{pem}&ssl_cert={pem}", {"key": "{pem}", "cert": "{pem}"}),
    "ssl_check_hostname": ("false", {"check_hostname": False}),
    "ssl_disabled": ("true", "true"),
}
REDIS: dict[str, tuple[str, Any]] = {
    "db": ("2", 2),
    "username": ("ann", "ann"),
    "password": ("x%26y", "x&y"),
    "client_name": ("x", "x"),
    "health_check_interval": ("5", 5),
    "max_connections": ("7", 7),
    "socket_timeout": ("0.5", 0.5),
    "socket_connect_timeout": ("2", 2),
}
TCP = {"socket_keepalive": ("true", True)}
TLS: dict[str, tuple[str, Any]] = {
    "ssl_ca_certs": ("{pem}", "{pem}"),
    "ssl_ca_path": ("{folder}", "{folder}"),
    "ssl_certfile": ("{pem}", "{pem}"),
    "ssl_keyfile": ("{pem}&ssl_certfile={pem}", "{pem}"),
    "ssl_password": (SECRET, SECRET),
    "ssl_cert_reqs": ("none", "none"),
    "ssl_check_hostname": ("False", False),
}
BY_SCHEME = {
    "mysql://127.0.0.1:1/im": MYSQL,
    "redis://127.0.0.1:1": REDIS | TCP,
    "rediss://127.0.0.1:1": REDIS | TCP | TLS,
    "unix:///no/such.sock": REDIS,
}
VALUES = ["true", "0", "1", "-1", "nan", "1e999", "x", "a%20b", "é", "[]", "/no/such.pem"]
VALUES += ["none", "utf8mb4", "%00", ""]


def names() -> list[str]:
    """Return every parameter of every class that a URL's options could reach, and neighbours."""
    classes: list[type[Any]] = [pymysql.connections.Connection, Redis]
    modules = vars(redis.connection).values()
    theirs = [one for one in modules if isinstance(one, type)]
    classes += [one for one in theirs if one.__name__.endswith(("Connection", "Pool"))]
    found = {name for one in classes for name in signature(one).parameters}
    return sorted(found | {"color", "connection_class", "ssl_capath", "ssl_cipher"})


def open_url(url: str) -> None:
    """Open a URL, and close it again should something be there."""
    if url.startswith("mysql"):
        with ExitStack() as stack:
            open_engines(url, "", stack, read_only=False)
    else:
        open_redis(url, read_only=True)[0].close()


@pytest.fixture(scope="module")
def pem() -> Iterator[Path]:
    """Give a file with a certificate for 127.0.0.1, signed by itself, and its key."""
    with private_folder() as folder:
        yield certificate(folder / "server.pem")


def certificate(path: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.mark.parametrize("base", BY_SCHEME)
@pytest.mark.parametrize("name", names())
def test_an_option_works_or_is_refused(base: str, name: str, pem: Path) -> None:
    """Whatever its value, nothing but an error of imlib's comes out, and a refusal names it."""
    accepted = False
    for value in [*VALUES, pem]:
        with pytest.raises(imlib.ImlibError) as caught:
            open_url(f"{base}?{name}={value}")
        assert isinstance(caught.value, imlib.ConfigurationError | imlib.UnavailableError)
        if isinstance(caught.value, imlib.ConfigurationError):
            assert f"{name}=" in caught.value.url
            assert caught.value.url in str(caught.value)
        else:
            accepted = True
            assert value not in {"%00", ""}
    # A key alone is none: the next tests give it its certificate.
    assert accepted == (name in BY_SCHEME[base].keys() - {"ssl_key", "ssl_keyfile"})


@pytest.mark.parametrize("name", MYSQL)
def test_an_option_reaches_pymysql(pem: Path, name: str) -> None:
    """It has the type that the driver needs."""
    value, expected = filled(MYSQL[name], pem)
    given: dict[str, Any] = {}
    engine = make_engine(f"mysql://127.0.0.1:1/im?{name}={value}")
    event.listen(engine, "do_connect", lambda *arguments: given.update(arguments[3]))
    with pytest.raises(imlib.UnavailableError):
        ping(engine)
    kept = "ssl" if isinstance(expected, dict) else name
    assert expected == given[kept]
    assert type(expected) is type(given[kept])


@pytest.mark.parametrize("name", REDIS | TCP | TLS)
def test_an_option_reaches_redis_py(monkeypatch: pytest.MonkeyPatch, pem: Path, name: str) -> None:
    """The same for Redis."""
    value, expected = filled((REDIS | TCP | TLS)[name], pem)
    clients: list[Redis] = []

    def look(client: Redis, **_: object) -> None:
        clients.append(client)
        client.ping()

    monkeypatch.setattr("imlib.servers.redis._look_at", look)
    with pytest.raises(redis.ConnectionError):
        open_redis(f"rediss://127.0.0.1:1?{name}={value}", read_only=True)
    pool = clients[0].connection_pool
    given = {"max_connections": pool.max_connections, **pool.connection_kwargs}
    assert expected == given[name]
    assert type(expected) is type(given[name])


def filled(case: tuple[str, Any], pem: Path) -> tuple[str, Any]:
    """Put a real file and folder where a case names them."""

    def fill(one: Any) -> Any:
        if isinstance(one, dict):
            return {name: fill(value) for name, value in one.items()}
        places = {"pem": pem, "folder": pem.parent}
        return one.format(**places) if isinstance(one, str) else one

    return fill(case[0]), fill(case[1])


@pytest.mark.parametrize(
    "url",
    [
        "mysql://127.0.0.1:1/im?connect_timeout=1&connect_timeout=2",
        "mysql://127.0.0.1:1/im?connect_timeout=1.5",
        "mysql://127.0.0.1:1/im?charset",
        "mysql://127.0.0.1:1/im?charset=utf8mb4&charset=utf8mb4",
        "mysql://127.0.0.1:99999/im",
        "mysql://a..b/im",
        "mysql+mysqldb://127.0.0.1/im",
        "sqlite:///imlib.db?timeout=soon",
        "sqlite:///imlib.db?check_same_thread=false",
        "sqlite:///imlib.db?mode=ro",
        "sqlite:///imlib.db?uri=false&mode=ro",
        "sqlite:///file:imlib.db?uri=true&mode=memory",
        "sqlite:///%00",
        "sqlite://h/imlib.db",
        "redis://127.0.0.1:1/1?db=1",
        "redis://127.0.0.1:1/0?db=1",
        "redis://127.0.0.1:1/0#1",
        "redis://127.0.0.1:1?ssl_cert_reqs=none",
        "rediss://127.0.0.1:1?ssl_certfile=/etc/hostname",
        "rediss://127.0.0.1:1?ssl_keyfile=/etc/hostname",
    ],
)
def test_other_urls_that_cannot_be_used(url: str) -> None:
    """They are refused before anything is connected, with the URL as evidence."""
    pair = ("fakeredis://", url) if "sql" in url else (url, "embedded://")
    with pytest.raises(imlib.ConfigurationError) as caught:
        imlib.connect(*pair)
    assert caught.value.url
    assert caught.value.url in str(caught.value)


def test_a_key_that_wants_a_password(pem: Path, tmp_path: Path) -> None:
    """Without it the key is refused, and nobody is asked at the terminal; with it it is loaded."""
    whole = pem.read_bytes()
    key = serialization.load_pem_private_key(whole, None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(SECRET.encode()),
        )
    )
    url = f"rediss://127.0.0.1:1?ssl_certfile={pem}&ssl_keyfile={locked}"
    for refused in (
        url,
        f"{url}&ssl_password={SECRET}x",
        f"mysql://127.0.0.1:1/im?ssl_cert={pem}&ssl_key={locked}",
    ):
        with pytest.raises(imlib.ConfigurationError) as caught:
            open_url(refused)
        assert SECRET not in str(caught.value)
    with pytest.raises(imlib.UnavailableError):
        open_url(f"{url}&ssl_password={SECRET}")


def test_tls_on_redis(pem: Path, tmp_path: Path) -> None:
    """A server is believed by the certificate that the URL names, and by no other."""
    port = free_port()
    files = [f"--tls-{name}-file" for name in ("cert", "key", "ca-cert")]
    more = [word for option in files for word in (option, str(pem))]
    with private_redis("--tls-port", str(port), "--tls-auth-clients", "no", *more):
        url = f"rediss://127.0.0.1:{port}?ssl_ca_certs="
        open_url(f"{url}{pem}")
        open_url(f"rediss://127.0.0.1:{port}?ssl_cert_reqs=none&ssl_check_hostname=false")
        with pytest.raises(imlib.UnavailableError):
            open_url(f"{url}{certificate(tmp_path / 'other.pem')}")


def test_tls_on_mariadb(pem: Path, tmp_path: Path) -> None:
    """The same for SQL."""
    tls = (f"--ssl-cert={pem}", f"--ssl-key={pem}", f"--ssl-ca={pem}")
    with private_folder() as folder, PrivateMariaDB(folder, *tls, tcp=True) as server:
        server.new_database()
        server.run("CREATE USER ann IDENTIFIED BY 'x' REQUIRE SSL;\nGRANT ALL ON *.* TO ann")
        url = f"mysql://ann:x@127.0.0.1:{server.port}/im_1?ssl_ca="
        open_url(f"{url}{pem}")
        with pytest.raises(imlib.ConfigurationError):
            open_url(f"{url}{certificate(tmp_path / 'other.pem')}")
        with pytest.raises(imlib.AccessDeniedError):
            open_url(f"mysql://ann:x@127.0.0.1:{server.port}/im_1?ssl_disabled=true")
