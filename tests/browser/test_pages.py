"""The pages that `make tour` makes, opened from the disk as their reader opens them: on a desk and
on a phone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.browser.watch import Watch, album
from tests.project.pages import committed
from tests.project.test_site import Page
from tools.notebook import NOTEBOOKS, code_cells, read

# For the name of a page, the places that it links to: the name of a file, and an anchor or "".
Links = dict[str, list[tuple[str, str]]]
SCREENS: dict[str, ViewportSize] = {
    "desk": {"width": 1280, "height": 900},
    "phone": {"width": 390, "height": 844},
}
# The text ends where the screen ends; drawers wait beside it, and what is wider scrolls by itself,
# without the text.
LOOK = """async () => {
    const images = [...document.images];
    images.forEach(image => image.loading = 'eager');
    await Promise.allSettled(images.map(image => image.decode()));
    const article = document.querySelector('article');
    const scrolls = element => element !== article
        && (getComputedStyle(element).overflowX !== 'visible' || scrolls(element.parentElement));
    const root = document.documentElement;
    const ends = element => element.getBoundingClientRect().right;
    const sticksOut = element =>
        ends(element) > root.clientWidth && !scrolls(element.parentElement);
    const all = (elements, isWrong, why) => [...elements].filter(isWrong).slice(0, 5).map(
        element => `${why}: ${element.outerHTML.replace(/\\s+/g, ' ').slice(0, 100)}`);
    return [
        all(images, image => !image.naturalWidth, 'no picture'),
        all(images, image => !image.alt.trim(), 'no alt text'),
        all([root], () => root.scrollWidth > root.clientWidth, 'wider than the screen'),
        all(article.querySelectorAll('*'), sticksOut, 'sticks out of the screen'),
    ].flat();
}"""
# Goes to every anchor, as a link does but at once, and returns those that lead to no place on the
# screen.
GO = """anchors => {
    document.documentElement.style.scrollBehavior = 'auto';
    return anchors.filter(anchor => {
        location.hash = anchor;
        const place = document.querySelector(':target')?.getBoundingClientRect();
        return !place || place.bottom < 0 || place.top > innerHeight;
    });
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of the site."""
    return committed(tmp_path_factory).folder


@pytest.fixture(scope="module")
def links(pages: Path) -> Links:
    """Give what every page links to on the disk."""
    told = {}
    for path in sorted(pages.rglob("*.html")):
        places = [urldefrag(urljoin(path.as_uri(), link)) for link in Page(path).links]
        told[path.relative_to(pages).as_posix()] = [
            (unquote(place.url.removeprefix(f"{pages.as_uri()}/")), place.fragment)
            for place in places
            if place.url.startswith("file:")
        ]
    return told


def part(name: str) -> str:
    """Return which of the tests below opens a page."""
    folder = name.partition("/")[0]
    return folder if folder in {"notebooks", "reference"} else "rest"


@pytest.mark.parametrize("group", ["notebooks", "reference", "rest"])
def test_every_page_opens(group: str, browser: Browser, pages: Path, links: Links) -> None:
    """No console error, no request that fails or leaves the disk; pictures have alt text, links
    arrive, text fits.
    """
    anchors: dict[str, dict[str, str]] = defaultdict(dict)
    for name, found in links.items():
        for target, anchor in found:
            anchors[target].setdefault(anchor, name)
    wrong = []
    pictures = album("pages", group)
    with browser.new_context(is_mobile=True, has_touch=True) as context:
        page = context.new_page()
        watch = Watch(page, pages.as_uri())
        names = [name for name in links if part(name) == group]
        assert names
        for name in names:
            page.goto((pages / name).as_uri())
            for screen, size in SCREENS.items():
                page.set_viewport_size(size)
                wrong += [f"{name}, {screen}: {what}" for what in page.evaluate(LOOK)]
                # Pages that are made from docstrings look alike: their tops will do.
                whole = group != "reference"
                picture = f"{name.removesuffix('.html').replace('/', '-')} {screen}.jpg"
                page.screenshot(path=pictures / picture, full_page=whole, quality=70)
            lost = page.evaluate(GO, sorted(anchors[name].keys() - {""}))
            wrong += [
                f"{anchors[name][anchor]}: a link to {name}#{anchor} leads nowhere"
                for anchor in lost
            ]
            wrong += [f"{name}: {complaint}" for complaint in watch.complaints]
            watch.complaints.clear()
    assert "" == "\n".join(wrong)


def test_every_page_can_be_reached(links: Links) -> None:
    """From the first page links lead to all the others, and the search field to what it found."""
    reached: set[str] = set()
    ahead = {"index.html"}
    while ahead:
        reached |= ahead
        ahead = {name for page in ahead for name, _ in links.get(page, [])} - reached
    assert {"search.html"} == links.keys() - reached


def test_code_can_be_copied(browser: Browser, pages: Path) -> None:
    """The button beside a cell copies its source, to the letter."""
    name = "00-start-here"
    sources = [cell.source for cell in code_cells(read(NOTEBOOKS / f"{name}.ipynb"))]
    with browser.new_context() as context:
        page = context.new_page()
        page.goto((pages / "notebooks" / f"{name}.html").as_uri())
        cells = page.locator(".cell_input")
        expect(cells).to_have_count(len(sources))
        expect(cells.get_by_role("button")).to_have_count(len(sources))
        # The clipboard is pasted as a reader would; a page may not read it.
        page.evaluate(
            "document.querySelector('article').append(document.createElement('textarea'))"
        )
        paper = page.locator("textarea")
        for source, cell in zip(sources[:3], cells.all(), strict=False):
            cell.hover()
            cell.get_by_role("button").click()
            paper.fill("")
            paper.press("Control+v")
            expect(paper).to_have_value(re.compile(rf"^{re.escape(source)}\n?$"))


def test_search_finds_without_a_server(browser: Browser, pages: Path) -> None:
    """The search works from the disk, and asks nobody."""
    with browser.new_context() as context:
        page = context.new_page()
        watch = Watch(page, pages.as_uri())
        page.goto((pages / "index.html").as_uri())
        field = page.get_by_role("textbox", name="Search").or_(page.get_by_role("searchbox"))
        field.first.fill("lease")
        field.first.press("Enter")
        results = page.locator("#search-results")
        expect(results).to_contain_text("Search finished")
        expect(
            results.get_by_role("link", name="The presence lease", exact=True).first
        ).to_be_visible()
        page.screenshot(path=album("pages", "search") / "search.jpg")
    assert [] == watch.complaints
