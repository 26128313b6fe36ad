"""Notebooks look alike, and their pictures say what they show."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from imlib.display import alt_text
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
    """The style may be set twice and before the first figure; screens of double density keep their width."""
    imports = "from matplotlib import pyplot as plt\nfrom imlib.display import notebook_style\n"
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
