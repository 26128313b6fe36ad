"""The embedded server in a real notebook kernel: an interrupt leaves it alone, a
restart ends it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

import imlib
from imlib.servers.embedded import find_server
from tests.private_servers.process import private_folder
from tests.private_servers.programs import require
from tests.servers.test_embedded import runs, until

CONNECT = """
import time
import imlib
deployment = imlib.connect("embedded://", "embedded://")
deployment.online_status.set_online(imlib.SessionStatus(7, 1, 2, 3, 4, int(time.time())))
"""
WITHIN_S = 60


class Kernel:
    """A running kernel and a client of it."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self.client = manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WITHIN_S)

    def run(self, code: str, wanted: str = "None") -> Any:
        """Run a cell and return the value of an expression after it."""
        said = self.client.execute(
            code, user_expressions={"wanted": wanted}, reply=True, timeout=WITHIN_S
        )["content"]
        assert "ok" == said["status"], said
        return ast.literal_eval(said["user_expressions"]["wanted"]["data"]["text/plain"])

    def interrupt(self) -> str:
        """Interrupt a cell that is running; return the name of the error that it ended with."""
        # A cell that only an interrupt ends. By default a kernel that an error has stopped throws
        # away what is asked of it meanwhile.
        message = self.client.execute("print('running')\ntime.sleep(600)", stop_on_error=False)
        while True:
            output = self.client.get_iopub_msg(timeout=WITHIN_S)
            if "stream" == output["msg_type"] and message == output["parent_header"].get("msg_id"):
                break
        self.manager.interrupt_kernel()
        while True:
            reply = self.client.get_shell_msg(timeout=WITHIN_S)
            if message == reply["parent_header"].get("msg_id"):
                return str(reply["content"]["ename"])

    def restart(self) -> None:
        """Restart it, as the notebook's menu does."""
        self.manager.restart_kernel()
        self.client.wait_for_ready(timeout=WITHIN_S)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """Give a kernel that talks over unix sockets in a folder of its own."""
    from jupyter_client.manager import KernelManager

    require("a server to embed", found=find_server() is not None)
    with private_folder() as folder:
        manager = KernelManager(
            transport="ipc", ip=str(folder / "k"), connection_file=str(folder / "k.json")
        )
        manager.start_kernel()
        opened = None
        try:
            opened = Kernel(manager)
            yield opened
        finally:
            if opened is not None:
                opened.client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()


def test_interrupt_and_restart(kernel: Kernel) -> None:
    """After an interrupt the deployment goes on; after a restart its server is gone, and a new one
    can be had.
    """
    server_id = "deployment.redis.info('server')['process_id']"
    server = psutil.Process(kernel.run(CONNECT, server_id))
    url = kernel.run("", "deployment.redis_url.reveal()")
    for _ in range(2):
        assert "KeyboardInterrupt" == kernel.interrupt()
        assert 1 == kernel.run("", "len(deployment.online_status.get_online_by_user_id(7))")
    kernel.restart()
    assert until(lambda: not runs(server))
    with pytest.raises(imlib.UnavailableError):
        imlib.connect(url)
    again = psutil.Process(kernel.run(CONNECT, server_id))
    assert server != again
    kernel.manager.shutdown_kernel(now=True)
    assert until(lambda: not runs(again))
