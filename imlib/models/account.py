"""Accounts: devices that get pushes, notify settings, privacy."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from imlib.constants import PeerType, TokenType
from imlib.errors import InvalidValueError
from imlib.models.base import Model, at, check_values, insert, lock_users, upsert
from imlib.models.records import Device, DeviceState, NotifySettings, Peer, Privacy, check_peer
from imlib.validation import check_member

_DEVICES, _SETTINGS = Device.table, NotifySettings.table
_UNREGISTER = (
    _DEVICES.update()
    .where(_DEVICES.c.state.in_([DeviceState.REGISTERED, DeviceState.REGISTERED_AGAIN]))
    .values(state=DeviceState.UNREGISTERED.value)
)
_NOTIFY_PEERS = tuple(kind for kind in PeerType if kind > PeerType.SELF)
_DEFAULTS = {"show_previews": 1, "silent": 0, "mute_until": 0, "sound": "default", "is_deleted": 0}


class AccountModel(Model):
    """Operations on ``devices``, ``user_notify_settings`` and ``user_privacys``."""

    def register_device(
        self, auth_key_id: int, user_id: int, token_type: int, token: str
    ) -> Device:
        """Register a push token for an auth key, and unregister it for all others.

        A device is an auth key, a token type and a token, compared byte by byte. A known one gets
        its new user, and state 1.

        Parameters
        ----------
        auth_key_id, user_id : int
        token_type : TokenType
        token : str
            1 to 255 characters; a secret.
        """
        row = {"auth_id": auth_key_id, "user_id": user_id, "token_type": token_type, "token": token}

        def work(connection: sa.Connection) -> Device:
            same = _token(connection, token_type, token)
            check_values(connection, _DEVICES, row)
            lock_users(connection, [user_id])
            mine = at(_DEVICES, auth_id=auth_key_id)
            connection.execute(_UNREGISTER.where(same, ~mine))
            again = {"user_id": user_id, "state": DeviceState.REGISTERED_AGAIN.value}
            if not connection.execute(_DEVICES.update().where(same, mine).values(again)).rowcount:
                insert(connection, _DEVICES, row | {"state": DeviceState.REGISTERED.value})
            devices = Device.select(auth_id=auth_key_id).where(same).order_by(_DEVICES.c.id)
            return Device.read(connection, devices)[0]

        return self._write("register_device", work)

    def unregister_device(
        self, token_type: int, token: str, auth_key_id: int | None = None
    ) -> bool:
        """Unregister a push token, for one auth key or for all; return whether it was registered.

        Its state becomes `DeviceState.UNREGISTERED`; the deployed server left the token type there.
        """

        def work(connection: sa.Connection) -> bool:
            update = _UNREGISTER.where(_token(connection, token_type, token))
            if auth_key_id is not None:
                update = update.where(at(_DEVICES, auth_id=auth_key_id))
            return connection.execute(update).rowcount > 0

        return self._write("unregister_device", work)

    def get_devices(self, user_id: int) -> list[Device]:
        """Return a user's devices, unregistered ones too, oldest first."""
        return self._read(Device, Device.select(user_id=user_id).order_by(_DEVICES.c.id))

    def get_notify_settings(self, user_id: int, peer: Peer) -> NotifySettings:
        """Return a user's settings for a peer; without a row ``is_empty`` is true."""
        where = check_peer(peer, _NOTIFY_PEERS).columns()
        settings = NotifySettings.select(user_id=user_id, **where, is_deleted=0)
        none = NotifySettings(user_id, peer.peer_type, peer.peer_id, is_empty=True)
        return next(iter(self._read(NotifySettings, settings)), none)

    def set_notify_settings(
        self,
        user_id: int,
        peer: Peer,
        *,
        show_previews: bool = True,
        silent: bool = False,
        mute_until: int = 0,
        sound: str = "default",
    ) -> NotifySettings:
        """Set a user's settings for a peer, and return them.

        Parameters
        ----------
        user_id : int
        peer : Peer
            A user, chat or channel, or all of a kind.
        show_previews, silent : bool
        mute_until : int
            Unix seconds; 0: not muted.
        sound : str
            Up to 255 characters.
        """
        values: dict[str, Any] = {
            "show_previews": bool(show_previews),
            "silent": bool(silent),
            "mute_until": mute_until,
            "sound": sound,
        }

        def work(connection: sa.Connection) -> None:
            lock_users(connection, [user_id])
            self._put(connection, user_id, peer, values | {"is_deleted": 0})

        self._write("set_notify_settings", work)
        return NotifySettings(user_id, PeerType(peer.peer_type), peer.peer_id, **values)

    def reset_notify_settings(self, user_id: int) -> None:
        """Delete a user's settings for single peers, and reset those for all peers."""
        mine, everyone = at(_SETTINGS, user_id=user_id), at(_SETTINGS, peer_type=PeerType.ALL)

        def work(connection: sa.Connection) -> None:
            lock_users(connection, [user_id])
            connection.execute(_SETTINGS.update().where(mine, ~everyone).values(is_deleted=1))
            if not connection.execute(
                _SETTINGS.update().where(mine, everyone).values(_DEFAULTS)
            ).rowcount:
                self._put(connection, user_id, Peer(PeerType.ALL, 0), _DEFAULTS)

        self._write("reset_notify_settings", work)

    def get_privacy(self, user_id: int) -> Privacy | None:
        """Return a user's privacy settings, or None if nothing was ever set.

        The password and the recovery address are not read, only whether there is a password.
        """
        has_password = (Privacy.table.c.password != "").label("has_password")
        privacy = Privacy.select(user_id=user_id).add_columns(has_password)
        return next(iter(self._read(Privacy, privacy)), None)

    def _put(
        self, connection: sa.Connection, user_id: int, peer: Peer, values: dict[str, Any]
    ) -> None:
        row = {"user_id": user_id} | check_peer(peer, _NOTIFY_PEERS).columns() | values
        upsert(connection, _SETTINGS, [row], lambda new: {name: new[name] for name in values})


def _token(connection: sa.Connection, token_type: int, token: str) -> sa.ColumnElement[bool]:
    """Return the condition that a device has this token."""
    check_member("token_type", token_type, TokenType)
    if not token:
        raise InvalidValueError("token is empty; allowed are 1 to 255 characters")
    check_values(connection, _DEVICES, {"token": token})
    # The column's collation may fold case or ignore spaces: it finds the rows, bytes decide.
    return sa.and_(
        _DEVICES.c.token_type == int(token_type),
        _DEVICES.c.token == token,
        sa.cast(_DEVICES.c.token, sa.LargeBinary) == token.encode(),
    )
