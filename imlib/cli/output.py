"""What all commands share: their servers, their output, and what their exit codes mean."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO
from unicodedata import category, east_asian_width

import imlib
from imlib.constants import CHECK_ONLINE_TIMEOUT, ONLINE_TIMEOUT
from imlib.errors import ConfigurationError, printable
from imlib.lease import system_clock
from imlib.session_status import parse_int64

if TYPE_CHECKING:
    import pandas as pd

YES = 0
"""Exit code: yes, whole, nothing wrong."""
NO = 1
"""Exit code: no, incomplete; an audit or a comparison found something."""
FAILED = 2
"""Exit code: an error, which is on stderr."""

_NOTHING = {"None", "NaT", "<NA>", "nan", "NaN", "inf", "-inf", "Infinity", "-Infinity"}
# What a spreadsheet would run; a number, a phone or an entry of Redis it would not.
_FORMULA = re.compile(r"[=@\t\r\n＝＠＋－]|[+-](?![0-9_@. ]*\Z)")


def add_format(command: argparse.ArgumentParser) -> None:
    """Add ``--format``."""
    command.add_argument(
        "--format",
        choices=["table", "json", "csv"],
        default="table",
        help="table by default; json is the exact one, in ASCII, with 64-bit numbers as strings; "
        "in csv a text that a spreadsheet would run gets a ' before it",
    )


def add_sample(command: argparse.ArgumentParser) -> None:
    """Add ``--sample`` and ``--sample-deployed``, the name of a world, and a lease's periods."""
    for flag, world, about in (
        ("--sample", "sample", "ask the sample world; no server is needed"),
        (
            "--sample-deployed",
            "deployed/4b393bf",
            "the same for a world as telegramd's own servers left it",
        ),
    ):
        command.add_argument(
            flag, dest="sample", action="store_const", const=world, default="", help=about
        )
    for name, what, default in (
        ("online", "a user's key lives after a report", ONLINE_TIMEOUT),
        ("check-online", "a report counts", CHECK_ONLINE_TIMEOUT),
    ):
        command.add_argument(
            f"--{name}-timeout",
            metavar="SECONDS",
            type=_to_seconds,
            help=f"for how long {what} (default: {default}, or what the variable says)",
        )


def add_at(command: argparse.ArgumentParser) -> None:
    """Add ``--at``."""
    command.add_argument(
        "--at",
        metavar="TIME",
        type=to_instant,
        help="judge as of then, as for servers that were restored from a dump: Unix seconds, or "
        "2026-11-25T02:41:00, in UTC unless it has an offset",
    )


def to_instant(text: str) -> float:
    """Return an argument's instant in Unix seconds."""
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", text):
        return float(text)
    with suppress(ValueError, OverflowError):
        told = datetime.fromisoformat(text)
        return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()
    raise argparse.ArgumentTypeError(
        f"{text!r} is no instant: allowed are Unix seconds, or such as 2026-11-25T02:41:00"
    )


def _to_seconds(text: str) -> int:
    number = parse_int64(text.encode(errors="replace"))
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r}: allowed are whole seconds, such as 60")
    return number


def to_user_id(text: str) -> int:
    """Return the number of an argument, which is written as Redis's keys have it."""
    number = parse_int64(text.encode(errors="replace"))
    if number is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no user id: allowed are digits, and a - before them, as in -7"
        )
    return number


def connected(options: argparse.Namespace, *, database: bool = True) -> imlib.Deployment:
    """Connect read-only to the servers that the variables name, or with ``--sample`` to its world.

    Without ``database`` only Redis is asked: the command then works while MySQL is down.
    """
    periods = {
        name: seconds
        for name in ("online_timeout", "check_online_timeout")
        if (seconds := getattr(options, name)) is not None
    }
    at = getattr(options, "at", None)
    if options.sample:
        from imlib.investigation import sample_world

        world = sample_world(world=options.sample, **periods)
        if at is not None:
            world.clock = lambda: at
        return world
    if not os.environ.get("IMLIB_REDIS_URL"):
        raise ConfigurationError(
            "no server is named, and a private one would be empty: set IMLIB_REDIS_URL, such as "
            "redis://localhost:6379/0 (and IMLIB_DATABASE_URL for tables), or ask the sample "
            "world with --sample; imlib --help shows the forms"
        )
    return imlib.connect(
        database_url=None if database else "embedded://",
        read_only=True,
        clock=system_clock if at is None else lambda: at,
        **periods,
    )


