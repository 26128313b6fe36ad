"""What the commands have in common: which servers they ask, how they print, and what their exit
codes mean.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import imlib
from imlib.errors import ConfigurationError

YES: Final = 0
"""Exit code: yes, whole, nothing wrong."""
NO: Final = 1
"""Exit code: no, incomplete; an audit or a comparison found something."""
FAILED: Final = 2
"""Exit code: it could not be told, and why is on stderr."""


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
    """Return the deployment that the variables name, to be read only, or with ``--sample`` the
    sample world.

    Where ``database`` is False only Redis is asked: that MySQL is down is then no trouble.
    """
    if options.sample:
        from imlib.investigation import sample_world

        return sample_world()
    if not os.environ.get("IMLIB_REDIS_URL"):
        raise ConfigurationError(
            "no server is named, and a private one would be empty: set IMLIB_REDIS_URL, such as "
            "redis://localhost:6379/0 (and IMLIB_DATABASE_URL for tables), or ask the sample "
            "world with --sample; "
            "imlib --help shows the forms"
        )
    return imlib.connect(database_url=None if database else "embedded://", read_only=True)


def show(rows: Sequence[Mapping[Any, Any]], columns: Sequence[str], form: str) -> None:
    """Print rows as a table, as JSON (an array of objects, integers to the last digit)
    or as CSV.
    """
    if form == "json":
        print(json.dumps(list(rows), indent=1, ensure_ascii=False, default=str))
    elif form == "csv":
        writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        lines = [list(columns), *([_printable(row[name]) for name in columns] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            print("  ".join(map(str.ljust, line, widths)).rstrip())


def complain(problem: object) -> None:
    """Print one line on stderr."""
    print(f"imlib: {_printable(problem)}", file=sys.stderr)


def _printable(value: object) -> str:
    """Return text that moves no cursor: what stands in a key or column may be meant to."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(value)
    )
