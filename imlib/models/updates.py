"""Updates: the number that a user's boxes have reached."""

from __future__ import annotations

from dataclasses import dataclass

from imlib.context import Context
from imlib.models.base import Model
from imlib.models.message import MessageModel
from imlib.validation import check_int


@dataclass(frozen=True, slots=True)
class UpdatesState:
    """A user's state: ``pts`` is that of the newest box, 0 without one."""

    auth_key_id: int
    user_id: int
    pts: int
    qts: int
    seq: int
    date: int
    unread_count: int


class UpdatesModel(Model):
    """The state that a client compares with its own, to see whether it missed something."""

    def __init__(self, context: Context, messages: MessageModel) -> None:
        super().__init__(context)
        self._messages = messages

    def get_state(self, auth_key_id: int, user_id: int) -> UpdatesState:
        """Return a user's state, whatever the device has read.

        A client that starts at pts 0 gets its first message, which has pts 1. qts and seq are
        always 0 and 1, as the deployed server's.
        """
        check_int("auth_key_id", auth_key_id, 64)
        pts = self._messages.get_last_pts_by_user_id(user_id)
        return UpdatesState(auth_key_id, user_id, pts, qts=0, seq=1, date=self._now, unread_count=0)
