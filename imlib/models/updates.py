"""Updates: how far a user's numbered boxes have come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imlib.models.sql import check_int

if TYPE_CHECKING:
    from imlib.connect import Clients
    from imlib.models.message import MessageModel

__all__ = ["UpdatesModel", "UpdatesState"]


@dataclass(frozen=True, slots=True)
class UpdatesState:
    """How far a user's updates have come: ``pts`` is the number of the newest box, 1 if there is none."""

    auth_key_id: int
    user_id: int
    pts: int
    qts: int
    seq: int
    date: int
    unread_count: int


class UpdatesModel:
    """What a client compares its own state with, to see whether it missed something."""

    def __init__(self, clients: Clients, messages: MessageModel) -> None:
        self._clients, self._messages = clients, messages

    def get_state(self, auth_key_id: int, user_id: int) -> UpdatesState:
        """Return a user's state for one device: the last pts, or 1 if there is none; the deployed server's qts and seq.

        Parameters
        ----------
        auth_key_id : int
            int64; the device. The state is the user's, whatever the device has read.
        user_id : int
            int32.
        """
        check_int("auth_key_id", auth_key_id, 64)
        pts = self._messages.get_last_pts_by_user_id(user_id) or 1
        return UpdatesState(auth_key_id, user_id, pts, qts=0, seq=1, date=int(self._clients.clock()), unread_count=0)
