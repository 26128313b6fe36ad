"""The lease explorer: sliders over a `lessons.simulation.Scenario`, and its picture.

Where widgets can't run the picture stays, and it is all that is saved: outputs compare to the
letter.
"""

from __future__ import annotations

import os
from base64 import b64encode
from importlib.util import find_spec
from io import BytesIO
from typing import Any, Final

from matplotlib.figure import Figure

from imlib.lease import Lease
from lessons.plots import lease_timeline
from lessons.simulation import RANGES, Scenario

_SAYS: Final = {
    "period": "report every (s)",
    "lost": "lost in a row",
    "skew": "clock ahead (s)",
    "sessions": "sessions",
}


def picture(scenario: Scenario) -> Figure:
    """Draw a scenario: its timeline with what is true beside what is seen, and its summary
    underneath.
    """
    # Fixed margins: a layout that is worked out costs a third of the time between a moved slider
    # and its picture.
    figure = Figure(figsize=(5.6, 5.2), layout="none")  # type: ignore[arg-type]  # documented, but not in its types
    figure.subplots_adjust(left=0.13, right=0.93, top=0.9, bottom=0.27, hspace=0.1)
    lease_timeline(scenario.observed(), figure, scenario.there())
    figure.text(0.5, 0.01, scenario.summary().replace("; ", ";\n"), horizontalalignment="center")
    figure.set_label(scenario.summary())
    return figure


class Explorer:
    """A scenario to look at, and, in a front end that shows widgets, to play with.

    As the result of a cell it is a picture. In a kernel that a Jupyter server started, JupyterLab's
    for one, controls come above it, and the picture follows them.

    Parameters
    ----------
    scenario : Scenario
        Where it begins.
    live : bool, optional
        Whether to bring the controls; by default where a Jupyter server is found.
    """

    def __init__(self, scenario: Scenario | None = None, *, live: bool | None = None) -> None:
        self.scenario = scenario or Scenario()
        # A Jupyter server tells its kernels this; nbconvert, nbval and papermill start theirs
        # without it.
        served = "JPY_SESSION_NAME" in os.environ and find_spec("ipywidgets") is not None
        self._live = served if live is None else live

    def __repr__(self) -> str:
        return self.scenario.summary()

    def controls(self) -> Any:
        """Return the widgets, of the class ``imlib-explorer``: each changes `scenario` and the
        picture.
        """
        import ipywidgets as widgets  # type: ignore[import-untyped]  # it has no types, and no stubs

        wide = {
            "style": {"description_width": "9em"},
            "layout": {"width": "30em", "max_width": "100%"},
        }
        controls: dict[str, Any] = {
            name: widgets.IntSlider(
                getattr(self.scenario, name), low, high, description=_SAYS[name], **wide
            )
            for name, (low, high) in RANGES.items()
        }
        leases = [(lease.value, lease) for lease in Lease]
        controls["lease"] = widgets.Dropdown(
            options=leases, value=self.scenario.lease, description="lease", **wide
        )
        shown = widgets.HTML().add_class("imlib-explorer-picture")

        def redraw(_: object = None) -> None:
            self.scenario = Scenario(**{name: control.value for name, control in controls.items()})
            source = f"data:image/png;base64,{_png(self.scenario)}"
            shown.value = f'<img src="{source}" alt="{self.scenario.summary()}">'

        for name, control in controls.items():
            control.add_class(f"imlib-explorer-{name}").observe(redraw, "value")
        redraw()
        return widgets.VBox([*controls.values(), shown]).add_class("imlib-explorer")

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, Any], dict[str, Any]]:
        # What widgets say of themselves in plain text names ids of this run; the summary is the
        # same on every run.
        widget = self.controls()._repr_mimebundle_() if self._live else {}
        still = {"text/plain": repr(self), "image/png": _png(self.scenario)}
        return widget | still, {"image/png": {"alt": repr(self)}}


def _png(scenario: Scenario) -> str:
    drawn = BytesIO()
    picture(scenario).savefig(drawn, format="png")
    return b64encode(drawn.getvalue()).decode()
