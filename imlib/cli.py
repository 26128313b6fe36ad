"""The command line: quick looks at a deployment, for people and for scripts. Only ``imlib sample`` writes."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import imlib
from imlib.connect import EMBEDDED
from imlib.errors import CodecError, ConfigurationError, ImlibError
from imlib.presence import measure_skew

__all__ = ["main"]

FOUND: Final = 0
NOT_FOUND: Final = 1
FAILED: Final = 2

_DESCRIPTION = """\
Look at an IM server's state: who is online, and what an entry in Redis says.

Servers are named by environment variables, so that no password stands in a list of processes:
  IMLIB_REDIS_URL     redis://user:password@host:6379/0, rediss://..., unix:///path/to/socket
  IMLIB_DATABASE_URL  mysql+pymysql://user:password@host/database, sqlite:///file
  IMLIB_REPLICA_URL   a replica of the database, for reads
Without any: --sample asks a small made-up world on a private server, at its one instant.
"""
_EPILOG = """\
exit codes: 0 yes, found, valid; 1 no, not found, malformed; 2 it could not be told, the reason is on stderr

examples:
  imlib servers
  imlib who 7 8 9
  imlib who 7 --format json | jq '.[].server_id'
  imlib who 1 5 --sample
  imlib decode -- -9223372036854775808_9223372036854775807 1512270533_1_42
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default the process's own.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ImlibError as problem:
        print(f"imlib: {problem}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # Whoever read has read enough. The interpreter would complain of it once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    def command(name: str, run: Any, summary: str, detail: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name, help=summary, description=detail, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        added.set_defaults(run=run)
        return added

    parser = argparse.ArgumentParser(
        prog="imlib", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"imlib {imlib.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    servers = command(
        "servers",
        _servers,
        "what the variables lead to: kinds, versions, lease, clock skew",
        "Connect to the servers that the variables name and say what was found there.",
    )
    who = command(
        "who",
        _who,
        "by which sessions users are online, and what under their keys is malformed",
        "Say by which sessions users are online now, by Redis's own clock.\n\n"
        "Exit code 0: every one is online; 1: somebody is not.\n\nexample:\n  imlib who 7 8 --format csv",
    )
    who.add_argument("users", metavar="USER", type=int, nargs="+", help="a user id, an int32")
    who.add_argument("--format", choices=["table", "json", "csv"], default="table", help="table by default")

    for asking in (servers, who):
        asking.add_argument("--sample", action="store_true", help="ask the sample world; no server is needed")

    sample = command(
        "sample",
        _sample,
        "write a small made-up world, with its planted faults, into empty servers or into files",
        "Write the sample world into the servers that the variables name; refused unless Redis and all 20 tables\n"
        "are empty. Presence is a lease: most of it lapses after 15 s, as it would in life.\n\n"
        "examples:\n  imlib sample\n  imlib sample --export folder",
    )
    sample.add_argument("--export", metavar="FOLDER", type=Path, help="write files instead; no server is needed")

    decode = command(
        "decode",
        _decode,
        "what a hash field and value mean; needs no server",
        "Decode one entry of a user's hash, in either layout.\n\nexample:\n"
        "  imlib decode -- -5_6 1512270533_1_42     (-- because the field begins with a minus)",
    )
    decode.add_argument("field", metavar="FIELD", help="such as 5_6 or 5@6")
    decode.add_argument("value", metavar="VALUE", help="such as 1512270533_1_42 or 1@42@1512270533")
    decode.add_argument("--user", type=int, default=0, help="whose entry it is, for the output (default: 0)")
    return parser


def _connected(options: argparse.Namespace) -> imlib.Deployment:
    if options.sample:
        return _sample_world()
    if not os.environ.get("IMLIB_REDIS_URL"):
        raise ConfigurationError(
            "no server is named, and a private one would be empty: set IMLIB_REDIS_URL, such as "
            "redis://localhost:6379/0 (and IMLIB_DATABASE_URL for tables), or ask the sample world with --sample; "
            "imlib --help shows the forms"
        )
    return imlib.connect(read_only=True)


def _sample_world() -> imlib.Deployment:
    from imlib.sample import NOW

    # connect would read from it, and it is none of the private database.
    os.environ.pop("IMLIB_REPLICA_URL", None)
    deployment = imlib.connect(EMBEDDED, EMBEDDED, scratch=True, clock=imlib.TurnedClock(NOW))
    deployment.load_sample()
    return deployment


def _servers(options: argparse.Namespace) -> int:
    with _connected(options) as deployment:
        skew, _ = measure_skew(deployment.redis)
        print(f"redis     {deployment.server} at {deployment.redis_url}")
        if options.sample or os.environ.get("IMLIB_DATABASE_URL"):
            print(f"database  {deployment.engine.dialect.name} at {deployment.database_url}")
        print(f"lease     {deployment.lease}")
        print(f"skew      this machine's clock is {skew:+.3f} s from Redis's (2 s are allowed)")
    return FOUND


def _who(options: argparse.Namespace) -> int:
    with _connected(options) as deployment:
        online = deployment.online_status.get_online_by_user_id_list(options.users)
        malformed = deployment.online_status.malformed(options.users)
    rows = [asdict(status) for sessions in online.values() for status in sessions]
    if options.format == "json":
        print(json.dumps(rows, indent=1))
    elif options.format == "csv":
        writer = csv.DictWriter(sys.stdout, list(imlib.SessionStatus.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(rows)
    else:
        for user_id, sessions in online.items():
            print(f"user {user_id}: {'online' if sessions else 'offline'}")
            for one in sessions:
                print(
                    f"  auth key {one.auth_key_id}, session {one.session_id}: "
                    f"server {one.server_id}, connection {one.netlib_session_id}, reported at {one.now}"
                )
    for problem in malformed:
        print(f"imlib: {problem.key!r} {problem.field!r}: {problem.reason}", file=sys.stderr)
    return FOUND if all(online.values()) else NOT_FOUND


def _sample(options: argparse.Namespace) -> int:
    from imlib.sample import PLANTED, export

    if options.export is not None:
        try:
            export(options.export)
        except OSError as problem:
            raise ConfigurationError(f"{options.export} cannot be written: {problem.strerror}") from problem
        print(f"the sample world, with {len(PLANTED)} planted faults, is in {options.export}")
        return FOUND
    absent = [name for name in ("IMLIB_REDIS_URL", "IMLIB_DATABASE_URL") if not os.environ.get(name)]
    if absent:
        raise ConfigurationError(
            f"set {' and '.join(absent)} to an empty server: what is not named would be private to this command and "
            "gone with it. imlib sample --export FOLDER writes files instead"
        )
    with imlib.connect() as deployment:
        deployment.load_sample()
        print(f"the sample world, with {len(PLANTED)} planted faults, is in {deployment.database_url}")
        print(f"and in {deployment.redis_url}, where most sessions lapse within 15 s")
    return FOUND


def _decode(options: argparse.Namespace) -> int:
    try:
        status = imlib.SessionStatus.from_key_value(options.field, options.value, user_id=options.user)
    except CodecError as refusal:
        print(f"imlib: {refusal.reason}", file=sys.stderr)
        return NOT_FOUND
    for name, value in asdict(status).items():
        print(f"{name:18}{value}")
    return FOUND
