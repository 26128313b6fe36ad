"""The site: what is written there is found, what is linked is there, and nothing of it asks the
network.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.project.pages import Pages, committed
from tools import course, site
from tools.notebook import NOTEBOOKS, read, write

# By which an element makes a browser fetch something; a link that waits for a click is none of
# them.
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
    "link": "href",
}


@dataclass
class Page(HTMLParser):
    """What a page holds, as far as these tests ask for it."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetches: list[str] = field(default_factory=list)
    pictures: list[str | None] = field(default_factory=list)

    text: str = ""

    def __post_init__(self) -> None:
        """Read the page."""
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_data(self, data: str) -> None:
        """Keep what is read."""
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the tag names."""
        named = {name: value or "" for name, value in attrs}
        self.anchors |= {named[name] for name in ("id", "name") if name in named}
        if "href" in named and tag == "a":
            self.links.append(named["href"])
        if FETCHED.get(tag, "") in named:
            self.fetches.append(named[FETCHED[tag]])
        if tag == "img":
            self.pictures.append(named.get("alt"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Give the site of the committed notebooks."""
    return committed(tmp_path_factory)


@pytest.fixture(scope="module")
def pages(made: Pages) -> dict[str, Page]:
    """Give its pages by their paths below the first one's folder."""
    return {
        path.relative_to(made.folder).as_posix(): Page(path)
        for path in sorted(made.folder.rglob("*.html"))
    }


def test_is_built_without_a_complaint(made: Pages) -> None:
    """No link or anchor is dead, and every docstring can be rendered."""
    assert [] == made.complaints


def test_every_link_leads_somewhere(pages: dict[str, Page], made: Pages) -> None:
    """Each link within the site leads to a file that is there, and to a place on it if it names
    one.
    """
    dead = []
    for name, page in pages.items():
        for link in page.links:
            path, anchor = urldefrag(link)
            if urlsplit(link).scheme or link == "#":
                continue
            target = (page.path.parent / unquote(path)).resolve() if path else page.path.resolve()
            there = pages.get(target.relative_to(made.folder.resolve()).as_posix())
            # The theme's "Back to top" leads to an empty name, which every page has.
            if not target.is_file() or (
                anchor and there and not {anchor, unquote(anchor)} & there.anchors
            ):
                dead.append(f"{name}: {link}")
    assert [] == dead


def test_asks_no_network(pages: dict[str, Page], made: Pages) -> None:
    """No script, style, font or picture comes from elsewhere."""
    fetched = {
        f"{name}: {link}"
        for name, page in pages.items()
        for link in page.fetches
        if _is_outside(link)
    }
    for path in made.folder.rglob("*.css"):
        named = re.findall(
            r"""url\(\s*["']?([^"')]+)|@import\s+["']([^"']+)""", path.read_text(encoding="utf-8")
        )
        fetched |= {f"{path.name}: {url}" for pair in named for url in pair if _is_outside(url)}
    assert set() == fetched


def _is_outside(link: str) -> bool:
    return urlsplit(link).scheme not in ("", "data") or link.startswith("//")


def test_every_picture_is_described(pages: dict[str, Page]) -> None:
    """Who can't see a picture is told what it shows."""
    silent = [name for name, page in pages.items() for alt in page.pictures if not alt]
    assert [] == silent


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
)
def test_a_notebook_is_a_page(path: Path, pages: dict[str, Page]) -> None:
    """It stands under its name, and its headings have the anchors that they have in Jupyter."""
    prose = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    headings = re.findall(
        r"^#+ (.+)$",
        re.sub(r"^```.*?^```", "", prose, flags=re.DOTALL | re.MULTILINE),
        re.MULTILINE,
    )
    assert headings
    assert (
        set()
        == {course.anchor(text) for text in headings} - pages[f"notebooks/{path.stem}.html"].anchors
    )


