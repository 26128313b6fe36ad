"""How notebooks look: pandas and matplotlib set up in one place, so that outputs compare to the letter."""

from __future__ import annotations

import logging

__all__ = ["notebook_style"]


def notebook_style() -> None:
    """Set pandas' display options and matplotlib's defaults for this process; every notebook's first cell calls it.

    Frames print whole and without wrapping their text; figures are narrow, with letters that a phone still shows.
    """
    # On a machine's first run matplotlib says on stderr that it builds its font cache: no news to a lesson.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib as mpl
    import pandas as pd
    from matplotlib.rcsetup import cycler

    for option, value in {"width": 200, "max_columns": 20, "max_rows": 60, "max_colwidth": 120}.items():
        pd.set_option(f"display.{option}", value)
    # Lines differ in more than colour, and none has a colour that means a state.
    lines = cycler(color=["#000000", "#B5446E", "#1B8A6B", "#6A4C93"]) + cycler(linestyle=["-", "--", ":", "-."])
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
            "legend.frameon": False,
            "legend.fontsize": 9,
        }
    )
