"""The lease explorer: its picture draws the scenario, and follows its controls."""

from __future__ import annotations

import base64
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection

import imlib
from lessons.explorer import Explorer, picture
from lessons.simulation import RANGES, Scenario
from lessons.style import alt_text, notebook_style

VIEW = "application/vnd.jupyter.widget-view+json"


def test_the_picture_draws_the_scenario() -> None:
    """Lines are the frames', thick lines are the truth, and the sentence is under it and read out
    for it.
    """
    notebook_style()
    scenario = Scenario(lost=3, sessions=2)
    figure = picture(scenario)
    clocks, bars = figure.axes
    (ttl,) = (line.get_ydata() for line in clocks.lines if line.get_label() == "key's TTL")
    assert scenario.observed().ttl.to_list() == np.asarray(ttl).tolist()
    lines = [line for line in bars.collections if isinstance(line, LineCollection)]
    truths = [np.asarray(line.get_segments())[0, :, 0].tolist() for line in lines]
    assert [[0, 40], [2, 60]] == truths
    assert scenario.summary() == figure.texts[0].get_text().replace("\n", " ") == alt_text(figure)


def bundle(explorer: Explorer) -> dict[str, Any]:
    """Return what a cell shows that ends with an explorer."""
    return explorer._repr_mimebundle_()[0]


def drawn(scenario: Scenario) -> str:
    """Return what the picture of a scenario is stored as."""
    image: str = bundle(Explorer(scenario, live=False))["image/png"]
    return image


def test_without_widgets_it_is_a_picture_and_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Jupyter server, no widget: a PNG with its description, the same to the letter
    each time.
    """
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    notebook_style()
    explorer = Explorer(Scenario(lost=1))
    data, metadata = explorer._repr_mimebundle_()
    assert {"text/plain": Scenario(lost=1).summary(), "image/png": drawn(Scenario(lost=1))} == data
    assert {"image/png": {"alt": alt_text(picture(Scenario(lost=1)))}} == metadata
    image = base64.b64decode(data["image/png"])
    assert (b"\x89PNG", 728, 676) == (image[:4], *struct.unpack(">II", image[16:24]))


def test_under_a_jupyter_server_it_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server tells its kernels their session's name; beside the widget the picture and the
    sentence stay.
    """
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/02-presence-lease.ipynb")
    explorer = Explorer()
    assert {"text/plain", "image/png", VIEW} == set(bundle(explorer))
    assert repr(explorer) == Scenario().summary() == bundle(explorer)["text/plain"]
    assert VIEW not in bundle(Explorer(live=False))


@pytest.mark.parametrize(
    ("name", "value"),
    [("period", 16), ("lost", 3), ("skew", -6), ("sessions", 4), ("lease", imlib.Lease.FIELD)],
)
def test_the_picture_follows_a_moved_control(name: str, value: Any) -> None:
    """Every control changes its own number of the scenario, and the picture with its description at
    once.
    """
    start = Scenario(sessions=2)
    explorer = Explorer(start, live=True)
    box = explorer.controls()
    (control,) = (one for one in box.children if f"imlib-explorer-{name}" in one._dom_classes)
    shown = box.children[-1]
    before = shown.value
    control.value = value
    scenario = replace(start, **{name: value})
    assert scenario == explorer.scenario
    assert (
        f'<img src="data:image/png;base64,{drawn(scenario)}" alt="{scenario.summary()}">'
        == shown.value
        != before
    )


def test_controls_are_named_and_bounded() -> None:
    """Classes find the whole, each control and the picture; sliders say what they move and go no
    further than it.
    """
    box = Explorer(live=True).controls()
    assert "imlib-explorer" in box._dom_classes
    *sliders, lease, shown = box.children
    assert RANGES == {
        name: (slider.min, slider.max) for name, slider in zip(RANGES, sliders, strict=True)
    }
    assert ["report every (s)", "lost in a row", "clock ahead (s)", "sessions", "lease"] == [
        control.description for control in (*sliders, lease)
    ]
    assert "imlib-explorer-picture" in shown._dom_classes
