"""Run notebooks in place, each in a fresh kernel on servers of its own, and leave them fit for a
commit.

    python -m tools.refresh [NOTEBOOK ...]

Without names: all of them, and the README's table. What the course says of a notebook is renewed as
well. The diff is then read by a person.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools import command_line, course
from tools.notebook import NOTEBOOKS, NotebookError, execute, normalise, read, write


def refresh(path: Path) -> bool:
    """Renew the outputs of the notebook at `path`, unless it fails; return whether it changed."""
    before = path.read_bytes()
    notebook = read(path)
    execute(notebook, path.name, path.parent)
    normalise(notebook)
    course.fill(notebook, path.stem)
    write(notebook, path)
    return path.read_bytes() != before


def main(named: list[Path]) -> int:
    """Refresh the notebooks that are named, or all; return the exit code."""
    paths = named or sorted(NOTEBOOKS.glob("*.ipynb"))
    failed = 0
    for path in paths:
        try:
            print(f"{path.name}: {'changed' if refresh(path) else 'as it was'}")
        except NotebookError as error:
            failed += 1
            print(error, file=sys.stderr)
        except FileNotFoundError:
            failed += 1
            print(f"{path}: no such notebook", file=sys.stderr)
    if not named:
        # A title or a time that changed stands in other notebooks too.
        for name in course.renew():
            print(f"{name}: its place in the course changed")
    return 1 if failed else 0


if __name__ == "__main__":
    parser = command_line("tools.refresh", __doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    sys.exit(main(parser.parse_args().notebooks))
