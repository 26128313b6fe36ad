"""JupyterLab as its user holds it: a server of one's own, and notebooks that are open in it."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from playwright.sync_api import Page

from tests.browser.watch import Watch
from tests.private_servers.process import private_folder
from tools.notebook import environment, read

# Generous, because other tests use the machine too; a cell that fails ends its wait at once.
WITHIN_S = 120.0

# Lab keeps in the page only the cells near the screen; its own model of the notebook has all of
# them.
PANEL = (
    "[...window.jupyterapp?.shell.widgets('main') ?? []].find(widget => widget.context?.path "
    "=== path)"
)
READY = f"path => ({PANEL})?.sessionContext.session?.kernel?.status === 'idle'"
ENDED = f"""path => {{
    const panel = {PANEL};
    const cells = [...panel.content.model.cells].filter(
        cell => cell.type === 'code' && cell.sharedModel.source.trim()
    );
    const failed = cell => !cell.getMetadata('tags')?.includes('raises-exception')
        && cell.outputs.toJSON().some(output => output.output_type === 'error');
    const kernel = panel.sessionContext.session?.kernel?.status;
    return cells.some(failed) || ['dead', 'restarting', 'autorestarting'].includes(kernel)
        || kernel === 'idle' && cells.every(cell => cell.executionCount !== null);
}}"""
SAVED = f"path => !({PANEL}).context.model.dirty"
SHOW_WIDGET = f"""path => {{
    const notebook = ({PANEL}).content;
    const shows = cell => cell.model.type === 'code' && cell.model.outputs.toJSON().some(
        output => output.data && 'application/vnd.jupyter.widget-view+json' in output.data);
    return notebook.scrollToItem(notebook.widgets.findIndex(shows), 'start').then(() => {{}});
}}"""


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: its address, what opens it, and the folder that it shows."""

    url: str
    token: str
    root: Path


@contextmanager
def running_lab() -> Iterator[Lab]:
    """Give a JupyterLab of one's own on the loopback interface, and end it and its kernels
    afterwards.
    """
    token = secrets.token_hex()
    with private_folder() as folder:
        root = folder / "root"
        root.mkdir()
        variables = environment(folder) | {"JUPYTER_TOKEN": token}
        options = {
            "ServerApp.ip": "127.0.0.1",
            # The system picks a free one; the server writes down which.
            "ServerApp.port": "0",
            "ServerApp.root_dir": root,
            "ServerApp.open_browser": False,
            "ServerApp.allow_root": True,
            # On TCP a kernel would warn that whoever is on the machine can listen.
            "KernelManager.transport": "ipc",
            # Lets a test ask how far a notebook has run.
            "LabApp.expose_app_in_browser": True,
            # Both would ask servers on the net.
            "LabApp.news_url": "None",
            "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        }
        log = folder / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyterlab",
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            whereabouts = Path(variables["JUPYTER_RUNTIME_DIR"], f"jpserver-{server.pid}.json")
            deadline = time.monotonic() + WITHIN_S
            # The server makes the file first and writes into it then.
            while not whereabouts.exists() or not whereabouts.stat().st_size:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')}"
                    )
                time.sleep(0.05)  # the server says nowhere else that it listens
            yield Lab(json.loads(whereabouts.read_text(encoding="utf-8"))["url"], token, root)
        finally:
            # It ends its kernels first.
            server.terminate()
            server.wait()


class Window:
    """A browser's window with JupyterLab in it, in which notebooks are opened as tabs.

    Parameters
    ----------
    page : Page
    lab : Lab
    """

    def __init__(self, page: Page, lab: Lab) -> None:
        self.page = page
        self.watch = Watch(page, lab.url)
        self._root = lab.root
        page.set_default_timeout(WITHIN_S * 1000)
        page.goto(f"{lab.url}lab?reset&token={lab.token}")
        page.wait_for_function("window.jupyterapp?.restored.then(() => true)")

    def open(self, path: str) -> None:
        """Open a notebook, or go back to its tab, and wait until its kernel is ready.

        Parameters
        ----------
        path : str
            Below the folder that Lab shows.
        """
        self.page.evaluate(
            "path => void jupyterapp.commands.execute('docmanager:open', {path})", path
        )
        self.page.wait_for_function(READY, arg=path)

    def run_all(self, path: str) -> None:
        """Choose Run All Cells in the menu, and wait until the last cell has run or one
        has failed.
        """
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator('[data-command="runmenu:run-all"]').click()
        self.page.wait_for_function(ENDED, arg=path)

    def saved(self, path: str) -> NotebookNode:
        """Save the notebook, and return what is in its file then."""
        self.page.keyboard.press("Control+s")
        self.page.wait_for_function(SAVED, arg=path)
        return read(self._root / path)

    def show_widget(self, path: str) -> None:
        """Bring the first cell that shows a widget onto the screen."""
        self.page.evaluate(SHOW_WIDGET, path)
