"""Look at an IM server's state: who is online, what it holds, what is wrong in it, what changed.

Servers are named by environment variables, so that no password stands in a list of processes:
  IMLIB_REDIS_URL     redis://user:password@host:6379/0, rediss://..., unix:///path/to/socket
  IMLIB_DATABASE_URL  mysql+pymysql://user:password@host/database, sqlite:///file
  IMLIB_REPLICA_URL   a replica of the database, for reads
  IMLIB_ONLINE_TIMEOUT, IMLIB_CHECK_ONLINE_TIMEOUT
                      how long they lease presence, in seconds, if not for 15 and 17
Without any: --sample asks a small made-up world on a private server, at its one instant.

exit codes: 0 yes, whole, valid, nothing wrong, no difference; 1 no, incomplete, malformed,
something wrong, some difference; 2 it could not be told, the reason is on stderr

for example:
  imlib servers
  imlib who 7 8 9
  imlib who 7 --format json | jq '.[] | select(.online).server_id'
  imlib who 1 5 --sample
  imlib user 7
  imlib watch --looks 1
  imlib snapshot monday
  imlib audit monday
  imlib audit --sample
  imlib diff monday tuesday
  imlib decode -9223372036854775808_9223372036854775807 1512270533_1_42
"""

# The docstrings of this module and of the commands are what --help prints.
from __future__ import annotations

import argparse
import atexit
import os
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from inspect import getdoc
from itertools import chain
from pathlib import Path
from typing import NoReturn

import imlib
from imlib.cli.output import (
    FAILED,
    NO,
    YES,
    add_sample,
    complain,
    moment,
    say,
    standard_streams,
    to_user_id,
)
from imlib.cli.servers import servers
from imlib.cli.snapshots import add_commands
from imlib.cli.user import add_user
from imlib.cli.watch import add_watch
from imlib.cli.who import add_who
from imlib.errors import CodecError, ConfigurationError, FallbackWarning, ImlibError, printable
from imlib.session_status import check_width, layout_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default the process's own.
    """
    with standard_streams(), warnings.catch_warnings():
        # A library's warnings are for who calls it; imlib's own are told in one line.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", FallbackWarning)
        warnings.showwarning = lambda message, *_, **__: complain(
            str(message).removeprefix("imlib: ")
        )
        # A driver leaves its socket to the garbage collector where nobody answers.
        atexit.register(warnings.simplefilter, "ignore", ResourceWarning)
        try:
            try:
                options, unknown = _parser().parse_known_args(arguments)
                if unknown:
                    options.parser.unknown(unknown)
                return int(options.run(options))
            finally:
                # An error is handled here; when the interpreter ends it would be a traceback.
                sys.stdout.flush()
        except ImlibError as problem:
            complain(problem)
        except OSError as problem:
            complain(f"reading or writing failed: {problem}")
        except KeyboardInterrupt:
            return 130
        except Exception:  # a fault in imlib: shown whole, with another exit code than a finding's
            for line in traceback.format_exc().splitlines():
                complain(line)
    return FAILED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        if found:
            message += _meant([found[1]], re.findall(r"[\w-]+", found[2]))
        super().error(printable(message))

    def unknown(self, words: list[str]) -> NoReturn:
        """Refuse what this command does not know."""
        known = re.findall(r"--[\w-]+", self.format_usage())
        meant = _meant([word for word in words if word.startswith("--")], known)
        self.error(f"unrecognized arguments: {' '.join(words)}{meant}")


def _meant(given: list[str], known: list[str]) -> str:
    """Return the words that may have been meant by mistyped ones, as a question."""
    close = chain.from_iterable(get_close_matches(one, known, n=1) for one in given)
    meant = ", ".join(dict.fromkeys(close))
    return f": did you mean {meant}?" if meant else ""


def _parser() -> argparse.ArgumentParser:
    def command(name: str, run: Callable[..., int]) -> argparse.ArgumentParser:
        says = getdoc(run) or ""
        added = commands.add_parser(
            name, help=says.partition("\n")[0], description=says, formatter_class=as_written
        )
        added.set_defaults(run=run, parser=added)
        return added

    as_written = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="imlib", description=__doc__, formatter_class=as_written)
    parser.add_argument("--version", action="version", version=f"imlib {imlib.__version__}")
    parser.set_defaults(run=lambda _: parser.parse_args(["--help"]), parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    add_sample(command("servers", servers))

    add_who(command)
    add_user(command)
    add_watch(command)
    add_commands(command)

    sample = command("sample", _sample)
    sample.add_argument(
        "--export", metavar="FOLDER", type=Path, help="write files instead; no server is needed"
    )

    decode = command("decode", _decode)
    # argparse would take -5_6 for an option, because it is no number.
    decode._negative_number_matcher = re.compile(r"-[\d_@]")
    decode.add_argument("field", metavar="FIELD", help="such as 5_6, 5@6 or 5")
    decode.add_argument(
        "value", metavar="VALUE", help="such as 1512270533_1_42, 1@42@1512270533 or 1@1540000000@85"
    )
    decode.add_argument(
        "--user", type=to_user_id, default=0, help="whose entry it is, for the output (default: 0)"
    )
    return parser


def _sample(options: argparse.Namespace) -> int:
    """Write a small made-up world, with its planted faults, into empty servers or into files.

    The servers are those that the variables name; refused unless Redis and all 20 tables are empty.
    Presence is a lease: most of it lapses after 15 s, as it would in life.

    for example:
      imlib sample
      imlib sample --export folder
    """
    from imlib.sample import PLANTED, folder

    said = f"the sample world, with {len(PLANTED)} planted faults, is in"
    if options.export:
        try:
            shutil.copytree(folder(), options.export, dirs_exist_ok=True)
        except OSError as problem:
            raise ConfigurationError(
                f"{options.export} cannot be written: {problem.strerror}"
            ) from problem
        say(f"{said} {options.export}")
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
        say(f"{said} {deployment.database_url}")
        say(f"and in {deployment.redis_url}, where most sessions lapse within 15 s")
    return YES


def _decode(options: argparse.Namespace) -> int:
    """Say what a hash field and value mean; no server is needed.

    They may be of any layout: documented, deployed, or deployed_2018, which imlib only reads: its
    field is the auth key alone, and its sessions and connections are 0.

    for example:
      imlib decode -5_6 1512270533_1_42
      imlib decode -5 1@1540000000@85
    """
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
    told = {"layout": layout_of(options.field)} | asdict(status) | {"date": moment(status.now)}
    for name, value in told.items():
        say(f"{name:18}{value}")
    return YES