def test_the_first_page_leads_everywhere(pages: dict[str, Page]) -> None:
    """It has the paths with their minutes, and links to all notebooks in their order, and to the
    rest.
    """
    page = pages["index.html"]
    for name in course.PATHS:
        hours, minutes = divmod(course.minutes(name), 60)
        time = " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes))
        assert re.search(rf"{course.title(name)}.*{time}", page.text)
    told = " ".join(page.text.split()).replace("\u2019", "'")
    assert [] == [
        entry.name for entry in course.course() if entry.sentence.replace("`", "") not in told
    ]
    lessons = [f"notebooks/{entry.name}.html" for entry in course.course()]
    assert lessons == [link for link in dict.fromkeys(page.links) if link in lessons]
    assert {
        "sample.html",
        "bench.html",
        "reference/index.html",
        "README.html",
        "data/README.html",
    } <= set(page.links)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Build a site of one notebook that leads nowhere and failed; without the reference, which
    takes longest.
    """
    folder = tmp_path_factory.mktemp("broken")
    prose = [
        "# A lesson\n\nAt the end you know.\n\n| minutes |\n| --- |\n| 5 |",
        "[gone](99-gone.ipynb) [no such place](#Nowhere) [code](../tools/servers.sh)",
    ]
    picture = new_output(
        "display_data", {"image/png": "iVBORw0KGgo="}, metadata={"image/png": {"alt": "A dot."}}
    )
    cells = [*map(new_markdown_cell, prose), new_code_cell("draw()", outputs=[picture])]
    (folder / "notebooks").mkdir()
    write(new_notebook(cells=cells), folder / "notebooks" / "00-broken.ipynb")
    (folder / "bench.json").write_text(json.dumps(FIGURES), encoding="utf-8")
    ran = site.Ran("a server", {"00-broken": "00-broken.ipynb, code cell 1: NameError"}, (SHOWN,))
    shutil.copytree(site.PAGES, folder / "pages")
    (folder / "pages" / "reference" / "index.rst").write_text(
        "Reference\n=========\n", encoding="utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "PAGES", folder / "pages")
        complaints = site.build(
            folder / "notebooks", folder / "site", ran=ran, figures=folder / "bench.json"
        )
    return folder / "site", complaints


FIGURES = {
    "machine": "an abacus",
    "measured_at": 1_512_270_533,
    "rows": [
        {
            "what": "a sum",
            "ours": 0.002,
            "peer": 0.004,
            "peer_name": "by hand",
            "floor": None,
            "floor_name": "",
            "promise": "",
            "peer_to_ours": 2.0,
            "ours_to_floor": None,
        }
    ],
}
SHOWN = site.Shown(
    "imlib audit --sample",
    "12 ghosts\n",
    "imlib audit --sample: exit code 2 instead of 1: no server",
)


@pytest.mark.parametrize("name", ["99-gone.ipynb", "Nowhere"])
def test_a_dead_link_is_a_complaint(name: str, broken: tuple[Path, list[str]]) -> None:
    """One line names the notebook and what it leads to, without a path of the machine."""
    (complaint,) = [line for line in broken[1] if name in line]
    assert re.match(r"notebooks/00-broken\.ipynb:\d+: WARNING: ", complaint)


def test_a_notebook_that_failed_says_so(broken: tuple[Path, list[str]]) -> None:
    """Its page begins with the error, below the title, and still shows what it has."""
    text = (broken[0] / "notebooks" / "00-broken.html").read_text(encoding="utf-8")
    assert (
        0
        < text.index("<h1>A lesson")
        < text.index("code cell 1: NameError")
        < text.index('alt="A dot."')
    )


def test_a_link_to_a_file_leads_to_its_text(broken: tuple[Path, list[str]]) -> None:
    """Whatever a page links to in the repository is a page as well."""
    assert "../tools/servers.sh.html" in Page(broken[0] / "notebooks" / "00-broken.html").links
    assert "apt-get" in Page(broken[0] / "tools" / "servers.sh.html").text


def test_shows_what_was_measured(broken: tuple[Path, list[str]]) -> None:
    """The last figures stand on a page of their own, with machine and day."""
    text = Page(broken[0] / "bench.html").text
    for expected in (
        "an abacus",
        "2017-12-03",
        "a sum",
        "2.0\N{NO-BREAK SPACE}ms",
        "4.0\N{NO-BREAK SPACE}ms",
        "by hand",
    ):
        assert expected in text


def test_shows_what_the_commands_printed(broken: tuple[Path, list[str]]) -> None:
    """The sample world's page has each command, what it printed, and what was wrong with it."""
    text = Page(broken[0] / "sample.html").text
    expected = ("imlib audit --sample", "12 ghosts", "exit code 2 instead of 1: no server")
    assert [] == [words for words in expected if words not in text]


def test_says_how_to_measure(pages: dict[str, Page]) -> None:
    """Where nothing was measured, the page says how it is done."""
    assert "make bench" in pages["bench.html"].text
