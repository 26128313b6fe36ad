"""The layers of the house: the contract in pyproject.toml is kept, and what breaks it is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.notebook import ROOT

LINT = "from importlinter.cli import lint_imports_command as lint; lint()"


def lint(folder: Path) -> tuple[int, str]:
    """Check the package in a folder against its contracts; return the exit code and
    what was said.
    """
    run = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, " ".join(run.stdout.split())


def test_the_layers_are_kept() -> None:
    """No room imports from above or beside it, none is without a place, and there is no circle."""
    code, said = lint(ROOT)
    assert 0 == code, said


@pytest.mark.parametrize(
    ("module", "text", "named"),
    [
        ("lease", "import imlib.deployment", "imlib.lease -> imlib.deployment"),
        (
            "lease",
            "def late():\n    from imlib import deployment",
            "imlib.lease -> imlib.deployment",
        ),
        ("lease", "import imlib", "imlib.lease -> imlib"),
        ("constants", "import imlib.errors", "imlib.constants -> imlib.errors"),
        ("models/records", "import imlib.models.chat", ".records -> .chat"),
        ("plots", "import lessons.plots", "imlib.plots -> lessons.plots"),
        ("attic", "", "imlib.attic"),
    ],
    ids=["up", "in a function", "by the face", "beside", "a circle", "the lessons", "no place"],
)
def test_what_breaks_them_is_named(tmp_path: Path, module: str, text: str, named: str) -> None:
    """An import that a contract forbids, wherever it stands, or a module that no layer names."""
    shutil.copytree(
        ROOT / "imlib", tmp_path / "imlib", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "imlib" / f"{module}.py").open("a", encoding="utf-8") as file:
        file.write(f"\n{text}\n")
    code, said = lint(tmp_path)
    assert 1 == code
    assert named in said
