"""What happens in the sample world while somebody looks at it."""

from __future__ import annotations

import imlib
from imlib.models.records import Peer


def meanwhile(world: imlib.Deployment | None, now: float) -> None:
    """Let a little happen in the sample world; servers that are named are left alone.

    Parameters
    ----------
    world : Deployment or None
        The sample world, which can write; None for servers that were named.
    now : float
        Unix seconds.
    """
    if world is None:
        return
    presence, now = world.online_status, int(now)
    moving = min(presence.get_online_by_user_id(8), key=lambda status: status.server_id)
    presence.set_online(imlib.SessionStatus(2, -7722173807013937249, 1, 1, 2001, now))
    presence.set_online(imlib.SessionStatus(8, moving.auth_key_id, moving.session_id, 2, 2002, now))
    for status in presence.get_online_by_user_id(6):
        presence.set_offline(status)
    world.messages.send_message(5, Peer.user(4), "Still there?", random_id=1)
