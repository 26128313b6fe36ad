"""URLs of servers: printed without their passwords, and refused where they are unclear."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Any, Final, Self
from urllib.parse import unquote, unquote_plus

from imlib.errors import ConfigurationError, shortened

_MASK: Final = "***"
# Scheme, login and the rest. Not by urlsplit: if somebody forgot to encode a / ? # or @ in a
# password, urlsplit would take a part of the password for the host, the path or an option.
_PARTS: Final = re.compile(r"((?:[\w+.-]+://)?)((?:[^@/?#]*@)?)(.*)", re.DOTALL)
# The path of a file or a socket may hold an @; elsewhere one @ ends the login.
_CLEAR: Final = re.compile(
    r"(?:sqlite[\w+]*|unix)://(?:[^@/?#]*@)?/.*|(?:[\w+.-]+://)?(?:[^@/?#]*@)?[^@]*", re.DOTALL
)
# A port that is no number: perhaps a password, and the host was forgotten.
_NO_PORT: Final = re.compile(r"((?!\[)[^:/?#]*:)(?!\d+(?:[/?#]|$)).*", re.DOTALL)
_SECRET_OPTION: Final = re.compile("(?:pass|pwd|secret|key|token)[^=]*=", re.IGNORECASE)

# The kinds of option: what fits, how it is parsed, and what to say where nothing fits.
_KINDS: Final[dict[str, tuple[str, Callable[[str], Any], str]]] = {
    "text": (r"[^\0]+", str, "some text"),
    "word": ("[!-~]+", str, "ASCII without spaces"),
    "seconds": (r"(?=.*[1-9])\d{1,7}(\.\d+)?", float, "a number of seconds above 0"),
    "whole_seconds": (r"0*[1-9]\d{0,6}", int, "a number of whole seconds above 0"),
    "number": (r"\d{1,9}", int, "a whole number"),
    "boolean": ("(?i:true|false)", lambda value: value.lower() == "true", "true or false"),
    "charset": ("utf8mb4", str, "utf8mb4"),
    "check": ("none|optional|required", str, "none, optional or required"),
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
        whole = url.reveal() if isinstance(url, ServerUrl) else url
        self = super().__new__(cls, _masked(whole))
        self._whole = whole
        return self

    def reveal(self) -> str:
        """Return the URL with its password, as a plain string."""
        return self._whole


def _masked(url: str) -> str:
    """Mask every password of a URL; where it is unclear what is one, mask more."""
    _, scheme, login, rest, _ = _PARTS.split(url, maxsplit=1)
    if not _CLEAR.fullmatch(url):
        return f"{scheme}{_MASK}"
    user, colon, _ = login.partition(":")
    if colon:
        login = f"{user}:{_MASK}@"
    elif scheme and not login:
        rest = _NO_PORT.sub(rf"\1{_MASK}", rest)
    address, mark, options = rest.partition("?")
    return f"{scheme}{login}{address}{mark}{re.sub('[^&]+', _masked_option, options)}"


def _masked_option(option: re.Match[str]) -> str:
    name, equals, _ = option[0].partition("=")
    if not equals:  # perhaps what follows an & in a password
        return _MASK
    return f"{name}={_MASK}" if _SECRET_OPTION.search(unquote(option[0])) else option[0]


def refused(url: str, problem: str) -> ConfigurationError:
    """Return the error that says what is wrong with a URL, without its password."""
    shown = ServerUrl(url)
    return ConfigurationError(f"{shown!r} is not understood: {problem}", url=f"{shown}")


def plain_url(url: str) -> str:
    """Return a URL with its password, as a plain string, if it is clear where its login ends.

    Raises
    ------
    ConfigurationError
        There is more than one ``@``, or a ``/``, ``?`` or ``#`` before it.
    """
    whole = ServerUrl(url).reveal()
    if not _CLEAR.fullmatch(whole):
        raise refused(
            url,
            "it is unclear where its login ends; write / ? # and @ in user and password as %2F, "
            "%3F, %23 and %40, and an @ after the host as %40",
        )
    return whole


def parse_options(url: str, **allowed: str) -> dict[str, Any]:
    """Parse what follows the ``?`` of a URL.

    Parameters
    ----------
    url : str
    **allowed : str
        The names of the options that this kind of URL may have, by the kind of their values.

    Raises
    ------
    ValueError
        An option is unknown or given twice, or its value is wrong. The text names the option, and
        shows no value.
    """
    kinds = {name: _KINDS[kind] for kind, names in allowed.items() for name in names.split()}
    options: dict[str, Any] = {}
    for option in filter(None, url.partition("?")[2].split("&")):
        name, equals, value = map(unquote_plus, option.partition("="))
        if not equals:
            raise ValueError("an option is name=value, and & in a value is %26")
        if name not in kinds or name in options:
            known = ", ".join(kinds)
            raise ValueError(f"{shortened(name)} is no option, or given twice; there are {known}")
        pattern, parse, words = kinds[name]
        if not re.fullmatch(pattern, value):
            raise ValueError(f"the option {name} has to be {words}")
        options[name] = parse(value)
    return options


def check_certificates(
    ca: str | None, folder: str | None, certificate: str | None, key: str | None, password: str
) -> None:
    """Load certificates once, for errors that come before anything is connected.

    Raises
    ------
    ValueError
        A file is not there or holds no certificate or key, or the key's password is wrong.
    """
    try:
        context = ssl.create_default_context(cafile=ca, capath=folder)
        if certificate or key:
            context.load_cert_chain(certificate or "", key, password)
    except (OSError, ValueError) as problem:
        raise ValueError(f"certificates or key cannot be loaded: {problem}") from None