def show(columns: Sequence[str], rows: Iterable[Sequence[object]], form: str) -> None:
    """Print rows as a table, as JSON (an array of objects, exact) or as CSV.

    Numbers of 64 bits are given as text: JSON's readers would round them.
    """
    cells = [list(map(_known, row)) for row in rows]
    if form == "json":
        objects = [dict(zip(columns, row, strict=True)) for row in cells]
        show_json(objects)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        for row in (columns, *cells):
            writer.writerow(map(_for_spreadsheet, row))
    else:
        lines = [list(map(_for_people, row)) for row in (columns, *cells)]
        widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(map(_padded, line, widths)).rstrip())


def show_json(objects: list[Any]) -> None:
    """Print objects as JSON, exact and in ASCII."""

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: known(one) for name, one in value.items()}
        return [known(one) for one in value] if isinstance(value, list) else _known(value)

    print(json.dumps(known(objects), indent=1, default=str).replace("\x7f", r"\u007f"))


def wide_columns(frame: pd.DataFrame) -> set[object]:
    """Return the columns of 64-bit integers."""
    # Any: an extension's dtype has both as well.
    dtypes: Iterable[tuple[object, Any]] = frame.dtypes.items()
    return {name for name, dtype in dtypes if dtype.kind in "iu" and dtype.itemsize == 8}


def exact_rows(frame: pd.DataFrame) -> list[dict[str, object]]:
    """Return a frame's rows, what is missing as None and numbers of 64 bits as text."""
    wide, plain = wide_columns(frame), frame.astype(object).where(frame.notna(), None)
    return [
        {
            str(name): str(value) if name in wide and value is not None else value
            for name, value in row.items()
        }
        for row in plain.to_dict("records")
    ]


def _known(value: object) -> object:
    return None if str(value) in _NOTHING and not isinstance(value, str) else value


def _for_people(value: object) -> str:
    text = "" if value is None else str(value)
    return text if text.isprintable() else printable(text)


def _for_spreadsheet(value: object) -> object:
    if not isinstance(value, str):
        return value
    # A tab or a new line is CSV's own matter; a CR would not be quoted, and begin a row.
    shown = re.sub(r"[^\t\n]+", lambda part: printable(part[0]), value)
    return f"'{shown}" if _FORMULA.match(value) else shown


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    kinds = "".join(map(east_asian_width, text))
    marks = sum(category(one) in {"Mn", "Me"} for one in text)
    return len(text) + kinds.count("W") + kinds.count("F") - marks


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def moment(seconds: float) -> str:
    """Return an instant as a date."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "beyond the calendar"


def say(text: object) -> None:
    """Print one line."""
    print(printable(text))


def complain(problem: object) -> None:
    """Print one line on stderr."""
    print(f"imlib: {printable(problem)}", file=sys.stderr)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Have the process's own streams take everything, whoever reads them, or nobody."""
    for number in range(3):
        # What is closed would be given to the next file or socket that is opened.
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    err = _stream(sys.stderr, sys.__stderr__, 2)
    with redirect_stdout(_stream(sys.stdout, sys.__stdout__, 1)), redirect_stderr(err):
        yield


def _stream(stream: TextIO | None, own: TextIO | None, number: int) -> TextIO:
    if stream is not own:
        return stream or io.StringIO()  # a caller's
    if stream:
        with suppress(OSError):
            stream.flush()  # what was printed before comes first
    return io.TextIOWrapper(
        io.BufferedWriter(_Descriptor(number, "w", closefd=False)),
        getattr(stream, "encoding", "utf-8"),
        # A terminal that lacks a letter is no reason to fail.
        "backslashreplace",
        line_buffering=number == 2 or os.isatty(number),
    )


class _Descriptor(io.FileIO):
    """One whose reader may leave: having read enough is no failure, and nor is a lost complaint."""

    def write(self, data: Any) -> int:
        forgiven = OSError if self.fileno() == 2 else BrokenPipeError
        with suppress(forgiven):
            return super().write(data)
        return len(data)
