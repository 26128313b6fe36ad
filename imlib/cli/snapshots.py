"""The commands over snapshots: take one, audit one, compare two."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imlib.cli.output import (
    FAILED,
    NO,
    YES,
    add_at,
    add_format,
    add_sample,
    complain,
    connected,
    show,
    to_user_id,
)
from imlib.errors import ConfigurationError
from imlib.other_keys import in_words

if TYPE_CHECKING:
    from imlib.audit import Findings
    from imlib.snapshot import Snapshot
    from imlib.snapshot.info import TableFacts

_ROWS = 1_000_000
_FOUND = 1_000
_SESSION = ("user_id", "auth_key_id", "session_id")


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add ``snapshot``, ``audit`` and ``diff``, each by ``command(name, run)``."""
    snapshot = command("snapshot", _snapshot)
    _add_choice(snapshot, "where to keep it; must not exist")
    snapshot.add_argument(
        "--user",
        metavar="ID",
        type=to_user_id,
        action="append",
        help="only what is about this user; may come several times",
    )
    snapshot.add_argument(
        "--unmask",
        metavar="TABLE.COLUMN",
        action="append",
        default=[],
        help="show this one; may come several times",
    )
    snapshot.add_argument(
        "--unindexed",
        action="store_true",
        help="with --user: search large tables by columns without an index too",
    )
    snapshot.add_argument(
        "--keep-incomplete",
        action="store_true",
        help="keep what was read when a server is gone or fails, marked as such",
    )

    audit = command("audit", _audit)
    audit.add_argument(
        "--check", metavar="NAME", action="append", help="only this check; may come several times"
    )
    audit.add_argument(
        "--list", action="store_true", help="say which checks there are; no server is needed"
    )
    audit.add_argument("--all", action="store_true", help="a row per finding, every one")
    audit.add_argument(
        "--limit", metavar="ROWS", type=int, help=f"a row per finding, so many a check ({_FOUND:,})"
    )
    audit.add_argument("--output", metavar="FILE", type=Path, help="where to write the rows")
    audit.add_argument("--user", metavar="ID", type=to_user_id, help="only what is about this user")
    add_at(audit)
    _add_choice(audit, "a snapshot that was kept", "--table-limit")

    diff = command("diff", _diff)
    diff.add_argument("earlier", metavar="EARLIER", type=Path)
    diff.add_argument("later", metavar="LATER", type=Path)
    add_format(diff)


def _add_choice(command: argparse.ArgumentParser, folder: str, limit: str = "--limit") -> None:
    command.add_argument("folder", metavar="FOLDER", nargs="?", type=Path, help=folder)
    command.add_argument(
        "--tables",
        metavar="NAMES",
        help="only these tables, with commas between; '' for none (default: all)",
    )
    command.add_argument(
        limit,
        dest="rows",
        metavar="ROWS",
        type=int,
        default=_ROWS,
        help=f"the most rows of a table (default: {_ROWS:,})",
    )
    add_format(command)
    add_sample(command)


def _take(options: argparse.Namespace, **more: Any) -> Snapshot:
    tables = None
    if options.tables is not None:
        tables = [name.strip() for name in options.tables.split(",") if name.strip()]
    if not (options.sample or os.environ.get("IMLIB_DATABASE_URL")):
        if tables:
            raise ConfigurationError(
                "--tables names tables, and no database is named: set IMLIB_DATABASE_URL"
            )
        # The tables of a private database would be empty, and that is no answer.
        tables = []
    with connected(options) as deployment:
        return deployment.snapshot(tables=tables, limit=options.rows, progress=True, **more)


def _snapshot(options: argparse.Namespace) -> int:
    """Read everything into frames, and keep them in a folder if one is named.

    What was read of Redis and all tables is printed, and kept as Parquet files. Nothing is written
    to the servers. What is secret or personal is masked; with IMLIB_MASK_KEY (16 bytes or more) in
    the environment two snapshots mask alike, so that their masked columns can be compared.

    Exit code 0: whole; 1: incomplete, and what is missing is named; 2: it failed, nothing was kept.

    for example:
      imlib snapshot
      imlib snapshot monday
      imlib snapshot tuesday --limit 5000000
      imlib snapshot --user 7 --user 8 --format json
      imlib snapshot --tables users,devices --unmask users.phone
      imlib snapshot --sample
    """
    from imlib.snapshot.folder import check_new

    folder = options.folder
    if folder:
        check_new(folder)  # before the work, not after it
    snapshot = _take(
        options,
        user_ids=options.user,
        unmask=options.unmask,
        mask_key=os.environ.get("IMLIB_MASK_KEY", "").encode() or None,
        keep_incomplete=options.keep_incomplete,
        unindexed=options.unindexed,
    )
    info = snapshot.info
    if folder:
        snapshot.save(folder)
    rows: list[tuple[object, ...]] = []
    for frame, count in info["rows"].items():
        facts: TableFacts = info["tables"].get(info["table_of"].get(frame, ""), {})
        rows.append((frame, count, ", ".join(facts.get("masked", [])), _notes(facts)))
    rows += [(name, None, "", f"left out: {reason}") for name, reason in info["left_out"].items()]
    show(["frame", "rows", "masked", "notes"], rows, options.format)
    if info["malformed_not_kept"]:
        complain(f"{info['malformed_not_kept']} more malformed entries were counted and not kept")
    if info["other_keys"]:
        complain(in_words(info["other_keys"]))
    if folder:
        complain(f"kept in {folder}")
    if info["incomplete"]:
        complain(f"INCOMPLETE: {info['incomplete']}")
        return NO
    return YES


