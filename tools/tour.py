"""Run every notebook on the embedded default, in a copy, and make pages of them that need no network.

Two commands on the sample world run as well; the index shows what they print.

    python -m tools.tour

The pages stand in build/tour, the first is index.html. A cell or command that fails makes the exit code 1.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jinja2
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from tqdm import tqdm

from tools.notebook import (
    NOTEBOOKS,
    ROOT,
    Description,
    NotebookError,
    code_cells,
    describe,
    execute,
    normalise,
    read,
    write,
)

TOUR = ROOT / "build" / "tour"
PAGES = Path(__file__).parent / "pages"
# With the exit code that is right: the sample world has faults, which an audit has to find.
COMMANDS = {"imlib snapshot --sample": 0, "imlib audit --sample": 1}


@dataclass(frozen=True)
class Stop:
    """One notebook of the tour, after it ran."""

    name: str
    notebook: NotebookNode
    description: Description
    seconds: float
    error: str | None

    @property
    def cells(self) -> int:
        """How many code cells it has."""
        return len(code_cells(self.notebook))


@dataclass(frozen=True)
class Shown:
    """A command of imlib's, after it ran."""

    command: str
    output: str
    error: str | None


def show(command: str, expected: int) -> Shown:
    """Run a command of imlib's and return what it printed; another exit code than the expected one is an error."""
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
    return Shown(command, run.stdout, error)


def visit(path: Path, on_cell: Callable[[], object]) -> Stop:
    """Run the copy of a notebook that stands at `path`, keep what it showed and return it."""
    notebook = read(path)
    description = describe(notebook, path.name)
    started = time.monotonic()
    error = None
    try:
        execute(notebook, path.name, path.parent, on_cell=on_cell)
    except NotebookError as failure:
        error = str(failure)
    seconds = time.monotonic() - started
    normalise(notebook)
    write(notebook, path)
    return Stop(path.stem, notebook, description, seconds, error)


def page(stop: Stop, exporter: HTMLExporter) -> str:
    """Return the page of a notebook that ran."""
    resources = {"metadata": {"name": stop.description.title}, "error": stop.error}
    body, _ = exporter.from_notebook_node(stop.notebook, resources)
    # Between notebooks the links lead to notebooks; between pages, to pages.
    return re.sub(r'(href="[\w.-]+)\.ipynb(?=["#])', r"\1.html", body)


def backend() -> str:
    """Return what the embedded default is on this machine, in a few words."""
    import imlib

    with imlib.connect() as deployment:
        # What connecting found out; a user that may not ask for INFO, and fakeredis, could not tell it again.
        return f"{deployment.server} and SQLite {sqlite3.sqlite_version}"


def run(paths: list[Path]) -> list[Stop]:
    """Run the copies of the notebooks at `paths`, two at a time, write their pages and return them."""
    exporter = HTMLExporter(template_name="notebook", extra_template_basedirs=[str(PAGES)])
    cells = sum(len(code_cells(read(path))) for path in paths)
    stops = []
    # disable=None: no bar where the output isn't a terminal.
    with tqdm(total=cells, unit="cell", disable=None, leave=False) as progress, ThreadPoolExecutor(2) as pool:
        try:
            for running in [pool.submit(visit, path, progress.update) for path in paths]:
                stop = running.result()
                stops.append(stop)
                (TOUR / f"{stop.name}.html").write_text(page(stop, exporter), encoding="utf-8")
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
    left_out = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "*.py")
    copies = Path(shutil.copytree(NOTEBOOKS, TOUR / "notebooks", ignore=left_out))
    started = time.monotonic()
    try:
        stops = run(sorted(copies.glob("*.ipynb")))
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    commands = [show(command, expected) for command, expected in COMMANDS.items()]
    seconds = time.monotonic() - started

    servers = backend()
    engine = jinja2.Environment(loader=jinja2.FileSystemLoader(PAGES), autoescape=True)
    index = TOUR / "index.html"
    text = engine.get_template("index.html.j2").render(stops=stops, commands=commands, backend=servers)
    index.write_text(text, encoding="utf-8")
    cells = sum(stop.cells for stop in stops)
    print(f"\n{len(stops)} notebooks, {cells} cells in {seconds:.0f} s on {servers}")
    print(f"Open {index.as_uri()}")
    errors = [error for error in [stop.error for stop in stops] + [ran.error for ran in commands] if error]
    print(*errors, sep="\n", end="\n" if errors else "", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
