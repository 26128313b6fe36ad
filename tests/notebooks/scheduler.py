"""A notebook as a scheduler runs it: by papermill, from a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.private_servers.process import private_folder
from tools.notebook import NOTEBOOKS, environment


def run(
    name: str, folder: Path, variables: dict[str, str] | None = None, **parameters: object
) -> Path:
    """Run a notebook from `folder`, with other parameters; return where its copy with outputs is.

    The `variables` are added to its environment.

    Raises
    ------
    AssertionError
        A cell failed; the message is what papermill says of it.
    """
    words = [word for key, value in parameters.items() for word in ("-p", key, str(value))]
    output = folder / f"{name}.ipynb"
    with private_folder() as private:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "papermill",
                "--no-progress-bar",
                NOTEBOOKS / output.name,
                output,
                *words,
            ],
            cwd=folder,
            env=environment(private) | (variables or {}),
            capture_output=True,
            text=True,
            check=False,
        )
    assert 0 == ended.returncode, ended.stderr
    return output
