"""Claims and where they are shown: the tables of a notebook whose last column leads to headings and tests.

Source: the repository around this package; an installed copy has none, and then nothing can be looked up.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple


class Claim(NamedTuple):
    """One row of such a table.

    Parameters
    ----------
    section : str
        The heading that it stands under.
    says : str
        The row's other columns, as Markdown.
    shown : tuple of str
        Where it is shown: ``02-presence-lease.ipynb#The-rule`` (``#The-rule`` within the same notebook), or
        ``tests/test_lease.py::test_horizon``.
    """

    section: str
    says: str
    shown: tuple[str, ...]


def checkout() -> Path | None:
    """Return the repository that this package is used from, if it is."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "notebooks").is_dir() and (root / "tests").is_dir() else None


def claims(notebook: Path) -> list[Claim]:
    """Return the rows of all tables of a notebook whose last column is headed "shown by".

    There stand links to headings, and tests: a name, "in" and a file, the two of them as code.
    """
    found = []
    section, wanted = "", False
    for line in "\n\n".join(_markdown(notebook)).splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        *columns, last = line.strip("| ").split(" | ")
        if not line.startswith("|"):
            wanted = False
        elif last == "shown by":
            wanted = True
        elif wanted and not line.startswith("| ---"):
            shown = re.findall(r"]\(([^)]+)\)|`(test_\w+)` in `(tests/[^`]+)`", last)
            places = tuple(link or f"{file}::{test}" for link, test, file in shown)
            found.append(Claim(section, " | ".join(columns), places))
    return found


def leads_nowhere(claim: Claim, notebook: Path) -> list[str]:
    """Return those of a claim's places that do not exist; ``notebook``, whose claim it is, stands in a checkout."""
    return [place for place in claim.shown if not _exists(place, notebook)]


def _exists(place: str, notebook: Path) -> bool:
    path, _, test = place.partition("::")
    if test:
        # Found in its text: the notebook's Python need not be able to run the tests.
        file = notebook.parent.parent / path
        return file.is_file() and bool(re.search(rf"^\s*def {test}\(", file.read_text("utf-8"), flags=re.MULTILINE))
    name, _, anchor = place.partition("#")
    file = notebook.parent / name if name else notebook
    if not file.is_file():
        return False
    headings = re.findall(r"^#+ (.+)$", "\n\n".join(_markdown(file)), flags=re.MULTILINE)
    return not anchor or anchor in {re.sub(r"[`*]", "", one).strip().replace(" ", "-") for one in headings}


def _markdown(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
