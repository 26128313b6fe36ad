"""The notebooks as one course: their order and paths, told by their own titles, tables and
metadata.

    python -m tools.course

writes what follows from them, without running anything: each notebook's `place` cell, the `index`
cell of the map, the README's table. `make refresh` does so as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from nbformat import NotebookNode

from tools import command_line
from tools.notebook import NOTEBOOKS, ROOT, describe, read, write

MAP: Final = "00-start-here"
README: Final = ROOT / "README.md"
FORMS: Final = ("lesson", "how-to", "explanation")
PATHS: Final = {
    "afternoon": "First afternoon: to understand the server, by running what it does.",
    "investigator": "Investigator: something is strange in production; the last step alone "
    "has the answers.",
    "maintainer": "Maintainer: the code is to be changed, and its reasons have to be known first.",
}
"""What each path is for, in one sentence; its title stands before the colon."""
_TABLE: Final = re.compile(
    r"(?<=<!-- notebooks -->\n).*?(?=<!-- end of notebooks -->)", flags=re.DOTALL
)
_LINK: Final = re.compile(r"\]\(([\w-]+)\.ipynb(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Entry:
    """One notebook of the course, in its own words.

    Parameters
    ----------
    name : str
        The file's name without its ending.
    title, sentence : str
        Its H1, and the sentence under it.
    minutes : int
        How long it takes.
    form : str
        One of `FORMS`; empty where the notebook doesn't say.
    paths : tuple of str
        Those of `PATHS` that lead through it.
    before : tuple of str
        The names of the notebooks to be read before it.
    next : str
        The name that its last cell leads to; empty where it leads nowhere.
    """

    name: str
    title: str
    sentence: str
    minutes: int
    form: str
    paths: tuple[str, ...]
    before: tuple[str, ...]
    next: str

    @property
    def number(self) -> str:
        """The two digits that its name begins with."""
        return self.name.partition("-")[0]


def _entry(path: Path) -> Entry:
    return _read_entry(path, path.stat().st_mtime_ns)


@lru_cache
def _read_entry(path: Path, changed_at: int) -> Entry:
    """Return what a notebook says of itself; as long as it doesn't change it is read once."""
    notebook = read(path)
    description = describe(notebook, path.name)
    own = notebook.metadata.get("imlib", {})
    row = next(
        (line for line in notebook.cells[0].source.splitlines() if re.match(r"\|.*\]\(", line)), ""
    )
    leads = re.match(r"\*\*Next:\*\* [\s\S]*?" + _LINK.pattern, notebook.cells[-1].source)
    return Entry(
        name=path.stem,
        title=description.title,
        sentence=description.sentence,
        minutes=description.minutes,
        form=own.get("form", ""),
        paths=tuple(own.get("paths", ())),
        before=tuple(_LINK.findall(row.split("|")[1]) if row else ()),
        next=leads[1] if leads else "",
    )


def course() -> list[Entry]:
    """Return all notebooks, in the course's order."""
    return [_entry(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]


def entry(name: str) -> Entry:
    """Return the notebook of a name."""
    return _entry(NOTEBOOKS / f"{name}.ipynb")


def path(name: str) -> list[Entry]:
    """Return the notebooks that a path leads through, in order."""
    return [one for one in course() if name in one.paths]


def minutes(name: str) -> int:
    """Return how many minutes a path takes."""
    return sum(step.minutes for step in path(name))


def title(name: str) -> str:
    """Return what a path is called."""
    return PATHS[name].partition(":")[0]


def anchor(heading: str) -> str:
    """Return the anchor that Jupyter gives a heading; the site's pages have the same ones."""
    return heading.replace(" ", "-")


def index(folder: str = "") -> str:
    """Return the table of all notebooks, in Markdown.

    Parameters
    ----------
    folder : str
        Where the notebooks lie, as seen from the page that holds the table: ``"notebooks/"`` for
        the README.
    """
    rows = [_row(one, folder) for one in course()]
    return "\n".join(["| notebook | at the end |", "| --- | --- |", *rows])


def ways(folder: str = "") -> str:
    """Return the paths, each with its purpose, its time and its notebooks, as a list in
    Markdown.
    """
    return "\n".join(f"- {_way(name, folder)}" for name in PATHS)


def place(name: str) -> str:
    """Return the text of a notebook's `place` cell: its form, and where it stands in its paths."""
    here = entry(name)
    lines = []
    for one in here.paths:
        steps = path(one)
        at = steps.index(here)
        trail = " · ".join(
            f"**{step.number}**" if step == here else f"[{step.number}]({step.name}.ipynb)"
            for step in steps
        )
        then = (
            f"then [{steps[at + 1].title}]({steps[at + 1].name}.ipynb)"
            if at + 1 < len(steps)
            else "it ends here"
        )
        lines.append(f"- {title(one)}: {trail}; {then}")
    kind = f"{'An' if here.form.startswith('e') else 'A'} {here.form}"
    return "\n".join(
        [f"*{kind}. Where it stands in [the paths]({MAP}.ipynb#Three-paths):*", "", *lines]
    )


def fill(notebook: NotebookNode, name: str) -> None:
    """Write into `notebook` the cells that are the course's: `place`, and in the map `index`."""
    texts = {"place": place(name), "index": f"{ways()}\n\n{index()}"}
    for cell in _markdown(notebook):
        for tag in texts.keys() & set(cell.metadata.get("tags", [])):
            cell.source = texts[tag]


def readme() -> str:
    """Return the README's text with the table of notebooks as it has to be."""
    table = f"{index('notebooks/')}\n"
    return _TABLE.sub(lambda _: table, README.read_text(encoding="utf-8"))


def renew(paths: Iterable[Path] | None = None) -> list[str]:
    """Write what the course says into notebooks and README; return the names of the files that
    changed.

    Parameters
    ----------
    paths : iterable of Path, optional
        The notebooks to write to; the README is written to only without it.
    """
    changed = []
    for notebook_path in sorted(NOTEBOOKS.glob("*.ipynb")) if paths is None else paths:
        notebook = read(notebook_path)
        before = [cell.source for cell in notebook.cells]
        fill(notebook, notebook_path.stem)
        if before != [cell.source for cell in notebook.cells]:
            write(notebook, notebook_path)
            changed.append(notebook_path.name)
    if paths is None and (text := readme()) != README.read_text(encoding="utf-8"):
        README.write_text(text, encoding="utf-8")
        changed.append(README.name)
    return changed


def _markdown(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def _row(entry: Entry, folder: str) -> str:
    about = (
        f"{entry.minutes} min" if entry.form == "lesson" else f"{entry.form}, {entry.minutes} min"
    )
    # "At the end" stands over the column already.
    end = entry.sentence.removeprefix("At the end ").removesuffix(".")
    return f"| [{entry.number} {entry.title}]({folder}{entry.name}.ipynb) ({about}) | {end} |"


def _way(name: str, folder: str) -> str:
    hours, rest = divmod(minutes(name), 60)
    time = " ".join([f"{hours} h"] * bool(hours) + [f"{rest} min"] * bool(rest))
    steps = " · ".join(f"[{step.number}]({folder}{step.name}.ipynb)" for step in path(name))
    return f"**{title(name)}**, {time}{PATHS[name].removeprefix(title(name))} {steps}"


if __name__ == "__main__":
    command_line("tools.course", __doc__).parse_args()
    print(*(renew() or ["as it was"]), sep="\n")
