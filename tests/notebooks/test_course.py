"""The notebooks as one course: nothing in its index that isn't in them, nothing in them that isn't
in its index.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from nbformat import v4

from tests.notebooks.prose import GENERATED, links, sections
from tools import course
from tools.notebook import NOTEBOOKS, normalise, read, write

RENEW = "run: .venv/bin/python -m tools.course"


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the notebooks, beside a copy of the README, which the course is made of for
    one test.
    """
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for path in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(path, folder)
    monkeypatch.setattr(course, "NOTEBOOKS", folder)
    monkeypatch.setattr(course, "README", Path(shutil.copy(course.README, tmp_path)))
    return folder


def test_the_readme_has_the_table_of_all_notebooks() -> None:
    """The README's table is the one that follows from the notebooks, each of them in it once."""
    assert course.readme() == course.README.read_text(encoding="utf-8"), RENEW
    names = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
    assert [f"notebooks/{name}" for name in names] == links(course.index("notebooks/"))


def test_the_map_has_the_index() -> None:
    """The map's cell tagged `index` holds the three paths and the table of all notebooks."""
    cells = [
        cell
        for cell in read(NOTEBOOKS / f"{course.MAP}.ipynb").cells
        if "index" in cell.metadata.get("tags", [])
    ]
    assert [f"{course.ways()}\n\n{course.index()}"] == [cell.source for cell in cells], RENEW


def test_no_notebook_is_read_before_what_it_builds_on() -> None:
    """What a notebook wants to be read before it stands earlier in the course."""
    entries = course.course()
    names = [entry.name for entry in entries]
    late = {
        entry.name: [name for name in entry.before if name not in names[: names.index(entry.name)]]
        for entry in entries
    }
    assert [] == [name for name, before in late.items() if before]
    # Only the first one is for a reader who has read nothing.
    assert [course.MAP] == [entry.name for entry in entries if not entry.before]


def test_each_path_begins_at_the_map_and_takes_the_time_of_its_notebooks() -> None:
    """A path's minutes are the sum of what its notebooks say in their own tables."""
    for name in course.PATHS:
        steps = course.path(name)
        assert course.MAP == steps[0].name
        assert sum(step.minutes for step in steps) == course.minutes(name)
    assert {entry.name for entry in course.course()} == {
        one.name for name in course.PATHS for one in course.path(name)
    }


def test_time_is_said_in_hours_and_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Just before an hour, at it, and after it."""
    for total, said in ((59, "59 min"), (60, "1 h"), (61, "1 h 1 min"), (125, "2 h 5 min")):
        monkeypatch.setattr(course, "minutes", lambda name, total=total: total)
        assert f"**Maintainer**, {said}: " in course.ways()


def test_renewing_what_is_renewed_changes_nothing(copy: Path) -> None:
    """The notebooks that are committed are as the tool makes them, to the byte."""
    before = {path.name: path.read_bytes() for path in [*copy.iterdir(), course.README]}
    assert [] == course.renew(), RENEW
    assert before == {path.name: path.read_bytes() for path in [*copy.iterdir(), course.README]}


def test_a_new_notebook_is_in_every_list_after_renewal(copy: Path) -> None:
    """What has a title, a sentence, minutes, a form and paths gets its place everywhere
    by itself.
    """
    course.renew()
    notebook = read(copy / "08-investigate.ipynb")
    notebook.cells[0].source = (
        "# A `new` one\n\nAt the end you know more.\n\n"
        "| reads before this | minutes | what it touches |\n"
        "| --- | --- | --- |\n| [08-investigate](08-investigate.ipynb#Where-are-the-ghosts?) | 7 "
        "| nothing |"
    )
    notebook.metadata["imlib"] = {"form": "explanation", "paths": ["investigator"]}
    minutes = course.minutes("investigator")
    write(notebook, copy / "99-new.ipynb")
    row = "| [99 A new one](99-new.ipynb) (explanation, 7 min) | you know more |"
    assert row == course.index().splitlines()[-1]
    assert minutes + 7 == course.minutes("investigator")
    assert ("08-investigate",) == course.entry("99-new").before

    changed = course.renew()
    # Every step of the path has the whole path in its place cell; the others have nothing to say of
    # it.
    steps = {f"{step.name}.ipynb" for step in course.path("investigator")}
    assert {*steps, "README.md"} == set(changed)
    assert "](notebooks/99-new.ipynb)" in course.README.read_text(encoding="utf-8")
    assert "**99**; it ends here" in read(copy / "99-new.ipynb").cells[1].source
    assert "then [A new one](99-new.ipynb)" in course.place(course.path("investigator")[-2].name)
    assert [] == course.renew()


def test_a_cell_that_somebody_wrote_into_is_written_again(copy: Path) -> None:
    """`place` and `index` are the course's words alone; all other cells are left as they are."""
    path = copy / f"{course.MAP}.ipynb"
    before = path.read_bytes()
    notebook = read(path)
    for cell in notebook.cells:
        if GENERATED & set(cell.metadata.get("tags", [])):
            cell.source = "my own words"
    write(notebook, path)
    assert [path.name] == course.renew([path])
    assert before == path.read_bytes()


def test_normalising_keeps_what_the_course_and_the_blind_reader_need() -> None:
    """Form, paths and a picture's alternative text stay; what an editor adds beside them goes."""
    notebook = v4.new_notebook(
        cells=[v4.new_code_cell()], metadata={"imlib": {"form": "lesson", "paths": [], "x": 1}}
    )
    described = {"image/png": {"alt": "a picture"}}
    notebook.cells[0].outputs = [v4.new_output("display_data", metadata=described)]
    normalise(notebook)
    assert {"form": "lesson", "paths": []} == notebook.metadata["imlib"]
    assert described == notebook.cells[0].outputs[0].metadata


def table(heading: str) -> list[list[str]]:
    """Return the cells of the rows, below the ruler, of the table under a heading of the map."""
    lines = sections(read(NOTEBOOKS / f"{course.MAP}.ipynb"))[heading].splitlines()
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in lines
        if line.startswith("|")
    ]
    return rows[2:]


WORDS = table("The words")


@pytest.mark.parametrize(("word", "meaning", "link"), WORDS, ids=[row[0] for row in WORDS])
def test_a_word_is_shown_where_its_link_leads(word: str, meaning: str, link: str) -> None:
    """Each word of the map leads to one heading, under which the word really stands."""
    [target] = links(link)
    name, _, heading = target.partition("#")
    under = {
        course.anchor(text): said
        for text, said in sections(read(NOTEBOOKS / (name or f"{course.MAP}.ipynb"))).items()
    }
    said = re.sub(r"[_\s*`]+", " ", under[heading].lower())
    missing = [one for one in word.split(", ") if one.replace("_", " ").lower() not in said]
    assert [] == missing, f"not under {target}"
    assert meaning


@pytest.mark.parametrize(
    "heading", ["Presence", "Tables, messages, numbers", "Looking at a deployment", "Changing it"]
)
def test_a_question_leads_to_its_answer(heading: str) -> None:
    """Each question of "Where do I find …?" has a link; where it names a heading, it has that
    heading's own words.
    """
    rows = table(heading)
    assert rows
    for question, answer in rows:
        assert question.endswith("?")
        assert links(answer)
        for text, target in re.findall(r"\[\d\d: ([^\]]+)\]\(([^)]+)\)", answer):
            assert course.anchor(text) == target.partition("#")[2]
