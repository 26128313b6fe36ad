"""Every notebook is a test: its form, its outputs on two stacks, and a plain run of it."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest
from nbformat import NotebookNode

from tests.notebooks import scheduler
from tests.notebooks.prose import GENERATED, links, said, sections, shown, tree, value
from tests.private_servers.mariadb import PrivateMariaDB, private_mariadb
from tests.private_servers.process import private_folder
from tests.private_servers.redis import private_redis
from tools import course
from tools.notebook import (
    NOTEBOOKS,
    ROOT,
    code_cells,
    describe,
    environment,
    normalise,
    read,
)

# Spelled so that this file holds none itself.
MACHINE_PATH = re.compile(r"/(?:home|root|tmp|work|Users|var/folders)/|[A-Z]:\\\\?Users")
LINES_A_CELL = 15

every_notebook = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
)


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    """Return the cells of `notebook` that carry `tag`."""
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


@every_notebook
class TestForm:
    """The form that notebooks have in common, read from the file without running it."""

    def test_was_run_once_from_top_to_bottom(self, path: Path) -> None:
        """Execution counts are 1..n in order: a cell without one would be run but never
        compared.
        """
        cells = code_cells(read(path))
        assert list(range(1, len(cells) + 1)) == [cell.execution_count for cell in cells]

    def test_is_normalised(self, path: Path) -> None:
        """Kernel `python3`, no versions, timings or tracebacks: nothing that a second run would
        change.
        """
        notebook = read(path)
        assert "python3" == notebook.metadata.get("kernelspec", {}).get("name")
        before = json.dumps(notebook, sort_keys=True)
        normalise(notebook)
        assert before == json.dumps(notebook, sort_keys=True), "run: make refresh"

    def test_prints_nothing_to_stderr(self, path: Path) -> None:
        """A warning is mended, not committed."""
        outputs = [output for cell in code_cells(read(path)) for output in cell.outputs]
        assert [] == [output.text for output in outputs if output.get("name") == "stderr"]

    def test_names_no_path_of_a_machine(self, path: Path) -> None:
        """Neither sources nor outputs say where somebody's files lie."""
        assert [] == MACHINE_PATH.findall(path.read_text(encoding="utf-8"))

    def test_says_what_it_is(self, path: Path) -> None:
        """One H1; under it a sentence and a table with the minutes, which the tour's
        index shows.
        """
        notebook = read(path)
        prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        outside_fences = re.sub(r"^```.*?^```", "", prose, flags=re.DOTALL | re.MULTILINE)
        assert 1 == len(re.findall(r"^# ", outside_fences, flags=re.MULTILINE))
        assert describe(notebook, path.name).minutes > 0

    def test_connects_in_its_one_parameters_cell(self, path: Path) -> None:
        """Exactly one cell is tagged `parameters`, the second one, so that papermill can override
        it.
        """
        notebook = read(path)
        assert [code_cells(notebook)[1]] == tagged(notebook, "parameters")

    def test_leaves_at_most_one_output_uncompared(self, path: Path) -> None:
        """At most one cell is tagged `nbval-ignore-output`, none is skipped, none by a comment."""
        notebook = read(path)
        assert len(tagged(notebook, "nbval-ignore-output")) <= 1
        assert [] == tagged(notebook, "nbval-skip")
        markers = [
            cell.source
            for cell in code_cells(notebook)
            if re.search(r"#\s*(NBVAL|PYTEST)_", cell.source)
        ]
        assert [] == markers

    def test_imports_in_its_first_code_cell(self, path: Path) -> None:
        """Whoever reads the first cell knows what the notebook needs."""
        late = [
            cell
            for cell in code_cells(read(path))[1:]
            for node in ast.walk(tree(cell))
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert [] == [cell.source for cell in late]

    def test_catches_what_it_shows(self, path: Path) -> None:
        """A cell that fails on purpose prints the error: papermill stops at one that raises."""
        notebook = read(path)
        assert [] == tagged(notebook, "raises-exception")
        outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
        assert [] == [output for output in outputs if output.output_type == "error"]

    def test_has_short_cells(self, path: Path) -> None:
        """A cell of more than 15 lines is two cells, or belongs in imlib or in the lessons' own
        modules.
        """
        sizes = [len(cell.source.splitlines()) for cell in code_cells(read(path))]
        assert max(sizes) <= LINES_A_CELL

    def test_says_no_number_that_no_cell_shows(self, path: Path) -> None:
        """Every number in prose comes from a cell of the same notebook; what counts as one:
        `tests.notebooks.prose.said`.

        A cell shows it in its source (best in an `assert`) or in the text of its output; a comment
        doesn't count.
        """
        notebook = read(path)
        found = shown(code_cells(notebook))
        unfounded = [
            f"cell {at}: {number} in '… {around} …'"
            for at, cell in enumerate(notebook.cells)
            if cell.cell_type == "markdown" and not GENERATED & set(cell.metadata.get("tags", []))
            for number, around in said(cell.source)
            if value(number) not in found
        ]
        assert "" == "\n".join(unfounded), (
            "no code cell shows these: show or assert them, or say it without digits"
        )

    def test_links_lead_somewhere(self, path: Path) -> None:
        """A link leads to a file of the repository, and behind a `#` to a heading of
        that notebook.
        """
        dead = []
        for cell in read(path).cells:
            for link in links(cell.source) if cell.cell_type == "markdown" else []:
                name, _, heading = unquote(link).partition("#")
                target = (path.parent / name).resolve() if name else path
                if "://" not in link and not (
                    target.exists()
                    and ROOT in target.parents
                    and (
                        not heading
                        or target.suffix != ".ipynb"
                        or heading in map(course.anchor, sections(read(target)))
                    )
                ):
                    dead.append(link)
        assert [] == dead


@every_notebook
class TestSkeleton:
    """The parts that every notebook has, in their order."""

    def test_opens_with_title_promise_and_table(self, path: Path) -> None:
        """First cell: H1, one sentence that begins "At the end you", the table of three columns,
        then words.
        """
        source = read(path).cells[0].source
        assert re.match(
            r"# .+\n\nAt the end you .+\n\n\| reads before this \| minutes \| what it touches \|\n"
            r"\| --- \| --- \| --- \|\n\| .+ \| \d+ \| .+ \|(\n\n|$)",
            source,
        ), source
        # Vocabulary stands before anything is explained by it.
        assert source.find("Words first.") in (-1, source.index("|\n\n") + 3)

    def test_says_its_place(self, path: Path) -> None:
        """Second cell: tagged `place`, and nobody's words but the course's."""
        notebook = read(path)
        assert [notebook.cells[1]] == tagged(notebook, "place"), (
            "put a Markdown cell tagged `place` behind the first"
        )
        assert course.place(path.stem) == notebook.cells[1].source, (
            "run: .venv/bin/python -m tools.course"
        )

    def test_has_a_form_and_paths(self, path: Path) -> None:
        """Its metadata say what it is, and who is led through it."""
        own = read(path).metadata.get("imlib", {})
        assert own.get("form") in course.FORMS
        assert own.get("paths")
        assert [name for name in course.PATHS if name in own["paths"]] == own["paths"]

    def test_imports_then_connects(self, path: Path) -> None:
        """Third cell: the imports. Then, with prose between them at most, the parameters and the
        connection.
        """
        notebook = read(path)
        code = code_cells(notebook)
        assert code[0] == notebook.cells[2]
        statements = tree(code[0]).body
        assert all(isinstance(one, ast.Import | ast.ImportFrom | ast.Expr) for one in statements)
        assert {"connect", "look"} & {
            node for one in ast.walk(tree(code[2])) if (node := _called(one))
        }

    def test_closes_in_order(self, path: Path) -> None:
        """Last headings: what we learned, in a lesson the exercises, the end, under which all is
        closed.
        """
        notebook = read(path)
        form = notebook.metadata.get("imlib", {}).get("form")
        last = (
            ["What we learned", "Exercises", "The end"]
            if form == "lesson"
            else ["What we learned", "The end"]
        )
        assert last == list(sections(notebook))[-len(last) :]
        closing = "\n".join(cell.source for cell in notebook.cells).rpartition("\n## The end\n")[2]
        assert ".close()" in closing

    def test_leads_on(self, path: Path) -> None:
        """Last cell: `**Next:**` and the next notebook (from the last one to the first); then
        links, to the map too.
        """
        notebook = read(path)
        names = [entry.name for entry in course.course()]
        following = names[(names.index(path.stem) + 1) % len(names)]
        last = notebook.cells[-1].source
        assert re.match(r"\*\*Next:\*\* .*\[.+\n\n(Links:|Back to) ", last), last
        assert following == course.entry(path.stem).next
        assert path.stem == course.MAP or f"]({course.MAP}.ipynb" in last


def _called(node: ast.AST) -> str | None:
    """Return the last name of what a call calls."""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "attr", None) or getattr(node.func, "id", None)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[PrivateMariaDB]:
    """Give a MariaDB server of this process's own, in which every notebook gets a new database."""
    with private_mariadb() as server:
        yield server


