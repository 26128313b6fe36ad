"""What is kept of an open page: what goes wrong in its console and on the wire, and how
it looked.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Page, Request, Response

from tools.notebook import ROOT


class Watch:
    """Writes down what an open page complains of, and keeps it from going anywhere but where it
    came from.

    Parameters
    ----------
    page : Page
        A page that has not gone anywhere yet.
    home : str
        How every address begins that the page may ask for. Other requests are refused, and written
        down.
    """

    def __init__(self, page: Page, home: str) -> None:
        self.complaints: list[str] = []
        # What stands in the page itself is no request.
        abroad = re.compile(rf"^(?!{re.escape(home)}|data:|blob:|about:)")
        page.route(abroad, lambda route: route.abort("blockedbyclient"))
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"console: {message.text} ({message.location['url']})")

    def _failed(self, request: Request) -> None:
        self.complaints.append(f"request failed: {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.complaints.append(f"request failed: {response.url}: {response.status}")


def album(*names: str) -> Path:
    """Return an empty folder for pictures that people look at; no test does."""
    folder = ROOT.joinpath("build", "screenshots", *names)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
