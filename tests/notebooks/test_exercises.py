"""Every exercise of every lesson: its check refuses wrong answers with a hint that leads on, and
takes the solution.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tests.notebooks.prose import said, shown, value
from tools.notebook import NOTEBOOKS, ROOT, execute, read

SOLUTIONS = NOTEBOOKS / "solutions"
WRONG_ANSWERS = ROOT / "tests" / "wrong_answers"


def is_lesson(path: Path) -> bool:
    """Tell whether a notebook is one: lessons have exercises, how-tos and explanations
    need none.
    """
    return bool("lesson" == read(path).metadata.get("imlib", {}).get("form"))


LESSONS = [path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if is_lesson(path)]

every_lesson = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in LESSONS]
)


@dataclass(frozen=True)
class Answer:
    """What replaces an exercise's cell, under the heading that it has in its file."""

    number: int
    heading: str
    fences: list[str]


@dataclass(frozen=True)
class Trial:
    """A cell that checks one answer, and what it shall say."""

    name: str
    check: NotebookNode
    expected: bool
    hint: str = ""

    @property
    def printed(self) -> str:
        """What the check printed, its white space made single."""
        return " ".join(
            " ".join(one.text for one in self.check.outputs if one.get("name") == "stdout").split()
        )

    @property
    def complaints(self) -> list[str]:
        """What the check should have done and didn't."""
        results = [
            output.data["text/plain"]
            for output in self.check.outputs
            if output.output_type == "execute_result"
        ]
        found = (
            []
            if [str(self.expected)] == results
            else [f"{self.name}: {results}, not {self.expected}"]
        )
        if self.hint not in self.printed or not (self.expected or self.printed):
            found.append(f"{self.name}: {self.printed!r} lacks {self.hint!r}")
        return found


def answers(path: Path) -> list[Answer]:
    """Return the answers of a file: headings that begin with an exercise's number, each with its
    Python fences.
    """
    markdown = path.read_text("utf-8")
    sections = re.findall(
        r"^## (\d+)[.:] (.+?)\n(.*?)(?=^## |\Z)", markdown, re.DOTALL | re.MULTILINE
    )
    assert len(re.findall(r"^## ", markdown, re.MULTILINE)) == len(sections), (
        f"{path.name}: a heading has no number"
    )
    return [
        Answer(
            int(number),
            heading.strip(),
            re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE),
        )
        for number, heading, text in sections
    ]


def exercises(notebook: NotebookNode) -> dict[int, int]:
    """Return for each exercise's number where its cell stands."""
    return {
        int(tag.removeprefix("exercise-")): at
        for at, cell in enumerate(notebook.cells)
        for tag in cell.metadata.get("tags", [])
        if tag.startswith("exercise-")
    }


def task_of(notebook: NotebookNode, at: int) -> str:
    """Return the prose that stands before the exercise at a position: what to do."""
    return next(
        str(cell.source) for cell in reversed(notebook.cells[:at]) if cell.cell_type == "markdown"
    )


def rehearse(notebook: NotebookNode, solutions: list[Answer], wrong: list[Answer]) -> list[Trial]:
    """Put every answer with its check behind the check of its exercise; return what is tried, not
    yet run.
    """
    trials: list[Trial] = []
    # Behind them all every solution once more, backwards: learners go back, and no check may be in
    # another's way.
    again = []
    for solution in reversed(solutions):
        check = notebook.cells[exercises(notebook)[solution.number] + 1]
        again += [new_code_cell(solution.fences[0]), new_code_cell(check.source)]
        trials.append(Trial(f"{solution.number}, solution, after all others", again[-1], True))
    behind = max(exercises(notebook).values()) + 2
    notebook.cells[behind:behind] = again
    # From the last to the first, so that what is put in moves nothing that is still to be found.
    for number, at in sorted(exercises(notebook).items(), reverse=True):
        check = notebook.cells[at + 1]
        tried = [Trial(f"{number}, as it stands", check, False)]
        here = [(answer, False) for answer in wrong if answer.number == number]
        here += [(answer, True) for answer in solutions if answer.number == number]
        added = []
        for answer, right in here:
            added += [new_code_cell(answer.fences[0]), new_code_cell(check.source)]
            name = f"{number}, solution" if right else f"{number}, wrong: {answer.heading}"
            tried.append(Trial(name, added[-1], right, "" if right else answer.heading))
        notebook.cells[at + 2 : at + 2] = added
        trials = tried + trials
    return trials


