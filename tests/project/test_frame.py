"""The frame around the package: make, versions, what an import costs, what the
repository may say.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import redis

import imlib
from tests.notebooks.prose import said
from tests.notebooks.test_notebooks import MACHINE_PATH
from tests.private_servers import programs
from tests.private_servers.redis import private_redis
from tools import picture
from tools.notebook import ROOT, NotebookError, describe, execute, normalise, read

HEAVY = {"duckdb", "fakeredis", "matplotlib", "numpy", "pandas", "pyarrow", "redis", "sqlalchemy"}


def test_make_help_names_every_target() -> None:
    """A target that help does not name is one that nobody finds."""
    if shutil.which("make") is None:
        pytest.skip("no make here: this environment was made by conda")
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    assert targets == set(re.findall(r"^  make ([a-z-]+) ", shown, flags=re.MULTILINE))
    assert {
        "help",
        "tour",
        "lab",
        "test",
        "lint",
        "refresh",
        "bench",
        "servers",
        "clean",
    } <= targets


def test_one_version_everywhere() -> None:
    """pyproject.toml, the package and the newest entry of the changelog name one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    newest = re.search(
        r"^## \[(.+?)]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    assert newest is not None
    assert project["version"] == imlib.__version__ == newest[1]


def test_import_is_light() -> None:
    """`import imlib` loads no library that takes its time: they load when they are first used."""
    program = "import sys, imlib; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert set() == HEAVY & set(loaded.split())


def test_no_file_names_a_path_of_a_machine() -> None:
    """What is, or could be, committed says nothing of the machine that it was written on."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        names = subprocess.run(
            listing, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git checkout")
    texts = {
        name: (ROOT / name).read_bytes().decode(errors="replace")
        for name in names
        if (ROOT / name).is_file()
    }
    assert {} == {
        name: found for name, text in texts.items() if (found := MACHINE_PATH.findall(text))
    }


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        pytest.param({}, "no working Python 3.11 or newer", id="none"),
        # A version manager's shim: there, and leading nowhere.
        pytest.param(
            {"python3.13": "exit 127", "python3": "exit 1"},
            "no working Python 3.11 or newer",
            id="shims",
        ),
        # Debian's python3 without python3-venv.
        pytest.param(
            {"python3": 'case "$2" in *ensurepip*) exit 1;; esac'},
            "python3 has no venv",
            id="no venv",
        ),
    ],
)
def test_set_up_says_in_one_line_what_is_missing(
    tmp_path: Path, answers: dict[str, str], message: str
) -> None:
    """Without a Python that will do, set-up ends in one clear line and has made nothing."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, script in answers.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (commands / name).chmod(0o755)
    run = subprocess.run(
        ["/bin/sh", str(ROOT / "tools" / "setup.sh")],
        cwd=tmp_path,
        env={"PATH": str(commands)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 1 == run.returncode
    assert run.stderr.startswith(f"imlib: {message}")
    assert 1 == run.stderr.count("\n")
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """Return a notebook of three code cells: one prints, one is empty, one fails in its second
    line.
    """
    v4 = nbformat.v4
    head = (
        "# A `title`\n\nYou will know *one* thing. And more.\n\n| before | minutes |\n"
        "| - | - |\n| 00 | 5 |"
    )
    cells = [
        v4.new_markdown_cell(head),
        v4.new_code_cell(
            "import sys\nprint(sys.stdin is None)",
            metadata={"tags": ["parameters"], "scrolled": True},
        ),
        v4.new_code_cell(""),
        v4.new_code_cell("value = 1\nvalue / 0"),
    ]
    path = tmp_path / "00-example.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


def test_a_failing_cell_is_named(notebook: Path) -> None:
    """The error names notebook, cell and what happened, in one line; what ran before it keeps its
    output.
    """
    example = read(notebook)
    with pytest.raises(
        NotebookError, match=r"^00-example, code cell 3: ZeroDivisionError: division by zero$"
    ):
        execute(example, "00-example", notebook.parent)
    assert "False\n" == example.cells[1].outputs[0].text


def test_a_normalised_notebook_holds_nothing_of_the_moment(notebook: Path) -> None:
    """Tags stay; an editor's metadata, versions and a traceback's paths go."""
    example = read(notebook)
    with pytest.raises(NotebookError):
        execute(example, "00-example", notebook.parent)
    normalise(example)
    assert {"tags": ["parameters"]} == example.cells[1].metadata
    assert {"name": "python"} == example.metadata.language_info
    assert ["ZeroDivisionError: division by zero"] == example.cells[3].outputs[0].traceback


def test_a_notebook_describes_itself(notebook: Path) -> None:
    """Title, first sentence and minutes come from the notebook's own first cell."""
    description = describe(read(notebook), "00-example")
    assert ("A title", "You will know one thing.", 5) == (
        description.title,
        description.sentence,
        description.minutes,
    )


def test_a_missing_server_skips_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of somebody's own a missing server is a reason to skip, and the last line will
    name it.
    """
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(programs, "skipped", set())
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not on this machine"):
        programs.require("no-such-server")
    assert {"no-such-server"} == programs.skipped


def test_a_missing_server_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """With CI set, what would be a skipped backend is a failed one."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(programs, "skipped", set())
    with pytest.raises(pytest.fail.Exception, match="CI skips no backend"):
        programs.require("no-such-server")


def test_a_private_server_begins_anew() -> None:
    """A private server that is stopped is gone with all it held, and starts again at
    the same URL.
    """
    with private_redis() as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        folder = server.socket.parent
        server.stop()
        with pytest.raises(redis.ConnectionError):
            client.get("key")
        server.start()
        assert client.get("key") is None
    assert not folder.exists()


def test_the_readmes_picture_draws_what_happens() -> None:
    """The picture shows what a private server does today, and whoever can't see it is told the same
    numbers.
    """
    drawn = picture.words(picture.observed())
    assert drawn == picture.said(picture.PICTURE), "run: .venv/bin/python -m tools.picture"
    [(alternative, path)] = re.findall(
        r"!\[(.*)]\((.*)\)", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    assert (drawn, picture.PICTURE) == (alternative, ROOT / path)
    [caption] = re.findall(
        r"^\*.*?\*$", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert {number for number, _ in said(caption)} <= set(re.findall(r"\d+", drawn))