@contextmanager
def stack(name: str, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Give the environment variables that lead a notebook to the servers of a stack, fresh and
    empty.
    """
    if name == "embedded":
        yield {}
    else:
        server: PrivateMariaDB = request.getfixturevalue("mariadb")
        with private_redis() as redis:
            urls = {"IMLIB_REDIS_URL": redis.url, "IMLIB_DATABASE_URL": server.new_database()}
            # 07 and 08 write nothing into servers that are named, unless these are said to be a
            # stage.
            yield urls | {"IMLIB_SAMPLE": "1"}


@every_notebook
@pytest.mark.parametrize("name", ["embedded", "debian"])
def test_every_output_is_the_same(path: Path, name: str, request: pytest.FixtureRequest) -> None:
    """What the notebook shows is what it shows again, to the letter, on this stack."""
    with private_folder() as folder, stack(name, request) as urls:
        run = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "--color=no",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:xdist",
                os.fspath(path),
            ],
            cwd=ROOT,
            env=environment(folder) | urls,
            capture_output=True,
            text=True,
            check=False,
        )
    assert 0 == run.returncode, f"{run.stdout}\n{run.stderr}"
    assert f"{len(code_cells(read(path)))} passed" in run.stdout


@every_notebook
def test_a_scheduler_runs_it(path: Path, tmp_path: Path) -> None:
    """Papermill runs it to its end from another folder, on the servers that its parameters name.

    It also finds what nbval passes over in silence, an unknown magic for one.
    """
    database = tmp_path / "named.db"
    database.touch()
    with private_redis() as redis:
        before = redis.command("INFO", "stats")["total_commands_processed"]
        urls = {"redis_url": redis.url, "database_url": f"sqlite:///{database}"}
        scheduler.run(path.stem, tmp_path, {"IMLIB_SAMPLE": "1"}, **urls)
        assert redis.command("INFO", "stats")["total_commands_processed"] > before + 10
    assert database.stat().st_size
