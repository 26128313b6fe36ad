"""What the lessons have in common is found by every kernel, whatever folder it runs in."""

from __future__ import annotations

from pathlib import Path

from nbformat.v4 import new_code_cell, new_notebook

from tools.notebook import NOTEBOOKS, execute

LESSONS = NOTEBOOKS / "lessons"


def test_a_kernel_finds_every_module(tmp_path: Path) -> None:
    """A plain kernel in another folder imports each module, and from this checkout."""
    modules = sorted(f"lessons.{path.stem}" for path in LESSONS.glob("[!_]*.py"))
    notebook = new_notebook(cells=[new_code_cell(f"import {', '.join(modules)}\nlessons.__file__")])
    execute(notebook, "imports.ipynb", tmp_path)
    assert [
        f"lessons.{name}"
        for name in ("explorer", "layers", "plots", "simulation", "stage", "style")
    ] == modules
    assert repr(str(LESSONS / "__init__.py")) == notebook.cells[0].outputs[0].data["text/plain"]


def test_a_bar_needs_no_widgets(tmp_path: Path) -> None:
    """A kernel without ipywidgets takes a snapshot with a progress bar, and warns of nothing."""
    source = """import sys
sys.modules["ipywidgets"] = None
import imlib
with imlib.connect() as deployment:
    _ = deployment.snapshot(progress=True)"""
    notebook = new_notebook(cells=[new_code_cell(source)])
    execute(notebook, "bar.ipynb", tmp_path)
    assert [] == notebook.cells[0].outputs
