"""The house: which module imports which, and that nothing leans on what stands above it."""

from __future__ import annotations

import graphlib
from fnmatch import fnmatchcase
from pathlib import Path
from textwrap import dedent

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from imlib.house import LAYERS, draw, layer_of, needs, upward


def test_imports_run_one_way() -> None:
    """No module of imlib imports one that imports it, by however many steps."""
    order = list(graphlib.TopologicalSorter(needs()).static_order())  # a CycleError names the circle
    assert order.index("errors") < order.index("wire") < order.index("deployment")


def test_no_import_goes_up() -> None:
    """Every module is in one layer, and imports from that layer and those below it alone."""
    assert [] == upward(needs())


def test_no_layer_names_in_vain() -> None:
    """Each name in `LAYERS` is that of a module that exists."""
    everything = needs()
    names = [name for layer in LAYERS for name in layer.modules]
    assert [] == [name for name in names if not any(fnmatchcase(module, name) for module in everything)]


def test_a_module_without_a_layer_is_named() -> None:
    """Whoever adds a module is told where to place it."""
    with pytest.raises(LookupError, match=r"^attic is in 0 layers: name it in one of imlib\.house\.LAYERS$"):
        layer_of("attic")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a package that imports in every way there is."""
    files = {
        "__init__": "from made.way import enter",
        "way": "def enter():\n    from made.rooms import Room\n    import made.words",
        "rooms.__init__": "from made.rooms.room import Room",
        "rooms.room": """
            from typing import TYPE_CHECKING
            from made import words
            import json
            if TYPE_CHECKING:
                from made.way import enter
            else:
                from made.quiet import hush
            """,
        "words": "",
        "quiet": "from json import dumps",
    }
    for name, text in files.items():
        path = (tmp_path / "made").joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return tmp_path / "made"


def test_what_is_an_import(package: Path) -> None:
    """Within functions too, through a folder's face, whole modules; but not for types alone, nor others' packages."""
    assert {
        "__init__": {"way"},
        "way": {"rooms", "words"},
        "rooms": {"rooms.room"},
        "rooms.room": {"words", "quiet"},
        "words": set(),
        "quiet": set(),
    } == needs(package)


def test_every_arrow_points_down() -> None:
    """The picture names each layer, and draws an arrow for each pair of layers, from the higher to the lower."""
    everything = needs()
    axes = draw(everything, Figure().add_subplot())
    arrows = [text for text in axes.texts if isinstance(text, Annotation)]
    pairs = {(layer_of(one), layer_of(other)) for one, others in everything.items() for other in others}
    assert len([pair for pair in pairs if pair[0] != pair[1]]) == len(arrows)
    assert all(arrow.xyann[1] < arrow.xy[1] for arrow in arrows)
    assert axes.yaxis_inverted()
    assert {layer.name for layer in LAYERS} <= {text.get_text() for text in axes.texts}
