"""What a notebook says: its numbers and those that its cells show, its links, what stands under a
heading.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from decimal import Decimal

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

# Told, not computed: cells that the course writes from other notebooks.
GENERATED = {"place", "index"}
_NUMBER = re.compile(r"\d+(?:[,_]\d{3})*(?:\.\d+)?")
_UNSAID = [
    re.compile(pattern, flags=re.MULTILINE)
    for pattern in (
        # The table of the head: its minutes are the author's word. From its first line to its last.
        r"^\| *reads before this .*(?:\n\|.*)*",
        # Where a link leads, and a link's text that names a notebook, or with its number one of its
        # headings.
        r"(?<=\])\([^)]*\)+",
        r"\[(?:solutions/)?\d\d(?:-[\w.-]+|: [^\]]+)?\]",
        # A notebook called by its number in running text: 00 to 09.
        r"(?<![\w.,:-])0\d(?!\d|[\w.,:-]\d)",
        # What counts headings, list items and exercises.
        r"^#+ *\d+\.? ",
        r"^ *\d+\. ",
        r"^\*\*\d+\. ",
        # A version is part of its software's name.
        r"\b(?:Redis|Valkey|MySQL|MariaDB|SQLite|DuckDB|Python|pandas|telegramd|RESP)(?: (?:and "
        r")?\d+(?:\.\d+)*,?)+",
        # A word that holds digits is a name: int64, online_7, utf8mb4.
        r"\b[A-Za-z_]\w*",
    )
]


def tree(cell: NotebookNode) -> ast.Module:
    """Return the syntax tree of a code cell, its magics taken for the calls that they are."""
    return ast.parse(TransformerManager().transform_cell(cell.source))


def said(markdown: str) -> list[tuple[str, str]]:
    """Return the numbers that prose says in digits, as they are written, each with the words around
    it.

    Numbers count wherever they stand, in code spans, tables and fences too. These are no
    statements, and don't: the head's table, the target of a link and the name of a notebook
    (``[03]``, ``[03: Its heading]``) as its text, a notebook's number with its leading zero, the
    numbering of headings, lists and exercises, the version behind a software's name, digits inside
    a word.

    Examples
    --------
    >>> said("1. After 17 s, see [03](03-clock-skew.ipynb#15), of `int64` on Redis 7.4")
    [('17', '1. After 17 s, see [03](03-cl')]
    """
    blank = markdown
    for pattern in _UNSAID:
        # Of the same length, so that what is found in the blanked text stands there in the prose.
        blank = pattern.sub(lambda found: " " * len(found[0]), blank)
    return [
        (found[0], " ".join(markdown[max(found.start() - 25, 0) : found.end() + 18].split()))
        for found in _NUMBER.finditer(blank)
    ]


def shown(cells: list[NotebookNode]) -> set[Decimal]:
    """Return the numbers in the source (comments don't count) and in the text that is printed,
    returned or raised.

    Signs don't count: what is printed as -42 may be said as 42. A share counts as its percentage
    too.
    """
    numbers = {
        value(number) for cell in cells for text in _texts(cell) for number in _spellings(text)
    }
    return numbers | {100 * number for number in numbers if number <= 1}


def value(number: str) -> Decimal:
    """Return the value of a number as prose or code writes it: ``1,000``, ``1_000`` and ``1000.0``
    are one.
    """
    return Decimal(re.sub(r"[,_]", "", number)).normalize()


def links(markdown: str) -> list[str]:
    """Return where the links of a text lead, in order.

    Examples
    --------
    >>> links("[a](b.ipynb#c,-d?), [e](#f_(g)) and `no [link]`")
    ['b.ipynb#c,-d?', '#f_(g)']
    """
    return re.findall(r"\]\(((?:[^()\s]|\([^()]*\))+)\)", markdown)


def sections(notebook: NotebookNode) -> dict[str, str]:
    """Return by each heading's text, without its marks, what prose, code and text outputs say below
    it.
    """
    found, heading = {"": ""}, ""
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            found[heading] += "\n".join([cell.source, *_printed(cell)])
            continue
        # In a fence a line that begins with # is no heading.
        for line in re.sub(
            r"^```.*?^```", "", cell.source, flags=re.DOTALL | re.MULTILINE
        ).splitlines():
            if mark := re.match(r"#+ +(.+)$", line):
                heading = re.sub(r"[`*]", "", mark[1]).strip()
                found[heading] = ""
            found[heading] += f"{line}\n"
    return found


def _texts(cell: NotebookNode) -> Iterator[str]:
    yield ast.unparse(tree(cell))
    yield from _printed(cell)


def _printed(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        plain = str(output.get("data", {}).get("text/plain", ""))
        # <Figure size 728x442 with 2 Axes> is about the picture's paper.
        yield "\n".join(
            [output.get("text", ""), output.get("evalue", ""), re.sub(r"<Figure .*?>", "", plain)]
        )


def _spellings(text: str) -> list[str]:
    """Return the numbers of a text; what a separator may join (1,000 or the pair 1 and 000) is read
    both ways.
    """
    return _NUMBER.findall(text) + re.findall(r"\d+", text)
