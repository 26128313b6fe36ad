"""The tour: what fails in it is said in one line, and the pages are made all the same."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import site, tour
from tools.notebook import ROOT, NotebookError, execute, write

HEAD = "# A lesson\n\nAt the end you know.\n\n| minutes |\n| --- |\n| 5 |"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder of notebooks for a tour of its own, without kernels, commands and Sphinx."""

    def run(notebook: NotebookNode, name: str, folder: Path, *, on_cell: object) -> None:
        if "bad" in name:
            notebook.cells[-1].source = "so far"
            raise NotebookError(f"{name}, code cell 2: ZeroDivisionError: division by zero")

    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    monkeypatch.setattr(tour, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(tour, "TOUR", tmp_path / "tour")
    monkeypatch.setattr(tour, "COMMANDS", {})
    monkeypatch.setattr(tour, "execute", run)
    return notebooks


def lesson(path: Path, *sources: str) -> None:
    """Write a notebook with a title and these cells."""
    write(new_notebook(cells=[new_markdown_cell(HEAD), *map(new_code_cell, sources)]), path)


def test_a_cell_that_fails_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1, one line says where and why, the site is told so, and has what was shown
    up to there.
    """
    lesson(folder / "00-good.ipynb", "print(6 * 7)")
    lesson(folder / "01-bad.ipynb", "1 / 0")
    built: list[site.Ran | None] = []

    def build(notebooks: Path, out: Path, *, ran: site.Ran | None = None) -> list[str]:
        assert (notebooks / "00-good.ipynb").is_file()
        assert "so far" in (notebooks / "01-bad.ipynb").read_text(encoding="utf-8")
        built.append(ran)
        return []

    monkeypatch.setattr(site, "build", build)
    assert 1 == tour.main()
    line = "01-bad.ipynb, code cell 2: ZeroDivisionError: division by zero"
    assert [line] == capsys.readouterr().err.splitlines()
    assert [{"01-bad": line}] == [ran.errors for ran in built if ran]


def test_a_page_that_is_wrong_fails_the_tour(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the site is printed, and the exit code is 1."""
    lesson(folder / "00-good.ipynb")
    monkeypatch.setattr(site, "build", lambda *_, **__: ["README.md:3: WARNING: a dead link"])
    assert 1 == tour.main()
    assert "README.md:3: WARNING: a dead link\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("expected", "error"),
    [(0, None), (1, "imlib decode 5_6 1512270533_1_42: exit code 0 instead of 1: it says nothing")],
)
def test_a_command_has_the_exit_code_that_is_right(expected: int, error: str | None) -> None:
    """Any other is an error, in one line; what it printed is kept either way."""
    shown = tour.show("imlib decode 5_6 1512270533_1_42", expected)
    assert error == shown.error
    assert "1512270533" in shown.output


def test_a_notebook_says_where_it_failed(tmp_path: Path) -> None:
    """By its name, by the number of the code cell, and by the error's first line."""
    notebook = new_notebook(
        cells=[new_markdown_cell(HEAD), new_code_cell("one = 1"), new_code_cell("one / 0")]
    )
    with pytest.raises(
        NotebookError, match=r"^01-bad\.ipynb, code cell 2: ZeroDivisionError: division by zero$"
    ):
        execute(notebook, "01-bad.ipynb", tmp_path)


@pytest.mark.parametrize("name", ["tour", "refresh", "course", "picture", "site"])
def test_tools_teach(name: str) -> None:
    """A tool that is asked for help gives its own docstring, and does nothing else."""
    asked = [sys.executable, "-m", f"tools.{name}", "--help"]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = importlib.import_module(f"tools.{name}").__doc__ or ""
    assert f"usage: python -m tools.{name}" in said
    assert told.strip() in said
    assert "Open file:" not in said
