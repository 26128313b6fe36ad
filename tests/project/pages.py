"""The site of the committed notebooks, made once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import site
from tools.notebook import NOTEBOOKS


@dataclass(frozen=True)
class Pages:
    """A site that was built, and what was wrong with it."""

    folder: Path
    complaints: list[str]


def committed(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Return the site; the first process that asks builds it, the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    said = folder.with_suffix(".complaints")
    with open(folder.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            # Nothing was measured as far as these pages know: what they show doesn't depend on the
            # machine.
            complaints = site.build(NOTEBOOKS, folder, figures=folder.with_suffix(".json"))
            said.write_text("\n".join(complaints), encoding="utf-8")
    return Pages(folder, said.read_text(encoding="utf-8").splitlines())
