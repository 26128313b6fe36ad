"""The notebook on the design: it leaves out no line of the specification, and its claims lead to
what exists.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from nbformat import v4

from tests.test_constants import SPECIFIED
from tools.course import anchor
from tools.notebook import NOTEBOOKS, read, write

DESIGN = NOTEBOOKS / "09-design.ipynb"
# What the specification says, section by section: names as they stand there, notes by the words
# that carry them.
LINES = {
    "The page's README": ["initialised before"],
    "The page's constants": list(SPECIFIED),
    "The page's accessors": [
        "each of them",
        "GetAccountModel",
        "GetChatModel",
        "GetDialogModel",
        "GetMessageModel",
        "GetOnlineStatusModel",
        "GetSequenceModel",
        "GetUpdatesModel",
        "GetUserModel",
    ],
    "The page's type SessionStatus": [
        "UserId, int32",
        "AuthKeyId, int64",
        "SessionId, int64",
        "ServerId, int32",
        "NetlibSessionId, int64",
        "Now, int64",
        "ToKey",
        "ToField",
        "ToValue",
        "FromKeyValue",
    ],
    "The page's design notes": [
        "weak state",
        "kept in Redis",
        "if the key is not there",
        "if the key is there",
        "a client is an auth key",
        "made of the user's id",
        "joined by an underscore",
        "the pair of auth key and session",
        "time, server, and the network library's session",
        "several clients",
        "several auth keys",
        "can't give one field an expiry",
        "the value holds a time",
        "clocks have to agree",
        "unfinished",
    ],
}


class Claim(NamedTuple):
    """One row of a table whose last column is headed "shown by".

    Parameters
    ----------
    section : str
        The heading that it stands under.
    says : str
        The row's other columns, as Markdown.
    shown : tuple of str
        Where it is shown: ``02-presence-lease.ipynb#The-rule`` (``#The-rule`` within the same
        notebook), or ``tests/test_lease.py::test_cutoff``.
    """

    section: str
    says: str
    shown: tuple[str, ...]


def claims(notebook: Path) -> list[Claim]:
    """Return the rows of all such tables of a notebook; tests stand there as a name, "in" and a
    file, both as code.
    """
    found = []
    section, wanted = "", False
    for line in markdown(notebook).splitlines():
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
    """Return those of a claim's places that do not exist; ``notebook``, whose claim it is, stands
    in a checkout.
    """
    return [place for place in claim.shown if not exists(place, notebook)]


def exists(place: str, notebook: Path) -> bool:
    """Tell whether there is such a heading, or such a test."""
    path, _, test = place.partition("::")
    if test:
        file = notebook.parent.parent / path
        return file.is_file() and bool(
            re.search(rf"^\s*def {test}\(", file.read_text("utf-8"), flags=re.MULTILINE)
        )
    name, _, wanted = place.partition("#")
    file = notebook.parent / name if name else notebook
    if not file.is_file():
        return False
    headings = re.findall(r"^#+ (.+)$", markdown(file), flags=re.MULTILINE)
    return not wanted or wanted in {anchor(re.sub(r"[`*]", "", one).strip()) for one in headings}


def markdown(notebook: Path) -> str:
    """Return a notebook's prose."""
    return "\n\n".join(cell.source for cell in read(notebook).cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("section", LINES)
def test_every_line_of_the_specification_is_there(section: str) -> None:
    """Each has a row of its own, in the specification's order, and none is invented."""
    rows = [claim.says.partition(" | ")[0] for claim in claims(DESIGN) if claim.section == section]
    assert len(LINES[section]) == len(rows)
    assert [] == [
        (line, row) for line, row in zip(LINES[section], rows, strict=True) if line not in row
    ]


def test_a_constant_has_its_value() -> None:
    """The table says of each constant what it is in imlib."""
    rows = [
        claim.says.split(" | ")[:2]
        for claim in claims(DESIGN)
        if claim.section == "The page's constants"
    ]
    assert [[name, str(int(value))] for name, (value, _) in SPECIFIED.items()] == rows


def test_every_claim_is_shown_somewhere() -> None:
    """No row's last column is empty, and all that it names exists."""
    every = claims(DESIGN)
    assert [] == [claim for claim in every if not claim.shown]
    assert [] == [(claim.says, place) for claim in every for place in leads_nowhere(claim, DESIGN)]


def test_eight_decisions_carry_the_rest() -> None:
    """The table has as many as the sentence over it says."""
    assert 8 == len([claim for claim in claims(DESIGN) if claim.section == "The decisions"])


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """Return a notebook, with a neighbour and a test, whose one row leads to all kinds
    of places.
    """
    folders = [tmp_path / name for name in ("notebooks", "tests")]
    for folder in folders:
        folder.mkdir()
    (folders[1] / "test_a.py").write_text(
        "class TestA:\n    def test_b(self):\n        ...\n", encoding="utf-8"
    )
    write(
        v4.new_notebook(cells=[v4.new_markdown_cell("# A `b` title")]),
        folders[0] / "01-other.ipynb",
    )
    table = (
        "| says | why | shown by |\n| --- | --- | --- |\n"
        "| *one* | two | [here](#A-head), [there](01-other.ipynb#A-b-title), `test_b` in "
        "`tests/test_a.py` |"
    )
    other = "| says | more |\n| --- | --- |\n| no | `test_c` in `tests/test_a.py` |"
    cells = [
        v4.new_markdown_cell(f"## A head\n\n{table}\n\n{other}"),
        v4.new_code_cell('"| a | shown by |"'),
    ]
    path = folders[0] / "02-own.ipynb"
    write(v4.new_notebook(cells=cells), path)
    return path


def test_a_claim_is_a_row(notebook: Path) -> None:
    """Rows are taken from tables that end in "shown by", with their heading, their words and all
    their places.
    """
    shown = ("#A-head", "01-other.ipynb#A-b-title", "tests/test_a.py::test_b")
    assert [Claim("A head", "*one* | two", shown)] == claims(notebook)
    assert [] == leads_nowhere(claims(notebook)[0], notebook)


@pytest.mark.parametrize(
    "place",
    [
        "#A-tail",
        "#A-hea",
        "01-other.ipynb#A-head",
        "03-none.ipynb",
        "tests/test_a.py::test_",
        "tests/test_b.py::test_b",
    ],
)
def test_what_does_not_exist_is_named(notebook: Path, place: str) -> None:
    """A heading, notebook, file or test that was renamed."""
    assert [place] == leads_nowhere(Claim("", "", ("#A-head", place)), notebook)
