"""Notebooks in JupyterLab, run from its menu: the map, the lease with its explorer, the how-to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.lab import Window, running_lab
from tests.browser.watch import album
from tools.notebook import NOTEBOOKS, code_cells, read


@pytest.fixture(scope="module")
def window(browser: Browser) -> Iterator[Window]:
    """Give JupyterLab over a copy of the notebooks without outputs: what a cell shows, it showed
    just now.
    """
    with (
        running_lab() as lab,
        browser.new_context(viewport={"width": 1280, "height": 1600}) as context,
    ):
        shutil.copytree(
            NOTEBOOKS, lab.root / "notebooks", ignore=shutil.ignore_patterns("*.py", "__pycache__")
        )
        for path in (lab.root / "notebooks").glob("*.ipynb"):
            notebook = read(path)
            for cell in code_cells(notebook):
                cell.update(outputs=[], execution_count=None)
            nbformat.write(notebook, path)
        yield Window(context.new_page(), lab)


def run(name: str, window: Window, pictures: Path) -> str:
    """Open a notebook, run all its cells, and return what is wrong then, a line each."""
    path = f"notebooks/{name}.ipynb"
    window.watch.complaints.clear()
    window.open(path)
    window.run_all(path)
    window.page.screenshot(path=pictures / f"{name}.jpg", quality=80)
    wrong = [*window.watch.complaints]
    for number, cell in enumerate(code_cells(window.saved(path)), start=1):
        if cell.execution_count != number:
            wrong.append(f"code cell {number} ran as number {cell.execution_count}")
        for output in cell.outputs:
            if output.get("name") == "stderr":
                wrong.append(f"code cell {number}: {output.text}")
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get(
                "tags", []
            ):
                wrong.append(f"code cell {number}: {output.ename}: {output.evalue}")
    return "\n".join(f"{name}: {what}" for what in wrong)


@pytest.mark.parametrize("name", ["00-start-here", "08-investigate"])
def test_every_cell_runs(name: str, window: Window) -> None:
    """Run All Cells leaves no cell unrun, none failed that is not meant to, and nothing to complain
    of.
    """
    assert "" == run(name, window, album("lab", name))


def test_the_explorer_answers(window: Window) -> None:
    """The lesson on the lease runs too, and each slider of its explorer, moved by a key, changes
    picture and words.
    """
    name = "02-presence-lease"
    pictures = album("lab", name)
    assert "" == run(name, window, pictures)
    window.show_widget(f"notebooks/{name}.ipynb")
    explorer = window.page.locator(".imlib-explorer")
    picture = explorer.get_by_role("img")
    for slider in ("period", "lost", "skew", "sessions"):
        shown, told = picture.get_attribute("src"), picture.get_attribute("alt")
        assert shown is not None
        assert told
        explorer.locator(f".imlib-explorer-{slider}").get_by_role("slider").press("ArrowRight")
        expect(picture, slider).not_to_have_attribute("src", shown)
        expect(picture, slider).not_to_have_attribute("alt", told)
        window.page.screenshot(path=pictures / f"explorer {slider}.jpg", quality=80)
    assert [] == window.watch.complaints
