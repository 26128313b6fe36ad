"""The command ``watch``: how many are online, look after look, and a history of it."""

from __future__ import annotations

import argparse
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from imlib.cli.output import YES, add_sample, complain, connected, moment, say, to_user_id
from imlib.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from imlib.watch import Look

_SERVERS = 10
_EVERY_S = 5


def add_watch(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``watch``."""
    watch = command("watch", _watch)
    watch.add_argument(
        "--every",
        metavar="SECONDS",
        type=float,
        default=_EVERY_S,
        help=f"from one look to the next (default: {_EVERY_S}); it rests at least as long as it "
        "looked",
    )
    watch.add_argument(
        "--user",
        metavar="ID",
        type=to_user_id,
        action="append",
        help="only this user, row by row; may come several times",
    )
    watch.add_argument(
        "--into",
        metavar="FOLDER",
        type=Path,
        help="keep a history there: a Parquet file per minute; one that is there is gone on with",
    )
    watch.add_argument("--looks", metavar="N", type=int, help="end after so many looks")
    add_sample(watch)


def _watch(options: argparse.Namespace) -> int:
    """Look at presence again and again: who is online on each server, who came, went and moved.

    Counts are printed per look, rows with --user alone, whose keys are then all that is read.
    Ctrl-C ends it. A history has who was there at first, then changes; a gap, while Redis is lost,
    is a row, and so is each server's count at the end of a part. So DuckDB answers since when, who
    was cut off and who was online by hour:
      SELECT max(seen_at) FROM 'f/*.parquet' WHERE user_id = 7 AND change IN ('online', 'came')
      SELECT * FROM 'f/*.parquet' WHERE change = 'went' AND strftime(seen_at, '%H:%M') = '02:41'
      SELECT date_trunc('hour', seen_at), server_id, max(sessions) FROM 'f/*.parquet'
        WHERE change = 'count' GROUP BY ALL

    Exit code 0: it was ended; 2: it could not look, or not keep what it saw.

    for example:
      imlib watch --every 10 --into history --looks 1
      imlib watch --user 7 --looks 1
    """
    from imlib.watch import History

    if options.looks is not None and options.looks < 1:
        raise ConfigurationError(f"--looks is {options.looks}: allowed is 1 or more")
    with connected(options, database=False) as deployment:
        history = History(options.into) if options.into else None
        try:
            for number, look in enumerate(deployment.watch(options.every, options.user), start=1):
                if history:
                    history.add(look)
                _tell(look, rows=bool(options.user))
                if number == options.looks or (history is None and _reader_left()):
                    break
        except KeyboardInterrupt:
            pass  # its usual end
        finally:
            if history:
                history.write()
                complain(f"kept in {options.into}")
    return YES


def _tell(look: Look, *, rows: bool) -> None:
    if look.gap:
        say(f"{moment(look.at)}  lost: {look.gap}")
    else:
        online = look.online
        largest = sorted(online, key=lambda server: (-online[server], server))
        each = ", ".join(f"server {server} {online[server]}" for server in largest[:_SERVERS])
        more = ", …" if len(largest) > _SERVERS else ""
        changes = ", ".join(
            f"{name} {len(frame)}"
            for name, frame in (("came", look.came), ("went", look.went), ("moved", look.moved))
        )
        total = f"online {sum(online.values())}"
        say(f"{moment(look.at)}  {total}{': ' if each else ''}{each}{more}; {changes}")
    for name in ("came", "went", "moved") if rows else ():
        for row in getattr(look, name).to_dict("records"):
            where = row.get("server_id") or f"{row['server_before']} to {row['server_after']}"
            said = f", last reported at {moment(row['now'])}" if name == "went" else ""
            say(
                f"  {name}: user {row['user_id']}, auth key {row['auth_key_id']}, session "
                f"{row['session_id']}, server {where}{said}"
            )
    sys.stdout.flush()


def _reader_left() -> bool:
    """Tell whether nobody reads what is printed any more."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
