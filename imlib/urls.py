"""URLs of servers that show no password unless asked for it whole."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

__all__ = ["ServerUrl"]

_SECRET_OPTIONS = {"password", "passwd", "ssl_password"}
_MASK = "***"
# As far as the last @: a password may hold any of /?#@ that somebody forgot to encode.
_LOGIN = re.compile(r"^([^:/]+://[^:@/?#]*:).*@", re.DOTALL)


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
        """Return the URL with every password in it replaced by ``***``; where it is not clear what is one, more."""
        text = _LOGIN.sub(rf"\1{_MASK}@", self.whole())
        try:
            parts = urlsplit(text)
        except ValueError:
            return f"{text.partition(':')[0]}:{_MASK}"  # not readable as a URL: nothing behind the scheme is shown
        host, colon, port = parts.netloc.rpartition(":")
        if colon and "@" not in parts.netloc and not port.isdecimal() and not port.endswith("]"):
            parts = parts._replace(netloc=f"{host}:{_MASK}")  # no port: a password whose @ was forgotten
        options = parse_qsl(parts.query, keep_blank_values=True)
        if any(name.lower() in _SECRET_OPTIONS for name, _ in options):
            masked = [(name, _MASK if name.lower() in _SECRET_OPTIONS else value) for name, value in options]
            parts = parts._replace(query=urlencode(masked, safe="/*", quote_via=quote))
        elif parts.netloc in text:
            return text
        return urlunsplit(parts)
