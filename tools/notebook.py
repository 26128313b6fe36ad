"""One notebook: run in a kernel that knows nothing of its user, told in its own words, fit for a
commit.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"


class NotebookError(Exception):
    """A notebook did not run to its end: one line that names notebook, cell and error."""


@dataclass(frozen=True)
class Description:
    """What a notebook says of itself before its first code cell."""

    title: str
    sentence: str
    minutes: int


def read(path: Path) -> NotebookNode:
    """Return the notebook at `path`, in nbformat 4."""
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    """Write `notebook` to `path`."""
    nbformat.write(notebook, path)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells that hold any code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def environment(folder: Path) -> dict[str, str]:
    """Return this process's environment less its servers' URLs, with Jupyter's folders under
    `folder`.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMLIB_")}
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    return kept | {name: str(folder / name.lower()) for name in names}


def execute(
    notebook: NotebookNode,
    name: str,
    folder: Path,
    *,
    timeout: int = 120,
    on_cell: Callable[[], object] = lambda: None,
) -> None:
    """Run `notebook` in place, in a kernel of its own whose working directory is `folder`.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Keeps its outputs, also those before a cell that fails.
    name : str
        What the error calls it.
    folder : Path
        The kernel's working directory.
    timeout : int
        Seconds that one cell may take.
    on_cell : callable
        Called after every code cell.

    Raises
    ------
    NotebookError
        A cell failed or took too long, or the kernel died.
    """
    current = 0

    def started(cell: NotebookNode, cell_index: int) -> None:
        nonlocal current
        current = cell_index

    def executed(cell: NotebookNode, cell_index: int, execute_reply: object) -> None:
        on_cell()

    # Short, because the kernel's sockets stand in it and a socket's path must stay under 104 bytes.
    private = Path(tempfile.mkdtemp(prefix="imlib-"))
    manager = AsyncKernelManager(
        kernel_name="python3",
        # On TCP the kernel would warn that whoever is on the machine can listen.
        transport="ipc",
        connection_file=str(private / "k.json"),
    )
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=timeout,
        resources={"metadata": {"path": str(folder)}},
        # Live widgets need a browser and a CDN; what stays is their static picture.
        store_widget_state=False,
        coalesce_streams=True,
        record_timing=False,
        on_cell_execute=started,
        on_cell_executed=executed,
    )
    try:
        client.execute(env=environment(private), cleanup_kc=True)
    except (CellControlSignal, DeadKernelError) as error:
        number = sum(cell.cell_type == "code" for cell in notebook.cells[: current + 1])
        what = (
            f"{error.ename}: {error.evalue}"
            if isinstance(error, CellExecutionError)
            else str(error)
        )
        first_line = next(iter(what.strip().splitlines()), "no message")
        raise NotebookError(f"{name}, code cell {number}: {first_line}") from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


def normalise(notebook: NotebookNode) -> None:
    """Drop from `notebook` what depends on the machine, the moment or the editor.

    What stays: its form and paths, the cells' tags, and what an output says of itself (a picture's
    alternative text).
    """
    own = notebook.metadata.get("imlib", {})
    course = {name: own[name] for name in ("form", "paths") if name in own}
    notebook.metadata = nbformat.from_dict(
        ({"imlib": course} if course else {})
        | {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {"tags": cell.metadata.tags} if cell.metadata.get("tags") else {}
        )
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                # A traceback shows the machine's paths; the name and the text are what a lesson is
                # about.
                output.traceback = [f"{output.ename}: {output.evalue}"]


def describe(notebook: NotebookNode, name: str) -> Description:
    """Return title, first sentence and minutes from the Markdown before the first code cell.

    Raises
    ------
    NotebookError
        One of the three is not there.
    """
    kinds = [cell.cell_type for cell in notebook.cells]
    head = notebook.cells[: kinds.index("code") if "code" in kinds else None]
    lines = "\n".join(
        cell.source + "\n" for cell in head if cell.cell_type == "markdown"
    ).splitlines()
    text = "\n".join(lines)
    heading = re.search(r"^# (.+)$", text, flags=re.MULTILINE)
    if heading is None:
        raise NotebookError(f"{name}: no H1 before its first code cell")
    below = text[heading.end() :]
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", below) if part.strip()]
    prose = next((part for part in paragraphs if not part.startswith(("#", "|"))), None)
    if prose is None:
        raise NotebookError(
            f"{name}: no sentence under its H1 that says what the reader will know at the end"
        )
    minutes = _minutes(lines)
    if minutes is None:
        raise NotebookError(f"{name}: no table under its H1 that says how many minutes it takes")
    return Description(_plain(heading[1]), re.split(r"(?<=[.!?])\s", _plain(prose))[0], minutes)


def _plain(markdown: str) -> str:
    return re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", markdown).replace("*", "").replace("`", "").strip()


def _minutes(lines: list[str]) -> int | None:
    rows = [
        [cell.strip().lower() for cell in line.strip("| ").split("|")]
        for line in lines
        if line.startswith("|")
    ]
    for index, row in enumerate(rows):
        for column, cell in enumerate(row):
            if "minutes" in cell:
                # Under its heading (past the ruler of dashes) or to its right, as the table lies.
                below = rows[index + 2][column] if len(rows) > index + 2 else ""
                for candidate in (cell, below, *row[column + 1 :]):
                    if found := re.search(r"\d+", candidate):
                        return int(found[0])
    return None
