"""Notebooks look alike, and their pictures say what they show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from imlib.plots import STATES
from lessons.style import alt_text, notebook_style
from tools.notebook import NOTEBOOKS, execute, read

EVERY_NOTEBOOK = [pytest.param(path, id=path.stem) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]


def pictures(notebook: NotebookNode) -> list[str]:
    """Return what is said of each picture in `notebook`."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [
        output.metadata.get("image/png", {}).get("alt", "")
        for output in outputs
        if "image/png" in output.get("data", {})
    ]


@pytest.mark.parametrize("path", EVERY_NOTEBOOK)
def test_every_picture_of_a_notebook_is_described(path: Path) -> None:
    """No picture is silent: its figure has a title, axes with labels, or a label of its own."""
    assert "" not in pictures(read(path)), (
        f"give the figure a title or set_label, then: make refresh ARGS=notebooks/{path.name}"
    )


def test_axes_without_labels_say_nothing() -> None:
    """A bare drawing can't be described: its author has to."""
    figure = Figure()
    figure.add_subplot()
    assert "" == alt_text(figure)


def test_every_pair_of_axes_is_told() -> None:
    """Titles stand before what they are titles of, axes beside each other one after the other."""
    figure = Figure()
    left, right = figure.subplots(1, 2)
    left.set(title="key", xlabel="time (s)", ylabel="sessions")
    right.set_title("field", loc="left")
    figure.suptitle("leases")
    assert "leases: key: sessions over time (s); field" == alt_text(figure)


def test_a_kernel_keeps_the_description_beside_the_picture(tmp_path: Path) -> None:
    """The style may be set twice and before the first figure; screens of double density keep their
    width.
    """
    imports = "from matplotlib import pyplot as plt\nfrom lessons.style import notebook_style\n"
    draw = "figure = plt.figure()\nfigure.add_subplot(title='a dot')\nfigure.set_label('{}')"
    sharp = "%config InlineBackend.figure_formats = ['retina']\nnotebook_style()"
    cells = [
        imports + "notebook_style()\n" * 2,
        draw.format(""),
        draw.format("A dot in the middle."),
        sharp,
        draw.format(""),
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    execute(notebook, "pictures.ipynb", tmp_path)
    assert ["a dot", "A dot in the middle.", "a dot"] == pictures(notebook)
    assert {"alt", "width", "height"} == notebook.cells[-1].outputs[0].metadata["image/png"].keys()


@pytest.fixture
def styled() -> Iterator[None]:
    """Set the style, and leave neither figures nor options behind."""
    with mpl.rc_context(), pd.option_context("display.width", 80):
        plt.switch_backend("agg")
        notebook_style()
        yield
        plt.close("all")


def test_notebooks_print_frames_whole(styled: None) -> None:
    """A frame of a dozen columns is neither cut nor wrapped, and a figure is as narrow as a phone
    wants it.
    """
    wide = pd.DataFrame([range(12)], columns=[f"column{at}" for at in range(12)])
    assert 2 == len(str(wide).splitlines())
    assert mpl.rcParams["figure.figsize"][0] < 6


def test_lines_differ_in_more_than_colour(styled: None) -> None:
    """Two lines of a notebook have dash patterns of their own, and no colour that means a state."""
    first, second = plt.plot([0, 1], [[0, 1], [1, 0]])
    assert first.get_linestyle() != second.get_linestyle()
    assert not {to_hex(line.get_color()).upper() for line in (first, second)} & {
        colour for colour, _ in STATES.values()
    }