@every_lesson
class TestForm:
    """What exercises have in common, read from the files without running them."""

    def test_has_at_least_two_numbered_in_order(self, path: Path) -> None:
        """A lesson has exercises 1, 2 and perhaps more, in that order, between their heading and
        the end.
        """
        notebook = read(path)
        found = exercises(notebook)
        assert list(range(1, max(2, len(found)) + 1)) == list(found)
        heads = [
            at
            for at, cell in enumerate(notebook.cells)
            if re.search(r"^## Exercises$", cell.source, re.MULTILINE)
        ]
        ends = [
            at
            for at, cell in enumerate(notebook.cells)
            if re.search(r"^## The end$", cell.source, re.MULTILINE)
        ]
        assert [*heads, *found.values(), *ends] == sorted([*heads, *found.values(), *ends])

    def test_is_task_check_answer_verdict(self, path: Path) -> None:
        """What to do; the check with a docstring, what it needs before it; the answer; one line
        that checks it.
        """
        notebook = read(path)
        for number, at in exercises(notebook).items():
            definition, _, check = notebook.cells[at - 1 : at + 2]
            assert re.search(rf"^\*\*{number}\. .+[.?!]\*\* ", task_of(notebook, at), re.MULTILINE)
            functions = [
                node
                for node in ast.parse(definition.source).body
                if isinstance(node, ast.FunctionDef)
            ]
            assert [] == definition.metadata.get("tags", [])
            assert functions[-1].name.startswith("check_")
            assert ast.get_docstring(functions[-1])
            assert [f"exercise-{number}"] == notebook.cells[at].metadata.tags
            assert [f"check-{number}"] == check.metadata.tags
            assert check.source.startswith(f"{functions[-1].name}(")
            assert 1 == len(check.source.splitlines())

    def test_has_one_solution_each(self, path: Path) -> None:
        """The solutions' file has one fence an exercise under the exercise's own title, no more,
        and leads back.
        """
        notebook = read(path)
        titles = {
            number: re.search(
                rf"^\*\*{number}\. (.+?)[.]?\*\*", task_of(notebook, at), re.MULTILINE
            )
            for number, at in exercises(notebook).items()
        }
        solutions = SOLUTIONS / f"{path.stem}.md"
        assert [(n, title and title[1], 1) for n, title in titles.items()] == [
            (solution.number, solution.heading, len(solution.fences))
            for solution in answers(solutions)
        ]
        assert f"](../{path.name}" in solutions.read_text("utf-8")
        assert f"](solutions/{solutions.name})" in "\n".join(cell.source for cell in notebook.cells)

    def test_its_solutions_say_no_number_of_their_own(self, path: Path) -> None:
        """What the prose of a solution says in digits stands in the solution, or is shown by a cell
        of the lesson.
        """
        text = (SOLUTIONS / path.name).with_suffix(".md").read_text("utf-8")
        fence = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
        known = shown([cell for cell in read(path).cells if cell.cell_type == "code"])
        known |= {
            value(number) for part in fence.findall(text) for number in re.findall(r"\d+", part)
        }
        assert [] == [
            around for number, around in said(fence.sub("", text)) if value(number) not in known
        ]

    def test_has_two_wrong_answers_each(self, path: Path) -> None:
        """The usual wrong answers are tried: at least two an exercise, one fence each, none for an
        exercise unknown.
        """
        wrong = answers(WRONG_ANSWERS / f"{path.stem}.md")
        assert {1} == {len(answer.fences) for answer in wrong}
        tried = {
            number: [answer.number for answer in wrong].count(number)
            for number in exercises(read(path))
        }
        assert len(wrong) == sum(tried.values())
        assert [] == [number for number, times in tried.items() if times < 2]


@every_lesson
def test_checks_tell_right_from_wrong(path: Path, tmp_path: Path) -> None:
    """In one kernel wrong answers are refused with a hint; in their midst, and again behind,
    solutions are taken.
    """
    notebook = read(path)
    wrong, solutions = (
        answers(folder / f"{path.stem}.md") for folder in (WRONG_ANSWERS, SOLUTIONS)
    )
    trials = rehearse(notebook, solutions, wrong)
    execute(notebook, path.name, tmp_path)
    assert [] == [complaint for trial in trials for complaint in trial.complaints]


@pytest.mark.parametrize("folder", [SOLUTIONS, WRONG_ANSWERS], ids=["solutions", "wrong_answers"])
def test_answers_belong_to_lessons(folder: Path) -> None:
    """No solution and no wrong answer is left of a lesson that has gone or has another name."""
    assert {path.stem for path in LESSONS} == {path.stem for path in folder.glob("*.md")}
