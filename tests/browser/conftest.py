"""One chromium for the tests of a module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.private_servers.programs import require

# Debian's name, Ubuntu's and Google's own.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give a headless browser with a profile of its own that is gone afterwards.

    A module's and not the session's: as long as Playwright is there an event loop runs in this
    thread, and the tests of other modules start loops of their own.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    require(PROGRAMS[0], found=program is not None)
    quiet = ["background-networking", "component-update", "gpu", "quic", "sync"]
    # Five seconds, the default, are little where other tests use both cores.
    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            # Root, as in a container, can't have chromium's sandbox.
            args=["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)],
        )
        yield browser
        browser.close()
