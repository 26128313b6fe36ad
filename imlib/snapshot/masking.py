"""Which columns a snapshot hides, and the tokens that replace their values."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence

import pyarrow as pa

from imlib.errors import InvalidValueError
from imlib.snapshot.description import NAIVE, Carrier, Field

# Text in the 20 tables that is no secret, and not a person's own words, number or address.
_SAFE = frozenset(
    f"{table}.{column}"
    for table, columns in {
        "apps": "title short_name",
        "auth_users": "device_model platform system_version app_name app_version country region",
        "auths": "device_model system_version app_version system_lang_code lang_pack lang_code",
        "chats": "title",
        "seq_updates_ngen": "seq_name",
        "user_notify_settings": "sound",
        "users": "first_name last_name username country_code",
    }.items()
    for column in columns.split()
)
# Secret or personal whatever their type, in any table: a view has its table's names for columns.
_SECRET = re.compile(
    r"body|content|(.*_)?(access_hash|transaction_hash|salt|code|pin|ip|phone|phone_number"
    r"|recovery_mail|message_data)"
    r"|(.*_)?(password|passwd|passcode|passphrase|pwd|secret|token|otp|ssn)s?\d*(_.*)?"
    r"|.*(api_?key|authkey|private_?key).*"
)
# These say something about a secret, and not which.
_ABOUT_SECRETS = re.compile(r".*_(type|at|count)|(is|has)_.*")
_WORD_BEGINS = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Columns that join: those of one group have equal tokens for equal values.
_GROUPS = {
    "auth keys": re.compile(r".*\.(auth_id|auth_key_id)"),
    "users": re.compile(r"users\.id|.*[._]user_id"),
}
_TOKEN_BYTES = 10
_SHORTEST_KEY = 16
PREFIX = "masked:"


class Masking:
    """Hides columns: equal values of one column get equal tokens, and no other column's do.

    Whoever writes one column could otherwise read another by comparing. Only columns that join
    share their tokens: see `token_group`.

    Parameters
    ----------
    key : bytes or None
        16 bytes or more; None for a random one. No repr shows the key, and nothing returns it.
    unmask : collection of str
        Each column to show unmasked, as ``table.column``.

    Attributes
    ----------
    key_id : str
        Equal for equal keys; nobody can compute the key from it.

    Examples
    --------
    >>> masking = Masking(b"a key for this example", unmask=["users.phone"])
    >>> text = pa.large_string()
    >>> masking.hides("users", "phone", text), masking.hides("users", "about", text)
    (False, True)
    >>> masking.tokens("users", "phone", pa.array(["+7", None, "+7"])).to_pylist()
    ['masked:ea7d62b4710ddc43f24a', None, 'masked:ea7d62b4710ddc43f24a']
    """

    def __init__(self, key: bytes | str | None = None, unmask: Collection[str] = ()) -> None:
        key = secrets.token_bytes() if key is None else key
        if not isinstance(key, bytes):
            raise InvalidValueError(
                f"mask_key is {type(key).__name__}: allowed is bytes, {_SHORTEST_KEY} or more"
            )
        if len(key) < _SHORTEST_KEY:
            raise InvalidValueError(
                f"mask_key has {len(key)} bytes: allowed are {_SHORTEST_KEY} or more, kept secret"
            )
        # Hashed first: a caller's key may be longer than a keyed hash takes.
        key = hashlib.blake2b(key).digest()
        self._keyed = hashlib.blake2b(key=key)
        self.key_id = hashlib.blake2b(
            key=key, digest_size=_TOKEN_BYTES, person=b"imlib key id 2"
        ).hexdigest()
        self._unmask = frozenset(unmask)

    def hides(self, table: str, column: str, dtype: pa.DataType) -> bool:
        """Return whether a column is hidden: text, binary or secret, unless safe or unmasked."""
        name = f"{table}.{column}"
        if name in self._unmask or name in _SAFE:
            return False
        if pa.types.is_large_string(dtype) or pa.types.is_large_binary(dtype):
            return True
        words = _WORD_BEGINS.sub("_", column).lower()
        secret = any(map(_SECRET.fullmatch, (words, column.lower())))
        return secret and not _ABOUT_SECRETS.fullmatch(words)

    def hidden(self, table: str, fields: Sequence[Field]) -> list[str]:
        """Return the names of a table's hidden columns."""
        hidden = []
        for one in fields:
            # A date that MySQL renders as text is still a date.
            dtype = NAIVE if one.carrier == Carrier.TEXT else one.dtype
            if self.hides(table, one.name, dtype):
                hidden.append(one.name)
        return hidden

    def tokens(self, table: str, column: str, values: pa.Array) -> pa.Array:
        """Return each value's token, a string; NULL stays NULL, and each value is hashed once."""
        if pa.types.is_temporal(values.type):
            # Python's own dates end sooner than Arrow's.
            values = values.cast(pa.int64())
        keyed = self._keyed.copy()
        keyed.update(token_group(table, column).encode())
        empty = hashlib.blake2b(key=keyed.digest(), digest_size=_TOKEN_BYTES)
        encoded = values.dictionary_encode()
        tokens = []
        for value in encoded.dictionary.to_pylist():
            token = empty.copy()
            token.update(value if isinstance(value, bytes) else str(value).encode())
            tokens.append(PREFIX + token.hexdigest())
        return pa.array(tokens, pa.large_string()).take(encoded.indices)


def token_group(table: str, column: str) -> str:
    """Return what a column's tokens are shared by: a group of columns that join, or it alone.

    Examples
    --------
    >>> token_group("devices", "auth_id") == token_group("client_updates_state", "auth_key_id")
    True
    >>> token_group("users", "phone") == token_group("auth_phone_transactions", "phone_number")
    False
    """
    name = f"{table}.{column}".lower()
    joins = (group for group, pattern in _GROUPS.items() if pattern.fullmatch(name))
    return next(joins, f"{table!r} {column!r}")
