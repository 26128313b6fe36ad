"""Presence: our writes and reads against the deployed server's way, written with plain redis-py."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from urllib.parse import unquote

import imlib
from benchmarks.measure import Row, medians
from imlib.deployment import Deployment
from imlib.session_status import WRITTEN, Layout, SessionStatus

SESSIONS = 1000
WRITES = 500
NOW = 1512270533


def run() -> list[Row]:
    """Measure set_online, set_offline, renew and the batch read on a private real server."""
    with imlib.connect(
        redis_url="embedded://", database_url="embedded://", clock=lambda: NOW
    ) as deployment:
        rng = random.Random(NOW)
        statuses = [
            SessionStatus(
                user_id,
                rng.randrange(-(2**63), 2**63),
                rng.randrange(-(2**63), 2**63),
                1,
                user_id,
                NOW,
            )
            for user_id in range(SESSIONS)
        ]
        return [
            _set_online(deployment, statuses[:WRITES]),
            _set_offline(deployment, statuses[:WRITES]),
            _renew(deployment, statuses),
            _read(deployment, statuses),
        ]


def _deployed_set_online(deployment: Deployment, statuses: list[SessionStatus]) -> None:
    redis = deployment.redis
    for status in statuses:
        redis.hset(
            status.to_key(), status.to_field(Layout.DEPLOYED), status.to_value(Layout.DEPLOYED)
        )
        redis.expire(status.to_key(), 15)


def _set_online(deployment: Deployment, statuses: list[SessionStatus]) -> Row:
    def ours() -> None:
        for status in statuses:
            deployment.online_status.set_online(status)

    one = b"".join(
        _packed("HSET", statuses[0].to_key(), statuses[0].to_field(), statuses[0].to_value())
    )
    floor = _bare(deployment, [one] * len(statuses), 1)
    times = medians(
        [ours, lambda: _deployed_set_online(deployment, statuses), floor], units=len(statuses)
    )
    return Row(
        "set_online, a session",
        times[0],
        times[1],
        "HSET, EXPIRE",
        times[2],
        "HSET over a bare socket",
        "1.5 times",
    )


def _set_offline(deployment: Deployment, statuses: list[SessionStatus]) -> Row:
    one = b"".join(
        _packed("HDEL", statuses[0].to_key(), *(statuses[0].to_field(layout) for layout in WRITTEN))
    )

    def ours() -> None:
        for status in statuses:
            deployment.online_status.set_offline(status)

    def deployed() -> None:
        for status in statuses:
            fields = (status.to_field(layout) for layout in WRITTEN)
            deployment.redis.hdel(status.to_key(), *fields)

    floor = _bare(deployment, [one] * len(statuses), 1)
    times = medians(
        [ours, deployed, floor],
        units=len(statuses),
        before=lambda: deployment.online_status.renew(statuses),
    )
    return Row(
        "set_offline, a session",
        times[0],
        times[1],
        "HDEL, whatever the connection",
        times[2],
        "HDEL over a bare socket",
    )


def _renew(deployment: Deployment, statuses: list[SessionStatus]) -> Row:
    one = b"".join(
        _packed("HSET", statuses[0].to_key(), statuses[0].to_field(), statuses[0].to_value())
    )
    floor = _bare(deployment, [one * len(statuses)], len(statuses))
    times = medians(
        [
            lambda: deployment.online_status.renew(statuses),
            lambda: _deployed_set_online(deployment, statuses),
            floor,
        ]
    )
    return Row(
        f"renew of {len(statuses)} sessions",
        times[0],
        times[1],
        "HSET, EXPIRE each",
        times[2],
        "as many HSETs at once over a bare socket",
        "20 times",
    )


def _read(deployment: Deployment, statuses: list[SessionStatus]) -> Row:
    deployment.redis.flushdb()
    deployment.online_status.renew(statuses)
    for status in statuses:
        deployment.redis.persist(status.to_key())
        if deployment.lease == "field":
            deployment.redis.hpersist(status.to_key(), status.to_field())
    users = [status.user_id for status in statuses]

    def deployed() -> dict[int, list[SessionStatus]]:
        found = {}
        for user_id in users:
            entries = deployment.redis.hgetall(f"online_{user_id}")
            sessions = [
                SessionStatus.from_key_value(field, value, user_id=user_id)
                for field, value in entries.items()
            ]
            found[user_id] = [status for status in sessions if status.now + 17 > NOW]
        return found

    def ours() -> dict[int, list[SessionStatus]]:
        return deployment.online_status.get_online_by_user_id_list(users)

    if ours() != deployed() or sum(map(len, ours().values())) != len(statuses):
        raise AssertionError(
            "the two sides do not read the same sessions: the comparison would mean nothing"
        )
    one = b"".join(b"".join(_packed("HGETALL", status.to_key())) for status in statuses)
    times = medians([ours, deployed, _bare(deployment, [one], len(statuses))])
    return Row(
        f"batch read of {len(users)} users",
        times[0],
        times[1],
        "HGETALL a user",
        times[2],
        "the HGETALLs at once over a bare socket, not decoded",
        "12 times",
    )


def _packed(*words: str) -> list[bytes]:
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word.encode()) for word in words]
    return parts


def _bare(deployment: Deployment, requests: list[bytes], replies: int) -> Callable[[], None]:
    """Return a call that sends requests, each answered before the next, and reads ``replies``
    replies to each.
    """
    import hiredis

    connection = socket.socket(socket.AF_UNIX)
    connection.connect(unquote(deployment.redis_url.reveal().removeprefix("unix://")))

    def exchange() -> None:
        reader = hiredis.Reader()
        for request in requests:
            connection.sendall(request)
            missing = replies
            while missing:
                reply = reader.gets()
                if reply is False:
                    reader.feed(connection.recv(1 << 16))
                else:
                    missing -= 1

    return exchange
