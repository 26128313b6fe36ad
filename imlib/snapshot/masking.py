"""Which columns a snapshot hides, and the tokens that replace their values."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from typing import Any, Final

import pyarrow as pa

from imlib.errors import InvalidValueError
from imlib.snapshot.description import NAIVE, Carrier, Field

# Text in the 20 tables that is no secret, and not a person's own words, number or address.
_SAFE: Final = frozenset(
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
# Secret whatever their type, in any table: whoever holds one can act as somebody else.
_SECRET: Final = re.compile(
    r"(.*_)?(access_hash|salt|code|pin|secret|token|password|passwd)", re.IGNORECASE
)
_TOKEN_BYTES: Final = 10
_SHORTEST_KEY: Final = 16
_PREFIX: Final = "masked:"


class Masking:
    """Hides columns under one key: equal values get equal tokens, in any column of any table.

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
    >>> masking.tokens(pa.array(["+7", None, b"+7".decode()])).to_pylist()
    ['masked:a9012c674ea97b447119', None, 'masked:a9012c674ea97b447119']
    """

    __slots__ = ("_keyed", "_unmask", "key_id")

    def __init__(self, key: bytes | None = None, unmask: Collection[str] = ()) -> None:
        if not isinstance(key, bytes | None):
            raise InvalidValueError(
                f"mask_key is {type(key).__name__}: allowed is bytes, {_SHORTEST_KEY} or more"
            )
        if key is not None and len(key) < _SHORTEST_KEY:
            raise InvalidValueError(
                f"mask_key has {len(key)} bytes: allowed are {_SHORTEST_KEY} or more, kept secret"
            )
        # Hashed first: a caller's key may be longer than a keyed hash takes.
        given = secrets.token_bytes(32) if key is None else key
        key = hashlib.blake2b(given, digest_size=64).digest()
        self._keyed = hashlib.blake2b(key=key, digest_size=_TOKEN_BYTES)
        self.key_id = hashlib.blake2b(
            key=key, digest_size=_TOKEN_BYTES, person=b"imlib key id"
        ).hexdigest()
        self._unmask = frozenset(unmask)

    def hides(self, table: str, column: str, dtype: pa.DataType) -> bool:
        """Return whether a column is hidden: text, binary or secret, unless safe or unmasked."""
        name = f"{table}.{column}"
        if name in self._unmask:
            return False
        if pa.types.is_large_string(dtype) or pa.types.is_large_binary(dtype):
            return name not in _SAFE
        return _SECRET.fullmatch(column) is not None

    def hidden(self, table: str, fields: Sequence[Field]) -> list[str]:
        """Return the names of a table's hidden columns."""
        hidden = []
        for one in fields:
            # A date that MySQL renders as text is still a date.
            dtype = NAIVE if one.carrier == Carrier.TEXT else one.dtype
            if self.hides(table, one.name, dtype):
                hidden.append(one.name)
        return hidden

    def tokens(self, values: pa.Array) -> pa.Array:
        """Return each value's token, a string; NULL stays NULL, and each value is hashed once."""
        encoded = values.dictionary_encode()
        tokens = map(self._token, encoded.dictionary.to_pylist())
        return pa.array(tokens, pa.large_string()).take(encoded.indices)

    def _token(self, value: Any) -> str:
        keyed = self._keyed.copy()
        keyed.update(value if isinstance(value, bytes) else str(value).encode())
        return _PREFIX + keyed.hexdigest()
