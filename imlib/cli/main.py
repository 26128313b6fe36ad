"""The command line: quick looks at a deployment, by people or scripts."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import imlib
from imlib.cli.output import FAILED, NO, YES, add_format, add_sample, complain, connected, show
from imlib.cli.snapshots import add_commands
from imlib.errors import CodecError, ConfigurationError, ImlibError
from imlib.presence import measure_skew
from imlib.session_status import check_width

_DESCRIPTION = """\
Look at an IM server's state: who is online, what Redis and the tables hold, what is wrong in it,
what changed.

Servers are named by environment variables, so that no password stands in a list of processes:
  IMLIB_REDIS_URL     redis://user:password@host:6379/0, rediss://..., unix:///path/to/socket
  IMLIB_DATABASE_URL  mysql+pymysql://user:password@host/database, sqlite:///file
  IMLIB_REPLICA_URL   a replica of the database, for reads
Without any: --sample asks a small made-up world on a private server, at its one instant.
"""
_EPILOG = """\
exit codes: 0 yes, whole, valid, nothing wrong, no difference; 1 no, incomplete, malformed,
something wrong, some difference; 2 it could not be told, the reason is on stderr

examples:
  imlib servers
  imlib who 7 8 9
  imlib who 7 --format json | jq '.[].server_id'
  imlib who 1 5 --sample
  imlib snapshot monday
  imlib audit monday
  imlib audit --sample
  imlib diff monday tuesday
  imlib decode -- -9223372036854775808_9223372036854775807 1512270533_1_42
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default the process's own.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a letter is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            options = _parser().parse_args(arguments)
            code = int(options.run(options))
        finally:
            if sys.stdout is not None:
                # An error is handled here; when the interpreter ends it would be a traceback.
                sys.stdout.flush()
        return code
    except ImlibError as problem:
        complain(problem)
        return FAILED
    except OSError as problem:
        # A broken pipe is no failure: its reader has read enough.
        if not isinstance(problem, BrokenPipeError):
            complain(f"reading or writing failed: {problem}")
        # When the interpreter ends, it flushes again what is left, and would complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130
    except Exception:
        # A fault in imlib: shown whole, and with another exit code than a finding's.
        traceback.print_exc()
        return FAILED


def _parser() -> argparse.ArgumentParser:
    def command(name: str, run: Any, summary: str, detail: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=summary,
            description=detail,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run)
        return added

    parser = argparse.ArgumentParser(
        prog="imlib",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"imlib {imlib.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    servers = command(
        "servers",
        _servers,
        "what the variables lead to: kinds, versions, lease, clock skew",
        "Connect to the servers that the variables name and say what was found there.\n\n"
        "example:\n  imlib servers",
    )
    who = command(
        "who",
        _who,
        "by which sessions users are online, and what under their keys is malformed",
        "Say by which sessions users are online now, by Redis's own clock.\n\n"
        "JSON and CSV have a row a session, and none for who is offline. The database is not "
        "asked.\n\n"
        "Exit code 0: every one is online; 1: somebody is not; 2: it could not be told.\n\n"
        "example:\n  imlib who 7 8 --format csv",
    )
    who.add_argument("users", metavar="USER", type=int, nargs="+", help="a user id, an int32")
    add_format(who)
    for asking in (servers, who):
        add_sample(asking)

    add_commands(command)

    sample = command(
        "sample",
        _sample,
        "write a small made-up world, with its planted faults, into empty servers or into files",
        "Write the sample world into the servers that the variables name; refused unless Redis "
        "and all 20 tables\n"
        "are empty. Presence is a lease: most of it lapses after 15 s, as it would in life.\n\n"
        "examples:\n  imlib sample\n  imlib sample --export folder",
    )
    sample.add_argument(
        "--export", metavar="FOLDER", type=Path, help="write files instead; no server is needed"
    )

    decode = command(
        "decode",
        _decode,
        "what a hash field and value mean; needs no server",
        "Decode one entry of a user's hash, in either layout.\n\nexample:\n"
        "  imlib decode -- -5_6 1512270533_1_42     (-- because the field begins with a minus)",
    )
    decode.add_argument("field", metavar="FIELD", help="such as 5_6 or 5@6")
    decode.add_argument("value", metavar="VALUE", help="such as 1512270533_1_42 or 1@42@1512270533")
    decode.add_argument(
        "--user", type=int, default=0, help="whose entry it is, for the output (default: 0)"
    )
    return parser


def _servers(options: argparse.Namespace) -> int:
    with connected(options) as deployment:
        skew, _ = measure_skew(deployment.redis)
        print(f"redis     {deployment.server} at {deployment.redis_url}")
        if options.sample or os.environ.get("IMLIB_DATABASE_URL"):
            print(f"database  {deployment.engine.dialect.name} at {deployment.database_url}")
        print(f"lease     {deployment.lease}")
        print(f"skew      this machine's clock is {skew:+.3f} s from Redis's (2 s are allowed)")
    return YES


def _who(options: argparse.Namespace) -> int:
    with connected(options, database=False) as deployment:
        online = deployment.online_status.get_online_by_user_id_list(options.users)
        malformed = deployment.online_status.malformed(options.users)
    if options.format != "table":
        rows = [astuple(status) for sessions in online.values() for status in sessions]
        show(list(imlib.SessionStatus.__dataclass_fields__), rows, options.format)
    else:
        for user_id, sessions in online.items():
            print(f"user {user_id}: {'online' if sessions else 'offline'}")
            for one in sessions:
                print(
                    f"  auth key {one.auth_key_id}, session {one.session_id}: "
                    f"server {one.server_id}, connection {one.netlib_session_id}, reported at "
                    f"{one.now}"
                )
    for problem in malformed:
        complain(f"{problem.key!r} {problem.field!r}: {problem.reason}")
    return YES if all(online.values()) else NO


def _sample(options: argparse.Namespace) -> int:
    from imlib.sample import PLANTED, folder

    said = f"the sample world, with {len(PLANTED)} planted faults, is in"
    if options.export is not None:
        try:
            shutil.copytree(folder(), options.export, dirs_exist_ok=True)
        except OSError as problem:
            raise ConfigurationError(
                f"{options.export} cannot be written: {problem.strerror}"
            ) from problem
        print(said, options.export)
        return YES
    absent = [
        name for name in ("IMLIB_REDIS_URL", "IMLIB_DATABASE_URL") if not os.environ.get(name)
    ]
    if absent:
        raise ConfigurationError(
            f"set {' and '.join(absent)} to an empty server: what is not named would be private "
            "to this command and gone with it. imlib sample --export FOLDER writes files instead"
        )
    with imlib.connect() as deployment:
        deployment.load_sample()
        print(said, deployment.database_url)
        print(f"and in {deployment.redis_url}, where most sessions lapse within 15 s")
    return YES


def _decode(options: argparse.Namespace) -> int:
    try:
        check_width("user_id", options.user)
    except CodecError as refusal:
        raise ConfigurationError(f"--user: {refusal.reason}") from None
    try:
        status = imlib.SessionStatus.from_key_value(
            options.field, options.value, user_id=options.user
        )
    except CodecError as refusal:
        complain(refusal.reason)
        return NO
    for name, value in asdict(status).items():
        print(f"{name:18}{value}")
    return YES
