"""URLs of servers that show no password unless asked for it whole."""

from __future__ import annotations

import re

_MASK = "***"
# Not by urlsplit: what has to be hidden first of all is a password whose /, ?, # or @ somebody
# forgot to encode, and there a URL's parts end in the wrong places. So a login reaches as far as
# the last @, with or without a scheme.
_LOGIN = re.compile(r"^([^:/]+://[^:@/?#]*:|(?![^:/]+://)[^:@]*:).*@", re.DOTALL)
# Behind a host stands no number: perhaps a password, and the host was forgotten.
_NO_PORT = re.compile(r"^([^:/]+://(?!\[)[^:@/?#]*:)(?!\d*(?:[/?#]|$))[^@]*$")
_SECRET_OPTION = re.compile(r"([?&](?:password|passwd|ssl_password)=)[^&]*", re.IGNORECASE)


class ServerUrl(str):
    """A server's URL: a string that another process can be given, and that prints without its
    password.

    ``print``, ``repr``, ``str`` and f-strings show `masked`; `reveal` returns the plain string.
    Handed to a library or put into a process's environment it is whole.

    Examples
    --------
    >>> url = ServerUrl("redis://ann:secret@example.org:6379/0")
    >>> url
    'redis://ann:***@example.org:6379/0'
    >>> f"{url}", url.reveal()
    ('redis://ann:***@example.org:6379/0', 'redis://ann:secret@example.org:6379/0')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(self.masked())

    def __str__(self) -> str:
        return self.masked()

    def __format__(self, spec: str) -> str:
        return format(self.masked(), spec)

    def reveal(self) -> str:
        """Return the URL with its password, as a plain string."""
        return str.__str__(self)

    def masked(self) -> str:
        """Return the URL with every password in it replaced by ``***``; where it is not clear what
        is one, more.
        """
        text = _SECRET_OPTION.sub(rf"\1{_MASK}", self.reveal())
        text = _LOGIN.sub(rf"\1{_MASK}@", text)
        return _NO_PORT.sub(rf"\1{_MASK}", text)
