"""What can go wrong, in words: every error that imlib raises on purpose descends from `ImlibError`.

A message names the bad value, what was allowed and what to do next. None holds a password: URLs
appear in them only in their masked form.
"""

from __future__ import annotations

_SHOWN = 120


class ImlibError(Exception):
    """The base of every error that imlib raises on purpose.

    Parameters
    ----------
    message : str
    **evidence
        What a script would otherwise have to read out of the message: one of the attributes of the
        error's class.

    Attributes
    ----------
    server : str
        The server that it is about, as an address or URL without password; empty where it is about
        none.
    keys : tuple of str
        Of a write that Redis refused: the keys that were not written.
    """

    server: str = ""
    keys: tuple[str, ...] = ()

    def __init__(self, message: str = "", **evidence: object) -> None:
        super().__init__(printable(message))
        for name, value in evidence.items():
            setattr(self, name, value)


class CodecError(ImlibError, ValueError):
    """An entry that is no valid session, or a session that no entry can hold.

    Parameters
    ----------
    field : object
        What was given as the hash field; when a `SessionStatus` is constructed, the name of the
        attribute.
    value : object
        What was given as the hash value; when a `SessionStatus` is constructed, the attribute's bad
        value.
    reason : str
        Why it was refused, and what would have been allowed.

    Notes
    -----
    The three are kept whole as attributes; the message shortens long ones.
    """

    def __init__(self, field: object, value: object, reason: str) -> None:
        super().__init__()
        self.args = (field, value, reason)
        self.field = field
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} (field {shortened(self.field)}, value {shortened(self.value)})"


class ConfigurationError(ImlibError, ValueError):
    """A URL, an environment variable or an argument of `imlib.connect` that imlib
    cannot work with.

    Attributes
    ----------
    url : str
        The URL that is at fault, with its password masked; empty where none is.
    """

    url: str = ""


class NotConnectedError(ImlibError):
    """A model was asked for before `imlib.connect()`, or used after `close()`."""


class ReadOnlyError(ImlibError):
    """A write was asked of a deployment that was connected with ``read_only=True``."""


class NotEmptyError(ImlibError):
    """A lesson or sample was about to write into a Redis or SQL database that holds something."""


class UnavailableError(ImlibError):
    """A server is not there, does not answer in time, or went away in the middle."""


class AccessDeniedError(ImlibError):
    """A server is there and refuses the user, the password or the command."""


class UnsupportedServerError(ImlibError):
    """What answers is not the kind of server that was expected, or too old a version of it."""


class WrongTypeError(ImlibError):
    """A Redis key holds another type than imlib expects there."""


class NotFoundError(ImlibError, LookupError):
    """A user, chat or message that was asked for does not exist.

    Attributes
    ----------
    table : str
        Where it was looked for.
    ids : tuple of int
        The ids that are not there, all of them.
    """

    table: str = ""
    ids: tuple[int, ...] = ()


class InvalidValueError(ImlibError, ValueError):
    """An argument or value outside its width, length or set; refused before a server sees it."""


class SchemaError(ImlibError):
    """A database whose tables or columns differ from what an operation needs."""


class SnapshotError(ImlibError):
    """A snapshot that could not be taken whole, saved, read or compared.

    Attributes
    ----------
    path : str
        The folder or file.
    """

    path: str = ""


class FallbackWarning(UserWarning):
    """imlib works, with less than was asked for; the message says what and why."""


def printable(value: object) -> str:
    """Return text that moves no cursor and turns no line: what does so is escaped."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(value)
    )


def shortened(value: object) -> str:
    """Return the repr of a value, cut to a length that leaves a message readable."""
    try:
        text = repr(value[:_SHOWN] if isinstance(value, (str, bytes)) else value)
    except (
        Exception
    ) as problem:  # a value's own repr may do anything, and a message must not fail over it
        text = f"<{type(value).__name__} whose repr raises {type(problem).__name__}>"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
