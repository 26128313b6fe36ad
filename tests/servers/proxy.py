"""Between a client and a server, byte by byte: counts commands, withholds replies, and cuts the
connection.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import hiredis

from tests.private_servers.process import private_folder

_PIECE = 65_536


@dataclass(eq=False)
class _Pair:
    """One connection: the client's side, the server's side, and the replies that are withheld."""

    client: socket.socket
    upstream: socket.socket
    commands: hiredis.Reader = field(default_factory=hiredis.Reader)
    withheld: bytearray = field(default_factory=bytearray)

    def close(self) -> None:
        """Close the client's side at once, the server's once it has taken in all it was sent."""
        self.client.close()
        with contextlib.suppress(OSError), self.upstream:
            self.upstream.shutdown(socket.SHUT_WR)
            while self.upstream.recv(_PIECE):
                pass


class Proxy:
    """Forwards one unix socket to another, in a thread of its own.

    Parameters
    ----------
    folder : Path
        Where its own socket stands.
    upstream : str
        ``unix://...``, the server's URL.
    """

    def __init__(self, folder: Path, upstream: str) -> None:
        self.url = f"unix://{quote(str(folder / 'proxy.sock'))}"
        self.commands: list[list[bytes]] = []
        self.request_bytes = 0
        self.reply_bytes = 0
        self.holding = threading.Event()
        self._upstream = unquote(urlsplit(upstream).path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "proxy.sock"))
        self._listener.listen(64)
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._pairs: list[_Pair] = []
        self._limits: tuple[int | None, int | None] = (None, None)
        self._hold_until = 0
        self._todo: Callable[[], None] | None = None
        self._done = threading.Event()
        self._running = True
        for one, role in ((self._listener, self._accept), (self._woken, self._run_todo)):
            self._selector.register(one, selectors.EVENT_READ, role)
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def forward(
        self, *, requests: int | None = None, replies: int | None = None, hold_until: int = 0
    ) -> None:
        """Count from zero again, and forward until a limit is met.

        Parameters
        ----------
        requests, replies : int, optional
            After so many bytes that way every connection is cut, and every new one too.
        hold_until : int
            Withhold all replies until so many commands have come. `holding` is set once one is
            withheld.
        """

        def change() -> None:
            self.commands, self.request_bytes, self.reply_bytes = [], 0, 0
            self._limits, self._hold_until = (requests, replies), hold_until
            self.holding.clear()
            self._release()

        self._in_thread(change)

    def close(self) -> None:
        """Cut all connections and end."""
        self._in_thread(self._stop)
        self._thread.join()
        for one in (self._listener, self._wake, self._woken):
            one.close()
        self._selector.close()

    def _in_thread(self, todo: Callable[[], None]) -> None:
        self._done.clear()
        self._todo = todo
        self._wake.send(b"!")
        assert self._done.wait(10)

    def _run_todo(self) -> None:
        self._woken.recv(1)
        assert self._todo is not None
        self._todo()
        self._done.set()

    def _stop(self) -> None:
        self._running = False

    def _loop(self) -> None:
        while self._running:
            for key, _ in self._selector.select():
                # What was cut by an event before it has nothing more to say.
                if key.fileobj in self._selector.get_map():
                    key.data()
        # Not in `_stop`: a client may be accepted by the very next event.
        self._cut_all()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        upstream = socket.socket(socket.AF_UNIX)
        if self._spent():
            client.close()
            upstream.close()
            return
        try:
            upstream.connect(self._upstream)
        except OSError:
            client.close()
            upstream.close()
            return
        pair = _Pair(client, upstream)
        self._pairs.append(pair)
        self._selector.register(client, selectors.EVENT_READ, lambda: self._request(pair))
        self._selector.register(upstream, selectors.EVENT_READ, lambda: self._reply(pair))

    def _spent(self) -> bool:
        requests, replies = self._limits
        return (requests is not None and self.request_bytes >= requests) or (
            replies is not None and self.reply_bytes >= replies
        )

    def _request(self, pair: _Pair) -> None:
        piece = self._received(pair, pair.client)
        limit = self._limits[0]
        piece = piece if limit is None else piece[: limit - self.request_bytes]
        self.request_bytes += len(piece)
        pair.commands.feed(piece)
        while (command := pair.commands.gets()) is not False:
            self.commands.append(command)
        with contextlib.suppress(OSError):
            pair.upstream.sendall(piece)
        self._afterwards()

    def _reply(self, pair: _Pair) -> None:
        piece = self._received(pair, pair.upstream)
        limit = self._limits[1]
        piece = piece if limit is None else piece[: limit - self.reply_bytes]
        self.reply_bytes += len(piece)
        pair.withheld += piece
        self._afterwards()

    def _received(self, pair: _Pair, one: socket.socket) -> bytes:
        piece = b""
        with contextlib.suppress(OSError):
            piece = one.recv(_PIECE)
        if not piece:
            self._cut(pair)
        return piece

    def _afterwards(self) -> None:
        self._release()
        if self._spent():
            self._cut_all()

    def _release(self) -> None:
        if len(self.commands) < self._hold_until:
            if any(pair.withheld for pair in self._pairs):
                self.holding.set()
            return
        for pair in self._pairs:
            with contextlib.suppress(OSError):
                pair.client.sendall(pair.withheld)
            pair.withheld.clear()

    def _cut(self, pair: _Pair) -> None:
        if pair in self._pairs:
            self._pairs.remove(pair)
            self._selector.unregister(pair.client)
            self._selector.unregister(pair.upstream)
            pair.close()

    def _cut_all(self) -> None:
        for pair in list(self._pairs):
            self._cut(pair)


@contextmanager
def proxy_to(upstream: str) -> Iterator[Proxy]:
    """Give a running `Proxy` in front of a server's URL, and end it afterwards."""
    with private_folder() as folder:
        proxy = Proxy(folder, upstream)
        try:
            yield proxy
        finally:
            proxy.close()
