"""The site: notebooks with the outputs that they have, the project's own texts and its API
reference, as pages.

Sphinx renders it with myst-nb and furo; it needs no network, neither built nor read, and runs no
notebook.

    python -m tools.site [FOLDER]

renders the notebooks as they were committed, into build/site by default. `make tour` runs them
first.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from typing import Any, Final

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from tools import command_line, course
from tools.figures import duration
from tools.notebook import NOTEBOOKS, ROOT, read, write

PAGES: Final = Path(__file__).parent / "pages"
FIGURES: Final = ROOT / "build" / "bench.json"
TEXTS: Final = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")
_IMAGES: Final = {".gif", ".jpg", ".png", ".svg"}
_LANGUAGES: Final = {
    ".py": "python",
    ".yml": "yaml",
    ".toml": "toml",
    ".json": "json",
    ".sh": "sh",
    "": "make",
}
# A link to a file, within a text in Markdown: not to a place on the web, nor to a heading on the
# same page.
_LINK: Final = re.compile(r"(?<=\]\()(?![\w+.-]+:|#)(?P<path>[^)\s#]+)")


@dataclass(frozen=True)
class Shown:
    """A command of imlib's, after it ran.

    Parameters
    ----------
    command, output : str
        What was typed, and what it printed.
    error : str or None
        What was wrong with it, in one line.
    """

    command: str
    output: str
    error: str | None = None


@dataclass(frozen=True)
class Ran:
    """What the tour has to say beside the notebooks.

    Parameters
    ----------
    where : str
        The servers that they ran on.
    errors : mapping
        For the name of each notebook that failed, one line that says where and why.
    commands : tuple of Shown
    """

    where: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[Shown, ...] = ()


def build(
    notebooks: Path, out: Path, *, ran: Ran | None = None, figures: Path = FIGURES
) -> list[str]:
    """Render the site from notebooks that have run; none is run here, and none is changed.

    Parameters
    ----------
    notebooks : Path
        A folder like ``notebooks/``: the notebooks, and ``solutions/`` beside them.
    out : Path
        Where the pages go: ``index.html`` first, ``notebooks/NN-name.html`` for each notebook. What
        lies there stays.
    ran : Ran, optional
        What the tour has to say; without it the page of the sample world says how to make it.
    figures : Path
        What ``make bench`` left, if it did.

    Returns
    -------
    list of str
        What is wrong, one line each: a dead link or anchor, a docstring that can't be rendered.
        Empty if nothing is.
    """
    ran = ran or Ran()
    with tempfile.TemporaryDirectory(prefix="imlib-site-") as folder:
        source = Path(folder) / "source"
        shutil.copytree(PAGES, source, ignore=shutil.ignore_patterns("__pycache__"))
        _lay_out(notebooks, source, ran, figures)
        made, doctrees = Path(folder) / "made", Path(folder) / "doctrees"
        made.mkdir()
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "sphinx",
                "-q",
                "-j",
                "2",
                "-b",
                "html",
                "-d",
                doctrees,
                source,
                made,
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONUTF8": "1", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        # Not made where it goes: myst-nb keeps the pictures a second time, in a folder beside its
        # output.
        shutil.copytree(made, out, dirs_exist_ok=True)
        said = (
            run.stderr.replace(f"{source}{os.sep}", "").replace(f"{ROOT}{os.sep}", "").splitlines()
        )
    complaints = [line for line in said if line.strip()]
    if run.returncode and not complaints:
        complaints = [f"Sphinx ended with exit code {run.returncode} and says nothing"]
    return complaints


def _lay_out(notebooks: Path, source: Path, ran: Ran, figures: Path) -> None:
    """Write into `source` all that Sphinx reads, in the order of the repository, so that its own
    links hold.
    """
    for path in sorted(notebooks.glob("*.ipynb")):
        notebook = read(path)
        _prepare(notebook, ran.errors.get(path.stem))
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = _with_targets(cell.source, f"notebooks/{path.name}", source)
        (source / "notebooks").mkdir(exist_ok=True)
        write(notebook, source / "notebooks" / path.name)
    texts = {name: ROOT / name for name in TEXTS}
    solutions = sorted((notebooks / "solutions").glob("*.md"))
    texts |= {f"notebooks/solutions/{path.name}": path for path in solutions}
    for name, path in texts.items():
        _put(source / name, _with_targets(path.read_text(encoding="utf-8"), name, source))
    _put(source / "bench.md", _bench(figures))
    _put(source / "sample.md", _sample(ran.commands))
    _put(source / "index.md", _index(ran, solutions))


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _prepare(notebook: NotebookNode, error: str | None) -> None:
    """Put each picture's description where myst-nb looks for it, and say under the title if a cell
    has failed.
    """
    for cell in notebook.cells:
        described = [
            output.get("metadata", {}).get("image/png", {}).get("alt")
            for output in cell.get("outputs", [])
        ]
        if alt := "; ".join(filter(None, described)):
            cell.metadata["mystnb"] = {"image": {"alt": alt}}
    if error:
        notebook.cells.insert(1, new_markdown_cell(_error(error)))


def _with_targets(text: str, name: str, source: Path) -> str:
    """Return a page's text with its links to files of the repository led to pages that show these
    files.
    """

    def target(link: re.Match[str]) -> str:
        path = link["path"]
        inside = os.path.normpath(os.path.join(os.path.dirname(name), path))
        file = ROOT / inside
        if inside.startswith("..") or not file.is_file() or file.suffix in {".md", ".ipynb"}:
            return path  # a page already, or a dead link, of which Sphinx will say so
        if file.suffix in _IMAGES:
            (source / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, source / inside)
            return path
        shown = (
            f"````{_LANGUAGES.get(file.suffix, 'text')}\n{file.read_text(encoding='utf-8')}````\n"
        )
        _put(source / f"{inside}.md", f"---\norphan: true\n---\n\n# `{inside}`\n\n{shown}")
        return f"{path}.md"

    return _LINK.sub(target, text)


def _index(ran: Ran, solutions: list[Path]) -> str:
    entries = course.course()
    where = f"on {ran.where}" if ran.where else "when they were last committed"
    return Template((PAGES / "index.md").read_text(encoding="utf-8")).substitute(
        ways=course.ways("notebooks/"),
        notebooks="\n".join(_listed(entry, ran.errors.get(entry.name)) for entry in entries),
        where=where,
        course="\n".join(
            f"{entry.number} · {entry.title} <notebooks/{entry.name}>" for entry in entries
        ),
        solutions="\n".join(f"notebooks/solutions/{path.stem}" for path in solutions),
    )


def _listed(entry: course.Entry, error: str | None) -> str:
    kind = ", ".join(filter(None, (entry.form, f"{entry.minutes} min")))
    failed = f"\n\n  {_error(error)}\n" if error else ""
    return (
        f"- [{entry.number} · {entry.title}](notebooks/{entry.name}.ipynb) ({kind})\\\n"
        f"  {entry.sentence}{failed}"
    )


def _error(text: str) -> str:
    # One line, so that it can stand in a list as well.
    return f"**Failed:** {text.replace('`', '')}"


def _sample(commands: tuple[Shown, ...]) -> str:
    text = (
        "# The sample world\n\nA small made-up world with faults planted in it, [column by "
        "column](data/README.md). "
    )
    if not commands:
        return f"{text}`make tour` shows here what the command line says of it.\n"
    text += "What the command line says of it:\n"
    for one in commands:
        name = one.command.split()[1].capitalize()
        text += f"\n## {name}\n\n```console\n$ {one.command}\n```\n\n```text\n{one.output}```\n"
        text += f"\n{_error(one.error)}\n" if one.error else ""
    return text


def _bench(path: Path) -> str:
    title = "# What it costs\n\n"
    if not path.is_file():
        return (
            f"{title}`make bench` measures it, on this machine; the next `make tour` shows the "
            "figures here.\n"
        )
    figures = json.loads(path.read_text(encoding="utf-8"))
    day = datetime.fromtimestamp(figures["measured_at"], UTC).date()
    rows = "".join(_bench_row(row) for row in figures["rows"])
    return (
        f"{title}Measured by `make bench` on {day}: {figures['machine']}. Medians, for one unit "
        "of the work.\n\n"
        "The *peer* is what one would write without imlib; *faster*, how many times as long it "
        "takes; *promised*, how "
        "many it must be. The *floor* is the least that the same result can cost; *above it*, how "
        "many times as long "
        "imlib takes.\n\n"
        "| work | faster | promised | imlib | peer | the peer | floor | above it | the floor |\n"
        "| --- | ---: | --- | ---: | ---: | --- | ---: | ---: | --- |\n"
        f"{rows}"
    )


def _bench_row(row: Mapping[str, Any]) -> str:
    def time(seconds: float | None) -> str:
        return duration(seconds).strip().replace(" ", "\N{NO-BREAK SPACE}")

    cells = [
        row["what"],
        f"{row['peer_to_ours']:.1f}",
        row["promise"],
        time(row["ours"]),
        time(row["peer"]),
        row["peer_name"],
        time(row["floor"]),
        f"{row['ours_to_floor']:.1f}" if row["floor"] else "",
        row["floor_name"],
    ]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    parser = command_line("tools.site", __doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=ROOT / "build" / "site", metavar="FOLDER"
    )
    wrong = build(NOTEBOOKS, parser.parse_args().folder)
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    sys.exit(1 if wrong else 0)
