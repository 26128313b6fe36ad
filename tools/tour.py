"""Run every notebook on the embedded default, in a copy, and make pages of them that need no
network.

Two commands on the sample world run as well, and a page shows what they print.

    python -m tools.tour

The pages stand in build/tour, the first is index.html. A cell, a command or a page that fails makes
the exit code 1.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tools import command_line, site
from tools.notebook import (
    NOTEBOOKS,
    ROOT,
    NotebookError,
    code_cells,
    describe,
    execute,
    normalise,
    read,
    write,
)

TOUR = ROOT / "build" / "tour"
# With the exit code that is right: the sample world has faults, which an audit has to find.
COMMANDS = {"imlib snapshot --sample": 0, "imlib audit --sample": 1}


@dataclass(frozen=True)
class Stop:
    """One notebook of the tour, after it ran."""

    name: str
    cells: int
    seconds: float
    error: str | None


def show(command: str, expected: int) -> site.Shown:
    """Run a command of imlib's and return what it printed; another exit code than the expected one
    is an error.
    """
    run = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=ROOT,
        env=os.environ | {"PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    error = None
    if run.returncode != expected:
        last = (run.stderr.strip().splitlines() or ["it says nothing"])[-1]
        error = f"{command}: exit code {run.returncode} instead of {expected}: {last}"
    return site.Shown(command, run.stdout, error)


def visit(path: Path, on_cell: Callable[[], object]) -> Stop:
    """Run the copy of a notebook that stands at `path`, and keep what it showed."""
    notebook = read(path)
    describe(notebook, path.name)  # or fail at once: the index couldn't say what it is
    started = time.monotonic()
    error = None
    try:
        execute(notebook, path.name, path.parent, on_cell=on_cell)
    except NotebookError as failure:
        error = str(failure)
    seconds = time.monotonic() - started
    normalise(notebook)
    write(notebook, path)
    return Stop(path.stem, len(code_cells(notebook)), seconds, error)


def backend() -> str:
    """Return what the embedded default is on this machine, in a few words."""
    import imlib

    with imlib.connect() as deployment:
        # What connecting found out; a user that may not ask for INFO, and fakeredis, could not tell
        # it again.
        return f"{deployment.server} and SQLite {sqlite3.sqlite_version}"


def run(paths: list[Path]) -> list[Stop]:
    """Run the copies of the notebooks at `paths`, two at a time, and return how each went."""
    cells = sum(len(code_cells(read(path))) for path in paths)
    stops = []
    # disable=None: no bar where the output isn't a terminal.
    with (
        tqdm(total=cells, unit="cell", disable=None, leave=False) as progress,
        ThreadPoolExecutor(2) as pool,
    ):
        try:
            for running in [pool.submit(visit, path, progress.update) for path in paths]:
                stop = running.result()
                stops.append(stop)
                outcome = "failed after" if stop.error else f"{stop.cells} cells in"
                progress.write(f"{stop.name}: {outcome} {stop.seconds:.1f} s")
        finally:
            # Of an interrupted tour only what already runs is waited for.
            pool.shutdown(cancel_futures=True)
    return stops


def main() -> int:
    """Run the tour and return the exit code."""
    # The tour is the embedded default's; kernels get an environment without these as well.
    for name in [name for name in os.environ if name.startswith("IMLIB_")]:
        del os.environ[name]
    shutil.rmtree(TOUR, ignore_errors=True)
    left_out = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "*.py", "lessons")
    copies = Path(shutil.copytree(NOTEBOOKS, TOUR / "notebooks", ignore=left_out))
    started = time.monotonic()
    try:
        stops = run(sorted(copies.glob("*.ipynb")))
        commands = tuple(show(command, expected) for command, expected in COMMANDS.items())
        failed = {stop.name: stop.error for stop in stops if stop.error}
        complaints = site.build(copies, TOUR, ran=site.Ran(backend(), failed, commands))
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130

    seconds = time.monotonic() - started
    cells = sum(stop.cells for stop in stops)
    print(f"\n{len(stops)} notebooks, {cells} cells and their pages in {seconds:.0f} s")
    print(f"Open {(TOUR / 'index.html').as_uri()}")
    errors = [*failed.values(), *(ran.error for ran in commands if ran.error), *complaints]
    print(*errors, sep="\n", end="\n" if errors else "", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    command_line("tools.tour", __doc__).parse_args()
    sys.exit(main())
