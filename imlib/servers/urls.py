"""URLs of servers: printed without their passwords, and refused where they are unclear."""

from __future__ import annotations

import json
import re
import ssl
from typing import Any, Self
from urllib.parse import parse_qsl

from imlib.errors import ConfigurationError

# URLs in which it is clear where the login ends. If somebody forgot to encode a / ? # or @ in a
# password, or forgot the host, others would take a part of the password for the host, the port, the
# path or an option. The path of a file or a socket may hold an @.
_CLEAR = re.compile(
    r"(?:sqlite[\w+]*|unix)://(?:[^@/?#]*@)?/.*"
    r"|[\w+.-]+://(?:[^@/?#]*@)?(?:\[[^@]*|[^@:/?#]*(?::\d+)?(?:[/?#][^@]*)?)"
    r"|(?![\w+.-]+://)(?:[^@/?#]*@)?[^@]*",
    re.DOTALL,
)
_LOGIN = re.compile(r"^((?:[\w+.-]+://)?[^:@/?#]*:)[^@/?#]*@")
# A name with a % may be any name. What follows without a = is perhaps the rest of a password.
_SECRET_OPTION = re.compile(
    r"([?&;#][^=&]*(?:%|pass|pwd|secret|key|token)[^=&]*=)[^&]*(?:&[^=&]*(?![^&]))*", re.IGNORECASE
)

# What the values of options look like that are no text.
_KINDS = {
    "a number of seconds": r"(?=.*[1-9])(?:0|[1-9]\d{0,6})(?:\.\d+)?",
    "a number of whole seconds": r"[1-9]\d{0,6}",
    "a whole number": r"0|[1-9]\d{0,8}",
    "true or false": "(?i:true|false)",
}


class ServerUrl(str):
    """A server's URL that prints without its password.

    Printed, formatted, joined, in JSON or in a DataFrame, it is the masked text. `reveal` returns
    the whole URL, to connect with it or to hand it to another process.

    Parameters
    ----------
    url : str
        The whole URL.

    Examples
    --------
    >>> url = ServerUrl("redis://ann:secret@example.org:6379/0")
    >>> url
    'redis://ann:***@example.org:6379/0'
    >>> f"{url}", url.reveal()
    ('redis://ann:***@example.org:6379/0', 'redis://ann:secret@example.org:6379/0')
    """

    # pandas and json copy the text of a str without asking __str__: so the text itself is masked.
    __slots__ = ("_whole",)
    _whole: str

    def __new__(cls, url: str = "") -> Self:
        """Keep a URL whole, beside its masked text."""
        whole: str = getattr(url, "_whole", url)
        self = super().__new__(cls, _masked(whole))
        self._whole = whole
        return self

    def reveal(self) -> str:
        """Return the URL with its password, as a plain string."""
        return self._whole


class Secret(bytes):
    """A password as it is sent, which prints as ``***``, and so does what it is joined to.

    So it is in no traceback that shows variables, neither in imlib's frames nor in a driver's.

    Examples
    --------
    >>> password = Secret(b"s3cret")
    >>> {"password": password, "packet": b"AUTH " + password + b"!"}
    {'password': ***, 'packet': ***}
    >>> password == b"s3cret"
    True
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __add__(self, other: Any) -> Secret:
        return Secret(bytes(self) + other)

    def __radd__(self, other: Any) -> Secret:
        return Secret(other + bytes(self))


def _masked(url: str) -> str:
    """Mask every password of a URL; where it is unclear what is one, mask more."""
    if not _CLEAR.fullmatch(url):
        scheme = re.match(r"[\w+.-]+(?=:)", url)
        return f"{scheme[0]}://***" if scheme else "***"
    return _LOGIN.sub(r"\1***@", _SECRET_OPTION.sub(r"\1***", url))


def refused(url: str, problem: str) -> ConfigurationError:
    """Return the error that says what is wrong with a URL, without its password."""
    shown = ServerUrl(url)
    return ConfigurationError(f"{shown!r} is not understood: {problem}", url=f"{shown}")


def check_urls(*urls: ServerUrl) -> None:
    """Refuse URLs of which it is unclear where the login ends.

    Raises
    ------
    ConfigurationError
        There is more than one ``@``, a ``/``, ``?`` or ``#`` before it, or no number as the port.
    """
    for url in urls:
        # What is no URL at all is told by who would open it, with the forms that it knows.
        if "://" in url.reveal() and not _CLEAR.fullmatch(url.reveal()):
            raise refused(
                url,
                "it is unclear where the login ends and which host follows; / ? # @ in user and "
                "password have to be percent-encoded (%2F %3F %23 %40), and so has an @ after the "
                "host",
            )


def check_scheme(whole: str) -> None:
    """Raise ValueError where a URL has no scheme."""
    if "://" not in whole:
        raise ValueError("there is no :// in it")


def parse_options(query: str, allowed: dict[str, str]) -> dict[str, Any]:
    """Parse what follows the ``?`` of a URL.

    Parameters
    ----------
    query : str
    allowed : dict of str to str
        The names of the options that this kind of URL may have, by what their values have to be:
        one of `_KINDS`, or a pattern for text.

    Raises
    ------
    ValueError
        An option is unknown or given twice, or its value is wrong. The text shows no value.
    """
    kinds = {name: kind for kind, names in allowed.items() for name in names.split()}
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in kinds or name in options:
            raise ValueError(f"its options are {', '.join(kinds)}, each at most once")
        kind = kinds[name]
        if "\0" in value or not re.fullmatch(_KINDS.get(kind, kind), value):
            raise ValueError(f"the option {name} has to be {kind}")
        options[name] = json.loads(value.lower()) if kind in _KINDS else value
    return options


def check_certificates(
    ca: str | None, certificate: str | None, key: str | None, *, password: str = ""
) -> None:
    """Load certificates, so that an OSError tells what is wrong before anything is connected."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(ca)
    if certificate or key:
        # With a password, if only an empty one: without one OpenSSL asks for it at the terminal.
        context.load_cert_chain(certificate or "", key, password)
