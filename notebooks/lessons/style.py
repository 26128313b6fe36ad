"""How notebooks look: pandas and matplotlib set up in one place, so that outputs compare to the
letter.

A picture carries its description with it, for those who can't see it.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def notebook_style() -> None:
    """Set pandas' display options and matplotlib's defaults for this process; every notebook's
    first cell calls it.

    Frames print whole and without wrapping their text; figures are narrow, with letters that a
    phone still shows, and are stored with their `alt_text`.
    """
    # On a machine's first run matplotlib says on stderr that it builds its font cache: no news to a
    # lesson.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl
    import pandas as pd
    from matplotlib.rcsetup import cycler

    for option, value in {
        "width": 200,
        "max_columns": 20,
        "max_rows": 60,
        "max_colwidth": 120,
    }.items():
        pd.set_option(f"display.{option}", value)
    # Lines differ in more than colour, and none has a colour that means a state.
    lines = cycler(color=["#000000", "#B5446E", "#1B8A6B", "#6A4C93"]) + cycler(
        linestyle=["-", "--", ":", "-."]
    )
    mpl.rcParams.update(
        {
            "figure.figsize": (5.6, 3.4),
            "figure.dpi": 130,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#E4E4E4",
            "axes.axisbelow": True,
            "axes.prop_cycle": lines,
            "hatch.linewidth": 0.8,
            "text.parse_math": False,  # a $ in a name is a dollar
            "legend.frameon": False,
            "legend.fontsize": 9,
        }
    )
    # ipykernel sets the variable; elsewhere figures have windows or nobody to show them to.
    if "inline" in os.environ.get("MPLBACKEND", "") and "IPython" in sys.modules:
        _describe_figures()


def alt_text(figure: Figure) -> str:
    """Return what a picture shows, in words: its label, or else its titles, axes and legends; empty
    without these.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        ``figure.set_label("…")`` gives it a sentence of its author's.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> figure = Figure()
    >>> axes = figure.add_subplot(title="one evening", xlabel="time (s)", ylabel="sessions")
    >>> _ = axes.plot([0, 1], label="online"), axes.plot([1, 2], label="stale"), axes.legend()
    >>> alt_text(figure)
    'one evening: sessions over time (s), with online, stale'
    >>> figure.set_label("Sessions pile up until the laptop stops.")
    >>> alt_text(figure)
    'Sessions pile up until the laptop stops.'
    """
    if label := str(figure.get_label()):
        return label
    parts = [text for axes in figure.axes if (text := _axes_text(axes))]
    return ": ".join(filter(None, (figure.get_suptitle(), "; ".join(parts))))


def _axes_text(axes: Axes) -> str:
    title = axes.get_title() or axes.get_title("left") or axes.get_title("right")
    said = " over ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))
    legend = axes.get_legend()
    if entries := [text.get_text() for text in legend.get_texts()] if legend else []:
        said = ", with ".join(filter(None, (said, ", ".join(entries))))
    return ": ".join(filter(None, (title, said)))


def _describe_figures() -> None:
    from IPython import get_ipython
    from matplotlib.figure import Figure

    shell = get_ipython()
    if shell is None:
        return
    # Now instead of at the first figure, where it would replace the formatter that is set here.
    shell.run_line_magic("matplotlib", "inline")
    formatter = shell.display_formatter.formatters["image/png"]
    draw = formatter.for_type(Figure)

    def described(figure: Figure) -> Any:
        drawn = draw(figure)
        if drawn is None:
            return None
        # A formatter may return metadata beside its data: the one for screens of double density
        # does.
        data, metadata = drawn if isinstance(drawn, tuple) else (drawn, {})
        return data, metadata | {"alt": alt_text(figure)}

    formatter.for_type(Figure, described)
