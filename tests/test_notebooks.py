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

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from tests.mariadb import PrivateMariaDB, private_mariadb
from tests.servers import private_folder, private_redis
from tools.notebook import NOTEBOOKS, ROOT, code_cells, describe, environment, execute, normalise, read

# Spelled so that this file holds none itself.
MACHINE_PATH = re.compile(r"/(?:home|root|tmp|work|Users|var/folders)/|[A-Z]:\\\\?Users")
LINES_A_CELL = 15

every_notebook = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
)


def tagged(notebook: NotebookNode, tag: str) -> list[NotebookNode]:
    """Return the cells of `notebook` that carry `tag`."""
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def tree(cell: NotebookNode) -> ast.Module:
    """Return the syntax tree of a code cell, its magics taken for the calls that they are."""
    return ast.parse(TransformerManager().transform_cell(cell.source))


@every_notebook
class TestForm:
    """The form that notebooks have in common, read from the file without running it."""

    def test_was_run_once_from_top_to_bottom(self, path: Path) -> None:
        """Execution counts are 1..n in order: a cell without one would be run but never compared."""
        cells = code_cells(read(path))
        assert list(range(1, len(cells) + 1)) == [cell.execution_count for cell in cells]

    def test_is_normalised(self, path: Path) -> None:
        """Kernel `python3`, no versions, timings or tracebacks: nothing that a second run would change."""
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
        """One H1; under it a sentence and a table with the minutes, which the tour's index shows."""
        notebook = read(path)
        prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        outside_fences = re.sub(r"^```.*?^```", "", prose, flags=re.DOTALL | re.MULTILINE)
        assert 1 == len(re.findall(r"^# ", outside_fences, flags=re.MULTILINE))
        assert describe(notebook, path.name).minutes > 0

    def test_connects_in_its_one_parameters_cell(self, path: Path) -> None:
        """Exactly one cell is tagged `parameters`, the second one, so that papermill can override it."""
        notebook = read(path)
        assert [code_cells(notebook)[1]] == tagged(notebook, "parameters")

    def test_leaves_at_most_one_output_uncompared(self, path: Path) -> None:
        """At most one cell is tagged `nbval-ignore-output`, none is skipped, none by a comment."""
        notebook = read(path)
        assert len(tagged(notebook, "nbval-ignore-output")) <= 1
        assert [] == tagged(notebook, "nbval-skip")
        markers = [cell.source for cell in code_cells(notebook) if re.search(r"#\s*(NBVAL|PYTEST)_", cell.source)]
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

    def test_has_short_cells(self, path: Path) -> None:
        """A cell of more than 15 lines is two cells, or belongs in imlib."""
        sizes = [len(cell.source.splitlines()) for cell in code_cells(read(path))]
        assert max(sizes) <= LINES_A_CELL


@pytest.fixture(scope="session")
def mariadb() -> Iterator[PrivateMariaDB]:
    """Give a MariaDB server of this process's own, in which every notebook gets a new database."""
    with private_mariadb() as server:
        yield server


@contextmanager
def stack(name: str, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Give the environment variables that lead a notebook to the servers of a stack, fresh and empty."""
    if name == "embedded":
        yield {}
    else:
        server: PrivateMariaDB = request.getfixturevalue("mariadb")
        with private_redis() as redis:
            urls = {"IMLIB_REDIS_URL": redis.url, "IMLIB_DATABASE_URL": server.new_database()}
            # 07 and 08 write nothing into servers that are named, unless these are said to be a stage.
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
def test_runs_without_comparison(path: Path, tmp_path: Path) -> None:
    """A plain run finds what nbval passes over in silence, an unknown magic for one."""
    execute(read(path), path.name, tmp_path)
