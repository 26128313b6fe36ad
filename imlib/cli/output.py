"""What all commands share: their servers, their output, and what their exit codes mean."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

import imlib
from imlib.errors import ConfigurationError

YES: Final = 0
"""Exit code: yes, whole, nothing wrong."""
NO: Final = 1
"""Exit code: no, incomplete; an audit or a comparison found something."""
FAILED: Final = 2
"""Exit code: an error, which is on stderr."""


def add_format(command: argparse.ArgumentParser) -> None:
    """Add ``--format``."""
    command.add_argument(
        "--format", choices=["table", "json", "csv"], default="table", help="table by default"
    )


def add_sample(command: argparse.ArgumentParser) -> None:
    """Add ``--sample``."""
    command.add_argument(
        "--sample", action="store_true", help="ask the sample world; no server is needed"
    )


def connected(options: argparse.Namespace, *, database: bool = True) -> imlib.Deployment:
    """Connect read-only to the servers that the variables name, or with ``--sample`` to its world.

    Without ``database`` only Redis is asked: the command then works while MySQL is down.
    """
    if options.sample:
        from imlib.investigation import sample_world

        return sample_world()
    if not os.environ.get("IMLIB_REDIS_URL"):
        raise ConfigurationError(
            "no server is named, and a private one would be empty: set IMLIB_REDIS_URL, such as "
            "redis://localhost:6379/0 (and IMLIB_DATABASE_URL for tables), or ask the sample "
            "world with --sample; imlib --help shows the forms"
        )
    return imlib.connect(database_url=None if database else "embedded://", read_only=True)


def show(columns: Sequence[str], rows: Iterable[Sequence[object]], form: str) -> None:
    """Print rows as a table, as JSON (an array of objects, every digit kept) or as CSV."""
    if form == "json":
        objects = [dict(zip(columns, row, strict=True)) for row in rows]
        print(json.dumps(objects, indent=1, ensure_ascii=False, default=str))
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([columns, *rows])
    else:
        lines = [list(map(_printable, row)) for row in (columns, *rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(map(str.ljust, line, widths)).rstrip())


def complain(problem: object) -> None:
    """Print one line on stderr."""
    print(f"imlib: {_printable(problem)}", file=sys.stderr)


def _printable(value: object) -> str:
    """Return text that moves no cursor: a key or a value may have been made to do so."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(value)
    )
