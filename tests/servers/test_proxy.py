"""The proxy that other tests put between a client and a server."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.servers.proxy import Proxy


def test_a_client_that_comes_as_it_ends_is_cut_off(tmp_path: Path) -> None:
    """A client that is accepted by the event after the end's own is cut off as well."""
    with socket.socket(socket.AF_UNIX) as upstream, socket.socket(socket.AF_UNIX) as client:
        upstream.bind(str(tmp_path / "upstream.sock"))
        upstream.listen()
        proxy = Proxy(tmp_path, f"unix://{tmp_path}/upstream.sock")
        busy, come = threading.Event(), threading.Event()

        def wait() -> None:
            busy.set()
            assert come.wait(10)

        # While its thread is busy both arrive, so that it learns of both at once, the end first.
        working = threading.Thread(target=proxy._in_thread, args=[wait])
        working.start()
        assert busy.wait(10)
        ending = threading.Thread(target=proxy.close)
        ending.start()
        while proxy._todo is wait:
            time.sleep(0.001)  # nothing tells when another thread has said what is to be done
        client.connect(unquote(urlsplit(proxy.url).path))
        come.set()
        upstream.accept()[0].close()
        for thread in (working, ending):
            thread.join(10)
        assert not proxy._pairs