def _notes(facts: TableFacts) -> str:
    notes = [word for word in ("truncated", "filtered", "not_at_same_instant") if facts.get(word)]
    notes += [f"{column} {reason}" for column, reason in facts.get("could_not_carry", {}).items()]
    return "; ".join(notes)


def _audit(options: argparse.Namespace) -> int:
    """Look for faults: wrong clocks, ghosts, gaps, duplicates, orphans, what disagrees.

    Checks are run over the servers as they are now, or over a snapshot that was kept. One screen
    shows the causes, the worst first: what, how many, examples, and how to see more. With --all,
    --check, --limit, --output or another format it is a row per finding.

    Exit code 0: nothing of severity warning or error; 1: something; 2: it failed, or nothing was
    found and a check was skipped (which, and why, is in the output).

    for example:
      imlib audit
      imlib audit monday --format csv --output faults.csv
      imlib audit monday --user 7 --at 2017-12-03T03:08:53
      imlib audit --check pts_gap --check pts_duplicate
      imlib audit --list
      imlib audit --sample
    """
    from imlib.audit import CHECKS, audit, known
    from imlib.snapshot import Snapshot

    if options.list:
        listed = [
            (name, check.severity, check.about, ", ".join(check.needs))
            for name, check in CHECKS.items()
        ]
        show(["check", "severity", "about", "needs"], listed, options.format)
        return YES
    known(options.check)  # before the work, not after it
    periods = options.online_timeout, options.check_online_timeout
    whole = options.tables is None and options.rows == _ROWS and periods == (None, None)
    folder = options.folder
    if folder and (options.sample or not whole):
        raise ConfigurationError(
            "--tables, --table-limit, --sample and the timeouts are of a snapshot taken now, "
            f"not of {folder}"
        )
    if options.sample and whole:
        from imlib.sample import kept_snapshot

        # It is the same as one taken now, and needs no server.
        folder = kept_snapshot()
    # Half an outage: what needs the other half is answered, and the rest is skipped.
    snapshot = Snapshot.load(folder) if folder else _take(options, keep_incomplete=True)
    limit = _FOUND if options.limit is None else options.limit
    limit = None if options.all else limit
    found = audit(snapshot, options.check, limit=limit, at=options.at, user_id=options.user)
    rows = found.rows
    unjudged = rows[(rows["severity"] == "skipped") & (rows["subject"] == "")]
    # Another format holds them.
    if options.format == "table":
        for reason, some in unjudged.groupby("what", sort=False)["check"]:
            complain(f"skipped {', '.join(some)}: {reason}")
    chosen = (options.all, options.check, options.limit is not None, options.output)
    if any(chosen) or options.format != "table":
        _show_rows(found, options)
    else:
        which = "--sample" if options.sample else shlex.quote(str(folder)) if folder else ""
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(found.summary(f"imlib audit {which}".rstrip(), colour=colour))
    if rows["severity"].isin(["warning", "error"]).any():
        return NO
    return FAILED if len(unjudged) else YES


def _show_rows(found: Findings, options: argparse.Namespace) -> None:
    rows, form = found.rows, options.format
    columns = list(rows.columns)
    # A table is shown without the column that would make it too wide to read.
    if form == "table":
        rows, columns = rows[rows["severity"] != "skipped"], columns[:-1]
    with ExitStack() as stack:
        if options.output:
            # Never over another file.
            file = options.output.open("x", encoding="utf-8", newline="")
            stack.enter_context(redirect_stdout(stack.enter_context(file)))
        show(columns, rows[columns].itertuples(index=False), form)
    kept = rows["check"].value_counts()
    for name, count in found.counts.items():
        if count > kept.get(name, 0) > 1:
            complain(f"{name}: {kept[name]:,} of {count:,} are shown; --all shows every one")


def _diff(options: argparse.Namespace) -> int:
    """Say what changed between two snapshots that were kept.

    That is sessions that came, went and moved, and rows that were added, removed and changed. What
    cannot be compared is named on stderr.

    Exit code 0: no difference; 1: some; 2: it failed, or no difference was found and something
    besides masked columns could not be compared.

    for example:
      imlib diff monday tuesday
      imlib diff monday tuesday --format json
    """
    from imlib.snapshot import Snapshot

    rows: list[tuple[str, ...]] = []
    difference = Snapshot.load(options.later).diff(Snapshot.load(options.earlier))
    for change in ("came", "went", "moved"):
        frame = getattr(difference, change)
        servers = frame.filter(like="server_")
        for row in frame.to_dict("records"):
            what = _words(row, servers)
            rows.append(("sessions", change, _words(row, _SESSION), what))
    for table, frame in difference.tables.items():
        for row in frame.to_dict("records"):
            change, what = row.pop("change"), row.pop("columns")
            rows.append((table, change, _words(row, row), what))
    show(["frame", "change", "key", "what"], rows, options.format)
    for name, reason in difference.left_out.items():
        complain(f"{name} was not compared: {reason}")
    if difference:
        return NO
    complain(f"no difference{'' if difference.whole else ' in what could be compared'}")
    return YES if difference.whole else FAILED


def _words(row: dict[Any, Any], names: Iterable[Any]) -> str:
    return ", ".join(f"{name} {row[name]}" for name in names)
