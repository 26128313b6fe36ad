"""URLs of servers that show no password unless asked for it whole."""

from __future__ import annotations

from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

__all__ = ["ServerUrl"]

_SECRET_OPTIONS = {"password", "passwd", "ssl_password"}
_MASK = "***"


class ServerUrl(str):
    """A server's URL: a string that another process can be given, and that prints without its password.

    ``print``, ``repr``, ``str`` and f-strings show `masked`; `whole` is the plain string. Handed to a library or
    put into a process's environment it is whole.

    Examples
    --------
    >>> url = ServerUrl("redis://ann:secret@example.org:6379/0")
    >>> url
    'redis://ann:***@example.org:6379/0'
    >>> f"{url}", url.whole()
    ('redis://ann:***@example.org:6379/0', 'redis://ann:secret@example.org:6379/0')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(self.masked())

    def __str__(self) -> str:
        return self.masked()

    def __format__(self, spec: str) -> str:
        return format(self.masked(), spec)

    def whole(self) -> str:
        """Return the URL with its password, as a plain string."""
        return str.__str__(self)

    def masked(self) -> str:
        """Return the URL with every password in it replaced by ``***``."""
        text = self.whole()
        try:
            parts = urlsplit(text)
        except ValueError:
            return f"{text.partition(':')[0]}:{_MASK}"  # not readable as a URL: nothing behind the scheme is shown
        login, at, host = parts.netloc.rpartition("@")
        user, colon, _ = login.partition(":")
        options = parse_qsl(parts.query, keep_blank_values=True)
        if not colon and not any(name in _SECRET_OPTIONS for name, _ in options):
            return text
        query = urlencode(
            [(name, _MASK if name in _SECRET_OPTIONS else value) for name, value in options],
            safe="/*",
            quote_via=quote,
        )
        netloc = f"{user}{colon}{_MASK if colon else ''}{at}{host}"
        return urlunsplit(parts._replace(netloc=netloc, query=query))
