"""How nbval compares the notebooks' outputs."""

from __future__ import annotations

import pytest
from nbval.plugin import IPyNbFile


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave HTML out: every frame is there as plain text too, and markup is no
    statement of ours.
    """
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += ("text/html",)
