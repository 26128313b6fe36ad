"""Write the history of a night into data/history, as ``imlib watch --into`` keeps one.

The sample world's users come and go until the world's instant; server 3 dies at 02:41. The same
history comes out every time.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pandas as pd

import imlib
from imlib.sample import NOW
from imlib.watch import History
from tools import command_line
from tools.notebook import ROOT
from tools.sample_history import DEVICES, SESSIONS, USERS

DATA: Final = ROOT / "data" / "history"

_BEGINS: Final = NOW - 9 * 3600 - 533
"""18:00, the evening before the world's instant."""
_DIES: Final = NOW - 28 * 60 + 7
"""02:41, when server 3 dies; it is back five minutes later."""
_BACK: Final = _DIES + 300
_EVERY_S: Final = 60


def _stays() -> Iterator[tuple[imlib.SessionStatus, int, int]]:
    """Yield each session with the seconds at which it begins and ends."""
    chance = random.Random(3)
    for status, _ in SESSIONS:
        if 0 <= NOW - status.now < 17:
            begins = NOW - chance.randrange(900, 6 * 3600)
            if status.server_id == 3:
                # Who was on server 3 when it died came back there, or was cut off for good.
                yield status, min(begins, _DIES - 600), _DIES
                yield status, _BACK + chance.randrange(120), NOW
            else:
                yield status, begins, NOW
    netlib = 9000
    for user_id in USERS:
        for key in DEVICES[user_id]:
            for _ in range(3):
                netlib += 1
                begins = _BEGINS + chance.randrange(-1800, 6 * 3600)
                ends = min(begins + chance.randrange(600, 4 * 3600), _DIES - 900)
                server = chance.randrange(1, 5)
                session = chance.getrandbits(63)
                yield imlib.SessionStatus(user_id, key, session, server, netlib, 0), begins, ends
    for user_id in (4, 11):
        key, session = DEVICES[user_id][0], chance.getrandbits(63)
        yield imlib.SessionStatus(user_id, key, session, 3, netlib, 0), _DIES - 1200, _DIES


def generate(folder: Path) -> None:
    """Watch the night by the minute, and keep its history: a part for each hour."""
    stays, clock = list(_stays()), imlib.ManualClock(_BEGINS)
    with (
        tempfile.TemporaryDirectory() as minutes,
        imlib.connect("fakeredis://", "embedded://", clock=clock) as deployment,
    ):

        def report(_: float) -> None:
            clock.advance(_EVERY_S)
            now = int(clock())
            there = [one for one, begins, ends in stays if begins <= now < ends]
            deployment.redis.flushdb()
            deployment.online_status.renew([replace(one, now=now) for one in there])

        report(0)
        history = History(minutes)
        for look in deployment.watch(_EVERY_S, clock=lambda: 0, sleep=report):
            history.add(look)
            if look.at >= NOW - _EVERY_S:
                break
        history.write()
        parts = pd.concat(map(pd.read_parquet, sorted(Path(minutes).glob("*.parquet"))))
    folder.mkdir(parents=True)
    for number, (_, hour) in enumerate(parts.groupby(parts["seen_at"].dt.floor("h"))):
        hour.to_parquet(folder / f"part-{number:05d}.parquet", compression="zstd", index=False)


def main() -> None:
    """Write the files."""
    command_line("tools.watched_history", __doc__).parse_args()
    shutil.rmtree(DATA, ignore_errors=True)
    generate(DATA)


if __name__ == "__main__":
    main()
