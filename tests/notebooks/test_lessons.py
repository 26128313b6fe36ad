"""What the lessons have in common is found by every kernel, whatever folder it runs in."""

from __future__ import annotations

from pathlib import Path

from nbformat.v4 import new_code_cell, new_notebook

from tests.notebooks import scheduler
from tools.notebook import NOTEBOOKS, code_cells, execute, read

LESSONS = NOTEBOOKS / "lessons"


def test_a_kernel_finds_every_module(tmp_path: Path) -> None:
    """A plain kernel in another folder imports each module, and from this checkout."""
    modules = sorted(f"lessons.{path.stem}" for path in LESSONS.glob("[!_]*.py"))
    notebook = new_notebook(cells=[new_code_cell(f"import {', '.join(modules)}\nlessons.__file__")])
    execute(notebook, "imports.ipynb", tmp_path)
    assert [
        f"lessons.{name}" for name in ("explorer", "layers", "plots", "simulation", "style")
    ] == modules
    assert repr(str(LESSONS / "__init__.py")) == notebook.cells[0].outputs[0].data["text/plain"]


def test_papermill_finds_them_from_another_folder(tmp_path: Path) -> None:
    """The lesson that uses most of them runs to its end, and shows what it showed when
    committed.
    """
    name = "02-presence-lease"
    shown, committed = (
        [
            output.data["text/plain"]
            for cell in code_cells(read(path))
            for output in cell.outputs
            if "data" in output
        ]
        for path in (scheduler.run(name, tmp_path), NOTEBOOKS / f"{name}.ipynb")
    )
    assert committed == shown
